/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ewma: of two random peers the one with the lower expected wait. The expectation is a moving
 * average of the time an answer took that decays over ten seconds, jumps up at once to a slower
 * answer (a slow peer must not need many requests to be seen), and counts for each try under way.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "upstream/balancer_priv.h"

#include <math.h>

#define DECAY_US 10e6
/* A try that got no answer weighs as one that took this long. */
#define FAILED_US 1000000

/* The share of the average that is left by now. */
static double kept(const struct balancer_peer *p)
{
    return p->touched_us ? exp(-(double)(now_us() - p->touched_us) / DECAY_US) : 0;
}

static double cost(const struct balancer_peer *p)
{
    return (p->ewma_us * kept(p) + 1) * (p->busy + 1);
}

static void ewma_done(struct balancer_peer *p, int64_t rtt_us)
{
    double rtt = rtt_us < 0 ? FAILED_US : (double)rtt_us;
    double keep = kept(p), old = p->ewma_us * keep;

    p->ewma_us = rtt > old ? rtt : old + rtt * (1 - keep);
    p->touched_us = now_us();
}

/* The first untried peer from a random place on. */
static uint32_t draw(const struct balancer_group *g, const struct balancer_walk *w, uint32_t but)
{
    uint32_t at = (uint32_t)(random_u64() % g->n);

    for (uint32_t i = 0; i < g->n; i++, at++) {
        if (at >= g->n) {
            at = 0;
        }
        if (g->first + at != but && !walk_has_tried(w, g->first + at)) {
            return g->first + at;
        }
    }
    return BALANCER_NONE;
}

static uint32_t ewma_pick(struct balancer_group *g, const struct balancer_walk *w)
{
    uint32_t one = draw(g, w, BALANCER_NONE);
    uint32_t two = one == BALANCER_NONE ? one : draw(g, w, one);

    if (two == BALANCER_NONE) {
        return one;
    }
    return cost(&g->peers[two]) < cost(&g->peers[one]) ? two : one;
}

static void ewma_build(struct balancer_group *g, struct arena *a)
{
}

const struct balancer_algo balancer_ewma = {
    .name = STR_INIT("ewma"),
    .build = ewma_build,
    .pick = ewma_pick,
    .done = ewma_done,
};
