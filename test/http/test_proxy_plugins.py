# SPDX-License-Identifier: Apache-2.0
"""proxy-mirror and proxy-control: who gets the request, when, and how much of it is waited for."""
import json
import threading
from collections import Counter

import pytest
import weirtest
from pki import Authority
from weirtest import get, lower, payload, proxy_all, wait_for

BIG = payload(300000)


@pytest.fixture
def mirror():
    u = weirtest.Upstream()
    yield u
    u.close()


def mirrored(gw, upstream, mirror, more=None, plugins=None, **route):
    to = {"host": f"http://127.0.0.1:{mirror.port}", **(more or {})}
    gw.put("/routes/1", {"uri": "/*", "plugins": {"proxy-mirror": to, **(plugins or {})}, "upstream": upstream.nodes(), **route})


def copies(mirror, n):
    wait_for(lambda: len(mirror.seen) >= n, what="copies")
    assert len(mirror.seen) == n
    return mirror.seen


REWRITE = {"proxy-rewrite": {"uri": "/new$uri", "host": "new.test", "headers": {"set": {"X-New": "1"}}}}

# conf, other plugins, target -> path of the copy
PATHS = [
    ({}, {}, "/a?b=c", "/a?b=c"),
    ({}, {}, "/a%2Fb//c?", "/a%2Fb//c?"),
    ({"path": "/m"}, {}, "/a?b=c", "/m?b=c"),
    ({"path": "/m"}, {}, "/a", "/m"),
    ({"path": "/m x"}, {}, "/a", "/m%20x"),
    ({"path": "/m", "path_concat_mode": "prefix"}, {}, "/a?b=c", "/m/a?b=c"),
    ({}, REWRITE, "/a?b=c", "/new/a?b=c"),
    ({"path": "/m", "path_concat_mode": "prefix"}, REWRITE, "/a?b=c", "/m/new/a?b=c"),
    ({"sample_ratio": 1}, {}, "/a", "/a"),
]


@pytest.mark.parametrize("conf, plugins, target, path", PATHS)
def test_the_copy_is_of_what_the_upstream_gets(gw, upstream, mirror, conf, plugins, target, path):
    mirrored(gw, upstream, mirror, conf, plugins)
    assert gw.get(target, headers={"X-A": "1", "X-Forwarded-For": "10.0.0.1"}).body == b"hello from upstream"
    copy, sent = copies(mirror, 1)[0], upstream.last
    assert (copy.path, copy.method, copy.headers, copy.body) == (path, "GET", sent.headers, b"")


@pytest.mark.parametrize("method, body, fields", [
    ("POST", b"short", []), ("PUT", BIG, []), ("POST", b"", [("Content-Length", "0")]), ("PATCH", b"chunked", [("Transfer-Encoding", "chunked")])])
def test_the_body_goes_along(gw, upstream, mirror, method, body, fields):
    mirrored(gw, upstream, mirror)
    data = weirtest.chunked(body) if fields and fields[0][0] == "Transfer-Encoding" else body
    assert gw.request("/", method=method, body=data, headers=fields).status == 200
    copy = copies(mirror, 1)[0]
    assert (copy.method, copy.body, copy.headers) == (method, body, upstream.last.headers) and upstream.last.body == body


@pytest.mark.parametrize("known", [True, False])
def test_a_body_too_long_is_not_copied(gw, upstream, mirror, known):
    """And the original goes on all the same."""
    data = payload(5 << 20)
    mirrored(gw, upstream, mirror)
    fields = [] if known else [("Transfer-Encoding", "chunked")]
    assert gw.request("/", method="POST", body=data if known else weirtest.chunked(data), headers=fields).status == 200
    assert upstream.last.body == data
    assert gw.get("/after").status == 200
    assert copies(mirror, 1)[0].path == "/after"
    assert "not mirrored" in gw.log_text() and "too long" in gw.log_text()


def test_connections_to_the_mirror_are_used_again(gw, upstream, mirror):
    ports = set()
    accept = mirror._serve
    mirror._serve = lambda c: (ports.add(c.getpeername()[1]), accept(c))
    mirrored(gw, upstream, mirror)
    for i in range(20):
        assert gw.get(f"/{i}").status == 200
        copies(mirror, i + 1)
    assert len(ports) <= 3  # one a core; one more where the last copy's answer is still being read


def test_a_mirror_with_tls(weir, upstream, tmp_path):
    """Anybody will do, or with certificates to trust only who has the name."""
    ca = Authority(tmp_path)
    server = weirtest.Nginx(*(f"ssl on; ssl_certificate {c.cert_path}; ssl_certificate_key {c.key_path}; access_log DIR/log; location / {{ return 200; }}"
                              for c in (ca.issue("127.0.0.1"), ca.issue("a.test"))))

    def seen():
        with open(server.dir + "/log") as f:
            return [line.split('"')[1].split()[1] for line in f]

    try:
        plain, checking = weir(), weir({"apisix": {"ssl": {"ssl_trusted_certificate": ca.cert_path}}})
        for gw, port, path in ((plain, server.ports[1], "/plain"), (checking, server.ports[0], "/checked"), (checking, server.ports[1], "/refused")):
            gw.put("/routes/1", {"uri": "/*", "plugins": {"proxy-mirror": {"host": f"https://127.0.0.1:{port}"}}, "upstream": upstream.nodes()})
            assert gw.get(path).status == 200
        wait_for(lambda: "mirroring to 127.0.0.1" in checking.log_text(), what="the line of the one that is refused")
        wait_for(lambda: sorted(seen()) == ["/checked", "/plain"], what="the copies")
    finally:
        server.close()


def test_sample_ratio(gw, upstream, mirror):
    mirrored(gw, upstream, mirror, {"sample_ratio": 0.5})
    for _ in range(200):
        assert gw.get("/").status == 200
    assert gw.get("/last").status == 200
    wait_for(lambda: 60 <= len(mirror.seen) <= 141, what="about a half")
    assert len(upstream.seen) == 201


def test_nobody_waits_for_the_mirror(gw, upstream, script):
    """A mirror that does not answer, one that is not there, one that answers nonsense or without end."""
    def endless(peer):
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.send(bytes(65536))

    silent = script(lambda peer: (peer.request(), peer.some()))
    for host in (f"127.0.0.1:{silent.port}", f"127.0.0.1:{weirtest.free_port()}", f"127.0.0.1:{script(lambda p: p.send(b'nonsense')).port}",
                 f"127.0.0.1:{script(endless).port}", "no-such-name.invalid", "[::1]:1"):
        gw.put("/routes/1", {"uri": "/*", "plugins": {"proxy-mirror": {"host": "http://" + host}}, "upstream": upstream.nodes()})
        before = len(upstream.seen)
        for _ in range(10):
            assert gw.get("/").body == b"hello from upstream"
        assert len(upstream.seen) == before + 10
    wait_for(lambda: "mirroring to" in gw.log_text(), what="a line in the log")


def test_copies_that_are_on_their_way_are_bounded(weir, upstream, script):
    """Beyond 256 a core they are left out, and the stop does not wait for those that hang."""
    gw = weir({"nginx_config": {"worker_processes": 1}})
    hanging = script(lambda peer: (peer.request(), peer.some()))
    mirrored(gw, upstream, hanging)
    for _ in range(300):
        assert gw.get("/").status == 200
    wait_for(lambda: hanging.connections >= 256, what="copies")
    assert hanging.connections == 256 and "256 are on their way" in gw.log_text()


def test_timeouts_of_plugin_attr(weir, upstream, script):
    gw = weir({"plugin_attr": {"proxy-mirror": {"timeout": {"read": "200ms"}}}})
    mirrored(gw, upstream, script(lambda peer: (peer.request(), peer.some())))
    assert gw.get("/slow").status == 200
    wait_for(lambda: "failed: Connection timed out, request: \"GET /slow\"" in gw.log_text(), what="the timeout")


def test_a_mirror_is_asked_once_whatever_the_tries(gw, upstream, mirror):
    """Two dead nodes before the living one."""
    nodes = [{"host": "127.0.0.1", "port": p, "weight": 1, "priority": -i} for i, p in enumerate([weirtest.free_port(), weirtest.free_port(), upstream.port])]
    gw.put("/routes/1", {"uri": "/*", "plugins": {"proxy-mirror": {"host": f"http://127.0.0.1:{mirror.port}"}}, "upstream": {"type": "roundrobin", "nodes": nodes}})
    for i in range(5):
        assert gw.get(f"/{i}").status == 200
    assert Counter(s.path for s in copies(mirror, 5)) == {f"/{i}": 1 for i in range(5)}


def test_a_refused_request_is_not_copied(gw, upstream, mirror):
    mirrored(gw, upstream, mirror, plugins={"ip-restriction": {"blacklist": ["127.0.0.1"]}})
    assert gw.get("/no").status == 403
    mirrored(gw, upstream, mirror)
    assert gw.get("/yes").status == 200
    assert [s.path for s in copies(mirror, 1)] == ["/yes"]


def test_an_upgrade_is_copied_without_it(gw, script, mirror):
    def switch(peer):
        peer.request()
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        peer.some()

    mirrored(gw, script(switch), mirror, enable_websocket=True)
    with weirtest.Conn(gw.port) as c:
        c.send(get("/ws", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x"))
        assert c.head().line.startswith("HTTP/1.1 101")
    names = {k.lower() for k, _ in copies(mirror, 1)[0].headers}
    assert not names & {"upgrade", "connection"} and "sec-websocket-key" in names


@pytest.mark.parametrize("conf, text", [
    ({"host": "grpcs://a.test"}, "scheme grpcs is not available in this build"), ({"host": "grpc://a.test"}, "scheme grpc is not available in this build"),
    ({"host": "http://a.test:0"}, "port"), ({"host": "http://a.test:65536"}, "port"), ({"host": "ftp://a.test"}, "host"), ({"host": "a.test"}, "host"),
    ({"host": "http://a.test/x"}, "host"), ({"host": "http://a.test", "path": "m"}, "path"), ({"host": "http://a.test", "path": "/m?x"}, "path"),
    ({"host": "http://a.test", "sample_ratio": 0}, "sample_ratio"), ({"host": "http://a.test", "path_concat_mode": "x"}, "path_concat_mode"), ({}, "host"),
])
def test_what_the_admin_api_refuses(gw, conf, text):
    r = gw.admin("PUT", "/routes/1", {"uri": "/*", "plugins": {"proxy-mirror": conf}, "upstream": {"nodes": {"127.0.0.1:1": 1}}})
    assert r.status == 400 and text in json.loads(r.body)["error_msg"]


# ---- proxy-control ----

@pytest.mark.parametrize("buffering", [True, False, None])
def test_request_buffering(gw, script, client, buffering):
    """The upstream hears of a request before its short body is there, or only then."""
    heard = threading.Event()

    def answer(peer):
        head = peer.head()
        heard.set()
        n = int(lower(head.headers)["content-length"])
        peer.answer(peer.exactly(n))

    proxy_all(gw, script(answer), plugins={} if buffering is None else {"proxy-control": {"request_buffering": buffering}})
    c = client(gw)
    c.send(get("/", "Content-Length: 6", method="POST"), b"abc")
    if buffering is False:
        assert heard.wait(10 * weirtest.SLOW)
    else:
        wait_for(lambda: gw.connections("writing") == 1, what="a request that waits for its body")
        assert not heard.is_set()
    c.send(b"def")
    assert c.reply().body == b"abcdef"


def test_without_buffering_bodies_arrive_whole(gw, upstream):
    gw.put("/routes/1", {"uri": "/*", "plugins": {"proxy-control": {"request_buffering": False}}, "upstream": upstream.nodes()})
    for body, fields in ((b"", []), (b"a", []), (BIG, []), (BIG, [("Transfer-Encoding", "chunked")])):
        data = weirtest.chunked(body[:100000], body[100000:]) if fields else body
        assert gw.request("/", method="POST", body=data, headers=fields).status == 200
        assert upstream.last.body == body
        assert ("transfer-encoding" in lower(upstream.last.headers)) == bool(fields)
