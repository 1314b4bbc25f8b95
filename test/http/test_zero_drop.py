# SPDX-License-Identifier: Apache-2.0
"""Reloads and upgrades under load: no request fails, no connection is refused, no stream is cut.

ZERO_DROP_RELOADS and ZERO_DROP_UPGRADES say how many of each (6 and 2; make test-long: 20 and 5). What the load is stands in LOADS, a row each.
"""
import json
import os
import signal
import stat
import threading

import h2test
import pytest
from grpctest import Barrier, Channel, Server, pb
from pki import Authority, Tls
from weirtest import ADMIN_KEY, WEIR, Conn, Script, free_port, get, lower, payload, request, wait_for

RELOADS = int(os.environ.get("ZERO_DROP_RELOADS", "6"))
UPGRADES = int(os.environ.get("ZERO_DROP_UPGRADES", "2"))
BODY = payload(3000)
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
streams_end = threading.Event()


def upstream(c):
    """Echoes bodies and tunnels; /stream answers with a line now and then until streams_end."""
    while True:
        head = c.head()
        method, path, _ = head.line.split(" ")
        fields = lower(head.headers)
        if "upgrade" in fields:
            c.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            while data := c.some():
                c.send(data)
            return
        if path == "/stream":
            c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            n = 0
            while not streams_end.wait(0.005):
                line = b"line %d" % n
                c.send(b"%x\r\n%s\r\n" % (len(line), line))
                n += 1
            c.send(b"0\r\n\r\n")
            continue
        body = c.exactly(int(fields.get("content-length", 0)))
        c.answer(body if method == "POST" else BODY)


# ---- loads: each runs until stop is set, calls done() for every success, and fails by an exception ----

def keepalive(gw, stop, done):
    """One request after another on a connection, for as long as the gateway lets it."""
    while not stop.is_set():
        with Conn(gw.port) as c:
            kept = True
            while kept and not stop.is_set():
                r = c.ask("/a")
                assert (r.status, r.body) == (200, BODY)
                kept = r.headers.get("connection") != "close"
                done()


def polling(gw, stop, done):
    """The same with pauses: a connection that is idle when its process is replaced."""
    while not stop.is_set():
        with Conn(gw.port) as c:
            kept = True
            while kept and not stop.wait(0.3):
                r = c.ask("/a")
                assert (r.status, r.body) == (200, BODY)
                kept = r.headers.get("connection") != "close"
                done()


def http2(gw, stop, done):
    """Two streams at a time on a connection, until it says that it ends."""
    while not stop.is_set():
        with h2test.Raw(gw) as c:
            sid = 1
            while not c.goaway and not stop.is_set():
                for i in (sid, sid + 2):
                    c.head(i, h2test.get("/a"))
                while not {sid, sid + 2} <= c.ended:
                    kind, flags, _, data = c.next()
                    if kind == h2test.PING and not flags & h2test.ACK:
                        c.send(h2test.frame(h2test.PING, h2test.ACK, 0, data))
                    elif kind == h2test.DATA and data:
                        c.send(h2test.frame(h2test.WINDOW_UPDATE, 0, 0, len(data).to_bytes(4, "big")))
                assert not c.resets and c.bodies == {sid: BODY, sid + 2: BODY}
                c.bodies.clear()
                c.frames.clear()
                sid += 4
                done()


def tls(gw, stop, done):
    """Some requests a handshake, with TLS 1.3 and sessions of old processes."""
    session = None
    while not stop.is_set():
        with Tls(gw.tls_port, "a.test", ca=gw.ca, context=gw.tls_context, session=session) as c:
            for _ in range(20):
                r = c.ask("/a")
                assert (r.status, r.body) == (200, BODY)
                done()
                if r.getheader("Connection") == "close":
                    break
            session = c.socket.session


def grpc_calls(gw, stop, done):
    """One call after another on a channel, which opens connections as it needs them."""
    with Channel(gw.port) as echo:
        while not stop.is_set():
            assert echo.Say(pb.Request(text="a", times=3), timeout=10).text == "aaa"
            done()


def grpc_stream(gw, stop, done):
    """One call with messages both ways from beginning to end."""
    with Channel(gw.port) as echo:
        says = Barrier()
        answers = echo.Chat(says)
        n = 0
        while not stop.wait(0.01):
            says.give(pb.Request(text=str(n)))
            assert next(answers).text == str(n)
            n += 1
            done()
        says.end()
        assert list(answers) == []


def short(gw, stop, done):
    """A connection a request."""
    while not stop.is_set():
        with Conn(gw.port) as c:
            r = c.ask("/a", "Connection: close", f"Content-Length: {len(BODY)}", method="POST", body=BODY)
            assert (r.status, r.body) == (200, BODY)
            done()


def websocket(gw, stop, done):
    """One tunnel from beginning to end."""
    with Conn(gw.port) as c:
        c.send(get("/ws", *UPGRADE))
        assert c.reply().status == 101
        n = 0
        while not stop.wait(0.005):
            frame = n.to_bytes(8, "big")
            c.send(frame)
            assert c.exactly(8) == frame
            n += 1
            done()


def stream(gw, stop, done):
    """One answer that goes on from beginning to end."""
    with Conn(gw.port) as c:
        c.send(get("/stream"))
        assert c.head().line == "HTTP/1.1 200 OK"
        n = 0
        while line := c.chunk():
            assert line == b"line %d" % n
            n += 1
            done()
            if stop.is_set():
                streams_end.set()


def admin(gw, stop, done):
    """Changes through the Admin API; each that is acknowledged is kept."""
    n = 0
    while not stop.is_set():
        n += 1
        r = request(gw.admin_port, "/apisix/admin/routes/changing", "PUT", {"X-API-KEY": ADMIN_KEY}, {"uri": f"/v{n}", "upstream": gw.nodes})
        assert r.status in (200, 201), (r.status, r.body)
        gw.acknowledged = n
        done()
        stop.wait(0.02)


def status(gw, stop, done):
    """Whoever watches the gateway sees it ready all the time."""
    while not stop.wait(0.02):
        assert request(gw.status_port, "/status/ready").status == 200
        done()


LOADS = [keepalive, keepalive, polling, http2, tls, grpc_calls, grpc_stream, short, short, websocket, stream, admin, status]


class Load:
    def __init__(self, gw):
        self.stop, self.failures, self.served = threading.Event(), [], {fn.__name__: 0 for fn in LOADS}
        self.threads = [threading.Thread(target=self.run, args=(fn, gw), daemon=True) for fn in LOADS]
        for t in self.threads:
            t.start()
        self.wait_for_more()

    def run(self, fn, gw):
        def done():
            self.served[fn.__name__] += 1
        try:
            fn(gw, self.stop, done)
        except Exception as e:  # noqa: BLE001 - told by check()
            self.failures.append(f"{fn.__name__}: {e!r}")

    def check(self):
        assert not self.failures, self.failures[:5]

    def wait_for_more(self, n=2):
        """Until each load has had n successes more."""
        before = dict(self.served)
        wait_for(lambda: self.failures or all(self.served[k] >= before[k] + n for k in before), 30, "every load goes on")
        self.check()

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join(30)
        self.check()
        print(f"served: {self.served}")


@pytest.fixture
def loaded(weir, tmp_path):
    """A gateway with its upstream, and its load."""
    with Script(upstream) as up, Server() as grpc_up:
        gw = weir({"weir": {"max_connections_per_source": 0}})
        gw.nodes = up.nodes()
        gw.put("/routes/all", {"uri": "/*", "upstream": gw.nodes, "enable_websocket": True})
        gw.put("/routes/grpc", {"uri": "/test.Echo/*", "upstream": grpc_up.nodes()})
        gw.ca = Authority(tmp_path)
        gw.tls_context = Tls.context(gw.ca)
        gw.put("/ssls/a", gw.ca.issue("a.test").ssl("a.test"))
        streams_end.clear()
        load = Load(gw)
        yield gw, load
        load.stop.set()
        streams_end.set()


def check_left(gw):
    """The last acknowledged change is in force, and the replaced processes end when their last stream has."""
    assert json.loads(gw.admin("GET", "/routes/changing").body)["value"]["uri"] == f"/v{gw.acknowledged}"
    assert gw.get(f"/v{gw.acknowledged}").status == 200
    wait_for(lambda: len(gw.pids()) == 2, 20, "the replaced processes have ended")


def test_reloads_under_load(loaded):
    """Listeners come and go, and the number of cores changes, which takes another process each time."""
    gw, load = loaded
    extra = [free_port() for _ in range(3)]
    workers = set()
    for i in range(RELOADS):
        gw.reload({"apisix": {"node_listen": [gw.port, *extra[:i % 4]]}, "nginx_config": {"worker_processes": (2, 2, 3, 1)[i % 4]}})
        workers.add(gw.worker)
        load.wait_for_more()
    load.end()
    assert len(workers) >= min(RELOADS, 4) // 2
    check_left(gw)


def test_upgrades_under_load(loaded):
    gw, load = loaded
    pid, worker = gw.process.pid, gw.worker
    for _ in range(UPGRADES):
        p = gw.upgrade()
        assert p.returncode == 0 and "has taken over" in p.stdout, p.stderr
        assert gw.worker != worker and gw.process.poll() is None and gw.pids()[0] == pid
        worker = gw.worker
        load.wait_for_more()
    load.end()
    check_left(gw)
    assert gw.connections("accepted") > 0


# ---- what a replaced process does ----

def test_a_replaced_process_says_close_and_ends(weir, script, client):
    """Idle connections get one answer more; when the last has had it the process ends, though nobody asks it to."""
    gw = weir()
    gw.put("/routes/1", {"uri": "/*", "upstream": script(upstream).nodes()})
    idle = [client(gw) for _ in range(5)]
    assert [c.ask().status for c in idle] == [200] * 5
    old = gw.worker
    assert gw.upgrade().returncode == 0
    assert old in gw.pids() and gw.worker != old
    assert [c.is_open() for c in idle] == [True] * 5
    for c in idle:
        r = c.ask()
        assert (r.status, r.headers["connection"]) == (200, "close") and c.ended()
    wait_for(lambda: old not in gw.pids(), what="the replaced process ends")
    assert client(gw).ask().status == 200


def test_the_drain_limit_cuts_what_is_left(weir, script, client):
    gw = weir({"nginx_config": {"worker_shutdown_timeout": "1s"}})
    gw.put("/routes/1", {"uri": "/*", "upstream": script(upstream).nodes(), "enable_websocket": True})
    c = client(gw)
    c.send(get("/ws", *UPGRADE))
    assert c.reply().status == 101
    old = gw.worker
    assert gw.upgrade().returncode == 0
    c.send(b"still here")
    assert c.exactly(10) == b"still here"
    assert c.rest() == b""
    wait_for(lambda: old not in gw.pids(), what="the replaced process ends")


def test_a_stop_ends_replaced_processes_too(weir, script, client):
    """Idle connections do not hold it up; a stream may go on until the limit, and the stop waits for it."""
    gw = weir()
    gw.put("/routes/1", {"uri": "/*", "upstream": script(upstream).nodes(), "enable_websocket": True})
    idle, tunnel = client(gw), client(gw)
    assert idle.ask().status == 200
    tunnel.send(get("/ws", *UPGRADE))
    assert tunnel.reply().status == 101
    assert gw.upgrade().returncode == 0
    gw.signal(signal.SIGTERM)
    assert idle.rest() == b""
    tunnel.send(b"still here")
    assert tunnel.exactly(10) == b"still here"
    assert gw.process.poll() is None
    tunnel.close()
    assert gw.process.wait(10) == 0


def test_connections_that_wait_outlive_a_crash(weir, script, client):
    """The supervisor keeps the sockets: nobody is refused while there is no gateway process."""
    gw = weir()
    gw.allowed += ["died of", "Sanitizer.*(DEADLYSIGNAL|SEGV|additional info)"]
    gw.put("/routes/1", {"uri": "/*", "upstream": script(upstream).nodes()})
    for _ in range(2):
        os.kill(gw.worker, signal.SIGKILL)
        waiting = [client(gw) for _ in range(20)]
        assert [c.ask().status for c in waiting] == [200] * 20


# ---- what does not come up ----

@pytest.fixture
def replaceable(weir, tmp_path):
    """A gateway that was started through a name in a folder of the test: install(text) puts another program there."""
    name = tmp_path / "weir"
    name.symlink_to(WEIR)

    def install(text, mode=0o755):
        name.unlink(missing_ok=True)
        if text is None:
            name.symlink_to(WEIR)
        elif text:
            name.write_text(text)
            name.chmod(mode)

    gw = weir(program=str(name))
    gw.allowed.append("upgrade refused, this process serves on")
    return gw, install


@pytest.mark.parametrize("program,mode,words", [
    ("", 0, ["cannot execute", "No such file or directory"]),
    ("no program at all", 0o644, ["cannot execute", "Permission denied"]),
    ("#!/bin/sh\nexit 3\n", 0o755, ["the new process ended with status 3"]),
    ("#!/bin/sh\nkill -SEGV $$\n", 0o755, ["the new process died of signal 11"]),
])
def test_a_program_that_does_not_come_up(replaceable, script, client, program, mode, words):
    """The old one serves on, Admin API included, and the user reads why; with a good program it works the next time."""
    gw, install = replaceable
    gw.put("/routes/1", {"uri": "/*", "upstream": script(upstream).nodes()})
    c, worker = client(gw), gw.worker
    install(program, mode)
    p = gw.upgrade()
    assert p.returncode == 1 and "the old process serves on" in p.stderr
    for word in words:
        assert word in p.stderr
        wait_for(lambda: word in gw.log_text(), what="the reason in the log")
    assert gw.worker == worker and c.ask().headers.get("connection") is None
    gw.put("/routes/2", {"uri": "/2", "upstream": script(upstream).nodes()})
    install(None)
    p = gw.upgrade()
    assert p.returncode == 0, p.stderr
    assert gw.worker != worker and client(gw).ask("/2").status == 200


def test_a_file_the_new_process_cannot_start_with(replaceable, script, client):
    """A port in use is only known to the new process; a mistake in the file is told before anything is started."""
    gw, _ = replaceable
    gw.allowed.append("cannot start: bind")
    gw.put("/routes/1", {"uri": "/*", "upstream": script(upstream).nodes()})
    path = os.path.join(gw.dir, "config.yaml")
    good = open(path).read()
    with Script(upstream) as taken:
        gw.config["apisix"]["node_listen"] = [gw.port, {"ip": "127.0.0.1", "port": taken.port}]
        with open(path, "w") as f:
            json.dump(gw.config, f)
        p = gw.upgrade()
        assert p.returncode == 1 and f"bind to 127.0.0.1:{taken.port} failed: Address already in use" in p.stderr
    with open(path, "w") as f:
        f.write("weir: {head_byte: 1}")
    p = gw.upgrade()
    assert p.returncode == 1 and "did you mean weir.head_bytes" in p.stderr
    with open(path, "w") as f:
        f.write(good)
    assert client(gw).ask().status == 200
    assert gw.upgrade().returncode == 0


def test_a_reload_that_needs_a_process_which_does_not_come_up(weir, script, client):
    gw = weir()
    gw.allowed += ["reload refused", "cannot start"]
    gw.put("/routes/1", {"uri": "/*", "upstream": script(upstream).nodes()})
    worker = gw.worker
    with Script(upstream) as taken:
        gw.config["nginx_config"]["worker_processes"] = 1
        gw.config["apisix"]["node_listen"] = [gw.port, {"ip": "127.0.0.1", "port": taken.port}]
        with open(os.path.join(gw.dir, "config.yaml"), "w") as f:
            json.dump(gw.config, f)
        gw.signal(signal.SIGHUP)
        wait_for(lambda: f"stays: bind to 127.0.0.1:{taken.port} failed" in gw.log_text(), what="the refusal")
        assert gw.worker == worker
    gw.put("/routes/1", {"uri": "/b", "upstream": script(upstream).nodes()})
    gw.reload({"apisix": {"node_listen": [gw.port]}})
    assert gw.worker != worker and client(gw).ask("/b").status == 200


def test_upgrade_without_a_gateway(weir):
    gw = weir()
    door = os.path.join(gw.data, "weir.sock")
    assert stat.S_IMODE(os.stat(door).st_mode) & 0o077 == 0
    assert gw.stop() == 0
    p = gw.upgrade()
    assert p.returncode == 1 and "nobody to ask" in p.stderr
