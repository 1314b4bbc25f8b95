/* SPDX-License-Identifier: Apache-2.0 */
/* req: answers made here, and what plugins read and change of a request. */
#include "http/req.h"

#include "base/hash.h"
#include "base/log.h"
#include "http/uri_text.h"

#include <errno.h>
#include <stdio.h>

/* Statuses nginx has a page for; an answer with another one has no body. */
static bool has_page(int s)
{
    return (s >= 301 && s <= 303) || s == 307 || s == 308 || (s >= 400 && s <= 416 && s != 407) ||
           s == 421 || s == 429 || (s >= 494 && s <= 498) || (s >= 500 && s <= 505) || s == 507;
}

/* nginx names no charset in a 301 or 302. */
static struct str content_type_of(int status, bool html)
{
    if (status == 301 || status == 302) {
        return html ? STR("text/html") : STR("text/plain");
    }
    return html ? STR("text/html; charset=utf-8") : STR("text/plain; charset=utf-8");
}

enum verdict req_reply(struct req *r, int status, struct str body)
{
    r->is_reply = true;
    r->resp.status = status;
    r->resp.source = FROM_GATEWAY;
    r->resp.body = body;
    r->resp.html = body.p == NULL && has_page(status);
    if (r->resp.html) {
        r->resp.body = req_error_page(r->arena, status);
    }
    r->resp.length = (int64_t)r->resp.body.n;
    if (headers_find(&r->resp.headers, H_CONTENT_TYPE) == NULL && r->resp.body.p != NULL) {
        headers_add_id(&r->resp.headers, H_CONTENT_TYPE, content_type_of(status, r->resp.html));
    }
    return DONE;
}

enum verdict req_reply_json1(struct req *r, int status, const char *key, struct str value)
{
    json_t *o = json_object();
    json_object_set_new(o, key, json_stringn_nocheck(value.p, value.n)); /* it may be any bytes */
    struct str text = json_text(r->arena, o);
    json_decref(o);
    return req_reply(r, status, arena_cat(r->arena, text, STR("\n")));
}

enum verdict req_fail(struct req *r, int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct str text = arena_vprintf(r->arena, fmt, ap);
    va_end(ap);
    struct str route = r->route ? r->route->o.id : STR("-");
    LOG_RATE(WARN, "refused with %d: %.*s, client: %.*s, route: %.*s, request: \"%.*s %.*s\"",
             status, STR_ARG(text), STR_ARG(r->remote_addr), STR_ARG(route), STR_ARG(r->method),
             STR_ARG(r->raw_path));
    return req_reply_json1(r, status, "message", text);
}

/* nginx words some reasons its own way, and users match on its pages. */
static struct str page_reason(int status)
{
    switch (status) {
    case 401:
        return STR("Authorization Required");
    case 405:
        return STR("Not Allowed");
    case 408:
        return STR("Request Time-out");
    case 413:
        return STR("Request Entity Too Large");
    case 414:
        return STR("Request-URI Too Large");
    case 416:
        return STR("Requested Range Not Satisfiable");
    case 503:
        return STR("Service Temporarily Unavailable");
    case 504:
        return STR("Gateway Time-out");
    default:
        return http_reason(status);
    }
}

struct str req_error_page(struct arena *a, int status)
{
    struct str reason = page_reason(status);
    return arena_printf(
        a,
        "<html>\r\n<head><title>%d%s%.*s</title></head>\r\n<body>\r\n"
        "<center><h1>%d%s%.*s</h1></center>\r\n<hr><center>weir</center>\r\n</body>\r\n</html>\r\n",
        status, reason.n ? " " : "", STR_ARG(reason), status, reason.n ? " " : "", STR_ARG(reason));
}

int req_await_send_reply(struct req *r)
{
    if (r->resp.no_body) {
        return r->transport->await_head(r, STR(""), true);
    }
    return r->transport->await_head(r, r->resp.body.p ? r->resp.body : STR(""), true);
}

void req_set_uri(struct req *r, struct str uri, struct str args)
{
    struct str path = uri_encode_path(r->arena, uri);
    struct str query = args.p ? args : r->args;
    bool has_query = args.p ? args.n > 0 : r->has_args;
    r->uri = uri;
    if (args.p) {
        r->args = args;
        r->has_args = has_query;
    }
    r->up.uri =
        has_query ? arena_printf(r->arena, "%.*s?%.*s", STR_ARG(path), STR_ARG(query)) : path;
}

struct str req_arg(struct req *r, struct str name, bool *has_value)
{
    struct str rest = r->args, pair;
    while (str_split(&rest, '&', &pair)) {
        ptrdiff_t eq = str_index(pair, '=');
        struct str key = eq < 0 ? pair : str_head(pair, (size_t)eq);
        if (key.n == 0 || !str_eq(uri_decode(r->arena, key, true), name)) {
            continue;
        }
        if (has_value) {
            *has_value = eq >= 0;
        }
        return eq < 0 ? STR("") : uri_decode(r->arena, str_skip(pair, (size_t)eq + 1), true);
    }
    return STR_NONE;
}

struct str req_cookie(struct req *r, struct str name)
{
    for (unsigned i = 0; i < r->headers.n; i++) {
        if (r->headers.v[i].id != H_COOKIE) {
            continue;
        }
        struct str rest = r->headers.v[i].value, pair;
        while (str_split(&rest, ';', &pair)) {
            pair = str_trim(pair);
            if (pair.n > name.n && pair.p[name.n] == '=' && str_starts(pair, name)) {
                return str_skip(pair, name.n + 1);
            }
        }
    }
    return STR_NONE;
}

#define BODY_ROOM_MAX (1 << 20) /* what a Content-Length alone is trusted for */

/* Room for n bytes more: at first what the length says, then twice as much each time. */
static size_t body_room(const struct req *r, size_t have, size_t n)
{
    size_t said =
        r->content_length > 0 && r->content_length < BODY_ROOM_MAX ? (size_t)r->content_length : 0;
    return have == 0 && said >= n ? said : (have + n) * 2;
}

/* The runs gathered in the arena. */
static int await_whole_body(struct req *r, uint64_t max, struct str *whole)
{
    char *p = NULL;
    size_t n = 0, cap = 0;
    for (;;) {
        struct str run;
        int rc = r->transport->await_body(r, &run);
        if (rc <= 0) {
            *whole = str_of(p ? p : "", n);
            return rc;
        }
        if (max && n + run.n > max) {
            return -EMSGSIZE;
        }
        if (n + run.n > cap) {
            cap = body_room(r, n, run.n);
            char *bigger = arena_bytes(r->arena, cap);
            memcpy(bigger, p ? p : "", n);
            p = bigger;
        }
        memcpy(p + n, run.p, run.n);
        n += run.n;
    }
}

int req_await_body(struct req *r, uint64_t max)
{
    struct str whole;
    if (r->body.p != NULL) {
        return max && r->body.n > max ? -EMSGSIZE : 0;
    }
    if (r->body_error != 0 || r->body_seen > 0 || r->resp.sent) {
        /* its beginning has gone to the upstream, or nobody waits for it any more */
        return r->body_error ? r->body_error : -EALREADY;
    }
    if (max == 0 || (r->max_body && r->max_body < max)) {
        max = r->max_body;
    }
    if (max && r->content_length > 0 && (uint64_t)r->content_length > max) {
        return -EMSGSIZE;
    }
    int rc = await_whole_body(r, max, &whole);
    if (rc < 0) {
        r->body_error = rc;
        return rc;
    }
    r->body = whole;
    r->body_read = true;
    return 0;
}

enum verdict req_body_failed(struct req *r, int error)
{
    r->keepalive = false;
    switch (error) {
    case -EMSGSIZE:
        return req_reply(r, 413, STR_NONE);
    case -ETIMEDOUT:
        return req_reply(r, 408, STR_NONE);
    case -EPROTO:
        return req_reply(r, 400, STR_NONE);
    default:
        r->client_gone = true;
        return req_reply(r, 400, STR_NONE);
    }
}

struct try *req_add_try(struct req *r)
{
    /* Capacity is the next power of two, so it need not be kept. */
    if ((r->n_tries & (r->n_tries - 1)) == 0) {
        struct try *bigger = ARENA_ARRAY(r->arena, struct try, r->n_tries ? r->n_tries * 2 : 1);
        memcpy(bigger, r->tries ? r->tries : bigger, sizeof(*bigger) * r->n_tries);
        r->tries = bigger;
    }
    struct try *t = &r->tries[r->n_tries++];
    t->connect_us = t->header_us = t->response_us = -1;
    return t;
}

struct str req_id(struct req *r)
{
    if (r->request_id.p == NULL) {
        r->request_id = arena_printf(r->arena, "%016llx%016llx", (unsigned long long)random_u64(),
                                     (unsigned long long)random_u64());
    }
    return r->request_id;
}
