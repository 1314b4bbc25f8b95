/* SPDX-License-Identifier: Apache-2.0 */
/* address: the first step of a request: one normalised path, the host, the client behind trusted
 * proxies, and the X-Forwarded fields. */
#include "config/settings.h"
#include "gateway/steps.h"
#include "route/uri.h"

static enum verdict bad_request(struct req *r)
{
    r->keepalive = false;
    return req_reply(r, 400, STR_NONE);
}

enum verdict request_prepare_paths(struct req *r)
{
    if (r->raw_path.n == 0 || r->raw_path.p[0] != '/') {
        return bad_request(r);
    }
    if (uri_normalise(r->arena, r->raw_path, &r->uri) != URI_OK) {
        return bad_request(r);
    }
    r->match_uri = r->uri;
    r->host = host_of(r->arena, r->host_header, &r->host_port);
    return NEXT;
}

static enum verdict apply_uri_options(struct req *r)
{
    const struct settings *s = r->settings;
    if (s->match_uri_encoded_slash) {
        r->match_uri = uri_keep_encoded_slash(r->arena, r->raw_path, r->uri);
    }
    if (s->delete_uri_tail_slash && r->match_uri.n > 1 &&
        r->match_uri.p[r->match_uri.n - 1] == '/') {
        r->match_uri = str_head(r->match_uri, r->match_uri.n - 1);
    }
    if (s->normalize_uri_like_servlet && !uri_servlet(r->arena, r->match_uri, &r->match_uri)) {
        return bad_request(r);
    }
    return NEXT;
}

static bool is_in(const struct ip *ip, const struct cidr *list, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (cidr_has(&list[i], ip)) {
            return true;
        }
    }
    return false;
}

static void set_client(struct req *r, struct ip ip, uint16_t port)
{
    struct addr a;
    r->client = ip;
    addr_from_ip(&a, &ip, port);
    r->remote_addr = str_of(r->remote_addr_text, addr_text(&a, r->remote_addr_text));
    if (port) {
        r->remote_port = port;
    }
}

/* "1.2.3.4", "1.2.3.4:80", "[::1]:80" */
static bool parse_client(struct str text, struct ip *ip, uint16_t *port)
{
    ptrdiff_t colon = str_rindex(text, ':');
    uint64_t n;
    *port = 0;
    if (ip_parse(text, ip)) {
        return true;
    }
    if (colon > 0 && str_to_u64(str_skip(text, (size_t)colon + 1), &n) && n <= 65535) {
        *port = (uint16_t)n;
        return ip_parse(str_head(text, (size_t)colon), ip);
    }
    return false;
}

/* The address a list of hops gives: the last one, or with recursive the last that is not itself a
 * trusted proxy. */
static void take_from_list(struct req *r, struct str list)
{
    const struct settings *s = r->settings;
    for (;;) {
        ptrdiff_t comma = str_rindex(list, ',');
        struct ip ip;
        uint16_t port;
        if (!parse_client(str_trim(str_skip(list, (size_t)(comma + 1))), &ip, &port)) {
            return;
        }
        set_client(r, ip, port);
        if (!s->real_ip_recursive || comma < 0 || !is_in(&ip, s->real_ip_from, s->n_real_ip_from)) {
            return;
        }
        list = str_head(list, (size_t)comma);
    }
}

/* Several lines are one list (RFC 9110 5.3). */
static void join_forwarded_for(struct req *r)
{
    struct headers *h = &r->headers;
    struct str all = STR_NONE;
    unsigned n = 0;
    if (!headers_may_have(h, H_X_FORWARDED_FOR)) {
        return;
    }
    for (unsigned i = 0; i < h->n; i++) {
        if (h->v[i].id == H_X_FORWARDED_FOR) {
            all = n++ ? arena_join(r->arena, all, STR(", "), h->v[i].value) : h->v[i].value;
        }
    }
    if (n > 1) {
        headers_set_id(h, H_X_FORWARDED_FOR, all);
    }
}

static void find_client(struct req *r)
{
    const struct settings *s = r->settings;
    bool trusted =
        r->client_unix ? s->real_ip_unix : is_in(&r->client, s->real_ip_from, s->n_real_ip_from);
    if (!trusted || s->real_ip_header.n == 0) {
        return;
    }
    struct str v = headers_get_name(&r->headers, s->real_ip_header);
    if (v.n == 0) {
        return;
    }
    take_from_list(r, v);
}

static bool is_trusted(const struct req *r)
{
    const struct settings *s = r->settings;
    struct ip peer;
    return ip_from_addr(r->peer, &peer) &&
           is_in(&peer, s->trusted_addresses, s->n_trusted_addresses);
}

/* What the client says about itself in these fields is remembered, and dropped unless it is trusted
 * (runtime.md section 8). */
static void take_forwarded(struct req *r)
{
    struct headers *h = &r->headers;
    bool has_list = r->settings->trusted_addresses != NULL, trusted = has_list && is_trusted(r);
    r->original.x_forwarded_for = headers_get(h, H_X_FORWARDED_FOR);
    r->original.x_forwarded_proto = headers_get(h, H_X_FORWARDED_PROTO);
    r->original.x_forwarded_host = headers_get(h, H_X_FORWARDED_HOST);
    r->original.x_forwarded_port = headers_get(h, H_X_FORWARDED_PORT);
    r->original.forwarded = headers_get(h, H_FORWARDED);
    if (has_list && !trusted) {
        headers_del_id(h, H_X_FORWARDED_FOR);
    }
    if (!trusted) {
        headers_del_id(h, H_FORWARDED);
        headers_del_id(h, H_X_FORWARDED_PROTO);
        headers_del_id(h, H_X_FORWARDED_HOST);
        headers_del_id(h, H_X_FORWARDED_PORT);
    }
}

static void add_forwarded(struct req *r, enum header_id id, struct str value)
{
    if (headers_find(&r->headers, id) == NULL) {
        headers_add_id(&r->headers, id, value);
    }
}

/* The fields that say what was asked of us. */
static void write_forwarded(struct req *r)
{
    if (r->headers.present &
        (H1_BIT(H_X_FORWARDED_FOR) | H1_BIT(H_X_FORWARDED_PROTO) | H1_BIT(H_X_FORWARDED_HOST) |
         H1_BIT(H_X_FORWARDED_PORT) | H1_BIT(H_FORWARDED))) {
        take_forwarded(r);
    }
    add_forwarded(r, H_X_FORWARDED_PROTO, r->scheme);
    add_forwarded(r, H_X_FORWARDED_HOST, r->host_header.n ? r->host_header : r->host);
    add_forwarded(r, H_X_FORWARDED_PORT,
                  r->host_port.n ? r->host_port : arena_u64(r->arena, r->server_port));
}

/*
 * What the client names in Connection is for this hop (RFC 9110 7.6.1). It is marked now, so that
 * what the gateway and its plugins add or replace later cannot be named away; and only marked, so
 * that naming a field does not hide it from plugins.
 */
static void mark_listed(struct headers *h)
{
    for (unsigned i = 0; !h->options_only && i < h->n; i++) {
        h->v[i].listed = headers_has_token(h, H_CONNECTION, h->v[i].name);
    }
    h->options_only = true;
}

enum verdict request_prepare(struct req *r)
{
    if (r->method_id == M_CONNECT || r->method_id == M_TRACE) {
        r->uri = r->match_uri = r->raw_path;
        r->keepalive = false;
        return req_reply(r, 405, STR_NONE);
    }
    if (request_prepare_paths(r) == DONE || apply_uri_options(r) == DONE) {
        return DONE;
    }
    mark_listed(&r->headers);
    join_forwarded_for(r);
    find_client(r);
    write_forwarded(r);
    return NEXT;
}
