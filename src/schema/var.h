/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * var: $variables, compiled from names once and read many times. What names exist is not this
 * layer's business: http/ installs the table at boot (var_install), tests install their own.
 */
#include "base/arena.h"

enum value_kind {
    VALUE_NONE, /* missing (nil) */
    VALUE_STR,
    VALUE_NUM,
    VALUE_BOOL, /* a valueless query argument is true */
    VALUE_LIST  /* graphql_root_fields, JSONPath results */
};
struct value {
    enum value_kind kind;
    struct str s; /* VALUE_STR */
    double num;   /* VALUE_NUM; VALUE_BOOL: 0 or 1 */
    const struct value *list;
    size_t n;
};

/* A compiled name. */
struct var {
    uint16_t id;
    struct str arg;  /* arg_x, http_x ...: x, in the form the reader wants (lower case, - for _) */
    struct str name; /* as written, for messages */
};

struct var_table {
    /* Compile name (arena a holds what is needed). Unknown names compile too: they are missing at
     * run time. */
    struct var (*compile)(struct arena *a, struct str name);
    /* Its value for subject (a struct req). Text is valid as long as the request. */
    struct value (*get)(void *subject, const struct var *v);
};
void var_install(const struct var_table *t);
struct var var_compile(struct arena *a, struct str name);
struct value var_get(void *subject, const struct var *v);
/* The value as text (numbers shortest, true/false; lists and missing: STR_NONE); made in arena a
 * when not text already. */
struct str value_text(struct arena *a, const struct value *v);

/*
 * tmpl: text with variables: $var, ${var}, ${var ?? default}; a missing variable is empty. A dollar
 * after a backslash is plain text, and the backslash stays, as in the reference. Immutable, in its
 * arena.
 */
struct tmpl;
struct tmpl *tmpl_new(struct arena *a, struct str text);
bool tmpl_is_plain(const struct tmpl *t);
/* Expand into arena a. resolved (may be NULL) counts the variables that were present or had a
 * default. */
struct str tmpl_expand(const struct tmpl *t, struct arena *a, void *subject, unsigned *resolved);
/* With fn applied to each variable's text and to defaults (escaping); fn may be NULL. */
struct str tmpl_expand_with(const struct tmpl *t, struct arena *a, void *subject,
                            unsigned *resolved, struct str (*fn)(struct arena *a, struct str v));
