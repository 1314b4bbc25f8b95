/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference's own schemas: each compiles, and what a running reference gateway answered to
 * wrong configurations is what we answer. Left out are answers where several rules are broken at
 * once and the reference picks one by chance.
 */
#include "schema/jschema.h"

#include "base/buf.h"
#include "schema/field.h" /* JSON() */

#include "t.h"

static const struct {
    /* where in schemas.json; part: schema, consumer_schema ... */
    const char *section, *name, *part;
    const char *value, *want;
} rows[] = {
    /* clang-format off */
    {"main", "route", NULL, JSON([]),
     "allOf 1 failed: value should match only one schema, but matches none"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "id": "a$b"}),
     "property \"id\" validation failed: object matches none of the required"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "id": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}),
     "property \"id\" validation failed: object matches none of the required"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "foo": 1, "id": "1"}),
     "additional properties forbidden, found foo"},
    {"main", "route", NULL, JSON({"upstream": {"nodes": {"127.0.0.1:1980": 1}}, "id": "1"}),
     "allOf 1 failed: value should match only one schema, but matches none"},
    {"main", "route", NULL, JSON({"uri": "/x", "id": "1"}),
     "object matches none of the required: [\"plugins\",\"uri\"] or [\"upstream\",\"uri\"] "
     "or [\"upstream_id\",\"uri\"] or [\"service_id\",\"uri\"] or [\"plugins\",\"uris\"] or "
     "[\"upstream\",\"uris\"] or [\"upstream_id\",\"uris\"] or [\"service_id\",\"uris\"] or "
     "[\"script\",\"uri\"] or [\"script\",\"uris\"]"},
    {"main", "route", NULL, JSON({"id": "1"}),
     "allOf 1 failed: value should match only one schema, but matches none"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "uris": ["/a"], "id": "1"}),
     "allOf 1 failed: value should match only one schema, but matches both schemas 1 and 2"},
    {"main", "route", NULL,
     JSON({"uri": 12, "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "id": "1"}),
     "property \"uri\" validation failed: wrong type: expected string, got number"},
    {"main", "route", NULL,
     JSON({"uri": "", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "id": "1"}),
     "property \"uri\" validation failed: string too short, expected at least 1, got 0"},
    {"main", "route", NULL,
     JSON({"uris": [], "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "id": "1"}),
     "property \"uris\" validation failed: expect array to have at least 1 items"},
    {"main", "route", NULL,
     JSON({"uris": ["/a", "/a"], "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "id": "1"}),
     "property \"uris\" validation failed: expected unique items but items 1 and 2 are equal"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "host": "$%$foo.com", "id": "1"}),
     "property \"host\" validation failed: failed to match pattern "
     "\"^\\\\*$|^\\\\*?[0-9a-zA-Z-._\\\\[\\\\]:]+$\" with \"$%$foo.com\""},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "host": "foo.*.com", "id": "1"}),
     "property \"host\" validation failed: failed to match pattern "
     "\"^\\\\*$|^\\\\*?[0-9a-zA-Z-._\\\\[\\\\]:]+$\" with \"foo.*.com\""},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "remote_addr": "127.0.0.0.0/24", "id": "1"}),
     "property \"remote_addr\" validation failed: object matches none of the required"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "remote_addrs": ["127.0.0.1", "xx"], "id": "1"}),
     "property \"remote_addrs\" validation failed: failed to validate item 2: object matches "
     "none of the required"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "methods": ["GET2"], "id": "1"}),
     "property \"methods\" validation failed: failed to validate item 1: matches none of the "
     "enum values"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "methods": ["get"], "id": "1"}),
     "property \"methods\" validation failed: failed to validate item 1: matches none of the "
     "enum values"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "methods": ["GET", "GET"], "id": "1"}),
     "property \"methods\" validation failed: expected unique items but items 1 and 2 are "
     "equal"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "priority": "1", "id": "1"}),
     "property \"priority\" validation failed: wrong type: expected integer, got string"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "priority": 1.5, "id": "1"}),
     "property \"priority\" validation failed: wrong type: expected integer, got number"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "status": 2, "id": "1"}),
     "property \"status\" validation failed: matches none of the enum values"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "labels": {"a": 1}, "id": "1"}),
     "property \"labels\" validation failed: failed to validate a (matching \".*\"): wrong "
     "type: expected string, got number"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "labels": {"env": "a b"}, "id": "1"}),
     "property \"labels\" validation failed: failed to validate env (matching \".*\"): "
     "failed to match pattern \"^\\\\S+$\" with \"a b\""},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "name": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "id": "1"}),
     "property \"name\" validation failed: string too long, expected at most 256, got 257"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "desc": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "id": "1"}),
     "property \"desc\" validation failed: string too long, expected at most 256, got 257"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "vars": "x", "id": "1"}),
     "property \"vars\" validation failed: wrong type: expected array, got string"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "filter_func": "x", "id": "1"}),
     "property \"filter_func\" validation failed: string too short, expected at least 10, "
     "got 1"},
    {"main", "route", NULL,
     JSON({"uri": "/x", "script": "local _M = {} return _M", "plugins": {}, "id": "1"}),
     "value wasn't supposed to match schema"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "timeout": {"connect": 0, "send": 1, "read": 1}, "id": "1"}),
     "property \"timeout\" validation failed: property \"connect\" validation failed: "
     "expected 0 to be greater than 0"},
    {"plugins", "limit-count", "schema",
     JSON({"count": -1, "time_window": 60, "rejected_code": 503, "key": "remote_addr"}),
     "property \"count\" validation failed: value should match only one schema, but matches "
     "none"},
    {"plugins", "cors", "schema", JSON({"_meta": {"foo": 1}}),
     "property \"_meta\" validation failed: additional properties forbidden, found foo"},
    {"main", "upstream", NULL, JSON({"id": "2"}),
     "value should match only one schema, but matches none"},
    {"main", "upstream", NULL, JSON({"type": "roundrobin", "id": "2"}),
     "value should match only one schema, but matches none"},
    {"main", "upstream", NULL,
     JSON({"type": "roundrobin", "nodes": {"127.0.0.1:1980": 1}, "service_name": "x", "discovery_type": "dns", "id": "2"}),
     "value should match only one schema, but matches both schemas 1 and 2"},
    {"main", "upstream", NULL, JSON({"service_name": "x", "id": "2"}),
     "value should match only one schema, but matches none"},
    {"main", "upstream", NULL, JSON({"nodes": {"127.0.0.1:80": -1}, "id": "2"}),
     "property \"nodes\" validation failed: object matches none of the required"},
    {"main", "upstream", NULL, JSON({"nodes": {"127.0.0.1:80": "1"}, "id": "2"}),
     "property \"nodes\" validation failed: object matches none of the required"},
    {"main", "upstream", NULL, JSON({"nodes": [{"host": "foo.com", "port": 80}], "id": "2"}),
     "property \"nodes\" validation failed: object matches none of the required"},
    {"main", "upstream", NULL,
     JSON({"nodes": [{"host": "foo.com", "port": 65536, "weight": 1}], "id": "2"}),
     "property \"nodes\" validation failed: object matches none of the required"},
    {"main", "upstream", NULL,
     JSON({"nodes": [{"host": "a/b", "port": 80, "weight": 1}], "id": "2"}),
     "property \"nodes\" validation failed: object matches none of the required"},
    {"main", "upstream", NULL,
     JSON({"type": "roundrobin", "nodes": {"127.0.0.1:1980": 1}, "scheme": "ws", "id": "2"}),
     "property \"scheme\" validation failed: matches none of the enum values"},
    {"main", "upstream", NULL,
     JSON({"type": "roundrobin", "nodes": {"127.0.0.1:1980": 1}, "pass_host": "x", "id": "2"}),
     "property \"pass_host\" validation failed: matches none of the enum values"},
    {"main", "upstream", NULL,
     JSON({"type": "chash", "nodes": {"127.0.0.1:1980": 1}, "hash_on": "aabbcc", "key": "a", "id": "2"}),
     "property \"hash_on\" validation failed: matches none of the enum values"},
    {"main", "upstream", NULL,
     JSON({"type": "roundrobin", "nodes": {"127.0.0.1:1980": 1}, "retries": -1, "id": "2"}),
     "property \"retries\" validation failed: expected -1 to be at least 0"},
    {"main", "upstream", NULL,
     JSON({"type": "roundrobin", "nodes": {"127.0.0.1:1980": 1}, "checks": {}, "id": "2"}),
     "property \"checks\" validation failed: object matches none of the required: "
     "[\"active\"] or [\"active\",\"passive\"]"},
    {"main", "upstream", NULL,
     JSON({"type": "roundrobin", "nodes": {"127.0.0.1:1980": 1}, "checks": {"passive": {}}, "id": "2"}),
     "property \"checks\" validation failed: object matches none of the required: "
     "[\"active\"] or [\"active\",\"passive\"]"},
    {"main", "upstream", NULL,
     JSON({"type": "roundrobin", "nodes": {"127.0.0.1:1980": 1}, "checks": {"active": {"type": "udp"}}, "id": "2"}),
     "property \"checks\" validation failed: property \"active\" validation failed: property "
     "\"type\" validation failed: matches none of the enum values"},
    {"main", "upstream", NULL,
     JSON({"type": "roundrobin", "nodes": {"127.0.0.1:1980": 1}, "checks": {"active": {"healthy": {"interval": 0}}}, "id": "2"}),
     "property \"checks\" validation failed: property \"active\" validation failed: property "
     "\"healthy\" validation failed: property \"interval\" validation failed: expected 0 to "
     "be at least 1"},
    {"main", "upstream", NULL,
     JSON({"type": "roundrobin", "nodes": {"127.0.0.1:1980": 1}, "checks": {"active": {"healthy": {"http_statuses": [100]}}}, "id": "2"}),
     "property \"checks\" validation failed: property \"active\" validation failed: property "
     "\"healthy\" validation failed: property \"http_statuses\" validation failed: failed to "
     "validate item 1: expected 100 to be at least 200"},
    {"main", "upstream", NULL,
     JSON({"type": "roundrobin", "nodes": {"127.0.0.1:1980": 1}, "keepalive_pool": {"size": 0}, "id": "2"}),
     "property \"keepalive_pool\" validation failed: property \"size\" validation failed: "
     "expected 0 to be at least 1"},
    {"main", "service", NULL, JSON({"uri": "/x", "id": "1"}),
     "additional properties forbidden, found uri"},
    {"main", "service", NULL, JSON({"host": "a.com", "id": "1"}),
     "additional properties forbidden, found host"},
    {"main", "consumer", NULL, JSON({"plugins": {}}),
     "property \"username\" is required"},
    {"main", "consumer", NULL, JSON({"username": "ja ck"}),
     "property \"username\" validation failed: failed to match pattern "
     "\"^[a-zA-Z0-9_\\\\-]+$\" with \"ja ck\""},
    {"main", "consumer", NULL, JSON({"username": "ja.ck"}),
     "property \"username\" validation failed: failed to match pattern "
     "\"^[a-zA-Z0-9_\\\\-]+$\" with \"ja.ck\""},
    {"plugins", "key-auth", "consumer_schema", JSON({}),
     "property \"key\" is required"},
    {"extra", "core", "credential",
     JSON({"plugins": {"key-auth": {"key": "b"}, "basic-auth": {"username": "u", "password": "p"}}, "id": "c2"}),
     "property \"plugins\" validation failed: expect object to have at most 1 properties"},
    {"main", "consumer_group", NULL, JSON({"id": "g2"}),
     "property \"plugins\" is required"},
    {"main", "global_rule", NULL, JSON({"id": "3"}),
     "property \"plugins\" is required"},
    {"main", "proto", NULL, JSON({"id": "2"}),
     "property \"content\" is required"},
    {"extra", "secret", "vault",
     JSON({"uri": "127.0.0.1:8200", "prefix": "kv/apisix", "token": "tok"}),
     "property \"uri\" validation failed: failed to match pattern "
     "\"^[^\\\\/]+:\\\\/\\\\/([\\\\da-zA-Z.-]+|\\\\[[\\\\da-fA-F:]+\\\\])(:\\\\d+)?\" with "
     "\"127.0.0.1:8200\""},
    {"extra", "secret", "vault", JSON({"uri": "http://127.0.0.1:8200"}),
     "property \"prefix\" is required"},
    {"extra", "secret", "gcp", JSON({}),
     "value should match only one schema, but matches none"},
    {"main", "ssl", NULL, JSON({"cert": "x", "key": "y", "sni": "a.com", "id": "2"}),
     "property \"cert\" validation failed: string too short, expected at least 128, got 1"},
    {"main", "stream_route", NULL,
     JSON({"remote_addr": "xx", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "id": "2"}),
     "property \"remote_addr\" validation failed: object matches none of the required"},
    {"main", "stream_route", NULL,
     JSON({"server_port": 0, "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "id": "2"}),
     "property \"server_port\" validation failed: expected 0 to be at least 1"},
    {"stream_plugins", "mqtt-proxy", "schema", JSON({}),
     "property \"protocol_level\" is required"},
    {"main", "route", NULL, JSON({"uri": 1}),
     "property \"uri\" validation failed: wrong type: expected string, got number"},
    {"main", "route", NULL,
     JSON({"uri": "/a", "desc": null, "upstream": {"nodes": {"127.0.0.1:1": 1}}, "id": "1"}),
     "property \"desc\" validation failed: wrong type: expected string, got userdata"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "id": 0}),
     "property \"id\" validation failed: object matches none of the required"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "id": 1.5}),
     "property \"id\" validation failed: object matches none of the required"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "id": true}),
     "property \"id\" validation failed: object matches none of the required"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "id": "a b"}),
     "property \"id\" validation failed: object matches none of the required"},
    {"main", "route", NULL,
     JSON({"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "enable_websocket": "true", "id": "d"}),
     "property \"enable_websocket\" validation failed: wrong type: expected boolean, got "
     "string"},
    {"main", "route", NULL, JSON({"uris": [1], "plugins": {}, "id": "d"}),
     "property \"uris\" validation failed: failed to validate item 1: wrong type: expected "
     "string, got number"},
    {"plugins", "limit-req", "schema",
     JSON({"rate": "$ENV://RATE", "burst": 1, "key": "remote_addr"}),
     "property \"rate\" validation failed: wrong type: expected number, got string"},
    {"plugins", "jwt-auth", "consumer_schema", JSON({"key": "k", "algorithm": "RS256"}),
     "failed to validate dependent schema for \"algorithm\": value should match only one "
     "schema, but matches none"},
    {"plugins", "proxy-rewrite", "schema", JSON({"regex_uri": ["^/a"]}),
     "property \"regex_uri\" validation failed: expect array to have at least 2 items"},
    {"plugins", "ip-restriction", "schema",
     JSON({"whitelist": ["127.0.0.1"], "blacklist": ["127.0.0.1"]}),
     "value should match only one schema, but matches both schemas 1 and 2"},
    {"plugins", "ip-restriction", "schema", JSON({"whitelist": ["10.255.256.0/24"]}),
     "property \"whitelist\" validation failed: failed to validate item 1: object matches "
     "none of the required"},
    {"plugins", "limit-count", "schema", JSON({}),
     "value should match only one schema, but matches none"},
    {"plugins", "limit-count", "schema", JSON({"count": 1, "time_window": 1, "policy": "redis"}),
     "then clause did not match"},
    {"plugins", "limit-count", "schema", JSON({"count": 1, "time_window": 1, "key_type": "x"}),
     "property \"key_type\" validation failed: matches none of the enum values"},
    {"plugins", "redirect", "schema", JSON({}),
     "value should match only one schema, but matches none"},
    {"plugins", "redirect", "schema", JSON({"uri": "/a", "http_to_https": true}),
     "value should match only one schema, but matches both schemas 1 and 3"},
    {"plugins", "consumer-restriction", "schema", JSON({}),
     "object matches none of the required: [\"blacklist\"] or [\"whitelist\"] or "
     "[\"allowed_by_methods\"]"},
    {"plugins", "http-logger", "schema", JSON({"uri": "127.0.0.1"}),
     "property \"uri\" validation failed: failed to match pattern "
     "\"^[^\\\\/]+:\\\\/\\\\/([\\\\da-zA-Z.-]+|\\\\[[\\\\da-fA-F:]+\\\\])(:\\\\d+)?\" with "
     "\"127.0.0.1\""},
    {"plugins", "real-ip", "schema", JSON({"source": "http_x", "trusted_addresses": ["1.2.3"]}),
     "property \"trusted_addresses\" validation failed: failed to validate item 1: object "
     "matches none of the required"},
    {"plugins", "key-auth", "schema", JSON({"header": 1}),
     "property \"header\" validation failed: wrong type: expected string, got number"},
    /* clang-format on */
};

/* test/golden/schemas.json, found from where this file is. */
static json_t *schemas_load(void)
{
    const struct str here = STR(__FILE__);
    struct buf path = BUF_INIT(4096);
    json_error_t why;

    buf_add(&path, str_head(here, (size_t)str_rindex(here, '/') + 1));
    buf_add(&path, STR("../../golden/schemas.json"));
    buf_addc(&path, 0);
    json_t *all = json_load_file(path.p, 0, &why);

    if (all == NULL) {
        printf("# %s: %s\n", path.p, why.text);
    }
    buf_fini(&path);
    return all;
}

static void the_reference_answers_the_same(void)
{
    json_t *all = schemas_load();

    CHECK(all != NULL);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err e = {.msg = ""};
        const json_t *schema = json_get(json_get(all, rows[i].section), rows[i].name);
        struct jschema *s =
            jschema_new(rows[i].part != NULL ? json_get(schema, rows[i].part) : schema, &e);
        json_t *v = json_parse(str_c(rows[i].value), &e);

        CHECK_ROW(i, s != NULL && v != NULL && jschema_check(s, v, &e) == -1);
        CHECK_STR(str_c(e.msg), rows[i].want);
        json_decref(v);
        jschema_free(s);
    }
    json_decref(all);
}

/* Compile v as a schema, and let it look at values of each type. */
static bool schema_compiles(const char *name, const json_t *v)
{
    static const char *const values[] = {"{}",    "[]", "[1]",  "{\"a\":{}}",
                                         "\"x\"", "1",  "null", "true"};
    struct err e = {.msg = ""};
    struct jschema *s = jschema_new(v, &e);

    if (s == NULL) {
        printf("# %s: %s\n", name, e.msg);
        return false;
    }
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct err why = {.msg = ""};
        json_t *value = json_parse(str_c(values[i]), &why);

        CHECK((jschema_check(s, value, &why) == 0) == !err_is_set(&why));
        json_decref(value);
    }
    jschema_free(s);
    return true;
}

static void every_schema_compiles(void)
{
    static const char *const sections[] = {"plugins", "stream_plugins"};
    static const char *const parts[] = {"schema", "consumer_schema", "metadata_schema",
                                        "attr_schema"};
    json_t *all = schemas_load(), *v;
    const char *name;
    size_t n = 0;

    for (size_t i = 0; i < 2; i++) {
        json_object_foreach(json_get(all, sections[i]), name, v) {
            for (size_t p = 0; p < sizeof(parts) / sizeof(parts[0]); p++) {
                const json_t *schema = json_get(v, parts[p]);

                n += schema != NULL && schema_compiles(name, schema);
            }
        }
    }
    json_object_foreach(json_get(all, "main"), name, v) {
        n += schema_compiles(name, v);
    }
    json_object_foreach(json_get(json_get(all, "extra"), "secret"), name, v) {
        n += schema_compiles(name, v);
    }
    /* 120 plugins, 6 stream plugins, 14 resources, 3 secret managers; some plugins have several
     * schemas. */
    CHECK(n > 143);
    json_decref(all);
}

TESTS(T(every_schema_compiles), T(the_reference_answers_the_same))
