/* SPDX-License-Identifier: Apache-2.0 */
/* plugin_config: plugins that several routes have in common. */
#include "config/resource_priv.h"

struct plugin_config_json {
    const json_t *plugins;
};

static const struct field plugin_config_fields[] = {
    FIELD_ID_REQUIRED,
    FIELD_TIMES,
    FIELD_DESC,
    FIELD_LABELS,
    F_ONLY("name", .raw = JSON({"type": "string"}), .doc = "For people."),
    F_JSON(struct plugin_config_json, plugins, .required = true, .raw = PLUGINS_SCHEMA,
           .doc = "Plugins by name."),
    F_END,
};

static int plugin_config_after(const struct check *c)
{
    return plugins_check(json_get(c->value, "plugins"), PLUGINS_OF_TRAFFIC, c->e);
}

static struct object *plugin_config_build(struct arena *a, struct str id, const json_t *value,
                                          struct err *e)
{
    struct plugin_config *o = ARENA_NEW(a, struct plugin_config);
    struct plugin_config_json j = {0};

    fields_fill(plugin_config_fields, value, &j, a);
    return plugins_build(a, j.plugins, PLUGINS_OF_TRAFFIC, &o->plugins, e) == 0 ? &o->o : NULL;
}

const struct resource_type plugin_config_type = {
    .fields = plugin_config_fields,
    .has_id = true,
    .after = plugin_config_after,
    .build = plugin_config_build,
};
