# SPDX-License-Identifier: Apache-2.0
"""key-auth, basic-auth, consumer-restriction through the gateway: who is let in, as whom, and what the upstream learns of it."""
import base64
import json

import pytest

from weirtest import wait_for

OWNED = ["X-Consumer-Username", "X-Credential-Identifier", "X-Consumer-Custom-ID"]


def consumer(gw, name, **more):
    plugins = {"key-auth": {"key": name + "-key"}, "basic-auth": {"username": name, "password": name + "-secret"}}
    gw.put("/consumers", {"username": name, "plugins": {**plugins, **more.pop("plugins", {})}, **more})


def route(gw, upstream, plugins, **more):
    gw.put("/routes/1", {"uri": "/*", "upstream": upstream.nodes(), "plugins": plugins, **more})


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def saw(upstream, name):
    """Values of a request header that came upstream, however it is spelled."""
    name = name.lower().replace("_", "-")
    return [v for k, v in upstream.last.headers if k.lower().replace("_", "-") == name]


def message(r):
    return json.loads(r.body)["message"]


def test_all_auth_plugins_of_a_route_must_pass_and_the_last_says_who_it_is(gw, upstream):
    consumer(gw, "jack")
    consumer(gw, "rose")
    route(gw, upstream, {"key-auth": {}, "basic-auth": {}})
    assert gw.get("/", headers={"apikey": "jack-key"}).status == 401
    assert gw.get("/", headers=basic("rose", "rose-secret")).status == 401
    assert gw.get("/", headers={"apikey": "bad", **basic("rose", "rose-secret")}).status == 401
    r = gw.get("/", headers={"apikey": "jack-key", **basic("rose", "rose-secret")})
    # basic-auth has the higher priority, so key-auth comes last.
    assert r.status == 200 and saw(upstream, "X-Consumer-Username") == ["jack"]


def test_a_credential_acts_as_its_consumer(gw, upstream):
    consumer(gw, "jack", labels={"custom_id": "id-7"})
    gw.put("/consumers/jack/credentials/laptop", {"plugins": {"key-auth": {"key": "laptop-key"}}})
    gw.put("/consumers/jack/credentials/phone", {"plugins": {"basic-auth": {"username": "j", "password": "phone-secret"}}})
    route(gw, upstream, {"key-auth": {}})
    assert gw.get("/", headers={"apikey": "laptop-key"}).status == 200
    assert [saw(upstream, n) for n in OWNED] == [["jack"], ["laptop"], ["id-7"]]
    gw.delete("/consumers/jack/credentials/laptop")
    assert gw.get("/", headers={"apikey": "laptop-key"}).status == 401
    assert gw.get("/", headers={"apikey": "jack-key"}).status == 200
    route(gw, upstream, {"basic-auth": {}})
    assert gw.get("/", headers=basic("j", "phone-secret")).status == 200
    assert [saw(upstream, n) for n in OWNED] == [["jack"], ["phone"], ["id-7"]]


def test_a_changed_key_works_at_once_and_the_old_one_no_more(gw, upstream):
    consumer(gw, "jack")
    route(gw, upstream, {"key-auth": {}})
    for i in range(5):
        gw.put("/consumers", {"username": "jack", "plugins": {"key-auth": {"key": f"k{i}"}}})
        assert gw.get("/", headers={"apikey": f"k{i}"}).status == 200
        assert gw.get("/", headers={"apikey": f"k{i - 1}"}).status == 401
    gw.delete("/consumers/jack")
    assert gw.get("/", headers={"apikey": "k4"}).status == 401


@pytest.mark.parametrize("plugin,credentials", [("key-auth", {"apikey": "jack-key"}), ("basic-auth", basic("jack", "jack-secret"))])
def test_what_a_client_says_about_itself_does_not_reach_the_upstream(gw, upstream, plugin, credentials):
    consumer(gw, "jack")
    route(gw, upstream, {plugin: {"anonymous_consumer": "anon"}})
    gw.put("/consumers", {"username": "anon", "plugins": {}})
    for name in OWNED:
        for spelling in (name, name.upper(), name.lower(), name.replace("-", "_"), name.lower().replace("-", "_"), name.replace("-", "_", 1)):
            for known in (credentials, {}):
                assert gw.get("/", headers={spelling: "root", **known}).status == 200
                assert not [v for n in OWNED for v in saw(upstream, n) if v == "root"], spelling
                assert saw(upstream, "X-Consumer-Username") == ["jack" if known else "anon"]


def test_without_an_auth_plugin_the_fields_are_anybodys(gw, upstream):
    route(gw, upstream, {})
    gw.get("/", headers={"X-Consumer-Username": "me"})
    assert saw(upstream, "X-Consumer-Username") == ["me"]


def test_anonymous_stands_in_for_missing_and_for_wrong_credentials(gw, upstream):
    consumer(gw, "jack")
    gw.put("/consumers", {"username": "anon", "labels": {"custom_id": "nobody"}, "plugins": {}})
    route(gw, upstream, {"basic-auth": {"anonymous_consumer": "anon"}, "consumer-restriction": {"whitelist": ["anon"]}})
    for headers in ({}, basic("jack", "wrong"), {"Authorization": "Bearer x"}):
        assert gw.get("/", headers=headers).status == 200
        assert [saw(upstream, n) for n in OWNED] == [["anon"], [], ["nobody"]]
    assert gw.get("/", headers=basic("jack", "jack-secret")).status == 403


@pytest.mark.parametrize("conf,request_,hidden", [
    ({}, ("/a?x=1", {"apikey": "jack-key"}), False),
    ({"hide_credentials": True}, ("/a?x=1", {"apikey": "jack-key"}), True),
    ({"hide_credentials": True}, ("/a?apikey=jack-key&x=1", {}), True),
    ({"hide_credentials": True}, ("/a?x=1&api%6Bey=jack-key", {}), True),
    ({"hide_credentials": True}, ("/a?apikey=jack-key&x=1", {"ApiKey": "jack-key"}), True),
    ({"hide_credentials": True, "header": "X-My-Key", "query": "k"}, ("/a?x=1&k=jack-key", {"x_my_key": "jack-key", "X-My-Key": "jack-key"}), True),
])
def test_hidden_keys_do_not_reach_the_upstream(gw, upstream, conf, request_, hidden):
    consumer(gw, "jack")
    route(gw, upstream, {"key-auth": conf})
    path, headers = request_
    assert gw.get(path, headers=headers).status == 200
    assert ("jack-key" not in repr(upstream.last)) == hidden
    assert upstream.last.path == "/a?x=1"


def test_a_hidden_basic_password_does_not_reach_the_upstream(gw, upstream):
    consumer(gw, "jack")
    route(gw, upstream, {"basic-auth": {"hide_credentials": True}})
    assert gw.get("/", headers=basic("jack", "jack-secret")).status == 200
    assert saw(upstream, "Authorization") == []


def test_refusals_carry_the_realm_and_fixed_words(gw, upstream):
    consumer(gw, "jack")
    route(gw, upstream, {"key-auth": {"realm": "the vault"}})
    r = gw.get("/", headers={"apikey": "bad"})
    assert (r.status, r.headers["www-authenticate"], message(r)) == (401, 'apikey realm="the vault"', "Invalid API key in request")
    route(gw, upstream, {"basic-auth": {"realm": "the vault"}})
    r = gw.get("/", headers=basic("jack", "bad"))
    assert (r.status, r.headers["www-authenticate"], message(r)) == (401, 'Basic realm="the vault"', "Invalid user authorization")
    assert gw.admin("PUT", "/routes/2", {"uri": "/b", "plugins": {"key-auth": {"realm": 'a"b'}}}).status == 400


def test_no_credential_shows_in_an_answer_or_in_the_error_log(gw, upstream):
    consumer(gw, "jack")
    canary = "canary-5f3a"
    before = len(gw.log_text())
    answers = []

    def refused(plugin, path, headers):
        """Until it is in the log, where few lines of a kind are let in each second."""
        answers.append(gw.get(path, headers=headers))
        return f"{plugin} refused with 401" in gw.log_text()[before:]

    route(gw, upstream, {"key-auth": {}})
    for path, headers in [("/", {"apikey": canary}), ("/?apikey=" + canary, {})]:
        wait_for(lambda: refused("key-auth", path, headers))
    route(gw, upstream, {"basic-auth": {}})
    for headers in [basic("jack", canary), basic(canary, "x"), {"Authorization": canary}]:
        wait_for(lambda: refused("basic-auth", "/", headers))
    encoded = base64.b64encode(f"jack:{canary}".encode()).decode()
    for r in answers:
        assert r.status == 401 and canary not in repr(r)
    log = gw.log_text()[before:]
    assert canary not in log and encoded not in log and "jack-secret" not in log


def test_a_group_is_let_in_by_its_id_and_lends_its_plugins(gw, upstream):
    gw.put("/consumer_groups/gold", {"plugins": {"proxy-rewrite": {"headers": {"set": {"X-Group": "gold"}}}}})
    consumer(gw, "jack", group_id="gold")
    consumer(gw, "rose")
    route(gw, upstream, {"key-auth": {}, "consumer-restriction": {"type": "consumer_group_id", "whitelist": ["gold"], "rejected_code": 404}})
    assert gw.get("/", headers={"apikey": "jack-key"}).status == 200
    assert saw(upstream, "X-Group") == ["gold"]
    r = gw.get("/", headers={"apikey": "rose-key"})
    assert (r.status, message(r)) == (401, "The request is rejected, please check the consumer_group_id for this request")


@pytest.mark.parametrize("type_,listed,status", [("route_id", "1", 200), ("route_id", "2", 403), ("service_id", "s", 200), ("service_id", "t", 403)])
def test_routes_and_services_are_let_in_by_id(gw, upstream, type_, listed, status):
    gw.put("/services/s", {"upstream": upstream.nodes()})
    gw.put("/routes/1", {"uri": "/*", "service_id": "s", "plugins": {"consumer-restriction": {"type": type_, "whitelist": [listed]}}})
    r = gw.get("/")
    assert r.status == status and (status == 200 or message(r) == f"The {type_} is forbidden.")


def test_methods_are_allowed_by_user(gw, upstream):
    consumer(gw, "jack")
    consumer(gw, "rose")
    route(gw, upstream, {"key-auth": {}, "consumer-restriction": {"allowed_by_methods": [{"user": "jack", "methods": ["GET"]}]}})
    answers = [gw.request("/", method=m, headers={"apikey": who + "-key"}).status for who in ("jack", "rose") for m in ("GET", "PUT")]
    assert answers == [200, 403, 200, 200]


def test_error_response_of_meta_replaces_the_words(gw, upstream):
    route(gw, upstream, {"key-auth": {"_meta": {"error_response": {"code": 7}}}})
    r = gw.get("/")
    assert (r.status, json.loads(r.body)) == (401, {"code": 7})


def test_a_filtered_auth_plugin_lets_pass(gw, upstream):
    consumer(gw, "jack")
    route(gw, upstream, {"key-auth": {"_meta": {"filter": [["uri", "~~", "^/private"]]}}})
    assert [gw.get(p).status for p in ("/public", "/private", "/%70rivate", "/x/../private")] == [200, 401, 401, 401]


def test_keys_are_encrypted_in_what_a_write_answers(gw):
    r = gw.put("/consumers", {"username": "jack", "plugins": {"key-auth": {"key": "canary-9b"}, "basic-auth": {"username": "j", "password": "canary-9c"}}})
    assert "canary" not in json.dumps(r)
