/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden routing: route sets and requests recorded from the reference, in all three modes, through
 * the real ways of a route (object_new), a path (uri_normalise), a host (host_of) and variables
 * (http/vars.c).
 */
#include "base/assert.h"
#include "config/hooks.h"
#include "config/resource.h"
#include "config/settings.h"
#include "http/vars.h"
#include "route/router.h"
#include "route/uri.h"
#include "t.h"

static const char *const mode_names[] = {"radixtree_host_uri", "radixtree_uri",
                                         "radixtree_uri_with_parameter"};

struct set {
    struct router *router;
    struct route *routes[8];
    struct service *service;
    size_t n;
};

static void *object_of(enum object_kind k, const char *id, const json_t *value)
{
    static int64_t revision;
    struct err e = {0};
    revision++;
    struct object *o = object_new(k, str_c(id), value, revision, revision, &e);

    if (!o) {
        fprintf(stderr, "# %s %s: %s\n", object_kind_word(k), id, e.msg);
    }
    ASSERT(o != NULL);
    return o;
}

static void set_make(struct set *s, const json_t *c)
{
    const char *id;
    json_t *value;

    json_object_foreach(json_get(c, "services"), id, value) {
        s->service = object_of(K_SERVICE, id, value);
    }
    json_object_foreach(json_get(c, "routes"), id, value) {
        json_object_set_new(value, "plugins", json_object()); /* a route has to lead somewhere */
        struct route *r = object_of(K_ROUTE, id, value);
        bool owned = !str_is_none(r->service_id);
        struct router *next = router_put(s->router, r, owned ? s->service : NULL);

        ASSERT(s->n < LENGTH_OF(s->routes));
        s->routes[s->n++] = r;
        router_drop(s->router);
        s->router = next;
    }
}

static void set_drop(struct set *s)
{
    router_drop(s->router);
    for (size_t i = 0; i < s->n; i++) {
        object_drop(&s->routes[i]->o);
    }
    if (s->service) {
        object_drop(&s->service->o);
    }
}

static void take_headers(struct req *r, const json_t *headers)
{
    const char *name;
    json_t *value;

    headers_init(&r->headers, r->arena, 8);
    json_object_foreach((json_t *)(uintptr_t)headers, name, value) {
        headers_add(&r->headers, str_c(name), json_str(value));
    }
    r->remote_addr = headers_get(&r->headers, H_X_REAL_IP);
    if (str_is_none(r->remote_addr)) {
        r->remote_addr = STR("127.0.0.1");
    }
    CHECK(ip_parse(r->remote_addr, &r->client));
}

/* A request as the gateway would have it when it asks the router. */
static void take_request(struct req *r, const json_t *q)
{
    struct str method = json_str(json_get(q, "method")), host = json_str(json_get(q, "host")), port;

    r->target = json_str(json_get(q, "path"));
    ptrdiff_t mark = str_index(r->target, '?');
    r->raw_path = mark < 0 ? r->target : str_head(r->target, (size_t)mark);
    r->has_args = mark >= 0;
    r->args = mark < 0 ? STR("") : str_skip(r->target, (size_t)mark + 1);
    CHECK(uri_normalise(r->arena, r->raw_path, &r->uri) == URI_OK);
    r->method = str_is_none(method) ? STR("GET") : method;
    r->method_id = http_method_of(r->method);
    r->host_header = str_is_none(host) ? STR("127.0.0.1:29080") : host;
    r->host = host_of(r->arena, r->host_header, &port);
    r->scheme = STR("http");
    r->server_port = 29080;
    take_headers(r, json_get(q, "headers"));
    struct str body = json_str(json_get(q, "body"));
    r->has_body = !str_is_none(body);
    r->body = r->has_body ? body : STR("");
    r->body_read = true;
}

/* What is expected in this mode: expect is an id, null, or an object by mode. */
static struct str expected(const json_t *q, int mode)
{
    const json_t *e = json_get(q, "expect");

    return json_str(json_is_object(e) ? json_get(e, mode_names[mode]) : e);
}

static void check_params(const json_t *q, int mode, const struct route_match *m)
{
    const char *header;
    json_t *value;

    json_object_foreach(json_get(json_get(q, "uri_params"), mode_names[mode]), header, value) {
        bool found = false;
        for (unsigned i = 0; i < m->n_params; i++) { /* "X-Id" echoes "id" */
            found |= str_ieq(m->params[i].name, str_c(header + 2)) &&
                     str_eq(m->params[i].value, json_str(value));
        }
        CHECK(found);
    }
}

static void check_request(const struct set *s, const char *name, const json_t *q, int mode)
{
    static struct settings settings;
    settings.max_post_args_bytes = 65536;
    settings.graphql_max_size = 65536;
    struct arena *a = arena_new(4096);
    struct req *r = ARENA_NEW(a, struct req);
    struct route_match m;

    r->arena = a;
    r->settings = &settings;
    take_request(r, q);
    struct route_query query = {
        .uri = r->uri,
        .host = r->host,
        .host_header = r->host_header,
        .method_bit = r->method_id >= M_GET && r->method_id <= M_PURGE ? 1U << r->method_id : 0,
        .client = &r->client,
        .subject = r,
    };
    router_match(s->router, &query, &m);
    struct str got = m.route ? m.route->o.id : STR_NONE, want = expected(q, mode);
    if (!str_eq(got, want)) {
        printf("# %s, %s: %.*s %.*s on %.*s: got %.*s, want %.*s\n", mode_names[mode], name,
               STR_ARG(r->method), STR_ARG(r->target), STR_ARG(r->host_header), STR_ARG(got),
               STR_ARG(want));
        CHECK(!"the recorded route");
    }
    check_params(q, mode, &m);
    arena_free(a);
}

static unsigned n_sets, n_requests;

static void run(int mode)
{
    json_t *golden = json_load_file(SOURCE_DIR "/test/golden/golden-routing.json", 0, NULL);
    size_t i, k;
    json_t *c, *q;

    CHECK(golden != NULL);
    vars_install();
    router_set_mode((enum router_mode)mode);
    json_array_foreach(json_get(golden, "cases"), i, c) {
        const char *name = json_string_value(json_get(c, "name"));
        struct set s = {0};

        set_make(&s, c);
        n_sets++;
        json_array_foreach(json_get(c, "requests"), k, q) {
            check_request(&s, name, q, mode);
            n_requests++;
        }
        set_drop(&s);
    }
    json_decref(golden);
}

static void the_recorded_routes_are_chosen_by_host_and_uri(void)
{
    run(ROUTER_HOST_URI);
}

static void the_recorded_routes_are_chosen_by_uri(void)
{
    run(ROUTER_URI);
}

static void the_recorded_routes_are_chosen_by_uri_with_parameters(void)
{
    run(ROUTER_URI_PARAMS);
    printf("# %u route sets, %u requests\n", n_sets, n_requests);
    CHECK(n_sets == 3 * 56 && n_requests == 3 * 180);
}

TESTS(T(the_recorded_routes_are_chosen_by_host_and_uri), T(the_recorded_routes_are_chosen_by_uri),
      T(the_recorded_routes_are_chosen_by_uri_with_parameters))
