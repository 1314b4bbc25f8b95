# SPDX-License-Identifier: Apache-2.0
"""What clients may do and how slowly: sizes, times, rates, numbers; and what happens when descriptors or memory run out."""
import re
import socket
import threading
import time

import pytest

from weirtest import SLOW, WEIR, Conn, Gateway, digest, get, payload, proxy_all, request, wait_for

MB = 1 << 20
with open(WEIR, "rb") as binary:
    SANITIZED = b"__asan_init" in binary.read()


def hello(c):
    while True:
        c.request()
        c.answer(b"hello")


# ---- heads ----

@pytest.mark.parametrize("name,head,status", [
    ("a target at the limit", get("/" + "a" * (16384 - len("GET / HTTP/1.1\r\n"))), 200),
    ("a target above it", get("/" + "a" * 16384), 414),
    ("an endless target", b"GET /" + b"a" * 200000, 414),
    ("a field at the limit", get("/", "X: " + "a" * (16384 - len("X: \r\n"))), 200),
    ("a field above it", get("/", "X: " + "a" * 16384), 431),
    ("an endless field", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 200000, 431),
    ("an endless name", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x" * 200000, 431),
    ("60 KB of fields", get("/", *(f"X{i}: " + "a" * 10000 for i in range(6))), 200),
    ("70 KB of fields", get("/", *(f"X{i}: " + "a" * 10000 for i in range(7))), 431),
    ("200 fields", get("/", *(f"X{i}: 1" for i in range(199))), 200),
    ("201 fields", get("/", *(f"X{i}: 1" for i in range(200))), 431),
    ("endless fields", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: 1\r\n" * 50000, 431),
])
def test_size_of_a_head(gw, script, client, name, head, status):
    """A head above a limit is refused at the limit, not at a timeout, and its connection ends."""
    up = script(hello)
    proxy_all(gw, up)
    c = client(gw)
    start = time.monotonic()
    try:
        c.send(head)
    except OSError:
        pass
    r = c.reply()
    assert r.status == status and time.monotonic() - start < 2 * SLOW
    if status == 200:
        assert c.ask().status == 200
    else:
        assert r.headers["connection"] == "close" and c.rest() == b""
        assert up.connections == 0


@pytest.mark.parametrize("fields,status", [(["X: " + "a" * 17000], 502), ([f"X{i}: 1" for i in range(250)], 502), ([f"X{i}: " + "a" * 9000 for i in range(8)], 502),
                                           ([f"X{i}: 1" for i in range(150)], 200)])
def test_size_of_an_upstreams_head(gw, script, client, fields, status):
    proxy_all(gw, script(lambda c: (c.request(), c.answer(b"x", "200 OK", *fields))).nodes(retries=0))
    assert client(gw).ask().status == status


def test_configured_limits(weir, script, client):
    g = weir({"weir": {"head_bytes": 4096, "line_bytes": 1024, "fields": 10}})
    proxy_all(g, script(hello))
    for head, status in [(get("/" + "a" * 900), 200), (get("/" + "a" * 1100), 414), (get("/", "X: " + "a" * 1100), 431),
                         (get("/", *(f"X{i}: 1" for i in range(9))), 200), (get("/", *(f"X{i}: 1" for i in range(10))), 431),
                         (get("/", *(f"X{i}: " + "a" * 900 for i in range(5))), 431)]:
        c = client(g)
        c.send(head)
        assert c.reply().status == status
        c.close()


# ---- times ----

@pytest.fixture(scope="module")
def hasty():
    """Short times; a tenth of what is usual."""
    g = Gateway({"nginx_config": {"http": {"client_header_timeout": "1s", "client_body_timeout": "500ms", "send_timeout": "1s", "keepalive_timeout": "2500ms"}}})
    yield g
    g.close()


def test_the_time_for_a_head_is_absolute(hasty, client):
    """A byte now and then does not buy more."""
    c = client(hasty)
    start = time.monotonic()
    c.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
    try:
        while time.monotonic() - start < 5 * SLOW and not c.buffer:
            c.send(b"a")
            c.sock.settimeout(0.05)
            try:
                c.more()
            except socket.timeout:
                pass
    except OSError:
        pass
    c.sock.settimeout(15)
    r = c.reply()
    assert r.status == 408 and r.headers["connection"] == "close"
    assert 0.9 < time.monotonic() - start < 1.3 * SLOW
    assert c.rest() == b""


def test_a_connection_that_says_nothing_ends_without_an_answer(hasty, client):
    c = client(hasty)
    start = time.monotonic()
    assert c.rest() == b""
    assert 0.9 < time.monotonic() - start < 1.3 * SLOW


def test_an_idle_connection_has_the_keepalive_timeout(hasty, script, client):
    """Longer than the time for a head, and then it ends without an answer."""
    proxy_all(hasty, script(hello))
    c = client(hasty)
    assert c.ask().status == 200
    start = time.monotonic()
    threading.Event().wait(1.5)
    assert c.ask().status == 200
    start = time.monotonic()
    assert c.rest() == b""
    assert 2.3 < time.monotonic() - start < 2.8 * SLOW


@pytest.mark.parametrize("fields,part", [(("Content-Length: 100",), b"a" * 99), (("Transfer-Encoding: chunked",), b"5\r\nabc"), (("Content-Length: 200000",), b"a" * 150000)])
def test_the_time_between_two_reads_of_a_body(hasty, script, client, fields, part):
    up = script(hello)
    proxy_all(hasty, up)
    c = client(hasty)
    c.send(get("/", *fields, method="POST"), part)
    start = time.monotonic()
    r = c.reply()
    assert r.status == 408 and r.headers["connection"] == "close"
    assert 0.4 < time.monotonic() - start < 0.8 * SLOW
    assert c.rest() == b""


def flood(n):
    """An upstream that answers with n bytes."""
    def up(c):
        while True:
            c.request()
            c.answer(payload(n))
    return up


def test_a_client_that_stops_reading_is_given_up_after_the_send_timeout(hasty, script, client):
    ends = []

    def up(c):
        c.request()
        try:
            c.answer(payload(64 * MB))
        except OSError:
            ends.append(time.monotonic())

    proxy_all(hasty, script(up))
    c = client(hasty, rcvbuf=4096)
    start = time.monotonic()
    c.send(get("/"))
    wait_for(lambda: ends, what="the upstream sees the end")
    assert 0.9 < ends[0] - start < 3 * SLOW
    assert len(c.rest()) < 64 * MB


def test_a_client_that_reads_steadily_is_not(hasty, script, client):
    """Slower than one write of the gateway in the send timeout, but moving all the time."""
    size = 8 * MB
    proxy_all(hasty, script(flood(size)))
    c = client(hasty, rcvbuf=4096)
    c.send(get("/"))
    c.head()
    got, start = [], time.monotonic()
    while time.monotonic() - start < 3:
        got.append(c.take(4096) or c.sock.recv(4096))
        threading.Event().wait(0.08)
    part = b"".join(got)
    assert digest(part + c.exactly(size - len(part))) == digest(payload(size))


# ---- rates ----

def test_minimum_rates_of_clients_and_the_patience_with_upstreams(weir, script, client):
    """After a grace of 5 s a client is cut that sends or reads less than 1 KB a second; one that is faster is not, and an upstream may take its time."""
    g = weir()
    slow_upstream_done = []

    def up(c):
        r = c.head()
        if r.line.startswith("PUT /patience"):
            threading.Event().wait(6.5)
            slow_upstream_done.append(digest(c.exactly(int(dict(r.headers)["Content-Length"]))))
            c.answer(b"took it")
        elif r.line.startswith("GET"):
            c.answer(payload(32 * MB))
        else:
            c.exactly(int(dict(r.headers)["Content-Length"]))
            c.answer(b"ok")

    proxy_all(g, script(up, rcvbuf=4096))
    results = {}

    def timed(name, fn):
        def run():
            start = time.monotonic()
            try:
                result = fn()
            except (OSError, EOFError) as e:
                result = e
            results[name] = (time.monotonic() - start, result)
        t = threading.Thread(target=run, daemon=True)
        t.start()
        return t

    def trickle(rate, limit):
        c = client(g)
        c.send(get("/", f"Content-Length: {100 * 1000}", method="POST"))
        start = time.monotonic()
        while time.monotonic() - start < limit and c.is_open() and not c.buffer:
            c.send(b"a" * max(1, rate // 10))
            c.sock.settimeout(0.1)
            try:
                c.more()
            except socket.timeout:
                pass
        c.sock.settimeout(15)
        return c.reply().status if c.buffer else "open"

    def read_slowly(step, limit):
        c = client(g, rcvbuf=4096)
        c.send(get("/"))
        start = time.monotonic()
        while time.monotonic() - start < limit:
            c.sock.recv(step)
            threading.Event().wait(0.2)
            if c.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[0] != 1:  # not TCP_ESTABLISHED: reset
                return "cut"
        return "open"

    def patience():
        c = client(g)
        body = payload(20 * MB)
        c.send(get("/patience", f"Content-Length: {len(body)}", method="PUT"), body)
        return c.reply().body

    threads = [
        timed("send 100 B/s", lambda: trickle(100, 9)),
        timed("send 10 KB/s", lambda: trickle(10000, 7)),
        timed("read 100 B/s", lambda: read_slowly(20, 9)),
        timed("read 20 KB/s", lambda: read_slowly(4096, 7)),
        timed("patience", patience),
    ]
    for t in threads:
        t.join(60)
    assert results["send 100 B/s"][1] == 408 and 4.5 < results["send 100 B/s"][0] < 7 * SLOW
    assert results["send 10 KB/s"][1] == "open"
    assert results["read 100 B/s"][1] == "cut" and 4.5 < results["read 100 B/s"][0] < 7 * SLOW
    assert results["read 20 KB/s"][1] == "open"
    assert results["patience"][1] == b"took it" and slow_upstream_done == [digest(payload(20 * MB))]


def test_ordinary_clients_do_not_notice_slow_ones(weir, script, client):
    """Hundreds that hold a connection in four ways: idle, half a head, half a body, an answer not read."""
    g = weir({"weir": {"max_connections_per_source": 0}})

    def up(c):
        while True:
            c.answer(payload(MB) if c.request().path == "/big" else b"hello")

    upstream = script(up)
    proxy_all(g, upstream)
    assert client(g).ask().status == 200
    before = g.rss()
    slow = []
    for i in range(600):
        c = Conn(g.port, rcvbuf=4096 if i % 4 == 3 else 0)
        c.send([b"", b"GET / HTTP/1.1\r\nHost: a", get("/", "Content-Length: 100", method="POST") + b"a" * 50, get("/big")][i % 4])
        slow.append(c)
    c = client(g)
    took = []
    for _ in range(300):
        start = time.monotonic()
        assert c.ask().body == b"hello"
        took.append(time.monotonic() - start)
    took.sort()
    assert took[int(len(took) * 0.95)] < 0.05 * SLOW
    if not SANITIZED:
        assert (g.rss() - before) / len(slow) < 64 * 1024
    for s in slow:
        s.close()
    wait_for(lambda: g.connections() <= 2, what="the connections are gone")


# ---- numbers ----

def refused(c):
    """Does the gateway close a connection at once?"""
    try:
        c.send(get("/", "Connection: close"))
        return c.rest() == b""
    except OSError:
        return True


def test_connections_of_one_source(weir, script, client):
    g = weir({"weir": {"max_connections_per_source": 5}})
    proxy_all(g, script(hello))
    mine = [client(g) for _ in range(5)]
    assert [c.ask().status for c in mine] == [200] * 5
    assert refused(client(g)) and refused(client(g))
    others = [client(g, source="127.0.0.2") for _ in range(5)]
    assert [c.ask().status for c in others] == [200] * 5
    assert refused(client(g, source="127.0.0.2"))
    mine[0].close()
    wait_for(lambda: not refused(client(g)), what="the place of the closed connection is free")
    assert [c.ask().status for c in mine[1:]] == [200] * 4


def test_connections_of_all(weir, script, client):
    g = weir({"weir": {"max_connections": 16}, "nginx_config": {"worker_processes": 1}})
    proxy_all(g, script(hello))
    mine = [client(g) for _ in range(16)]
    assert [c.ask().status for c in mine] == [200] * 16
    assert refused(client(g))
    assert request(g.admin_port, "/apisix/admin/routes").status == 401
    mine[0].close()
    wait_for(lambda: not refused(client(g)), what="the place of the closed connection is free")


def test_requests_of_one_connection(weir, script, client):
    g = weir({"weir": {"keepalive_requests": 5}})
    proxy_all(g, script(hello))
    c = client(g)
    for i in range(1, 6):
        r = c.ask()
        assert r.status == 200 and r.headers.get("connection") == ("close" if i == 5 else None)
    assert c.rest() == b""
    c = client(g)
    c.send(get("/") * 8)
    assert c.rest().count(b"HTTP/1.1 200 OK") == 5


def test_no_persistence_with_a_keepalive_timeout_of_0(weir, script, client):
    g = weir({"nginx_config": {"http": {"keepalive_timeout": "0s"}}})
    proxy_all(g, script(hello))
    c = client(g)
    assert c.ask().headers["connection"] == "close" and c.rest() == b""


# ---- exhaustion ----

def test_running_out_of_descriptors(weir, script, client):
    """1,000 clients and 256 descriptors: no spinning, running requests end, the Admin API answers, and all is well when they have left."""
    go = threading.Event()

    def up(c):
        while True:
            if c.request().path == "/hold":
                assert go.wait(30)
            c.answer(b"hello")

    g = weir(command=["prlimit", "--nofile=256:256"])
    g.allowed.append("Too many open files")
    proxy_all(g, script(up))
    assert "the limit of open files allows 96 connections" in g.log_text()
    held = [client(g) for _ in range(20)]
    for c in held:
        c.send(get("/hold"))
    crowd = []
    for _ in range(1000):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", g.port))
        crowd.append(s)
    cpu, start = g.cpu(), time.monotonic()
    assert request(g.admin_port, "/apisix/admin/routes").status == 401
    assert request(g.status_port, "/status").status == 200
    threading.Event().wait(1)
    assert (g.cpu() - cpu) / (time.monotonic() - start) < 0.2 * SLOW
    go.set()
    assert [c.reply().status for c in held] == [200] * 20
    for s in crowd:
        s.close()
    start = time.monotonic()
    wait_for(lambda: not refused(client(g)), what="new connections are served")
    assert time.monotonic() - start < 1 * SLOW
    for c in held:
        assert c.ask().status == 200


def test_idle_upstream_connections_give_way_when_descriptors_run_out(weir, script, client):
    """Pools full of idle connections to other nodes do not stop a new one."""
    g = weir({"nginx_config": {"worker_processes": 1}}, command=["prlimit", "--nofile=128:128"])
    held = threading.Barrier(41)

    def up(c):
        while True:
            if c.request().path == "/hold":
                held.wait(20)
            c.answer(b"hello")

    first, second = script(up), script(up)
    g.put("/routes/1", {"uri": "/hold", "upstream": first.nodes()})
    g.put("/routes/2", {"uri": "/*", "upstream": second.nodes()})
    clients = [client(g) for _ in range(40)]
    for c in clients:
        c.send(get("/hold"))
    held.wait(20)
    assert [c.reply().status for c in clients] == [200] * 40
    # 40 clients and 40 idle connections now; 40 more would be too many.
    for c in clients:
        c.send(get("/hold2"))
    assert [c.reply().status for c in clients] == [200] * 40


@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps memory that was freed")
def test_memory_above_the_budget(weir, script, client):
    """Above 85 % answers close their connections, above 95 % new requests are refused; when memory is free again all is as before."""
    probe = weir()
    proxy_all(probe, script(hello))
    assert client(probe).ask().status == 200
    used = probe.rss()
    g = weir({"weir": {"memory_budget": used + 24 * MB, "max_connections_per_source": 0}})
    proxy_all(g, script(hello))
    kept = client(g)
    assert "connection" not in kept.ask().headers
    hogs = []
    body = payload(60000)
    seen = set()

    def level():
        levels = re.findall(r"memory: .* level (\d)", g.log_text())
        return int(levels[-1]) if levels else 0

    while level() < 2 and len(hogs) < 3000:
        c = Conn(g.port)
        c.send(get("/", "Content-Length: 65000", method="POST"), body)
        hogs.append(c)
        seen.add(level())
    wait_for(lambda: level() == 2, what="memory is scarce")
    r = kept.ask()
    assert (r.status, r.headers["retry-after"], r.headers["connection"]) == (503, "1", "close")
    assert b"503 Service Temporarily Unavailable" in r.body
    assert request(g.admin_port, "/apisix/admin/routes").status == 401
    assert '" 503 ' in g.access_lines(2)[-1]
    for c in hogs:
        c.close()
    wait_for(lambda: level() == 0, what="memory is free again")
    c = client(g)
    assert c.ask().status == 200 and c.ask().status == 200
