/* SPDX-License-Identifier: Apache-2.0 */
/* global_rule: plugins that run for every request. */
#include "config/resource_priv.h"

struct global_rule_json {
    const json_t *plugins;
};

static const struct field global_rule_fields[] = {
    FIELD_ID_REQUIRED,
    FIELD_TIMES,
    F_JSON(struct global_rule_json, plugins, .required = true, .raw = PLUGINS_SCHEMA,
           .doc = "Plugins by name."),
    F_END,
};

static int global_rule_after(const struct check *c)
{
    return plugins_check(json_get(c->value, "plugins"), PLUGINS_OF_TRAFFIC, c->e);
}

static struct object *global_rule_build(struct arena *a, struct str id, const json_t *value,
                                        struct err *e)
{
    struct global_rule *o = ARENA_NEW(a, struct global_rule);
    struct global_rule_json j = {0};

    fields_fill(global_rule_fields, value, &j, a);
    return plugins_build(a, j.plugins, PLUGINS_OF_TRAFFIC, &o->plugins, e) == 0 ? &o->o : NULL;
}

const struct resource_type global_rule_type = {
    .fields = global_rule_fields,
    .has_id = true,
    .after = global_rule_after,
    .build = global_rule_build,
};
