/* SPDX-License-Identifier: Apache-2.0 */
/* service: what several routes have in common. */
#include "config/hosts.h"
#include "config/resource_priv.h"

struct service_json {
    struct str name, upstream_id;
    struct arr hosts;
    const json_t *plugins;
    struct opt_bool enable_websocket;
};

static const struct field service_fields[] = {
    FIELD_ID,
    FIELD_TIMES,
    FIELD_DESC,
    FIELD_LABELS,
    F_STR(struct service_json, name, .min_len = 1, .max_len = 256, .doc = "For people."),
    F_ARR(struct service_json, hosts,
          .item = &(const struct field){F_ITEM(FK_STR, .pattern = HOST_PATTERN)}, .min_len = 1,
          .unique = true, .doc = "Host names of the routes that have none."),
    F_JSON(struct service_json, plugins, .raw = PLUGINS_SCHEMA, .doc = "Plugins by name."),
    F_STR(struct service_json, upstream_id, .raw = ID_SCHEMA, .doc = "Upstream requests go to."),
    F_ONLY("script", .raw = JSON({"type": "string", "minLength": 10, "maxLength": 102400}),
           .doc = "Lua instead of plugins."),
    F_BOOL(struct service_json, enable_websocket, .doc = "Let clients upgrade to WebSocket."),
    F_END,
};

static int service_after(const struct check *c)
{
    if (check_inline_upstream(c) != 0 ||
        check_reference(c, K_UPSTREAM, "upstream_id", "upstream") != 0 ||
        plugins_check(json_get(c->value, "plugins"), PLUGINS_OF_TRAFFIC, c->e) != 0) {
        return -1;
    }
    return check_no_script(c);
}

static void service_let_hosts_go(void *arg)
{
    struct service *s = arg;

    hosts_drop(s->hosts_owner);
}

static struct object *service_build(struct arena *a, struct str id, const json_t *value,
                                    struct err *e)
{
    struct service *s = ARENA_NEW(a, struct service);
    struct service_json j = {0};

    fields_fill(service_fields, value, &j, a);
    s->name = j.name;
    s->upstream_id = j.upstream_id;
    s->enable_websocket = j.enable_websocket;
    s->hosts_owner = hosts_new(j.hosts.v, j.hosts.n);
    arena_on_reset(a, service_let_hosts_go, s);
    s->hosts = s->hosts_owner->v;
    s->n_hosts = s->hosts_owner->n;
    if (plugins_build(a, j.plugins, PLUGINS_OF_TRAFFIC, &s->plugins, e) != 0 ||
        build_inline_upstream(a, "services", id, value, &s->upstream, e) != 0) {
        return NULL;
    }
    return &s->o;
}

const struct resource_type service_type = {
    .fields = service_fields,
    .has_upstream = true,
    .has_id = true,
    .after = service_after,
    .build = service_build,
};
