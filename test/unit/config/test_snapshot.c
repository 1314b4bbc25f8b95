/* SPDX-License-Identifier: Apache-2.0 */
/* From one configuration to the next: what depends on what changed follows, the rest is shared. */
#include "t.h"
#include "config/snapshot.h"
#include "hooks_fake.h"

static struct snapshot *now; /* the newest */
static int64_t revision;
static char complaint[4096];

static void on_bad(const struct change *c, const struct err *e, void *arg)
{
    (void)arg;
    snprintf(complaint, sizeof(complaint), "%s %.*s: %s", object_kind_word(c->kind), STR_ARG(c->id),
             e->msg);
}

/* Apply one change; text NULL deletes. */
static void change(enum object_kind k, const char *id, const char *text)
{
    json_t *v = text != NULL ? json_loads(text, 0, NULL) : NULL;
    const struct change c = {k, str_c(id), v, 1, ++revision};
    struct snapshot *next = snapshot_apply(now, &c, 1, on_bad, NULL);

    CHECK(text == NULL || v != NULL);
    CHECK(next->version > now->version);
    snapshot_drop(now);
    now = next;
    json_decref(v);
}

static void begin(void)
{
    fake_hooks_install();
    now = snapshot_empty();
    revision = 0;
    complaint[0] = 0;
    fake_router_puts = fake_router_dels = 0;
}

static void end(void)
{
    snapshot_drop(now);
    fake_hooks_free();
}

static void objects_come_and_go(void)
{
    begin();
    change(K_UPSTREAM, "1", "{\"nodes\":{\"a.com:1\":1}}");
    change(K_ROUTE, "r", "{\"uri\":\"/a\",\"upstream_id\":\"1\"}");
    struct snapshot *old = now;
    snapshot_hold(old);
    change(K_ROUTE, "r", "{\"uri\":\"/b\",\"upstream_id\":\"1\"}");
    CHECK_STR(fake_route(old->router, "- /a"), "r");
    CHECK_STR(fake_route(old->router, "- /b"), "");
    CHECK_STR(fake_route(now->router, "- /a"), "");
    CHECK_STR(fake_route(now->router, "- /b"), "r");
    CHECK(SNAP_FIND(old, UPSTREAM, upstream, STR("1")) ==
          SNAP_FIND(now, UPSTREAM, upstream, STR("1")));
    CHECK(SNAP_FIND(old, ROUTE, route, STR("r")) != SNAP_FIND(now, ROUTE, route, STR("r")));
    snapshot_drop(old);
    change(K_ROUTE, "r", NULL);
    change(K_UPSTREAM, "1", NULL);
    change(K_UPSTREAM, "1", NULL);
    CHECK(SNAP_FIND(now, ROUTE, route, STR("r")) == NULL &&
          SNAP_FIND(now, UPSTREAM, upstream, STR("1")) == NULL);
    CHECK_STR(fake_route(now->router, "- /b"), "");
    end();
}

static void a_disabled_route_is_not_in_the_router(void)
{
    begin();
    change(K_ROUTE, "r", "{\"uri\":\"/a\",\"status\":0,\"plugins\":{}}");
    CHECK_STR(fake_route(now->router, "- /a"), "");
    CHECK(SNAP_FIND(now, ROUTE, route, STR("r")) != NULL);
    change(K_ROUTE, "r", "{\"uri\":\"/a\",\"plugins\":{}}");
    CHECK_STR(fake_route(now->router, "- /a"), "r");
    change(K_ROUTE, "r", "{\"uri\":\"/a\",\"status\":0,\"plugins\":{}}");
    CHECK_STR(fake_route(now->router, "- /a"), "");
    end();
}

static void a_bad_value_leaves_the_last_good_one(void)
{
    begin();
    change(K_ROUTE, "r", "{\"uri\":\"/a\",\"plugins\":{\"note\":{\"text\":\"t\"}}}");
    const struct object *good = snapshot_find(now, K_ROUTE, STR("r"));
    change(K_ROUTE, "r", "{\"uri\":\"/a\",\"plugins\":{\"nope\":{}}}");
    CHECK_STR(str_c(complaint), "route r: unknown plugin [nope]");
    CHECK(snapshot_find(now, K_ROUTE, STR("r")) == good);
    CHECK_STR(fake_route(now->router, "- /a"), "r");
    end();
}

static void routes_follow_the_hosts_of_their_service(void)
{
    begin();
    change(K_ROUTE, "r1", "{\"uri\":\"/a\",\"service_id\":\"s\"}");
    change(K_ROUTE, "r2", "{\"uri\":\"/b\",\"service_id\":\"s\",\"host\":\"own.com\"}");
    CHECK_STR(fake_route(now->router, "- /a"), "r1");
    change(K_SERVICE, "s", "{\"hosts\":[\"One.com\",\"two.com\"]}");
    CHECK_STR(fake_route(now->router, "- /a"), "");
    CHECK_STR(fake_route(now->router, "one.com /a"), "r1");
    CHECK_STR(fake_route(now->router, "two.com /a"), "r1");
    CHECK_STR(fake_route(now->router, "own.com /b"), "r2");
    change(K_SERVICE, "s", "{\"hosts\":[\"two.com\"]}");
    CHECK_STR(fake_route(now->router, "one.com /a"), "");
    CHECK_STR(fake_route(now->router, "two.com /a"), "r1");
    change(K_SERVICE, "s", NULL);
    CHECK_STR(fake_route(now->router, "two.com /a"), "");
    CHECK_STR(fake_route(now->router, "- /a"), "r1");
    change(K_SERVICE, "s", "{\"hosts\":[\"two.com\"]}");
    change(K_ROUTE, "r1", "{\"uri\":\"/a\",\"service_id\":\"other\"}");
    CHECK_STR(fake_route(now->router, "two.com /a"), "");
    CHECK_STR(fake_route(now->router, "- /a"), "r1");
    change(K_ROUTE, "r1", NULL);
    change(K_ROUTE, "r2", NULL);
    CHECK(now->router == NULL || now->router->m == NULL);
    CHECK(now->service_routes == NULL);
    end();
}

static void a_service_that_keeps_its_hosts_moves_no_route(void)
{
    begin();
    change(K_SERVICE, "s", "{\"hosts\":[\"a.com\"]}");
    change(K_ROUTE, "r", "{\"uri\":\"/a\",\"service_id\":\"s\"}");
    const struct str *hosts = SNAP_FIND(now, SERVICE, service, STR("s"))->hosts;
    const unsigned puts = fake_router_puts;
    change(K_SERVICE, "s", "{\"hosts\":[\"A.com\"],\"enable_websocket\":true}");
    CHECK(fake_router_puts == puts);
    CHECK(SNAP_FIND(now, SERVICE, service, STR("s"))->enable_websocket.v);
    CHECK(SNAP_FIND(now, SERVICE, service, STR("s"))->hosts == hosts);
    change(K_SERVICE, "t", "{}");
    CHECK(fake_router_puts == puts);
    end();
}

static void one_batch_may_bring_things_in_any_order(void)
{
    begin();
    struct change c[] = {
        {K_CREDENTIAL, STR("jack/credentials/c"),
         json_loads("{\"plugins\":{\"key-auth\":{\"key\":\"k\"}}}", 0, NULL), 1, 1},
        {K_ROUTE, STR("r"), json_loads("{\"uri\":\"/a\",\"service_id\":\"s\"}", 0, NULL), 1, 2},
        {K_SERVICE, STR("s"), json_loads("{\"hosts\":[\"a.com\"]}", 0, NULL), 1, 3},
        {K_CONSUMER, STR("jack"), json_loads("{\"username\":\"jack\"}", 0, NULL), 1, 4},
    };
    struct snapshot *next = snapshot_apply(now, c, 4, on_bad, NULL);
    CHECK_STR(fake_route(next->router, "a.com /a"), "r");
    CHECK(fake_router_puts == 1 && fake_router_dels == 0);
    CHECK(snapshot_identity(next, "key-auth", STR("k")) != NULL);
    snapshot_drop(next);
    for (int i = 0; i < 4; i++) {
        json_decref(c[i].value);
    }
    end();
}

/* "user" or "user/credential" of who has the key, "" for nobody. */
static const char *who_has(const char *plugin, const char *key)
{
    static char text[64];
    const struct identity *i = snapshot_identity(now, plugin, str_c(key));

    text[0] = 0;
    if (i != NULL) {
        snprintf(text, sizeof(text), "%.*s%s%.*s", STR_ARG(i->consumer->username),
                 i->credential != NULL ? "/" : "",
                 i->credential != NULL ? (int)i->credential->credential_id.n : 0,
                 i->credential != NULL ? i->credential->credential_id.p : "");
    }
    return text;
}
#define CHECK_HAS(plugin, key, who) CHECK_STR(str_c(who_has(plugin, key)), who)

static void keys_are_found_as_long_as_somebody_has_them(void)
{
    begin();
    change(K_CONSUMER, "jack",
           "{\"username\":\"jack\",\"plugins\":{\"key-auth\":{\"key\":\"a\"},\"word-auth\":{"
           "\"word\":\"a\"}}}");
    CHECK_HAS("key-auth", "a", "jack");
    CHECK_HAS("word-auth", "a", "jack");
    CHECK_HAS("key-auth", "b", "");
    change(K_CONSUMER, "jack",
           "{\"username\":\"jack\",\"plugins\":{\"key-auth\":{\"key\":\"b\"}}}");
    CHECK_HAS("key-auth", "a", "");
    CHECK_HAS("key-auth", "b", "jack");
    CHECK_HAS("word-auth", "a", "");
    change(K_CONSUMER, "jack",
           "{\"username\":\"jack\",\"plugins\":{\"key-auth\":{\"key\":\"b\",\"_meta\":{\"disable\":"
           "true}}}}");
    CHECK_HAS("key-auth", "b", "");
    change(K_CONSUMER, "jack", NULL);
    CHECK(now->identities == NULL);
    end();
}

static void credentials_live_with_their_consumer(void)
{
    begin();
    change(K_CREDENTIAL, "jack/credentials/c", "{\"plugins\":{\"key-auth\":{\"key\":\"k\"}}}");
    CHECK_HAS("key-auth", "k", "");
    change(K_CONSUMER, "jack", "{\"username\":\"jack\"}");
    CHECK_HAS("key-auth", "k", "jack/c");
    change(K_CONSUMER, "jack", "{\"username\":\"jack\",\"desc\":\"other\"}");
    CHECK_HAS("key-auth", "k", "jack/c");
    CHECK(snapshot_identity(now, "key-auth", STR("k"))->consumer ==
          SNAP_FIND(now, CONSUMER, consumer, STR("jack")));
    change(K_CREDENTIAL, "jack/credentials/c", "{\"plugins\":{\"key-auth\":{\"key\":\"l\"}}}");
    CHECK_HAS("key-auth", "k", "");
    CHECK_HAS("key-auth", "l", "jack/c");
    change(K_CONSUMER, "jack", NULL);
    CHECK_HAS("key-auth", "l", "");
    change(K_CONSUMER, "jack", "{\"username\":\"jack\"}");
    CHECK_HAS("key-auth", "l", "jack/c");
    change(K_CREDENTIAL, "jack/credentials/c", NULL);
    CHECK(now->identities == NULL && now->consumer_credentials == NULL);
    end();
}

static void of_two_with_one_key_the_later_wins_and_the_other_is_next(void)
{
    begin();
    change(K_CONSUMER, "ann", "{\"username\":\"ann\",\"plugins\":{\"key-auth\":{\"key\":\"k\"}}}");
    change(K_CONSUMER, "bob", "{\"username\":\"bob\",\"plugins\":{\"key-auth\":{\"key\":\"k\"}}}");
    change(K_CREDENTIAL, "cy/credentials/c", "{\"plugins\":{\"key-auth\":{\"key\":\"k\"}}}");
    change(K_CONSUMER, "cy", "{\"username\":\"cy\"}");
    CHECK_HAS("key-auth", "k", "cy/c");
    change(
        K_CONSUMER, "ann",
        "{\"username\":\"ann\",\"plugins\":{\"key-auth\":{\"key\":\"k\"}},\"desc\":\"changed\"}");
    CHECK_HAS("key-auth", "k", "ann");
    change(K_CONSUMER, "ann", NULL);
    CHECK_HAS("key-auth", "k", "cy/c");
    change(K_CONSUMER, "cy", NULL);
    CHECK_HAS("key-auth", "k", "bob");
    change(K_CONSUMER, "bob", NULL);
    CHECK_HAS("key-auth", "k", "");
    end();
}

static void a_long_key_is_found_too(void)
{
    static char key[2001], text[4096];

    begin();
    memset(key, 'k', sizeof(key) - 1);
    snprintf(text, sizeof(text),
             "{\"username\":\"jack\",\"plugins\":{\"key-auth\":{\"key\":\"%s\"}}}", key);
    change(K_CONSUMER, "jack", text);
    CHECK_HAS("key-auth", key, "jack");
    end();
}

static void a_plugin_in_two_global_rules_runs_in_none(void)
{
    begin();
    change(K_GLOBAL_RULE, "b", "{\"plugins\":{\"note\":{\"text\":\"b\"},\"plain\":{}}}");
    CHECK(now->n_global_rules == 1 && now->global_rules[0]->plugins.n == 2);
    change(K_GLOBAL_RULE, "a", "{\"plugins\":{\"note\":{\"text\":\"a\"}}}");
    CHECK(now->n_global_rules == 2);
    CHECK_STR(now->global_rules[0]->o.id, "a");
    CHECK(now->global_rules[0]->plugins.n == 0 && now->global_rules[1]->plugins.n == 1);
    CHECK_STR(str_c(now->global_rules[1]->plugins.v[0].plugin->name), "plain");
    change(K_ROUTE, "r", "{\"uri\":\"/a\",\"plugins\":{}}");
    CHECK(now->n_global_rules == 2 && now->global_rules[1]->plugins.n == 1);
    change(K_GLOBAL_RULE, "a", NULL);
    CHECK(now->n_global_rules == 1 && now->global_rules[0]->plugins.n == 2);
    change(K_GLOBAL_RULE, "b", NULL);
    CHECK(now->n_global_rules == 0);
    end();
}

static void metadata_is_found_by_plugin(void)
{
    begin();
    CHECK(snapshot_metadata(now, "note") == NULL);
    change(K_PLUGIN_METADATA, "note", "{\"text\":\"t\"}");
    const struct note_conf *m = snapshot_metadata(now, "note");
    CHECK(m != NULL);
    CHECK_STR(m->text, "t");
    end();
}

/* An ssl object; what it loads with is not parsed yet. */
static void ssl_object(const char *id, const char *more)
{
    char text[1024];

    snprintf(text, sizeof(text), "{\"cert\":\"%0130d\",\"key\":\"%065d\",%s}", 0, 0, more);
    change(K_SSL, id, text);
}

/* Its id; "" when there is none. */
static struct str ssl_for(const char *name)
{
    const struct ssl *s = snapshot_ssl(now, str_c(name));

    return s != NULL ? s->o.id : STR("");
}

static void certificates_are_found_by_name(void)
{
    static const struct {
        const char *name, *id;
    } rows[] = {
        {"a.test", "exact"},  {"b.test", "one"},       {"b.a.test", "below"}, {"c.b.a.test", "all"},
        {"test", "all"},      {"xyz.org", "half"},     {"yz.org", "half"},    {"z.org", "all"},
        {"a.xyz.org", "all"}, {"mixed.case", "mixed"}, {"", "all"},           {".test", "all"},
    };

    begin();
    CHECK_STR(ssl_for("a.test"), "");
    ssl_object("exact", "\"sni\":\"a.test\"");
    ssl_object("one", "\"snis\":[\"*.test\",\"other.name\"]");
    ssl_object("below", "\"sni\":\"*.a.test\"");
    ssl_object("half", "\"sni\":\"*yz.org\"");
    ssl_object("mixed", "\"sni\":\"Mixed.CASE\"");
    CHECK_STR(ssl_for("c.b.a.test"), "");
    ssl_object("all", "\"sni\":\"*\"");
    ssl_object("client", "\"type\":\"client\"");
    ssl_object("off", "\"sni\":\"off.test\",\"status\":0");
    CHECK_STR(ssl_for("off.test"), "one");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_ROW(i, str_eq(ssl_for(rows[i].name), str_c(rows[i].id)));
    }
    CHECK_STR(ssl_for("other.name"), "one");
    ssl_object("one", "\"snis\":[\"*.test\"]");
    CHECK_STR(ssl_for("other.name"), "all");
    change(K_SSL, "exact", NULL);
    CHECK_STR(ssl_for("a.test"), "one");
    CHECK(now->n_mtls == 0);
    end();
}

TESTS(T(certificates_are_found_by_name), T(objects_come_and_go),
      T(a_disabled_route_is_not_in_the_router), T(a_bad_value_leaves_the_last_good_one),
      T(routes_follow_the_hosts_of_their_service), T(a_service_that_keeps_its_hosts_moves_no_route),
      T(one_batch_may_bring_things_in_any_order), T(keys_are_found_as_long_as_somebody_has_them),
      T(credentials_live_with_their_consumer),
      T(of_two_with_one_key_the_later_wins_and_the_other_is_next), T(a_long_key_is_found_too),
      T(a_plugin_in_two_global_rules_runs_in_none), T(metadata_is_found_by_plugin))
