/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * routes: routes made by hand, and the selection rules once more, slowly: every route is looked at,
 * patterns are the reference's regular expressions. What router/ does with trees must come to the
 * same.
 */
#include "base/assert.h"
#include "base/re.h"
#include "route/router.h"

/*
 * A route as a row of a test. Lists are separated by blanks; priority and methods as in struct
 * route.
 */
struct route_row {
    const char *id, *uris, *hosts;
    int priority;
    unsigned methods;
    int created;
};

static inline unsigned routes_split(struct arena *a, const char *text, const struct str **out)
{
    struct str rest = str_c(text ? text : ""), part, *v = ARENA_ARRAY(a, struct str, rest.n + 1);
    unsigned n = 0;

    while (str_split(&rest, ' ', &part)) {
        if (part.n > 0) {
            v[n++] = part;
        }
    }
    *out = v;
    return n;
}

static inline struct route *routes_make(struct arena *a, const struct route_row *row)
{
    struct route *r = ARENA_NEW(a, struct route);

    r->o = (struct object){
        .refs = 1, .kind = K_ROUTE, .id = str_c(row->id), .created_index = row->created};
    r->n_uris = routes_split(a, row->uris, &r->uris);
    r->n_hosts = routes_split(a, row->hosts, &r->hosts);
    r->priority = row->priority;
    r->methods = row->methods;
    r->enabled = true;
    return r;
}

/* ---- the slow rules ---- */

/* One uri of one route, judged for a request. */
struct verdict_of {
    const struct route *route;
    unsigned uri;
    bool exact;
    size_t index; /* length of the indexed prefix */
};

static inline struct str slow_expression(struct arena *a, struct str uri, unsigned *names)
{
    struct str rest = uri, seg, out = STR("");
    size_t trailing = 0;

    while (trailing < uri.n && uri.p[uri.n - 1 - trailing] == '/') {
        trailing++;
    }
    rest.n -= trailing;
    *names = 0;
    for (bool first = true; str_split(&rest, '/', &seg); first = false) {
        bool param = seg.n > 0 && seg.p[0] == ':', star = seg.n > 0 && seg.p[0] == '*';
        *names += param || star;
        out = arena_cat(a, out, first ? STR("") : STR("\\/"));
        out = arena_cat(a, out, param ? STR("([^\\\\/]+)") : star ? STR("((?:.|\\n)*)") : seg);
    }
    return trailing > 0 ? arena_cat(a, out, STR("\\/")) : out;
}

static inline bool slow_pattern_matches(struct arena *a, struct str pattern, struct str uri)
{
    unsigned names;
    struct str text = slow_expression(a, pattern, &names);
    struct err e = {0};
    struct re_match m;

    if (names == 0) {
        return true;
    }
    struct re *re = re_new(a, text, "", &e);
    return re && re_search(re, uri, 0, &m) && m.group[0].p == uri.p && m.group[0].n == uri.n;
}

static inline bool slow_uri_matches(struct arena *a, enum router_mode mode, struct str pattern,
                                    struct str uri, struct verdict_of *v)
{
    ptrdiff_t colon = mode == ROUTER_URI_PARAMS ? str_index(pattern, ':') : -1;
    ptrdiff_t cut = colon >= 0 ? colon : str_index(pattern, '*');

    v->exact = cut < 0;
    if (v->exact) {
        return str_eq(pattern, uri);
    }
    v->index = (size_t)cut;
    return str_starts(uri, str_head(pattern, v->index)) && slow_pattern_matches(a, pattern, uri);
}

/* Is x tried before y? */
static inline bool slow_before(const struct verdict_of *x, const struct verdict_of *y)
{
    struct str xu = x->route->uris[x->uri], yu = y->route->uris[y->uri];

    if (x->exact != y->exact) {
        return x->exact;
    }
    if (!x->exact && x->index != y->index) {
        return x->index > y->index;
    }
    if (x->route->priority != y->route->priority) {
        return x->route->priority > y->route->priority;
    }
    if (xu.n != yu.n) {
        return xu.n > yu.n;
    }
    if (x->route->o.created_index != y->route->o.created_index) {
        return x->route->o.created_index < y->route->o.created_index;
    }
    int ids = str_cmp(x->route->o.id, y->route->o.id);
    return ids != 0 ? ids < 0 : x->uri < y->uri;
}

static inline bool slow_host_matches(struct str pattern, struct str host)
{
    bool wild = pattern.n > 0 && pattern.p[0] == '*';

    return wild ? str_ends(host, str_skip(pattern, 1)) : str_eq(pattern, host);
}

enum {
    SLOW_HOST_ANY = -1,
    SLOW_HOST_NONE = -2,
    SLOW_HOST_EXACT = -3
}; /* else: the length of the wildcard that has to match */

static inline bool slow_host_fits(const struct route *r, struct str host, long level)
{
    if (r->n_hosts == 0) {
        return level == SLOW_HOST_NONE || level == SLOW_HOST_ANY;
    }
    for (unsigned i = 0; i < r->n_hosts && level != SLOW_HOST_NONE; i++) {
        bool wild = r->hosts[i].p[0] == '*';
        bool at_level = level == SLOW_HOST_ANY ||
                        (wild ? (long)r->hosts[i].n == level : level == SLOW_HOST_EXACT);
        if (at_level && slow_host_matches(r->hosts[i], host)) {
            return true;
        }
    }
    return false;
}

static inline struct verdict_of slow_level(struct route **routes, size_t n, enum router_mode mode,
                                           const struct route_query *q, long level)
{
    struct verdict_of best = {0};
    struct arena *a = arena_new(1024);

    for (size_t i = 0; i < n; i++) {
        const struct route *r = routes[i];
        bool fits = slow_host_fits(r, q->host, level) &&
                    (r->methods == 0 || (r->methods & q->method_bit) != 0);
        for (unsigned u = 0; fits && u < r->n_uris; u++) {
            struct verdict_of v = {.route = r, .uri = u};
            if (slow_uri_matches(a, mode, r->uris[u], q->uri, &v) &&
                (!best.route || slow_before(&v, &best))) {
                best = v;
            }
        }
    }
    arena_free(a);
    return best;
}

static inline struct verdict_of slow_match(struct route **routes, size_t n, enum router_mode mode,
                                           const struct route_query *q)
{
    if (mode != ROUTER_HOST_URI) {
        return slow_level(routes, n, mode, q, SLOW_HOST_ANY);
    }
    struct verdict_of v = slow_level(routes, n, mode, q, SLOW_HOST_EXACT);
    for (long level = (long)q->host.n + 1; !v.route && level > 0; level--) {
        v = slow_level(routes, n, mode, q, level);
    }
    return v.route ? v : slow_level(routes, n, mode, q, SLOW_HOST_NONE);
}
