/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena: bump allocation out of a chain of blocks.
 *
 * The arena itself lives at the start of its first block, so a small arena is one malloc. Blocks
 * double up to a limit, so that an arena of megabytes is few of them. An object that would waste
 * much of a block gets a block of its own.
 */
#include "base/arena.h"

#include "base/assert.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef __has_feature
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif

/* Under ASan objects stand apart, so that running over the end of one is seen. */
#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
enum { TEXT_ALIGN = 16, GAP = 16 };
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
enum { TEXT_ALIGN = 1, GAP = 0 };
#endif

#ifndef ARENA_MALLOC
#define ARENA_MALLOC 0
#endif

enum { ALIGN = 16, BLOCK_GROWTH_MAX = 256 * 1024 };

struct block {
    _Alignas(ALIGN) struct block *next;
    size_t size; /* with this header */
};

struct cleanup {
    struct cleanup *next;
    void (*fn)(void *arg);
    void *arg;
};

struct arena {
    char *p, *end;        /* what is free of the block in use */
    struct block *blocks; /* newest first; the last one holds this struct */
    struct cleanup *cleanups;
    size_t block_size; /* of the blocks as asked for */
    size_t next_size;  /* of the next block */
    size_t held;
};

static char *block_bytes(struct block *b)
{
    return (char *)(b + 1);
}

static struct block *block_new(size_t bytes)
{
    ASSERT(bytes < SIZE_MAX / 2);
    struct block *b = malloc(sizeof(*b) + bytes);
    ASSERT(b != NULL);
    b->next = NULL;
    b->size = sizeof(*b) + bytes;
    return b;
}

/* Make the rest of block b, from p on, what is free. */
static void use_block(struct arena *a, struct block *b, char *p)
{
    a->p = p;
    a->end = ARENA_MALLOC ? p : (char *)b + b->size;
    POISON(a->p, (size_t)(a->end - a->p));
}

/* Back to the state of a new arena with the one block b. */
static void start_over(struct arena *a, struct block *b)
{
    a->blocks = b;
    a->cleanups = NULL;
    a->held = b->size;
    a->next_size = a->block_size;
    use_block(a, b, (char *)(a + 1));
}

struct arena *arena_new(size_t block_size)
{
    struct block *b = block_new(sizeof(struct arena) + (ARENA_MALLOC ? 0 : block_size));
    struct arena *a = (struct arena *)(void *)block_bytes(b);

    a->block_size = block_size < 64 ? 64 : block_size;
    start_over(a, b);
    return a;
}

static void run_cleanups(struct arena *a)
{
    while (a->cleanups) {
        struct cleanup *c = a->cleanups;
        a->cleanups = c->next;
        c->fn(c->arg);
    }
}

/* Free all blocks but the first, which is given back. */
static struct block *free_later_blocks(struct arena *a)
{
    struct block *b = a->blocks;

    while (b->next) {
        struct block *next = b->next;
        UNPOISON(b, b->size);
        free(b);
        b = next;
    }
    return b;
}

void arena_free(struct arena *a)
{
    if (!a) {
        return;
    }
    run_cleanups(a);
    struct block *first = free_later_blocks(a);
    UNPOISON(first, first->size);
    free(first);
}

void arena_reset(struct arena *a)
{
    run_cleanups(a);
    start_over(a, free_later_blocks(a));
}

static struct block *add_block(struct arena *a, size_t bytes)
{
    struct block *b = block_new(bytes);

    b->next = a->blocks;
    a->blocks = b;
    a->held += b->size;
    return b;
}

/* There is no room in the block in use. */
static __attribute__((noinline)) char *take_slow(struct arena *a, size_t n)
{
    if (ARENA_MALLOC || n > a->next_size / 2) {
        return block_bytes(add_block(a, n));
    }
    struct block *b = add_block(a, a->next_size);
    use_block(a, b, block_bytes(b));
    if (a->next_size < BLOCK_GROWTH_MAX) {
        a->next_size *= 2;
    }
    char *p = a->p;
    size_t whole = n + GAP;
    size_t room = (size_t)(a->end - p);
    a->p += whole < room ? whole : room;
    UNPOISON(p, n);
    return p;
}

static inline char *take(struct arena *a, size_t n, size_t align)
{
    size_t pad = -(uintptr_t)a->p & (align - 1);
    size_t room = (size_t)(a->end - a->p);

    if (ARENA_MALLOC || __builtin_expect(n > room || pad + GAP > room - n, 0)) {
        return take_slow(a, n);
    }
    char *p = a->p + pad;
    a->p = p + n + GAP;
    UNPOISON(p, n);
    return p;
}

void *arena_alloc(struct arena *a, size_t n)
{
    return memset(take(a, n, ALIGN), 0, n);
}

void *arena_alloc_raw(struct arena *a, size_t n)
{
    return take(a, n, ALIGN);
}

struct str arena_u64(struct arena *a, uint64_t n)
{
    enum { DIGITS = 20 };
    char *const end = arena_bytes(a, DIGITS) + DIGITS, *p = end;

    do {
        *--p = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    return str_of(p, (size_t)(end - p));
}

char *arena_bytes(struct arena *a, size_t n)
{
    return take(a, n, TEXT_ALIGN);
}

struct str arena_str(struct arena *a, struct str s)
{
    return str_is_none(s) ? STR_NONE : arena_cat(a, s, STR(""));
}

struct str arena_join(struct arena *a, struct str x, struct str sep, struct str y)
{
    const size_t n = x.n + sep.n + y.n;
    char *const text = arena_bytes(a, n + 1);
    char *p = text;

    p = mempcpy(p, x.n ? x.p : "", x.n);
    p = mempcpy(p, sep.n ? sep.p : "", sep.n);
    p = mempcpy(p, y.n ? y.p : "", y.n);
    *p = 0;
    return str_of(text, n);
}

struct str arena_cat(struct arena *a, struct str x, struct str y)
{
    return arena_join(a, x, STR(""), y);
}

struct str arena_lower(struct arena *a, struct str s)
{
    if (str_is_none(s)) {
        return STR_NONE;
    }
    char *p = arena_bytes(a, s.n + 1);
    for (size_t i = 0; i < s.n; i++) {
        p[i] = ascii_lower(s.p[i]);
    }
    p[s.n] = 0;
    return str_of(p, s.n);
}

struct str arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
    char small[512];
    va_list again;

    va_copy(again, ap);
    int n = vsnprintf(small, sizeof(small), fmt, ap);
    ASSERT(n >= 0);
    char *p = arena_bytes(a, (size_t)n + 1);
    if ((size_t)n < sizeof(small)) {
        memcpy(p, small, (size_t)n + 1);
    } else {
        vsnprintf(p, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    return str_of(p, (size_t)n);
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    struct str s = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return s;
}

void arena_on_reset(struct arena *a, void (*fn)(void *arg), void *arg)
{
    struct cleanup *c = ARENA_NEW(a, struct cleanup);

    *c = (struct cleanup){.next = a->cleanups, .fn = fn, .arg = arg};
    a->cleanups = c;
}

bool arena_owns(const struct arena *a, const void *p)
{
    for (const struct block *b = a->blocks; b; b = b->next) {
        if ((uintptr_t)p - (uintptr_t)b < b->size) {
            return true;
        }
    }
    return false;
}

size_t arena_held(const struct arena *a)
{
    return a->held;
}
