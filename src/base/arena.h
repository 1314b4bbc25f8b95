/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * arena: memory freed all at once. One thread only.
 *
 * Everything from arena_alloc() is valid until arena_reset() or arena_free(). Allocation does
 * not fail (out of memory aborts); callers bound sizes where bytes arrive. arena_reset() keeps
 * one block, so that a warm arena of a request never calls malloc. Under ASan unused
 * memory is poisoned; built with -Darena_malloc=true each allocation is its own malloc.
 */
#include "base/str.h"

#include <stdarg.h>

struct arena;

/* A new arena whose blocks have at least block_size bytes. Freed by arena_free(). */
struct arena *arena_new(size_t block_size);
void arena_free(struct arena *a);
/* Run the on_reset functions (last first), forget everything, keep the first block. */
void arena_reset(struct arena *a);

/* n bytes, zeroed, aligned for any object. */
void *arena_alloc(struct arena *a, size_t n);
/* The same, not zeroed: for arrays that are filled at once. */
void *arena_alloc_raw(struct arena *a, size_t n);
/* n bytes, not zeroed, unaligned: for text. */
char *arena_bytes(struct arena *a, size_t n);
#define ARENA_NEW(a, type) ((type *)arena_alloc(a, sizeof(type)))
#define ARENA_ARRAY(a, type, count) ((type *)arena_alloc(a, sizeof(type) * (count)))

/* A copy that lives in the arena; STR_NONE stays STR_NONE. The copy is followed by a NUL. */
struct str arena_str(struct arena *a, struct str s);
/* a and b joined. */
struct str arena_cat(struct arena *a, struct str x, struct str y);
/* x, sep and y joined. */
struct str arena_join(struct arena *a, struct str x, struct str sep, struct str y);
struct str arena_lower(struct arena *a, struct str s);
/* n in decimal. */
struct str arena_u64(struct arena *a, uint64_t n);
struct str arena_printf(struct arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
struct str arena_vprintf(struct arena *a, const char *fmt, va_list ap);

/* Does p point into memory of the arena? */
bool arena_owns(const struct arena *a, const void *p);

/* Run fn(arg) at reset, last first: for the few things that are not memory (fds, holds). */
void arena_on_reset(struct arena *a, void (*fn)(void *arg), void *arg);

/* Bytes held from malloc at this moment. */
size_t arena_held(const struct arena *a);
