# SPDX-License-Identifier: Apache-2.0
"""Every file in examples/, and conf/config.yaml, is taken as it stands and serves requests."""
import glob
import json
import os
import re
import subprocess

import pytest
import weirtest
import yaml

FILES = sorted(glob.glob(os.path.join(weirtest.ROOT, "examples", "*.yaml"))) + [os.path.join(weirtest.ROOT, "conf", "config.yaml")]
by_name = pytest.mark.parametrize("path", FILES, ids=os.path.basename)


def ports_moved(value, moved):
    """The same configuration on free ports; moved: where each went."""
    if isinstance(value, dict):
        return {k: free(v, moved) if k == "port" else listen(v, moved) if k == "node_listen" else ports_moved(v, moved)
                for k, v in value.items()}
    if isinstance(value, list):
        return [ports_moved(v, moved) for v in value]
    return value


def listen(value, moved):
    values = value if isinstance(value, list) else [value]
    return [ports_moved(v, moved) if isinstance(v, dict) else free(v, moved) for v in values]


def free(port, moved):
    moved[port] = moved.get(port) or weirtest.free_port()
    return moved[port]


@pytest.fixture
def start(tmp_path):
    """Start a configuration on free ports; (process, where each port went). Stopped after the test."""
    started = []

    def begin(path):
        with open(path) as f:
            config = yaml.safe_load(f)
        # What the file leaves to defaults has to move, too.
        config.setdefault("deployment", {}).setdefault("admin", {}).setdefault("admin_listen", {"ip": "127.0.0.1", "port": 9180})
        config.setdefault("apisix", {}).setdefault("control", {"ip": "127.0.0.1", "port": 9090})
        config["apisix"].setdefault("ssl", {}).setdefault("listen", [{"port": 9443}])
        config.setdefault("plugin_attr", {}).setdefault("prometheus", {}).setdefault("export_addr", {"ip": "127.0.0.1", "port": 9091})
        moved = {}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(ports_moved(config, moved)))
        with open(tmp_path / "out", "wb") as out:
            process = subprocess.Popen([weirtest.WEIR, "run", "--config", str(tmp_path / "config.yaml"), "--data", str(tmp_path / "data")],
                                       cwd=tmp_path, stdout=out, stderr=out)
        started.append(process)
        weirtest.wait_for(lambda: process.poll() is not None or all(map(weirtest.accepts, (moved[9080], moved[9091], moved[9180]))), 20,
                          "the example listens")
        assert process.poll() is None, (tmp_path / "out").read_text()
        return moved

    yield begin
    for process in started:
        process.terminate()
        assert process.wait(20 * weirtest.SLOW) == 0


@by_name
def test_check_takes_it(path):
    p = subprocess.run([weirtest.WEIR, "check", "--config", path], capture_output=True, text=True)
    assert (p.returncode, p.stdout, p.stderr) == (0, f"{path} is valid\n", "")


@by_name
def test_it_proxies_a_request(path, start, tmp_path, upstream):
    moved = start(path)
    key = (tmp_path / "data" / "admin.key").read_text()
    route = {"uri": "/hello/*", "upstream": upstream.nodes()}
    r = weirtest.request(moved[9180], "/apisix/admin/routes/1", "PUT", {"X-API-KEY": key}, route)
    assert r.status == 201, r.body
    r = weirtest.request(moved[9080], "/hello/world")
    assert (r.status, r.body, upstream.last.path) == (200, b"hello from upstream", "/hello/world")


def test_the_json_log_of_the_edge_example_is_json(start, tmp_path, upstream):
    moved = start(os.path.join(weirtest.ROOT, "examples", "edge.yaml"))
    weirtest.request(moved[9080], '/no"route', headers={"X-Forwarded-For": "203.0.113.9, 10.1.2.3"})
    line = weirtest.wait_for(lambda: (tmp_path / "logs" / "access.log").read_text(), 20, "a line in the access log")
    entry = json.loads(line)
    assert (entry["client"], entry["status"], entry["request"]) == ("203.0.113.9", 404, 'GET /no"route HTTP/1.1')
    weirtest.wait_for(lambda: weirtest.accepts(moved[7085]), 20, "the status port")
    assert weirtest.request(moved[7085], "/status/ready").status == 200


def read(*path):
    with open(os.path.join(weirtest.ROOT, *path)) as f:
        return f.read()


def test_every_option_is_in_the_documentation():
    table = re.sub(r'"\s*\n\s*"', "", read("src", "config", "settings_options.c"))
    options = set(re.findall(r'^    (?:\{|WARNS\(|REFUSED\()\s*"([a-z_A-Z0-9.-]+)"', table, re.M))
    documented = set(re.findall(r"`([a-z_A-Z0-9.-]+)`", read("docs", "configuration.md")))
    assert len(options) > 100
    assert options - documented == set()


def test_every_option_of_weirs_own_is_in_the_default_file():
    options = set(re.findall(r'"weir\.(\w+)"', read("src", "config", "settings_options.c")))
    default = yaml.safe_load(read("conf", "config.yaml"))["weir"]
    documented = set(re.findall(r"^\| `weir\.(\w+)`", read("docs", "configuration.md"), re.M))
    assert options == set(default) == documented
