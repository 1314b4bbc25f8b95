#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Metrics of many routes: complete, quick to read, and no request waits for the reading.

    scrape.py [routes]        (10000 by default)

Every route gets a request, so each has its series; then the metrics are read again and again while requests go on. Ends with one line `N passed, M failed`.
"""
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import weirtest  # noqa: E402

ROUTES = int(sys.argv[1] if len(sys.argv) > 1 else "10000")
SCRAPES = 20
SCRAPE_LIMIT = 0.2 * weirtest.SLOW  # seconds, the median
CLIENTS = 16


def in_threads(fn, items, n=CLIENTS):
    threads = [threading.Thread(target=fn, args=(items[k::n],)) for k in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def put_routes(gw, nodes):
    def some(share):
        c = http.client.HTTPConnection("127.0.0.1", gw.admin_port, timeout=60)
        for i in share:
            c.request("PUT", f"/apisix/admin/routes/r{i}", json.dumps({"uri": f"/r/{i}/*", "upstream": nodes}), {"X-API-KEY": weirtest.ADMIN_KEY})
            assert c.getresponse().read() is not None
    in_threads(some, list(range(ROUTES)))


def ask_routes(gw):
    def some(share):
        c = http.client.HTTPConnection("127.0.0.1", gw.port, timeout=60)
        for i in share:
            c.request("GET", f"/r/{i}/x")
            c.getresponse().read()
    in_threads(some, list(range(ROUTES)))


class Traffic:
    """Requests one after another on one connection, from start to stop: how long each took."""

    def __init__(self, port):
        self.port, self.times, self.failures, self.stopped = port, [], [], threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.stopped.is_set():
            begin = time.monotonic()
            try:
                c.request("GET", "/r/1/x")
                r = c.getresponse()
                r.read()
                if r.status != 200:
                    self.failures.append(r.status)
            except (OSError, http.client.HTTPException) as e:
                self.failures.append(repr(e))
                c.close()
            self.times.append(time.monotonic() - begin)

    def stop(self):
        self.stopped.set()
        self.thread.join()
        self.times.sort()
        return self

    def at(self, share):
        return self.times[min(len(self.times) - 1, int(len(self.times) * share))]


def quiet_traffic(gw):
    traffic = Traffic(gw.port)
    weirtest.wait_for(lambda: len(traffic.times) >= 5000, 120, "requests without scrapes")
    return traffic.stop()


def scrape(gw, path):
    """Seconds it took curl, so that this program's own work does not count; the text goes to path."""
    url = f"http://127.0.0.1:{gw.metrics_port}/apisix/prometheus/metrics"
    return float(subprocess.check_output(["curl", "-fsS", "-o", path, "-w", "%{time_total}", url], text=True))


def main():
    gw = weirtest.Gateway({"nginx_config": {"error_log_level": "warn"}})
    echo_port = weirtest.free_port()
    echo = subprocess.Popen([weirtest.WEIR, "echo", "--listen", f"127.0.0.1:{echo_port}"])
    results = []

    def check(what, holds):
        results.append(holds)
        print(f"{'ok' if holds else 'FAILED'}: {what}", flush=True)

    try:
        weirtest.wait_for(lambda: weirtest.accepts(echo_port), 10, "the upstream")
        gw.put("/global_rules/1", {"plugins": {"prometheus": {}}})
        put_routes(gw, {"type": "roundrobin", "nodes": {f"127.0.0.1:{echo_port}": 1}})
        ask_routes(gw)
        quiet = quiet_traffic(gw)
        busy = Traffic(gw.port)
        times = sorted(scrape(gw, "/dev/null") for _ in range(SCRAPES))
        busy.stop()
        path = os.path.join(gw.dir, "metrics")
        scrape(gw, path)
        with open(path) as f:
            seen = set(re.findall(r'^apisix_http_status\{code="200",route="(r\d+)"', f.read(), re.M))
        size = os.path.getsize(path) / 1e6
        check(f"{len(seen)} of {ROUTES} routes are in the metrics", len(seen) == ROUTES)
        check(f"a scrape of {size:.1f} MB takes {times[len(times) // 2] * 1000:.0f} ms (median; longest {times[-1] * 1000:.0f} ms)",
              times[len(times) // 2] <= SCRAPE_LIMIT)
        check(f"{len(busy.times)} requests during {SCRAPES} scrapes, {len(busy.failures)} failed", not busy.failures and len(busy.times) > 0)
        check(f"99 % of requests take {busy.at(0.99) * 1000:.2f} ms during scrapes, {quiet.at(0.99) * 1000:.2f} ms without",
              busy.at(0.99) <= 2 * quiet.at(0.99) + 0.005)
    finally:
        echo.terminate()
        echo.wait()
        gw.stop()
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    gw.close()
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
