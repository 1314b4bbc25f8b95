/* SPDX-License-Identifier: Apache-2.0 */
/* vars: what each $variable reads. */
#include "http/vars.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "http/graphql_vars.h"
#include "http/post_args.h"
#include "net/tls.h"

#include <stdio.h>
#include <unistd.h>

static struct value text(struct str s)
{
    return (struct value){.kind = s.p ? VALUE_STR : VALUE_NONE, .s = s};
}

static struct value number(double n)
{
    return (struct value){.kind = VALUE_NUM, .num = n};
}

static struct value seconds(struct req *r, int64_t us)
{
    return text(us < 0 ? STR("-")
                       : arena_printf(r->arena, "%lld.%03lld", (long long)(us / 1000000),
                                      (long long)(us / 1000 % 1000)));
}

/* "a, b" over the tries at upstreams, as nginx lists them; missing without a try. */
static struct value over_tries(struct req *r, struct str (*one)(struct req *r, const struct try *t))
{
    struct str all = STR_NONE;
    for (unsigned i = 0; i < r->n_tries; i++) {
        struct str s = one(r, &r->tries[i]);
        all = i ? arena_join(r->arena, all, STR(", "), s) : s;
    }
    return text(all);
}

static struct str try_addr(struct req *r, const struct try *t)
{
    char ip[46];
    size_t n = addr_text(&t->addr, ip);
    bool v6 = t->addr.sa.sa_family == AF_INET6;
    return arena_printf(r->arena, v6 ? "[%.*s]:%u" : "%.*s:%u", (int)n, ip, addr_port(&t->addr));
}

static struct str try_status(struct req *r, const struct try *t)
{
    return arena_printf(r->arena, "%d", t->status);
}

static struct str try_response(struct req *r, const struct try *t)
{
    return seconds(r, t->response_us).s;
}

static struct str try_connect(struct req *r, const struct try *t)
{
    return seconds(r, t->connect_us).s;
}

static struct str try_header(struct req *r, const struct try *t)
{
    return seconds(r, t->header_us).s;
}

static struct str try_received(struct req *r, const struct try *t)
{
    return arena_printf(r->arena, "%llu", (unsigned long long)t->received);
}

static struct value get_args(struct req *r)
{
    return r->has_args ? text(r->args) : (struct value){0};
}

static struct value get_request_uri(struct req *r)
{
    return text(r->has_args ? arena_printf(r->arena, "%.*s?%.*s", STR_ARG(r->uri), STR_ARG(r->args))
                            : r->uri);
}

static struct value get_request(struct req *r)
{
    if (r->bad_line.p) {
        return text(r->bad_line);
    }
    return text(arena_printf(r->arena, "%.*s %.*s HTTP/%u.%u", STR_ARG(r->method),
                             STR_ARG(r->target), r->major, r->minor));
}

static struct value get_remote_user(struct req *r)
{
    struct str h = headers_get(&r->headers, H_AUTHORIZATION);
    if (h.n < 6 || !str_ieq(str_head(h, 6), STR("basic "))) {
        return (struct value){0};
    }
    struct str plain = base64_decode(r->arena, str_trim(str_skip(h, 6)));
    ptrdiff_t colon = plain.p ? str_index(plain, ':') : -1;
    return text(colon > 0 ? str_head(plain, (size_t)colon) : STR_NONE);
}

static struct value get_server_addr(struct req *r)
{
    char ip[46];
    if (r->transport && r->transport->find_local) {
        r->transport->find_local(r);
    }
    size_t n = addr_text(r->local, ip);
    return text(arena_str(r->arena, str_of(ip, n)));
}

static struct value get_hostname(struct req *r)
{
    char name[256] = "";
    gethostname(name, sizeof(name) - 1);
    return text(arena_str(r->arena, str_c(name)));
}

static struct value get_msec(struct req *r)
{
    return text(arena_printf(r->arena, "%lld.%03lld", (long long)(wall_us() / 1000000),
                             (long long)(wall_us() / 1000 % 1000)));
}

static const struct try *last_try(const struct req *r)
{
    return r->n_tries ? &r->tries[r->n_tries - 1] : NULL;
}

static struct value get_balancer_ip(struct req *r)
{
    char ip[46];
    const struct try *t = last_try(r);
    if (t == NULL) {
        return (struct value){0};
    }
    size_t n = addr_text(&t->addr, ip);
    return text(arena_str(r->arena, str_of(ip, n)));
}

static struct value get_balancer_port(struct req *r)
{
    const struct try *t = last_try(r);
    return t ? number(addr_port(&t->addr)) : (struct value){0};
}

static struct value get_forwarded_for(struct req *r)
{
    struct str had = headers_get(&r->headers, H_X_FORWARDED_FOR);
    return text(had.p ? arena_join(r->arena, had, STR(", "), r->remote_addr) : r->remote_addr);
}

static struct value get_content_length(struct req *r)
{
    return r->content_length < 0
               ? (struct value){0}
               : text(arena_printf(r->arena, "%lld", (long long)r->content_length));
}

static struct value addr_value(struct req *r, const struct addr *a)
{
    char ip[46];
    size_t n = addr_text(a, ip);
    return text(arena_str(r->arena, str_of(ip, n)));
}

static struct value port_value(struct req *r, const struct addr *a)
{
    return text(arena_printf(r->arena, "%u", addr_port(a)));
}

/* The socket's other end, whatever was said of it. */
static const struct addr *sender_of(const struct req *r)
{
    return r->proxied ? &r->proxied->sender : r->peer;
}

/* v, where a PROXY header has named addresses. */
#define IF_PROXIED(v) (r->proxied ? (v) : (struct value){0})

static struct value get_status(struct req *r)
{
    return r->resp.status ? number(r->resp.status) : (struct value){0};
}

static struct value get_upstream_total(struct req *r)
{
    int64_t us = 0;
    for (unsigned i = 0; i < r->n_tries; i++) {
        us += r->tries[i].response_us > 0 ? r->tries[i].response_us : 0;
    }
    return r->n_tries ? seconds(r, us) : (struct value){0};
}

/* Rows: name, expression that reads it from r. */
#define VARS(X)                                                                                    \
    X(method, text(r->method))                                                                     \
    X(request_method, text(r->method))                                                             \
    X(uri, text(r->uri))                                                                           \
    X(document_uri, text(r->uri))                                                                  \
    X(request_uri, get_request_uri(r))                                                             \
    X(real_request_uri, text(r->target))                                                           \
    X(request, get_request(r))                                                                     \
    X(args, get_args(r))                                                                           \
    X(query_string, get_args(r))                                                                   \
    X(is_args, text(r->args.n ? STR("?") : STR("")))                                               \
    X(host, text(r->host))                                                                         \
    X(hostname, get_hostname(r))                                                                   \
    X(remote_addr, text(r->remote_addr))                                                           \
    X(remote_port, text(arena_printf(r->arena, "%u", r->remote_port)))                             \
    X(remote_user, get_remote_user(r))                                                             \
    X(realip_remote_addr, addr_value(r, sender_of(r)))                                             \
    X(realip_remote_port, port_value(r, sender_of(r)))                                             \
    X(proxy_protocol_addr, IF_PROXIED(addr_value(r, r->peer)))                                     \
    X(proxy_protocol_port, IF_PROXIED(port_value(r, r->peer)))                                     \
    X(proxy_protocol_server_addr, IF_PROXIED(addr_value(r, &r->proxied->destination)))             \
    X(proxy_protocol_server_port, IF_PROXIED(port_value(r, &r->proxied->destination)))             \
    X(scheme, text(r->scheme))                                                                     \
    X(https, text(str_eq(r->scheme, STR("https")) ? STR("on") : STR("")))                          \
    X(server_addr, get_server_addr(r))                                                             \
    X(server_port, text(arena_printf(r->arena, "%u", r->server_port)))                             \
    X(server_name, text(STR("_")))                                                                 \
    X(server_protocol, text(arena_printf(r->arena, "HTTP/%u.%u", r->major, r->minor)))             \
    X(request_length, number((double)r->bytes_in))                                                 \
    X(request_time, seconds(r, now_us() - r->start_us))                                            \
    X(request_id, text(req_id(r)))                                                                 \
    X(apisix_request_id, text(req_id(r)))                                                          \
    X(status, get_status(r))                                                                       \
    X(body_bytes_sent, number((double)r->resp.body_bytes_sent))                                    \
    X(bytes_sent, number((double)r->resp.bytes_sent))                                              \
    X(msec, get_msec(r))                                                                           \
    X(time_local, text(str_of(wall_local(), 26)))                                                  \
    X(time_iso8601, text(str_of(wall_iso8601(), 25)))                                              \
    X(pid, number(getpid()))                                                                       \
    X(content_type, text(headers_get(&r->headers, H_CONTENT_TYPE)))                                \
    X(content_length, get_content_length(r))                                                       \
    X(proxy_add_x_forwarded_for, get_forwarded_for(r))                                             \
    X(upstream_addr, over_tries(r, try_addr))                                                      \
    X(upstream_status, over_tries(r, try_status))                                                  \
    X(upstream_response_time, over_tries(r, try_response))                                         \
    X(upstream_connect_time, over_tries(r, try_connect))                                           \
    X(upstream_header_time, over_tries(r, try_header))                                             \
    X(upstream_bytes_received, over_tries(r, try_received))                                        \
    X(apisix_upstream_response_time, get_upstream_total(r))                                        \
    X(upstream_scheme, text(r->upstream ? r->upstream->scheme : STR("http")))                      \
    X(upstream_host, text(r->upstream_host.p ? r->upstream_host : r->up.host))                     \
    X(upstream_uri, text(r->upstream_uri.p ? r->upstream_uri : r->up.uri.p ? r->up.uri : STR(""))) \
    X(upstream_upgrade, text(r->upgrade ? headers_get(&r->headers, H_UPGRADE) : STR_NONE))         \
    X(upstream_connection, text(r->upgrade ? headers_get(&r->headers, H_CONNECTION) : STR_NONE))   \
    X(upstream_unresolved_host,                                                                    \
      text(last_try(r) && last_try(r)->node ? last_try(r)->node->host : STR_NONE))                 \
    X(balancer_ip, get_balancer_ip(r))                                                             \
    X(balancer_port, get_balancer_port(r))                                                         \
    X(consumer_name, text(r->consumer ? r->consumer->username : STR_NONE))                         \
    X(consumer_group_id, text(r->consumer_group ? r->consumer_group->o.id : STR_NONE))             \
    X(route_id, text(r->route ? r->route->o.id : STR_NONE))                                        \
    X(route_name, text(r->route ? r->route->name : STR_NONE))                                      \
    X(service_id, text(r->service ? r->service->o.id : STR_NONE))                                  \
    X(service_name, text(r->service ? r->service->name : STR_NONE))                                \
    X(matched_uri, text(r->matched_uri))                                                           \
    X(matched_host, text(r->matched_host))                                                         \
    X(original_x_forwarded_for, text(r->original.x_forwarded_for))                                 \
    X(original_x_forwarded_proto, text(r->original.x_forwarded_proto))                             \
    X(original_x_forwarded_host, text(r->original.x_forwarded_host))                               \
    X(original_x_forwarded_port, text(r->original.x_forwarded_port))                               \
    X(original_forwarded, text(r->original.forwarded))                                             \
    X(graphql_name, graphql_name(r))                                                               \
    X(graphql_operation, graphql_operation(r))                                                     \
    X(graphql_root_fields, graphql_root_fields(r))                                                 \
    X(rate_limiting_info, text(r->rate_limiting_info))                                             \
    X(request_type, text(STR("traditional_http")))

enum var_id {
    VAR_UNKNOWN,
#define X(name, expr) VAR_##name,
    VARS(X)
#undef X
        VAR_ARG,
    VAR_HTTP,
    VAR_COOKIE,
    VAR_POST_ARG,
    VAR_POST_JSON,
    VAR_URI_PARAM,
    VAR_SENT_HTTP,
    VAR_UPSTREAM_HTTP,
    VAR_SSL,
};

static const char *const names[] = {
#define X(name, expr) #name,
    VARS(X)
#undef X
};

const char *const *vars_names(size_t *n)
{
    *n = LENGTH_OF(names);
    return names;
}

static const struct {
    struct str prefix;
    enum var_id id;
    bool header; /* compares without regard to case and - _ */
} families[] = {
    {STR_INIT("arg_"), VAR_ARG, false},
    {STR_INIT("http_"), VAR_HTTP, true},
    {STR_INIT("cookie_"), VAR_COOKIE, false},
    {STR_INIT("post_arg_"), VAR_POST_ARG, false},
    {STR_INIT("post_arg."), VAR_POST_JSON, false},
    {STR_INIT("uri_param_"), VAR_URI_PARAM, false},
    {STR_INIT("sent_http_"), VAR_SENT_HTTP, true},
    {STR_INIT("upstream_http_"), VAR_UPSTREAM_HTTP, true},
    {STR_INIT("ssl_"), VAR_SSL, false},
};

static struct str header_arg(struct arena *a, struct str name)
{
    char *p = arena_bytes(a, name.n);
    for (size_t i = 0; i < name.n; i++) {
        p[i] = name.p[i] == '_' ? '-' : ascii_lower(name.p[i]);
    }
    return str_of(p, name.n);
}

static struct var compile(struct arena *a, struct str name)
{
    struct var v = {.name = arena_str(a, name)};
    for (size_t i = 0; i < LENGTH_OF(names); i++) {
        if (str_eq(name, str_c(names[i]))) {
            v.id = (uint16_t)(i + 1);
            return v;
        }
    }
    for (size_t i = 0; i < LENGTH_OF(families); i++) {
        if (str_starts(name, families[i].prefix)) {
            struct str arg = str_skip(v.name, families[i].prefix.n);
            v.id = families[i].id;
            v.arg = families[i].header ? header_arg(a, arg) : arg;
            return v;
        }
    }
    return v;
}

/* Is the header's name arg (lower case, '-'), where the header may have '_' for '-'? */
static bool is_named(struct str name, struct str arg)
{
    if (name.n != arg.n) {
        return false;
    }
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i] == '_' ? '-' : ascii_lower(name.p[i]);
        if (c != arg.p[i]) {
            return false;
        }
    }
    return true;
}

static struct value get_header(const struct headers *h, struct str arg)
{
    for (unsigned i = 0; i < h->n; i++) {
        if (is_named(h->v[i].name, arg)) {
            return text(h->v[i].value);
        }
    }
    return (struct value){0};
}

static struct value get_arg(struct req *r, struct str name)
{
    bool has_value = false;
    struct str s = req_arg(r, name, &has_value);
    if (s.p && !has_value) {
        return (struct value){.kind = VALUE_BOOL, .num = 1};
    }
    return text(s);
}

static struct value get(void *subject, const struct var *v)
{
    struct req *r = subject;
    switch ((enum var_id)v->id) {
    case VAR_UNKNOWN:
        return (struct value){0};
#define X(name, expr)                                                                              \
    case VAR_##name:                                                                               \
        return expr;
        VARS(X)
#undef X
    case VAR_ARG:
        return get_arg(r, v->arg);
    case VAR_HTTP:
        return get_header(&r->headers, v->arg);
    case VAR_COOKIE:
        return text(req_cookie(r, v->arg));
    case VAR_POST_ARG:
        return post_arg_form(r, v->arg);
    case VAR_POST_JSON:
        return post_arg_json(r, v->arg);
    case VAR_URI_PARAM:
        return text(r->uri_params ? headers_get_name(r->uri_params, v->arg) : STR_NONE);
    case VAR_SENT_HTTP:
    case VAR_UPSTREAM_HTTP:
        return get_header(&r->resp.headers, v->arg);
    case VAR_SSL:
        return text(r->tls ? tls_var(r->tls, v->arg, r->arena) : STR_NONE);
    }
    return (struct value){0};
}

static const struct var_table table = {.compile = compile, .get = get};

void vars_install(void)
{
    var_install(&table);
}

struct value req_var(struct req *r, const struct var *v)
{
    return get(r, v);
}

struct str req_var_text(struct req *r, struct str name)
{
    struct var v = compile(r->arena, name);
    struct value x = get(r, &v);
    struct str s = value_text(r->arena, &x);
    return s.p ? s : STR("");
}
