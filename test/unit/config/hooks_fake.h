/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * hooks_fake: the layers above config/, small: three plugins, and a router that is a persistent map
 * from host and uri to a route.
 *
 *   note      {"text": string, required; "count": integer, default 1}   conf: struct note_conf
 *   key-auth  consumers: {"key": string, required}                       auth, identified by key
 *   word-auth consumers: {"word": string, required}                      auth, identified by word
 *   plain     no schema for metadata
 */
#include "base/mem.h"
#include "config/hooks.h"
#include "config/pmap.h"
#include "schema/jschema.h"

#include <stdio.h>
#include <stdlib.h>

struct plugin {
    const char *name;
    unsigned index;
    bool auth;
    const char *key_attr;
    const char *schema[3]; /* by enum conf_use; NULL: accepts anything */
    struct jschema *compiled[3];
};
struct note_conf {
    struct str text;
    int64_t count;
};

/* clang-format off */
#define FAKE_META                                                                                  \
    {"type": "object", "properties": {"disable": {"type": "boolean"}, "priority": {"type": "integer"}, "filter": {"type": "array"}, \
     "error_response": {}, "pre_function": {"type": "string"}}}
#define FAKE_JSON(...) JSON(__VA_ARGS__)
static struct plugin fake_plugins[] = {
    {.name = "note", .schema = {[CONF_PLUGIN] = FAKE_JSON({"type": "object", "required": ["text"], "properties": {"_meta": FAKE_META,
        "text": {"type": "string"}, "count": {"type": "integer", "default": 1}}}),
        [CONF_METADATA] = FAKE_JSON({"type": "object", "properties": {"text": {"type": "string"}}, "maxProperties": 1})}},
    {.name = "key-auth", .index = 1, .auth = true, .key_attr = "key", .schema = {[CONF_CONSUMER] =
        FAKE_JSON({"type": "object", "required": ["key"], "properties": {"_meta": FAKE_META, "key": {"type": "string"}}})}},
    {.name = "word-auth", .index = 2, .auth = true, .key_attr = "word", .schema = {[CONF_CONSUMER] =
        FAKE_JSON({"type": "object", "required": ["word"], "properties": {"word": {"type": "string"}}})}},
    {.name = "plain", .index = 3},
};
/* clang-format on */

static const struct plugin *fake_find(struct str name)
{
    for (size_t i = 0; i < sizeof(fake_plugins) / sizeof(fake_plugins[0]); i++) {
        if (str_eq(name, str_c(fake_plugins[i].name))) {
            return &fake_plugins[i];
        }
    }
    return NULL;
}

static const char *fake_name(const struct plugin *p)
{
    return p->name;
}

static unsigned fake_index(const struct plugin *p)
{
    return p->index;
}

static bool fake_is_auth(const struct plugin *p)
{
    return p->auth;
}

static int fake_check(const struct plugin *p, enum conf_use use, json_t *conf, struct err *e)
{
    struct plugin *w = &fake_plugins[p->index];

    if (w->schema[use] == NULL) {
        return 0;
    }
    if (w->compiled[use] == NULL) {
        json_t *schema = json_loads(w->schema[use], 0, NULL);
        w->compiled[use] = jschema_new(schema, e);
        json_decref(schema);
    }
    return jschema_check(w->compiled[use], conf, e);
}

static const void *fake_build(const struct plugin *p, enum conf_use use, const json_t *conf,
                              struct arena *a, struct err *e)
{
    struct note_conf *c = ARENA_NEW(a, struct note_conf);

    (void)p, (void)use;
    c->text = json_str(json_get(conf, "text"));
    c->count = json_integer_value(json_get(conf, "count"));
    if (str_eq(c->text, STR("cannot be built"))) {
        err_set(e, "cannot be built");
        return NULL;
    }
    return c;
}

static const char *fake_key_attr(const struct plugin *p)
{
    return p->key_attr;
}

/* ---- the router: "host uri" -> route. Counts what it is asked to do. ---- */
struct router {
    unsigned refs;
    struct pmap *m;
};
static unsigned fake_router_puts, fake_router_dels;

struct fake_entry {
    unsigned refs;
    const struct route *route;
    struct str key;
    char text[];
};

static void fake_entry_hold(void *v)
{
    ((struct fake_entry *)v)->refs++;
}

static void fake_entry_drop(void *v)
{
    if (--((struct fake_entry *)v)->refs == 0) {
        free(v);
    }
}
static const struct pmap_type fake_entry_type = {fake_entry_hold, fake_entry_drop};

static struct router *fake_router_hold(struct router *r)
{
    r->refs++;
    return r;
}

static void fake_router_drop(struct router *r)
{
    if (r != NULL && --r->refs == 0) {
        pmap_drop(r->m, &fake_entry_type);
        free(r);
    }
}

static void fake_router_one(struct router *r, const struct route *route, struct str host,
                            struct str uri, bool put)
{
    char key[512];
    const int n = snprintf(key, sizeof(key), "%.*s %.*s", STR_ARG(host), STR_ARG(uri));
    struct pmap *old = r->m;

    if (put) {
        struct fake_entry *f = mem_alloc(sizeof(*f) + (size_t)n);
        f->refs = 1;
        f->route = route;
        f->key = str_of(f->text, (size_t)n);
        memcpy(f->text, key, (size_t)n);
        r->m = pmap_put(old, &fake_entry_type, f->key, f);
        fake_entry_drop(f);
    } else {
        r->m = pmap_del(old, &fake_entry_type, str_of(key, (size_t)n));
    }
    pmap_drop(old, &fake_entry_type);
}

static struct router *fake_router_change(struct router *r, const struct route *route,
                                         const struct service *service, bool put)
{
    const struct str *hosts = route->n_hosts > 0 || service == NULL ? route->hosts : service->hosts;
    const unsigned n = route->n_hosts > 0 || service == NULL ? route->n_hosts : service->n_hosts;
    struct router *next = mem_alloc(sizeof(*next));

    next->refs = 1;
    next->m = r != NULL && r->m != NULL ? pmap_hold(r->m) : NULL;
    for (unsigned u = 0; u < route->n_uris; u++) {
        for (unsigned h = 0; h < n; h++) {
            fake_router_one(next, route, hosts[h], route->uris[u], put);
        }
        if (n == 0) {
            fake_router_one(next, route, STR("-"), route->uris[u], put);
        }
    }
    return next;
}

static struct router *fake_router_put(struct router *r, const struct route *route,
                                      const struct service *service)
{
    fake_router_puts++;
    return fake_router_change(r, route, service, true);
}

static struct router *fake_router_del(struct router *r, const struct route *route,
                                      const struct service *service)
{
    fake_router_dels++;
    return fake_router_change(r, route, service, false);
}

/* The id of the route under "host uri", "" when there is none. */
static __attribute__((unused)) struct str fake_route(const struct router *r, const char *key)
{
    const struct fake_entry *f = pmap_get(r != NULL ? r->m : NULL, str_c(key));

    return f != NULL ? f->route->o.id : STR("");
}

static void fake_hooks_install(void)
{
    config_hooks = (struct config_hooks){
        .plugin_find = fake_find,
        .plugin_name = fake_name,
        .plugin_index = fake_index,
        .plugin_is_auth = fake_is_auth,
        .plugin_check = fake_check,
        .plugin_build = fake_build,
        .plugin_key_attr = fake_key_attr,
        .router_put = fake_router_put,
        .router_del = fake_router_del,
        .router_hold = fake_router_hold,
        .router_drop = fake_router_drop,
    };
}

/* Compiled schemas of the fake plugins, for the leak checker. */
static void fake_hooks_free(void)
{
    for (size_t i = 0; i < sizeof(fake_plugins) / sizeof(fake_plugins[0]); i++) {
        for (int u = 0; u < 3; u++) {
            jschema_free(fake_plugins[i].compiled[u]);
            fake_plugins[i].compiled[u] = NULL;
        }
    }
}
