/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two levels: a tree of reversed hosts whose values are trees of uris, and one tree of uris for
 * routes without hosts (for all routes in the modes that start with the uri).
 * docs/internals/routing.md draws it.
 */
#include "route/router.h"

#include "base/mem.h"
#include "route/cands.h"

#include <stdlib.h>

struct router {
    uint32_t refs;
    enum router_mode mode;
    size_t n;
    struct radix *sites; /* reversed host -> struct site */
    struct radix *uris;
};

/* The routes of one host pattern. */
struct site {
    uint32_t refs;
    struct radix *uris;
    struct str pattern; /* the text follows */
    char text[];
};

static enum router_mode mode_of_new_routers = ROUTER_HOST_URI;

int router_mode_of(struct str name)
{
    static const char *const names[] = {
        [ROUTER_HOST_URI] = "radixtree_host_uri",
        [ROUTER_URI] = "radixtree_uri",
        [ROUTER_URI_PARAMS] = "radixtree_uri_with_parameter",
    };

    for (int i = 0; i < 3; i++) {
        if (str_eq(name, str_c(names[i]))) {
            return i;
        }
    }
    return -1;
}

void router_set_mode(enum router_mode m)
{
    mode_of_new_routers = m;
}

/* ---- counting ---- */

static void site_hold(void *value)
{
    struct site *s = value;

    s->refs++;
}

static void site_drop(void *value)
{
    struct site *s = value;

    if (--s->refs == 0) {
        radix_drop(s->uris, &cands_ops);
        free(s);
    }
}

static const struct radix_ops site_ops = {.hold = site_hold, .drop = site_drop};

struct router *router_hold(struct router *r)
{
    if (r) {
        r->refs++;
    }
    return r;
}

void router_drop(struct router *r)
{
    if (r && --r->refs == 0) {
        radix_drop(r->sites, &site_ops);
        radix_drop(r->uris, &cands_ops);
        free(r);
    }
}

size_t router_count(const struct router *r)
{
    return r ? r->n : 0;
}

/* ---- put and del: both are one pass over the keys of a route ---- */

struct edit {
    const struct route *route;
    enum router_mode mode;
    bool remove;
    unsigned keys; /* done */
    bool hit;      /* the route was there: it stood at the first key */
    const struct str *hosts;
    unsigned n_hosts;
    struct str host; /* the one in hand; its site's key is made of it */
};

/* Where the part of a uri ends that is compared as it stands: SIZE_MAX when that is all of it. */
static size_t index_end(struct str uri, enum router_mode mode)
{
    ptrdiff_t colon = mode == ROUTER_URI_PARAMS ? str_index(uri, ':') : -1;
    ptrdiff_t end = colon >= 0 ? colon : str_index(uri, '*');

    return end < 0 ? SIZE_MAX : (size_t)end;
}

/* Under which key a uri stands; fills what of its pattern remains to be compared into c. */
struct place {
    struct str key;
    enum radix_slot slot;
    char *room; /* of a key that is not just the beginning of the uri */
};

static struct place place_of(struct cand *c, enum router_mode mode)
{
    struct place at = {.key = c->uri, .slot = RADIX_EXACT};
    size_t index = index_end(c->uri, mode);
    struct pattern *p = index == SIZE_MAX ? NULL : pattern_new(c->uri, index);
    bool whole = index == SIZE_MAX;
    struct str rest;

    if (p && pattern_is_rest(p, &rest)) {
        c->rest = rest;
        c->rest_at = (uint32_t)index;
        pattern_drop(p);
        p = NULL;
    }
    if (p) {
        at.room = mem_alloc(c->uri.n);
        at.key = str_of(at.room, pattern_key(p, at.room, &whole));
    } else if (!whole) {
        at.key = str_head(c->uri, index);
    }
    c->pattern = p;
    at.slot = whole ? RADIX_EXACT : RADIX_PREFIX;
    return at;
}

/* t with one uri of the route put in or taken out. Takes over t. */
static struct radix *edit_uri(struct edit *e, struct radix *t, unsigned i, bool with_hosts)
{
    const struct route *r = e->route;
    struct cand c = {
        .route = r,
        .uri = r->uris[i],
        .priority = r->priority,
        .methods = r->methods,
        .uri_index = i,
        .hosts = e->hosts,
        .n_hosts = with_hosts ? e->n_hosts : 0,
        .has_more =
            (with_hosts && e->n_hosts > 0) || r->n_remote_addrs > 0 || r->vars || r->filter_func,
    };
    struct place at = place_of(&c, e->mode);
    struct cands_change change = {.cand = &c, .remove = e->remove};
    struct radix *result = radix_update(t, &cands_ops, at.key, at.slot, cands_changed, &change);

    e->hit |= e->keys++ == 0 && change.hit;
    radix_drop(t, &cands_ops);
    pattern_drop(c.pattern);
    free(at.room);
    return result;
}

static struct radix *edit_uris(struct edit *e, const struct radix *old, bool with_hosts)
{
    struct radix *t = radix_hold((struct radix *)(uintptr_t)old);

    for (unsigned i = 0; i < e->route->n_uris; i++) {
        t = edit_uri(e, t, i, with_hosts);
    }
    return t;
}

/* A radix_update change. */
static void *site_changed(void *old, void *arg)
{
    struct edit *e = arg;
    const struct site *s = old;
    struct radix *uris = edit_uris(e, s ? s->uris : NULL, false);

    if (!uris) {
        return NULL;
    }
    struct site *copy = mem_alloc(sizeof(*copy) + e->host.n);

    copy->refs = 1;
    copy->uris = uris;
    for (size_t i = 0; i < e->host.n; i++) {
        copy->text[i] = ascii_lower(e->host.p[i]);
    }
    copy->pattern = str_of(copy->text, e->host.n);
    return copy;
}

/* Takes over sites. */
static struct radix *edit_host(struct edit *e, struct radix *sites, struct str host)
{
    bool wild = host.n > 0 && host.p[0] == '*';
    struct str name = wild ? str_skip(host, 1) : host;
    char *reversed = mem_alloc(name.n + 1);

    for (size_t i = 0; i < name.n; i++) {
        reversed[i] = ascii_lower(name.p[name.n - 1 - i]);
    }
    e->host = host;
    struct radix *result = radix_update(sites, &site_ops, str_of(reversed, name.n),
                                        wild ? RADIX_PREFIX : RADIX_EXACT, site_changed, e);

    radix_drop(sites, &site_ops);
    free(reversed);
    return result;
}

static struct router *edit_router(struct router *r, const struct route *route,
                                  const struct service *service, bool remove)
{
    struct edit e = {
        .route = route,
        .mode = r ? r->mode : mode_of_new_routers,
        .remove = remove,
        .hosts = route->hosts,
        .n_hosts = route->n_hosts,
    };
    if (e.n_hosts == 0 && service) {
        e.hosts = service->hosts;
        e.n_hosts = service->n_hosts;
    }
    bool by_host = e.mode == ROUTER_HOST_URI && e.n_hosts > 0;
    struct router *copy = mem_alloc(sizeof(*copy));

    *copy = (struct router){.refs = 1, .mode = e.mode, .sites = radix_hold(r ? r->sites : NULL)};
    if (by_host) {
        copy->uris = radix_hold(r ? r->uris : NULL);
        for (unsigned i = 0; i < e.n_hosts; i++) {
            copy->sites = edit_host(&e, copy->sites, e.hosts[i]);
        }
    } else {
        copy->uris = edit_uris(&e, r ? r->uris : NULL, true);
    }
    copy->n = router_count(r) + (!remove && !e.hit) - (remove && e.hit);
    if (!copy->sites && !copy->uris) {
        router_drop(copy);
        return NULL;
    }
    return copy;
}

struct router *router_put(struct router *r, const struct route *route,
                          const struct service *service)
{
    return route->enabled ? edit_router(r, route, service, false) : router_hold(r);
}

struct router *router_del(struct router *r, const struct route *route,
                          const struct service *service)
{
    return r && route->enabled ? edit_router(r, route, service, true) : router_hold(r);
}

/* ---- matching ---- */

/*
 * The nodes passed on the way down that have something to offer to longer keys. They are tried from
 * the deepest up; when there were more than fit, the way down is taken again for those above.
 */
#define TRAIL_MAX 32
struct trail {
    const struct radix *node[TRAIL_MAX];
    size_t pos[TRAIL_MAX];
    size_t n; /* passed, at most `limit` of them */
    size_t limit;
};

static inline void trail_add(struct trail *w, const struct radix *node, size_t pos)
{
    if (w->n < w->limit) {
        w->node[w->n % TRAIL_MAX] = node;
        w->pos[w->n % TRAIL_MAX] = pos;
        w->n++;
    }
}

/*
 * Down from t along s, noting the nodes that offer something to longer keys; the value that stands
 * at exactly s.
 */
static inline const void *uris_descend(const struct radix *t, struct str s, struct trail *w)
{
    const char *p = s.p, *end = s.p + s.n;

    if (t->label_n > 0 && (s.n == 0 || *p != *radix_label(t))) {
        return NULL;
    }
    do { /* the first byte of the label is known to be right */
        if ((size_t)(end - p) < t->label_n ||
            (t->label_n > 1 && !radix_same(radix_label(t) + 1, p + 1, t->label_n - 1))) {
            return NULL;
        }
        p += t->label_n;
        if (t->offers) {
            trail_add(w, t, (size_t)(p - s.p));
        }
        if (p == end) {
            return t->slot[RADIX_EXACT];
        }
        t = radix_kid(t, *p);
    } while (t);
    return NULL;
}

/*
 * All patterns below a node that begins with a parameter, for the uri from pos on. Recurses only
 * once a parameter, of which a key has at most 32.
 */
static void params_search(const struct radix *t, size_t pos, struct search *s)
{
    struct str uri = s->q->uri;

    for (; t; t = pos < uri.n ? radix_kid(t, uri.p[pos]) : NULL) {
        const char *label = radix_label(t);
        size_t n = t->label_n;

        if (*label == RADIX_PARAM) {
            size_t segment = pattern_segment(uri, pos);
            if (segment == 0) {
                return;
            }
            pos += segment, label++, n--;
        }
        if (uri.n - pos < n || !radix_same(label, uri.p + pos, n)) {
            return;
        }
        pos += n;
        if (t->slot[RADIX_PREFIX]) {
            cands_search(t->slot[RADIX_PREFIX], s);
        }
        if (t->slot[RADIX_EXACT] && pos == uri.n) {
            cands_search(t->slot[RADIX_EXACT], s);
        }
        if (t->has_param && pos < uri.n) {
            params_search(radix_kids(t)[0], pos, s);
        }
    }
}

static bool uris_match(const struct radix *t, struct search *s)
{
    struct trail w; /* its arrays are filled as far as n says */

    w.limit = SIZE_MAX;
    while (t) {
        w.n = 0;
        const struct cands *exact = uris_descend(t, s->q->uri, &w);
        if (exact && w.limit == SIZE_MAX) {
            cands_search(exact, s);
        }
        size_t stop = w.n > TRAIL_MAX ? w.n - TRAIL_MAX : 0;
        for (size_t i = w.n; i-- > stop && !s->best;) {
            const struct radix *node = w.node[i % TRAIL_MAX];
            if (node->slot[RADIX_PREFIX]) {
                cands_search(node->slot[RADIX_PREFIX], s);
            }
            if (node->has_param) {
                params_search(radix_kids(node)[0], w.pos[i % TRAIL_MAX], s);
            }
        }
        w.limit = stop;
        t = s->best || stop == 0 ? NULL : t;
    }
    return s->best != NULL;
}

static bool site_matches(const struct site *site, struct search *s)
{
    if (!uris_match(site->uris, s)) {
        return false;
    }
    search_finish(s);
    s->m->host_pattern = site->pattern;
    return true;
}

/* Does the host, read backwards from `left` bytes on, continue with this label? */
static bool ends_with_reversed(struct str host, size_t left, const struct radix *t)
{
    const char *label = radix_label(t);

    if (left < t->label_n) {
        return false;
    }
    for (uint32_t i = 0; i < t->label_n; i++) {
        if (host.p[left - 1 - i] != label[i]) {
            return false;
        }
    }
    return true;
}

static const struct site *sites_descend(const struct radix *t, struct str host, struct trail *w)
{
    size_t left = host.n;

    while (t && ends_with_reversed(host, left, t)) {
        left -= t->label_n;
        if (t->slot[RADIX_PREFIX]) {
            trail_add(w, t, 0);
        }
        if (left == 0) {
            return t->slot[RADIX_EXACT];
        }
        t = radix_kid(t, host.p[left - 1]);
    }
    return NULL;
}

static bool sites_match(const struct radix *t, struct search *s)
{
    struct trail w; /* its arrays are filled as far as n says */

    w.limit = SIZE_MAX;
    while (t) {
        w.n = 0;
        const struct site *exact = sites_descend(t, s->q->host, &w);
        if (exact && w.limit == SIZE_MAX && site_matches(exact, s)) {
            return true;
        }
        size_t stop = w.n > TRAIL_MAX ? w.n - TRAIL_MAX : 0;
        for (size_t i = w.n; i-- > stop;) {
            if (site_matches(w.node[i % TRAIL_MAX]->slot[RADIX_PREFIX], s)) {
                return true;
            }
        }
        w.limit = stop;
        t = stop == 0 ? NULL : t;
    }
    return false;
}

bool router_match(const struct router *r, const struct route_query *q, struct route_match *m)
{
    struct search s = {.q = q, .m = m};

    m->route = NULL;
    m->n_params = 0;
    if (!r) {
        return false;
    }
    if (r->sites && sites_match(r->sites, &s)) {
        return true;
    }
    if (!uris_match(r->uris, &s)) {
        return false;
    }
    search_finish(&s);
    return true;
}
