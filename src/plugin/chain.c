/* SPDX-License-Identifier: Apache-2.0 */
/* chain: merging and running plugins. */
#include "plugin/chain.h"

#include "base/assert.h"
#include "base/hash.h"
#include "config/snapshot.h"

#include <stdlib.h>

#define BUCKETS 4096 /* a power of two */

struct cache {
    struct chain *bucket[BUCKETS];
    unsigned n, hand;
};
static _Thread_local struct cache *cache;

/* ---- merging ---- */

/* Where a plugin of a merged set comes from; a later level hides an earlier one. */
struct level {
    const struct plugin_set *set;
    bool with_consumer;
};

struct merged {
    const struct plugin_use *use;
    bool with_consumer; /* from consumer or group */
    bool hides_route;   /* a lower level had it too */
};

static unsigned merge(const struct level *levels, unsigned n_levels, struct merged *out)
{
    unsigned n = 0;
    for (unsigned l = 0; l < n_levels; l++) {
        for (unsigned i = 0; levels[l].set && i < levels[l].set->n; i++) {
            const struct plugin_use *use = &levels[l].set->v[i];
            unsigned k = 0;
            while (k < n && out[k].use->plugin != use->plugin) {
                k++;
            }
            bool hides = k < n && (!out[k].with_consumer || out[k].hides_route);
            out[k] = (struct merged){use, levels[l].with_consumer, hides};
            n += k == n;
        }
    }
    return n;
}

static int64_t priority_of(const struct plugin_use *u)
{
    return u->meta.priority.set ? u->meta.priority.v : u->plugin->priority;
}

static int by_priority(const void *a, const void *b)
{
    int64_t x = priority_of(((const struct merged *)a)->use),
            y = priority_of(((const struct merged *)b)->use);
    if (x != y) {
        return x < y ? 1 : -1;
    }
    return strcmp(((const struct merged *)a)->use->plugin->name,
                  ((const struct merged *)b)->use->plugin->name);
}

static bool takes_part(const struct plugin *p, enum phase ph)
{
    switch (ph) {
    case PHASE_REWRITE:
        return p->rewrite != NULL;
    case PHASE_ACCESS:
        return p->access != NULL;
    case PHASE_BEFORE_PROXY:
        return p->before_proxy != NULL;
    case PHASE_HEADER_FILTER:
        return p->header_filter != NULL;
    case PHASE_BODY_FILTER:
        return p->body_filter != NULL;
    case PHASE_DELAYED_BODY_FILTER:
        return p->delayed_body_filter != NULL;
    case PHASE_LOG:
        return p->log != NULL;
    case PHASE_COUNT:
        break;
    }
    return false;
}

static struct step step_of(const struct merged *m)
{
    return (struct step){m->use->plugin, m->use->conf, &m->use->meta, m->use->index};
}

/* One allocation: the chain, then the steps of each phase, the late ones, and all. */
static struct chain *build(const uint64_t key[5], const struct merged *m, unsigned n)
{
    struct chain *c = calloc(1, sizeof(*c) + sizeof(struct step) * n * (PHASE_COUNT + 2));
    ASSERT(c != NULL);
    struct step *room = (struct step *)(c + 1);
    memcpy(c->key, key, sizeof(c->key));
    for (int ph = 0; ph < PHASE_COUNT; ph++) {
        c->steps[ph] = room;
        for (unsigned i = 0; i < n; i++) {
            /* A plugin that only the consumer has comes too late for rewrite proper; one the route
             * had ran with the route's conf. */
            bool late = ph == PHASE_REWRITE && m[i].with_consumer && !m[i].hides_route;
            if (!m[i].use->meta.disable && !late && takes_part(m[i].use->plugin, (enum phase)ph)) {
                *room++ = step_of(&m[i]);
                c->n[ph]++;
            }
        }
    }
    c->late = room;
    for (unsigned i = 0; i < n; i++) {
        const struct plugin *p = m[i].use->plugin;
        if (!m[i].use->meta.disable && m[i].with_consumer && !m[i].hides_route && !p->auth &&
            p->rewrite) {
            *room++ = step_of(&m[i]);
            c->n_late++;
        }
    }
    c->all = room;
    for (unsigned i = 0; i < n; i++) {
        if (!m[i].use->meta.disable) {
            *room++ = step_of(&m[i]);
            c->n_all++;
        }
    }
    return c;
}

/* ---- the cache ---- */

static struct chain **bucket_of(const uint64_t key[5])
{
    uint64_t h = 0;
    for (int i = 0; i < 5; i++) {
        h = (h ^ key[i]) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    return &cache->bucket[h & (BUCKETS - 1)];
}

static struct chain *find(const uint64_t key[5])
{
    for (struct chain *c = *bucket_of(key); c; c = c->next) {
        if (memcmp(c->key, key, sizeof(c->key)) == 0) {
            c->used = true;
            c->holds++;
            return c;
        }
    }
    return NULL;
}

/* Clock: drop unheld chains that were not used since the hand last passed. */
static void make_room(void)
{
    for (unsigned turns = 0; cache->n >= CHAINS_KEPT && turns < 2 * BUCKETS; turns++) {
        struct chain **at = &cache->bucket[cache->hand++ & (BUCKETS - 1)];
        while (*at) {
            struct chain *c = *at;
            if (c->holds == 0 && !c->used) {
                *at = c->next;
                free(c);
                cache->n--;
            } else {
                c->used = false;
                at = &c->next;
            }
        }
    }
}

static struct chain *keep(struct chain *c)
{
    make_room();
    struct chain **at = bucket_of(c->key);
    c->next = *at;
    *at = c;
    c->used = true;
    c->holds = 1;
    cache->n++;
    return c;
}

static void cache_init(void)
{
    if (cache == NULL) {
        cache = calloc(1, sizeof(*cache));
        ASSERT(cache != NULL);
    }
}

static struct chain *make(const uint64_t key[5], const struct level *levels, unsigned n_levels)
{
    unsigned max = 1;
    for (unsigned i = 0; i < n_levels; i++) {
        max += levels[i].set ? levels[i].set->n : 0;
    }
    struct merged *m = malloc(sizeof(*m) * max);
    ASSERT(m != NULL);
    unsigned n = merge(levels, n_levels, m);
    qsort(m, n, sizeof(*m), by_priority);
    struct chain *c = keep(build(key, m, n));
    free(m);
    return c;
}

struct chain *chain_of(const struct req *r)
{
    const struct level levels[5] = {
        {r->service ? &r->service->plugins : NULL, false},
        {r->plugin_config ? &r->plugin_config->plugins : NULL, false},
        {r->route ? &r->route->plugins : NULL, false},
        {r->consumer_group ? &r->consumer_group->plugins : NULL, true},
        {r->consumer ? &r->consumer->plugins : NULL, true},
    };
    unsigned plugins = 0;
    for (unsigned i = 0; i < LENGTH_OF(levels); i++) {
        plugins += levels[i].set ? levels[i].set->n : 0;
    }
    if (plugins == 0) {
        return NULL;
    }
    cache_init();
    const uint64_t key[5] = {
        r->route ? r->route->o.serial : 0,
        r->service ? r->service->o.serial : 0,
        r->plugin_config ? r->plugin_config->o.serial : 0,
        r->consumer_group ? r->consumer_group->o.serial : 0,
        r->consumer ? r->consumer->o.serial : 0,
    };
    struct chain *c = find(key);
    return c != NULL ? c : make(key, levels, LENGTH_OF(levels));
}

struct chain *chain_of_globals(const struct req *r)
{
    const struct snapshot *s = r->snapshot;
    if (s->n_global_rules == 0) {
        return NULL;
    }
    cache_init();
    uint64_t sum = 0;
    for (unsigned i = 0; i < s->n_global_rules; i++) {
        sum = (sum ^ s->global_rules[i]->o.serial) * 0x100000001b3u;
    }
    const uint64_t key[5] = {UINT64_MAX, sum, s->n_global_rules, s->global_rules[0]->o.serial, 0};
    struct chain *c = find(key);
    if (c != NULL) {
        return c;
    }
    struct level *levels = calloc(s->n_global_rules, sizeof(*levels));
    ASSERT(levels != NULL);
    for (unsigned i = 0; i < s->n_global_rules; i++) {
        levels[i].set = &s->global_rules[i]->plugins;
    }
    c = make(key, levels, s->n_global_rules);
    free(levels);
    return c;
}

void chain_drop(struct chain *c)
{
    if (c != NULL) {
        ASSERT(c->holds > 0);
        c->holds--;
    }
}

void chain_core_fini(void)
{
    for (unsigned i = 0; cache && i < BUCKETS; i++) {
        while (cache->bucket[i]) {
            struct chain *c = cache->bucket[i];
            cache->bucket[i] = c->next;
            free(c);
        }
    }
    free(cache);
    cache = NULL;
}

unsigned chain_count(void)
{
    return cache ? cache->n : 0;
}

/* ---- running ---- */

bool chain_has(const struct chain *c, const struct plugin *p)
{
    for (unsigned i = 0; c && i < c->n_all; i++) {
        if (c->all[i].plugin == p) {
            return true;
        }
    }
    return false;
}

/* `_meta.filter`, evaluated once a request and plugin. */
static bool is_wanted(struct req *r, const struct step *s, const struct chain *skip_for)
{
    if (skip_for && s->plugin->prefer_route && chain_has(skip_for, s->plugin)) {
        return false;
    }
    if (s->meta->filter == NULL) {
        return true;
    }
    if (r->filter_results == NULL) {
        r->filter_results = ARENA_ARRAY(r->arena, uint8_t, plugin_count() * 2);
    }
    uint8_t *known = &r->filter_results[s->index * 2 + (skip_for != NULL)];
    if (*known == 0) {
        *known = expr_eval(s->meta->filter, r) ? 1 : 2;
    }
    return *known == 1;
}

static void apply_error_response(struct req *r, const struct step *s)
{
    if (s->meta->error_response.p == NULL || r->resp.status < 400) {
        return;
    }
    if (r->resp.html) {
        headers_del_id(&r->resp.headers, H_CONTENT_TYPE);
    }
    req_reply(r, r->resp.status, s->meta->error_response);
}

static enum verdict run(struct req *r, const struct step *s,
                        enum verdict (*fn)(struct req *, const void *))
{
    enum verdict v = fn(r, s->conf);
    if (v == DONE) {
        apply_error_response(r, s);
    }
    return v;
}

enum verdict chain_run(struct req *r, const struct chain *c, enum phase ph,
                       const struct chain *skip_for)
{
    for (unsigned i = 0; c && i < c->n[ph]; i++) {
        const struct step *s = &c->steps[ph][i];
        enum verdict (*fn)(struct req *, const void *) = ph == PHASE_REWRITE ? s->plugin->rewrite
                                                         : ph == PHASE_ACCESS
                                                             ? s->plugin->access
                                                             : s->plugin->before_proxy;
        if (is_wanted(r, s, skip_for) && run(r, s, fn) == DONE) {
            return DONE;
        }
    }
    return NEXT;
}

enum verdict chain_run_late(struct req *r, const struct chain *c)
{
    for (unsigned i = 0; c && i < c->n_late; i++) {
        if (is_wanted(r, &c->late[i], NULL) &&
            run(r, &c->late[i], c->late[i].plugin->rewrite) == DONE) {
            return DONE;
        }
    }
    return NEXT;
}

void chain_notify(struct req *r, const struct chain *c, enum phase ph, const struct chain *skip_for)
{
    for (unsigned i = 0; c && i < c->n[ph]; i++) {
        const struct step *s = &c->steps[ph][i];
        if (is_wanted(r, s, skip_for)) {
            (ph == PHASE_LOG ? s->plugin->log : s->plugin->header_filter)(r, s->conf);
        }
    }
}

void chain_filter_body(struct req *r, const struct chain *c, enum phase ph, struct body_run *b,
                       const struct chain *skip_for)
{
    for (unsigned i = 0; c && i < c->n[ph]; i++) {
        const struct step *s = &c->steps[ph][i];
        if (is_wanted(r, s, skip_for)) {
            (ph == PHASE_BODY_FILTER ? s->plugin->body_filter
                                     : s->plugin->delayed_body_filter)(r, s->conf, b);
        }
    }
}
