/* SPDX-License-Identifier: Apache-2.0 */
/* admin_patch: the two forms of PATCH. Nearly RFC 7396, with the reference's deviations. */
#include "admin/admin_priv.h"

void patch_merge(json_t *value, json_t *patch)
{
    const char *key;
    json_t *v;

    json_object_foreach(patch, key, v) {
        json_t *old = json_get(value, key);
        if (json_is_null(v)) {
            json_object_del(value, key);
        } else if (json_is_object(v) && json_is_object(old)) {
            patch_merge(old, v);
        } else {
            /* What is new goes in as it is, nulls inside it too: the check that follows refuses
             * them by name. */
            json_object_set_new(value, key, json_deep_copy(v));
        }
    }
}

/* The reference names the wrong place with the rest of the path from there, joined by the digit 1
 * (a slip that clients may know by now). */
static int bad_path(struct str from, struct err *e)
{
    char text[256];
    size_t n = 0;

    for (size_t i = 0; i < from.n && n < sizeof(text) - 1; i++) {
        text[n++] = from.p[i] == '/' ? '1' : from.p[i];
    }
    text[n] = 0;
    return err_set(e, "invalid sub-path: /%s", text);
}

int patch_at(json_t *value, struct str path, json_t *v, struct err *e)
{
    struct str rest = path, part;

    while (str_split(&rest, '/', &part)) {
        struct str here = str_of(part.p, (size_t)(path.p + path.n - part.p));
        if (str_is_none(rest)) {
            json_object_setn(value, part.p, part.n, v);
            return 0;
        }
        json_t *child = json_object_getn(value, part.p, part.n);
        if (!child) {
            child = json_object();
            json_object_setn_new(value, part.p, part.n, child);
        }
        if (!json_is_object(child)) {
            return bad_path(here, e);
        }
        value = child;
    }
    return 0;
}
