/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit-conn: so many requests at the same time for each value of a key. Up to burst more wait, the
 * longer the more there are; the rest is refused.
 *
 * How long one waits is default_conn_delay at first and then follows what requests take, unless
 * only_use_default_delay is on. What entered leaves in the log phase, which every request comes to,
 * also one whose client has gone.
 */
#include "plugin/delay.h"
#include "plugin/limit_conf.h"
#include "plugin/refuse.h"

#include "base/assert.h"
#include "base/clock.h"

enum { KEYS = 262144 };

struct rule {
    const json_t *conn_json, *burst_json;
    struct str key;
    struct limit_number conn, burst; /* from the two above */
    struct limit_subject subject;
};

struct limit_conn_conf {
    const json_t *conn, *burst;
    struct arr rules;
    double default_conn_delay;
    struct str key, key_type, rejected_msg;
    int64_t rejected_code;
    bool only_use_default_delay, allow_degradation;

    /* Made by prepare. */
    struct rule one; /* without rules */
    struct str rejected_body;
    struct limit_owner *owner;
    int64_t default_us;
    int64_t *unit_us; /* of a wait; shared by the cores, relaxed: a lost update does no harm */
};

#define CONN_SCHEMA                                                                                \
    JSON({"oneOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string"}]})
#define BURST_SCHEMA JSON({"oneOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]})

static const struct field rule_fields[] = {
    F_AS("conn", struct rule, conn_json, .required = true, .raw = CONN_SCHEMA,
         .doc = "Requests at a time; text may hold $variables."),
    F_AS("burst", struct rule, burst_json, .required = true, .raw = BURST_SCHEMA,
         .doc = "Further requests that wait; text may hold $variables."),
    F_STR(struct rule, key, .required = true,
          .doc = "What is counted, with $variables; left out when none has a value."),
    F_END,
};

static const struct field limit_conn_fields[] = {
    F_JSON(struct limit_conn_conf, conn, .raw = CONN_SCHEMA,
           .doc = "Requests at a time; text may hold $variables."),
    F_JSON(struct limit_conn_conf, burst, .raw = BURST_SCHEMA,
           .doc = "Further requests that wait; text may hold $variables."),
    F_NUM(struct limit_conn_conf, default_conn_delay, .min_excl = 0,
          .doc = "Seconds one waits at first."),
    F_BOOL(struct limit_conn_conf, only_use_default_delay, .def = "false",
           .doc = "Do not let the wait follow what requests take."),
    F_STR(struct limit_conn_conf, key,
          .doc = "What is counted; the client's address when it has no value."),
    F_STR(struct limit_conn_conf, key_type, .def = "\"var\"",
          .choices = (const char *const[]){"var", "var_combination", NULL},
          .doc = "What key is: a variable's name, or text with $variables."),
    F_ARR_OF(struct limit_conn_conf, rules, struct rule, rule_fields,
             .doc = "Several limits at once, instead of conn, burst and key."),
    F_ONLY("policy",
           .extra = JSON(
               {"type": "string", "enum": ["redis", "redis-cluster", "local"], "default": "local"}),
           .doc = "Where counters are kept; local only in this build."),
    F_INT(struct limit_conn_conf, rejected_code, .def = "503", .min = 200, .max = 599,
          .doc = "Status of a refusal."),
    F_STR(struct limit_conn_conf, rejected_msg, .min_len = 1,
          .doc = "error_msg of a refusal; an error page when left out."),
    F_BOOL(struct limit_conn_conf, allow_degradation, .def = "false",
           .doc = "Let requests pass when the limit cannot be told."),
    LIMIT_REDIS_FIELD,
    F_END,
};

#define KEY_TTL_PROPERTY ",\"key_ttl\":{\"type\":\"integer\",\"default\":3600}"

extern const struct plugin limit_conn_plugin;
static struct limit_table *table;

static int limit_conn_init(const struct settings *s, struct err *e)
{
    table = limit_table_new(limit_conn_plugin.name, KEYS);
    return 0;
}

static int limit_conn_check(const json_t *conf, enum conf_use use, struct err *e)
{
    return limit_check_policy(conf, e);
}

static int limit_conn_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct limit_conn_conf *c = conf;

    for (size_t i = 0; i < c->rules.n; i++) {
        struct rule *rule = &((struct rule *)c->rules.v)[i];
        rule->conn = limit_number_new(p->arena, rule->conn_json);
        rule->burst = limit_number_new(p->arena, rule->burst_json);
        rule->subject = limit_subject_new(p->arena, STR("var_combination"), rule->key);
    }
    if (c->conn != NULL) {
        c->one.conn = limit_number_new(p->arena, c->conn);
        c->one.burst = limit_number_new(p->arena, c->burst);
        c->one.subject = limit_subject_new(p->arena, c->key_type, c->key);
    }
    c->rejected_body = limit_rejected_body(p->arena, c->rejected_msg);
    c->owner = limit_owner_new(p->arena, limit_conn_plugin.name, p->json);
    c->default_us = delay_us_of(c->default_conn_delay);
    c->unit_us = ARENA_NEW(p->arena, int64_t);
    *c->unit_us = c->default_us;
    return 0;
}

/* ---- entering ---- */

/* One count that this request holds. */
struct entered {
    struct entered *next;
    const struct limit_conn_conf *conf;
    struct limit_key key;
    int64_t waited_us;
};
struct state {
    struct entered *first;
};

static int64_t wait_us(const struct limit_conn_conf *c, int64_t in_flight, int64_t conn)
{
    const int64_t unit =
        c->only_use_default_delay ? c->default_us : __atomic_load_n(c->unit_us, __ATOMIC_RELAXED);
    const int64_t turns = (in_flight - 1) / conn;
    int64_t us;

    return __builtin_mul_overflow(unit, turns, &us) || us > DELAY_MAX_US ? DELAY_MAX_US : us;
}

static enum verdict await_entry(struct req *r, const struct limit_conn_conf *c,
                                const struct rule *rule, size_t index, struct str key)
{
    int64_t conn, burst;

    if (!limit_number_get(&rule->conn, r, 1, &conn) ||
        !limit_number_get(&rule->burst, r, 0, &burst)) {
        return limit_failed(r, &limit_conn_plugin, c->allow_degradation,
                            STR("conn or burst has no usable value"));
    }
    const struct limit_key k = limit_key(limit_owner_id(c->owner, r, c) + index, key);
    const int64_t n = limit_enter(table, k, conn + burst);
    if (n < 0) {
        return limit_failed(r, &limit_conn_plugin, c->allow_degradation, STR("the table is full"));
    }
    if (n == 0) {
        return refuse(r, &limit_conn_plugin, (int)c->rejected_code, c->rejected_body,
                      STR("over the limit"));
    }
    struct state *state = req_ctx(r, &limit_conn_plugin, struct state);
    struct entered *in = ARENA_NEW(r->arena, struct entered);
    *in = (struct entered){state->first, c, k, n > conn ? wait_us(c, n, conn) : 0};
    state->first = in;
    return req_await_delay(r, in->waited_us);
}

static enum verdict limit_conn_access(struct req *r, const void *conf)
{
    const struct limit_conn_conf *c = conf;
    const struct rule *rules = c->rules.v;
    bool any = false;

    if (c->conn != NULL) {
        return await_entry(r, c, &c->one, 0, limit_subject_or_client(&c->one.subject, r));
    }
    for (size_t i = 0; i < c->rules.n; i++) {
        struct str key = limit_subject_get(&rules[i].subject, r);
        if (str_is_none(key)) {
            continue; /* does not concern this request */
        }
        any = true;
        if (await_entry(r, c, &rules[i], i, key) == DONE) {
            return DONE;
        }
    }
    return any ? NEXT
               : limit_failed(r, &limit_conn_plugin, c->allow_degradation,
                              STR("failed to get limit conn rules: none applies"));
}

/* ---- leaving ---- */

/* What the request took: at the upstream, or here without the wait. */
static int64_t latency_us(const struct req *r, const struct entered *in)
{
    int64_t us = 0;

    if (r->n_tries == 0) {
        us = now_us() - r->start_us - in->waited_us;
        return us > 0 ? us : 0;
    }
    for (unsigned i = 0; i < r->n_tries; i++) {
        us += r->tries[i].response_us > 0 ? r->tries[i].response_us : 0;
    }
    return us;
}

static void leave(const struct req *r, const struct entered *in)
{
    const struct limit_conn_conf *c = in->conf;

    limit_leave(table, in->key);
    if (!c->only_use_default_delay) {
        const int64_t unit = __atomic_load_n(c->unit_us, __ATOMIC_RELAXED);
        __atomic_store_n(c->unit_us, (unit + latency_us(r, in)) / 2, __ATOMIC_RELAXED);
    }
}

/* All counts at once, whichever conf they are of: a request may pass this plugin in a global rule
 * and in its route. */
static void limit_conn_log(struct req *r, const void *conf)
{
    struct state *state = req_ctx_get(r, &limit_conn_plugin);

    for (; state && state->first; state->first = state->first->next) {
        leave(r, state->first);
    }
}

const struct plugin limit_conn_plugin = {
    .name = "limit-conn",
    .priority = 1003,
    .version = "0.1",
    .conf_size = sizeof(struct limit_conn_conf),
    .fields = limit_conn_fields,
    .schema_extra = "{" JSON("oneOf"
                             :
                             [
                                 {"required": ["conn", "burst", "default_conn_delay", "key"]},
                                 {"required": ["default_conn_delay", "rules"]}
                             ]) "," LIMIT_POLICIES(KEY_TTL_PROPERTY, KEY_TTL_PROPERTY,
                                                   "") ",\"properties\":{" LIMIT_REDIS_HIDE "}}",
    .check = limit_conn_check,
    .prepare = limit_conn_prepare,
    .init = limit_conn_init,
    .access = limit_conn_access,
    .log = limit_conn_log,
};
