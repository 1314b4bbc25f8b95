/* SPDX-License-Identifier: Apache-2.0 */
/* sources: 64 stripes, each a small open-addressing table under its own lock. */
#include "http/sources.h"

#include "base/hash.h"

#include <pthread.h>
#include <stdlib.h>

#define STRIPES 64

struct entry {
    struct ip ip;
    unsigned n; /* 0: free (a table is compacted by backward shift, so there are no tombstones) */
};
struct stripe {
    pthread_mutex_t lock;
    struct entry *v;
    size_t used, cap;
};
static struct stripe stripes[STRIPES] = {[0 ... STRIPES - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER}};

static uint64_t hash_of(const struct ip *ip)
{
    return hash_keyed(str_of((const char *)ip->b, sizeof(ip->b)));
}

static bool same(const struct ip *a, const struct ip *b)
{
    return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

/* The slot of ip, or the free one where it belongs. */
static size_t slot_of(const struct stripe *s, const struct ip *ip)
{
    size_t i = (hash_of(ip) >> 8) & (s->cap - 1);
    while (s->v[i].n != 0 && !same(&s->v[i].ip, ip)) {
        i = (i + 1) & (s->cap - 1);
    }
    return i;
}

static void grow(struct stripe *s)
{
    struct stripe bigger = {.cap = s->cap ? s->cap * 2 : 16, .used = s->used};
    bigger.v = calloc(bigger.cap, sizeof(*bigger.v));
    if (bigger.v == NULL) {
        abort();
    }
    for (size_t i = 0; i < s->cap; i++) {
        if (s->v[i].n) {
            bigger.v[slot_of(&bigger, &s->v[i].ip)] = s->v[i];
        }
    }
    free(s->v);
    s->v = bigger.v;
    s->cap = bigger.cap;
}

/* Close the gap at i, so that later entries of the run are still found. */
static void close_gap(struct stripe *s, size_t i)
{
    size_t mask = s->cap - 1;
    for (size_t j = (i + 1) & mask; s->v[j].n != 0; j = (j + 1) & mask) {
        size_t home = (hash_of(&s->v[j].ip) >> 8) & mask;
        if (((j - home) & mask) >= ((j - i) & mask)) {
            s->v[i] = s->v[j];
            i = j;
        }
    }
    s->v[i].n = 0;
    s->used--;
}

struct ip source_of(const struct ip *ip, unsigned ipv6_bits)
{
    struct ip source = *ip;
    for (unsigned bit = ipv6_bits; !ip->v4 && bit < 128; bit++) {
        source.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
    }
    return source;
}

bool source_enter(const struct ip *ip, unsigned limit)
{
    struct stripe *s = &stripes[hash_of(ip) & (STRIPES - 1)];
    pthread_mutex_lock(&s->lock);
    if (s->used * 4 >= s->cap * 3) {
        grow(s);
    }
    struct entry *e = &s->v[slot_of(s, ip)];
    bool ok = e->n < limit;
    if (ok) {
        if (e->n == 0) {
            e->ip = *ip;
            s->used++;
        }
        e->n++;
    }
    pthread_mutex_unlock(&s->lock);
    return ok;
}

void source_leave(const struct ip *ip)
{
    struct stripe *s = &stripes[hash_of(ip) & (STRIPES - 1)];
    pthread_mutex_lock(&s->lock);
    size_t i = s->cap ? slot_of(s, ip) : 0;
    if (s->cap && s->v[i].n > 0 && --s->v[i].n == 0) {
        close_gap(s, i);
    }
    pthread_mutex_unlock(&s->lock);
}

unsigned source_count(const struct ip *ip)
{
    struct stripe *s = &stripes[hash_of(ip) & (STRIPES - 1)];
    pthread_mutex_lock(&s->lock);
    unsigned n = s->cap ? s->v[slot_of(s, ip)].n : 0;
    pthread_mutex_unlock(&s->lock);
    return n;
}
