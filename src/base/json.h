/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * json: jansson with the habits of this program. Control plane only.
 *
 * Depth is limited to 128; duplicate keys and \u0000 are errors, because two readers of one
 * text must not see two values. Numbers without fraction are integers ("1.0" too); those beyond 64
 * bits become the nearest there is, as in the reference.
 */
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>

/* A new reference, or NULL with e set to the words lua-cjson uses ("Expected value but found
 * invalid token at character 1"). Any JSON value is accepted at the top. */
json_t *json_parse(struct str text, struct err *e);
/*
 * Compact text in arena a; object keys in insertion order; slashes not escaped. Numbers have 14
 * digits ("%.14g"), as the reference writes them, but integers up to 2^53 have all of theirs.
 */
struct str json_text(struct arena *a, const json_t *v);
/* s as a JSON string, quotes included; bytes from 0x80 on as they are, whatever they encode. */
void json_write_string(struct buf *out, struct str s);
/* The text of string v (STR_NONE when v is no string); valid while v is. */
struct str json_str(const json_t *v);
/* A child by key, NULL when absent or when o is no object. */
static inline json_t *json_get(const json_t *o, const char *key)
{
    return json_object_get(o, key);
}
