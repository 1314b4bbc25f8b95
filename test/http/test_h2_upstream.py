# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 towards upstreams, frame by frame: the upstream is python3-h2 in the hands of the test."""
import queue
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
from hyperframe.frame import GoAwayFrame

import weirtest
from weirtest import wait_for

OK = [(":status", "200"), ("content-type", "application/grpc")]


class H2Peer:
    """One connection of the gateway to the upstream. next(kind) gives the next event of a kind; all are in .seen."""

    def __init__(self, peer, settings=None):
        self.peer = peer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        if settings:
            self.h2.update_settings(settings)
        self.waiting = []
        self.seen = []
        self.flush()

    def flush(self):
        self.peer.send(self.h2.data_to_send())

    def next(self, *kinds):
        while True:
            for e in self.waiting:
                if isinstance(e, kinds):
                    self.waiting.remove(e)
                    return e
            data = self.peer.some()
            if not data:
                raise EOFError(f"closed while waiting for {kinds}")
            events = self.h2.receive_data(data)
            self.waiting += events
            self.seen += events
            self.flush()

    def request(self):
        """The next request, whole: (stream, headers, body)."""
        r = self.next(h2.events.RequestReceived)
        body = b""
        while True:
            e = self.next(h2.events.DataReceived, h2.events.StreamEnded)
            assert e.stream_id == r.stream_id
            if isinstance(e, h2.events.StreamEnded):
                return r.stream_id, r.headers, body
            body += e.data
            self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            self.flush()

    def head(self, stream, headers=OK, end=False):
        self.h2.send_headers(stream, headers, end)
        self.flush()

    def data(self, stream, data):
        """As the windows allow."""
        while data:
            room = min(self.h2.local_flow_control_window(stream), 16384)
            if room == 0:
                self.next(h2.events.WindowUpdated)
            self.h2.send_data(stream, data[:room])
            data = data[room:]
            self.flush()

    def answer(self, stream, data=b"", trailers=(("grpc-status", "0"),)):
        self.head(stream)
        if data:
            self.data(stream, data)
        self.h2.send_headers(stream, list(trailers), True)
        self.flush()

    def goaway(self, last):
        """python3-h2 would say nothing more after its own."""
        self.peer.send(GoAwayFrame(0, last_stream_id=last).serialize())

    def reset(self, stream, code):
        self.h2.reset_stream(stream, code)
        self.flush()

    def until_closed(self):
        try:
            while True:
                self.next(type(None))
        except (EOFError, OSError):
            pass


@pytest.fixture
def serve(gw, script):
    """serve(fn, ...) runs fn(H2Peer) on each connection and makes the route to it."""
    def make(fn, settings=None, route=None, **upstream):
        s = script(lambda peer: fn(H2Peer(peer, settings)))
        weirtest.proxy_all(gw, s.nodes(scheme="grpc", **upstream), **(route or {}))
        return s
    return make


def post(gw, body=b"message", **kw):
    return gw.request("/a.B/C", method="POST", headers={"Content-Type": "application/grpc", **kw.pop("headers", {})}, body=body, **kw)


def answer_all(p):
    while True:
        stream, _, body = p.request()
        p.answer(stream, body)


def test_the_request_as_the_upstream_gets_it(gw, serve):
    got = queue.Queue()

    def fn(p):
        stream, headers, body = p.request()
        got.put((headers, body))
        p.answer(stream)
    serve(fn)
    post(gw, headers={"Host": "Some.Host:80", "X-Mixed-Case": "V", "Connection": "keep-alive, x-hop", "X-Hop": "1", "TE": "gzip"})
    headers, body = got.get(timeout=10)
    h = dict(headers)
    assert [(k, v) for k, v in headers if k[0] == ":"] == [(":method", "POST"), (":scheme", "http"), (":authority", "Some.Host:80"), (":path", "/a.B/C")]
    assert (h["te"], h["content-type"], h["content-length"], h["x-mixed-case"]) == ("trailers", "application/grpc", "7", "V")
    assert not {"host", "connection", "x-hop", "keep-alive", "transfer-encoding"} & set(h) and body == b"message"


def test_requests_of_a_core_share_a_connection(weir, script):
    """All are on their way before the first is answered."""
    def fn(peer):
        p = H2Peer(peer)
        for stream, _, body in reversed([p.request() for _ in range(20)]):
            p.answer(stream, body)
        p.until_closed()
    up, gw, answers = script(fn), weir({"nginx_config": {"worker_processes": 1}}), {}
    weirtest.proxy_all(gw, up.nodes(scheme="grpc"))

    def ask(i):
        answers[i] = post(gw, b"%d" % i).body

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(20)
    assert answers == {i: b"%d" % i for i in range(20)} and up.connections == 1


@pytest.mark.parametrize("how", ["refused", "goaway"])
def test_what_was_not_looked_at_is_sent_again(gw, serve, how):
    """A POST, too: the upstream says that it has not seen it."""
    def fn(p):
        stream, _, body = p.request()
        if p.peer.number > 0:
            p.answer(stream, body)
        elif how == "refused":
            p.reset(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
            p.until_closed()
        else:
            p.goaway(0)
            p.until_closed()
    up = serve(fn)
    r = post(gw)
    assert (r.status, r.body) == (200, b"message") and up.connections == 2


def test_goaway_lets_what_runs_end(gw, serve):
    def fn(p):
        stream, _, body = p.request()
        p.goaway(stream)
        p.answer(stream, body)
        p.until_closed()
    up = serve(fn)
    for i in range(1, 4):
        assert post(gw).body == b"message" and up.connections == i


@pytest.mark.parametrize("code, status", [("CANCEL", 502), ("INTERNAL_ERROR", 502), ("NO_ERROR", 502)])
def test_a_reset_before_the_head_is_a_502(gw, serve, code, status):
    def fn(p):
        stream, _, _ = p.request()
        p.reset(stream, getattr(h2.errors.ErrorCodes, code))
        p.answer(p.request()[0], b"next")
    up = serve(fn)
    assert post(gw).status == status
    r = post(gw)
    assert r.body == b"next" if up.connections == 1 else r.status == 502  # another core has another connection


def test_a_reset_behind_the_head_cuts_the_answer(gw, serve, client):
    def fn(p):
        stream, _, _ = p.request()
        p.head(stream)
        p.data(stream, b"half")
        p.next(h2.events.WindowUpdated, h2.events.PingReceived, h2.events.SettingsAcknowledged)
        p.reset(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        p.until_closed()
    serve(fn)
    c = client(gw)
    c.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
    c.head()
    assert b"0\r\n\r\n" not in c.rest()


def test_an_idle_connection_answers_pings_and_hears_of_its_end(gw, serve):
    done = queue.Queue()

    def fn(p):
        stream, _, _ = p.request()
        p.answer(stream)
        p.h2.ping(b"12345678")
        p.flush()
        done.put(p.next(h2.events.PingAckReceived).ping_data)
        p.peer.shutdown()
        p.until_closed()
    up = serve(fn)
    assert post(gw).status == 200
    assert done.get(timeout=10) == b"12345678"
    wait_for(lambda: up.peers[0].sock.fileno() == -1, what="our end is closed")
    assert post(gw).status == 200  # on another one


def test_an_upload_waits_for_the_windows(gw, serve, client):
    """The first request goes out before the upstream's settings are known; the second one, from the same core, minds them."""
    serve(answer_all, settings={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000})
    c = client(gw)
    for body in (b"a", bytes(i & 255 for i in range(300_000))):
        r = c.ask("/a", f"Content-Length: {len(body)}", method="POST", body=body)
        assert r.status == 200 and r.body == body


def test_a_slow_client_holds_the_upstream_back(gw, serve, client):
    """The upstream may send what its windows allow and no more until the client reads."""
    stuck = queue.Queue()

    def fn(p):
        stream, _, _ = p.request()
        p.head(stream)
        sent = 0
        p.peer.sock.settimeout(1.0 * weirtest.SLOW)
        try:
            while sent < 64 << 20:
                p.data(stream, bytes(16384))
                sent += 16384
        except TimeoutError:
            stuck.put(sent)
        p.until_closed()
    serve(fn)
    c = client(gw, rcvbuf=4096)
    c.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    sent = stuck.get(timeout=30)
    assert 65536 <= sent < 16 << 20  # the kernel's buffers are among it


def test_an_upstream_of_another_protocol_is_a_502(gw, script):
    def fn(p):
        p.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        p.some()
    s = script(fn)
    weirtest.proxy_all(gw, s.nodes(scheme="grpc"))
    assert post(gw).status == 502


def test_silence_is_a_504_and_the_connection_is_left(gw, serve):
    resets = queue.Queue()

    def fn(p):
        stream, _, _ = p.request()
        if p.peer.number == 0:
            resets.put(p.next(h2.events.StreamReset).error_code)
            p.until_closed()
        else:
            p.answer(stream)
    up = serve(fn, timeout={"connect": 5, "send": 5, "read": 0.3})
    assert post(gw).status == 504
    assert resets.get(timeout=10) == h2.errors.ErrorCodes.CANCEL
    assert post(gw).status == 200 and up.connections == 2


def test_an_answer_may_come_before_the_upload_has_ended(gw, serve, client):
    def fn(p):
        r = p.next(h2.events.RequestReceived)
        p.answer(r.stream_id, b"enough")
        p.reset(r.stream_id, h2.errors.ErrorCodes.NO_ERROR)
        p.until_closed()
    serve(fn)
    c = client(gw)
    c.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + bytes(100_000))
    assert c.reply("POST").body == b"enough"


def test_interim_answers_are_passed_over(gw, serve):
    def fn(p):
        stream, _, _ = p.request()
        p.head(stream, [(":status", "103"), ("link", "a")])
        p.answer(stream, b"final")
    serve(fn)
    assert post(gw).body == b"final"


def test_a_connection_serves_so_many_requests(gw, serve):
    up = serve(answer_all, keepalive_pool={"size": 10, "idle_timeout": 60, "requests": 2})
    for _ in range(6):
        assert post(gw).status == 200
    assert 3 <= up.connections <= 4  # one core more than the requests come from


def test_an_idle_connection_is_closed_in_time(gw, serve):
    up = serve(answer_all, keepalive_pool={"size": 10, "idle_timeout": 0.1, "requests": 100})
    assert post(gw).status == 200
    wait_for(lambda: up.peers[0].sock.fileno() == -1, what="the idle connection is closed")


@pytest.mark.parametrize("headers", [
    [(":status", "200"), ("Bad Name", "x")],
    [(":status", "99")],
    [("x", "no status")],
])
def test_a_malformed_head_is_a_502(gw, serve, headers):
    def fn(p):
        stream, _, _ = p.request()
        p.h2.config.validate_outbound_headers = False
        p.h2.config.normalize_outbound_headers = False
        p.head(stream, headers)
        p.until_closed()
    serve(fn)
    assert post(gw).status == 502
