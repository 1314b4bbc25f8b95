/* SPDX-License-Identifier: Apache-2.0 */
/* graphql_vars: see graphql_vars.h. */
#include "http/graphql_vars.h"

#include "base/log.h"
#include "config/settings.h"
#include "http/body_tree.h"
#include "http/graphql.h"

static struct str body_document(struct req *r, uint64_t max)
{
    if (body_kind_of(r) == BODY_JSON) {
        return json_str(json_get(body_await_tree(r, max), "query"));
    }
    return req_await_body(r, max) == 0 ? r->body : STR_NONE;
}

static struct str document_of(struct req *r)
{
    const uint64_t max = (uint64_t)r->settings->graphql_max_size;
    struct str text = STR_NONE;

    if (r->method_id == M_GET) {
        text = req_arg(r, STR("query"), NULL);
    } else if (r->method_id == M_POST) {
        text = body_document(r, max);
    }
    return text.n <= max ? text : STR_NONE;
}

/* Of the request's document, read once; operation is STR_NONE when there is none. */
static const struct graphql *graphql_of(struct req *r)
{
    struct err e = {""};

    if (r->graphql != NULL) {
        return r->graphql;
    }
    const struct str text = document_of(r);
    struct graphql *g = ARENA_NEW(r->arena, struct graphql);
    if (!str_is_none(text) && graphql_parse(r->arena, text, g, &e) != 0) {
        LOG_RATE(WARN, "no GraphQL, variables of it are missing: %s", e.msg);
        *g = (struct graphql){0};
    }
    r->graphql = g;
    return g;
}

static struct value text(struct str s)
{
    return (struct value){.kind = str_is_none(s) ? VALUE_NONE : VALUE_STR, .s = s};
}

struct value graphql_name(struct req *r)
{
    return text(graphql_of(r)->name);
}

struct value graphql_operation(struct req *r)
{
    return text(graphql_of(r)->operation);
}

struct value graphql_root_fields(struct req *r)
{
    const struct graphql *g = graphql_of(r);

    if (str_is_none(g->operation)) {
        return (struct value){0};
    }
    struct value *list = ARENA_ARRAY(r->arena, struct value, g->n_fields);
    for (size_t i = 0; i < g->n_fields; i++) {
        list[i] = text(g->fields[i]);
    }
    return (struct value){.kind = VALUE_LIST, .list = list, .n = g->n_fields};
}
