/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * cands: the routes that stand at one key of a tree, in the order in which they are tried. Immutable and counted; counts are the control thread's.
 */
#include "route/pattern.h"
#include "route/radix.h"
#include "route/router.h"

/* One uri of one route. What most matches need stands here, so that the route itself is read only when it is chosen or has rare conditions. */
struct cand {
    const struct route *route;
    struct str uri;
    struct pattern *pattern; /* NULL: the key says it all */
    const struct str *hosts; /* a condition where the tree is not under a host; borrowed from the route or its service */
    int64_t priority;
    uint32_t n_hosts;
    uint32_t methods;        /* 0: all */
    uint32_t uri_index;
    bool has_more;           /* hosts, remote_addrs or vars */
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

/* <0 when a is tried before b: higher priority, longer uri, created earlier, lower id, place in the route's list. */
int cand_order(const struct cand *a, const struct cand *b);

/* One search. */
struct search {
    const struct route_query *q;
    struct route_match *m;
    const struct cand *best;     /* so far */
    const struct cand *captured; /* whose parameters stand in m */
};
/* Look for the first in the list that matches and is tried before s->best. */
void cands_search(const struct cands *list, struct search *s);
/* Put s->best into m. */
void search_finish(struct search *s);
