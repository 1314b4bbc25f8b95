# SPDX-License-Identifier: Apache-2.0
"""Short runs of slow_clients.py and overload.py; the long ones are `make test-long`."""
import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("name,arguments", [
    ("slow_clients.py", ["400", "13", "all"]),
    ("overload.py", ["6", "2000", "3000"]),
])
def test_short_run(name, arguments):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    # The machine has other things to do, and a short run few figures to choose from.
    p = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=600, env={"OVERLOAD_NOISE": "6", **os.environ})
    assert p.returncode == 0, p.stdout[-4000:] + p.stderr[-4000:]
    print(p.stdout)
