/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * t: unit tests in TAP. A test's name is a sentence.
 *
 *     static void wildcard_needs_a_label(void) { CHECK(...); }
 *     TESTS(T(wildcard_needs_a_label), T(another))
 */
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>

static int t_failed;

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            t_failed++;                                                                            \
            printf("# %s:%d: CHECK(%s) failed\n", __FILE__, __LINE__, #x);                         \
        }                                                                                          \
    } while (0)

/* Like CHECK, with the number of the table row that failed. */
#define CHECK_ROW(i, x)                                                                            \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            t_failed++;                                                                            \
            printf("# %s:%d: row %d: CHECK(%s) failed\n", __FILE__, __LINE__, (int)(i), #x);       \
        }                                                                                          \
    } while (0)

#define CHECK_STR(got, want)                                                                       \
    do {                                                                                           \
        struct str t_g = (got);                                                                    \
        struct str t_w = str_c(want);                                                              \
        if (!str_eq(t_g, t_w)) {                                                                   \
            t_failed++;                                                                            \
            printf("# %s:%d: got \"%.*s\", want \"%s\"\n", __FILE__, __LINE__, (int)t_g.n,         \
                   t_g.p ? t_g.p : "", t_w.p ? t_w.p : "");                                        \
        }                                                                                          \
    } while (0)

struct t_case {
    const char *name;
    void (*fn)(void);
};
#define T(fn)                                                                                      \
    {                                                                                              \
#fn, fn                                                                                    \
    }
#define TESTS(...)                                                                                 \
    int main(void)                                                                                 \
    {                                                                                              \
        static const struct t_case cases[] = {__VA_ARGS__};                                        \
        int n = (int)(sizeof(cases) / sizeof(cases[0])), bad = 0;                                  \
        printf("1..%d\n", n);                                                                      \
        for (int i = 0; i < n; i++) {                                                              \
            t_failed = 0;                                                                          \
            cases[i].fn();                                                                         \
            bad += t_failed != 0;                                                                  \
            printf("%s %d - %s\n", t_failed ? "not ok" : "ok", i + 1, cases[i].name);              \
            fflush(stdout);                                                                        \
        }                                                                                          \
        return bad ? 1 : 0;                                                                        \
    }
