# SPDX-License-Identifier: Apache-2.0
"""A short run of kill9.py; the long one is `make test-long`."""
import os
import subprocess
import sys


def test_kill_9_during_writes_loses_nothing():
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill9.py")
    rounds = os.environ.get("KILL9_SHORT_ROUNDS", "50")
    p = subprocess.run([sys.executable, script, rounds, "300"], capture_output=True, text=True, timeout=600)
    assert p.returncode == 0, p.stdout[-4000:] + p.stderr[-4000:]
    print(p.stdout)
