/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * pattern: a route's uri with ":name" or "*name" segments, compiled. Immutable, any thread may
 * match; counts are the control thread's.
 *
 * The reference turns such a uri into a regular expression without quoting what stands between the
 * segments: "." there is any byte, "?" makes optional, and "/c++/:x" matches nothing. Uris with
 * such bytes are given to PCRE; all others (nearly all) to a matcher that cannot run wild.
 */
#include "base/arena.h"

struct pattern;
struct route_match;

/*
 * index: how many bytes of uri the caller compares itself. NULL when no segment begins with ':' or
 * '*': then nothing more is compared (as the reference does). uri is borrowed. One reference.
 */
struct pattern *pattern_new(struct str uri, size_t index);
struct pattern *pattern_hold(struct pattern *p);
void pattern_drop(struct pattern *p);
/*
 * The whole of uri, whose first bytes (index) are known to be equal. Fills m's parameters when it
 * matches.
 */
bool pattern_match(const struct pattern *p, struct str uri, struct route_match *m);
/*
 * The key under which a tree narrows down to this pattern: the first `index` bytes of its uri, and
 * RADIX_PARAM and plain text as far as they go. out has room for uri.n bytes; gives the length.
 * *whole: the key is all of the pattern.
 */
size_t pattern_key(const struct pattern *p, char *out, bool *whole);
/*
 * Is it no more than a star behind the indexed bytes ("/a/" and a star)? Then all that follows them
 * is the parameter *name.
 */
bool pattern_is_rest(const struct pattern *p, struct str *name);
/* A segment as ":name" takes it: the length of the run of bytes that are neither '/' nor '\'. */
size_t pattern_segment(struct str s, size_t from);
