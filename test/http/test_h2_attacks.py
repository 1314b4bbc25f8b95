# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 towards clients: traffic as it should not be. Floods and their bounds, requests that HTTP/1.1 would understand differently, windows that never open."""
import os
import shutil
import struct
import subprocess
import threading
import xml.etree.ElementTree as ET

import pytest
from h2test import ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, Client, Raw, frame, get
from pki import Authority
from weirtest import BUILD, SLOW, payload, proxy_all, wait_for

MB = 1 << 20


def u32(n):
    return struct.pack(">I", n)


@pytest.fixture
def up(gw, upstream):
    proxy_all(gw, upstream)
    return upstream


@pytest.fixture
def still_fine(gw, up):
    """Others are served, and the gateway holds no more than before."""
    def check():
        with Client(gw) as c:
            assert c.ask("/fine").status == 200
    check()
    before = gw.rss()
    yield
    check()
    wait_for(lambda: gw.connections() <= 1, what="connections are gone")
    assert gw.rss() - before < 8 * MB or SLOW > 1


def flood(gw, one, most, start=b""):
    """one(i) again and again until the connection ends: (how many were sent, the last stream that was looked at, why)."""
    with Raw(gw) as c:
        c.send(start)
        sent = 0
        try:
            while sent < most and c.is_open():
                c.send(b"".join(one(i) for i in range(sent, sent + 20)))
                sent += 20
                if c.readable() and c.read(lambda: c.goaway or not c.readable()) and c.goaway:
                    break
        except ConnectionError:
            pass
        c.ending()
        return sent, c.last_id, c.goaway


# ---- floods ----

SMALL = b"\x82\x84\x86\x01\x01a"  # GET / of http, authority a


def small(sid, end=True):
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), sid, SMALL)


RESETS = {
    "rapid reset": lambda i: small(2 * i + 1) + frame(RST_STREAM, 0, 2 * i + 1, u32(8)),
    "window update by nothing": lambda i: small(2 * i + 1) + frame(WINDOW_UPDATE, 0, 2 * i + 1, u32(0)),
    "window too large": lambda i: small(2 * i + 1) + frame(WINDOW_UPDATE, 0, 2 * i + 1, u32(2**31 - 1)),
    "priority of wrong length": lambda i: small(2 * i + 1) + frame(PRIORITY, 0, 2 * i + 1, b"1234"),
    "priority on itself": lambda i: small(2 * i + 1) + frame(PRIORITY, 0, 2 * i + 1, u32(2 * i + 1) + b"\0"),
    "data after the end": lambda i: small(2 * i + 1) + frame(DATA, 0, 2 * i + 1, b"x"),
    "head after the end": lambda i: small(2 * i + 1) + small(2 * i + 1),
    "malformed head": lambda i: frame(HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, b"\x82"),
}


@pytest.mark.parametrize("kind", RESETS)
def test_resets_are_bounded(gw, up, still_fine, kind):
    asked = len(up.seen)
    sent, last, why = flood(gw, RESETS[kind], 100_000)
    assert sent < 100_000 and last // 2 < 2000
    assert why in (None, "ENHANCE_YOUR_CALM", "STREAM_CLOSED")
    assert len(up.seen) - asked <= 200


def test_resets_one_by_one_are_bounded_too(gw, up, still_fine):
    """With a pause in between each stream has its fiber, and its request is at the upstream when it is reset."""
    asked = len(up.seen)
    with Raw(gw) as c:
        sent = 0
        try:
            while sent < 2000 and c.goaway is None:
                c.send(small(2 * sent + 1))
                c.send(frame(PING, 0, 0, b"12345678"))
                c.read(lambda: c.goaway or c.frames[-1][0] == PING)
                c.frames.clear()
                c.send(frame(RST_STREAM, 0, 2 * sent + 1, u32(8)))
                sent += 1
        except (OSError, IndexError):
            pass
    assert sent < 2000 or len(up.seen) - asked >= 1000  # nearly all were answered before their reset came


NOTHINGS = {
    "settings": lambda i: frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 1)),
    "empty settings": lambda i: frame(SETTINGS),
    "ping": lambda i: frame(PING, 0, 0, b"12345678"),
    "ping answers": lambda i: frame(PING, ACK, 0, b"12345678"),
    "priority": lambda i: frame(PRIORITY, 0, 1, u32(3) + b"\1"),
    "window of one byte": lambda i: frame(WINDOW_UPDATE, 0, 0, u32(1)),
    "empty data": lambda i: frame(DATA, 0, 1),
    "padding": lambda i: frame(DATA, PADDED, 1, b"\xff" + bytes(255)),
    "unknown": lambda i: frame(77, 0, 0, b"x"),
    "goaway": lambda i: frame(GOAWAY, 0, 0, bytes(8)),
    "late reset": lambda i: frame(RST_STREAM, 0, 1, u32(8)),
}


@pytest.mark.parametrize("kind", NOTHINGS)
def test_frames_that_carry_nothing_are_bounded(gw, up, still_fine, kind):
    sent, _, why = flood(gw, NOTHINGS[kind], MB, start=small(1, end=kind not in ("empty data", "padding")))
    assert sent <= 50_000  # a thousand were taken, the rest was on its way
    assert why in (None, "ENHANCE_YOUR_CALM")


def test_what_nobody_reads_is_not_gathered(gw, up, still_fine):
    """Requests whose answers are not taken: neither they nor acknowledgements pile up."""
    up.answer = lambda s: (200, [], payload(200_000))
    before = gw.rss()
    with Raw(gw, settings=[(4, 2**31 - 1)], rcvbuf=4096) as c:
        c.send(frame(WINDOW_UPDATE, 0, 0, u32(2**30)))
        for i in range(100):
            c.head(2 * i + 1, get("/"))
        wait_for(lambda: len(up.seen) >= 80, what="the upstream is asked")
        assert gw.rss() - before < 16 * MB or SLOW > 1
    up.answer = lambda s: (200, [], b"")


@pytest.mark.parametrize("payload_,frames", [(b"", 100), (b"\0\1a\1b", 100), (b"\x82" * 16384, 20)])
def test_continuation_flood(gw, up, still_fine, payload_, frames):
    with Raw(gw) as c:
        try:
            c.send(frame(HEADERS, END_STREAM, 1, SMALL), *(frame(CONTINUATION, 0, 1, payload_) for _ in range(frames)))
        except ConnectionError:
            pass
        assert c.ending() in (None, "ENHANCE_YOUR_CALM", "PROTOCOL_ERROR")
    assert [s.path for s in up.seen] == ["/fine"]


@pytest.mark.parametrize("name", ["x", "cookie"])
def test_one_byte_a_field(gw, up, still_fine, name):
    """A table entry named 16,000 times by one byte each: refused at the cap of fields, again and again, in little memory."""
    entry = b"\x40" + Raw.text(name) + Raw.text("")
    for _ in range(20):
        with Raw(gw) as c:
            c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, SMALL + entry + b"\xbe" * 16000))
            assert c.status(1) == 431
            c.send(small(3))
            assert c.status(3) == 200


def test_one_large_entry_many_times(gw, up, still_fine):
    with Raw(gw) as c:
        c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, SMALL + b"\x40" + Raw.text("x") + Raw.text("v" * 3900) + b"\xbe" * 30))
        assert c.status(1) == 431


def test_the_caps_of_a_head(gw, up):
    with Raw(gw) as c:
        for sid, fields, want in ((1, [("x", "y")] * 196, 200), (3, [("x", "y")] * 197, 431), (5, [("cookie", "y")] * 196, 200), (7, [("cookie", "y")] * 197, 431), (9, [("x" * 10, "y" * 6000)] * 3, 431)):
            block = c.block(get("/", *fields))
            assert sid == 9 or len(block) < 16384
            parts = [block[i:i + 16384] for i in range(0, len(block), 16384)]
            c.send(*(frame(HEADERS if i == 0 else CONTINUATION, (END_STREAM if i == 0 else 0) | (END_HEADERS if i + 1 == len(parts) else 0), sid, p) for i, p in enumerate(parts)))
            if sid == 9:
                want = 200
            assert c.status(sid) == want
        block = c.block(get("/", *[("x" * 10, "y" * 7000)] * 10))
        parts = [block[i:i + 16384] for i in range(0, len(block), 16384)]
        c.send(*(frame(HEADERS if i == 0 else CONTINUATION, (END_STREAM if i == 0 else 0) | (END_HEADERS if i + 1 == len(parts) else 0), 11, p) for i, p in enumerate(parts)))
        assert c.status(11) == 431
        c.head(13, get("/" + "a" * 16000))
        assert c.status(13) == 200
    assert {k.lower(): v for k, v in up.seen[1].headers}["cookie"] == "; ".join(["y"] * 196)


def test_no_more_streams_than_allowed(gw, up):
    with Raw(gw) as c:
        c.send(*(small(2 * i + 1, end=False) for i in range(101)))
        assert c.reset(201) == "REFUSED_STREAM"
        c.data(1, b"x")
        assert c.status(1) == 200


# ---- windows ----

def test_a_client_may_not_send_more_than_the_window(gw, up):
    with Raw(gw) as c:
        c.head(1, get("/", method="POST"), end=False)
        for _ in range(200):
            c.data(1, bytes(16384), end=False)
        # what was sent before the gateway gave credit for it is too much
        assert c.reset(1) in ("FLOW_CONTROL_ERROR", None)


def test_an_upload_that_the_upstream_does_not_take_is_not_gathered(gw, script):
    """Window credit comes as the upstream takes the body, so the client stops."""
    taken = []

    def serve(c):
        c.head()
        taken.append(1)
        c.sock.recv(1)
        time_to_end.wait()

    time_to_end = threading.Event()
    proxy_all(gw, script(serve, rcvbuf=4096))
    before = gw.rss()
    with Client(gw) as c:
        sid = c.open("/", method="POST", end=False)
        sent = 0
        c.wire.sock.settimeout(1 * SLOW)
        try:
            while sent < 64 * MB:
                n = min(c.h2.local_flow_control_window(sid), 16384)
                if n:
                    c.h2.send_data(sid, bytes(n))
                    sent += n
                    c.flush()
                else:
                    c.pump()
        except TimeoutError:
            pass
        assert taken and sent < 16 * MB  # what the kernel holds, and one window
        assert gw.rss() - before < 2 * MB or SLOW > 1
    time_to_end.set()


def test_answers_to_closed_windows_are_not_gathered(gw, up, still_fine):
    """A hundred large answers that may not go out."""
    up.answer = lambda s: (200, [], b"x" if s.path == "/fine" else payload(MB))
    before = gw.rss()
    with Raw(gw, settings=[(4, 0)]) as c:
        for i in range(100):
            c.head(2 * i + 1, get("/"))
        assert c.read(lambda: len(c.heads) == 100)
        print((gw.rss() - before) // 1024, "KB for 100 answers that wait")
        assert gw.rss() - before < 5 * MB or SLOW > 1


# ---- what HTTP/1.1 would understand differently ----

POST = get("/", method="POST")
BAD_FIELDS = [
    ("x", "a\r\nevil: 1"), ("x", "a\nevil: 1"), ("x", "a\revil"), ("x", "a\0b"), ("x", "\r\n"), ("x", "\n"), ("x\r\nevil: 1\r\ny", "1"), ("x\ny", "1"), ("x\0", "1"),
    ("cookie", "a\r\nevil: 1"), ("user-agent", "a\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"), ("host", "a\r\nevil: 1"), ("content-length", "0\r\nevil: 1"), ("te", "trailers\r\n"),
    ("x", "\x01"), ("x", "\x7f"), ("x", "\x0b"), ("x", "\x1b"), ("referer", "a\r\n b"), ("authorization", "a\n\tb"),
    ("X", "1"), ("xX", "1"), ("Content-Length", "0"), ("x y", "1"), (" x", "1"), ("x ", "1"), ("x:", "1"), (":x", "1"), ("x:y", "1"), ("", "1"), ("x\t", "1"), ("x(", "1"), ("x,", "1"), ("x;", "1"),
    ("x@", "1"), ("x[", "1"), ("x{", "1"), ("x\x7f", "1"), ("x\x80", "1"), ("x=", "1"), ("x\"", "1"), ("x/", "1"),
    ("x", " a"), ("x", "a "), ("x", "\ta"), ("x", "a\t"),
    ("connection", "close"), ("connection", "x-evil"), ("keep-alive", "timeout=1"), ("proxy-connection", "keep-alive"), ("transfer-encoding", "chunked"), ("transfer-encoding", "identity"), ("upgrade", "websocket"),
    ("te", "gzip"), ("te", "trailers, gzip"), ("content_length", "1"), ("transfer_encoding", "chunked"), ("host", "a b"), ("host", "a/b"), ("host", "u@a"),
    (":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a"), (":status", "200"), (":protocol", "websocket"), (":unknown", "1"),
]


@pytest.mark.parametrize("name,value", BAD_FIELDS)
def test_fields_that_would_be_something_else(gw, up, name, value):
    with Raw(gw) as c:
        c.head(1, get("/", (name, value)))
        assert c.reset(1) == "PROTOCOL_ERROR"
        c.head(3, POST, end=False)  # as a trailer
        c.data(3, b"body", end=False)
        c.head(3, [(name, value)])
        assert c.reset(3) == ("PROTOCOL_ERROR" if name not in ("host", "content_length", "transfer_encoding", "content-length") or "\n" in value else None)
        c.head(5, get("/after"))
        assert c.status(5) == 200
    for seen in up.seen:
        assert not [k for k, _ in seen.headers if "evil" in k.lower()] and b"evil" not in seen.body


BAD_HEADS = {
    "path with blank": get("/a b"), "path with fragment": get("/a#b"), "path with control": get("/a\x01"), "path with CRLF": get("/ HTTP/1.1\r\nevil: 1\r\nx: "), "empty path": get(""), "relative path": get("a"),
    "absolute path": get("http://b.test/"), "star without OPTIONS": get("*"), "high byte": get("/\xff"), "path with DEL": get("/\x7f"), "bad escape": get("/%zz"), "NUL escaped": get("/%00"),
    "method with blank": get(method="GET /evil HTTP/1.1\r\n"), "method with colon": get(method="G:T"), "empty method": get(method=""), "odd scheme": get(scheme="ftp"), "scheme with CRLF": get(scheme="http\r\nx: y"),
    "authority with user": get(authority="u@a"), "authority with blank": get(authority="a b"), "authority with CR": get(authority="a\r"), "authority with path": get(authority="a/b"), "authority with bad port": get(authority="a:99999"),
    "empty authority": get(authority=""), "no authority": get(authority=None), "no path": get(None), "no scheme": get(scheme=None), "no method": get(method=None), "nothing": [],
    "pseudo after regular": [("x", "y"), *get()], "repeated pseudo": [*get(), (":method", "GET")], "two hosts": get("/", ("host", "a"), ("host", "b")),
    "CONNECT with path": get(method="CONNECT"),
    "extended CONNECT to nowhere": [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a")],
}


@pytest.mark.parametrize("kind", BAD_HEADS)
def test_heads_that_are_no_request(gw, up, kind):
    with Raw(gw) as c:
        c.head(1, BAD_HEADS[kind])
        assert c.status(1) in ("PROTOCOL_ERROR", 400)
        c.head(3, get("/after"))
        assert c.status(3) == 200
    assert [s.path for s in up.seen] == ["/after"]


def test_connect_is_not_for_a_gateway(gw, up):
    with Raw(gw) as c:
        c.head(1, [(":method", "CONNECT"), (":authority", "a:80")])
        assert c.status(1) == 405
    assert not up.seen


LENGTHS = [
    # content-length fields, frames of body (the last ends the stream), is a request
    (["5"], [b"hello"], True), (["5"], [b"he", b"llo"], True), (["5"], [b"hello", b""], True), (["0"], [b""], True), ([], [b"hello"], True), ([], [b""], True),
    (["5"], [b"hell"], False), (["5"], [b"hello!"], False), (["5"], [b""], False), (["0"], [b"x"], False), (["5"], [b"he", b""], False), (["5", "5"], [b"hello"], False),
    (["5", "6"], [b"hello"], False), (["5, 5"], [b"hello"], False), (["+5"], [b"hello"], False), (["-5"], [b"hello"], False), (["0x5"], [b"hello"], False), (["5.0"], [b"hello"], False),
    (["5 "], [b"hello"], False), ([""], [b"hello"], False), (["18446744073709551621"], [b"hello"], False), (["9223372036854775808"], [b"hello"], False), (["1" * 5000], [b"hello"], False),
]


@pytest.mark.parametrize("trailers", [False, True])
@pytest.mark.parametrize("said,body,good", LENGTHS)
def test_a_body_is_as_long_as_it_says(gw, up, said, body, good, trailers):
    with Raw(gw) as c:
        c.head(1, get("/", *[("content-length", n) for n in said], method="POST"), end=False)
        for i, part in enumerate(body):
            c.data(1, part, end=i + 1 == len(body) and not trailers)
        if trailers:
            c.head(1, [("x", "y")])
        assert c.status(1) == (200 if good else "PROTOCOL_ERROR")
        c.head(3, get("/after"))
        assert c.status(3) == 200
    assert [s.path for s in up.seen] == (["/", "/after"] if good else ["/after"])
    assert not good or up.seen[0].body == b"".join(body)


def test_a_large_body_that_lies_about_its_length_is_cut(gw, script):
    """More than is gathered: the upstream has the beginning, and must see that there is no end."""
    whole = []

    def serve(c):
        if c.head().line.startswith("GET"):
            c.answer(b"")
            return
        try:
            whole.append(c.exactly(200_000))
        except (EOFError, ConnectionError):
            whole.append(None)

    up = script(serve)
    proxy_all(gw, up)
    with Client(gw) as c:
        sid = c.open("/", ("content-length", "200000"), method="POST", end=False)
        c.send(sid, bytes(150_000), end=False)
        wait_for(lambda: up.connections, what="the upstream is asked")
        c.wire.send(c.h2.data_to_send(), frame(DATA, END_STREAM, sid, b"too little"))
        c.until(lambda: c.streams[sid].reset)
        assert c.streams[sid].reset == "PROTOCOL_ERROR"
        wait_for(lambda: whole == [None], what="the upstream sees a cut")
        assert c.ask("/").status == 200


@pytest.mark.parametrize("fields,host", [([("host", "other.test")], "a.test"), ([("host", "a.test")], "a.test"), ([], "a.test")])
def test_one_host_goes_out_and_it_is_the_authority(gw, up, fields, host):
    with Raw(gw) as c:
        c.head(1, get("/", *fields))
        assert c.status(1) == 200
    assert [v for k, v in up.last.headers if k.lower() == "host"] == [host]


def test_host_stands_in_for_the_authority(gw, up):
    with Raw(gw) as c:
        c.head(1, get("/", ("host", "h.test:81"), authority=None))
        assert c.status(1) == 200
    assert [v for k, v in up.last.headers if k.lower() == "host"] == ["h.test:81"]


@pytest.mark.parametrize("value", ["Vary:\r\n", "bad\x01value"])
def test_bad_values_of_a_plugin_do_not_leave(gw, up, value):
    r = gw.admin("PUT", "/routes/1", {"uri": "/*", "upstream": up.nodes(), "plugins": {"response-rewrite": {"headers": {"set": {"x-made": value}}}}})
    if r.status >= 300:
        return  # refused where it was configured
    with Raw(gw) as c:
        c.head(1, get("/"))
        assert c.status(1) in ("CANCEL", "INTERNAL_ERROR")


# ---- all of the above as others test it ----

def h2spec_program():
    """A built h2spec, or why there is none."""
    found = shutil.which("h2spec") or os.path.join(BUILD, "h2spec")
    if os.path.exists(found):
        return found, ""
    if shutil.which("go") is None:
        return None, "h2spec is not installed, and neither is go to build it"
    r = subprocess.run(["go", "install", "github.com/summerwind/h2spec/cmd/h2spec@latest"], capture_output=True, text=True, timeout=180,
                       env={**os.environ, "GOBIN": BUILD, "GOFLAGS": "-modcacherw", "GOPATH": os.path.join(BUILD, "go")})
    return (found, "") if r.returncode == 0 else (None, "h2spec cannot be built here: " + r.stderr.strip()[-200:])


# On a port that speaks both versions, what is no preface is a malformed request of HTTP/1.1 and answered as such; the test wants silence.
BOTH_VERSIONS = {"Sends invalid connection preface"}


@pytest.mark.parametrize("tls,may_fail", [(False, BOTH_VERSIONS), (True, set())])
def test_h2spec(gw, up, tmp_path, tls, may_fail):
    program, why_not = h2spec_program()
    if program is None:
        pytest.skip(why_not)
    report = tmp_path / "h2spec.xml"
    gw.put("/ssls/1", Authority(tmp_path).issue("127.0.0.1", "localhost").ssl("127.0.0.1", "localhost"))
    where = ["-h", "localhost", "-t", "-k", "-p", str(gw.tls_port)] if tls else ["-h", "127.0.0.1", "-p", str(gw.port)]
    said = subprocess.run([program, *where, "-o", str(int(5 * SLOW)), "-j", str(report)], capture_output=True, text=True, timeout=500).stdout
    gw.delete("/ssls/1")
    cases = ET.parse(report).getroot().findall(".//testcase")
    failed = {c.get("classname") for c in cases if c.find("failure") is not None or c.find("error") is not None}
    assert len(cases) > 140 and failed <= may_fail, said
