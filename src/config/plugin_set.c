/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plugin_set: the `plugins` of an object: checked with the words of the Admin API, then compiled
 * into a set sorted by name.
 *
 * A plugin that is switched off by _meta.disable stays in the set, without a conf, because it hides
 * the same plugin of a lower level.
 */
#include "base/log.h"
#include "config/resource_priv.h"

#include <stdlib.h>

/* What `_meta` holds; its shape is checked by the plugin's schema. */
struct meta_json {
    bool disable;
    struct opt_int priority;
    const json_t *filter, *error_response;
    struct str pre_function;
};
static const struct field meta_fields[] = {
    F_BOOL(struct meta_json, disable),     F_INT(struct meta_json, priority),
    F_JSON(struct meta_json, filter),      F_JSON(struct meta_json, error_response),
    F_STR(struct meta_json, pre_function), F_END,
};

static bool is_disabled(const json_t *conf)
{
    return json_is_true(json_get(json_get(conf, "_meta"), "disable"));
}

/* Which of a plugin's schemas an object of this sort uses. */
static enum conf_use use_of(const struct plugin *p, enum plugins_of of)
{
    return of == PLUGINS_OF_CONSUMER && config_hooks.plugin_is_auth(p) ? CONF_CONSUMER
                                                                       : CONF_PLUGIN;
}

static int bad_conf(const char *name, const json_t *conf, struct err *e)
{
    struct arena *a = arena_new(256);
    struct str text = json_is_null(conf) ? STR("\"userdata: NULL\"") : json_text(a, conf);

    err_set(e, "invalid plugin conf %.*s for plugin [%s]", STR_ARG(text), name);
    arena_free(a);
    return -1;
}

/* The parts of `_meta` that are code. */
static int check_meta(const char *name, const json_t *meta, struct err *e)
{
    const json_t *filter = json_get(meta, "filter");

    if (filter != NULL) {
        struct arena *a = arena_new(512);
        const bool ok = expr_new(a, filter, e) != NULL;

        arena_free(a);
        if (!ok) {
            return err_prefix(e, "failed to validate the 'vars' expression: ");
        }
    }
    if (json_get(meta, "pre_function") != NULL) {
        return err_set(
            e,
            "failed to load _meta.pre_function in plugin %s: functions are not supported in this build",
            name);
    }
    return 0;
}

static int check_one(const char *name, json_t *conf, enum plugins_of of, struct err *e)
{
    const struct plugin *p = config_hooks.plugin_find(str_c(name));

    if (!json_is_object(conf) && !json_is_array(conf)) {
        return bad_conf(name, conf, e);
    }
    if (p == NULL) {
        return err_set(e, "unknown plugin [%s]", name);
    }
    if (is_disabled(conf)) {
        struct err ignored = {0};
        /* Only for the defaults. */
        config_hooks.plugin_check(p, use_of(p, of), conf, &ignored);
        return 0;
    }
    if (config_hooks.plugin_check(p, use_of(p, of), conf, e) != 0) {
        return err_prefix(e, "failed to check the configuration of plugin %s err: ", name);
    }
    return check_meta(name, json_get(conf, "_meta"), e);
}

int plugins_check(json_t *plugins, enum plugins_of of, struct err *e)
{
    const char *name;
    json_t *conf;
    void *next;

    json_object_foreach_safe(plugins, next, name, conf) {
        /* Lua does not tell [] from {}. */
        if (json_is_array(conf) && json_array_size(conf) == 0) {
            json_object_set_new(plugins, name, json_object());
            conf = json_get(plugins, name);
        }
        if (check_one(name, conf, of, e) != 0) {
            return -1;
        }
    }
    return 0;
}

static int build_meta(struct arena *a, const json_t *conf, struct plugin_meta *out, struct err *e)
{
    const json_t *meta = json_get(conf, "_meta");
    struct meta_json m = {0};

    if (meta == NULL) {
        return 0;
    }
    fields_fill(meta_fields, meta, &m, a);
    *out = (struct plugin_meta){
        .disable = m.disable, .priority = m.priority, .error_response = json_str(m.error_response)};
    if (m.error_response != NULL && str_is_none(out->error_response)) {
        out->error_response = arena_cat(a, json_text(a, m.error_response), STR("\n"));
    }
    if (m.filter != NULL && !m.disable) {
        out->filter = expr_new(a, m.filter, e);
        return out->filter != NULL ? 0 : -1;
    }
    return 0;
}

static int build_conf(struct arena *a, const struct plugin *p, enum conf_use use,
                      const json_t *conf, const void **out, struct err *e)
{
    *out = config_hooks.plugin_build(p, use, conf, a, e);
    if (*out == NULL && err_is_set(e)) {
        return err_prefix(
            e, "failed to check the configuration of plugin %s err: ", config_hooks.plugin_name(p));
    }
    return 0;
}

static int build_one(struct arena *a, const struct plugin *p, const json_t *conf,
                     struct plugin_use *out, struct err *e)
{
    bool unresolved;

    *out = (struct plugin_use){.plugin = p, .index = config_hooks.plugin_index(p)};
    if (build_meta(a, conf, &out->meta, e) != 0) {
        return -1;
    }
    if (out->meta.disable) {
        return 0;
    }
    return build_conf(a, p, CONF_PLUGIN, secret_refs_resolve(a, conf, &unresolved), &out->conf, e);
}

static int by_name(const void *x, const void *y)
{
    const struct plugin_use *a = x, *b = y;

    return strcmp(config_hooks.plugin_name(a->plugin), config_hooks.plugin_name(b->plugin));
}

int plugins_build(struct arena *a, const json_t *plugins, enum plugins_of of,
                  struct plugin_set *out, struct err *e)
{
    struct plugin_use *v;
    const char *name;
    json_t *conf;
    unsigned n = 0;

    *out = (struct plugin_set){0};
    if (json_object_size(plugins) == 0) {
        return 0;
    }
    v = ARENA_ARRAY(a, struct plugin_use, json_object_size(plugins));
    json_object_foreach((json_t *)plugins, name, conf) {
        const struct plugin *p = config_hooks.plugin_find(str_c(name));

        if (use_of(p, of) == CONF_CONSUMER) {
            continue;
        }
        if (build_one(a, p, conf, &v[n++], e) != 0) {
            return -1;
        }
    }
    qsort(v, n, sizeof(v[0]), by_name);
    *out = (struct plugin_set){v, n};
    return 0;
}

/* The value that identifies, as the index of identities has it: "key-auth/value". STR_NONE: there
 * is none, or it cannot be resolved. */
static struct str auth_key(struct arena *a, const struct plugin *p, const json_t *conf)
{
    const char *attr = config_hooks.plugin_key_attr(p);
    struct str value = attr != NULL ? json_str(json_get(conf, attr)) : STR_NONE;

    if (!str_is_none(value)) {
        value = secret_ref_text(a, value);
    }
    return str_is_none(value)
               ? STR_NONE
               : arena_printf(a, "%s/%.*s", config_hooks.plugin_name(p), STR_ARG(value));
}

/* false: the plugin identifies nobody here. */
static bool identifies(struct arena *a, struct str owner, const struct plugin *p,
                       const json_t **conf, struct str *key)
{
    bool unresolved;

    if (!config_hooks.plugin_is_auth(p) || is_disabled(*conf)) {
        return false;
    }
    *conf = secret_refs_resolve(a, *conf, &unresolved);
    if (unresolved) {
        LOG_RATE(WARN, "%s of %.*s is left out until its secrets can be resolved",
                 config_hooks.plugin_name(p), STR_ARG(owner));
        return false;
    }
    *key = auth_key(a, p, *conf);
    return !str_is_none(*key);
}

int auths_build(struct arena *a, struct str owner, const json_t *plugins,
                const struct auth_use **out, unsigned *n, struct err *e)
{
    struct auth_use *v = json_object_size(plugins) > 0
                             ? ARENA_ARRAY(a, struct auth_use, json_object_size(plugins))
                             : NULL;
    const char *name;
    json_t *member;

    *n = 0;
    *out = v;
    json_object_foreach((json_t *)plugins, name, member) {
        const struct plugin *p = config_hooks.plugin_find(str_c(name));
        const json_t *conf = member;
        struct auth_use *u = &v[*n];

        if (!identifies(a, owner, p, &conf, &u->key)) {
            continue;
        }
        u->plugin = p;
        if (build_conf(a, p, CONF_CONSUMER, conf, &u->conf, e) != 0) {
            return -1;
        }
        (*n)++;
    }
    return 0;
}
