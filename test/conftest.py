# SPDX-License-Identifier: Apache-2.0
"""Fixtures: one gateway for a whole test file (emptied before each test), one upstream."""
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
