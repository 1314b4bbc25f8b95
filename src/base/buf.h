/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * buf: a growing buffer on the heap with a maximum. One thread only. Freed by buf_fini().
 *
 * An append past the maximum changes nothing but buf.overflow: check it once, when done.
 * The text is valid until the next append.
 */
#include "base/str.h"

#include <stdarg.h>

struct buf {
    char *p;
    size_t n, cap, max;
    bool overflow;
};

#define BUF_INIT(max_bytes)                                                                        \
    {                                                                                              \
        .max = (max_bytes)                                                                         \
    }

void buf_fini(struct buf *b);
/* Empty it, keep the memory, clear overflow. */
void buf_reset(struct buf *b);
void buf_add(struct buf *b, struct str s);
void buf_addc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Room for n more bytes at the end, NULL when that passes the maximum; then buf.n += what was
 * written. */
char *buf_reserve(struct buf *b, size_t n);
/* Drop the first n bytes. */
void buf_shift(struct buf *b, size_t n);
static inline struct str buf_str(const struct buf *b)
{
    return (struct str){b->p ? b->p : "", b->n};
}
