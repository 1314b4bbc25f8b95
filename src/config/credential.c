/* SPDX-License-Identifier: Apache-2.0 */
/* credential: one way for a consumer to prove who it is. Its id is USER/credentials/ID. */
#include "config/resource_priv.h"

struct credential_json {
    const json_t *plugins;
};

static const struct field credential_fields[] = {
    FIELD_ID,
    FIELD_TIMES,
    FIELD_DESC,
    FIELD_LABELS,
    F_ONLY("name", .raw = JSON({"type": "string", "minLength": 1, "maxLength": 256}),
           .doc = "For people."),
    F_JSON(struct credential_json, plugins, .raw = JSON({"type": "object", "maxProperties": 1}),
           .doc = "One auth plugin with what it needs to know."),
    F_END,
};

/* user and id of USER/credentials/ID; false when it is not of that form. */
static bool split_id(struct str path, struct str *user, struct str *id)
{
    static const struct str middle = STR_INIT("/credentials/");
    const ptrdiff_t at = str_find(path, middle);

    if (at <= 0) {
        return false;
    }
    *user = str_head(path, (size_t)at);
    *id = str_skip(path, (size_t)at + middle.n);
    return id->n > 0;
}

static int check_all_auth(const json_t *plugins, struct err *e)
{
    const char *name;
    json_t *conf;

    json_object_foreach((json_t *)plugins, name, conf) {
        if (!config_hooks.plugin_is_auth(config_hooks.plugin_find(str_c(name)))) {
            return err_set(e, "only supports auth type plugins in consumer credential");
        }
    }
    return 0;
}

static int credential_after(const struct check *c)
{
    json_t *plugins = json_get(c->value, "plugins");
    struct str user, id;

    if (plugins_check(plugins, PLUGINS_OF_CONSUMER, c->e) != 0) {
        return err_prefix(c->e, "invalid plugins configuration: ");
    }
    if (check_all_auth(plugins, c->e) != 0) {
        return -1;
    }
    if (split_id(c->id, &user, &id) && c->refs != NULL && c->refs->find != NULL &&
        c->refs->find(c->refs->arg, K_CONSUMER, user) == NULL) {
        return err_set(c->e, "consumer not found");
    }
    return 0;
}

static struct object *credential_build(struct arena *a, struct str id, const json_t *value,
                                       struct err *e)
{
    struct credential *o = ARENA_NEW(a, struct credential);
    struct credential_json j = {0};

    if (!split_id(id, &o->username, &o->credential_id)) {
        err_set(e, "wrong credential id: %.*s", STR_ARG(id));
        return NULL;
    }
    fields_fill(credential_fields, value, &j, a);
    return auths_build(a, id, j.plugins, &o->auths, &o->n_auths, e) == 0 ? &o->o : NULL;
}

const struct resource_type credential_type = {
    .fields = credential_fields,
    .has_id = true,
    .after = credential_after,
    .build = credential_build,
};
