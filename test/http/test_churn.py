# SPDX-License-Identifier: Apache-2.0
"""The configuration changes all the time while requests go through: none fails, and none sees a half of a change.

CHURN_SECONDS says how long (30); make test-long runs it for minutes.
"""
import http.client
import json
import os
import random
import threading
import time

import pytest

from weirtest import ADMIN_KEY, SLOW, Conn, Nginx, get, lower, wait_for

SECONDS = float(os.environ.get("CHURN_SECONDS", "30"))
CHANGES = 50 / SLOW  # a second
CLIENTS = 4
RATE = 300 / SLOW  # requests a second and client

SERVER = """keepalive_requests 1000000; location / { add_header X-Saw-Version $http_x_version always; add_header X-Saw-Host $http_host always;
add_header X-Saw-Port $server_port always; return 200 "$request_uri"; }"""


@pytest.fixture(scope="module")
def nginx():
    n = Nginx(SERVER, SERVER)
    yield n
    n.close()


def versioned(nginx, k):
    """Version k of a route: everything about it says k, from the node to the field of the answer."""
    return {
        "uri": "/v*",
        "desc": f"version {k}",
        "plugins": {
            "proxy-rewrite": {"headers": {"set": {"X-Version": str(k)}}},
            "response-rewrite": {"headers": {"set": {"X-Version": str(k)}}},
        },
        "upstream": {"type": "roundrobin", "nodes": {f"127.0.0.1:{nginx.ports[k % 2]}": 1}, "pass_host": "rewrite", "upstream_host": f"v{k}.test"},
    }


class Admin:
    """The Admin API on one connection."""

    def __init__(self, gw):
        self.connection = http.client.HTTPConnection("127.0.0.1", gw.admin_port, timeout=30 * SLOW)

    def __call__(self, method, path, body=None):
        self.connection.request(method, "/apisix/admin" + path, json.dumps(body) if body else None, {"X-API-KEY": ADMIN_KEY})
        r = self.connection.getresponse()
        text = r.read()
        assert r.status in (200, 201, 404), (method, path, r.status, text)
        return r.status


class Churn:
    """Puts versions of the main route, and routes, services and upstreams beside it that come and go."""

    def __init__(self, gw, nginx):
        self.nginx, self.admin = nginx, Admin(gw)
        self.version = 0  # in force: its PUT has been answered
        self.changes = 0
        self.rng = random.Random(7)

    def put_version(self, k):
        self.admin("PUT", "/routes/main", versioned(self.nginx, k))
        self.version = k

    def step(self):
        self.changes += 1
        n = self.rng.randrange(30)
        kind = self.rng.randrange(6)
        if kind < 3:
            self.put_version(self.version + 1)
        elif kind == 3:
            self.admin("PUT", f"/routes/side{n}", {"uri": f"/side/{n}/*", "upstream": self.nginx.nodes(1)})
        elif kind == 4:
            self.admin("DELETE", f"/routes/side{n}")
        else:
            self.admin("PUT", "/upstreams/u", {**self.nginx.nodes(*self.rng.choice([(1, 1), (1, 2), (3, 1)])), "desc": str(self.changes)})

    def run(self, until):
        start = time.monotonic()
        while time.monotonic() < until:
            self.step()
            due = start + self.changes / CHANGES
            threading.Event().wait(max(0, due - time.monotonic()))


class Client:
    """One keepalive client; checks every answer."""

    def __init__(self, gw, nginx, churn, number):
        self.gw, self.nginx, self.churn = gw, nginx, churn
        self.rng = random.Random(number)
        self.requests, self.problems = 0, []
        self.slowest = 0

    def run(self, until):
        start = time.monotonic()
        c = Conn(self.gw.port)
        while time.monotonic() < until and len(self.problems) < 5:
            least = self.churn.version
            path = self.rng.choice(["/v", "/v/a?b=1", "/stable", f"/side/{self.rng.randrange(30)}/x"])
            sent = time.monotonic()
            try:
                r = c.ask(path)
            except (OSError, EOFError) as e:
                self.problems.append((path, repr(e)))
                c = Conn(self.gw.port)
                continue
            self.slowest = max(self.slowest, time.monotonic() - sent)
            self.requests += 1
            self.check(path, r, least)
            if r.headers.get("connection") == "close":
                c.close()
                c = Conn(self.gw.port)
            threading.Event().wait(max(0, start + self.requests / RATE - time.monotonic()))
        c.close()

    def check(self, path, r, least):
        h = r.headers
        if path.startswith("/side"):
            ok = r.status == 404 or (r.status == 200 and r.body.decode() == path)
        elif path == "/stable":
            ok = r.status == 200 and r.body == b"/stable" and "x-version" not in h
        else:
            k = int(h.get("x-version", -1))
            ok = (r.status == 200 and r.body.decode() == path and k >= least and h["x-saw-version"] == str(k) and h["x-saw-host"] == f"v{k}.test" and
                  h["x-saw-port"] == str(self.nginx.ports[k % 2]))
        if not ok:
            self.problems.append((path, least, r))


def test_no_request_fails_or_sees_a_half_of_a_change(weir, nginx):
    g = weir()
    churn = Churn(g, nginx)
    churn.put_version(1)
    g.put("/upstreams/u", nginx.nodes())
    g.put("/services/s", {"upstream_id": "u"})
    g.put("/routes/stable", {"uri": "/stable", "service_id": "s"})
    for n in range(500):
        churn.admin("PUT", f"/routes/many{n}", {"uri": f"/many/{n}/*", "upstream_id": "u"})
    clients = [Client(g, nginx, churn, i) for i in range(CLIENTS)]
    until = time.monotonic() + SECONDS
    threads = [threading.Thread(target=c.run, args=(until,)) for c in clients]
    warm = time.monotonic() + SECONDS / 5
    for t in threads:
        t.start()
    churn.run(warm)
    before = g.rss()
    churn.changes = 0
    churn.run(until)
    for t in threads:
        t.join()
    requests = sum(c.requests for c in clients)
    slowest = max(c.slowest for c in clients)
    print(f"{requests} requests, version {churn.version}, slowest {slowest * 1000:.0f} ms, memory {g.rss() - before:+} bytes")
    assert [p for c in clients for p in c.problems] == []
    assert requests > SECONDS * 500 / SLOW and churn.version > SECONDS * CHANGES / 4
    # Old snapshots go when their last request has ended.
    assert g.rss() - before < (16 << 20) * SLOW + SECONDS * 10000


def test_a_snapshot_lives_as_long_as_its_requests(weir, script, client):
    """A request that runs while its route is changed, deleted and made again ends with what it began with."""
    go = threading.Event()

    def up(c):
        while True:
            r = c.request()
            if r.path.startswith("/hold"):
                assert go.wait(60)
            c.answer(b"x", "200 OK", f"X-Saw: {lower(r.headers).get('x-version')}")

    g = weir()
    node = script(up).nodes()

    def route(k):
        return {"uri": "/*", "upstream": node, "plugins": {"proxy-rewrite": {"headers": {"set": {"X-Version": str(k)}}},
                                                           "response-rewrite": {"headers": {"set": {"X-Version": str(k)}}}}}

    held = []
    for k in range(40):
        g.put("/routes/1", route(k))
        held.append(client(g))
        held[-1].send(get(f"/hold{k}"))
        wait_for(lambda: g.connections("writing") >= k + 1, what="the request runs")
        if k % 4 == 3:
            g.delete("/routes/1")
            assert g.get("/").status == 404
    go.set()
    for k, c in enumerate(held):
        r = c.reply()
        assert (r.status, r.headers["x-saw"], r.headers["x-version"]) == (200, str(k), str(k))
