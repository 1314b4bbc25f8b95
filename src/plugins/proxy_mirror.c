/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy-mirror: send a copy of the request to a second host, and forget what that says.
 *
 * The copy is of what goes to the upstream, so it is made when all plugins have had their say; the
 * sending is the gateway's (gateway/mirror.c). Bodies of up to MIRROR_BODY_MAX go along.
 */
#include "plugin/escape.h"
#include "plugin/plugin.h"

#include "base/hash.h"

#define MIRROR_BODY_MAX (1 << 20)

struct proxy_mirror_conf {
    struct str host, path, path_concat_mode;
    double sample_ratio;
    struct mirror to; /* of host, made by prepare */
    bool is_prefix;
};

static const char *const modes[] = {"replace", "prefix", NULL};

static const struct field proxy_mirror_fields[] = {
    F_STR(struct proxy_mirror_conf, host, .required = true,
          .pattern = "^(http(s)?|grpc(s)?):\\/\\/([\\da-zA-Z.-]+|\\[[\\da-fA-F:]+\\])(:\\d+)?$",
          .doc = "Where the copy goes: scheme, host and port."),
    F_STR(struct proxy_mirror_conf, path, .pattern = "^/[^?&]+$",
          .doc = "Path of the copy; that of the request when left out."),
    F_STR(struct proxy_mirror_conf, path_concat_mode, .def = "\"replace\"", .choices = modes,
          .doc = "What path does to that of the request: take its place, or go before it."),
    F_NUM(struct proxy_mirror_conf, sample_ratio, .def = "1", .min = 0.00001, .max = 1,
          .doc = "Share of the requests that are copied."),
    F_END,
};

extern const struct plugin proxy_mirror_plugin;

/* host as its pattern has let it through: "http://name:80", "http://[::1]". */
static int parse_host(struct str host, struct mirror *to, struct err *e)
{
    const ptrdiff_t colon = str_index(host, ':');
    const struct str scheme = str_head(host, (size_t)colon);
    const bool tls = str_eq(scheme, STR("https"));
    uint64_t port = tls ? 443 : 80;

    if (!tls && !str_eq(scheme, STR("http"))) {
        return err_set(e, "proxy-mirror: scheme %.*s is not available in this build",
                       STR_ARG(scheme));
    }
    host = str_skip(host, (size_t)colon + 3);
    const ptrdiff_t end = str_index(host, ']'), at = str_rindex(host, ':');
    if (at > end && (!str_to_u64(str_skip(host, (size_t)at + 1), &port) || port - 1 > 65534)) {
        return err_set(e, "proxy-mirror: expected a port from 1 to 65535 in host");
    }
    host = at > end ? str_head(host, (size_t)at) : host;
    *to = (struct mirror){.host = end < 0 ? host : str_skip(str_head(host, (size_t)end), 1),
                          .port = (uint16_t)port,
                          .tls = tls};
    return 0;
}

static int proxy_mirror_check(const json_t *conf, enum conf_use use, struct err *e)
{
    struct mirror to;
    return parse_host(json_str(json_get(conf, "host")), &to, e);
}

static int proxy_mirror_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct proxy_mirror_conf *c = conf;
    c->is_prefix = str_eq(c->path_concat_mode, STR("prefix"));
    return parse_host(c->host, &c->to, e);
}

static enum verdict proxy_mirror_rewrite(struct req *r, const void *conf)
{
    const struct proxy_mirror_conf *c = conf;
    const double random = (double)(random_u64() >> 11) / (double)(1ull << 53);

    if (random < c->sample_ratio) {
        req_ctx_set(r, &proxy_mirror_plugin, (void *)(uintptr_t)c);
        r->up.gather = MIRROR_BODY_MAX;
    }
    return NEXT;
}

static struct str uri_of_copy(const struct req *r, const struct proxy_mirror_conf *c)
{
    const struct str uri = r->up.uri.p ? r->up.uri : r->target;

    if (c->path.p == NULL) {
        return uri;
    }
    const struct str path = escape_target(r->arena, c->path);
    if (c->is_prefix) {
        return arena_cat(r->arena, path, uri);
    }
    return r->has_args ? arena_printf(r->arena, "%.*s?%.*s", STR_ARG(path), STR_ARG(r->args))
                       : path;
}

static enum verdict proxy_mirror_before_proxy(struct req *r, const void *conf)
{
    const struct proxy_mirror_conf *c = conf;

    if (req_ctx_get(r, &proxy_mirror_plugin) == c) {
        r->up.mirror = c->to;
        r->up.mirror.uri = uri_of_copy(r, c);
    }
    return NEXT;
}

const struct plugin proxy_mirror_plugin = {
    .name = "proxy-mirror",
    .priority = 1010,
    .version = "0.1",
    .conf_size = sizeof(struct proxy_mirror_conf),
    .fields = proxy_mirror_fields,
    .check = proxy_mirror_check,
    .prepare = proxy_mirror_prepare,
    .rewrite = proxy_mirror_rewrite,
    .before_proxy = proxy_mirror_before_proxy,
};
