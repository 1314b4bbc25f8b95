/* SPDX-License-Identifier: Apache-2.0 */
/*
 * roundrobin: smooth weighted round robin. Among the peers that may be picked each saves up its
 * weight, the richest is taken and pays for all: over one round everyone is taken weight times, and
 * the turns of a heavy peer are spread. With equal weights that is counting, so it is done so.
 */
#include "base/hash.h"
#include "upstream/balancer_priv.h"

static uint32_t pick_even(struct balancer_group *g, const struct balancer_walk *w)
{
    for (uint32_t i = 0; i < g->n; i++) {
        uint32_t at = g->turn;
        g->turn = at + 1 == g->n ? 0 : at + 1;
        if (!walk_has_tried(w, g->first + at)) {
            return g->first + at;
        }
    }
    return BALANCER_NONE;
}

static uint32_t pick_weighted(struct balancer_group *g, const struct balancer_walk *w)
{
    uint32_t best = BALANCER_NONE;
    int64_t total = 0;

    for (uint32_t i = g->first; i < g->first + g->n; i++) {
        struct balancer_peer *p = &g->peers[i];
        if (w && walk_has_tried(w, i)) {
            continue;
        }
        p->current += (int64_t)p->weight;
        total += (int64_t)p->weight;
        if (best == BALANCER_NONE || p->current > g->peers[best].current) {
            best = i;
        }
    }
    if (best != BALANCER_NONE) {
        g->peers[best].current -= total;
    }
    return best;
}

/* A random start, so that the cores do not all begin with the same peer. */
static void roundrobin_build(struct balancer_group *g, struct arena *a)
{
    uint64_t round = 0, gcd = weight_gcd(g);

    if (g->is_even) {
        g->turn = (uint32_t)(random_u64() % g->n);
        return;
    }
    for (uint32_t i = g->first; i < g->first + g->n; i++) {
        round += g->peers[i].weight / gcd;
    }
    for (uint64_t n = random_u64() % (round < 64 ? round : 64); n > 0; n--) {
        pick_weighted(g, NULL);
    }
}

static uint32_t roundrobin_pick(struct balancer_group *g, const struct balancer_walk *w)
{
    return g->is_even ? pick_even(g, w) : pick_weighted(g, w);
}

const struct balancer_algo balancer_roundrobin = {
    .name = STR_INIT("roundrobin"),
    .build = roundrobin_build,
    .pick = roundrobin_pick,
};
