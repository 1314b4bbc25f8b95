# SPDX-License-Identifier: Apache-2.0
"""gRPC through the gateway, a real gRPC implementation at both ends: calls of all four kinds, metadata, deadlines, failures."""
import threading

import grpc
import pytest

import weirtest
from grpctest import Barrier, Channel, Server, pb
from pki import Authority

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def up():
    with Server() as s:
        yield s


@pytest.fixture
def echo(gw, up):
    """The service through the gateway."""
    gw.put("/routes/1", {"uri": "/test.Echo/*", "upstream": up.nodes()})
    up.calls.clear()
    with Channel(gw.port) as e:
        yield e


def failure(fn):
    """The error that a call ends with."""
    with pytest.raises(grpc.RpcError) as e:
        fn()
    return e.value


# ---- the four kinds of calls ----

def test_unary(echo):
    assert echo.Say(pb.Request(text="a", times=3), timeout=10).text == "aaa"


def test_server_stream(echo):
    assert [r.number for r in echo.Split(pb.Request(text="x", times=200), timeout=10)] == list(range(200))


def test_client_stream(echo):
    assert echo.Join((pb.Request(text=str(i)) for i in range(200)), timeout=10).text == "".join(map(str, range(200)))


def test_messages_go_both_ways_one_by_one(echo):
    """The client says the next thing only when it has heard the answer to the last: nothing may be held back on the way."""
    says = Barrier()
    answers = echo.Chat(says, timeout=15)
    for i in range(30):
        says.give(pb.Request(text=f"m{i}"))
        r = next(answers)
        assert (r.text, r.number) == (f"m{i}", i)
    says.end()
    assert list(answers) == []
    assert answers.code() == grpc.StatusCode.OK


def test_a_long_conversation_of_small_messages(echo):
    """Peers answer each with a PING and updates of windows, to measure the path: no flood."""
    says = Barrier()
    answers = echo.Chat(says, timeout=30)
    for i in range(2000):
        says.give(pb.Request(text="m"))
        assert next(answers).number == i
    says.end()
    assert list(answers) == []


def test_the_server_may_speak_first(gw, up, echo):
    """A call whose client waits for the answer's metadata before it says anything."""
    says = Barrier()
    answers = echo.Chat(says, timeout=10, metadata=(("ask-initial", "hello"),))
    assert dict(answers.initial_metadata())["initial"] == "hello"
    says.give(pb.Request(text="a"))
    assert next(answers).text == "a"
    says.end()


def test_the_server_may_answer_before_the_client_has_ended(echo):
    says = Barrier()
    answers = echo.Chat(says, timeout=10)
    says.give(pb.Request(text="x", fail=5))
    e = failure(lambda: next(answers))
    assert e.code() == grpc.StatusCode.NOT_FOUND
    says.end()


@pytest.mark.parametrize("size", [100, 70_000, 3 * MEGABYTE])
def test_messages_of_any_size(echo, size):
    blob = bytes(i & 255 for i in range(size))
    assert echo.Say(pb.Request(blob=blob), timeout=20).blob == blob
    assert [r.blob for r in echo.Split(pb.Request(blob=blob, times=3), timeout=20)] == [blob] * 3
    assert [r.blob for r in echo.Chat(iter([pb.Request(blob=blob)] * 3), timeout=20)] == [blob] * 3


def test_many_calls_at_once(echo):
    calls = [echo.Say.future(pb.Request(text=str(i)), timeout=30) for i in range(300)]
    assert [c.result().text for c in calls] == [str(i) for i in range(300)]


def test_many_streams_at_once(gw, up, echo):
    """Each with large messages and a reader of its own pace: windows keep them apart."""
    texts = {}

    def run(i):
        texts[i] = [len(r.blob) for r in echo.Split(pb.Request(blob=bytes([i]) * 100_000, times=8), timeout=30)]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(40)
    assert texts == {i: [100_000] * 8 for i in range(20)}


# ---- metadata and status ----

def test_metadata_pass_both_ways(echo, up):
    reply, call = echo.Say.with_call(pb.Request(), timeout=10, metadata=(("ask-initial", "i"), ("ask-trailing", "t"), ("x-bin", b"\x00\xff\x10")))
    assert dict(call.initial_metadata())["initial"] == "i"
    trailing = dict(call.trailing_metadata())
    assert trailing["trailing"] == "t" and trailing["trailing-bin"] == b"\x00\xff"
    metadata = up.calls[-1][1]
    assert metadata["x-bin"] == b"\x00\xff\x10" and metadata["x-forwarded-for"] == "127.0.0.1"


@pytest.mark.parametrize("code", range(1, 17))
def test_status_and_message_pass(echo, code):
    e = failure(lambda: echo.Say(pb.Request(text="ä b%", fail=code), timeout=10))
    assert e.code().value[0] == code and e.details() == "no: ä b%"


def test_a_stream_may_fail_after_some_messages(echo):
    stream = echo.Split(pb.Request(text="x", times=5, fail=8, fail_after=3), timeout=10)
    got = []
    e = failure(lambda: got.extend(r.number for r in iter(stream.__next__, None)))
    stream_code = e.code()
    assert stream_code == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_deadline_is_the_upstreams_too(echo, up):
    e = failure(lambda: echo.Say(pb.Request(wait_ms=10_000), timeout=0.3))
    assert e.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    context = up.calls[-1][2]
    assert context.time_remaining() < 0.3
    weirtest.wait_for(lambda: not context.is_active(), what="the server hears that nobody waits")


def test_a_client_that_cancels_is_heard(echo, up):
    call = echo.Say.future(pb.Request(wait_ms=15_000))
    weirtest.wait_for(lambda: up.calls, what="the call is there")
    call.cancel()
    context = up.calls[-1][2]
    weirtest.wait_for(lambda: not context.is_active(), what="the server hears of the cancellation")


def test_a_stream_that_is_left_ends_at_the_server(echo, up):
    stream = echo.Split(pb.Request(blob=bytes(50_000), times=100_000), timeout=30)
    next(stream)
    stream.cancel()
    context = up.calls[-1][2]
    weirtest.wait_for(lambda: not context.is_active(), what="the server stops")


# ---- what the gateway says itself ----

def test_no_route(gw, up, echo):
    with Channel(gw.port) as e:
        gw.delete("/routes/1")
        assert failure(lambda: e.Say(pb.Request(), timeout=10)).code() == grpc.StatusCode.UNIMPLEMENTED  # 404, as gRPC maps it


def test_no_server(gw, echo):
    gw.put("/routes/1", {"uri": "/*", "upstream": {"type": "roundrobin", "scheme": "grpc", "nodes": {f"127.0.0.1:{weirtest.free_port()}": 1}}})
    assert failure(lambda: echo.Say(pb.Request(), timeout=10)).code() == grpc.StatusCode.UNAVAILABLE


def test_a_plugin_refuses(gw, up, echo):
    gw.put("/routes/1", {"uri": "/*", "upstream": up.nodes(), "plugins": {"key-auth": {}}})
    assert failure(lambda: echo.Say(pb.Request(), timeout=10)).code() == grpc.StatusCode.UNAUTHENTICATED
    gw.put("/consumers", {"username": "jo", "plugins": {"key-auth": {"key": "k"}}})
    assert echo.Say(pb.Request(text="a"), timeout=10, metadata=(("apikey", "k"),)).text == "a"


# ---- the connection to the server ----

def test_calls_move_to_a_server_that_comes_back(gw, echo):
    """The old connection ends with the server; the next call makes another one."""
    with Server() as first:
        gw.put("/routes/1", {"uri": "/*", "upstream": first.nodes()})
        assert echo.Say(pb.Request(text="a"), timeout=10).text == "a"
        port = first.port
    with Server(port=port):
        assert echo.Say(pb.Request(text="b"), timeout=10).text == "b"


def test_a_server_that_retires_connections_loses_no_call(gw, echo):
    """GOAWAY while calls come in: what was not looked at is sent again."""
    with Server(options=(("grpc.max_connection_age_ms", 50), ("grpc.max_connection_age_grace_ms", 10_000))) as old:
        gw.put("/routes/1", {"uri": "/*", "upstream": old.nodes()})
        for _ in range(20):
            calls = [echo.Say.future(pb.Request(text=str(i), wait_ms=5), timeout=20) for i in range(20)]
            assert [c.result().text for c in calls] == [str(i) for i in range(20)]
        assert len({c.peer() for _, _, c in old.calls}) > 2


def test_few_streams_at_a_time(gw, echo):
    """A server that takes two calls on a connection gets more connections, not more calls."""
    with Server(options=(("grpc.max_concurrent_streams", 2),)) as narrow:
        gw.put("/routes/1", {"uri": "/*", "upstream": narrow.nodes()})
        calls = [echo.Say.future(pb.Request(text=str(i), wait_ms=20), timeout=20) for i in range(30)]
        assert [c.result().text for c in calls] == [str(i) for i in range(30)]


def test_a_second_node_is_tried(gw, up, echo):
    gw.put("/routes/1", {"uri": "/*", "upstream": {"type": "roundrobin", "scheme": "grpc", "nodes": {
        f"127.0.0.1:{weirtest.free_port()}": 1, f"127.0.0.1:{up.port}": 1}}})
    for _ in range(6):
        assert echo.Say(pb.Request(text="a"), timeout=10).text == "a"


# ---- TLS ----

@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


def test_tls_at_both_ends(gw, ca):
    cert = ca.issue("a.test")
    gw.put("/ssls/a", cert.ssl("a.test"))
    with Server(cert=cert) as server, Channel(gw.tls_port, ca=ca) as echo:
        gw.put("/routes/1", {"uri": "/*", "upstream": server.nodes()})
        blob = bytes(range(256)) * 2000
        for i in range(10):
            assert echo.Say(pb.Request(text=str(i), blob=blob), timeout=10).blob == blob
        assert [r.number for r in echo.Split(pb.Request(times=50, blob=blob[:5000]), timeout=10)] == list(range(50))
        assert [r.text for r in echo.Chat((pb.Request(text=str(i)) for i in range(50)), timeout=10)] == [str(i) for i in range(50)]
        assert len({c.peer() for _, _, c in server.calls}) <= 2  # one a core


def test_a_client_certificate_for_the_server(gw, ca):
    mine = ca.issue("gateway")
    with Server(cert=ca.issue("a.test"), client_ca=ca) as server, Channel(gw.port) as echo:
        gw.put("/routes/1", {"uri": "/*", "upstream": server.nodes()})
        assert failure(lambda: echo.Say(pb.Request(), timeout=10)).code() == grpc.StatusCode.UNAVAILABLE
        gw.put("/routes/1", {"uri": "/*", "upstream": server.nodes(tls={"client_cert": mine.pem, "client_key": mine.key_pem})})
        assert echo.Say(pb.Request(text="a"), timeout=10).text == "a"


def test_tls_for_a_server_without(gw, up, echo):
    gw.put("/routes/1", {"uri": "/*", "upstream": {**up.nodes(), "scheme": "grpcs"}})
    assert failure(lambda: echo.Say(pb.Request(), timeout=10)).code() == grpc.StatusCode.UNAVAILABLE
