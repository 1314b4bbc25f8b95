/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * uri: one normalised path, computed once, used for matching, plugins and (when rewritten) for
 * forwarding.
 *
 * As nginx: percent-decoded once, "." and ".." segments resolved, repeated slashes merged, %2F
 * decoded to '/'. Pure; no allocation but from the arena.
 */
#include "base/arena.h"

enum uri_result { URI_OK, URI_BAD_ESCAPE, URI_NUL, URI_ABOVE_ROOT };
/* raw: path without query, starting with '/'. Fast path: a path with nothing to do is returned as
 * it is, without a copy. Going above the root is an error (400). */
enum uri_result uri_normalise(struct arena *a, struct str raw, struct str *out);
/* apisix.normalize_uri_like_servlet: drop ";params" of each segment; false: a bad segment (400). */
bool uri_servlet(struct arena *a, struct str uri, struct str *out);
/* apisix.match_uri_encoded_slash: the matching form, with %2F kept (upper case) where raw had it,
 * when plain decoding of raw equals uri; else uri itself. */
struct str uri_keep_encoded_slash(struct arena *a, struct str raw, struct str uri);
/* Host field value -> lower case host without port and final dot ("[::1]" keeps its brackets);
 * STR_NONE when empty. port: digits after the colon or STR_NONE. */
struct str host_of(struct arena *a, struct str host_header, struct str *port);
