/* SPDX-License-Identifier: Apache-2.0 */
/*
 * real-ip: take the client's address, and port if there is one, from a variable: a header, a query
 * argument, a cookie.
 *
 * From X-Forwarded-For the last address counts; with `recursive` the last one that is no trusted
 * proxy. All its lines are one list (RFC 9110 5.3); the reference looks at the last line only.
 */
#include "base/log.h"
#include "plugin/ip_set.h"
#include "plugin/plugin.h"

struct real_ip_conf {
    const json_t *trusted_addresses;
    struct str source;
    bool recursive;
    struct ip_set trusted;
    bool is_list; /* source is X-Forwarded-For */
    struct var var;
};

static const struct field real_ip_fields[] = {
    F_JSON(struct real_ip_conf, trusted_addresses, .raw = IP_LIST_SCHEMA,
           .doc = "Peers that are believed; without it all are."),
    F_STR(struct real_ip_conf, source, .required = true, .min_len = 1,
          .doc = "Variable with the address, without its dollar."),
    F_BOOL(struct real_ip_conf, recursive, .def = "false",
           .doc = "Skip trusted addresses at the end of X-Forwarded-For."),
    F_END,
};

static int real_ip_check(const json_t *conf, enum conf_use use, struct err *e)
{
    return ip_set_check(json_get(conf, "trusted_addresses"), e);
}

static int real_ip_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct real_ip_conf *c = conf;
    c->is_list = str_eq(c->source, STR("http_x_forwarded_for"));
    c->var = var_compile(p->arena, c->source);
    return ip_set_prepare(p->arena, c->trusted_addresses, &c->trusted, e);
}

struct client {
    struct ip ip;
    uint16_t port; /* 0: none given */
};

/* "1.2.3.4", "1.2.3.4:80", "::1", "[::1]:80" */
static bool parse_client(struct str text, struct client *out)
{
    const ptrdiff_t colon = str_rindex(text, ':');
    uint64_t port;
    *out = (struct client){0};
    if (ip_parse(text, &out->ip)) {
        return true;
    }
    if (colon < 1 || !str_to_u64(str_skip(text, (size_t)colon + 1), &port) || port < 1 ||
        port > UINT16_MAX) {
        return false;
    }
    out->port = (uint16_t)port;
    return ip_parse(str_head(text, (size_t)colon), &out->ip);
}

/* Walk one line of the list from its end. True when the walk is over: *last says where it got to.
 */
static bool walk(const struct real_ip_conf *c, struct str line, struct str *last)
{
    for (;;) {
        const ptrdiff_t comma = str_rindex(line, ',');
        struct client k;
        *last = str_trim(str_skip(line, (size_t)(comma + 1)));
        if (!c->recursive || !c->trusted_addresses || !parse_client(*last, &k) ||
            !ip_set_has(&c->trusted, &k.ip)) {
            return true;
        }
        if (comma < 0) {
            return false;
        }
        line = str_head(line, (size_t)comma);
    }
}

/* The address in X-Forwarded-For, as text; STR_NONE without such a field. */
static struct str from_list(const struct real_ip_conf *c, const struct req *r)
{
    struct str last = STR_NONE;
    for (unsigned i = r->headers.n; i > 0; i--) {
        const struct header *h = &r->headers.v[i - 1];
        if (h->id == H_X_FORWARDED_FOR && walk(c, h->value, &last)) {
            break;
        }
    }
    return last;
}

static struct str find(const struct real_ip_conf *c, struct req *r)
{
    if (c->is_list) {
        return from_list(c, r);
    }
    const struct value v = req_var(r, &c->var);
    return value_text(r->arena, &v);
}

static void set_client(struct req *r, const struct client *k)
{
    struct addr a;
    addr_from_ip(&a, &k->ip, k->port);
    r->client = k->ip;
    r->client_unix = false;
    r->remote_addr = str_of(r->remote_addr_text, addr_text(&a, r->remote_addr_text));
    if (k->port != 0) {
        r->remote_port = k->port;
    }
}

static enum verdict real_ip_rewrite(struct req *r, const void *conf)
{
    const struct real_ip_conf *c = conf;
    struct client k;
    if (c->trusted_addresses && !ip_set_has(&c->trusted, &r->client)) {
        return NEXT;
    }
    const struct str text = find(c, r);
    if (str_is_none(text)) {
        LOG_RATE(WARN, "real-ip: %.*s has no address, client: %.*s", STR_ARG(c->source),
                 STR_ARG(r->remote_addr));
    } else if (!parse_client(text, &k)) {
        LOG_RATE(WARN, "real-ip: %.*s has no valid address, client: %.*s", STR_ARG(c->source),
                 STR_ARG(r->remote_addr));
    } else {
        set_client(r, &k);
    }
    return NEXT;
}

const struct plugin real_ip_plugin = {
    .name = "real-ip",
    .priority = 23000,
    .version = "0.1",
    .conf_size = sizeof(struct real_ip_conf),
    .fields = real_ip_fields,
    .check = real_ip_check,
    .prepare = real_ip_prepare,
    .rewrite = real_ip_rewrite,
};
