/* SPDX-License-Identifier: Apache-2.0 */
/* post_args: see post_args.h. */
#include "http/post_args.h"

#include "config/settings.h"
#include "http/body_tree.h"
#include "http/json_find.h"

static const json_t *tree_of(struct req *r)
{
    return body_await_tree(r, (uint64_t)r->settings->max_post_args_bytes);
}

struct value post_arg_form(struct req *r, struct str name)
{
    const json_t *form = body_kind_of(r) == BODY_FORM ? tree_of(r) : NULL;
    const json_t *v = name.n > 0 ? json_object_getn(form, name.p, name.n) : NULL;

    if (v == NULL) {
        return (struct value){0};
    }
    return json_value(r->arena, json_is_array(v) ? json_array_get(v, 0) : v);
}

struct value post_arg_json(struct req *r, struct str path)
{
    const json_t *tree = tree_of(r);

    return tree != NULL ? json_find(r->arena, tree, path) : (struct value){0};
}
