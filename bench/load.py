# SPDX-License-Identifier: Apache-2.0
"""Clients of a run: wrk for load, plain sockets for what must be counted exactly."""

import json
import os
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time

from gateway import HERE

UNITS = {"us": 1e-3, "ms": 1, "s": 1e3, "m": 60e3, "h": 3600e3}


class LoadError(RuntimeError):
    pass


def _ms(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m|h)", text).groups()
    return float(number) * UNITS[unit]


def wrk(cpu, port, path, connections, seconds, close=False, script=None, scheme="http"):
    """Run wrk; script: arguments of cycle.lua. Answers that are not 2xx and broken connections
    raise LoadError: a figure of refused requests is worth nothing."""
    command = ["taskset", "-c", str(cpu), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
               "--timeout", "10s", "--latency"]
    if close:
        command += ["-H", "Connection: close"]
    if script:
        command += ["-s", str(HERE / "cycle.lua")]
    host = "localhost" if scheme == "https" else "127.0.0.1"  # an address is no name to ask for
    command.append(f"{scheme}://{host}:{port}{path}")
    if script:
        command += ["--", *(str(s) for s in script)]
    out = subprocess.run(command, capture_output=True, text=True, check=True,
                         timeout=seconds + 60).stdout
    requests, lasted = re.search(r"(\d+) requests in ([\d.]+\w+),", out).groups()
    errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    broken = sum(int(n) for n in errors.groups()) if errors else 0
    # A few connections break when wrk stops in the middle of requests.
    if "Non-2xx" in out or int(requests) == 0 or broken * 1000 > int(requests):
        raise LoadError(out)
    latency = dict(re.findall(r"^\s+(50|99)%\s+(\S+)\s*$", out, re.M))
    if len(latency) < 2:
        raise LoadError(out)
    return {"requests": int(requests), "rps": int(requests) / _ms(lasted) * 1000,
            "p50_ms": _ms(latency["50"]), "p99_ms": _ms(latency["99"])}


def h2load(cpu, port, path, connections, seconds, streams=1, scheme="https", options=()):
    """Run h2load with so many streams at a time on each connection."""
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
        log = os.path.join(folder, "log")
        command = ["taskset", "-c", str(cpu), "h2load", f"-c{connections}", f"-m{streams}",
                   f"-D{seconds}", f"--log-file={log}", *options,
                   f"{scheme}://127.0.0.1:{port}{path}"]
        out = subprocess.run(command, capture_output=True, text=True, check=True,
                             timeout=seconds + 60).stdout
        with open(log) as f:
            answers = [line.split() for line in f]
    took = sorted(int(a[2]) / 1000 for a in answers if a[1] == "200")
    if not took or len(took) < len(answers):
        raise LoadError(out)
    return {"requests": len(took), "rps": len(took) / seconds, "p50_ms": took[len(took) // 2],
            "p99_ms": took[len(took) * 99 // 100]}


def grpc(cpu, port, path, connections, seconds, calls=1):
    """Unary calls with 20 bytes of body, so many at a time on each connection."""
    with tempfile.NamedTemporaryFile(prefix="weir-bench-") as body:
        body.write(b"\0\0\0\0\x0f" + b"x" * 15)
        body.flush()
        return h2load(cpu, port, path, connections, seconds, calls, "http",
                      ["-d", body.name, "-H", "content-type: application/grpc",
                       "-H", "te: trailers"])


def resumed(cpu, port, path, connections, seconds):
    """Connections one after the other that resume one session of TLS 1.2, by openssl s_time."""
    out = subprocess.run(["taskset", "-c", str(cpu), "openssl", "s_time", "-connect",
                          f"127.0.0.1:{port}", "-reuse", "-tls1_2", "-time", str(seconds)],
                         capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    # The first line of its kind is of the new session that the others resume.
    made = re.findall(r"(\d+) connections in (\d+) real seconds", out)
    if not made or int(made[-1][0]) == 0:
        raise LoadError(out)
    each = seconds / int(made[-1][0]) * 1000
    return {"requests": int(made[-1][0]), "rps": 1000 / each, "p50_ms": each, "p99_ms": each}


class Client:
    """One keepalive connection that counts answers by their Content-Length."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.rest = b""

    def send(self, head, body=b""):
        self.socket.sendall(head + body)

    def receive(self):
        """Status and body of the next answer."""
        data = self.rest
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, data = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if length:
            size = int(length.group(1))
            while len(data) < size:
                data += self._more()
            body, self.rest = data[:size], data[size:]
        else:
            body, self.rest = self._chunked(data)
        return int(head.split(b" ", 2)[1]), body

    def _chunked(self, data):
        body = b""
        while True:
            while b"\r\n" not in data:
                data += self._more()
            line, _, data = data.partition(b"\r\n")
            size = int(line.split(b";")[0], 16)
            while len(data) < size + 2:
                data += self._more()
            body, data = body + data[:size], data[size + 2:]
            if size == 0:
                return body, data

    def _more(self):
        more = self.socket.recv(65536)
        if not more:
            raise LoadError("the gateway closed the connection")
        return more

    def get(self, path):
        self.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        status, body = self.receive()
        if status != 200:
            raise LoadError(f"GET {path}: {status} {body[:200]!r}")

    def close(self):
        self.socket.close()


class Tunnels:
    """n WebSocket tunnels through a gateway, both ends in a process of its own (tunnels.py). A few
    have been opened before, so that what is made once is not counted."""

    def __init__(self, gateway, n):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "tunnels.py"), str(gateway.port), str(n)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        node = f"127.0.0.1:{self.process.stdout.readline().strip()}"
        Admin(gateway).put_all([("/routes/ws", {
            "uri": "/ws", "enable_websocket": True, "timeout": {"connect": 6, "send": 600, "read": 600},
            "upstream": {"type": "roundrobin", "nodes": {node: 1}}})])

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != what + "\n":
            raise LoadError(f"tunnels: {what} failed")

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


def exactly(port, path, n, connections=16):
    """n requests, one under way on each connection, all connections at the same time."""
    clients = [Client(port) for _ in range(connections)]
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    done = 0
    while done < n:
        batch = clients[:min(connections, n - done)]
        for c in batch:
            c.send(request)
        for c in batch:
            status, body = c.receive()
            if status != 200:
                raise LoadError(f"GET {path}: {status} {body[:200]!r}")
        done += len(batch)
    for c in clients:
        c.close()


class Admin:
    """The Admin API of a Weir."""

    def __init__(self, weir):
        self.weir = weir
        self.client = Client(weir.admin_port)

    def request(self, path, value):
        body = json.dumps(value).encode()
        head = (f"PUT /apisix/admin{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-KEY: {self.weir.key}"
                f"\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n")
        return head.encode() + body

    def put(self, path, value):
        self.client.send(self.request(path, value))
        self.check(path, self.client.receive())

    @staticmethod
    def check(path, answer):
        status, body = answer
        if status not in (200, 201):
            raise LoadError(f"PUT {path}: {status} {body[:300]!r}")

    def put_all(self, items, connections=32):
        """Many at once, so that their commits are shared."""
        items = iter(items)
        selector = selectors.DefaultSelector()
        busy = 0

        def next_on(client):
            nonlocal busy
            item = next(items, None)
            if item is None:
                selector.unregister(client.socket)
                client.close()
                busy -= 1
            else:
                client.send(self.request(*item))

        for _ in range(connections):
            client = Client(self.weir.admin_port)
            selector.register(client.socket, selectors.EVENT_READ, client)
            busy += 1
            next_on(client)
        while busy:
            for key, _ in selector.select(60):
                self.check("", key.data.receive())
                next_on(key.data)
        selector.close()


class Changes(threading.Thread):
    """PUT items again and again at a steady rate until stopped."""

    def __init__(self, weir, item, per_second):
        super().__init__(daemon=True)
        self.admin, self.item, self.gap = Admin(weir), item, 1 / per_second
        self.done, self.error = 0, None
        self.ending = threading.Event()

    def run(self):
        due = time.monotonic()
        try:
            while not self.ending.is_set():
                self.admin.put(*self.item(self.done))
                self.done += 1
                due += self.gap
                pause = due - time.monotonic()
                if pause > 0:
                    self.ending.wait(pause)
        except (OSError, LoadError) as e:
            self.error = e

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.join()
        self.admin.client.close()
        if self.error:
            raise LoadError(f"change {self.done}: {self.error}")


def pin(cpu):
    os.sched_setaffinity(0, {cpu})
