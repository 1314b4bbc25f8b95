/* SPDX-License-Identifier: Apache-2.0 */
/* What the Admin API accepts and how it words refusals; the texts were recorded from the reference,
 * as test/golden has them. */
#include "config/resource.h"
#include "hooks_fake.h"
#include "t.h"

static json_t *json(const char *text)
{
    json_error_t e;
    json_t *v = json_loads(text, JSON_DECODE_ANY, &e);

    if (v == NULL) {
        printf("# %s: %s\n", e.text, text);
    }
    return v;
}

static const struct object *only_1_exists(void *arg, enum object_kind k, struct str id)
{
    static const struct ssl of_type_server;

    (void)arg, (void)k;
    return str_eq(id, STR("1")) ? &of_type_server.o : NULL;
}

/* The message for value under id; "" when it is accepted. */
static const char *verdict(enum object_kind k, const char *id, const char *value)
{
    static struct err e;
    static const struct resource_refs refs = {.find = only_1_exists};
    json_t *v = json(value), *before = json_deep_copy(v);

    e.msg[0] = 0;
    const int rc = resource_check(k, str_c(id), v, &refs, &e);
    CHECK((rc == 0) == (e.msg[0] == 0));
    CHECK(json_equal(v, before));
    json_decref(v);
    json_decref(before);
    return e.msg;
}

struct verdict_case {
    enum object_kind kind;
    const char *id, *value, *want;
};

static void check_table(const struct verdict_case *c, size_t n)
{
    fake_hooks_install();
    for (size_t i = 0; i < n; i++) {
        const char *got = verdict(c[i].kind, c[i].id, c[i].value);

        CHECK_ROW(i, strcmp(got, c[i].want) == 0);
        if (strcmp(got, c[i].want) != 0) {
            printf("# got  %s\n# want %s\n", got, c[i].want);
        }
    }
}
#define CHECK_TABLE(t) check_table(t, sizeof(t) / sizeof((t)[0]))

#define UP "\"upstream\":{\"type\":\"roundrobin\",\"nodes\":{\"127.0.0.1:1980\":1}}"
#define R K_ROUTE, "1"

static void routes_are_checked_as_the_reference_does(void)
{
    static const struct verdict_case cases[] = {
        {R, "{\"uri\":\"/hello\"," UP "}", ""},
        {R, "[]",
         "invalid configuration: allOf 1 failed: value should match only one schema, but matches "
         "none"},
        {R, "\"str\"", "invalid configuration: wrong type: expected object, got string"},
        {R, "{}",
         "invalid configuration: allOf 1 failed: value should match only one schema, but matches "
         "none"},
        {R, "{\"uri\":\"/hello\"," UP ",\"foo\":1}",
         "invalid configuration: additional properties forbidden, found foo"},
        {R, "{\"uri\":12," UP "}",
         "invalid configuration: property \"uri\" validation failed: wrong type: expected string, "
         "got number"},
        {R, "{\"uri\":\"/hello\"," UP ",\"uris\":[\"/a\"]}",
         "invalid configuration: allOf 1 failed: value should match only one schema, but matches "
         "both schemas 1 and 2"},
        {R, "{\"uri\":\"/hello\"," UP ",\"host\":\"a.com\",\"hosts\":[\"b.com\"]}",
         "only one of host or hosts is allowed"},
        {R,
         "{\"uri\":\"/hello\"," UP ",\"remote_addr\":\"1.1.1.1\",\"remote_addrs\":[\"1.1.1.1\"]}",
         "only one of remote_addr or remote_addrs is allowed"},
        {R, "{\"uri\":\"/hello\"," UP ",\"host\":\"foo.*.com\"}",
         "invalid configuration: property \"host\" validation failed: failed to match pattern "
         "\"^\\\\*$|^\\\\*?[0-9a-zA-Z-._\\\\[\\\\]:]+$\" with \"foo.*.com\""},
        {R, "{\"uri\":\"/hello\"," UP ",\"remote_addrs\":[\"127.0.0.1\",\"xx\"]}",
         "invalid configuration: property \"remote_addrs\" validation failed: failed to validate "
         "item 2: object matches none of the required"},
        {R, "{\"uri\":\"/hello\"," UP ",\"methods\":[\"get\"]}",
         "invalid configuration: property \"methods\" validation failed: failed to validate item "
         "1: matches none of the enum values"},
        {R, "{\"uri\":\"/hello\"," UP ",\"status\":2}",
         "invalid configuration: property \"status\" validation failed: matches none of the enum "
         "values"},
        {R, "{\"uri\":\"/hello\"," UP ",\"vars\":[[\"arg_k\",\"===\",\"v\"]]}",
         "failed to validate the 'vars' expression: invalid operator '==='"},
        {R, "{\"uri\":\"/hello\"," UP ",\"vars\":[\"arg_k\",\"==\",\"v\"]}",
         "failed to validate the 'vars' expression: rule should be wrapped inside brackets"},
        {R, "{\"uri\":\"/x\",\"upstream_id\":\"nope\"}",
         "failed to fetch upstream info by upstream id [nope], response code: 404"},
        {R, "{\"uri\":\"/x\",\"upstream_id\":77}",
         "failed to fetch upstream info by upstream id [77], response code: 404"},
        {R, "{\"uri\":\"/x\",\"upstream_id\":1}", ""},
        {R, "{\"uri\":\"/x\",\"service_id\":\"nope\"}",
         "failed to fetch service info by service id [nope], response code: 404"},
        {R, "{\"uri\":\"/hello\"," UP ",\"plugin_config_id\":\"nope\"}",
         "failed to fetch plugin config info by plugin config id [nope], response code: 404"},
        {R, "{\"uri\":\"/hello\"," UP ",\"desc\":null}",
         "invalid configuration: property \"desc\" validation failed: wrong type: expected string, "
         "got userdata"},
        {R, "{\"uri\":\"/hello\"," UP ",\"filter_func\":\"function(vars) return true end\"}", ""},
        {R, "{\"uri\":\"/hello\"," UP ",\"filter_func\":\"function(vars) return \"}",
         "failed to load 'filter_func' string: [string \"return function(vars) return \"]:1: 'end' "
         "expected near '<eof>'"},
        {R, "{\"uri\":\"/hello\"," UP ",\"filter_func\":\"function(vars) end == 1\"}",
         "'filter_func' should be a function"},
        {R, "{\"uri\":\"/hello\",\"script\":\"local _M = {} return _M\"}",
         "failed to load 'script' string: scripts are not supported in this build"},
        {R, "{\"uri\":\"/x\",\"script\":\"local _M = {} return _M\",\"plugins\":{}}",
         "invalid configuration: value wasn't supposed to match schema"},
        {R, "{\"uri\":\"/hello\"," UP ",\"timeout\":{\"connect\":0,\"send\":1,\"read\":1}}",
         "invalid configuration: property \"timeout\" validation failed: property \"connect\" "
         "validation failed: expected 0 to be greater than 0"},
        {R, "{\"uri\":\"/hello\",\"upstream\":{\"nodes\":{\"foo.com:0\":1}}}", "invalid port 0"},
        {K_ROUTE, "a$b", "{\"uri\":\"/hello\"," UP "}",
         "invalid configuration: property \"id\" validation failed: object matches none of the "
         "required"},
        {K_ROUTE, "", "{\"uri\":\"/hello\"," UP ",\"id\":0}",
         "invalid configuration: property \"id\" validation failed: object matches none of the "
         "required"},
        {K_ROUTE, "5", "{\"uri\":\"/hello\"," UP ",\"id\":5}", ""},
    };

    CHECK_TABLE(cases);
}

static void plugins_are_checked_wherever_they_stand(void)
{
    static const struct verdict_case cases[] = {
        {R, "{\"uri\":\"/a\",\"plugins\":{\"nope\":{}}}", "unknown plugin [nope]"},
        {R, "{\"uri\":\"/a\",\"plugins\":{\"note\":\"x\"}}",
         "invalid plugin conf \"x\" for plugin [note]"},
        {R, "{\"uri\":\"/a\",\"plugins\":{\"note\":null}}",
         "invalid plugin conf \"userdata: NULL\" for plugin [note]"},
        {R, "{\"uri\":\"/a\",\"plugins\":{\"note\":{}}}",
         "failed to check the configuration of plugin note err: property \"text\" is required"},
        {R, "{\"uri\":\"/a\",\"plugins\":{\"note\":[]}}",
         "failed to check the configuration of plugin note err: property \"text\" is required"},
        {R, "{\"uri\":\"/a\",\"plugins\":{\"note\":{\"_meta\":{\"disable\":true}}}}", ""},
        {R, "{\"uri\":\"/a\",\"plugins\":{\"nope\":{\"_meta\":{\"disable\":true}}}}",
         "unknown plugin [nope]"},
        {R,
         "{\"uri\":\"/"
         "a\",\"plugins\":{\"note\":{\"text\":\"t\",\"_meta\":{\"filter\":[[\"a\",\"b\",\"c\"]]}}}"
         "}",
         "failed to validate the 'vars' expression: invalid operator 'b'"},
        {R,
         "{\"uri\":\"/"
         "a\",\"plugins\":{\"note\":{\"text\":\"t\",\"_meta\":{\"pre_function\":\"return 1\"}}}}",
         "failed to load _meta.pre_function in plugin note: functions are not supported in this build"},
        {K_SERVICE, "1", "{\"plugins\":{\"nope\":{}}}", "unknown plugin [nope]"},
        {K_CONSUMER_GROUP, "1", "{\"plugins\":{\"nope\":{}}}", "unknown plugin [nope]"},
        {K_CONSUMER_GROUP, "1", "{}", "invalid configuration: property \"plugins\" is required"},
        {K_GLOBAL_RULE, "1", "{\"plugins\":{\"note\":{\"text\":\"t\"}}}", ""},
        {K_PLUGIN_CONFIG, "1", "{\"plugins\":{\"note\":{\"text\":1}}}",
         "failed to check the configuration of plugin note err: property \"text\" validation "
         "failed: wrong type: expected string, got number"},
        {K_PLUGIN_METADATA, "nope", "{\"a\":1}", "invalid plugin name"},
        {K_PLUGIN_METADATA, "plain", "{\"a\":1}", ""},
        {K_PLUGIN_METADATA, "note", "{\"id\":\"note\",\"text\":\"t\"}", ""},
        {K_PLUGIN_METADATA, "note", "{\"text\":1}",
         "invalid configuration: property \"text\" validation failed: wrong type: expected string, "
         "got number"},
    };

    CHECK_TABLE(cases);
}

#define C K_CONSUMER, "jack"
#define CRED K_CREDENTIAL, "1/credentials/c1"

static void consumers_and_credentials_are_checked(void)
{
    static const struct verdict_case cases[] = {
        {C, "{\"username\":\"jack\",\"plugins\":{\"key-auth\":{\"key\":\"k\"}}}", ""},
        {C, "{\"username\":\"jack\",\"plugins\":{\"key-auth\":{}}}",
         "invalid plugins configuration: failed to check the configuration of plugin key-auth err: "
         "property \"key\" is required"},
        {C, "{\"username\":\"jack\",\"plugins\":{\"nope\":{}}}",
         "invalid plugins configuration: unknown plugin [nope]"},
        {K_CONSUMER, "jack1", "{\"username\":\"jack\"}", "wrong username"},
        {C, "{\"plugins\":{}}", "invalid configuration: property \"username\" is required"},
        {K_CONSUMER, "", "{\"username\":\"ja.ck\"}",
         "invalid configuration: property \"username\" validation failed: failed to match pattern "
         "\"^[a-zA-Z0-9_\\\\-]+$\" with \"ja.ck\""},
        {C, "{\"username\":\"jack\",\"group_id\":\"none\"}",
         "failed to fetch consumer group info by consumer group id [none], response code: 404"},
        {CRED, "{\"plugins\":{\"key-auth\":{\"key\":\"k\"}},\"name\":\"n\"}", ""},
        {CRED, "{}", ""},
        {CRED, "{\"plugins\":{\"key-auth\":{\"key\":\"b\"},\"word-auth\":{\"word\":\"u\"}}}",
         "invalid configuration: property \"plugins\" validation failed: expect object to have at "
         "most 1 properties"},
        {CRED, "{\"plugins\":{\"note\":{\"text\":\"t\"}}}",
         "only supports auth type plugins in consumer credential"},
        {CRED, "{\"plugins\":{\"nope\":{}}}",
         "invalid plugins configuration: unknown plugin [nope]"},
        {K_CREDENTIAL, "nobody/credentials/c1", "{\"plugins\":{\"key-auth\":{\"key\":\"zz\"}}}",
         "consumer not found"},
    };

    CHECK_TABLE(cases);
}

#define U K_UPSTREAM, "2"
#define N1 "\"nodes\":{\"127.0.0.1:1980\":1}"
#define LONG_X                                                                                     \
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" \
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static void upstreams_are_checked_beyond_the_schema(void)
{
    static const struct verdict_case cases[] = {
        {U, "{" N1 "}", ""},
        {U, "{\"nodes\":{}}", ""},
        {U, "{\"nodes\":[]}", ""},
        {U, "{\"nodes\":{\"127.0.0.1:80\":-1}}",
         "invalid configuration: property \"nodes\" validation failed: object matches none of the "
         "required"},
        {U, "{\"nodes\":{\"foo.com:65536\":1}}", "invalid port 65536"},
        {U, "{\"nodes\":{\"foo.com:0\":1}}", "invalid port 0"},
        {U, "{\"nodes\":{\"[::1]:0\":1}}", "invalid port 0"},
        {U, "{\"nodes\":[{\"host\":\"::1\",\"port\":80,\"weight\":1}]}",
         "invalid configuration: IPv6 address must be enclosed with '[' and ']'"},
        {U, "{\"nodes\":[{\"host\":\"[::1]\",\"port\":80,\"weight\":1}]}", ""},
        {U, "{" N1 ",\"scheme\":\"ws\"}",
         "invalid configuration: property \"scheme\" validation failed: matches none of the enum "
         "values"},
        {U, "{" N1 ",\"pass_host\":\"rewrite\"}",
         "`upstream_host` can't be empty when `pass_host` is `rewrite`"},
        {U, "{" N1 ",\"pass_host\":\"rewrite\",\"upstream_host\":\"a.com:90\"}", ""},
        {U, "{" N1 ",\"type\":\"nope\"}", ""},
        {U, "{" N1 ",\"type\":\"chash\"}", "missing key"},
        {U, "{" N1 ",\"type\":\"chash\",\"hash_on\":\"consumer\"}", ""},
        {U, "{" N1 ",\"type\":\"chash\",\"key\":\"arg_device_id\"}", ""},
        {U,
         "{" N1 ",\"type\":\"chash\",\"hash_on\":\"vars_combinations\",\"key\":\"$http_a$arg_b\"}",
         ""},
        {U, "{" N1 ",\"type\":\"chash\",\"key\":\"not_supported\"}",
         "invalid configuration: failed to match pattern "
         "\"^((uri|server_name|server_addr|request_uri|remote_port|remote_addr|query_string|host|"
         "hostname|"
         "mqtt_client_id)|arg_[0-9a-zA-z_-]+)$\" with \"not_supported\""},
        {U, "{" N1 ",\"type\":\"chash\",\"hash_on\":\"header\",\"key\":\"$#^@\"}",
         "invalid configuration: failed to match pattern \"^[a-zA-Z0-9-_]+$\" with \"$#^@\""},
        {U, "{" N1 ",\"checks\":{}}",
         "invalid configuration: property \"checks\" validation failed: object matches none of the "
         "required: [\"active\"] or [\"active\",\"passive\"]"},
        {U, "{" N1 ",\"checks\":{\"active\":{}}}", ""},
        {U, "{" N1 ",\"tls\":{\"client_cert_id\":\"nope\"}}",
         "failed to fetch ssl info by ssl id [nope], response code: 404"},
        {U, "{" N1 ",\"tls\":{\"client_cert\":\"" LONG_X "\",\"client_key\":\"" LONG_X "\"}}",
         "failed to parse cert: PEM_read_bio_X509_AUX() failed"},
        {U, "{\"service_name\":\"x\",\"discovery_type\":\"dns\"}", ""},
        {U, "{\"service_name\":\"x\"}",
         "invalid configuration: value should match only one schema, but matches none"},
    };

    CHECK_TABLE(cases);
}

static void only_the_schema_is_looked_at_for_schema_validate(void)
{
    static const struct {
        const char *value, *want;
    } cases[] = {
        {"{\"uri\":1}",
         "property \"uri\" validation failed: wrong type: expected string, got number"},
        {"{\"uri\":\"/a\",\"plugins\":{\"nope\":{}}}", ""},
    };

    fake_hooks_install();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err e = {0};
        json_t *v = json(cases[i].value);

        resource_check_schema(K_ROUTE, v, &e);
        CHECK_STR(str_c(e.msg), cases[i].want);
        json_decref(v);
    }
    fake_hooks_free();
}

TESTS(T(routes_are_checked_as_the_reference_does), T(plugins_are_checked_wherever_they_stand),
      T(consumers_and_credentials_are_checked), T(upstreams_are_checked_beyond_the_schema),
      T(only_the_schema_is_looked_at_for_schema_validate))
