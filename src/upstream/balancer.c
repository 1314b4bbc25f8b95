/* SPDX-License-Identifier: Apache-2.0 */
/*
 * balancer: the states of this core and the walks over them. A state is found by the serial of its
 * upstream, built when there is none or when a domain node changed its addresses, and freed when it
 * is out of the table (last used of too many, or replaced) and the last walk has let go of it.
 */
#include "upstream/balancer.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"
#include "fiber/fiber.h"
#include "upstream/balancer_priv.h"

#include <stdlib.h>

#define MAX_STATES 4096
#define MAX_BYTES ((size_t)32 << 20) /* of all states in the table */
#define BUCKETS 1024

struct balancer {
    struct balancer *chain; /* same bucket */
    struct list lru;        /* most recently used first */
    uint64_t serial;
    const struct balancer_algo *algo;
    struct arena *arena;
    size_t bytes;
    unsigned holds; /* walks */
    bool is_listed;
    struct balancer_peer *peers; /* by priority, highest first */
    uint32_t n_peers;
    struct balancer_group *groups;
    unsigned n_groups;
    const struct node_addrs *addrs; /* one a node; NULL when all are literal */
};

struct states {
    struct balancer *bucket[BUCKETS];
    struct list lru;
    unsigned n;
    size_t bytes;
};
static _Thread_local struct states *states;

static const struct balancer_algo *const algos[] = {
    &balancer_roundrobin,
    &balancer_chash,
    &balancer_least_conn,
    &balancer_ewma,
};

static const struct balancer_algo *algo_find(struct str type)
{
    for (size_t i = 0; i < LENGTH_OF(algos); i++) {
        if (str_eq(type, algos[i]->name)) {
            return algos[i];
        }
    }
    return NULL;
}

/* ---- the table ---- */

static struct balancer **state_slot(uint64_t serial)
{
    struct balancer **at = &states->bucket[serial % BUCKETS];

    while (*at && (*at)->serial != serial) {
        at = &(*at)->chain;
    }
    return at;
}

static void state_free(struct balancer *b)
{
    arena_free(b->arena);
    free(b);
}

static void state_unlist(struct balancer *b)
{
    struct balancer **at = state_slot(b->serial);

    ASSERT(*at == b);
    *at = b->chain;
    list_del(&b->lru);
    b->is_listed = false;
    states->n--;
    states->bytes -= b->bytes;
    if (b->holds == 0) {
        state_free(b);
    }
}

static struct balancer *state_find(uint64_t serial)
{
    struct balancer *b = *state_slot(serial);

    if (b && states->lru.next != &b->lru) {
        list_del(&b->lru);
        list_add(&states->lru, &b->lru);
    }
    return b;
}

static void state_list(struct balancer *b)
{
    struct balancer **at = state_slot(b->serial);

    ASSERT(*at == NULL);
    *at = b;
    list_add(&states->lru, &b->lru);
    b->is_listed = true;
    states->n++;
    states->bytes += b->bytes;
    while ((states->n > MAX_STATES || states->bytes > MAX_BYTES) && states->lru.prev != &b->lru) {
        state_unlist(CONTAINER_OF(states->lru.prev, struct balancer, lru));
    }
}

static void state_drop(struct balancer *b)
{
    b->holds--;
    if (b->holds == 0 && !b->is_listed) {
        state_free(b);
    }
}

void balancer_core_init(void)
{
    ASSERT(!states);
    states = mem_alloc(sizeof(*states));
    list_init(&states->lru);
}

void balancer_core_fini(void)
{
    while (!list_is_empty(&states->lru)) {
        struct balancer *b = CONTAINER_OF(states->lru.prev, struct balancer, lru);
        ASSERT(b->holds == 0);
        state_unlist(b);
    }
    free(states);
    states = NULL;
}

/* ---- what addresses a state was built from ---- */

static struct node_addrs *addrs_copy(struct arena *a, const struct node_addrs *addrs, unsigned n)
{
    struct node_addrs *copy = ARENA_ARRAY(a, struct node_addrs, n);

    for (unsigned i = 0; i < n; i++) {
        if (addrs[i].n > 0) {
            struct ip *ip = ARENA_ARRAY(a, struct ip, addrs[i].n);
            memcpy(ip, addrs[i].ip, addrs[i].n * sizeof(*ip));
            copy[i] = (struct node_addrs){.n = addrs[i].n, .ip = ip};
        }
    }
    return copy;
}

static bool addrs_eq(const struct node_addrs *a, const struct node_addrs *b, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (a[i].n != b[i].n) {
            return false;
        }
        for (unsigned k = 0; k < a[i].n; k++) {
            if (memcmp(a[i].ip[k].b, b[i].ip[k].b, sizeof(a[i].ip[k].b)) != 0) {
                return false;
            }
        }
    }
    return true;
}

/* ---- building a state ---- */

static uint64_t gcd_of(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

uint64_t weight_gcd(const struct balancer_group *g)
{
    uint64_t gcd = 0;

    for (uint32_t i = g->first; i < g->first + g->n; i++) {
        gcd = gcd_of(g->peers[i].weight, gcd);
    }
    return gcd;
}

/*
 * Weights are multiplied by this, so that the addresses of one name can share its weight in whole
 * numbers; 1 when each name has one address. Rounded when the counts have no small multiple.
 */
static uint64_t weight_scale(const struct node_addrs *addrs, unsigned n_nodes)
{
    uint64_t lcm = 1;

    for (unsigned i = 0; i < n_nodes && lcm <= 5040; i++) {
        if (addrs[i].n > 1) {
            lcm = lcm / gcd_of(lcm, addrs[i].n) * addrs[i].n;
        }
    }
    return lcm <= 5040 ? lcm : 5040;
}

/* The whole group at weight 0 counts as alone: then all its nodes are equal. */
static bool group_is_weightless(const struct upstream_conf *u, const struct node_addrs *addrs,
                                int64_t priority)
{
    for (unsigned i = 0; i < u->n_nodes; i++) {
        if (addrs[i].n && u->nodes[i].priority == priority && u->nodes[i].weight > 0) {
            return false;
        }
    }
    return true;
}

static void group_fill(struct balancer *b, struct balancer_group *g, const struct upstream_conf *u,
                       const struct node_addrs *addrs, int64_t priority)
{
    bool weightless = group_is_weightless(u, addrs, priority);
    uint64_t scale = weight_scale(addrs, u->n_nodes);

    *g = (struct balancer_group){.peers = b->peers, .first = b->n_peers, .is_even = true};
    for (unsigned i = 0; i < u->n_nodes; i++) {
        uint64_t weight = weightless ? 1 : u->nodes[i].weight;
        if (u->nodes[i].priority != priority || weight == 0) {
            continue;
        }
        for (unsigned k = 0; k < addrs[i].n; k++) {
            struct balancer_peer *p = &b->peers[b->n_peers++];
            p->node = i;
            p->weight = weight * scale / addrs[i].n;
            p->weight += p->weight == 0;
            addr_from_ip(&p->addr, &addrs[i].ip[k], u->nodes[i].port);
            g->is_even &= p->weight == b->peers[g->first].weight;
            g->n++;
        }
    }
}

#define NO_PRIORITY INT64_MIN

/* The highest priority below limit, or NO_PRIORITY. */
static int64_t next_priority(const struct upstream_conf *u, const struct node_addrs *addrs,
                             int64_t limit)
{
    int64_t best = NO_PRIORITY;

    for (unsigned i = 0; i < u->n_nodes; i++) {
        int64_t p = u->nodes[i].priority;
        if (addrs[i].n && p < limit && p > best) {
            best = p;
        }
    }
    return best;
}

static struct balancer *state_new(const struct upstream_conf *u, const struct balancer_algo *algo,
                                  const struct node_addrs *addrs)
{
    struct balancer *b = mem_alloc(sizeof(*b));
    int64_t priority = INT64_MAX;
    unsigned n = 0;

    *b = (struct balancer){.serial = u->serial, .algo = algo, .arena = arena_new(1024)};
    list_init(&b->lru);
    if (u->has_domain) {
        b->addrs = addrs_copy(b->arena, addrs, u->n_nodes);
    }
    for (unsigned i = 0; i < u->n_nodes; i++) {
        n += addrs[i].n;
    }
    b->peers = ARENA_ARRAY(b->arena, struct balancer_peer, n);
    for (n = 0; (priority = next_priority(u, addrs, priority)) != NO_PRIORITY;) {
        n++;
    }
    b->groups = ARENA_ARRAY(b->arena, struct balancer_group, n);
    for (priority = INT64_MAX; b->n_groups < n;) {
        struct balancer_group *g = &b->groups[b->n_groups++];
        priority = next_priority(u, addrs, priority);
        group_fill(b, g, u, addrs, priority);
        algo->build(g, b->arena);
    }
    b->bytes = sizeof(*b) + arena_held(b->arena);
    state_list(b);
    return b;
}

/* ---- walks ---- */

/* The state for the addresses of this moment; NULL when there are none. */
static struct balancer *await_named_state(const struct upstream_conf *u,
                                          const struct balancer_algo *algo, int64_t deadline)
{
    const struct node_addrs *addrs = await_node_addrs(u, fiber_arena(), deadline);

    if (!addrs) {
        return NULL;
    }
    struct balancer *b = state_find(u->serial);
    if (b && addrs_eq(b->addrs, addrs, u->n_nodes)) {
        return b;
    }
    if (b) {
        state_unlist(b);
    }
    return state_new(u, algo, addrs);
}

static struct balancer *literal_state(const struct upstream_conf *u,
                                      const struct balancer_algo *algo)
{
    struct balancer *b = state_find(u->serial);

    if (b) {
        return b;
    }
    struct arena *tmp = arena_new(1024);
    b = state_new(u, algo, node_addrs_literal(u, tmp));
    arena_free(tmp);
    return b;
}

/* A lone literal address needs no state. */
static bool is_lone(const struct upstream_conf *u)
{
    return u->n_nodes == 1 && u->nodes[0].is_ip;
}

enum balancer_result balancer_await_start(struct balancer_walk *w, const struct upstream_conf *u,
                                          struct str key, int64_t deadline)
{
    const struct balancer_algo *algo = algo_find(u->type);

    w->u = u;
    w->b = NULL;
    w->hash = 0;
    w->group = w->n_tried = 0;
    w->is_open = false;
    if (u->n_nodes == 0) {
        return BALANCER_NO_NODES;
    }
    if (!algo) {
        return BALANCER_UNKNOWN_TYPE;
    }
    if (is_lone(u)) {
        return BALANCER_OK;
    }
    struct balancer *b =
        u->has_domain ? await_named_state(u, algo, deadline) : literal_state(u, algo);
    if (!b) {
        return BALANCER_NO_ADDRESS;
    }
    w->b = b;
    b->holds++;
    if (algo == &balancer_chash) {
        w->hash = hash_crc32(0, key);
    }
    return BALANCER_OK;
}

static uint32_t walk_pick(struct balancer_walk *w)
{
    struct balancer *b = w->b;

    if (w->n_tried == BALANCER_MAX_TRIES) {
        return BALANCER_NONE;
    }
    for (; w->group < b->n_groups; w->group++) {
        uint32_t peer = b->algo->pick(&b->groups[w->group], w);
        if (peer != BALANCER_NONE) {
            return peer;
        }
    }
    return BALANCER_NONE;
}

enum balancer_result balancer_next(struct balancer_walk *w, struct balancer_target *out)
{
    if (!w->b) {
        out->node = &w->u->nodes[0];
        addr_from_ip(&out->addr, &out->node->ip, out->node->port);
        return BALANCER_OK;
    }
    balancer_done(w, -1);
    uint32_t peer = walk_pick(w);
    if (peer == BALANCER_NONE) {
        return BALANCER_EXHAUSTED;
    }
    struct balancer_peer *p = &w->b->peers[peer];
    w->tried[w->n_tried++] = peer;
    w->is_open = true;
    p->busy++;
    out->node = &w->u->nodes[p->node];
    out->addr = p->addr;
    return BALANCER_OK;
}

void balancer_done(struct balancer_walk *w, int64_t rtt_us)
{
    if (!w->is_open) {
        return;
    }
    struct balancer_peer *p = &w->b->peers[w->tried[w->n_tried - 1]];
    w->is_open = false;
    p->busy--;
    if (w->b->algo->done) {
        w->b->algo->done(p, rtt_us);
    }
}

void balancer_end(struct balancer_walk *w)
{
    balancer_done(w, -1);
    if (w->b) {
        state_drop(w->b);
        w->b = NULL;
    }
}

unsigned balancer_max_tries(const struct upstream_conf *u)
{
    int64_t retries = u->retries.set && u->retries.v >= 0 ? u->retries.v : (int64_t)u->n_nodes - 1;

    if (retries < 0) {
        return 1;
    }
    return retries < BALANCER_MAX_TRIES ? 1 + (unsigned)retries : BALANCER_MAX_TRIES;
}
