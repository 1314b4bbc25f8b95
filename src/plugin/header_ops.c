/* SPDX-License-Identifier: Apache-2.0 */
/* header_ops: from JSON to arrays of names and value templates. */
#include "plugin/header_ops.h"

#include "plugin/escape.h"

struct header_op {
    struct str name;
    struct captured **values;
    size_t n;
};

/* ---- checking ---- */

static bool is_new_form(const json_t *conf)
{
    return json_is_object(json_get(conf, "add")) || json_is_object(json_get(conf, "set")) ||
           json_is_array(json_get(conf, "remove"));
}

static int check_name(struct str name, struct err *e)
{
    if (name.n == 0) {
        return err_set(e, "invalid field length in header");
    }
    return header_name_is_valid(name) ? 0 : err_set(e, "invalid field character in header");
}

static int check_value(const json_t *v, struct err *e)
{
    size_t i;
    json_t *item;

    if (json_is_array(v)) {
        json_array_foreach((json_t *)v, i, item) {
            if (check_value(item, e) != 0) {
                return -1;
            }
        }
        return 0;
    }
    if (json_is_number(v)) {
        return 0;
    }
    if (!json_is_string(v)) {
        return err_set(e, "invalid type as header value");
    }
    return header_value_is_valid(json_str(v)) ? 0 : err_set(e, "invalid value character in header");
}

static int check_map(const json_t *map, struct err *e)
{
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)map, name, v) {
        if (check_name(str_c(name), e) != 0 || check_value(v, e) != 0) {
            return -1;
        }
    }
    return 0;
}

int header_ops_check(const json_t *conf, struct err *e)
{
    size_t i;
    json_t *name;

    if (conf == NULL || !is_new_form(conf)) {
        return check_map(conf, e);
    }
    json_array_foreach(json_get(conf, "remove"), i, name) {
        if (check_name(json_str(name), e) != 0) {
            return -1;
        }
    }
    return check_map(json_get(conf, "add"), e) != 0 ? -1 : check_map(json_get(conf, "set"), e);
}

/* ---- compiling ---- */

static struct captured *value_new(struct arena *a, const json_t *v)
{
    return captured_tmpl(a, json_is_string(v) ? json_str(v) : json_text(a, v));
}

static struct header_op op_new(struct arena *a, const char *name, const json_t *v)
{
    struct header_op op = {.name = str_c(name), .n = json_is_array(v) ? json_array_size(v) : 1};

    op.values = ARENA_ARRAY(a, struct captured *, op.n);
    for (size_t i = 0; i < op.n; i++) {
        op.values[i] = value_new(a, json_is_array(v) ? json_array_get(v, i) : v);
    }
    return op;
}

static const struct header_op *ops_new(struct arena *a, const json_t *map, unsigned *n)
{
    const char *name;
    json_t *v;

    *n = 0;
    if (json_object_size(map) == 0) {
        return NULL;
    }
    struct header_op *ops = ARENA_ARRAY(a, struct header_op, json_object_size(map));
    json_object_foreach((json_t *)map, name, v) {
        ops[(*n)++] = op_new(a, name, v);
    }
    return ops;
}

static const struct str *names_new(struct arena *a, const json_t *list, unsigned *n)
{
    *n = (unsigned)json_array_size(list);
    if (*n == 0) {
        return NULL;
    }
    struct str *names = ARENA_ARRAY(a, struct str, *n);
    for (unsigned i = 0; i < *n; i++) {
        names[i] = json_str(json_array_get(list, i));
    }
    return names;
}

void header_ops_prepare(struct arena *a, const json_t *conf, struct header_ops *out)
{
    *out = (struct header_ops){0};
    if (conf == NULL) {
        return;
    }
    if (!is_new_form(conf)) {
        out->set = ops_new(a, conf, &out->n_set);
        return;
    }
    out->add = ops_new(a, json_get(conf, "add"), &out->n_add);
    out->set = ops_new(a, json_get(conf, "set"), &out->n_set);
    out->remove = names_new(a, json_get(conf, "remove"), &out->n_remove);
}

/* ---- doing ---- */

static struct str value_of(const struct captured *c, struct req *r, const struct re_match *m)
{
    return escape_header_value(r->arena, captured_expand(c, r->arena, r, m));
}

static void add_all(const struct header_op *op, struct req *r, struct headers *h,
                    const struct re_match *m)
{
    for (size_t i = 0; i < op->n; i++) {
        const struct str v = value_of(op->values[i], r, m);
        if (v.n > 0) {
            headers_add(h, op->name, v);
        }
    }
}

/* The new values may be made of the old ones, so they come first. */
static void set_all(const struct header_op *op, struct req *r, struct headers *h,
                    const struct re_match *m)
{
    struct headers made;

    headers_init(&made, r->arena, (unsigned)op->n);
    add_all(op, r, &made, m);
    if (made.n == 1) {
        headers_set(h, op->name, made.v[0].value);
        return;
    }
    headers_del(h, op->name);
    for (unsigned i = 0; i < made.n; i++) {
        headers_push(h, &made.v[i]);
    }
}

void header_ops_apply(const struct header_ops *o, struct req *r, struct headers *h,
                      const struct re_match *m)
{
    for (unsigned i = 0; i < o->n_add; i++) {
        add_all(&o->add[i], r, h, m);
    }
    for (unsigned i = 0; i < o->n_set; i++) {
        set_all(&o->set[i], r, h, m);
    }
    for (unsigned i = 0; i < o->n_remove; i++) {
        headers_del(h, o->remove[i]);
    }
}

/* ---- spellings ---- */

static bool is_spelling_of(struct str name, struct str lower)
{
    if (name.n != lower.n) {
        return false;
    }
    for (size_t i = 0; i < name.n; i++) {
        const char c = name.p[i] == '_' ? '-' : ascii_lower(name.p[i]);
        if (c != lower.p[i]) {
            return false;
        }
    }
    return true;
}

void headers_del_spellings(struct headers *h, struct str lower)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < h->n; i++) {
        if (!is_spelling_of(h->v[i].name, lower)) {
            h->v[kept++] = h->v[i];
        }
    }
    h->n = kept;
}
