# SPDX-License-Identifier: Apache-2.0
"""weir.engine: what the event loops wait with, also where the system forbids io_uring."""
import os
import re
import subprocess
import sys

import pytest
import yaml

from weirtest import SLOW, WEIR, wait_for

# Runs a command in a process where io_uring_setup() fails with an errno: as container runtimes forbid it.
FORBID = """
import ctypes, os, struct, sys
def op(code, jt, jf, k):
    return struct.pack("HBBI", code, jt, jf, k)
libc = ctypes.CDLL(None, use_errno=True)
program = (op(0x20, 0, 0, 0) + op(0x15, 0, 1, 425)     # the number of the call: io_uring_setup?
           + op(0x06, 0, 0, 0x00050000 | int(sys.argv[1])) + op(0x06, 0, 0, 0x7fff0000))
room = ctypes.create_string_buffer(program)
filter = struct.pack("HxxxxxxP", 4, ctypes.addressof(room))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter) == 0, os.strerror(ctypes.get_errno())
os.execvp(sys.argv[2], sys.argv[2:])
"""


def forbidden(errno):
    return [sys.executable, "-c", FORBID, str(errno)]


def engine_of(gw):
    return re.search(r"is ready: \d+ cores on (\w+)", gw.log_text()).group(1)


def can_uring():
    return subprocess.run([sys.executable, "-c", """
import ctypes
libc = ctypes.CDLL(None)
params = ctypes.create_string_buffer(120)
params[8:12] = (1 << 12 | 1 << 13).to_bytes(4, "little")  # SINGLE_ISSUER, DEFER_TASKRUN
raise SystemExit(libc.syscall(425, 8, params) < 0)"""]).returncode == 0


def answers(gw, upstream):
    gw.put("/routes/1", {"uri": "/*", "upstream": upstream.nodes()})
    return all(gw.get(f"/{i}").status == 200 for i in range(20))


@pytest.mark.parametrize("engine", ["auto", "epoll", "io_uring"])
def test_each_engine_serves(weir, upstream, engine):
    if engine == "io_uring" and not can_uring():
        pytest.skip("io_uring is not available here")
    g = weir({"weir": {"engine": engine}})
    assert engine_of(g) == ("epoll" if engine == "epoll" or not can_uring() else "io_uring")
    assert answers(g, upstream)


@pytest.mark.parametrize("errno", [1, 12, 38])
def test_auto_falls_back_to_epoll_and_says_so_once(weir, upstream, errno):
    g = weir({"weir": {"engine": "auto"}}, command=forbidden(errno))
    assert engine_of(g) == "epoll"
    assert g.log_text().count(f"io_uring is not available ({os.strerror(errno)}), using epoll") == 1
    assert answers(g, upstream)


def test_an_engine_that_is_asked_for_and_not_available_is_a_clear_error(tmp_path):
    config = {"weir": {"engine": "io_uring"}, "nginx_config": {"error_log": str(tmp_path / "error.log")}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    p = subprocess.run([*forbidden(1), WEIR, "run", "--config", str(tmp_path / "config.yaml"), "--data", str(tmp_path / "data")],
                       cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert p.returncode != 0
    assert "weir: cannot start: weir.engine io_uring is not available here: Operation not permitted" in p.stderr


def test_an_unknown_engine_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"weir": {"engine": "kqueue"}}))
    p = subprocess.run([WEIR, "check", "--config", str(tmp_path / "config.yaml")], capture_output=True, text=True, timeout=60)
    assert p.returncode != 0 and "weir.engine" in p.stderr and "io_uring" in p.stderr


def limits(gw):
    with open(f"/proc/{gw.worker}/limits") as f:
        return [int(n) for n in re.search(r"Max open files\s+(\d+)\s+(\d+)", f.read()).groups()]


def test_open_files(weir):
    """As many as the system allows, or as the file says; a warning when that is too few."""
    soft, hard = limits(weir())
    assert soft == hard
    g = weir({"nginx_config": {"worker_processes": 2, "worker_rlimit_nofile": 300, "event": {"worker_connections": 400}}})
    assert limits(g)[0] == 300
    assert "[warn] the limit of open files allows 112 connections, fewer than nginx_config.event.worker_connections on each core" in g.log_text()
    g = weir({"nginx_config": {"worker_rlimit_nofile": hard - 1, "event": {"worker_connections": 64}}})
    assert "the limit of open files allows" not in g.log_text()


@pytest.mark.skipif(SLOW > 1, reason="a sanitizer takes memory of its own")
def test_memory_goes_back_when_a_load_has_passed(weir, script, client):
    g = weir({"nginx_config": {"worker_processes": 1}, "weir": {"max_connections_per_source": 0, "engine": "epoll"}})
    routes = 800
    before = g.rss()
    for i in range(routes):
        g.put(f"/routes/{i}", {"uri": f"/{i}/*", "plugins": {"mocking": {"response_example": "x" * 16000}}, "upstream": {"type": "roundrobin", "nodes": {"127.0.0.1:9": 1}}})
    full = g.rss()
    for i in range(routes):
        g.delete(f"/routes/{i}")
    wait_for(lambda: g.rss() < before + (full - before) / 2, 30, "memory has gone back")
