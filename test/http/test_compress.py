# SPDX-License-Identifier: Apache-2.0
"""gzip and brotli: which answers are coded, what the head says of it, and that a stream stays one."""
import json
import zlib
from concurrent.futures import ThreadPoolExecutor

import brotli
import pytest
import weirtest
from h2test import Client
from weirtest import chunked, get, lower, payload, proxy_all

PLUGINS = ["gzip", "brotli", "response-rewrite", "mocking", "proxy-buffering", "key-auth"]
TEXT = b"all work and no play makes a gateway dull. " * 100
HTML = ("Content-Type", "text/html; charset=utf-8")


@pytest.fixture(scope="module")
def gateway():
    g = weirtest.Gateway({"plugins": PLUGINS})
    yield g
    g.close()


def decoder(token):
    """feed(bytes) -> what they are decoded to."""
    return zlib.decompressobj(31).decompress if token == "gzip" else brotli.Decompressor().process


def decoded(r):
    """The body of an answer, and how it was coded."""
    token = r.headers.get("content-encoding")
    if token not in ("gzip", "br"):
        return token, r.body
    whole = zlib.decompressobj(31)
    body = whole.decompress(r.body) if token == "gzip" else brotli.decompress(r.body)
    assert token == "br" or (whole.eof and not whole.unused_data)
    return token, body


def route(gw, upstream, plugins, **more):
    gw.put("/routes/1", {"uri": "/*", "plugins": plugins, "upstream": upstream.nodes(), **more})


GZIP, BR, ANY = {"gzip": {}}, {"brotli": {}}, {"types": "*", "min_length": 1}
BOTH = {**GZIP, **BR}

# plugins, Accept-Encoding, the answer's fields, its coding
CASES = [
    (GZIP, "gzip", [HTML], "gzip"),
    (GZIP, None, [HTML], None),
    (GZIP, "", [HTML], None),
    (GZIP, "br", [HTML], None),
    (GZIP, "gzipped", [HTML], None),
    (GZIP, "GZip", [HTML], "gzip"),
    (GZIP, "deflate, gzip;q=0.5", [HTML], "gzip"),
    (GZIP, "gzip;q=0", [HTML], None),
    (GZIP, "gzip; q=0.000, *", [HTML], None),
    (GZIP, "gzip;q=0.001", [HTML], "gzip"),
    (GZIP, "*", [HTML], "gzip"),
    (GZIP, "br, *;q=0", [HTML], None),
    (BR, "br", [HTML], "br"),
    (BR, "gzip, deflate, br", [HTML], "br"),
    (BR, "br;q=0, *", [HTML], None),
    (BR, "*", [HTML], "br"),
    (BOTH, "gzip, br", [HTML], "br"),
    (BOTH, "gzip", [HTML], "gzip"),
    (BOTH, "br;q=0, gzip", [HTML], "gzip"),
    (BOTH, "identity", [HTML], None),
    # types
    (GZIP, "gzip", [("Content-Type", "text/plain")], None),
    (GZIP, "gzip", [("Content-Type", "text/html")], "gzip"),
    (GZIP, "gzip", [], None),
    ({"gzip": {"types": ["text/css", "application/json"]}}, "gzip", [("Content-Type", "application/json")], "gzip"),
    ({"gzip": {"types": ["text/css"]}}, "gzip", [HTML], None),
    ({"gzip": {"types": "*"}}, "gzip", [("Content-Type", "image/x-none")], "gzip"),
    ({"gzip": {"types": "*"}}, "gzip", [], None),
    # lengths
    ({"gzip": {"min_length": len(TEXT)}}, "gzip", [HTML], "gzip"),
    ({"gzip": {"min_length": len(TEXT) + 1}}, "gzip", [HTML], None),
    ({"brotli": {"min_length": len(TEXT) + 1}}, "br", [HTML], None),
    # what has a coding, or must stay as it is
    (BOTH, "gzip, br", [HTML, ("Content-Encoding", "deflate")], "deflate"),
    (BOTH, "gzip, br", [HTML, ("Cache-Control", "max-age=1, no-transform")], None),
    # parameters of the codecs
    ({"gzip": {"comp_level": 9, "buffers": {"number": 1, "size": 1}}}, "gzip", [HTML], "gzip"),
    ({"brotli": {"comp_level": 0, "mode": 1, "lgwin": 10, "lgblock": 16}}, "br", [HTML], "br"),
    ({"brotli": {"comp_level": 11, "mode": 2, "lgwin": 0, "lgblock": 24}}, "br", [HTML], "br"),
]


@pytest.mark.parametrize("plugins, accept, fields, coding", CASES)
def test_which_answers_are_coded(gw, upstream, plugins, accept, fields, coding):
    upstream.answer = lambda s: (200, fields, TEXT)
    route(gw, upstream, plugins)
    r = gw.get("/", headers={} if accept is None else {"Accept-Encoding": accept})
    assert decoded(r) == (coding, TEXT)
    if coding in ("gzip", "br"):
        assert "content-length" not in r.headers and len(r.body) < len(TEXT) // 4
    else:
        assert r.headers["content-length"] == str(len(TEXT))


@pytest.mark.parametrize("token, status, coded", [
    ("gzip", 200, True), ("gzip", 403, True), ("gzip", 404, True), ("gzip", 201, False), ("gzip", 500, False), ("gzip", 206, False),
    ("br", 200, True), ("br", 500, True), ("br", 201, True), ("br", 206, False), ("br", 204, False), ("br", 304, False),
])
def test_status(gw, upstream, token, status, coded):
    upstream.answer = lambda s: (status, [HTML], b"" if status in (204, 304) else TEXT)
    route(gw, upstream, BOTH)
    r = gw.get("/", headers={"Accept-Encoding": token})
    assert r.status == status and decoded(r) == (token if coded else None, b"" if status in (204, 304) else TEXT)


FIELDS = [
    # plugins, the upstream's fields, those of the coded answer; None: gone
    ({"gzip": {"vary": True}}, [], {"vary": "Accept-Encoding"}),
    ({"gzip": {}}, [], {"vary": None}),
    ({"gzip": {"vary": True}}, [("Vary", "Origin, accept-encoding")], {"vary": "Origin, accept-encoding"}),
    ({"brotli": {"vary": True}, "gzip": {"vary": True}}, [], {"vary": "Accept-Encoding"}),
    ({"gzip": {}}, [("ETag", '"a"')], {"etag": 'W/"a"'}),
    ({"gzip": {}}, [("ETag", 'W/"a"')], {"etag": 'W/"a"'}),
    ({"gzip": {}}, [("ETag", "a")], {"etag": None}),
    ({"brotli": {}}, [("ETag", '"a"'), ("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")],
     {"etag": 'W/"a"', "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT"}),
    ({"gzip": {}}, [("Accept-Ranges", "bytes")], {"accept-ranges": None}),
]


@pytest.mark.parametrize("plugins, fields, want", FIELDS)
def test_what_the_head_says(gw, upstream, plugins, fields, want):
    upstream.answer = lambda s: (200, [HTML, *fields], TEXT)
    route(gw, upstream, plugins)
    r = gw.get("/", headers={"Accept-Encoding": "gzip, br"})
    assert decoded(r)[1] == TEXT and "content-encoding" in r.headers
    assert {k: ", ".join(v for n, v in r.raw_headers if n.lower() == k) or None for k in want} == want


def test_vary_is_said_to_who_gets_it_plain_too(gw, upstream):
    upstream.answer = lambda s: (200, [HTML, ("ETag", '"a"'), ("Accept-Ranges", "bytes")], TEXT)
    route(gw, upstream, {"gzip": {"vary": True}})
    r = gw.get("/")
    assert decoded(r) == (None, TEXT)
    assert (r.headers["vary"], r.headers["etag"], r.headers["accept-ranges"]) == ("Accept-Encoding", '"a"', "bytes")


def test_head_says_what_get_would_uncoded(gw, upstream):
    upstream.answer = lambda s: (200, [HTML, ("ETag", '"a"')], TEXT)
    route(gw, upstream, BOTH)
    r = gw.request("/", method="HEAD", headers={"Accept-Encoding": "gzip, br"})
    assert r.body == b"" and "content-encoding" not in r.headers
    assert (r.headers["content-length"], r.headers["etag"]) == (str(len(TEXT)), '"a"')


@pytest.mark.parametrize("least, version, coded", [(1.1, "1.1", True), (1.1, "1.0", False), (1, "1.0", True), (1, "1.1", True)])
def test_http_version(gw, upstream, client, least, version, coded):
    upstream.answer = lambda s: (200, [HTML], TEXT)
    route(gw, upstream, {"gzip": {"http_version": least}})
    c = client(gw)
    c.send(get("/", "Accept-Encoding: gzip", version=version))
    r = c.reply()
    body = zlib.decompress(r.body, 31) if coded else r.body
    assert body == TEXT and r.headers.get("content-encoding") == ("gzip" if coded else None)


@pytest.mark.parametrize("plugin, refusal", [
    ({"gzip": {"comp_level": 0}}, "at least 1"), ({"gzip": {"comp_level": 10}}, "at most 9"), ({"gzip": {"types": []}}, "types"),
    ({"gzip": {"types": "text/html"}}, "types"), ({"gzip": {"http_version": 2}}, "http_version"), ({"gzip": {"min_length": 0}}, "at least 1"),
    ({"gzip": {"buffers": {"number": 0}}}, "at least 1"), ({"brotli": {"lgwin": 9}}, "lgwin"), ({"brotli": {"comp_level": 12}}, "at most 11"),
])
def test_what_the_admin_api_refuses(gw, plugin, refusal):
    r = gw.admin("PUT", "/routes/1", {"uri": "/*", "plugins": plugin, "upstream": {"nodes": {"127.0.0.1:1": 1}}})
    assert r.status == 400 and refusal in json.loads(r.body)["error_msg"]


# ---- streams ----

@pytest.mark.parametrize("plugins, token", [
    ({"gzip": ANY}, "gzip"), ({"brotli": ANY}, "br"), ({"gzip": ANY, "proxy-buffering": {"disable_proxy_buffering": True}}, "gzip")])
@pytest.mark.parametrize("ahead", [b"", b"7"])
def test_a_stream_passes_on_event_by_event(gw, script, client, plugins, token, ahead):
    """Each event is out before the next one is made, whatever else came with it that is not whole yet."""
    passed = weirtest.threading.Semaphore(0)

    def events(peer):
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(3):
            peer.send(b"9\r\ndata: %d\n\n\r\n" % i, ahead)
            assert passed.acquire(timeout=10 * weirtest.SLOW)
            if ahead:
                peer.send(b"\r\ndata: x\r\n")
                assert passed.acquire(timeout=10 * weirtest.SLOW)
        peer.send(b"0\r\nETag: \"end\"\r\n\r\n")

    proxy_all(gw, script(events), plugins=plugins)
    c = client(gw)
    c.send(get("/", f"Accept-Encoding: {token}"))
    head, feed = c.head(), decoder(token)
    assert lower(head.headers)["content-encoding"] == token

    def event():
        text = b""
        while not text:
            text = feed(c.chunk())
        passed.release()
        return text

    for i in range(3):
        assert event() == b"data: %d\n\n" % i
        if ahead:
            assert event() == b"data: x"
    end, trailers = c.chunks()
    assert feed(end) == b"" and trailers == [("ETag", '"end"')]


@pytest.mark.parametrize("token", ["gzip", "br"])
def test_pieces_at_hand_are_compressed_together(gw, script, client, token):
    """Of pieces that came at once nobody has waited for the first: they share one flush, unless each is to go by itself."""
    pieces = [b"piece %d " % (i % 7) for i in range(500)]

    def answer(peer):
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(*pieces))

    up = script(answer)
    for off, size in ((False, range(10, 400)), (True, range(2000, 10000))):
        proxy_all(gw, up, plugins={"gzip": ANY, "brotli": ANY, "proxy-buffering": {"disable_proxy_buffering": off}})
        r = gw.get("/", headers={"Accept-Encoding": token})
        assert decoded(r) == (token, b"".join(pieces)) and len(r.body) in size


@pytest.mark.parametrize("token", ["gzip", "br"])
@pytest.mark.parametrize("data", [payload(3 << 20), bytes(8 << 20)], ids=["dense", "zeros"])
def test_a_large_body_streams(gw, script, token, data):
    def answer(peer):
        peer.request()
        peer.answer(data, "200 OK", "Content-Type: text/html")

    proxy_all(gw, script(answer), plugins=BOTH)
    assert decoded(gw.get("/", headers={"Accept-Encoding": token})) == (token, data)


@pytest.mark.parametrize("token", ["gzip", "br"])
def test_a_broken_answer_is_cut_visibly(gw, script, client, token):
    def answer(peer):
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 100000\r\n\r\n" + TEXT)
        peer.reset() if peer.number % 2 else peer.close()

    proxy_all(gw, script(answer), plugins=BOTH)
    for _ in range(4):
        c = client(gw)
        c.send(get("/", f"Accept-Encoding: {token}"))
        text = c.rest()
        assert not text.endswith(b"0\r\n\r\n") and (b"502 Bad Gateway" in text or b"Content-Encoding: " + token.encode() in text)
    # and the encoders that were left in the middle begin anew
    proxy_all(gw, {"type": "roundrobin", "nodes": {"127.0.0.1:1": 1}}, plugins={**BOTH, "mocking": {"content_type": "text/html", "response_example": TEXT.decode()}})
    assert decoded(gw.get("/", headers={"Accept-Encoding": token})) == (token, TEXT)


def test_many_at_once_do_not_mix(gw, upstream):
    upstream.answer = lambda s: (200, [HTML], s.path.encode() * 2000)
    route(gw, upstream, BOTH)

    def one(i):
        token = ["gzip", "br"][i % 2]
        return decoded(gw.get(f"/{i}", headers={"Accept-Encoding": token})) == (token, b"/%d" % i * 2000)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(200)))


def test_over_http2(gw, upstream):
    upstream.answer = lambda s: (200, [HTML, ("ETag", '"a"')], TEXT)
    route(gw, upstream, BOTH)
    with Client(gw) as c:
        for token in ("gzip", "br", "identity"):
            r = c.ask("/", ("accept-encoding", token))
            assert decoded(r) == (None if token == "identity" else token, TEXT)
            assert ("content-length" in r.headers) == (token == "identity") and r.headers["etag"] == ('"a"' if token == "identity" else 'W/"a"')


# ---- beside other plugins ----

def test_other_plugins_see_plain_text(gw, upstream):
    """response-rewrite has the lower priority; the coding comes behind it all the same, and forgets nothing it was told."""
    upstream.answer = lambda s: (200, [HTML], TEXT)
    for plugins in ({"gzip": {}}, {"brotli": {}}):
        route(gw, upstream, {**plugins, "response-rewrite": {"filters": [{"regex": "dull", "scope": "global", "replace": "bright"}]}})
        token, body = decoded(gw.get("/", headers={"Accept-Encoding": "gzip, br"}))
        assert token and body == TEXT.replace(b"dull", b"bright")
    route(gw, upstream, {**BOTH, "response-rewrite": {"body": "new body, and a long one", "status_code": 500}})
    assert decoded(gw.get("/", headers={"Accept-Encoding": "gzip"})) == (None, b"new body, and a long one")
    route(gw, upstream, {**BOTH, "response-rewrite": {"headers": {"set": {"Content-Encoding": "mine"}}}})
    assert decoded(gw.get("/", headers={"Accept-Encoding": "gzip, br"})) == ("mine", TEXT)


def test_answers_made_here_are_coded_too(gw, upstream):
    route(gw, upstream, {**BOTH, "mocking": {"content_type": "text/html", "response_example": "mock " * 50}})
    for token in ("gzip", "br"):
        r = gw.get("/", headers={"Accept-Encoding": token})
        assert decoded(r) == (token, b"mock " * 50) and r.headers["content-length"] == str(len(r.body))


def test_a_global_rule_and_a_route(gw, upstream):
    """brotli goes first wherever it stands."""
    upstream.answer = lambda s: (200, [HTML], TEXT)
    for of_all, of_route in ((GZIP, BR), (BR, GZIP)):
        gw.put("/global_rules/1", {"plugins": of_all})
        route(gw, upstream, of_route)
        assert decoded(gw.get("/", headers={"Accept-Encoding": "gzip, br"})) == ("br", TEXT)
        assert decoded(gw.get("/", headers={"Accept-Encoding": "gzip"})) == ("gzip", TEXT)
