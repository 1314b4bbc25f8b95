# SPDX-License-Identifier: Apache-2.0
"""grpc-transcode and proto resources, in front of a real gRPC server."""
import base64
import json

import pytest

import grpctest
from grpctest import PROTO, Server


@pytest.fixture(scope="module")
def up():
    with Server() as s:
        yield s


@pytest.fixture
def echo(gw, up):
    """echo(method, more conf) makes the route /call."""
    gw.put("/protos/1", {"content": PROTO})
    gw.allowed.append("grpc-transcode: |could not be taken whole")

    def make(method="Say", **conf):
        gw.put("/routes/1", {"uri": "/call", "upstream": up.nodes(),
                             "plugins": {"grpc-transcode": {"proto_id": "1", "service": "test.Echo", "method": method, **conf}}})
    make()
    up.calls.clear()
    return make


def call(gw, body=None, query="", **kw):
    headers = {"Content-Type": "application/json", **kw.pop("headers", {})}
    return gw.request("/call" + query, method=kw.pop("method", "POST"), headers=headers, body=body, **kw)


def test_json_becomes_a_message_and_back(gw, up, echo):
    r = call(gw, {"text": "a", "times": 3, "big": 5, "mood": "LOUD", "numbers": [1, 2], "inner": {"name": "x"}, "counts": {"k": 1}, "blob": "raw"})
    assert r.status == 200, r
    assert r.headers["content-type"] == "application/json"
    assert json.loads(r.body) == {"text": "aaa", "number": 0, "big": 5, "mood": "LOUD", "numbers": [1, 2], "inner": {"name": "x"}, "counts": {"k": 1},
                                  "blob": "raw"}
    name, metadata, _ = up.calls[-1]
    assert name == "Say" and "x-real-ip" in metadata


def test_many_calls_share_a_connection(gw, up, echo):
    for i in range(50):
        assert json.loads(call(gw, {"text": str(i)}).body)["text"] == str(i)
    assert len({c.peer() for _, _, c in up.calls}) <= 2  # one a core


def test_numbers_and_enums_by_option(gw, up, echo):
    big = 2251799813685261
    for options, want in [(["int64_as_string"], '"big":"#%d"' % big), (["int64_as_hexstring"], '"big":"#0x%X"' % big), (["enum_as_value"], '"mood":1'),
                          (["int64_as_number"], '"big":%d' % big)]:
        echo(pb_option=options)
        assert want in call(gw, {"big": big, "mood": "LOUD"}).body.decode()


def test_defaults_by_option(gw, up, echo):
    everything = {"text": "", "number": 0, "big": 0, "mood": "CALM", "numbers": [], "counts": {}, "blob": ""}
    for options, want in [(["auto_default_values"], everything), (["use_default_values"], everything), (["no_default_values"], {}),
                          (["use_default_metatable"], {"numbers": [], "counts": {}})]:
        echo(pb_option=options)
        assert json.loads(call(gw, {}).body) == want, options


@pytest.mark.parametrize("request_args", [
    dict(method="GET", query="?text=a%20b&times=2&numbers=1&numbers=2&big=7&unknown=1"),
    dict(method="POST", headers={"Content-Type": "application/x-www-form-urlencoded"}, body="text=a+b&times=2&numbers=1&numbers=2&big=7"),
    dict(method="PUT", body={"text": "a b", "times": "2", "numbers": [1, "2"], "big": "#7"}),
    dict(method="PATCH", body={"text": "a b", "times": 2, "numbers": [1, 2], "big": 7}),
])
def test_where_the_message_comes_from(gw, up, echo, request_args):
    r = json.loads(call(gw, **request_args).body)
    assert (r["text"], r["numbers"], r["big"]) == ("a ba b", [1, 2], 7)


@pytest.mark.parametrize("status, http", list({1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500,
                                               14: 503, 15: 500, 16: 401}.items()))
def test_a_failed_call_has_the_status_that_belongs_to_it(gw, up, echo, status, http):
    r = call(gw, {"fail": status, "text": "x"})
    assert r.status == http and r.body == b""
    assert r.headers["grpc-status"] == str(status) and r.headers["grpc-message"] == "no: x"
    assert r.headers["content-type"] == "application/json"


def test_a_failure_behind_the_head_is_one_too(gw, up, echo):
    """The server has sent its metadata before it fails: the status is in the trailers."""
    r = call(gw, {"fail": 5, "text": "x"}, headers={"ask-initial": "1"})
    assert r.status == 404 and r.body == b""


def test_status_in_the_body(gw, up, echo):
    echo(show_status_in_body=True, status_detail_type="test.Inner")
    r = call(gw, {"fail": 14, "text": "x", "details": True})
    assert r.status == 503 and json.loads(r.body) == {"error": {"code": 14, "message": "no: x", "details": [{"name": "detail"}]}}
    echo(show_status_in_body=True)
    r = call(gw, {"fail": 14, "text": "x", "details": True})
    assert json.loads(r.body)["error"]["details"] == [{"type_url": "t/test.Inner", "value": "\n\x06detail"}]
    assert call(gw, {"fail": 14, "text": "x"}).body == b""  # the server sent none


def test_success_tells_its_status_in_trailers(gw, up, echo, client):
    c = client(gw)
    body = b'{"text":"a"}'
    c.send(b"POST /call HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body), body)
    r = c.reply("POST")
    assert r.headers["trailer"] == "grpc-status, grpc-message" and ("grpc-status", "0") in [(k.lower(), v) for k, v in r.trailers]


def test_a_deadline_is_told(gw, up, echo):
    echo(deadline=200)
    r = call(gw, {"wait_ms": 10000})
    assert r.status == 504 and r.headers["grpc-status"] == "4"
    assert call(gw, {}).status == 200


def test_large_messages_do_not_stop_the_others(gw, up, echo):
    """Their JSON is made by another thread."""
    text = "x" * 2_000_000
    assert json.loads(call(gw, {"text": text}).body)["text"] == text


# ---- what is refused ----

def test_what_does_not_fit_the_schema_is_a_400(gw, up, echo):
    for body in ('{"times":"many"}', '{"mood":"ANGRY"}', '{"inner":5}', "{", "[1]"):
        assert call(gw, body).status == 400, body
    assert not up.calls


def test_an_unknown_method_is_a_503(gw, up, echo):
    echo("Nothing")
    assert call(gw, {}).status == 503


def test_an_unknown_proto_passes_the_request(gw, up, echo):
    gw.put("/routes/1", {"uri": "/test.Echo/Say", "upstream": up.nodes(),
                         "plugins": {"grpc-transcode": {"proto_id": "9", "service": "test.Echo", "method": "Say"}}})
    r = gw.request("/test.Echo/Say", method="POST", headers={"Content-Type": "application/grpc"}, body=b"\0\0\0\0\0")
    assert r.status == 200 and r.headers["content-type"].startswith("application/grpc")


def test_an_answer_too_large_is_a_502(gw, up, echo):
    echo(max_resp_body_size=1000)
    assert call(gw, {"text": "a", "times": 900}).status == 200
    assert call(gw, {"text": "a", "times": 1100}).status == 502


def test_an_answer_that_is_no_message_is_a_502(gw, echo, upstream):
    gw.put("/routes/1", {"uri": "/call", "upstream": upstream.nodes(),
                         "plugins": {"grpc-transcode": {"proto_id": "1", "service": "test.Echo", "method": "Say"}}})
    upstream.answer = lambda s: (200, [], b"\0\0\0\0\2\x0a\x05")
    r = call(gw, {})
    assert r.status == 502 and r.body == b"failed to decode response data by protobuf"
    assert upstream.last.path == "/test.Echo/Say" and upstream.last.headers
    upstream.answer = lambda s: (500, [], b"oops")
    assert call(gw, {}).body == b"oops"


# ---- streams ----

def lines(body):
    return [json.loads(line) for line in body.splitlines()]


def test_a_stream_is_lines_of_json(gw, up, echo):
    echo("Split", pb_option=["no_default_values"])
    r = call(gw, {"text": "a", "times": 3})
    assert r.status == 200 and r.headers["content-type"] == "application/x-ndjson"
    assert lines(r.body) == [{"text": "a"}, {"text": "a", "number": 1}, {"text": "a", "number": 2}]


def test_a_stream_is_events_for_who_asks(gw, up, echo):
    echo("Split", pb_option=["no_default_values"])
    r = call(gw, {"times": 2, "fail": 5, "fail_after": 2, "text": "x"}, headers={"Accept": "text/event-stream"})
    assert r.headers["content-type"] == "text/event-stream"
    assert r.body == (b'data: {"text":"x"}\n\ndata: {"text":"x","number":1}\n\n'
                      b'event: error\ndata: {"error":{"code":5,"message":"no: x"}}\n\n')


def test_messages_of_a_stream_are_not_held_back(gw, up, echo, client):
    """The second message comes after half a minute: the first one is here at once."""
    echo("Split")
    c = client(gw)
    body = b'{"text":"a","times":2,"wait_ms":30000}'
    c.send(b"POST /call HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body), body)
    c.head()
    assert json.loads(c.chunk())["number"] == 0


def test_a_stream_may_end_in_a_failure(gw, up, echo):
    echo("Split", show_status_in_body=True, status_detail_type="test.Inner")
    assert lines(call(gw, {"times": 2, "fail": 8, "fail_after": 2, "text": "x", "details": True}).body)[-1] == {
        "error": {"code": 8, "message": "no: x", "details": [{"name": "detail"}]}}
    r = call(gw, {"times": 2, "fail": 8, "text": "x"})  # before the first message
    assert r.status == 429 and r.body == b""


def test_large_messages_of_a_stream_come_whole(gw, up, echo):
    echo("Split")
    r = call(gw, {"blob": "b" * 100_000, "times": 5})
    assert [m["blob"] for m in lines(r.body)] == ["b" * 100_000] * 5


def test_a_stream_of_requests_is_one_request(gw, up, echo):
    echo("Join")
    assert json.loads(call(gw, {"text": "a"}).body)["number"] == 1


# ---- protos ----

def test_a_descriptor_set_serves_as_well(gw, up, echo):
    import google.protobuf.descriptor_pb2 as d
    files = d.FileDescriptorSet(file=[d.FileDescriptorProto.FromString(grpctest.pb.DESCRIPTOR.serialized_pb)])
    gw.put("/protos/1", {"content": base64.b64encode(files.SerializeToString()).decode()})
    assert json.loads(call(gw, {"text": "a"}).body)["text"] == "a"


def test_a_proto_may_change_under_its_routes(gw, up, echo):
    gw.put("/protos/1", {"content": PROTO.replace("string text = 1;", "string word = 1;")})
    assert json.loads(call(gw, {"word": "a"}).body)["word"] == "a"


def test_a_proto_in_use_stays(gw, up, echo):
    gw.put("/services/s", {"plugins": {"grpc-transcode": {"proto_id": 1, "service": "test.Echo", "method": "Say"}}})
    r = gw.admin("DELETE", "/protos/1")
    assert r.status == 400 and b"can not delete this proto, route [1] is still using it now" in r.body
    gw.delete("/routes/1")
    assert b"service [s] is still using it now" in gw.admin("DELETE", "/protos/1").body
    gw.delete("/services/s")
    assert gw.admin("DELETE", "/protos/1").status == 200


def test_without_the_module_schemas_are_refused(weir, monkeypatch, tmp_path):
    monkeypatch.setenv("WEIR_MODULES", str(tmp_path))
    gw = weir()
    for path, body in [("/protos/1", {"content": PROTO}),
                       ("/routes/1", {"uri": "/", "plugins": {"grpc-transcode": {"proto_id": "1", "service": "a", "method": "b"}}})]:
        r = gw.admin("PUT", path, body)
        assert r.status == 400 and b"the module for protobuf cannot be loaded" in r.body, r
