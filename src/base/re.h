/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * re: PCRE2 regular expressions with JIT, the reference's dialect. A search is given up after 10^6
 * steps from one start or after some 50 ms.
 *
 * A compiled expression is immutable: any thread may match. Match data is per thread.
 * Options are letters as in ngx.re: i (caseless), s (dotall), m (multiline), x (extended), a
 * (anchored), u and U (UTF), D (repeated group names); j and o are accepted and do nothing.
 */
#include "base/arena.h"
#include "base/err.h"

struct re;

/* Compile into arena a (freed at its reset). NULL with e set: `pcre2_compile() failed: TEXT in
 * "PATTERN"` (with ` at "REST"` when the position is inside). Takes up to 48 KB of stack;
 * parentheses may be nested 30 deep. */
struct re *re_new(struct arena *a, struct str pattern, const char *options, struct err *e);
#define RE_GROUPS 32
struct re_match {
    int n;                       /* groups set, 0 = no match, -1 = error (limit) */
    struct str group[RE_GROUPS]; /* [0] the whole; unset groups are STR_NONE */
};
/* Search s from byte `from` on. True when found; m may be NULL. */
bool re_search(const struct re *re, struct str s, size_t from, struct re_match *m);
/*
 * Replace the first (or all) matches; in replacement $0..$9, ${1}.., $$ as ngx.re.sub has them.
 * Returns s itself when nothing matched, STR_NONE when the match limit was passed, the result is
 * larger than 64 MiB, or replacement is malformed.
 */
struct str re_replace(struct arena *a, const struct re *re, struct str s, struct str replacement,
                      bool all);
/* 0, or -1 with e set when replacement is malformed: to be refused before there is traffic. */
int re_check_replacement(struct str replacement, struct err *e);
