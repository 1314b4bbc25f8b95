/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * ASSERT: an invariant whose violation would corrupt memory; always compiled in, ends the process
 * with place and text. SOFT_ASSERT: a bug that one request may die of; counts, logs once, gives the
 * value of the test.
 */
#include <stdbool.h>
#include <stdint.h>

_Noreturn void assert_fail(const char *what, const char *file, int line);
bool soft_assert_fail(const char *what, const char *file, int line);
/* SOFT_ASSERTs that failed since the start of the process. */
uint64_t soft_assert_failures(void);

#define ASSERT(x) (__builtin_expect(!!(x), 1) ? (void)0 : assert_fail(#x, __FILE__, __LINE__))
#define SOFT_ASSERT(x)                                                                             \
    (__builtin_expect(!!(x), 1) ? true : soft_assert_fail(#x, __FILE__, __LINE__))
#define LENGTH_OF(array) (sizeof(array) / sizeof((array)[0]))
