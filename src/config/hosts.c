/* SPDX-License-Identifier: Apache-2.0 */
/* hosts: counted lists of host patterns, one allocation each. */
#include "config/hosts.h"

#include "base/mem.h"

#include <stdlib.h>

struct hosts *hosts_new(const struct str *v, size_t n)
{
    size_t bytes = 0;

    for (size_t i = 0; i < n; i++) {
        bytes += v[i].n;
    }
    struct hosts *h = mem_alloc(sizeof(*h) + n * sizeof(h->v[0]) + bytes);
    char *text = (char *)&h->v[n];
    h->refs = 1;
    h->n = (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        h->v[i] = str_of(text, v[i].n);
        for (size_t k = 0; k < v[i].n; k++) {
            *text++ = ascii_lower(v[i].p[k]);
        }
    }
    return h;
}

bool hosts_equal(const struct hosts *a, const struct hosts *b)
{
    if (a->n != b->n) {
        return false;
    }
    for (unsigned i = 0; i < a->n; i++) {
        if (!str_eq(a->v[i], b->v[i])) {
            return false;
        }
    }
    return true;
}

struct hosts *hosts_hold(struct hosts *h)
{
    h->refs++;
    return h;
}

void hosts_drop(struct hosts *h)
{
    if (--h->refs == 0) {
        free(h);
    }
}
