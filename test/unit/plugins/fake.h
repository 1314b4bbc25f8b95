/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * fake: plugins without sockets: a request from text, a conf from JSON, consumers from JSON.
 *
 *     struct req *r = req_fake("GET /a?b=1", "Host: x.com\nX-A: 1\n");
 *     const void *conf = conf_fake(&cors_plugin, CONF_PLUGIN, "{}");
 *     CHECK(cors_plugin.rewrite(r, conf) == NEXT);
 *
 * What is made lives until the program ends.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "config/snapshot.h"
#include "http/vars.h"
#include "plugin/plugin.h"
#include "plugins/list.h"
#include "proto/h1.h"
#include "route/router.h"
#include "route/uri.h"
#include "t.h"

static inline void fake_boot(void)
{
    static bool done;
    unsigned n;
    const struct plugin *const *built = plugins_built(&n);

    if (done) {
        return;
    }
    done = true;
    clock_tick();
    vars_install();
    plugin_registry_init(built, n, NULL, 0, NULL);
    plugin_install_hooks(&config_hooks);
    config_hooks.router_put = router_put;
    config_hooks.router_del = router_del;
    config_hooks.router_hold = router_hold;
    config_hooks.router_drop = router_drop;
}

/* Line ends as HTTP has them. */
static inline struct str fake_lines(struct arena *a, const char *line, const char *fields)
{
    struct str text =
        arena_printf(a, "%s HTTP/1.1\n%s%s\n", line,
                     strcasestr(fields, "host:") ? "" : "Host: example.com\n", fields);
    char *out = arena_bytes(a, 2 * text.n), *o = out;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\n') {
            *o++ = '\r';
        }
        *o++ = text.p[i];
    }
    return str_of(out, (size_t)(o - out));
}

static inline void fake_target(struct req *r, struct str path_query)
{
    const ptrdiff_t mark = str_index(path_query, '?');
    struct str port;

    r->target = path_query;
    r->raw_path = mark < 0 ? path_query : str_head(path_query, (size_t)mark);
    r->args = mark < 0 ? STR("") : str_skip(path_query, (size_t)mark + 1);
    r->has_args = mark >= 0;
    ASSERT(uri_normalise(r->arena, r->raw_path, &r->uri) == URI_OK);
    r->match_uri = r->uri;
    r->host = host_of(r->arena, r->host_header, &port);
}

static inline void fake_client(struct req *r, const char *ip, uint16_t port)
{
    struct addr *a = ARENA_NEW(r->arena, struct addr);

    ASSERT(ip_parse(str_c(ip), &r->client));
    addr_from_ip(a, &r->client, port);
    r->peer = r->local = a;
    r->remote_addr = str_of(r->remote_addr_text, addr_text(a, r->remote_addr_text));
    r->remote_port = port;
}

/* line: "GET /path"; fields: lines "Name: value\n". From 127.0.0.1:50000, for example.com, with no
 * configuration. */
static inline struct req *req_fake(const char *line, const char *fields)
{
    static const struct h1_limits limits = {
        .head_bytes = 65536, .line_bytes = 16384, .fields = 200};
    struct arena *a = arena_new(16384);
    struct req *r = ARENA_NEW(a, struct req);
    struct h1_parser p;

    fake_boot();
    h1_parse_init(&p, a, &limits, false);
    ASSERT(h1_parse(&p, fake_lines(a, line, fields)) == 1);
    r->arena = a;
    r->method = p.head.method;
    r->method_id = p.head.method_id;
    r->major = 1;
    r->minor = 1;
    r->headers = p.head.headers;
    r->host_header = p.head.authority;
    r->scheme = STR("http");
    r->server_port = 9080;
    r->content_length = -1;
    r->resp.length = -1;
    headers_init(&r->resp.headers, a, 8);
    fake_target(r, p.head.path_query);
    fake_client(r, "127.0.0.1", 50000);
    r->snapshot = snapshot_empty();
    return r;
}

/* Why the last conf_fake() gave NULL. */
static struct err fake_error;

/* A checked and compiled conf; NULL when it is refused. */
static inline const void *conf_fake(const struct plugin *p, enum conf_use use, const char *json)
{
    fake_boot();
    fake_error = (struct err){0};
    json_t *conf = json_parse(str_c(json), &fake_error);
    ASSERT(conf != NULL);
    if (config_hooks.plugin_check(p, use, conf, &fake_error) != 0) {
        return NULL;
    }
    return config_hooks.plugin_build(p, use, conf, arena_new(4096), &fake_error);
}

static inline void fake_bad(const struct change *c, const struct err *e, void *arg)
{
    printf("# %.*s: %s\n", STR_ARG(c->id), e->msg);
    t_failed++;
}

/* Put an object into the configuration that r sees. */
static inline void fake_put(struct req *r, enum object_kind kind, const char *id, const char *json)
{
    struct err e = {0};
    struct change c = {.kind = kind,
                       .id = str_c(id),
                       .value = json_parse(str_c(json), &e),
                       .created_index = 1,
                       .modified_index = 1};

    ASSERT(c.value != NULL);
    r->snapshot = snapshot_apply(r->snapshot, &c, 1, fake_bad, NULL);
}

/* A request header, "" when it is not there. */
static inline struct str sent(const struct req *r, const char *name)
{
    struct str v = headers_get_name(&r->headers, str_c(name));
    return v.p ? v : STR("");
}

/* The same of the answer. */
static inline struct str answered(const struct req *r, const char *name)
{
    struct str v = headers_get_name(&r->resp.headers, str_c(name));
    return v.p ? v : STR("");
}
