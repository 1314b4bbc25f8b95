# SPDX-License-Identifier: Apache-2.0
"""Clients and upstreams that do anything at any moment, beside clients that behave: those get every answer right, and nothing is left behind.

CHAOS_SECONDS says how long (6), CHAOS_SEED repeats a run.
"""
import os
import random
import threading
import time

from weirtest import SLOW, Conn, chunked, digest, get, payload, proxy_all, wait_for

SECONDS = float(os.environ.get("CHAOS_SECONDS", "6"))
SEED = int(os.environ.get("CHAOS_SEED", str(random.SystemRandom().randrange(10**6))))
BLOCK = payload(1 << 20)


def body_of(rng):
    return BLOCK[:rng.choice([0, 1, 10, 1000, 20000, 65536, 70000, 200000, 900000])]


def cut_up(rng, data):
    """The parts of data in chunks of any size."""
    parts = []
    while data:
        n = rng.choice([1, 7, 100, 5000, 60000, 300000])
        parts.append(data[:n])
        data = data[n:]
        if len(parts) > 60:
            parts.append(data)
            break
    return parts


class WildUpstream:
    """Answers /good as one should; otherwise anything."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def __call__(self, c):
        rng = random.Random(self.rng.random())
        while True:
            head = c.head()
            fields = {k.lower(): v for k, v in head.headers}
            if " /good" in head.line:
                self.good(c, rng, fields)
            elif "upgrade" in fields and rng.random() < 0.7:
                self.tunnel(c, rng)
                return
            elif not self.wild(c, rng, fields):
                return

    def read_body(self, c, fields):
        if "transfer-encoding" in fields:
            return c.chunks()[0]
        return c.exactly(int(fields.get("content-length", 0)))

    def good(self, c, rng, fields):
        body = self.read_body(c, fields)
        answer = body_of(rng)
        head = f"HTTP/1.1 200 OK\r\nX-Got: {digest(body)}\r\nX-Sent: {digest(answer)}\r\n"
        if rng.random() < 0.3:
            c.send(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n")
        if rng.random() < 0.5:
            c.send(f"{head}Content-Length: {len(answer)}\r\n\r\n".encode(), answer)
        else:
            c.send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode(), chunked(*cut_up(rng, answer), trailers=[("X-T", "1")]))

    def tunnel(self, c, rng):
        c.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", body_of(rng))
        if rng.random() < 0.5:
            c.shutdown()
        while rng.random() < 0.9 and (data := c.some()):
            c.send(data)

    def wild(self, c, rng, fields):
        """True when the connection can go on."""
        what = rng.randrange(14)
        if rng.random() < 0.6:
            self.read_body(c, fields)
        body = body_of(rng)
        if what == 0:
            return False
        if what == 1:
            c.reset()
            return False
        if what == 2:
            c.send(b"HTTP/1.1 200 OK\r\nContent-Le"[:rng.randrange(26)])
            return False
        if what == 3:
            c.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body) + 5}\r\n\r\n".encode(), body)
            return False
        if what == 4:
            c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunked(*cut_up(rng, body))[:rng.randrange(1, 2000)])
            return False
        if what == 5:
            c.send(b"HTTP/1.1 200 OK\r\n\r\n", body)
            return False
        if what == 6:
            c.send(b"garbage " * 10)
            return False
        if what == 7:
            c.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", body)
            return False
        if what == 8:
            c.sock.settimeout(rng.uniform(0.05, 1))
            try:
                c.rest()
            except OSError:
                pass
            return False
        if what == 9:
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", body)  # surplus
            return False
        if what == 10:
            c.send(b"HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
            return False
        c.answer(body)
        return "transfer-encoding" not in fields and "content-length" not in fields


class WildClient:
    def __init__(self, gw, seed):
        self.gw, self.rng = gw, random.Random(seed)

    def run(self, until):
        while time.monotonic() < until:
            try:
                with Conn(self.gw.port, timeout=2, rcvbuf=self.rng.choice([0, 0, 4096])) as c:
                    self.talk(c)
            except (OSError, EOFError, ValueError, AssertionError):
                pass

    def request(self):
        rng = self.rng
        body = body_of(rng)
        fields = rng.sample(["Connection: close", "Expect: 100-continue", "Connection: Upgrade", "Upgrade: websocket", "X: " + "y" * rng.randrange(9000)], rng.randrange(3))
        method = rng.choice(["GET", "POST", "PUT", "HEAD", "DELETE"])
        version = rng.choice(["1.1", "1.1", "1.1", "1.0"])
        path = rng.choice(["/wild", "/wild/a?b=c", "/good", "/none/\x01", "//../x"])
        kind = rng.randrange(4)
        if kind == 0 or version == "1.0":
            return get(path, *fields, method=method, version=version)
        if kind == 1:
            return get(path, *fields, f"Content-Length: {len(body)}", method=method) + body
        return get(path, *fields, "Transfer-Encoding: chunked", method=method) + chunked(*cut_up(rng, body))

    def talk(self, c):
        rng = self.rng
        stream = b"".join(self.request() for _ in range(rng.choice([1, 1, 1, 2, 5])))
        if rng.random() < 0.3:
            stream = stream[:rng.randrange(len(stream))]
        sender = threading.Thread(target=self.send, args=(c, stream), daemon=True)
        sender.start()
        what = rng.randrange(6)
        if what == 0:
            c.sock.settimeout(rng.uniform(0, 0.1))
            c.more()
        elif what == 1:
            c.reset()
        elif what == 2:
            c.shutdown()
            c.rest()
        else:
            for _ in range(rng.randrange(1, 40)):
                c.more()
                c.buffer = b""

    @staticmethod
    def send(c, stream):
        try:
            c.send(stream)
        except (OSError, ValueError):
            pass


class GoodClient:
    def __init__(self, gw, seed):
        self.gw, self.rng = gw, random.Random(seed)
        self.served, self.problems = 0, []

    def run(self, until):
        c = Conn(self.gw.port)
        while time.monotonic() < until and not self.problems:
            body = body_of(self.rng)
            if self.rng.random() < 0.5:
                data = get("/good", f"Content-Length: {len(body)}", method="PUT") + body
            else:
                data = get("/good", "Transfer-Encoding: chunked", method="PUT") + chunked(*cut_up(self.rng, body))
            sender = threading.Thread(target=WildClient.send, args=(c, data))
            sender.start()
            try:
                r = c.reply()
                if r.status != 200 or r.headers["x-got"] != digest(body) or r.headers["x-sent"] != digest(r.body):
                    self.problems.append((r.status, len(body), len(r.body), r.headers))
                self.served += 1
            except (OSError, EOFError, AssertionError, ValueError) as e:
                self.problems.append((repr(e), len(body)))
                break
            sender.join()
            if r.headers.get("connection") == "close":
                c.close()
                c = Conn(self.gw.port)
        c.close()


def test_good_clients_beside_wild_ones(weir, script):
    print(f"CHAOS_SEED={SEED}")
    rng = random.Random(SEED)
    g = weir({"weir": {"max_connections_per_source": 0}})
    wild, good = script(WildUpstream(rng.random())), script(WildUpstream(rng.random()))
    proxy_all(g, wild.nodes(timeout={"connect": 1, "send": 1, "read": 0.5 * SLOW}, retries=0), enable_websocket=True)
    # PUT is sent again when a pooled connection was closed meanwhile, so good clients see no failure.
    g.put("/routes/2", {"uri": "/good", "upstream": good.nodes()})
    fds = g.fds()
    until = time.monotonic() + SECONDS
    goods = [GoodClient(g, rng.random()) for _ in range(3)]
    wilds = [WildClient(g, rng.random()) for _ in range(8)]
    threads = [threading.Thread(target=c.run, args=(until,)) for c in goods + wilds]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [p for c in goods for p in c.problems] == []
    assert min(c.served for c in goods) > SECONDS / SLOW
    wait_for(lambda: g.connections() == 0, 15, "no connection is left")
    wild.close()
    good.close()
    # A core keeps a few empty pipes.
    wait_for(lambda: g.fds() <= fds + 4 + 2 * 2 * 16, 15, "no descriptor is left")
    wild.failed.clear()
