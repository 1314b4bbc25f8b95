# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol on a listener: who the client is from then on, and what becomes of who does not speak it."""
import socket
import struct
import subprocess
import time

import pytest
import weirtest
from pki import Authority, Tls
from weirtest import Conn, Gateway, free_port, get, lower, proxy_all, wait_for

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v1(source="203.0.113.7", port=4711, to="198.51.100.1", to_port=443):
    return f"PROXY TCP{6 if ':' in source else 4} {source} {to} {port} {to_port}\r\n".encode()


def v2(source="203.0.113.7", port=4711, to="198.51.100.1", to_port=443, command=1, tlv=b""):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    body = socket.inet_pton(family, source) + socket.inet_pton(family, to) + struct.pack(">HH", port, to_port) + tlv
    return SIGNATURE + bytes([0x20 | command, 0x21 if ":" in source else 0x11]) + struct.pack(">H", len(body)) + body


VARS = "$remote_addr $remote_port $realip_remote_addr $proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port $server_port"


@pytest.fixture(scope="module")
def gateway():
    port = free_port()
    g = Gateway({"apisix": {"proxy_protocol": {"listen_http_port": port}, "trusted_addresses": ["127.0.0.0/8", "10.0.0.0/8"]},
                 "nginx_config": {"worker_processes": 1, "http": {"access_log_format": VARS, "real_ip_from": ["127.0.0.1", "10.0.0.0/8"], "client_header_timeout": "1s"}}})
    g.pp_port = port
    yield g
    g.close()


def saw(upstream, *names):
    h = lower(upstream.last.headers)
    return [h.get(n.lower()) for n in names]


# header, remote_addr, remote_port (None: the socket's), where the client wanted to go
NAMES = [
    (v1(), "203.0.113.7", 4711, "198.51.100.1 443"),
    (v1("2001:db8::7", 1, "::1", 80), "2001:db8::7", 1, "::1 80"),
    (v2(), "203.0.113.7", 4711, "198.51.100.1 443"),
    (v2("2001:db8::7", 1, "::1", 80), "2001:db8::7", 1, "::1 80"),
    (v2(tlv=b"\x04" + struct.pack(">H", 3000) + bytes(3000)), "203.0.113.7", 4711, "198.51.100.1 443"),
    (b"PROXY UNKNOWN\r\n", "127.0.0.1", None, None),
    (v2(command=0), "127.0.0.1", None, None),
    (SIGNATURE + b"\x20\0\0\0", "127.0.0.1", None, None),
]


@pytest.mark.parametrize("cut", [None, 1, 13])
@pytest.mark.parametrize("header, addr, port, destination", NAMES, ids=["v1", "v1-6", "v2", "v2-6", "v2-tlv", "unknown", "local", "local-empty"])
def test_the_client_is_the_one_named(gw, upstream, header, addr, port, destination, cut):
    """However the bytes arrive, and for each request of the connection: to the upstream, to plugins, in variables."""
    proxy_all(gw, upstream, plugins={"ip-restriction": {"whitelist": [addr]}, "response-rewrite": {"headers": {"set": {"X-Vars": VARS}}}})
    with Conn(gw.pp_port) as c:
        local = c.sock.getsockname()[1]
        data = header + get("/1")
        for i in range(0, len(data), cut or len(data)):
            c.send(data[i:i + (cut or len(data))])
        replies = [c.reply(), c.ask("/2")]
    assert saw(upstream, "X-Real-IP", "X-Forwarded-For") == [addr, addr]
    proxied = f"{addr} {port} {destination}" if destination else "   "
    for r in replies:
        assert (r.status, r.headers["x-vars"]) == (200, f"{addr} {port or local} 127.0.0.1 {proxied} {gw.pp_port}")


def test_the_log_has_the_client(gw, upstream):
    proxy_all(gw, upstream)
    with Conn(gw.pp_port) as c:
        c.send(v2(port=4712) + get("/"))
        assert c.reply().status == 200
    line = f"203.0.113.7 4712 127.0.0.1 203.0.113.7 4712 198.51.100.1 443 {gw.pp_port}"
    wait_for(lambda: line in gw.access_lines(), what="the line")


def test_other_ports_do_not_speak_it(gw, upstream):
    proxy_all(gw, upstream)
    with Conn(gw.port) as c:
        c.send(v1() + get("/"))
        assert c.reply().status == 400
    assert not upstream.seen


@pytest.mark.parametrize("data", [get("/"), b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n" + get("/"), b"PROXY TCP4 1.2.3.4\r\n\r\n", SIGNATURE + b"\x31\x11\0\0" + get("/"),
                                  v2()[:20], v1()[:-1], b"\0", SIGNATURE + b"\x21\x11\xff\xff", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00"],
                         ids=["http", "port", "short", "version", "cut-v2", "cut-v1", "nul", "length", "tls"])
def test_who_does_not_speak_it_is_cut_off(gw, upstream, data):
    """Without an answer, and with a line in the log."""
    proxy_all(gw, upstream)
    with Conn(gw.pp_port) as c:
        c.send(data)
        try:
            c.shutdown()
        except OSError:
            pass  # the gateway was quicker
        assert c.ended()
    assert not upstream.seen
    wait_for(lambda: "no PROXY header from 127.0.0.1" in gw.log_text(), what="a line in the log")


def test_the_header_must_be_there_in_time(gw):
    """Nothing, a part of it, or one byte from time to time."""
    for data in (b"", v1()[:20], v2()[:17]):
        with Conn(gw.pp_port) as c:
            c.send(data)
            assert c.ended()
    with Conn(gw.pp_port) as c:
        c.sock.settimeout(0.1)
        for i in range(len(v1())):
            try:
                c.send(v1()[i:i + 1])
                if c.sock.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("a header may take as long as it likes")


def test_a_balancer_that_only_looks_leaves_no_line(gw):
    before = gw.log_text().count("no PROXY header")
    for _ in range(3):
        with Conn(gw.pp_port) as c:
            c.shutdown()
            assert c.ended()
    assert gw.log_text().count("no PROXY header") == before


def test_connections_are_counted_for_the_client(weir, upstream):
    """Five of one address may be open; the balancer may have any number."""
    port = free_port()
    gw = weir({"apisix": {"proxy_protocol": {"listen_http_port": port}}, "weir": {"max_connections_per_source": 5}})
    proxy_all(gw, upstream)
    open_ones = []

    def opened(source):
        c = Conn(port)
        open_ones.append(c)
        c.send(v2(source))
        return c

    try:
        for i in range(1, 9):
            assert opened(f"192.0.2.{i}").ask("/").status == 200
        for _ in range(4):
            assert opened("192.0.2.1").ask("/").status == 200
        assert opened("192.0.2.1").ended()
        open_ones.pop(0).close()
        wait_for(lambda: gw.connections() == 11, what="room for one more")
        assert opened("192.0.2.1").ask("/").status == 200
    finally:
        for c in open_ones:
            c.close()


def test_a_connection_waits_without_a_request(gw, upstream):
    """Between the header and the first request there may be a while, and then many requests."""
    proxy_all(gw, upstream)
    with Conn(gw.pp_port) as c:
        c.send(v1())
        wait_for(lambda: gw.connections("waiting") >= 1, what="a waiting connection")
        for i in range(5):
            assert c.ask(f"/{i}").status == 200
        c.send(get("/a"), get("/b"))
        assert [c.reply().status, c.reply().status] == [200, 200]


CLIENT_FIELDS = ["X-Forwarded-For: 1.1.1.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: x.test:444", "X-Forwarded-Port: 444", "Forwarded: for=1.1.1.1",
                 "X-Real-IP: 2.2.2.2"]
FORWARDED = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded", "X-Real-IP")


@pytest.mark.parametrize("source, fields, wanted", [
    # a stranger behind a trusted balancer is a stranger: what the balancer passes on is the client's word
    ("203.0.113.7", CLIENT_FIELDS, ["203.0.113.7", "http", "a.test", "{port}", None, "203.0.113.7"]),
    ("203.0.113.7", [], ["203.0.113.7", "http", "a.test", "{port}", None, "203.0.113.7"]),
    # a trusted proxy behind a balancer is trusted
    ("10.1.1.1", CLIENT_FIELDS, ["1.1.1.1, 2.2.2.2", "https", "x.test:444", "444", "for=1.1.1.1", "2.2.2.2"]),
    ("10.1.1.1", [], ["10.1.1.1", "http", "a.test", "{port}", None, "10.1.1.1"]),
    ("203.0.113.7", ["Connection: X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port, X-Real-IP, X-Forwarded-For, close"],
     ["203.0.113.7", "http", "a.test", "{port}", None, "203.0.113.7"]),
])
def test_whose_word_counts(gw, upstream, source, fields, wanted):
    proxy_all(gw, upstream)
    with Conn(gw.pp_port) as c:
        c.send(v1(source) + get("/", *fields))
        assert c.reply().status == 200
    assert saw(upstream, *FORWARDED) == [w and w.format(port=gw.pp_port) for w in wanted]


def test_real_ip_header_proxy_protocol_is_no_field(weir, upstream):
    """nginx's word for it: the address of the PROXY header, and never a field of that name."""
    port = free_port()
    gw = weir({"apisix": {"proxy_protocol": {"listen_http_port": port}}, "nginx_config": {"http": {"real_ip_header": "proxy_protocol", "real_ip_from": ["0.0.0.0/0"]}}})
    proxy_all(gw, upstream)
    fields = ["proxy_protocol: 9.9.9.9", "Proxy-Protocol: 9.9.9.9", "X-Real-IP: 9.9.9.9"]
    with Conn(port) as c:
        c.send(v2() + get("/", *fields))
        assert c.reply().status == 200
    assert saw(upstream, "X-Real-IP") == ["203.0.113.7"]
    with Conn(gw.port) as c:
        assert c.ask("/", *fields).status == 200
    assert saw(upstream, "X-Real-IP") == ["127.0.0.1"]


def test_limits_count_the_client(gw, upstream):
    proxy_all(gw, upstream, plugins={"limit-count": {"count": 1, "time_window": 60, "key": "remote_addr", "rejected_code": 429}})
    for source, status in (("192.0.2.1", 200), ("192.0.2.1", 429), ("192.0.2.2", 200)):
        with Conn(gw.pp_port) as c:
            c.send(v2(source) + get("/"))
            assert c.reply().status == status


def test_with_tls_the_header_comes_first(weir, upstream, tmp_path):
    port = free_port()
    gw = weir({"apisix": {"proxy_protocol": {"listen_https_port": port}}})
    ca = Authority(tmp_path)
    gw.put("/ssls/1", ca.issue("a.test").ssl("a.test"))
    proxy_all(gw, upstream)
    for header, addr in ((v1(), "203.0.113.7"), (v2(), "203.0.113.7"), (v2(command=0), "127.0.0.1")):
        sock = socket.create_connection(("127.0.0.1", port), 10 * weirtest.SLOW)
        sock.sendall(header)
        with Tls.context(ca).wrap_socket(sock, server_hostname="a.test") as c:
            c.sendall(get("/", "Connection: close"))
            assert c.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert saw(upstream, "X-Real-IP", "X-Forwarded-Proto", "X-Forwarded-Port") == [addr, "https", str(port)]
    for data in (b"", v1() + get("/")):  # TLS without a header, a header without TLS
        with pytest.raises((OSError, AssertionError)), Conn(port) as c:
            c.send(data)
            with Tls.context().wrap_socket(c.sock, server_hostname="a.test"):
                pytest.fail("the handshake went through")


@pytest.mark.parametrize("args", [["--http1.1", "http"], ["--http2-prior-knowledge", "http"], ["--http1.1", "https"], ["--http2", "https"]])
def test_a_real_sender(weir, upstream, tmp_path, args):
    """curl names itself."""
    ports = free_port(), free_port()
    gw = weir({"apisix": {"proxy_protocol": {"listen_http_port": ports[0], "listen_https_port": ports[1]}}})
    gw.put("/ssls/1", Authority(tmp_path).issue("a.test").ssl("a.test"))
    proxy_all(gw, upstream)
    port = ports[args[1] == "https"]
    out = subprocess.run(["curl", "-sk", "--max-time", "20", "--haproxy-protocol", args[0], "-w", " %{http_version} %{http_code}",
                          "--connect-to", f"a.test:{port}:127.0.0.1:{port}", f"{args[1]}://a.test:{port}/"], capture_output=True, text=True).stdout
    assert out == f"hello from upstream {'2' if 'http2' in args[0] else '1.1'} 200" and saw(upstream, "X-Real-IP") == ["127.0.0.1"]


def test_reload_opens_and_closes_the_port(weir, upstream):
    port, other = free_port(), free_port()
    gw = weir({"apisix": {"proxy_protocol": {"listen_http_port": port}}})
    proxy_all(gw, upstream)
    gw.reload({"apisix": {"proxy_protocol": {"listen_http_port": other}}})
    wait_for(lambda: not weirtest.accepts(port), what="the old port closes")
    with Conn(other) as c:
        c.send(v2() + get("/"))
        assert c.reply().status == 200
    # a port that changes what it speaks
    gw.reload({"apisix": {"node_listen": [other], "proxy_protocol": {"listen_http_port": gw.port}}})
    with Conn(other) as c:
        assert c.ask("/").status == 200
    with Conn(gw.port) as c:
        c.send(v1() + get("/"))
        assert c.reply().status == 200
    assert saw(upstream, "X-Real-IP") == ["203.0.113.7"]
