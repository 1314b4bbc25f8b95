/* SPDX-License-Identifier: Apache-2.0 */
/* redirect: answer with a Location: from http to https, to a URI with $variables, or by an
 * expression on the path. */
#include "config/settings.h"
#include "plugin/escape.h"
#include "plugin/refuse.h"
#include "plugin/regex_uri.h"

struct redirect_conf {
    int64_t ret_code;
    struct str uri;
    struct arr regex_uri;
    bool http_to_https, encode_uri, append_query_string;
    struct tmpl *tmpl;
    struct regex_uri regex;
};

#define URI_PATTERN                                                                                \
    "(\\\\\\$[0-9a-zA-Z_]+)|\\$\\{([0-9a-zA-Z_]+)\\}|\\$([0-9a-zA-Z_]+)|(\\$|[^$\\\\]+)"

static const struct field redirect_fields[] = {
    F_INT(struct redirect_conf, ret_code, .def = "302", .min = 200, .doc = "Status of the answer."),
    F_STR(struct redirect_conf, uri, .min_len = 2, .pattern = URI_PATTERN,
          .doc = "Where to; $variables are expanded."),
    F_ARR(struct redirect_conf, regex_uri, .item = &(const struct field){F_ITEM(FK_STR)},
          .min_len = 2, .max_len = 2,
          .doc = "An expression for the path, and where to with its groups as $1."),
    F_BOOL(struct redirect_conf, http_to_https,
           .doc = "Send plain HTTP clients to the same URL on https."),
    F_BOOL(struct redirect_conf, encode_uri, .def = "false", .doc = "Percent-encode the new URI."),
    F_BOOL(struct redirect_conf, append_query_string, .def = "false",
           .doc = "Put the request's query behind the new URI."),
    F_END,
};

extern const struct plugin redirect_plugin;

/* Where clients reach this gateway by https; 0: the port needs no mention. Set at start and at
 * reload, read by all cores. */
static unsigned https_port;

static bool is_port(json_int_t n)
{
    return n > 0 && n <= UINT16_MAX && n != 443;
}

/* plugin_attr.redirect.https_port, else the first port of apisix.ssl.listen. */
static int redirect_init(const struct settings *s, struct err *e)
{
    const json_t *port = json_get(settings_plugin_attr(s, "redirect"), "https_port");
    const json_t *ssl = json_get(json_get(s->json, "apisix"), "ssl");
    if (port == NULL && json_is_true(json_get(ssl, "enable"))) {
        const json_t *first = json_array_get(json_get(ssl, "listen"), 0);
        port = json_is_object(first) ? json_get(first, "port") : first;
    }
    const json_int_t n = json_integer_value(port);
    __atomic_store_n(&https_port, is_port(n) ? (unsigned)n : 0, __ATOMIC_RELAXED);
    return 0;
}

/* ---- configuration ---- */

static int redirect_check(const json_t *conf, enum conf_use use, struct err *e)
{
    const json_t *regex = json_get(conf, "regex_uri");
    if (regex_uri_check(regex, e) >= 0) {
        const struct str pattern = json_str(json_array_get(regex, 0)),
                         to = json_str(json_array_get(regex, 1));
        return err_prefix(e, "invalid regex_uri (%.*s, %.*s), err:", STR_ARG(pattern), STR_ARG(to));
    }
    if (json_is_true(json_get(conf, "http_to_https")) &&
        json_is_true(json_get(conf, "append_query_string"))) {
        return err_set(e,
                       "only one of `http_to_https` and `append_query_string` can be configured.");
    }
    return 0;
}

static bool is_name_char(char c)
{
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '_';
}

/* Names end before a dot here ("$host.com"), unlike in other templates: braces say where. */
static struct str with_braces(struct arena *a, struct str uri)
{
    char *out = arena_bytes(a, 3 * uri.n + 1), *o = out;
    for (size_t i = 0; i < uri.n; i++) {
        size_t end = i + 1;
        *o++ = uri.p[i];
        while (uri.p[i] == '$' && end < uri.n && is_name_char(uri.p[end])) {
            end++;
        }
        if (end > i + 1 && (i == 0 || uri.p[i - 1] != '\\')) {
            *o++ = '{';
            memcpy(o, uri.p + i + 1, end - i - 1);
            o += end - i - 1;
            *o++ = '}';
            i = end - 1;
        }
    }
    return str_of(out, (size_t)(o - out));
}

static int redirect_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct redirect_conf *c = conf;
    if (c->uri.p) {
        c->tmpl = tmpl_new(p->arena, with_braces(p->arena, c->uri));
    }
    return regex_uri_prepare(p->arena, &c->regex_uri, &c->regex, e);
}

/* ---- requests ---- */

static struct str to_https(struct req *r)
{
    const unsigned port = __atomic_load_n(&https_port, __ATOMIC_RELAXED);
    const struct str path = uri_encode_path(r->arena, r->uri);
    const struct str colon = port ? arena_printf(r->arena, ":%u", port) : STR("");
    return arena_printf(r->arena, "https://%.*s%.*s%.*s%s%.*s", STR_ARG(r->host), STR_ARG(colon),
                        STR_ARG(path), r->args.n ? "?" : "", STR_ARG(r->args));
}

static bool is_plain_http(const struct req *r)
{
    const struct str said = headers_get(&r->headers, H_X_FORWARDED_PROTO);
    return str_eq(said.p ? said : r->scheme, STR("http"));
}

/* encode_uri is about the part before the query. What cannot stand in a URI at all never goes out
 * as it is. */
static struct str encode(const struct redirect_conf *c, struct arena *a, struct str uri)
{
    const ptrdiff_t mark = str_index(uri, '?');
    if (c->encode_uri) {
        const struct str path = mark < 0 ? uri : str_head(uri, (size_t)mark);
        uri = arena_cat(a, uri_encode_path(a, path), str_skip(uri, path.n));
    }
    return escape_uri(a, uri);
}

static struct str append_args(const struct redirect_conf *c, const struct req *r, struct str uri)
{
    if (!c->append_query_string || r->args.n == 0) {
        return uri;
    }
    return arena_printf(r->arena, "%.*s%c%.*s", STR_ARG(uri), str_index(uri, '?') < 0 ? '?' : '&',
                        STR_ARG(r->args));
}

static enum verdict go(struct req *r, int status, struct str to)
{
    headers_set(&r->resp.headers, STR("Location"), to);
    return req_reply(r, status, STR_NONE);
}

static enum verdict redirect_rewrite(struct req *r, const void *conf)
{
    const struct redirect_conf *c = conf;
    struct str to;
    if (c->http_to_https && is_plain_http(r)) {
        const bool keeps_method = r->method_id != M_GET && r->method_id != M_HEAD;
        return go(r, keeps_method ? 308 : 301, to_https(r));
    }
    if (c->tmpl) {
        to = tmpl_expand(c->tmpl, r->arena, r, NULL);
    } else {
        struct rewritten w;
        const int rc = regex_uri_apply(&c->regex, r->arena, r->uri, &w);
        if (rc < 0) {
            return refuse(r, &redirect_plugin, 500, STR_NONE, STR("regex_uri took too long"));
        }
        if (rc == 0) {
            return NEXT;
        }
        to = w.query.p ? arena_printf(r->arena, "%.*s?%.*s", STR_ARG(w.path), STR_ARG(w.query))
                       : w.path;
    }
    return go(r, (int)c->ret_code, append_args(c, r, encode(c, r->arena, to)));
}

const struct plugin redirect_plugin = {
    .name = "redirect",
    .priority = 900,
    .version = "0.1",
    .conf_size = sizeof(struct redirect_conf),
    .fields = redirect_fields,
    .schema_extra = JSON({
        "oneOf":
            [{"required": ["uri"]}, {"required": ["regex_uri"]}, {"required": ["http_to_https"]}]
    }),
    .check = redirect_check,
    .prepare = redirect_prepare,
    .rewrite = redirect_rewrite,
    .init = redirect_init,
};
