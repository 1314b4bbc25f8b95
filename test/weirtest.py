# SPDX-License-Identifier: Apache-2.0
"""weirtest: what the end-to-end tests share: a running gateway, a plain HTTP client, upstreams that remember.

    def test_something(gw, upstream):
        gw.put("/routes/1", {"uri": "/*", "upstream": upstream.nodes()})
        r = gw.get("/a")
        assert r.status == 200 and upstream.last.path == "/a"

A Gateway is the real binary in a temporary folder on free ports. Everything it starts it stops by pid.
"""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import namedtuple

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("WEIR_BUILD", "build"))
WEIR = os.path.join(BUILD, "weir")
# Sanitizer builds are several times slower: deadlines stretch with this.
SLOW = float(os.environ.get("WEIR_SLOW", "1"))
ADMIN_KEY = "test-admin-key-0123456789abcdef"
VIEWER_KEY = "test-viewer-key-0123456789abcde"

Answer = namedtuple("Answer", "status headers body raw_headers")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, seconds=10, what="condition"):
    """Poll until condition() is true; its value. Fails after the deadline, so tests need no sleeps."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.005)


def accepts(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), 1).close()
        return True
    except OSError:
        return False


def request(port, path, method="GET", headers=None, body=None, host="127.0.0.1", timeout=15):
    """One request on a connection of its own. Headers may be a dict or a list of pairs."""
    c = http.client.HTTPConnection(host, port, timeout=timeout * SLOW)
    try:
        pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
        names = {k.lower() for k, _ in pairs}
        c.putrequest(method, path, skip_host="host" in names, skip_accept_encoding=True)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        if body is not None and "content-length" not in names and "transfer-encoding" not in names:
            pairs.append(("Content-Length", str(len(body))))
        for k, v in pairs:
            c.putheader(k, v)
        c.endheaders(body)
        r = c.getresponse()
        data = r.read()
        raw = r.getheaders()
        return Answer(r.status, {k.lower(): v for k, v in raw}, data, raw)
    finally:
        c.close()


def raw_exchange(port, data, timeout=5, host="127.0.0.1"):
    """Send bytes, read until the other side closes or nothing comes for `timeout`."""
    s = socket.create_connection((host, port), timeout * SLOW)
    try:
        s.sendall(data)
        s.settimeout(timeout * SLOW)
        out = b""
        try:
            while True:
                chunk = s.recv(65536)
                if not chunk:
                    return out
                out += chunk
        except (socket.timeout, ConnectionResetError):
            return out
    finally:
        s.close()


class Gateway:
    """The real gateway. config: a dict merged over the defaults of the tests."""

    def __init__(self, config=None, data=None, command=None, wait=True):
        self.dir = tempfile.mkdtemp(prefix="weir-test-")
        self.own_data = data is None
        self.data = data or os.path.join(self.dir, "data")
        self.port = free_port()
        self.admin_port = free_port()
        self.metrics_port = free_port()
        self.status_port = free_port()
        self.error_log = os.path.join(self.dir, "error.log")
        self.access_log = os.path.join(self.dir, "access.log")
        self.config = merge({
            "apisix": {
                "node_listen": [self.port],
                "status": {"ip": "127.0.0.1", "port": self.status_port},
                "enable_ipv6": False,
            },
            "deployment": {
                "admin": {
                    "admin_listen": {"ip": "127.0.0.1", "port": self.admin_port},
                    "admin_key": [
                        {"name": "admin", "key": ADMIN_KEY, "role": "admin"},
                        {"name": "viewer", "key": VIEWER_KEY, "role": "viewer"},
                    ],
                },
            },
            "nginx_config": {
                "worker_processes": 2,
                "error_log": self.error_log,
                "error_log_level": "info",
                "http": {"access_log": self.access_log},
            },
            "plugin_attr": {"prometheus": {"export_addr": {"ip": "127.0.0.1", "port": self.metrics_port}}},
        }, config or {})
        self.command = command or []
        self.process = None
        self.start(wait)

    def start(self, wait=True):
        path = os.path.join(self.dir, "config.yaml")
        with open(path, "w") as f:
            yaml.safe_dump(self.config, f)
        self.stderr = open(os.path.join(self.dir, "stderr"), "ab")
        env = dict(os.environ)
        env.setdefault("ASAN_OPTIONS", "detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=0")
        env.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1")
        self.process = subprocess.Popen(
            self.command + [WEIR, "run", "--config", path, "--data", self.data],
            stdout=self.stderr, stderr=self.stderr, cwd=self.dir, env=env)
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds=20):
        def ready():
            assert self.process.poll() is None, "the gateway ended: " + self.log_text()
            try:
                return request(self.status_port, "/status/ready", timeout=2).status == 200
            except OSError:
                return False
        wait_for(ready, seconds, "the gateway is ready")

    def log_text(self):
        text = ""
        for name in ("stderr", "error.log"):
            path = os.path.join(self.dir, name)
            if os.path.exists(path):
                with open(path, errors="replace") as f:
                    text += f.read()
        return text

    def access_lines(self, at_least=1, seconds=10):
        """Lines of the access log, once there are that many (it is written every 3 s)."""
        def lines():
            if not os.path.exists(self.access_log):
                return None
            with open(self.access_log) as f:
                found = f.read().splitlines()
            return found if len(found) >= at_least else None
        return wait_for(lines, seconds, "access log lines")

    # ---- the proxy port ----
    def get(self, path, **kw):
        return request(self.port, path, **kw)

    def request(self, path, **kw):
        return request(self.port, path, **kw)

    # ---- the Admin API ----
    def admin(self, method, path, body=None, key=ADMIN_KEY, headers=None):
        return request(self.admin_port, "/apisix/admin" + path, method, {"X-API-KEY": key, **(headers or {})}, body)

    def put(self, path, body):
        r = self.admin("PUT", path, body)
        assert r.status in (200, 201), (path, r.status, r.body)
        return json.loads(r.body)

    def delete(self, path):
        r = self.admin("DELETE", path + "?force=true")
        assert r.status in (200, 404), (path, r.status, r.body)

    def clear(self):
        """Remove every object, so that a test starts from nothing."""
        for kind in ("routes", "services", "upstreams", "plugin_configs", "consumers", "consumer_groups", "global_rules", "plugin_metadata"):
            listed = json.loads(self.admin("GET", "/" + kind).body)
            for item in listed.get("list") or []:
                self.delete("/" + kind + "/" + item["key"].rsplit("/", 1)[1])

    def metrics(self):
        return request(self.metrics_port, "/apisix/prometheus/metrics").body.decode()

    # ---- the process ----
    def pids(self):
        """The supervisor and the gateway process below it."""
        out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True).stdout
        return [self.process.pid] + [int(p) for p in out.split()]

    def signal(self, signo):
        self.process.send_signal(signo)

    def stop(self, seconds=15):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds * SLOW)
            except subprocess.TimeoutExpired:
                for pid in reversed(self.pids()):
                    os.kill(pid, signal.SIGKILL)
                self.process.wait()
                raise AssertionError("the gateway did not stop in time: " + self.log_text()[-4000:])
        self.stderr.close()
        return self.process.returncode

    def close(self):
        try:
            self.stop()
        finally:
            text = self.log_text()
            shutil.rmtree(self.dir, ignore_errors=True)
        for sign in ("AddressSanitizer", "runtime error:", "ThreadSanitizer", "ASSERT", "[alert]", "[emerg]", "[crit]"):
            assert sign not in text, text[-8000:]


def merge(base, over):
    out = dict(base)
    for k, v in over.items():
        out[k] = merge(out[k], v) if isinstance(v, dict) and isinstance(out.get(k), dict) else v
    return out


Seen = namedtuple("Seen", "method path version headers body port")


class Upstream:
    """An upstream that remembers what it got. answer(seen) -> (status, [(name, value)], body) may be replaced."""

    def __init__(self, port=0, answer=None):
        self.seen = []
        self.answer = answer or (lambda s: (200, [("Content-Type", "text/plain"), ("X-Up", "1")], b"hello from upstream"))
        self.socket = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def nodes(self, **more):
        return {"type": "roundrobin", "nodes": {f"127.0.0.1:{self.port}": 1}, **more}

    @property
    def last(self):
        return self.seen[-1]

    def _accept(self):
        while True:
            try:
                c, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(c,), daemon=True).start()

    def _serve(self, c):
        f = c.makefile("rb")
        try:
            while True:
                line = f.readline()
                if not line:
                    return
                method, path, version = line.decode("latin-1").split()
                headers = []
                while (h := f.readline().decode("latin-1").rstrip("\r\n")):
                    name, value = h.split(":", 1)
                    headers.append((name, value.strip()))
                low = {k.lower(): v for k, v in headers}
                body = b""
                if "content-length" in low:
                    body = f.read(int(low["content-length"]))
                elif low.get("transfer-encoding") == "chunked":
                    while (n := int(f.readline(), 16)):
                        body += f.read(n)
                        f.readline()
                    while f.readline().strip():
                        pass
                seen = Seen(method, path, version, headers, body, self.port)
                self.seen.append(seen)
                status, out, data = self.answer(seen)
                names = {k.lower() for k, _ in out}
                head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{k}: {v}\r\n" for k, v in out)
                if "content-length" not in names and "transfer-encoding" not in names and status not in (204, 304):
                    head += f"Content-Length: {len(data)}\r\n"
                if method == "HEAD" or status in (204, 304):
                    data = b""
                c.sendall(head.encode("latin-1") + b"\r\n" + data)
        except (OSError, ValueError):
            pass
        finally:
            f.close()
            c.close()

    def close(self):
        self.socket.close()
