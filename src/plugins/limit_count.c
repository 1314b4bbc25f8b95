/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit-count: so many requests in a window of time, fixed or sliding, for each value of a key
 * (plugin/limit.h counts).
 *
 * The counter belongs to the object that holds the conf, or to its group. Confs of one group must
 * say the same: whoever is counted there is counted once.
 */
#include "plugin/limit_conf.h"
#include "plugin/refuse.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"

#include <stdlib.h>

enum {
    KEYS = 262144, /* counters at a time: 13 MB when all are in use */
    DIGITS = 24,
};
#define WINDOW_MAX_S INT64_C(1000000000000) /* microseconds of it fit */

struct rule {
    const json_t *count_json, *window_json;
    struct str key, header_prefix;
    struct limit_number count, window; /* from the two above */
    struct limit_subject subject;
};

struct limit_count_conf {
    const json_t *count, *time_window;
    struct arr rules;
    struct str group, key, key_type, rejected_msg, window_type;
    int64_t rejected_code;
    bool allow_degradation, show_limit_quota_header;

    /* Made by prepare. */
    bool sliding;
    struct rule one; /* without rules */
    struct str rejected_body;
    struct limit_owner *owner;
};

#define NUMBER_SCHEMA                                                                              \
    JSON({"oneOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string"}]})

static const struct field rule_fields[] = {
    F_AS("count", struct rule, count_json, .required = true, .raw = NUMBER_SCHEMA,
         .doc = "Requests in a window; text may hold $variables."),
    F_AS("time_window", struct rule, window_json, .required = true, .raw = NUMBER_SCHEMA,
         .doc = "Seconds of a window; text may hold $variables."),
    F_STR(struct rule, key, .required = true,
          .doc = "What is counted, with $variables; left out when none has a value."),
    F_STR(struct rule, header_prefix,
          .doc = "Put into the names of the headers; the number of the rule when left out."),
    F_END,
};

static const struct field limit_count_fields[] = {
    F_JSON(struct limit_count_conf, count, .raw = NUMBER_SCHEMA,
           .doc = "Requests in a window; text may hold $variables."),
    F_JSON(struct limit_count_conf, time_window, .raw = NUMBER_SCHEMA,
           .doc = "Seconds of a window; text may hold $variables."),
    F_STR(struct limit_count_conf, window_type, .def = "\"fixed\"",
          .choices = (const char *const[]){"fixed", "sliding", NULL},
          .doc = "fixed begins with its first request; sliding counts part of the last one too."),
    F_ARR_OF(struct limit_count_conf, rules, struct rule, rule_fields,
             .doc = "Several limits at once, instead of count and time_window."),
    F_STR(struct limit_count_conf, group,
          .doc = "Confs of one group share their counters and must be equal."),
    F_STR(struct limit_count_conf, key, .def = "\"remote_addr\"",
          .doc = "What is counted; the client's address when it has no value."),
    F_STR(struct limit_count_conf, key_type, .def = "\"var\"",
          .choices = (const char *const[]){"var", "var_combination", "constant", NULL},
          .doc = "What key is: a variable's name, text with $variables, or plain text."),
    F_INT(struct limit_count_conf, rejected_code, .def = "503", .min = 200, .max = 599,
          .doc = "Status of a refusal."),
    F_STR(struct limit_count_conf, rejected_msg, .min_len = 1,
          .doc = "error_msg of a refusal; an error page when left out."),
    F_ONLY("policy", .extra = JSON({
                         "type": "string",
                         "enum": ["local", "redis", "redis-cluster", "redis-sentinel"],
                         "default": "local"
                     }),
           .doc = "Where counters are kept; local only in this build."),
    F_BOOL(struct limit_count_conf, allow_degradation, .def = "false",
           .doc = "Let requests pass when the limit cannot be told."),
    F_BOOL(struct limit_count_conf, show_limit_quota_header, .def = "true",
           .doc = "Tell limit, rest and reset in headers."),
    F_ONLY("sync_interval", .extra = JSON({"type": "number", "default": -1}),
           .doc = "For redis policies."),
    LIMIT_REDIS_FIELD,
    F_ONLY("sentinel_password", .secret = true, .doc = "Password of the sentinels."),
    F_END,
};

#define SENTINEL_SCHEMA                                                                            \
    ",\"else\":{" LIMIT_POLICY_IS("redis-sentinel") ",\"then\":" JSON({                            \
        "properties": {                                                                            \
            "redis_sentinels": {                                                                   \
                "type": "array",                                                                   \
                "minItems": 1,                                                                     \
                "items": {                                                                         \
                    "type": "object",                                                              \
                    "additionalProperties": false,                                                 \
                    "required": ["host", "port"],                                                  \
                    "properties": {                                                                \
                        "host": {"type": "string", "minLength": 2},                                \
                        "port": {"type": "integer", "minimum": 1, "maximum": 65535}                \
                    }                                                                              \
                }                                                                                  \
            },                                                                                     \
            "redis_master_name": {"type": "string", "minLength": 1},                               \
            "redis_role": {"type": "string", "default": "master", "enum": ["master", "slave"]},    \
            "redis_username": {"type": "string", "minLength": 1},                                  \
            "redis_password": {"type": "string", "minLength": 0},                                  \
            "redis_database": {"type": "integer", "minimum": 0, "default": 0},                     \
            "sentinel_username": {"type": "string", "minLength": 1},                               \
            "sentinel_password": {"type": "string", "minLength": 0},                               \
            "redis_connect_timeout": {"type": "integer", "minimum": 1, "default": 1000},           \
            "redis_read_timeout": {"type": "integer", "minimum": 1, "default": 1000},              \
            "redis_keepalive_timeout": {"type": "integer", "minimum": 1, "default": 60000}         \
        },                                                                                         \
        "required": ["redis_sentinels", "redis_master_name"]                                       \
    }) "}"

struct limit_count_metadata {
    struct str limit_header, remaining_header, reset_header;
    struct header limit, remaining, reset; /* without values; made by prepare */
};

static const struct field limit_count_metadata_fields[] = {
    F_STR(struct limit_count_metadata, limit_header, .def = "\"X-RateLimit-Limit\"",
          .doc = "Header that tells the limit."),
    F_STR(struct limit_count_metadata, remaining_header, .def = "\"X-RateLimit-Remaining\"",
          .doc = "Header that tells the rest."),
    F_STR(struct limit_count_metadata, reset_header, .def = "\"X-RateLimit-Reset\"",
          .doc = "Header that tells the seconds until the window ends."),
    F_END,
};

extern const struct plugin limit_count_plugin;
static struct limit_table *table;

static int limit_count_init(const struct settings *s, struct err *e)
{
    table = limit_table_new(limit_count_plugin.name, KEYS);
    return 0;
}

/* ---- groups (control thread) ---- */

/* A group that some object that is still alive uses. */
struct group {
    struct list link;
    struct str name; /* in conf */
    json_t *conf;    /* what all its confs say, without `_meta` */
    unsigned uses;
};
static struct list groups = {&groups, &groups};

static json_t *without_meta(const json_t *conf)
{
    json_t *copy = json_deep_copy(conf);

    json_object_del(copy, "_meta");
    return copy;
}

static struct group *group_find(struct str name)
{
    LIST_EACH_SAFE(it, nxt, &groups) {
        struct group *g = CONTAINER_OF(it, struct group, link);
        if (str_eq(g->name, name)) {
            return g;
        }
    }
    return NULL;
}

/* 0 when g (which may be NULL) and conf agree. */
static int group_check(const struct group *g, const json_t *conf, struct err *e)
{
    if (g == NULL) {
        return 0;
    }
    json_t *plain = without_meta(conf);
    const bool same = json_equal(plain, g->conf);

    json_decref(plain);
    return same ? 0 : err_set(e, "group conf mismatched");
}

static void group_drop(void *arg)
{
    struct group *g = arg;

    if (--g->uses == 0) {
        list_del(&g->link);
        json_decref(g->conf);
        free(g);
    }
}

/* One more conf of the group, until its arena goes. */
static int group_join(struct arena *a, struct str name, const json_t *conf, struct err *e)
{
    struct group *g = group_find(name);

    if (group_check(g, conf, e) != 0) {
        return -1;
    }
    if (g == NULL) {
        g = mem_alloc(sizeof(*g));
        g->conf = without_meta(conf);
        g->name = json_str(json_get(g->conf, "group"));
        list_add(&groups, &g->link);
    }
    g->uses++;
    arena_on_reset(a, group_drop, g);
    return 0;
}

/* ---- checks ---- */

static int check_metadata(const json_t *conf, struct err *e)
{
    static const char *const names[] = {"limit_header", "remaining_header", "reset_header"};

    for (size_t i = 0; i < LENGTH_OF(names); i++) {
        struct str name = json_str(json_get(conf, names[i]));
        if (name.p != NULL && !header_name_is_valid(name)) {
            return err_set(e, "property \"%s\" validation failed: \"%.*s\" is no header name",
                           names[i], STR_ARG(name));
        }
    }
    return 0;
}

static int check_sync(const json_t *conf, struct err *e)
{
    const double every = json_number_value(json_get(conf, "sync_interval"));
    const json_t *window = json_get(conf, "time_window");

    if (!str_starts(json_str(json_get(conf, "policy")), STR("redis")) ||
        json_get(conf, "sync_interval") == NULL || every == -1) {
        return 0;
    }
    if (every < 0.1) {
        return err_set(e, "sync_interval should not be smaller than 0.1");
    }
    if (json_is_integer(window) && every >= (double)json_integer_value(window)) {
        return err_set(e, "sync_interval should be smaller than time_window");
    }
    return 0;
}

static int check_rules(const json_t *rules, struct err *e)
{
    size_t i;
    json_t *rule;

    json_array_foreach(rules, i, rule) {
        struct str key = json_str(json_get(rule, "key")),
                   prefix = json_str(json_get(rule, "header_prefix"));
        if (prefix.n > 0 && !header_name_is_valid(prefix)) {
            return err_set(e, "header_prefix \"%.*s\" cannot stand in a header name",
                           STR_ARG(prefix));
        }
        for (size_t k = 0; k < i; k++) {
            if (str_eq(key, json_str(json_get(json_array_get(rules, k), "key")))) {
                return err_set(e, "duplicate key '%.*s' in rules", STR_ARG(key));
            }
        }
    }
    return 0;
}

static int limit_count_check(const json_t *conf, enum conf_use use, struct err *e)
{
    const json_t *rules = json_get(conf, "rules"), *group = json_get(conf, "group");

    if (use == CONF_METADATA) {
        return check_metadata(conf, e);
    }
    if (rules != NULL &&
        (json_get(conf, "count") != NULL || json_get(conf, "time_window") != NULL)) {
        return err_set(e, "count/time_window and rules cannot be specified at the same time");
    }
    if (rules != NULL && group != NULL) {
        return err_set(e, "group and rules cannot be specified at the same time");
    }
    if (group != NULL && group_check(group_find(json_str(group)), conf, e) != 0) {
        return -1;
    }
    if (check_sync(conf, e) != 0 || check_rules(rules, e) != 0) {
        return -1;
    }
    return limit_check_policy(conf, e);
}

static struct header header_of(struct str name)
{
    return (struct header){.name = name, .id = header_id_of(name)};
}

static void metadata_prepare(struct limit_count_metadata *m)
{
    m->limit = header_of(m->limit_header);
    m->remaining = header_of(m->remaining_header);
    m->reset = header_of(m->reset_header);
}

static int limit_count_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct limit_count_conf *c = conf;

    if (p->use == CONF_METADATA) {
        metadata_prepare(conf);
        return 0;
    }
    for (size_t i = 0; i < c->rules.n; i++) {
        struct rule *rule = &((struct rule *)c->rules.v)[i];
        rule->count = limit_number_new(p->arena, rule->count_json);
        rule->window = limit_number_new(p->arena, rule->window_json);
        rule->subject = limit_subject_new(p->arena, STR("var_combination"), rule->key);
        if (rule->header_prefix.n == 0) {
            rule->header_prefix = arena_printf(p->arena, "%zu", i + 1);
        }
    }
    c->one.count = limit_number_new(p->arena, c->count);
    c->one.window = limit_number_new(p->arena, c->time_window);
    c->one.subject = limit_subject_new(p->arena, c->key_type, c->key);
    c->sliding = str_eq(c->window_type, STR("sliding"));
    c->rejected_body = limit_rejected_body(p->arena, c->rejected_msg);
    if (c->group.p == NULL) {
        c->owner = limit_owner_new(p->arena, limit_count_plugin.name, p->json);
        return 0;
    }
    c->owner = limit_owner_of_group(p->arena, limit_count_plugin.name, c->group);
    return group_join(p->arena, c->group, p->json, e);
}

/* ---- what the client and the log are told ---- */

/* Digits of a number that is not negative, at the end of a buffer of DIGITS bytes. */
static struct str number_text(char *room, uint64_t v)
{
    char *p = room + DIGITS;

    do {
        *--p = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    return str_of(p, (size_t)(room + DIGITS - p));
}

/* Seconds with at most two digits behind the point, from hundredths; room for DIGITS + 3 bytes. */
static struct str seconds_text(char *room, uint64_t hundredths)
{
    const unsigned rest = (unsigned)(hundredths % 100);
    struct str whole = number_text(room, hundredths / 100);
    char *end = room + DIGITS;

    if (rest == 0) {
        return whole;
    }
    end[0] = '.';
    end[1] = (char)('0' + rest / 10);
    end[2] = (char)('0' + rest % 10);
    return str_of(whole.p, whole.n + (rest % 10 ? 3 : 2));
}

struct numbers {
    struct str limit, remaining, reset;
};

static struct numbers numbers_of(struct req *r, const struct limit_quota *q, int64_t limit,
                                 bool sliding)
{
    char *room = arena_bytes(r->arena, (size_t)3 * DIGITS + 3);
    /* The reference rounds the two kinds differently. */
    const uint64_t hundredths = (uint64_t)(q->reset_us + (sliding ? 9999 : 0)) / 10000;

    return (struct numbers){
        .limit = number_text(room, (uint64_t)limit),
        .remaining = number_text(room + DIGITS, (uint64_t)q->remaining),
        .reset = seconds_text(room + (size_t)2 * DIGITS, hundredths),
    };
}

/* name with prefix and a dash in front of its "RateLimit-". */
static struct str prefixed(struct arena *a, struct str name, struct str prefix)
{
    const ptrdiff_t at = str_find(name, STR("RateLimit-"));

    if (at < 0) {
        return name;
    }
    return arena_printf(a, "%.*s%.*s-%.*s", (int)at, name.p, STR_ARG(prefix),
                        (int)(name.n - (size_t)at), name.p + at);
}

/* The headers of a rule that has a prefix. */
static struct limit_count_metadata prefixed_metadata(struct arena *a,
                                                     const struct limit_count_metadata *m,
                                                     struct str prefix)
{
    struct limit_count_metadata out = {
        .limit_header = prefixed(a, m->limit_header, prefix),
        .remaining_header = prefixed(a, m->remaining_header, prefix),
        .reset_header = prefixed(a, m->reset_header, prefix),
    };

    metadata_prepare(&out);
    return out;
}

static void tell_client(struct req *r, const struct rule *rule, const struct numbers *n)
{
    struct limit_count_metadata m =
        *(const struct limit_count_metadata *)plugin_metadata(r, &limit_count_plugin);

    if (rule->header_prefix.p != NULL) {
        m = prefixed_metadata(r->arena, &m, rule->header_prefix);
    }
    m.limit.value = n->limit;
    m.remaining.value = n->remaining;
    m.reset.value = n->reset;
    if (r->rate_limiting_info.p == NULL) { /* the first time: nothing to replace */
        headers_push(&r->resp.headers, &m.limit);
        headers_push(&r->resp.headers, &m.remaining);
        headers_push(&r->resp.headers, &m.reset);
        return;
    }
    headers_set(&r->resp.headers, m.limit.name, n->limit);
    headers_set(&r->resp.headers, m.remaining.name, n->remaining);
    headers_set(&r->resp.headers, m.reset.name, n->reset);
}

static char *put(char *to, struct str s)
{
    memcpy(to, s.p, s.n);
    return to + s.n;
}

#define INFO_KEY "{\"rate_limiting_key\":\""
#define INFO_LIMIT "\",\"rate_limiting_limit\":"
#define INFO_REMAINING ",\"rate_limiting_remaining\":"
#define INFO_RESET ",\"rate_limiting_reset\":"

/* $rate_limiting_info: a line of JSON, as the reference writes it. */
static void tell_log(struct req *r, const struct limit_count_conf *c, struct str key,
                     const struct numbers *n)
{
    const struct str owner = limit_owner_name(c->owner), text = limit_json_escaped(r->arena, key);
    const size_t numbers = n->limit.n + n->remaining.n + n->reset.n;
    char *p = arena_bytes(r->arena, sizeof(INFO_KEY INFO_LIMIT INFO_REMAINING INFO_RESET "}") +
                                        owner.n + text.n + numbers);
    char *to = put(p, STR(INFO_KEY));

    to = put(put(to, owner), text);
    to = put(put(to, STR(INFO_LIMIT)), n->limit);
    to = put(put(to, STR(INFO_REMAINING)), n->remaining);
    to = put(put(to, STR(INFO_RESET)), n->reset);
    to = put(to, STR("}"));
    r->rate_limiting_info = str_of(p, (size_t)(to - p));
}

/* ---- access ---- */

/* Count r under key. index tells the rules of a conf apart. */
static enum verdict run_rule(struct req *r, const struct limit_count_conf *c,
                             const struct rule *rule, size_t index, struct str key)
{
    int64_t count, window;

    if (!limit_number_get(&rule->count, r, 1, &count) ||
        !limit_number_get(&rule->window, r, 1, &window)) {
        return limit_failed(r, &limit_count_plugin, c->allow_degradation,
                            STR("count or time_window has no usable value"));
    }
    const struct limit_key k = limit_key(limit_owner_id(c->owner, r, c) + index, key);
    const int64_t window_us = (window < WINDOW_MAX_S ? window : WINDOW_MAX_S) * 1000000;
    const struct limit_quota q = c->sliding ? limit_sliding(table, k, count, window_us, 1, now_us())
                                            : limit_fixed(table, k, count, window_us, 1, now_us());
    const struct numbers n = numbers_of(r, &q, count, c->sliding);

    if (c->show_limit_quota_header) {
        tell_client(r, rule, &n);
    }
    tell_log(r, c, key, &n);
    return q.ok ? NEXT
                : refuse(r, &limit_count_plugin, (int)c->rejected_code, c->rejected_body,
                         STR("over the limit"));
}

static enum verdict run_rules(struct req *r, const struct limit_count_conf *c)
{
    const struct rule *rules = c->rules.v;
    bool any = false;

    for (size_t i = 0; i < c->rules.n; i++) {
        struct str key = limit_subject_get(&rules[i].subject, r);
        if (str_is_none(key)) {
            continue; /* does not concern this request */
        }
        any = true;
        if (run_rule(r, c, &rules[i], i, key) == DONE) {
            return DONE;
        }
    }
    return any ? NEXT
               : limit_failed(r, &limit_count_plugin, c->allow_degradation,
                              STR("failed to get rate limit rules: none applies"));
}

static enum verdict limit_count_access(struct req *r, const void *conf)
{
    const struct limit_count_conf *c = conf;

    if (c->count == NULL) {
        return run_rules(r, c);
    }
    return run_rule(r, c, &c->one, 0, limit_subject_or_client(&c->one.subject, r));
}

const struct plugin limit_count_plugin = {
    .name = "limit-count",
    .priority = 1002,
    .version = "0.5",
    .conf_size = sizeof(struct limit_count_conf),
    .fields = limit_count_fields,
    .schema_extra =
        "{" JSON("oneOf"
                 :
                 [
                     {"required": ["count", "time_window"]}, {"required": ["rules"]}
                 ]) "," LIMIT_POLICIES("", "", SENTINEL_SCHEMA) ",\"properties\":{" LIMIT_REDIS_HIDE
                                                                ",\"sentinel_password\":null}}",
    .metadata_size = sizeof(struct limit_count_metadata),
    .metadata_fields = limit_count_metadata_fields,
    .check = limit_count_check,
    .prepare = limit_count_prepare,
    .init = limit_count_init,
    .access = limit_count_access,
};
