# SPDX-License-Identifier: Apache-2.0
"""Fixtures: one gateway for a whole test file (emptied before each test), upstreams, gateways with another configuration."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import weirtest  # noqa: E402


@pytest.fixture(scope="module")
def gateway():
    g = weirtest.Gateway()
    yield g
    g.close()


@pytest.fixture
def gw(gateway):
    gateway.clear()
    return gateway


@pytest.fixture
def upstream():
    u = weirtest.Upstream()
    yield u
    u.close()


@pytest.fixture
def script():
    """script(fn, ...) -> an upstream whose connections run fn(peer)."""
    made = []

    def make(fn, **kw):
        made.append(weirtest.Script(fn, **kw))
        return made[-1]

    yield make
    for s in made:
        s.close()
    for s in made:
        if s.failed:
            raise s.failed[0]


@pytest.fixture
def client():
    """client(gateway, ...) -> a connection of raw bytes, closed at the end of the test."""
    made = []

    def make(gw, **kw):
        made.append(weirtest.Conn(gw if isinstance(gw, (int, str)) else gw.port, **kw))
        return made[-1]

    yield make
    for c in made:
        c.close()


@pytest.fixture
def weir():
    """weir(config, ...) -> a gateway of the test's own, stopped and looked through at its end."""
    made = []

    def make(config=None, **kw):
        made.append(weirtest.Gateway(config, **kw))
        return made[-1]

    yield make
    for g in made:
        g.close()
