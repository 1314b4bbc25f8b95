/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * jschema_priv: a compiled schema. Made by jschema_compile.c, walked by jschema.c, immutable once
 * made.
 *
 * Everything lives in the arena of the schema; JSON values (defaults, enum, const) are copies
 * dropped with it. A group of rules that the schema does not use is NULL, so most values are
 * checked by a few comparisons.
 */
#include "base/re.h"
#include "schema/jschema.h"

/* The types of JSON Schema as the reference knows them: an empty object and an empty array are the
 * same value. */
enum {
    TYPE_OBJECT = 1 << 0,
    TYPE_ARRAY = 1 << 1,
    TYPE_TABLE = 1 << 2,
    TYPE_INTEGER = 1 << 3,
    TYPE_NUMBER = 1 << 4,
    TYPE_STRING = 1 << 5,
    TYPE_BOOLEAN = 1 << 6,
    TYPE_NULL = 1 << 7,
};

/* What to do with properties or items that no other rule names. */
enum rest { REST_ANY, REST_NONE, REST_SCHEMA };

enum format { FORMAT_NONE, FORMAT_IPV4, FORMAT_IPV6, FORMAT_EMAIL, FORMAT_HOSTNAME };

struct node;

struct node_list {
    const struct node **v;
    size_t n;
};

/* `dependencies`: with key set, all of names must be there too, or schema must accept the object.
 */
struct dependency {
    const char *key;
    const char *const *names;
    size_t n;
    const struct node *schema;
};

struct prop {
    const char *key;
    const struct node *schema;
    bool required;
    const json_t *def;            /* NULL: none */
    const struct dependency *dep; /* NULL: none */
};

struct pattern_prop {
    const char *text;
    const struct re *re;
    const struct node *schema;
};

struct object_rules {
    const struct prop *props; /* in the schema's order */
    size_t n_props;
    const char **names;    /* of props, sorted */
    const char **required; /* those that are not in props */
    size_t n_required;
    bool empty_required; /* `required` names nothing: the reference then wants an empty object */
    const struct dependency *deps; /* those whose key is not in props */
    size_t n_deps;
    const struct pattern_prop *patterns;
    size_t n_patterns;
    enum rest rest;
    const struct node *rest_schema;
    int64_t min, max; /* -1: none */
};

struct array_rules {
    int64_t min, max;        /* -1: none */
    const struct node *item; /* all items; NULL: no rule, or tuple */
    struct node_list tuple;
    enum rest rest; /* after the tuple */
    const struct node *rest_schema;
    bool no_items; /* items: false */
    bool unique;
};

struct string_rules {
    int64_t min, max; /* characters; -1: none */
    const struct re *re;
    const char *pattern;
};

struct number_rules {
    double min, min_excl, max, max_excl, multiple_of; /* NAN: none */
};

enum node_kind { NODE_RULES, NODE_ANYTHING, NODE_NOTHING };

struct node {
    enum node_kind kind;
    unsigned types; /* 0: any */
    const char *type_words;
    bool type_list; /* type is an array of names */
    const struct object_rules *object;
    const struct array_rules *array;
    const struct string_rules *string;
    const struct number_rules *number;
    const json_t *choices, *constant;
    struct node_list all, any, one;
    const char *any_words; /* the end of anyOf's message */
    const struct node *cond, *then, *otherwise, *not, *contains;
    enum format format;
};

struct jschema {
    struct arena *arena;
    const struct node *root;
};

/* ---- values (jschema_value.c): equality as Lua has it ---- */

/* Numbers by value (1 is 1.0), tables by content, an empty array is an empty object. */
bool json_same(const json_t *a, const json_t *b);
/* The first pair of equal items, 0-based; false when all differ. Time is that of reading the array
 * once, plus a sort. */
bool json_find_twins(const json_t *array, size_t *first, size_t *second);
/* Unicode characters of a string. */
size_t json_str_chars(const json_t *v);
/* A number as Lua prints it; valid in out. */
const char *lua_number(double v, char out[32]);
/* s between double quotes, escaped as Lua's %q; cut to what an error message holds. Freed by
 * free(). */
char *lua_quoted(struct str s);
