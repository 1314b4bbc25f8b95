# SPDX-License-Identifier: Apache-2.0
"""The gateway under test: everything goes to the raw upstream, /denied/... to another one.

WIRE_TARGET=nginx replays the same cases against nginx, to compare (and to test the cases themselves).
"""
import os
import pathlib
import re
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from wire_client import RawClient  # noqa: E402
from wire_upstream import PROBE, RawUpstream, until  # noqa: E402


class Wire:
    """An address that proxies /* to `upstream` and /denied/* to `denied`."""

    def __init__(self, address, upstream, denied):
        self.address = address
        self.upstream = upstream
        self.denied = denied
        self.probes = 0
        self.client = None

    def probe_request(self):
        self.probes += 1
        target = PROBE + str(self.probes).encode()
        return target, b"GET " + target + b" HTTP/1.1\r\nHost: probe.test\r\n\r\n"

    def probe(self):
        """A request of somebody else: None when it gets its own answer, else what is wrong."""
        target, request = self.probe_request()
        for fresh in (False, True):
            if self.client is None or fresh:
                self.client = RawClient(self.address)
            self.client.answers.clear()
            if self.client.send([request], 0) and self.client.read(1):
                answer = self.client.answers[0]
                return None if answer.get(b"x-target") == target else f"probe {target} got {answer.raw[:200]!r}"
            if self.client.received and not self.client.eof:
                break
        received = self.client.received[-200:]
        self.client = None
        return f"probe {target} got no answer, but {received!r}"


def weir(upstream, denied, tmp_path_factory):
    """The real binary, with routes put through the Admin API."""
    import weirtest

    gateway = weirtest.Gateway({"apisix": {"enable_http2": False}})  # the bytes are meant for HTTP/1.1
    for n, (uri, node) in enumerate((("/*", upstream), ("/denied/*", denied)), 1):
        nodes = {"type": "roundrobin", "nodes": {f"127.0.0.1:{node.port}": 1}}
        gateway.put(f"/routes/{n}", {"uri": uri, "enable_websocket": True, "upstream": nodes})
    return ("127.0.0.1", gateway.port), gateway.close


def nginx(upstream, denied, tmp_path_factory):
    """nginx with the same two routes; only to compare."""
    folder = tmp_path_factory.mktemp("nginx")
    port = RawUpstream.free_port()
    location = """location %s { proxy_pass http://%s$request_uri; proxy_http_version 1.1; proxy_set_header Host $host;
        proxy_set_header Connection ""; proxy_request_buffering off; }"""
    (folder / "nginx.conf").write_text(f"""daemon off; worker_processes 1; error_log error.log; pid nginx.pid; events {{}}
http {{ access_log off; server_tokens off; underscores_in_headers on;
    upstream main {{ server 127.0.0.1:{upstream.port}; keepalive 8; }}
    upstream denied {{ server 127.0.0.1:{denied.port}; keepalive 8; }}
    server {{ listen 127.0.0.1:{port}; {location % ("/", "main")} {location % ("/denied/", "denied")} }} }}""")
    process = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")])

    def stop():
        process.terminate()
        process.wait(10)

    return ("127.0.0.1", port), stop


def _accepts(address):
    try:
        RawClient(address).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def wire(tmp_path_factory):
    upstream, denied = RawUpstream(), RawUpstream()
    start = {"weir": weir, "nginx": nginx}[os.environ.get("WIRE_TARGET", "weir")]
    address, stop = start(upstream, denied, tmp_path_factory)
    assert until(lambda: _accepts(address), 10), "the gateway does not listen"
    made = Wire(address, upstream, denied)
    assert until(lambda: made.probe() is None, 10), made.probe()
    yield made
    stop()
    upstream.stop()
    denied.stop()


def pytest_terminal_summary(terminalreporter):
    """How many cases of each level hold."""
    counts = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            level = re.search(r"-(MUST|BAR)\]$", report.nodeid)
            if level and report.when == "call":
                counts.setdefault(level.group(1), {"passed": 0, "failed": 0})[outcome] += 1
    for level, n in sorted(counts.items(), reverse=True):
        terminalreporter.write_line(f"wire {level}: {n['passed']}/{n['passed'] + n['failed']}")
