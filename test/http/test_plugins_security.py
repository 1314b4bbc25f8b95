# SPDX-License-Identifier: Apache-2.0
"""cors, ip-restriction, uri-blocker, real-ip, request-id, redirect, proxy-rewrite through the gateway."""
import json
import re

import pytest

from weirtest import Gateway, Upstream, raw_exchange


def route(gw, upstream, plugins, **more):
    gw.put("/routes/1", {"uri": "/*", "upstream": upstream.nodes(), "plugins": plugins, **more})


def saw(upstream, name):
    return [v for k, v in upstream.last.headers if k.lower() == name.lower()]


# ---- cors ----

def test_a_preflight_is_answered_before_authentication(gw, upstream):
    route(gw, upstream, {"cors": {}, "key-auth": {}})
    r = gw.request("/", method="OPTIONS", headers={"Origin": "http://a.com", "Access-Control-Request-Method": "PUT"})
    assert (r.status, r.body, r.headers["access-control-allow-origin"]) == (200, b"", "*")
    assert upstream.seen == []
    r = gw.get("/", headers={"Origin": "http://a.com"})
    assert (r.status, r.headers["access-control-allow-origin"]) == (401, "*")


def test_answers_of_the_upstream_get_the_routes_fields(gw):
    fields = [("Access-Control-Allow-Origin", "http://up"), ("Access-Control-Allow-Credentials", "true"), ("Vary", "Accept")]
    u = Upstream(answer=lambda s: (200, fields, b"x"))
    route(gw, u, {"cors": {"allow_origins": "http://a.com", "allow_methods": "GET", "allow_headers": "X-A"}})
    r = gw.get("/", headers={"Origin": "http://a.com"})
    assert [v for k, v in r.raw_headers if k == "Access-Control-Allow-Origin"] == ["http://a.com"]
    assert [v for k, v in r.raw_headers if k == "Vary"] == ["Accept", "Origin"]
    r = gw.get("/", headers={"Origin": "http://b.com"})
    assert [v for k, v in r.raw_headers if k == "Access-Control-Allow-Origin"] == ["http://up"]
    u.close()


def test_origins_of_the_metadata_are_found_by_name_and_change_at_once(gw, upstream):
    route(gw, upstream, {"cors": {"allow_origins_by_metadata": ["partners"]}})
    ask = lambda: gw.get("/", headers={"Origin": "http://p.com"}).headers.get("access-control-allow-origin")  # noqa: E731
    assert ask() is None
    gw.put("/plugin_metadata/cors", {"allow_origins": {"partners": "http://o.com,http://p.com"}})
    assert ask() == "http://p.com"
    gw.put("/plugin_metadata/cors", {"allow_origins": {"partners": "http://o.com"}})
    assert ask() is None
    assert gw.admin("PUT", "/plugin_metadata/cors", {"allow_origins": {"partners": "no origin"}}).status == 400


def test_a_proxied_origin_is_judged_as_it_came(gw, upstream):
    route(gw, upstream, {"cors": {"allow_origins": "**"}, "proxy-rewrite": {"headers": {"set": {"Origin": "http://inner"}}}})
    r = gw.get("/", headers={"Origin": "http://a.com"})
    assert r.headers["access-control-allow-origin"] == "http://a.com" and saw(upstream, "Origin") == ["http://inner"]


# ---- ip-restriction, real-ip ----

def test_a_long_list_of_addresses_decides(gw, upstream):
    route(gw, upstream, {"ip-restriction": {"blacklist": [f"10.{a}.{b}.0/25" for a in range(16) for b in range(256)]}})
    answers = [gw.get("/", headers={"X-Real-IP": ip}).status for ip in ("10.0.0.127", "10.0.0.128", "10.15.255.1", "10.16.0.1", "::ffff:10.3.3.3")]
    assert answers == [403, 200, 403, 200, 403]


def test_real_ip_changes_who_ip_restriction_sees_and_what_the_upstream_gets(gw, upstream):
    route(gw, upstream, {"real-ip": {"source": "http_x_client", "trusted_addresses": ["127.0.0.0/8"]}, "ip-restriction": {"whitelist": ["7.7.7.7"]}})
    assert gw.get("/").status == 403
    assert gw.get("/", headers={"X-Client": "7.7.7.7:99"}).status == 200
    assert saw(upstream, "X-Real-IP") == ["7.7.7.7"] and saw(upstream, "X-Forwarded-For") == ["7.7.7.7"]
    assert gw.get("/", headers={"X-Client": "7.7.7.7", "X-Real-IP": "8.8.8.8"}).status == 403  # the peer is not trusted


@pytest.mark.parametrize("lists,client", [
    (["1.1.1.1, 2.2.2.2, 127.0.0.1"], "2.2.2.2"),
    (["1.1.1.1, 2.2.2.2", "127.0.0.2, 127.0.0.1"], "2.2.2.2"),
    (["127.0.0.3, 127.0.0.1"], "127.0.0.3"),
    (["[2001:db8::1]:443, 127.0.0.1"], "2001:db8::1"),
])
def test_a_recursive_walk_skips_trusted_proxies(gw, upstream, lists, client):
    route(gw, upstream, {"real-ip": {"source": "http_x_forwarded_for", "trusted_addresses": ["127.0.0.0/24"], "recursive": True}})
    gw.get("/", headers=[("X-Forwarded-For", v) for v in lists])
    assert saw(upstream, "X-Real-IP") == [client]


# ---- uri-blocker ----

@pytest.mark.parametrize("path", ["/admin", "/%61dmin/x", "//admin", "/./admin", "/x/../admin", "/x/%2e%2e/admin", "/x%2F..%2Fadmin", "/admin%2fx", "/admin;a"])
def test_no_spelling_of_a_blocked_path_gets_by(gw, upstream, path):
    route(gw, upstream, {"uri-blocker": {"block_rules": ["^/admin"]}})
    assert gw.get(path).status == 403
    assert upstream.seen == []


def test_a_rule_for_a_service_sees_what_a_plugin_config_rewrites(gw, upstream):
    gw.put("/plugin_configs/p", {"plugins": {"proxy-rewrite": {"uri": "/admin"}}})
    route(gw, upstream, {"uri-blocker": {"block_rules": ["^/a/"], "rejected_msg": "no"}}, plugin_config_id="p")
    r = gw.get("/a/b")
    assert (r.status, json.loads(r.body)) == (403, {"error_msg": "no"})
    assert gw.get("/b").status == 200 and upstream.last.path == "/admin"


# ---- request-id ----

@pytest.mark.parametrize("algorithm,pattern", [
    ("uuid", r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
    ("uuidv7", r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
    ("nanoid", r"[\w-]{21}"),
    ("ksuid", r"[0-9A-Za-z]{27}"),
    ("range_id", r"[0-9A-Za-z]{16}"),
])
def test_request_ids_are_different_and_the_same_on_both_sides(gw, upstream, algorithm, pattern):
    route(gw, upstream, {"request-id": {"algorithm": algorithm, "header_name": "X-Id"}})
    ids = []
    for _ in range(20):
        r = gw.get("/")
        assert re.fullmatch(pattern, r.headers["x-id"]) and saw(upstream, "X-Id") == [r.headers["x-id"]]
        ids.append(r.headers["x-id"])
    assert len(set(ids)) == 20


def test_a_refusal_has_its_id_too(gw, upstream):
    route(gw, upstream, {"request-id": {}, "key-auth": {}})
    r = gw.get("/")
    assert r.status == 401 and len(r.headers["x-request-id"]) == 36
    assert gw.get("/", headers={"X-Request-Id": "mine"}).headers["x-request-id"] == "mine"


# ---- redirect ----

def test_https_port_of_a_redirect_comes_from_plugin_attr():
    g = Gateway({"plugin_attr": {"redirect": {"https_port": 8443}}})
    try:
        g.put("/routes/1", {"uri": "/*", "plugins": {"redirect": {"http_to_https": True}}})
        r = g.get("/a%20b?c=%20", headers={"Host": "Foo.com:9080"})
        assert (r.status, r.headers["location"]) == (301, "https://foo.com:8443/a%20b?c=%20")
    finally:
        g.close()


def test_a_redirect_needs_no_upstream_and_splits_no_header(gw):
    gw.put("/routes/1", {"uri": "/*", "plugins": {"redirect": {"uri": "/x$uri?y=$arg_y"}}})
    r = gw.get("/a%0d%0aSet-Cookie:%20a=b?y=1%0d%0aX-Evil:%201")
    assert r.status == 302 and "set-cookie" not in r.headers and "x-evil" not in r.headers
    assert r.headers["location"] == "/x/a%0D%0ASet-Cookie:%20a=b?y=1%0D%0AX-Evil:%201"


@pytest.mark.parametrize("conf,status,location", [
    ({"regex_uri": ["^/a/(.*)$", "https://new.com/$1"], "append_query_string": True, "ret_code": 308}, 308, "https://new.com/b?q=1"),
    ({"uri": "https://$host$uri", "encode_uri": True}, 302, "https://www.x.com/a/b"),
    ({"uri": "/new", "ret_code": 301}, 301, "/new"),
])
def test_redirects(gw, conf, status, location):
    gw.put("/routes/1", {"uri": "/*", "plugins": {"redirect": conf}})
    r = gw.request("/a/b?q=1", method="POST", headers={"Host": "www.X.com"}, body="x" * 100)
    assert (r.status, r.headers["location"]) == (status, location)


# ---- proxy-rewrite ----

@pytest.mark.parametrize("path", ["/a%0d%0aX-Evil:%201", "/a%0aX-Evil:%201%0a%0a", "/a%09b", "/a%20HTTP/1.1%0d%0aX-Evil:%201", "/a%7f%01", "/a%23b", "/a%3Fx-evil=1"])
@pytest.mark.parametrize("conf", [
    {"uri": "/p$uri"}, {"uri": "/p?x=$uri"}, {"uri": "/p?$request_uri"}, {"regex_uri": ["^/(.*)", "/p/$1"]}, {"regex_uri": ["^/(.*)", "/p?x=$1"]},
    {"headers": {"set": {"X-Path": "$uri", "X-Arg": "$arg_v"}}}, {"uri": "/p", "headers": {"add": {"X-Path": "$request_uri"}}},
])
def test_what_a_client_encodes_does_not_come_out_decoded(gw, upstream, conf, path):
    """Control bytes, blanks, # and ? of a decoded path stay where they were put: no second line, no field, no query."""
    route(gw, upstream, {"proxy-rewrite": conf})
    assert gw.get(path + "?v=1%0d%0aX-Evil:%202").status == 200
    s = upstream.last
    assert all("evil" not in k.lower() for k, _ in s.headers) and s.version == "HTTP/1.1"
    assert re.fullmatch(r"[\x21-\x7e]+", s.path) and "#" not in s.path
    assert all(re.fullmatch(r"[^\x00-\x08\x0a-\x1f\x7f]*", v) for _, v in s.headers)
    assert len(upstream.seen) == 1


def test_headers_of_the_upstream_are_added_set_and_removed(gw, upstream):
    route(gw, upstream, {"proxy-rewrite": {"regex_uri": ["^/v(\\d+)/(.*)", "/$2"], "host": "inner.com:8080", "headers": {
        "add": {"X-Add": ["a", "$arg_q"], "X-Old": "more"},
        "set": {"X-Set": "v$1 of $2", "X-None": "$arg_none", "X-Num": 5, "User-Agent": "weir"},
        "remove": ["X-Gone"]}}})
    r = gw.get("/v2/users?q=z", headers=[("X-Gone", "1"), ("X-Old", "0"), ("X-None", "n"), ("User-Agent", "curl"), ("x-set", "client")])
    assert r.status == 200 and upstream.last.path == "/users?q=z"
    want = {"X-Add": ["a", "z"], "X-Old": ["0", "more"], "X-Set": ["v2 of users"], "X-None": [], "X-Num": ["5"], "User-Agent": ["weir"],
            "X-Gone": [], "Host": ["inner.com:8080"]}
    assert {k: saw(upstream, k) for k in want} == want


def test_framing_is_not_a_plugins_to_set(gw, upstream):
    route(gw, upstream, {"proxy-rewrite": {"headers": {"set": {"Content-Length": "3", "Transfer-Encoding": "chunked", "Connection": "close", "Expect": "x"}}}})
    assert gw.request("/", method="POST", body="four").status == 200
    assert upstream.last.body == b"four" and saw(upstream, "Transfer-Encoding") == [] and saw(upstream, "Content-Length") == ["4"]


@pytest.mark.parametrize("method,new", [("GET", "POST"), ("POST", "GET"), ("GET", "HEAD"), ("HEAD", "GET"), ("POST", "DELETE")])
def test_the_method_changes_and_the_connection_stays_in_step(gw, upstream, method, new):
    route(gw, upstream, {"proxy-rewrite": {"method": new}})
    for _ in range(3):
        r = gw.request("/", method=method, body="body" if method == "POST" else None)
        assert r.status == 200 and upstream.last.method == new
        assert upstream.last.body == (b"body" if method == "POST" else b"")
        assert r.body == (b"" if "HEAD" in (method, new) else b"hello from upstream")


@pytest.mark.parametrize("path", ["/a%2Fb/../c", "/%61//b", "/a/./b?x=%20&y", "/a%3Fb"])
def test_the_raw_uri_goes_out_as_it_came_when_that_is_asked_for(gw, upstream, path):
    route(gw, upstream, {"proxy-rewrite": {"use_real_request_uri_unsafe": True}})
    data = raw_exchange(gw.port, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert data.startswith(b"HTTP/1.1 200") and upstream.last.path == path


def test_a_hidden_key_stays_hidden_with_the_raw_uri(gw, upstream):
    gw.put("/consumers", {"username": "jack", "plugins": {"key-auth": {"key": "k"}}})
    route(gw, upstream, {"key-auth": {"hide_credentials": True}, "proxy-rewrite": {"use_real_request_uri_unsafe": True}})
    assert gw.get("/a%2Fb?apikey=k&x=1").status == 200
    assert upstream.last.path == "/a%2Fb?x=1"


def test_plugins_of_a_consumer_join_after_it_is_known(gw, upstream):
    rewrite = {"proxy-rewrite": {"headers": {"set": {"X-Tier": "gold"}}}}
    gw.put("/consumers", {"username": "jack", "plugins": {"key-auth": {"key": "k"}, **rewrite}})
    gw.put("/consumers", {"username": "rose", "plugins": {"key-auth": {"key": "r"}}})
    route(gw, upstream, {"key-auth": {}})
    gw.get("/", headers={"apikey": "k"})
    assert saw(upstream, "X-Tier") == ["gold"]
    gw.get("/", headers={"apikey": "r"})
    assert saw(upstream, "X-Tier") == []
