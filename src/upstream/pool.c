/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool: idle connections by node. A node is in the table as long as it has an open connection; one
 * with TLS somewhat longer, for the sake of its session, since the next handshake is cheaper by it.
 * Connections and nodes come from free lists, so a warm pool never calls malloc.
 *
 * The idle timer is lazy: it is left running when a connection is taken and looks at idle_until
 * when it fires, so a busy connection costs one start of a timer in each idle time, not one each
 * request.
 */
#include "upstream/pool.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>

/* The names that upstreams are asked for may be the clients' choice: with more nodes than these,
 * connections with TLS are not kept. */
enum { TLS_NODES = 4096, EMPTY_NODES = 256 };

struct pool_node {
    struct pool_node *chain; /* same bucket, or next free one */
    struct addr addr;
    uint32_t hash;
    struct list empty;          /* with TLS, while no connection is open */
    struct upconn_tls *tls;     /* NULL: plain; its texts are behind it */
    struct tls_session session; /* of the last handshake */
    struct list idle;           /* upconn.link, last used first */
    unsigned n_idle, n_open;
};

struct pool {
    struct pool_node **bucket; /* n_buckets is 0 or a power of two */
    unsigned n_buckets, n_nodes;
    unsigned n_idle, n_open;
    struct list empty; /* last used first */
    unsigned n_empty;
    struct pool_node *free_nodes;
    struct upconn *free_conns;
};
static _Thread_local struct pool pool;

/* ---- nodes ---- */

static uint32_t mix(uint64_t x)
{
    return (uint32_t)((x * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
}

/* Addresses come from the configuration or DNS, so the hash needs no key. */
static uint32_t addr_hash(const struct addr *a)
{
    uint64_t w[2];

    switch (a->sa.sa_family) {
    case AF_INET:
        return mix((uint64_t)a->in.sin_addr.s_addr << 16 | a->in.sin_port);
    case AF_INET6:
        memcpy(w, &a->in6.sin6_addr, sizeof(w));
        return mix(w[0] ^ mix(w[1] ^ a->in6.sin6_port));
    default:
        return (uint32_t)hash_fnv(str_of(a->room, a->len));
    }
}

static bool addr_eq(const struct addr *a, const struct addr *b)
{
    if (a->len != b->len || a->sa.sa_family != b->sa.sa_family) {
        return false;
    }
    switch (a->sa.sa_family) {
    case AF_INET:
        return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr && a->in.sin_port == b->in.sin_port;
    case AF_INET6:
        return a->in6.sin6_port == b->in6.sin6_port &&
               a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
               memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
    default:
        return memcmp(a->room, b->room, a->len) == 0;
    }
}

static uint32_t node_hash(const struct addr *a, const struct upconn_tls *tls)
{
    return tls == NULL ? addr_hash(a)
                       : addr_hash(a) ^ mix(hash_fnv(tls->sni) + tls->pair_serial + 1);
}

static bool tls_eq(const struct upconn_tls *a, const struct upconn_tls *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    return a->pair_serial == b->pair_serial && a->trust == b->trust && str_eq(a->sni, b->sni) &&
           str_eq(a->name, b->name) && str_eq(a->alpn, b->alpn);
}

static struct str put_text(char **room, struct str s)
{
    char *p = *room;

    memcpy(p, s.n > 0 ? s.p : "", s.n);
    *room += s.n;
    return str_of(p, s.n);
}

static struct upconn_tls *tls_copy(const struct upconn_tls *tls)
{
    struct upconn_tls *own;

    if (tls == NULL) {
        return NULL;
    }
    own = mem_alloc(sizeof(*own) + tls->sni.n + tls->name.n + tls->alpn.n);
    char *room = (char *)(own + 1);
    *own = (struct upconn_tls){.pair_serial = tls->pair_serial, .trust = tls->trust};
    own->sni = put_text(&room, tls->sni);
    own->name = put_text(&room, tls->name);
    own->alpn = put_text(&room, tls->alpn);
    return own;
}

static void table_grow(void)
{
    unsigned n = pool.n_buckets ? pool.n_buckets * 2 : 64;
    struct pool_node **bucket = mem_alloc(n * sizeof(*bucket));

    for (unsigned i = 0; i < pool.n_buckets; i++) {
        for (struct pool_node *node = pool.bucket[i], *next; node; node = next) {
            next = node->chain;
            node->chain = bucket[node->hash & (n - 1)];
            bucket[node->hash & (n - 1)] = node;
        }
    }
    free(pool.bucket);
    pool.bucket = bucket;
    pool.n_buckets = n;
}

static struct pool_node *node_find(const struct addr *addr, const struct upconn_tls *tls,
                                   uint32_t hash)
{
    if (pool.n_buckets == 0) {
        return NULL;
    }
    struct pool_node *node = pool.bucket[hash & (pool.n_buckets - 1)];
    while (node && (node->hash != hash || !addr_eq(&node->addr, addr) || !tls_eq(node->tls, tls))) {
        node = node->chain;
    }
    return node;
}

static struct pool_node *node_new(const struct addr *addr, const struct upconn_tls *tls,
                                  uint32_t hash)
{
    struct pool_node *node = pool.free_nodes;

    if (node) {
        pool.free_nodes = node->chain;
    } else {
        node = mem_alloc(sizeof(*node));
    }
    if (pool.n_nodes >= pool.n_buckets) {
        table_grow();
    }
    struct pool_node **at = &pool.bucket[hash & (pool.n_buckets - 1)];
    *node = (struct pool_node){.chain = *at, .addr = *addr, .hash = hash, .tls = tls_copy(tls)};
    list_init(&node->idle);
    list_init(&node->empty);
    *at = node;
    pool.n_nodes++;
    return node;
}

static void node_release(struct pool_node *node)
{
    struct pool_node **at = &pool.bucket[node->hash & (pool.n_buckets - 1)];

    while (*at != node) {
        at = &(*at)->chain;
    }
    *at = node->chain;
    tls_session_fini(&node->session);
    free(node->tls);
    node->chain = pool.free_nodes;
    pool.free_nodes = node;
    pool.n_nodes--;
}

static void empty_release(struct pool_node *node)
{
    list_del(&node->empty);
    pool.n_empty--;
    node_release(node);
}

/* The last connection of the node has gone. */
static void node_is_empty(struct pool_node *node)
{
    if (node->session.session == NULL) {
        node_release(node);
        return;
    }
    if (pool.empty.next == NULL) {
        list_init(&pool.empty);
    }
    list_add(&pool.empty, &node->empty);
    pool.n_empty++;
}

static void forget_oldest(unsigned keep)
{
    while (pool.n_empty > keep) {
        empty_release(CONTAINER_OF(pool.empty.prev, struct pool_node, empty));
    }
}

static void node_hold(struct pool_node *node)
{
    if (node->n_open++ == 0 && !list_is_empty(&node->empty)) {
        list_del(&node->empty);
        pool.n_empty--;
    }
}

/* ---- connections ---- */

static void on_idle_timer(struct timer *t)
{
    struct upconn *c = CONTAINER_OF(t, struct upconn, idle);

    if (c->idle_until == 0) {
        return; /* in use: the next put starts the timer again */
    }
    if (c->idle_until > now_ms()) {
        timer_start(t, c->idle_until);
        return;
    }
    upconn_close(c);
}

static struct upconn *conn_new(struct pool_node *node)
{
    struct upconn *c = pool.free_conns;

    if (c) {
        pool.free_conns = c->next_free;
    } else {
        c = mem_alloc(sizeof(*c));
    }
    *c = (struct upconn){.io = IO_CLOSED, .addr = node->addr, .home = node};
    list_init(&c->link);
    timer_init(&c->idle, on_idle_timer);
    node_hold(node);
    pool.n_open++;
    return c;
}

static void conn_leave_idle(struct upconn *c)
{
    list_del(&c->link);
    c->idle_until = 0;
    c->home->n_idle--;
    pool.n_idle--;
}

void upconn_close(struct upconn *c)
{
    struct pool_node *node = c->home;

    if (c->idle_until) {
        conn_leave_idle(c);
    }
    timer_stop(&c->idle);
    io_close(&c->io);
    c->next_free = pool.free_conns;
    pool.free_conns = c;
    pool.n_open--;
    if (--node->n_open == 0) {
        node_is_empty(node);
    }
}

/* Whatever an idle connection has to say, it is of no more use. */
static void on_idle_event(struct io *io)
{
    upconn_close(CONTAINER_OF(io, struct upconn, io));
}

/* Those with news are left to the watch, which is about to close them. */
static struct upconn *idle_take(struct pool_node *node)
{
    LIST_EACH(l, &node->idle) {
        struct upconn *c = CONTAINER_OF(l, struct upconn, link);
        if (!c->io.readable) {
            conn_leave_idle(c);
            io_watch(&c->io, NULL);
            return c;
        }
    }
    return NULL;
}

static int await_new(struct upconn *c, const struct upconn_tls *tls, int64_t deadline)
{
    int rc = await_connect(&c->io, &c->addr, deadline);

    if ((rc == -EMFILE || rc == -ENFILE) && pool.n_idle > 0) {
        pool_drain();
        rc = await_connect(&c->io, &c->addr, deadline);
    }
    if (rc < 0 || tls == NULL) {
        return rc;
    }
    const struct tls_connect how = {.sni = tls->sni,
                                    .name = tls->name,
                                    .alpn = tls->alpn,
                                    .pair = tls->pair,
                                    .trust = tls->trust,
                                    .session = &c->home->session};
    return await_tls_connect(&c->io, &how, deadline);
}

int await_upconn_tls(const struct addr *addr, const struct upconn_tls *tls, bool fresh,
                     int64_t connect_deadline, struct upconn **out, bool *reused)
{
    uint32_t hash = node_hash(addr, tls);
    struct pool_node *node = node_find(addr, tls, hash);
    struct upconn *c = node && !fresh ? idle_take(node) : NULL;

    *reused = c != NULL;
    if (!c) {
        forget_oldest(EMPTY_NODES);
        c = conn_new(node ? node : node_new(addr, tls, hash));
        int rc = await_new(c, tls, connect_deadline);
        if (rc < 0) {
            upconn_close(c);
            return rc;
        }
    }
    *out = c;
    return 0;
}

int await_upconn(const struct addr *addr, bool fresh, int64_t connect_deadline, struct upconn **out,
                 bool *reused)
{
    return await_upconn_tls(addr, NULL, fresh, connect_deadline, out, reused);
}

static void idle_add(struct upconn *c, const struct pool_limits *limits)
{
    struct pool_node *node = c->home;

    c->idle_until = limits->idle_ms > 0 ? deadline_in(limits->idle_ms) : NEVER;
    if (!timer_is_started(&c->idle) || c->idle.at > c->idle_until) {
        timer_start(&c->idle, c->idle_until);
    }
    list_add(&node->idle, &c->link);
    node->n_idle++;
    pool.n_idle++;
    io_watch(&c->io, on_idle_event);
}

void upconn_put(struct upconn *c, const struct pool_limits *limits)
{
    struct pool_node *node = c->home;

    ASSERT(c->idle_until == 0);
    c->requests++;
    if (limits->size <= 0 || c->surplus.n > 0 || c->io.hup || c->io.error ||
        (node->tls != NULL && pool.n_nodes > TLS_NODES) ||
        (limits->requests > 0 && c->requests >= (uint64_t)limits->requests)) {
        upconn_close(c);
        return;
    }
    while (node->n_idle >= (uint64_t)limits->size) {
        upconn_close(CONTAINER_OF(node->idle.prev, struct upconn, link));
    }
    idle_add(c, limits);
}

/* ---- the pool ---- */

void pool_drain(void)
{
    for (unsigned i = 0; i < pool.n_buckets; i++) {
        for (struct pool_node *node = pool.bucket[i], *next; node; node = next) {
            next = node->chain;
            /* The last one may take the node with it. */
            for (unsigned n = node->n_idle; n > 0; n--) {
                upconn_close(CONTAINER_OF(node->idle.next, struct upconn, link));
            }
        }
    }
}

void pool_forget(void)
{
    pool_drain();
    forget_oldest(0);
}

void pool_counts(unsigned *idle, unsigned *open)
{
    *idle = pool.n_idle;
    *open = pool.n_open;
}

void pool_fini(void)
{
    pool_forget();
    ASSERT(pool.n_open == 0);
    while (pool.free_conns) {
        struct upconn *c = pool.free_conns;
        pool.free_conns = c->next_free;
        free(c);
    }
    while (pool.free_nodes) {
        struct pool_node *node = pool.free_nodes;
        pool.free_nodes = node->chain;
        free(node);
    }
    free(pool.bucket);
    pool = (struct pool){0};
}
