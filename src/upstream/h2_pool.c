/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_pool: see h2_pool.h. A node is in the table as long as it has a connection, or somebody who
 * makes or wants one.
 */
#include "upstream/h2_pool.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "fiber/fiber.h"

#include <errno.h>
#include <stdlib.h>

/* So many wait for one connection to come about; the next one makes another. */
#define QUEUE_MAX 64

/* The names that upstreams are asked for may be the clients' choice: with more connections than
 * these, none is kept. */
#define CONNS_KEPT 4096

struct node {
    struct str key;    /* behind the struct */
    struct list conns; /* shared.link, last made first */
    unsigned n_idle;
    unsigned dialing, queued;
    struct cond dialed;
};

struct shared {
    struct h2_client h2;
    struct upconn *c;
    struct node *home;
    struct list link;
    struct pool_limits limits; /* of who made it */
    int64_t requests;
    struct timer idle;
    bool is_idle;
};

static _Thread_local struct map nodes; /* by key_of() */
static _Thread_local unsigned n_conns;

/* As on HTTP/1.1: what an upstream may send at once. */
static const struct h1_limits head_limits = {
    .head_bytes = 65536, .line_bytes = 16384, .fields = 200};
static const struct h2_limits h2_limits = {
    .head = &head_limits,
    .stream_window = 65536,
    .window = 1 << 20,
    .resets = 200,
    .control_frames = 1000,
};

/* ---- nodes ---- */

/* What connections must have in common to be shared. */
static void put_key(struct buf *key, const struct addr *a, const struct upconn_tls *tls)
{
    buf_add(key, str_of(a->room, a->len));
    if (tls) {
        buf_printf(key, "%llu %p %.*s %.*s", (unsigned long long)tls->pair_serial,
                   (const void *)tls->trust, STR_ARG(tls->sni), STR_ARG(tls->name));
    }
}

static struct node *node_new(struct str key)
{
    struct node *node = mem_alloc(sizeof(*node) + key.n);
    memcpy(node + 1, key.p, key.n);
    node->key = str_of((const char *)(node + 1), key.n);
    list_init(&node->conns);
    cond_init(&node->dialed);
    map_put(&nodes, node->key, node);
    return node;
}

static struct node *node_of(const struct addr *addr, const struct upconn_tls *tls)
{
    char room[512];
    struct buf key = {.p = room, .cap = sizeof(room), .max = sizeof(room)};
    put_key(&key, addr, tls);
    if (key.overflow) {
        return NULL;
    }
    struct node *node = map_get(&nodes, buf_str(&key));
    return node ? node : node_new(buf_str(&key));
}

static void node_release(struct node *node)
{
    if (list_is_empty(&node->conns) && node->dialing == 0 && node->queued == 0) {
        map_del(&nodes, node->key);
        free(node);
    }
}

/* ---- connections ---- */

static void leave_idle(struct shared *s)
{
    if (s->is_idle) {
        s->is_idle = false;
        s->home->n_idle--;
        timer_stop(&s->idle);
    }
}

static void close_shared(struct shared *s)
{
    struct node *node = s->home;
    leave_idle(s);
    list_del(&s->link);
    h2_client_fini(&s->h2);
    upconn_close(s->c);
    free(s);
    n_conns--;
    node_release(node);
}

static void on_idle_timer(struct timer *t)
{
    struct shared *s = CONTAINER_OF(t, struct shared, idle);
    if (s->h2.users > 0) {
        s->h2.retired = true; /* something has just come: it is closed when that is looked at */
    } else {
        close_shared(s);
    }
}

static void on_unused(struct h2_client *c)
{
    struct shared *s = CONTAINER_OF(c, struct shared, h2);
    if (c->error != 0 || c->retired || c->doubted || c->s->failed || n_conns > CONNS_KEPT ||
        (!s->is_idle && s->home->n_idle >= (uint64_t)s->limits.size)) {
        close_shared(s);
    } else if (!s->is_idle) {
        s->is_idle = true;
        s->home->n_idle++;
        timer_start(&s->idle, s->limits.idle_ms > 0 ? deadline_in(s->limits.idle_ms) : NEVER);
    }
}

static void shared_new(struct node *node, struct upconn *c, const struct pool_limits *limits)
{
    struct shared *s = mem_alloc(sizeof(*s));
    s->c = c;
    s->home = node;
    s->limits = *limits;
    timer_init(&s->idle, on_idle_timer);
    list_add(&node->conns, &s->link);
    h2_client_init(&s->h2, &c->io, &h2_limits, on_unused);
    n_conns++;
}

static struct shared *find_room(struct node *node)
{
    LIST_EACH(l, &node->conns) {
        struct shared *s = CONTAINER_OF(l, struct shared, link);
        if (h2_client_has_room(&s->h2)) {
            return s;
        }
    }
    return NULL;
}

/* Either way somebody who waits has to look again. */
static int await_dial(struct node *node, const struct addr *addr, const struct upconn_tls *tls,
                      const struct pool_limits *limits, int64_t deadline)
{
    struct upconn *c;
    bool reused;
    node->dialing++;
    const int rc = await_upconn_tls(addr, tls, true, deadline, &c, &reused);
    node->dialing--;
    if (rc == 0) {
        shared_new(node, c, limits);
    }
    cond_broadcast(&node->dialed);
    return rc;
}

static int await_dialed(struct node *node, int64_t deadline)
{
    node->queued++;
    const int rc = await_cond(&node->dialed, deadline);
    node->queued--;
    return rc;
}

int await_h2_upconn(const struct addr *addr, const struct upconn_tls *tls, bool fresh,
                    const struct pool_limits *limits, int64_t connect_deadline,
                    struct h2_client **out, bool *reused)
{
    struct node *node = node_of(addr, tls);
    struct shared *s;
    int rc = 0;
    if (node == NULL) {
        return -ENAMETOOLONG;
    }
    while ((s = fresh ? NULL : find_room(node)) == NULL && rc == 0) {
        rc = !fresh && node->dialing > 0 && node->queued < QUEUE_MAX
                 ? await_dialed(node, connect_deadline)
                 : await_dial(node, addr, tls, limits, connect_deadline);
        fresh = false;
    }
    if (s == NULL) {
        node_release(node);
        return rc;
    }
    leave_idle(s);
    *reused = s->requests++ > 0;
    s->h2.retired = s->limits.requests > 0 && s->requests >= s->limits.requests;
    *out = &s->h2;
    return 0;
}

/* fn of every connection; it may not free one. */
static void each_shared(void (*fn)(struct shared *s))
{
    struct str key;
    void *value;
    for (size_t i = 0; map_next(&nodes, &i, &key, &value);) {
        const struct node *node = value;
        LIST_EACH(l, &node->conns) {
            fn(CONTAINER_OF(l, struct shared, link));
        }
    }
}

static void forget(struct shared *s)
{
    s->h2.retired = true;
    if (s->is_idle) {
        timer_start(&s->idle, now_ms());
    }
}

void h2_pool_forget(void)
{
    each_shared(forget);
}

static void break_used(struct shared *s)
{
    if (s->h2.users > 0) {
        h2_client_break(&s->h2);
    }
}

void h2_pool_fini(void)
{
    struct str key;
    void *value;
    each_shared(break_used);
    fiber_run_ready();
    for (size_t i = 0; map_next(&nodes, &i, &key, &value); i = 0) {
        const struct node *node = value;
        ASSERT(!list_is_empty(&node->conns));
        close_shared(CONTAINER_OF(node->conns.next, struct shared, link)); /* the last takes it */
    }
    map_fini(&nodes);
    h2_client_thread_fini();
}
