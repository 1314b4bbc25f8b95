/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* re_list: regular expressions of a configuration, one of which is to be found. Compiled by
 * prepare, immutable, in the arena of the object. */
#include "base/re.h"
#include "plugin/plugin.h"

struct re_list {
    struct re **v;
    size_t n;
};

/* Do they compile? 0, or -1 with e. NULL is an empty list. */
int re_list_check(const json_t *list, struct err *e);
/* list: of struct str; options: as re_new() has them. 0, or -1 with e. */
int re_list_prepare(struct arena *a, const struct arr *list, const char *options,
                    struct re_list *out, struct err *e);
enum re_found {
    RE_NOT_FOUND,
    RE_FOUND,
    RE_GAVE_UP /* a search took too long: the caller takes the safe side */
};
enum re_found re_list_find(const struct re_list *l, struct str s);
