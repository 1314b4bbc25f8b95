# SPDX-License-Identifier: Apache-2.0
"""TLS towards clients: which certificate for which name, client certificates, sessions, replacement under load, and handshakes that go wrong."""
import concurrent.futures
import http.server
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

import pytest

from pki import Authority, Tls, openssl
from weirtest import SLOW, free_port, payload, request, wait_for

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def certs(ca):
    """A certificate for each name, made once."""
    made = {}

    def get(*names, key="ec"):
        if (names, key) not in made:
            made[names, key] = ca.issue(*names, key=key)
        return made[names, key]
    return get


@pytest.fixture
def tls(gw, upstream, certs):
    """The gateway with a route to everything and a certificate for a.test."""
    gw.put("/ssls/a", certs("a.test").ssl("a.test"))
    gw.put("/routes/1", {"uri": "/*", "upstream": upstream.nodes()})
    return gw


def refused(port, name, **kw):
    """Why the handshake (or the first read after it, as TLS 1.3 has it) fails."""
    with pytest.raises((ssl.SSLError, ConnectionError)) as e:
        with Tls(port, name, **kw) as c:
            c.ask("/")
            pytest.fail("the handshake went through")
    return str(e.value)


# ---- requests ----

@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_requests_on_one_connection(tls, upstream, ca, version):
    with Tls(tls.tls_port, "a.test", ca=ca, version=version) as c:
        for i in range(20):
            r = c.ask(f"/{i}", host="a.test")
            assert (r.status, r.body) == (200, b"hello from upstream")
        assert c.socket.version() == {TLS12: "TLSv1.2", TLS13: "TLSv1.3"}[version]
    got = dict(upstream.last.headers)
    assert got["X-Forwarded-Proto"] == "https" and got["X-Forwarded-Port"] == str(tls.tls_port)


def test_large_bodies_both_ways(tls, upstream):
    body = payload(3 << 20)
    upstream.answer = lambda s: (200, [], s.body)
    with Tls(tls.tls_port, "a.test") as c:
        assert c.ask("/up", method="POST", body=body).body == body
        chunks = (body[i:i + 70001] for i in range(0, len(body), 70001))
        c.http.request("POST", "/up", chunks, {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        assert c.http.getresponse().read() == body


def test_pipelined_requests_in_one_record(tls):
    """The second waits decrypted, not in the socket."""
    with Tls(tls.tls_port, "a.test") as c:
        c.socket.sendall(b"POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
                         b"GET /b HTTP/1.1\r\nHost: a.test\r\n\r\nGET /c HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        got = b""
        while chunk := c.socket.recv(65536):
            got += chunk
    assert got.count(b"HTTP/1.1 200") == 3 and got.count(b"hello from upstream") == 3


def test_curl_and_openssl_agree(tls, ca):
    r = subprocess.run(["curl", "-sS", "--cacert", ca.cert_path, "--resolve", f"a.test:{tls.tls_port}:127.0.0.1", "-w", "%{http_code} %{ssl_verify_result}",
                        f"https://a.test:{tls.tls_port}/"], capture_output=True, text=True, timeout=20)
    assert r.stdout == "hello from upstream200 0", r.stderr
    r = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{tls.tls_port}", "-servername", "a.test", "-CAfile", ca.cert_path, "-verify_return_error"],
                       input="GET / HTTP/1.0\r\nHost: a.test\r\n\r\n", capture_output=True, text=True, timeout=20)
    assert "Verify return code: 0 (ok)" in r.stdout


def test_variables(tls, upstream, certs, client_ca):
    names = ["scheme", "https", "ssl_protocol", "ssl_cipher", "ssl_curve", "ssl_server_name", "ssl_session_reused", "ssl_alpn_protocol", "ssl_nonsense",
             *("ssl_client_" + n for n in ("verify", "s_dn", "i_dn", "serial", "fingerprint", "v_remain", "escaped_cert"))]
    tls.put("/routes/1", {"uri": "/*", "upstream": upstream.nodes(), "plugins": {
        "proxy-rewrite": {"headers": {"set": {"X-" + n.replace("_", "-"): "[$" + n + "]" for n in names}}}}})
    tls.put("/ssls/m", certs("m.test").ssl("m.test", **mtls(client_ca)))

    def said():
        return {k.lower()[2:].replace("-", "_"): v[1:-1] for k, v in upstream.last.headers if k.lower()[2:].replace("-", "_") in names}

    joe = client_ca.issue("joe")
    with Tls(tls.tls_port, "m.test", version=TLS13, cert=joe, alpn=["http/1.1"]) as c:
        c.ask("/", host="m.test")
    got, about = said(), openssl("x509", "-in", joe.cert_path, "-noout", "-serial", "-fingerprint", "-sha1")
    assert urllib.parse.unquote(got.pop("ssl_client_escaped_cert")) == joe.pem
    assert got.pop("ssl_client_v_remain") in ("2", "3")
    assert got.pop("ssl_cipher").startswith("TLS_AES_")
    assert got == {"scheme": "https", "https": "on", "ssl_protocol": "TLSv1.3", "ssl_curve": "x25519", "ssl_server_name": "m.test",
                   "ssl_session_reused": ".", "ssl_alpn_protocol": "http/1.1", "ssl_nonsense": "", "ssl_client_verify": "SUCCESS",
                   "ssl_client_s_dn": "CN=joe", "ssl_client_i_dn": "CN=client ca",
                   "ssl_client_serial": re.search("serial=(.*)", about).group(1),
                   "ssl_client_fingerprint": re.search("Fingerprint=(.*)", about).group(1).replace(":", "").lower()}
    with Tls(tls.tls_port, "a.test", cert=joe) as c:
        c.ask("/", host="a.test")
    assert (said()["ssl_client_verify"], said()["ssl_client_s_dn"]) == ("NONE", "")
    tls.get("/")
    assert {k: v for k, v in said().items() if v} == {"scheme": "http"}


def test_half_a_request_line_is_answered_in_time_and_a_body_may_trickle(weir, certs, upstream):
    g = weir({"nginx_config": {"http": {"client_header_timeout": "500ms"}}})
    g.put("/ssls/a", certs("a.test").ssl("a.test"))
    g.put("/routes/1", {"uri": "/*", "upstream": upstream.nodes()})
    with Tls(g.tls_port, "a.test") as c:
        c.socket.sendall(b"GET / HT")
        assert b"408" in c.socket.recv(4096)


# ---- which certificate ----

NAMES = {"exact": ["a.test"], "one": ["*.test"], "sub": ["*.b.test"], "deep": ["x.b.test"], "all": ["*"], "upper": ["UP.Case.TEST"], "many": ["m1.test", "m2.test"]}


@pytest.mark.parametrize("objects,name,served", [
    (["exact", "one"], "a.test", "exact"),
    (["exact", "one"], "A.TEST", "exact"),
    (["exact", "one"], "a.test.", "exact"),
    (["exact", "one"], "c.test", "one"),
    (["exact", "one"], "c.d.test", None),
    (["exact", "one", "all"], "c.d.test", "all"),
    (["one", "sub", "deep"], "x.b.test", "deep"),
    (["one", "sub", "deep"], "y.b.test", "sub"),
    (["one", "sub"], "b.test", "one"),
    (["all", "exact"], "a.test", "exact"),
    (["upper"], "up.case.test", "upper"),
    (["many"], "m2.test", "many"),
    (["exact"], "other.test", None),
    (["exact"], None, None),
    (["all"], None, None),
])
def test_names(gw, ca, certs, objects, name, served):
    for o in objects:
        gw.put("/ssls/" + o, certs(o).ssl(*NAMES[o]))
    if served is None:
        assert "internal error" in refused(gw.tls_port, name)
    else:
        with Tls(gw.tls_port, name, ca=ca) as c:
            assert c.peer == certs(served).der


def test_fallback_sni(weir, certs):
    g = weir({"apisix": {"ssl": {"fallback_sni": "a.test"}}})
    g.put("/ssls/a", certs("a.test").ssl("a.test"))
    with Tls(g.tls_port) as c:
        assert c.peer == certs("a.test").der
    assert "internal error" in refused(g.tls_port, "b.test")


def test_status_type_and_delete(gw, certs):
    gw.put("/ssls/a", certs("a.test").ssl("a.test", status=0))
    refused(gw.tls_port, "a.test")
    gw.put("/ssls/a", certs("a.test").ssl("a.test", status=1))
    Tls(gw.tls_port, "a.test").close()
    gw.put("/ssls/a", certs("a.test").ssl("a.test", type="client"))
    refused(gw.tls_port, "a.test")
    gw.put("/ssls/a", certs("a.test").ssl("a.test"))
    Tls(gw.tls_port, "a.test").close()
    gw.delete("/ssls/a")
    refused(gw.tls_port, "a.test")


def test_the_object_made_first_wins(gw, certs):
    gw.put("/ssls/z", certs("first").ssl("a.test"))
    gw.put("/ssls/a", certs("second").ssl("a.test"))
    with Tls(gw.tls_port, "a.test") as c:
        assert c.peer == certs("first").der
    gw.delete("/ssls/z")
    with Tls(gw.tls_port, "a.test") as c:
        assert c.peer == certs("second").der


def test_rsa_and_ecdsa_by_what_the_client_takes(gw, certs):
    ec, rsa = certs("a.test"), certs("a.test", key="rsa")
    gw.put("/ssls/a", rsa.ssl("a.test", certs=[ec.pem], keys=[ec.key_pem]))
    for ciphers, cert in (("ECDHE-RSA-AES128-GCM-SHA256", rsa), ("ECDHE-ECDSA-AES128-GCM-SHA256", ec)):
        with Tls(gw.tls_port, "a.test", version=TLS12, ciphers=ciphers) as c:
            assert c.peer == cert.der
    for sigalgs, kind in (("rsa_pss_rsae_sha256", "RSA"), ("ecdsa_secp256r1_sha256", "ECDSA")):
        r = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{gw.tls_port}", "-servername", "a.test", "-tls1_3", "-sigalgs", sigalgs],
                           input="", capture_output=True, text=True, timeout=20)
        assert re.search(r"Peer signature type: (RSA-PSS|ECDSA)", r.stdout).group(1).startswith(kind)


def test_a_chain_is_sent_whole(gw, tmp_path, ca):
    middle = Authority(tmp_path / "middle", "middle", issuer=ca)
    leaf = middle.issue("chain.test")
    leaf.pem += middle.pem
    gw.put("/ssls/a", leaf.ssl("chain.test"))
    with Tls(gw.tls_port, "chain.test", ca=ca) as c:
        assert c.peer == ssl.PEM_cert_to_DER_cert(leaf.pem[:leaf.pem.index("END") + 21])


@pytest.mark.parametrize("given,version,ok", [
    (["TLSv1.2"], TLS12, True), (["TLSv1.2"], TLS13, False), (["TLSv1.3"], TLS13, True), (["TLSv1.3"], TLS12, False),
    (["TLSv1.1"], ssl.TLSVersion.TLSv1_1, False), (None, ssl.TLSVersion.TLSv1_1, False),
])
def test_protocols_of_an_object_narrow_the_listeners(gw, certs, given, version, ok):
    gw.put("/ssls/a", certs("a.test").ssl("a.test", **({"ssl_protocols": given} if given else {})))
    if ok:
        Tls(gw.tls_port, "a.test", version=version).close()
    else:
        assert "protocol version" in refused(gw.tls_port, "a.test", version=version)


def test_old_protocols_and_ciphers_as_configured(weir, certs):
    g = weir({"apisix": {"ssl": {"ssl_protocols": "TLSv1.1 TLSv1.2", "ssl_ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES256-SHA"}}})
    g.put("/ssls/a", certs("a.test").ssl("a.test"))
    with Tls(g.tls_port, "a.test", version=ssl.TLSVersion.TLSv1_1) as c:
        assert c.socket.version() == "TLSv1.1"
    with Tls(g.tls_port, "a.test") as c:
        assert (c.socket.version(), c.socket.cipher()[0]) == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")
    assert "protocol version" in refused(g.tls_port, "a.test", version=TLS13)


def test_alpn(gw, certs):
    gw.put("/ssls/a", certs("a.test").ssl("a.test"))
    for offered, agreed in ((["http/1.1"], "http/1.1"), (["x", "http/1.1"], "http/1.1"), (["http/1.1", "h2"], "h2"), (None, None)):
        with Tls(gw.tls_port, "a.test", alpn=offered) as c:
            assert c.socket.selected_alpn_protocol() == agreed
    assert "no application protocol" in refused(gw.tls_port, "a.test", alpn=["smtp"])


# ---- client certificates ----

@pytest.fixture(scope="module")
def client_ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("client"), "client ca")


def mtls(ca, **more):
    return {"client": {"ca": ca.pem, **more}}


@pytest.mark.parametrize("version,says", [(TLS13, "certificate required|unknown ca"), (TLS12, "handshake failure|unknown ca|reset")])
def test_a_client_certificate_is_required_in_the_handshake(tls, certs, client_ca, ca, version, says):
    tls.put("/ssls/m", certs("m.test").ssl("m.test", **mtls(client_ca)))
    with Tls(tls.tls_port, "m.test", cert=client_ca.issue("joe"), version=version) as c:
        assert c.ask("/", host="m.test").status == 200
    assert re.search(says, refused(tls.tls_port, "m.test", version=version).lower().replace("_", " "))
    assert re.search(says, refused(tls.tls_port, "m.test", cert=ca.issue("mallory"), version=version).lower().replace("_", " "))


def test_depth_of_the_clients_chain(tls, certs, client_ca, tmp_path):
    one = Authority(tmp_path / "1", "one", issuer=client_ca)
    two = Authority(tmp_path / "2", "two", issuer=one)
    leaf = two.issue("joe")
    with open(leaf.path, "w") as f:
        f.write(leaf.pem + two.pem + one.pem + leaf.key_pem)
    for depth, ok in ((1, False), (2, True)):
        tls.put("/ssls/m", certs("m.test").ssl("m.test", **mtls(client_ca, depth=depth)))
        if ok:
            with Tls(tls.tls_port, "m.test", cert=leaf) as c:
                assert c.ask("/", host="m.test").status == 200
        else:
            refused(tls.tls_port, "m.test", cert=leaf)


def test_paths_that_need_no_client_certificate(tls, certs, client_ca, ca):
    tls.allowed.append("client certificate")
    tls.put("/ssls/m", certs("m.test").ssl("m.test", **mtls(client_ca, skip_mtls_uri_regex=["^/open", "/free$"])))
    for cert, closed in ((None, 400), (ca.issue("mallory"), 400), (client_ca.issue("joe"), 200)):
        for path, status in (("/open/x", 200), ("/a/free", 200), ("/closed", closed), ("/x/open", closed), ("/closed/../open", 200), ("/open/../closed", closed)):
            with Tls(tls.tls_port, "m.test", cert=cert) as c:
                assert (path, c.ask(path, host="m.test").status) == (path, status)


def test_host_and_sni(tls, certs, client_ca):
    """Host without client authentication is served under any name; with it only under its own."""
    tls.allowed.append("client certificate")
    joe = client_ca.issue("joe")
    tls.put("/ssls/m", certs("m.test").ssl("m.test", **mtls(client_ca)))
    tls.put("/ssls/n", certs("n.test").ssl("n.test", **mtls(client_ca)))
    for sni, host, status in (("a.test", "a.test", 200), ("a.test", "other.test", 200), ("a.test", "m.test", 400), ("m.test", "a.test", 200),
                              ("m.test", "m.test", 200), ("m.test", "M.test:443", 200), ("m.test", "n.test", 400), ("m.test", "unknown.test", 200)):
        with Tls(tls.tls_port, sni, cert=joe) as c:
            assert (sni, host, c.ask("/", host=host).status) == (sni, host, status)


def test_a_demand_for_certificates_reaches_connections_that_are_open(tls, certs, client_ca):
    tls.allowed.append("client certificate")
    with Tls(tls.tls_port, "a.test", cert=client_ca.issue("joe")) as c:
        assert c.ask("/", host="a.test").status == 200
        tls.put("/ssls/a", certs("a.test").ssl("a.test", **mtls(client_ca)))
        r = c.ask("/", host="a.test")
        assert (r.status, r.getheader("Connection")) == (400, "close")


# ---- sessions ----

def resumes(port, name, times, context, version):
    """How many of that many further connections resume the session of a first one."""
    with Tls(port, name, context=context) as c:
        c.ask("/")
        session = c.socket.session
    n = 0
    for _ in range(times):
        with Tls(port, name, context=context, session=session) as c:
            c.ask("/")
            n += c.socket.session_reused
            session = c.socket.session
    return n


@pytest.mark.parametrize("tickets", [True, False])
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_sessions_are_resumed_on_whatever_core(weir, certs, tickets, version, upstream):
    g = weir({"apisix": {"ssl": {"ssl_session_tickets": tickets}}, "nginx_config": {"worker_processes": 4}})
    g.put("/ssls/a", certs("a.test").ssl("a.test"))
    g.put("/routes/1", {"uri": "/*", "upstream": upstream.nodes()})
    context = Tls.context(version=version)
    assert resumes(g.tls_port, "a.test", 16, context, version) == 16
    g.reload({"nginx_config": {"http": {"keepalive_timeout": "61s"}}})
    if tickets:
        assert resumes(g.tls_port, "a.test", 4, context, version) == 4


@pytest.mark.parametrize("tickets", [True, False])
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_resumed_session_remembers_the_clients_certificate(weir, certs, client_ca, upstream, tickets, version):
    g = weir({"apisix": {"ssl": {"ssl_session_tickets": tickets}}})
    g.put("/ssls/m", certs("m.test").ssl("m.test", **mtls(client_ca, skip_mtls_uri_regex=["^/open"])))
    g.put("/routes/1", {"uri": "/*", "upstream": upstream.nodes()})
    context, session = Tls.context(cert=client_ca.issue("joe"), version=version), None
    for resumed in (False, True):
        with Tls(g.tls_port, "m.test", context=context, session=session) as c:
            assert c.ask("/closed", host="m.test").status == 200
            assert c.socket.session_reused == resumed
            session = c.socket.session


@pytest.mark.parametrize("host,cert,status", [("a.test", False, "200"), ("m.test", False, "400"), ("m.test", True, "200")])
def test_hosts_are_checked_on_http2_too(tls, certs, client_ca, host, cert, status):
    tls.allowed.append("client certificate")
    tls.put("/ssls/m", certs("m.test").ssl("m.test", **mtls(client_ca)))
    joe, sni = client_ca.issue("joe"), "m.test" if cert else "a.test"
    r = subprocess.run(["curl", "-ksS", "--http2", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", "--resolve", f"{sni}:{tls.tls_port}:127.0.0.1",
                        "-H", f"Host: {host}", *(["--cert", joe.cert_path, "--key", joe.key_path] if cert else []), f"https://{sni}:{tls.tls_port}/"],
                       capture_output=True, text=True, timeout=20)
    assert r.stdout == f"{status} 2", r.stderr


def test_a_session_opens_no_other_door(tls, certs, client_ca):
    tls.put("/ssls/m", certs("m.test").ssl("m.test", **mtls(client_ca)))
    context = Tls.context(version=TLS12)
    with Tls(tls.tls_port, "a.test", context=context) as c:
        c.ask("/")
        session = c.socket.session
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Tls(tls.tls_port, "m.test", context=context, session=session)


# ---- change under load ----

def test_certificates_change_without_a_failed_request(tls, certs):
    """Old connections go on, new ones get the new certificate at once."""
    stop, failed, served = threading.Event(), [], [0]

    def client(keep):
        while not stop.is_set():
            try:
                with Tls(tls.tls_port, "a.test") as c:
                    for _ in range(20 if keep else 1):
                        served[0] += 1
                        if c.ask("/", host="a.test").status != 200:
                            failed.append("status")
            except Exception as e:  # noqa: BLE001
                failed.append(repr(e))

    with Tls(tls.tls_port, "a.test") as old, concurrent.futures.ThreadPoolExecutor(6) as pool:
        running = [pool.submit(client, i % 2) for i in range(6)]
        try:
            for i in range(30):
                cert = certs("a.test", key=("ec", "rsa")[i % 2])
                tls.put("/ssls/a", cert.ssl("a.test"))
                with Tls(tls.tls_port, "a.test") as c:
                    assert c.peer == cert.der
                assert old.ask("/", host="a.test").status == 200
        finally:
            stop.set()
        for f in running:
            f.result()
    assert not failed and served[0] > 50


# ---- handshakes that go wrong ----

@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\0" * 100, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03" + b"\xff" * 50,
                                  b"\x16\x03\x01\xff\xff" + b"a" * 70000, b"\x15\x03\x01\x00\x02\x01\x00"])
def test_what_is_no_handshake_is_closed(tls, said):
    with socket.create_connection(("127.0.0.1", tls.tls_port), 10 * SLOW) as s:
        s.settimeout(15 * SLOW)
        try:
            s.sendall(said)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        except OSError as e:
            assert not isinstance(e, socket.timeout)
    with Tls(tls.tls_port, "a.test") as c:
        assert c.ask("/").status == 200


def test_a_slow_handshake_is_cut(weir, certs):
    g = weir({"nginx_config": {"http": {"client_header_timeout": "300ms"}}})
    g.put("/ssls/a", certs("a.test").ssl("a.test"))
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    with socket.create_connection(("127.0.0.1", g.tls_port), 10) as s:
        began = time.monotonic()
        s.settimeout(0.05)
        while time.monotonic() < began + 5 * SLOW:
            try:
                s.sendall(hello[:1])
                hello = hello[1:] + b"\0"
                if s.recv(100) == b"":
                    break
            except socket.timeout:
                pass
            except ConnectionError:
                break
        assert 0.25 < time.monotonic() - began < 4 * SLOW


def test_renegotiation_is_refused(tls):
    p = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{tls.tls_port}", "-servername", "a.test", "-tls1_2"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = p.communicate(b"R\n", timeout=20)
    assert b"no renegotiation" in out.lower() or b"SSL routines" in out, out[-2000:]


def test_plain_requests_of_tls_clients_get_no_answer_on_the_plain_port(tls):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Tls(tls.port, "a.test")


@pytest.mark.skipif(SLOW > 1, reason="a sanitizer takes memory of its own")
def test_idle_connections_hold_little(tls):
    """RELIABILITY: at most 16 KB each; and no fiber, so they are counted as waiting."""
    def idle():
        c = Tls(tls.tls_port, "a.test")
        c.ask("/")
        return c
    warm = [idle() for _ in range(20)]
    before, n = tls.rss(), 300
    held = [idle() for _ in range(n)]
    wait_for(lambda: tls.connections("waiting") >= n + 20, what="connections are idle")
    each = (tls.rss() - before) / n
    for c in warm + held:
        c.close()
    assert each < 16 * 1024, each


# ---- keys ----

def test_keys_are_never_shown_and_encrypted_at_rest(gw, certs):
    cert = certs("a.test")
    gw.put("/ssls/a", cert.ssl("a.test", certs=[cert.pem], keys=[cert.key_pem]))
    secret = cert.key_pem.split("\n")[1]
    for path in ("/ssls/a", "/ssls", "/ssls/", "/ssls?page=1&page_size=10"):
        shown = gw.admin("GET", path).body.decode()
        assert secret not in shown and '"key":"' + "-----" not in shown and '"keys"' not in shown
    missing = json.loads(gw.admin("GET", "/ssls/").body)
    assert "PRIVATE" not in json.dumps(missing)
    listed = subprocess.run(["sh", "-c", f"cat {gw.data}/*"], capture_output=True).stdout
    assert secret.encode() not in listed
    assert request(gw.admin_port, "/apisix/admin/ssls/a").status == 401


def test_many_certificates_start_in_time(weir, certs):
    """Loaded from the store; bench/ has the figures for ten thousand."""
    cert = certs("a.test", key="rsa")
    g = weir()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for r in pool.map(lambda i: g.admin("PUT", f"/ssls/{i}", cert.ssl(f"n{i}.test")).status, range(200)):
            assert r == 201
    g.stop()
    g.start()
    with Tls(g.tls_port, "n199.test") as c:
        assert c.peer == cert.der


# ---- OCSP ----

class Responder:
    """An OCSP responder for one CA, its answers made by openssl. Certificates it knows are good unless revoked."""

    def __init__(self, ca):
        self.ca, self.port, self.lines, self.signer, self.server = ca, free_port(), [], ca, None

    def know(self, cert, revoked=False):
        serial = openssl("x509", "-in", cert.cert_path, "-noout", "-serial").strip().split("=")[1]
        self.lines.append(f"{'R' if revoked else 'V'}\t491231235959Z\t{'260101000000Z' if revoked else ''}\t{serial}\tunknown\t/CN=x\n")

    def answer(self, question):
        index, asked, said = (os.path.join(self.ca.folder, n) for n in ("index.txt", "question", "answer"))
        with open(index, "w") as f:
            f.writelines(self.lines)
        with open(asked, "wb") as f:
            f.write(question)
        openssl("ocsp", "-index", index, "-rsigner", self.signer.cert_path, "-rkey", self.signer.key_path, "-CA", self.ca.cert_path, "-ndays", "1",
                "-reqin", asked, "-respout", said)
        with open(said, "rb") as f:
            return f.read()

    def start(self):
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                said = owner.answer(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Type", "application/ocsp-response")
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()


@pytest.fixture
def responder(tmp_path):
    r = Responder(Authority(tmp_path / "ocsp"))
    yield r
    r.close()


def stapled(port, name, *more):
    r = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name, "-status", *more],
                       input="", capture_output=True, text=True, timeout=20)
    m = re.search(r"OCSP Response Status: (\w+)[\s\S]*?Cert Status: (\w+)", r.stdout)
    assert m or "OCSP response: no response sent" in r.stdout, r.stdout
    return m and m.groups()


def with_stapling(weir):
    return weir({"plugins": ["ocsp-stapling", "prometheus"]})


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_what_the_issuer_says_is_shown(weir, responder, version):
    g = with_stapling(weir)
    cert = responder.ca.issue("s.test", ocsp=f"http://127.0.0.1:{responder.port}")
    cert.pem += responder.ca.pem
    responder.know(cert)
    responder.start()
    g.put("/ssls/1", cert.ssl("s.test", ocsp_stapling={"enabled": True}))
    wait_for(lambda: stapled(g.tls_port, "s.test", version) == ("successful", "good"), what="an answer is stapled")
    Tls(g.tls_port, "s.test").close()  # who does not ask, gets none
    g.put("/ssls/1", cert.ssl("s.test", ocsp_stapling={"enabled": False}))
    assert stapled(g.tls_port, "s.test", version) is None


@pytest.mark.parametrize("what,says", [("revoked", "revoked"), ("stranger", "its signature is not the issuer's"), ("no issuer", "no certificate of the issuer"),
                                       ("no responder", "names no responder"), ("down", "Connection refused")])
def test_what_is_not_good_is_not_shown(weir, responder, tmp_path, what, says):
    g = with_stapling(weir)
    cert = responder.ca.issue("s.test", ocsp=None if what == "no responder" else f"http://127.0.0.1:{responder.port}")
    if what != "no issuer":
        cert.pem += responder.ca.pem
    responder.know(cert, revoked=what == "revoked")
    if what == "stranger":
        responder.signer = Authority(tmp_path / "stranger", "stranger")
    if what != "down":
        responder.start()
    g.put("/ssls/1", cert.ssl("s.test", ocsp_stapling={"enabled": True}))
    assert stapled(g.tls_port, "s.test") is None
    wait_for(lambda: says in g.log_text(), what=says)
    assert stapled(g.tls_port, "s.test") is None
    if what == "stranger":
        g.put("/ssls/1", cert.ssl("s.test", ocsp_stapling={"enabled": True, "skip_verify": True}))
        wait_for(lambda: stapled(g.tls_port, "s.test") == ("successful", "good"), what="an answer is stapled unchecked")


def test_stapling_belongs_to_its_plugin(gw, weir, certs):
    body = certs("a.test").ssl("a.test", ocsp_stapling={"enabled": True})
    r = gw.admin("PUT", "/ssls/1", body)
    assert (r.status, b"additional properties forbidden, found ocsp_stapling" in r.body) == (400, True), r.body
    r = with_stapling(weir).admin("PUT", "/ssls/1", {**body, "ocsp_stapling": {"cache_ttl": 1}})
    assert r.status == 400 and b'property \\"ocsp_stapling\\" validation failed: property \\"cache_ttl\\" validation failed: expected 1 to be at least 60' in r.body, r.body
