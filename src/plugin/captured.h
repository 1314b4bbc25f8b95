/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * captured: text in which $1 or ${1} stands for a group of a regular expression. Cut into parts
 * once; immutable, in its arena.
 */
#include "base/re.h"
#include "schema/var.h"

struct captured;

/* A replacement as ngx.re.sub takes it: groups, and $$ for a dollar. NULL with e set when
 * malformed. */
struct captured *captured_replacement(struct arena *a, struct str text, struct err *e);
/* A template: groups besides $variables. A dollar after a backslash is plain text, as in tmpl. */
struct captured *captured_tmpl(struct arena *a, struct str text);
/*
 * Expand into arena a. m may be NULL: no group is set then, and one that is not set is empty.
 * What a client sent is never looked at for variables. subject is only needed for templates.
 */
struct str captured_expand(const struct captured *c, struct arena *a, void *subject,
                           const struct re_match *m);
