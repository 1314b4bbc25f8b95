# SPDX-License-Identifier: Apache-2.0
"""TLS for the Admin API: certificates from files, and clients that must have one."""
import json
import os
import signal
import ssl

import pytest

from pki import Authority, Tls
from weirtest import ADMIN_KEY, raw_exchange, wait_for


@pytest.fixture
def ca(tmp_path):
    return Authority(tmp_path / "pki")


def config(cert, clients=None):
    files = {"admin_ssl_cert": cert.cert_path, "admin_ssl_cert_key": cert.key_path}
    return {"deployment": {"admin": {"https_admin": True, "admin_api_mtls": {**files, **({"admin_ssl_ca_cert": clients.cert_path} if clients else {})}}}}


def ask(g, **kw):
    with Tls(g.admin_port, "admin.test", **kw) as c:
        r = c.ask("/apisix/admin/routes", headers={"X-API-KEY": ADMIN_KEY})
        return r.status, json.loads(r.body)["total"], c.peer


def test_the_admin_api_speaks_tls_and_nothing_else(weir, ca):
    cert = ca.issue("admin.test")
    g = weir(config(cert))
    assert ask(g, ca=ca) == (200, 0, cert.der)
    assert b"HTTP" not in raw_exchange(g.admin_port, b"GET /apisix/admin/routes HTTP/1.0\r\n\r\n")
    with Tls(g.admin_port) as c:  # no name, as with an address
        assert c.ask("/apisix/admin/routes").status == 401


def test_clients_must_have_a_certificate(weir, ca, tmp_path):
    clients = Authority(tmp_path / "clients", "clients")
    g = weir(config(ca.issue("admin.test"), clients))
    assert ask(g, cert=clients.issue("joe"))[0] == 200
    for cert in (None, ca.issue("mallory")):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(g, cert=cert)


def test_a_reload_reads_the_files_again(weir, ca):
    first, second = ca.issue("admin.test"), ca.issue("admin.test")
    g = weir(config(first))
    assert ask(g)[2] == first.der
    for name in ("cert_path", "key_path"):
        os.replace(getattr(second, name), getattr(first, name))
    g.reload()
    assert ask(g)[2] == second.der
    g.allowed.append("reload refused")
    with open(first.cert_path, "w") as f:
        f.write("nothing")
    g.signal(signal.SIGHUP)
    wait_for(lambda: "reload refused, the old configuration stays: deployment.admin.admin_api_mtls: failed to parse cert" in g.log_text(), what="a refusal")
    assert ask(g)[2] == second.der
