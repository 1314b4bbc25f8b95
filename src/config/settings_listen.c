/* SPDX-License-Identifier: Apache-2.0 */
/* settings_listen: the addresses to listen on. */
#include "config/settings_priv.h"

enum { LISTENERS_MAX = 64 };

static int add(const struct reader *r, const char *path, struct listen_addr *l, struct str ip,
               const json_t *port)
{
    int64_t n;

    if (!parse_integer(port, &n) || n < 1 || n > 65535) {
        return reader_bad(r, path, "a port from 1 to 65535", port);
    }
    if (!addr_parse(ip, (uint16_t)n, &l->addr)) {
        return err_set(r->e, "%s: expected an IP address, got \"%.*s\"", path, STR_ARG(ip));
    }
    return 0;
}

struct listeners {
    struct listen_addr *v;
    unsigned n;
};

/* One entry: an address, or all of them when ip is STR_NONE. */
static int add_proxy(const struct reader *r, struct listeners *out, const char *path, struct str ip,
                     const json_t *port, bool tls, bool proxy_protocol)
{
    const bool all = str_is_none(ip);

    for (int six = 0; six <= (all && r->s->enable_ipv6); six++) {
        struct listen_addr *l = &out->v[out->n];

        if (out->n == LISTENERS_MAX) {
            return err_set(r->e, "%s: more than %d addresses", path, LISTENERS_MAX);
        }
        if (add(r, path, l, !all ? ip : six ? STR("::") : STR("0.0.0.0"), port) != 0) {
            return -1;
        }
        l->tls = tls;
        l->proxy_protocol = proxy_protocol;
        out->n++;
    }
    return 0;
}

static int check_node_keys(const struct reader *r, const json_t *node)
{
    static const char path[] = "apisix.node_listen";
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)node, key, v) {
        if (strcmp(key, "enable_http2") == 0) {
            return err_set(
                r->e, "%s: enable_http2 for one port is not supported; see apisix.enable_http2",
                path);
        }
        if (strcmp(key, "ip") != 0 && strcmp(key, "port") != 0) {
            return err_set(r->e, "%s: unknown option %s; expected ip and port", path, key);
        }
    }
    return 0;
}

static int add_node(const struct reader *r, struct listeners *out, const json_t *v)
{
    static const char path[] = "apisix.node_listen";

    if (!json_is_object(v)) {
        return add_proxy(r, out, path, STR_NONE, v, false, false);
    }
    if (check_node_keys(r, v) != 0) {
        return -1;
    }
    const json_t *port = json_get(v, "port");
    if (port == NULL) {
        return err_set(r->e, "%s: an address without port", path);
    }
    return add_proxy(r, out, path, json_str(json_get(v, "ip")), port, false, false);
}

static int add_tls(const struct reader *r, struct listeners *out, const json_t *v)
{
    static const char path[] = "apisix.ssl.listen";
    const json_t *port = json_get(v, "port");
    const char *key;
    json_t *option;

    if (!json_is_object(v) || port == NULL) {
        return reader_bad(r, path, "a list of {ip, port}", v);
    }
    json_object_foreach((json_t *)v, key, option) {
        if (strcmp(key, "enable_http3") == 0 && !json_is_false(option)) {
            reader_warn(r, "%s.enable_http3: HTTP/3 is not supported yet", path);
        } else if (strcmp(key, "ip") != 0 && strcmp(key, "port") != 0 &&
                   strcmp(key, "enable_http3") != 0) {
            return err_set(r->e, "%s: unknown option %s; expected ip, port and enable_http3", path,
                           key);
        }
    }
    return add_proxy(r, out, path, json_str(json_get(v, "ip")), port, true, false);
}

static int read_tls(const struct reader *r, struct listeners *out)
{
    const json_t *list = reader_get(r, "apisix.ssl.listen"), *v;
    size_t i;

    if (!r->s->ssl.enable) {
        return 0;
    }
    if (!json_is_array(list)) {
        return reader_bad(r, "apisix.ssl.listen", "a list of {ip, port}", list);
    }
    json_array_foreach(list, i, v) {
        if (add_tls(r, out, v) != 0) {
            return -1;
        }
    }
    return 0;
}

/* The ports for the PROXY protocol. */
static int read_proxied(const struct reader *r, struct listeners *out)
{
    static const char *const paths[] = {"apisix.proxy_protocol.listen_http_port",
                                        "apisix.proxy_protocol.listen_https_port"};

    for (int tls = 0; tls <= 1; tls++) {
        const json_t *port = reader_get(r, paths[tls]);
        if (port && add_proxy(r, out, paths[tls], STR_NONE, port, tls, true) != 0) {
            return -1;
        }
    }
    return 0;
}

static int read_nodes(const struct reader *r)
{
    const json_t *v = reader_get(r, "apisix.node_listen"), *item;
    struct listeners out = {.v = ARENA_ARRAY(r->s->arena, struct listen_addr, LISTENERS_MAX)};
    size_t i;

    if (!json_is_array(v) && add_node(r, &out, v) != 0) {
        return -1;
    }
    json_array_foreach(v, i, item) {
        if (add_node(r, &out, item) != 0) {
            return -1;
        }
    }
    if (out.n == 0) {
        return err_set(r->e, "apisix.node_listen: expected at least one port");
    }
    if (read_tls(r, &out) != 0 || read_proxied(r, &out) != 0) {
        return -1;
    }
    r->s->listen = out.v;
    r->s->n_listen = out.n;
    return 0;
}

/* An address in two options, with defaults for a section that names one of them. */
static int read_pair(const struct reader *r, struct listen_addr *l, const char *ip_path,
                     const char *port_path, const char *ip, int port)
{
    const json_t *given_ip = reader_get(r, ip_path), *given_port = reader_get(r, port_path);
    json_t *usual = json_integer(port);
    const int rc = add(r, ip_path, l, given_ip != NULL ? json_str(given_ip) : str_c(ip),
                       given_port != NULL ? given_port : usual);

    json_decref(usual);
    return rc;
}

/* Does the file leave plugin on? */
static bool is_enabled(const struct settings *s, struct str plugin)
{
    for (unsigned i = 0; i < s->n_plugins; i++) {
        if (str_eq(s->plugins[i], plugin)) {
            return true;
        }
    }
    return !s->plugins_set;
}

static int read_prometheus(const struct reader *r)
{
    bool on = false;

    parse_bool(reader_get(r, "plugin_attr.prometheus.enable_export_server"), &on);
    if (!on || !is_enabled(r->s, STR("prometheus"))) {
        return 0;
    }
    return read_pair(r, &r->s->prometheus, "plugin_attr.prometheus.export_addr.ip",
                     "plugin_attr.prometheus.export_addr.port", "127.0.0.1", 9091);
}

int settings_read_listeners(const struct reader *r)
{
    struct settings *s = r->s;

    if (read_nodes(r) != 0) {
        return -1;
    }
    if (s->enable_admin &&
        read_pair(r, &s->admin, "deployment.admin.admin_listen.ip",
                  "deployment.admin.admin_listen.port", "127.0.0.1", 9180) != 0) {
        return -1;
    }
    if (s->enable_control && read_pair(r, &s->control, "apisix.control.ip", "apisix.control.port",
                                       "127.0.0.1", 9090) != 0) {
        return -1;
    }
    if ((reader_get(r, "apisix.status") != NULL) &&
        read_pair(r, &s->status, "apisix.status.ip", "apisix.status.port", "127.0.0.1", 7085) !=
            0) {
        return -1;
    }
    return read_prometheus(r);
}
