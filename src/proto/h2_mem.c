/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_mem: memory for libnghttp2's HPACK, which allocates a few small pieces a field. Freed pieces
 * wait in one list a size, so that a warm thread asks the heap for nothing; what is larger than the
 * largest size, or too many, goes back to the heap. A connection is freed on the thread that made
 * it.
 */
#include "base/mem.h"
#include "proto/h2_priv.h"

#include <stdlib.h>

#define SIZES 6 /* 32 << 0 .. 32 << 5 = 1 KB: what a piece has room for */
#define LEAST 32
#define KEPT 512 /* pieces of a size a thread keeps: 1 MB in all at most */

/* In front of each piece. */
union piece {
    struct {
        union piece *next; /* while it waits */
        size_t room;
    };
    max_align_t align;
};

static _Thread_local struct {
    union piece *first;
    unsigned n;
} waiting[SIZES];

static unsigned size_of(size_t n)
{
    unsigned i = 0;
    while (i < SIZES && ((size_t)LEAST << i) < n) {
        i++;
    }
    return i;
}

static void *get(size_t n, void *user)
{
    const unsigned i = size_of(n);
    union piece *p;
    if (i < SIZES && waiting[i].first != NULL) {
        p = waiting[i].first;
        waiting[i].first = p->next;
        waiting[i].n--;
    } else {
        const size_t room = i < SIZES ? (size_t)LEAST << i : n;
        p = mem_resize(NULL, sizeof(*p) + room);
        p->room = room;
    }
    return p + 1;
}

static void put(void *memory, void *user)
{
    if (memory == NULL) {
        return;
    }
    union piece *p = (union piece *)memory - 1;
    const unsigned i = size_of(p->room);
    if (i == SIZES || waiting[i].n == KEPT) {
        free(p);
        return;
    }
    p->next = waiting[i].first;
    waiting[i].first = p;
    waiting[i].n++;
}

static void *get_zeroed(size_t count, size_t n, void *user)
{
    return memset(get(count * n, user), 0, count * n);
}

static void *change(void *memory, size_t n, void *user)
{
    void *other = get(n, user);
    if (memory != NULL) {
        const size_t had = ((const union piece *)memory - 1)->room;
        memcpy(other, memory, had < n ? had : n);
        put(memory, user);
    }
    return other;
}

nghttp2_mem *h2_mem(void)
{
    static nghttp2_mem mem = {NULL, get, put, get_zeroed, change};
    return &mem;
}

void h2_mem_fini(void)
{
    for (unsigned i = 0; i < SIZES; i++) {
        while (waiting[i].first != NULL) {
            union piece *p = waiting[i].first;
            waiting[i].first = p->next;
            free(p);
        }
        waiting[i].n = 0;
    }
}
