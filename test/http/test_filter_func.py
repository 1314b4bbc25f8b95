# SPDX-License-Identifier: Apache-2.0
"""filter_func: a route that a Lua function chooses, and what a request carries of GraphQL and of forms."""
import concurrent.futures
import json

import pytest

from weirtest import Conn, get

DEEP = "[" * 126 + "]" * 126


def two_routes(gw, up, chosen):
    """Requests for which the route is chosen come to /yes, others to /no."""
    gw.put("/routes/chosen", {"uri": "/*", "priority": 1, "upstream": up.nodes(), "plugins": {"proxy-rewrite": {"uri": "/yes"}}, **chosen})
    gw.put("/routes/other", {"uri": "/*", "upstream": up.nodes(), "plugins": {"proxy-rewrite": {"uri": "/no"}}})


def came_to(gw, up, path="/", **kw):
    assert gw.request(path, **kw).status == 200
    return up.last.path.split("?")[0]


@pytest.mark.parametrize("function,path,headers,where", [
    ("function(vars) return vars['arg_a'] == '1' end", "/?a=1", {}, "/yes"),
    ("function(vars) return vars['arg_a'] == '1' end", "/?a=2", {}, "/no"),
    ("function(vars) return vars.http_x_tenant and vars.http_x_tenant:find('^team%-') end", "/", {"X-Tenant": "team-a"}, "/yes"),
    ("function(vars) return vars.http_x_tenant and vars.http_x_tenant:find('^team%-') end", "/", {}, "/no"),
    ("function(vars) return tonumber(vars.arg_n) % 2 == 0 end", "/?n=4", {}, "/yes"),
])
def test_function_chooses(gw, upstream, function, path, headers, where):
    two_routes(gw, upstream, {"filter_func": function})
    assert came_to(gw, upstream, path, headers=headers) == where


def test_function_that_fails_is_logged_and_does_not_match(gw, upstream):
    two_routes(gw, upstream, {"filter_func": "function(vars) return vars.arg_n + 1 > 0 end"})
    assert came_to(gw, upstream, "/?n=1") == "/yes"
    assert came_to(gw, upstream, "/") == "/no"
    gw.allowed.append("filter_func of route chosen is taken as false: .* attempt to perform arithmetic")
    assert "filter_func of route chosen is taken as false" in gw.log_text()


def test_endless_function_is_cut(gw, upstream):
    two_routes(gw, upstream, {"filter_func": "function(vars) while vars.arg_loop do end return true end"})
    assert came_to(gw, upstream, "/?loop=1") == "/no"
    assert came_to(gw, upstream, "/") == "/yes"
    gw.allowed.append("filter_func of route chosen is taken as false: .*runs longer than 50 ms")


def test_function_waits_for_the_body_while_others_run(gw, upstream):
    two_routes(gw, upstream, {"filter_func": "function(vars)\n"
                              "  local out = ('x'):gsub('x', function() return vars['post_arg.name'] end)\n"
                              "  return out == vars.arg_want\nend"})
    slow = [Conn(gw.port) for _ in range(20)]
    bodies = [json.dumps({"name": f"n{i}", "deep": json.loads(DEEP)}).encode() for i in range(20)]
    for i, c in enumerate(slow):
        c.send(get(f"/?want=n{i if i % 2 else 'x'}", "Content-Type: application/json", f"Content-Length: {len(bodies[i])}", method="POST"), bodies[i][:5])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for i in range(40):
            body = json.dumps({"name": "quick"})
            assert pool.submit(came_to, gw, upstream, f"/?want={'quick' if i % 2 else 'z'}", method="POST", body=body,
                               headers={"Content-Type": "application/json"}).result() == ("/yes" if i % 2 else "/no")
    for i, c in reversed(list(enumerate(slow))):
        c.send(bodies[i][5:])
        assert c.reply().status == 200
        assert upstream.last.path.split("?")[0] == ("/yes" if i % 2 else "/no")
        c.close()


def test_client_that_leaves_ends_a_function_that_waits(gw, upstream):
    two_routes(gw, upstream, {"filter_func": "function(vars) return vars['post_arg.name'] == 'x' end"})
    for _ in range(20):
        with Conn(gw.port) as c:
            c.send(get("/", "Content-Type: application/json", "Content-Length: 100", method="POST"), b'{"na')
    assert came_to(gw, upstream, method="POST", body='{"name":"x"}', headers={"Content-Type": "application/json"}) == "/yes"


def test_graphql_variables_choose(gw, upstream):
    two_routes(gw, upstream, {"vars": [["graphql_operation", "==", "mutation"], ["graphql_root_fields", "has", "deleteAll"]]})
    asked = {"mutation { deleteAll }": "/yes", "mutation { a: deleteAll { id } b }": "/yes", "mutation { b }": "/no", "{ deleteAll }": "/no",
             "mutation { ...F } fragment F on M { deleteAll }": "/yes", "mutation { ": "/no"}
    for text, where in asked.items():
        assert came_to(gw, upstream, method="POST", body=json.dumps({"query": text}), headers={"Content-Type": "application/json"}) == where
        assert came_to(gw, upstream, method="POST", body=text, headers={"Content-Type": "application/graphql"}) == where
    # What was read to decide goes upstream whole.
    assert upstream.last.body == b"mutation { "


def test_form_fields_choose(gw, upstream):
    two_routes(gw, upstream, {"vars": [["post_arg.kind", "==", "big"]]})
    part = '--b\r\nContent-Disposition: form-data; name="kind"\r\n\r\nbig\r\n--b--\r\n'
    assert came_to(gw, upstream, method="POST", body=part, headers={"Content-Type": "multipart/form-data; boundary=b"}) == "/yes"
    assert came_to(gw, upstream, method="POST", body="kind=big", headers={"Content-Type": "application/x-www-form-urlencoded"}) == "/yes"
    assert came_to(gw, upstream, method="POST", body="x.kind=big", headers={"Content-Type": "application/x-www-form-urlencoded"}) == "/no"
