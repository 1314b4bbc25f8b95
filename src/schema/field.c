/* SPDX-License-Identifier: Apache-2.0 */
/*
 * field: from a table of fields to a JSON Schema, and from checked JSON to a struct.
 *
 * Tables are part of the program, so JSON text in them that does not parse is a bug and ends the
 * process.
 */
#include "schema/field.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- printing the schema ---- */

static json_t *table_json(const char *text)
{
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);

    ASSERT(v != NULL);
    return v;
}

/* JSON Merge Patch (RFC 7396): objects are merged, null removes, anything else replaces. */
static void merge(json_t *into, const json_t *patch)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)patch, key, value) {
        json_t *old = json_object_get(into, key);

        if (json_is_null(value)) {
            json_object_del(into, key);
        } else if (json_is_object(value) && json_is_object(old)) {
            merge(old, value);
        } else {
            json_object_set_new(into, key, json_deep_copy(value));
        }
    }
}

static void merge_text(json_t *into, const char *text)
{
    if (text != NULL) {
        json_t *patch = table_json(text);

        ASSERT(json_is_object(patch));
        merge(into, patch);
        json_decref(patch);
    }
}

static void put_text(json_t *o, const char *key, const char *text)
{
    if (text != NULL) {
        json_object_set_new(o, key, json_string(text));
    }
}

static void put_number(json_t *o, const char *key, double v)
{
    if (!isnan(v)) {
        bool whole = fabs(v) < 9e15 && floor(v) == v;

        json_object_set_new(o, key, whole ? json_integer((json_int_t)v) : json_real(v));
    }
}

static void put_count(json_t *o, const char *key, int64_t n)
{
    if (n >= 0) {
        json_object_set_new(o, key, json_integer(n));
    }
}

static void put_choices(json_t *o, const char *const *choices)
{
    if (choices != NULL) {
        json_t *list = json_array();

        for (; *choices != NULL; choices++) {
            json_array_append_new(list, json_string(*choices));
        }
        json_object_set_new(o, "enum", list);
    }
}

/* The name JSON Schema has for a kind; NULL when a field of this kind may hold anything. */
static const char *type_name(enum field_kind k)
{
    switch (k) {
    case FK_INT:
    case FK_OPT_INT:
        return "integer";
    case FK_NUM:
    case FK_OPT_NUM:
        return "number";
    case FK_BOOL:
    case FK_OPT_BOOL:
        return "boolean";
    case FK_STR:
        return "string";
    case FK_ARR:
        return "array";
    case FK_OBJ:
        return "object";
    case FK_JSON:
    case FK_SCHEMA_ONLY:
    case FK_END:
        break;
    }
    return NULL;
}

/* What min_len and max_len are called for a kind. */
static void put_lengths(json_t *o, const struct field *f)
{
    if (f->kind == FK_ARR) {
        put_count(o, "minItems", f->min_len);
        put_count(o, "maxItems", f->max_len);
    } else if (f->kind == FK_OBJ) {
        put_count(o, "minProperties", f->min_len);
        put_count(o, "maxProperties", f->max_len);
    } else {
        put_count(o, "minLength", f->min_len);
        put_count(o, "maxLength", f->max_len);
    }
}

/* type, properties, required and additionalProperties of an object with these fields, into o. */
static void put_object(json_t *o, const struct field *fields, bool closed);

static json_t *field_schema(const struct field *f)
{
    if (f->raw != NULL) {
        return table_json(f->raw);
    }
    json_t *o = json_object();

    put_text(o, "type", type_name(f->kind));
    if (f->kind == FK_OBJ) {
        put_object(o, f->sub, f->closed);
    } else if (f->kind == FK_ARR && f->sub != NULL) {
        json_t *item = json_object();

        put_object(item, f->sub, f->closed);
        json_object_set_new(o, "items", item);
    } else if (f->kind == FK_ARR && f->item != NULL) {
        json_object_set_new(o, "items", field_schema(f->item));
    }
    put_text(o, "title", f->title);
    if (f->def != NULL) {
        json_object_set_new(o, "default", table_json(f->def));
    }
    put_number(o, "minimum", f->min);
    put_number(o, "maximum", f->max);
    put_number(o, "exclusiveMinimum", f->min_excl);
    put_number(o, "exclusiveMaximum", f->max_excl);
    put_lengths(o, f);
    put_text(o, "pattern", f->pattern);
    put_text(o, "format", f->format);
    put_choices(o, f->choices);
    if (f->unique) {
        json_object_set_new(o, "uniqueItems", json_true());
    }
    merge_text(o, f->extra);
    return o;
}

static void put_object(json_t *o, const struct field *fields, bool closed)
{
    json_object_set_new(o, "type", json_string("object"));
    if (fields != NULL) {
        json_t *properties = json_object(), *required = json_array();

        for (const struct field *f = fields; f->kind != FK_END; f++) {
            json_object_set_new(properties, f->name, field_schema(f));
            if (f->required) {
                json_array_append_new(required, json_string(f->name));
            }
        }
        json_object_set_new(o, "properties", properties);
        if (json_array_size(required) > 0) {
            json_object_set(o, "required", required);
        }
        json_decref(required);
    }
    if (closed) {
        json_object_set_new(o, "additionalProperties", json_false());
    }
}

json_t *fields_schema(const struct field *fields, bool closed, const char *extra)
{
    json_t *o = json_object();

    put_object(o, fields, closed);
    merge_text(o, extra);
    return o;
}

/* ---- filling the struct ---- */

static int64_t json_to_int(const json_t *v)
{
    if (json_is_real(v)) {
        const double d = json_real_value(v);

        /* Casting what does not fit is undefined. */
        return d >= 9.2e18 ? INT64_MAX : d <= -9.2e18 ? INT64_MIN : (int64_t)d;
    }
    return json_integer_value(v);
}

/* A string, or a number where the schema takes both (ids): the number's text. */
static struct str json_to_text(const json_t *v, struct arena *a)
{
    if (json_is_integer(v)) {
        return arena_printf(a, "%lld", (long long)json_integer_value(v));
    }
    if (json_is_real(v)) {
        return arena_printf(a, "%.14g", json_real_value(v));
    }
    return json_str(v);
}

static size_t kind_size(const struct field *f)
{
    switch (f->kind) {
    case FK_INT:
        return sizeof(int64_t);
    case FK_OPT_INT:
        return sizeof(struct opt_int);
    case FK_NUM:
        return sizeof(double);
    case FK_OPT_NUM:
        return sizeof(struct opt_num);
    case FK_BOOL:
        return sizeof(bool);
    case FK_OPT_BOOL:
        return sizeof(struct opt_bool);
    case FK_STR:
        return sizeof(struct str);
    case FK_ARR:
        return sizeof(struct arr);
    case FK_OBJ:
        return f->item_size;
    case FK_JSON:
        return sizeof(const json_t *);
    case FK_SCHEMA_ONLY:
    case FK_END:
        break;
    }
    return 0;
}

static void value_fill(const struct field *f, const json_t *v, void *member, struct arena *a);

static void array_fill(const struct field *f, const json_t *v, struct arr *out, struct arena *a)
{
    /* An array described neither by sub nor by item keeps its values as JSON. */
    static const struct field any = {F_ITEM(FK_JSON)};
    const struct field *item = f->item != NULL ? f->item : &any;
    const size_t size = f->sub != NULL ? f->item_size : kind_size(item);

    /* {} stands for no items, as [] does. */
    out->n = json_array_size(v);
    out->v = out->n > 0 ? arena_alloc(a, size * out->n) : NULL;
    for (size_t i = 0; i < out->n; i++) {
        void *p = (char *)out->v + i * size;

        if (f->sub != NULL) {
            fields_fill(f->sub, json_array_get(v, i), p, a);
        } else {
            value_fill(item, json_array_get(v, i), p, a);
        }
    }
}

static void value_fill(const struct field *f, const json_t *v, void *member, struct arena *a)
{
    switch (f->kind) {
    case FK_INT:
        *(int64_t *)member = json_to_int(v);
        break;
    case FK_OPT_INT:
        *(struct opt_int *)member = (struct opt_int){true, json_to_int(v)};
        break;
    case FK_NUM:
        *(double *)member = json_number_value(v);
        break;
    case FK_OPT_NUM:
        *(struct opt_num *)member = (struct opt_num){true, json_number_value(v)};
        break;
    case FK_BOOL:
        *(bool *)member = json_is_true(v);
        break;
    case FK_OPT_BOOL:
        *(struct opt_bool *)member = (struct opt_bool){true, json_is_true(v)};
        break;
    case FK_STR:
        *(struct str *)member = json_to_text(v, a);
        break;
    case FK_ARR:
        array_fill(f, v, member, a);
        break;
    case FK_OBJ:
        if (f->sub != NULL) {
            fields_fill(f->sub, v, member, a);
        }
        break;
    case FK_JSON:
        *(const json_t **)member = v;
        break;
    case FK_SCHEMA_ONLY:
    case FK_END:
        break;
    }
}

static void json_drop(void *v)
{
    json_decref(v);
}

/* The default as a value that lives as long as the arena. */
static const json_t *default_new(const struct field *f, struct arena *a)
{
    json_t *v = table_json(f->def);

    arena_on_reset(a, json_drop, v);
    return v;
}

/* Defaults of scalars, which nearly all are: without a JSON value. */
static bool default_fill_scalar(const struct field *f, void *member)
{
    switch (f->kind) {
    case FK_INT:
        *(int64_t *)member = strtoll(f->def, NULL, 10);
        return true;
    case FK_OPT_INT:
        *(struct opt_int *)member = (struct opt_int){true, strtoll(f->def, NULL, 10)};
        return true;
    case FK_NUM:
        *(double *)member = strtod(f->def, NULL);
        return true;
    case FK_OPT_NUM:
        *(struct opt_num *)member = (struct opt_num){true, strtod(f->def, NULL)};
        return true;
    case FK_BOOL:
        *(bool *)member = f->def[0] == 't';
        return true;
    case FK_OPT_BOOL:
        *(struct opt_bool *)member = (struct opt_bool){true, f->def[0] == 't'};
        return true;
    case FK_STR:
    case FK_ARR:
    case FK_OBJ:
    case FK_JSON:
    case FK_SCHEMA_ONLY:
    case FK_END:
        break;
    }
    return false;
}

void fields_fill(const struct field *fields, const json_t *v, void *out, struct arena *a)
{
    for (const struct field *f = fields; f->kind != FK_END; f++) {
        void *member = (char *)out + f->offset;
        const json_t *value = json_object_get(v, f->name);

        if (f->kind == FK_SCHEMA_ONLY) {
            continue;
        }
        if (value == NULL && f->def != NULL && !default_fill_scalar(f, member)) {
            value = default_new(f, a);
        }
        if (f->present != SIZE_MAX) {
            *(bool *)((char *)out + f->present) = value != NULL;
        }
        /* The fields of an absent object get their defaults too, so that code may read them. */
        if (value != NULL || f->kind == FK_OBJ) {
            value_fill(f, value, member, a);
        }
    }
}

/* ---- secrets ---- */

enum { SECRET_PATH_MAX = 256 };

static void secrets_walk(const struct field *fields, const char *prefix,
                         void (*fn)(const char *path, void *arg), void *arg)
{
    for (const struct field *f = fields; f->kind != FK_END; f++) {
        const struct field *sub = f->sub != NULL ? f->sub : f->item != NULL ? f->item->sub : NULL;
        char path[SECRET_PATH_MAX];

        if (!f->secret && sub == NULL) {
            continue;
        }
        const int n = snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", f->name);

        ASSERT(n < SECRET_PATH_MAX);
        if (f->secret) {
            fn(path, arg);
        }
        if (sub != NULL) {
            secrets_walk(sub, path, fn, arg);
        }
    }
}

void fields_secrets(const struct field *fields, void (*fn)(const char *path, void *arg), void *arg)
{
    if (fields != NULL) {
        secrets_walk(fields, "", fn, arg);
    }
}
