/* SPDX-License-Identifier: Apache-2.0 */
/* lend: the thread's read buffer and spare ones. */
#include "event/lend.h"

#include "base/mem.h"
#include "event/await.h"
#include "fiber/fiber.h"

#include <stdlib.h>

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

void lend_expire(void)
{
    if (current != NULL && !fiber_is_nested()) {
        ASAN_POISON_MEMORY_REGION(current, LEND_BYTES);
    }
}

char *lend_keep(const struct iovec *iov, int iovcnt)
{
    char *kept = current;

    for (int i = 0; i < iovcnt; i++) {
        size_t at = (uintptr_t)iov[i].iov_base - (uintptr_t)kept;
        if (kept != NULL && at < LEND_BYTES && iov[i].iov_len > 0) {
            current = NULL;
            return kept;
        }
    }
    return NULL;
}

void lend_return(char *buffer)
{
    if (buffer == NULL) {
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
    while (spares > 0) {
        free(spare[--spares]);
    }
    if (current != NULL) {
        ASAN_UNPOISON_MEMORY_REGION(current, LEND_BYTES);
    }
    free(current);
    current = NULL;
}
