# SPDX-License-Identifier: Apache-2.0
"""Corners of the data path: what is kept while something else is awaited, who may take away a field, what a stop meets."""
import os
import select
import signal
import threading
import time

import pytest
import yaml

from weirtest import SLOW, chunked, free_port, get, payload, proxy_all, request, wait_for

UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")


# ---- heads ----

def test_a_large_head_that_never_ends_is_logged_as_it_came(weir, client):
    """The head came in one read, its end never: the log line is of this request, not of what was read since."""
    g = weir({"nginx_config": {"worker_processes": 1, "http": {"client_header_timeout": "1s"}}})
    c = client(g)
    c.send(b"GET /unfinished HTTP/1.1\r\nHost: a.test\r\nX-Long: " + b"x" * 3000)
    wait_for(lambda: request(g.port, "/other" * 100) and select.select([c.sock], [], [], 0)[0], what="the answer to half a head")
    assert c.reply().status == 408
    line = wait_for(lambda: next((x for x in g.access_lines() if " 408 " in x), None), what="a line of the 408")
    assert "/unfinished" in line, line


@pytest.mark.parametrize("length", ["9223372036854775808", "18446744073709551615"])
def test_a_length_beyond_all_numbers_is_refused(gw, upstream, client, length):
    proxy_all(gw, upstream)
    c = client(gw)
    c.send(get("/", f"Content-Length: {length}", method="POST"), b"x" * 1000)
    assert c.reply().status == 400
    assert upstream.seen == []


# ---- fields ----

@pytest.mark.parametrize("named", ["X-Forwarded-Proto", "X-Consumer-Username", "X-Real-IP", "X-Forwarded-For", "X-Added"])
def test_connection_does_not_take_away_what_the_gateway_says(gw, upstream, client, named):
    gw.put("/consumers", {"username": "jack", "plugins": {"key-auth": {"key": "k"}}})
    proxy_all(gw, upstream, plugins={"key-auth": {}, "proxy-rewrite": {"headers": {"set": {"X-Added": "1"}}}})
    assert client(gw).ask("/", "apikey: k", f"Connection: close, {named}, X-Client", "X-Client: 1").status == 200
    names = {k.lower() for k, _ in upstream.last.headers}
    assert named.lower() in names
    assert "x-client" not in names and "connection" not in names


# ---- bodies ----

def test_an_upgrade_waits_for_the_end_of_its_request(gw, script, client):
    """A 101 while the client still sends a large body: nobody reads the client's bytes twice."""
    def up(c):
        c.head()
        c.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        c.rest()

    proxy_all(gw, script(up), enable_websocket=True)
    for framing in ("Content-Length: 300000", "Transfer-Encoding: chunked"):
        c = client(gw)
        c.send(get("/ws", *UPGRADE, framing), b"30000\r\n" if "chunked" in framing else b"", payload(150000))
        assert c.reply().status == 502
        c.close()
    pid = gw.worker
    assert client(gw).ask("/nothing", "Host: b.test").status in (200, 502)
    assert gw.worker == pid


def test_a_body_that_was_lost_is_not_forwarded_without_its_beginning(weir, upstream, client):
    """A variable looked into the body, and it was too large for that: the upstream gets all of it, or nothing."""
    g = weir({"apisix": {"max_post_args_readable_size": 1}})
    proxy_all(g, upstream, vars=[["post_arg_x", "!", "==", "1"]])
    c = client(g)
    body = b"a=" + payload(3 << 20)
    c.send(get("/", "Transfer-Encoding: chunked", "Content-Type: application/x-www-form-urlencoded", method="POST"))
    try:
        c.send(chunked(*(body[i:i + 50000] for i in range(0, len(body), 50000))))
    except OSError:
        pass
    try:
        status = c.reply().status
    except (OSError, EOFError):
        status = 0
    assert [s.body for s in upstream.seen] in ([], [body])
    assert status in (0, 200, 413)


def test_a_filter_on_the_body_of_a_running_upload(gw, script, client):
    """A response plugin asks for a form field while the form is still on its way to the upstream."""
    def up(c):
        c.head()
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        c.rest()

    proxy_all(gw, script(up), plugins={"response-rewrite": {"headers": {"set": {"X-Form": "1"}}, "_meta": {"filter": [["post_arg_x", "==", "1"]]}}})
    pid = gw.worker
    c = client(gw)
    c.send(get("/", "Content-Length: 300000", "Content-Type: application/x-www-form-urlencoded", method="POST"), b"x=1&y=" + b"y" * 100000)
    r = c.reply()
    assert r.status == 200 and "x-form" not in r.headers
    c.close()
    assert gw.worker == pid


def test_a_few_bytes_now_and_then_are_too_slow(gw, upstream, client):
    """The grace of the minimum rate is given once, not again after each of its ends."""
    proxy_all(gw, upstream)
    c = client(gw)
    c.send(get("/", "Content-Length: 100000", method="POST"), b"x" * 100)
    start = time.monotonic()
    while time.monotonic() - start < 12 * SLOW and not select.select([c.sock], [], [], 5.03)[0]:
        c.send(b"x" * 100)
    assert c.reply().status == 408
    assert time.monotonic() - start < 9 * SLOW


def test_a_cut_answer_looks_cut_to_http_1_0(gw, script, client):
    """Its body ends where the connection ends: so that must not look like an end."""
    arrived = threading.Event()

    def up(c):
        c.request()
        c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n")
        assert arrived.wait(10)

    proxy_all(gw, script(up).nodes(retries=0))
    c = client(gw)
    c.send(get("/", version="1.0"))
    assert c.head().line.startswith("HTTP/1.1 200")
    assert c.exactly(5) == b"short"
    arrived.set()
    with pytest.raises(ConnectionResetError):
        c.exactly(1)


def test_a_304_that_becomes_a_200_promises_no_body(gw, script, client):
    def up(c):
        while True:
            c.request()
            c.send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\n\r\n")

    proxy_all(gw, script(up), plugins={"response-rewrite": {"status_code": 200}})
    c = client(gw)
    for _ in range(3):
        r = c.ask()
        assert (r.status, r.body) == (200, b"")


def test_a_silent_upstream_is_not_kept_for_a_client_that_has_gone(gw, script, client):
    """An event stream without events: nothing is written that could tell."""
    ended = threading.Event()

    def up(c):
        c.request()
        c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        c.rest()
        ended.set()

    proxy_all(gw, script(up))
    c = client(gw)
    c.send(get("/"))
    c.head()
    assert c.chunk() == b"first"
    c.close()
    assert ended.wait(10 * SLOW)


# ---- signals and changes at bad moments ----

def change_config(g, **apisix):
    """In one step, as a reload may read it at any moment."""
    g.config = {**g.config, "apisix": {**g.config["apisix"], **apisix}}
    path = os.path.join(g.dir, "config.yaml")
    with open(path + ".new", "w") as f:
        yaml.safe_dump(g.config, f)
    os.rename(path + ".new", path)


def test_reloads_while_others_write_and_ask(weir, upstream):
    """Several at once, with listeners that come and go: nothing is refused, nothing is lost."""
    g = weir()
    proxy_all(g, upstream)
    second, stop, failed = free_port(), threading.Event(), []

    def repeat(fn):
        i = 0
        while not stop.is_set():
            i += 1
            status = fn(i)
            if status not in (200, 201):
                failed.append(status)

    def write(i):
        return g.admin("PUT", f"/routes/a{i % 5}", {"uri": f"/a{i}", "upstream": upstream.nodes()}).status

    threads = [threading.Thread(target=repeat, args=(fn,)) for fn in (write, write, lambda i: g.get(f"/{i}").status)]
    for t in threads:
        t.start()
    for i in range(8):
        change_config(g, node_listen=[g.port, second] if i % 2 == 0 else [g.port])
        said = g.log_text().count("config.yaml was read again")
        for _ in range(3):
            g.signal(signal.SIGHUP)
        wait_for(lambda: g.log_text().count("config.yaml was read again") > said, what="a reload")
    g.signal(signal.SIGHUP)
    stop.set()
    for t in threads:
        t.join()
    assert failed == []
    assert g.stop() == 0


@pytest.mark.parametrize("signo", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_while_the_gateway_starts(weir, signo):
    for delay in (0.02, 0.05, 0.1, 0.2):
        g = weir(wait=False)
        wait_for(lambda: g.pids()[1:] or g.process.poll() is not None, what="the gateway process")
        time.sleep(delay)
        g.signal(signo)
        if signo == signal.SIGHUP:
            g.wait_ready()
            g.signal(signal.SIGTERM)
        assert g.process.wait(10 * SLOW) == 0


def test_an_admin_key_ends_with_a_reload_without_it(weir):
    g = weir()
    keys = [{"name": "admin", "key": "another-admin-key-0123456789abc", "role": "admin"}]
    g.reload({"deployment": {"admin": {"admin_key": keys}}})
    assert g.admin("GET", "/routes").status == 401
    assert g.admin("GET", "/routes", key=keys[0]["key"]).status == 200
