/* SPDX-License-Identifier: Apache-2.0 */
/* var: the table of variables that another layer installs, and values as text. */
#include "schema/var.h"

static const struct var_table *table;

void var_install(const struct var_table *t)
{
    table = t;
}

struct var var_compile(struct arena *a, struct str name)
{
    if (table == NULL) {
        return (struct var){.name = arena_str(a, name)};
    }
    return table->compile(a, name);
}

struct value var_get(void *subject, const struct var *v)
{
    return table != NULL ? table->get(subject, v) : (struct value){.kind = VALUE_NONE};
}

struct str value_text(struct arena *a, const struct value *v)
{
    switch (v->kind) {
    case VALUE_STR:
        return v->s;
    case VALUE_NUM:
        /* As many digits as Lua prints. */
        return arena_printf(a, "%.14g", v->num);
    case VALUE_BOOL:
        return v->num != 0 ? STR("true") : STR("false");
    case VALUE_NONE:
    case VALUE_LIST:
        break;
    }
    return STR_NONE;
}
