# SPDX-License-Identifier: Apache-2.0
"""A slow, strict reader of HTTP/1.1 messages: what a careful server and a careful client would take.

Requests are read as RFC 9112 spells them and no other way: CRLF only, one Host, one framing, no control bytes,
no extensions of chunks. Whatever a gateway sends upstream has to pass. It shares no code and no
shortcuts with the parser under test.
"""
import re

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21\x22\x24-\x7e]+) HTTP/1\.([01])")
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?|)[ \t]*")
HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?")


class Violation(Exception):
    """The bytes are not a message."""


class Message:
    """One message that was read; `raw` are its bytes, `fields` (lower-case name, value) in their order."""

    def __init__(self, start, fields):
        self.start = start
        self.fields = fields
        self.body = b""
        self.trailers = []
        self.raw = b""

    def all(self, name):
        return [value for n, value in self.fields if n == name]

    def get(self, name):
        values = self.all(name)
        return values[0] if values else None

    @property
    def method(self):
        return self.start.group(1)

    @property
    def target(self):
        return self.start.group(2)

    @property
    def status(self):
        return int(self.start.group(2))


def _fields(lines):
    fields = []
    for line in lines:
        m = FIELD.fullmatch(line)
        if not m:
            raise Violation(f"field line {line!r}")
        fields.append((m.group(1).lower(), m.group(2)))
    return fields


def _head(data, start_line):
    """The message whose head is at the start of data, and the length of the head; None when it is not complete."""
    end = data.find(b"\r\n\r\n")
    head = data if end < 0 else data[:end]
    # A CR or LF that is not part of a CRLF, even in a head that is still incomplete (its last byte may be half a CRLF).
    if re.search(rb"\r(?!\n)|(?<!\r)\n", head[:-1] if end < 0 and head.endswith(b"\r") else head):
        raise Violation(f"bare CR or LF in {head!r}")
    if b"\0" in head:
        raise Violation(f"NUL in {head!r}")
    if end < 0:
        return None
    lines = head.split(b"\r\n")
    start = start_line.fullmatch(lines[0])
    if not start:
        raise Violation(f"start line {lines[0]!r}")
    return Message(start, _fields(lines[1:])), end + 4


def _framing(message, version):
    """('none', 0), ('length', n) or ('chunked', 0)."""
    lengths, codings = message.all(b"content-length"), message.all(b"transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise Violation(f"framed twice: {lengths} {codings}")
    if codings:
        if codings[0].lower() != b"chunked" or version == b"0":
            raise Violation(f"transfer coding {codings[0]!r}")
        return "chunked", 0
    if lengths:
        if not re.fullmatch(rb"[0-9]{1,19}", lengths[0]):
            raise Violation(f"length {lengths[0]!r}")
        return "length", int(lengths[0])
    return "none", 0


def _chunks(data, at):
    """(payload, trailers, end) of a chunked body at data[at:], None when it is not complete."""
    payload = b""
    while True:
        end = data.find(b"\r\n", at)
        line = data[at:end] if end >= 0 else data[at:]
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}" if end >= 0 else rb"[0-9A-Fa-f]{0,16}\r?", line):
            raise Violation(f"chunk size {line[:80]!r}")
        if end < 0:
            return None
        size, at = int(line, 16), end + 2
        if size == 0:
            break
        if len(data) < at + size + 2:
            if not b"\r\n".startswith(data[at + size:]):
                raise Violation("chunk does not end in CRLF")
            return None
        if data[at + size:at + size + 2] != b"\r\n":
            raise Violation("chunk does not end in CRLF")
        payload += data[at:at + size]
        at += size + 2
    if data[at:at + 2] == b"\r\n":
        return payload, [], at + 2
    end = data.find(b"\r\n\r\n", at)
    if end < 0:
        return None
    return payload, _fields(data[at:end].split(b"\r\n")), end + 4


FORBIDDEN_TRAILERS = {b"content-length", b"transfer-encoding", b"host", b"authorization", b"cookie", b"connection"}


def _check_request(m):
    hosts = m.all(b"host")
    if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
        raise Violation(f"Host {hosts}")
    for name, _ in m.fields:
        if name.replace(b"_", b"-") != name and name.replace(b"_", b"-") in (b"content-length", b"transfer-encoding"):
            raise Violation(f"disguised field {name!r}")
    if b"h2c" in b",".join(m.all(b"upgrade")).lower() or m.all(b"http2-settings"):
        raise Violation("h2c upgrade passed on")
    if any(te.lower() != b"trailers" for te in m.all(b"te")):
        raise Violation("TE passed on")
    if m.all(b"keep-alive") or m.all(b"proxy-connection"):
        raise Violation("hop-by-hop field passed on")
    for trailer, _ in m.trailers:
        if trailer in FORBIDDEN_TRAILERS:
            raise Violation(f"trailer {trailer!r} passed on")


def read_request(data):
    """(message, bytes used) for a complete request, None for a part of one; Violation for what is none."""
    head = _head(data, REQUEST_LINE)
    if head is None:
        if data and not re.match(TOKEN, data):
            raise Violation(f"request line {data[:80]!r}")
        return None
    message, used = head
    framing, n = _framing(message, message.start.group(3))
    _check_request(message)
    if framing == "length":
        if len(data) < used + n:
            return None
        message.body, used = data[used:used + n], used + n
    elif framing == "chunked":
        body = _chunks(data, used)
        if body is None:
            return None
        message.body, message.trailers, used = body
        _check_request(message)
    message.raw = data[:used]
    return message, used


def read_response(data, method, at_end):
    """The same for a response to `method`; at_end: the connection is closed behind data."""
    head = _head(data, STATUS_LINE)
    if head is None:
        return None
    message, used = head
    framing, n = _framing(message, message.start.group(1))
    if message.status == 101 or method == b"CONNECT" and message.status // 100 == 2:
        used = len(data) if at_end else used
    elif method == b"HEAD" or message.status < 200 or message.status in (204, 304):
        pass
    elif framing == "length":
        if len(data) < used + n:
            return None
        message.body, used = data[used:used + n], used + n
    elif framing == "chunked":
        body = _chunks(data, used)
        if body is None:
            return None
        message.body, message.trailers, used = body
    elif not at_end:
        return None
    else:
        message.body, used = data[used:], len(data)
    message.raw = data[:used]
    return message, used
