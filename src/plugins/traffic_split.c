/* SPDX-License-Identifier: Apache-2.0 */
/*
 * traffic-split: send shares of the traffic to other upstreams. The first rule that matches
 * decides; an entry that names no upstream stands for the route's own.
 *
 * Shares are exact, over all cores together: requests draw tickets, and the tickets of one round
 * (the sum of the weights) are dealt out in an order that mixes the upstreams well.
 */
#include "base/assert.h"
#include "base/log.h"
#include "config/resource.h"
#include "config/snapshot.h"
#include "plugin/plugin.h"

#include <stdlib.h>

enum { UPSTREAMS_MAX = 20, SCHEMA_ROOM = 16384 };

struct match {
    const json_t *vars;
    struct expr *expr; /* from vars; NULL: always */
};

struct weighted {
    struct str upstream_id;
    const json_t *upstream;
    int64_t weight;
    const struct upstream_conf *conf; /* from upstream */
};

struct rule {
    struct arr match;
    struct arr weighted_upstreams;
    uint64_t round;   /* sum of the weights; 0: only the route's own upstream is left */
    uint64_t step;    /* from ticket to place; has no divisor in common with round */
    uint64_t *ticket; /* shared by the cores */
};

struct traffic_split_conf {
    struct arr rules;
};

#define ID_SCHEMA                                                                                  \
    JSON({                                                                                         \
        "anyOf": [                                                                                 \
            {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-_.]+$"},   \
            {"type": "integer", "minimum": 1}                                                      \
        ]                                                                                          \
    })

static const struct field match_fields[] = {
    F_JSON(struct match, vars, .raw = JSON({"type": "array"}), .doc = "Expression over variables."),
    F_END,
};

static const struct field weighted_fields[] = {
    F_STR(struct weighted, upstream_id, .raw = ID_SCHEMA, .doc = "An upstream object."),
    F_JSON(struct weighted, upstream, .doc = "An upstream, given here."),
    F_INT(struct weighted, weight, .def = "1", .min = 0, .doc = "Its share."),
    F_END,
};

static const struct field rule_fields[] = {
    F_ARR_OF(struct rule, match, struct match, match_fields,
             .doc = "One of these must match; all requests do when left out."),
    F_ARR_OF(struct rule, weighted_upstreams, struct weighted, weighted_fields,
             .def = "[{\"weight\": 1}]", .min_len = 1, .max_len = UPSTREAMS_MAX,
             .doc = "Where to, with what shares."),
    F_END,
};

static const struct field traffic_split_fields[] = {
    F_ARR_OF(struct traffic_split_conf, rules, struct rule, rule_fields,
             .doc = "The first that matches decides."),
    F_END,
};

/* The schema of an inline upstream is the one of upstream objects, which is known as a table: its
 * text is made before main() reads schema_raw. */
static char schema_text[SCHEMA_ROOM];

static __attribute__((constructor)) void schema_make(void)
{
    json_t *schema = fields_schema(traffic_split_fields, false, NULL), *at = schema;
    static const char *const path[] = {"properties",         "rules", "items",     "properties",
                                       "weighted_upstreams", "items", "properties"};

    for (size_t i = 0; i < LENGTH_OF(path); i++) {
        at = json_get(at, path[i]);
    }
    json_object_set(at, "upstream", (json_t *)resource_schema(K_UPSTREAM));
    ASSERT(json_dumpb(schema, schema_text, sizeof(schema_text) - 1, JSON_COMPACT) <
           sizeof(schema_text));
    json_decref(schema);
}

/* ---- checks ---- */

static int check_match(const json_t *match, struct err *e)
{
    struct arena *a = arena_new(1024);
    size_t i;
    json_t *one;

    json_array_foreach(match, i, one) {
        const json_t *vars = json_get(one, "vars");
        if (vars != NULL && expr_new(a, vars, e) == NULL) {
            err_prefix(e, "failed to validate the 'vars' expression: ");
            break;
        }
    }
    arena_free(a);
    return err_is_set(e) ? -1 : 0;
}

static int check_upstreams(const json_t *weighted, struct err *e)
{
    size_t i;
    json_t *one;

    json_array_foreach(weighted, i, one) {
        const json_t *upstream = json_get(one, "upstream");
        if (upstream != NULL && upstream_conf_check(upstream, e) != 0) {
            return -1;
        }
    }
    return 0;
}

static int traffic_split_check(const json_t *conf, enum conf_use use, struct err *e)
{
    size_t i;
    json_t *rule;

    json_array_foreach(json_get(conf, "rules"), i, rule) {
        if (check_match(json_get(rule, "match"), e) != 0 ||
            check_upstreams(json_get(rule, "weighted_upstreams"), e) != 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- prepare ---- */

static uint64_t divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        const uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The golden ratio's share of round, moved to a number that has no divisor in common with it, so
 * that stepping visits every place once. */
static uint64_t step_of(uint64_t round)
{
    uint64_t step = (uint64_t)((double)round * 0.6180339887498949);

    while (step == 0 || divisor(step, round) != 1) {
        step++;
    }
    return step;
}

/* Weights over their greatest common divisor, and scaled down until a round has less than 2^32
 * places; a share is never rounded to nothing. */
static void shares_prepare(struct rule *rule, struct arena *a)
{
    struct weighted *w = rule->weighted_upstreams.v;
    uint64_t common = 0;
    unsigned shift = 0;

    for (size_t i = 0; i < rule->weighted_upstreams.n; i++) {
        common = divisor((uint64_t)w[i].weight, common);
    }
    for (size_t i = 0; i < rule->weighted_upstreams.n && common > 0; i++) {
        w[i].weight = (int64_t)((uint64_t)w[i].weight / common);
        while (w[i].weight >> shift >= UINT32_MAX / UPSTREAMS_MAX) {
            shift++;
        }
    }
    for (size_t i = 0; i < rule->weighted_upstreams.n; i++) {
        if (w[i].weight > 0) {
            w[i].weight = w[i].weight >> shift ? w[i].weight >> shift : 1;
        }
        rule->round += (uint64_t)w[i].weight;
    }
    rule->step = rule->round > 0 ? step_of(rule->round) : 0;
    rule->ticket = ARENA_NEW(a, uint64_t);
}

static int rule_prepare(const struct prepare *p, struct rule *rule, size_t index, struct err *e)
{
    struct match *m = rule->match.v;
    struct weighted *w = rule->weighted_upstreams.v;

    for (size_t i = 0; i < rule->match.n; i++) {
        m[i].expr = m[i].vars ? expr_new(p->arena, m[i].vars, e) : NULL;
        if (m[i].vars && m[i].expr == NULL) {
            return -1;
        }
    }
    for (size_t i = 0; i < rule->weighted_upstreams.n; i++) {
        if (w[i].upstream != NULL && w[i].upstream_id.p == NULL) {
            struct str id = arena_printf(p->arena, "traffic-split/%zu/%zu", index, i);
            w[i].conf = upstream_conf_new(w[i].upstream, id, p->arena, e);
            if (w[i].conf == NULL) {
                return -1;
            }
        }
    }
    shares_prepare(rule, p->arena);
    return 0;
}

static int traffic_split_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct traffic_split_conf *c = conf;

    for (size_t i = 0; i < c->rules.n; i++) {
        if (rule_prepare(p, &((struct rule *)c->rules.v)[i], i, e) != 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- access ---- */

static bool is_matched(struct req *r, const struct rule *rule)
{
    const struct match *m = rule->match.v;

    for (size_t i = 0; i < rule->match.n; i++) {
        if (m[i].expr == NULL || expr_eval(m[i].expr, r)) {
            return true;
        }
    }
    return rule->match.n == 0;
}

/* The upstream whose turn it is. */
static const struct weighted *draw(const struct rule *rule)
{
    const struct weighted *w = rule->weighted_upstreams.v;
    const uint64_t ticket = __atomic_fetch_add(rule->ticket, 1, __ATOMIC_RELAXED);
    uint64_t place = ticket % rule->round * rule->step % rule->round; /* both are below 2^32 */

    while (place >= (uint64_t)w->weight) {
        place -= (uint64_t)w->weight;
        w++;
    }
    return w;
}

static enum verdict choose(struct req *r, const struct weighted *w)
{
    if (w->upstream_id.p == NULL) {
        r->up.conf = w->conf; /* NULL: the route's own */
        return NEXT;
    }
    const struct upstream *u = SNAP_FIND(r->snapshot, UPSTREAM, upstream, w->upstream_id);
    if (u == NULL) {
        LOG_RATE(ERROR, "traffic-split: there is no upstream %.*s, route: %.*s",
                 STR_ARG(w->upstream_id), STR_ARG(r->route ? r->route->o.id : STR("-")));
        return req_reply(r, 500,
                         arena_cat(r->arena, STR("failed to fetch upstream info by upstream id: "),
                                   w->upstream_id));
    }
    r->up.conf = &u->c;
    return NEXT;
}

static enum verdict traffic_split_access(struct req *r, const void *conf)
{
    const struct traffic_split_conf *c = conf;
    const struct rule *rules = c->rules.v;

    for (size_t i = 0; i < c->rules.n; i++) {
        if (is_matched(r, &rules[i])) {
            return rules[i].round > 0 ? choose(r, draw(&rules[i])) : NEXT;
        }
    }
    return NEXT;
}

const struct plugin traffic_split_plugin = {
    .name = "traffic-split",
    .priority = 966,
    .version = "0.1",
    .conf_size = sizeof(struct traffic_split_conf),
    .fields = traffic_split_fields,
    .schema_raw = schema_text,
    .check = traffic_split_check,
    .prepare = traffic_split_prepare,
    .access = traffic_split_access,
};
