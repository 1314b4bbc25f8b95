/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * limit_conf: what the confs of the rate limiting plugins have in common: numbers that may be text
 * with variables, the key that is counted, and whose the counter is. Made by prepare in the conf's
 * arena, read by any core.
 */
#include "plugin/limit.h"
#include "plugin/plugin.h"

/* ---- numbers ---- */

/* An integer, or text that expands to one for each request. */
struct limit_number {
    int64_t v;
    struct tmpl *text; /* NULL: v */
};
struct limit_number limit_number_new(struct arena *a, const json_t *v);
/* What text gives for r: an integer from least to 2^53 - 1. False when it is something else (the
 * log says what). */
bool limit_number_expand(const struct limit_number *n, struct req *r, int64_t least, int64_t *out);
static inline bool limit_number_get(const struct limit_number *n, struct req *r, int64_t least,
                                    int64_t *out)
{
    *out = n->v;
    return n->text == NULL || limit_number_expand(n, r, least, out);
}

/* ---- what is counted ---- */

struct limit_subject {
    enum { LIMIT_VAR, LIMIT_TMPL, LIMIT_TEXT } kind;
    struct var var;
    struct tmpl *tmpl;
    struct str text;
};
/* key_type: var, var_combination, constant. */
struct limit_subject limit_subject_new(struct arena *a, struct str key_type, struct str key);
/* Its text for r; STR_NONE when no variable in it has a value. */
struct str limit_subject_get(const struct limit_subject *s, struct req *r);
/* The same with the client's address for what has no value. */
struct str limit_subject_or_client(const struct limit_subject *s, struct req *r);

/* ---- whose counter it is ---- */

/*
 * A counter belongs to the object that holds the conf and to what the conf says: it goes on when
 * the object is stored again with the same conf. The object is not known when the conf is made, so
 * the first request finds it. A conf that lies in no object (of a plugin that runs others) has
 * counters of its own.
 */
struct limit_owner;
struct limit_owner *limit_owner_new(struct arena *a, const char *plugin, const json_t *conf);
/* Shared by all confs of the group. */
struct limit_owner *limit_owner_of_group(struct arena *a, const char *plugin, struct str group);
/* conf: the plugin's. */
uint64_t limit_owner_id(struct limit_owner *o, const struct req *r, const void *conf);
/* How logs name the owner, with a colon at the end, as it may stand in a JSON string; after
 * limit_owner_id(). */
struct str limit_owner_name(const struct limit_owner *o);
/* Text as it may stand in a JSON string; s itself when nothing has to be escaped. */
struct str limit_json_escaped(struct arena *a, struct str s);

/* ---- checks and answers ---- */

/* Policies that need a server of their own, which this build does not speak to. 0, or -1 with e. */
int limit_check_policy(const json_t *conf, struct err *e);

/* The body of a refusal; STR_NONE without msg. */
struct str limit_rejected_body(struct arena *a, struct str msg);
/* Answer 500 because the limit cannot be told, or let the request pass when the conf allows that.
 */
enum verdict limit_failed(struct req *r, const struct plugin *p, bool allow_degradation,
                          struct str why);

/* The fields of the redis policies: they appear in the schema under `then` only, so the plain
 * property is taken away again by LIMIT_REDIS_HIDE (in schema_extra). */
#define LIMIT_REDIS_FIELD                                                                          \
    F_ONLY("redis_password", .secret = true, .doc = "Password, with a redis policy.")
#define LIMIT_REDIS_PROPERTIES                                                                     \
    "\"redis_host\":{\"type\":\"string\",\"minLength\":2},"                                        \
    "\"redis_port\":{\"type\":\"integer\",\"minimum\":1,\"default\":6379},"                        \
    "\"redis_username\":{\"type\":\"string\",\"minLength\":1},"                                    \
    "\"redis_password\":{\"type\":\"string\",\"minLength\":0},"                                    \
    "\"redis_database\":{\"type\":\"integer\",\"minimum\":0,\"default\":0},"                       \
    "\"redis_timeout\":{\"type\":\"integer\",\"minimum\":1,\"default\":1000},"                     \
    "\"redis_ssl\":{\"type\":\"boolean\",\"default\":false},"                                      \
    "\"redis_ssl_verify\":{\"type\":\"boolean\",\"default\":false},"                               \
    "\"redis_keepalive_timeout\":{\"type\":\"integer\",\"minimum\":1000,\"default\":10000},"       \
    "\"redis_keepalive_pool\":{\"type\":\"integer\",\"minimum\":1,\"default\":100}"
#define LIMIT_CLUSTER_PROPERTIES                                                                   \
    "\"redis_cluster_nodes\":{\"type\":\"array\",\"minItems\":1,"                                  \
    "\"items\":{\"type\":\"string\",\"minLength\":2,\"maxLength\":100}},"                          \
    "\"redis_cluster_name\":{\"type\":\"string\"},"                                                \
    "\"redis_password\":{\"type\":\"string\",\"minLength\":0},"                                    \
    "\"redis_timeout\":{\"type\":\"integer\",\"minimum\":1,\"default\":1000},"                     \
    "\"redis_cluster_ssl\":{\"type\":\"boolean\",\"default\":false},"                              \
    "\"redis_cluster_ssl_verify\":{\"type\":\"boolean\",\"default\":false},"                       \
    "\"redis_keepalive_timeout\":{\"type\":\"integer\",\"minimum\":1000,\"default\":10000},"       \
    "\"redis_keepalive_pool\":{\"type\":\"integer\",\"minimum\":1,\"default\":100}"
#define LIMIT_POLICY_IS(name) "\"if\":{\"properties\":{\"policy\":{\"enum\":[\"" name "\"]}}}"
/* more_redis, more_cluster: further properties with a comma in front; otherwise: what stands in the
 * last else, or "". */
#define LIMIT_POLICIES(more_redis, more_cluster, otherwise)                                        \
    LIMIT_POLICY_IS("redis")                                                                       \
    ",\"then\":{\"properties\":{" LIMIT_REDIS_PROPERTIES more_redis                                \
    "},\"required\":[\"redis_host\"]},\"else\":{" LIMIT_POLICY_IS(                                 \
        "redis-cluster") ",\"then\":{\"properties\":{" LIMIT_CLUSTER_PROPERTIES                    \
        more_cluster "},\"required\":[\"redis_cluster_nodes\",\"redis_cluster_name\"]}" otherwise  \
                         "}"
#define LIMIT_REDIS_HIDE "\"redis_password\":null"
