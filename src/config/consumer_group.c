/* SPDX-License-Identifier: Apache-2.0 */
/* consumer_group: plugins that several consumers have in common. */
#include "config/resource_priv.h"

struct consumer_group_json {
    const json_t *plugins;
};

static const struct field consumer_group_fields[] = {
    FIELD_ID_REQUIRED,
    FIELD_TIMES,
    FIELD_DESC,
    FIELD_LABELS,
    F_ONLY("name", .raw = JSON({"type": "string", "minLength": 1, "maxLength": 256}),
           .doc = "For people."),
    F_JSON(struct consumer_group_json, plugins, .required = true, .raw = PLUGINS_SCHEMA,
           .doc = "Plugins by name."),
    F_END,
};

static int consumer_group_after(const struct check *c)
{
    return plugins_check(json_get(c->value, "plugins"), PLUGINS_OF_TRAFFIC, c->e);
}

static struct object *consumer_group_build(struct arena *a, struct str id, const json_t *value,
                                           struct err *e)
{
    struct consumer_group *o = ARENA_NEW(a, struct consumer_group);
    struct consumer_group_json j = {0};

    fields_fill(consumer_group_fields, value, &j, a);
    return plugins_build(a, j.plugins, PLUGINS_OF_TRAFFIC, &o->plugins, e) == 0 ? &o->o : NULL;
}

const struct resource_type consumer_group_type = {
    .fields = consumer_group_fields,
    .has_id = true,
    .after = consumer_group_after,
    .build = consumer_group_build,
};
