/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admin_refs: rules between objects, looked up in the live configuration. Two requests that race
 * may both pass (as in the reference): what they leave behind is a reference to nothing, which the
 * data plane answers with an error of its own.
 */
#include "admin/admin_priv.h"
#include "plugin/plugin.h"

static const struct object *find_object(void *arg, enum object_kind k, struct str id)
{
    return snapshot_find(admin_deps.current(), k, id);
}

const struct resource_refs admin_refs = {.find = find_object};

/* ---- who uses an object ---- */

struct search {
    struct str id; /* of what is to be deleted */
    bool (*uses)(const struct object *o, struct str id);
    struct str user; /* the first in id order; STR_NONE: nobody */
};

static bool search_visit(struct str key, void *value, void *arg)
{
    struct search *s = arg;

    if ((str_is_none(s->user) || str_cmp(key, s->user) < 0) && s->uses(value, s->id)) {
        s->user = key;
    }
    return true;
}

static struct str find_user(enum object_kind kind, struct str id,
                            bool (*uses)(const struct object *o, struct str id))
{
    struct search s = {.id = id, .uses = uses, .user = STR_NONE};

    pmap_each(admin_deps.current()->objects[kind], search_visit, &s);
    return s.user;
}

/* Does the object name id in its field? As text, or as the integer that some write. */
static bool names_id(const json_t *value, const char *field, struct str id)
{
    const json_t *v = json_get(value, field);
    char text[32];

    if (json_is_integer(v)) {
        snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(v));
        return str_eq(str_c(text), id);
    }
    return json_is_string(v) && str_eq(json_str(v), id);
}

#define USES(field)                                                                                \
    static bool uses_##field(const struct object *o, struct str id)                                \
    {                                                                                              \
        return names_id(o->json, #field, id);                                                      \
    }
USES(upstream_id)
USES(service_id)
USES(plugin_config_id)
USES(group_id)

static bool splits_traffic_to(const struct object *o, struct str id)
{
    const json_t *rules =
        json_get(json_get(json_get(o->json, "plugins"), "traffic-split"), "rules");
    json_t *rule, *upstream;
    size_t i, k;

    json_array_foreach(rules, i, rule) {
        json_array_foreach(json_get(rule, "weighted_upstreams"), k, upstream) {
            if (names_id(upstream, "upstream_id", id)) {
                return true;
            }
        }
    }
    return false;
}

static bool transcodes_with(const struct object *o, struct str id)
{
    return names_id(json_get(json_get(o->json, "plugins"), "grpc-transcode"), "proto_id", id);
}

/* One way of using an object of kind `used`. */
struct usage {
    enum object_kind used, user;
    bool (*uses)(const struct object *o, struct str id);
    const char *before; /* "can not delete this BEFORE, USER [ID] is still using it now" */
    const char *who;
};
static const struct usage usages[] = {
    {K_UPSTREAM, K_ROUTE, uses_upstream_id, "upstream", "route"},
    {K_UPSTREAM, K_SERVICE, uses_upstream_id, "upstream", "service"},
    {K_UPSTREAM, K_ROUTE, splits_traffic_to, "upstream", "plugin in route"},
    {K_UPSTREAM, K_SERVICE, splits_traffic_to, "upstream", "plugin in service"},
    {K_UPSTREAM, K_PLUGIN_CONFIG, splits_traffic_to, "upstream", "plugin in plugin_config"},
    {K_UPSTREAM, K_CONSUMER, splits_traffic_to, "upstream", "plugin in consumer"},
    {K_UPSTREAM, K_CONSUMER_GROUP, splits_traffic_to, "upstream", "plugin in consumer_group"},
    {K_UPSTREAM, K_GLOBAL_RULE, splits_traffic_to, "upstream", "plugin in global_rules"},
    {K_SERVICE, K_ROUTE, uses_service_id, "service directly", "route"},
    {K_PLUGIN_CONFIG, K_ROUTE, uses_plugin_config_id, "plugin config", "route"},
    {K_CONSUMER_GROUP, K_CONSUMER, uses_group_id, "consumer group", "consumer"},
    {K_PROTO, K_ROUTE, transcodes_with, "proto", "route"},
    {K_PROTO, K_SERVICE, transcodes_with, "proto", "service"},
};

int refs_check_delete(enum object_kind kind, struct str id, struct err *e)
{
    for (size_t i = 0; i < sizeof(usages) / sizeof(usages[0]); i++) {
        const struct usage *u = &usages[i];
        struct str user = u->used == kind ? find_user(u->user, id, u->uses) : STR_NONE;
        if (!str_is_none(user)) {
            return err_set(e, "can not delete this %s, %s [%.*s] is still using it now", u->before,
                           u->who, STR_ARG(user));
        }
    }
    return 0;
}

/* ---- what may be there only once ---- */

/* Is the identity the object of this kind and id itself? */
static bool is_self(const struct identity *who, enum object_kind kind, struct str id)
{
    if (kind == K_CONSUMER) {
        return !who->credential && str_eq(who->consumer->username, id);
    }
    return who->credential && str_eq(who->credential->o.id, id);
}

static int check_key(enum object_kind kind, struct str id, const struct plugin *p,
                     const json_t *conf, struct err *e)
{
    struct str key = p->key_attr ? json_str(json_get(conf, p->key_attr)) : STR_NONE;
    const struct identity *who =
        str_is_none(key) ? NULL : snapshot_identity(admin_deps.current(), p->name, key);

    if (!who || is_self(who, kind, id)) {
        return 0;
    }
    if (who->credential) {
        return err_set(
            e, "duplicate key of plugin %s found with credential: %.*s of consumer: %.*s", p->name,
            STR_ARG(who->credential->credential_id), STR_ARG(who->credential->username));
    }
    return err_set(e, "duplicate key of plugin %s found with consumer: %.*s", p->name,
                   STR_ARG(who->consumer->username));
}

static int check_keys(enum object_kind kind, struct str id, const json_t *value, struct err *e)
{
    const char *name;
    json_t *conf;

    json_object_foreach(json_get(value, "plugins"), name, conf) {
        const struct plugin *p = plugin_find(str_c(name));
        if (p && check_key(kind, id, p, conf, e) != 0) {
            return -1;
        }
    }
    return 0;
}

static int check_rule(struct str id, const json_t *value, struct err *e)
{
    const struct snapshot *s = admin_deps.current();
    const char *name;
    json_t *conf;

    for (unsigned i = 0; i < s->n_global_rules; i++) {
        const struct object *o = &s->global_rules[i]->o;
        if (str_eq(o->id, id)) {
            continue;
        }
        json_object_foreach(json_get(value, "plugins"), name, conf) {
            if (json_get(json_get(o->json, "plugins"), name)) {
                return err_set(e, "plugin '%s' already exists in global rule with id '%.*s'", name,
                               STR_ARG(o->id));
            }
        }
    }
    return 0;
}

int refs_check_unique(enum object_kind kind, struct str id, const json_t *value, struct err *e)
{
    if (kind == K_GLOBAL_RULE) {
        return check_rule(id, value, e);
    }
    return kind == K_CONSUMER || kind == K_CREDENTIAL ? check_keys(kind, id, value, e) : 0;
}
