/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jschema: check a value against a compiled schema.
 *
 * The rules of one schema are looked at in the reference's order, so that of several violations in
 * one place the same one is reported. A NULL err says that only the answer matters (branches of
 * anyOf, oneOf, if, not); then no text is made.
 */
#include "schema/jschema_priv.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

#define FAIL(e, ...) ((e) != NULL ? err_set((e), __VA_ARGS__) : -1)
#define PREFIX(e, ...) ((e) != NULL ? err_prefix((e), __VA_ARGS__) : -1)

/*
 * One check. References let a schema go in circles or grow without bound, so depth (the stack may
 * be a fiber's) and steps have a limit; past it every answer is no and stop says why.
 */
struct walk {
    unsigned depth, steps;
    const char *stop;
};
enum { DEPTH_MAX = 100, STEPS_MAX = 20 * 1000 * 1000 };

static int node_check(const struct node *n, json_t *v, struct err *e, struct walk *w);

/* ---- types ---- */

/* The name Lua has for the value's type. */
static const char *lua_type(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        return "table";
    case JSON_STRING:
        return "string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "boolean";
    case JSON_NULL:
        break;
    }
    return "userdata";
}

/* All types that the value is of. */
static unsigned types_of(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return TYPE_TABLE | TYPE_OBJECT | (json_object_size(v) == 0 ? TYPE_ARRAY : 0u);
    case JSON_ARRAY:
        return TYPE_TABLE | TYPE_ARRAY | (json_array_size(v) == 0 ? TYPE_OBJECT : 0u);
    case JSON_STRING:
        return TYPE_STRING;
    case JSON_INTEGER:
        return TYPE_NUMBER | TYPE_INTEGER;
    case JSON_REAL:
        return TYPE_NUMBER | (fmod(json_real_value(v), 1.0) == 0 ? TYPE_INTEGER : 0u);
    case JSON_TRUE:
    case JSON_FALSE:
        return TYPE_BOOLEAN;
    case JSON_NULL:
        break;
    }
    return TYPE_NULL;
}

static int type_check(const struct node *n, const json_t *v, struct err *e)
{
    if (n->types == 0 || (n->types & types_of(v)) != 0) {
        return 0;
    }
    return FAIL(e, "wrong type: expected %s%s, got %s", n->type_list ? "one of " : "",
                n->type_words, lua_type(v));
}

/* $secret://... and $env://... stand for a string that is not known yet. */
static bool is_secret_ref(const json_t *v)
{
    const struct str s = json_str(v);

    return str_starts(s, STR("$secret://")) || (s.n >= 7 && strncasecmp(s.p, "$env://", 7) == 0);
}

static bool takes_secret_refs(const struct node *n)
{
    return n->types == 0 || (n->types == TYPE_STRING && !n->type_list);
}

/* ---- objects ---- */

/* [] where the schema says object, {} where it says array: the value it stands for (new), or NULL.
 */
static json_t *empty_as_wanted(const struct node *n, const json_t *v)
{
    if (n->types == TYPE_OBJECT && json_is_array(v) && json_array_size(v) == 0) {
        return json_object();
    }
    if (n->types == TYPE_ARRAY && json_is_object(v) && json_object_size(v) == 0) {
        return json_array();
    }
    return NULL;
}

static int member_check(const struct node *n, json_t *object, const char *key, json_t *v,
                        struct err *e, struct walk *w)
{
    json_t *other = empty_as_wanted(n, v);

    if (other != NULL) {
        json_object_set_new_nocheck(object, key, other);
        v = other;
    }
    return node_check(n, v, e, w);
}

static int dependency_check(const struct dependency *d, json_t *v, struct err *e, struct walk *w)
{
    for (size_t i = 0; i < d->n; i++) {
        if (json_object_get(v, d->names[i]) == NULL) {
            return FAIL(e, "property \"%s\" is required when \"%s\" is set", d->names[i], d->key);
        }
    }
    if (d->schema != NULL && node_check(d->schema, v, e, w) != 0) {
        return PREFIX(e, "failed to validate dependent schema for \"%s\": ", d->key);
    }
    return 0;
}

static int prop_check(const struct prop *p, json_t *object, struct err *e, struct walk *w)
{
    json_t *v = json_object_get(object, p->key);

    if (v == NULL && p->required) {
        return FAIL(e, "property \"%s\" is required", p->key);
    }
    if (v == NULL) {
        if (p->def != NULL && json_is_object(object)) {
            json_object_set_new_nocheck(object, p->key, json_deep_copy(p->def));
        }
        return 0;
    }
    if (member_check(p->schema, object, p->key, v, e, w) != 0) {
        return PREFIX(e, "property \"%s\" validation failed: ", p->key);
    }
    return p->dep != NULL ? dependency_check(p->dep, object, e, w) : 0;
}

static int required_check(const struct object_rules *o, json_t *v, struct err *e, struct walk *w)
{
    for (size_t i = 0; i < o->n_required; i++) {
        if (json_object_get(v, o->required[i]) == NULL) {
            return FAIL(e, "property \"%s\" is required", o->required[i]);
        }
    }
    for (size_t i = 0; i < o->n_deps; i++) {
        if (json_object_get(v, o->deps[i].key) != NULL &&
            dependency_check(&o->deps[i], v, e, w) != 0) {
            return -1;
        }
    }
    return 0;
}

static int name_cmp(const void *key, const void *name)
{
    return strcmp(key, *(const char *const *)name);
}

static bool is_named(const struct object_rules *o, const char *key)
{
    return o->n_props > 0 &&
           bsearch(key, o->names, o->n_props, sizeof(*o->names), name_cmp) != NULL;
}

/* patternProperties for one property; *matched says whether a pattern knew it. */
static int patterns_check(const struct object_rules *o, json_t *object, const char *key,
                          bool *matched, struct err *e, struct walk *w)
{
    *matched = false;
    for (size_t i = 0; i < o->n_patterns; i++) {
        const struct pattern_prop *p = &o->patterns[i];

        if (!re_search(p->re, str_c(key), 0, NULL)) {
            continue;
        }
        *matched = true;
        /* Looked up anew: an earlier pattern may have put another empty value there. */
        if (member_check(p->schema, object, key, json_object_get(object, key), e, w) != 0) {
            return PREFIX(e, "failed to validate %s (matching \"%s\"): ", key, p->text);
        }
    }
    return 0;
}

/* Properties that only patternProperties or additionalProperties may know. */
static int others_check(const struct object_rules *o, json_t *object, struct err *e, struct walk *w)
{
    const char *key;
    json_t *v;

    if (o->n_patterns == 0 && o->rest == REST_ANY) {
        return 0;
    }
    json_object_foreach(object, key, v) {
        bool matched;

        if (patterns_check(o, object, key, &matched, e, w) != 0) {
            return -1;
        }
        if (matched || o->rest == REST_ANY || is_named(o, key)) {
            continue;
        }
        if (o->rest == REST_NONE) {
            return FAIL(e, "additional properties forbidden, found %s", key);
        }
        if (member_check(o->rest_schema, object, key, v, e, w) != 0) {
            return PREFIX(e, "failed to validate additional property %s: ", key);
        }
    }
    return 0;
}

static int object_check(const struct object_rules *o, json_t *v, struct err *e, struct walk *w)
{
    if ((types_of(v) & TYPE_OBJECT) != 0) {
        for (size_t i = 0; i < o->n_props; i++) {
            if (prop_check(&o->props[i], v, e, w) != 0) {
                return -1;
            }
        }
        if (required_check(o, v, e, w) != 0 || others_check(o, v, e, w) != 0) {
            return -1;
        }
        /* Defaults count. */
        const int64_t n = (int64_t)json_object_size(v);

        if (o->min >= 0 && n < o->min) {
            return FAIL(e, "expect object to have at least %lld properties", (long long)o->min);
        }
        if (o->max >= 0 && n > o->max) {
            return FAIL(e, "expect object to have at most %lld properties", (long long)o->max);
        }
    }
    if (o->empty_required &&
        (types_of(v) & (TYPE_OBJECT | TYPE_ARRAY)) != (TYPE_OBJECT | TYPE_ARRAY)) {
        return FAIL(e, "the input data should be an empty table");
    }
    return 0;
}

/* ---- arrays ---- */

static int item_check(const struct node *n, json_t *array, size_t i, const char *what,
                      struct err *e, struct walk *w)
{
    json_t *v = json_array_get(array, i), *other = empty_as_wanted(n, v);

    if (other != NULL) {
        json_array_set_new(array, i, other);
        v = other;
    }
    if (node_check(n, v, e, w) != 0) {
        return PREFIX(e, "failed to validate %s %zu: ", what, i + 1);
    }
    return 0;
}

static int items_check(const struct array_rules *r, json_t *v, struct err *e, struct walk *w)
{
    const size_t n = json_array_size(v);

    for (size_t i = 0; i < n; i++) {
        const struct node *item = r->item;
        const char *what = "item";

        if (r->tuple.n > 0 && i < r->tuple.n) {
            item = r->tuple.v[i];
        } else if (r->tuple.n > 0) {
            if (r->rest == REST_NONE) {
                return FAIL(e, "found unexpected extra items in array");
            }
            item = r->rest_schema;
            what = "additional item";
        }
        if (item == NULL) {
            break;
        }
        if (item_check(item, v, i, what, e, w) != 0) {
            return -1;
        }
    }
    return 0;
}

static int array_check(const struct array_rules *r, json_t *v, struct err *e, struct walk *w)
{
    const int64_t n = (int64_t)json_array_size(v);
    size_t a, b;

    if (r->no_items && (types_of(v) & (TYPE_OBJECT | TYPE_ARRAY)) != (TYPE_OBJECT | TYPE_ARRAY)) {
        return FAIL(e, "expect false always");
    }
    if ((types_of(v) & TYPE_ARRAY) == 0) {
        return 0;
    }
    if (r->min >= 0 && n < r->min) {
        return FAIL(e, "expect array to have at least %lld items", (long long)r->min);
    }
    if (r->max >= 0 && n > r->max) {
        return FAIL(e, "expect array to have at most %lld items", (long long)r->max);
    }
    if (items_check(r, v, e, w) != 0) {
        return -1;
    }
    if (r->unique && json_find_twins(v, &a, &b)) {
        return FAIL(e, "expected unique items but items %zu and %zu are equal", a + 1, b + 1);
    }
    return 0;
}

/* ---- scalars ---- */

static int pattern_fail(const struct string_rules *r, const json_t *v, struct err *e)
{
    if (e != NULL) {
        char *pattern = lua_quoted(str_c(r->pattern)), *text = lua_quoted(json_str(v));

        err_set(e, "failed to match pattern %s with %s", pattern, text);
        free(pattern);
        free(text);
    }
    return -1;
}

static int string_check(const struct string_rules *r, const json_t *v, struct err *e)
{
    const int64_t n = r->min >= 0 || r->max >= 0 ? (int64_t)json_str_chars(v) : 0;

    if (r->min >= 0 && n < r->min) {
        return FAIL(e, "string too short, expected at least %lld, got %lld", (long long)r->min,
                    (long long)n);
    }
    if (r->max >= 0 && n > r->max) {
        return FAIL(e, "string too long, expected at most %lld, got %lld", (long long)r->max,
                    (long long)n);
    }
    if (r->re != NULL && !re_search(r->re, json_str(v), 0, NULL)) {
        return pattern_fail(r, v, e);
    }
    return 0;
}

static int number_fail(double v, const char *how, double limit, struct err *e)
{
    char a[32], b[32];

    return FAIL(e, "expected %s to be %s %s", lua_number(v, a), how, lua_number(limit, b));
}

static int number_check(const struct number_rules *r, const json_t *number, struct err *e)
{
    const double v = json_number_value(number);

    /* Comparisons with NAN, the absent limit, are false. */
    if (v < r->min) {
        return number_fail(v, "at least", r->min, e);
    }
    if (v <= r->min_excl) {
        return number_fail(v, "greater than", r->min_excl, e);
    }
    if (v > r->max) {
        return number_fail(v, "at most", r->max, e);
    }
    if (v >= r->max_excl) {
        return number_fail(v, "smaller than", r->max_excl, e);
    }
    if (!isnan(r->multiple_of)) {
        const bool whole = floor(r->multiple_of) == r->multiple_of;
        const double q = v / r->multiple_of;

        if (whole ? fmod(v, r->multiple_of) != 0 : trunc(q) != q) {
            return number_fail(v, "a multiple of", r->multiple_of, e);
        }
    }
    return 0;
}

static bool is_host_char(char c)
{
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '-' ||
           c == '.';
}

static bool is_hostname(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_host_char(s.p[i])) {
            return false;
        }
    }
    return s.n > 0;
}

/* One @ between letters, digits, _ - and dots; at the end a dot and two to four letters. */
static bool is_email(struct str s)
{
    const ptrdiff_t at = str_index(s, '@'), dot = str_rindex(s, '.');
    const struct str top = dot >= 0 ? str_skip(s, (size_t)dot + 1) : STR_NONE;

    if (at < 1 || dot < at + 2 || top.n < 2 || top.n > 4) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (i != (size_t)at && s.p[i] != '_' && !is_host_char(s.p[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < top.n; i++) {
        if (ascii_lower(top.p[i]) < 'a' || ascii_lower(top.p[i]) > 'z') {
            return false;
        }
    }
    return true;
}

static int format_check(enum format f, const json_t *v, struct err *e)
{
    static const char *const names[] = {
        [FORMAT_NONE] = "",       [FORMAT_IPV4] = "ipv4",         [FORMAT_IPV6] = "ipv6",
        [FORMAT_EMAIL] = "email", [FORMAT_HOSTNAME] = "hostname",
    };
    const struct str s = json_str(v);
    uint8_t address[16];
    bool ok = true;

    switch (f) {
    case FORMAT_IPV4:
        ok = strlen(s.p) == s.n && inet_pton(AF_INET, s.p, address) == 1;
        break;
    case FORMAT_IPV6:
        ok = strlen(s.p) == s.n && inet_pton(AF_INET6, s.p, address) == 1;
        break;
    case FORMAT_EMAIL:
        ok = is_email(s);
        break;
    case FORMAT_HOSTNAME:
        ok = is_hostname(s);
        break;
    case FORMAT_NONE:
        break;
    }
    return ok ? 0 : FAIL(e, "expect valid %s format but got: %.*s", names[f], STR_ARG(s));
}

static bool is_choice(const json_t *choices, const json_t *v)
{
    for (size_t i = 0; i < json_array_size(choices); i++) {
        if (json_same(json_array_get(choices, i), v)) {
            return true;
        }
    }
    return false;
}

/* ---- combinations ---- */

static int all_check(const struct node *n, json_t *v, struct err *e, struct walk *w)
{
    for (size_t i = 0; i < n->all.n; i++) {
        if (node_check(n->all.v[i], v, e, w) != 0) {
            return PREFIX(e, "allOf %zu failed: ", i + 1);
        }
    }
    return 0;
}

static int any_check(const struct node *n, json_t *v, struct err *e, struct walk *w)
{
    for (size_t i = 0; i < n->any.n; i++) {
        if (node_check(n->any.v[i], v, NULL, w) == 0) {
            return 0;
        }
    }
    return n->any.n > 0 ? FAIL(e, "object matches none of the required%s", n->any_words) : 0;
}

static int one_check(const struct node *n, json_t *v, struct err *e, struct walk *w)
{
    size_t matched = 0;

    for (size_t i = 0; i < n->one.n; i++) {
        if (node_check(n->one.v[i], v, NULL, w) != 0) {
            continue;
        }
        if (matched != 0) {
            return FAIL(e,
                        "value should match only one schema, but matches both schemas %zu and %zu",
                        matched, i + 1);
        }
        matched = i + 1;
    }
    return n->one.n > 0 && matched == 0
               ? FAIL(e, "value should match only one schema, but matches none")
               : 0;
}

static int if_check(const struct node *n, json_t *v, struct err *e, struct walk *w)
{
    if (n->cond == NULL) {
        return 0;
    }
    const bool yes = node_check(n->cond, v, NULL, w) == 0;
    const struct node *clause = yes ? n->then : n->otherwise;

    if (clause != NULL && node_check(clause, v, NULL, w) != 0) {
        return FAIL(e, "%s clause did not match", yes ? "then" : "else");
    }
    return 0;
}

static int contains_check(const struct node *n, json_t *v, struct err *e, struct walk *w)
{
    const size_t size = json_array_size(v);

    if (json_is_array(v) || json_is_object(v)) {
        if ((types_of(v) & (TYPE_OBJECT | TYPE_ARRAY)) == (TYPE_OBJECT | TYPE_ARRAY)) {
            return FAIL(e, "check contains: empty array is invalid");
        }
    }
    for (size_t i = 0; i < size; i++) {
        if (node_check(n->contains, json_array_get(v, i), NULL, w) == 0) {
            return 0;
        }
    }
    return size > 0 ? FAIL(e, "failed to check contains") : 0;
}

static int combinations_check(const struct node *n, json_t *v, struct err *e, struct walk *w)
{
    if (all_check(n, v, e, w) != 0 || any_check(n, v, e, w) != 0 || one_check(n, v, e, w) != 0 ||
        if_check(n, v, e, w) != 0) {
        return -1;
    }
    if (n->not != NULL && node_check(n->not, v, NULL, w) == 0) {
        return FAIL(e, "value wasn't supposed to match schema");
    }
    return 0;
}

/* ---- one schema ---- */

/* The rules for values of one type; at most one group of them applies, but objects and arrays share
 * the empty value. */
static int content_check(const struct node *n, json_t *v, struct err *e, struct walk *w)
{
    if (n->object != NULL && object_check(n->object, v, e, w) != 0) {
        return -1;
    }
    if (n->array != NULL && array_check(n->array, v, e, w) != 0) {
        return -1;
    }
    if (n->string != NULL && json_is_string(v) && string_check(n->string, v, e) != 0) {
        return -1;
    }
    if (n->number != NULL && json_is_number(v) && number_check(n->number, v, e) != 0) {
        return -1;
    }
    return 0;
}

/* All the rules of one schema, in order. */
static int rules_check(const struct node *n, json_t *v, struct err *e, struct walk *w)
{
    if (type_check(n, v, e) != 0 || content_check(n, v, e, w) != 0) {
        return -1;
    }
    if (n->choices != NULL && !is_choice(n->choices, v)) {
        return FAIL(e, "matches none of the enum values");
    }
    if (combinations_check(n, v, e, w) != 0) {
        return -1;
    }
    if (n->format != FORMAT_NONE && json_is_string(v) && format_check(n->format, v, e) != 0) {
        return -1;
    }
    if (n->constant != NULL && !json_same(n->constant, v)) {
        return FAIL(e, "failed to check const value");
    }
    return n->contains != NULL ? contains_check(n, v, e, w) : 0;
}

static int node_check(const struct node *n, json_t *v, struct err *e, struct walk *w)
{
    if (n->kind != NODE_RULES) {
        return n->kind == NODE_ANYTHING ? 0 : FAIL(e, "expect false always");
    }
    if (json_is_string(v) && takes_secret_refs(n) && is_secret_ref(v)) {
        return 0;
    }
    if (w->depth == DEPTH_MAX || w->steps == STEPS_MAX) {
        w->stop =
            w->depth == DEPTH_MAX ? "schemas are nested too deeply" : "checking takes too long";
    }
    if (w->stop != NULL) {
        return FAIL(e, "%s", w->stop);
    }
    w->depth++;
    w->steps++;
    const int rc = rules_check(n, v, e, w);

    w->depth--;
    return rc;
}

int jschema_check(const struct jschema *s, json_t *v, struct err *e)
{
    struct walk w = {.stop = NULL};
    const bool fresh = !err_is_set(e);
    const int rc = node_check(s->root, v, e, &w);

    if (w.stop == NULL) {
        return rc;
    }
    /* Not what some rule made of it on the way up. */
    if (fresh) {
        e->msg[0] = 0;
    }
    return err_set(e, "%s", w.stop);
}
