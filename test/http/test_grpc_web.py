# SPDX-License-Identifier: Apache-2.0
"""grpc-web: what a browser's library sends and reads, in front of a real gRPC server. Most tests use a client of a few lines, after the protocol's
text (grpc/doc/PROTOCOL-WEB.md); the last ones that of the npm package grpc-web, where Node.js and the registry are at hand."""
import base64
import json
import os
import shutil
import struct
import subprocess

import pytest

from grpctest import Server, pb

TYPES = ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text", "application/grpc-web-text+proto"]


@pytest.fixture(scope="module")
def up():
    with Server() as s:
        yield s


@pytest.fixture
def web(gw, up):
    gw.allowed.append("grpc-web: ")
    gw.put("/routes/1", {"uri": "/web/*", "upstream": up.nodes(), "plugins": {"grpc-web": {}}})
    up.calls.clear()
    return gw


def frame(message, flags=0):
    data = message if isinstance(message, bytes) else message.SerializeToString()
    return struct.pack(">BI", flags, len(data)) + data


def frames(data):
    """(messages, trailers) of an answer."""
    messages, trailers = [], None
    while data:
        flags, n = struct.unpack(">BI", data[:5])
        payload, data = data[5:5 + n], data[5 + n:]
        assert len(payload) == n and trailers is None, "the trailers are the last frame"
        if flags & 0x80:
            trailers = dict(line.split(":", 1) for line in payload.decode().split("\r\n") if line)
        else:
            messages.append(pb.Reply.FromString(payload))
    return messages, trailers


def text_decoded(data):
    """Pieces of base64, each with its own padding."""
    return b"".join(base64.b64decode(data[i:i + 4]) for i in range(0, len(data), 4))


def call(gw, method, request, kind=TYPES[0], path="/web/test.Echo/", **kw):
    body = request if isinstance(request, bytes) else frame(request)
    headers = {"Content-Type": kind, "X-Grpc-Web": "1", **kw.pop("headers", {})}
    r = gw.request(path + method, method="POST", headers=headers, body=base64.b64encode(body) if "text" in kind else body, **kw)
    data = text_decoded(r.body) if "text" in kind else r.body
    return r, *frames(data)


@pytest.mark.parametrize("kind", TYPES)
def test_unary(web, kind):
    r, messages, trailers = call(web, "Say", pb.Request(text="a", times=3), kind)
    assert r.status == 200 and r.headers["content-type"] == kind
    assert [m.text for m in messages] == ["aaa"]
    assert trailers == {"grpc-status": "0", "grpc-message": ""}


@pytest.mark.parametrize("kind", TYPES[::2])
def test_server_stream(web, kind):
    _, messages, trailers = call(web, "Split", pb.Request(text="x", times=50, blob=b"b" * 3001), kind)
    assert [m.number for m in messages] == list(range(50)) and {m.blob for m in messages} == {b"b" * 3001}
    assert trailers["grpc-status"] == "0"


def test_failure_without_a_message_is_told_in_the_head(web):
    r, messages, trailers = call(web, "Say", pb.Request(fail=5, text="x"))
    assert r.status == 200 and r.headers["grpc-status"] == "5" and r.headers["grpc-message"] == "no: x"
    assert messages == [] and trailers is None


def test_failure_behind_messages_is_told_in_the_last_frame(web):
    _, messages, trailers = call(web, "Split", pb.Request(times=2, fail=8, fail_after=2, text="x"), TYPES[2])
    assert len(messages) == 2 and trailers == {"grpc-status": "8", "grpc-message": "no: x"}


def test_other_trailers_come_too(web):
    _, _, trailers = call(web, "Say", pb.Request(), headers={"ask-trailing": "t"})
    assert trailers["trailing"] == "t" and base64.b64decode(trailers["trailing-bin"] + "==") == b"\x00\xff"


def test_text_in_several_pieces(web):
    body = frame(pb.Request(text="abcd"))
    r = web.request("/web/test.Echo/Say", method="POST", headers={"Content-Type": TYPES[2]},
                    body=b"".join(base64.b64encode(body[i:i + 4]) for i in range(0, len(body), 4)))
    assert [m.text for m in frames(text_decoded(r.body))[0]] == ["abcd"]


def test_the_path_is_what_the_star_stands_for(web, up):
    for uri, path in [("/*", "/test.Echo/"), ("/a/b/*", "/a/b/test.Echo/"), ("/test.Echo/Say", "/test.Echo/")]:
        web.put("/routes/1", {"uri": uri, "upstream": up.nodes(), "plugins": {"grpc-web": {}}})
        assert call(web, "Say", pb.Request(text="a"), path=path)[1][0].text == "a", uri


@pytest.mark.parametrize("method, headers, body, status", [
    ("GET", {"Content-Type": TYPES[0]}, None, 405),
    ("PUT", {"Content-Type": TYPES[0]}, b"", 405),
    ("POST", {"Content-Type": "application/json"}, b"", 400),
    ("POST", {}, b"", 400),
    ("POST", {"Content-Type": TYPES[2]}, b"not base64!", 400),
])
def test_what_is_no_call_is_refused(web, up, method, headers, body, status):
    r = web.request("/web/test.Echo/Say", method=method, headers=headers, body=body)
    assert r.status == status and not up.calls
    assert r.headers["access-control-allow-origin"] == "*"


def test_a_request_too_large_is_refused(web, up):
    web.put("/routes/1", {"uri": "/web/*", "upstream": up.nodes(), "plugins": {"grpc-web": {"max_req_body_size": 100}}})
    r = web.request("/web/test.Echo/Say", method="POST", headers={"Content-Type": TYPES[0]}, body=frame(pb.Request(text="a" * 200)))
    assert r.status == 413 and not up.calls


def test_preflight(web, up):
    r = web.request("/web/test.Echo/Say", method="OPTIONS", headers={"Origin": "http://a", "Access-Control-Request-Method": "POST"})
    assert r.status == 204 and not up.calls
    assert {k: v for k, v in r.headers.items() if k.startswith("access-control-")} == {
        "access-control-allow-methods": "POST", "access-control-allow-headers": "content-type,x-grpc-web,x-user-agent",
        "access-control-allow-origin": "*", "access-control-expose-headers": "grpc-message,grpc-status"}
    web.put("/routes/1", {"uri": "/web/*", "upstream": up.nodes(), "plugins": {"grpc-web": {"cors_allow_headers": "x-mine"}}})
    r = web.request("/web/test.Echo/Say", method="OPTIONS")
    assert r.headers["access-control-allow-headers"] == "x-mine"


def test_cors_says_the_origin_itself(web, up):
    web.put("/routes/1", {"uri": "/web/*", "upstream": up.nodes(), "plugins": {"grpc-web": {}, "cors": {"allow_origins": "http://a"}}})
    r, messages, _ = call(web, "Say", pb.Request(text="a"), headers={"Origin": "http://a"})
    assert r.headers["access-control-allow-origin"] == "http://a" and messages


def test_an_upstream_that_says_no_status(web, upstream):
    web.put("/routes/1", {"uri": "/web/*", "upstream": upstream.nodes(), "plugins": {"grpc-web": {}}})
    upstream.answer = lambda s: (200, [], frame(pb.Reply(text="a")))
    _, messages, trailers = call(web, "Say", pb.Request())
    assert messages[0].text == "a" and trailers == {"grpc-status": "2", "grpc-message": "upstream grpc status not received"}
    assert upstream.last.path == "/test.Echo/Say"


# ---- the client of npm ----

CLIENT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "grpc_web_client.js")


@pytest.fixture(scope="module")
def npm_client(tmp_path_factory):
    """call(gw, method, format, kind, request): what the package's client makes of it."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("needs node and npm")
    folder = tmp_path_factory.mktemp("npm")
    done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "grpc-web@1.5.0", "xhr2@0.2.1"], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"npm cannot install grpc-web here: {done.stderr[-300:]}")

    def call(gw, method, format, kind, request):
        out = subprocess.run(["node", CLIENT, f"http://127.0.0.1:{gw.port}/web", f"/test.Echo/{method}", format, kind,
                              base64.b64encode(request.SerializeToString()).decode()],
                             cwd=folder, capture_output=True, text=True, timeout=60)
        assert out.returncode == 0, out.stderr
        seen = json.loads(out.stdout)
        return [pb.Reply.FromString(base64.b64decode(m)) for m in seen["messages"]], seen["status"], seen["error"]
    return call


@pytest.mark.parametrize("format", ["text", "binary"])
def test_npm_client_unary(web, up, npm_client, format):
    messages, _, error = npm_client(web, "Say", format, "unary", pb.Request(text="a", times=3, blob=bytes(range(256))))
    assert error is None and [(m.text, m.blob) for m in messages] == [("aaa", bytes(range(256)))]
    assert up.calls[-1][1]["asked"] == "yes"


@pytest.mark.parametrize("format", ["text", "binary"])
def test_npm_client_is_told_of_failures(web, npm_client, format):
    messages, _, error = npm_client(web, "Say", format, "unary", pb.Request(fail=7, text="x"))
    assert messages == [] and error == {"code": 7, "message": "no: x"}


def test_npm_client_server_stream(web, npm_client):
    messages, status, error = npm_client(web, "Split", "text", "stream", pb.Request(text="x", times=20, blob=b"b" * 3001))
    assert error is None and status == 0 and [m.number for m in messages] == list(range(20))
