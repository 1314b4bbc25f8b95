/* SPDX-License-Identifier: Apache-2.0 */
/* body_tree: see body_tree.h. */
#include "http/body_tree.h"

#include "base/log.h"
#include "http/multipart.h"

struct body_tree {
    struct str body; /* what it was made of: a plugin may replace it */
    json_t *json;    /* NULL: malformed */
};

enum body_kind body_kind_of(const struct req *r)
{
    static const struct {
        struct str type;
        enum body_kind kind;
    } kinds[] = {
        {STR_INIT("application/json"), BODY_JSON},
        {STR_INIT("application/x-www-form-urlencoded"), BODY_FORM},
        {STR_INIT("multipart/form-data"), BODY_MULTIPART},
    };
    const struct str is = headers_get(&r->headers, H_CONTENT_TYPE);

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (str_ieq(str_head(is, kinds[i].type.n), kinds[i].type)) {
            return kinds[i].kind;
        }
    }
    return BODY_OTHER;
}

/* ---- the kinds ---- */

static json_t *from_json(const struct req *r)
{
    struct err e = {""};
    json_t *j = json_parse(r->body, &e);

    if (j == NULL) {
        LOG_RATE(WARN, "the request body is no JSON, variables in it are missing: %s", e.msg);
    }
    return j;
}

static json_t *string_new(struct str s)
{
    return json_stringn_nocheck(s.n ? s.p : "", s.n);
}

/* One more value of a name that may come again. Takes the reference of v. */
static void form_add(json_t *form, struct str name, json_t *v)
{
    json_t *had = json_object_getn(form, name.p, name.n);

    if (json_is_array(had)) {
        json_array_append_new(had, v);
    } else if (had != NULL) {
        json_object_setn_new_nocheck(form, name.p, name.n, json_pack("[O,o]", had, v));
    } else {
        json_object_setn_new_nocheck(form, name.p, name.n, v);
    }
}

json_t *body_form_tree(struct arena *a, struct str text)
{
    json_t *form = json_object();
    struct str rest = text, pair;

    while (str_split(&rest, '&', &pair)) {
        const ptrdiff_t eq = str_index(pair, '=');
        const struct str name = eq < 0 ? pair : str_head(pair, (size_t)eq);
        if (name.n > 0) {
            form_add(form, uri_decode(a, name, true),
                     eq < 0 ? json_true()
                            : string_new(uri_decode(a, str_skip(pair, (size_t)eq + 1), true)));
        }
    }
    return form;
}

static json_t *from_multipart(const struct req *r)
{
    struct multipart m;
    struct str name, value;

    if (!multipart_start(&m, headers_get(&r->headers, H_CONTENT_TYPE), r->body)) {
        LOG_RATE(WARN, "the request body has no multipart boundary, variables in it are missing");
        return NULL;
    }
    json_t *form = json_object();
    while (multipart_next(&m, &name, &value)) {
        json_object_setn_new_nocheck(form, name.p, name.n, string_new(value));
    }
    return form;
}

/* ---- */

static void tree_drop(void *json)
{
    json_decref(json);
}

static json_t *tree_of(const struct req *r)
{
    switch (body_kind_of(r)) {
    case BODY_JSON:
        return from_json(r);
    case BODY_FORM:
        return body_form_tree(r->arena, r->body);
    case BODY_MULTIPART:
        return from_multipart(r);
    case BODY_OTHER:
        break;
    }
    return NULL;
}

const json_t *body_await_tree(struct req *r, uint64_t max)
{
    if (body_kind_of(r) == BODY_OTHER || req_await_body(r, max) != 0) {
        return NULL;
    }
    struct body_tree *t = r->body_tree;
    if (t == NULL || t->body.p != r->body.p || t->body.n != r->body.n) {
        t = ARENA_NEW(r->arena, struct body_tree);
        t->body = r->body;
        t->json = tree_of(r);
        if (t->json != NULL) {
            arena_on_reset(r->arena, tree_drop, t->json);
        }
        r->body_tree = t;
    }
    return t->json;
}
