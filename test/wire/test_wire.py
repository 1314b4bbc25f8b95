# SPDX-License-Identifier: Apache-2.0
"""Replays cases/*.yaml over real sockets: each whole, byte by byte, and cut in two at many points.

Whatever the case, three things hold: what reaches the upstream passes a strict parser; complete upstream requests and
answers are one-to-one and in order; the next request, on this connection or on another, gets its own answer. And the
outcome does not depend on how the bytes were cut. WIRE_CUTS=all cuts at every point, WIRE_CUTS=whole at none.
"""
import os
import re

import pytest

import wire_cases as cases
from wire_client import RawClient
from wire_upstream import until

CUTS = os.environ.get("WIRE_CUTS", "some")
# A field of ours that differs from request to request says nothing.
VARYING = {b"x-request-id", b"x-forwarded-for", b"x-forwarded-port", b"x-real-ip", b"via"}
BYTEWISE_MAX = 1500


def cuts(data):
    """(name, pieces) for every way to send: the points between two kinds of bytes are the telling ones."""
    yield "whole", [data]
    if CUTS == "whole":
        return
    if len(data) <= BYTEWISE_MAX:
        yield "byte by byte", [data[i:i + 1] for i in range(len(data))]
    points = list(range(1, len(data)))
    if CUTS != "all" or len(data) > 5000:
        telling = [i for i in points if (data[i - 1:i].isalnum(), data[i - 1:i].isspace()) != (data[i:i + 1].isalnum(), data[i:i + 1].isspace())]
        points = telling[:: max(1, len(telling) // 12)] if len(data) <= 5000 else points[:: len(data) // 5]
    for i in points:
        yield f"cut at {i}", [data[:i], data[i:]]


class Outcome:
    """What happened to one way of sending a case."""

    def __init__(self, wire, case, pieces):
        self.wire, self.case, self.expect = wire, case, case.expect
        wire.upstream.reset(case.answers, case.upstream_close)
        wire.denied.reset()
        self.problems = []
        self.received = b""  # by the client, up to the request that comes after the case
        self.client = RawClient(wire.address, case.methods)
        self.talk(pieces)
        self.look()
        self.client.close()

    def fail(self, text):
        self.problems.append(text)

    def talk(self, pieces):
        c = self.client
        wanted = len(self.case.statuses)
        c.send(pieces, 0.0002 if len(pieces) > 2 else 0.001)
        if self.case.after == "shutdown":
            c.shutdown()
        elif self.case.after == "close":
            c.close()
            return
        to_end = self.expect.get("close") is True or self.expect.get("cut") is True
        in_time = c.read(wanted, to_end)
        if not c.eof and c.answers and b"close" in (c.answers[-1].get(b"connection") or b"").lower():
            c.read(wanted, True)
        self.received = c.received
        if not in_time and not c.eof and c.violation is None:
            self.fail("the gateway neither answers nor closes")
        elif to_end and not c.eof and c.violation is None:
            self.fail("the connection stays open")
        elif not c.eof:
            self.next_on_same_connection()

    def next_on_same_connection(self):
        """The next request gets its own answer, or finds the connection closed."""
        c = self.client
        n = len(c.answers)
        target, request = self.wire.probe_request()
        c.methods = [*c.methods[:n], *[c.methods[-1]] * (n - len(c.methods)), b"GET"]
        c.send([request], 0)
        if c.read(n + 1):
            answer = c.answers.pop()
            if answer.get(b"x-target") != target:
                self.fail(f"the next request on the connection got {answer.raw[:200]!r}")
        elif not c.eof:
            self.fail(f"the next request on the connection got {c.rest[:200]!r}")
        elif self.expect.get("close") is False:
            self.fail("the connection was closed")

    def look(self):
        for _ in range(2):
            wrong = self.wire.probe()
            if wrong:
                self.fail(wrong)
        both = (self.wire.upstream, self.wire.denied)
        if not until(lambda: not any(u.half_requests() for u in both), 2):
            self.fail(f"half a request is left with the upstream: {[h.pending[:200] for u in both for h in u.half_requests()]}")
        self.requests = [r for u in both for r in u.requests]
        for u in both:
            for violation in u.violations:
                self.fail(f"the upstream got what is no request: {violation}")
        if self.client.violation:
            self.fail(f"the client got what is no answer: {self.client.violation}")
        self.check_answers()
        self.check_requests()

    def check_answers(self):
        c, e = self.client, self.expect
        got = [m.status for m in c.answers]
        if e.get("cut") and not (e["cut"] == "maybe" and got == [502]):
            m = re.match(rb"HTTP/1\.1 (\d{3})[^\n]*\n.*?\r\n\r\n", c.rest, re.DOTALL)
            if not m:
                self.fail(f"no answer that was cut, but {self.received[:300]!r}")
            got += [int(m.group(1))] if m else []
        elif c.rest and c.violation is None and self.case.after != "close":
            self.fail(f"the answer is cut: {c.rest[:200]!r}")
        self.statuses = got
        if self.case.after == "close":
            return
        wanted = self.case.statuses
        least = sum(1 for s in wanted if "none" not in s)
        if not least <= len(got) <= len(wanted) or any(s not in w for s, w in zip(got, wanted)):
            self.fail(f"answered {got}, wanted {wanted}")
        numbers = [int(m.get(b"x-number")) for m in c.answers if m.get(b"x-number")]
        if self.case.answers is None and numbers != list(range(1, len(self.requests) + 1)):
            self.fail(f"answers {numbers} for {len(self.requests)} upstream requests")
        if "body" in e and (not c.answers or c.answers[-1].body != cases.to_bytes(e["body"])):
            self.fail(f"body {c.answers[-1].body[:100] if c.answers else None!r}")
        self.check_words("the client", self.received, e.get("client_has", []), e.get("client_lacks", []))

    def check_requests(self):
        e = self.expect
        if "upstream_requests" in e and len(self.requests) not in cases.to_list(e["upstream_requests"]):
            self.fail(f"{len(self.requests)} upstream requests: {[r.raw[:200] for r in self.requests]}")
        for r in self.requests:
            if b"smuggled" in r.target:
                self.fail(f"smuggled: {r.raw[:300]!r}")
        for r in self.wire.upstream.requests:
            if decoded_path(r.target).startswith(b"/denied/"):
                self.fail(f"past the route: {r.target!r}")
        # The bodies once more, whole: on the wire they may be cut into chunks.
        seen = b"\n".join([self.wire.upstream.received, self.wire.denied.received, *(r.body for r in self.requests)])
        self.check_words("the upstream", seen, e.get("upstream_has", []), e.get("upstream_lacks", []))

    def check_words(self, who, seen, has, lacks):
        for word in has:
            if cases.to_bytes(word).lower() not in seen.lower():
                self.fail(f"{who} lacks {word!r}: {seen[:400]!r}")
        for word in lacks:
            if cases.to_bytes(word).lower() in seen.lower():
                self.fail(f"{who} got {word!r}: {seen[:400]!r}")

    def signature(self):
        """What must be the same however the bytes came."""
        return self.statuses, [
            (r.start.group(0), sorted((n, v) for n, v in r.fields if n not in VARYING | {b"content-length", b"transfer-encoding"}), r.body)
            for r in self.requests]


def decoded_path(target):
    """The path as an upstream could understand it: escapes decoded, slashes merged, dots resolved, letters as they are."""
    path = re.sub(rb"^https?://[^/?]*", b"", target.split(b"?")[0], flags=re.IGNORECASE)
    path = re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m.group(1), 16)]), path)
    out = []
    for part in path.split(b"/"):
        if part == b"..":
            out = out[:-1]
        elif part not in (b"", b"."):
            out.append(part)
    return b"/" + b"/".join(out)


@pytest.mark.parametrize("case", [pytest.param(c, id=f"{c.id}-{c.level}") for c in cases.load()])
def test_case(wire, case):
    first = None
    for name, pieces in cuts(case.send):
        outcome = Outcome(wire, case, pieces)
        assert not outcome.problems, (name, outcome.problems, outcome.client.received[:500])
        first = first or outcome.signature()
        assert outcome.signature() == first, f"{name}: the outcome differs from that of all at once"
