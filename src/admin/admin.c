/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admin: the door of the Admin API. The order in which a request can fail is the reference's (its
 * clients and tests know it): source, method and path, key, resource, body size, JSON, ttl, then
 * the resource's own handler.
 */
#include "admin/admin_priv.h"
#include "base/clock.h"

#include <errno.h>
#include <math.h>

struct admin_deps admin_deps;

void admin_init(const struct admin_deps *deps)
{
    admin_deps = *deps;
}

/* ---- headers ---- */

static void set_header(struct req *r, const char *name, const char *value)
{
    headers_set(&r->resp.headers, str_c(name), str_c(value));
}

static void set_common_headers(struct req *r)
{
    if (admin_deps.settings->admin_cors) {
        set_header(r, "Access-Control-Allow-Origin", "*");
        set_header(r, "Access-Control-Allow-Credentials", "true");
        set_header(r, "Access-Control-Expose-Headers", "*");
        set_header(r, "Access-Control-Max-Age", "3600");
    }
}

/* Said by everything that comes as far as a handler. */
static void set_version_header(struct req *r)
{
    set_header(r, "X-API-VERSION", admin_deps.settings->admin_v2 ? "v2" : "v3");
}

static void reply_options(struct req *r)
{
    set_header(r, "Access-Control-Allow-Origin", "*");
    set_header(r, "Access-Control-Allow-Methods", "POST, GET, PUT, OPTIONS, DELETE, PATCH");
    set_header(r, "Access-Control-Max-Age", "3600");
    set_header(r, "Access-Control-Allow-Headers", "*");
    set_header(r, "Access-Control-Allow-Credentials", "true");
    req_reply(r, 200, STR(""));
}

/* ---- path ---- */

/* What follows /apisix/admin; false when the path is elsewhere. */
static bool path_rest(struct str uri, struct str *rest)
{
    const struct str base = STR("/apisix/admin");

    *rest = str_skip(uri, base.n);
    return str_starts(uri, base) && (rest->n == 0 || rest->p[0] == '/');
}

/* The next part that is not empty; STR_NONE when there is none. */
static struct str next_part(struct str *rest)
{
    struct str part;

    while (str_split(rest, '/', &part)) {
        if (part.n > 0) {
            return part;
        }
    }
    return STR_NONE;
}

/* "/a/b/": "a/b". */
static struct str trim_slashes(struct str s)
{
    while (s.n > 0 && s.p[0] == '/') {
        s = str_skip(s, 1);
    }
    while (s.n > 0 && s.p[s.n - 1] == '/') {
        s.n--;
    }
    return s;
}

/* consumers/jack/credentials/c1/... is about the credential, not about the consumer; likewise with
 * the cost decorations of a service. */
static void split_owned(struct call *c)
{
    struct str rest = c->sub;
    struct str word = next_part(&rest);
    bool owned =
        (str_eq(c->resource, STR("consumers")) && str_eq(word, STR("credentials"))) ||
        (str_eq(c->resource, STR("services")) && str_eq(word, STR("graphql_cost_decorations")));

    if (owned) {
        c->resource = word;
        c->owner = c->id;
        c->id = next_part(&rest);
        c->sub = trim_slashes(rest);
    }
}

static void split_path(struct call *c, struct str rest)
{
    c->resource = next_part(&rest);
    c->id = next_part(&rest);
    c->sub = trim_slashes(rest);
    if (!str_is_none(c->id)) {
        split_owned(c);
    }
}

/* ---- body and arguments ---- */

/* The body as JSON in *conf (NULL: there was none). False when it has answered. */
static bool await_json_body(struct req *r, json_t **conf)
{
    struct err e = {0};
    int rc = r->has_body ? req_await_body(r, ADMIN_BODY_MAX) : 0;

    *conf = NULL;
    if (rc == -EMSGSIZE) {
        uint64_t n = r->content_length >= 0 ? (uint64_t)r->content_length : r->body_seen;
        reply_error(
            r, 400,
            "invalid request body: request size %llu is greater than the maximum size %d allowed",
            (unsigned long long)n, ADMIN_BODY_MAX);
        return false;
    }
    if (rc != 0) {
        reply_error(r, 400, "invalid request body: %s", strerror(-rc));
        return false;
    }
    if (r->body.n == 0) {
        return true;
    }
    *conf = keep_json(r->arena, json_parse(r->body, &e));
    if (*conf) {
        return true;
    }
    json_t *o = json_object();
    json_object_set_new(o, "error_msg",
                        json_of_str(arena_printf(r->arena, "invalid request body: %s", e.msg)));
    json_object_set_new(o, "req_body", json_of_str(r->body));
    reply_json(r, 400, o);
    return false;
}

/* ?ttl=SECONDS. False when it has answered. Parts of a second count as a whole one. */
static bool read_ttl(struct req *r, int64_t *expires_at)
{
    struct str text = req_arg(r, STR("ttl"), NULL);
    double seconds;

    *expires_at = 0;
    if (str_is_none(text)) {
        return true;
    }
    if (!str_to_number(text, &seconds) || isnan(seconds)) {
        reply_error(r, 400, "invalid argument ttl: should be a number");
        return false;
    }
    seconds = seconds < 1 ? 1 : seconds > 1e9 ? 1e9 : ceil(seconds);
    *expires_at = wall_us() / 1000000 + (int64_t)seconds;
    return true;
}

/* ---- dispatch ---- */

/* Addresses with handlers of their own. True when it was one. */
static bool await_special(struct req *r, struct str rest)
{
    struct str first = next_part(&rest), second = next_part(&rest);
    bool is_plugins = str_eq(first, STR("plugins"));

    if (is_plugins && str_eq(second, STR("list")) && r->method_id == M_GET) {
        plugins_list(r);
        return true;
    }
    if (is_plugins && str_eq(second, STR("reload"))) {
        plugins_reload(r);
        return true;
    }
    if (str_eq(first, STR("schema")) && str_eq(second, STR("validate")) && r->method_id == M_POST) {
        json_t *conf;
        if (await_json_body(r, &conf)) {
            schema_validate(r, trim_slashes(rest), conf);
        }
        return true;
    }
    return false;
}

/* What is no resource but can be read. */
static void (*reader_find(struct str name))(struct call *c)
{
    if (str_eq(name, STR("schema"))) {
        return schema_handle;
    }
    if (str_eq(name, STR("plugins"))) {
        return plugins_handle;
    }
    return str_eq(name, STR("history")) ? history_await_handle : NULL;
}

static void await_call(struct call *c)
{
    struct req *r = c->r;
    void (*reader)(struct call * c) = reader_find(c->resource);

    if (str_eq(c->resource, STR("stream_routes"))) {
        reply_error(r, 400, "stream mode is disabled, can not add stream routes");
        return;
    }
    c->face = face_find(c->resource);
    if (c->face && c->face->kind == K_CREDENTIAL && str_is_none(c->owner)) {
        c->face = NULL;
    }
    if (!c->face && !reader) {
        reply_error(r, 404, "Unsupported resource type: %.*s", STR_ARG(c->resource));
        return;
    }
    if (reader && r->method_id != M_GET) {
        reply_error(r, 404, "not found");
        return;
    }
    if (!await_json_body(r, &c->conf) || !read_ttl(r, &c->expires_at)) {
        return;
    }
    set_version_header(r);
    (reader ? reader : resource_await_handle)(c);
}

static bool is_api_method(enum http_method m)
{
    return m == M_GET || m == M_PUT || m == M_POST || m == M_DELETE || m == M_PATCH;
}

void admin_handle(struct req *r)
{
    struct call c = {.r = r};
    struct str rest;

    headers_set_id(&r->resp.headers, H_SERVER,
                   admin_deps.settings->enable_server_tokens ? STR("weir/" WEIR_VERSION)
                                                             : STR("weir"));
    if (!path_rest(r->uri, &rest)) {
        req_reply(r, 404, STR_NONE);
        return;
    }
    if (!auth_source_is_allowed(r)) {
        req_reply(r, 403, STR_NONE);
        return;
    }
    if (r->method_id == M_OPTIONS && admin_deps.settings->admin_cors) {
        reply_options(r);
        return;
    }
    if (r->method_id == M_HEAD && rest.n == 0) {
        set_common_headers(r);
        reply_text(r, 200, STR(""));
        return;
    }
    if (!is_api_method(r->method_id) || rest.n == 0) {
        req_reply(r, 404, STR_NONE);
        return;
    }
    set_common_headers(r);
    if (!auth_check(r, &c.who) || await_special(r, rest)) {
        return;
    }
    split_path(&c, rest);
    await_call(&c);
}
