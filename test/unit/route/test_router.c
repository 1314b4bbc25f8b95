/* SPDX-License-Identifier: Apache-2.0 */
/* router: selection in the three modes, parameters, versions, and the trees against the slow rules.
 */
#include "base/assert.h"
#include "proto/h1.h"
#include "routes.h"
#include "t.h"

enum { GET = 1U << M_GET, POST = 1U << M_POST };

/* A router of rows, put in the order given. */
static struct router *router_of(struct arena *a, enum router_mode mode,
                                const struct route_row *rows, size_t n)
{
    struct router *r = NULL;

    router_set_mode(mode);
    for (size_t i = 0; i < n; i++) {
        struct router *next = router_put(r, routes_make(a, &rows[i]), NULL);
        router_drop(r);
        r = next;
    }
    return r;
}

static struct route_query query(const char *uri, const char *host)
{
    return (struct route_query){
        .uri = str_c(uri), .host = str_c(host), .host_header = str_c(host), .method_bit = GET};
}

static struct str id_for(const struct router *r, const char *uri, const char *host)
{
    struct route_match m;
    struct route_query q = query(uri, host);

    return router_match(r, &q, &m) ? m.route->o.id : STR("none");
}

static void among_one_path_priority_length_and_age_decide(void)
{
    static const struct route_row rows[] = {
        {"c", "/x", NULL, 0, 0, 3},
        {"b", "/x", NULL, 0, 0, 3},
        {"a", "/x", NULL, -1},
        {"d", "/x", NULL, 0, 0, 4},
        {"o1", "/o", NULL, 0, 0, 2},
        {"o2", "/o", NULL, 0, 0, 1},
        {"p1", "/p/*"},
        {"p2", "/p/*name", NULL, 0},
        {"p3", "/p/*", NULL, 3},
        {"q1", "/q/*"},
        {"q2", "/q/*name"},
        {"z", "/*"},
    };
    struct arena *a = arena_new(1024);
    struct router *r = router_of(a, ROUTER_HOST_URI, rows, LENGTH_OF(rows));

    CHECK_STR(id_for(r, "/x", NULL), "b");
    CHECK_STR(id_for(r, "/o", NULL), "o2");
    CHECK_STR(id_for(r, "/p/1", NULL), "p3");
    CHECK_STR(id_for(r, "/q/1", NULL), "q2");
    CHECK_STR(id_for(r, "/y", NULL), "z");
    CHECK(router_count(r) == LENGTH_OF(rows));
    router_drop(r);
    arena_free(a);
}

static void failed_conditions_fall_through_to_the_root(void)
{
    static const struct route_row rows[] = {
        {"exact", "/a/b/c", NULL, 9, POST},   {"abc", "/a/b/*", NULL, 9, POST},
        {"ab", "/a/*", "*.foo.com", 0, POST}, {"host", "/*", "x.foo.com", 0, POST},
        {"wild", "/a*", "*foo.com", 0, POST}, {"all", "/*"},
    };
    struct arena *a = arena_new(1024);

    for (int mode = 0; mode < 3; mode++) {
        struct router *r = router_of(a, (enum router_mode)mode, rows, LENGTH_OF(rows));
        CHECK_STR(id_for(r, "/a/b/c", "x.foo.com"), "all");
        CHECK_STR(id_for(r, "", "x.foo.com"), "none");
        router_drop(r);
    }
    arena_free(a);
}

static void deep_nesting_is_tried_from_the_longest(void)
{
    struct arena *a = arena_new(65536);
    struct router *r = NULL;
    char uri[420] = "";

    router_set_mode(ROUTER_URI);
    for (int i = 0; i < 100; i++) { /* more than a trail holds; only the shortest takes GET */
        struct route_row row = {.id = "r",
                                .uris = arena_printf(a, "/%.*s*", i * 4, uri).p,
                                .methods = i == 1 ? GET : POST};
        memcpy(uri + i * 4, "abc/", 4);
        row.id = arena_printf(a, "r%d", i).p;
        struct router *next = router_put(r, routes_make(a, &row), NULL);
        router_drop(r);
        r = next;
    }
    CHECK_STR(id_for(r, arena_printf(a, "/%.*s", 400, uri).p, NULL), "r1");
    CHECK_STR(id_for(r, "/x", NULL), "none");
    router_drop(r);
    arena_free(a);
}

static void patterns_match_as_the_reference(void)
{
    static const struct {
        const char *pattern, *uri;
        const char *params; /* "name=value ..." or NULL: no match */
    } cases[] = {
        {"/user/:id", "/user/1", "id=1"},
        {"/user/:id", "/user/", NULL},
        {"/user/:id", "/user/1/", NULL},
        {"/user/:id", "/user/a\\b", NULL},
        {"/user/:id/", "/user/1/", "id=1"},
        {"/user/:id/posts/:pid", "/user/1/posts/2", "id=1 pid=2"},
        {"/user/:id/posts/:pid", "/user/1/posts", NULL},
        {"/:a/:b/:c", "/1/2/3", "a=1 b=2 c=3"},
        {"/:a/:a", "/1/2", "a=2"},
        {"/:", "/x", "=x"},
        {"/f/:n/a.b", "/f/1/a.b", "n=1"},
        {"/f/:n/a.b", "/f/1/a-b", "n=1"},
        {"/f/:n/a.b", "/f/1/a.c", NULL},
        {"/a/*", "/a/", ":ext="},
        {"/a/*", "/a/b/c", ":ext=b/c"},
        {"/a/*", "/a", NULL},
        {"/a*", "/a/x", ""},
        {"/a*b", "/axxx", ""}, /* no segment begins with the star: nothing more is compared */
        {"/a:b", "/axxx", ""},
        {"/file/*path", "/file/a/b", "path=a/b"},
        {"/a/*/c", "/a/b/c", ":ext=b"},
        {"/a/*/c", "/a/b/c/d/c", ":ext=b/c/d"},
        {"/a/*/c", "/a/b/cd", NULL},
        {"/a/*/c", "/a/c", NULL},
        {"/a/*x/b/*y/c", "/a/1/b/2/b/3/c", "x=1/b/2 y=3"},
        {"/a/*x/b/*y/c", "/a/1/b/c", NULL},
        {"/a/*x/*y", "/a/1/2/3", "x=1/2 y=3"},
        {"/a/*x/:y", "/a/1/2/3",
         NULL}, /* the colon says what is indexed, and the star before it stands there as text */
        {"/a/*x/:y", "/a/*x/3", "x=*x y=3"},
        {"/a/:x/*y", "/a/1/2/3", "x=1 y=2/3"},
        {"/a/:x/*y", "/a/1/", "x=1 y="},
        {"/v/:n/nodes/?", "/v/1/nodes", "n=1"}, /* "?" is the expression's */
        {"/v/:n/nodes/?", "/v/1/nodes/", "n=1"},
        {"/v/:n/(a|b)", "/v/1/b", "n=1"},
        {"/c++/:n", "/c++/1", NULL},
        {"/v/:n/no*)|\\", "/v/4/no", NULL},
        {"/v/:n/(", "/v/1/(", NULL}, /* not an expression */
        {"/a/*/b/:c", "/a/x/b/1", NULL},
        {"/a/*/b/:c", "/a/*/b/1", ":ext=* c=1"},
        {"/:a//", "/x/", "a=x"},
    };
    struct arena *a = arena_new(4096);

    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct route_row row = {"r", cases[i].pattern};
        struct router *r = router_of(a, ROUTER_URI_PARAMS, &row, 1);
        struct route_query q = query(cases[i].uri, NULL);
        struct route_match m;
        struct str got = STR("");

        CHECK_ROW(i, router_match(r, &q, &m) == (cases[i].params != NULL));
        for (unsigned k = 0; m.route && k < m.n_params; k++) {
            got = arena_printf(a, "%.*s%s%.*s=%.*s", STR_ARG(got), k ? " " : "",
                               STR_ARG(m.params[k].name), STR_ARG(m.params[k].value));
        }
        CHECK_STR(got, cases[i].params ? cases[i].params : "");
        CHECK_ROW(i, !m.route || str_eq(m.uri_pattern, str_c(cases[i].pattern)));
        router_drop(r);
    }
    arena_free(a);
}

static void parameters_under_one_prefix_keep_the_order(void)
{
    static const struct route_row rows[] = {
        {"short", "/u/:id"},
        {"long", "/u/:identifier"},
        {"star", "/u/*"},
        {"high", "/u/:id/x", NULL, 5, POST},
        {"low", "/u/:id/x", NULL, 1},
        {"other", "/u/:id/y"},
        {"lit", "/u/me/*"},
        {"deep", "/u/me/:p"},
        {"any", "/u/:a/:b", NULL, 1},
    };
    struct arena *a = arena_new(1024);
    struct router *r = router_of(a, ROUTER_URI_PARAMS, rows, LENGTH_OF(rows));

    CHECK_STR(id_for(r, "/u/1", NULL), "long");
    CHECK_STR(id_for(r, "/u/1/x", NULL),
              "any"); /* as "low" in priority, length and age: the id decides */
    CHECK_STR(id_for(r, "/u/1/y", NULL), "any"); /* priority */
    CHECK_STR(id_for(r, "/u/1/2/3", NULL), "star");
    CHECK_STR(id_for(r, "/u/me/q", NULL), "deep"); /* both under "/u/me/": the longer */
    CHECK_STR(id_for(r, "/u/me/q/r", NULL), "lit");
    router_drop(r);
    arena_free(a);
}

static void a_later_try_leaves_no_parameters_behind(void)
{
    static const struct route_row rows[] = {{"best", "/u/:id/*rest", NULL, 1},
                                            {"tried", "/u/:name/x/*more/z", NULL, 2}};
    struct arena *a = arena_new(1024);
    struct router *r = router_of(a, ROUTER_URI_PARAMS, rows, LENGTH_OF(rows));
    struct route_query q = query("/u/1/x/2", NULL);
    struct route_match m;

    CHECK(router_match(r, &q, &m));
    CHECK(m.n_params == 2);
    CHECK_STR(m.params[0].name, "id");
    CHECK_STR(m.params[1].value, "x/2");
    router_drop(r);
    arena_free(a);
}

static void the_matched_patterns_are_told(void)
{
    static const struct route_row rows[] = {
        {"w", "/a*", "*.foo.com"}, {"e", "/a*", "x.bar.com"}, {"n", "/*"}};
    struct arena *a = arena_new(1024);

    for (int mode = 0; mode < 3; mode++) {
        struct router *r = router_of(a, (enum router_mode)mode, rows, LENGTH_OF(rows));
        struct route_query q = query("/abc", "q.foo.com");
        struct route_match m;

        CHECK(router_match(r, &q, &m));
        CHECK_STR(m.uri_pattern, "/a*");
        CHECK_STR(m.host_pattern, "*.foo.com");
        q = query("/abc", "x.bar.com");
        CHECK(router_match(r, &q, &m));
        CHECK_STR(m.host_pattern, "x.bar.com");
        q = query("/abc", NULL);
        CHECK(router_match(r, &q, &m));
        CHECK_STR(m.route->o.id, "n");
        CHECK(str_is_none(m.host_pattern));
        router_drop(r);
    }
    arena_free(a);
}

static void hosts_come_from_the_service_when_the_route_has_none(void)
{
    struct str hosts[] = {STR("svc.com"), STR("*.svc.com")};
    struct service service = {.hosts = hosts, .n_hosts = 2};
    struct route_row row = {"r", "/*"}, own = {"own", "/own", "own.com"};
    struct arena *a = arena_new(1024);

    for (int mode = 0; mode < 3; mode++) {
        router_set_mode((enum router_mode)mode);
        struct route *one = routes_make(a, &row), *two = routes_make(a, &own);
        struct router *r1 = router_put(NULL, one, &service), *r2 = router_put(r1, two, &service);

        CHECK_STR(id_for(r2, "/a", "svc.com"), "r");
        CHECK_STR(id_for(r2, "/a", "x.svc.com"), "r");
        CHECK_STR(id_for(r2, "/a", "none.com"), "none");
        CHECK_STR(id_for(r2, "/own", "own.com"), "own");
        CHECK_STR(id_for(r2, "/own", "svc.com"), "r");
        struct router *r3 = router_del(r2, one, &service);
        CHECK_STR(id_for(r3, "/a", "svc.com"), "none");
        CHECK_STR(id_for(r2, "/a", "svc.com"), "r");
        struct router *r4 = router_del(r3, two, &service);
        CHECK(r4 == NULL && router_count(r4) == 0);
        router_drop(r1);
        router_drop(r2);
        router_drop(r3);
    }
    arena_free(a);
}

static void a_disabled_route_is_not_put(void)
{
    struct arena *a = arena_new(1024);
    struct route *off = routes_make(a, &(struct route_row){"off", "/*"}),
                 *on = routes_make(a, &(struct route_row){"on", "/x"});

    off->enabled = false;
    struct router *r = router_put(NULL, off, NULL);
    CHECK(r == NULL);
    r = router_put(NULL, on, NULL);
    struct router *same = router_put(r, off, NULL), *still = router_del(same, off, NULL);
    CHECK(same == r && still == r && router_count(r) == 1);
    router_drop(r);
    router_drop(same);
    router_drop(still);
    arena_free(a);
}

static void putting_twice_replaces_and_deleting_nothing_changes_nothing(void)
{
    struct arena *a = arena_new(1024);
    struct route *v1 = routes_make(a, &(struct route_row){"r", "/x /y/*", "a.com *.a.com"});
    struct route *v2 = routes_make(a, &(struct route_row){"r", "/x /y/*", "a.com *.a.com"});
    struct router *r1 = router_put(NULL, v1, NULL), *r2 = router_put(r1, v2, NULL);
    struct route_query q = query("/x", "a.com");
    struct route_match m;

    CHECK(router_count(r2) == 1);
    CHECK(router_match(r2, &q, &m) && m.route == v2);
    CHECK(router_match(r1, &q, &m) && m.route == v1);
    struct router *r3 =
        router_del(r2, routes_make(a, &(struct route_row){"other", "/x", "b.com"}), NULL);
    CHECK(router_count(r3) == 1);
    router_drop(r1);
    router_drop(r2);
    router_drop(r3);
    arena_free(a);
}

static void addresses_are_a_condition(void)
{
    struct cidr blocks[2];
    struct ip in, out;
    struct arena *a = arena_new(1024);
    struct route *r = routes_make(a, &(struct route_row){"r", "/*"});
    struct route_query q = query("/a", NULL);
    struct route_match m;

    CHECK(cidr_parse(STR("10.0.0.0/8"), &blocks[0]) && cidr_parse(STR("::1"), &blocks[1]));
    CHECK(ip_parse(STR("10.2.3.4"), &in) && ip_parse(STR("11.2.3.4"), &out));
    r->remote_addrs = blocks;
    r->n_remote_addrs = 2;
    struct router *t = router_put(NULL, r, NULL);
    CHECK(!router_match(t, &q, &m));
    q.client = &in;
    CHECK(router_match(t, &q, &m));
    q.client = &out;
    CHECK(!router_match(t, &q, &m));
    router_drop(t);
    arena_free(a);
}

static void modes_have_names(void)
{
    CHECK(router_mode_of(STR("radixtree_host_uri")) == ROUTER_HOST_URI);
    CHECK(router_mode_of(STR("radixtree_uri")) == ROUTER_URI);
    CHECK(router_mode_of(STR("radixtree_uri_with_parameter")) == ROUTER_URI_PARAMS);
    CHECK(router_mode_of(STR("radixtree")) == -1);
}

/* ---- against the slow rules ---- */

static uint32_t seed = 7;

static uint32_t roll(uint32_t n)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % n;
}

static const char *const segments[] = {"a", "b",  "ab", "a.b", "axb", ":x", ":y",
                                       "*", "*z", "a*", "a:b", "",    "c?", "a\\"};
static const char *const hosts[] = {"a.com", "b.a.com",   "*.a.com",  "*a.com",
                                    "*",     "c.b.a.com", "*.b.a.com"};

/* A path of a few segments; pattern: of all, else of what a client can send. */
static const char *random_path(struct arena *a, bool pattern)
{
    struct str s = STR("");
    uint32_t n = 1 + roll(4), kinds = pattern ? LENGTH_OF(segments) : 5;

    for (uint32_t i = 0; i < n; i++) {
        const char *seg = !pattern && i > 0 && roll(12) == 0
                              ? segments[5 + roll(LENGTH_OF(segments) - 5)]
                              : segments[roll(kinds)];
        s = arena_printf(a, "%.*s/%s", STR_ARG(s), seg);
    }
    return roll(5) == 0 ? arena_printf(a, "%.*s/", STR_ARG(s)).p : s.p;
}

static struct route *random_route(struct arena *a, unsigned number)
{
    struct str uris = str_c(random_path(a, true)), names = STR("");

    if (roll(4) == 0) {
        uris = arena_printf(a, "%.*s %s", STR_ARG(uris), random_path(a, true));
    }
    for (uint32_t n = roll(3); n > 0; n--) {
        names = arena_printf(a, "%.*s %s", STR_ARG(names), hosts[roll(LENGTH_OF(hosts))]);
    }
    struct route_row row = {arena_printf(a, "%u", number * 7919 % 1000).p,
                            uris.p,
                            names.p,
                            (int)roll(3),
                            roll(3) == 0 ? POST : 0,
                            (int)roll(20)};
    return routes_make(a, &row);
}

static void check_query(struct arena *a, const struct router *r, struct route **set, size_t n,
                        enum router_mode mode)
{
    const char *host = hosts[roll(LENGTH_OF(hosts))];
    struct route_query q = query(random_path(a, false), host[0] == '*' ? "z.a.com" : host);
    struct route_match m;

    q.method_bit = roll(4) == 0 ? POST : GET;
    struct verdict_of want = slow_match(set, n, mode, &q);
    router_match(r, &q, &m);
    bool same =
        m.route == want.route && (!m.route || str_eq(m.uri_pattern, want.route->uris[want.uri]));
    CHECK(same);
    if (!same) {
        printf("# mode %d, %.*s on %.*s: route %.*s, want %.*s %.*s\n", mode, STR_ARG(q.uri),
               STR_ARG(q.host), STR_ARG(m.route ? m.uri_pattern : STR("none")),
               STR_ARG(want.route ? want.route->uris[want.uri] : STR("none")),
               STR_ARG(want.route ? want.route->o.id : STR("-")));
    }
}

static void trees_and_slow_rules_agree(void)
{
    struct arena *a = arena_new(65536);

    for (int run = 0; run < 400; run++) {
        struct route *set[40];
        struct router *r = NULL;
        enum router_mode mode = (enum router_mode)(run % 3);
        size_t n = 0;

        router_set_mode(mode);
        for (unsigned step = 0; step < 60; step++) {
            size_t i = n < 40 && (n == 0 || roll(4) != 0) ? n : roll((uint32_t)n);
            struct router *next;
            if (i == n) {
                set[n++] = random_route(a, step);
                next = router_put(r, set[i], NULL);
            } else {
                next = router_del(r, set[i], NULL);
                set[i] = set[--n];
            }
            router_drop(r);
            r = next;
            CHECK(router_count(r) == n);
            if (step % 6 == 5) {
                check_query(a, r, set, n, mode);
            }
        }
        for (int k = 0; k < 40; k++) {
            check_query(a, r, set, n, mode);
        }
        while (n > 0) {
            struct router *next = router_del(r, set[--n], NULL);
            router_drop(r);
            r = next;
        }
        CHECK(r == NULL);
        arena_reset(a);
    }
    arena_free(a);
}

TESTS(T(among_one_path_priority_length_and_age_decide),
      T(failed_conditions_fall_through_to_the_root), T(deep_nesting_is_tried_from_the_longest),
      T(patterns_match_as_the_reference), T(parameters_under_one_prefix_keep_the_order),
      T(a_later_try_leaves_no_parameters_behind), T(the_matched_patterns_are_told),
      T(hosts_come_from_the_service_when_the_route_has_none), T(a_disabled_route_is_not_put),
      T(putting_twice_replaces_and_deleting_nothing_changes_nothing), T(addresses_are_a_condition),
      T(modes_have_names), T(trees_and_slow_rules_agree))
