/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * radix: a persistent radix tree from bytes to two values a key: one for "exactly this key" and one
 * for "all that starts with it".
 *
 * An update copies the nodes from the root to the change and shares all others. Counts are touched
 * on the control thread only; any thread may walk a tree that is held.
 *
 * RADIX_PARAM in a key stands for "one path segment". It always begins a node, so that an edge with
 * it is found among the children as any other byte.
 */
#include "base/str.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define RADIX_PARAM '\0'
enum radix_slot { RADIX_EXACT, RADIX_PREFIX, RADIX_SLOTS };

/* Values are counted: what a node keeps it holds. */
struct radix_ops {
    void (*hold)(void *value);
    void (*drop)(void *value);
};

/*
 * The children follow, then the first bytes of their labels (in order, padded to 16), then the
 * label.
 */
struct radix {
    uint32_t refs;
    uint32_t label_n;
    uint32_t n_kids;
    bool has_param; /* kid 0 begins with RADIX_PARAM */
    bool offers;    /* a prefix value or has_param: something for keys longer than this */
    void *slot[RADIX_SLOTS];
};

/*
 * A new tree (one reference) in which fn(old value or NULL, arg) stands at key. fn gives back one
 * reference; NULL takes the value away. t is left as it was. NULL is the empty tree.
 */
struct radix *radix_update(struct radix *t, const struct radix_ops *ops, struct str key,
                           enum radix_slot slot, void *(*fn)(void *old, void *arg), void *arg);
void *radix_get(const struct radix *t, struct str key, enum radix_slot slot);
struct radix *radix_hold(struct radix *t);
void radix_drop(struct radix *t, const struct radix_ops *ops);

/* ---- for walkers ---- */

static inline struct radix **radix_kids(const struct radix *t)
{
    return (struct radix **)(uintptr_t)(t + 1);
}

static inline uint8_t *radix_bytes(const struct radix *t)
{
    return (uint8_t *)(radix_kids(t) + t->n_kids);
}

static inline char *radix_label(const struct radix *t)
{
    return (char *)radix_bytes(t) + ((t->n_kids + 15) & ~15u);
}

/* The child whose label begins with c, or NULL. */
static inline struct radix *radix_kid(const struct radix *t, char c)
{
    const uint8_t *bytes = radix_bytes(t);

#ifdef __SSE2__
    const __m128i wanted = _mm_set1_epi32((int)((uint8_t)c * 0x01010101u));
    for (uint32_t i = 0; i < t->n_kids;
         i += 16) { /* the padding repeats the first byte: never found first */
        __m128i eq =
            _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)(bytes + i)), wanted);
        unsigned hits = (unsigned)_mm_movemask_epi8(eq);
        if (hits != 0) {
            return radix_kids(t)[i + (uint32_t)__builtin_ctz(hits)];
        }
    }
    return NULL;
#else
    const uint8_t *hit = t->n_kids ? memchr(bytes, (uint8_t)c, t->n_kids) : NULL;
    return hit ? radix_kids(t)[hit - bytes] : NULL;
#endif
}

/* Equality of short runs without a call. */
static inline bool radix_same(const char *a, const char *b, size_t n)
{
    if (n < 4) {
        return n == 0 || (a[0] == b[0] && a[n / 2] == b[n / 2] && a[n - 1] == b[n - 1]);
    }
    if (n < 8) {
        uint32_t x[2], y[2];
        memcpy(&x[0], a, 4);
        memcpy(&y[0], b, 4);
        memcpy(&x[1], a + n - 4, 4);
        memcpy(&y[1], b + n - 4, 4);
        return x[0] == y[0] && x[1] == y[1];
    }
    uint64_t x, y;
    for (; n > 8; a += 8, b += 8, n -= 8) {
        memcpy(&x, a, 8);
        memcpy(&y, b, 8);
        if (x != y) {
            return false;
        }
    }
    memcpy(&x, a + n - 8, 8);
    memcpy(&y, b + n - 8, 8);
    return x == y;
}
