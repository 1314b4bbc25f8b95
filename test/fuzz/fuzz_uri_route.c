/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths and the router. Oracles: a normal path has no empty, "." or ".." segment and is a fixed
 * point of encoding and normalising; it never depends on the fast scan; the route that the trees
 * choose is the one that the slow rules choose, in all three modes, after deletions too.
 *
 * Input: lines. First the path of the request, then its host, then routes: "flags uri [uri]
 * [@host]", where flags is one byte: priority 0..3 in the low bits, then whether its methods fit,
 * whether it is deleted again.
 */
#include "fuzz.h"
#include "route/routes.h"
#include "route/uri.h"

enum { ROUTES_MAX = 24, METHOD_OF_REQUEST = 1, OTHER_METHOD = 2 };

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("/-._~!$&'()*+,;=:@", c);
}

/* What a client sends to mean this path. */
static struct str encode(struct arena *a, struct str s)
{
    static const char hex[] = "0123456789ABCDEF";
    char *p = arena_bytes(a, s.n * 3 + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '\0' && is_plain(s.p[i])) {
            p[n++] = s.p[i];
            continue;
        }
        p[n++] = '%';
        p[n++] = hex[(uint8_t)s.p[i] >> 4];
        p[n++] = hex[(uint8_t)s.p[i] & 15];
    }
    return str_of(p, n);
}

static void check_normal(struct arena *a, struct str uri)
{
    struct str again, rest = str_skip(uri, 1), segment;

    ORACLE(uri.n > 0 && uri.p[0] == '/');
    while (str_split(&rest, '/', &segment)) {
        ORACLE(segment.n > 0 || str_is_none(rest));
        ORACLE(!str_eq(segment, STR(".")) && !str_eq(segment, STR("..")));
    }
    ORACLE(uri_normalise(a, encode(a, uri), &again) == URI_OK);
    ORACLE_SAME(again, uri);
}

static void check_variants(struct arena *a, struct str raw, struct str uri)
{
    struct str kept = uri_keep_encoded_slash(a, raw, uri), servlet, again;

    ORACLE(kept.n >= uri.n);
    if (uri_servlet(a, uri, &servlet)) {
        ORACLE(str_index(servlet, ';') < 0);
        ORACLE(uri_servlet(a, servlet, &again));
        ORACLE_SAME(again, servlet);
    }
}

/* Lists of a route in the form routes_make() takes; the text is the input's, copied. */
static struct route *route_of(struct arena *a, struct str line, unsigned number)
{
    struct str part, uris = STR(""), hosts = STR("");
    struct route_row row = {.id = arena_printf(a, "%u", number * 7 % 25).p};

    for (unsigned i = 0; str_split(&line, ' ', &part) && i < 6; i++) {
        bool host = part.n > 1 && part.p[0] == '@';
        struct str *list = host ? &hosts : &uris;
        if (part.n == 0 || (!host && part.p[0] != '/') || part.n > 200) {
            continue;
        }
        *list = arena_printf(a, "%.*s %.*s", STR_ARG(*list), STR_ARG(str_skip(part, host)));
    }
    row.uris = uris.p;
    row.hosts = arena_lower(a, hosts).p;
    return routes_make(a, &row);
}

struct world {
    struct route *routes[ROUTES_MAX];
    bool gone[ROUTES_MAX];
    size_t n;
};

static void take_routes(struct world *w, struct arena *a, struct str text)
{
    struct str line;

    while (w->n < ROUTES_MAX && str_split(&text, '\n', &line)) {
        if (line.n < 2) {
            continue;
        }
        struct route *r = route_of(a, str_skip(line, 1), (unsigned)w->n);
        r->priority = line.p[0] & 3;
        r->methods = line.p[0] & 4 ? OTHER_METHOD : line.p[0] & 8 ? METHOD_OF_REQUEST : 0;
        w->gone[w->n] = (line.p[0] & 16) != 0;
        w->routes[w->n++] = r;
    }
}

static void check_mode(const struct world *w, enum router_mode mode, const struct route_query *q)
{
    struct route *left[ROUTES_MAX];
    struct router *r = NULL;
    struct route_match m;
    size_t n = 0;

    router_set_mode(mode);
    for (size_t i = 0; i < w->n; i++) {
        struct router *next = router_put(r, w->routes[i], NULL);
        router_drop(r);
        r = next;
    }
    for (size_t i = 0; i < w->n; i++) {
        if (!w->gone[i]) {
            left[n++] = w->routes[i];
            continue;
        }
        struct router *next = router_del(r, w->routes[i], NULL);
        router_drop(r);
        r = next;
    }
    struct verdict_of want = slow_match(left, n, mode, q);
    bool found = router_match(r, q, &m);

    ORACLE(found == (want.route != NULL) && m.route == want.route);
    if (found) {
        ORACLE_SAME(m.uri_pattern, want.route->uris[want.uri]);
        ORACLE(m.n_params <= ROUTE_MAX_PARAMS);
        for (unsigned i = 0; i < m.n_params; i++) {
            struct str v = m.params[i].value;
            ORACLE(str_is_none(v) || (v.p >= q->uri.p && v.p + v.n <= q->uri.p + q->uri.n));
        }
    }
    router_drop(r);
}

/* Host patterns with a port have rules of their own, told by the golden cases. */
static bool has_port(const struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        for (unsigned h = 0; h < w->routes[i]->n_hosts; h++) {
            if (str_index(w->routes[i]->hosts[h], ':') >= 0) {
                return true;
            }
        }
    }
    return false;
}

static void run(struct arena *a, struct str input)
{
    struct str rest = input, raw = STR_NONE, host = STR_NONE, port, uri;
    struct world w = {0};

    str_split(&rest, '\n', &raw);
    str_split(&rest, '\n', &host);
    if (raw.n == 0 || raw.p[0] != '/' || memchr(input.p, '\0', input.n) ||
        uri_normalise(a, raw, &uri) != URI_OK) {
        return;
    }
    check_normal(a, uri);
    check_variants(a, raw, uri);
    take_routes(&w, a, str_is_none(rest) ? STR("") : rest);
    host = host_of(a, host, &port);
    if (has_port(&w) || str_is_none(host) || str_index(host, ':') >= 0) {
        return;
    }
    struct route_query q = {
        .uri = uri, .host = host, .host_header = host, .method_bit = METHOD_OF_REQUEST};
    for (int mode = 0; mode < 3; mode++) {
        check_mode(&w, (enum router_mode)mode, &q);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct arena *a;

    if (!a) {
        a = arena_new(65536);
    }
    if (size <= 2048) {
        run(a, str_of((const char *)data, size));
    }
    arena_reset(a);
    return 0;
}
