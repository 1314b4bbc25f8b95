/* SPDX-License-Identifier: Apache-2.0 */
/* buf: doubling growth up to a maximum. */
#include "base/buf.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

enum { CAP_MIN = 64 };

void buf_fini(struct buf *b)
{
    free(b->p);
    *b = (struct buf){.max = b->max};
}

void buf_reset(struct buf *b)
{
    b->n = 0;
    b->overflow = false;
}

char *buf_reserve(struct buf *b, size_t n)
{
    if (n > b->max - b->n) {
        b->overflow = true;
        return NULL;
    }
    size_t need = b->n + n;
    if (need > b->cap || b->p == NULL) {
        size_t cap = b->cap > b->max / 2 ? b->max : b->cap * 2;
        cap = cap < need ? need : cap;
        cap = cap < CAP_MIN ? CAP_MIN : cap;
        b->p = mem_resize(b->p, cap);
        b->cap = cap;
    }
    return b->p + b->n;
}

void buf_add(struct buf *b, struct str s)
{
    char *p = buf_reserve(b, s.n);

    if (p && s.n) {
        memcpy(p, s.p, s.n);
        b->n += s.n;
    }
}

void buf_addc(struct buf *b, char c)
{
    char *p = buf_reserve(b, 1);

    if (p) {
        *p = c;
        b->n++;
    }
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    char small[256];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    if (n < 0 || !buf_reserve(b, (size_t)n)) {
        b->overflow = true;
        return;
    }
    if ((size_t)n < sizeof(small)) {
        buf_add(b, str_of(small, (size_t)n));
        return;
    }
    /* vsnprintf ends its text with a NUL, for which the maximum may leave no room. */
    char *text = mem_alloc((size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, ap);
    va_end(ap);
    buf_add(b, str_of(text, (size_t)n));
    free(text);
}

void buf_shift(struct buf *b, size_t n)
{
    if (n >= b->n) {
        b->n = 0;
        return;
    }
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
}
