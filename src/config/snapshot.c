/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot: from one configuration to the next.
 *
 * A change is: build the object, unlink the old one from what depends on it (router, identities),
 * link the new one, put it into its map. All maps are persistent, so the old snapshot stays as it
 * was and shares all that did not change.
 */
#include "config/snapshot.h"

#include "base/log.h"
#include "base/mem.h"
#include "config/group.h"
#include "config/hooks.h"
#include "config/hosts.h"
#include "config/identity.h"
#include "config/resource.h"

#include <stdlib.h>

/* ---- life ---- */

struct snapshot *snapshot_empty(void)
{
    struct snapshot *s = mem_alloc(sizeof(*s));
    static uint64_t last_version;

    s->refs = 1;
    s->version = ++last_version;
    return s;
}

static struct pmap *map_share(struct pmap *m)
{
    return m != NULL ? pmap_hold(m) : NULL;
}

/* A new snapshot with the same contents, all but the derived arrays. */
static struct snapshot *snapshot_fork(const struct snapshot *old)
{
    struct snapshot *s = snapshot_empty();

    for (int k = 0; k < K_COUNT; k++) {
        s->objects[k] = map_share(old->objects[k]);
    }
    s->identities = map_share(old->identities);
    s->service_routes = map_share(old->service_routes);
    s->consumer_credentials = map_share(old->consumer_credentials);
    s->sni = map_share(old->sni);
    s->n_mtls = old->n_mtls;
    s->router = old->router != NULL ? config_hooks.router_hold(old->router) : NULL;
    return s;
}

void snapshot_hold(struct snapshot *s)
{
    s->refs++;
}

void snapshot_drop(struct snapshot *s)
{
    if (s == NULL || --s->refs > 0) {
        return;
    }
    /* The router and the identities point to objects, so they go first. */
    if (s->router != NULL) {
        config_hooks.router_drop(s->router);
    }
    pmap_drop(s->identities, &identity_map_type);
    pmap_drop(s->service_routes, &group_map_type);
    pmap_drop(s->consumer_credentials, &group_map_type);
    pmap_drop(s->sni, &group_map_type);
    for (int k = 0; k < K_COUNT; k++) {
        pmap_drop(s->objects[k], &object_map_type);
    }
    arena_free(s->arena);
    free(s);
}

/* ---- the router ---- */

static void router_set(struct snapshot *s, struct router *next)
{
    if (s->router != NULL) {
        config_hooks.router_drop(s->router);
    }
    s->router = next;
}

static void router_add(struct snapshot *s, const struct route *r, const struct service *svc)
{
    if (r->enabled) {
        router_set(s, config_hooks.router_put(s->router, r, svc));
    }
}

static void router_remove(struct snapshot *s, const struct route *r, const struct service *svc)
{
    if (r->enabled) {
        router_set(s, config_hooks.router_del(s->router, r, svc));
    }
}

/* ---- one kind each: take the old object (NULL: none) out of what depends on it, bring the new one
 * (NULL: none) in ---- */

static bool takes_service_hosts(const struct route *r)
{
    return !str_is_none(r->service_id) && r->n_hosts == 0;
}

static const struct service *service_of(const struct snapshot *s, const struct route *r)
{
    return str_is_none(r->service_id) ? NULL : SNAP_FIND(s, SERVICE, service, r->service_id);
}

static void relink_route(struct snapshot *s, struct route *old, struct route *new)
{
    if (old != NULL) {
        router_remove(s, old, service_of(s, old));
        if (takes_service_hosts(old)) {
            group_remove(&s->service_routes, old->service_id, &old->o);
        }
    }
    if (new != NULL) {
        router_add(s, new, service_of(s, new));
        if (takes_service_hosts(new)) {
            group_add(&s->service_routes, new->service_id, &new->o);
        }
    }
}

static bool same_hosts(const struct service *old, const struct service *new)
{
    if (old != NULL && new != NULL) {
        return hosts_equal(old->hosts_owner, new->hosts_owner);
    }
    /* A service without hosts is to the router what no service is. */
    return (old != NULL ? old->n_hosts : new->n_hosts) == 0;
}

static void adopt_hosts(struct service *new, const struct service *old)
{
    hosts_drop(new->hosts_owner);
    new->hosts_owner = hosts_hold(old->hosts_owner);
    new->hosts = new->hosts_owner->v;
}

struct move {
    struct snapshot *s;
    const struct service *from, *to;
};

static bool move_route(struct str id, void *value, void *arg)
{
    const struct move *m = arg;

    (void)id;
    router_remove(m->s, value, m->from);
    router_add(m->s, value, m->to);
    return true;
}

static void relink_service(struct snapshot *s, struct service *old, struct service *new)
{
    struct str id = old != NULL ? old->o.id : new->o.id;

    if (same_hosts(old, new)) {
        if (old != NULL && new != NULL) {
            adopt_hosts(new, old);
        }
        return;
    }
    pmap_each(group_members(s->service_routes, id), move_route, &(struct move){s, old, new});
}

struct claim_move {
    struct snapshot *s;
    const struct consumer *from, *to;
};

static bool move_credential(struct str id, void *value, void *arg)
{
    const struct claim_move *m = arg;

    (void)id;
    if (m->from != NULL) {
        identities_remove(&m->s->identities, m->from, value);
    }
    if (m->to != NULL) {
        identities_add(&m->s->identities, m->to, value);
    }
    return true;
}

static void relink_consumer(struct snapshot *s, struct consumer *old, struct consumer *new)
{
    struct str name = old != NULL ? old->username : new->username;

    if (old != NULL) {
        identities_remove(&s->identities, old, NULL);
    }
    if (new != NULL) {
        identities_add(&s->identities, new, NULL);
    }
    /* What is found by a credential is the consumer: the new one from now on. */
    pmap_each(group_members(s->consumer_credentials, name), move_credential,
              &(struct claim_move){s, old, new});
}

static void relink_credential(struct snapshot *s, struct credential *old, struct credential *new)
{
    const struct consumer *c =
        SNAP_FIND(s, CONSUMER, consumer, old != NULL ? old->username : new->username);

    if (old != NULL) {
        group_remove(&s->consumer_credentials, old->username, &old->o);
        if (c != NULL) {
            identities_remove(&s->identities, c, old);
        }
    }
    if (new != NULL) {
        group_add(&s->consumer_credentials, new->username, &new->o);
        if (c != NULL) {
            identities_add(&s->identities, c, new);
        }
    }
}

static bool serves(const struct ssl *s)
{
    return s != NULL && !s->is_client && s->enabled;
}

static void relink_ssl(struct snapshot *s, struct ssl *old, struct ssl *new)
{
    for (unsigned i = 0; serves(old) && i < old->n_snis; i++) {
        group_remove(&s->sni, old->snis[i], &old->o);
    }
    for (unsigned i = 0; serves(new) && i < new->n_snis; i++) {
        group_add(&s->sni, new->snis[i], &new->o);
    }
    s->n_mtls -= serves(old) && old->tls.trust != NULL;
    s->n_mtls += serves(new) && new->tls.trust != NULL;
}

static void relink(struct snapshot *s, enum object_kind k, void *old, void *new)
{
    switch (k) {
    case K_ROUTE:
        relink_route(s, old, new);
        break;
    case K_SERVICE:
        relink_service(s, old, new);
        break;
    case K_CONSUMER:
        relink_consumer(s, old, new);
        break;
    case K_CREDENTIAL:
        relink_credential(s, old, new);
        break;
    case K_SSL:
        relink_ssl(s, old, new);
        break;
    case K_UPSTREAM:
    case K_CONSUMER_GROUP:
    case K_GLOBAL_RULE:
    case K_PLUGIN_CONFIG:
    case K_PLUGIN_METADATA:
    case K_PROTO:
    case K_COUNT:
        break; /* looked up by id when they are needed */
    }
}

/* ---- global rules ---- */

static int by_id(const void *x, const void *y)
{
    const struct global_rule *const *a = x, *const *b = y;

    return str_cmp((*a)->o.id, (*b)->o.id);
}

struct rules {
    const struct global_rule **v;
    unsigned n;
};

static bool collect_rule(struct str id, void *value, void *arg)
{
    struct rules *r = arg;

    (void)id;
    r->v[r->n++] = value;
    return true;
}

static bool in_another_rule(const struct rules *all, unsigned self, const struct plugin *p)
{
    for (unsigned i = 0; i < all->n; i++) {
        for (unsigned k = 0; i != self && k < all->v[i]->plugins.n; k++) {
            if (all->v[i]->plugins.v[k].plugin == p) {
                return true;
            }
        }
    }
    return false;
}

/* The rule without the plugins that other rules have too: itself when there are none. */
static const struct global_rule *without_repeated(struct arena *a, const struct rules *all,
                                                  unsigned self, bool tell)
{
    const struct global_rule *rule = all->v[self];
    struct plugin_use *v = ARENA_ARRAY(a, struct plugin_use, rule->plugins.n + 1);
    unsigned n = 0;

    for (unsigned i = 0; i < rule->plugins.n; i++) {
        const struct plugin_use *u = &rule->plugins.v[i];

        if (!in_another_rule(all, self, u->plugin)) {
            v[n++] = *u;
        } else if (tell) {
            LOG(ERROR, "plugin %s is in several global rules and runs in none of them; rule %.*s",
                config_hooks.plugin_name(u->plugin), STR_ARG(rule->o.id));
        }
    }
    if (n == rule->plugins.n) {
        return rule;
    }
    struct global_rule *copy = ARENA_NEW(a, struct global_rule);
    *copy = *rule;
    copy->plugins = (struct plugin_set){v, n};
    return copy;
}

/* The array of rules in id order. There are few: a plugin can only be in one. */
static void derive_global_rules(struct snapshot *s, bool tell)
{
    const size_t n = pmap_count(s->objects[K_GLOBAL_RULE]);

    if (n == 0) {
        return;
    }
    s->arena = arena_new(1024);
    struct rules all = {.v = ARENA_ARRAY(s->arena, const struct global_rule *, n)};
    pmap_each(s->objects[K_GLOBAL_RULE], collect_rule, &all);
    qsort(all.v, n, sizeof(all.v[0]), by_id);
    const struct global_rule **v = ARENA_ARRAY(s->arena, const struct global_rule *, n);
    for (unsigned i = 0; i < n; i++) {
        v[i] = without_repeated(s->arena, &all, i, tell);
    }
    s->global_rules = v;
    s->n_global_rules = (unsigned)n;
}

/* ---- changes ---- */

/* What apply_all() works with. */
struct apply {
    struct snapshot *s;
    void (*on_bad)(const struct change *c, const struct err *e, void *arg);
    void *arg;
    bool rules_changed;
};

static void apply_one(struct apply *a, const struct change *c)
{
    struct pmap **map = &a->s->objects[c->kind];
    struct object *old = pmap_get(*map, c->id), *new = NULL;
    struct err e = {0};

    if (c->value != NULL) {
        new = object_new(c->kind, c->id, c->value, c->created_index, c->modified_index, &e);
        if (new == NULL) {
            if (a->on_bad != NULL) {
                a->on_bad(c, &e, a->arg);
            }
            return;
        }
    }
    if (old == NULL && new == NULL) {
        return;
    }
    relink(a->s, c->kind, old, new);
    pmap_set(map, &object_map_type, new != NULL ? new->id : c->id, new);
    object_drop(new);
    a->rules_changed |= c->kind == K_GLOBAL_RULE;
}

/* Routes need their service, credentials their consumer: these two come last, so that a first load
 * does not put them twice. */
static bool depends_on_others(enum object_kind k)
{
    return k == K_ROUTE || k == K_CREDENTIAL;
}

struct snapshot *snapshot_apply(const struct snapshot *old, const struct change *changes, size_t n,
                                void (*on_bad)(const struct change *c, const struct err *e,
                                               void *arg),
                                void *arg)
{
    struct apply a = {.s = snapshot_fork(old), .on_bad = on_bad, .arg = arg};

    for (int last = 0; last <= 1; last++) {
        for (size_t i = 0; i < n; i++) {
            if (depends_on_others(changes[i].kind) == last) {
                apply_one(&a, &changes[i]);
            }
        }
    }
    derive_global_rules(a.s, a.rules_changed);
    return a.s;
}

/* ---- look-ups ---- */

const struct object *snapshot_find(const struct snapshot *s, enum object_kind kind, struct str id)
{
    return pmap_get(s->objects[kind], id);
}

const struct identity *snapshot_identity(const struct snapshot *s, const char *plugin,
                                         struct str key)
{
    const size_t n = strlen(plugin);
    const struct identity *who;
    char small[256], *text = small;

    if (s->identities == NULL) {
        return NULL;
    }
    if (n + 1 + key.n > sizeof(small)) {
        text = mem_alloc(n + 1 + key.n);
    }
    memcpy(text, plugin, n);
    text[n] = '/';
    memcpy(text + n + 1, key.n > 0 ? key.p : "", key.n);
    who = pmap_get(s->identities, str_of(text, n + 1 + key.n));
    if (text != small) {
        free(text);
    }
    return who;
}

const void *snapshot_metadata(const struct snapshot *s, const char *plugin)
{
    const struct plugin_metadata *m = SNAP_FIND(s, PLUGIN_METADATA, plugin_metadata, str_c(plugin));

    return m != NULL ? m->conf : NULL;
}

static bool first_made(struct str id, void *value, void *arg)
{
    const struct object *o = value, **first = arg;

    (void)id;
    if (*first == NULL || o->created_index < (*first)->created_index ||
        (o->created_index == (*first)->created_index && str_cmp(o->id, (*first)->id) < 0)) {
        *first = o;
    }
    return true;
}

static const struct ssl *ssl_of(const struct snapshot *s, struct str pattern)
{
    const struct object *first = NULL;

    pmap_each(group_members(s->sni, pattern), first_made, &first);
    return (const struct ssl *)(const void *)first;
}

const struct ssl *snapshot_ssl(const struct snapshot *s, struct str name)
{
    char pattern[256] = "*";
    const struct ssl *found = ssl_of(s, name);

    /* "*" may stand for the beginning of the first label, too. */
    for (size_t i = 0; found == NULL && i < name.n && name.n - i < sizeof(pattern); i++) {
        if (i > 0 || name.p[0] != '.') {
            memcpy(pattern + 1, name.p + i, name.n - i);
            found = ssl_of(s, str_of(pattern, 1 + name.n - i));
        }
        if (name.p[i] == '.') {
            break;
        }
    }
    return found != NULL ? found : ssl_of(s, STR("*"));
}
