/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * post_args: variables that look into the request body. May park, as they read it (at most
 * apisix.max_post_args_readable_size).
 */
#include "http/req.h"
#include "schema/var.h"

/* post_arg_x: the first form field x, with Content-Type application/x-www-form-urlencoded. */
struct value post_arg_form(struct req *r, struct str name);
/*
 * post_arg.a.b: a member of a JSON body by dotted path or JSONPath (http/json_find.h). The fields
 * of a form or multipart body are members too, whose names have no dots.
 */
struct value post_arg_json(struct req *r, struct str path);
