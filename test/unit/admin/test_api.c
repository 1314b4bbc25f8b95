/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Admin API from request to answer, with a real store and the real configuration layer, without
 * sockets. The recorded exchanges of the reference are replayed against the whole gateway elsewhere
 * (test/golden/test_admin.py); here is what they do not show: conditions, limits, roles, time.
 */
#include "t.h"

#include "admin/admin_priv.h"
#include "base/assert.h"
#include "base/clock.h"
#include "event/await.h"
#include "fiber/fiber.h"
#include "plugin/plugin.h"
#include "route/router.h"

#include <errno.h>
#include <unistd.h>

/* ---- plugins of our own ---- */

struct key_conf {
    struct str key;
};
static const struct field no_fields[] = {F_END};
static const struct field key_fields[] = {
    F_STR(struct key_conf, key, .required = true, .secret = true), F_END};
static const struct plugin key_auth = {.name = "key-auth",
                                       .priority = 2500,
                                       .auth = true,
                                       .conf_size = sizeof(struct key_conf),
                                       .fields = no_fields,
                                       .consumer_size = sizeof(struct key_conf),
                                       .consumer_fields = key_fields,
                                       .key_attr = "key"};
static const struct plugin cors = {
    .name = "cors", .priority = 4000, .conf_size = 1, .fields = no_fields};
static const struct plugin splitter = {
    .name = "traffic-split", .priority = 966, .conf_size = 1, .fields = no_fields};

/* ---- the gateway around ---- */

static const struct str keyring[] = {STR_INIT("qeddd145sfvddff3")};
static const struct admin_key keys[] = {
    {.name = STR_INIT("boss"), .key = STR_INIT("secret")},
    {.name = STR_INIT("guest"), .key = STR_INIT("look"), .viewer = true}};
static struct cidr allowed;
static struct settings settings = {
    .admin_keys = keys,
    .n_admin_keys = 2,
    .admin_key_required = true,
    .admin_cors = true,
    .etcd_prefix = STR_INIT("/apisix"),
    .encrypt_fields = true,
    .keyring = keyring,
    .n_keyring = 1,
};
static struct snapshot *snapshot;
static unsigned publishes;

static const struct snapshot *current(void)
{
    return snapshot;
}

static int publish(const struct change *changes, size_t n)
{
    struct snapshot *next = snapshot_apply(snapshot, changes, n, NULL, NULL);

    snapshot_drop(snapshot);
    snapshot = next;
    publishes++;
    /* Cores take a moment. */
    return fiber_self() ? fiber_yield() : 0;
}

static char dir[64];
static struct store *store;

static void open_store(void)
{
    struct err e = {0};

    store = store_open_embedded(dir, &e);
    ASSERT(store != NULL);
    const struct admin_deps deps = {
        .settings = &settings, .store = store, .current = current, .await_publish = publish};
    admin_init(&deps);
}

static void install(void)
{
    static const struct plugin *const all[] = {&cors, &key_auth, &splitter};
    static bool done;

    if (!done) {
        plugin_registry_init(all, 3, NULL, 0, NULL);
        plugin_install_hooks(&config_hooks);
        config_hooks.router_put = router_put;
        config_hooks.router_del = router_del;
        config_hooks.router_hold = router_hold;
        config_hooks.router_drop = router_drop;
        done = true;
    }
}

static void body_done(void *arg)
{
    void (*fn)(void) = *(void (**)(void))arg;

    fn();
    loop_stop(loop_self());
}

/* Run fn in a fiber over an empty gateway. */
static void with_gateway(void (*fn)(void))
{
    char command[128];

    install();
    ASSERT(loop_init() == 0 && offload_init(2) == 0);
    snprintf(dir, sizeof(dir), "/tmp/weir-admin-XXXXXX");
    ASSERT(mkdtemp(dir) != NULL);
    snapshot = snapshot_empty();
    open_store();
    if (fiber_start("test", body_done, &fn)) {
        loop_run();
    }
    store->ops->close(store);
    snapshot_drop(snapshot);
    offload_fini();
    loop_fini();
    fiber_thread_fini();
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ASSERT(system(command) == 0);
}

/* ---- requests ---- */

static struct req *r; /* the last one; freed by the next call */
static struct arena *request_arena;
static struct addr peer; /* of its connection */

static int await_no_body(struct req *q, struct str *data)
{
    return 0;
}

static const struct transport transport = {.await_body = await_no_body};

static void make_request(const char *method, const char *target, const char *body)
{
    struct str path = str_c(target);
    ptrdiff_t mark = str_index(path, '?');

    if (request_arena) {
        arena_free(request_arena);
    }
    request_arena = arena_new(4096);
    r = ARENA_NEW(request_arena, struct req);
    r->arena = request_arena;
    r->transport = &transport;
    r->method = str_c(method);
    r->method_id = http_method_of(r->method);
    r->has_args = mark >= 0;
    r->args = mark >= 0 ? str_skip(path, (size_t)mark + 1) : STR("");
    path = mark >= 0 ? str_head(path, (size_t)mark) : path;
    r->uri = str_starts(path, STR("/outside"))
                 ? path
                 : arena_cat(request_arena, STR("/apisix/admin"), path);
    r->content_length = body ? (int64_t)strlen(body) : -1;
    r->has_body = body != NULL;
    r->body = body ? str_c(body) : STR_NONE;
    r->remote_addr = STR("127.0.0.1");
    addr_parse(STR("127.0.0.1"), 4000, &peer);
    r->peer = &peer;
    headers_init(&r->headers, request_arena, 4);
    headers_init(&r->resp.headers, request_arena, 8);
}

static int call_as(const char *key, const char *method, const char *target, const char *body)
{
    make_request(method, target, body);
    if (key) {
        headers_add(&r->headers, STR("X-API-KEY"), str_c(key));
    }
    admin_handle(r);
    return r->resp.status;
}

static int call(const char *method, const char *target, const char *body)
{
    return call_as("secret", method, target, body);
}

static bool answer_has(const char *text)
{
    bool has = str_find(r->resp.body, str_c(text)) >= 0;

    if (!has) {
        printf("# %d %.*s\n", r->resp.status, STR_ARG(r->resp.body));
    }
    return has;
}

#define ROUTE                                                                                      \
    "{\"uri\":\"/a\",\"upstream\":{\"type\":\"roundrobin\",\"nodes\":{\"127.0.0.1:1980\":1}}}"

/* ---- tests ---- */

static void life_body(void)
{
    CHECK(call("PUT", "/routes/1", ROUTE) == 201);
    CHECK(answer_has("\"key\":\"/apisix/routes/1\"") && answer_has("\"id\":\"1\"") &&
          answer_has("create_time"));
    CHECK_STR(headers_get_name(&r->resp.headers, STR("X-API-VERSION")), "v3");
    CHECK_STR(headers_get(&r->resp.headers, H_CONTENT_TYPE), "application/json");
    /* In force when the answer is there. */
    CHECK(snapshot_find(snapshot, K_ROUTE, STR("1")) != NULL);
    CHECK(call("PUT", "/routes/1", ROUTE) == 200);
    CHECK(call("GET", "/routes/1", NULL) == 200);
    CHECK(answer_has("\"createdIndex\":1,\"modifiedIndex\":2"));
    CHECK(call("POST", "/routes", ROUTE) == 201);
    CHECK(answer_has("\"/apisix/routes/00000000000000000003\""));
    CHECK(call("GET", "/routes", NULL) == 200);
    CHECK(answer_has("\"total\":2,"));
    CHECK(call("DELETE", "/routes/1", NULL) == 200);
    CHECK_STR(r->resp.body, "{\"deleted\":\"1\",\"key\":\"/apisix/routes/1\"}\n");
    CHECK(snapshot_find(snapshot, K_ROUTE, STR("1")) == NULL);
    CHECK(call("DELETE", "/routes/1", NULL) == 404);
    CHECK_STR(r->resp.body, "{\"message\":\"Key not found\"}\n");
}

static void an_object_lives_from_put_to_delete(void)
{
    with_gateway(life_body);
}

static void order_body(void)
{
    static const struct {
        const char *key, *method, *target, *body;
        int status;
        const char *text;
    } cases[] = {
        {NULL, "GET", "/outside", NULL, 404, "<html>"},
        {NULL, "HEAD", "", NULL, 200, ""},
        {"secret", "HEAD", "/routes/1", NULL, 404, "<html>"},
        {"secret", "TRACE", "/routes/1", NULL, 404, "<html>"},
        {NULL, "OPTIONS", "/routes", NULL, 200, ""},
        {NULL, "GET", "/nothing", NULL, 401, "missing apikey"},
        {"wrong", "PUT", "/routes/1", "{bad", 401, "wrong apikey"},
        {"look", "PUT", "/routes/1", ROUTE, 401, "invalid method for role viewer"},
        {"look", "GET", "/routes", NULL, 200, "\"list\":[]"},
        {"secret", "GET", "/nothing", NULL, 404, "Unsupported resource type: nothing"},
        {"secret", "PUT", "/ssls/1", "{}", 400, "then clause did not match"},
        {"secret", "PUT", "/secrets/vault/1", "{}", 404, "Unsupported resource type: secrets"},
        {"secret", "GET", "/services/1/graphql_cost_decorations", NULL, 404,
         "Unsupported resource type: graphql_cost_decorations"},
        {"secret", "GET", "/credentials/1", NULL, 404, "Unsupported resource type: credentials"},
        {"secret", "PUT", "/schema/route", "{}", 404, "not found"},
        {"secret", "PUT", "/history", "{}", 404, "not found"},
        {"secret", "PUT", "/routes/1", "{bad", 400, "\"req_body\":\"{bad\""},
        {"secret", "PUT", "/routes/1?ttl=abc", ROUTE, 400,
         "invalid argument ttl: should be a number"},
        {"secret", "PUT", "/routes/1", NULL, 400, "missing configurations"},
        {"secret", "PUT", "/routes/1", "\"str\"", 400, "must be a JSON object"},
        {"secret", "PUT", "/routes/1", "null", 400, "must be a JSON object"},
        {"secret", "PUT", "/routes/1", "[1]", 400, "must be a JSON object"},
        {"secret", "PUT", "/routes/1", "[]", 400, "matches none"},
        {"secret", "PUT", "/routes", ROUTE, 400, "missing route id"},
        {"secret", "PUT", "/routes/a$b", ROUTE, 400, "property \\\"id\\\" validation failed"},
        {"secret", "POST", "/routes/1", ROUTE, 400, "wrong route id, do not need it"},
        {"secret", "POST", "/consumers", "{\"username\":\"x\"}", 405,
         "not supported `POST` method for consumer"},
        {"secret", "PATCH", "/consumers/x", "{}", 405, "not supported `PATCH` method for consumer"},
        {"secret", "PATCH", "/routes/1", NULL, 400, "missing new configuration"},
        {"secret", "PATCH", "/routes/1", "\"x\"", 400, "invalid configuration"},
        {"secret", "PATCH", "/routes/1", "{}", 404, "Key not found"},
        {"secret", "PATCH", "/routes", "{}", 400, "missing route id"},
        {"secret", "DELETE", "/routes", NULL, 400, "missing route id"},
        {"secret", "PUT", "/stream_routes/1", "{}", 400,
         "stream mode is disabled, can not add stream routes"},
        {"secret", "PUT", "/plugin_metadata", "{}", 400, "missing plugin name"},
        {"secret", "PUT", "/plugin_metadata/none", "{}", 400, "invalid plugin name"},
        {"secret", "PUT", "/consumers/jim/credentials", "{}", 400, "missing credential id"},
        {"secret", "PUT", "/consumers/jim/credentials/1", "{}", 404, "consumer not found"},
        {"secret", "GET", "/consumers/jim/credentials", NULL, 404, "Key not found"},
    };

    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        CHECK_ROW(i, call_as(cases[i].key, cases[i].method, cases[i].target, cases[i].body) ==
                         cases[i].status);
        CHECK_ROW(i, answer_has(cases[i].text));
    }
    CHECK(publishes == 0 && store->revision == 0);
}

static void a_refused_request_is_answered_as_the_reference_does_and_changes_nothing(void)
{
    publishes = 0;
    with_gateway(order_body);
}

static void keyless_body(void)
{
    static const char *const methods[] = {"GET", "PUT", "POST", "PATCH", "DELETE"};
    static const char *const paths[] = {
        "/",
        "/routes",
        "/routes/1",
        "/routes/1/uri",
        "/services",
        "/services/1",
        "/upstreams",
        "/upstreams/1",
        "/consumers",
        "/consumers/a",
        "/consumers/a/credentials",
        "/consumers/a/credentials/b",
        "/consumer_groups/1",
        "/global_rules/1",
        "/plugin_configs/1",
        "/plugin_metadata/cors",
        "/ssls/1",
        "/protos/1",
        "/secrets/vault/1",
        "/stream_routes/1",
        "/plugins",
        "/plugins/list",
        "/plugins/cors",
        "/plugins/reload",
        "/schema/route",
        "/schema/plugins/cors",
        "/schema/validate/routes",
        "/configs",
        "/configs/validate",
        "/history",
        "/nothing",
    };

    for (size_t p = 0; p < LENGTH_OF(paths); p++) {
        for (size_t m = 0; m < LENGTH_OF(methods); m++) {
            CHECK_ROW(p, call_as(NULL, methods[m], paths[p], ROUTE) == 401);
            CHECK_ROW(p, answer_has("missing apikey"));
        }
    }
    CHECK(publishes == 0 && store->revision == 0);
}

static void nothing_answers_without_a_key(void)
{
    publishes = 0;
    with_gateway(keyless_body);
}

static void token_body(void)
{
    make_request("GET", "/routes?api_key=secret", NULL);
    headers_add(&r->headers, STR("X-API-KEY"), STR("wrong"));
    admin_handle(r);
    CHECK(r->resp.status == 200);
    make_request("GET", "/routes", NULL);
    headers_add(&r->headers, STR("Cookie"), STR("a=b; x_api_key=secret"));
    admin_handle(r);
    CHECK(r->resp.status == 200);
    /* Wrong keys: ten in a second, then silence for everybody from there, whatever they send. */
    clock_set(1000000000, 1700000000LL * 1000000);
    for (int i = 0; i < 10; i++) {
        CHECK_ROW(i, call_as("wrong", "GET", "/routes", NULL) == 401);
    }
    CHECK(call_as("wrong", "GET", "/routes", NULL) == 429);
    CHECK(call("GET", "/routes", NULL) == 429);
    clock_set(1001000000, 1700000001LL * 1000000);
    CHECK(call("GET", "/routes", NULL) == 200);
    clock_tick();
}

static void keys_come_from_three_places_and_guessing_is_slow(void)
{
    with_gateway(token_body);
}

static void allow_body(void)
{
    cidr_parse(STR("10.0.0.0/8"), &allowed);
    settings.allow_admin = &allowed;
    settings.n_allow_admin = 1;
    settings.has_allow_admin = true;
    CHECK(call("GET", "/routes", NULL) == 403);
    CHECK(answer_has("<html>"));
    cidr_parse(STR("127.0.0.0/24"), &allowed);
    CHECK(call("GET", "/routes", NULL) == 200);
    /* The address that counts is the socket's. */
    addr_parse(STR("192.168.1.1"), 1, &peer);
    make_request("GET", "/routes", NULL);
    addr_parse(STR("192.168.1.1"), 1, &peer);
    ip_parse(STR("127.0.0.1"), &r->client);
    headers_add(&r->headers, STR("X-API-KEY"), STR("secret"));
    admin_handle(r);
    CHECK(r->resp.status == 403);
    settings.has_allow_admin = false;
}

static void sources_off_the_list_are_refused(void)
{
    with_gateway(allow_body);
}

static void crypt_body(void)
{
    struct store_item it;
    struct err e = {0};

    CHECK(call("PUT", "/consumers",
               "{\"username\":\"jack\",\"plugins\":{\"key-auth\":{\"key\":\"auth-one\"}}}") == 201);
    CHECK(answer_has("4y+JvURBE6ZwRbbgaryrhg=="));
    CHECK(call("GET", "/consumers/jack", NULL) == 200);
    CHECK(answer_has("\"key\":\"auth-one\""));
    CHECK(store->ops->await_get(store, STR("/consumers/jack"), r->arena, &it, &e) == 0);
    CHECK(str_find(it.value, STR("auth-one")) < 0);
    CHECK(snapshot_identity(snapshot, "key-auth", STR("auth-one")) != NULL);
    CHECK(call("GET", "/consumers", NULL) == 200);
    CHECK(answer_has("auth-one"));
    CHECK(call("GET", "/history?key=/consumers/jack", NULL) == 200);
    CHECK(str_find(r->resp.body, STR("auth-one")) < 0);
    CHECK(answer_has("\"author\":\"boss\""));
}

static void secrets_are_never_on_disk_in_clear(void)
{
    with_gateway(crypt_body);
}

static void refs_body(void)
{
    CHECK(call("PUT", "/upstreams/1", "{\"type\":\"roundrobin\",\"nodes\":{\"127.0.0.1:1\":1}}") ==
          201);
    CHECK(call("PUT", "/routes/r", "{\"uri\":\"/a\",\"upstream_id\":1}") == 201);
    CHECK(call("DELETE", "/upstreams/1", NULL) == 400);
    CHECK(answer_has("can not delete this upstream, route [r] is still using it now"));
    CHECK(call("DELETE", "/upstreams/1?force=1", NULL) == 400);
    CHECK(call("DELETE", "/upstreams/1?force=true", NULL) == 200);
    CHECK(call("PUT", "/routes/r", "{\"uri\":\"/a\",\"upstream_id\":1}") == 400);
    CHECK(answer_has("failed to fetch upstream info by upstream id [1], response code: 404"));
    CHECK(call("PUT", "/upstreams/2", "{\"type\":\"roundrobin\",\"nodes\":{\"127.0.0.1:1\":1}}") ==
          201);
    CHECK(call("PUT", "/global_rules/g",
               "{\"plugins\":{\"traffic-split\":{\"rules\":[{\"weighted_upstreams\":[{\"upstream_"
               "id\":\"2\"}]}]}}}") == 201);
    CHECK(call("DELETE", "/upstreams/2", NULL) == 400);
    CHECK(answer_has("plugin in global_rules [g] is still using it now"));
    CHECK(call("PUT", "/global_rules/h", "{\"plugins\":{\"cors\":{},\"traffic-split\":{}}}") ==
          400);
    CHECK(answer_has("plugin 'traffic-split' already exists in global rule with id 'g'"));
    CHECK(call("PUT", "/consumer_groups/g", "{\"plugins\":{}}") == 201);
    CHECK(call("PUT", "/consumers", "{\"username\":\"ann\",\"group_id\":\"g\"}") == 201);
    CHECK(call("DELETE", "/consumer_groups/g", NULL) == 400);
    CHECK(answer_has("consumer [ann] is still using it now"));
}

static void what_is_in_use_is_not_deleted(void)
{
    with_gateway(refs_body);
}

static void credentials_body(void)
{
    CHECK(call("PUT", "/consumers",
               "{\"username\":\"jack\",\"plugins\":{\"key-auth\":{\"key\":\"k0\"}}}") == 201);
    CHECK(call("PUT", "/consumers/jack/credentials/c1",
               "{\"plugins\":{\"key-auth\":{\"key\":\"k1\"}}}") == 201);
    CHECK(answer_has("\"/apisix/consumers/jack/credentials/c1\"") && answer_has("\"id\":\"c1\""));
    CHECK(call("PUT", "/consumers/jack/credentials/c1",
               "{\"plugins\":{\"key-auth\":{\"key\":\"k1\"}}}") == 200);
    CHECK(call("PUT", "/consumers/jack/credentials/c2",
               "{\"plugins\":{\"key-auth\":{\"key\":\"k1\"}}}") == 400);
    CHECK(
        answer_has("duplicate key of plugin key-auth found with credential: c1 of consumer: jack"));
    CHECK(call("PUT", "/consumers",
               "{\"username\":\"jill\",\"plugins\":{\"key-auth\":{\"key\":\"k0\"}}}") == 400);
    CHECK(answer_has("duplicate key of plugin key-auth found with consumer: jack"));
    CHECK(call("PUT", "/consumers/jill", "{\"username\":\"jack\"}") == 400);
    CHECK(answer_has("wrong username"));
    CHECK(call("GET", "/consumers", NULL) == 200);
    CHECK(answer_has("\"total\":1,"));
    CHECK(call("GET", "/consumers/jack/credentials", NULL) == 200);
    CHECK(answer_has("\"total\":1,"));
    CHECK(call("GET", "/consumers?name=none", NULL) == 200);
    CHECK_STR(r->resp.body, "{\"total\":0,\"list\":{}}\n");
    CHECK(call("DELETE", "/consumers/jack", NULL) == 200);
    CHECK(call("GET", "/consumers/jack/credentials/c1", NULL) == 404);
    CHECK(snapshot_identity(snapshot, "key-auth", STR("k1")) == NULL);
}

static void credentials_belong_to_their_consumer(void)
{
    with_gateway(credentials_body);
}

static void patch_body(void)
{
    CHECK(call("PUT", "/routes/1", ROUTE) == 201);
    CHECK(call("PATCH", "/routes/1", "{\"desc\":\"d\",\"create_time\":5}") == 200);
    CHECK(answer_has("\"desc\":\"d\"") && answer_has("\"create_time\":5"));
    CHECK(call("PATCH", "/routes/1/upstream/nodes", "{\"127.0.0.1:2\":2}") == 200);
    CHECK(answer_has("{\"127.0.0.1:2\":2}"));
    CHECK(call("PATCH", "/routes/1", "{\"desc\":null}") == 200);
    CHECK(str_find(r->resp.body, STR("desc")) < 0);
    CHECK(call("PATCH", "/routes/1", "{\"id\":\"2\"}") == 400);
    CHECK(answer_has("wrong route id"));
    CHECK(call("PATCH", "/routes/1/uri", "12") == 400);
    CHECK(call("PUT", "/routes/1", "{\"uri\":\"/a\",\"plugins\":{},\"create_time\":1}") == 400);
    CHECK(answer_has("the property is forbidden:  create_time"));
    CHECK(call("PUT", "/routes/1", ROUTE) == 200);
    CHECK(answer_has("\"create_time\":5"));
    /* Below an object there is nothing else to address. */
    CHECK(call("DELETE", "/routes/1/upstream", NULL) == 404);
    CHECK(call("GET", "/routes/1", NULL) == 200);
}

static void a_patch_changes_what_it_names(void)
{
    with_gateway(patch_body);
}

static unsigned racers, patched, conflicts;

static void racer(void *arg)
{
    struct arena *a = arena_new(4096);
    struct req q;
    char body[64];

    make_request("PATCH", "/routes/1", "{}");
    q = *r;
    q.arena = a;
    headers_init(&q.headers, a, 4);
    headers_init(&q.resp.headers, a, 8);
    headers_add(&q.headers, STR("X-API-KEY"), STR("secret"));
    snprintf(body, sizeof(body), "{\"labels\":{\"l%u\":\"x\"}}", racers);
    q.body = arena_str(a, str_c(body));
    q.uri = STR("/apisix/admin/routes/1");
    admin_handle(&q);
    patched += q.resp.status == 200;
    conflicts +=
        q.resp.status == 503 && str_find(q.resp.body, STR("value changed before overwritten")) >= 0;
    arena_free(a);
    racers--;
}

static void race_body(void)
{
    enum { N = 8 };
    uint64_t labels = 0;

    CHECK(call("PUT", "/routes/1", ROUTE) == 201);
    for (racers = 0; racers < N;) {
        racers++;
        CHECK(fiber_start("racer", racer, NULL) != NULL);
    }
    while (racers > 0) {
        fiber_yield();
        await_until(deadline_in(1));
    }
    CHECK(patched >= 1 && patched + conflicts == N);
    CHECK(call("GET", "/routes/1", NULL) == 200);
    struct str rest = r->resp.body, part;
    while (str_split(&rest, 'x', &part)) {
        labels += str_ends(part, STR("\":\""));
    }
    CHECK(labels == patched);
}

static void of_patches_that_race_none_is_lost_unnoticed(void)
{
    with_gateway(race_body);
}

static void list_body(void)
{
    static const struct {
        const char *target;
        int status;
        const char *text;
        int items;
    } cases[] = {
        {"/routes?page=1&page_size=10", 200, "\"total\":12,", 10},
        {"/routes?page=2&page_size=10", 200, "\"total\":12,", 2},
        {"/routes?page=3&page_size=10", 200, "\"total\":12,\"list\":[]", 0},
        {"/routes?page=0&page_size=10", 200, "\"total\":12,", 10},
        {"/routes?page=x&page_size=10", 200, "\"total\":12,", 12},
        {"/routes?page=2", 200, "\"total\":12,", 12},
        {"/routes?page=1&page_size=5", 400, "page_size must be between 10 and 500", 0},
        {"/routes?page=1&page_size=501", 400, "page_size must be between 10 and 500", 0},
        {"/routes?name=route1", 200, "\"total\":3,", 3},
        {"/routes?name=route1$", 200, "\"total\":1,", 1},
        {"/routes?name=(", 200, "\"total\":0,\"list\":[]", 0},
        {"/routes?label=odd", 200, "\"total\":6,", 6},
        {"/routes?label=odd:1", 200, "\"total\":0,", 0},
        {"/routes?uri=/r1$", 200, "\"total\":1,", 1},
        {"/routes?name=route1&label=odd", 200, "\"total\":2,", 2},
        {"/routes?name=route&page=1&page_size=10", 200, "\"total\":12,", 10},
        {"/routes?filter=service_id%3D1", 200, "\"total\":0,", 0},
        {"/routes?filter=zzz%3D1", 200, "\"total\":12,", 12},
    };
    char target[32], body[200];

    for (int i = 11; i >= 0; i--) {
        snprintf(target, sizeof(target), "/routes/%d", i);
        snprintf(body, sizeof(body),
                 "{\"uri\":\"/r%d\",\"name\":\"route%d\",\"labels\":{\"%s\":\"1\"},\"plugins\":{}}",
                 i, i, i % 2 ? "odd" : "even");
        CHECK(call("PUT", target, body) == 201);
    }
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        CHECK_ROW(i, call("GET", cases[i].target, NULL) == cases[i].status);
        CHECK_ROW(i, answer_has(cases[i].text));
        struct str rest = r->resp.body, part;
        int items = 0;
        while (str_split(&rest, '{', &part)) {
            items += str_ends(part, STR("\"value\":"));
        }
        CHECK_ROW(i, items == cases[i].items);
    }
    /* Pages are in the order of creation, the whole list in that of keys. */
    CHECK(call("GET", "/routes?page=1&page_size=10", NULL) == 200);
    CHECK(str_starts(r->resp.body, STR("{\"total\":12,\"list\":[{\"key\":\"/apisix/routes/11\"")));
    CHECK(call("GET", "/routes", NULL) == 200);
    CHECK(str_starts(r->resp.body, STR("{\"total\":12,\"list\":[{\"key\":\"/apisix/routes/0\"")));
    /* A missing one is answered with its neighbours. */
    CHECK(call("DELETE", "/routes/1", NULL) == 200);
    CHECK(call("GET", "/routes/1", NULL) == 404);
    CHECK(answer_has("\"kvs\":[{\"key\":\"/apisix/routes/10\"") && answer_has("\"version\":\"1\""));
    settings.admin_v2 = true;
    CHECK(call("GET", "/routes?page=1&page_size=5", NULL) == 200);
    CHECK(answer_has("{\"action\":\"get\",\"count\":11,\"node\":{\"key\":\"/apisix/"
                     "routes\",\"dir\":true,\"nodes\":[{"));
    CHECK(call("GET", "/routes/2", NULL) == 200);
    CHECK(answer_has("{\"action\":\"get\",\"node\":{\"key\":\"/apisix/routes/2\",\"value\":{"));
    CHECK_STR(headers_get_name(&r->resp.headers, STR("X-API-VERSION")), "v2");
    settings.admin_v2 = false;
}

static void lists_filter_and_page(void)
{
    with_gateway(list_body);
}

static void ttl_body(void)
{
    int64_t deadline = deadline_in(20000);

    CHECK(call("PUT", "/routes/t?ttl=1", ROUTE) == 201);
    CHECK(call("PUT", "/routes/kept?ttl=1", ROUTE) == 201);
    /* 201 when a slow machine was late and it had ended. */
    int status = call("PUT", "/routes/kept", ROUTE);
    CHECK(status == 200 || status == 201);
    int64_t over = wall_us() + 1000000;
    while ((snapshot_find(snapshot, K_ROUTE, STR("t")) || wall_us() < over) &&
           now_ms() < deadline) {
        await_until(deadline_in(10));
    }
    CHECK(call("GET", "/routes/t", NULL) == 404);
    CHECK(call("GET", "/routes/kept", NULL) == 200);
    CHECK(call("GET", "/history?key=/routes/t&limit=1", NULL) == 200);
    CHECK(answer_has("\"author\":\"ttl\""));
}

static void an_object_with_a_ttl_ends_unless_written_again(void)
{
    with_gateway(ttl_body);
}

static void history_body(void)
{
    CHECK(call("PUT", "/routes/1", ROUTE) == 201);
    CHECK(call("PATCH", "/routes/1", "{\"desc\":\"x\"}") == 200);
    CHECK(call("DELETE", "/routes/1", NULL) == 200);
    CHECK(call("PUT", "/routes/2", ROUTE) == 201);
    CHECK(call("GET", "/history?key=/routes/1&limit=2", NULL) == 200);
    CHECK(answer_has("\"total\":2,") && answer_has("{\"revision\":3,") &&
          answer_has("\"before\":{") && !str_eq(r->resp.body, STR("")));
    CHECK(str_find(r->resp.body, STR("\"revision\":1,")) < 0);
    CHECK(call("GET", "/history", NULL) == 200);
    CHECK(answer_has("\"total\":4,"));
    CHECK(call("GET", "/history?limit=0", NULL) == 400);
    CHECK(call("GET", "/history?limit=1001", NULL) == 400);
}

static void history_tells_the_changes_of_a_key(void)
{
    with_gateway(history_body);
}

static void restart_body(void)
{
    struct err e = {0};

    CHECK(call("PUT", "/upstreams/u", "{\"type\":\"roundrobin\",\"nodes\":{\"127.0.0.1:1\":1}}") ==
          201);
    CHECK(call("PUT", "/routes/1", "{\"uri\":\"/a\",\"upstream_id\":\"u\"}") == 201);
    CHECK(call("PUT", "/consumers",
               "{\"username\":\"jack\",\"plugins\":{\"key-auth\":{\"key\":\"k\"}}}") == 201);
    CHECK(call("PUT", "/consumers/jack/credentials/c",
               "{\"plugins\":{\"key-auth\":{\"key\":\"kc\"}}}") == 201);
    store->ops->close(store);
    snapshot_drop(snapshot);
    snapshot = snapshot_empty();
    open_store();
    CHECK(admin_load(publish, &e) == 0);
    CHECK(snapshot_find(snapshot, K_ROUTE, STR("1")) != NULL);
    CHECK(snapshot_find(snapshot, K_ROUTE, STR("1"))->created_index == 2);
    CHECK(snapshot_identity(snapshot, "key-auth", STR("k")) != NULL);
    CHECK(snapshot_identity(snapshot, "key-auth", STR("kc")) != NULL);
    CHECK(call("GET", "/routes/1", NULL) == 200);
    CHECK(call("POST", "/routes", ROUTE) == 201);
    CHECK(answer_has("/apisix/routes/00000000000000000005"));
}

static void a_restart_changes_nothing(void)
{
    with_gateway(restart_body);
}

static void schema_body(void)
{
    static const struct {
        const char *method, *target, *body;
        int status;
        const char *text;
    } cases[] = {
        {"GET", "/schema/route", NULL, 200, "\"properties\""},
        {"GET", "/schema/consumer_group", NULL, 200, "\"properties\""},
        {"GET", "/schema/nope", NULL, 400, "not found schema: nope"},
        {"GET", "/schema/plugins/key-auth", NULL, 200, "\"type\":\"object\""},
        {"GET", "/schema/plugins/key-auth?schema_type=consumer", NULL, 200, "\"key\""},
        {"GET", "/schema/plugins/cors?schema_type=consumer", NULL, 400, "not found schema"},
        {"GET", "/schema/plugins/nope", NULL, 404, "plugin not found in subsystem http"},
        {"GET", "/schema/plugins/cors?subsystem=xx", NULL, 400, "unsupported subsystem: xx"},
        {"GET", "/plugins/cors", NULL, 200, "\"type\":\"object\""},
        {"GET", "/plugins", NULL, 404, "plugin not found in subsystem http"},
        {"GET", "/plugins?all=true", NULL, 200, "\"priority\":2500"},
        {"GET", "/plugins/list", NULL, 200, "[\"cors\",\"key-auth\",\"traffic-split\"]"},
        {"GET", "/plugins/list?subsystem=stream", NULL, 200, "[]"},
        {"GET", "/plugins/list?subsystem=x", NULL, 400, "invalid subsystem passed"},
        {"PUT", "/plugins/cors", "{}", 404, "not found"},
        {"PUT", "/plugins/reload", NULL, 200, "done"},
        {"GET", "/plugins/reload", NULL, 405,
         "please use PUT method to reload the plugins, GET method is not allowed."},
        {"POST", "/schema/validate/routes", ROUTE, 200, ""},
        {"POST", "/schema/validate/routes", "{\"uri\":1}", 400,
         "{\"error_msg\":\"property \\\"uri\\\" validation failed"},
        {"POST", "/schema/validate/nope", "{}", 404, "Unsupported resource type: nope"},
    };

    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        CHECK_ROW(i, call(cases[i].method, cases[i].target, cases[i].body) == cases[i].status);
        CHECK_ROW(i, answer_has(cases[i].text));
    }
}

static void schemas_and_plugins_are_shown(void)
{
    with_gateway(schema_body);
}

TESTS(T(an_object_lives_from_put_to_delete),
      T(a_refused_request_is_answered_as_the_reference_does_and_changes_nothing),
      T(nothing_answers_without_a_key), T(keys_come_from_three_places_and_guessing_is_slow),
      T(sources_off_the_list_are_refused), T(secrets_are_never_on_disk_in_clear),
      T(what_is_in_use_is_not_deleted), T(credentials_belong_to_their_consumer),
      T(a_patch_changes_what_it_names), T(of_patches_that_race_none_is_lost_unnoticed),
      T(lists_filter_and_page), T(an_object_with_a_ttl_ends_unless_written_again),
      T(history_tells_the_changes_of_a_key), T(a_restart_changes_nothing),
      T(schemas_and_plugins_are_shown))
