# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 through the gateway: persistence, bodies in every framing both ways, interim answers, early ends."""
import threading
import time

import pytest

from weirtest import SLOW, Gateway, chunked, digest, get, payload, proxy_all, wait_for

MB = 1 << 20


def echo(c):
    """Answers each request with what it was, and the body back."""
    while True:
        r = c.request()
        c.answer(r.body, "200 OK", f"X-Path: {r.path}", f"X-Method: {r.method}", f"X-Digest: {digest(r.body)}")


def post(path, body, framing="length", pieces=3):
    if framing == "length":
        return get(path, f"Content-Length: {len(body)}", method="POST") + body
    cut = len(body) // pieces + 1
    return get(path, "Transfer-Encoding: chunked", method="POST") + chunked(*(body[i:i + cut] for i in range(0, len(body), cut)))


# ---- persistence ----

def test_one_connection_serves_many_requests(gw, script, client):
    up = script(echo)
    proxy_all(gw, up)
    c = client(gw)
    for i in range(100):
        assert c.ask(f"/{i}").headers["x-path"] == f"/{i}"
    assert up.connections == 1


@pytest.mark.parametrize("n,size", [(3, 0), (300, 0), (40, 3000), (6, 200000)])
def test_pipelined_requests_are_answered_in_order_each_once(gw, script, client, n, size):
    """The answers are as many as the requests, each its own, whatever the framing of those before."""
    up = script(echo)
    proxy_all(gw, up)
    c = client(gw)
    bodies = [payload(size, i) for i in range(n)]
    sender = threading.Thread(target=lambda: [c.send(post(f"/{i}", bodies[i], ("length", "chunked")[i % 2])) for i in range(n)])
    sender.start()
    for i in range(n):
        r = c.reply()
        assert (r.headers["x-path"], r.headers["x-digest"]) == (f"/{i}", digest(bodies[i]))
    sender.join()
    assert c.ask("/last").headers["x-path"] == "/last"


def test_pipelined_requests_cut_anywhere(gw, script, client):
    up = script(echo)
    proxy_all(gw, up)
    stream = get("/a") + post("/b", b"body of b") + post("/c", b"body of c", "chunked") + get("/d")
    for at in range(1, len(stream), 7):
        c = client(gw)
        c.send(stream[:at])
        if at > len(get("/a")):
            assert c.reply().headers["x-path"] == "/a"
        c.send(stream[at:])
        wanted = ["/a", "/b", "/c", "/d"][at > len(get("/a")):]
        assert [c.reply().headers["x-path"] for _ in wanted] == wanted
        c.close()


@pytest.mark.parametrize("head", [get("/a", "Connection: close"), get("/a", version="1.0"),
                                  get("/a", "Connection: keep-alive, CLOSE"), get("/a", "Content-Length: 1", "Connection: close", method="POST") + b"x"])
def test_nothing_behind_the_last_request_is_served(gw, script, client, head):
    up = script(echo)
    proxy_all(gw, up)
    c = client(gw)
    c.send(head, get("/smuggled"))
    r = c.reply()
    assert (r.status, r.headers["connection"]) == (200, "close")
    assert c.ended()
    assert client(gw).ask("/c").headers["x-path"] == "/c"


@pytest.mark.parametrize("fields,keeps", [((), False), (("Connection: keep-alive",), True)])
def test_http_1_0_clients(gw, script, client, fields, keeps):
    """A chunked answer becomes one that ends with the connection; persistence only when asked for and possible."""
    def up(c):
        while True:
            r = c.request()
            assert r.version == "HTTP/1.1"
            if r.path == "/chunked":
                c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n", chunked(b"one", b"two", trailers=[("X-T", "1")]))
            else:
                c.answer(b"hello")

    proxy_all(gw, script(up))
    c = client(gw)
    c.send(get("/length", *fields, version="1.0"))
    r = c.reply()
    assert (r.status, r.body, r.headers["connection"]) == (200, b"hello", "keep-alive" if keeps else "close")
    if not keeps:
        assert c.ended()
        c = client(gw)
    c.send(get("/chunked", *fields, version="1.0"))
    r = c.reply()
    assert (r.body, r.headers["connection"]) == (b"onetwo", "close")
    assert "transfer-encoding" not in r.headers and c.ended()


@pytest.mark.parametrize("version,fields,body,reused", [
    ("1.0", "Content-Length: 2", b"hi", False),
    ("1.0", "Content-Length: 2\r\nConnection: keep-alive", b"hi", True),
    ("1.0", "X: 1", b"hi", False),
    ("1.1", "Content-Length: 2\r\nConnection: close", b"hi", False),
    ("1.1", "X: 1", b"hi", False),
    ("1.1", "Content-Length: 2", b"hi", True),
    ("1.1", "Transfer-Encoding: chunked", b"2\r\nhi\r\n0\r\n\r\n", True),
])
def test_upstream_answers_of_every_persistence(gw, script, client, version, fields, body, reused):
    """The client's connection goes on in any case; the upstream's only when it can."""
    def up(c):
        while True:
            c.request()
            c.send(f"HTTP/{version} 200 OK\r\n{fields}\r\n\r\n".encode(), body)
            if not reused:
                return

    upstream = script(up)
    proxy_all(gw, upstream)
    c = client(gw)
    for _ in range(4):
        assert c.ask().body == b"hi"
    assert upstream.connections == (1 if reused else 4)


# ---- bodies ----

SIZES = [0, 1, 100, 4095, 4096, 65535, 65536, 65537, 300000, 5 * MB]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("answer", ["length", "chunked", "close"])
def test_bodies_pass_whole_both_ways(gw, script, client, framing, answer):
    def up(c):
        while True:
            r = c.request()
            head = f"HTTP/1.1 200 OK\r\nX-Digest: {digest(r.body)}\r\n".encode()
            if answer == "length":
                c.send(head, f"Content-Length: {len(r.body)}\r\n\r\n".encode(), r.body)
            elif answer == "chunked":
                step = len(r.body) // 7 + 1
                c.send(head, b"Transfer-Encoding: chunked\r\n\r\n", chunked(*(r.body[i:i + step] for i in range(0, len(r.body), step))))
            else:
                c.send(head, b"\r\n", r.body)
                return

    proxy_all(gw, script(up))
    c = client(gw)
    for n in SIZES:
        body = payload(n, n)
        sender = threading.Thread(target=c.send, args=(post("/", body, framing),))
        sender.start()
        r = c.reply()
        sender.join()
        assert r.headers["x-digest"] == digest(body), n
        assert digest(r.body) == digest(body), n


def test_many_small_chunks_pass(gw, script, client):
    def up(c):
        while True:
            r = c.request()
            c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunked(*(r.body[i:i + 5] for i in range(0, len(r.body), 5))))

    proxy_all(gw, script(up))
    body = payload(200000)
    c = client(gw)
    sender = threading.Thread(target=c.send, args=(get("/", "Transfer-Encoding: chunked", method="POST"), chunked(*(body[i:i + 5] for i in range(0, len(body), 5)))))
    sender.start()
    assert digest(c.reply().body) == digest(body)
    sender.join()
    assert c.ask("/", method="POST").status == 200


def test_request_trailers_end_a_body_and_are_not_fields(gw, script, client):
    up = script(echo)
    proxy_all(gw, up)
    c = client(gw)
    c.send(get("/a", "Transfer-Encoding: chunked", "Trailer: X-T", method="POST"), chunked(b"abc", trailers=[("X-T", "1"), ("X-Path", "/evil")]))
    r = c.reply()
    assert (r.body, r.headers["x-path"]) == (b"abc", "/a")
    assert c.ask("/b").headers["x-path"] == "/b"


def test_response_trailers_reach_the_client(gw, script, client):
    def up(c):
        while True:
            c.request()
            c.send(b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n",
                   chunked(b"abc", trailers=[("X-Sum", "900150983"), ("Content-Length", "1")]))

    proxy_all(gw, script(up))
    c = client(gw)
    for _ in range(2):
        r = c.ask()
        assert (r.body, r.headers["trailer"], r.trailers) == (b"abc", "X-Sum", [("X-Sum", "900150983")])


@pytest.mark.parametrize("method,status,fields,length", [
    ("HEAD", "200 OK", "Content-Length: 123", "123"),
    ("HEAD", "200 OK", "Transfer-Encoding: chunked", None),
    ("HEAD", "404 Not Found", "Content-Length: 0", "0"),
    ("GET", "204 No Content", "X: 1", None),
    ("GET", "304 Not Modified", "ETag: \"a\"", None),
    ("GET", "304 Not Modified", "Content-Length: 77", "77"),
])
def test_answers_without_body(gw, script, client, method, status, fields, length):
    def up(c):
        while True:
            r = c.request()
            if r.path == "/next":
                c.answer(b"next")
            else:
                c.send(f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n".encode())

    upstream = script(up)
    proxy_all(gw, upstream)
    c = client(gw)
    r = c.ask("/", method=method)
    assert (r.status, r.headers.get("content-length")) == (int(status[:3]), length)
    assert "transfer-encoding" not in r.headers
    assert c.ask("/next").body == b"next"
    assert upstream.connections == 1


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nevil",
    b"HTTP/1.1 204 No Content\r\n\r\nevil",
    b"HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
])
def test_surplus_bytes_are_dropped_with_their_connection(gw, script, client, answer):
    def up(c):
        c.request()
        c.send(answer)
        c.rest()

    upstream = script(up)
    proxy_all(gw, upstream)
    c = client(gw)
    for i in range(1, 4):
        assert c.ask().body in (b"hi", b"")
        assert upstream.connections == i


def test_bytes_an_idle_upstream_sends_answer_nobody(gw, script, client):
    sent = threading.Event()

    def up(c):
        c.request()
        c.answer(b"hi")
        if c.number == 0:
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            sent.set()
        c.request()
        c.answer(b"again")

    upstream = script(up)
    proxy_all(gw, upstream)
    c = client(gw)
    assert c.ask().body == b"hi"
    assert sent.wait(5)
    assert c.ask().body == b"hi"
    assert upstream.connections == 2


# ---- hop by hop ----

def test_fields_of_one_connection_stay_on_it(gw, script, client):
    seen = []

    def up(c):
        while True:
            seen.append(c.request())
            c.answer(b"", "200 OK", "Connection: X-Up-Hop, keep-alive", "X-Up-Hop: 1", "Keep-Alive: timeout=5", "Proxy-Connection: x", "X-Kept: 1")

    proxy_all(gw, script(up))
    c = client(gw)
    r = c.ask("/", "Connection: keep-alive, X-Hop, Host, Content-Length", "X-Hop: 1", "Keep-Alive: 5", "TE: trailers", "Proxy-Connection: x", "Upgrade: websocket",
              "HTTP2-Settings: AAMAAABkAAQAAP__", "Content-Length: 2", "X-Kept: 1", method="POST", body=b"hi")
    assert r.status == 200 and r.headers["x-kept"] == "1"
    assert not {"x-up-hop", "keep-alive", "proxy-connection"} & set(r.headers)
    names = {k.lower() for k, _ in seen[0].headers}
    assert {"x-kept", "host", "content-length"} <= names and seen[0].body == b"hi"
    assert not {"connection", "x-hop", "keep-alive", "te", "proxy-connection", "upgrade", "http2-settings"} & names


# ---- interim answers ----

def test_100_continue_is_sent_when_the_body_is_needed(gw, script, client):
    up = script(echo)
    proxy_all(gw, up)
    c = client(gw)
    for n in (3, 100000):
        body = payload(n)
        c.send(get("/up", "Expect: 100-continue", f"Content-Length: {n}", method="POST"))
        head = c.head()
        assert head.line == "HTTP/1.1 100 Continue" and not head.headers
        c.send(body)
        r = c.reply()
        assert (r.status, r.interim) == (200, []) and r.headers["x-digest"] == digest(body)


def test_expect_does_not_reach_the_upstream(gw, upstream, client):
    proxy_all(gw, upstream)
    c = client(gw)
    c.send(get("/", "Expect: 100-continue", "Content-Length: 1", method="POST"), b"x")
    assert c.reply().status == 200
    assert "expect" not in {k.lower() for k, _ in upstream.last.headers}


@pytest.mark.parametrize("fields,version", [
    (("Expect: 100-continue", "Content-Length: 0"), "1.1"),
    (("Expect: 100-continue",), "1.1"),
    (("Content-Length: 3",), "1.1"),
    (("Expect: 100-continue", "Content-Length: 3"), "1.0"),
])
def test_no_100_when_none_is_due(gw, script, client, fields, version):
    proxy_all(gw, script(echo))
    c = client(gw)
    c.send(get("/", *fields, method="POST", version=version), b"abc" if "Content-Length: 3" in fields else b"")
    assert (r := c.reply()).status == 200 and r.interim == []


def test_no_100_for_a_request_that_is_refused(gw, client):
    c = client(gw)
    c.send(get("/nowhere", "Expect: 100-continue", "Content-Length: 10", method="POST"))
    r = c.reply()
    assert (r.status, r.interim) == (404, [])


def test_interim_answers_pass_but_100(gw, script, client):
    def up(c):
        while True:
            c.request()
            c.send(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: X-H\r\nX-H: 1\r\n\r\n",
                   b"HTTP/1.1 102 Processing\r\n\r\n")
            c.answer(b"done")

    proxy_all(gw, script(up))
    c = client(gw)
    for _ in range(2):
        r = c.ask()
        assert r.interim == [(103, [("Link", "</a.css>")]), (102, [])] and r.body == b"done"
    c.send(get("/", "Connection: keep-alive", version="1.0"))
    assert c.reply().interim == []


@pytest.mark.parametrize("n,status", [(25, 200), (10000, 502)])
def test_interim_answers_are_counted(gw, script, client, n, status):
    def up(c):
        c.request()
        for _ in range(n):
            c.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        c.answer(b"done")

    proxy_all(gw, script(up), **{"upstream": script(up).nodes(retries=0)})
    r = client(gw).ask()
    assert r.status == status and len(r.interim) <= 32


# ---- streaming and back-pressure ----

class Flood:
    """Sends until told to stop; counts what the other side took."""

    def __init__(self, wire, before=b"", after=b"", limit=400 * MB):
        self.wire, self.sent, self.limit = wire, 0, limit
        self.block = payload(256 * 1024)
        self.thread = threading.Thread(target=self.run, args=(before,), daemon=True)
        self.thread.start()

    def run(self, before):
        try:
            self.wire.send(before)
            while self.sent < self.limit:
                self.sent += self.wire.sock.send(self.block[:min(len(self.block), self.limit - self.sent)])
        except OSError:
            pass

    def stalled(self, seconds=0.5):
        """The count, once it has not moved for that long."""
        last = [self.sent, time.monotonic()]

        def still():
            if self.sent != last[0] or self.sent == 0:
                last[:] = [self.sent, time.monotonic()]
            return time.monotonic() - last[1] > seconds * SLOW

        wait_for(still, 20, "the sender stalls")
        return self.sent


def test_a_slow_reader_stalls_the_upstream(gw, script, client):
    """Nothing is gathered for a client that does not read: the upstream waits, and memory stays."""
    floods = []
    total = 64 * MB

    def up(c):
        c.request()
        floods.append(Flood(c, f"HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n".encode(), limit=total))
        floods[-1].thread.join()
        c.rest()

    proxy_all(gw, script(up))
    before = gw.rss()
    c = client(gw, rcvbuf=65536)
    c.send(get("/"))
    wait_for(lambda: floods, what="the upstream sends")
    sent = floods[0].stalled()
    assert sent < total / 2, sent
    assert gw.rss() - before < 6 * MB
    head = c.head()
    assert head.line == "HTTP/1.1 200 OK"
    assert digest(c.exactly(total)) == digest(payload(256 * 1024) * (total // (256 * 1024)))


def test_a_slow_upstream_stalls_the_client(gw, script, client):
    go = threading.Event()
    total = 64 * MB

    def up(c):
        head = c.head()
        assert go.wait(60)
        body = c.exactly(total)
        c.answer(digest(body).encode(), "200 OK")

    proxy_all(gw, script(up, rcvbuf=65536))
    before = gw.rss()
    c = client(gw)
    flood = Flood(c, get("/", f"Content-Length: {total}", method="POST"), limit=total)
    sent = flood.stalled()
    assert sent < total / 2, sent
    assert gw.rss() - before < 6 * MB
    go.set()
    assert c.reply().body.decode() == digest(payload(256 * 1024) * (total // (256 * 1024)))


def test_an_answer_streams_run_by_run(gw, script, client):
    """What the upstream has sent arrives before it sends more."""
    got = threading.Semaphore(0)

    def up(c):
        c.request()
        c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(5):
            assert got.acquire(timeout=10)
            c.send(b"4\r\npt-%d\r\n" % i)
        assert got.acquire(timeout=10)
        c.send(b"0\r\n\r\n")

    proxy_all(gw, script(up))
    c = client(gw)
    c.send(get("/"))
    assert c.head().line == "HTTP/1.1 200 OK"
    for i in range(5):
        got.release()
        assert c.chunk() == b"pt-%d" % i
    got.release()
    assert c.chunk() == b""


def test_a_large_upload_streams(gw, script, client):
    """The upstream has the first part before the client has sent the last."""
    first = threading.Event()
    body = payload(300000)

    def up(c):
        head = c.head()
        part = c.exactly(100000)
        first.set()
        assert part + c.exactly(200000) == body
        c.answer(b"ok")

    proxy_all(gw, script(up))
    c = client(gw)
    c.send(get("/", f"Content-Length: {len(body)}", method="PUT"), body[:200000])
    assert first.wait(10)
    c.send(body[200000:])
    assert c.reply().body == b"ok"


def test_an_upload_may_take_longer_than_the_read_timeout(gw, script, client):
    """The wait for an answer begins when the request is out."""
    def up(c):
        r = c.request()
        c.answer(digest(r.body).encode())

    proxy_all(gw, script(up), timeout={"connect": 1, "send": 1, "read": 0.5})
    body = payload(400000)
    c = client(gw)
    c.send(get("/", f"Content-Length: {len(body)}", method="POST"))
    start, sent = time.monotonic(), 0
    while sent < len(body):
        # Paced by the clock, not by sleeps of unknown length: 1.6 s in all.
        due = int((time.monotonic() - start) / (1.6 * SLOW) * len(body)) + 70000
        c.send(body[sent:due])
        sent = max(sent, min(due, len(body)))
        threading.Event().wait(0.02)
    assert c.reply().body.decode() == digest(body)


def test_small_bodies_hold_no_upstream_connection_until_complete(gw, script, client):
    up = script(echo)
    proxy_all(gw, up)
    slow = [client(gw) for _ in range(20)]
    for c in slow:
        c.send(get("/", "Content-Length: 1000", method="POST"), b"x" * 999)
    assert client(gw).ask("/a").status == 200
    assert up.connections == 1
    for c in slow:
        c.send(b"x")
    assert {c.reply().headers["x-digest"] for c in slow} == {digest(b"x" * 1000)}


# ---- early ends ----

@pytest.mark.parametrize("close", [True, False])
def test_an_answer_before_the_body_is_whole(gw, script, client, close):
    """An upstream that refuses an upload is heard although the client is still sending."""
    def up(c):
        c.head()
        c.answer(b"too much", "413 Payload Too Large", *(["Connection: close"] if close else []))
        if not close:
            c.rest()
        else:
            c.shutdown()
            c.rest()

    proxy_all(gw, script(up))
    c = client(gw)
    flood = Flood(c, get("/", f"Content-Length: {20 * MB}", method="POST"), limit=20 * MB)
    r = c.reply()
    assert (r.status, r.body) == (413, b"too much")
    if r.headers.get("connection") == "close":  # else the upstream has taken all of it in time
        c.rest()
    flood.thread.join(10)
    assert client(gw).ask().status == 413


def test_a_request_behind_an_upload_that_was_answered_early(gw, script, client):
    """The next request may have come in one read with the end of the body; the upstream reads more or less of the body, so that some uploads stop right there."""
    total = 300000

    def up(c):
        while r := c.head():
            if r.line.startswith("GET"):
                c.answer(b"next")
                continue
            n = int(dict(r.headers)["X-Read"])
            body = c.exactly(n)
            c.answer(b"enough")
            assert digest(body + c.exactly(total - n)) == digest(payload(total))

    proxy_all(gw, script(up, rcvbuf=4096))
    outcomes = set()
    for n in range(0, total, 12000):
        c = client(gw)
        sender = threading.Thread(target=lambda: c.send(get("/", f"X-Read: {n}", f"Content-Length: {total}", method="POST"), payload(total), get("/next")))
        sender.start()
        assert c.reply().body == b"enough"
        try:
            outcomes.add(c.reply().body)
        except (EOFError, ConnectionResetError):
            outcomes.add("closed")
        c.close()
    assert outcomes <= {b"next", "closed"}


def test_an_answer_that_overlaps_the_upload_passes_whole(gw, script, client):
    """Echo in both directions at once: neither waits for the other's end."""
    total = 8 * MB

    def up(c):
        c.head()
        c.send(f"HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n".encode())
        left = total
        while left:
            data = c.exactly(min(left, 65536))
            c.send(data)
            left -= len(data)

    proxy_all(gw, script(up))
    c = client(gw)
    body = payload(total)
    sender = threading.Thread(target=c.send, args=(get("/", f"Content-Length: {total}", method="POST"), body))
    sender.start()
    assert digest(c.reply().body) == digest(body)
    sender.join()


CUTS = [
    ("nothing", b"", 502),
    ("half a head", b"HTTP/1.1 200 OK\r\nContent-Le", 502),
    ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n", 502),
    ("two framings", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502),
    ("short length", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "cut"),
    ("no body yet", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "cut"),
    ("no last chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", "cut"),
    ("half a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort", "cut"),
    ("no end of trailers", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\nX: 1\r\n", "cut"),
    ("a bad chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nzz\r\n", "cut"),
]


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("name,answer,outcome", CUTS, ids=[c[0] for c in CUTS])
def test_a_cut_answer_looks_cut(gw, script, client, name, answer, outcome, how):
    arrived = threading.Event()

    def up(c):
        c.request()
        c.send(answer)
        if outcome == "cut":
            assert arrived.wait(10)  # a reset may destroy what is on its way
        if how == "reset":
            c.reset()

    proxy_all(gw, script(up).nodes(retries=0))
    c = client(gw)
    c.send(get("/"))
    head = c.head()
    arrived.set()
    if outcome == 502:
        assert head.line.startswith("HTTP/1.1 502 ")
        return
    assert head.line == "HTTP/1.1 200 OK"
    rest = c.rest()
    if "Content-Length" in dict(head.headers):
        assert len(rest) < 100
    else:
        assert b"0\r\n\r\n" not in rest


def test_a_body_that_ends_with_the_connection_ends_with_a_last_chunk(gw, script, client):
    def up(c):
        c.request()
        c.send(b"HTTP/1.1 200 OK\r\n\r\nall of ", b"it")

    proxy_all(gw, script(up))
    c = client(gw)
    for _ in range(3):
        r = c.ask()
        assert (r.body, r.headers["transfer-encoding"]) == (b"all of it", "chunked")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_half_an_upload_never_looks_whole(gw, script, client, framing):
    """The client goes away in the middle: so does the request."""
    ends = []

    def up(c):
        c.head()
        rest = c.rest()
        ends.append((len(rest), rest.endswith(b"0\r\n\r\n")))

    proxy_all(gw, script(up))
    c = client(gw)
    if framing == "length":
        c.send(get("/", "Content-Length: 1000000", method="POST"), payload(200000))
    else:
        c.send(get("/", "Transfer-Encoding: chunked", method="POST"), b"30d40\r\n", payload(200000), b"\r\n")
    c.close()
    wait_for(lambda: ends, what="the upstream sees the end")
    assert ends[0][0] < 1000000 and not ends[0][1]


# ---- limits of bodies ----

@pytest.fixture(scope="module")
def small_bodies():
    g = Gateway({"nginx_config": {"http": {"client_max_body_size": "100k"}}})
    yield g
    g.close()


def test_no_100_for_a_body_above_the_limit(small_bodies, script, client):
    proxy_all(small_bodies, script(echo))
    c = client(small_bodies)
    c.send(get("/", "Expect: 100-continue", "Content-Length: 200000", method="POST"))
    r = c.reply()
    assert (r.status, r.interim) == (413, [])


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size,status", [(100 * 1024, 200), (100 * 1024 + 1, 413), (3 * MB, 413)])
def test_a_body_above_the_limit_is_refused(small_bodies, script, client, framing, size, status):
    whole = []

    def up(c):
        while True:
            r = c.request()
            whole.append(len(r.body))
            c.answer(b"ok")

    proxy_all(small_bodies, script(up))
    c = client(small_bodies)

    def send():
        try:
            c.send(post("/", payload(size), framing))
        except OSError:
            pass

    sender = threading.Thread(target=send)
    sender.start()
    r = c.reply()
    sender.join()
    assert r.status == status
    assert whole == ([size] if status == 200 else [])
    if status == 413:
        assert r.headers["connection"] == "close" and b"413 Request Entity Too Large" in r.body
        assert c.ended()
