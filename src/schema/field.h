/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * field: a table that describes one configuration object. It is the only description: it fills the
 * C struct and its defaults, validates, and prints the JSON Schema the Admin API shows and the
 * tests compare with the reference's.
 *
 *     static const struct field moved_fields[] = {
 *         F_INT(struct moved_conf, status, .def = "302", .min = 300, .max = 399, .doc = "Status
 * code of the answer."), F_STR(struct moved_conf, to, .doc = "New address; $variables are
 * expanded."), F_END,
 *     };
 *
 * Defaults are JSON text. The struct member's C type picks the kind, so a field of the wrong type
 * is a compile error: int64_t, struct opt_int      integer       double, struct opt_num number
 *   bool, struct opt_bool        boolean       struct str                   string (absent:
 * STR_NONE) struct arr                   array         any struct (F_OBJ)           object const
 * json_t *               anything (F_JSON): the value itself, borrowed from the object's JSON
 */
#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"

#include <math.h>

struct opt_int {
    bool set;
    int64_t v;
};
struct opt_num {
    bool set;
    double v;
};
struct opt_bool {
    bool set, v;
};
/* An array of n items of the C type that the item field says: ((struct str *)arr.v)[i]. */
struct arr {
    void *v;
    size_t n;
};

enum field_kind {
    FK_END,
    FK_INT,
    FK_OPT_INT,
    FK_NUM,
    FK_OPT_NUM,
    FK_BOOL,
    FK_OPT_BOOL,
    FK_STR,
    FK_ARR,
    FK_OBJ,        /* nested struct in place; `present` flag offset optional */
    FK_JSON,       /* const json_t * */
    FK_SCHEMA_ONLY /* appears in the schema, no member */
};

struct field {
    const char *name; /* JSON key */
    enum field_kind kind;
    size_t offset;             /* of the member */
    size_t item_size;          /* FK_ARR: sizeof one item; FK_OBJ: sizeof the struct */
    bool required, secret;     /* secret: listed in encrypt_fields, masked in logs */
    const char *def;           /* default, JSON text */
    double min, max;           /* minimum, maximum; NAN: none */
    double min_excl, max_excl; /* exclusiveMinimum, exclusiveMaximum; NAN: none */
    /* minLength.. of strings, minItems.. of arrays, minProperties.. of objects; -1: none */
    int64_t min_len, max_len;
    const char *pattern, *format, *title;
    const char *const *choices; /* enum of strings, NULL-terminated */
    bool unique;                /* uniqueItems */
    /* additionalProperties: false (FK_OBJ, and of the item of FK_ARR) */
    bool closed;
    const struct field *sub;  /* FK_OBJ: its fields; FK_ARR of objects: fields of the item */
    const struct field *item; /* FK_ARR: one field (name NULL, offset 0) that describes an item */
    /* JSON text: the property's whole schema, instead of all of the above */
    const char *raw;
    /* JSON text: merged into the property's schema as a JSON Merge Patch (null removes a key) */
    const char *extra;
    /* FK_OBJ: offset of a bool that says "was given (or defaulted)"; SIZE_MAX: none */
    size_t present;
    const char *doc; /* one sentence for the reference page */
};

#define F_KIND(s, m)                                                                               \
    _Generic(((s *)0)->m, int64_t: FK_INT, struct opt_int: FK_OPT_INT, double: FK_NUM,             \
             struct opt_num: FK_OPT_NUM, bool: FK_BOOL, struct opt_bool: FK_OPT_BOOL,              \
             struct str: FK_STR, struct arr: FK_ARR, const json_t *: FK_JSON)
#define F_BASE                                                                                     \
    .min = NAN, .max = NAN, .min_excl = NAN, .max_excl = NAN, .min_len = -1, .max_len = -1,        \
    .present = SIZE_MAX
/* A field whose JSON key differs from the member's name. */
#define F_AS(key, s, m, ...)                                                                       \
    {                                                                                              \
        .name = key, .kind = F_KIND(s, m), .offset = offsetof(s, m), F_BASE, __VA_ARGS__           \
    }
#define F_INT(s, m, ...) F_AS(#m, s, m, __VA_ARGS__)
#define F_NUM(s, m, ...) F_AS(#m, s, m, __VA_ARGS__)
#define F_BOOL(s, m, ...) F_AS(#m, s, m, __VA_ARGS__)
#define F_STR(s, m, ...) F_AS(#m, s, m, __VA_ARGS__)
/* An array; `.item = &(const struct field){F_ITEM(FK_STR, .min_len = 1)}`, item_size follows from
 * the item's kind. */
#define F_ARR(s, m, ...) F_AS(#m, s, m, __VA_ARGS__)
#define F_ITEM(k, ...) .kind = (k), F_BASE, __VA_ARGS__
/* An array of objects: F_ARR_OF(struct conf, rules, struct rule, rule_fields, ...) */
#define F_ARR_OF(s, m, type, fields, ...)                                                          \
    {                                                                                              \
        .name = #m, .kind = FK_ARR, .offset = offsetof(s, m), .item_size = sizeof(type),           \
        .sub = fields, F_BASE, __VA_ARGS__                                                         \
    }
/* A nested object in place. */
#define F_OBJ(s, m, fields, ...)                                                                   \
    {                                                                                              \
        .name = #m, .kind = FK_OBJ, .offset = offsetof(s, m), .item_size = sizeof(((s *)0)->m),    \
        .sub = fields, F_BASE, __VA_ARGS__                                                         \
    }
/* A property kept as JSON; `.raw` or `.extra` says its schema. */
#define F_JSON(s, m, ...) F_AS(#m, s, m, __VA_ARGS__)
/* A property that the schema knows and the struct does not need. */
#define F_ONLY(key, ...)                                                                           \
    {                                                                                              \
        .name = key, .kind = FK_SCHEMA_ONLY, F_BASE, __VA_ARGS__                                   \
    }
#define F_END                                                                                      \
    {                                                                                              \
        .kind = FK_END                                                                             \
    }
/* JSON text written as C source: JSON({"oneOf": [{"required": ["to"]}]}). No commas outside
 * brackets problem: it is variadic. */
#define JSON(...) #__VA_ARGS__

/* The JSON Schema of an object with these fields (new reference): type object, properties,
 * required, merged with extra (JSON text of an object as a Merge Patch, or NULL). closed:
 * additionalProperties false. */
json_t *fields_schema(const struct field *fields, bool closed, const char *extra);
/*
 * Fill the struct at out (zeroed by the caller) from v, which the schema has accepted and filled
 * with defaults; absent fields get their default here too. Text is borrowed from v: v must live as
 * long as out. Arrays are made in arena a.
 */
void fields_fill(const struct field *fields, const json_t *v, void *out, struct arena *a);
/* Dotted paths of the secret fields ("key", "sasl_config.password", "session.redis.password"),
 * called once for each. */
void fields_secrets(const struct field *fields, void (*fn)(const char *path, void *arg), void *arg);
