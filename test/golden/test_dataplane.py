# SPDX-License-Identifier: Apache-2.0
"""Replay of recorded exchanges with the reference gateway (golden-dataplane.json): each case is a configuration and requests through the proxy.

What is not compared is said by rule: a case about a plugin or a kind of object that this build does not have is skipped. What differs on purpose stands in
DIFFERENCES; docs/differences.md tells users the same.
"""
import gzip
import json
import os
import re
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import weirtest  # noqa: E402

CASES = [c for c in json.load(open(os.path.join(HERE, "golden-dataplane.json")))["cases"] if c["name"] != "control"]

def without_field(name):
    def correct(want):
        headers = want["upstream_saw"]["headers"]
        headers[:] = [h for h in headers if h[0] != name]
    return correct


# (case, desc of a request) -> (function that corrects the expected answer, why)
DIFFERENCES = {
    ("proxy-basics", "hop headers"): (without_field("X-Foo"), "fields that Connection names are for one hop (RFC 9110 7.6.1)"),
}

# (case, desc of a request) -> what the recorder did before it.
BEFORE = {
    ("errors", "service deleted by force"): "/services/s",
    ("errors", "upstream deleted by force"): "/upstreams/dead",
}

# What depends on the connection the recording was made over.
ANY = {("real-ip", "X-RP"): r"80|\d{4,5}"}

# Fields of answers that the recordings leave out.
NOT_RECORDED = {"date", "content-length", "connection", "transfer-encoding"}

# The default plugins, and those off by default that cases are about.
PLUGINS = json.load(open(os.path.join(HERE, "schemas.json")))["plugins"]
ENABLED = [n for n, p in PLUGINS.items() if p["default_enabled"]] + ["batch-requests", "node-status"]

RECORDED_UPSTREAMS = [21980, 21981, 21982]
HTTPS_PORT = 29443


def echo(seen):
    """What the upstream of the recordings answered."""
    path = seen.path.split("?")[0]
    text = json.dumps({"method": seen.method, "path": seen.path, "headers": seen.headers, "body": seen.body.decode("latin-1"), "port": seen.port})
    headers = [("Content-Type", "application/json"), ("X-Up", "1")]
    if m := re.fullmatch(r"/status/(\d+)", path):
        return int(m[1]), headers, text.encode()
    if m := re.fullmatch(r"/sleep/(\d+)", path):
        STOP.wait(int(m[1]) * weirtest.SLOW)
    if path == "/nocontent":
        return 204, headers, b""
    if path == "/plain":
        return 200, [("Content-Type", "text/plain"), ("X-Up", "1")], b"hello world\n"
    if path == "/cachectl":
        headers.append(("Cache-Control", "max-age=1"))
    return 200, headers, text.encode()


STOP = weirtest.threading.Event()


class Place:
    """The gateway and three upstreams, on the recorded ports when they are free: chash hashes them."""

    def __init__(self):
        self.gw = weirtest.Gateway({"plugin_attr": {"redirect": {"https_port": HTTPS_PORT}}, "plugins": ENABLED})
        self.upstreams = []
        self.moved = False
        for port in RECORDED_UPSTREAMS:
            try:
                u = weirtest.Upstream(port, echo)
            except OSError:
                u = weirtest.Upstream(0, echo)
                self.moved = True
            self.upstreams.append(u)
        self.plugins = set(json.loads(self.gw.admin("GET", "/plugins/list").body))

    def ports(self, text):
        text = text.replace("29080", str(self.gw.port))
        for recorded, u in zip(RECORDED_UPSTREAMS, self.upstreams):
            text = text.replace(str(recorded), str(u.port))
        return text

    def mapped(self, value):
        return json.loads(self.ports(json.dumps(value)))

    def seen(self):
        return [s for u in self.upstreams for s in u.seen]

    def forget(self):
        for u in self.upstreams:
            u.seen.clear()

    def close(self):
        STOP.set()
        for u in self.upstreams:
            u.close()
        self.gw.close()


@pytest.fixture(scope="module")
def place():
    p = Place()
    yield p
    p.close()


# ---- which cases are about something that is not there ----

def names_of_plugins(value):
    if isinstance(value, dict):
        for key, v in value.items():
            if key == "plugins" and isinstance(v, dict):
                yield from v
            elif key == "auth_plugins":
                for one in v:
                    yield from one
            yield from names_of_plugins(v)
    elif isinstance(value, list):
        for v in value:
            yield from names_of_plugins(v)


def why_not(case, place):
    missing = set(names_of_plugins(case["config"])) - place.plugins
    if missing:
        return f"plugin {', '.join(sorted(missing))} is not built"
    kinds = {path.split("/")[3] for _, path, *_ in case["config"]}
    for kind in sorted(kinds):
        if place.gw.admin("GET", "/" + kind).status == 404:
            return f"resource kind {kind} is not built"
    if place.moved and case["name"] == "chash":
        return "the ports of the recording are taken, and chash hashes them"
    return None


# ---- comparing ----

MASKS = {
    "<RESET>": r"[\d.]+",
    "<UUID>": r"[0-9a-f-]{36}",
    "<TOKEN>": r"[A-Za-z0-9+/]+=*",
    "<DATE>": r"\w{3}, \d\d-\w{3}-\d\d \d\d:\d\d:\d\d GMT",
    "APISIX/3\\.18\\.0": r"weir/[\d.]+",
}


def echoed(text):
    """What matters here of a request that an upstream tells of: ours and the recorded one have other words for it."""
    seen = json.loads(text)
    line = seen.get("line") or f"{seen['method']} {seen['path']} HTTP/1.1"
    names = ("host", "x-real-ip", "x-forwarded-for", "x-c", "x-p")
    return seen["port"], line, seen["body"], sorted((k.lower(), v) for k, v in seen["headers"] if k.lower() in names)


def parts(answers):
    for a in answers:
        a["headers"] = {k: v for k, v in a["headers"].items() if k.lower() not in NOT_RECORDED | {"server"}}
        if '"port"' in a["body"]:
            a["body"] = echoed(a["body"])
            del a["reason"]
    return answers


def counts(answer):
    return sorted(answer), {k: v.isdigit() for k, v in answer["status"].items()}, re.fullmatch(MASKS["<UUID>"] + "|<UUID>", answer["id"]) is not None


# (case, desc of a request) -> what is compared of a JSON body
SEEN_AS = {
    ("public-api + batch-requests", "batch"): parts,
    ("public-api + batch-requests", "node-status"): counts,
}

def pattern_of(text):
    text = re.escape(text)
    for mask, pattern in MASKS.items():
        text = text.replace(mask, pattern)
    return text


def fields_differ(case, want, got):
    """Each recorded field has its like in got, and nothing is left over; the order does not matter."""
    left = [(k.lower(), v) for k, v in got]
    for name, value in want:
        pattern = ANY.get((case["name"], name)) or pattern_of(value)
        like = next((f for f in left if f[0] == name.lower() and re.fullmatch(pattern, f[1])), None)
        if like is None:
            return f"no field {name}: {value} in {got}"
        left.remove(like)
    return f"fields {left} that the reference does not send" if left else None


def body_differs(step, want, got):
    if step in SEEN_AS:
        want, got = SEEN_AS[step](json.loads(want)), SEEN_AS[step](json.loads(got))
        return None if want == got else f"body {got} instead of {want}"
    if re.fullmatch(r"<\d+ binary bytes>", want):  # the echo, compressed; how well is not compared
        want, got = "<echo>", gzip.decompress(got)
    if want == "<echo>":
        return None if b'"headers"' in got else f"body {got[:200]!r} is not from the upstream"
    if m := re.fullmatch(r"<html error page: (.*)>", want):
        return None if f"<title>{m[1]}</title>".encode() in got else f"body {got[:200]!r} is no page {m[1]}"
    return None if re.fullmatch(pattern_of(want).encode(), got, re.S) else f"body {got[:200]!r} instead of {want!r}"


def upstream_differs(case, want, seen):
    if want is None:
        return None
    if len(seen) != 1:
        return f"{len(seen)} requests came upstream"
    s = seen[0]
    if (s.port, f"{s.method} {s.path} {s.version}", s.body.decode("latin-1")) != (want["port"], want["line"], want["body"]):
        return f"upstream got {s}"
    why = fields_differ(case, want["headers"], s.headers)
    return f"upstream: {why}" if why else None


def send(place, request):
    headers = dict(request.get("headers", {}))
    if "host" in request:
        headers["Host"] = request["host"]
    body = request.get("body") or None
    return weirtest.request(place.gw.port, request["path"], request["method"], headers, body)


def check(place, case, step):
    want = place.mapped(step["response"])
    if (case["name"], step["desc"]) in DIFFERENCES:
        DIFFERENCES[case["name"], step["desc"]][0](want)
    if (case["name"], step["desc"]) in BEFORE:
        place.gw.delete(BEFORE[case["name"], step["desc"]])
    place.forget()
    answer = send(place, place.mapped(step["request"]))
    assert answer.status == want["status"], f"{step['desc']}: status {answer.status} instead of {want['status']}: {answer.body[:300]}"
    got = [(k, v) for k, v in answer.raw_headers if k.lower() not in NOT_RECORDED]
    why = fields_differ(case, want["headers"], got)
    why = why or body_differs((case["name"], step["desc"]), want["body"], answer.body)
    why = why or upstream_differs(case, want.get("upstream_saw"), place.seen())
    assert why is None, f"{step['desc']}: {why}"


@pytest.mark.parametrize("case", CASES, ids=[re.sub(r"\W+", "-", c["name"]) for c in CASES])
def test_dataplane(place, case):
    why = why_not(case, place)
    if why:
        pytest.skip(why)
    place.gw.clear()
    for method, path, *body in case["config"]:
        answer = place.gw.admin(method, path[len("/apisix/admin"):], place.mapped(body[0]) if body else None)
        assert answer.status in (200, 201), (path, answer.status, answer.body)
    for step in case["requests"]:
        check(place, case, step)
