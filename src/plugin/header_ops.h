/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * header_ops: `headers` of a plugin: fields to add, set and remove, whose values hold $variables
 * and groups of an expression. Compiled once; immutable, in its arena.
 *
 * Both forms of the reference: {"add": {..}, "set": {..}, "remove": [..]}, and the older plain map,
 * which sets. An empty value adds nothing, and set removes the field then. Done in the order add,
 * set, remove.
 */
#include "http/req.h"
#include "plugin/captured.h"

struct header_op; /* opaque */
struct header_ops {
    const struct header_op *add, *set;
    unsigned n_add, n_set;
    const struct str *remove;
    unsigned n_remove;
};

/* Names that could not be sent, control bytes in values: 0 or -1 with the reference's words. conf
 * may be NULL. */
int header_ops_check(const json_t *conf, struct err *e);
/* conf (NULL: nothing to do) outlives the operations. */
void header_ops_prepare(struct arena *a, const json_t *conf, struct header_ops *out);
/* Change h, a message of request r. m: groups that $1 stands for, or NULL. */
void header_ops_apply(const struct header_ops *o, struct req *r, struct headers *h,
                      const struct re_match *m);

/*
 * Remove a field however it is spelled: letter case, and `_` for `-`, which many applications read
 * as the same name. lower: the name in lower case with `-`.
 */
void headers_del_spellings(struct headers *h, struct str lower);
