/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit-req: so many requests a second for each value of a key, as a leaky bucket: what comes
 * faster than rate waits its turn, what comes when burst requests wait already is refused.
 */
#include "plugin/delay.h"
#include "plugin/limit_conf.h"
#include "plugin/refuse.h"

#include "base/clock.h"

enum { KEYS = 262144 };

struct limit_req_conf {
    double rate, burst;
    struct str key, key_type, rejected_msg;
    int64_t rejected_code;
    bool nodelay;

    /* Made by prepare. */
    struct limit_subject subject;
    struct str rejected_body;
    struct limit_owner *owner;
};

static const struct field limit_req_fields[] = {
    F_NUM(struct limit_req_conf, rate, .required = true, .min_excl = 0,
          .doc = "Requests a second."),
    F_NUM(struct limit_req_conf, burst, .required = true, .min = 0,
          .doc = "Requests above the rate that may wait."),
    F_STR(struct limit_req_conf, key, .required = true,
          .doc = "What is counted; the client's address when it has no value."),
    F_STR(struct limit_req_conf, key_type, .def = "\"var\"",
          .choices = (const char *const[]){"var", "var_combination", NULL},
          .doc = "What key is: a variable's name, or text with $variables."),
    F_ONLY("policy",
           .extra = JSON(
               {"type": "string", "enum": ["redis", "redis-cluster", "local"], "default": "local"}),
           .doc = "Where counters are kept; local only in this build."),
    F_INT(struct limit_req_conf, rejected_code, .def = "503", .min = 200, .max = 599,
          .doc = "Status of a refusal."),
    F_STR(struct limit_req_conf, rejected_msg, .min_len = 1,
          .doc = "error_msg of a refusal; an error page when left out."),
    F_BOOL(struct limit_req_conf, nodelay, .def = "false",
           .doc = "Let requests within burst pass at once."),
    F_ONLY("allow_degradation", .extra = JSON({"type": "boolean", "default": false}),
           .doc = "For redis policies."),
    LIMIT_REDIS_FIELD,
    F_END,
};

extern const struct plugin limit_req_plugin;
static struct limit_table *table;

static int limit_req_init(const struct settings *s, struct err *e)
{
    table = limit_table_new(limit_req_plugin.name, KEYS);
    return 0;
}

static int limit_req_check(const json_t *conf, enum conf_use use, struct err *e)
{
    return limit_check_policy(conf, e);
}

static int limit_req_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct limit_req_conf *c = conf;

    c->subject = limit_subject_new(p->arena, c->key_type, c->key);
    c->rejected_body = limit_rejected_body(p->arena, c->rejected_msg);
    c->owner = limit_owner_new(p->arena, limit_req_plugin.name, p->json);
    return 0;
}

static enum verdict limit_req_access(struct req *r, const void *conf)
{
    const struct limit_req_conf *c = conf;
    const struct limit_key k =
        limit_key(limit_owner_id(c->owner, r, c), limit_subject_or_client(&c->subject, r));
    const int64_t wait = limit_leaky(table, k, c->rate, c->burst, now_us());

    if (wait < 0) {
        return refuse(r, &limit_req_plugin, (int)c->rejected_code, c->rejected_body,
                      STR("over the limit"));
    }
    return c->nodelay ? NEXT : req_await_delay(r, wait);
}

const struct plugin limit_req_plugin = {
    .name = "limit-req",
    .priority = 1001,
    .version = "0.1",
    .conf_size = sizeof(struct limit_req_conf),
    .fields = limit_req_fields,
    .schema_extra = "{" LIMIT_POLICIES("", "", "") ",\"properties\":{" LIMIT_REDIS_HIDE "}}",
    .check = limit_req_check,
    .prepare = limit_req_prepare,
    .init = limit_req_init,
    .access = limit_req_access,
};
