/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * cands: the routes that stand at one key of a tree, in the order in which they are tried.
 * Immutable and counted; counts are the control thread's.
 */
#include "route/pattern.h"
#include "route/radix.h"
#include "route/router.h"

/*
 * One uri of one route. What most matches need stands here, so that the route itself is read only
 * when it is chosen or has rare conditions.
 */
struct cand {
    const struct route *route;
    struct str uri;
    /* NULL: the key says it all ... */
    struct pattern *pattern;
    /* ... but for the name of a final star, whose text begins at rest_at. STR_NONE: no star. */
    struct str rest;
    /* A condition where the tree does not stand under a host. The route's or its service's. */
    const struct str *hosts;
    int64_t priority;
    uint32_t n_hosts;
    uint32_t methods;   /* 0: all */
    uint32_t uri_index; /* in the route's list */
    uint32_t rest_at;
    bool has_more; /* hosts, remote_addrs, vars or filter_func */
};

struct cands {
    uint32_t refs, n;
    struct cand v[];
};

extern const struct radix_ops cands_ops;

/* A radix_update change: put or take away *cand. */
struct cands_change {
    const struct cand *cand;
    bool remove;
    bool hit; /* out: it was there before */
};
void *cands_changed(void *old, void *change);

/*
 * <0 when a is tried before b: higher priority, longer uri, created earlier, lower id, place in the
 * route's list.
 */
int cand_order(const struct cand *a, const struct cand *b);

/* One search. */
struct search {
    const struct route_query *q;
    struct route_match *m;
    const struct cand *best;     /* so far */
    const struct cand *captured; /* whose parameters stand in m */
};
void cands_search_all(const struct cands *list, struct search *s);

/* Look for the first in the list that matches and is tried before s->best. */
static inline void cands_search(const struct cands *list, struct search *s)
{
    const struct cand *c = &list->v[0]; /* most often the only one, and without conditions */

    if (s->best || c->pattern || c->has_more ||
        (c->methods != 0 && (c->methods & s->q->method_bit) == 0)) {
        cands_search_all(list, s);
    } else {
        s->best = c;
    }
}

/* Parameters and host of the chosen one into m. */
void search_finish_more(struct search *s);

/* Put s->best into m. */
static inline void search_finish(struct search *s)
{
    const struct cand *c = s->best;
    struct route_match *m = s->m;

    m->route = c->route;
    m->uri_pattern = c->uri;
    m->host_pattern = STR_NONE;
    if (!c->pattern) {
        m->n_params = c->rest.p != NULL;
        m->params[0].name = c->rest;
        m->params[0].value = str_skip(s->q->uri, c->rest_at);
    }
    if (c->pattern || c->n_hosts > 0) {
        search_finish_more(s);
    }
}
