/* SPDX-License-Identifier: Apache-2.0 */
/* re_list: see re_list.h. */
#include "plugin/re_list.h"

int re_list_check(const json_t *list, struct err *e)
{
    struct arena *a = arena_new(4096);
    size_t i;
    json_t *rule;
    int rc = 0;

    json_array_foreach(list, i, rule) {
        rc = rc == 0 && re_new(a, json_str(rule), "jo", e) == NULL ? -1 : rc;
    }
    arena_free(a);
    return rc;
}

int re_list_prepare(struct arena *a, const struct arr *list, const char *options,
                    struct re_list *out, struct err *e)
{
    *out = (struct re_list){ARENA_ARRAY(a, struct re *, list->n + 1), list->n};
    for (size_t i = 0; i < list->n; i++) {
        out->v[i] = re_new(a, ((struct str *)list->v)[i], options, e);
        if (out->v[i] == NULL) {
            return -1;
        }
    }
    return 0;
}

enum re_found re_list_find(const struct re_list *l, struct str s)
{
    struct re_match m;

    for (size_t i = 0; i < l->n; i++) {
        if (re_search(l->v[i], s, 0, &m)) {
            return RE_FOUND;
        }
        if (m.n < 0) {
            return RE_GAVE_UP;
        }
    }
    return RE_NOT_FOUND;
}
