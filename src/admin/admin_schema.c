/* SPDX-License-Identifier: Apache-2.0 */
/* admin_schema: what the plugins and resources look like: /schema/..., /plugins/... */
#include "admin/admin_priv.h"
#include "plugin/plugin.h"

static void reply_schema(struct req *r, const json_t *schema)
{
    struct str text = json_text(r->arena, schema);

    reply_text(r, 200, arena_cat(r->arena, text, STR("\n")));
}

static void add_path(const char *path, void *arg)
{
    json_array_append_new(arg, json_string(path));
}

/* A plugin's schema as the reference shows it: with the list of what is encrypted at rest. New
 * reference; NULL when there is no schema for that use. */
static json_t *shown_schema(const struct plugin *p, enum conf_use use)
{
    json_t *schema = json_deep_copy(plugin_schema(p, use)), *secrets = json_array();

    plugin_secrets(p, use, add_path, secrets);
    if (schema && json_array_size(secrets) > 0 && !json_get(schema, "encrypt_fields")) {
        json_object_set(schema, "encrypt_fields", secrets);
    }
    json_decref(secrets);
    return schema;
}

/* `name` as a member of ?subsystem=: http, or stream (which has no plugins here). False when it has
 * answered. */
static bool read_subsystem(struct req *r, struct str *subsystem)
{
    *subsystem = req_arg(r, STR("subsystem"), NULL);
    if (str_is_none(*subsystem)) {
        *subsystem = STR("http");
    }
    if (str_eq(*subsystem, STR("http")) || str_eq(*subsystem, STR("stream"))) {
        return true;
    }
    reply_error(r, 400, "unsupported subsystem: %.*s", STR_ARG(*subsystem));
    return false;
}

static void plugin_schema_reply(struct req *r, struct str name)
{
    struct str subsystem, type = req_arg(r, STR("schema_type"), NULL);

    if (!read_subsystem(r, &subsystem)) {
        return;
    }
    bool is_http = str_eq(subsystem, STR("http"));
    const struct plugin *p = str_is_none(name) || !is_http ? NULL : plugin_find(name);
    if (!p) {
        reply_error(r, 404, "plugin not found in subsystem %.*s", STR_ARG(subsystem));
        return;
    }
    json_t *schema = shown_schema(p, str_eq(type, STR("consumer")) ? CONF_CONSUMER : CONF_PLUGIN);
    if (!schema) {
        reply_error(r, 400, "not found schema");
        return;
    }
    reply_json(r, 200, schema);
}

/* The kind whose schema is called name: the singular with underscores; plugin_metadata has none of
 * its own. */
static bool schema_kind(struct str name, enum object_kind *kind)
{
    char word[64];

    for (int k = 0; k < K_COUNT; k++) {
        snprintf(word, sizeof(word), "%s", object_kind_word((enum object_kind)k));
        for (char *p = word; *p; p++) {
            *p = *p == ' ' ? '_' : *p;
        }
        if (str_eq(str_c(word), name) && k != K_PLUGIN_METADATA) {
            *kind = (enum object_kind)k;
            return true;
        }
    }
    return false;
}

void schema_handle(struct call *c)
{
    enum object_kind kind;

    if (str_eq(c->id, STR("plugins"))) {
        plugin_schema_reply(c->r, c->sub.n > 0 ? c->sub : STR_NONE);
    } else if (schema_kind(c->id, &kind)) {
        reply_schema(c->r, resource_schema(kind));
    } else {
        reply_error(c->r, 400, "not found schema: %.*s", STR_ARG(c->id));
    }
}

/* ---- /plugins ---- */

static void set_schema(json_t *o, const char *name, const struct plugin *p, enum conf_use use)
{
    json_t *schema = shown_schema(p, use);

    if (schema) {
        json_object_set_new(o, name, schema);
    }
}

static json_t *plugin_description(const struct plugin *p)
{
    struct err e = {0};
    json_t *o = json_object();

    json_object_set_new(o, "version",
                        p->version ? json_parse(str_c(p->version), &e) : json_real(0.1));
    json_object_set_new(o, "priority", json_integer(p->priority));
    set_schema(o, "schema", p, CONF_PLUGIN);
    set_schema(o, "metadata_schema", p, CONF_METADATA);
    set_schema(o, "consumer_schema", p, CONF_CONSUMER);
    if (p->auth) {
        json_object_set_new(o, "type", json_string("auth"));
    }
    if (p->global_scope) {
        json_object_set_new(o, "scope", json_string("global"));
    }
    return o;
}

static void plugins_all(struct req *r)
{
    json_t *all = json_object();
    struct str subsystem;
    unsigned n;

    if (!read_subsystem(r, &subsystem)) {
        json_decref(all);
        return;
    }
    const struct plugin *const *plugins = plugin_by_priority(&n);
    for (unsigned i = 0; i < n && str_eq(subsystem, STR("http")); i++) {
        json_object_set_new(all, plugins[i]->name, plugin_description(plugins[i]));
    }
    reply_json(r, 200, all);
}

void plugins_handle(struct call *c)
{
    if (str_is_none(c->id) && str_eq(req_arg(c->r, STR("all"), NULL), STR("true"))) {
        plugins_all(c->r);
    } else {
        plugin_schema_reply(c->r, c->id);
    }
}

void plugins_list(struct req *r)
{
    struct str subsystem = req_arg(r, STR("subsystem"), NULL);
    bool is_http = str_is_none(subsystem) || str_eq(subsystem, STR("http"));
    json_t *names = json_array();
    unsigned n;
    const struct plugin *const *plugins = plugin_by_priority(&n);

    if (!is_http && !str_eq(subsystem, STR("stream"))) {
        json_decref(names);
        reply_text(r, 400, STR("invalid subsystem passed"));
        return;
    }
    for (unsigned i = 0; i < n && is_http; i++) {
        json_array_append_new(names, json_string(plugins[i]->name));
    }
    reply_json(r, 200, names);
}

void plugins_reload(struct req *r)
{
    struct err e = {0};

    if (r->method_id != M_PUT) {
        reply_error(r, 405,
                    "please use PUT method to reload the plugins, %.*s method is not allowed.",
                    STR_ARG(r->method));
    } else if (admin_deps.reload_plugins && admin_deps.reload_plugins(&e) != 0) {
        reply_error(r, 503, "%s", e.msg);
    } else {
        reply_text(r, 200, STR("done"));
    }
}

/* ---- /schema/validate ---- */

void schema_validate(struct req *r, struct str resource, const json_t *conf)
{
    enum object_kind kind = object_kind_of(resource);
    struct err e = {0};

    if (kind == K_COUNT) {
        reply_error(r, 404, "Unsupported resource type: %.*s", STR_ARG(resource));
    } else if (!conf) {
        reply_error(r, 400, "missing configurations");
    } else if (resource_check_schema(kind, conf, &e) != 0) {
        reply_error(r, 400, "%s", e.msg);
    } else {
        reply_text(r, 200, STR(""));
    }
}
