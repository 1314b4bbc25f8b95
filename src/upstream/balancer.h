/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * balancer: which node of an upstream serves a request (docs/internals/upstream.md). State is per
 * core and per version of an upstream (its serial), so there are no locks.
 */
#include "config/object.h"

/* Targets given in one walk: more tries than this are never made. */
#define BALANCER_MAX_TRIES 16

struct balancer;

/*
 * One request's walk through the nodes, begun by balancer_await_start(). Each balancer_next()
 * gives another target than the ones tried; an upstream whose only node is a literal address gives
 * it again and again, as the reference does. balancer_end() always, whatever the start returned.
 * The fields are the balancer's own.
 */
struct balancer_walk {
    const struct upstream_conf *u;
    struct balancer *b; /* held; NULL for a lone literal address */
    uint32_t hash;      /* of the key, for chash */
    unsigned group;     /* priority group reached */
    unsigned n_tried;
    uint32_t tried[BALANCER_MAX_TRIES]; /* indices of targets */
    bool is_open;                       /* the last target given is not done yet */
};

enum balancer_result {
    BALANCER_OK,
    BALANCER_NO_NODES,     /* 503 */
    BALANCER_UNKNOWN_TYPE, /* 500 */
    BALANCER_EXHAUSTED,    /* every node was tried: 502 */
    BALANCER_NO_ADDRESS    /* domain names gave nothing: 503 */
};

/* A target: a node and, for a domain node, one of its addresses. */
struct balancer_target {
    const struct upstream_node *node;
    struct addr addr;
};

/*
 * key: the text chash hashes (already chosen and defaulted by the caller), ignored by others.
 * Resolves domain nodes first: may park. u must live until balancer_end().
 */
enum balancer_result balancer_await_start(struct balancer_walk *w, const struct upstream_conf *u,
                                          struct str key, int64_t deadline);
enum balancer_result balancer_next(struct balancer_walk *w, struct balancer_target *out);
/*
 * The try of the last balancer_next() is over: rtt_us is connect plus time to the answer's head, or
 * -1 when there was no answer. What ewma and least_conn learn from; others ignore it. Left out, the
 * next balancer_next() or balancer_end() counts as -1.
 */
void balancer_done(struct balancer_walk *w, int64_t rtt_us);
/* The walk is over; harmless on a zeroed or ended one. */
void balancer_end(struct balancer_walk *w);

/* Tries allowed in all: 1 + retries (default nodes - 1), at most BALANCER_MAX_TRIES. */
unsigned balancer_max_tries(const struct upstream_conf *u);

/*
 * Once a thread before the first walk. The states of the upstreams used last are kept, bounded by
 * number and bytes, so those of upstreams that are gone fall out by themselves.
 */
void balancer_core_init(void);
/* Free all states of this thread; no walk may be open. */
void balancer_core_fini(void);
