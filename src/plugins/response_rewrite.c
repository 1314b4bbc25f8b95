/* SPDX-License-Identifier: Apache-2.0 */
/*
 * response-rewrite: change status, headers and body of an answer, whether the upstream or the
 * gateway made it.
 *
 * A given body takes the place of the first run and the rest is dropped. Filters need the whole
 * body: the gateway gathers it before the head goes out, so an answer whose filters fail can still
 * become an error. Compressed bodies are not unpacked: filters leave them as they are, and the log
 * says so.
 */
#include "plugin/plugin.h"
#include "plugin/resp_fields.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/re.h"

struct filter {
    struct str regex, replace, scope, options;
    struct re *re;
    bool all;
};

struct response_rewrite_conf {
    const json_t *headers, *vars;
    struct str body;
    bool body_base64;
    struct opt_int status_code;
    struct arr filters;
    int64_t max_resp_body_size;

    /* Made by prepare. */
    struct expr *expr;
    struct str new_body; /* body, decoded; STR_NONE: as it comes */
    struct resp_fields add, set, remove;
};

static const struct field filter_fields[] = {
    F_STR(struct filter, regex, .required = true, .min_len = 1,
          .doc = "What to look for in the body."),
    F_STR(struct filter, replace, .required = true,
          .doc = "What to put in its place; $1 is the first group."),
    F_STR(struct filter, scope, .def = "\"once\"",
          .choices = (const char *const[]){"once", "global", NULL},
          .doc = "The first match, or all."),
    F_STR(struct filter, options, .def = "\"jo\"",
          .doc = "Letters: i caseless, s dot matches newline, m many lines, x extended."),
    F_END,
};

#define MAP_SCHEMA                                                                                 \
    "{\"type\":\"object\",\"minProperties\":1,\"patternProperties\":{"                             \
    "\"^[^:]+$\":{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"number\"}]}}}"
#define LINES_SCHEMA(pattern)                                                                      \
    "{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"string\",\"pattern\":\"" pattern     \
    "\"}}"
#define HEADERS_SCHEMA                                                                             \
    "{\"anyOf\":[" MAP_SCHEMA ",{\"properties\":{"                                                 \
    "\"add\":" LINES_SCHEMA("^[^:]+:[^:]*[^/]$") ","                                               \
                                                 "\"set\":" MAP_SCHEMA                             \
                                                 ",\"remove\":" LINES_SCHEMA("^[^:]+$") "}}]}"

static const struct field response_rewrite_fields[] = {
    F_JSON(struct response_rewrite_conf, headers, .raw = HEADERS_SCHEMA,
           .doc = "add, set, remove; or a map of headers to set. $variables are expanded."),
    F_STR(struct response_rewrite_conf, body, .doc = "The new body."),
    F_BOOL(struct response_rewrite_conf, body_base64, .def = "false", .doc = "body is base64."),
    F_INT(struct response_rewrite_conf, status_code, .min = 200, .max = 598,
          .doc = "The new status."),
    F_JSON(struct response_rewrite_conf, vars, .raw = JSON({"type": "array"}),
           .doc = "Only answers for which this expression holds."),
    F_ARR_OF(struct response_rewrite_conf, filters, struct filter, filter_fields, .min_len = 1,
             .doc = "Replacements in the body, one after the other."),
    F_INT(struct response_rewrite_conf, max_resp_body_size, .def = "67108864", .min = 1,
          .doc = "Largest body that filters take; a larger one is an error."),
    F_END,
};

/* ---- checks ---- */

/* add, set, remove; else the map itself is what to set. */
static bool is_new_form(const json_t *headers)
{
    return json_is_array(json_get(headers, "add")) || json_is_object(json_get(headers, "set")) ||
           json_is_array(json_get(headers, "remove"));
}

/* "Name: value" at its first colon, which the schema wants. */
static void split_line(struct str line, struct str *name, struct str *value)
{
    *value = line;
    str_split(value, ':', name);
    *name = str_trim(*name);
    *value = str_trim(*value);
}

static int check_headers(const json_t *headers, struct err *e)
{
    size_t i;
    json_t *line;

    if (!is_new_form(headers)) {
        return resp_fields_check(headers, e);
    }
    json_array_foreach(json_get(headers, "add"), i, line) {
        struct str name, value;
        split_line(json_str(line), &name, &value);
        if (resp_field_name_check(name, e) != 0) {
            return -1;
        }
        if (!header_value_is_valid(value)) {
            return err_set(e, "invalid value of header \"%.*s\"", STR_ARG(name));
        }
    }
    json_array_foreach(json_get(headers, "remove"), i, line) {
        if (resp_field_name_check(json_str(line), e) != 0) {
            return -1;
        }
    }
    return resp_fields_check(json_get(headers, "set"), e);
}

static int check_body(const json_t *conf, struct arena *a, struct err *e)
{
    const struct str body = json_str(json_get(conf, "body"));

    if (json_is_true(json_get(conf, "body_base64")) &&
        (body.n == 0 || str_is_none(base64_decode(a, body)))) {
        return err_set(e, "invalid base64 content");
    }
    return 0;
}

static int check_filters(const json_t *filters, struct arena *a, struct err *e)
{
    size_t i;
    json_t *f;

    json_array_foreach(filters, i, f) {
        const struct str regex = json_str(json_get(f, "regex"));
        const char *options = json_string_value(json_get(f, "options"));
        if (re_new(a, regex, options ? options : "jo", e) == NULL ||
            re_check_replacement(json_str(json_get(f, "replace")), e) != 0) {
            return err_prefix(e, "regex \"%.*s\" validation failed: ", STR_ARG(regex));
        }
    }
    return 0;
}

static int check_vars(const json_t *vars, struct arena *a, struct err *e)
{
    if (vars != NULL && expr_new(a, vars, e) == NULL) {
        return err_prefix(e, "failed to validate the 'vars' expression: ");
    }
    return 0;
}

static int response_rewrite_check(const json_t *conf, enum conf_use use, struct err *e)
{
    struct arena *a = arena_new(4096);
    const bool ok = check_headers(json_get(conf, "headers"), e) == 0 &&
                    check_body(conf, a, e) == 0 && check_vars(json_get(conf, "vars"), a, e) == 0 &&
                    check_filters(json_get(conf, "filters"), a, e) == 0;

    arena_free(a);
    return ok ? 0 : -1;
}

/* ---- prepare ---- */

static struct resp_fields lines_new(struct arena *a, const json_t *lines, bool with_value)
{
    struct resp_fields out = {ARENA_ARRAY(a, struct resp_field, json_array_size(lines) + 1), 0};
    size_t i;
    json_t *line;

    json_array_foreach(lines, i, line) {
        struct str name = json_str(line), value = STR_NONE;
        if (with_value) {
            split_line(name, &name, &value);
        }
        out.v[out.n++] = resp_field_new(a, name, value);
    }
    return out;
}

static int response_rewrite_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct response_rewrite_conf *c = conf;
    const bool new_form = is_new_form(c->headers);

    c->add = lines_new(p->arena, new_form ? json_get(c->headers, "add") : NULL, true);
    c->set = resp_fields_new(p->arena, new_form ? json_get(c->headers, "set") : c->headers);
    c->remove = lines_new(p->arena, new_form ? json_get(c->headers, "remove") : NULL, false);
    c->new_body = c->body_base64 ? base64_decode(p->arena, c->body) : c->body;
    for (size_t i = 0; i < c->filters.n; i++) {
        struct filter *f = &((struct filter *)c->filters.v)[i];
        f->re = re_new(p->arena, f->regex, f->options.p, e);
        f->all = str_eq(f->scope, STR("global"));
        if (f->re == NULL) {
            return -1;
        }
    }
    c->expr = c->vars ? expr_new(p->arena, c->vars, e) : NULL;
    return c->vars && c->expr == NULL ? -1 : 0;
}

/* ---- the answer's head ---- */

extern const struct plugin response_rewrite_plugin;

/* What one conf does to this answer; there may be one of a global rule and one of the route. */
struct rewriting {
    struct rewriting *next;
    const struct response_rewrite_conf *conf;
    bool filters, body_sent;
};
struct state {
    struct rewriting *first;
};

/* What the upstream said of its body is not true of the new one. */
static void forget_body(struct req *r)
{
    headers_del_id(&r->resp.headers, H_CONTENT_ENCODING);
    headers_del_id(&r->resp.headers, H_ETAG);
    headers_del_id(&r->resp.headers, H_LAST_MODIFIED);
    r->resp.length = -1;
    if (r->resp.source != FROM_UPSTREAM && r->resp.body.p == NULL) {
        r->resp.body = STR(""); /* so that it comes to the body filter */
    }
}

static bool is_packed(const struct req *r)
{
    const struct str encoding = headers_get(&r->resp.headers, H_CONTENT_ENCODING);

    return encoding.n > 0 && !str_ieq(encoding, STR("identity"));
}

static void begin_filters(struct req *r, const struct response_rewrite_conf *c, struct rewriting *w)
{
    if (is_packed(r)) {
        LOG_RATE(ERROR, "response-rewrite: filters leave a %.*s body alone, route: %.*s",
                 STR_ARG(headers_get(&r->resp.headers, H_CONTENT_ENCODING)),
                 STR_ARG(r->route ? r->route->o.id : STR("-")));
        return;
    }
    const uint64_t max = (uint64_t)c->max_resp_body_size;
    r->resp.buffer_max = r->resp.buffer_body && r->resp.buffer_max < max ? r->resp.buffer_max : max;
    r->resp.buffer_body = true;
    w->filters = true;
    forget_body(r);
}

static void rewrite_body(struct req *r, const struct response_rewrite_conf *c)
{
    struct state *state = req_ctx(r, &response_rewrite_plugin, struct state);
    struct rewriting *w = ARENA_NEW(r->arena, struct rewriting);

    *w = (struct rewriting){.next = state->first, .conf = c};
    state->first = w;
    if (c->filters.n > 0) {
        begin_filters(r, c, w);
    } else {
        forget_body(r);
        r->resp.length = (int64_t)c->new_body.n;
    }
}

static void rewrite_headers(struct req *r, const struct response_rewrite_conf *c)
{
    for (unsigned i = 0; i < c->add.n; i++) {
        resp_field_add(r, &c->add.v[i]);
    }
    resp_fields_set(r, &c->set);
    for (unsigned i = 0; i < c->remove.n; i++) {
        resp_field_remove(r, &c->remove.v[i]);
    }
}

static void response_rewrite_header_filter(struct req *r, const void *conf)
{
    const struct response_rewrite_conf *c = conf;

    if (c->expr && !expr_eval(c->expr, r)) {
        return;
    }
    if (r->resp.status != 101) { /* a tunnel has neither another status nor a body */
        if (c->status_code.set) {
            r->resp.status = (int)c->status_code.v;
            r->resp.reason = STR_NONE;
        }
        if (c->filters.n > 0 || c->new_body.p != NULL) {
            rewrite_body(r, c);
        }
    }
    rewrite_headers(r, c);
}

/* ---- the answer's body ---- */

/* The head is not out yet, so that what could not be filtered does not have to be sent. */
static struct str filters_failed(struct req *r, const struct filter *f)
{
    LOG_RATE(
        ERROR, "response-rewrite: regex \"%.*s\" failed, answering 500, route: %.*s, path: %.*s",
        STR_ARG(f->regex), STR_ARG(r->route ? r->route->o.id : STR("-")), STR_ARG(r->raw_path));
    r->resp.status = 500;
    r->resp.reason = STR_NONE;
    headers_set_id(&r->resp.headers, H_CONTENT_TYPE, STR("text/html; charset=utf-8"));
    return req_error_page(r->arena, 500);
}

static struct str filtered(struct req *r, const struct response_rewrite_conf *c, struct str body)
{
    const struct filter *f = c->filters.v;

    for (size_t i = 0; i < c->filters.n; i++) {
        const struct str next = re_replace(r->arena, f[i].re, body, f[i].replace, f[i].all);
        if (str_is_none(next)) {
            return filters_failed(r, &f[i]);
        }
        body = next;
    }
    return body;
}

static void response_rewrite_body_filter(struct req *r, const void *conf, struct body_run *b)
{
    const struct state *state = req_ctx_get(r, &response_rewrite_plugin);
    struct rewriting *w = state ? state->first : NULL;

    while (w != NULL && w->conf != conf) {
        w = w->next;
    }
    if (w == NULL) {
        return;
    }
    if (w->filters) {
        b->data = r->resp.sent
                      ? b->data
                      : filtered(r, w->conf,
                                 b->data); /* the head is out already only where there is no body */
    } else if (w->conf->filters.n == 0) {
        b->data = w->body_sent ? STR("") : w->conf->new_body;
        w->body_sent = true;
    }
}

const struct plugin response_rewrite_plugin = {
    .name = "response-rewrite",
    .priority = 899,
    .version = "0.1",
    .conf_size = sizeof(struct response_rewrite_conf),
    .fields = response_rewrite_fields,
    .schema_extra = JSON({
        "dependencies":
            {"body": {"not": {"required": ["filters"]}}, "filters": {"not": {"required": ["body"]}}}
    }),
    .check = response_rewrite_check,
    .prepare = response_rewrite_prepare,
    .header_filter = response_rewrite_header_filter,
    .body_filter = response_rewrite_body_filter,
};
