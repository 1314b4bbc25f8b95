/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings_yaml: YAML to JSON values over libyaml's events.
 *
 * Plain scalars follow the core schema of YAML 1.2, so that no, on and 010 are what they look like:
 * words and the number ten. Anchors and merge keys work; an alias is a copy and counts as many
 * values as it stands for, so a small file cannot become a large one.
 */
#include "base/map.h"
#include "config/settings_priv.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <yaml.h>

enum { DEPTH_MAX = 64, VALUES_MAX = 200000 };

struct loader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one */
    struct map anchors; /* name to json_t *, one reference each */
    size_t values;
    unsigned depth;
    struct err *e;
};

static int fail(struct loader *l, const char *what)
{
    return err_set(l->e, "line %zu: %s", l->event.start_mark.line + 1, what);
}

/* On to the next event. */
static int advance(struct loader *l)
{
    yaml_event_delete(&l->event);
    if (!yaml_parser_parse(&l->parser, &l->event)) {
        memset(&l->event, 0, sizeof(l->event));
        return err_set(l->e, "line %zu: %s", l->parser.problem_mark.line + 1,
                       l->parser.problem != NULL ? l->parser.problem : "not YAML");
    }
    return 0;
}

/* ---- scalars ---- */

static bool is_one_of(struct str s, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (str_eq(s, str_c(*words))) {
            return true;
        }
    }
    return false;
}

static bool all_in(struct str s, const char *set)
{
    for (size_t i = 0; i < s.n; i++) {
        if (strchr(set, s.p[i]) == NULL) {
            return false;
        }
    }
    return s.n > 0;
}

/* 0x1f and 0o17. */
static json_t *prefixed_integer(struct str s)
{
    const bool hex = str_starts(s, STR("0x"));
    char text[32];

    if (s.n < 3 || s.n >= sizeof(text) || (!hex && !str_starts(s, STR("0o"))) ||
        !all_in(str_skip(s, 2), hex ? "0123456789abcdefABCDEF" : "01234567")) {
        return NULL;
    }
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    errno = 0;
    const long long v = strtoll(text + 2, NULL, hex ? 16 : 8);
    return errno == 0 ? json_integer(v) : NULL;
}

static json_t *number_of(struct str s)
{
    struct str digits = s.n > 0 && (s.p[0] == '-' || s.p[0] == '+') ? str_skip(s, 1) : s;
    int64_t i;
    double d;

    if (all_in(digits, "0123456789") && str_to_i64(s.p[0] == '+' ? digits : s, &i)) {
        return json_integer(i);
    }
    /* A letter at the start would be a word or 0x, which the Lua rule takes too. */
    if (digits.n > 0 && strchr("0123456789.", digits.p[0]) != NULL &&
        all_in(digits, "0123456789.eE+-") && str_to_number(s, &d) && isfinite(d)) {
        return json_real(d);
    }
    return prefixed_integer(s);
}

static json_t *plain_scalar(struct str s)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL},
                             *const trues[] = {"true", "True", "TRUE", NULL},
                             *const falses[] = {"false", "False", "FALSE", NULL};

    if (is_one_of(s, nulls)) {
        return json_null();
    }
    if (is_one_of(s, trues)) {
        return json_true();
    }
    if (is_one_of(s, falses)) {
        return json_false();
    }
    json_t *number = number_of(s);
    return number != NULL ? number : json_stringn(s.p, s.n);
}

static json_t *read_scalar(struct loader *l)
{
    const char *tag = (const char *)l->event.data.scalar.tag;
    struct str s = str_of((const char *)l->event.data.scalar.value, l->event.data.scalar.length);
    json_t *v;

    if (tag != NULL && strcmp(tag, "tag:yaml.org,2002:str") != 0 && strcmp(tag, "!") != 0) {
        fail(l, "tags are not supported");
        return NULL;
    }
    if (memchr(s.p, 0, s.n) != NULL) {
        fail(l, "a NUL character");
        return NULL;
    }
    v = tag == NULL && l->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE
            ? plain_scalar(s)
            : json_stringn(s.p, s.n);
    if (v == NULL) {
        fail(l, "text that is not UTF-8");
    }
    return v;
}

/* ---- anchors ---- */

static size_t count_values(const json_t *v)
{
    const char *key;
    json_t *member;
    size_t n = 1, i;

    json_object_foreach((json_t *)v, key, member) {
        n += count_values(member);
    }
    json_array_foreach(v, i, member) {
        n += count_values(member);
    }
    return n;
}

static void set_anchor(struct loader *l, struct str name, json_t *v)
{
    json_decref(map_put(&l->anchors, name, json_incref(v)));
}

static json_t *read_alias(struct loader *l)
{
    const json_t *v = map_get(&l->anchors, str_c((const char *)l->event.data.alias.anchor));

    if (v == NULL) {
        fail(l, "an alias without an anchor before it");
        return NULL;
    }
    l->values += count_values(v);
    if (l->values > VALUES_MAX) {
        fail(l, "too many values");
        return NULL;
    }
    return json_deep_copy(v);
}

/* ---- collections ---- */

static json_t *read_value(struct loader *l);

static int read_sequence(struct loader *l, json_t *array)
{
    while (advance(l) == 0 && l->event.type != YAML_SEQUENCE_END_EVENT) {
        json_t *v = read_value(l);

        if (v == NULL) {
            return -1;
        }
        json_array_append_new(array, v);
    }
    return err_is_set(l->e) ? -1 : 0;
}

/* `<<`: the keys of a mapping, or of several, that o does not have itself. */
static int merge_keys(struct loader *l, json_t *o, const json_t *from)
{
    json_t *one;
    size_t i;

    if (json_is_object(from)) {
        json_object_update_missing(o, (json_t *)from);
        return 0;
    }
    json_array_foreach(from, i, one) {
        if (!json_is_object(one)) {
            return fail(l, "<< wants mappings");
        }
        json_object_update_missing(o, one);
    }
    return json_is_array(from) ? 0 : fail(l, "<< wants a mapping");
}

/* The key in the current event, as text; a number or word is its text. *merge: it is a plain <<. */
static int read_key(struct loader *l, char **key, bool *merge)
{
    if (l->event.type != YAML_SCALAR_EVENT) {
        return fail(l, "a key must be text");
    }
    struct str s = str_of((const char *)l->event.data.scalar.value, l->event.data.scalar.length);
    if (memchr(s.p, 0, s.n) != NULL) {
        return fail(l, "a NUL character");
    }
    *merge = str_eq(s, STR("<<")) && l->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    *key = strndup(s.p, s.n);
    return 0;
}

static int read_pair(struct loader *l, json_t *o, json_t **merged)
{
    char *key = NULL;
    bool merge = false;
    json_t *v = NULL;
    int rc = -1;

    if (read_key(l, &key, &merge) != 0) {
        return -1;
    }
    if (merge ? *merged != NULL : json_get(o, key) != NULL) {
        err_set(l->e, "line %zu: the key \"%s\" is there twice", l->event.start_mark.line + 1, key);
    } else if (advance(l) == 0 && (v = read_value(l)) != NULL) {
        if (merge) {
            *merged = v;
            rc = 0;
        } else {
            rc = json_object_set_new(o, key, v) == 0 ? 0 : fail(l, "a key that is not UTF-8");
        }
    }
    free(key);
    return rc;
}

static int read_mapping(struct loader *l, json_t *o)
{
    json_t *merged = NULL;
    int rc = 0;

    while (rc == 0 && (rc = advance(l)) == 0 && l->event.type != YAML_MAPPING_END_EVENT) {
        rc = read_pair(l, o, &merged);
    }
    if (rc == 0 && merged != NULL) {
        rc = merge_keys(l, o, merged);
    }
    json_decref(merged);
    return rc;
}

static json_t *read_collection(struct loader *l)
{
    const bool is_map = l->event.type == YAML_MAPPING_START_EVENT;
    const char *tag =
        (const char *)(is_map ? l->event.data.mapping_start.tag : l->event.data.sequence_start.tag);
    json_t *v = is_map ? json_object() : json_array();

    if (tag != NULL) {
        fail(l, "tags are not supported");
    } else if (l->depth >= DEPTH_MAX) {
        fail(l, "nested too deeply");
    } else {
        l->depth++;
        const int rc = is_map ? read_mapping(l, v) : read_sequence(l, v);
        l->depth--;
        if (rc == 0) {
            return v;
        }
    }
    json_decref(v);
    return NULL;
}

static const char *anchor_of(const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        return (const char *)ev->data.scalar.anchor;
    case YAML_MAPPING_START_EVENT:
        return (const char *)ev->data.mapping_start.anchor;
    case YAML_SEQUENCE_START_EVENT:
        return (const char *)ev->data.sequence_start.anchor;
    default: /* the rest of libyaml's events has none */
        return NULL;
    }
}

/* The value that begins with the current event. */
static json_t *read_value(struct loader *l)
{
    const char *name = anchor_of(&l->event);
    struct arena *a = NULL;
    struct str anchor = STR_NONE;
    json_t *v;

    if (++l->values > VALUES_MAX) {
        fail(l, "too many values");
        return NULL;
    }
    if (l->event.type == YAML_ALIAS_EVENT) {
        return read_alias(l);
    }
    if (name != NULL) {
        a = arena_new(64);
        anchor = arena_str(a, str_c(name));
    }
    v = l->event.type == YAML_SCALAR_EVENT ? read_scalar(l) : read_collection(l);
    if (v != NULL && name != NULL) {
        set_anchor(l, anchor, v);
    }
    arena_free(a);
    return v;
}

/* ---- documents ---- */

static json_t *read_stream(struct loader *l)
{
    json_t *v = NULL;

    if (advance(l) != 0 || advance(l) != 0) {
        return NULL;
    }
    if (l->event.type == YAML_STREAM_END_EVENT) {
        return json_null();
    }
    if (advance(l) != 0 || (v = read_value(l)) == NULL) {
        return NULL;
    }
    if (advance(l) != 0 || advance(l) != 0 ||
        (l->event.type != YAML_STREAM_END_EVENT && fail(l, "more than one document") != 0)) {
        json_decref(v);
        return NULL;
    }
    return v;
}

json_t *yaml_parse(struct str text, struct err *e)
{
    struct loader l = {.e = e};
    struct str name;
    void *v;

    if (!yaml_parser_initialize(&l.parser)) {
        err_set(e, "out of memory");
        return NULL;
    }
    yaml_parser_set_input_string(&l.parser, (const unsigned char *)text.p, text.n);
    json_t *result = read_stream(&l);
    for (size_t i = 0; map_next(&l.anchors, &i, &name, &v);) {
        json_decref(v);
    }
    map_fini(&l.anchors);
    yaml_event_delete(&l.event);
    yaml_parser_delete(&l.parser);
    return result;
}
