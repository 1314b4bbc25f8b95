/* SPDX-License-Identifier: Apache-2.0 */
/* global_rule: plugins that run for every request. */
#include "config/resource_priv.h"
#include "config/snapshot.h"

struct global_rule_json {
    const json_t *plugins;
};

static const struct field global_rule_fields[] = {
    FIELD_ID_REQUIRED,
    FIELD_TIMES,
    F_JSON(struct global_rule_json, plugins, .required = true, .raw = PLUGINS_SCHEMA, .doc = "Plugins by name."),
    F_END,
};

/* The plugins of the rule being checked, and the other rule that has one of them. */
struct search {
    const json_t *plugins;
    struct str id;
    const char *plugin;
    const struct object *other;
};

static bool search_rule(struct str key, void *value, void *arg)
{
    const struct object *o = value;
    struct search *s = arg;
    const char *name;
    json_t *conf;

    if (str_eq(key, s->id)) {
        return true;
    }
    json_object_foreach((json_t *)s->plugins, name, conf) {
        if (json_get(json_get(o->json, "plugins"), name) != NULL) {
            s->plugin = name;
            s->other = o;
            return false;
        }
    }
    return true;
}

static int check_alone(const struct check *c)
{
    struct search s = {.plugins = json_get(c->value, "plugins"), .id = c->id};

    if (c->refs == NULL || c->refs->snapshot == NULL) {
        return 0;
    }
    pmap_each(c->refs->snapshot->objects[K_GLOBAL_RULE], search_rule, &s);
    if (s.other == NULL) {
        return 0;
    }
    return err_set(c->e, "plugin '%s' already exists in global rule with id '%.*s'", s.plugin, STR_ARG(s.other->id));
}

static int global_rule_after(const struct check *c)
{
    return plugins_check(json_get(c->value, "plugins"), PLUGINS_OF_TRAFFIC, c->e) != 0 ? -1 : check_alone(c);
}

static struct object *global_rule_build(struct arena *a, struct str id, const json_t *value, struct err *e)
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
