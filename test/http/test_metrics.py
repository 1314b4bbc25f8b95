# SPDX-License-Identifier: Apache-2.0
"""Metrics: names and labels as the reference's, counts that are exact, and scrapes that disturb nobody.

METRICS_ROUTES says how many routes have series in the last test (1,000; make test-long takes 10,000).
"""
import os
import re
import threading
import time
from collections import defaultdict

import pytest

from weirtest import SLOW, Conn, get, proxy_all, request, wait_for
from test_churn import Admin

ROUTES = int(os.environ.get("METRICS_ROUTES", "1000"))
LINE = re.compile(r'([a-z_:]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


class Scrape:
    """Parsed strictly: every line is a comment or a sample of a family that was announced, no sample twice."""

    def __init__(self, text):
        self.samples, self.types = {}, {}
        assert text.endswith("\n")
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                name, kind = line[7:].split(" ")
                assert name not in self.types
                self.types[name] = kind
                continue
            if line.startswith("# HELP "):
                continue
            m = LINE.fullmatch(line)
            assert m, line
            name, labels, value = m.groups()
            family = re.sub(r"_(bucket|sum|count)$", "", name) if name not in self.types else name
            assert family in self.types, line
            key = (name, tuple(LABEL.findall(labels or "")))
            assert key not in self.samples, line
            self.samples[key] = float(value)

    def get(self, name, **labels):
        """The sum of the samples that have these labels."""
        return sum(v for (n, ls), v in self.samples.items() if n == name and labels.items() <= dict(ls).items())

    def labels(self, name):
        return {tuple(k for k, _ in ls) for (n, ls) in self.samples if n == name}


def scrape(g):
    """When no request runs any more: a request is counted after its answer is out."""
    def quiet():
        s = Scrape(g.metrics())
        return s if s.get("apisix_nginx_http_current_connections", state="writing") == 0 else None
    return wait_for(quiet, what="no request runs")


def answer(c):
    while True:
        r = c.request()
        status = int(r.path.rsplit("/", 1)[1]) if r.path.startswith("/status/") else 200
        c.answer(b"x" * 10, f"{status} X")


WITH = {"plugins": {"prometheus": {}}}


def test_names_and_labels(gw, script, client):
    proxy_all(gw, script(answer), **WITH)
    client(gw).ask()
    s = scrape(gw)
    assert {n: s.types[n] for n in s.types if n.startswith("apisix_")}.items() >= {
        "apisix_http_status": "counter", "apisix_http_latency": "histogram", "apisix_bandwidth": "counter", "apisix_http_requests_total": "gauge",
        "apisix_nginx_http_current_connections": "gauge", "apisix_nginx_metric_errors_total": "counter", "apisix_etcd_reachable": "gauge",
        "apisix_etcd_modify_indexes": "gauge", "apisix_node_info": "gauge"}.items()
    route = ("route", "service", "consumer", "node", "request_type", "request_llm_model", "llm_model")
    assert s.labels("apisix_http_status") == {("code", "route", "matched_uri", "matched_host", "service", "consumer", "node", "request_type", "request_llm_model",
                                               "llm_model", "response_source")}
    assert s.labels("apisix_http_latency_bucket") == {("type", *route, "le")}
    assert s.labels("apisix_http_latency_sum") == s.labels("apisix_http_latency_count") == s.labels("apisix_bandwidth") == {("type", *route)}
    assert {dict(ls)["state"] for n, ls in s.samples if n == "apisix_nginx_http_current_connections"} == {"accepted", "active", "handled", "reading", "waiting", "writing"}
    assert [dict(ls)["le"] for n, ls in s.samples if n == "apisix_http_latency_bucket" and ("type", "request") in ls] == [
        "1", "2", "5", "10", "20", "50", "100", "200", "500", "1000", "2000", "5000", "10000", "30000", "60000", "+Inf"]
    r = request(gw.metrics_port, "/apisix/prometheus/metrics")
    assert r.headers["content-type"] == "text/plain; charset=utf-8"
    assert request(gw.metrics_port, "/other").status == 404
    assert request(gw.metrics_port, "/apisix/prometheus/metrics", "HEAD").body == b""


def test_what_the_labels_say(gw, script, client):
    up = script(answer)
    gw.put("/services/s", {"name": "shop", "upstream": up.nodes()})
    gw.put("/routes/r1", {"uri": "/a/*", "hosts": ["*.h.test"], "service_id": "s", **WITH})
    gw.put("/routes/r2", {"name": "named", "uri": "/b", "service_id": "s", "plugins": {"prometheus": {"prefer_name": True}}})
    gw.put("/routes/r3", {"uri": "/dead", "upstream": {"type": "roundrobin", "nodes": {"127.0.0.1:1": 1}}, **WITH})
    gw.put("/routes/r4", {"uri": "/empty", "upstream": {"type": "roundrobin", "nodes": {}}, **WITH})
    before = scrape(gw)
    c = client(gw)
    for path, host, status in [("/a/1", "x.h.test", 200), ("/a/2", "y.h.test", 200), ("/b", "a", 200), ("/dead", "a", 502), ("/empty", "a", 503)]:
        assert c.ask(path, f"Host: {host}").status == status
    s = scrape(gw)

    def new(**labels):
        return s.get("apisix_http_status", **labels) - before.get("apisix_http_status", **labels)

    common = {"consumer": "", "request_type": "traditional_http", "request_llm_model": "", "llm_model": ""}
    assert new(code="200", route="r1", matched_uri="/a/*", matched_host="*.h.test", service="s", node="127.0.0.1", response_source="upstream", **common) == 2
    assert new(code="200", route="named", matched_uri="/b", matched_host="", service="shop", response_source="upstream", **common) == 1
    assert new(code="502", route="r3", service="", node="127.0.0.1", response_source="nginx", **common) == 1
    assert new(code="503", route="r4", node="", response_source="apisix", **common) == 1


def test_a_global_rule_counts_every_request(gw, script, client):
    proxy_all(gw, script(answer))
    gw.put("/routes/1", {"uri": "/known/*", "upstream": script(answer).nodes()})
    gw.put("/global_rules/1", {"plugins": {"prometheus": {}}})
    before = scrape(gw)
    c = client(gw)
    for _ in range(5):
        assert c.ask("/unknown").status == 404
        assert c.ask("/known/a").status == 200
    s = scrape(gw)
    assert s.get("apisix_http_status", code="404", route="", response_source="apisix") - before.get("apisix_http_status", code="404", route="") == 5
    assert s.get("apisix_http_status", code="200", route="1") - before.get("apisix_http_status", code="200", route="1") == 5


def test_counts_are_exact_over_the_cores(weir, script, client):
    """Requests of many connections, on both cores: every one is counted once, its bytes too."""
    g = weir()
    up = script(answer)
    for i in range(5):
        g.put(f"/routes/r{i}", {"uri": f"/r{i}/*", "upstream": up.nodes(), **WITH})
    g.put("/routes/status", {"uri": "/status/*", "upstream": up.nodes(), **WITH})
    sent, got = [0] * 16, [0] * 16
    statuses = [200, 201, 204, 302, 404, 418, 500, 503]

    def ask(t):
        with Conn(g.port) as c:
            for i in range(100):
                path = f"/r{i % 5}/{t}" if i % 2 else f"/status/{statuses[i // 2 % len(statuses)]}"
                head = get(path)
                sent[t] += len(head)
                c.send(head)
                raw = c.until(b"\r\n\r\n")
                n = re.search(rb"Content-Length: (\d+)", raw)
                got[t] += len(raw) + len(c.exactly(int(n.group(1)) if n else 0))

    threads = [threading.Thread(target=ask, args=(t,)) for t in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    s = scrape(g)
    assert s.get("apisix_http_status") == 1600
    for i in range(5):
        assert s.get("apisix_http_status", route=f"r{i}", code="200") == 160
    for code in statuses:
        assert s.get("apisix_http_status", route="status", code=str(code)) == sum(1 for i in range(0, 100, 2) if statuses[i // 2 % len(statuses)] == code) * 16
    for kind in ("request", "upstream", "apisix"):
        assert s.get("apisix_http_latency_count", type=kind) == 1600
        assert s.get("apisix_http_latency_bucket", type=kind, le="+Inf") == 1600
    assert s.get("apisix_bandwidth", type="ingress") == sum(sent)
    assert s.get("apisix_bandwidth", type="egress") == sum(got)
    assert s.get("apisix_http_requests_total") == 1600
    assert s.get("apisix_nginx_http_current_connections", state="accepted") == s.get("apisix_nginx_http_current_connections", state="handled") == 16
    wait_for(lambda: g.connections("active") == 0, what="no connection is left")


def test_latency_of_the_upstream_and_of_the_gateway(weir, script, client):
    def up(c):
        while True:
            c.request()
            threading.Event().wait(0.12)
            c.answer(b"x")

    g = weir()
    proxy_all(g, script(up), **WITH)
    c = client(g)
    for _ in range(5):
        c.ask()
    s = scrape(g)
    assert s.get("apisix_http_latency_bucket", type="request", le="100") == 0
    assert s.get("apisix_http_latency_bucket", type="request", le="60000") == 5
    assert s.get("apisix_http_latency_sum", type="upstream") >= 600
    assert s.get("apisix_http_latency_sum", type="request") >= s.get("apisix_http_latency_sum", type="upstream")
    assert s.get("apisix_http_latency_bucket", type="apisix", le="100") == 5


def test_states_of_connections(weir, script, client):
    arrived, go = threading.Semaphore(0), threading.Event()

    def up(c):
        while True:
            if c.request().path == "/hold":
                arrived.release()
                assert go.wait(20)
            c.answer(b"x")

    g = weir()
    proxy_all(g, script(up))
    idle, reading, writing = [client(g) for _ in range(3)], [client(g) for _ in range(2)], [client(g) for _ in range(4)]
    for c in idle:
        c.ask()
    for c in reading:
        c.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    for c in writing:
        c.send(get("/hold"))
        assert arrived.acquire(timeout=10)
    wait_for(lambda: g.connections("reading") == 2, what="two are read")
    assert {s: g.connections(s) for s in ("active", "reading", "writing", "waiting", "accepted", "handled")} == {
        "active": 9, "reading": 2, "writing": 4, "waiting": 3, "accepted": 9, "handled": 9}
    go.set()
    for c in writing:
        c.reply()
    wait_for(lambda: g.connections("waiting") == 7 and g.connections("writing") == 0, what="four more are idle")
    for c in idle + reading + writing:
        c.close()
    wait_for(lambda: g.connections() == 0, what="all are gone")


def test_odd_bytes_in_labels(gw, script, client):
    proxy_all(gw, script(answer), **WITH)
    gw.put("/routes/odd", {"name": 'quote " back \\ slash', "uri": "/odd", "upstream": script(answer).nodes(), "plugins": {"prometheus": {"prefer_name": True}}})
    client(gw).ask("/odd")
    assert scrape(gw).get("apisix_http_status", route='quote \\" back \\\\ slash') == 1


def test_disabled_labels(gw, script, client):
    proxy_all(gw, script(answer), **WITH)
    gw.put("/plugin_metadata/prometheus", {"disabled_labels": {"http_status": ["matched_uri", "node"], "http_latency": ["node"]}})
    before = scrape(gw)
    client(gw).ask()
    s = scrape(gw)
    assert s.get("apisix_http_status", route="1", matched_uri="", node="", code="200") - before.get("apisix_http_status", matched_uri="", node="", code="200") == 1
    assert s.labels("apisix_http_status") == before.labels("apisix_http_status") or not before.samples


def test_prefix_and_address(weir, script, client):
    g = weir({"plugin_attr": {"prometheus": {"export_uri": "/m", "metric_prefix": "gate_"}}})
    proxy_all(g, script(answer), **WITH)
    client(g).ask()
    text = wait_for(lambda: t if "gate_http_status{" in (t := request(g.metrics_port, "/m").body.decode()) else None, what="the request is counted")
    assert "apisix_" not in text
    assert request(g.metrics_port, "/apisix/prometheus/metrics").status == 404


def test_a_change_of_the_route_goes_on_with_its_series(gw, script, client):
    up = script(answer)
    before = scrape(gw).get("apisix_http_status", route="again")
    for i in range(20):
        gw.put("/routes/again", {"uri": "/again", "desc": str(i), "upstream": up.nodes(), **WITH})
        assert gw.get("/again").status == 200
    assert scrape(gw).get("apisix_http_status", route="again") - before == 20


def test_scraping_many_series_under_load(weir, script, client):
    """Every route has its series; a scrape takes less than 200 ms for 10,000 of them, and the requests beside it wait for none of that."""
    g = weir()
    up = script(answer)
    admin = Admin(g)
    for i in range(ROUTES):
        admin("PUT", f"/routes/{i}", {"uri": f"/m/{i}", "upstream": up.nodes(), **WITH})
    c = client(g)
    for start in range(0, ROUTES, 100):
        n = min(100, ROUTES - start)
        c.send(b"".join(get(f"/m/{i}") for i in range(start, start + n)))
        for _ in range(n):
            r = c.reply()
            assert r.status == 200
        c.close()
        c = client(g)
    stop, took = threading.Event(), defaultdict(list)
    scraping = threading.Event()

    def ask():
        c = client(g)
        while not stop.is_set():
            during = scraping.is_set()
            start = time.monotonic()
            r = c.ask("/m/1")
            took[during and scraping.is_set()].append(time.monotonic() - start)
            if r.headers.get("connection") == "close":
                c = client(g)

    t = threading.Thread(target=ask)
    t.start()
    wait_for(lambda: len(took[False]) > 100, what="requests without a scrape")
    times, text = [], b""
    for i in range(6):
        m = Conn(g.metrics_port)
        scraping.set()
        start = time.monotonic()
        m.send(get("/apisix/prometheus/metrics", "Connection: close"))
        text = m.rest()
        if i:  # the first one puts the series of the cores together
            times.append(time.monotonic() - start)
        scraping.clear()
        m.close()
    stop.set()
    t.join()
    assert text.startswith(b"HTTP/1.1 200 OK") and text.endswith(b"0\r\n\r\n")
    text = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", text)
    assert text.count(b"apisix_http_status{") == ROUTES and text.count(b"le=\"+Inf\"") == 3 * ROUTES
    quick = sorted(times)[len(times) // 2]
    print(f"{ROUTES} routes, {len(text)} bytes, scrape {quick * 1000:.0f} ms; requests beside it {len(took[True])}, slowest {max(took[True]) * 1000:.1f} ms")
    assert quick < max(0.2 * ROUTES / 10000, 0.05) * SLOW * (1 if ROUTES >= 10000 else 2)
    assert took[True] and sorted(took[True])[len(took[True]) * 9 // 10] < 0.02 * SLOW


@pytest.mark.parametrize("buckets,wanted", [([10, 20.5, 100], ["10", "20.5", "100", "+Inf"])])
def test_configured_buckets(weir, script, client, buckets, wanted):
    g = weir({"plugin_attr": {"prometheus": {"default_buckets": buckets}}})
    proxy_all(g, script(answer), **WITH)
    client(g).ask()
    s = scrape(g)
    assert [dict(ls)["le"] for n, ls in s.samples if n == "apisix_http_latency_bucket" and ("type", "request") in ls] == wanted
