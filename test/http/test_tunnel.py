# SPDX-License-Identifier: Apache-2.0
"""Tunnels with real WebSocket clients and servers: what they carry, what they cost, how they end."""
import asyncio
import contextlib
import resource
import signal
import socket
import ssl
import threading
import time

import pytest
import websockets

from pki import Authority
from weirtest import SLOW, get, proxy_all, request, wait_for
from test_websocket import UPGRADE, echo, switch, upgraded

QUIET = {"timeout": {"connect": 6, "send": 60, "read": 60}}


class Server:
    """A WebSocket server in a thread of its own: says again what it hears, and "bye" ends with code 4001."""

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = asyncio.run_coroutine_threadsafe(self.start(), self.loop).result(10)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def start(self):
        return await websockets.serve(self.serve, "127.0.0.1", 0, max_size=None)

    async def serve(self, ws, path=None):
        async for message in ws:
            if message == "bye":
                await ws.close(4001, "as you like")
                return
            await ws.send(message)

    def nodes(self):
        return {"type": "roundrobin", "nodes": {f"127.0.0.1:{self.port}": 1}}

    async def stop(self):
        self.server.close()
        await self.server.wait_closed()

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self.stop(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


@pytest.fixture
def ws(gw):
    """The address of an echoing WebSocket server behind the gateway."""
    with Server() as s:
        gw.put("/routes/1", {"uri": "/*", "upstream": s.nodes(), "enable_websocket": True, **QUIET})
        yield f"ws://127.0.0.1:{gw.port}/chat?room=1"


def talk(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 60 * SLOW))


def test_messages_of_all_kinds_and_sizes(ws):
    async def go():
        async with websockets.connect(ws, max_size=None) as c:
            for message in ["", "hello", b"\0\xff" * 10, "ä" * 70000, b"x" * (3 << 20)]:
                await c.send(message)
                assert await c.recv() == message
            await c.send(["in ", "three ", "pieces"])
            assert await c.recv() == "in three pieces"
            await (await c.ping())
    talk(go())


def test_encrypted_tunnels(gw, ws, tmp_path):
    ca = Authority(tmp_path / "ca")
    gw.put("/ssls/a", ca.issue("a.test").ssl("a.test"))
    trust = ssl.create_default_context(cafile=ca.cert_path)

    async def one(i):
        async with websockets.connect(f"wss://a.test:{gw.tls_port}/", host="127.0.0.1", port=gw.tls_port, ssl=trust, server_hostname="a.test", max_size=None) as c:
            for message in [f"hello {i}", bytes(300000 + i), ""]:
                await c.send(message)
                assert await c.recv() == message

    async def go():
        await asyncio.gather(*(one(i) for i in range(10)))
    talk(go())
    wait_for(lambda: gw.connections() == 0, what="the tunnels are gone")


def test_a_close_passes_with_its_code(gw, ws):
    async def go():
        async with websockets.connect(ws) as c:
            await c.send("bye")
            with pytest.raises(websockets.ConnectionClosed) as e:
                await c.recv()
            assert (e.value.rcvd.code, e.value.rcvd.reason) == (4001, "as you like")
    talk(go())
    wait_for(lambda: gw.connections() == 0, what="the tunnel is gone")


def test_many_talk_at_once(gw, ws):
    async def one(i):
        async with websockets.connect(f"{ws}&many") as c:
            for k in range(20):
                await c.send(f"{i}/{k}" * (k + 1))
                assert await c.recv() == f"{i}/{k}" * (k + 1)

    async def go():
        await asyncio.gather(*(one(i) for i in range(100)))
    talk(go())
    wait_for(lambda: gw.connections() == 0, what="the tunnels are gone")
    wait_for(lambda: sum('"GET /chat?room=1&many HTTP/1.1" 101 ' in line for line in gw.access_lines()) == 100, what="all are logged")


def test_the_log_knows_the_whole_request_in_the_end(weir, script, client):
    """Though other requests have used its memory meanwhile."""
    g = weir({"nginx_config": {"worker_processes": 1, "http": {"access_log_format":
             "$remote_addr|$request|$status|$host|$http_user_agent|$arg_x|$uri|$upstream_addr|$upstream_uri|$sent_http_x_up|"
             "$body_bytes_sent|$request_time|$upstream_response_time|$server_port|$server_addr|$http_cookie|$upstream_status"}}})

    def up(c):
        head = c.head()
        if "Upgrade" not in dict(head.headers):
            c.answer(b"plain")
            return
        c.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Up: yes\r\n\r\n")
        echo(c)

    upstream = script(up)
    proxy_all(g, upstream, enable_websocket=True)
    c = client(g)
    c.send(get("/a%20b?x=y", *UPGRADE, "Host: log.test", "User-Agent: agent/1", "Cookie: a=b"))
    assert c.reply().status == 101
    start = time.monotonic()
    for i in range(50):
        assert request(g.port, f"/other/{i}?x=z", headers={"User-Agent": "somebody else " * 20}).status == 200
    c.send(b"12345")
    assert c.exactly(5) == b"12345"
    c.close()
    line = g.access_lines(51)[50].split("|")
    assert float(line[11]) <= time.monotonic() - start + 1 and float(line[12]) <= float(line[11])
    del line[11:13]
    assert line == ["127.0.0.1", "GET /a%20b?x=y HTTP/1.1", "101", "log.test", "agent/1", "y", "/a b", f"127.0.0.1:{upstream.port}",
                    "/a%20b?x=y", "yes", "5", str(g.port), "127.0.0.1", "a=b", "101"]


def test_plugins_see_the_end_of_a_tunnel(gw, script, client):
    """limit-conn counts a tunnel as long as it is there; prometheus counts its bytes when it ends."""
    limit = {"conn": 1, "burst": 0, "default_conn_delay": 0.1, "key": "remote_addr", "rejected_code": 503}
    proxy_all(gw, script(switch(echo)), enable_websocket=True, plugins={"limit-conn": limit, "prometheus": {}})
    c = upgraded(client, gw)
    refused = client(gw)
    assert refused.ask("/ws", *UPGRADE).status == 503
    refused.close()
    c.send(b"z" * 5000)
    c.exactly(5000)
    c.close()
    wait_for(lambda: gw.connections() == 0, what="the tunnel is gone")
    again = upgraded(client, gw)
    again.close()
    wait_for(lambda: 'apisix_http_status{code="101",route="1"' in gw.metrics(), what="the tunnels are counted")


@pytest.mark.parametrize("size", [100, 20000, 50000])
def test_a_request_of_any_size_gets_its_tunnel(gw, script, client, size):
    """The large ones keep their fiber."""
    proxy_all(gw, script(switch(echo)), enable_websocket=True)
    c = client(gw)
    c.send(get(f"/ws?{size}", *UPGRADE, *(f"X-{i}: " + "v" * 1000 for i in range(size // 1000)), "X-Last: l"))
    assert c.reply().status == 101
    c.send(b"hello")
    assert c.exactly(5) == b"hello"
    c.shutdown()
    assert c.rest() == b""
    wait_for(lambda: any(f'"GET /ws?{size} HTTP/1.1" 101 5 ' in line for line in gw.access_lines()), what="it is logged")


def test_an_idle_tunnel_costs_little_memory(weir, script, client):
    """At most 3 KB beside the kernel's, log and all."""
    n, warm = 1500, 300
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    g = weir({"nginx_config": {"worker_processes": 1, "http": {"access_log_buffer": 1 << 20}}, "weir": {"max_connections_per_source": 0}})
    try:
        with Idle() as up:
            g.put("/routes/1", {"uri": "/*", "upstream": up.nodes(), "enable_websocket": True, **QUIET})
            tunnels = [up.tunnel(client, g) for _ in range(warm)]
            rss = g.rss()
            tunnels += [up.tunnel(client, g) for _ in range(n)]
            each = (g.rss() - rss) / n
            for c in tunnels[::100]:
                c.send(b"still there?")
                c.sock.settimeout(10 * SLOW)
            assert up.heard(len(tunnels[::100])) == b"still there?"
            if SLOW == 1:
                assert each < 3072
            for c in tunnels + up.peers:
                c.close()
            wait_for(lambda: g.connections() == 0, 30, "the tunnels are gone")
            g.access_lines(n + warm)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Idle:
    """An upstream of tunnels that says nothing, without a thread for each."""

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.peers = []
        return self

    def nodes(self):
        return {"type": "roundrobin", "nodes": {f"127.0.0.1:{self.socket.getsockname()[1]}": 1}}

    def tunnel(self, client, g):
        c = client(g)
        c.send(get("/ws", *UPGRADE, "User-Agent: Mozilla/5.0 (X11; Linux x86_64)", "Origin: http://a.test", "Cookie: session=0123456789abcdef"))
        peer, _ = self.socket.accept()
        peer.settimeout(10 * SLOW)
        assert b"\r\n\r\n" in peer.recv(65536)
        peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        self.peers.append(peer)
        assert c.reply().status == 101
        return c

    def heard(self, n):
        """What each of n peers, the first and every hundredth after it, has heard; once."""
        said = {p.recv(100) for p in self.peers[::100]}
        assert len(self.peers[::100]) == n and len(said) == 1
        return said.pop()

    def __exit__(self, *_):
        for p in self.peers:
            p.close()
        self.socket.close()


def test_a_tunnel_lives_through_the_drain_and_is_cut_at_its_limit(weir, script, client):
    g = weir({"nginx_config": {"worker_shutdown_timeout": f"{2 * SLOW}s"}})
    proxy_all(g, script(switch(echo)), enable_websocket=True)
    c = upgraded(client, g)
    c.send(b"1")
    assert c.exactly(1) == b"1"
    start = time.monotonic()
    g.process.send_signal(signal.SIGTERM)
    with contextlib.suppress(OSError):
        wait_for(lambda: "stopping" in g.log_text(), what="the stop has begun")
    while time.monotonic() - start < 1 * SLOW:
        c.send(b"still here")
        assert c.exactly(10) == b"still here"
    assert c.rest() == b""
    assert time.monotonic() - start > 1.5 * SLOW
    assert g.process.wait(15 * SLOW) == 0
    assert '"GET /ws HTTP/1.1" 101 ' in g.access_lines(1)[0]


def test_a_tunnel_outlives_a_reload(gw, script, client):
    proxy_all(gw, script(switch(echo)), enable_websocket=True)
    c = upgraded(client, gw)
    gw.reload()
    gw.delete("/routes/1")
    c.send(b"still here")
    assert c.exactly(10) == b"still here"
    c.close()
    wait_for(lambda: gw.connections() == 0, what="the tunnel is gone")
