/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * regex_uri: pairs of an expression and a replacement for a path: the first expression that is
 * found rewrites it. Compiled once; immutable, in its arena.
 *
 * The replacement's own `?` starts a query. One that a group brings along is data of the path.
 */
#include "plugin/captured.h"
#include "schema/field.h"

struct regex_pair; /* opaque */
struct regex_uri {
    const struct regex_pair *v;
    size_t n;
};

/* What became of a path. */
struct rewritten {
    struct str path;
    struct str query;  /* STR_NONE: the replacement has no `?` */
    struct re_match m; /* groups, for headers; they point into the subject */
};

/* The pair that cannot be used, for a message that quotes it: its index, or -1 with e empty. */
int regex_uri_check(const json_t *pairs, struct err *e);
/* texts: expression, replacement, expression ... 0, or -1 with e set. */
int regex_uri_prepare(struct arena *a, const struct arr *texts, struct regex_uri *out,
                      struct err *e);
/* 1: rewritten; 0: no expression is found; -1: one took too long. */
int regex_uri_apply(const struct regex_uri *x, struct arena *a, struct str subject,
                    struct rewritten *out);
