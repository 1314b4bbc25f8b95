/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy-rewrite: change path, method, host and headers of the request that goes upstream.
 *
 * A new path starts from the normalised one, so that what matched is what goes out, and is encoded
 * again; without a new one the normalised path goes out. A `?` of the configuration starts a query,
 * to which the client's is appended; one that comes out of a variable or a group is part of the
 * path. use_real_request_uri_unsafe starts from what the client sent and encodes nothing but what
 * could not be sent at all.
 */
#include "plugin/escape.h"
#include "plugin/header_ops.h"
#include "plugin/refuse.h"
#include "plugin/regex_uri.h"

struct proxy_rewrite_conf {
    struct str uri, method, host;
    struct arr regex_uri;
    const json_t *headers;
    bool use_real_request_uri_unsafe;
    struct tmpl *path, *query; /* of uri; NULL: none */
    struct regex_uri regex;
    struct header_ops ops;
};

static const char *const methods[] = {"COPY",     "DELETE", "GET",     "HEAD",   "LOCK",
                                      "MKCOL",    "MOVE",   "OPTIONS", "PATCH",  "POST",
                                      "PROPFIND", "PUT",    "TRACE",   "UNLOCK", NULL};

/* clang-format off */
#define ONE_VALUE "{\"type\":\"string\"},{\"type\":\"number\"}"
#define VALUES \
    ONE_VALUE ",{\"type\":\"array\",\"minItems\":1,\"items\":{\"oneOf\":[" ONE_VALUE "]}}"
#define MAP_OF(values) \
    "{\"type\":\"object\",\"minProperties\":1," \
    "\"patternProperties\":{\"^[^:]+$\":{\"oneOf\":[" values "]}}}"
static const char headers_schema[] =
    "{\"oneOf\":[{\"type\":\"object\",\"minProperties\":1,\"additionalProperties\":false,"
    "\"properties\":{\"add\":" MAP_OF(VALUES) ",\"set\":" MAP_OF(VALUES) ","
    "\"remove\":{\"type\":\"array\",\"minItems\":1,"
    "\"items\":{\"type\":\"string\",\"pattern\":\"^[^:]+$\"}}}}," MAP_OF(ONE_VALUE) "]}";
/* clang-format on */

static const struct field proxy_rewrite_fields[] = {
    F_STR(struct proxy_rewrite_conf, uri, .min_len = 1, .max_len = 4096, .pattern = "^\\/.*",
          .doc = "New path; $variables are expanded."),
    F_STR(struct proxy_rewrite_conf, method, .choices = methods, .doc = "New method."),
    F_ARR(struct proxy_rewrite_conf, regex_uri, .item = &(const struct field){F_ITEM(FK_STR)},
          .min_len = 2,
          .doc = "Pairs of an expression for the path and the new path, with groups as $1."),
    F_STR(struct proxy_rewrite_conf, host, .pattern = "^[0-9a-zA-Z-.]+(:\\d{1,5})?$",
          .doc = "New Host."),
    F_JSON(struct proxy_rewrite_conf, headers, .raw = headers_schema,
           .doc = "Headers to add, set and remove; $variables and groups are expanded."),
    F_BOOL(struct proxy_rewrite_conf, use_real_request_uri_unsafe, .def = "false",
           .doc = "Start from the URI as the client sent it."),
    F_END,
};

extern const struct plugin proxy_rewrite_plugin;

/* ---- configuration ---- */

static int proxy_rewrite_check(const json_t *conf, enum conf_use use, struct err *e)
{
    const json_t *regex = json_get(conf, "regex_uri");
    if (json_array_size(regex) % 2 != 0) {
        return err_set(e, "The length of regex_uri should be an even number");
    }
    const int bad = regex_uri_check(regex, e);
    if (bad >= 0) {
        const struct str pattern = json_str(json_array_get(regex, (size_t)bad)),
                         to = json_str(json_array_get(regex, (size_t)bad + 1));
        return err_prefix(e, "invalid regex_uri(%.*s, %.*s): ", STR_ARG(pattern), STR_ARG(to));
    }
    return header_ops_check(json_get(conf, "headers"), e);
}

/* Where the template's own query starts, -1 when nowhere. `${name ?? default}` has other question
 * marks. */
static ptrdiff_t query_mark(struct str uri)
{
    for (size_t i = 0; i < uri.n; i++) {
        const ptrdiff_t end =
            str_starts(str_skip(uri, i), STR("${")) ? str_index(str_skip(uri, i), '}') : -1;
        if (end > 0) {
            i += (size_t)end;
        } else if (uri.p[i] == '?') {
            return (ptrdiff_t)i;
        }
    }
    return -1;
}

static int proxy_rewrite_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct proxy_rewrite_conf *c = conf;
    if (c->uri.p) {
        const ptrdiff_t mark = query_mark(c->uri);
        c->path = tmpl_new(p->arena, mark < 0 ? c->uri : str_head(c->uri, (size_t)mark));
        c->query = mark < 0 ? NULL : tmpl_new(p->arena, str_skip(c->uri, (size_t)mark + 1));
    }
    header_ops_prepare(p->arena, c->headers, &c->ops);
    return regex_uri_prepare(p->arena, &c->regex_uri, &c->regex, e);
}

/* ---- requests ---- */

static struct str joined(struct arena *a, struct str path, struct str query)
{
    return query.p ? arena_printf(a, "%.*s?%.*s", STR_ARG(path), STR_ARG(query)) : path;
}

/* The client's URI, less what plugins took out of its query. */
static struct str raw_uri(const struct req *r)
{
    return joined(r->arena, r->raw_path, r->has_args ? r->args : STR_NONE);
}

/* The new path and query, before encoding. -1: an expression took too long. */
static int rewrite(const struct proxy_rewrite_conf *c, struct req *r, struct rewritten *w)
{
    *w = (struct rewritten){.path = c->use_real_request_uri_unsafe ? raw_uri(r) : r->uri};
    if (c->path) {
        w->path = tmpl_expand(c->path, r->arena, r, NULL);
        w->query = c->query ? tmpl_expand(c->query, r->arena, r, NULL) : STR_NONE;
        return 0;
    }
    return regex_uri_apply(&c->regex, r->arena, w->path, w) < 0 ? -1 : 0;
}

/* A request target starts with a slash, whatever an expression cut off. */
static struct str absolute(struct arena *a, struct str path)
{
    return str_starts(path, STR("/")) ? path : arena_cat(a, STR("/"), path);
}

static void set_unsafe(struct req *r, const struct rewritten *w)
{
    r->up.uri = escape_target(r->arena, joined(r->arena, absolute(r->arena, w->path), w->query));
}

/* $uri is the new path from here on; $args stays the client's. */
static void set_safe(struct req *r, const struct rewritten *w)
{
    struct str query = w->query.p ? escape_target(r->arena, w->query) : STR_NONE;
    if (r->args.n > 0) {
        query = query.p ? arena_printf(r->arena, "%.*s&%.*s", STR_ARG(query), STR_ARG(r->args))
                        : r->args;
    }
    r->uri = absolute(r->arena, w->path);
    r->up.uri = joined(r->arena, uri_encode_path(r->arena, r->uri), query);
}

static enum verdict proxy_rewrite_rewrite(struct req *r, const void *conf)
{
    const struct proxy_rewrite_conf *c = conf;
    struct rewritten w;
    if (rewrite(c, r, &w) != 0) {
        return refuse(r, &proxy_rewrite_plugin, 500,
                      STR("{\"error_msg\":\"failed to match the uri\"}\n"),
                      STR("regex_uri took too long"));
    }
    if (c->use_real_request_uri_unsafe) {
        set_unsafe(r, &w);
    } else {
        set_safe(r, &w);
    }
    if (c->host.p) {
        r->up.host = c->host;
    }
    header_ops_apply(&c->ops, r, &r->headers, w.m.n > 0 ? &w.m : NULL);
    if (c->method.p) {
        r->up.method = c->method;
    }
    return NEXT;
}

const struct plugin proxy_rewrite_plugin = {
    .name = "proxy-rewrite",
    .priority = 1008,
    .version = "0.1",
    .conf_size = sizeof(struct proxy_rewrite_conf),
    .fields = proxy_rewrite_fields,
    .schema_extra = JSON({"minProperties": 1}),
    .check = proxy_rewrite_check,
    .prepare = proxy_rewrite_prepare,
    .rewrite = proxy_rewrite_rewrite,
};
