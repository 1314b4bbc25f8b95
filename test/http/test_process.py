# SPDX-License-Identifier: Apache-2.0
"""The process: command line, start and stop, reload without a lost request, crash and restart."""
import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest
import yaml

from weirtest import ADMIN_KEY, SLOW, WEIR, Conn, accepts, free_port, get, payload, proxy_all, request, wait_for

ENV = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}


def weir_command(*args, cwd=None):
    return subprocess.run([WEIR, *map(str, args)], capture_output=True, text=True, timeout=30 * SLOW, cwd=cwd, env=ENV)


def of(gw, name):
    """A command for a running gateway."""
    return weir_command(name, "--config", os.path.join(gw.dir, "config.yaml"), "--data", gw.data)


def hello(c):
    while True:
        c.request()
        c.answer(b"hello")


# ---- weir check ----

@pytest.mark.parametrize("text,words", [
    ("nginx_config: {http: {keepalive_timout: 60s}}", ["nginx_config.http.keepalive_timout", "did you mean nginx_config.http.keepalive_timeout"]),
    ("weir: {head_byte: 1}", ["weir.head_byte", "did you mean weir.head_bytes"]),
    ("apisix: {node_listen: [99999]}", ["apisix.node_listen", "a port from 1 to 65535", "99999"]),
    ("weir: {fields: many}", ["weir.fields", "many"]),
    ("deployment: {admin: {admin_listen: {ip: here, port: 1}}}", ["deployment.admin.admin_listen.ip", "here"]),
    ("apisix: [", ["line 2"]),
    ("apisix:\n  router: {http: fast}", ["apisix.router.http", "radixtree_uri"]),
    ("deployment: {etcd: {host: ['http://127.0.0.1:2379']}}", ["deployment.etcd"]),
    ("apisix: {node_listen: '${{NO_SUCH_VARIABLE}}'}", ["NO_SUCH_VARIABLE"]),
])
def test_check_names_what_is_wrong(tmp_path, text, words):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    p = weir_command("check", "--config", file)
    assert p.returncode == 1
    for word in [str(file), *words]:
        assert word in p.stderr, p.stderr


def test_check_takes_a_good_file(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("apisix: {node_listen: [9080]}")
    p = weir_command("check", "--config", file)
    assert (p.returncode, p.stdout) == (0, f"{file} is valid\n")
    assert not list(tmp_path.glob("data*"))


def test_check_of_a_missing_file(tmp_path):
    p = weir_command("check", "--config", tmp_path / "none.yaml")
    assert p.returncode == 1 and "none.yaml" in p.stderr and "No such file" in p.stderr


def test_usage():
    assert weir_command("version").stdout.startswith("weir 0.")
    for args in ([], ["nonsense"], ["run", "--nonsense"], ["check", "--config"]):
        p = weir_command(*args)
        assert p.returncode == 2 and p.stderr, args
    assert "reload" in weir_command("help").stdout


# ---- start and stop ----

def test_status_and_stop(weir, tmp_path):
    g = weir()
    p = of(g, "status")
    assert (p.returncode, p.stdout) == (0, f"running, pid {g.process.pid}\n")
    stopped = of(g, "stop")
    assert stopped.returncode == 0, stopped.stderr
    assert g.process.wait(5) == 0
    assert (of(g, "status").returncode, of(g, "status").stdout) == (3, "not running\n")
    for command in ("stop", "reload"):
        p = of(g, command)
        assert p.returncode == 1 and "not running" in p.stderr


def test_one_data_folder_serves_one_gateway(weir):
    g = weir()
    other = dict(g.config, apisix={**g.config["apisix"], "node_listen": [free_port()]})
    path = os.path.join(g.dir, "other.yaml")
    with open(path, "w") as f:
        yaml.safe_dump(other, f)
    for extra in ([], ["--no-supervisor"]):
        p = weir_command("run", "--config", path, "--data", g.data, *extra)
        assert p.returncode == 1 and f"already running with this data folder, pid {g.process.pid}" in p.stderr
    assert request(g.status_port, "/status").status == 200


def test_what_a_killed_gateway_leaves_behind_stops_nobody(weir):
    g = weir()
    g.put("/routes/1", {"uri": "/a", "upstream": {"type": "roundrobin", "nodes": {"127.0.0.1:1": 1}}})
    for pid in g.pids():
        os.kill(pid, signal.SIGKILL)
    g.process.wait()
    wait_for(lambda: of(g, "status").returncode == 3, what="both are gone")
    # Even when its pid is somebody else's now.
    with open(os.path.join(g.data, "weir.pid"), "w") as f:
        f.write(f"{os.getpid()}\n")
    assert of(g, "stop").returncode == 1
    wait_for(lambda: not accepts(g.port), what="the port is free")
    g.start()
    assert g.get("/a").status == 502


def test_the_gateway_process_does_not_outlive_its_supervisor(weir):
    g = weir()
    worker = g.worker
    g.process.kill()
    g.process.wait()
    wait_for(lambda: not os.path.exists(f"/proc/{worker}"), what="the gateway process ends")


@pytest.mark.parametrize("port", ["proxy", "admin", "prometheus", "status"])
def test_a_port_in_use_is_told_at_start(weir, port):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        n = taken.getsockname()[1]
        config = {"proxy": {"apisix": {"node_listen": [{"ip": "127.0.0.1", "port": n}]}}, "admin": {"deployment": {"admin": {"admin_listen": {"port": n}}}},
                  "prometheus": {"plugin_attr": {"prometheus": {"export_addr": {"port": n}}}}, "status": {"apisix": {"status": {"port": n}}}}[port]
        g = weir(config, wait=False)
        g.allowed.append("cannot start")
        assert g.process.wait(10 * SLOW) == 1
        assert f"bind to 127.0.0.1:{n} failed: Address already in use" in g.log_text()


def test_no_supervisor(tmp_path, weir):
    g = weir()
    assert g.stop() == 0
    path = os.path.join(g.dir, "config.yaml")
    p = subprocess.Popen([WEIR, "run", "--no-supervisor", "--config", path, "--data", g.data], cwd=g.dir, env=ENV)
    try:
        wait_for(lambda: accepts(g.status_port), what="it listens")
        assert of(g, "status").stdout == f"running, pid {p.pid}\n"
        assert of(g, "stop").returncode == 0
        assert p.wait(5) == 0
    finally:
        if p.poll() is None:
            p.kill()


# ---- the admin key ----

def test_a_generated_admin_key(weir):
    """Made once, readable by its owner only, the same after a restart."""
    g = weir({"deployment": {"admin": {"admin_key": []}}})
    path = os.path.join(g.data, "admin.key")
    key = open(path).read()
    assert re.fullmatch("[0-9a-f]{32}", key)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(g.data).st_mode) == 0o700
    assert key not in g.log_text()
    assert g.admin("GET", "/routes", key=key).status == 200
    assert g.admin("GET", "/routes", key=ADMIN_KEY).status == 401
    assert g.admin("GET", "/routes", key="").status == 401
    assert g.stop() == 0
    g.start()
    assert open(path).read() == key
    assert g.admin("GET", "/routes", key=key).status == 200


CONSUMER = {"username": "jack", "plugins": {"basic-auth": {"username": "jack", "password": "a canary of a password"}}}


def stored_form(g):
    """The password as it is in the store; GET shows it in clear."""
    r = g.admin("PUT", "/consumers", CONSUMER)
    assert r.status in (200, 201), r.body
    return json.loads(r.body)["value"]["plugins"]["basic-auth"]["password"]


def clear_form(g):
    return json.loads(g.admin("GET", "/consumers/jack").body)["value"]["plugins"]["basic-auth"]["password"]


def test_a_generated_encryption_key(weir):
    """Made once, readable by its owner only, used for what is written from now on; what the published key has encrypted can still be read."""
    g = weir({"apisix": {"data_encryption": {"keyring": ["qeddd145sfvddff3"]}}})
    path = os.path.join(g.data, "encryption.key")
    assert "published with APISIX" in g.log_text() and not os.path.exists(path)
    published = stored_form(g)
    assert g.stop() == 0
    del g.config["apisix"]["data_encryption"]
    for name in ("error.log", "stderr"):
        os.unlink(os.path.join(g.dir, name))
    g.start()
    key = open(path).read()
    assert re.fullmatch("[0-9a-f]{32}", key) and stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert "published with APISIX" not in g.log_text() and key not in g.log_text()
    assert clear_form(g) == "a canary of a password"
    made = stored_form(g)
    assert made != published and "canary" not in made
    assert g.stop() == 0
    g.start()
    assert open(path).read() == key and clear_form(g) == "a canary of a password" and stored_form(g) == made
    with open(path, "w") as f:
        f.write("short")
    g.stop()
    g.start(wait=False)
    g.allowed.append("cannot start")
    assert g.process.wait(10 * SLOW) == 1
    assert "encryption.key does not hold a key" in g.log_text()


def test_a_damaged_key_file_is_told(weir):
    g = weir({"deployment": {"admin": {"admin_key": []}}})
    assert g.stop() == 0
    with open(os.path.join(g.data, "admin.key"), "w") as f:
        f.write("short")
    g.start(wait=False)
    g.allowed.append("cannot start")
    assert g.process.wait(10 * SLOW) == 1
    assert "admin.key does not hold a key" in g.log_text()


# ---- stopping ----

class Holder:
    """An upstream that keeps its answers until told."""

    def __init__(self):
        self.go = threading.Event()
        self.waiting = threading.Semaphore(0)

    def __call__(self, c):
        while True:
            path = c.request().path
            if path.startswith("/hold"):
                if path == "/hold-body":
                    c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
                self.waiting.release()
                assert self.go.wait(30)
                if path == "/hold-body":
                    c.send(b"half")
                    continue
            c.answer(b"hello")


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_running_requests_end_before_the_gateway_does(weir, script, client, signo):
    """New connections are refused at once, idle ones are closed, running requests get their answers."""
    holder = Holder()
    g = weir()
    proxy_all(g, script(holder))
    idle = client(g)
    assert idle.ask().body == b"hello"
    running = [client(g) for _ in range(10)]
    for i, c in enumerate(running):
        c.send(get(["/hold", "/hold-body"][i % 2]))
    for _ in running:
        assert holder.waiting.acquire(timeout=10)
    heads = [c.head() for c in running[1::2]]
    g.signal(signo)
    wait_for(lambda: not accepts(g.port), what="new connections are refused")
    assert idle.rest() == b""
    assert g.process.poll() is None
    assert not accepts(g.admin_port)
    holder.go.set()
    for c in running[::2]:
        r = c.reply()
        assert (r.status, r.body, r.headers["connection"]) == (200, b"hello", "close")
    assert [c.exactly(8) for c in running[1::2]] == [b"halfhalf"] * 5
    assert [h.line for h in heads] == ["HTTP/1.1 200 OK"] * 5
    for c in running:
        assert c.rest() == b""
    assert g.process.wait(5 * SLOW) == 0


def test_a_request_that_does_not_end_is_cut_in_time(weir, script, client):
    holder = Holder()
    g = weir({"nginx_config": {"worker_shutdown_timeout": "1s"}})
    proxy_all(g, script(holder))
    c = client(g)
    c.send(get("/hold-body"))
    c.head()
    start = time.monotonic()
    g.signal(signal.SIGTERM)
    assert c.rest() == b"half"
    assert g.process.wait(10) == 0
    assert 0.9 < time.monotonic() - start < 2.5 * SLOW
    holder.go.set()


def test_stopping_again_and_again_under_load(weir, script):
    """Clients that connect and ask while the gateway stops: each answer that begins is whole, and each request that was taken gets one."""
    up = script(lambda c: [(c.request(), c.answer(payload(3000))) for _ in iter(int, 1)])
    g = weir()
    proxy_all(g, up)
    for _ in range(5):
        stop, broken = threading.Event(), []

        def load():
            while not stop.is_set():
                try:
                    with Conn(g.port) as c:
                        for _ in range(20):
                            c.send(get())
                            data = c.sock.recv(10)
                            if not data:
                                break
                            c.buffer = data
                            if c.reply().body != payload(3000):
                                broken.append("body")
                except EOFError:
                    broken.append("cut")
                except OSError:
                    pass  # refused, or reset while idle

        threads = [threading.Thread(target=load) for _ in range(6)]
        for t in threads:
            t.start()
        wait_for(lambda: g.connections("accepted") > 50, what="there is load")
        assert g.stop() == 0
        stop.set()
        for t in threads:
            t.join()
        assert not broken
        g.start()


# ---- reload ----

def test_reload_changes_limits_and_log_for_open_connections(weir, script, client):
    g = weir()
    proxy_all(g, script(hello))
    c = client(g)
    assert c.ask("/" + "a" * 3000).status == 200
    log = os.path.join(g.dir, "access2.log")
    errors = os.path.join(g.dir, "error2.log")
    g.config["nginx_config"]["error_log"] = errors
    with open(os.path.join(g.dir, "config.yaml"), "w") as f:
        yaml.safe_dump({**g.config, "nginx_config": {**g.config["nginx_config"], "error_log_level": "debug", "http": {"access_log": log, "access_log_buffer": 0,
                        "client_max_body_size": "10"}}, "weir": {**g.config.get("weir", {}), "line_bytes": 1024}}, f)
    p = of(g, "reload")
    assert p.returncode == 0, p.stderr
    wait_for(lambda: os.path.exists(errors) and "config.yaml was read again" in open(errors).read(), what="the reload")
    assert c.ask("/new-log").status == 200
    assert "/new-log" in wait_for(lambda: open(log).read(), what="the new access log")
    assert "/new-log" not in open(g.access_log).read()
    r = c.ask("/", "Content-Length: 11", method="POST", body=b"a" * 11)
    assert r.status == 413
    c = client(g)
    c.send(get("/" + "a" * 3000))
    assert c.reply().status == 414


def test_reload_changes_admin_keys(weir):
    g = weir()
    assert g.admin("GET", "/routes").status == 200
    g.reload({"deployment": {"admin": {"admin_key": [{"name": "admin", "key": "another-admin-key-0123456789abc", "role": "admin"}]}}})
    assert g.admin("GET", "/routes").status == 401
    assert g.admin("GET", "/routes", key="another-admin-key-0123456789abc").status == 200


def test_reload_changes_the_router(weir, script, client):
    g = weir()
    proxy_all(g, script(hello))
    g.put("/routes/2", {"uri": "/users/:id", "upstream": {"type": "roundrobin", "nodes": {}}})
    c = client(g)
    assert c.ask("/users/1").status == 200
    g.reload({"apisix": {"router": {"http": "radixtree_uri_with_parameter"}}})
    assert c.ask("/users/1").status == 503
    g.reload({"apisix": {"router": {"http": "radixtree_uri"}}})
    assert c.ask("/users/1").status == 200


def test_reload_opens_and_closes_listeners(weir, script, client):
    g = weir()
    proxy_all(g, script(hello))
    first, second = g.port, free_port()
    c = client(first)
    assert c.ask().status == 200
    g.reload({"apisix": {"node_listen": [first, second]}})
    assert client(second).ask().status == 200
    assert c.ask().status == 200
    g.reload({"apisix": {"node_listen": [second]}})
    wait_for(lambda: not accepts(first), what="the old port is closed")
    assert c.ask().status == 200, "a connection that is open stays"
    assert client(second).ask().status == 200


def test_reload_moves_the_servers_beside_the_proxy(weir):
    """Admin API, status and metrics get other addresses, or none, in the same process; a connection that is open stays."""
    g = weir()
    worker, before = g.worker, (g.admin_port, g.status_port, g.metrics_port)
    g.admin_port, g.status_port, g.metrics_port = (free_port() for _ in before)
    with Conn(before[1]) as c:
        assert c.ask("/status").status == 200
        g.reload({"apisix": {"status": {"port": g.status_port}}, "deployment": {"admin": {"admin_listen": {"port": g.admin_port}}},
                  "plugin_attr": {"prometheus": {"export_addr": {"port": g.metrics_port}}}})
        assert c.ask("/status").status == 200
    wait_for(lambda: not any(map(accepts, before)), what="the old ports are closed")
    assert g.admin("GET", "/routes").status == 200 and request(g.status_port, "/status/ready").status == 200 and g.metrics()
    g.reload({"plugin_attr": {"prometheus": {"enable_export_server": False}}})
    wait_for(lambda: not accepts(g.metrics_port), what="no metrics server")
    g.reload({"plugin_attr": {"prometheus": {"enable_export_server": True}}})
    assert g.metrics() and g.worker == worker


def test_reload_without_a_supervisor_refuses_what_needs_another_process(weir):
    g = weir()
    g.stop()
    path = os.path.join(g.dir, "config.yaml")
    p = subprocess.Popen([WEIR, "run", "--no-supervisor", "--config", path, "--data", g.data], cwd=g.dir, env=ENV)
    g.allowed.append("reload refused")
    try:
        wait_for(lambda: accepts(g.status_port), what="it listens")
        with open(path, "w") as f:
            yaml.safe_dump({**g.config, "nginx_config": {**g.config["nginx_config"], "worker_processes": 1}}, f)
        assert of(g, "reload").returncode == 0
        wait_for(lambda: "there is no supervisor to start it" in g.log_text(), what="the refusal")
        assert "nobody to ask" in g.upgrade().stderr
        assert request(g.status_port, "/status").status == 200
    finally:
        p.terminate()
        assert p.wait(10 * SLOW) == 0


@pytest.mark.parametrize("text,word", [("apisix: {node_listn: [1]}", "node_listn"), ("apisix: [", "config.yaml"), (None, "No such file")])
def test_a_bad_file_changes_nothing(weir, script, client, text, word):
    g = weir()
    g.allowed.append("reload refused")
    proxy_all(g, script(hello))
    c = client(g)
    assert c.ask().status == 200
    path = os.path.join(g.dir, "config.yaml")
    if text is None:
        os.unlink(path)
    else:
        with open(path, "w") as f:
            f.write(text)
    p = of(g, "reload")
    assert p.returncode == 1 and word in p.stderr
    g.signal(signal.SIGHUP)
    wait_for(lambda: "reload refused, the old configuration stays" in g.log_text(), what="the refusal is logged")
    assert word in g.log_text()
    assert c.ask().status == 200


def test_a_port_in_use_changes_nothing(weir, script, client):
    g = weir()
    g.allowed.append("reload refused")
    proxy_all(g, script(hello))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        g.config["apisix"]["node_listen"] = [g.port, {"ip": "127.0.0.1", "port": taken.getsockname()[1]}]
        with open(os.path.join(g.dir, "config.yaml"), "w") as f:
            yaml.safe_dump(g.config, f)
        g.signal(signal.SIGHUP)
        wait_for(lambda: "reload refused" in g.log_text(), what="the refusal is logged")
    fds = g.fds()
    for _ in range(3):
        assert client(g).ask().status == 200
    assert g.fds() <= fds + 8


def test_reload_under_load_loses_nothing(weir, script):
    """Keepalive clients and new connections, while listeners come and go: no failure, no connection dropped."""
    up = script(hello)
    g = weir()
    proxy_all(g, up)
    stop = threading.Event()
    failures, served = [], [0] * 6

    def keepalive(i):
        with Conn(g.port) as c:
            while not stop.is_set():
                try:
                    if c.ask().body != b"hello":
                        failures.append("body")
                    served[i] += 1
                except (OSError, EOFError) as e:
                    failures.append(e)
                    return

    def short(i):
        while not stop.is_set():
            try:
                with Conn(g.port) as c:
                    if c.ask("/", "Connection: close").body != b"hello":
                        failures.append("body")
                served[i] += 1
            except (OSError, EOFError) as e:
                failures.append(e)
                return

    # A connection serves 1,000 requests by default: more here.
    g.reload({"weir": {"keepalive_requests": 1000000}})
    threads = [threading.Thread(target=(keepalive, short)[i % 2], args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    extra = [free_port() for _ in range(3)]
    for i in range(12):
        g.reload({"apisix": {"node_listen": [g.port, *extra[:i % 4]]}})
    stop.set()
    for t in threads:
        t.join()
    assert not failures and min(served) > 20, (failures[:3], served)


# ---- crashes ----

def test_a_crash_is_told_and_the_gateway_is_back_within_a_second(weir, script, client):
    g = weir()
    g.allowed += ["died of", "Sanitizer.*(DEADLYSIGNAL|SEGV|additional info)"]
    proxy_all(g, script(hello))
    wait_for(lambda: time.monotonic() - g_start(g) > 2.1, what="the gateway is not young")
    c = client(g)
    assert c.ask().status == 200
    worker = g.worker
    os.kill(worker, signal.SIGSEGV)
    start = time.monotonic()
    assert c.rest() == b""
    wait_for(lambda: worker not in g.pids() and served(g), what="the gateway is back")
    assert time.monotonic() - start < 1 * SLOW
    assert g.worker != worker and g.process.poll() is None
    assert client(g).ask().body == b"hello", "the stored configuration is there"
    text = g.log_text()
    sanitized = "Sanitizer" in text
    assert f"[alert] the gateway process {worker} died of signal {'6 (Aborted)' if sanitized else '11 (Segmentation fault)'}, starting it again" in text
    if not sanitized:
        assert "died of SIGSEGV; backtrace:\n" in open(g.error_log).read()
        assert "main+" in text or "loop_run" in text or "(+0x" in text


def g_start(g):
    """When the gateway process started, on the clock of time.monotonic()."""
    with open(f"/proc/{g.worker}/stat") as f:
        ticks = int(f.read().rsplit(")", 1)[1].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK")


def served(g):
    try:
        with Conn(g.port, timeout=1) as c:
            return c.ask().status == 200
    except (OSError, EOFError):
        return False


def test_who_keeps_dying_young_is_given_pauses(weir):
    g = weir()
    g.allowed.append("died of")
    gaps = []
    for _ in range(3):
        worker = g.worker
        os.kill(worker, signal.SIGKILL)
        start = time.monotonic()
        wait_for(lambda: g.pids()[1:] and g.worker != worker, what="another process")
        gaps.append(time.monotonic() - start)
    assert gaps[2] > 0.35 and gaps[0] < 0.35 * SLOW, gaps
    g.wait_ready()
    g.put("/routes/1", {"uri": "/a", "upstream": {"type": "roundrobin", "nodes": {"127.0.0.1:1": 1}}})
    # Stopping while it pauses works too.
    os.kill(g.worker, signal.SIGKILL)
    assert of(g, "stop").returncode == 0
    assert g.process.wait(5) == 0


def test_stored_configuration_survives_crashes(weir, upstream):
    g = weir()
    g.allowed.append("died of")
    for i in range(20):
        g.put(f"/routes/{i}", {"uri": f"/{i}", "upstream": upstream.nodes()})
    os.kill(g.worker, signal.SIGKILL)
    wait_for(lambda: served_path(g, "/19"), what="the gateway is back")
    assert [g.get(f"/{i}").status for i in range(20)] == [200] * 20


def served_path(g, path):
    try:
        return g.get(path).status == 200
    except OSError:
        return False
