/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* vars: variables for tests of expressions and templates. The subject is a list of names and values
 * that ends with a NULL name. */
#include "schema/var.h"

#include "t.h"

struct test_var {
    const char *name;
    struct value value;
};
#define V_STR(text)                                                                                \
    {                                                                                              \
        .kind = VALUE_STR, .s = STR_INIT(text)                                                     \
    }
#define V_NUM(n_)                                                                                  \
    {                                                                                              \
        .kind = VALUE_NUM, .num = (n_)                                                             \
    }
#define V_BOOL(b_)                                                                                 \
    {                                                                                              \
        .kind = VALUE_BOOL, .num = (b_)                                                            \
    }

static inline struct var test_var_compile(struct arena *a, struct str name)
{
    return (struct var){.name = arena_str(a, name)};
}

static inline struct value test_var_get(void *subject, const struct var *v)
{
    for (const struct test_var *t = subject; t->name != NULL; t++) {
        if (str_eq(str_c(t->name), v->name)) {
            return t->value;
        }
    }
    return (struct value){.kind = VALUE_NONE};
}

static const struct var_table test_vars = {.compile = test_var_compile, .get = test_var_get};
