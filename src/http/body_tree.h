/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * body_tree: the request body as JSON, whatever it came as, for variables that look into it. Read
 * once a request and kept with it. May park, as it reads the body.
 */
#include "http/req.h"

enum body_kind { BODY_OTHER, BODY_JSON, BODY_FORM, BODY_MULTIPART };
enum body_kind body_kind_of(const struct req *r);

/*
 * JSON as it is. A form is an object of strings: a name that comes again has an array of them, one
 * without `=` is true. Of the parts of a multipart body with the same name the last counts. NULL:
 * another kind, longer than max bytes, or malformed. Borrowed, valid as long as the request.
 */
const json_t *body_await_tree(struct req *r, uint64_t max);
/* The fields of a form, or the arguments of a query, as above. New reference. */
json_t *body_form_tree(struct arena *a, struct str form);
