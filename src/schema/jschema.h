/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * jschema: JSON Schema, the draft-07 subset the reference uses, with the reference's messages
 * (admin-api.md section 6).
 *
 * Compiled once, immutable then; control thread, but any thread may check. Patterns are PCRE. Depth
 * of values is bounded by json_parse(). Properties are walked in the schema's order, so the first
 * error reported is repeatable.
 */
#include "base/err.h"
#include "base/json.h"

struct jschema;

/* NULL with e set when schema is not one ("invalid pattern" and so on). The schema is not kept. */
struct jschema *jschema_new(const json_t *schema, struct err *e);
void jschema_free(struct jschema *s);
/*
 * Check v; defaults are filled into v (also when the check fails later), except false, which the
 * reference does not fill either.
 * [] and {} inside v become the one that the schema wants. 0, or -1 with e set, e.g.
 * `property "uri" validation failed: wrong type: expected string, got number`.
 */
int jschema_check(const struct jschema *s, json_t *v, struct err *e);
