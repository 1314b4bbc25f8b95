/* SPDX-License-Identifier: Apache-2.0 */
/* lend: the thread's read buffer and spare ones. */
#include "event/lend.h"

#include "base/mem.h"
#include "event/await.h"
#include "fiber/fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define LEND_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LEND_ASAN 1
#endif
#endif
#if LEND_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

/* 4 MB of a thread at most while nobody needs them. */
#define SPARE 64

static _Thread_local char *current;
static _Thread_local char *spare[SPARE];
static _Thread_local unsigned spares;
/* The back end's memory, and what of it is lent. */
static _Thread_local struct {
    char *memory;
    size_t bytes;
    void (*give)(char *p);
    char *lent;
    size_t lent_n;
} own;

char *lend_spare(void)
{
    return spares > 0 ? spare[--spares] : mem_resize(NULL, LEND_BYTES);
}

char *lend_buffer(void)
{
    if (current == NULL) {
        current = lend_spare();
    }
    ASAN_UNPOISON_MEMORY_REGION(current, LEND_BYTES);
    return current;
}

void lend_mark(size_t n)
{
    ASAN_POISON_MEMORY_REGION(current + n, LEND_BYTES - n);
}

void lend_own(char *memory, size_t bytes, void (*give)(char *p))
{
    own.memory = memory;
    own.bytes = bytes;
    own.give = give;
    lend_emptied(memory, bytes);
}

void lend_filled(const char *p, size_t n)
{
    ASAN_UNPOISON_MEMORY_REGION(p, n);
}

void lend_emptied(const char *p, size_t n)
{
    ASAN_POISON_MEMORY_REGION(p, n);
}

static void own_return(void)
{
    if (own.lent != NULL) {
        own.give(own.lent);
        own.lent = NULL;
    }
}

void lend_out(char *p, size_t n)
{
    own_return();
    own.lent = p;
    own.lent_n = n;
}

void lend_expire(void)
{
    if (fiber_is_nested()) {
        return;
    }
    own_return();
    if (current != NULL) {
        ASAN_POISON_MEMORY_REGION(current, LEND_BYTES);
    }
}

static bool points_into(const struct iovec *iov, int iovcnt, const char *p, size_t n)
{
    for (int i = 0; i < iovcnt; i++) {
        if ((uintptr_t)iov[i].iov_base - (uintptr_t)p < n && iov[i].iov_len > 0) {
            return true;
        }
    }
    return false;
}

char *lend_keep(const struct iovec *iov, int iovcnt)
{
    char *kept = NULL;

    if (current != NULL && points_into(iov, iovcnt, current, LEND_BYTES)) {
        kept = current;
        current = NULL;
    } else if (own.lent != NULL && points_into(iov, iovcnt, own.lent, own.lent_n)) {
        kept = own.lent;
        own.lent = NULL;
    }
    return kept;
}

void lend_return(char *buffer)
{
    if (buffer == NULL) {
        return;
    }
    if ((uintptr_t)buffer - (uintptr_t)own.memory < own.bytes) {
        own.give(buffer);
        return;
    }
    ASAN_UNPOISON_MEMORY_REGION(buffer, LEND_BYTES);
    if (current == NULL) {
        current = buffer;
    } else if (spares < SPARE) {
        spare[spares++] = buffer;
    } else {
        free(buffer);
    }
}

void lend_fini(void)
{
    ASAN_UNPOISON_MEMORY_REGION(own.memory, own.bytes);
    memset(&own, 0, sizeof(own));
    while (spares > 0) {
        free(spare[--spares]);
    }
    if (current != NULL) {
        ASAN_UNPOISON_MEMORY_REGION(current, LEND_BYTES);
    }
    free(current);
    current = NULL;
}
