/* SPDX-License-Identifier: Apache-2.0 */
/* fault-injection: hold requests back or answer them with an error, some of them or those that fit
 * conditions, to see what clients make of it. */
#include "plugin/delay.h"
#include "plugin/plugin.h"
#include "plugin/resp_fields.h"

#include "base/hash.h"

/* Which requests: a share of them, and those for which one of the expressions holds. */
struct choice {
    struct opt_int percentage;
    const json_t *vars;
    struct expr **exprs; /* from vars */
    size_t n_exprs;
};

struct abort {
    int64_t http_status;
    struct str body;
    const json_t *headers;
    struct choice choice;
    struct tmpl *text;         /* body */
    struct resp_fields fields; /* headers */
};

struct delay {
    double duration;
    struct choice choice;
    int64_t us;
};

struct fault_injection_conf {
    bool has_abort, has_delay;
    struct abort abort;
    struct delay delay;
};

#define VARS_SCHEMA JSON({"type": "array", "maxItems": 20, "items": {"type": "array"}})
#define HEADERS_SCHEMA                                                                             \
    JSON({                                                                                         \
        "type": "object",                                                                          \
        "minProperties": 1,                                                                        \
        "patternProperties": {"^[^:]+$": {"oneOf": [{"type": "string"}, {"type": "number"}]}}      \
    })

static const struct field abort_fields[] = {
    F_INT(struct abort, http_status, .required = true, .min = 200, .doc = "Status of the answer."),
    F_STR(struct abort, body, .min_len = 0, .doc = "Its body; $variables are expanded."),
    F_JSON(struct abort, headers, .raw = HEADERS_SCHEMA,
           .doc = "Its headers; $variables are expanded."),
    F_AS("percentage", struct abort, choice.percentage, .min = 0, .max = 100,
         .doc = "Share of the requests; all when left out."),
    F_AS("vars", struct abort, choice.vars, .raw = VARS_SCHEMA,
         .doc = "Only requests for which one of these expressions holds."),
    F_END,
};

static const struct field delay_fields[] = {
    F_NUM(struct delay, duration, .required = true, .min = 0, .doc = "Seconds to wait."),
    F_AS("percentage", struct delay, choice.percentage, .min = 0, .max = 100,
         .doc = "Share of the requests; all when left out."),
    F_AS("vars", struct delay, choice.vars, .raw = VARS_SCHEMA,
         .doc = "Only requests for which one of these expressions holds."),
    F_END,
};

static const struct field fault_injection_fields[] = {
    F_OBJ(struct fault_injection_conf, abort, abort_fields,
          .present = offsetof(struct fault_injection_conf, has_abort), .doc = "Answer here."),
    F_OBJ(struct fault_injection_conf, delay, delay_fields,
          .present = offsetof(struct fault_injection_conf, has_delay), .doc = "Wait first."),
    F_END,
};

static int check_vars(const json_t *vars, struct err *e)
{
    struct arena *a = arena_new(1024);
    size_t i;
    json_t *rule;

    json_array_foreach(vars, i, rule) {
        if (expr_new(a, rule, e) == NULL) {
            break;
        }
    }
    arena_free(a);
    return err_is_set(e) ? -1 : 0;
}

static int fault_injection_check(const json_t *conf, enum conf_use use, struct err *e)
{
    const json_t *abort = json_get(conf, "abort"), *delay = json_get(conf, "delay");

    if (check_vars(json_get(abort, "vars"), e) != 0 ||
        check_vars(json_get(delay, "vars"), e) != 0) {
        return -1;
    }
    if (json_integer_value(json_get(abort, "http_status")) > 999) {
        return err_set(e, "property \"http_status\" validation failed: a status has three digits");
    }
    return resp_fields_check(json_get(abort, "headers"), e);
}

static int choice_prepare(const struct prepare *p, struct choice *c, struct err *e)
{
    c->n_exprs = json_array_size(c->vars);
    c->exprs = ARENA_ARRAY(p->arena, struct expr *, c->n_exprs + 1);
    for (size_t i = 0; i < c->n_exprs; i++) {
        c->exprs[i] = expr_new(p->arena, json_array_get(c->vars, i), e);
        if (c->exprs[i] == NULL) {
            return -1;
        }
    }
    return 0;
}

static int fault_injection_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct fault_injection_conf *c = conf;

    c->abort.text = str_is_none(c->abort.body) ? NULL : tmpl_new(p->arena, c->abort.body);
    c->abort.fields = resp_fields_new(p->arena, c->abort.headers);
    c->delay.us = delay_us_of(c->delay.duration);
    return choice_prepare(p, &c->abort.choice, e) != 0 ? -1
                                                       : choice_prepare(p, &c->delay.choice, e);
}

/* The dice are thrown for each request, whether the conditions hold or not. */
static bool is_chosen(struct req *r, const struct choice *c)
{
    if (c->percentage.set && (int64_t)(random_u64() % 100) >= c->percentage.v) {
        return false;
    }
    for (size_t i = 0; i < c->n_exprs; i++) {
        if (expr_eval(c->exprs[i], r)) {
            return true;
        }
    }
    return c->vars == NULL;
}

static enum verdict fault_injection_rewrite(struct req *r, const void *conf)
{
    const struct fault_injection_conf *c = conf;
    /* Conditions are those of the request as it came, not of the moment after the delay. */
    const bool aborts = c->has_abort && is_chosen(r, &c->abort.choice);

    if (c->has_delay && is_chosen(r, &c->delay.choice) && req_await_delay(r, c->delay.us) == DONE) {
        return DONE;
    }
    if (!aborts) {
        return NEXT;
    }
    resp_fields_set(r, &c->abort.fields);
    return req_reply(r, (int)c->abort.http_status,
                     c->abort.text ? tmpl_expand(c->abort.text, r->arena, r, NULL) : STR_NONE);
}

const struct plugin fault_injection_plugin = {
    .name = "fault-injection",
    .priority = 11000,
    .version = "0.1",
    .conf_size = sizeof(struct fault_injection_conf),
    .fields = fault_injection_fields,
    .schema_extra = JSON({"minProperties": 1}),
    .check = fault_injection_check,
    .prepare = fault_injection_prepare,
    .rewrite = fault_injection_rewrite,
};
