/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plugin_metadata: what a plugin needs to know once, whoever uses it. The id is the plugin's name,
 * and the schema is the plugin's; a plugin that has none takes anything.
 */
#include "config/resource_priv.h"

static int plugin_metadata_after(const struct check *c)
{
    const struct plugin *p = config_hooks.plugin_find(c->id);

    if (p == NULL) {
        return err_set(c->e, "invalid plugin name");
    }
    /* The id is the store's, not the plugin's. */
    if (str_eq(json_str(json_get(c->value, "id")), c->id)) {
        json_object_del(c->value, "id");
    }
    if (config_hooks.plugin_check(p, CONF_METADATA, c->value, c->e) != 0) {
        return err_prefix(c->e, "invalid configuration: ");
    }
    return 0;
}

static struct object *plugin_metadata_build(struct arena *a, struct str id, const json_t *value,
                                            struct err *e)
{
    struct plugin_metadata *o = ARENA_NEW(a, struct plugin_metadata);
    bool unresolved;

    o->plugin = config_hooks.plugin_find(id);
    o->conf = config_hooks.plugin_build(o->plugin, CONF_METADATA,
                                        secret_refs_resolve(a, value, &unresolved), a, e);
    return o->conf != NULL || !err_is_set(e) ? &o->o : NULL;
}

const struct resource_type plugin_metadata_type = {
    .after = plugin_metadata_after,
    .build = plugin_metadata_build,
};
