# SPDX-License-Identifier: Apache-2.0
"""h2test: clients of HTTP/2 for the end-to-end tests.

Client is python3-h2 over a socket, for traffic as it should be:

    with Client(gw) as c:
        r = c.ask("/a", method="POST", body=b"hello")

Raw says what it is told to, frame by frame, and reads what comes back, for traffic as it should not be:

    with Raw(gw) as c:
        c.head(1, get("/"))
        assert c.reset(1) == "PROTOCOL_ERROR"
"""
import select
import struct
from collections import namedtuple

import h2.config
import h2.connection
import h2.events
import h2.settings
import hpack
from weirtest import Wire, Conn

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CODES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
         "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8

H2Answer = namedtuple("H2Answer", "status headers body trailers interim reset")


def get(path="/", *fields, method="GET", authority="a.test", scheme="http"):
    """The fields of a request."""
    pseudo = [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority)]
    return [f for f in pseudo if f[1] is not None] + list(fields)


class Stream:
    def __init__(self):
        self.status, self.headers, self.body, self.trailers, self.interim, self.reset, self.ended = 0, [], bytearray(), [], [], None, False

    def answer(self):
        return H2Answer(self.status, dict(self.headers), bytes(self.body), self.trailers, self.interim, self.reset)


class Client:
    """One connection. Windows open by themselves as data come, unless hold is set."""

    def __init__(self, gw, window=None, hold=False, timeout=15, sock=None, **settings):
        self.wire = Wire(sock or Conn(gw.port, timeout=timeout).sock, timeout)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.hold, self.streams, self.going, self.closed = hold, {}, [], False
        if window is not None:
            settings["INITIAL_WINDOW_SIZE"] = window
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values={getattr(h2.settings.SettingCodes, k): v for k, v in {"ENABLE_PUSH": 0, **settings}.items()})
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.close()

    def flush(self):
        self.wire.send(self.h2.data_to_send())

    def open(self, path="/", *fields, method="GET", end=True, authority="a.test"):
        """Send a head; the stream's id."""
        sid = self.h2.get_next_available_stream_id()
        self.streams[sid] = Stream()
        self.h2.send_headers(sid, get(path, *fields, method=method, authority=authority), end_stream=end)
        self.flush()
        return sid

    def send(self, sid, data, end=True):
        """Body, at the pace the windows allow."""
        data = memoryview(data)
        while True:
            n = min(len(data), self.h2.local_flow_control_window(sid), self.h2.max_outbound_frame_size)
            if n == 0 and len(data):
                self.pump()
                continue
            self.h2.send_data(sid, bytes(data[:n]), end_stream=end and n == len(data))
            data = data[n:]
            self.flush()
            if not data:
                return

    def pump(self):
        """Read once; False at the end of the connection."""
        data = self.wire.sock.recv(1 << 20)
        if not data:
            self.closed = True
            return False
        for e in self.h2.receive_data(data):
            self.event(e)
        self.flush()
        return True

    def event(self, e):
        s = self.streams.get(getattr(e, "stream_id", None))
        if isinstance(e, h2.events.ConnectionTerminated):
            self.going.append((e.last_stream_id, CODES[e.error_code]))
        elif s is None:
            pass
        elif isinstance(e, h2.events.InformationalResponseReceived):
            s.interim.append((int(dict(e.headers)[":status"]), e.headers))
        elif isinstance(e, h2.events.ResponseReceived):
            s.status, s.headers = int(dict(e.headers)[":status"]), [h for h in e.headers if h[0] != ":status"]
        elif isinstance(e, h2.events.TrailersReceived):
            s.trailers = e.headers
        elif isinstance(e, h2.events.DataReceived):
            s.body += e.data
            if not self.hold and e.flow_controlled_length:
                self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
        elif isinstance(e, h2.events.StreamEnded):
            s.ended = True
        elif isinstance(e, h2.events.StreamReset):
            s.reset, s.ended = CODES[e.error_code], True

    def wait(self, *sids):
        """Until these streams have ended; the answer of the last."""
        while not all(self.streams[i].ended for i in sids):
            if not self.pump():
                raise EOFError(f"closed: {self.going}")
        return self.streams[sids[-1]].answer()

    def until(self, condition):
        while not condition():
            if not self.pump():
                raise EOFError(f"closed: {self.going}")

    def ask(self, path="/", *fields, method="GET", body=None, authority="a.test"):
        sid = self.open(path, *fields, method=method, end=body is None, authority=authority)
        if body is not None:
            self.send(sid, body)
        return self.wait(sid)

    def rest(self):
        """Until the gateway closes; the GOAWAYs there were."""
        try:
            while self.pump():
                pass
        except ConnectionResetError:
            pass
        return self.going


def frame(kind, flags=0, sid=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, sid) + payload


class Raw(Wire):
    """Frames by hand."""

    def __init__(self, gw, settings=(), start=True, sock=None, **kw):
        super().__init__(sock or Conn(gw.port, **kw).sock, kw.get("timeout", 15))
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.last_id = 0
        self.resets, self.goaway, self.heads, self.bodies, self.ended, self.frames = {}, None, {}, {}, set(), []
        if start:
            self.send(PREFACE, frame(SETTINGS, payload=b"".join(struct.pack(">HI", k, v) for k, v in settings)))

    def head(self, sid, fields, end=True, flags=0):
        self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0) | flags, sid, self.block(fields)))

    def block(self, fields):
        """Literals, exactly these bytes."""
        out = b""
        for name, value in fields:
            out += b"\0" + b"".join(self.text(x) for x in (name, value))
        return out

    @staticmethod
    def text(s):
        s = s if isinstance(s, bytes) else s.encode("latin-1")
        if len(s) < 127:
            return bytes([len(s)]) + s
        out, n = b"\x7f", len(s) - 127
        while n >= 128:
            out, n = out + bytes([n & 127 | 128]), n >> 7
        return out + bytes([n]) + s

    def data(self, sid, data=b"", end=True, flags=0):
        self.send(frame(DATA, (END_STREAM if end else 0) | flags, sid, data))

    def rst(self, sid, code=8):
        self.send(frame(RST_STREAM, 0, sid, struct.pack(">I", code)))

    def next(self):
        """Read one frame: (type, flags, stream, payload)."""
        head = self.exactly(9)
        n, (kind, flags, sid) = int.from_bytes(head[:3], "big"), struct.unpack(">BBI", head[3:])
        payload = self.exactly(n)
        self.frames.append((kind, flags, sid, payload))
        if kind == RST_STREAM:
            self.resets[sid] = CODES[int.from_bytes(payload, "big")]
        elif kind == GOAWAY:
            self.last_id, self.goaway = int.from_bytes(payload[:4], "big"), CODES[int.from_bytes(payload[4:8], "big")]
        elif kind == HEADERS:
            self.heads.setdefault(sid, []).append(self.decoder.decode(payload))
        elif kind == DATA:
            self.bodies[sid] = self.bodies.get(sid, b"") + payload
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.ended.add(sid)
        return kind, flags, sid, payload

    def readable(self):
        return bool(self.buffer) or bool(select.select([self.sock], [], [], 0)[0])

    def read(self, condition=lambda: False):
        """Read until condition() or the end; True when it came to be."""
        try:
            while not condition():
                self.next()
            return True
        except (EOFError, ConnectionError):
            return False

    def reset(self, sid):
        """The code the stream is (or the connection was) ended with, None when it is answered."""
        self.read(lambda: sid in self.resets or self.goaway or sid in self.ended)
        return None if sid in self.ended else self.resets.get(sid) or self.goaway

    def status(self, sid):
        self.read(lambda: sid in self.heads or sid in self.resets or self.goaway)
        return int(dict(self.heads[sid][0])[":status"]) if sid in self.heads else self.resets.get(sid) or self.goaway

    def ending(self):
        """Read to the end of the connection: why."""
        self.read()
        return self.goaway
