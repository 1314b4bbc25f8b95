/* SPDX-License-Identifier: Apache-2.0 */
/* consumer: somebody who sends requests. */
#include "config/resource_priv.h"

struct consumer_json {
    struct str username, group_id;
    const json_t *plugins;
};

static const struct field consumer_fields[] = {
    FIELD_ID,
    FIELD_TIMES,
    FIELD_DESC,
    FIELD_LABELS,
    F_STR(struct consumer_json, username, .required = true, .min_len = 1, .max_len = 256,
          .pattern = "^[a-zA-Z0-9_\\-]+$", .doc = "Name."),
    F_STR(struct consumer_json, group_id, .raw = ID_SCHEMA,
          .doc = "Consumer group to take plugins from."),
    F_JSON(struct consumer_json, plugins, .raw = PLUGINS_SCHEMA,
           .doc = "Credentials, and plugins for requests of this consumer."),
    F_END,
};

static int consumer_after(const struct check *c)
{
    struct str username = json_str(json_get(c->value, "username"));

    if (c->id.n > 0 && !str_eq(c->id, username)) {
        return err_set(c->e, "wrong username");
    }
    if (plugins_check(json_get(c->value, "plugins"), PLUGINS_OF_CONSUMER, c->e) != 0) {
        return err_prefix(c->e, "invalid plugins configuration: ");
    }
    return check_reference(c, K_CONSUMER_GROUP, "group_id", "consumer group");
}

static struct object *consumer_build(struct arena *a, struct str id, const json_t *value,
                                     struct err *e)
{
    struct consumer *o = ARENA_NEW(a, struct consumer);
    struct consumer_json j = {0};

    fields_fill(consumer_fields, value, &j, a);
    o->username = j.username;
    o->group_id = j.group_id;
    o->custom_id = json_str(json_get(json_get(value, "labels"), "custom_id"));
    if (plugins_build(a, j.plugins, PLUGINS_OF_CONSUMER, &o->plugins, e) != 0 ||
        auths_build(a, id, j.plugins, &o->auths, &o->n_auths, e) != 0) {
        return NULL;
    }
    return &o->o;
}

const struct resource_type consumer_type = {
    .fields = consumer_fields,
    .after = consumer_after,
    .build = consumer_build,
};
