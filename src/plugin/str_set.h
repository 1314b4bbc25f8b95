/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * str_set: a list of names of a configuration, sorted once and asked on each request. Immutable,
 * in the arena it was made in; the text is borrowed.
 */
#include "base/arena.h"

struct str_set {
    const struct str *v;
    size_t n;
};

void str_set_prepare(struct arena *a, const struct str *v, size_t n, struct str_set *out);
bool str_set_has(const struct str_set *s, struct str x);
