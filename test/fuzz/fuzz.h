/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* fuzz: what the targets share. The fuzzer's entry point, and an oracle that stops it. */
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that holds for every input. */
#define ORACLE(x)                                                                                  \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: oracle: %s\n", __FILE__, __LINE__, #x);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Both texts are the same, or both are shown. */
#define ORACLE_SAME(a, b)                                                                          \
    do {                                                                                           \
        const struct str one_ = (a), two_ = (b);                                                   \
        if (!str_eq(one_, two_)) {                                                                 \
            fprintf(stderr, "%s:%d: differ:\n%.*s\n----\n%.*s\n", __FILE__, __LINE__,              \
                    STR_ARG(one_), STR_ARG(two_));                                                 \
            abort();                                                                               \
        }                                                                                          \
    } while (0)
