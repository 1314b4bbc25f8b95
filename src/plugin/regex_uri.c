/* SPDX-License-Identifier: Apache-2.0 */
/* regex_uri: search, and put the parts together. */
#include "plugin/regex_uri.h"

struct regex_pair {
    struct re *re;
    struct captured *path;
    struct captured *query; /* NULL: none */
};

static int prepare_pair(struct arena *a, struct str pattern, struct str to, struct regex_pair *out,
                        struct err *e)
{
    const ptrdiff_t mark = str_index(to, '?');

    out->re = re_new(a, pattern, "jo", e);
    if (out->re == NULL || re_check_replacement(to, e) != 0) {
        return -1;
    }
    out->path = captured_replacement(a, mark < 0 ? to : str_head(to, (size_t)mark), e);
    out->query = mark < 0 ? NULL : captured_replacement(a, str_skip(to, (size_t)mark + 1), e);
    return err_is_set(e) ? -1 : 0;
}

int regex_uri_check(const json_t *pairs, struct err *e)
{
    struct arena *a = arena_new(4096);
    int bad = -1;

    for (size_t i = 0; bad < 0 && i + 1 < json_array_size(pairs); i += 2) {
        struct regex_pair ignored;
        if (prepare_pair(a, json_str(json_array_get(pairs, i)),
                         json_str(json_array_get(pairs, i + 1)), &ignored, e) != 0) {
            bad = (int)i;
        }
    }
    arena_free(a);
    return bad;
}

int regex_uri_prepare(struct arena *a, const struct arr *texts, struct regex_uri *out,
                      struct err *e)
{
    const struct str *text = texts->v;

    *out = (struct regex_uri){.n = texts->n / 2};
    if (out->n == 0) {
        return 0;
    }
    struct regex_pair *v = ARENA_ARRAY(a, struct regex_pair, out->n);
    for (size_t i = 0; i < out->n; i++) {
        if (prepare_pair(a, text[2 * i], text[2 * i + 1], &v[i], e) != 0) {
            return -1;
        }
    }
    out->v = v;
    return 0;
}

/* What stands around the match stays. */
static void put_together(const struct regex_pair *p, struct arena *a, struct str subject,
                         struct rewritten *out)
{
    const struct str found = out->m.group[0];
    const struct str before = str_head(subject, (size_t)(found.p - subject.p));
    const struct str after = str_skip(subject, before.n + found.n);

    out->path = arena_cat(a, before, captured_expand(p->path, a, NULL, &out->m));
    if (p->query) {
        out->query = arena_cat(a, captured_expand(p->query, a, NULL, &out->m), after);
    } else {
        out->path = arena_cat(a, out->path, after);
    }
}

int regex_uri_apply(const struct regex_uri *x, struct arena *a, struct str subject,
                    struct rewritten *out)
{
    *out = (struct rewritten){.path = subject};
    for (size_t i = 0; i < x->n; i++) {
        if (re_search(x->v[i].re, subject, 0, &out->m)) {
            put_together(&x->v[i], a, subject, out);
            return 1;
        }
        if (out->m.n < 0) {
            return -1;
        }
    }
    return 0;
}
