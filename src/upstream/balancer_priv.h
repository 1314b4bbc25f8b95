/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * balancer_priv: what the algorithms see of a balancer. A balancer is the state one core keeps
 * for one version of an upstream and one set of addresses; it is built once and then only picked
 * from. Everything in it lives in its own arena.
 */
#include "base/arena.h"
#include "upstream/balancer.h"

/* No target left. */
#define BALANCER_NONE UINT32_MAX

struct balancer_peer {
    uint32_t node; /* index into the nodes of the upstream */
    struct addr addr;
    uint64_t weight;    /* never 0 */
    int64_t current;    /* roundrobin: what smooth weighting has saved up */
    unsigned busy;      /* tries under way */
    double ewma_us;     /* ewma: as of touched_us */
    int64_t touched_us; /* 0: never */
};

struct ring_point {
    uint32_t hash, peer;
};

/* Targets of the same priority: peers [first, first + n). */
struct balancer_group {
    struct balancer_peer *peers; /* of all groups */
    uint32_t first, n;
    uint32_t turn; /* where the next scan starts */
    bool is_even;  /* all weights are the same */
    struct ring_point *ring;
    size_t n_ring;
};

/* One way to choose. done may be NULL. */
struct balancer_algo {
    struct str name;
    void (*build)(struct balancer_group *g, struct arena *a);
    /* Index of a peer the walk has not tried, or BALANCER_NONE. */
    uint32_t (*pick)(struct balancer_group *g, const struct balancer_walk *w);
    void (*done)(struct balancer_peer *p, int64_t rtt_us);
};
extern const struct balancer_algo balancer_roundrobin, balancer_chash, balancer_ewma,
    balancer_least_conn;

static inline bool walk_has_tried(const struct balancer_walk *w, uint32_t peer)
{
    for (unsigned i = 0; i < w->n_tried; i++) {
        if (w->tried[i] == peer) {
            return true;
        }
    }
    return false;
}

uint64_t weight_gcd(const struct balancer_group *g);

/* The addresses of one node. */
struct node_addrs {
    unsigned n;
    const struct ip *ip; /* sorted, so that a rotated DNS answer is the same set */
};
/*
 * Resolve the nodes of u: u->n_nodes entries in arena a. NULL when no node has an address, or when
 * the fiber is cancelled.
 */
const struct node_addrs *await_node_addrs(const struct upstream_conf *u, struct arena *a,
                                          int64_t deadline);
/* The same for an upstream of literal addresses. */
const struct node_addrs *node_addrs_literal(const struct upstream_conf *u, struct arena *a);
