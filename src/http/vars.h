/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * vars: the $variables of a request (runtime.md section 4). A fixed name is a row of the table in
 * vars.c; arg_x, http_x, cookie_x and other families are prefixes. Unknown names are missing.
 */
#include "http/req.h"
#include "schema/var.h"

/* Make these variables the ones expressions and templates use. Once, at boot. */
void vars_install(void);
/* All fixed names, for documentation and tests. */
const char *const *vars_names(size_t *n);
