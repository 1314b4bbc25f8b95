/* SPDX-License-Identifier: Apache-2.0 */
/* ip_set: blocks become ranges; sorted and merged they are disjoint, so one binary search decides.
 */
#include "plugin/ip_set.h"

#include <stdlib.h>

/* A family byte before the 16 of the address keeps IPv4 and IPv6 apart. */
#define KEY_BYTES 17

struct ip_range {
    uint8_t lo[KEY_BYTES], hi[KEY_BYTES];
};

static void key_of(const struct ip *ip, uint8_t out[KEY_BYTES])
{
    out[0] = ip->v4;
    memcpy(out + 1, ip->b, 16);
}

static struct ip_range range_of(const struct cidr *c)
{
    struct ip_range r;

    key_of(&c->ip, r.lo);
    key_of(&c->ip, r.hi);
    for (unsigned bit = c->bits; bit < 128; bit++) {
        const uint8_t mask = (uint8_t)(0x80 >> bit % 8);
        r.lo[1 + bit / 8] &= (uint8_t)~mask;
        r.hi[1 + bit / 8] |= mask;
    }
    return r;
}

static int by_lo(const void *a, const void *b)
{
    return memcmp(((const struct ip_range *)a)->lo, ((const struct ip_range *)b)->lo, KEY_BYTES);
}

/* Blocks either hold each other or are apart, so an overlap means the later one lies inside. */
static size_t merge(struct ip_range *v, size_t n)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || memcmp(v[i].lo, v[kept - 1].hi, KEY_BYTES) > 0) {
            v[kept++] = v[i];
        }
    }
    return kept;
}

static int parse(const json_t *item, struct cidr *out, struct err *e)
{
    const struct str text = json_str(item);

    return cidr_parse(text, out) ? 0 : err_set(e, "invalid ip address: %.*s", STR_ARG(text));
}

int ip_set_check(const json_t *list, struct err *e)
{
    struct cidr ignored;
    json_t *item;
    size_t i;

    json_array_foreach((json_t *)list, i, item) {
        if (parse(item, &ignored, e) != 0) {
            return -1;
        }
    }
    return 0;
}

int ip_set_prepare(struct arena *a, const json_t *list, struct ip_set *out, struct err *e)
{
    const size_t n = json_array_size(list);

    *out = (struct ip_set){0};
    if (n == 0) {
        return 0;
    }
    struct ip_range *v = ARENA_ARRAY(a, struct ip_range, n);
    for (size_t i = 0; i < n; i++) {
        struct cidr c;
        if (parse(json_array_get(list, i), &c, e) != 0) {
            return -1;
        }
        v[i] = range_of(&c);
    }
    qsort(v, n, sizeof(*v), by_lo);
    *out = (struct ip_set){v, merge(v, n)};
    return 0;
}

static int place(const void *key, const void *range)
{
    const struct ip_range *r = range;

    if (memcmp(key, r->lo, KEY_BYTES) < 0) {
        return -1;
    }
    return memcmp(key, r->hi, KEY_BYTES) > 0;
}

bool ip_set_has(const struct ip_set *s, const struct ip *ip)
{
    uint8_t key[KEY_BYTES];

    key_of(ip, key);
    return s->n > 0 && bsearch(key, s->v, s->n, sizeof(*s->v), place) != NULL;
}
