/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chash: consistent hashing. Each peer has points on a ring of 2^32, a key goes to the first point
 * at or after its hash, so a peer that comes or goes moves only its own share of the keys.
 *
 * The points are the reference's bit for bit, so keys keep their node when a fleet changes over
 * (test_upstream_balancer: "chash_chooses_as_the_reference").
 */
#include "base/hash.h"
#include "base/mem.h"
#include "upstream/balancer_priv.h"

#include <stdio.h>
#include <stdlib.h>

#define POINTS_PER_WEIGHT 160
/* Bounds the memory (4 MiB) and the time to build (some 20 ms); weights are rounded to fit. */
static const uint64_t MAX_SHARES = (UINT64_C(1) << 19) / POINTS_PER_WEIGHT;

/* "10.0.0.1:80" with a zero byte for each colon, brackets around IPv6. */
static struct str peer_id(const struct addr *addr, char out[64])
{
    char text[46];
    size_t n = addr_text(addr, text);
    const char *fmt = addr->sa.sa_family == AF_INET6 ? "[%.*s]:%u" : "%.*s:%u";
    int len = snprintf(out, 64, fmt, (int)n, text, (unsigned)addr_port(addr));

    for (int i = 0; i < len; i++) {
        if (out[i] == ':') {
            out[i] = '\0';
        }
    }
    return str_of(out, (size_t)len);
}

/* Each point is the sum over the id and the point before it, little-endian; the first follows 0. */
static struct ring_point *peer_points(struct ring_point *at, const struct balancer_peer *p,
                                      uint32_t peer, uint64_t shares)
{
    char room[64];
    uint32_t base = hash_crc32(0, peer_id(&p->addr, room)), prev = 0;

    for (uint64_t k = 0; k < shares * POINTS_PER_WEIGHT; k++) {
        const char bytes[4] = {(char)prev, (char)(prev >> 8), (char)(prev >> 16),
                               (char)(prev >> 24)};
        prev = hash_crc32(base, str_of(bytes, 4));
        *at++ = (struct ring_point){.hash = prev, .peer = peer};
    }
    return at;
}

#define DIGIT_BITS 11
#define DIGITS (1U << DIGIT_BITS)

/* One pass of a radix sort: from, ordered by one digit of the hash, into to. Keeps the order of
 * equals. */
static void sort_by_digit(const struct ring_point *from, struct ring_point *to, size_t n,
                          unsigned shift)
{
    uint32_t start[DIGITS + 1] = {0};

    for (size_t i = 0; i < n; i++) {
        start[((from[i].hash >> shift) & (DIGITS - 1)) + 1]++;
    }
    for (unsigned d = 0; d < DIGITS; d++) {
        start[d + 1] += start[d];
    }
    for (size_t i = 0; i < n; i++) {
        to[start[(from[i].hash >> shift) & (DIGITS - 1)]++] = from[i];
    }
}

/* Requests wait while a ring is built; on a big one this is several times faster than qsort(). */
static void ring_sort(struct ring_point *ring, size_t n)
{
    struct ring_point *other = mem_alloc(n * sizeof(*other));

    sort_by_digit(ring, other, n, 0);
    sort_by_digit(other, ring, n, DIGIT_BITS);
    sort_by_digit(ring, other, n, 2 * DIGIT_BITS);
    memcpy(ring, other, n * sizeof(*ring));
    free(other);
}

static void chash_build(struct balancer_group *g, struct arena *a)
{
    uint64_t *shares = ARENA_ARRAY(a, uint64_t, g->n);
    uint64_t gcd = weight_gcd(g), sum = 0, n = 0;

    for (uint32_t i = 0; i < g->n; i++) {
        shares[i] = g->peers[g->first + i].weight / gcd;
        sum += shares[i];
    }
    for (uint32_t i = 0; i < g->n; i++) {
        if (sum > MAX_SHARES) {
            shares[i] = (uint64_t)((double)shares[i] / (double)sum * (double)MAX_SHARES);
            shares[i] += shares[i] == 0;
        }
        n += shares[i];
    }
    struct ring_point *at = ARENA_ARRAY(a, struct ring_point, n * POINTS_PER_WEIGHT);
    g->ring = at;
    for (uint32_t i = 0; i < g->n; i++) {
        at = peer_points(at, &g->peers[g->first + i], g->first + i, shares[i]);
    }
    g->n_ring = (size_t)(at - g->ring);
    ring_sort(g->ring, g->n_ring);
}

/* The first point at or after hash; n_ring when it is past the last. */
static size_t ring_find(const struct balancer_group *g, uint32_t hash)
{
    size_t lo = 0, hi = g->n_ring;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (g->ring[mid].hash < hash) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static uint32_t chash_pick(struct balancer_group *g, const struct balancer_walk *w)
{
    size_t at = ring_find(g, w->hash);

    for (size_t i = 0; i < g->n_ring; i++, at++) {
        if (at >= g->n_ring) {
            at = 0;
        }
        if (!walk_has_tried(w, g->ring[at].peer)) {
            return g->ring[at].peer;
        }
    }
    return BALANCER_NONE;
}

const struct balancer_algo balancer_chash = {
    .name = STR_INIT("chash"),
    .build = chash_build,
    .pick = chash_pick,
};
