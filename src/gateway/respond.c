/* SPDX-License-Identifier: Apache-2.0 */
/* respond: the answer on its way to the client: header filters, body filters, back-pressure. */
#include "base/log.h"
#include "config/settings.h"
#include "fiber/fiber.h"
#include "gateway/gateway.h"
#include "gateway/pump.h"
#include "gateway/steps.h"
#include "plugin/compress.h"

#include <errno.h>

/* nginx' charset directive, which comes after plugins: text types without a charset get the
 * configured one. */
static void add_charset(struct req *r)
{
    static const struct str types[] = {STR_INIT("text/html"),
                                       STR_INIT("text/xml"),
                                       STR_INIT("text/plain"),
                                       STR_INIT("text/vnd.wap.wml"),
                                       STR_INIT("application/javascript"),
                                       STR_INIT("application/rss+xml")};
    struct header *h = headers_find(&r->resp.headers, H_CONTENT_TYPE);
    if (h == NULL || r->settings->charset.n == 0 || r->resp.status == 301 ||
        r->resp.status == 302) {
        return;
    }
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (h->value.n == types[i].n && str_ieq(h->value, types[i])) {
            h->value = arena_join(r->arena, h->value, STR("; charset="), r->settings->charset);
            return;
        }
    }
}

static void filter_headers(struct req *r)
{
    struct headers *h = &r->resp.headers;
    headers_set_id(h, H_SERVER,
                   r->settings->enable_server_tokens ? STR("weir/" WEIR_VERSION) : STR("weir"));
    chain_notify(r, r->globals, PHASE_HEADER_FILTER, r->chain);
    chain_notify(r, r->chain, PHASE_HEADER_FILTER, NULL);
    add_charset(r);
    compress_begin(r);
}

static bool has_body_filter(const struct chain *c)
{
    return c && (c->n[PHASE_BODY_FILTER] || c->n[PHASE_DELAYED_BODY_FILTER]);
}

static struct str filter_body(struct req *r, struct str data, enum compress_step step)
{
    struct body_run b = {data, step == COMPRESS_END};
    chain_filter_body(r, r->globals, PHASE_BODY_FILTER, &b, r->chain);
    chain_filter_body(r, r->chain, PHASE_BODY_FILTER, &b, NULL);
    chain_filter_body(r, r->globals, PHASE_DELAYED_BODY_FILTER, &b, r->chain);
    chain_filter_body(r, r->chain, PHASE_DELAYED_BODY_FILTER, &b, NULL);
    return r->resp.coding ? compress_run(r, b.data, step) : b.data;
}

static bool is_filtered(const struct req *r)
{
    return has_body_filter(r->chain) || has_body_filter(r->globals) || r->resp.coding;
}

/* Filters may park between the reading of a run and its way out. */
static bool has_filter(const struct chain *c)
{
    return c && (c->n[PHASE_HEADER_FILTER] || has_body_filter(c));
}

void request_await_reply(struct req *r)
{
    if (r->client_gone) {
        r->transport->abort(r);
        return;
    }
    filter_headers(r);
    if (is_filtered(r) && r->resp.body.p) {
        r->resp.body = filter_body(r, r->resp.body, COMPRESS_END);
        r->resp.length = (int64_t)r->resp.body.n;
    }
    req_await_send_reply(r);
}

/* The fields that are for the client, behind those it is told already. */
static void take_fields(struct headers *to, const struct headers *from)
{
    const uint64_t drop = H1_HOP_BY_HOP | H1_BIT(H_CONTENT_LENGTH);

    for (const struct header *f = from->v, *end = f + from->n; f < end; f++) {
        if (!(drop >> f->id & 1) &&
            (from->options_only || f->id == H_TRAILER || !h1_is_hop_by_hop(from, f))) {
            headers_push(to, f);
        }
    }
}

/* Status and fields of the upstream's answer, less what concerned its connection only. */
static void take_head(struct req *r, const struct h1_head *head, const struct h1_body *body)
{
    r->resp.status = head->status;
    r->resp.reason = head->reason.n ? head->reason : STR_NONE;
    r->resp.source = FROM_UPSTREAM;
    r->resp.length = body->framing == H1_LENGTH ? (int64_t)head->content_length : -1;
    bool no_body = r->resp.no_body || head->status == 204 || head->status == 304;
    if (no_body && headers_may_have(&head->headers, H_CONTENT_LENGTH)) {
        r->resp.length = (int64_t)head->content_length; /* of what HEAD and 304 leave out */
    }
    take_fields(&r->resp.headers, &head->headers);
    if (head->status >= 500 || r->settings->show_upstream_status) {
        struct str all = STR("");
        for (unsigned i = 0; i < r->n_tries; i++) {
            all =
                arena_printf(r->arena, "%.*s%s%d", STR_ARG(all), i ? ", " : "", r->tries[i].status);
        }
        headers_add(&r->resp.headers, STR("X-APISIX-Upstream-Status"), all);
    }
}

/* The upstream went away in the middle: the client must see that the answer is not whole, or never
 * sees any of it. */
static void cut(struct req *r, struct proxied *p, int error)
{
    struct try *t = &r->tries[r->n_tries - 1];
    r->client_gone = r->client_gone || fiber_is_cancelled(fiber_self());
    if (!r->client_gone) {
        LOG_RATE(ERROR, "upstream answer ended early: %s, route: %.*s, request: \"%.*s %.*s\"",
                 error == -EPROTO ? "malformed body" : strerror(-error), STR_ARG(r->route->o.id),
                 STR_ARG(r->method), STR_ARG(r->raw_path));
    }
    t->response_us = now_us() - t->start_us;
    p->x.parser.head.keepalive = false;
    if (r->resp.sent || r->client_gone) {
        r->transport->abort(r);
        return;
    }
    /* Nothing of the answer is out: it becomes an error page instead. */
    headers_init(&r->resp.headers, r->arena, 16);
    r->resp.coding = NULL;
    r->resp.reason = STR_NONE;
    req_reply(r, error == -ETIMEDOUT ? 504 : 502, STR_NONE);
    r->resp.source = FROM_PROXY_ERROR;
    request_await_reply(r);
}

/* The whole body first, for filters that need it whole. 0 or an error (the head is not out yet). */
static int await_whole(struct req *r, struct proxied *p, struct str *whole)
{
    struct str run;
    char *text = NULL;
    size_t n = 0, cap = 0;
    int rc;
    while ((rc = client_await_body(&p->x, &run, deadline_in(p->read_ms))) > 0) {
        if (n + run.n > r->resp.buffer_max) {
            return -EMSGSIZE;
        }
        if (n + run.n > cap) {
            cap = (n + run.n) * 2;
            char *bigger = arena_bytes(r->arena, cap);
            memcpy(bigger, text ? text : "", n);
            text = bigger;
        }
        memcpy(text + n, run.p, run.n);
        n += run.n;
    }
    *whole = str_of(text ? text : "", n);
    return rc;
}

static void send_whole(struct req *r, struct proxied *p)
{
    struct str whole;
    int rc = await_whole(r, p, &whole);
    if (rc < 0) {
        if (rc == -EMSGSIZE) {
            LOG_RATE(ERROR,
                     "the upstream's body could not be taken whole: it is larger than allowed");
        }
        cut(r, p, rc);
        return;
    }
    if (p->x.body.framing == H1_CHUNKED) {
        r->resp.trailers = p->x.body.chunked.trailers;
    }
    whole = filter_body(r, whole, COMPRESS_END);
    /* trailers need a framing that has a place for them */
    r->resp.length = r->resp.trailers.n > 0 ? -1 : (int64_t)whole.n;
    r->transport->await_head(r, whole, true);
}

/* What a coding holds back goes out before the wait for more, which may be a long one. */
static enum compress_step step_of(const struct req *r, const struct exchange *x, bool last)
{
    if (last) {
        return COMPRESS_END;
    }
    return client_has_run(x) && !r->resp.unbuffered ? COMPRESS_RUN : COMPRESS_FLUSH;
}

/* Copying less than this costs less than moving it through a pipe. */
#define SPLICE_BYTES 16384

/* The rest of a large body that nobody looks at, from socket to socket. 0, also when it has to go
 * run by run; an error of either side. */
static int await_moved(struct req *r, struct proxied *p)
{
    uint64_t left;
    while ((left = client_movable(&p->x)) > 0) {
        /* Two peers, two timeouts: once there is something, only the client is waited for. */
        int rc = await_readable(p->x.io, deadline_in(p->read_ms));
        if (rc < 0) {
            return rc;
        }
        ptrdiff_t n =
            r->transport->await_splice(r, p->x.io, left, deadline_in(r->settings->send_timeout_ms));
        if (n == -ENOTSUP) {
            return 0;
        }
        if (n <= 0) {
            return n == 0 ? -ECONNRESET : (int)n;
        }
        client_moved(&p->x, (size_t)n);
    }
    return 0;
}

/* Nothing is read that would only wait for the client, where many answers share a connection.
 * (Exchanges with ops keep what comes, within bounds.) */
static int await_room(struct req *r, struct proxied *p)
{
    const struct transport *t = r->transport;
    if (t->is_crowded == NULL || !t->is_crowded(r) || client_has_run(&p->x) || p->x.ops ||
        await_readable(p->x.io, deadline_in(p->read_ms)) < 0) {
        return 0;
    }
    return t->await_room(r);
}

/* Run by run: the client's pace is the upstream's. */
static void stream(struct req *r, struct proxied *p)
{
    bool filtered = is_filtered(r), last = false;
    bool head_out = false;
    int rc = 0;
    while (!last && rc == 0) {
        struct str run = STR("");
        if (!head_out && !client_has_run(&p->x)) {
            rc = r->transport->await_head(r, STR(""), false);
            head_out = true;
            continue;
        }
        if ((rc = await_room(r, p)) < 0) {
            break;
        }
        int got = client_await_body(&p->x, &run, deadline_in(p->read_ms));
        if (got < 0) {
            cut(r, p, got);
            return;
        }
        last = got == 0 || p->x.body.ended;
        run = got == 0 ? STR("") : run;
        if (last && p->x.body.framing == H1_CHUNKED) {
            r->resp.trailers = p->x.body.chunked.trailers;
        }
        if (filtered) {
            run = filter_body(r, run, step_of(r, &p->x, last));
        }
        if (!head_out) {
            rc = r->transport->await_head(r, run, last);
            head_out = true;
        } else if (run.n || last) {
            rc = r->transport->await_data(r, run, last);
        }
        if (rc == 0 && !filtered && r->transport->await_splice &&
            client_movable(&p->x) >= SPLICE_BYTES) {
            rc = await_moved(r, p);
            last = p->x.body.ended;
        }
    }
    if (rc < 0) {
        r->client_gone = true;
        p->x.parser.head.keepalive = false;
    }
}

void request_await_response(struct req *r, struct proxied *p)
{
    take_head(r, &p->x.parser.head, &p->x.body);
    if (has_filter(r->chain) || has_filter(r->globals)) {
        client_own_runs(&p->x);
    }
    if (r->resp.status == 101) {
        proxied_watch(r, p, false);
        filter_headers(r);
        request_await_tunnel(r, p);
        if (p->left) {
            return;
        }
    } else {
        const int64_t told = r->resp.length;
        filter_headers(r);
        if (p->x.body.framing == H1_NO_BODY && r->resp.length == told &&
            r->resp.status != p->x.parser.head.status) {
            /* of the body that a 304 leaves out, and a plugin has made another status of it */
            r->resp.length = -1;
        }
        if (r->resp.buffer_body && !r->resp.no_body && p->x.body.framing != H1_NO_BODY) {
            send_whole(r, p);
        } else {
            stream(r, p);
        }
        proxied_watch(r, p, false);
    }
    struct try *t = &r->tries[r->n_tries - 1];
    t->response_us = now_us() - t->start_us;
    t->received = p->x.received;
    proxied_end(r, p);
}
