/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* json_find: values in JSON by path. */
#include "base/json.h"
#include "schema/var.h"

/* v as a value: an array is a list, what nests deeper is JSON text. Text points into v or arena a.
 */
struct value json_value(struct arena *a, const json_t *v);
/*
 * By names with dots between them: the value. With a star, a bracket or two dots it is a JSONPath,
 * and the value a list of all that it finds: `*` any child, `..` any depth, `[2]` an element,
 * `[-1]` from the end, `['name']` a member. Missing when there is nothing.
 */
struct value json_find(struct arena *a, const json_t *j, struct str path);
