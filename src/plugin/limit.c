/* SPDX-License-Identifier: Apache-2.0 */
/* limit: buckets of cells, a lock each. */
#include "plugin/limit.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"

#include <sched.h>
#include <stdlib.h>

enum {
    WAYS = 16,
    SPINS = 100, /* before the thread gives way: the holder was interrupted */
    SECOND_US = 1000000,
};

/* In flight: no time ends it. */
#define IN_FLIGHT INT64_MAX

struct cell {
    uint64_t owner;
    int64_t expires; /* IN_FLIGHT: not to be taken */
    union {
        struct {
            int64_t used;
        } fixed;
        struct {
            int64_t id, used, before; /* number of the window, events in it and in the one before */
        } sliding;
        struct {
            double excess; /* events that have not drained yet */
            int64_t last;
        } leaky;
        struct {
            int64_t n;
        } in_flight;
    };
};

struct bucket {
    uint32_t locked;
    uint64_t tag[WAYS]; /* the keys' hashes, 0: empty */
    struct cell cell[WAYS];
} __attribute__((aligned(64)));

struct limit_table {
    const char *name;
    uint64_t mask;
    struct bucket *buckets;
    void *memory; /* that buckets lie in, aligned */
};

struct limit_table *limit_table_new(const char *name, unsigned cells)
{
    struct limit_table *t = mem_alloc(sizeof(*t));
    uint64_t n = 1;

    while (n * WAYS < cells) {
        n *= 2;
    }
    /* Zeroed by the kernel, page by page, when a key first comes there. */
    t->memory = mem_alloc((n + 1) * sizeof(struct bucket));
    t->buckets = (struct bucket *)(((uintptr_t)t->memory + 63) & ~(uintptr_t)63);
    t->mask = n - 1;
    t->name = name;
    return t;
}

void limit_table_free(struct limit_table *t)
{
    free(t->memory);
    free(t);
}

struct limit_key limit_key(uint64_t owner, struct str text)
{
    /* hash_keyed() makes it unpredictable; the rest spreads the same text of other owners to other
     * buckets. */
    uint64_t h = (hash_keyed(text) + owner) * 0x9e3779b97f4a7c15u;

    h ^= h >> 32;
    return (struct limit_key){owner, h ? h : 1};
}

/* ---- buckets ---- */

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void lock(struct bucket *b)
{
    unsigned spins = 0;

    while (__atomic_exchange_n(&b->locked, 1, __ATOMIC_ACQUIRE) != 0) {
        while (__atomic_load_n(&b->locked, __ATOMIC_RELAXED) != 0) {
            relax();
            if (++spins % SPINS == 0) {
                sched_yield();
            }
        }
    }
}

static void unlock(struct bucket *b)
{
    __atomic_store_n(&b->locked, 0, __ATOMIC_RELEASE);
}

static struct bucket *bucket_lock(struct limit_table *t, struct limit_key k)
{
    struct bucket *b = &t->buckets[k.hash & t->mask];

    lock(b);
    return b;
}

/* The key's way, -1 when it has none. */
static int way_find(const struct bucket *b, struct limit_key k)
{
    for (int i = 0; i < WAYS; i++) {
        if (b->tag[i] == k.hash && b->cell[i].owner == k.owner) {
            return i;
        }
    }
    return -1;
}

/* The way for a new key: empty, else what expires first; -1 when all count what is in flight. */
static int way_victim(const struct bucket *b)
{
    int best = -1;

    for (int i = 0; i < WAYS; i++) {
        if (b->tag[i] == 0) {
            return i;
        }
        if (b->cell[i].expires != IN_FLIGHT &&
            (best < 0 || b->cell[i].expires < b->cell[best].expires)) {
            best = i;
        }
    }
    return best;
}

/* The cell of the key, zeroed when it is new or has expired; NULL when there is no room. *dropped:
 * it was another key's, before its time. */
static struct cell *cell_get(struct bucket *b, struct limit_key k, int64_t now, bool *dropped)
{
    int i = way_find(b, k);

    if (i >= 0 && b->cell[i].expires > now) {
        return &b->cell[i];
    }
    if (i < 0) {
        i = way_victim(b);
        *dropped = i >= 0 && b->tag[i] != 0 && b->cell[i].expires > now;
    }
    if (i < 0) {
        return NULL;
    }
    b->tag[i] = k.hash;
    b->cell[i] = (struct cell){.owner = k.owner};
    return &b->cell[i];
}

/* Without the lock. */
static void report(const struct limit_table *t, bool dropped)
{
    if (dropped) {
        LOG_RATE(WARN, "the table of %s is full: counters are dropped before their time", t->name);
    }
}

/* ---- windows ---- */

/* A sum that does not overflow: both are not negative. */
static int64_t plus(int64_t a, int64_t b)
{
    return a > INT64_MAX - 1 - b ? INT64_MAX - 1 : a + b;
}

struct limit_quota limit_fixed(struct limit_table *t, struct limit_key k, int64_t count,
                               int64_t window_us, int64_t cost, int64_t now)
{
    bool dropped = false;
    struct bucket *b = bucket_lock(t, k);
    struct cell *c = cell_get(b, k, now, &dropped);
    struct limit_quota q = {0};

    if (c->expires == 0) {
        c->expires = plus(now, window_us);
    }
    q.ok = cost <= count - c->fixed.used;
    if (q.ok) {
        c->fixed.used += cost;
        q.remaining = count - c->fixed.used;
    }
    q.reset_us = c->expires - now;
    unlock(b);
    report(t, dropped);
    return q;
}

/* Move the cell to the window now is in; how far now is into it. */
static int64_t slide(struct cell *c, int64_t window_us, int64_t now)
{
    int64_t id = now / window_us;

    if (c->expires != 0 && id == c->sliding.id - 1) {
        return 0; /* this core's clock lags: the window has just begun */
    }
    if (c->expires == 0 || id != c->sliding.id) {
        bool follows = c->expires != 0 && id == c->sliding.id + 1;
        c->sliding.before = follows ? c->sliding.used : 0;
        c->sliding.used = 0;
        c->sliding.id = id;
        c->expires = plus(now - now % window_us, plus(window_us, window_us));
    }
    return now % window_us;
}

struct limit_quota limit_sliding(struct limit_table *t, struct limit_key k, int64_t count,
                                 int64_t window_us, int64_t cost, int64_t now)
{
    bool dropped = false;
    struct bucket *b = bucket_lock(t, k);
    struct cell *c = cell_get(b, k, now, &dropped);
    struct limit_quota q = {0};
    int64_t left = window_us - slide(c, window_us, now);
    int64_t before = c->sliding.before < count ? c->sliding.before : count;
    double rate = (double)before / (double)window_us, reaching = rate * (double)left;

    q.ok = c->sliding.used < count && (double)c->sliding.used + reaching < (double)count;
    if (q.ok) {
        c->sliding.used = plus(c->sliding.used, cost);
        double rest = (double)(count - c->sliding.used) - reaching;
        q.remaining = rest > 0 ? (int64_t)rest : 0;
        q.reset_us = left;
    } else if (c->sliding.used >= count || before == 0) {
        q.reset_us = left;
    } else {
        /* When so much of the last window has slid out that one more fits. */
        double wait = (double)left - (double)(count - c->sliding.used) / rate;
        q.reset_us = wait > 0 ? (int64_t)wait : 0;
    }
    unlock(b);
    report(t, dropped);
    return q;
}

/* ---- leaky bucket ---- */

/* After that long nothing of excess is left. */
static int64_t drained_at(int64_t now, double excess, double rate)
{
    double us = (excess + 1) / rate * SECOND_US;

    return plus(now, us < 9e15 ? (int64_t)us + 1 : (int64_t)9e15);
}

int64_t limit_leaky(struct limit_table *t, struct limit_key k, double rate, double burst,
                    int64_t now)
{
    bool dropped = false;
    struct bucket *b = bucket_lock(t, k);
    struct cell *c = cell_get(b, k, now, &dropped);
    double excess = 0;
    int64_t wait = -1;

    if (c->expires != 0) {
        int64_t elapsed = now > c->leaky.last ? now - c->leaky.last : 0;
        excess = c->leaky.excess + 1 - rate * (double)elapsed / SECOND_US;
        excess = excess > 0 ? excess : 0;
    }
    if (excess <= burst) {
        c->leaky.excess = excess;
        c->leaky.last = now > c->leaky.last ? now : c->leaky.last;
        c->expires = drained_at(now, excess, rate);
        double us = excess / rate * SECOND_US;
        wait = us < 9e15 ? (int64_t)us : (int64_t)9e15;
    }
    unlock(b);
    report(t, dropped);
    return wait;
}

/* ---- in flight ---- */

int64_t limit_enter(struct limit_table *t, struct limit_key k, int64_t max)
{
    bool dropped;
    struct bucket *b = bucket_lock(t, k);
    struct cell *c = cell_get(b, k, 0, &dropped);
    int64_t n = -1;

    if (c != NULL) {
        n = c->in_flight.n < max ? ++c->in_flight.n : 0;
        c->expires = c->in_flight.n > 0 ? IN_FLIGHT : 0;
    }
    unlock(b);
    return n;
}

void limit_leave(struct limit_table *t, struct limit_key k)
{
    struct bucket *b = bucket_lock(t, k);
    int i = way_find(b, k);

    if (SOFT_ASSERT(i >= 0 && b->cell[i].in_flight.n > 0) && --b->cell[i].in_flight.n == 0) {
        b->tag[i] = 0;
    }
    unlock(b);
}
