# SPDX-License-Identifier: Apache-2.0
"""Upgrades: who gets a tunnel, what passes through it, how it ends."""
import threading
import time

import pytest

from weirtest import SLOW, chunked, digest, get, payload, proxy_all, wait_for

UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"


def switch(after=lambda c: None, early=b""):
    """An upstream that agrees to every upgrade."""
    def up(c):
        head = c.head()
        if "Upgrade" in dict(head.headers):
            c.send(SWITCH, early)
            after(c)
        else:
            c.answer(b"plain")
    return up


def echo(c):
    while data := c.some():
        c.send(data)


def upgraded(client, gw, **kw):
    c = client(gw, **kw)
    c.send(get("/ws", *UPGRADE))
    r = c.reply()
    assert r.status == 101
    return c


@pytest.mark.parametrize("route,service,tunnel", [
    ({"enable_websocket": True}, None, True),
    ({"enable_websocket": False}, None, False),
    ({}, None, False),
    ({}, {"enable_websocket": True}, True),
    ({"enable_websocket": False}, {"enable_websocket": True}, False),
    ({"enable_websocket": True}, {"enable_websocket": False}, True),
])
def test_enable_websocket_of_route_and_service(gw, script, client, route, service, tunnel):
    """The route decides, else its service; without it the upgrade is not asked for."""
    up = script(switch(echo))
    if service is not None:
        gw.put("/services/s", {"upstream": up.nodes(), **service})
        gw.put("/routes/1", {"uri": "/*", "service_id": "s", **route})
    else:
        proxy_all(gw, up, **route)
    c = client(gw)
    r = c.ask("/ws", *UPGRADE)
    if not tunnel:
        assert (r.status, r.body) == (200, b"plain")
        return
    assert r.status == 101
    assert (r.headers["connection"].lower(), r.headers["upgrade"]) == ("upgrade", "websocket")
    assert r.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert not {"content-length", "transfer-encoding"} & set(r.headers)
    c.send(b"\x81\x02hi")
    assert c.exactly(4) == b"\x81\x02hi"


def test_what_the_upstream_is_asked(gw, script, client):
    heads = []

    def up(c):
        heads.append(c.head())
        c.send(SWITCH)

    proxy_all(gw, script(up), enable_websocket=True)
    c = client(gw)
    assert c.ask("/ws?x=1", *UPGRADE).status == 101
    h = {k.lower(): v for k, v in heads[0].headers}
    assert heads[0].line == "GET /ws?x=1 HTTP/1.1"
    assert (h["upgrade"], h["connection"], h["sec-websocket-key"]) == ("websocket", "Upgrade", "dGhlIHNhbXBsZSBub25jZQ==")
    assert h["host"] == "a.test" and "content-length" not in h


@pytest.mark.parametrize("fields", [("Upgrade: websocket",), ("Connection: upgrade",), ("Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AA"), ()])
def test_no_upgrade_without_both_fields(gw, script, client, fields):
    proxy_all(gw, script(switch(echo)), enable_websocket=True)
    c = client(gw)
    for _ in range(2):
        assert c.ask("/ws", *fields).body == b"plain"


def test_a_refused_upgrade_is_an_ordinary_answer(gw, script, client):
    def up(c):
        while True:
            r = c.request()
            c.answer(b"no" if r.path == "/ws" else b"next", "426 Upgrade Required" if r.path == "/ws" else "200 OK", "Sec-WebSocket-Version: 8")

    upstream = script(up)
    proxy_all(gw, upstream, enable_websocket=True)
    c = client(gw)
    assert c.ask("/ws", *UPGRADE)[:1] == (426,)
    assert c.ask("/a").body == b"next"
    assert upstream.connections == 1


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("fields", [(), ("Connection: keep-alive",)])
def test_a_101_nobody_asked_for_is_a_502(gw, script, client, enabled, fields):
    def up(c):
        c.head()
        c.send(SWITCH, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        c.rest()

    proxy_all(gw, script(up).nodes(retries=0), enable_websocket=enabled)
    c = client(gw)
    assert c.ask("/ws", *fields).status == 502
    c = client(gw)
    c.send(get("/a", *fields), get("/smuggled", *fields))
    assert [c.reply().status for _ in range(2)] == [502, 502]


def test_data_passes_both_ways_at_once(gw, script, client):
    """8 MB each way, sent and read at the same time, whole."""
    total = 8 << 20
    sums = []

    def after(c):
        sender = threading.Thread(target=c.send, args=(payload(total, 2),))
        sender.start()
        sums.append(digest(c.exactly(total)))
        sender.join()
        c.rest()

    proxy_all(gw, script(switch(after)), enable_websocket=True)
    c = upgraded(client, gw)
    sender = threading.Thread(target=c.send, args=(payload(total, 1),))
    sender.start()
    assert digest(c.exactly(total)) == digest(payload(total, 2))
    sender.join()
    wait_for(lambda: sums, what="the upstream has all of it")
    assert sums == [digest(payload(total, 1))]


def test_bytes_that_come_with_the_heads_are_the_first_of_the_tunnel(gw, script, client):
    """In the packet of the request's head, and in that of the 101."""
    proxy_all(gw, script(switch(echo, early=b"welcome")), enable_websocket=True)
    c = client(gw)
    c.send(get("/ws", *UPGRADE), b"early frame")
    r = c.reply()
    assert r.status == 101
    assert c.exactly(18) == b"welcomeearly frame"
    c.send(b"more")
    assert c.exactly(4) == b"more"


def test_bytes_before_the_101_wait_for_it(gw, script, client):
    go = threading.Event()

    def up(c):
        c.head()
        assert go.wait(10)
        c.send(SWITCH)
        echo(c)

    proxy_all(gw, script(up), enable_websocket=True)
    c = client(gw)
    c.send(get("/ws", *UPGRADE))
    c.send(b"impatient")
    go.set()
    assert c.reply().status == 101
    assert c.exactly(9) == b"impatient"


def test_a_request_body_before_the_upgrade_is_a_body(gw, script, client):
    def up(c):
        r = c.request()
        assert r.body == b"body"
        c.send(SWITCH)
        echo(c)

    proxy_all(gw, script(up), enable_websocket=True)
    c = client(gw)
    c.send(get("/ws", *UPGRADE, "Transfer-Encoding: chunked"), chunked(b"bo", b"dy"), b"frame")
    assert c.reply().status == 101
    assert c.exactly(5) == b"frame"


def test_half_close_is_passed_on_and_the_other_direction_goes_on(gw, script, client):
    ended = threading.Event()

    def after(c):
        assert c.rest() == b"question"
        ended.set()
        c.send(b"a long ")
        # The gateway had a grace of a second once; an answer may take longer.
        threading.Event().wait(1.5)
        c.send(b"answer")

    proxy_all(gw, script(switch(after)), enable_websocket=True)
    c = upgraded(client, gw)
    c.send(b"question")
    c.shutdown()
    assert ended.wait(5 * SLOW)
    assert c.rest() == b"a long answer"


def test_half_close_by_the_upstream(gw, script, client):
    got = []

    def after(c):
        c.send(b"bye")
        c.shutdown()
        got.append(c.rest())

    proxy_all(gw, script(switch(after)), enable_websocket=True)
    c = upgraded(client, gw)
    assert c.rest() == b"bye"
    c.send(b"still here")
    c.close()
    wait_for(lambda: got, what="the upstream has the rest")
    assert got == [b"still here"]


@pytest.mark.parametrize("who", ["client", "upstream"])
def test_a_side_that_breaks_ends_the_tunnel(gw, script, client, who):
    ends, ready, peers = [], threading.Event(), []

    def after(c):
        c.send(b"x")
        if who == "upstream":
            assert ready.wait(10)
            c.reset()
            return
        ends.append(c.rest())

    proxy_all(gw, script(switch(after)), enable_websocket=True)
    c = upgraded(client, gw)
    assert c.exactly(1) == b"x"
    if who == "client":
        c.reset()
        wait_for(lambda: ends, what="the upstream sees the end")
    else:
        ready.set()
        assert c.rest() == b""
        c.close()
    wait_for(lambda: gw.connections() == 0, what="the tunnel is gone")


def test_a_tunnel_is_idle_when_neither_side_moves(gw, script, client):
    """Traffic of one direction keeps both; silence for the read timeout ends them."""
    proxy_all(gw, script(switch(echo)), enable_websocket=True, timeout={"connect": 1, "send": 1, "read": 1 * SLOW})
    c = upgraded(client, gw)
    start = time.monotonic()
    while time.monotonic() - start < 2.5 * SLOW:
        c.send(b"ping")
        assert c.exactly(4) == b"ping"
        threading.Event().wait(0.1)
    start = time.monotonic()
    assert c.rest() == b""
    assert 0.8 * SLOW < time.monotonic() - start < 3 * SLOW


def test_a_slow_reader_stalls_the_tunnel(gw, script, client):
    sent = [0]

    def after(c):
        block = payload(65536)
        while sent[0] < 64 << 20:
            sent[0] += c.sock.send(block)

    proxy_all(gw, script(switch(after)), enable_websocket=True)
    before = gw.rss()
    c = upgraded(client, gw, rcvbuf=65536)
    seen = [-1, time.monotonic()]

    def still():
        if seen[0] != sent[0]:
            seen[:] = [sent[0], time.monotonic()]
        return time.monotonic() - seen[1] > 0.5 * SLOW

    wait_for(still, what="the sender stalls")
    assert sent[0] < 32 << 20 and gw.rss() - before < 6 << 20
    c.close()


def test_the_access_log_has_a_line_when_the_tunnel_ends(gw, script, client):
    proxy_all(gw, script(switch(echo)), enable_websocket=True)
    before = gw.logged()
    c = upgraded(client, gw)
    c.send(b"0123456789")
    assert c.exactly(10) == b"0123456789"
    c.close()
    line = gw.access_lines(before + 1)[before]
    assert '"GET /ws HTTP/1.1" 101 10 ' in line
