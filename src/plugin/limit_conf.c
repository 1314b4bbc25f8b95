/* SPDX-License-Identifier: Apache-2.0 */
/* limit_conf: numbers, keys and owners of rate limits. */
#include "plugin/limit_conf.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/log.h"
#include "config/snapshot.h"
#include "plugin/refuse.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>

#define SAFE_INTEGER ((int64_t)9007199254740991) /* 2^53 - 1, what the reference's numbers hold */

/* ---- numbers ---- */

struct limit_number limit_number_new(struct arena *a, const json_t *v)
{
    if (json_is_string(v)) {
        return (struct limit_number){.text = tmpl_new(a, json_str(v))};
    }
    const int64_t n = json_integer_value(v);
    return (struct limit_number){.v = n < SAFE_INTEGER ? n : SAFE_INTEGER};
}

bool limit_number_expand(const struct limit_number *n, struct req *r, int64_t least, int64_t *out)
{
    struct str text = tmpl_expand(n->text, r->arena, r, NULL);
    double v;

    if (!str_to_number(text, &v) || !(v >= (double)least) || v > (double)SAFE_INTEGER ||
        v != floor(v)) {
        LOG_RATE(WARN, "\"%.*s\" is no integer from %lld to 2^53 - 1", STR_ARG(text),
                 (long long)least);
        return false;
    }
    *out = (int64_t)v;
    return true;
}

/* ---- what is counted ---- */

struct limit_subject limit_subject_new(struct arena *a, struct str key_type, struct str key)
{
    if (str_eq(key_type, STR("constant"))) {
        return (struct limit_subject){.kind = LIMIT_TEXT, .text = arena_str(a, key)};
    }
    if (str_eq(key_type, STR("var_combination"))) {
        return (struct limit_subject){.kind = LIMIT_TMPL, .tmpl = tmpl_new(a, key)};
    }
    return (struct limit_subject){.kind = LIMIT_VAR, .var = var_compile(a, key)};
}

struct str limit_subject_get(const struct limit_subject *s, struct req *r)
{
    if (s->kind == LIMIT_TEXT) {
        return s->text;
    }
    if (s->kind == LIMIT_TMPL) {
        unsigned resolved;
        struct str text = tmpl_expand(s->tmpl, r->arena, r, &resolved);
        return resolved ? text : STR_NONE;
    }
    struct value v = var_get(r, &s->var);
    return value_text(r->arena, &v);
}

struct str limit_subject_or_client(const struct limit_subject *s, struct req *r)
{
    struct str text = limit_subject_get(s, r);
    return str_is_none(text) ? r->remote_addr : text;
}

/* ---- whose counter it is ---- */

struct limit_owner {
    bool known; /* atomic: id and name are final */
    const char *plugin;
    uint64_t conf, serial; /* hash of what the conf says; of this conf alone */
    uint64_t id;
    size_t name_n;
    char name[256];
};

/* Only the first request of each conf takes it. */
static pthread_mutex_t owner_lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t conf_hash(const json_t *conf)
{
    char *text = json_dumps(conf, JSON_COMPACT | JSON_SORT_KEYS);
    ASSERT(text != NULL);
    uint64_t h = hash_fnv(str_c(text));

    free(text);
    return h;
}

static uint64_t text_id(const char *plugin, struct str name)
{
    struct arena *a = arena_new(512);
    struct str text = arena_printf(a, "%s %.*s", plugin, STR_ARG(name));
    uint64_t id = hash_keyed(text);

    arena_free(a);
    return id;
}

struct limit_owner *limit_owner_new(struct arena *a, const char *plugin, const json_t *conf)
{
    static uint64_t serial; /* control thread */
    struct limit_owner *o = ARENA_NEW(a, struct limit_owner);

    o->plugin = plugin;
    o->conf = conf_hash(conf);
    o->serial = ++serial;
    return o;
}

/* As much of it as there is room for. */
static void owner_name(struct limit_owner *o, struct str name)
{
    o->name_n = name.n < sizeof(o->name) ? name.n : sizeof(o->name);
    memcpy(o->name, name.p, o->name_n);
}

struct limit_owner *limit_owner_of_group(struct arena *a, const char *plugin, struct str group)
{
    struct limit_owner *o = ARENA_NEW(a, struct limit_owner);

    owner_name(o, arena_cat(a, limit_json_escaped(a, group), STR(":")));
    o->id = text_id(plugin, arena_cat(a, STR("group "), group));
    o->known = true;
    return o;
}

static bool set_has(const struct plugin_set *set, const void *conf)
{
    for (unsigned i = 0; i < set->n; i++) {
        if (set->v[i].conf == conf) {
            return true;
        }
    }
    return false;
}

/* The object of r that conf lies in; NULL when there is none. */
static const struct object *holder_of(const struct req *r, const void *conf)
{
    if (r->consumer && set_has(&r->consumer->plugins, conf)) {
        return &r->consumer->o;
    }
    if (r->consumer_group && set_has(&r->consumer_group->plugins, conf)) {
        return &r->consumer_group->o;
    }
    if (r->route && set_has(&r->route->plugins, conf)) {
        return &r->route->o;
    }
    if (r->plugin_config && set_has(&r->plugin_config->plugins, conf)) {
        return &r->plugin_config->o;
    }
    if (r->service && set_has(&r->service->plugins, conf)) {
        return &r->service->o;
    }
    for (unsigned i = 0; i < r->snapshot->n_global_rules; i++) {
        if (set_has(&r->snapshot->global_rules[i]->plugins, conf)) {
            return &r->snapshot->global_rules[i]->o;
        }
    }
    return NULL;
}

static void owner_find(struct limit_owner *o, const struct req *r, const void *conf)
{
    const struct object *holder = holder_of(r, conf);
    struct arena *a = arena_new(512);
    struct str name;

    /* Ids of objects have no characters that JSON escapes. */
    if (holder != NULL) {
        name = arena_printf(a, "/apisix/%s/%.*s:%llu:", object_kind_plural(holder->kind),
                            STR_ARG(holder->id), (unsigned long long)o->conf);
    } else {
        name = arena_printf(a, "%llu:%llu:", (unsigned long long)o->serial,
                            (unsigned long long)o->conf);
    }
    owner_name(o, name);
    o->id = text_id(o->plugin, name);
    arena_free(a);
}

uint64_t limit_owner_id(struct limit_owner *o, const struct req *r, const void *conf)
{
    if (__builtin_expect(!__atomic_load_n(&o->known, __ATOMIC_ACQUIRE), 0)) {
        pthread_mutex_lock(&owner_lock);
        if (!o->known) {
            owner_find(o, r, conf);
            __atomic_store_n(&o->known, true, __ATOMIC_RELEASE);
        }
        pthread_mutex_unlock(&owner_lock);
    }
    return o->id;
}

struct str limit_owner_name(const struct limit_owner *o)
{
    return str_of(o->name, o->name_n);
}

static bool is_plain(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == '"' || s.p[i] == '\\') {
            return false;
        }
    }
    return true;
}

struct str limit_json_escaped(struct arena *a, struct str s)
{
    static const char hex[] = "0123456789abcdef";

    if (is_plain(s)) {
        return s;
    }
    char *p = arena_bytes(a, s.n * 6), *to = p;
    for (size_t i = 0; i < s.n; i++) {
        const unsigned char c = (unsigned char)s.p[i];
        if (c >= ' ' && c != '"' && c != '\\') {
            *to++ = (char)c;
            continue;
        }
        memcpy(to, "\\u00", 4);
        to[4] = hex[c >> 4];
        to[5] = hex[c & 15];
        to += 6;
    }
    return str_of(p, (size_t)(to - p));
}

/* ---- checks and answers ---- */

int limit_check_policy(const json_t *conf, struct err *e)
{
    struct str policy = json_str(json_get(conf, "policy"));

    if (str_starts(policy, STR("redis"))) {
        return err_set(e, "policy redis is not available in this build");
    }
    return 0;
}

struct str limit_rejected_body(struct arena *a, struct str msg)
{
    return str_is_none(msg) ? STR_NONE : refuse_body(a, "error_msg", msg);
}

enum verdict limit_failed(struct req *r, const struct plugin *p, bool allow_degradation,
                          struct str why)
{
    if (allow_degradation) {
        LOG_RATE(WARN, "%s: %.*s; passed because of allow_degradation", p->name, STR_ARG(why));
        return NEXT;
    }
    return refuse(r, p, 500, STR_NONE, why);
}
