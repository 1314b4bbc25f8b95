# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 towards clients: traffic as it should be, and how a connection ends."""
import base64
import concurrent.futures
import hashlib
import shutil
import signal
import subprocess
import threading

import pytest
from h2test import ACK, CODES, GOAWAY, PING, Client, Raw, Stream, frame, get
from pki import Authority, Tls
from weirtest import SLOW, chunked, digest, free_port, payload, proxy_all, wait_for


def curl(*args):
    return subprocess.run(["curl", "-s", "--http2-prior-knowledge", "--max-time", "20", *args], capture_output=True)


def answer_digest(seen):
    return 200, [("Content-Type", "text/plain")], digest(seen.body).encode()


def test_a_request_goes_through(gw, upstream):
    proxy_all(gw, upstream)
    logged = gw.logged()
    with Client(gw) as c:
        r = c.ask("/a?b=c", ("user-agent", "x"), ("x-y", "z"), ("cookie", "a=1"), ("cookie", "b=2"))
    assert (r.status, r.body, r.reset) == (200, b"hello from upstream", None)
    assert r.headers["x-up"] == "1" and r.headers["server"].startswith("weir") and r.headers["content-length"] == "19"
    assert not {"connection", "transfer-encoding", "keep-alive"} & set(r.headers)
    seen = upstream.last
    low = {k.lower(): v for k, v in seen.headers}
    assert (seen.method, seen.path, seen.version) == ("GET", "/a?b=c", "HTTP/1.1")
    assert low["host"] == "a.test" and low["x-y"] == "z" and low["cookie"] == "a=1; b=2" and low["x-forwarded-proto"] == "http"
    assert not [k for k in low if k.startswith(":")]
    assert '"GET /a?b=c HTTP/2.0" 200' in gw.access_lines(logged + 1)[-1]


def test_both_versions_share_the_port(gw, upstream):
    proxy_all(gw, upstream)
    r = curl("-w", "%{http_version} %{http_code}", f"http://127.0.0.1:{gw.port}/")
    assert r.stdout == b"hello from upstream2 200"
    assert gw.get("/").body == b"hello from upstream"


def test_it_begins_behind_a_proxy_header_too(weir, upstream):
    port = free_port()
    gw = weir({"apisix": {"proxy_protocol": {"listen_http_port": port}}})
    proxy_all(gw, upstream)
    assert curl("--haproxy-protocol", "-w", "%{http_version}", f"http://127.0.0.1:{port}/").stdout == b"hello from upstream2"


def test_it_can_be_switched_off(weir, upstream, client):
    gw = weir({"apisix": {"enable_http2": False}})
    proxy_all(gw, upstream)
    c = client(gw)
    c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert c.head().line.startswith("HTTP/1.1 400") or c.head().line.startswith("HTTP/1.1 505")


@pytest.mark.parametrize("upgrade", ["h2c", "websocket, h2c"])
def test_an_upgrade_to_it_is_not_offered(gw, upstream, client, upgrade):
    proxy_all(gw, upstream)
    assert client(gw).ask("/", "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {upgrade}", "HTTP2-Settings: AAMAAABkAAQAAP__").status == 200
    assert not {"upgrade", "http2-settings"} & {k.lower() for k, _ in upstream.last.headers}


@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load (package nghttp2-client) is not installed")
def test_h2load(weir, upstream):
    gw = weir({"weir": {"keepalive_requests": 100000}})
    proxy_all(gw, upstream)
    out = subprocess.run(["h2load", "-n", "2000", "-c", "4", "-m", "50", f"http://127.0.0.1:{gw.port}/"], capture_output=True, text=True, timeout=60 * SLOW).stdout
    assert "2000 succeeded, 0 failed" in out, out


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("n", [0, 1, 16384, 65535, 65536, 65537, 1 << 20, 5 << 20])
def test_uploads(gw, upstream, n, says_length):
    upstream.answer = answer_digest
    proxy_all(gw, upstream)
    body = payload(n)
    with Client(gw) as c:
        r = c.ask("/", *([("content-length", str(n))] if says_length else []), method="POST", body=body)
    assert (r.status, r.body.decode()) == (200, digest(body))


@pytest.mark.parametrize("window,n", [(1000, 500_000), (65535, 8 << 20), (1 << 20, 8 << 20)])
@pytest.mark.parametrize("chunks", [False, True])
def test_downloads_go_at_the_pace_of_the_windows(gw, script, window, n, chunks):
    body = payload(n)

    def serve(c):
        c.request()
        c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunked(body)) if chunks else c.answer(body)

    proxy_all(gw, script(serve))
    with Client(gw, window=window) as c:
        r = c.ask("/")
    assert (r.status, digest(r.body)) == (200, digest(body))


def test_a_hundred_streams_at_once(gw, upstream):
    together = threading.Barrier(100)

    def serve(seen):
        together.wait(20 * SLOW)
        return 200, [], seen.path.encode() + payload(20000, int(seen.path[1:]))

    upstream.answer = serve
    proxy_all(gw, upstream)
    with Client(gw) as c:
        ids = {c.open(f"/{i}"): i for i in range(100)}
        c.wait(*ids)
        for sid, i in ids.items():
            assert c.streams[sid].answer().body == f"/{i}".encode() + payload(20000, i)


def test_uploads_and_downloads_share_a_connection(gw, upstream):
    upstream.answer = lambda s: answer_digest(s) if s.method == "POST" else (200, [], payload(1 << 20, int(s.path[1:])))
    proxy_all(gw, upstream)
    with Client(gw) as c:
        gets = {c.open(f"/{i}"): i for i in range(10)}
        posts = {c.open(f"/{i}", method="POST", end=False): i for i in range(10, 14)}
        for sid, i in posts.items():
            c.send(sid, payload(1 << 20, i))
        c.wait(*gets, *posts)
        for sid, i in gets.items():
            assert digest(c.streams[sid].body) == digest(payload(1 << 20, i))
        for sid, i in posts.items():
            assert c.streams[sid].body.decode() == digest(payload(1 << 20, i))


def test_one_stream_without_window_does_not_hold_up_others(gw, upstream):
    upstream.answer = lambda s: (200, [], payload(200_000))
    proxy_all(gw, upstream)
    with Client(gw, hold=True, window=10_000) as c:
        stuck = c.open("/stuck")
        c.until(lambda: len(c.streams[stuck].body) == 10_000)
        other = c.open("/other")
        c.h2.increment_flow_control_window(1 << 20, other)
        c.h2.increment_flow_control_window(1 << 20)
        c.flush()
        assert len(c.wait(other).body) == 200_000 and not c.streams[stuck].ended
        c.h2.increment_flow_control_window(1 << 20, stuck)
        c.flush()
        assert len(c.wait(stuck).body) == 200_000


def test_interim_answers_and_trailers_pass(gw, script):
    def serve(c):
        c.request()
        c.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: ETag\r\n\r\n", chunked(b"hi", trailers=[("ETag", "e")]))

    proxy_all(gw, script(serve))
    with Client(gw) as c:
        r = c.ask("/")
    assert [(s, dict(h)["link"]) for s, h in r.interim] == [(103, "</a>")]
    assert (r.status, r.body, r.trailers) == (200, b"hi", [("etag", "e")])


def test_continue_is_said_before_the_body(gw, upstream):
    upstream.answer = answer_digest
    proxy_all(gw, upstream)
    with Client(gw) as c:
        sid = c.open("/", ("expect", "100-continue"), method="POST", end=False)
        c.until(lambda: c.streams[sid].interim)
        c.send(sid, b"body")
        r = c.wait(sid)
    assert r.interim[0][0] == 100 and r.body.decode() == digest(b"body")


@pytest.mark.parametrize("method,status,length", [("HEAD", 200, "5"), ("GET", 204, None), ("GET", 304, None)])
def test_answers_without_body(gw, upstream, method, status, length):
    upstream.answer = lambda s: (status, [("Content-Length", "5")] if status == 200 else [], b"")
    proxy_all(gw, upstream)
    with Client(gw) as c:
        for _ in range(2):
            r = c.ask("/", method=method)
            assert (r.status, r.body, r.headers.get("content-length"), r.reset) == (status, b"", length, None)


def test_the_gateway_answers_by_itself(gw, upstream):
    proxy_all(gw, upstream, plugins={"mocking": {"response_status": 201, "response_example": "made", "content_type": "text/plain"}})
    with Client(gw) as c:
        r = c.ask("/")
        assert (r.status, r.body) == (201, b"made")
        gw.delete("/routes/1")
        assert c.ask("/").status == 404


def test_a_plugin_waits_while_others_go_on(gw, upstream):
    proxy_all(gw, upstream, plugins={"fault-injection": {"delay": {"duration": 0.5, "vars": [[["arg_slow", "==", "1"]]]}}})
    with Client(gw) as c:
        slow, quick = c.open("/?slow=1"), c.open("/")
        c.wait(quick)
        assert not c.streams[slow].ended
        assert c.wait(slow).status == 200


# ---- WebSocket (RFC 8441) ----

def ws(path="/ws", *fields, protocol="websocket"):
    return [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http"), (":path", path), (":authority", "a.test"), ("sec-websocket-version", "13"), *fields]


def accept(key):
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


def opened(fn, early=b""):
    """An upstream that switches and goes on with fn."""
    def serve(c):
        head = c.head()
        c.heads = dict(head.headers)
        key = {k.lower(): v for k, v in head.headers}["sec-websocket-key"]
        c.send(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept(key)}\r\nX-Up: 1\r\n\r\n".encode(), early)
        fn(c, head)
    return serve


def echo(c, head):
    while data := c.some():
        c.send(data)


def test_a_websocket_over_a_stream(gw, script):
    heads = []

    def up(c, head):
        heads.append(head)
        echo(c, head)

    proxy_all(gw, script(opened(up, b"early")), enable_websocket=True)
    logged = gw.logged()
    with Raw(gw) as c:
        c.head(1, ws("/ws?a=b", ("sec-websocket-protocol", "chat")), end=False)
        c.read(lambda: c.bodies.get(1) == b"early")
        assert [f for f in c.frames if f[0] == 4 and b"\0\x08\0\0\0\1" in f[3]]  # it was offered
        h = dict(c.heads[1][0])
        assert h[":status"] == "200" and h["x-up"] == "1" and not {"sec-websocket-accept", "upgrade", "connection", "content-length"} & set(h)
        c.data(1, b"\x81\x02hi", end=False)
        c.read(lambda: c.bodies.get(1) == b"early\x81\x02hi")
        c.data(1)  # ends it
        assert c.read(lambda: 1 in c.ended)
    up = {k.lower(): v for k, v in heads[0].headers}
    assert heads[0].line == "GET /ws?a=b HTTP/1.1"
    assert (up["upgrade"], up["connection"], up["sec-websocket-version"], up["sec-websocket-protocol"]) == ("websocket", "Upgrade", "13", "chat")
    assert '"GET /ws?a=b HTTP/2.0" 200' in gw.access_lines(logged + 1)[-1]


def test_a_websocket_carries_much_both_ways_beside_other_streams(gw, script):
    total, sums = 4 << 20, []

    def up(c, head):
        sender = threading.Thread(target=c.send, args=(payload(total, 2),))
        sender.start()
        sums.append(digest(c.exactly(total)))
        sender.join()

    proxy_all(gw, script(opened(up)), enable_websocket=True)
    with Client(gw) as c:
        sid = c.h2.get_next_available_stream_id()
        c.streams[sid] = Stream()
        c.h2.send_headers(sid, ws())
        c.flush()
        c.send(sid, payload(total, 1), end=False)
        c.until(lambda: len(c.streams[sid].body) == total)
        assert digest(c.streams[sid].body) == digest(payload(total, 2))
        c.wait(sid)
    assert sums == [digest(payload(total, 1))]


@pytest.mark.parametrize("how", ["reset", "leave"])
def test_a_websocket_ends_with_its_stream(gw, script, how):
    ended = threading.Event()

    def up(c, head):
        c.rest()
        ended.set()

    proxy_all(gw, script(opened(up, b"x")), enable_websocket=True)
    c = Raw(gw)
    c.head(1, ws(), end=False)
    c.read(lambda: c.bodies.get(1))
    c.rst(1) if how == "reset" else c.close()
    assert ended.wait(10 * SLOW)
    c.close()


def test_an_idle_websocket_is_ended(gw, script):
    up = script(opened(lambda c, head: c.rest()))
    proxy_all(gw, up.nodes(timeout={"connect": 5, "send": 5, "read": 1}), enable_websocket=True)
    with Raw(gw) as c:
        c.head(1, ws(), end=False)
        assert c.status(1) == 200 and c.reset(1) == "INTERNAL_ERROR"


REFUSALS = {
    "no switch": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", 502),
    "refused": (b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno", 426),
    "somebody else's": (b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nevil", 502),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_no_tunnel_without_a_switch(gw, script, kind):
    answer, status = REFUSALS[kind]

    def up(c):
        c.head()
        c.send(answer)
        c.rest()

    gw.allowed.append("is not of that opening")
    proxy_all(gw, script(up).nodes(retries=0), enable_websocket=True)
    with Raw(gw) as c:
        c.head(1, ws(), end=False)
        assert c.status(1) == status
        c.read(lambda: 1 in c.ended)
        assert b"evil" not in c.bodies.get(1, b"")


def test_no_tunnel_where_it_is_not_enabled(gw, upstream):
    proxy_all(gw, upstream)
    with Raw(gw) as c:
        c.head(1, ws(), end=False)
        assert c.status(1) == 502
        c.head(3, ws(protocol="connect-udp"), end=False)
        assert c.status(3) == 501
    assert [s.method for s in upstream.seen] == ["GET"] and "Upgrade" not in dict(upstream.seen[0].headers)


# ---- with TLS ----

@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki")).issue("a.test").ssl("a.test")


@pytest.fixture
def tls(gw, certificate):
    """tls() -> a connection whose sides have agreed on HTTP/2."""
    gw.put("/ssls/1", certificate)

    def connect():
        t = Tls(gw.tls_port, "a.test", alpn=["h2", "http/1.1"])
        assert t.socket.selected_alpn_protocol() == "h2"
        return t.socket
    yield connect
    gw.delete("/ssls/1")


def test_requests_over_tls(gw, upstream, tls):
    upstream.answer = lambda s: answer_digest(s) if s.method == "POST" else (200, [], payload(1 << 20, int(s.path[1:])))
    proxy_all(gw, upstream)
    with Client(gw, sock=tls()) as c:
        gets = {c.open(f"/{i}"): i for i in range(20)}
        body = payload(3 << 20)
        assert c.ask("/", method="POST", body=body).body.decode() == digest(body)
        c.wait(*gets)
        for sid, i in gets.items():
            assert digest(c.streams[sid].body) == digest(payload(1 << 20, i))
    assert {k.lower(): v for k, v in upstream.last.headers}["x-forwarded-proto"] == "https"


def test_a_connection_over_tls_rests_and_goes_on(gw, upstream, tls):
    proxy_all(gw, upstream)
    with Client(gw, sock=tls()) as c:
        for _ in range(3):
            assert c.ask("/").status == 200
            wait_for(lambda: gw.connections("waiting") == 1, what="the connection is idle")


def test_the_client_chooses_the_version(weir, upstream, certificate):
    for on, agreed in ((True, "h2"), (False, "http/1.1")):
        gw = weir({"apisix": {"enable_http2": on}})
        gw.put("/ssls/1", certificate)
        with Tls(gw.tls_port, "a.test", alpn=["http/1.1", "h2"]) as c:
            assert c.socket.selected_alpn_protocol() == agreed  # the gateway's preference
        with Tls(gw.tls_port, "a.test", alpn=["http/1.1"]) as c:
            assert c.socket.selected_alpn_protocol() == "http/1.1" and c.ask("/", host="a.test").status == 404


def test_the_preface_without_alpn_is_no_request(gw, upstream, certificate):
    gw.put("/ssls/1", certificate)
    with Tls(gw.tls_port, "a.test") as c:
        c.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert c.socket.recv(100).startswith(b"HTTP/1.1 ")


def test_a_drain_over_tls(weir, script, certificate):
    asked, go = threading.Event(), threading.Event()

    def serve(c):
        c.request()
        asked.set()
        go.wait(20 * SLOW)
        c.answer(b"late")

    gw = weir()
    gw.put("/ssls/1", certificate)
    proxy_all(gw, script(serve))
    with Raw(gw, sock=Tls(gw.tls_port, "a.test", alpn=["h2"]).socket) as c:
        c.head(1, get("/"))
        assert asked.wait(10 * SLOW)
        gw.signal(signal.SIGTERM)
        answer_ping(c)
        go.set()
        assert c.ending() == "NO_ERROR" and c.bodies[1] == b"late" and len(goaways(c)) == 2


# ---- ends in the middle ----

def test_a_reset_by_the_client_ends_the_upstream_connection_only(gw, script):
    ended = threading.Event()

    def serve(c):
        if c.request().path == "/slow":
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nbegin")
            c.rest()
            ended.set()
        else:
            c.answer(b"quick")

    proxy_all(gw, script(serve))
    with Client(gw) as c:
        slow = c.open("/slow")
        c.until(lambda: c.streams[slow].body)
        c.h2.reset_stream(slow, 8)
        c.flush()
        assert ended.wait(10 * SLOW)
        assert c.ask("/quick").body == b"quick"


@pytest.mark.parametrize("sent", [0, 1000])
def test_a_reset_before_the_answer_is_logged_as_499(gw, script, sent):
    asked, ended = threading.Event(), threading.Event()

    def serve(c):
        c.request()
        asked.set()
        c.rest()
        ended.set()

    proxy_all(gw, script(serve))
    logged = gw.logged()
    with Client(gw) as c:
        sid = c.open("/", method="POST" if sent else "GET", end=not sent)
        if sent:
            c.send(sid, bytes(sent))
        assert asked.wait(10 * SLOW)
        c.h2.reset_stream(sid, 8)
        c.flush()
        assert ended.wait(10 * SLOW)
        assert " 499 " in gw.access_lines(logged + 1)[-1]


def test_a_client_that_leaves_takes_its_streams_along(gw, script):
    left = []

    def serve(c):
        c.request()
        c.rest()
        left.append(1)

    up = script(serve)
    proxy_all(gw, up)
    c = Client(gw)
    for _ in range(20):
        c.open("/")
    wait_for(lambda: up.connections == 20, what="requests at the upstream")
    c.wire.reset()
    wait_for(lambda: len(left) == 20, what="all upstream connections closed")
    wait_for(lambda: gw.connections() == 0, what="no connection")


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_an_answer_that_is_cut_never_looks_whole(gw, script, framing):
    def serve(c):
        c.request()
        c.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nhello".encode())

    proxy_all(gw, script(serve))
    with Client(gw) as c:
        r = c.ask("/")
        assert (r.status, r.reset) == (200, "INTERNAL_ERROR")
        assert c.ask("/").reset == "INTERNAL_ERROR"  # the connection goes on


def test_an_early_answer_stops_the_upload(gw, script):
    def serve(c):
        c.head()
        c.answer(b"enough", "413 Too Large", "Connection: close")

    proxy_all(gw, script(serve))
    with Client(gw) as c:
        sid = c.open("/", ("content-length", "10000000"), method="POST", end=False)
        c.send(sid, bytes(65535), end=False)  # as much as is gathered before the upstream is asked
        c.send(sid, bytes(20000), end=False)
        r = c.wait(sid)
        assert (r.status, r.body) == (413, b"enough")
        c.until(lambda: c.streams[sid].reset)
        assert c.streams[sid].reset == "NO_ERROR"
        assert c.ask("/").status == 413


def test_a_body_that_is_too_large_is_413(weir, upstream):
    gw = weir({"nginx_config": {"http": {"client_max_body_size": "1k"}}})
    proxy_all(gw, upstream)
    with Client(gw) as c:
        assert c.ask("/", method="POST", body=bytes(1024)).status == 200
        sid = c.open("/", method="POST", end=False)
        c.send(sid, bytes(2000), end=False)
        assert c.wait(sid).status == 413
        assert c.ask("/", ("content-length", "2000"), method="POST", body=bytes(2000)).status == 413


# ---- the end of a connection ----

def goaways(c):
    return [(int.from_bytes(p[:4], "big"), CODES[int.from_bytes(p[4:8], "big")]) for kind, _, _, p in c.frames if kind == GOAWAY]


def answer_ping(c):
    """The gateway's, behind its first GOAWAY."""
    assert c.read(lambda: c.frames and c.frames[-1][0] == PING)
    c.send(frame(PING, ACK, 0, c.frames[-1][3]))


def test_a_drain_says_goaway_twice_and_lets_streams_end(weir, script):
    asked, go = threading.Event(), threading.Event()

    def serve(c):
        c.request()
        asked.set()
        go.wait(20 * SLOW)
        c.answer(b"late")

    gw = weir()
    proxy_all(gw, script(serve))
    with Raw(gw) as c, Raw(gw) as idle:
        idle.read(lambda: len(idle.frames) == 3)
        c.head(1, get("/"))
        assert asked.wait(10 * SLOW)
        gw.signal(signal.SIGTERM)
        answer_ping(c)
        assert c.read(lambda: len(goaways(c)) == 2) and goaways(c) == [(2**31 - 1, "NO_ERROR"), (1, "NO_ERROR")]
        go.set()
        assert c.ending() == "NO_ERROR" and c.bodies[1] == b"late"
        assert idle.ending() == "NO_ERROR" and goaways(idle) == [(2**31 - 1, "NO_ERROR"), (0, "NO_ERROR")]  # with no answer to its ping
    assert gw.process.wait(10 * SLOW) == 0


def test_a_request_that_crosses_the_first_goaway_is_served(weir, upstream):
    gw = weir()
    proxy_all(gw, upstream)
    with Raw(gw) as c:
        c.head(1, get("/"))
        assert c.status(1) == 200
        gw.signal(signal.SIGTERM)
        assert c.read(lambda: c.goaway)
        c.head(3, get("/"))  # the ping behind the GOAWAY is not answered yet
        assert c.read(lambda: 3 in c.heads)
        c.send(frame(PING, ACK, 0, next(f for f in c.frames if f[0] == PING)[3]))
        assert c.ending() == "NO_ERROR" and goaways(c)[-1] == (3, "NO_ERROR")


def test_so_many_requests_and_no_more(weir, upstream):
    gw = weir({"weir": {"keepalive_requests": 5}})
    proxy_all(gw, upstream)
    with Raw(gw) as c:
        for i in range(1, 10, 2):
            c.head(i, get("/"))
            assert c.status(i) == 200
        answer_ping(c)
        assert c.ending() == "NO_ERROR" and goaways(c)[-1] == (9, "NO_ERROR")


def test_an_idle_connection_is_ended_politely(weir, upstream):
    gw = weir({"nginx_config": {"http": {"keepalive_timeout": "1s"}}})
    proxy_all(gw, upstream)
    with Raw(gw) as c:
        c.head(1, get("/"))
        assert c.status(1) == 200
        answer_ping(c)
        assert c.ending() == "NO_ERROR" and goaways(c)[-1] == (1, "NO_ERROR")


def test_a_head_must_come_in_time(weir, upstream):
    gw = weir({"nginx_config": {"http": {"client_header_timeout": "1s"}}})
    proxy_all(gw, upstream)
    for begin in (b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0\0\0\5\1\5\0\0\0\1\x82"):
        with Raw(gw, start=False) as c:
            c.send(begin)
            assert c.ending() == "NO_ERROR"


def test_a_body_must_come_in_time(weir, upstream):
    gw = weir({"nginx_config": {"http": {"client_body_timeout": "1s"}}})
    proxy_all(gw, upstream)
    with Client(gw) as c:
        sid = c.open("/", method="POST", end=False)
        c.send(sid, b"beginning", end=False)
        assert c.wait(sid).status == 408
        assert c.ask("/").status == 200


def test_a_window_must_open_in_time(weir, upstream):
    upstream.answer = lambda s: (200, [], bytes(100_000))
    gw = weir({"nginx_config": {"http": {"send_timeout": "1s"}}})
    proxy_all(gw, upstream)
    with Client(gw, hold=True, window=1000) as c:
        r = c.ask("/")
        assert (len(r.body), r.reset) == (1000, "CANCEL")


def test_trickles_are_ended(gw, upstream):
    """A byte of body, and a byte of window, now and then: less than the minimum rates, though never silent."""
    upstream.answer = lambda s: (200, [], bytes(100_000))
    proxy_all(gw, upstream)

    def trickle(c, sid, one):
        while not c.streams[sid].ended:
            try:
                c.pump()
            except TimeoutError:
                one()
                c.flush()

    def upload():
        with Client(gw, timeout=0.3) as c:
            sid = c.open("/", method="POST", end=False)
            trickle(c, sid, lambda: c.h2.send_data(sid, b"x"))
            return c.streams[sid].status

    def download():
        with Client(gw, hold=True, window=10, timeout=0.3) as c:
            sid = c.open("/")
            trickle(c, sid, lambda: c.h2.increment_flow_control_window(1, sid))
            return c.streams[sid].reset

    with concurrent.futures.ThreadPoolExecutor() as pool:
        sent, got = pool.submit(upload), pool.submit(download)
        assert (sent.result(), got.result()) == (408, "CANCEL")


def test_a_connection_rests_and_goes_on(gw, upstream):
    proxy_all(gw, upstream)
    with Client(gw) as c:
        for _ in range(2):
            assert c.ask("/").status == 200
            wait_for(lambda: gw.connections("waiting") == 1, what="the connection is idle, without fibers")


def test_a_reload_leaves_connections_alone(weir, upstream):
    gw = weir()
    proxy_all(gw, upstream)
    with Client(gw) as c:
        assert c.ask("/").status == 200
        gw.reload({"weir": {"http2_stream_window": 1 << 20, "http2_streams": 10}})
        upstream.answer = answer_digest
        body = payload(300_000)
        assert c.ask("/", method="POST", body=body).body.decode() == digest(body)
        with Client(gw) as d:
            assert d.ask("/", method="POST", body=body).body.decode() == digest(body)
            assert d.h2.remote_settings.initial_window_size == 1 << 20


def test_what_an_idle_connection_holds(weir, upstream):
    gw = weir({"nginx_config": {"worker_processes": 1}})
    proxy_all(gw, upstream)
    clients = []
    try:
        def connect(n):
            for _ in range(n):
                clients.append(Client(gw))
                assert clients[-1].ask("/").status == 200
            wait_for(lambda: gw.connections("waiting") == len(clients), what="all idle")
            return gw.rss()

        before = connect(100)
        each = (connect(300) - before) / 300
        print(f"{each:.0f} bytes of memory an idle connection of HTTP/2")
        assert each < 24 << 10 or SLOW > 1
    finally:
        for c in clients:
            c.wire.close()
