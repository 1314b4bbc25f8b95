/* SPDX-License-Identifier: Apache-2.0 */
/* route: which requests are meant, and what happens to them. */
#include "config/resource_priv.h"
#include "proto/h1.h"

struct route_json {
    struct str name, uri, host, remote_addr, filter_func, plugin_config_id, service_id, upstream_id;
    struct arr uris, hosts, remote_addrs, methods;
    int64_t priority, status;
    bool has_timeout;
    struct timeout_json timeout;
    const json_t *vars, *plugins;
    struct opt_bool enable_websocket;
};

/* clang-format off */
#define ADDRESS_SCHEMA                                                                             \
    JSON({"type": "string", "anyOf": [                                                             \
        {"title": "IPv4", "type": "string", "format": "ipv4"},                                     \
        {"title": "IPv4/CIDR", "type": "string", "pattern":                                        \
            "^([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])\\.([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])\\.([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])\\.([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])/([12]?[0-9]|3[0-2])$"}, \
        {"title": "IPv6", "type": "string", "format": "ipv6"},                                     \
        {"title": "IPv6/CIDR", "type": "string", "pattern":                                        \
            "^([a-fA-F0-9]{0,4}:){1,8}(:[a-fA-F0-9]{0,4}){0,8}([a-fA-F0-9]{0,4})?/[0-9]{1,3}$"}    \
    ]})
/* clang-format on */

static const char *const methods[] = {"GET",     "POST",    "PUT",   "DELETE", "PATCH", "HEAD",
                                      "OPTIONS", "CONNECT", "TRACE", "PURGE",  NULL};

static const struct field route_fields[] = {
    FIELD_ID,
    FIELD_TIMES,
    FIELD_DESC,
    FIELD_LABELS,
    F_STR(struct route_json, name, .min_len = 1, .max_len = 256, .doc = "For people."),
    F_STR(struct route_json, uri, .min_len = 1, .max_len = 4096,
          .doc = "Path; ends in * for a prefix."),
    F_ARR(struct route_json, uris, .item = &(const struct field){F_ITEM(FK_STR)}, .min_len = 1,
          .unique = true, .doc = "Several paths."),
    F_STR(struct route_json, host, .pattern = HOST_PATTERN, .doc = "Host name; may begin with *."),
    F_ARR(struct route_json, hosts,
          .item = &(const struct field){F_ITEM(FK_STR, .pattern = HOST_PATTERN)}, .min_len = 1,
          .unique = true, .doc = "Several host names."),
    F_STR(struct route_json, remote_addr, .raw = ADDRESS_SCHEMA,
          .doc = "Address or block of the client."),
    F_ARR(struct route_json, remote_addrs,
          .item = &(const struct field){F_ITEM(FK_STR, .raw = ADDRESS_SCHEMA)}, .min_len = 1,
          .unique = true, .doc = "Several addresses or blocks."),
    F_ARR(struct route_json, methods,
          .item = &(const struct field){F_ITEM(FK_STR, .choices = methods)}, .unique = true,
          .doc = "Methods; all when empty."),
    F_INT(struct route_json, priority, .def = "0",
          .doc = "Among routes with the same path the higher one is tried first."),
    F_JSON(struct route_json, vars, .raw = JSON({"type": "array"}),
           .doc = "Expression over variables."),
    F_STR(struct route_json, filter_func, .min_len = 10, .pattern = "^function",
          .doc = "Lua function of the variables that says whether a request matches."),
    F_ONLY("script", .raw = JSON({"type": "string", "minLength": 10, "maxLength": 102400}),
           .doc = "Lua instead of plugins."),
    F_ONLY("script_id", .raw = ID_SCHEMA, .doc = "Mark of tools that write scripts."),
    F_JSON(struct route_json, plugins, .raw = PLUGINS_SCHEMA, .doc = "Plugins by name."),
    F_STR(struct route_json, plugin_config_id, .raw = ID_SCHEMA,
          .doc = "Plugin config to take plugins from."),
    F_STR(struct route_json, service_id, .raw = ID_SCHEMA, .doc = "Service this route belongs to."),
    F_STR(struct route_json, upstream_id, .raw = ID_SCHEMA, .doc = "Upstream requests go to."),
    F_OBJ(struct route_json, timeout, timeout_fields,
          .present = offsetof(struct route_json, has_timeout),
          .doc = "Seconds to connect, send and read; before those of the upstream."),
    F_BOOL(struct route_json, enable_websocket, .doc = "Let clients upgrade to WebSocket."),
    F_INT(struct route_json, status, .def = "1", .extra = JSON({"enum": [1, 0]}),
          .doc = "0 switches the route off."),
    F_END,
};
/* clang-format off */
#define ROUTE_EXTRA                                                                                \
    JSON({"allOf": [                                                                               \
        {"oneOf": [{"required": ["uri"]}, {"required": ["uris"]}]},                                \
        {"oneOf": [{"not": {"anyOf": [{"required": ["host"]}, {"required": ["hosts"]}]}},          \
                   {"required": ["host"]}, {"required": ["hosts"]}]},                              \
        {"oneOf": [{"not": {"anyOf": [{"required": ["remote_addr"]}, {"required": ["remote_addrs"]}]}}, \
                   {"required": ["remote_addr"]}, {"required": ["remote_addrs"]}]}                 \
    ], "anyOf": [                                                                                  \
        {"required": ["plugins", "uri"]}, {"required": ["upstream", "uri"]},                       \
        {"required": ["upstream_id", "uri"]}, {"required": ["service_id", "uri"]},                 \
        {"required": ["plugins", "uris"]}, {"required": ["upstream", "uris"]},                     \
        {"required": ["upstream_id", "uris"]}, {"required": ["service_id", "uris"]},               \
        {"required": ["script", "uri"]}, {"required": ["script", "uris"]}                          \
    ], "not": {"anyOf": [{"required": ["script", "plugins"]}, {"required": ["script", "plugin_config_id"]}]}})
/* clang-format on */

static int route_before(const struct check *c)
{
    if (json_get(c->value, "host") && json_get(c->value, "hosts")) {
        return err_set(c->e, "only one of host or hosts is allowed");
    }
    if (json_get(c->value, "remote_addr") && json_get(c->value, "remote_addrs")) {
        return err_set(c->e, "only one of remote_addr or remote_addrs is allowed");
    }
    return 0;
}

static int check_vars(const struct check *c)
{
    const json_t *vars = json_get(c->value, "vars");

    if (vars == NULL) {
        return 0;
    }
    struct arena *a = arena_new(512);
    const bool ok = expr_new(a, vars, c->e) != NULL;
    arena_free(a);
    return ok ? 0 : err_prefix(c->e, "failed to validate the 'vars' expression: ");
}

static const struct lua_fn *filter_func_new(struct arena *a, struct str id, struct str source,
                                            struct err *e)
{
    return lua_fn_new(a, "filter_func", arena_cat(a, STR("route "), id), source, e);
}

static int check_filter_func(const struct check *c)
{
    struct str source = json_str(json_get(c->value, "filter_func"));

    if (str_is_none(source)) {
        return 0;
    }
    struct arena *a = arena_new(512);
    const bool ok = filter_func_new(a, c->id, source, c->e) != NULL;
    arena_free(a);
    return ok ? 0 : -1;
}

static int route_after(const struct check *c)
{
    if (check_inline_upstream(c) != 0 ||
        check_reference(c, K_UPSTREAM, "upstream_id", "upstream") != 0 ||
        check_reference(c, K_SERVICE, "service_id", "service") != 0 ||
        check_reference(c, K_PLUGIN_CONFIG, "plugin_config_id", "plugin config") != 0 ||
        plugins_check(json_get(c->value, "plugins"), PLUGINS_OF_TRAFFIC, c->e) != 0 ||
        check_vars(c) != 0 || check_filter_func(c) != 0) {
        return -1;
    }
    return check_no_script(c);
}

/* `one` or the `many` of a property that has both forms, as an array. */
static const struct str *texts_of(struct arena *a, struct str one, const struct arr *many,
                                  unsigned *n)
{
    if (str_is_none(one)) {
        *n = (unsigned)many->n;
        return many->v;
    }
    struct str *v = ARENA_NEW(a, struct str);
    *v = one;
    *n = 1;
    return v;
}

static void hosts_build(struct arena *a, const struct route_json *j, struct route *r)
{
    const struct str *given = texts_of(a, j->host, &j->hosts, &r->n_hosts);
    struct str *v = r->n_hosts > 0 ? ARENA_ARRAY(a, struct str, r->n_hosts) : NULL;

    for (unsigned i = 0; i < r->n_hosts; i++) {
        v[i] = arena_lower(a, given[i]);
    }
    r->hosts = v;
}

static int addresses_build(struct arena *a, const struct route_json *j, struct route *r,
                           struct err *e)
{
    const struct str *given = texts_of(a, j->remote_addr, &j->remote_addrs, &r->n_remote_addrs);
    struct cidr *v = r->n_remote_addrs > 0 ? ARENA_ARRAY(a, struct cidr, r->n_remote_addrs) : NULL;

    for (unsigned i = 0; i < r->n_remote_addrs; i++) {
        if (!cidr_parse(given[i], &v[i])) {
            return err_set(e, "invalid remote_addr: %.*s", STR_ARG(given[i]));
        }
    }
    r->remote_addrs = v;
    return 0;
}

static uint32_t methods_build(const struct arr *names)
{
    const struct str *v = names->v;
    uint32_t bits = 0;

    for (size_t i = 0; i < names->n; i++) {
        bits |= 1U << http_method_of(v[i]);
    }
    return bits;
}

/* What may fail. */
static int route_compile(struct arena *a, struct str id, const json_t *value,
                         const struct route_json *j, struct route *r, struct err *e)
{
    if (json_array_size(j->vars) > 0) {
        r->vars = expr_new(a, j->vars, e);
        if (r->vars == NULL) {
            return -1;
        }
    }
    if (!str_is_none(j->filter_func)) {
        r->filter_func = filter_func_new(a, id, j->filter_func, e);
        if (r->filter_func == NULL) {
            return -1;
        }
    }
    if (addresses_build(a, j, r, e) != 0 ||
        plugins_build(a, j->plugins, PLUGINS_OF_TRAFFIC, &r->plugins, e) != 0) {
        return -1;
    }
    return build_inline_upstream(a, "routes", id, value, &r->upstream, e);
}

static struct object *route_build(struct arena *a, struct str id, const json_t *value,
                                  struct err *e)
{
    struct route *r = ARENA_NEW(a, struct route);
    struct route_json j = {0};

    fields_fill(route_fields, value, &j, a);
    r->name = j.name;
    r->uris = texts_of(a, j.uri, &j.uris, &r->n_uris);
    hosts_build(a, &j, r);
    r->methods = methods_build(&j.methods);
    r->priority = j.priority;
    r->enabled = j.status == 1;
    r->plugin_config_id = j.plugin_config_id;
    r->service_id = j.service_id;
    r->upstream_id = j.upstream_id;
    r->has_timeout = j.has_timeout;
    r->timeout = timeouts_of(&j.timeout);
    r->enable_websocket = j.enable_websocket;
    return route_compile(a, id, value, &j, r, e) == 0 ? &r->o : NULL;
}

const struct resource_type route_type = {
    .fields = route_fields,
    .extra = ROUTE_EXTRA,
    .has_upstream = true,
    .has_id = true,
    .before = route_before,
    .after = route_after,
    .build = route_build,
};
