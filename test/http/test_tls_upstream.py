# SPDX-License-Identifier: Apache-2.0
"""TLS to upstreams, which are a real nginx: whom they are asked for, what we show them, how they are checked, and which connections are used again."""
import http.client
import os
import socket
import ssl
import threading

import pytest

from pki import Authority, Tls
from weirtest import Nginx, payload

SAID = "$ssl_server_name|$host|$ssl_client_s_dn|$ssl_protocol|$ssl_session_reused|$connection|$connection_requests"
FIELDS = ("sni", "host", "client", "protocol", "reused", "connection", "requests")


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def client_ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("client"), "client ca")


@pytest.fixture(scope="module")
def nginx(ca, client_ca):
    """.ports: of a.test; of 127.0.0.1; one that demands a client certificate; one that speaks TLS 1.2 only."""
    def server(cert, more=""):
        return (f"ssl on; ssl_certificate {cert.cert_path}; ssl_certificate_key {cert.key_path}; client_max_body_size 0; {more} "
                f"location / {{ return 200 '{SAID}'; }} location /close {{ keepalive_timeout 0; return 200 '{SAID}'; }} location /big {{ root DIR; }}")
    a = ca.issue("a.test")
    n = Nginx(server(a), server(ca.issue("127.0.0.1")), server(a, f"ssl_verify_client on; ssl_client_certificate {client_ca.cert_path};"),
              server(a, "ssl_protocols TLSv1.2;"))
    n.file("big", payload(1 << 20))
    yield n
    n.close()


def up(port, **more):
    return {"scheme": "https", "type": "roundrobin", "nodes": {f"127.0.0.1:{port}": 1}, **more}


def route(gw, upstream, **more):
    gw.put("/routes/1", {"uri": "/*", "upstream": upstream, **more})


def said(r):
    assert r.status == 200, (r.status, r.body)
    return dict(zip(FIELDS, r.body.decode().split("|")))


def ask(gw, path="/", host="a.test"):
    return gw.get(path, headers={"Host": host})


@pytest.mark.parametrize("more,host,sni", [
    ({}, "b.test", "b.test"), ({}, "b.test:8443", "b.test"), ({"pass_host": "rewrite", "upstream_host": "c.test"}, "b.test", "c.test"),
    ({"pass_host": "node"}, "b.test", ""), ({}, "127.0.0.1", ""),
])
def test_the_upstream_is_asked_for_the_host_of_the_request(gw, nginx, more, host, sni):
    route(gw, up(nginx.ports[0], **more))
    assert said(ask(gw, host=host))["sni"] == sni


def test_a_plugins_host_is_asked_for(gw, nginx):
    route(gw, up(nginx.ports[0]), plugins={"proxy-rewrite": {"host": "d.test"}})
    got = said(ask(gw))
    assert (got["sni"], got["host"]) == ("d.test", "d.test")


def test_no_name_is_sent_when_it_is_switched_off(weir, nginx):
    g = weir({"nginx_config": {"http": {"proxy_ssl_server_name": False}}})
    route(g, up(nginx.ports[0]))
    assert said(ask(g))["sni"] == ""


def test_bodies_and_both_sides_encrypted(gw, nginx, ca):
    gw.put("/ssls/a", ca.issue("a.test").ssl("a.test"))
    for port in (nginx.ports[0], nginx.ports[3]):
        route(gw, up(port))
        with Tls(gw.tls_port, "a.test") as c:
            for _ in range(3):
                assert c.ask("/big", host="a.test").body == payload(1 << 20)
                assert c.ask("/", host="a.test", method="POST", body=payload(60000)).status == 200


def one_core(weir, **config):
    return weir({"nginx_config": {"worker_processes": 1}, **config})


def test_connections_are_shared_by_those_who_ask_alike(weir, nginx, client_ca):
    g = one_core(weir)
    joe, ann = client_ca.issue("joe"), client_ca.issue("ann")
    route(g, up(nginx.ports[0]))
    first = said(ask(g))
    again = said(ask(g))
    assert (again["connection"], again["requests"]) == (first["connection"], "2")
    other = said(ask(g, host="b.test"))
    assert other["connection"] != first["connection"] and other["requests"] == "1"
    assert said(ask(g))["requests"] == "3"
    seen = set()
    for cert in (joe, ann):
        route(g, up(nginx.ports[2], tls={"client_cert": cert.pem, "client_key": cert.key_pem}))
        got = [said(ask(g)) for _ in range(2)]
        assert [x["client"] for x in got] == [f"CN={'joe' if cert is joe else 'ann'}"] * 2 and got[1]["requests"] == "2"
        seen.add(got[0]["connection"])
    assert len(seen) == 2


def test_sessions_are_resumed(weir, nginx):
    """Also when no connection stays open, as with an upstream that closes each."""
    g = one_core(weir)
    for port in (nginx.ports[0], nginx.ports[3]):
        route(g, up(port))
        got = [said(ask(g, "/close")) for _ in range(4)]
        assert [x["reused"] for x in got] == [".", "r", "r", "r"]
        assert said(ask(g, "/close", host="b.test"))["reused"] == "."


def test_a_pooled_connection_that_the_upstream_closed_is_not_used(weir, nginx):
    g = one_core(weir)
    route(g, up(nginx.ports[0]))
    for _ in range(10):
        assert ask(g, "/close").status == 200
        assert ask(g).status == 200


# ---- what we show ----

def test_a_client_certificate_by_id(gw, nginx, client_ca):
    joe, ann = client_ca.issue("joe"), client_ca.issue("ann")
    gw.put("/ssls/c", joe.ssl(type="client"))
    route(gw, up(nginx.ports[2], tls={"client_cert_id": "c"}))
    assert said(ask(gw))["client"] == "CN=joe"
    gw.put("/ssls/c", ann.ssl(type="client"))
    assert said(ask(gw))["client"] == "CN=ann"
    gw.delete("/ssls/c")
    assert ask(gw).status == 502


def test_the_id_must_be_of_type_client(gw, ca, nginx):
    gw.put("/ssls/s", ca.issue("a.test").ssl("a.test"))
    for given, says in (("s", "failed to fetch ssl info by ssl id [s], wrong ssl type"), ("n", "failed to fetch ssl info by ssl id [n], response code: 404")):
        for path, body in (("/upstreams/1", up(nginx.ports[0], tls={"client_cert_id": given})),
                           ("/routes/1", {"uri": "/", "upstream": up(nginx.ports[0], tls={"client_cert_id": given})})):
            r = gw.admin("PUT", path, body)
            assert (r.status, says.encode() in r.body) == (400, True), r.body


def test_without_the_certificate_the_upstream_says_no(gw, nginx):
    route(gw, up(nginx.ports[2]))
    assert ask(gw).status == 400


# ---- how they are checked ----

@pytest.fixture
def checked(weir, ca):
    """A gateway that was told whom to trust."""
    return weir({"apisix": {"ssl": {"ssl_trusted_certificate": ca.cert_path}}})


def test_with_certificates_to_trust_upstreams_are_checked(checked, nginx, ca, tmp_path):
    route(checked, up(nginx.ports[0]))
    assert said(ask(checked, host="a.test"))["sni"] == "a.test"
    assert ask(checked, host="b.test").status == 502
    assert "hostname mismatch" in checked.log_text()
    route(checked, up(nginx.ports[1], pass_host="node"))
    assert ask(checked).status == 200
    stranger = Authority(tmp_path / "x", "stranger").issue("a.test")
    other = Nginx(f"ssl on; ssl_certificate {stranger.cert_path}; ssl_certificate_key {stranger.key_path}; return 200 '{SAID}';")
    try:
        route(checked, up(other.ports[0]))
        r = ask(checked)
        assert (r.status, r.headers["x-apisix-upstream-status"]) == (502, "502")
        assert "unable to get local issuer certificate" in checked.log_text()
    finally:
        other.close()


def test_a_nodes_own_name_counts_where_the_client_chooses_the_host(checked, nginx):
    """localhost is a name of the node, and the certificate is of a.test."""
    route(checked, up(nginx.ports[0], nodes={f"localhost:{nginx.ports[0]}": 1}))
    assert ask(checked, host="a.test").status == 502
    route(checked, up(nginx.ports[0], nodes={f"localhost:{nginx.ports[0]}": 1}, pass_host="rewrite", upstream_host="a.test"))
    assert ask(checked, host="b.test").status == 200


def test_the_references_way_and_the_upstreams_own_word(weir, ca, nginx):
    g = weir({"apisix": {"ssl": {"ssl_trusted_certificate": ca.cert_path}}, "weir": {"insecure_upstream_tls": True}})
    route(g, up(nginx.ports[0]))
    assert ask(g, host="b.test").status == 200
    route(g, up(nginx.ports[0], tls={"verify": True}))
    assert ask(g, host="b.test").status == 502
    assert ask(g, host="a.test").status == 200


def test_verify_without_certificates_trusts_the_system(gw, nginx):
    route(gw, up(nginx.ports[0], tls={"verify": True}))
    assert ask(gw).status == 502
    route(gw, up(nginx.ports[0]))
    assert ask(gw).status == 200


def test_trust_changes_with_a_reload(checked, nginx, ca, tmp_path):
    route(checked, up(nginx.ports[0]))
    assert ask(checked).status == 200
    checked.reload({"apisix": {"ssl": {"ssl_trusted_certificate": Authority(tmp_path / "y", "new").cert_path}}})
    assert ask(checked).status == 502
    checked.reload({"apisix": {"ssl": {"ssl_trusted_certificate": ca.cert_path}}})
    assert ask(checked).status == 200


# ---- what goes wrong ----

def test_an_upstream_that_speaks_no_tls(gw, upstream):
    route(gw, up(upstream.port))
    assert ask(gw).status == 502
    assert "TLS: " in gw.log_text()


def test_an_upstream_that_says_nothing(gw):
    with socket.create_server(("127.0.0.1", 0)) as s:
        route(gw, up(s.getsockname()[1], timeout={"connect": 0.2, "send": 1, "read": 1}, retries=0))
        r = ask(gw)
        assert (r.status, r.headers["x-apisix-upstream-status"]) == (504, "504")


def test_a_handshake_that_fails_is_tried_at_the_next_node(gw, nginx, upstream):
    route(gw, up(0, nodes=[{"host": "127.0.0.1", "port": upstream.port, "weight": 1, "priority": 1},
                           {"host": "127.0.0.1", "port": nginx.ports[0], "weight": 1, "priority": 0}]))
    assert ask(gw).status == 200


@pytest.mark.parametrize("polite", [True, False])
def test_an_answer_that_is_cut_is_not_whole(gw, ca, polite):
    """Without close_notify the end of the connection is not the end of a body."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca.issue("a.test").path)

    def serve(s):
        t = context.wrap_socket(s.accept()[0], server_side=True)
        t.recv(65536)
        t.sendall(b"HTTP/1.1 200 OK\r\n\r\nsome of it")
        if polite:
            t.unwrap()
        os.close(t.detach())

    with socket.create_server(("127.0.0.1", 0)) as s:
        route(gw, up(s.getsockname()[1], retries=0))
        threading.Thread(target=serve, args=(s,), daemon=True).start()
        if polite:
            assert ask(gw).body == b"some of it"
        else:
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                ask(gw)
