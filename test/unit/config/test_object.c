/* SPDX-License-Identifier: Apache-2.0 */
/* From accepted JSON to the values the gateway reads. */
#include "t.h"
#include "config/resource.h"
#include "hooks_fake.h"
#include "proto/h1.h"

/* Variables are not what is tested here: the text of one is its name. */
static struct var var_of(struct arena *a, struct str name)
{
    return (struct var){.name = arena_str(a, name)};
}

static struct value var_value(void *subject, const struct var *v)
{
    (void)subject;
    return (struct value){.kind = VALUE_STR, .s = v->name};
}
static const struct var_table vars = {var_of, var_value};

static struct object *make_as(enum object_kind k, const char *id, const char *text, struct err *e)
{
    json_t *v = json_loads(text, 0, NULL);

    fake_hooks_install();
    var_install(&vars);
    e->msg[0] = 0;
    struct object *o = object_new(k, str_c(id), v, 3, 4, e);
    json_decref(v);
    return o;
}

static void *make(enum object_kind k, const char *id, const char *text)
{
    struct err e = {0};
    struct object *o = make_as(k, id, text, &e);

    if (o == NULL) {
        printf("# %s: %s\n", text, e.msg);
        exit(1);
    }
    return o;
}

static void a_route_has_its_conditions_and_defaults(void)
{
    struct route *r =
        make(K_ROUTE, "r1",
             "{\"uris\":[\"/a\",\"/"
             "b*\"],\"hosts\":[\"Foo.COM\",\"*.bar.com\"],\"methods\":[\"GET\",\"PURGE\"],"
             "\"priority\":7,"
             "\"remote_addrs\":[\"127.0.0.1\",\"10.0.0.0/"
             "8\"],\"vars\":[[\"arg_k\",\"==\",\"arg_k\"]],\"service_id\":5,\"upstream_id\":\"u\","
             "\"plugin_config_id\":\"p\",\"timeout\":{\"connect\":1,\"send\":0.5,\"read\":0.0001},"
             "\"enable_websocket\":true,\"name\":\"n\"}");

    CHECK(r->o.refs == 1 && r->o.kind == K_ROUTE && r->o.serial > 0 && r->o.created_index == 3 &&
          r->o.modified_index == 4);
    CHECK_STR(r->o.id, "r1");
    CHECK_STR(r->name, "n");
    CHECK(r->n_uris == 2 && r->n_hosts == 2);
    CHECK_STR(r->uris[1], "/b*");
    CHECK_STR(r->hosts[0], "foo.com");
    CHECK(r->methods == (1U << M_GET | 1U << M_PURGE));
    CHECK(r->n_remote_addrs == 2 && r->vars != NULL && expr_eval(r->vars, NULL));
    CHECK(r->priority == 7 && r->enabled);
    CHECK_STR(r->service_id, "5");
    CHECK_STR(r->upstream_id, "u");
    CHECK_STR(r->plugin_config_id, "p");
    CHECK(r->has_timeout && r->timeout.connect_ms == 1000 && r->timeout.send_ms == 500 &&
          r->timeout.read_ms == 1);
    CHECK(r->enable_websocket.set && r->enable_websocket.v);
    CHECK(r->upstream == NULL && r->plugins.n == 0);
    CHECK(json_integer_value(json_get(r->o.json, "status")) == 1);
    CHECK_STR(json_str(json_get(r->o.json, "id")), "r1");
    object_drop(&r->o);
}

static void a_plain_route_has_what_it_needs_and_nothing_else(void)
{
    struct route *r = make(K_ROUTE, "2", "{\"uri\":\"/x\",\"status\":0,\"plugins\":{}}");

    CHECK(r->n_uris == 1 && r->n_hosts == 0 && r->methods == 0 && r->n_remote_addrs == 0 &&
          r->vars == NULL);
    CHECK(!r->enabled && !r->has_timeout && !r->enable_websocket.set);
    CHECK(str_is_none(r->service_id) && str_is_none(r->upstream_id) &&
          str_is_none(r->plugin_config_id) && str_is_none(r->name));
    object_drop(&r->o);
}

static void plugins_are_compiled_and_sorted_by_name(void)
{
    struct route *r =
        make(K_ROUTE, "1",
             "{\"uri\":\"/"
             "x\",\"plugins\":{\"plain\":{},\"note\":{\"text\":\"t\",\"_meta\":{\"priority\":5,"
             "\"filter\":[[\"a\",\"==\",\"b\"]],"
             "\"error_response\":{\"m\":1}}},\"key-auth\":{\"_meta\":{\"disable\":true}}}}");
    const struct plugin_use *u = r->plugins.v;

    CHECK(r->plugins.n == 3);
    CHECK_STR(str_c(u[0].plugin->name), "key-auth");
    CHECK(u[0].meta.disable && u[0].conf == NULL);
    CHECK_STR(str_c(u[1].plugin->name), "note");
    CHECK(u[1].index == 0 && u[1].meta.priority.set && u[1].meta.priority.v == 5 &&
          u[1].meta.filter != NULL && !expr_eval(u[1].meta.filter, NULL));
    CHECK_STR(u[1].meta.error_response, "{\"m\":1}\n");
    CHECK(((const struct note_conf *)u[1].conf)->count == 1);
    CHECK_STR(((const struct note_conf *)u[1].conf)->text, "t");
    object_drop(&r->o);
}

static void what_cannot_be_compiled_is_refused(void)
{
    static const struct {
        enum object_kind kind;
        const char *id, *text, *want;
    } cases[] = {
        {K_ROUTE, "1", "{\"uri\":\"/x\",\"plugins\":{\"note\":{\"text\":\"cannot be built\"}}}",
         "failed to check the configuration of plugin note err: cannot be built"},
        {K_ROUTE, "1", "{\"uri\":\"/x\",\"plugins\":{\"nope\":{}}}", "unknown plugin [nope]"},
        {K_ROUTE, "1", "{\"uri\":\"/x\",\"remote_addr\":\"::1/200\",\"plugins\":{}}",
         "invalid remote_addr: ::1/200"},
        {K_SERVICE, "1",
         "{\"hosts\":[\"a\"],\"plugins\":{\"note\":{\"text\":\"cannot be built\"}}}",
         "failed to check the configuration of plugin note err: cannot be built"},
        {K_CREDENTIAL, "no-slash", "{}", "wrong credential id: no-slash"},
        {K_PLUGIN_METADATA, "note", "{\"text\":\"cannot be built\"}", "cannot be built"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err e;

        CHECK_ROW(i, make_as(cases[i].kind, cases[i].id, cases[i].text, &e) == NULL);
        CHECK_STR(str_c(e.msg), cases[i].want);
    }
}

static void nodes_have_addresses_ports_and_host_headers(void)
{
    static const struct {
        const char *nodes, *scheme, *host, *header;
        int port, weight, priority;
        bool is_ip, is_v6;
    } cases[] = {
        {"{\"127.0.0.1:1980\":2}", "http", "127.0.0.1", "127.0.0.1:1980", 1980, 2, 0, true, false},
        {"{\"foo.com\":0}", "http", "foo.com", "foo.com", 80, 0, 0, false, false},
        {"{\"foo.com:80\":1}", "http", "foo.com", "foo.com", 80, 1, 0, false, false},
        {"{\"foo.com:80\":1}", "https", "foo.com", "foo.com:80", 80, 1, 0, false, false},
        {"{\"foo.com\":1}", "https", "foo.com", "foo.com", 443, 1, 0, false, false},
        {"{\"[::1]:81\":1}", "http", "::1", "[::1]:81", 81, 1, 0, true, true},
        {"{\"[::1]\":1}", "http", "::1", "[::1]", 80, 1, 0, true, true},
        {"{\"::1\":1}", "http", "::1", "[::1]", 80, 1, 0, true, true},
        {"[{\"host\":\"[fe80::2]\",\"port\":90,\"weight\":3,\"priority\":-1}]", "http", "fe80::2",
         "[fe80::2]:90", 90, 3, -1, true, true},
        {"[{\"host\":\"foo.com\",\"weight\":99999999999}]", "http", "foo.com", "foo.com", 80, -1, 0,
         false, false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];

        snprintf(text, sizeof(text), "{\"nodes\":%s,\"scheme\":\"%s\"}", cases[i].nodes,
                 cases[i].scheme);
        struct upstream *u = make(K_UPSTREAM, "1", text);
        const struct upstream_node *n = u->c.nodes;
        CHECK_ROW(i, u->c.n_nodes == 1 && n->port == cases[i].port &&
                         n->weight == (uint32_t)cases[i].weight &&
                         n->priority == cases[i].priority);
        CHECK_ROW(i, n->is_ip == cases[i].is_ip && n->is_v6 == cases[i].is_v6 &&
                         u->c.has_domain == !cases[i].is_ip);
        CHECK_STR(n->host, cases[i].host);
        CHECK_STR(n->host_header, cases[i].header);
        object_drop(&u->o);
    }
}

static void an_upstream_has_defaults_and_options(void)
{
    struct upstream *u = make(K_UPSTREAM, "9", "{\"nodes\":{}}");
    CHECK_STR(u->c.type, "roundrobin");
    CHECK_STR(u->c.scheme, "http");
    CHECK_STR(u->c.id, "9");
    CHECK(!u->c.tls && u->c.n_nodes == 0 && !u->c.retries.set && u->c.retry_timeout_ms == 0 &&
          !u->c.has_timeout && !u->c.has_pool && u->c.pass_host == PASS_HOST_PASS);
    object_drop(&u->o);

    u = make(K_UPSTREAM, "9",
             "{\"nodes\":{},\"retries\":0,\"retry_timeout\":1.5,\"pass_host\":\"rewrite\","
             "\"upstream_host\":\"h\",\"scheme\":\"grpcs\",\"name\":\"n\","
             "\"keepalive_pool\":{\"size\":5},\"timeout\":{\"connect\":1,\"send\":2,\"read\":3}}");
    CHECK(u->c.tls && u->c.retries.set && u->c.retries.v == 0 && u->c.retry_timeout_ms == 1500 &&
          u->c.pass_host == PASS_HOST_REWRITE);
    CHECK(u->c.has_pool && u->c.pool_size == 5 && u->c.pool_idle_ms == 60000 &&
          u->c.pool_requests == 1000);
    CHECK(u->c.has_timeout && u->c.timeout.read_ms == 3000);
    CHECK_STR(u->c.upstream_host, "h");
    object_drop(&u->o);

    u = make(K_UPSTREAM, "9", "{\"service_name\":\"s\",\"discovery_type\":\"dns\"}");
    CHECK(u->c.needs_discovery && u->c.n_nodes == 0);
    object_drop(&u->o);
}

static void chash_knows_what_to_hash(void)
{
    static const struct {
        const char *options, *name;
        enum hash_on on;
    } cases[] = {
        {"\"key\":\"remote_addr\"", "remote_addr", HASH_VARS},
        {"\"hash_on\":\"header\",\"key\":\"X-A\"", "http_X-A", HASH_HEADER},
        {"\"hash_on\":\"cookie\",\"key\":\"sid\"", "cookie_sid", HASH_COOKIE},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];

        snprintf(text, sizeof(text), "{\"nodes\":{},\"type\":\"chash\",%s}", cases[i].options);
        struct upstream *u = make(K_UPSTREAM, "1", text);
        CHECK_ROW(i, u->c.hash_on == cases[i].on);
        CHECK_STR(u->c.hash_var.name, cases[i].name);
        object_drop(&u->o);
    }
    struct upstream *u = make(
        K_UPSTREAM, "1",
        "{\"nodes\":{},\"type\":\"chash\",\"hash_on\":\"vars_combinations\",\"key\":\"$a-$b\"}");
    CHECK(u->c.hash_on == HASH_VARS_COMBINATIONS && u->c.hash_tmpl != NULL);
    object_drop(&u->o);
}

static void an_inline_upstream_belongs_to_its_owner(void)
{
    struct route *r =
        make(K_ROUTE, "r", "{\"uri\":\"/x\",\"upstream\":{\"nodes\":{\"a.com:1\":1}}}");
    struct service *s = make(K_SERVICE, "s",
                             "{\"hosts\":[\"A.b\"],\"upstream\":{\"nodes\":{\"a.com:1\":1}},"
                             "\"name\":\"svc\",\"upstream_id\":1}");

    CHECK(r->upstream != NULL && r->upstream->n_nodes == 1 && r->upstream->serial != r->o.serial);
    CHECK_STR(r->upstream->id, "/routes/r");
    CHECK_STR(s->upstream->id, "/services/s");
    CHECK_STR(s->hosts[0], "a.b");
    CHECK_STR(s->upstream_id, "1");
    object_drop(&r->o);
    object_drop(&s->o);
}

static void secrets_from_the_environment_stand_for_their_values(void)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"$env://WEIR_TEST_SECRET", "hush"},
        {"$ENV://WEIR_TEST_SECRET", "hush"},
        {"$env://WEIR_TEST_JSON/k", "inner"},
        {"$env://WEIR_TEST_JSON/absent", "$env://WEIR_TEST_JSON/absent"},
        {"$env://WEIR_TEST_ABSENT", "$env://WEIR_TEST_ABSENT"},
        {"$secret://vault/1/a/b", "$secret://vault/1/a/b"},
        {"plain", "plain"},
    };

    setenv("WEIR_TEST_SECRET", "hush", 1);
    setenv("WEIR_TEST_JSON", "{\"k\":\"inner\"}", 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];

        snprintf(text, sizeof(text), "{\"uri\":\"/x\",\"plugins\":{\"note\":{\"text\":\"%s\"}}}",
                 cases[i].text);
        struct route *r = make(K_ROUTE, "r", text);
        CHECK_STR(((const struct note_conf *)r->plugins.v[0].conf)->text, cases[i].want);
        CHECK_STR(json_str(json_get(json_get(json_get(r->o.json, "plugins"), "note"), "text")),
                  cases[i].text);
        object_drop(&r->o);
    }
}

static void a_consumer_keeps_auth_plugins_apart(void)
{
    struct consumer *c =
        make(K_CONSUMER, "jack",
             "{\"username\":\"jack\",\"group_id\":3,\"labels\":{\"custom_id\":\"c-1\"},\"plugins\":"
             "{\"key-auth\":{\"key\":\"k\"},"
             "\"word-auth\":{\"word\":\"$env://WEIR_TEST_ABSENT\"},\"note\":{\"text\":\"t\"}}}");
    CHECK_STR(c->username, "jack");
    CHECK_STR(c->group_id, "3");
    CHECK_STR(c->custom_id, "c-1");
    CHECK(c->plugins.n == 1 && c->n_auths == 1);
    CHECK_STR(c->auths[0].key, "key-auth/k");
    object_drop(&c->o);

    struct credential *k =
        make(K_CREDENTIAL, "jack/credentials/c1", "{\"plugins\":{\"word-auth\":{\"word\":\"w\"}}}");
    CHECK_STR(k->username, "jack");
    CHECK_STR(k->credential_id, "c1");
    CHECK_STR(k->auths[0].key, "word-auth/w");
    CHECK_STR(json_str(json_get(k->o.json, "id")), "c1");
    object_drop(&k->o);
    fake_hooks_free();
}

TESTS(T(a_route_has_its_conditions_and_defaults),
      T(a_plain_route_has_what_it_needs_and_nothing_else),
      T(plugins_are_compiled_and_sorted_by_name), T(what_cannot_be_compiled_is_refused),
      T(nodes_have_addresses_ports_and_host_headers), T(an_upstream_has_defaults_and_options),
      T(chash_knows_what_to_hash), T(an_inline_upstream_belongs_to_its_owner),
      T(secrets_from_the_environment_stand_for_their_values),
      T(a_consumer_keeps_auth_plugins_apart))
