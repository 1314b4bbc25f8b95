/* SPDX-License-Identifier: Apache-2.0 */
/* str_set: a sorted array. */
#include "plugin/str_set.h"

#include <stdlib.h>

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

void str_set_prepare(struct arena *a, const struct str *v, size_t n, struct str_set *out)
{
    *out = (struct str_set){0};
    if (n == 0) {
        return;
    }
    struct str *sorted = ARENA_ARRAY(a, struct str, n);
    memcpy(sorted, v, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), by_text);
    *out = (struct str_set){sorted, n};
}

bool str_set_has(const struct str_set *s, struct str x)
{
    return s->n > 0 && bsearch(&x, s->v, s->n, sizeof(*s->v), by_text) != NULL;
}
