/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * expr: the expression language of `vars`, `_meta.filter` and plugin conditions (runtime.md section
 * 3), compiled to a small program. Immutable once made, in its arena; any thread may evaluate.
 */
#include "base/err.h"
#include "base/json.h"
#include "schema/var.h"

struct expr;
/*
 * Compile. NULL with e set to the reference's words: `rule should be wrapped inside brackets`,
 * `rule too short`, `invalid expression`, `invalid operator 'op'`, `bad 'not' expression`, `invalid
 * ip address: X`, ... (without the "failed to validate the 'vars' expression: " prefix, which the
 * caller adds). rule must live as long as the expression.
 */
struct expr *expr_new(struct arena *a, const json_t *rule, struct err *e);
bool expr_eval(const struct expr *x, void *subject);
