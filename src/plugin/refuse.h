/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * refuse: how a plugin turns a request away: a line in the error log that names plugin, route and
 * reason, and an answer that was made when the configuration was.
 *
 * The line carries the path as it was sent, without the query, which is where keys stand.
 */
#include "plugin/plugin.h"

/* {"key":"text"} and a newline, to keep in a conf. */
struct str refuse_body(struct arena *a, const char *key, struct str text);
/* Answer with body (STR_NONE: the standard page), which must outlive the request. Always DONE. */
enum verdict refuse(struct req *r, const struct plugin *p, int status, struct str body,
                    struct str why);
