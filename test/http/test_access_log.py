# SPDX-License-Identifier: Apache-2.0
"""The access log: what its variables say, how bytes are escaped, which requests have a line, and that no line is lost."""
import base64
import json
import os
import re
import signal
import socket
import threading

import pytest

from weirtest import SLOW, Conn, get, proxy_all, wait_for


def log_config(fmt, escape="default", **http):
    return {"nginx_config": {"http": {"access_log_format": fmt, "access_log_format_escape": escape, **http}}}


def echo(c):
    while True:
        r = c.request()
        c.answer(r.body or b"hello", "201 Created" if r.method == "POST" else "200 OK", "X-Up: up", "Content-Type: text/plain")


VALUES = [
    # variable, what it must look like (a regular expression; {port} and {up} are put in)
    ("remote_addr", r"127\.0\.0\.1"), ("remote_port", r"\d{2,5}"), ("remote_user", "ann"), ("host", r"h\.test"), ("http_host", r"H\.test:81"),
    ("server_port", "{port}"), ("server_addr", r"127\.0\.0\.1"), ("scheme", "http"), ("https", "-"), ("server_protocol", r"HTTP/1\.1"),
    ("request", r"POST /a%20b/\.\./c\?x=1&y=a%20b HTTP/1\.1"), ("request_method", "POST"), ("method", "POST"), ("uri", "/c"), ("args", "x=1&y=a%20b"),
    ("is_args", r"\?"), ("query_string", "x=1&y=a%20b"), ("request_uri", r"/c\?x=1&y=a%20b"), ("real_request_uri", r"/a%20b/\.\./c\?x=1&y=a%20b"),
    ("arg_x", "1"), ("arg_y", "a b"), ("arg_z", "-"), ("cookie_sid", "s1"), ("cookie_none", "-"), ("http_user_agent", "test/1"), ("http_x_y", "z"),
    ("http_none", "-"), ("content_type", "text/x"), ("content_length", "5"), ("status", "201"), ("body_bytes_sent", "5"), ("bytes_sent", r"\d{3}"),
    ("request_length", r"\d{3}"), ("request_time", r"0\.\d{3}"), ("request_id", "[0-9a-f]{32}"), ("time_iso8601", r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"),
    ("time_local", r"\d\d/[A-Z][a-z]{2}/20\d\d:\d\d:\d\d:\d\d [+-]\d{4}"), ("msec", r"\d{10}\.\d{3}"), ("hostname", ".+"),
    ("upstream_addr", r"127\.0\.0\.1:{up}"), ("upstream_status", "201"), ("upstream_response_time", r"0\.\d{3}"), ("upstream_connect_time", r"0\.\d{3}"),
    ("upstream_header_time", r"0\.\d{3}"), ("upstream_bytes_received", r"\d{2,3}"), ("upstream_scheme", "http"), ("upstream_host", r"H\.test:81"),
    ("upstream_uri", r"/a%20b/\.\./c\?x=1&y=a%20b"), ("balancer_ip", r"127\.0\.0\.1"), ("balancer_port", "{up}"), ("route_id", "1"), ("route_name", "r1"),
    ("service_id", "s"), ("service_name", "s1"), ("consumer_name", "-"), ("matched_uri", r"/\*"), ("sent_http_x_up", "up"), ("sent_http_content_type", "text/plain; charset=utf-8"),
    ("upstream_http_x_up", "up"), ("http_x_forwarded_for", r"1\.1\.1\.1"), ("proxy_add_x_forwarded_for", r"1\.1\.1\.1, 127\.0\.0\.1"), ("no_such_variable", "-"),
]


def test_variables(weir, script, client):
    g = weir(log_config("|".join(f"{name}=${name}" for name, _ in VALUES)))
    up = script(echo)
    g.put("/services/s", {"name": "s1", "upstream": up.nodes()})
    g.put("/routes/1", {"name": "r1", "uri": "/*", "service_id": "s"})
    r = client(g).ask("/a%20b/../c?x=1&y=a%20b", "Host: H.test:81", "Authorization: Basic " + base64.b64encode(b"ann:secret").decode(), "Cookie: a=b; sid=s1",
                      "User-Agent: test/1", "X-Y: z", "Content-Type: text/x", "X-Forwarded-For: 1.1.1.1", "Content-Length: 5", method="POST", body=b"12345")
    assert r.status == 201
    got = dict(part.split("=", 1) for part in g.access_lines(1)[0].split("|"))
    wrong = {name: got[name] for name, like in VALUES if not re.fullmatch(like.replace("{port}", str(g.port)).replace("{up}", str(up.port)), got[name])}
    assert not wrong


@pytest.mark.parametrize("fmt,wanted", [
    ("$status", "200"), ("${status}x", "200x"), ("a$status$status", "a200200"), ("cost: 5$", "cost: 5$"), ("$", "$"), ("no variables", "no variables"),
    ("[${request_method}]", "[GET]"), ("é $status", "é 200"),
])
def test_formats(weir, script, client, fmt, wanted):
    g = weir(log_config(fmt))
    proxy_all(g, script(echo))
    client(g).ask()
    assert g.access_lines(1) == [wanted]


ODD = b"q\"b\\t\tz\x80\xc3\xa9/"


@pytest.mark.parametrize("escape,wanted", [("default", rb"q\x22b\x5Ct\x09z\x80\xC3\xA9/"), ("json", b"q\\\"b\\\\t\\tz\x80\xc3\xa9/")])
def test_escaping(weir, script, client, escape, wanted):
    g = weir(log_config("$http_x|$http_none|$request_method", escape))
    proxy_all(g, script(echo))
    c = client(g)
    c.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + ODD + b"\r\n\r\n")
    assert c.reply().status == 200
    wait_for(lambda: os.path.getsize(g.access_log), what="a line")
    with open(g.access_log, "rb") as f:
        assert f.read() == wanted + (b"|-|GET\n" if escape == "default" else b"||GET\n")


def test_json_lines_parse(weir, script, client):
    g = weir(log_config('{"uri":"$uri","agent":"$http_user_agent","status":$status,"none":"$http_none","user":"$remote_user"}', "json"))
    proxy_all(g, script(echo))
    agent = "\"quoted\" back\\slash tab\there"
    client(g).ask("/a%22b%0Ac%09d%01e", f"User-Agent: {agent}")
    line = json.loads(g.access_lines(1)[0])
    assert line == {"uri": "/a\"b\nc\td\x01e", "agent": agent, "status": 200, "none": "", "user": ""}


def test_the_default_format(gw, script, client):
    up = script(echo)
    proxy_all(gw, up)
    before = gw.logged()
    assert client(gw).ask("/x?y=1", "Referer: http://r.test/", "User-Agent: ua").status == 200
    line = gw.access_lines(before + 1)[-1]
    assert re.fullmatch(r'127\.0\.0\.1 - - \[[^]]+\] a\.test "GET /x\?y=1 HTTP/1\.1" 200 5 0\.\d{3} "http://r\.test/" "ua" 127\.0\.0\.1:%d 200 0\.\d{3} '
                        r'"http://a\.test/x\?y=1" "[0-9a-f]{32}"' % up.port, line), line


@pytest.mark.parametrize("head,request_text,status", [
    (b"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1", 400),
    (b"GET /a HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", "GET /a HTTP/1.1", 400),
    (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "GET /%zz HTTP/1.1", 400),
    (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", None, 414),
    (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", None, 505),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", None, 400),
    (b"NONSENSE\r\n\r\n", None, 400),
])
def test_refused_requests_have_a_line(gw, client, head, request_text, status):
    before = gw.logged()
    c = client(gw)
    c.send(head)
    assert c.reply().status == status
    line = gw.access_lines(before + 1)[-1]
    assert f'" {status} ' in line
    assert line.startswith("127.0.0.1 - - [")
    if request_text:
        assert f'"{request_text}" {status} ' in line


def test_a_client_that_goes_away_is_a_499(gw, script, client):
    """At once: the upstream has not answered yet, and its connection is closed as well."""
    arrived, ends = threading.Event(), []

    def up(c):
        c.request()
        arrived.set()
        ends.append(c.rest())

    proxy_all(gw, script(up))
    before = gw.logged()
    c = client(gw)
    c.send(get("/gone"))
    assert arrived.wait(10)
    c.close()
    line = gw.access_lines(before + 1)[-1]
    assert '"GET /gone HTTP/1.1" 499 0 ' in line
    wait_for(lambda: ends, what="the upstream's connection is closed")


def test_a_client_that_goes_away_while_the_upstream_is_connected_to(gw, client):
    """Its listener's queue is full, so it does not answer the SYN."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for f in fillers:
            f.setblocking(False)
            f.connect_ex(s.getsockname())
        proxy_all(gw, {"type": "roundrobin", "nodes": {f"127.0.0.1:{s.getsockname()[1]}": 1}})
        before = gw.logged()
        c = client(gw)
        c.send(get("/gone"))
        wait_for(lambda: gw.connections("writing") == 1, what="the request runs")
        c.close()
        assert '"GET /gone HTTP/1.1" 499 0 ' in gw.access_lines(before + 1)[-1]
        for f in fillers:
            f.close()


def test_a_client_that_goes_away_after_a_large_upload(gw, script, client):
    arrived, ends = threading.Event(), []

    def up(c):
        c.request()
        arrived.set()
        ends.append(c.rest())

    proxy_all(gw, script(up))
    before = gw.logged()
    c = client(gw)
    c.send(get("/gone", "Content-Length: 500000", method="POST"), b"a" * 500000)
    assert arrived.wait(10)
    c.close()
    assert '"POST /gone HTTP/1.1" 499 0 ' in gw.access_lines(before + 1)[-1]
    wait_for(lambda: ends, what="the upstream's connection is closed")


def test_a_client_that_goes_away_between_two_runs_of_an_answer(gw, script, client):
    """A stream of events: the upstream need not send another to learn that nobody listens."""
    ends = []

    def up(c):
        c.request()
        c.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
        ends.append(c.rest())

    proxy_all(gw, script(up))
    before = gw.logged()
    c = client(gw)
    c.send(get("/events"))
    c.head()
    assert c.chunk() == b"data: 1\n\n"
    c.close()
    wait_for(lambda: ends, what="the upstream's connection is closed")
    assert '"GET /events HTTP/1.1" 200 9 ' in gw.access_lines(before + 1)[-1]


def test_a_client_that_goes_away_in_its_body_is_a_499_or_400(gw, script, client):
    proxy_all(gw, script(echo))
    before = gw.logged()
    c = client(gw)
    c.send(get("/half", "Content-Length: 100", method="POST"), b"half")
    c.close()
    assert re.search(r'"POST /half HTTP/1\.1" (499|400) 0 ', gw.access_lines(before + 1)[-1])


def test_every_request_has_a_line_when_written_in_batches(weir, script):
    """Two cores, a buffer, and a stop in the end: no line is lost, doubled or mixed with another."""
    g = weir(log_config("$request_uri $status end", access_log_buffer="16k"))
    proxy_all(g, script(echo))

    def ask(t):
        with Conn(g.port) as c:
            for i in range(150):
                c.ask(f"/{t}/{i}/" + "x" * (i * 7 % 400))

    threads = [threading.Thread(target=ask, args=(t,)) for t in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert g.stop() == 0
    with open(g.access_log) as f:
        lines = f.read().splitlines()
    assert sorted(lines) == sorted(f"/{t}/{i}/{'x' * (i * 7 % 400)} 200 end" for t in range(8) for i in range(150))


def test_a_batch_is_written_within_seconds(weir, script, client):
    g = weir(log_config("$uri", access_log_buffer="1m"))
    proxy_all(g, script(echo))
    client(g).ask("/a")
    assert g.access_lines(1, 5 * SLOW) == ["/a"]


def test_rotation(weir, script, client):
    """The file is moved away, a reload opens a new one; every line is in one of them."""
    g = weir(log_config("$uri", access_log_buffer="64k"))
    proxy_all(g, script(echo))
    c = client(g)
    wanted = []
    for round_ in range(3):
        for i in range(50):
            c.ask(f"/{round_}/{i}")
            wanted.append(f"/{round_}/{i}")
        os.rename(g.access_log, f"{g.access_log}.{round_}")
        g.reload()
    assert c.ask("/last").status == 200
    wanted.append("/last")

    def lines():
        found = []
        for name in [f"{g.access_log}.{r}" for r in range(3)] + [g.access_log]:
            if os.path.exists(name):
                with open(name) as f:
                    found += f.read().splitlines()
        return found if len(found) >= len(wanted) else None

    assert wait_for(lines, 5, "all lines") == wanted


def test_no_log(weir, script, client):
    g = weir({"nginx_config": {"http": {"enable_access_log": False}}})
    proxy_all(g, script(echo))
    assert client(g).ask().status == 200
    assert not os.path.exists(g.access_log)


def test_a_log_that_cannot_be_opened_is_told_and_stops_nothing(weir, script, client):
    g = weir({"nginx_config": {"http": {"access_log": "/nonexistent/folder/access.log"}}})
    g.allowed.append("cannot open the access log")
    proxy_all(g, script(echo))
    assert client(g).ask().status == 200
    assert "cannot open the access log /nonexistent/folder/access.log: No such file or directory" in g.log_text()


def test_a_full_disk_loses_lines_and_nothing_else(weir, script, client):
    g = weir({"nginx_config": {"http": {"access_log": "/dev/full"}}})
    proxy_all(g, script(echo))
    c = client(g)
    for _ in range(50):
        assert c.ask().status == 200
    g.signal(signal.SIGHUP)
    assert c.ask().status == 200
