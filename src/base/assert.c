/* SPDX-License-Identifier: Apache-2.0 */
/* assert: what happens when an invariant does not hold. */
#include "base/assert.h"

#include "base/log.h"

#include <stdlib.h>

static uint64_t soft_failures;

_Noreturn void assert_fail(const char *what, const char *file, int line)
{
    log_write(LOG_EMERG, "assertion failed: %s at %s:%d", what, file, line);
    abort();
}

/*
 * The first failure of a place takes a cell of its own. When all cells are taken (that many
 * different bugs in one process), further places log every time.
 */
static bool place_is_new(const char *file, int line)
{
    static uintptr_t seen[64];
    uintptr_t place = ((uintptr_t)file << 12) ^ (uintptr_t)line;

    for (size_t i = 0; i < LENGTH_OF(seen); i++) {
        uintptr_t free_cell = 0;
        if (__atomic_compare_exchange_n(&seen[i], &free_cell, place, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
            return true;
        }
        if (free_cell == place) {
            return false;
        }
    }
    return true;
}

bool soft_assert_fail(const char *what, const char *file, int line)
{
    __atomic_fetch_add(&soft_failures, 1, __ATOMIC_RELAXED);
    if (place_is_new(file, line)) {
        log_write(LOG_ALERT, "assertion failed, work goes on: %s at %s:%d", what, file, line);
    }
    return false;
}

uint64_t soft_assert_failures(void)
{
    return __atomic_load_n(&soft_failures, __ATOMIC_RELAXED);
}
