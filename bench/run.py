#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One interleaved run of Weir, nginx and HAProxy on the same work. See README.md.

    bench/run.py [SCENARIO...]      all scenarios, or those named (--list shows them)

Environment: BENCH_SECONDS (5) and BENCH_ROUNDS (3) of each measurement; BENCH_QUICK=1 a small
subset; BENCH_CPUS (0,1) gateway and load; BENCH_GATEWAYS (weir,weir-epoll,nginx,haproxy); BENCH_OUT
(build/bench.json); WEIR (build/weir).
"""

import contextlib
import json
import os
import pathlib
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time

import load
import report
from gateway import (HERE, Certificate, GrpcUpstream, Haproxy, Nginx, Upstream, Weir, WeirEpoll,
                     WeirUring, remove)

QUICK = os.environ.get("BENCH_QUICK") == "1"
SECONDS = int(os.environ.get("BENCH_SECONDS", "2" if QUICK else "5"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "2" if QUICK else "3"))
GATEWAY_CPU, LOAD_CPU = (int(c) for c in os.environ.get("BENCH_CPUS", "0,1").split(","))
NAMES = os.environ.get("BENCH_GATEWAYS", "weir,weir-epoll,nginx,haproxy").split(",")
OUT = pathlib.Path(os.environ.get("BENCH_OUT", HERE.parent / "build" / "bench.json"))

LIMIT = {"count": 1_000_000_000, "time_window": 3600, "key": "remote_addr", "rejected_code": 429}
KINDS = {k.name: k for k in (Weir, WeirEpoll, WeirUring, Nginx, Haproxy)}
# The engines differ in how they wait and read: not where the work is elsewhere.
ONE_EACH = [n for n in NAMES if not n.startswith("weir-")]


def say(text):
    print(text, file=sys.stderr, flush=True)


def spec(work, gateways, path, connections, during=contextlib.nullcontext, **options):
    """One load on some gateways. path: of all, or by name ("": the rest). during: makes what goes
    on meanwhile."""
    return {"work": work, "gateways": gateways, "path": path, "connections": connections,
            "during": during, "options": options}


class Run:
    """What is measured, and what was."""

    def __init__(self, work):
        self.work = pathlib.Path(work)
        self.upstream = Upstream(self.work, LOAD_CPU)
        self.result = {"about": about(), "cells": [], "facts": [], "failures": []}

    def gateways(self, names=NAMES, **options):
        """Fresh gateways, not started."""
        return [KINDS[n](self.work, GATEWAY_CPU, self.upstream, **options) for n in names]

    def nodes(self):
        return {"type": "roundrobin", "nodes": {f"127.0.0.1:{self.upstream.port}": 1}}

    def once(self, gateway, path, connections, seconds=SECONDS, tool=load.wrk, **options):
        cpu, start = gateway.cpu_us(), time.monotonic()
        r = tool(LOAD_CPU, gateway.port, path, connections, seconds, **options)
        used, lasted = gateway.cpu_us() - cpu, time.monotonic() - start
        r["cpu_us"] = used / r["requests"]
        r["cpu_share"] = used / lasted / 1e6
        r["rss"] = gateway.rss()
        return r

    def cells(self, scenario, specs):
        """Run the specs (see spec()) in turn, ROUNDS times, the first one changing."""
        turns = [(spec, g) for spec in specs for g in spec["gateways"]]
        made = [{"scenario": scenario, "work": spec["work"],
                 "rounds": {g.name: [] for g in spec["gateways"]}} for spec in specs]
        for i in range(ROUNDS):
            first = i % len(turns)
            for spec, g in turns[first:] + turns[:first]:
                path = spec["path"]
                if isinstance(path, dict):
                    path = path.get(g.name, path[""])
                try:
                    if i == 0:
                        self.once(g, path, spec["connections"], 1, **spec["options"])
                    with spec["during"]():
                        r = self.once(g, path, spec["connections"], **spec["options"])
                    made[specs.index(spec)]["rounds"][g.name].append(r)
                except (load.LoadError, subprocess.SubprocessError, OSError) as e:
                    self.fail(f"{scenario}, {spec['work']}, {g.name}: {e}")
        for cell in made:
            for name, rs in cell["rounds"].items():
                if rs:
                    say(f"{scenario:9} {cell['work']:48} {name:8}"
                        f"{report.median([r['rps'] for r in rs]):9,.0f}/s "
                        f"{report.median([r['cpu_us'] for r in rs]):7.1f} µs")
        self.result["cells"] += made
        return made

    def cell(self, scenario, work, gateways, path, connections, **options):
        return self.cells(scenario, [spec(work, gateways, path, connections, **options)])[0]

    def fact(self, scenario, work, gateway, figure, value, text):
        say(f"{scenario:9} {work:48} {gateway:8} {figure}: {text}")
        self.result["facts"].append({"scenario": scenario, "work": work, "gateway": gateway,
                                     "figure": figure, "value": value, "text": text})

    def fail(self, text):
        say(f"FAILED: {text}")
        self.result["failures"].append(str(text))


def version(name, command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return (done.stdout + done.stderr).splitlines()[0]
    except (OSError, IndexError, subprocess.SubprocessError):
        return f"{name} of an unknown version"


def about():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    versions = {"weir": [os.environ.get("WEIR", str(HERE.parent / "build" / "weir")), "version"],
                "nginx": ["nginx", "-v"], "haproxy": ["haproxy", "-v"]}
    return {
        "machine": f"{cpu.group(1) if cpu else platform.machine()}, Linux {platform.release()}",
        "versions": "; ".join(version(n, versions[n]) for n in versions if any(x.startswith(n) for x in NAMES)),
        "set-up": f"each gateway one worker on CPU {GATEWAY_CPU}; wrk and the upstream (nginx, "
                  f"fixed bodies) on CPU {LOAD_CPU}; loopback",
        "same for all": "access log off, keepalive on both sides without a limit of requests, "
                        "X-Real-IP and X-Forwarded-* sent to the upstream",
        "figures": f"medians of {ROUNDS} interleaved rounds of {SECONDS} s; a ratio is the median "
                   "of the rounds' ratios (lowest–highest), below 1 Weir needs less",
        "CPU %": "of the gateway's CPU; below some 95 the load side was the bottleneck, and "
                 "CPU-µs/request says more than requests/s",
    }


@contextlib.contextmanager
def started(gateways):
    with contextlib.ExitStack() as stack:
        for g in gateways:
            stack.enter_context(g)
        yield gateways


def put_routes(gateways, routes):
    for g in gateways:
        if isinstance(g, Weir):
            load.Admin(g).put_all(routes)


def plain_routes(run):
    return [("/routes/plain", {"uri": "/plain", "upstream": run.nodes()})]


def plugin_routes(run):
    plugins = {"limit-count": LIMIT, "prometheus": {}}
    return [("/routes/plug", {"uri": "/plug", "upstream": run.nodes(), "plugins": plugins})]


# ---- scenarios: run them, in this order ----

def plain(run):
    """One upstream, no plugins."""
    with started(run.gateways()) as gateways:
        put_routes(gateways, plain_routes(run))
        sizes = ["1k"] if QUICK else ["0.1k", "1k", "100k"]
        for size in sizes:
            for connections in [128] if QUICK else [16, 128, 1024]:
                run.cell("plain", f"no plugins, {size}B, {connections} connections", gateways,
                         f"/plain?{size}", connections)


def plugins(run):
    """One upstream with limit-count and prometheus; the others without."""
    with started(run.gateways(ONE_EACH)) as gateways:
        put_routes(gateways, plugin_routes(run))
        for connections in [128] if QUICK else [16, 128, 1024]:
            run.cell("plugins", f"limit-count + prometheus (Weir only), 1kB, {connections} "
                     "connections", gateways, {"weir": "/plug?1k", "": "/plain?1k"}, connections)


def auth(run):
    """key-auth and limit-count, 100 routes, 100 consumers; the others without."""
    n = 100
    items = [(f"/consumers/c{i}",
              {"username": f"c{i}", "plugins": {"key-auth": {"key": f"key-{i}"}}})
             for i in range(n)]
    items += [(f"/routes/{i}", {"uri": f"/auth/{i}/x", "upstream": run.nodes(),
                                "plugins": {"key-auth": {}, "limit-count": LIMIT}})
              for i in range(n)]
    with started(run.gateways(ONE_EACH)) as gateways:
        put_routes(gateways, items)
        run.cell("auth", f"key-auth + limit-count (Weir only), {n} routes, {n} consumers, 1kB, "
                 "128 connections", gateways, "/", 128, script=["/auth/%d/x?1k", n, n])


def short(run):
    """Connection: close."""
    with started(run.gateways()) as gateways:
        put_routes(gateways, plain_routes(run))
        run.cell("short", "Connection: close, 0.1kB, 128 connections", gateways, "/plain?0.1k",
                 128, close=True)


def grpc(run):
    """Unary calls of gRPC with 20 bytes each way, without TLS; Weir and nginx."""
    names = [n for n in ONE_EACH if n != "haproxy"]
    with GrpcUpstream(run.work, LOAD_CPU) as up, \
            started(run.gateways(names, grpc=up.port)) as gateways:
        put_routes(gateways, [("/routes/grpc", {"uri": "/*", "upstream": {
            "type": "roundrobin", "scheme": "grpc", "nodes": {f"127.0.0.1:{up.port}": 1},
            "keepalive_pool": {"size": 1024, "idle_timeout": 60, "requests": 100000000}}})])
        for connections, calls in [(16, 1), (4, 100)]:
            run.cell("grpc", f"unary, 20B, {connections} connections with {calls} calls at a time",
                     gateways, "/test.Echo/Say", connections, tool=load.grpc, calls=calls)


def put_certificate(gateways, certificate):
    put_routes(gateways, [("/ssls/1", {"snis": ["localhost"], "cert": certificate.cert.read_text(),
                                       "key": certificate.key.read_text()})])


def tls(run):
    """TLS: keepalive, new connections with two kinds of keys, resumed ones."""
    for kind in ("P-256", "RSA-2048"):
        certificate = Certificate(run.work, kind)
        with started(run.gateways(tls=certificate)) as gateways:
            put_routes(gateways, plain_routes(run))
            put_certificate(gateways, certificate)
            for size in ("0.1k", "100k") if kind == "P-256" else ():
                run.cell("tls", f"TLS 1.3, {size}B, 128 connections", gateways, f"/plain?{size}",
                         128, scheme="https")
            run.cell("tls", f"TLS 1.3, a handshake each, {kind}, 16 connections", gateways,
                     "/plain?0.1k", 16, scheme="https", close=True)
            run.cell("tls", f"TLS 1.2, resumed each, {kind}, 1 connection, no request", gateways,
                     "", 1, tool=load.resumed)


def http2(run):
    """HTTP/2 over TLS, 1 kB: one stream, and 100 at a time."""
    certificate = Certificate(run.work, "HTTP2")
    with started(run.gateways(tls=certificate)) as gateways:
        put_routes(gateways, plain_routes(run))
        put_certificate(gateways, certificate)
        for connections, streams in [(128, 1), (16, 1), (4, 100)]:
            run.cell("http2", f"1kB, {connections} connections, {streams} streams", gateways,
                     "/plain?1k", connections, tool=load.h2load, streams=streams)


def load_routes(run, gateway, pattern, n):
    start, cpu = time.monotonic(), gateway.cpu_us()
    load.Admin(gateway).put_all(
        (f"/routes/{i}", {"uri": pattern.replace("%d", str(i)), "upstream": run.nodes()})
        for i in range(n))
    lasted, used = time.monotonic() - start, gateway.cpu_us() - cpu
    if n >= 1000:
        work = f"put {n:,} routes {pattern}"
        run.fact("routes", work, "weir", "changes/s accepted", n / lasted, f"{n / lasted:,.0f}")
        run.fact("routes", work, "weir", "CPU-µs per change", used / n, f"{used / n:,.0f}")
        run.fact("routes", work, "weir", "RSS MB after", gateway.rss(), f"{gateway.rss() / 1e6:.1f}")


def many(run, scenario, what, names, pattern, request, **options):
    """10, 10,000 and 100,000 routes on a gateway each, all in one interleaved measurement."""
    with contextlib.ExitStack() as stack:
        specs = []
        for n in (10, 10_000) if QUICK else (10, 10_000, 100_000):
            paths = run.work / f"{scenario}-{n}"
            paths.write_text("".join(pattern.replace("%d", str(i)) + "\n" for i in range(n)))
            gateways = stack.enter_context(started(run.gateways(names, paths=paths, **options)))
            for g in gateways:
                if isinstance(g, Weir):
                    load_routes(run, g, pattern, n)
            specs.append(spec(f"{n:,} routes, {what}, 1kB, 128 connections", gateways, "/", 128,
                              script=[request, n]))
        cells = run.cells(scenario, specs)
    for cell in cells[1:]:
        for name, rounds in cell["rounds"].items():
            few = cells[0]["rounds"].get(name)
            if few and rounds:
                r = [a["cpu_us"] / b["cpu_us"] for a, b in zip(rounds, few)]
                run.fact(scenario, cell["work"], name, "CPU-µs against 10 routes",
                         report.median(r), report.spread(r))


def routes(run):
    """10, 10,000 and 100,000 routes, exact paths; nginx and HAProxy look the path up in a map."""
    many(run, "routes", "exact", ONE_EACH, "/r/%d/items", "/r/%d/items?1k")


def params(run):
    """The same with parameters, all under one prefix; Weir only."""
    if "weir" in NAMES:
        many(run, "params", "parameters", ["weir"], "/p/:user/%d/:item", "/p/jane/%d/7?1k",
             router="radixtree_uri_with_parameter")


def steady_rss(gateway):
    """RSS once it has stopped changing."""
    last = -1
    for _ in range(50):
        now = gateway.rss()
        if now == last:
            break
        last = now
        time.sleep(0.2)
    return last


def idle(run):
    """1,000 idle keepalive connections that have made one request each."""
    n = 1000
    for g in run.gateways():
        with started([g]):
            put_routes([g], plain_routes(run))
            load.exactly(g.port, "/plain?1k", 2000, 1)
            before, clients = steady_rss(g), []
            for _ in range(n):
                clients.append(load.Client(g.port))
                clients[-1].get("/plain?1k")
            each = (steady_rss(g) - before) / n
            run.fact("idle", f"{n:,} idle connections", g.name, "RSS bytes each", each,
                     f"{each:,.0f}")
            for c in clients:
                c.close()


def tunnels(run):
    """20,000 idle WebSocket tunnels, on as many gateways as the limit of open files asks for."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    n = 2_000 if QUICK else 20_000
    # Two descriptors each, and some that the gateway keeps for itself.
    gateways = -(-n // min(n, (most - 1000) // 2))
    each = n // gateways
    for name in NAMES:
        if not issubclass(KINDS[name], Weir):
            continue
        with started([g for _ in range(gateways) for g in run.gateways([name])]) as many:
            ends = [load.Tunnels(g, each) for g in many]
            before = sum(steady_rss(g) for g in many)
            for e in ends:
                e.ask("open")
            grown = sum(steady_rss(g) for g in many) - before
            for e in ends:
                e.ask("check")
                e.close()
        run.fact("tunnels", f"{each * gateways:,} idle WebSocket tunnels, {gateways} gateways",
                 name, "RSS bytes each", grown / each / gateways,
                 f"{grown / each / gateways:,.0f}")


def changes(run):
    """200 changes of a route a second, under load and alone; Weir only."""
    if "weir" not in NAMES:
        return
    n, rate = 1000 if QUICK else 100_000, 200
    nodes = run.nodes()
    with started(run.gateways(["weir"])) as gateways:
        weir = gateways[0]
        put_routes(gateways, plain_routes(run))
        load_routes(run, weir, "/r/%d/items", n)

        def writer():
            def item(i):
                k = i * 7919 % n
                return f"/routes/{k}", {"uri": f"/r/{k}/items", "upstream": nodes,
                                        "desc": f"change {i}"}
            return load.Changes(weir, item, rate)

        work = f"{n:,} routes, 1kB, 16 connections"
        none, some = run.cells("changes", [
            spec(f"no changes, {work}", gateways, "/plain?1k", 16),
            spec(f"{rate} changes/s, {work}", gateways, "/plain?1k", 16, during=writer)])
        r = report.ratios({"rounds": {"a": some["rounds"]["weir"], "b": none["rounds"]["weir"]}},
                          "a", "b", "p99_ms")
        if r:
            run.fact("changes", some["work"], "weir", "p99 against no changes", report.median(r),
                     report.spread(r))
        cpu, start = weir.cpu_us(), time.monotonic()
        with writer() as alone:
            time.sleep(SECONDS)
        cpu, lasted = weir.cpu_us() - cpu, time.monotonic() - start
        work = f"{rate} changes/s without traffic, {n:,} routes"
        run.fact("changes", work, "weir", "changes/s made", alone.done / lasted,
                 f"{alone.done / lasted:.0f}")
        run.fact("changes", work, "weir", "CPU-µs per change", cpu / alone.done,
                 f"{cpu / alone.done:,.0f}")


def counted(run, gateway, routes, path, n):
    """User-space instructions from start to end with n requests."""
    out = gateway.dir / "callgrind"
    out.mkdir()
    gateway.wrapper = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}/%p",
                       "--log-file=/dev/null"]
    with started([gateway]):
        put_routes([gateway], routes)
        load.exactly(gateway.port, path, n)
    totals = [re.search(r"^(?:summary|totals): (\d+)", f.read_text(), re.M)
              for f in out.iterdir()]
    if not any(totals):
        raise load.LoadError(f"{gateway.name} left no counts")
    return sum(int(t.group(1)) for t in totals if t)


def instructions(run):
    """User-space instructions a request, 1 kB, 16 connections in step: the difference of two runs
    under callgrind, which repeats almost exactly."""
    n = 2000
    work = [("no plugins", plain_routes(run), "/plain?1k", ONE_EACH),
            ("limit-count + prometheus", plugin_routes(run), "/plug?1k",
             [x for x in ONE_EACH if x == "weir"])]
    for text, routes, path, names in work:
        for name in names:
            one, two = (counted(run, run.gateways([name], single=True)[0], routes, path, k)
                        for k in (n, 2 * n))
            each = (two - one) / n
            run.fact("instructions", f"{text}, 1kB", name, "instructions/request", each,
                     f"{each:,.0f}")


SCENARIOS = {f.__name__: f for f in (plain, plugins, auth, short, tls, http2, grpc, routes, params,
                                     idle, tunnels, changes, instructions)}
QUICK_SCENARIOS = ["plain", "plugins", "auth", "short", "grpc", "idle", "instructions"]


def main(arguments):
    if "--list" in arguments:
        for name, f in SCENARIOS.items():
            print(f"{name:14}{f.__doc__.splitlines()[0]}")
        return 0
    for a in arguments:
        if a not in SCENARIOS:
            sys.exit(f"{a}: no such scenario (--list shows them)")
    load.pin(LOAD_CPU)
    work = tempfile.mkdtemp(prefix="weir-bench-")
    try:
        run = Run(work)
        with run.upstream:
            for name in arguments or (QUICK_SCENARIOS if QUICK else SCENARIOS):
                try:
                    SCENARIOS[name](run)
                except (RuntimeError, OSError, subprocess.SubprocessError) as e:
                    run.fail(f"{name}: {e}")
    finally:
        remove(work)
    print(report.markdown(run.result))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(run.result, indent=1))
    return 1 if run.result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
