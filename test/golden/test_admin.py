# SPDX-License-Identifier: Apache-2.0
"""Replay of recorded Admin API exchanges of the reference gateway (golden-admin.json), in their order, because they share state.

What is not compared is said by rule: resource kinds and modes this gateway does not have yet, plugins that are not built, and objects that such a case
was to make. What differs on purpose stands in DIFFERENCES, with the status it must have instead; docs/differences.md tells users the same.
"""
import json
import os
import re
import subprocess
import sys
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import weirtest  # noqa: E402

CASES = json.load(open(os.path.join(HERE, "golden-admin.json")))["cases"]
SCHEMAS = json.load(open(os.path.join(HERE, "schemas.json")))

OTHER_KINDS = {"secrets", "stream_routes", "configs", "graphql_cost_decorations"}
OTHER_SCHEMAS = {"stream_route", "graphql_cost_decoration"}
REFERENCES = {"upstream_id": "upstreams", "service_id": "services", "plugin_config_id": "plugin_configs", "group_id": "consumer_groups"}

# name -> (status here, why)
DIFFERENCES = {
    "admin-root-slash": (404, "the reference crashes on the empty resource name"),
    "body-not-object": (400, "the reference crashes on a body that is no object"),
    "body-null": (400, "the reference crashes on a body that is no object"),
    "body-number": (400, "the reference crashes on a body that is no object"),
    "x-null-plugins": (400, "the reference crashes on plugins: null"),
    "x-dup-keys": (400, "a JSON object with the same key twice means different things to different readers"),
    "route-plugin-missing-field": (400, "two rules are broken; which one is named is not significant"),
    "x-encrypted-plugin-conf": (400, "limit-count's redis policies are not in this build: refused, never stored and ignored"),
    "x-encrypted-plugin-conf-get": (404, "the object of x-encrypted-plugin-conf was refused"),
    "x-encrypted-secret-ref": (400, "limit-count's redis policies are not in this build: refused, never stored and ignored"),
    "proto-bad": (400, "another compiler of schemas words its errors otherwise"),
    "up-tls-short": (400, "two rules are broken; which one is named is not significant"),
}

HELLO = '{"uri":"/hello","upstream":{"type":"roundrobin","nodes":{"127.0.0.1:1980":1}}}'
SSL = '{"cert":"<CERT_A>","key":"<KEY_A>","sni":"test.com",'
# Bodies that were too long to record.
LONG_BODIES = {
    "ssl-client-ca": SSL + '"client":{"ca":"<CA_A>","depth":2,"skip_mtls_uri_regex":["/a.*"]}}',
    "ssl-certs-mismatch": SSL + '"certs":["<CERT_A>"]}',
    "ssl-certs-bad": SSL + '"certs":["' + "x" * 200 + '"],"keys":["<KEY_A>"]}',
    "ssl-certs-ok": SSL + '"certs":["<CERT_A>"],"keys":["<KEY_A>"]}',
    "body-too-big": HELLO[:-1] + ',"desc":"' + "a" * (1600022 - len(HELLO) - 10) + '"}',
    "route-uri-too-long": '{"uri":"/' + "a" * 4096 + '","upstream":{"type":"roundrobin","nodes":{"127.0.0.1:1980":1}}}',
}


def make_pem(folder):
    """A certificate and key for <CERT_A> and <KEY_A>."""
    key, cert = os.path.join(folder, "a.key"), os.path.join(folder, "a.crt")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
                    "-subj", "/CN=test.com"], check=True, capture_output=True)
    return {"<CERT_A>": open(cert).read(), "<KEY_A>": open(key).read(), "<CA_A>": open(cert).read()}


# ---- which cases are about something that is not there ----

def path_parts(case):
    return [p for p in case["request"]["path"].split("?")[0].split("/") if p][2:]


def body_json(case):
    try:
        return json.loads(case["request"].get("body", ""))
    except (ValueError, TypeError):
        return None


def plugins_of(case):
    """Names of plugins the case is about."""
    parts, body = path_parts(case), body_json(case)
    names = set()
    if parts[:1] == ["plugins"] or parts[:2] == ["schema", "plugins"]:
        names.update(parts[-1:])
    if parts[:1] == ["plugin_metadata"]:
        names.update(parts[1:2])
    if isinstance(body, dict) and isinstance(body.get("plugins"), dict):
        names.update(body["plugins"])
    if parts[2:3] == ["plugins"] and isinstance(body, dict):
        names.update(body)
    return names


class Scope:
    """Says why a case cannot be compared, and remembers the objects that are missing or other because of that."""

    def __init__(self, built):
        self.built = built
        self.odd = set()  # objects that are not what they were when recorded

    def reason(self, case):
        parts, method = path_parts(case), case["request"]["method"]
        target = self.target(case)
        why = self.own_reason(case, parts)
        if why:
            if method in ("PUT", "POST", "PATCH", "DELETE"):
                self.odd.add(target)
            return why
        if (target in self.odd and method != "PUT") or self.depends(case, parts):
            if method != "GET":
                self.odd.add(target)
            return "about an object that a skipped case was to change"
        return None

    def depends(self, case, parts):
        """Does the answer depend on an object that is not as it was recorded?"""
        body = body_json(case)
        if case["request"]["method"] == "GET" and any(o[:-1] == tuple(parts) for o in self.odd):
            return True  # a list with such an object in it
        if parts[2:3] == ["credentials"] and tuple(parts[:2]) in self.odd:
            return True
        for field, kind in REFERENCES.items():
            if isinstance(body, dict) and (kind, str(body.get(field))) in self.odd:
                return True
        user = re.search(r"\[(.*)\] is still using it now", str(case["response"].get("body")))
        return user is not None and any(o[-1] == user.group(1) for o in self.odd)

    def target(self, case):
        parts, body = path_parts(case), body_json(case)
        if parts == ["consumers"] and isinstance(body, dict):
            return ("consumers", body.get("username"))
        return tuple(parts[:4] if parts[2:3] == ["credentials"] else parts[:2])

    def own_reason(self, case, parts):
        if case["mode"] != "traditional+etcd":
            return "API-driven standalone mode is not built"
        if OTHER_KINDS & set(parts[:3]) and not parts[:2] == ["schema", "validate"]:
            return "resource kind is not built"
        if parts[:1] == ["schema"] and OTHER_SCHEMAS & set(parts):
            return "resource kind is not built"
        if "subsystem=stream" in case["request"]["path"]:
            return "resource kind is not built"
        missing = (plugins_of(case) & set(SCHEMAS["plugins"])) - self.built
        return f"plugin {', '.join(sorted(missing))} is not built" if missing else None


# ---- comparing ----

MASKS = {
    "<TS>": lambda v: isinstance(v, int) and 1600000000 < v < 4000000000,
    "<REV>": lambda v: (isinstance(v, int) and v > 0) or (isinstance(v, str) and v.isdigit()),
    "<AES_CBC_BASE64>": lambda v: isinstance(v, str) and re.fullmatch(r"[A-Za-z0-9+/]{64,}=*", v),
}


def differs(want, got, path=""):
    """Where got is not want, or None."""
    if isinstance(want, str) and want in MASKS:
        return None if MASKS[want](got) else f"{path}: {got!r} is no {want}"
    if isinstance(want, str) and isinstance(got, str):
        pattern = re.escape(want).replace("<GENID>", r"\d{20}")
        return None if re.fullmatch(pattern, got, re.S) else f"{path}: {got!r} instead of {want!r}"
    if isinstance(want, dict) and isinstance(got, dict):
        if set(want) != set(got):
            return f"{path}: keys {sorted(got)} instead of {sorted(want)}"
        return next((d for k in want if (d := differs(want[k], got[k], f"{path}/{k}"))), None)
    if isinstance(want, list) and isinstance(got, list):
        if len(want) != len(got):
            return f"{path}: {len(got)} items instead of {len(want)}"
        return next((d for i, w in enumerate(want) if (d := differs(w, got[i], f"{path}/{i}"))), None)
    if isinstance(want, bool) or isinstance(got, bool):
        return None if want is got else f"{path}: {got!r} instead of {want!r}"
    # Large numbers were recorded with Lua's 14 digits.
    if isinstance(want, (int, float)) and isinstance(got, (int, float)):
        return None if f"{want:.14g}" == f"{got:.14g}" else f"{path}: {got!r} instead of {want!r}"
    return None if want == got else f"{path}: {got!r} instead of {want!r}"


def plain_schema(v):
    """A schema without annotations; an empty table has no kind in the reference."""
    if isinstance(v, dict):
        out = {k: plain_schema(x) for k, x in v.items() if not (k in ("description", "title", "_comment") and isinstance(x, str))}
        if "encrypt_fields" in out:
            out["encrypt_fields"] = sorted(out["encrypt_fields"])
        return out or []
    return [plain_schema(x) for x in v] if isinstance(v, list) else v


def differs_schema(case, got):
    parts = path_parts(case)
    if case["response"]["body"].startswith("<equals main."):
        if case["response"]["status"] != 200:
            return None
        want = SCHEMAS["main"].get(parts[1])
        if want is None:  # not among the dumped ones
            return None if isinstance(got, dict) and got.get("properties") else f"no schema: {got}"
    else:
        kind = "consumer_schema" if "schema_type=consumer" in case["request"]["path"] else "schema"
        want = SCHEMAS["plugins"][parts[-1]][kind]
    return differs(plain_schema(want), plain_schema(got))


def differs_plugins(got, built):
    if not built <= set(got):
        return f"plugins missing: {sorted(built - set(got))}"
    for name, p in got.items():
        want = {"version", "priority", "schema"} | {k for k in ("metadata_schema", "consumer_schema", "type", "scope") if k in SCHEMAS["plugins"].get(name, {})}
        if not want <= set(p) | {"metadata_schema"}:
            return f"{name} has {sorted(p)}"
    return None


def json_or_none(body):
    try:
        return json.loads(body)
    except ValueError:
        return None


def differs_body(case, answer, replay):
    want, got = case["response"].get("body"), answer.body.decode()
    if isinstance(want, dict) and "list_ids" in want:
        got = json.loads(got)
        ids = [i["key"].rsplit("/", 1)[1] for i in got["list"]]
        return differs(want, {"total": got["total"], "list_ids": ids})
    if want in (None, ""):
        return None if got == "" else f"a body: {got[:200]!r}"
    if want.startswith("<html>"):
        title = re.search("<title>.*</title>", want).group()
        return None if title in got else f"{got[:200]!r} without {title}"
    if want.startswith("<object keyed"):
        return differs_plugins(json.loads(got), replay.built)
    if want.startswith("<"):
        return differs_schema(case, json_or_none(got))
    for mask, text in replay.pem.items():
        want = want.replace(mask, json.dumps(text)[1:-1])
    if json_or_none(want) is None:
        return None if want == got else f"{got[:200]!r} instead of {want!r}"
    want = json.loads(want)
    if case["name"] == "plugins-list":
        want = [n for n in want if n in replay.built]
    return differs(want, json_or_none(got))


def differs_headers(case, answer):
    for name, want in case["response"].get("headers", {}).items():
        got = answer.headers.get(name)
        if got != want:
            return f"header {name}: {got!r} instead of {want!r}"
    if "x-api-version" in answer.headers and "x-api-version" not in case["response"].get("headers", {}):
        return "header x-api-version, which the reference does not send here"
    return None


# ---- running ----

class Replay:
    """All cases in order, once; what came of each by name."""

    def __init__(self, gw):
        self.gw = gw
        self.pem = make_pem(gw.dir)
        self.built = set(json.loads(gw.admin("GET", "/plugins/list").body))
        self.results = {}  # name -> ("passed" | "skipped" | "failed", text)
        scope = Scope(self.built)
        for case in CASES:
            self.prepare(case, scope)
            why = scope.reason(case)
            self.results[case["name"]] = ("skipped", why) if why else self.run(case, scope)

    def prepare(self, case, scope):
        """The recorder emptied the gateway here, and made twelve routes to list."""
        if case["name"] in ("list-page", "x-null-field"):
            self.gw.clear()
            scope.odd.clear()
        if case["name"] == "list-page":
            for i in range(1, 13):
                self.gw.put(f"/routes/{i}", {"uri": f"/r{i}", "name": f"route{i}", "labels": {f"l{i % 2}": "x", "env": "e"},
                                             "upstream": {"nodes": {"127.0.0.1:1980": 1}}})

    def send(self, case):
        r = case["request"]
        fill = {"<ADMIN_KEY>": weirtest.ADMIN_KEY, "<VIEWER_KEY>": weirtest.VIEWER_KEY, '"<TS>"': str(int(time.time()))}
        fill.update({k: json.dumps(v)[1:-1] for k, v in self.pem.items()})

        def filled(text):
            for mask, value in fill.items():
                text = text.replace(mask, value)
            return text

        body = r.get("body")
        if isinstance(body, str) and re.fullmatch(r"<\d+ bytes>", body):
            body = LONG_BODIES[case["name"]]
        headers = {k: filled(v) for k, v in r.get("headers", {}).items()}
        if body is not None:
            body = filled(body)
        return weirtest.request(self.gw.admin_port, filled(r["path"]), r["method"], headers, body)

    def run(self, case, scope):
        answer = self.send(case)
        if case["name"] == "route-ttl-expired":
            deadline = time.monotonic() + 10 * weirtest.SLOW
            while answer.status == 200 and time.monotonic() < deadline:
                time.sleep(0.02)
                answer = self.send(case)
        if b"not supported in this build" in answer.body:
            scope.odd.add(scope.target(case))
            return "skipped", "scripts are not built"
        was_odd = scope.target(case) in scope.odd
        if case["request"]["method"] == "PUT" and answer.status in (200, 201):
            scope.odd.discard(scope.target(case))
        return self.compare(case, answer, was_odd)

    def compare(self, case, answer, was_odd):
        want = case["response"]
        if case["name"] in DIFFERENCES:
            status, why = DIFFERENCES[case["name"]]
            if answer.status != status:
                return "failed", f"a known difference ({why}) with status {answer.status} instead of {status}: {answer.body[:300]}"
            return "passed", why
        statuses = {200, 201} if was_odd and want["status"] in (200, 201) else {want["status"]}
        if answer.status not in statuses:
            return "failed", f"status {answer.status} instead of {want['status']}: {answer.body[:600]}"
        why = differs_headers(case, answer) or differs_body(case, answer, self)
        return ("failed", why) if why else ("passed", "")


@pytest.fixture(scope="module")
def replay():
    gw = weirtest.Gateway({"apisix": {"data_encryption": {"enable_encrypt_fields": True,
                                                          "keyring": ["qeddd145sfvddff3", "edd1c9f0985e76a2"]}}})
    try:
        yield Replay(gw)
    finally:
        gw.close()


@pytest.mark.parametrize("name", [c["name"] for c in CASES])
def test_as_recorded(replay, name):
    state, text = replay.results[name]
    if state == "skipped":
        pytest.skip(text)
    assert state == "passed", text
