#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients that hold a connection and go slowly, in four ways, while an ordinary client goes on.

    slow_clients.py [attackers] [seconds] [all]        (2000 for 30 s, one way after the other; all: a quarter each, at the same time)

idle        one request, then nothing: may stay, and costs little
slow head   a byte of a head every two seconds
slow body   a byte of a body every two seconds
slow read   64 bytes of an answer of 256 KB every two seconds

Everything is as it comes: only ports and logs are configured. Ends with one line `N passed, M failed`.
"""
import http.client
import multiprocessing
import os
import re
import select
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import weirtest  # noqa: E402

ATTACKERS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 30
TOGETHER = sys.argv[3:] == ["all"]
STEP = 2.0  # seconds between two bytes
BIG = 256 << 10
RATE = 50  # new connections a second of the ordinary client
PER_SOURCE = 900  # attackers of one address: the limit of 1000 is another test's

MODES = {  # what is sent at first, what every two seconds, how much is read then, cut within
    "idle": (b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n", b"", 0, None),
    "slow head": (b"GET /small HTTP/1.1\r\nHost: a\r\nX: ", b"a", 0, 15),
    "slow body": (b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", b"a", 0, 15),
    "slow read": (b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n", b"", 64, 15),
}


class Attack:
    """One way, by n connections; runs in a process of its own. Its result is how long each held, None: to the end."""

    def __init__(self, port, mode, n, seconds):
        self.port, self.mode, self.n, self.seconds = port, mode, n, seconds
        self.held, self.refused = [], 0

    def connect(self, i):
        s = socket.socket()
        if self.mode == "slow read":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.bind((f"127.0.1.{1 + i // PER_SOURCE}", 0))
        s.settimeout(10)
        s.connect(("127.0.0.1", self.port))
        s.sendall(MODES[self.mode][0])
        s.setblocking(False)
        return s

    def is_over(self, s, events):
        """Cut by the gateway? What it says before that is read; an answer that is read slowly is not looked into."""
        if events & (select.EPOLLERR | select.EPOLLHUP):
            return True
        try:
            return events & select.EPOLLIN and s.recv(65536) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def run(self, result):
        poll, open_ = select.epoll(), {}
        _, more, read, _ = MODES[self.mode]
        watch = select.EPOLLRDHUP if read else select.EPOLLIN
        for i in range(self.n):
            s = self.connect(i)
            open_[s.fileno()] = (s, time.monotonic())
            poll.register(s, watch)
        begin = time.monotonic()
        step = begin + STEP
        while time.monotonic() < begin + self.seconds:
            for fd, events in poll.poll(max(0, step - time.monotonic())):
                if fd in open_ and self.is_over(open_[fd][0], events):
                    s, since = open_.pop(fd)
                    self.held.append(time.monotonic() - since)
                    s.close()
            if time.monotonic() >= step:
                step += STEP
                for s, _ in list(open_.values()):
                    try:
                        if more:
                            s.send(more)
                        if read:
                            s.recv(read)
                    except OSError:
                        pass  # seen by poll
        result.put((self.mode, self.held, len(open_)))


def ask(port, timeout=5):
    """One request on a new connection: seconds, or None when it failed."""
    start = time.monotonic()
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        c.request("GET", "/small")
        r = c.getresponse()
        return time.monotonic() - start if r.status == 200 and r.read() == b"small" else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        c.close()


def ordinary(port, seconds):
    """The times of an ordinary client that opens RATE connections a second."""
    times, begin, n = [], time.monotonic(), 0
    while (now := time.monotonic()) < begin + seconds:
        if now < begin + n / RATE:
            time.sleep(begin + n / RATE - now)
        times.append(ask(port))
        n += 1
    return times


def p99(times):
    good = sorted(t for t in times if t is not None)
    return good[min(len(good) - 1, int(len(good) * 0.99))] if good else float("inf")


class Run:
    def __init__(self):
        self.results = []
        self.nginx = weirtest.Nginx(
            "keepalive_requests 1000000; location = /small { return 200 small; } location = /status { stub_status; }")
        self.nginx.file("big", os.urandom(BIG))
        self.gw = weirtest.Gateway({"nginx_config": {"error_log_level": "error"}})
        self.gw.put("/routes/1", {"uri": "/*", "upstream": self.nginx.nodes()})
        ordinary(self.gw.port, 1)
        self.baseline = p99(ordinary(self.gw.port, 5))
        print(f"ordinary client alone: 99 % in {self.baseline * 1000:.1f} ms", flush=True)

    def check(self, what, holds):
        self.results.append(bool(holds))
        print(f"{'ok' if holds else 'FAILED'}: {what}", flush=True)

    def busy_upstreams(self):
        """Upstream connections that are not idle, without the one that asks."""
        text = weirtest.request(self.nginx.ports[0], "/status").body.decode()
        active, waiting = (int(re.search(rf"{k}: (\d+)", text).group(1)) for k in ("Active connections", "Waiting"))
        return active - waiting - 1

    def attack(self, modes):
        before, result = self.gw.rss(), multiprocessing.Queue()
        n = ATTACKERS // len(modes)
        attacks = [multiprocessing.Process(target=Attack(self.gw.port, m, n, SECONDS).run, args=(result,), daemon=True) for m in modes]
        for a in attacks:
            a.start()
        weirtest.wait_for(lambda: self.gw.connections() >= 0.9 * n * len(modes), 30, "the attackers have connected")
        times, rss, busy = [], 0, []
        until = time.monotonic() + SECONDS - 3
        while time.monotonic() < until:
            times += ordinary(self.gw.port, 1)
            rss = max(rss, self.gw.rss())
            busy.append(self.busy_upstreams())
        held = dict((m, (h, left)) for m, h, left in (result.get(timeout=60) for _ in attacks))
        for a in attacks:
            a.join()
        self.judge(modes, n, times, (rss - before) / (n * len(modes)), busy, held)

    def judge(self, modes, n, times, each, busy, held):
        name = " + ".join(modes)
        failed = sum(t is None for t in times)
        self.check(f"{name}: {len(times)} ordinary requests, {failed} failed", failed == 0 and times)
        self.check(f"{name}: 99 % of them in {p99(times) * 1000:.1f} ms", p99(times) <= max(3 * self.baseline, 0.05) * weirtest.SLOW)
        for m in modes:
            cut, left = held[m]
            limit = MODES[m][3]
            if limit is None:
                self.check(f"{m}: {left} of {n} stay", left == n)
            else:
                longest = max(cut, default=0)
                self.check(f"{m}: {len(cut)} of {n} are cut, the last after {longest:.1f} s", left == 0 and longest <= limit * weirtest.SLOW)
        self.check(f"{name}: at most {max(busy)} upstream connections are busy, {busy[-1]} in the end ({busy})", max(busy) <= 64)
        self.check(f"{name}: {each / 1024:.1f} KB an attacker", each <= 64 << 10 or weirtest.SLOW > 1)
        self.check(f"{name}: the next request is served", ask(self.gw.port) is not None)

    def close(self):
        self.gw.close()
        self.nginx.close()


def main():
    run = Run()
    try:
        for modes in [list(MODES)] if TOGETHER else [[m] for m in MODES]:
            run.attack(modes)
    finally:
        run.close()
    print(f"{sum(run.results)} passed, {len(run.results) - sum(run.results)} failed")
    return 0 if all(run.results) else 1


if __name__ == "__main__":
    sys.exit(main())
