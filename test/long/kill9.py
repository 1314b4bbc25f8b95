#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 while the Admin API writes, again and again: nothing acknowledged may be lost, nothing half may be seen.

    kill9.py [rounds] [routes]        (or KILL9_ROUNDS, KILL9_ROUTES; 1000 rounds over 10000 routes take half an hour)

Several writers put routes and make and delete consumers with credentials; at a random moment the whole gateway is killed, started again on the same
files, and everything the writers touched is read back:
  - a route has its last acknowledged value, or that of the one write that was under way, complete;
  - credentials are there only with their consumer (a consumer is deleted together with them, as one step).
Ends with one line `N passed, M failed`; a round is one test. Start times are printed.
"""
import hashlib
import http.client
import json
import os
import random
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import weirtest  # noqa: E402

ROUNDS = int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("KILL9_ROUNDS", "1000"))
ROUTES = int(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("KILL9_ROUTES", "10000"))
WRITERS = 8
KEYS_PER_WRITER = 20
START_LIMIT = 1.0 * weirtest.SLOW  # seconds to be ready


class Died(Exception):
    """The gateway was killed under a request: whether it took effect is not known."""


class Admin:
    """One connection that stays open."""

    def __init__(self, port):
        self.c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def __call__(self, method, path, body=None):
        try:
            self.c.request(method, "/apisix/admin" + path, json.dumps(body) if body is not None else None,
                           {"X-API-KEY": weirtest.ADMIN_KEY})
            r = self.c.getresponse()
            return r.status, r.read()
        except (OSError, http.client.HTTPException) as e:
            raise Died from e


def route(number):
    """A value that shows when it is not whole: the description vouches for the rest."""
    pad = ("%d-" % number) * 16
    return {"uri": "/%d" % number, "name": pad, "plugins": {}, "desc": hashlib.sha256(pad.encode()).hexdigest()}


def route_number(value):
    """The number it was made from; None when it is not whole."""
    number = int(value["uri"][1:])
    want = route(number)
    return number if all(value.get(k) == want[k] for k in want) else None


class Books:
    """What the writers know: per key the last acknowledged number and the one under way."""

    def __init__(self):
        self.acked, self.open = {}, {}
        self.consumers = set()
        self.writes = 0


def write_routes(admin, books, writer, stop):
    while not stop.is_set():
        key = "w%d-%d" % (writer, random.randrange(KEYS_PER_WRITER))
        number = random.getrandbits(32)
        books.open[key] = number
        status, body = admin("PUT", "/routes/" + key, route(number))
        assert status in (200, 201), (status, body)
        books.acked[key] = number
        del books.open[key]
        books.writes += 1


def write_consumers(admin, books, writer, stop):
    turn = 0
    while not stop.is_set():
        turn += 1
        name = "c%d_%d" % (writer, turn % 5)
        books.consumers.add(name)
        for method, path, body in (("PUT", "/consumers", {"username": name}),
                                   ("PUT", "/consumers/%s/credentials/a" % name, {}),
                                   ("PUT", "/consumers/%s/credentials/b" % name, {}),
                                   ("DELETE", "/consumers/" + name, None)):
            status, answer = admin(method, path, body)
            assert status in (200, 201), (method, path, status, answer)
            books.writes += 1


def writer_main(port, books, writer, stop, problems):
    try:
        (write_consumers if writer == 0 else write_routes)(Admin(port), books, writer, stop)
    except Died:
        pass
    except Exception as e:  # noqa: BLE001: any other answer is a finding
        problems.append(repr(e))


def kill_all(gw, pids):
    # The supervisor first: it must not start another one.
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    gw.process.wait()
    gw.stderr.close()

    def gone():
        return not any(os.path.exists("/proc/%d" % p) and "Z" not in open("/proc/%d/stat" % p).read().split(")")[1][:3] for p in pids)
    weirtest.wait_for(gone, 10, "the killed processes are gone")


def check_route(admin, books, key, problems):
    status, body = admin("GET", "/routes/" + key)
    acked, under_way = books.acked.get(key), books.open.pop(key, None)
    if status == 404:
        if acked is not None:
            problems.append("%s is lost" % key)
        return
    number = route_number(json.loads(body)["value"])
    if number is None:
        problems.append("%s is not whole: %s" % (key, body[:300]))
    elif number not in (acked, under_way):
        problems.append("%s has a value that is neither the last acknowledged nor the one under way" % key)
    books.acked[key] = number


def check_consumer(admin, name, problems):
    status, _ = admin("GET", "/consumers/" + name)
    for credential in ("a", "b"):
        found, _ = admin("GET", "/consumers/%s/credentials/%s" % (name, credential))
        if status == 404 and found == 200:
            problems.append("credential %s of %s outlived it" % (credential, name))


def check(port, books, keys, problems):
    admin = Admin(port)
    for key in keys:
        check_route(admin, books, key, problems)
    for name in books.consumers:
        check_consumer(admin, name, problems)


def start(gw, times, problems):
    begin = time.monotonic()
    gw.start()
    times.append(time.monotonic() - begin)
    if times[-1] > START_LIMIT:
        problems.append("start took %.2f s" % times[-1])


def one_round(gw, books, times):
    problems = []
    stop = threading.Event()
    threads = [threading.Thread(target=writer_main, args=(gw.admin_port, books, w, stop, problems)) for w in range(WRITERS)]
    pids = gw.pids()
    for t in threads:
        t.start()
    time.sleep(random.uniform(0.005, 0.15))
    kill_all(gw, pids)
    stop.set()
    for t in threads:
        t.join()
    touched = set(books.acked) | set(books.open)
    start(gw, times, problems)
    check(gw.admin_port, books, [k for k in touched if k.startswith("w")], problems)
    return problems


def fill(gw, books):
    """Routes that nobody touches: the size a start has to cope with."""
    def some(share):
        admin = Admin(gw.admin_port)
        for i in share:
            status, body = admin("PUT", "/routes/base-%d" % i, route(i))
            assert status in (200, 201), body
            books.acked["base-%d" % i] = i

    threads = [threading.Thread(target=some, args=(range(k, ROUTES, 16),)) for k in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(books.acked) == ROUTES, "could not make the routes"


def check_all(gw, books, problems):
    listed = json.loads(gw.admin("GET", "/routes").body)["list"]
    found = {i["key"].rsplit("/", 1)[1]: route_number(i["value"]) for i in listed}
    for key, number in books.acked.items():
        if found.get(key) != number:
            problems.append("%s is %r in the list, %r was acknowledged" % (key, found.get(key), number))


def main():
    gw = weirtest.Gateway({"nginx_config": {"error_log_level": "warn"}})
    books, times, failed = Books(), [], 0
    try:
        fill(gw, books)
        for n in range(ROUNDS):
            problems = one_round(gw, books, times)
            if n == ROUNDS - 1:
                check_all(gw, books, problems)
            if problems:
                failed += 1
                print("round %d: %s" % (n, "; ".join(problems[:5])), flush=True)
    finally:
        gw.stop()
    if books.writes < ROUNDS:
        failed += 1
        print("only %d writes were acknowledged: the kills came before there was anything to lose" % books.writes)
    times.sort()
    print("%d acknowledged writes; start with %d routes: median %.3f s, 99 %% %.3f s, longest %.3f s"
          % (books.writes, ROUTES, times[len(times) // 2], times[int(len(times) * 0.99)], times[-1]))
    print("%d passed, %d failed" % (max(ROUNDS - failed, 0), failed))
    gw.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
