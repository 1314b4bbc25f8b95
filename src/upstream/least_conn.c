/* SPDX-License-Identifier: Apache-2.0 */
/*
 * least_conn: the peer with the fewest tries under way for its weight, (1 + busy) / weight. Scans
 * start one peer further each time, so that equals take turns.
 */
#include "base/hash.h"
#include "upstream/balancer_priv.h"

static bool is_freer(const struct balancer_peer *a, const struct balancer_peer *b)
{
    return (1 + (uint64_t)a->busy) * b->weight < (1 + (uint64_t)b->busy) * a->weight;
}

static uint32_t least_conn_pick(struct balancer_group *g, const struct balancer_walk *w)
{
    uint32_t best = BALANCER_NONE;
    uint32_t at = g->turn;

    g->turn = at + 1 == g->n ? 0 : at + 1;
    for (uint32_t i = 0; i < g->n; i++, at = at + 1 == g->n ? 0 : at + 1) {
        uint32_t peer = g->first + at;
        if (walk_has_tried(w, peer)) {
            continue;
        }
        if (best == BALANCER_NONE || is_freer(&g->peers[peer], &g->peers[best])) {
            best = peer;
        }
    }
    return best;
}

static void least_conn_build(struct balancer_group *g, struct arena *a)
{
    g->turn = (uint32_t)(random_u64() % g->n);
}

const struct balancer_algo balancer_least_conn = {
    .name = STR_INIT("least_conn"),
    .build = least_conn_build,
    .pick = least_conn_pick,
};
