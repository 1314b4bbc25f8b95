# SPDX-License-Identifier: Apache-2.0
"""csrf, ua-restriction, referer-restriction, client-control, error-page, public-api, node-status, batch-requests through the gateway."""
import json
import os
import re
import threading

import pytest

from weirtest import SLOW, Gateway, Upstream, chunked, get, raw_exchange

PLUGINS = ["csrf", "ua-restriction", "referer-restriction", "client-control", "error-page", "public-api", "node-status", "batch-requests",
           "ip-restriction", "key-auth", "fault-injection", "limit-count", "proxy-rewrite"]
BATCH = "/apisix/batch-requests"


@pytest.fixture(scope="module")
def gateway():
    g = Gateway({"plugins": PLUGINS})
    yield g
    g.close()


def route(gw, upstream, plugins, **more):
    gw.put("/routes/1", {"uri": "/*", "upstream": upstream.nodes(), "plugins": plugins, **more})


# ---- csrf, ua-restriction, referer-restriction ----

def test_a_token_of_an_answer_opens_the_way_for_a_post(gw, upstream):
    route(gw, upstream, {"csrf": {"key": "k"}})
    cookie = gw.get("/").headers["set-cookie"].split(";")[0]
    name, token = cookie.split("=", 1)
    assert gw.request("/", method="POST", headers={name: token, "Cookie": cookie}).status == 200
    r = gw.request("/", method="POST", headers={name: token[:-4] + "AAA=", "Cookie": f"{name}={token[:-4]}AAA="})
    assert (r.status, json.loads(r.body)) == (401, {"error_msg": "Failed to verify the csrf token signature"})
    assert len(upstream.seen) == 2 and "set-cookie" in r.headers


@pytest.mark.parametrize("plugins,allowed,refused,message", [
    ({"ua-restriction": {"allowlist": ["^a"], "message": "no"}}, [{"User-Agent": "abc"}], [{"User-Agent": "bac"}, {}], "no"),
    ({"ua-restriction": {"denylist": ["bot"], "bypass_missing": True}}, [{"User-Agent": "x"}, {}], [{"User-Agent": "a bot"}], "Not allowed"),
    ({"referer-restriction": {"blacklist": ["*.x.com"], "message": "no"}}, [{"Referer": "http://x.com/"}], [{"Referer": "https://a.X.com:8/b"}, {}], "no"),
])
def test_a_restriction_lets_some_in(gw, upstream, plugins, allowed, refused, message):
    route(gw, upstream, plugins)
    for headers in allowed:
        assert gw.get("/", headers=headers).status == 200
    for headers in refused:
        r = gw.get("/", headers=headers)
        assert (r.status, json.loads(r.body)) == (403, {"message": message})


# ---- client-control ----

def post_in_chunks(gw, *parts):
    answer = raw_exchange(gw.port, get("/", "Connection: close", "Transfer-Encoding: chunked", method="POST") + chunked(*parts))
    return int(answer.split()[1])


@pytest.mark.parametrize("limit,body,status", [(5, b"x" * 5, 200), (5, b"x" * 6, 413), (200_000, b"x" * 200_000, 200), (100_000, b"x" * 200_000, 413), (0, b"x" * 200_000, 200)])
def test_a_body_is_measured_however_it_comes(gw, upstream, limit, body, status):
    route(gw, upstream, {"client-control": {"max_body_size": limit}})
    assert gw.request("/", method="POST", body=body).status == status
    assert post_in_chunks(gw, body[:4], body[4:]) == status
    route(gw, upstream, {"client-control": {"max_body_size": limit}}, vars=[["post_arg.none", "!", "==", "1"]])  # reads it first
    assert post_in_chunks(gw, body[:4], body[4:]) == status


def test_a_route_may_take_more_than_config_yaml_says(weir, upstream):
    gw = weir({"nginx_config": {"http": {"client_max_body_size": "500"}}})
    gw.put("/routes/1", {"uri": "/*", "upstream": upstream.nodes()})
    assert gw.request("/", method="POST", body="x" * 501).status == 413
    route(gw, upstream, {"client-control": {"max_body_size": 600}})
    assert [gw.request("/", method="POST", body="x" * n).status for n in (600, 601)] == [200, 413]
    route(gw, upstream, {"client-control": {}})
    assert gw.request("/", method="POST", body="x" * 501).status == 413


# ---- error-page ----

def test_own_errors_get_pages_of_the_metadata(gw, upstream):
    gw.put("/global_rules/1", {"plugins": {"error-page": {}}})
    gw.put("/routes/1", {"uri": "/up", "upstream": upstream.nodes()})
    gw.put("/routes/2", {"uri": "/abort/500", "plugins": {"fault-injection": {"abort": {"http_status": 500, "body": "b"}}}})
    gw.put("/routes/3", {"uri": "/abort/503", "plugins": {"fault-injection": {"abort": {"http_status": 503}}}})
    gw.put("/routes/4", {"uri": "/dead", "upstream": {"nodes": {"127.0.0.1:1": 1}}})
    upstream.answer = lambda s: (404, [("Content-Type", "text/plain")], b"of the upstream")

    def page(path, method="GET"):
        r = gw.request(path, method=method)
        return r.status, r.headers.get("content-type"), int(r.headers["content-length"]), r.body

    usual = page("/none")
    assert usual[:2] == (404, "text/plain; charset=utf-8")
    pages = {"error_404": {"body": "<b>gone</b>"}, "error_500": {"body": '{"oh": 1}', "content_type": "application/json"}, "error_503": {"body": ""}}
    gw.put("/plugin_metadata/error-page", pages)
    assert page("/none") == usual  # not enabled
    gw.put("/plugin_metadata/error-page", {"enable": True, **pages})
    assert page("/none") == (404, "text/html; charset=utf-8", 11, b"<b>gone</b>")
    assert page("/none", "HEAD") == (404, "text/html; charset=utf-8", 11, b"")
    assert page("/abort/500") == (500, "application/json", 9, b'{"oh": 1}')
    assert b"<center>weir</center>" in page("/abort/503")[3]
    assert page("/up") == (404, "text/plain; charset=utf-8", 15, b"of the upstream")
    assert page("/dead")[0] == 502 and b"weir" in page("/dead")[3]
    gw.put("/plugin_metadata/error-page", {"enable": True, "error_404": {}})
    assert b"<hr><center>Apache APISIX</center>" in page("/none")[3]
    gw.delete("/plugin_metadata/error-page")
    assert page("/none") == usual


# ---- public-api, node-status ----

def test_a_route_with_public_api_leads_to_what_plugins_offer(gw, upstream):
    gw.put("/routes/1", {"uri": "/apisix/status", "plugins": {"public-api": {}}})
    gw.put("/routes/2", {"uri": "/s", "plugins": {"public-api": {"uri": "/apisix/status"}, "key-auth": {}}})
    gw.put("/consumers", {"username": "jack", "plugins": {"key-auth": {"key": "k"}}})
    assert gw.get("/apisix/status").status == 200
    assert gw.request("/apisix/status", method="POST").status == 404
    assert [gw.get("/s", headers=h).status for h in ({}, {"apikey": "k"})] == [401, 200]
    gw.delete("/routes/1")
    assert gw.get("/apisix/status").status == 404


def test_an_endpoint_is_there_while_its_plugin_is_on(weir):
    gw = weir({"plugins": ["public-api", "node-status"], "plugin_attr": {"batch-requests": {"uri": "/b"}}})
    for i, uri in enumerate(("/apisix/status", BATCH, "/b")):
        gw.put(f"/routes/{i}", {"uri": uri, "plugins": {"public-api": {}}})

    def statuses():
        return [gw.get("/apisix/status").status] + [gw.request(p, method="POST").status for p in (BATCH, "/b")]

    assert statuses() == [200, 404, 404]
    gw.reload({"plugins": ["public-api", "batch-requests"]})
    assert statuses() == [404, 404, 400]


def test_counts_are_those_of_the_whole_gateway_and_the_id_stays(tmp_path, upstream):
    data, config = str(tmp_path / "data"), {"plugins": PLUGINS, "apisix": {"id": "east-1"}}
    ids = []
    for conf in (config, {"plugins": PLUGINS}, config):
        g = Gateway(conf, data=data)
        try:
            g.put("/routes/1", {"uri": "/s", "plugins": {"public-api": {"uri": "/apisix/status"}}})
            before, after = [json.loads(g.get("/s").body) for _ in range(2)]
            ids.append(after["id"])
            assert all(int(after["status"][k]) == int(before["status"][k]) + 1 for k in ("accepted", "handled", "total"))
            assert int(after["status"]["writing"]) >= 1
        finally:
            g.close()
    assert ids[0] == "east-1" and re.fullmatch(r"[0-9a-f-]{36}", ids[1]) and ids[2] == ids[1]
    assert open(os.path.join(data, "apisix.uid")).read() == ids[1]


# ---- batch-requests ----

@pytest.fixture
def batch(gw):
    gw.put("/routes/batch", {"uri": BATCH, "plugins": {"public-api": {}}})

    def send(body, **kw):
        r = gw.request(BATCH, method="POST", body=body, **kw)
        assert r.headers["content-type"] == "application/json", r
        return r.status, json.loads(r.body)

    return send


def paths(*names, **more):
    return {"pipeline": [{"path": n} for n in names], **more}


@pytest.mark.parametrize("body,message", [
    ("", "no request body, you should give at least one pipeline setting"),
    ("invalid json string", "invalid request body: invalid json string, err: Expected value but found invalid token at character 1"),
    ({"pipeline1": []}, 'bad request body: object matches none of the required: ["pipeline"]'),
    ({"pipeline": []}, 'bad request body: property "pipeline" validation failed: expect array to have at least 1 items'),
    (paths("/a", timeout="200"), 'bad request body: property "timeout" validation failed: wrong type: expected integer, got string'),
    (paths("/a", timeout=0), 'bad request body: property "timeout" validation failed: expected 0 to be at least 1'),
    (paths(""), 'bad request body: property "pipeline" validation failed: failed to validate item 1: property "path" validation failed: '
                "string too short, expected at least 1, got 0"),
    ({"pipeline": [{}]}, 'bad request body: property "pipeline" validation failed: failed to validate item 1: property "path" is required'),
    ({"pipeline": [{"path": "/", "version": 1.2}]}, 'bad request body: property "pipeline" validation failed: failed to validate item 1: '
                                                   'property "version" validation failed: matches none of the enum values'),
    ({"pipeline": [{"path": "/", "method": "put"}]}, 'bad request body: property "pipeline" validation failed: failed to validate item 1: '
                                                    'property "method" validation failed: matches none of the enum values'),
    ({"pipeline": [{"path": "/", "uri": "/"}]}, 'bad request body: property "pipeline" validation failed: failed to validate item 1: '
                                               "additional properties forbidden, found uri"),
])
def test_a_batch_that_is_none_is_refused(batch, body, message):
    assert batch(body) == (400, {"error_msg": message})


def test_fields_and_query_come_from_part_batch_and_request(gw, upstream, batch):
    route(gw, upstream, {"proxy-rewrite": {"headers": {"set": {"X-At": "$server_addr:$server_port"}}}})
    status, answers = batch({
        "query": {"base": "b q", "conflict": 1},
        "headers": {"X-Base": "base", "X-Conflict": "header", "X-Outer": "common", "X-List": ["a", 2], "Content-Type": "text/x"},
        "pipeline": [
            {"path": "/b", "headers": {"x-conflict": "part", "Connection": "X-Base", "Content-Length": "7", "Transfer-Encoding": "chunked"}},
            {"path": "/c?d", "method": "PUT", "query": {"conflict": True, "off": False, "l": [1, "ä"]}, "body": "some"},
            {"path": "/d", "version": 1.0, "method": "POST", "headers": {"Host": "h.com"}},
        ]}, headers={"X-Outer": "outer", "X-Own": "1", "Cookie": "c=d", "Content-Type": "application/json", "Connection": "close"})
    assert status == 200 and [(a["status"], a["body"]) for a in answers] == [(200, "hello from upstream")] * 3
    lines = [(s.method, s.path, s.body) for s in upstream.seen]
    assert lines == [("GET", "/b?base=b%20q&conflict=1", b""), ("PUT", "/c?d&conflict&l=1&l=%C3%A4&base=b%20q", b"some"), ("POST", "/d?base=b%20q&conflict=1", b"")]
    seen = [[(k.lower(), v) for k, v in s.headers] for s in upstream.seen]
    for got, conflict in zip(seen, ("part", "header", "header")):
        for field in [("x-base", "base"), ("x-conflict", conflict), ("x-outer", "common"), ("x-own", "1"), ("x-list", "a"), ("x-list", "2"), ("cookie", "c=d"),
                      ("content-type", "text/x"), ("x-at", f"127.0.0.1:{gw.port}"), ("x-forwarded-port", str(gw.port))]:
            assert got.count(field) == 1, field
    assert ("host", "h.com") in seen[2] and ("content-length", "0") in seen[2] and ("host", f"127.0.0.1:{gw.port}") in seen[0]
    assert not any(k == "content-length" for k, _ in seen[0])


def test_answers_are_told_as_they_are(gw, batch):
    answers = {
        "/fields": (201, [("X-A", "1"), ("Set-Cookie", "a=1"), ("x-a", "2"), ("Set-Cookie", "b=2")], b"\x00\xff\"\n"),
        "/none": (204, [], b""),
        "/long": (200, [("Transfer-Encoding", "chunked")], b"5\r\nhello\r\n3\r\n!!!\r\n0\r\n\r\n"),
    }
    u = Upstream(answer=lambda s: answers[s.path])
    gw.put("/routes/1", {"uri": "/*", "upstream": u.nodes()})
    r = gw.request(BATCH, method="POST", body={"pipeline": [{"path": "/fields"}, {"path": "/none"}, {"path": "/fields", "method": "HEAD"}, {"path": "/long"}, {"path": "/nowhere/../.."}]})
    first, none, head, long, outside = json.loads(r.body.decode("latin-1"))
    assert (first["status"], first["body"]) == (201, "\x00\xff\"\n")
    assert first["headers"]["X-A"] == ["1", "2"] and first["headers"]["Set-Cookie"] == ["a=1", "b=2"] and "x-a" not in first["headers"]
    assert none["status"] == 204 and "body" not in none
    assert head["status"] == 201 and "body" not in head
    assert long["body"] == "hello!!!"
    assert outside["status"] == 400 and outside["reason"] == "Bad Request"
    u.close()


def test_a_part_that_takes_too_long_or_breaks_is_no_answer_of_another(gw, batch):
    over = threading.Event()

    def answer(seen):
        if seen.path == "/slow":
            over.wait(10 * SLOW)
        return 200, [], seen.path.encode()

    u = Upstream(answer=answer)
    gw.put("/routes/1", {"uri": "/*", "upstream": u.nodes()})
    status, answers = batch({"timeout": 200, "pipeline": [{"path": "/slow"}, {"path": "/b"}, {"path": "/c d"}, {"path": "/e"}]})
    over.set()
    late, malformed = {"status": 504, "reason": "upstream timeout"}, {"status": 400, "reason": "malformed request"}
    assert status == 200 and [answers[0], answers[2]] == [late, malformed]
    assert [a["body"] for a in (answers[1], answers[3])] == ["/b", "/e"]
    u.close()


@pytest.mark.parametrize("trusted", [["127.0.0.1"], ["10.0.0.0/8"]])
def test_no_field_makes_a_part_somebody_else(weir, upstream, trusted):
    gw = weir({"plugins": PLUGINS, "nginx_config": {"http": {"real_ip_from": trusted}}})
    outside = "9.9.9.9" if trusted == ["127.0.0.1"] else "127.0.0.1"
    gw.put("/routes/b", {"uri": BATCH, "plugins": {"public-api": {}}})
    gw.put("/routes/1", {"uri": "/open", "upstream": upstream.nodes()})
    gw.put("/routes/2", {"uri": "/shut", "upstream": upstream.nodes(), "plugins": {"ip-restriction": {"blacklist": [outside]}}})
    forged = {"X-Real-IP": "1.1.1.1", "X-Forwarded-For": "1.1.1.1"}
    r = gw.request(BATCH, method="POST", headers={"X-Real-IP": "9.9.9.9"}, body={"headers": forged, "pipeline": [{"path": "/open", "headers": forged}, {"path": "/shut"}]})
    assert [a["status"] for a in json.loads(r.body)] == [200, 403]
    assert ("X-Real-IP", outside) in upstream.last.headers


def test_limits_of_the_metadata_hold(gw, upstream, batch):
    gw.put("/routes/1", {"uri": "/*", "upstream": upstream.nodes()})
    gw.put("/plugin_metadata/batch-requests", {"max_body_size": 200, "max_pipeline_items": 2})
    assert batch(paths("/a", "/b"))[0] == 200
    assert batch(paths("/a", "/b", "/c")) == (400, {"error_msg": 'bad request body: property "pipeline" validation failed: expect array to have at most 2 items'})
    assert batch(paths("/" + 200 * "a")) == (413, {"error_msg": f"request size {len(json.dumps(paths('/' + 200 * 'a')))} is greater than the maximum size 200 allowed"})
    big = get(BATCH, "Connection: close", "Transfer-Encoding: chunked", method="POST") + chunked(b"x" * 100, b"x" * 101)
    assert b'{"error_msg":"request size 201 is greater than the maximum size 200 allowed"}\n' in raw_exchange(gw.port, big)
    assert len(upstream.seen) == 2
    assert gw.admin("PUT", "/plugin_metadata/batch-requests", {"max_body_size": 0}).status == 400


def test_a_batch_in_a_batch_and_plugins_of_the_parts_work(gw, upstream, batch):
    gw.put("/routes/1", {"uri": "/a", "upstream": upstream.nodes(), "plugins": {"limit-count": {"count": 2, "time_window": 60}}})
    inner = {"path": BATCH, "method": "POST", "body": json.dumps(paths("/a", "/a"))}
    status, answers = batch({"pipeline": [{"path": "/a"}, inner]})
    assert status == 200 and answers[0]["status"] == 200
    assert [a["status"] for a in json.loads(answers[1]["body"])] == [200, 503]


def test_a_large_body_goes_both_ways(gw, batch):
    u = Upstream(answer=lambda s: (200, [], s.body * 4))
    gw.put("/routes/1", {"uri": "/a", "upstream": u.nodes()})
    status, answers = batch({"pipeline": [{"path": "/a", "method": "POST", "body": "x" * 400_000}] * 2})
    assert status == 200 and [len(a["body"]) for a in answers] == [1_600_000] * 2
    u.close()


def test_answers_have_room_for_64_mib(gw, batch):
    u = Upstream(answer=lambda s: (200, [], b"\0" * 12_000_000))  # six times as much in JSON
    gw.put("/routes/1", {"uri": "/a", "upstream": u.nodes()})
    assert batch(paths("/a", "/a")) == (500, {"error_msg": "request failed: the answers are larger than 64 MiB"})
    assert len(u.seen) == 1
    u.close()


def test_a_client_that_goes_away_takes_its_batch_along(gw, script, client):
    asked, gone = threading.Event(), threading.Event()

    def hold(c):
        c.head()
        asked.set()
        if not c.more():
            gone.set()

    gw.put("/routes/batch", {"uri": BATCH, "plugins": {"public-api": {}}})
    gw.put("/routes/1", {"uri": "/a", "upstream": script(hold).nodes()})
    body = json.dumps(paths("/a")).encode()
    c = client(gw)
    c.send(get(BATCH, f"Content-Length: {len(body)}", method="POST"), body)
    assert asked.wait(10 * SLOW)
    c.close()
    assert gone.wait(10 * SLOW)
