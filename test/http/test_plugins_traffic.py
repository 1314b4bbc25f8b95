# SPDX-License-Identifier: Apache-2.0
"""Plugins that limit, split, fake and rewrite traffic: what the recorded exchanges of the reference gateway do not show."""
import http.client
import itertools
import json
import re
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import weirtest
from weirtest import wait_for


# A counter goes on where an object comes back under its id with the same conf; each test has windows of its own.
WINDOWS = itertools.count(1000)


def route(gw, upstream, plugins, id="1", uri="/*", **more):
    gw.put(f"/routes/{id}", {"uri": uri, "plugins": plugins, "upstream": upstream.nodes(), **more})


def refused(gw, plugins, text):
    """The Admin API does not take a route with these plugins, and says why."""
    r = gw.admin("PUT", "/routes/refused", {"uri": "/refused", "plugins": plugins, "upstream": {"nodes": {"127.0.0.1:1": 1}}})
    assert r.status == 400 and text in json.loads(r.body)["error_msg"], r.body


def burst(gw, n, path="/", threads=16, **kw):
    """n requests, many at a time, each on a connection of its own, so that both cores get some."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda _: gw.get(path, **kw), range(n)))


def statuses(answers):
    return Counter(a.status for a in answers)


class Gate:
    """An upstream's answer that waits until it is let go."""

    def __init__(self):
        self.opened = threading.Event()
        self.waiting = threading.Semaphore(0)
        self.entered = 0

    def __call__(self, seen):
        self.entered += 1
        assert self.opened.wait(20 * weirtest.SLOW)
        return 200, [("Content-Type", "text/plain")], b"late"


class Background:
    """A request on its way."""

    def __init__(self, gw, path="/", **kw):
        self.answer = None
        self.thread = threading.Thread(target=self.run, args=(gw, path, kw), daemon=True)
        self.thread.start()

    def run(self, gw, path, kw):
        self.answer = gw.get(path, **kw)

    def join(self):
        self.thread.join(30 * weirtest.SLOW)
        assert self.answer is not None
        return self.answer


def on_one_connection(gw, requests):
    """The same connection for all: framing that is wrong shows in the next answer."""
    c = http.client.HTTPConnection("127.0.0.1", gw.port, timeout=20 * weirtest.SLOW)
    out = []
    for method, path in requests:
        c.request(method, path)
        r = c.getresponse()
        out.append(weirtest.Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read(), r.getheaders()))
    c.close()
    return out


# ---- limit-count ----

@pytest.mark.parametrize("window", ["fixed", "sliding"])
def test_exactly_count_requests_pass_over_all_cores(gw, upstream, window):
    route(gw, upstream, {"limit-count": {"count": 50, "time_window": next(WINDOWS), "window_type": window, "rejected_code": 429}})
    answers = burst(gw, 200)
    assert statuses(answers) == {200: 50, 429: 150}
    assert len(upstream.seen) == 50
    # Each who passed was told another rest.
    assert sorted(int(a.headers["x-ratelimit-remaining"]) for a in answers if a.status == 200) == list(range(50))
    assert {a.headers["x-ratelimit-remaining"] for a in answers if a.status == 429} == {"0"}
    assert {a.headers["x-ratelimit-limit"] for a in answers} == {"50"}


def test_a_fixed_window_ends(gw, upstream):
    route(gw, upstream, {"limit-count": {"count": 1, "time_window": 1}})
    first = gw.get("/")
    assert (first.status, first.headers["x-ratelimit-reset"]) == (200, "1")
    again = gw.get("/")
    assert again.status == 503 and 0 < float(again.headers["x-ratelimit-reset"]) < 1
    assert re.fullmatch(r"0\.\d{1,2}", again.headers["x-ratelimit-reset"])
    wait_for(lambda: gw.get("/").status == 200, 5, "a new window")
    assert gw.get("/").status == 503


def test_a_sliding_window_lets_some_pass_before_the_whole_window_is_over(gw, upstream):
    route(gw, upstream, {"limit-count": {"count": 4, "time_window": 2, "window_type": "sliding"}})
    passed = []
    refusals = []
    end = time.monotonic() + 6 * weirtest.SLOW
    while time.monotonic() < end and len(passed) < 10:
        a = gw.get("/")
        (passed if a.status == 200 else refusals).append((time.monotonic(), float(a.headers["x-ratelimit-reset"])))
    assert len(passed) == 10 and refusals
    assert all(0 <= reset <= 2 for _, reset in refusals)
    # No window has more than four, so ten of them take more than a whole one.
    assert passed[-1][0] - passed[0][0] > 1.9


def test_counters_belong_to_the_object_and_its_conf(gw, upstream):
    conf = {"limit-count": {"count": 1, "time_window": next(WINDOWS)}}
    route(gw, upstream, conf, "1", "/1")
    route(gw, upstream, conf, "2", "/2")
    assert [gw.get("/1").status, gw.get("/1").status, gw.get("/2").status] == [200, 503, 200]
    # Stored again with the same conf: it goes on. With another one it starts anew.
    route(gw, upstream, conf, "1", "/1", desc="changed")
    assert gw.get("/1").status == 503
    route(gw, upstream, {"limit-count": {"count": 1, "time_window": next(WINDOWS)}}, "1", "/1")
    assert gw.get("/1").status == 200


def test_routes_of_a_service_share_its_counter(gw, upstream):
    gw.put("/services/s", {"upstream": upstream.nodes(), "plugins": {"limit-count": {"count": 1, "time_window": next(WINDOWS)}}})
    gw.put("/routes/1", {"uri": "/1", "service_id": "s"})
    gw.put("/routes/2", {"uri": "/2", "service_id": "s"})
    assert [gw.get("/1").status, gw.get("/2").status] == [200, 503]


def test_a_group_is_counted_together_and_must_agree(gw, upstream):
    conf = {"limit-count": {"count": 2, "time_window": next(WINDOWS), "group": "g", "key_type": "constant", "key": "all"}}
    route(gw, upstream, conf, "1", "/1")
    route(gw, upstream, conf, "2", "/2")
    assert [gw.get("/1").status, gw.get("/2").status, gw.get("/1").status, gw.get("/2").status] == [200, 200, 503, 503]
    other = {"limit-count": {**conf["limit-count"], "count": 3}}
    refused(gw, other, "group conf mismatched")
    # Once nobody uses it any more the group may say something else.
    gw.delete("/routes/1")
    gw.delete("/routes/2")
    wait_for(lambda: gw.admin("PUT", "/routes/1", {"uri": "/1", "plugins": other, "upstream": upstream.nodes()}).status in (200, 201), 5,
             "the group is free")


def test_rules_count_apart_and_have_headers_of_their_own(gw, upstream):
    rules = [
        {"count": 3, "time_window": next(WINDOWS), "key": "$http_user", "header_prefix": "User"},
        {"count": "$http_allowed", "time_window": "600", "key": "$http_project"},
    ]
    route(gw, upstream, {"limit-count": {"rules": rules, "rejected_code": 429, "rejected_msg": "enough"}})
    a = gw.get("/", headers={"user": "u", "project": "p", "allowed": "2"})
    assert a.status == 200
    assert (a.headers["x-user-ratelimit-limit"], a.headers["x-user-ratelimit-remaining"]) == ("3", "2")
    assert (a.headers["x-2-ratelimit-limit"], a.headers["x-2-ratelimit-remaining"]) == ("2", "1")
    assert gw.get("/", headers={"user": "u", "project": "p", "allowed": "2"}).status == 200
    a = gw.get("/", headers={"user": "u", "project": "p", "allowed": "2"})
    assert (a.status, a.body) == (429, b'{"error_msg":"enough"}\n')
    assert "x-2-ratelimit-reset" in a.headers
    # A rule whose variable is missing does not concern the request; one without usable numbers fails it.
    a = gw.get("/", headers={"user": "v"})
    assert a.status == 200 and "x-2-ratelimit-limit" not in a.headers
    assert gw.get("/", headers={"project": "q", "allowed": "many"}).status == 500
    assert gw.get("/", headers={"project": "q", "allowed": "0"}).status == 500
    assert gw.get("/", headers={"project": "q", "allowed": "1.5"}).status == 500
    assert gw.get("/").status == 500


def test_allow_degradation_lets_pass_what_no_rule_concerns(gw, upstream):
    route(gw, upstream, {"limit-count": {"rules": [{"count": 1, "time_window": next(WINDOWS), "key": "$http_user"}], "allow_degradation": True}})
    assert gw.get("/").status == 200


def test_numbers_may_come_from_the_request(gw, upstream):
    route(gw, upstream, {"limit-count": {"count": "${http_count ?? 1}", "time_window": "$http_window", "key": "http_who", "rejected_code": 503}})
    headers = {"who": "a", "window": "600"}
    assert [gw.get("/", headers=headers).status for _ in range(2)] == [200, 503]
    assert gw.get("/", headers={**headers, "count": "2"}).headers["x-ratelimit-limit"] == "2"
    assert gw.get("/", headers={"who": "b"}).status == 500


def test_a_missing_key_is_the_clients_address(gw, upstream):
    route(gw, upstream, {"limit-count": {"count": 1, "time_window": next(WINDOWS), "key": "http_who"}})
    assert [gw.get("/", headers={"who": "a"}).status, gw.get("/").status, gw.get("/").status, gw.get("/", headers={"who": "b"}).status] == [200, 200, 503, 200]
    assert gw.get("/", headers={"who": "127.0.0.1"}).status == 503


def test_header_names_come_from_metadata(gw, upstream):
    window = next(WINDOWS)
    gw.put("/plugin_metadata/limit-count", {"limit_header": "X-Limit", "remaining_header": "X-RateLimit-Rest"})
    route(gw, upstream, {"limit-count": {"count": 1, "time_window": window}}, "1", "/1")
    route(gw, upstream, {"limit-count": {"rules": [{"count": 1, "time_window": window, "key": "$remote_addr"}]}}, "2", "/2")
    a, b = gw.get("/1"), gw.get("/2")
    assert (a.headers["x-limit"], a.headers["x-ratelimit-rest"], a.headers["x-ratelimit-reset"]) == ("1", "0", str(window))
    assert (b.headers["x-limit"], b.headers["x-1-ratelimit-rest"], b.headers["x-1-ratelimit-reset"]) == ("1", "0", str(window))
    r = gw.admin("PUT", "/plugin_metadata/limit-count", {"limit_header": "X Limit"})
    assert r.status == 400 and b"is no header name" in r.body


def test_the_log_can_tell_what_was_counted(gw, upstream):
    window = next(WINDOWS)
    route(gw, upstream, {"limit-count": {"count": 2, "time_window": window, "key": "arg_k"},
                         "response-rewrite": {"headers": {"set": {"X-Info": "$rate_limiting_info"}}}})
    info = json.loads(gw.get('/?k=%22a%5Cb%0A').headers["x-info"])
    key = info.pop("rate_limiting_key")
    assert re.fullmatch(r'/apisix/routes/1:\d+:"a\\b\n', key), key
    assert info == {"rate_limiting_limit": 2, "rate_limiting_remaining": 1, "rate_limiting_reset": window}


@pytest.mark.parametrize("plugin,conf", [
    ("limit-count", {"count": 1, "time_window": 1}),
    ("limit-req", {"rate": 1, "burst": 1, "key": "remote_addr"}),
    ("limit-conn", {"conn": 1, "burst": 1, "default_conn_delay": 1, "key": "remote_addr"}),
])
def test_policies_that_need_redis_are_refused(gw, plugin, conf):
    text = "policy redis is not available in this build"
    refused(gw, {plugin: {**conf, "policy": "redis", "redis_host": "127.0.0.1"}}, text)
    refused(gw, {plugin: {**conf, "policy": "redis-cluster", "redis_cluster_nodes": ["127.0.0.1:1"], "redis_cluster_name": "c"}}, text)


@pytest.mark.parametrize("conf,text", [
    ({"count": 1, "rules": [{"count": 1, "time_window": 1, "key": "a"}]}, "count/time_window and rules cannot be specified at the same time"),
    ({"group": "g", "rules": [{"count": 1, "time_window": 1, "key": "a"}]}, "group and rules cannot be specified at the same time"),
    ({"rules": [{"count": 1, "time_window": 1, "key": "a"}, {"count": 2, "time_window": 1, "key": "a"}]}, "duplicate key 'a' in rules"),
    ({"rules": [{"count": 1, "time_window": 1, "key": "a", "header_prefix": "a b"}]}, "cannot stand in a header name"),
    ({"count": 1, "time_window": 1, "policy": "redis", "redis_host": "127.0.0.1", "sync_interval": 0.05}, "sync_interval should not be smaller than 0.1"),
    ({"count": 1, "time_window": 1, "policy": "redis", "redis_host": "127.0.0.1", "sync_interval": 1}, "sync_interval should be smaller than time_window"),
])
def test_limit_count_confs_that_contradict_themselves_are_refused(gw, conf, text):
    refused(gw, {"limit-count": conf}, text)


# ---- limit-req ----

def test_requests_above_the_rate_wait_their_turn(gw, upstream):
    route(gw, upstream, {"limit-req": {"rate": 5, "burst": 3, "key": "remote_addr"}})
    start = time.monotonic()
    answers = burst(gw, 8, threads=8)
    took = time.monotonic() - start
    assert statuses(answers)[200] in (4, 5) and statuses(answers)[503] in (3, 4)
    # The last of them waited for three others, a fifth of a second each.
    assert 0.5 < took < 0.8 + 1.5 * weirtest.SLOW


def test_nodelay_lets_the_burst_pass_at_once(gw, upstream):
    route(gw, upstream, {"limit-req": {"rate": 0.01, "burst": 3, "key": "remote_addr", "nodelay": True, "rejected_code": 429, "rejected_msg": "slow"}})
    answers = burst(gw, 20)
    assert statuses(answers) == {200: 4, 429: 16}
    assert {a.body for a in answers if a.status == 429} == {b'{"error_msg":"slow"}\n'}


def test_who_leaves_while_waiting_is_not_proxied(gw, upstream):
    route(gw, upstream, {"limit-req": {"rate": 1, "burst": 5, "key": "remote_addr"}})
    assert gw.get("/first").status == 200
    with socket.create_connection(("127.0.0.1", gw.port)) as s:
        s.sendall(b"GET /left HTTP/1.1\r\nHost: a\r\n\r\n")
    # The next one waits longer than the other one would have.
    assert gw.get("/last").status == 200
    assert [u.path for u in upstream.seen] == ["/first", "/last"]


# ---- limit-conn ----

def test_no_more_than_conn_requests_are_in_flight(gw, upstream):
    gate = upstream.answer = Gate()
    route(gw, upstream, {"limit-conn": {"conn": 2, "burst": 0, "default_conn_delay": 0.1, "key": "remote_addr", "rejected_msg": "full"}})
    held = [Background(gw), Background(gw)]
    wait_for(lambda: gate.entered == 2, what="two requests are at the upstream")
    a = gw.get("/")
    assert (a.status, a.body) == (503, b'{"error_msg":"full"}\n')
    assert statuses(burst(gw, 20)) == {503: 20}
    gate.opened.set()
    assert [b.join().status for b in held] == [200, 200]
    wait_for(lambda: gw.get("/").status == 200, 5, "the places are free")


def test_the_burst_waits(gw, upstream):
    gate = upstream.answer = Gate()
    route(gw, upstream, {"limit-conn": {"conn": 1, "burst": 1, "default_conn_delay": 0.4, "only_use_default_delay": True, "key": "remote_addr"}})
    first = Background(gw)
    wait_for(lambda: gate.entered == 1, what="one request is at the upstream")
    start = time.monotonic()
    second = Background(gw)
    wait_for(lambda: gate.entered == 2, what="the second came after its delay")
    assert 0.35 < time.monotonic() - start < 0.4 + 1.5 * weirtest.SLOW
    gate.opened.set()
    assert (first.join().status, second.join().status) == (200, 200)


def test_who_leaves_frees_the_place(gw, upstream):
    gate = upstream.answer = Gate()
    route(gw, upstream, {"limit-conn": {"conn": 1, "burst": 0, "default_conn_delay": 0.1, "key": "remote_addr"}})
    with socket.create_connection(("127.0.0.1", gw.port)) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: gate.entered == 1, what="the request is at the upstream")
        assert gw.get("/").status == 503
    gate.opened.set()
    wait_for(lambda: gw.get("/").status == 200, 5, "the place is free")


def test_who_leaves_while_waiting_frees_the_place(gw, upstream):
    gate = upstream.answer = Gate()
    conn = {"conn": 1, "burst": 1, "default_conn_delay": 30, "only_use_default_delay": True, "key": "remote_addr"}
    # A counter in front of it tells how many requests have come to limit-conn.
    count = {"count": 1000, "time_window": next(WINDOWS), "group": "arrivals", "key_type": "constant", "key": "all"}
    route(gw, upstream, {"limit-conn": conn, "limit-count": {**count, "_meta": {"priority": 2000}}}, "1", "/1")
    gw.put("/routes/2", {"uri": "/2", "plugins": {"limit-count": count, "mocking": {"response_example": "x", "_meta": {"priority": 1}}}})
    peeks = itertools.count(1)

    def arrivals():
        return 1000 - int(gw.get("/2").headers["x-ratelimit-remaining"]) - next(peeks)

    held = Background(gw, "/1")
    wait_for(lambda: gate.entered == 1, what="one is at the upstream")
    with socket.create_connection(("127.0.0.1", gw.port)) as s:
        s.sendall(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: arrivals() == 2, what="one waits")
        assert gw.get("/1").status == 503
    gate.opened.set()
    assert held.join().status == 200

    def passes():
        try:
            return gw.get("/1", timeout=1).status == 200
        except TimeoutError:
            return False
    wait_for(passes, 10, "both places are free")
    assert gate.entered == 2


def test_every_way_out_frees_the_place(gw, upstream):
    conf = {"conn": 1, "burst": 0, "default_conn_delay": 0.1, "key": "remote_addr"}
    gw.put("/routes/1", {"uri": "/down", "plugins": {"limit-conn": conf}, "upstream": {"nodes": {"127.0.0.1:1": 1}}})
    gw.put("/routes/2", {"uri": "/none", "plugins": {"limit-conn": conf}})
    gw.put("/routes/3", {"uri": "/limited", "plugins": {"limit-conn": conf, "limit-count": {"count": 1, "time_window": next(WINDOWS)}}, "upstream": upstream.nodes()})
    # On one connection: a request leaves when its answer is out, which another core may not see at once.
    r = on_one_connection(gw, [("GET", p) for p in ("/down", "/none", "/limited") for _ in range(3)])
    assert [a.status for a in r] == [502] * 3 + [503] * 3 + [200, 503, 503]
    # The last two were refused by limit-count, behind limit-conn.
    assert ["x-ratelimit-limit" in a.headers for a in r] == [False] * 6 + [True] * 3


def test_rules_of_limit_conn(gw, upstream):
    gate = upstream.answer = Gate()
    rules = [{"conn": 3, "burst": 0, "key": "$remote_addr"}, {"conn": "${http_most ?? 1}", "burst": 0, "key": "$http_user"}]
    route(gw, upstream, {"limit-conn": {"rules": rules, "default_conn_delay": 0.1}})
    held = [Background(gw, headers={"user": "a"})]
    wait_for(lambda: gate.entered == 1)
    assert gw.get("/", headers={"user": "a"}).status == 503
    held.append(Background(gw, headers={"user": "a", "most": "2"}))
    held.append(Background(gw, headers={"user": "b"}))
    wait_for(lambda: gate.entered == 3)
    assert gw.get("/", headers={"user": "c"}).status == 503
    gate.opened.set()
    assert [b.join().status for b in held] == [200] * 3
    wait_for(lambda: gw.get("/", headers={"user": "c"}).status == 200, 5, "the places are free")
    assert gw.get("/", headers={"user": "c", "most": "x"}).status == 500


def test_a_global_rule_and_a_route_both_count(gw, upstream):
    conf = {"conn": 1, "burst": 0, "default_conn_delay": 0.1, "key": "remote_addr"}
    gw.put("/global_rules/1", {"plugins": {"limit-conn": conf}})
    route(gw, upstream, {"limit-conn": conf})
    assert [a.status for a in on_one_connection(gw, [("GET", "/")] * 5)] == [200] * 5


# ---- traffic-split ----

@pytest.fixture
def other():
    u = weirtest.Upstream()
    yield u
    u.close()


@pytest.fixture
def third():
    u = weirtest.Upstream()
    yield u
    u.close()


def test_shares_are_exact_over_all_cores(gw, upstream, other, third):
    gw.put("/upstreams/t", third.nodes())
    weighted = [{"upstream": other.nodes(), "weight": 30}, {"upstream_id": "t", "weight": 20}, {"weight": 50}]
    route(gw, upstream, {"traffic-split": {"rules": [{"weighted_upstreams": weighted}]}})
    assert statuses(burst(gw, 300)) == {200: 300}
    assert (len(other.seen), len(third.seen), len(upstream.seen)) == (90, 60, 150)


def test_shares_are_mixed(gw, upstream, other):
    route(gw, upstream, {"traffic-split": {"rules": [{"weighted_upstreams": [{"upstream": other.nodes(), "weight": 500}, {"weight": 500}]}]}})
    for _ in range(20):
        gw.get("/")
    assert (len(other.seen), len(upstream.seen)) == (10, 10)


def test_the_first_rule_that_matches_decides(gw, upstream, other, third):
    rules = [
        {"match": [{"vars": [["arg_v", "==", "1"]]}, {"vars": [["http_v", "==", "1"], ["arg_x", "==", "y"]]}], "weighted_upstreams": [{"upstream": other.nodes()}]},
        {"match": [{"vars": [["arg_v", "==", "2"]]}], "weighted_upstreams": [{"upstream": third.nodes(), "weight": 0}, {"weight": 0}]},
        {"match": [{"vars": [["arg_v", "~~", "[1-9]"]]}], "weighted_upstreams": [{"upstream": third.nodes()}]},
    ]
    route(gw, upstream, {"traffic-split": {"rules": rules}})

    def where(path, **headers):
        for u in (upstream, other, third):
            u.seen.clear()
        assert gw.get(path, headers=headers).status == 200
        return [len(u.seen) for u in (upstream, other, third)].index(1)
    assert [where("/?v=1"), where("/?x=y", v="1"), where("/", v="1"), where("/?v=2"), where("/?v=3"), where("/?v=0")] == [1, 1, 0, 0, 2, 0]


def test_an_upstream_by_id_is_the_one_of_the_moment(gw, upstream, other, third):
    gw.allowed.append("traffic-split: there is no upstream u")
    gw.put("/upstreams/u", other.nodes())
    route(gw, upstream, {"traffic-split": {"rules": [{"weighted_upstreams": [{"upstream_id": "u"}]}]}})
    gw.get("/")
    gw.put("/upstreams/u", third.nodes())
    gw.get("/")
    assert (len(other.seen), len(third.seen)) == (1, 1)
    assert gw.admin("DELETE", "/upstreams/u?force=true").status == 200
    r = gw.get("/")
    assert (r.status, r.body) == (500, b"failed to fetch upstream info by upstream id: u")


def test_an_inline_upstream_brings_its_own_options(gw, upstream, other):
    inline = other.nodes(pass_host="rewrite", upstream_host="inline.test")
    gw.put("/routes/1", {"uri": "/*", "plugins": {"traffic-split": {"rules": [{"weighted_upstreams": [{"upstream": inline}]}]}}})
    assert gw.get("/").status == 200
    assert dict(other.last.headers)["Host"] == "inline.test"
    refused(gw, {"traffic-split": {"rules": [{"weighted_upstreams": [{"upstream": other.nodes(pass_host="rewrite")}]}]}}, "`upstream_host` can't be empty")
    refused(gw, {"traffic-split": {"rules": [{"weighted_upstreams": [{"upstream": {"type": "roundrobin"}}]}]}}, "rules")


# ---- mocking ----

def test_mock_data_fits_the_schema(gw, upstream):
    schema = {"type": "object", "properties": {
        "s": {"type": "string"}, "i": {"type": "integer"}, "n": {"type": "number"}, "b": {"type": "boolean"},
        "l": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer", "example": 7}}}},
        "e": {"type": "string", "example": "a \"b\" <c>"}, "o": {"type": "object"}, "unknown": {"type": "date"},
    }}
    route(gw, upstream, {"mocking": {"response_schema": schema, "with_mock_header": False, "response_status": 202}})
    seen = []
    for _ in range(30):
        r = gw.get("/")
        assert (r.status, r.headers["content-type"]) == (202, "application/json;charset=utf8") and "x-mock-by" not in r.headers
        v = json.loads(r.body)
        assert re.fullmatch("[a-z]{1,10}", v["s"]) and 1 <= v["i"] <= 10000 and isinstance(v["i"], int) and 0 <= v["n"] < 10000
        assert v["b"] in (True, False) and 1 <= len(v["l"]) <= 3 and all(x == {"x": 7} for x in v["l"])
        assert v["e"] == "a \"b\" <c>" and v["o"] == {} and set(v) == set("sinbleo")
        seen.append(r.body)
    assert len(set(seen)) > 20
    assert upstream.seen == []


def test_mock_data_as_xml(gw, upstream):
    schema = {"type": "object", "properties": {"a": {"type": "string", "example": "1 < 2"}, "l": {"type": "array", "items": {"type": "integer", "example": 5}}}}
    route(gw, upstream, {"mocking": {"response_schema": schema, "content_type": "text/xml"}})
    assert re.fullmatch(rb"<data><a>1 &lt; 2</a>(<l>5</l>){1,3}</data>", gw.get("/").body)


def test_a_mock_may_be_late_and_has_headers(gw, upstream):
    route(gw, upstream, {"mocking": {"response_example": "hello $arg_n", "content_type": "text/plain", "delay": 1,
                                     "response_headers": {"X-A": "$arg_n", "X-N": 5}}})
    start = time.monotonic()
    r = gw.get("/?n=w%0d%0aX-Evil:%201")
    assert time.monotonic() - start > 0.9
    assert r.body == b"hello w\r\nX-Evil: 1"
    assert (r.headers["x-a"], r.headers["x-n"]) == ("w%0D%0AX-Evil: 1", "5") and "x-evil" not in r.headers


@pytest.mark.parametrize("conf,text", [
    ({"content_type": "image/png"}, "unsupported content type!"),
    ({"response_status": 101}, "response_status"),
    ({"response_headers": {"X Y": "1"}}, "invalid header name"),
    ({"response_headers": {"X": "a\nb"}}, "invalid value of header"),
])
def test_mocks_that_are_no_answers_are_refused(gw, conf, text):
    refused(gw, {"mocking": {"response_example": "x", **conf}}, text)


def test_deep_schemas_do_not_grow_without_end(gw, upstream):
    schema = {"type": "integer"}
    for _ in range(40):
        schema = {"type": "array", "items": schema}
    route(gw, upstream, {"mocking": {"response_schema": {"type": "object", "properties": {"a": schema}}}})
    r = gw.get("/", timeout=30)
    assert r.status == 200 and len(r.body) < 10_000_000


# ---- fault-injection ----

def test_percentages(gw, upstream):
    for share, low, high in ((0, 0, 0), (100, 300, 300), (30, 50, 130)):
        route(gw, upstream, {"fault-injection": {"abort": {"http_status": 418, "percentage": share, "body": ""}}})
        assert low <= statuses(burst(gw, 300))[418] <= high


def test_faults_have_variables_and_wait_first(gw, upstream):
    route(gw, upstream, {"fault-injection": {"abort": {"http_status": 555, "body": "no $arg_a", "headers": {"X-A": "$arg_a", "X-N": 1.5}},
                                             "delay": {"duration": 0.3, "vars": [[["arg_slow", "==", "1"]]]}}})
    start = time.monotonic()
    r = gw.get("/?a=b")
    assert (r.status, r.body, r.headers["x-a"], r.headers["x-n"]) == (555, b"no b", "b", "1.5")
    assert time.monotonic() - start < 0.25 + weirtest.SLOW
    start = time.monotonic()
    assert gw.get("/?a=b&slow=1").status == 555
    assert time.monotonic() - start > 0.28
    assert upstream.seen == []


def test_a_delay_alone_proxies_afterwards(gw, upstream):
    route(gw, upstream, {"fault-injection": {"delay": {"duration": 0.2, "percentage": 100}}})
    start = time.monotonic()
    assert gw.get("/").status == 200 and len(upstream.seen) == 1
    assert time.monotonic() - start > 0.19


@pytest.mark.parametrize("conf,text", [
    ({"abort": {"http_status": 1000}}, "three digits"),
    ({"abort": {"http_status": 200, "vars": [["a"]]}}, "rule should be wrapped inside brackets"),
    ({"delay": {"duration": 1, "vars": [[["a", "b", "c"]]]}}, "invalid operator 'b'"),
    ({"abort": {"http_status": 200, "headers": {"a b": "1"}}}, "invalid header name"),
])
def test_faults_that_cannot_be_made_are_refused(gw, conf, text):
    refused(gw, {"fault-injection": conf}, text)


# ---- response-rewrite ----

def chunked(*parts):
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


def answers(upstream, body=b"", headers=(), status=200):
    upstream.answer = lambda seen: (status, list(headers), body)


def test_a_new_body_replaces_any_body(gw, upstream):
    route(gw, upstream, {"response-rewrite": {"body": "new", "status_code": 201}})
    old = [("ETag", '"1"'), ("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Content-Encoding", "gzip"), ("X-Keep", "1")]
    for body, headers in ((b"x" * 3_000_000, ()), (chunked(b"a" * 100000, b"b"), [("Transfer-Encoding", "chunked")]), (b"", ())):
        answers(upstream, body, old + list(headers))
        for r in on_one_connection(gw, [("GET", "/"), ("GET", "/")]):
            assert (r.status, r.body, r.headers["content-length"], r.headers["x-keep"]) == (201, b"new", "3", "1")
            assert not {"etag", "last-modified", "content-encoding", "transfer-encoding"} & set(r.headers)


def test_a_new_body_for_answers_without_one(gw, upstream):
    route(gw, upstream, {"response-rewrite": {"body": "new", "status_code": 200}})
    answers(upstream, status=304)
    r = on_one_connection(gw, [("GET", "/"), ("HEAD", "/"), ("GET", "/")])
    assert [(a.status, a.body) for a in r] == [(200, b"new"), (200, b""), (200, b"new")]
    answers(upstream, status=204)
    r = on_one_connection(gw, [("GET", "/"), ("HEAD", "/"), ("GET", "/")])
    assert [(a.status, a.body) for a in r] == [(200, b"new"), (200, b""), (200, b"new")]
    assert r[1].headers["content-length"] == "3"


def test_a_status_without_a_body(gw, upstream):
    route(gw, upstream, {"response-rewrite": {"body": "new", "status_code": 204}})
    r = on_one_connection(gw, [("GET", "/"), ("GET", "/")])
    assert [(a.status, a.body, a.headers.get("content-length")) for a in r] == [(204, b"", None)] * 2


def test_an_empty_body_is_a_body(gw, upstream):
    route(gw, upstream, {"response-rewrite": {"body": ""}})
    r = on_one_connection(gw, [("GET", "/"), ("GET", "/")])
    assert [(a.status, a.body, a.headers["content-length"]) for a in r] == [(200, b"", "0")] * 2


def test_filters_see_the_whole_body(gw, upstream):
    filters = [{"regex": "h(.)llo", "replace": "[$1]", "scope": "global"}, {"regex": "WORLD", "replace": "world", "options": "i"}, {"regex": "^", "replace": "> "}]
    route(gw, upstream, {"response-rewrite": {"filters": filters}})
    answers(upstream, chunked(b"hel", b"lo W", b"orld, hallo", b" WORLD"), [("Transfer-Encoding", "chunked"), ("ETag", "x")])
    for r in on_one_connection(gw, [("GET", "/"), ("GET", "/")]):
        assert r.body == b"> [e] world, [a] WORLD" and r.headers["content-length"] == "22" and "etag" not in r.headers
    big = b"hello " * 500_000
    answers(upstream, big)
    assert gw.get("/").body == b"> " + b"[e] " * 500_000
    answers(upstream, b"")
    assert gw.get("/").body == b"> "
    answers(upstream, b"hello", [("Content-Length", "5")])
    r = on_one_connection(gw, [("HEAD", "/"), ("GET", "/")])
    assert [(a.status, a.body) for a in r] == [(200, b""), (200, b"> [e]")]
    assert "content-length" not in r[0].headers


def test_filters_leave_packed_bodies_alone(gw, upstream):
    gw.allowed.append("filters leave a gzip body alone")
    route(gw, upstream, {"response-rewrite": {"filters": [{"regex": "a", "replace": "b", "scope": "global"}]}})
    answers(upstream, b"aaa", [("Content-Encoding", "gzip"), ("ETag", "x")])
    r = gw.get("/")
    assert (r.body, r.headers["content-encoding"], r.headers["etag"]) == (b"aaa", "gzip", "x")
    answers(upstream, b"aaa", [("Content-Encoding", "identity")])
    assert gw.get("/").body == b"bbb"


def test_a_body_too_large_for_filters_is_not_sent(gw, upstream):
    gw.allowed.append("could not be taken whole: it is larger than allowed")
    route(gw, upstream, {"response-rewrite": {"filters": [{"regex": "a", "replace": "b"}], "max_resp_body_size": 1000}})
    answers(upstream, b"a" * 1000)
    assert gw.get("/").body == b"b" + b"a" * 999
    answers(upstream, b"a" * 1001)
    r = gw.get("/")
    assert r.status == 502 and b"aaaa" not in r.body


def test_filters_that_fail_let_nothing_out(gw, upstream):
    gw.allowed.append("failed, answering 500")
    route(gw, upstream, {"response-rewrite": {"filters": [{"regex": "(a+)+$", "replace": "b"}]}})
    answers(upstream, b"a" * 5000 + b"!", [("Content-Type", "text/plain")])
    r = gw.get("/")
    assert r.status == 500 and b"500 Internal Server Error" in r.body and b"aaa" not in r.body
    assert r.headers["content-type"] == "text/html; charset=utf-8"


def test_answers_of_the_gateway_are_rewritten_too(gw, upstream):
    gw.put("/global_rules/1", {"plugins": {"response-rewrite": {"body": "sorry", "headers": {"set": {"X-Status": "$status", "Content-Type": "text/plain"}},
                                                                "vars": [["status", ">=", 400]]}}})
    gw.put("/routes/1", {"uri": "/down", "upstream": {"nodes": {"127.0.0.1:1": 1}}})
    gw.put("/routes/2", {"uri": "/teapot", "plugins": {"fault-injection": {"abort": {"http_status": 418}}}})
    route(gw, upstream, {}, "3", "/up")
    r = on_one_connection(gw, [("GET", "/nowhere"), ("GET", "/down"), ("GET", "/teapot"), ("HEAD", "/down"), ("GET", "/up")])
    assert [(a.status, a.body, a.headers.get("x-status")) for a in r] == [
        (404, b"sorry", "404"), (502, b"sorry", "502"), (418, b"sorry", "418"), (502, b"", "502"), (200, b"hello from upstream", None)]
    assert {a.headers["content-type"] for a in r[:4]} == {"text/plain; charset=utf-8"}
    gw.put("/global_rules/1", {"plugins": {"response-rewrite": {"filters": [{"regex": "404", "replace": "four-o-four"}]}}})
    assert json.loads(gw.get("/nowhere").body) == {"error_msg": "four-o-four Route Not Found"}


def test_two_rewrites_of_one_answer(gw, upstream):
    gw.put("/global_rules/1", {"plugins": {"response-rewrite": {"filters": [{"regex": "upstream", "replace": "global"}], "vars": [["arg_g", "==", "1"]]}}})
    route(gw, upstream, {"response-rewrite": {"filters": [{"regex": "global", "replace": "both"}]}})
    assert gw.get("/?g=1").body == b"hello from both"
    assert gw.get("/").body == b"hello from upstream"
    route(gw, upstream, {"response-rewrite": {"body": "route"}})
    assert gw.get("/?g=1").body == b"route"


def test_headers_in_all_forms(gw, upstream):
    answers(upstream, b"x", [("X-Old", "1"), ("X-Old", "2"), ("Set-Cookie", "u=1"), ("X-Gone", "1"), ("X-Empty", "1")])
    headers = {"set": {"X-Old": "$arg_a", "X-Empty": "", "X-Num": 3}, "add": ["Set-Cookie: b=2", "X-Two:3"], "remove": ["X-Gone"]}
    route(gw, upstream, {"response-rewrite": {"headers": headers}})
    r = gw.get("/?a=v%0d%0aX-Evil:1")
    assert [v for k, v in r.raw_headers if k.lower() == "set-cookie"] == ["u=1", "b=2"]
    assert [v for k, v in r.raw_headers if k.lower() == "x-old"] == ["v%0D%0AX-Evil:1"]
    assert r.headers["x-num"] == "3" and r.headers["x-two"] == "3" and not {"x-gone", "x-empty", "x-evil"} & set(r.headers)
    route(gw, upstream, {"response-rewrite": {"headers": {"X-A": "a$status", "X-B": 1.5}}})
    r = gw.get("/")
    assert (r.headers["x-a"], r.headers["x-b"]) == ("a200", "1.5")


def test_framing_stays_with_the_gateway(gw, upstream):
    headers = {"set": {"Content-Length": "1", "Transfer-Encoding": "gzip"}, "add": ["Content-Length:2"]}
    route(gw, upstream, {"response-rewrite": {"headers": headers}})
    for r in on_one_connection(gw, [("GET", "/"), ("GET", "/")]):
        assert (r.body, r.headers["content-length"]) == (b"hello from upstream", "19") and "transfer-encoding" not in r.headers
    route(gw, upstream, {"response-rewrite": {"headers": {"set": {"Connection": "close"}, "remove": ["Content-Length"]}}})
    r = gw.get("/")
    assert (r.body, r.headers["connection"], r.headers["transfer-encoding"]) == (b"hello from upstream", "close", "chunked")


@pytest.mark.parametrize("conf,text", [
    ({"body_base64": True}, "invalid base64 content"),
    ({"body": "a", "body_base64": True}, "invalid base64 content"),
    ({"vars": ["a"]}, "failed to validate the 'vars' expression: "),
    ({"filters": [{"regex": "(", "replace": ""}]}, 'regex "(" validation failed: '),
    ({"filters": [{"regex": "a", "replace": "", "options": "k"}]}, 'regex "a" validation failed: unknown flag'),
    ({"filters": [{"regex": "a", "replace": "${1"}]}, 'regex "a" validation failed: '),
    ({"headers": {"set": {"a b": "1"}}}, 'invalid header name "a b"'),
    ({"headers": {"add": ["a b:c"]}}, 'invalid header name "a b"'),
    ({"headers": {"remove": ["a b"]}}, 'invalid header name "a b"'),
    ({"headers": {"a": "x\ny"}}, 'invalid value of header "a"'),
])
def test_rewrites_that_cannot_be_made_are_refused(gw, conf, text):
    refused(gw, {"response-rewrite": conf}, text)
