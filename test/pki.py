# SPDX-License-Identifier: Apache-2.0
"""pki: certificates for tests, made by openssl, and TLS clients that say what they saw.

    ca = Authority(folder)
    cert = ca.issue("a.test", key="ec")        # .pem, .key_pem, .path (both, for ssl.load_cert_chain)
    with Tls(gw.tls_port, "a.test", ca=ca) as c: c.ask("/")
"""
import http.client
import os
import socket
import ssl
import subprocess

KEYS = {"rsa": ["-newkey", "rsa:2048"], "ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]}


def openssl(*args, **kw):
    return subprocess.run(["openssl", *args], check=True, capture_output=True, text=True, **kw).stdout


class Cert:
    def __init__(self, path, key_path):
        self.key_path, self.cert_path = key_path, path
        self.pem, self.key_pem = open(path).read(), open(key_path).read()
        self.path = path + ".both"
        with open(self.path, "w") as f:
            f.write(self.pem + self.key_pem)

    @property
    def der(self):
        return ssl.PEM_cert_to_DER_cert(self.pem)

    def ssl(self, *snis, **more):
        """An ssl object with it."""
        names = {"sni": snis[0]} if len(snis) == 1 else {"snis": list(snis)} if snis else {}
        return {"cert": self.pem, "key": self.key_pem, **names, **more}


class Authority(Cert):
    """A CA. Certificates it makes are named by their first name and a number."""

    def __init__(self, folder, name="test ca", issuer=None):
        self.folder, self.made = str(folder), 0
        os.makedirs(self.folder, exist_ok=True)
        path, key = os.path.join(self.folder, "ca.pem"), os.path.join(self.folder, "ca.key")
        signed = ["-CA", issuer.cert_path, "-CAkey", issuer.key_path] if issuer else []
        openssl("req", "-x509", *KEYS["ec"], "-nodes", "-keyout", key, "-out", path, "-days", "3", "-subj", f"/CN={name}",
                *signed, "-addext", "basicConstraints=critical,CA:TRUE")
        super().__init__(path, key)

    def issue(self, *names, key="ec", ocsp=None):
        self.made += 1
        stem = os.path.join(self.folder, f"{self.made}")
        alt = ",".join(f"IP:{n}" if n[0].isdigit() else f"DNS:{n}" for n in names)
        openssl("req", "-x509", *KEYS[key], "-nodes", "-keyout", stem + ".key", "-out", stem + ".pem", "-days", "3", "-subj", f"/CN={names[0]}",
                "-CA", self.cert_path, "-CAkey", self.key_path, "-addext", f"subjectAltName={alt}", "-addext", "basicConstraints=critical,CA:FALSE",
                *(["-addext", f"authorityInfoAccess=OCSP;URI:{ocsp}"] if ocsp else []))
        return Cert(stem + ".pem", stem + ".key")


class Tls:
    """A connection of a TLS client. ca: who must have signed; None: anybody. Fails as ssl does when the handshake does."""

    def __init__(self, port, name=None, ca=None, cert=None, session=None, alpn=None, version=None, timeout=10, ciphers=None, context=None):
        c = context or self.context(ca, cert, alpn, version, ciphers)
        self.socket = c.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout), server_hostname=name, session=session)
        self.http = http.client.HTTPConnection("127.0.0.1", port)
        self.http.sock = self.socket

    @staticmethod
    def context(ca=None, cert=None, alpn=None, version=None, ciphers=None):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        c.check_hostname = False
        c.verify_mode = ssl.CERT_REQUIRED if ca else ssl.CERT_NONE
        c.set_ciphers((ciphers or "ALL") + ":@SECLEVEL=0")
        c.minimum_version = version or ssl.TLSVersion.TLSv1_1
        c.maximum_version = version or ssl.TLSVersion.TLSv1_3
        if ca:
            c.load_verify_locations(cadata=ca.pem)
        if cert:
            c.load_cert_chain(cert.path)
        if alpn:
            c.set_alpn_protocols(alpn)
        return c

    def ask(self, path="/", host=None, headers=None, method="GET", body=None):
        self.http.request(method, path, body, {**({"Host": host} if host else {}), **(headers or {})})
        r = self.http.getresponse()
        r.body = r.read()
        return r

    @property
    def peer(self):
        return self.socket.getpeercert(True)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *e):
        self.close()
