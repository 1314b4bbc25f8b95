/* SPDX-License-Identifier: Apache-2.0 */
/* cands: order and conditions of the routes at one key. */
#include "route/cands.h"

#include "base/mem.h"

#include <stdlib.h>

static void cands_hold(void *value)
{
    struct cands *list = value;

    list->refs++;
}

static void cands_drop(void *value)
{
    struct cands *list = value;

    if (--list->refs == 0) {
        for (uint32_t i = 0; i < list->n; i++) {
            pattern_drop(list->v[i].pattern);
        }
        free(list);
    }
}

const struct radix_ops cands_ops = {.hold = cands_hold, .drop = cands_drop};

/* ---- order ---- */

int cand_order(const struct cand *a, const struct cand *b)
{
    if (a->priority != b->priority) {
        return a->priority > b->priority ? -1 : 1;
    }
    if (a->uri.n != b->uri.n) {
        return a->uri.n > b->uri.n ? -1 : 1;
    }
    if (a->route->o.created_index != b->route->o.created_index) {
        return a->route->o.created_index < b->route->o.created_index ? -1 : 1;
    }
    int ids = str_cmp(a->route->o.id, b->route->o.id);
    if (ids != 0) {
        return ids;
    }
    return a->uri_index < b->uri_index ? -1 : a->uri_index > b->uri_index;
}

/* The place of c among the sorted, or where it would stand. */
static uint32_t cands_place(const struct cands *list, const struct cand *c, bool *found)
{
    uint32_t low = 0, high = list ? list->n : 0;

    *found = false;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int order = cand_order(&list->v[mid], c);
        if (order == 0) {
            *found = true;
            return mid;
        }
        low = order < 0 ? mid + 1 : low;
        high = order < 0 ? high : mid;
    }
    return low;
}

static void cands_copy(struct cands *to, const struct cand *from, uint32_t n)
{
    if (n == 0) {
        return;
    }
    memcpy(to->v + to->n, from, n * sizeof(*from));
    for (uint32_t i = 0; i < n; i++) {
        pattern_hold(from[i].pattern);
    }
    to->n += n;
}

void *cands_changed(void *old, void *change)
{
    const struct cands *list = old;
    struct cands_change *c = change;
    uint32_t at = cands_place(list, c->cand, &c->hit), had = list ? list->n : 0;

    if (c->remove && !c->hit) {
        if (list) {
            cands_hold(old);
        }
        return old;
    }
    uint32_t skip = c->hit, n = had - skip + !c->remove;
    if (n == 0) {
        return NULL;
    }
    struct cands *copy = mem_alloc(sizeof(*copy) + n * sizeof(copy->v[0]));

    copy->refs = 1;
    cands_copy(copy, had ? list->v : NULL, at);
    if (!c->remove) {
        cands_copy(copy, c->cand, 1);
    }
    cands_copy(copy, had ? list->v + at + skip : NULL, had - at - skip);
    return copy;
}

/* ---- conditions ---- */

/*
 * A host pattern as a condition: "*suffix" or a name, with a port compared only when the client
 * sent one.
 */
static bool host_matches(struct str pattern, const struct route_query *q, struct str *matched)
{
    bool wild = pattern.n > 0 && pattern.p[0] == '*';
    struct str want = wild ? str_skip(pattern, 1) : pattern;
    ptrdiff_t colon = str_index(want, ':');

    if (colon >= 0) {
        ptrdiff_t sent = str_rindex(q->host_header, ':');
        if (sent >= 0 &&
            !str_eq(str_skip(q->host_header, (size_t)sent), str_skip(want, (size_t)colon))) {
            return false;
        }
        want = str_head(want, (size_t)colon);
    }
    *matched = wild ? pattern : q->host;
    return wild ? str_ends(q->host, want) : str_eq(q->host, want);
}

/* *matched: the pattern, or the host itself when it is named in full. */
static bool any_host_matches(const struct cand *c, const struct route_query *q, struct str *matched)
{
    for (uint32_t i = 0; i < c->n_hosts; i++) {
        if (!str_is_none(q->host) && host_matches(c->hosts[i], q, matched)) {
            return true;
        }
    }
    return false;
}

static bool address_matches(const struct route *r, const struct ip *client)
{
    for (unsigned i = 0; i < r->n_remote_addrs; i++) {
        if (client && cidr_has(&r->remote_addrs[i], client)) {
            return true;
        }
    }
    return r->n_remote_addrs == 0;
}

/* Hosts, address, variables, function. */
static bool more_matches(const struct cand *c, const struct route_query *q)
{
    const struct route *r = c->route;
    struct str host;

    if (c->n_hosts > 0 && !any_host_matches(c, q, &host)) {
        return false;
    }
    return address_matches(r, q->client) && (!r->vars || expr_eval(r->vars, q->subject)) &&
           (!r->filter_func || lua_fn_eval(r->filter_func, q->subject));
}

static inline bool cand_matches(const struct cand *c, struct search *s)
{
    if (c->methods != 0 && (c->methods & s->q->method_bit) == 0) {
        return false;
    }
    if (c->pattern) {
        s->captured = NULL; /* a pattern that fails leaves parts behind */
        if (!pattern_match(c->pattern, s->q->uri, s->m)) {
            return false;
        }
        s->captured = c;
    }
    return !c->has_more || more_matches(c, s->q);
}

void cands_search_all(const struct cands *list, struct search *s)
{
    for (uint32_t i = 0; i < list->n; i++) {
        const struct cand *c = &list->v[i];
        if (s->best && cand_order(s->best, c) <= 0) {
            return;
        }
        if (cand_matches(c, s)) {
            s->best = c;
            return;
        }
    }
}

void search_finish_more(struct search *s)
{
    const struct cand *c = s->best;

    if (c->n_hosts > 0) {
        any_host_matches(c, s->q, &s->m->host_pattern);
    }
    if (c->pattern && s->captured != c) { /* others were tried since */
        pattern_match(c->pattern, s->q->uri, s->m);
    }
}
