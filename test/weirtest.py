# SPDX-License-Identifier: Apache-2.0
"""weirtest: what the end-to-end tests share: a running gateway, a plain HTTP client, upstreams that remember.

    def test_something(gw, upstream):
        gw.put("/routes/1", {"uri": "/*", "upstream": upstream.nodes()})
        r = gw.get("/a")
        assert r.status == 200 and upstream.last.path == "/a"

A Gateway is the real binary in a temporary folder on free ports. Everything it starts it stops by pid.

For tests of the wire itself there are Conn, a client of raw bytes, and Script, an upstream whose every connection runs a function of the test:

    def hello(c):
        c.request()
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    with Script(hello) as up, Conn(gw.port) as c: ...
"""
import hashlib
import http.client
import json
import os
import random
import re
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
# What the event loops of the gateways wait with: auto (io_uring where there is one), epoll or io_uring.
ENGINE = os.environ.get("WEIR_ENGINE", "auto")
ADMIN_KEY = "test-admin-key-0123456789abcdef"
VIEWER_KEY = "test-viewer-key-0123456789abcde"

Answer = namedtuple("Answer", "status headers body raw_headers")


_given_ports = set()


def free_port():
    """A port nobody listens on, each once, below the range the kernel takes for outgoing connections, which could grab it meanwhile."""
    while True:
        port = random.randrange(10000, 32000)
        if port in _given_ports:
            continue
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                _given_ports.add(port)
                return port
            except OSError:
                pass


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


# Lines of the error log that tests provoke; any other error line fails the test that closes the gateway.
EXPECTED_ERRORS = r"upstream \S+ failed:|upstream answer ended early|upstream \S+: |failed to find upstream|answer has a header name or value"


class Gateway:
    """The real gateway. config: a dict merged over the defaults of the tests."""

    def __init__(self, config=None, data=None, command=None, wait=True, program=WEIR):
        self.program = program
        self.allowed = []  # regular expressions of log lines that would be alarming elsewhere
        self.dir = tempfile.mkdtemp(prefix="weir-test-")
        self.own_data = data is None
        self.data = data or os.path.join(self.dir, "data")
        self.port = free_port()
        self.tls_port = free_port()
        self.admin_port = free_port()
        self.metrics_port = free_port()
        self.status_port = free_port()
        self.error_log = os.path.join(self.dir, "error.log")
        self.access_log = os.path.join(self.dir, "access.log")
        self.config = merge({
            "apisix": {
                "node_listen": [self.port],
                "status": {"ip": "127.0.0.1", "port": self.status_port},
                "ssl": {"listen": [{"port": self.tls_port}]},
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
                "http": {"access_log": self.access_log, "access_log_buffer": 0},
            },
            "plugin_attr": {"prometheus": {"export_addr": {"ip": "127.0.0.1", "port": self.metrics_port}}},
        }, merge({"weir": {"engine": ENGINE}}, config or {}))
        self.command = command or []
        self.process = None
        self.start(wait)

    def start(self, wait=True):
        path = os.path.join(self.dir, "config.yaml")
        with open(path, "w") as f:
            yaml.safe_dump(self.config, f)
        self.stderr = open(os.path.join(self.dir, "stderr"), "ab")
        env = dict(os.environ)
        env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=1:detect_stack_use_after_return=0")
        env["TSAN_OPTIONS"] = env.get("TSAN_OPTIONS", "") + " abort_on_error=1"
        env.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1")
        self.process = subprocess.Popen(
            self.command + [self.program, "run", "--config", path, "--data", self.data],
            stdout=self.stderr, stderr=self.stderr, cwd=self.dir, env=env)
        if wait:
            try:
                self.wait_ready()
            except BaseException:
                self.stop()
                raise

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

    def logged(self):
        """How many lines the access log has at this moment."""
        if not os.path.exists(self.access_log):
            return 0
        with open(self.access_log, "rb") as f:
            return f.read().count(b"\n")

    def access_lines(self, at_least=1, seconds=10):
        """Lines of the access log, once there are that many (tests write it without a buffer)."""
        wait_for(lambda: self.logged() >= at_least, seconds, "access log lines")
        with open(self.access_log, errors="replace") as f:
            return f.read().splitlines()

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
        for kind in ("routes", "services", "upstreams", "plugin_configs", "consumers", "consumer_groups", "global_rules", "plugin_metadata", "ssls", "protos"):
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

    @property
    def worker(self):
        """The pid of the gateway process; the newest, while others drain."""
        return max(wait_for(lambda: self.pids()[1:], what="a gateway process"), key=born)

    def signal(self, signo):
        self.process.send_signal(signo)

    def rss(self):
        """Resident bytes of the gateway process."""
        with open(f"/proc/{self.worker}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def cpu(self):
        """Seconds of CPU the gateway process has used."""
        with open(f"/proc/{self.worker}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def fds(self):
        return len(os.listdir(f"/proc/{self.worker}/fd"))

    def connections(self, state="active"):
        """Client connections in a state, as the metrics say."""
        m = re.search(r'nginx_http_current_connections\{state="%s"\} (\d+)' % state, self.metrics())
        return int(m.group(1))

    def reload(self, config=None):
        """SIGHUP with a changed config.yaml; returns when it has been read."""
        self.config = merge(self.config, config or {})
        with open(os.path.join(self.dir, "config.yaml"), "w") as f:
            yaml.safe_dump(self.config, f)
        said = self.log_text().count("config.yaml was read again")
        self.signal(signal.SIGHUP)
        wait_for(lambda: self.log_text().count("config.yaml was read again") > said, 20, what="the reload")

    def upgrade(self):
        """weir upgrade; what it says and its exit status."""
        return subprocess.run([WEIR, "upgrade", "--config", os.path.join(self.dir, "config.yaml"), "--data", self.data],
                              capture_output=True, text=True, timeout=100 * SLOW)

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
        self.check_log(text)

    def check_log(self, text):
        """No alarming line but those the test has allowed."""
        allowed = re.compile("|".join([EXPECTED_ERRORS, *self.allowed]))
        for line in text.splitlines():
            if re.search(r"AddressSanitizer|runtime error:|ThreadSanitizer|ASSERT|\[(error|crit|alert|emerg)\]", line):
                assert allowed.search(line), line + "\n...\n" + text[-8000:]


def born(pid):
    """When a process started, in clock ticks; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return int(f.read().rsplit(")", 1)[1].split()[19])
    except OSError:
        return 0


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


class Nginx:
    """A real nginx: `servers` are the insides of server blocks, each on a port of its own (in .ports), on 127.0.0.1 and ::1. DIR in them is its folder."""

    def __init__(self, *servers):
        self.dir = tempfile.mkdtemp(prefix="weir-nginx-")
        self.ports = [free_port() for _ in servers]
        os.chmod(self.dir, 0o755)
        temp = "\n".join(f"{kind}_temp_path {self.dir}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        blocks = "\n".join(f"server {{ listen 127.0.0.1:{port}; listen [::1]:{port}; root {self.dir}; {inside.replace('DIR', self.dir)} }}" for port, inside in zip(self.ports, servers))
        with open(os.path.join(self.dir, "nginx.conf"), "w") as f:
            f.write(f"""daemon off; master_process off; worker_processes 1; pid {self.dir}/pid; error_log {self.dir}/error.log;
events {{ worker_connections 2000; }}
http {{ access_log off; default_type text/plain; client_max_body_size 0; {temp}
{blocks} }}""")
        self.process = subprocess.Popen(["nginx", "-p", self.dir, "-e", os.path.join(self.dir, "error.log"), "-c", os.path.join(self.dir, "nginx.conf")],
                                        env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"})
        wait_for(lambda: accepts(self.ports[0]) or self.process.poll() is not None, what="nginx listens")
        assert self.process.poll() is None

    def file(self, name, data):
        with open(os.path.join(self.dir, name), "wb") as f:
            f.write(data)

    def nodes(self, *weights, **more):
        """An upstream of the servers, with weights in their order (1 when left out)."""
        weights = weights or (1,) * len(self.ports)
        return {"type": "roundrobin", "nodes": {f"127.0.0.1:{p}": w for p, w in zip(self.ports, weights)}, **more}

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.dir, ignore_errors=True)


# ---- raw bytes ----

Head = namedtuple("Head", "line headers raw")
Reply = namedtuple("Reply", "status headers body trailers interim version")


def digest(data):
    return hashlib.sha256(data).hexdigest()


def payload(n, seed=1):
    """n bytes that are the same for the same seed, and nowhere like themselves."""
    block = b"".join(hashlib.sha256(f"{seed}:{i}".encode()).digest() for i in range(64))
    return b"".join(i.to_bytes(8, "big") + block[8:] for i in range(n // len(block) + 1))[:n]


def chunked(*parts, trailers=()):
    """Bytes of a chunked body."""
    out = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts if p)
    return out + b"0\r\n" + b"".join(f"{k}: {v}\r\n".encode() for k, v in trailers) + b"\r\n"


def get(path="/", *fields, method="GET", version="1.1"):
    """Bytes of a request head; fields are lines."""
    host = () if any(f.lower().startswith("host:") for f in fields) else ("Host: a.test",)
    return "\r\n".join([f"{method} {path} HTTP/{version}", *host, *fields, "", ""]).encode("latin-1")


def proxy_all(gw, up, **route):
    """One route that sends everything to up."""
    return gw.put("/routes/1", {"uri": "/*", "upstream": up if isinstance(up, dict) else up.nodes(), **route})


class Wire:
    """A stream socket read strictly: lines end in CRLF, messages are whole. EOFError when the peer closes too early."""

    def __init__(self, sock, timeout=15):
        self.sock = sock
        self.sock.settimeout(timeout * SLOW)
        if sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Close with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def shutdown(self):
        self.sock.shutdown(socket.SHUT_WR)

    def send(self, *data):
        self.sock.sendall(b"".join(data))

    def more(self):
        """Read some more; False at the end."""
        data = self.sock.recv(262144)
        self.buffer += data
        return bool(data)

    def take(self, n):
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def some(self):
        """Whatever comes next; b"" at the end."""
        if not self.buffer:
            self.more()
        return self.take(len(self.buffer))

    def exactly(self, n):
        parts = [self.take(n)]
        n -= len(parts[0])
        while n > 0:
            data = self.sock.recv(min(n, 1 << 20))
            if not data:
                raise EOFError(f"{n} bytes are missing")
            parts.append(data)
            n -= len(data)
        return b"".join(parts)

    def until(self, mark):
        while mark not in self.buffer:
            if not self.more():
                raise EOFError(f"closed before {mark!r}: {self.buffer[:200]!r}")
        return self.take(self.buffer.index(mark) + len(mark))

    def head(self):
        raw = self.until(b"\r\n\r\n")
        line, *fields = raw[:-4].decode("latin-1").split("\r\n")
        return Head(line, [tuple(f.split(": ", 1)) if ": " in f else (f.rstrip(":"), "") for f in fields], raw)

    def chunk(self):
        """One chunk; b"" is the last."""
        n = int(self.until(b"\r\n"), 16)
        if n == 0:
            return b""
        data = self.exactly(n)
        assert self.exactly(2) == b"\r\n"
        return data

    def chunks(self):
        """A chunked body and its trailers."""
        parts = []
        while data := self.chunk():
            parts.append(data)
        trailers = []
        while (line := self.until(b"\r\n")) != b"\r\n":
            trailers.append(tuple(line[:-2].decode("latin-1").split(": ", 1)))
        return b"".join(parts), trailers

    def rest(self):
        """All that comes until the end; a reset is an end too."""
        parts = [self.take(len(self.buffer))]
        try:
            while data := self.sock.recv(1 << 20):
                parts.append(data)
        except ConnectionResetError:
            pass
        return b"".join(parts)

    def is_open(self):
        """Is there neither an end nor anything to read at this moment?"""
        self.sock.setblocking(False)
        try:
            return False if self.sock.recv(1, socket.MSG_PEEK) == b"" else True
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self.sock.settimeout(15 * SLOW)


def lower(headers):
    return {k.lower(): v for k, v in headers}


class Conn(Wire):
    """A client."""

    def __init__(self, port, host="127.0.0.1", timeout=15, rcvbuf=0, source=None):
        if isinstance(port, str):
            sock = socket.socket(socket.AF_UNIX)
        else:
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            if rcvbuf:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            if source:
                sock.bind((source, 0))
        super().__init__(sock, timeout)
        sock.connect(port if isinstance(port, str) else (host, port))

    def reply(self, method="GET"):
        """The next answer, whole, with the interim ones before it."""
        interim = []
        while True:
            head = self.head()
            version, status = head.line.split(" ")[:2]
            if int(status) >= 200 or int(status) == 101:
                break
            interim.append((int(status), head.headers))
        h, body, trailers = lower(head.headers), b"", []
        if method == "HEAD" or int(status) in (101, 204, 304):
            pass
        elif "transfer-encoding" in h:
            assert h["transfer-encoding"] == "chunked" and "content-length" not in h
            body, trailers = self.chunks()
        elif "content-length" in h:
            body = self.exactly(int(h["content-length"]))
        else:
            assert h.get("connection") == "close"
            body = self.rest()
        return Reply(int(status), h, body, trailers, interim, version)

    def ask(self, path="/", *fields, method="GET", body=b""):
        self.send(get(path, *fields, method=method), body)
        return self.reply(method)

    def ended(self):
        """Did the gateway close without another byte?"""
        return self.rest() == b""


class Peer(Wire):
    """The upstream's end of a connection."""

    def __init__(self, sock, number):
        super().__init__(sock, 30)
        self.number = number  # 0 for the first connection

    def request(self):
        """The next request, whole."""
        head = self.head()
        method, path, version = head.line.split(" ")
        h, body = lower(head.headers), b""
        if "transfer-encoding" in h:
            assert h["transfer-encoding"] == "chunked" and "content-length" not in h
            body, _ = self.chunks()
        elif "content-length" in h:
            body = self.exactly(int(h["content-length"]))
        return Seen(method, path, version, head.headers, body, 0)

    def answer(self, body=b"", status="200 OK", *fields):
        self.send("\r\n".join([f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}", "", ""]).encode("latin-1"), body)


class Script:
    """An upstream: every connection runs fn(peer) in a thread of its own. What it asserts fails the test when the script is closed."""

    def __init__(self, fn, port=0, host="127.0.0.1", rcvbuf=0):
        self.fn = fn
        self.failed = []
        self.peers = []
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if rcvbuf:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.socket.bind((host, port))
        self.socket.listen(512)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close()
        if kind is None and self.failed:
            raise self.failed[0]

    @property
    def connections(self):
        return len(self.peers)

    def nodes(self, **more):
        return {"type": "roundrobin", "nodes": {f"127.0.0.1:{self.port}": 1}, **more}

    def _accept(self):
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            peer = Peer(sock, len(self.peers))
            self.peers.append(peer)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        try:
            self.fn(peer)
        except (OSError, EOFError):
            pass
        except Exception as e:  # noqa: BLE001 - told by the test
            self.failed.append(e)
        finally:
            peer.close()

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        for p in self.peers:
            try:
                p.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
