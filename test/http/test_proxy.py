# SPDX-License-Identifier: Apache-2.0
"""Upstreams: a real nginx behind the gateway, connection pools, tries, timeouts, who gets which Host and X-Forwarded-*."""
import json
import random
import socket
import threading
import time
from collections import Counter

import pytest

from weirtest import SLOW, Conn, Gateway, Nginx, digest, free_port, get, lower, payload, proxy_all, wait_for

# What nginx saw comes back as fields.
SAW = "".join(f"add_header X-Saw-{name} ${var} always; " for name, var in [
    ("Host", "http_host"), ("Port", "server_port"), ("Conn", "connection"), ("Nth", "connection_requests"), ("For", "http_x_forwarded_for"),
    ("Method", "request_method"), ("Length", "http_content_length"), ("Line", "request_uri")])
SERVER = f"""keepalive_requests 100000; {SAW}
location / {{ return 200 "hello from nginx\\n"; }}
location /files/ {{ alias DIR/; }}
location /status/ {{ return 503 "busy\\n"; }}
location /close {{ return 444; }}
location /upload {{ client_body_buffer_size 16m; proxy_pass http://127.0.0.1:$server_port/; }}"""


@pytest.fixture(scope="module")
def nginx():
    n = Nginx(SERVER, SERVER, SERVER + " keepalive_timeout 4ms;")
    n.file("big", payload(3 << 20))
    n.file("empty", b"")
    yield n
    n.close()


@pytest.fixture(scope="module")
def one_core():
    g = Gateway({"nginx_config": {"worker_processes": 1}})
    yield g
    g.close()


def hang(c):
    """An upstream that takes requests and never answers."""
    c.rest()


def drop(c):
    """One that takes a request and resets."""
    c.request()
    c.reset()


@pytest.fixture
def dead():
    """A port nobody listens on, for as long as the test runs."""
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    yield s.getsockname()[1]
    s.close()


def nodes(*ports, **more):
    return {"type": "roundrobin", "nodes": [{"host": "127.0.0.1", "port": p, "weight": 1} for p in ports], **more}


# ---- a real server ----

@pytest.mark.parametrize("path,method,fields,status,length", [
    ("/", "GET", (), 200, 17),
    ("/", "HEAD", (), 200, 0),
    ("/files/big", "GET", (), 200, 3 << 20),
    ("/files/big", "HEAD", (), 200, 0),
    ("/files/big", "GET", ("Range: bytes=100-199",), 206, 100),
    ("/files/empty", "GET", (), 200, 0),
    ("/files/none", "GET", (), 404, None),
    ("/status/", "GET", (), 503, 5),
    ("/", "POST", ("Content-Length: 0",), 200, 17),
    ("/", "DELETE", (), 200, 17),
    ("/files/big", "OPTIONS", (), 405, None),
])
def test_answers_of_nginx_pass(gw, nginx, client, path, method, fields, status, length):
    proxy_all(gw, nginx.nodes(1))
    c = client(gw)
    for _ in range(2):
        r = c.ask(path, *fields, method=method)
        assert r.status == status and (length is None or len(r.body) == length)
        assert r.headers["server"].startswith("weir")
        assert ("x-apisix-upstream-status" in r.headers) == (status >= 500)


def test_conditional_requests(gw, nginx, client):
    proxy_all(gw, nginx.nodes(1))
    c = client(gw)
    r = c.ask("/files/big")
    assert digest(r.body) == digest(payload(3 << 20))
    for field in (f"If-None-Match: {r.headers['etag']}", f"If-Modified-Since: {r.headers['last-modified']}"):
        again = c.ask("/files/big", field)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", r.headers["etag"])


def test_uploads_to_nginx(gw, nginx, client):
    proxy_all(gw, nginx.nodes(1))
    c = client(gw)
    for n in (1, 70000, 5 << 20):
        body = payload(n)
        sender = threading.Thread(target=c.send, args=(get("/upload", f"Content-Length: {n}", method="POST"), body))
        sender.start()
        assert c.reply().status == 200
        sender.join()


def test_show_upstream_status_in_response_header(weir, nginx):
    g = weir({"apisix": {"show_upstream_status_in_response_header": True}})
    proxy_all(g, nginx.nodes(1))
    assert g.get("/").headers["x-apisix-upstream-status"] == "200"
    assert "x-apisix-upstream-status" not in request_of_no_route(g).headers


def request_of_no_route(g):
    g.put("/routes/1", {"uri": "/only", "upstream": {"type": "roundrobin", "nodes": {"127.0.0.1:1": 1}}})
    r = g.get("/nothing")
    assert r.status == 404
    return r


# ---- large bodies ----

SIZES = [200_000, 32_768, 1_000_003, 100, 65_536, 40_000, 5]


def sized(c):
    """Answers of the sizes that the paths say, some all at once and some head first."""
    while True:
        n = int(c.request().path[1:])
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n".encode()
        if n % 2:
            c.send(head)
            c.send(payload(n))
        else:
            c.send(head, payload(n))


def test_large_and_small_bodies_take_turns_on_one_connection(one_core, script, client):
    one_core.clear()
    up = script(sized)
    proxy_all(one_core, up)
    c = client(one_core)
    for n in SIZES * 3:
        assert digest(c.ask(f"/{n}").body) == digest(payload(n)), n
    assert up.connections == 1


def test_a_slow_reader_of_a_large_body_gets_all_of_it(one_core, script):
    one_core.clear()
    proxy_all(one_core, script(sized))
    with Conn(one_core.port, rcvbuf=8192) as c:
        for _ in range(2):
            c.send(get("/3000000"))
            head = c.head()
            assert head.line.startswith("HTTP/1.1 200")
            got = b"".join(c.exactly(50_000) for _ in range(60))
            assert digest(got) == digest(payload(3_000_000))


def test_a_large_body_that_ends_early_is_cut_for_the_client_too(one_core, script, client):
    def up(c):
        c.request()
        c.answer(payload(200_000))
        c.request()
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n", payload(100_000))
        c.close()

    one_core.clear()
    proxy_all(one_core, script(up))
    c = client(one_core)
    assert len(c.ask().body) == 200_000
    c.send(get())
    assert lower(c.head().headers)["content-length"] == "200000"
    assert c.rest() == payload(100_000)


# ---- pools ----

def test_upstream_connections_are_reused(gw, nginx, client):
    proxy_all(gw, nginx.nodes(1))
    c = client(gw)
    replies = [c.ask() for _ in range(50)]
    assert len({r.headers["x-saw-conn"] for r in replies}) == 1
    first = int(replies[0].headers["x-saw-nth"])
    assert [int(r.headers["x-saw-nth"]) for r in replies] == list(range(first, first + 50))


def test_clients_in_parallel_have_connections_of_their_own_and_share_them_later(one_core, script, client):
    held = threading.Barrier(9)

    def up(c):
        while True:
            if c.request().path == "/hold":
                held.wait(10)
            c.answer(str(c.number).encode())

    one_core.clear()
    upstream = script(up)
    proxy_all(one_core, upstream)
    clients = [client(one_core) for _ in range(8)]
    for c in clients:
        c.send(get("/hold"))
    held.wait(10)
    assert sorted(int(c.reply().body) for c in clients) == list(range(8))
    for c in clients:
        assert c.ask().status == 200
    assert upstream.connections == 8


@pytest.mark.parametrize("pool,wanted", [({"size": 8, "requests": 5}, 4), ({"size": 8, "requests": 1}, 20), ({"size": 8, "requests": 1000}, 1)])
def test_requests_of_one_pooled_connection(gw, script, client, pool, wanted):
    upstream = script(lambda c: [(c.request(), c.answer(b"x")) for _ in iter(int, 1)])
    proxy_all(gw, upstream.nodes(keepalive_pool={"idle_timeout": 60, **pool}))
    c = client(gw)
    for _ in range(20):
        assert c.ask().status == 200
    assert upstream.connections == wanted


def test_size_of_the_pool(one_core, script, client):
    """Of six connections two are kept, and they serve what comes later."""
    held = threading.Barrier(7)
    ends = []

    def up(c):
        try:
            while True:
                if c.request().path == "/hold":
                    held.wait(10)
                c.answer(b"x")
        finally:
            ends.append(c.number)

    one_core.clear()
    upstream = script(up)
    proxy_all(one_core, upstream.nodes(keepalive_pool={"size": 2, "idle_timeout": 60, "requests": 1000}))
    clients = [client(one_core) for _ in range(6)]
    for c in clients:
        c.send(get("/hold"))
    held.wait(10)
    assert [c.reply().status for c in clients] == [200] * 6
    wait_for(lambda: len(ends) == 4, what="four connections are closed")
    assert clients[0].ask().status == 200 and upstream.connections == 6 and len(ends) == 4


def test_idle_connections_of_the_pool_are_closed_in_time(gw, script, client):
    ends = []

    def up(c):
        c.request()
        c.answer(b"x")
        start = time.monotonic()
        c.rest()
        ends.append(time.monotonic() - start)

    proxy_all(gw, script(up).nodes(keepalive_pool={"size": 8, "idle_timeout": 1, "requests": 1000}))
    assert client(gw).ask().status == 200
    wait_for(lambda: ends, what="the idle connection is closed")
    assert 0.8 < ends[0] < 1.6 * SLOW


def test_a_pool_belongs_to_a_node_not_to_a_route(gw, script, client):
    upstream = script(lambda c: [(c.request(), c.answer(b"x")) for _ in iter(int, 1)])
    for i in range(5):
        gw.put(f"/routes/{i}", {"uri": f"/{i}", "upstream": upstream.nodes()})
    c = client(gw)
    for i in range(5):
        assert c.ask(f"/{i}").status == 200
    assert upstream.connections == 1


def test_an_upstream_that_closes_idle_connections_costs_no_request(gw, nginx, client):
    """nginx closes after 4 ms; requests come about then. Not one GET fails."""
    proxy_all(gw, {"type": "roundrobin", "nodes": {f"127.0.0.1:{nginx.ports[2]}": 1}, "retries": 0})
    c = client(gw)
    rng = random.Random(1)
    statuses, conns = Counter(), set()
    for _ in range(600):
        r = c.ask()
        statuses[r.status] += 1
        conns.add(r.headers.get("x-saw-conn"))
        threading.Event().wait(rng.uniform(0.003, 0.006))
    assert statuses == {200: 600}
    assert len(conns) > 20, "nginx never closed"


def test_a_request_that_is_not_idempotent_is_never_sent_twice(gw, script, client):
    """The upstream closes without an answer now and then: the client hears of it, and each POST arrives at most once."""
    seen = Counter()

    def up(c):
        for n in range(3):
            r = c.request()
            seen[(r.method, r.path)] += 1
            if n == 2:
                return
            c.answer(b"x")

    proxy_all(gw, script(up).nodes(retries=0))
    c = client(gw)
    statuses = Counter()
    for i in range(100):
        statuses[c.ask(f"/{i}", "Content-Length: 2", method="POST", body=b"hi").status] += 1
    assert set(statuses) == {200, 502}
    assert max(seen.values()) == 1 and sum(seen.values()) == 100
    seen.clear()
    for i in range(100):
        assert c.ask(f"/{i}").status == 200


# ---- tries ----

@pytest.mark.parametrize("kind,method,status,tries", [
    ("refused", "GET", 200, ["502", "200"]),
    ("refused", "POST", 200, ["502", "200"]),
    ("hang", "GET", 200, ["504", "200"]),
    ("hang", "HEAD", 200, ["504", "200"]),
    ("hang", "PUT", 200, ["504", "200"]),
    ("hang", "POST", 504, ["504"]),
    ("hang", "PATCH", 504, ["504"]),
    ("drop", "GET", 200, ["502", "200"]),
    ("drop", "DELETE", 200, ["502", "200"]),
    ("drop", "POST", 502, ["502"]),
    ("garbage", "GET", 200, ["502", "200"]),
])
def test_the_next_node_is_tried(weir_status, script, client, dead, kind, method, status, tries):
    """Connect errors always; later errors only for what may be sent again."""
    g = weir_status
    g.clear()
    good = script(lambda c: [(c.request(), c.answer(b"good")) for _ in iter(int, 1)])
    bad = dead if kind == "refused" else script({"hang": hang, "drop": drop, "garbage": lambda c: (c.request(), c.send(b"garbage\r\n\r\n"))}[kind]).port
    first_bad = [{"host": "127.0.0.1", "port": bad, "weight": 1, "priority": 1}, {"host": "127.0.0.1", "port": good.port, "weight": 1, "priority": 0}]
    proxy_all(g, {"type": "roundrobin", "nodes": first_bad, "timeout": {"connect": 1, "send": 1, "read": 0.3 * SLOW}})
    r = client(g).ask("/", *(["Content-Length: 2"] if method in ("POST", "PUT", "PATCH") else []), method=method,
                      body=b"hi" if method in ("POST", "PUT", "PATCH") else b"")
    assert r.status == status
    assert r.headers["x-apisix-upstream-status"] == ", ".join(tries)
    if status != 200:
        assert good.connections == 0


@pytest.fixture(scope="module")
def weir_status():
    g = Gateway({"apisix": {"show_upstream_status_in_response_header": True}, "nginx_config": {"worker_processes": 1}})
    yield g
    g.close()


@pytest.mark.parametrize("n,retries,tries", [(1, None, 1), (3, None, 3), (3, 0, 1), (3, 1, 2), (2, 5, 2), (1, 2, 3)])
def test_how_many_tries(weir_status, script, n, retries, tries):
    """1 + retries, by default one a node; a node that failed is not asked again unless it is the only one."""
    g = weir_status
    g.clear()
    bad = [script(drop) for _ in range(n)]
    proxy_all(g, nodes(*(b.port for b in bad), **({} if retries is None else {"retries": retries})))
    r = g.get("/")
    assert (r.status, r.headers["x-apisix-upstream-status"]) == (502, ", ".join(["502"] * tries))
    assert sum(b.connections for b in bad) == tries


def test_the_upstreams_own_errors_are_not_retried(weir_status, script):
    weir_status.clear()
    ups = [script(lambda c: (c.request(), c.answer(b"no", "503 Busy"))) for _ in range(2)]
    proxy_all(weir_status, nodes(*(u.port for u in ups)))
    r = weir_status.get("/")
    assert (r.status, r.body, r.headers["x-apisix-upstream-status"]) == (503, b"no", "503")


def test_retry_timeout_ends_the_tries(weir_status, script):
    g = weir_status
    g.clear()
    ups = [script(hang) for _ in range(4)]
    proxy_all(g, nodes(*(u.port for u in ups), retry_timeout=0.5 * SLOW, timeout={"connect": 1, "send": 1, "read": 0.4 * SLOW}))
    start = time.monotonic()
    r = g.get("/")
    assert (r.status, r.headers["x-apisix-upstream-status"]) == (502, "504, 504")
    assert time.monotonic() - start < 1.3 * SLOW


def test_tries_are_in_the_access_log(weir_status, script, dead):
    g = weir_status
    g.clear()
    good = script(lambda c: (c.request(), c.answer(b"good")))
    proxy_all(g, {"type": "roundrobin", "nodes": [{"host": "127.0.0.1", "port": dead, "weight": 1, "priority": 1},
                                                  {"host": "127.0.0.1", "port": good.port, "weight": 1, "priority": 0}]})
    before = g.logged()
    assert g.get("/logged").status == 200
    line = g.access_lines(before + 1)[-1]
    assert f"127.0.0.1:{dead}, 127.0.0.1:{good.port} 502, 200 0." in line


# ---- timeouts ----

def test_the_wait_for_an_answer_is_limited(gw, script):
    proxy_all(gw, script(hang).nodes(timeout={"connect": 1, "send": 1, "read": 0.3}))
    start = time.monotonic()
    r = gw.get("/")
    took = time.monotonic() - start
    assert (r.status, r.headers["x-apisix-upstream-status"]) == (504, "504")
    assert b"504 Gateway Time-out" in r.body
    assert 0.25 < took < 0.35 + 0.5 * SLOW


def test_the_wait_between_two_reads_is_limited_not_the_answer(gw, script, client):
    def up(c):
        c.request()
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(8):
            threading.Event().wait(0.2 * SLOW)
            c.send(b"0123456789")
        c.rest()

    proxy_all(gw, script(up), timeout={"connect": 1, "send": 1, "read": 0.6 * SLOW})
    c = client(gw)
    c.send(get("/"))
    assert c.head().line == "HTTP/1.1 200 OK"
    assert c.rest() == b"0123456789" * 8


def test_connecting_is_limited(gw):
    """A listener whose queue is full does not answer the SYN."""
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(0)
    fillers = []
    for _ in range(3):
        f = socket.socket()
        f.setblocking(False)
        f.connect_ex(s.getsockname())
        fillers.append(f)
    proxy_all(gw, nodes(s.getsockname()[1], timeout={"connect": 0.3, "send": 5, "read": 5}))
    start = time.monotonic()
    r = gw.get("/")
    took = time.monotonic() - start
    for f in [s, *fillers]:
        f.close()
    assert r.status == 504 and 0.25 < took < 0.35 + 0.5 * SLOW


def test_sending_is_limited(gw, script, client):
    """The upstream takes no byte of a large body: not a wait for ever."""
    done = threading.Event()
    upstream = script(lambda c: done.wait(30), rcvbuf=4096)
    proxy_all(gw, upstream.nodes(timeout={"connect": 5, "send": 0.5, "read": 0.5}))
    c = client(gw)

    def send():
        try:
            c.send(get("/", f"Content-Length: {64 << 20}", method="PUT"), payload(64 << 20))
        except OSError:
            pass

    sender = threading.Thread(target=send)
    start = time.monotonic()
    sender.start()
    assert c.reply().status == 504
    assert time.monotonic() - start < 5 * SLOW
    done.set()
    c.rest()
    sender.join()


@pytest.mark.parametrize("upstream_read,route_read", [(30, 0.3), (None, 0.3)])
def test_the_routes_timeout_wins(gw, script, upstream_read, route_read):
    more = {"timeout": {"connect": 1, "send": 1, "read": upstream_read}} if upstream_read else {}
    proxy_all(gw, script(hang).nodes(**more), timeout={"connect": 1, "send": 1, "read": route_read})
    start = time.monotonic()
    assert gw.get("/").status == 504
    assert time.monotonic() - start < 0.4 + 1 * SLOW


# ---- the choice of a node ----

def test_weights(one_core, nginx, client):
    one_core.clear()
    proxy_all(one_core, nginx.nodes(3, 1, 0))
    c = client(one_core)
    got = Counter(c.ask().headers["x-saw-port"] for _ in range(80))
    assert got == {str(nginx.ports[0]): 60, str(nginx.ports[1]): 20}


def test_least_conn_counts_answers_until_they_are_out(one_core, script, client):
    one_core.clear()
    go = threading.Event()

    def slow(c):
        while True:
            if c.request().path == "/hold":
                c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
                assert go.wait(20)
                c.send(b"slow")
            else:
                c.answer(b"slow")

    def fast(c):
        while True:
            c.request()
            c.answer(b"fast")

    a, b = script(slow), script(fast)
    proxy_all(one_core, {**nodes(a.port, b.port), "type": "least_conn"})
    holders = []
    while a.connections == 0 or not holders:
        c = client(one_core)
        c.send(get("/hold"))
        c.head()
        holders.append(c)
    other = client(one_core)
    assert {other.ask().body for _ in range(20)} == {b"fast"}
    go.set()
    assert holders[-1].exactly(4) in (b"slow", b"fast")
    for c in holders:
        c.close()
    wait_for(lambda: b"slow" in {other.ask().body for _ in range(4)}, what="the slow node is asked again")


def test_ewma_prefers_the_quicker_node(one_core, script, client):
    one_core.clear()
    got = Counter()

    def up(name, wait):
        def serve(c):
            while True:
                c.request()
                got[name] += 1
                threading.Event().wait(wait)
                c.answer(b"x")
        return serve

    proxy_all(one_core, {**nodes(script(up("slow", 0.02 * SLOW)).port, script(up("quick", 0)).port), "type": "ewma"})
    c = client(one_core)
    for _ in range(100):
        c.ask()
    assert got["quick"] > 70, got


def test_chash_keeps_a_key_on_its_node(gw, nginx, client):
    proxy_all(gw, {**nginx.nodes(), "type": "chash", "hash_on": "header", "key": "X-Key"})
    of_key = {}
    for _ in range(3):
        c = client(gw)
        for key in range(30):
            port = c.ask("/", f"X-Key: {key}").headers["x-saw-port"]
            assert of_key.setdefault(key, port) == port
    assert len(set(of_key.values())) == 3


def test_lower_priority_nodes_serve_when_the_higher_ones_fail(gw, nginx, dead):
    def of(*three):
        return {"type": "roundrobin", "nodes": [{"host": "127.0.0.1", "port": p, "weight": 1, "priority": prio} for p, prio in three]}

    proxy_all(gw, of((nginx.ports[0], 10), (nginx.ports[1], 5)))
    assert {gw.get("/").headers["x-saw-port"] for _ in range(6)} == {str(nginx.ports[0])}
    proxy_all(gw, of((dead, 10), (nginx.ports[1], 5)))
    assert {gw.get("/").headers["x-saw-port"] for _ in range(6)} == {str(nginx.ports[1])}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_nodes_by_name_and_address(gw, nginx, host):
    proxy_all(gw, {"type": "roundrobin", "nodes": [{"host": host, "port": nginx.ports[0], "weight": 1}]})
    for _ in range(3):
        assert gw.get("/").headers["x-saw-port"] == str(nginx.ports[0])


@pytest.mark.parametrize("key", ["localhost:{}", "127.0.0.1:{}", "[::1]:{}"])
def test_nodes_as_a_map(gw, nginx, key):
    proxy_all(gw, {"type": "roundrobin", "nodes": {key.format(nginx.ports[0]): 1}})
    assert gw.get("/").status == 200


# ---- merging ----

def test_which_upstream_wins(gw, script):
    names = ["route", "route_id", "service", "service_id"]
    ups = {n: script(lambda c, n=n: [(c.request(), c.answer(n.encode())) for _ in iter(int, 1)]) for n in names}
    gw.put("/upstreams/r", ups["route_id"].nodes())
    gw.put("/upstreams/s", ups["service_id"].nodes())
    gw.put("/services/inline", {"upstream": ups["service"].nodes()})
    gw.put("/services/by_id", {"upstream_id": "s"})
    gw.put("/services/both", {"upstream_id": "s", "upstream": ups["service"].nodes()})
    gw.put("/services/none", {"name": "none"})
    cases = [
        ({"upstream": ups["route"].nodes()}, "route"),
        ({"upstream_id": "r"}, "route_id"),
        ({"upstream_id": "r", "upstream": ups["route"].nodes()}, "route_id"),
        ({"service_id": "inline"}, "service"),
        ({"service_id": "by_id"}, "service_id"),
        ({"service_id": "both"}, "service_id"),
        ({"service_id": "inline", "upstream_id": "r"}, "route_id"),
        ({"service_id": "by_id", "upstream": ups["route"].nodes()}, "route"),
        ({"service_id": "none"}, 503),
    ]
    for route, wanted in cases:
        gw.put("/routes/1", {"uri": "/*", **route})
        r = gw.get("/")
        assert (r.body.decode() if r.status == 200 else r.status) == wanted, route


def test_hosts_of_a_service_hold_for_its_routes(gw, nginx):
    gw.put("/services/s", {"hosts": ["s.test"], "upstream": nginx.nodes(1)})
    gw.put("/routes/1", {"uri": "/a", "service_id": "s"})
    gw.put("/routes/2", {"uri": "/b", "service_id": "s", "host": "r.test"})
    wanted = {("/a", "s.test"): 200, ("/a", "r.test"): 404, ("/b", "r.test"): 200, ("/b", "s.test"): 404}
    assert {k: gw.get(k[0], headers={"Host": k[1]}).status for k in wanted} == wanted


def test_a_changed_upstream_is_used_by_the_next_request(gw, nginx, client):
    gw.put("/upstreams/u", nginx.nodes(1))
    gw.put("/routes/1", {"uri": "/*", "upstream_id": "u"})
    c = client(gw)
    for i in range(20):
        port = nginx.ports[i % 2]
        gw.put("/upstreams/u", nodes(port))
        assert c.ask().headers["x-saw-port"] == str(port)


# ---- Host and X-Forwarded-* ----

@pytest.mark.parametrize("more,wanted", [
    ({}, "client.test:81"),
    ({"pass_host": "pass"}, "client.test:81"),
    ({"pass_host": "node"}, "{node}"),
    ({"pass_host": "rewrite", "upstream_host": "up.test:99"}, "up.test:99"),
])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_pass_host(gw, upstream, client, more, wanted, host):
    proxy_all(gw, {"type": "roundrobin", "nodes": {f"{host}:{upstream.port}": 1}, **more})
    assert client(gw).ask("/", "Host: client.test:81").status == 200
    h = dict(upstream.last.headers)
    assert h["Host"] == wanted.format(node=f"{host}:{upstream.port}")
    assert h["X-Forwarded-Host"] == "client.test:81"
    assert [k for k, _ in upstream.last.headers].count("Host") == 1


CLIENT_FIELDS = ["X-Forwarded-For: 1.1.1.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: x.test:444", "X-Forwarded-Port: 444", "Forwarded: for=1.1.1.1", "X-Real-IP: 2.2.2.2"]


@pytest.fixture(scope="module")
def trusting():
    """127.0.0.2 is a trusted proxy, nobody else; no real_ip_from."""
    g = Gateway({"apisix": {"trusted_addresses": ["127.0.0.2", "::1"]}, "nginx_config": {"http": {"real_ip_from": ["192.0.2.1"]}}})
    yield g
    g.close()


def forwarded(seen):
    h = {}
    for k, v in seen.headers:
        assert k not in h, f"{k} twice"
        h[k] = v
    return {k: h.get(k) for k in ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded", "X-Real-IP")}


def test_forwarded_fields_without_a_list(weir, upstream, client):
    """X-Forwarded-For is continued, the others are overwritten."""
    g = weir({"nginx_config": {"http": {"real_ip_from": ["192.0.2.1"]}}})
    proxy_all(g, upstream)
    c = client(g)
    c.ask()
    assert forwarded(upstream.last) == {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "a.test",
                                        "X-Forwarded-Port": str(g.port), "Forwarded": None, "X-Real-IP": "127.0.0.1"}
    c.ask("/", *CLIENT_FIELDS)
    assert forwarded(upstream.last) == {"X-Forwarded-For": "1.1.1.1, 127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "a.test",
                                        "X-Forwarded-Port": str(g.port), "Forwarded": None, "X-Real-IP": "127.0.0.1"}
    c.ask("/", "Host: h.test:8443", "X-Forwarded-For: 1.1.1.1", "x-forwarded-for: 3.3.3.3, 4.4.4.4")
    assert forwarded(upstream.last)["X-Forwarded-For"] == "1.1.1.1, 3.3.3.3, 4.4.4.4, 127.0.0.1"
    assert forwarded(upstream.last)["X-Forwarded-Port"] == "8443"


@pytest.mark.parametrize("source,fields,wanted", [
    ("127.0.0.2", CLIENT_FIELDS, {"X-Forwarded-For": "1.1.1.1, 127.0.0.2", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "x.test:444",
                                  "X-Forwarded-Port": "444", "Forwarded": "for=1.1.1.1", "X-Real-IP": "127.0.0.2"}),
    ("127.0.0.2", ["X-Forwarded-Proto: https"], {"X-Forwarded-For": "127.0.0.2", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.test",
                                                 "X-Forwarded-Port": "{port}", "Forwarded": None, "X-Real-IP": "127.0.0.2"}),
    ("127.0.0.1", CLIENT_FIELDS, {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "a.test",
                                  "X-Forwarded-Port": "{port}", "Forwarded": None, "X-Real-IP": "127.0.0.1"}),
    ("127.0.0.1", [], {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "a.test",
                       "X-Forwarded-Port": "{port}", "Forwarded": None, "X-Real-IP": "127.0.0.1"}),
])
def test_forwarded_fields_with_trusted_addresses(trusting, upstream, client, source, fields, wanted):
    """Inside the list they are believed, outside even X-Forwarded-For is dropped first."""
    trusting.clear()
    proxy_all(trusting, upstream)
    client(trusting, source=source).ask("/", *fields)
    assert forwarded(upstream.last) == {k: v and v.format(port=trusting.port) for k, v in wanted.items()}


@pytest.mark.parametrize("config,source,field,wanted", [
    ({}, "127.0.0.1", "X-Real-IP: 9.9.9.9", "9.9.9.9"),
    ({}, "127.0.0.1", "X-Real-IP: 2001:db8::1", "2001:db8::1"),
    ({}, "127.0.0.1", "X-Real-IP: nonsense", "127.0.0.1"),
    ({}, "127.0.0.1", "X-Real-IP: ", "127.0.0.1"),
    ({}, "127.0.0.2", "X-Real-IP: 9.9.9.9", "127.0.0.2"),
    ({"real_ip_from": ["127.0.0.0/8"]}, "127.0.0.2", "X-Real-IP: 9.9.9.9", "9.9.9.9"),
    ({"real_ip_header": "X-Forwarded-For"}, "127.0.0.1", "X-Forwarded-For: 5.5.5.5, 6.6.6.6", "6.6.6.6"),
    ({"real_ip_header": "X-Forwarded-For", "real_ip_recursive": "on", "real_ip_from": ["127.0.0.1", "10.0.0.0/8"]}, "127.0.0.1",
     "X-Forwarded-For: 4.4.4.4, 5.5.5.5, 10.1.1.1, 10.2.2.2", "5.5.5.5"),
    ({"real_ip_header": "X-Forwarded-For", "real_ip_recursive": "on", "real_ip_from": ["127.0.0.1", "10.0.0.0/8"]}, "127.0.0.1",
     "X-Forwarded-For: 10.1.1.1, 10.2.2.2", "10.1.1.1"),
    ({"real_ip_header": "X-Forwarded-For", "real_ip_recursive": "off", "real_ip_from": ["127.0.0.1", "10.0.0.0/8"]}, "127.0.0.1",
     "X-Forwarded-For: 5.5.5.5, 10.2.2.2", "10.2.2.2"),
    ({"real_ip_header": "X-Client"}, "127.0.0.1", "X-Client: 7.7.7.7:1234", "7.7.7.7"),
])
def test_the_clients_address_behind_a_proxy(real_ips, upstream, client, config, source, field, wanted):
    """What plugins, logs and the upstream take for the client."""
    g = real_ips(config)
    g.clear()
    proxy_all(g, upstream, remote_addrs=[wanted])
    assert client(g, source=source).ask("/", field).status == 200
    h = dict(upstream.last.headers)
    assert h["X-Real-IP"] == wanted and h["X-Forwarded-For"].split(", ")[-1] == wanted


@pytest.fixture(scope="module")
def real_ips():
    """One gateway for each configuration."""
    made = {}

    def make(config):
        key = json.dumps(config)
        if key not in made:
            made[key] = Gateway({"nginx_config": {"http": config}})
        return made[key]

    yield make
    for g in made.values():
        g.close()


# ---- listeners ----

def test_ipv6_and_unix_listeners(weir, upstream, client, tmp_path):
    v6, path = free_port(), str(tmp_path / "weir.sock")
    g = weir({"apisix": {"node_listen": [{"ip": "::1", "port": v6}, {"ip": f"unix:{path}", "port": 80}, {"ip": "127.0.0.1", "port": free_port()}]}})
    proxy_all(g, upstream)
    assert client(v6, host="::1").ask("/six").status == 200
    assert (upstream.last.path, forwarded(upstream.last)["X-Real-IP"]) == ("/six", "::1")
    for _ in range(8):
        assert client(path).ask("/unix").status == 200
    assert forwarded(upstream.last)["X-Real-IP"] == "unix:"
    assert client(path).ask("/unix", "X-Real-IP: 9.9.9.9").status == 200
    assert forwarded(upstream.last)["X-Real-IP"] == "9.9.9.9"


def test_several_ports_and_all_addresses(weir, upstream):
    ports = [free_port(), free_port()]
    g = weir({"apisix": {"node_listen": ports, "enable_ipv6": True}})
    proxy_all(g, upstream)
    for port in ports:
        for host in ("127.0.0.1", "::1"):
            with Conn(port, host=host) as c:
                assert c.ask().status == 200
            assert forwarded(upstream.last)["X-Forwarded-Port"] == str(port)
