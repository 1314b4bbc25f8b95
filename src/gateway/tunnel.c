/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel: an upgraded connection (WebSocket): bytes both ways, each at the pace of its reader. A
 * side that says it has no more to send is passed on as such, the other may go on; the tunnel is
 * over when both have ended, one is broken, or nothing has moved for the upstream's read timeout.
 *
 * Nearly always the tunnel leaves its fiber: a relay (event/relay.h) carries the bytes, and what
 * the log phase needs of the request is packed away until the end. Where that cannot be, two fibers
 * carry them.
 */
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "event/relay.h"
#include "fiber/fiber.h"
#include "gateway/gateway.h"
#include "gateway/pump.h"
#include "gateway/steps.h"
#include "http/req_keep.h"
#include "upstream/pool.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

/* ---- without a fiber ---- */

struct pumped {
    struct relay relay; /* client to upstream, and back */
    struct kept_req *kept;
    struct core_snapshot *snapshot;
    struct upconn *up;
    void *conn;
    struct balancer_walk walk;
};

/* What gateway_handle() and request_await_response() would have done. */
static void pumped_end(void *arg)
{
    struct pumped *t = arg;
    const uint64_t sent = t->relay.way[1].bytes;
    server_return(t->conn);
    struct req *r = req_unkeep(t->kept, fiber_arena());
    fiber_set_data(fiber_self(), r);
    r->resp.body_bytes_sent += sent;
    r->resp.bytes_sent += sent;
    struct try *last = &r->tries[r->n_tries - 1];
    last->response_us = now_us() - last->start_us;
    balancer_done(&t->walk, last->header_us);
    balancer_end(&t->walk);
    upconn_close(t->up);
    request_end(r, t->snapshot);
    server_close(t->conn);
    free(t);
}

static void on_relay_end(struct relay *relay)
{
    if (fiber_start("tunnel end", pumped_end, CONTAINER_OF(relay, struct pumped, relay)) == NULL) {
        relay_end(relay, deadline_in(100));
    }
}

static void pumped_stop(void *arg)
{
    struct pumped *t = arg;
    relay_stop(&t->relay);
    on_relay_end(&t->relay);
}

/* Does a plugin need in its log phase what it has kept? That cannot be packed. */
static bool plugins_need_fiber(const struct req *r)
{
    for (unsigned i = 0; r->plugin_ctx && i < plugin_count(); i++) {
        if (r->plugin_ctx[i] && plugin_at(i)->log) {
            return true;
        }
    }
    return false;
}

static bool leave(struct req *r, struct proxied *p, struct io *client)
{
    if (p->pump || client->layer || p->c->io.layer || plugins_need_fiber(r)) {
        return false;
    }
    r->tries[r->n_tries - 1].received = p->x.received;
    struct kept_req *kept = req_keep(r);
    if (kept == NULL) {
        return false;
    }
    struct pumped *t = mem_alloc(sizeof(*t));
    *t = (struct pumped){
        .kept = kept, .snapshot = p->snapshot, .up = p->c, .conn = r->conn, .walk = p->walk};
    server_leave(r, pumped_stop, t);
    relay_start(&t->relay, client, &p->c->io, p->read_ms, on_relay_end);
    p->left = true;
    return true;
}

/* ---- in two fibers ---- */

/* One direction. */
struct tunnel {
    struct io *from, *to;
    int64_t idle_ms;
    int64_t *last_ms; /* when either direction last moved */
    uint64_t bytes;
    struct fiber *other; /* of the other direction */
    bool done;
    struct cond ended;
};

/* A tunnel is idle when neither direction has moved. */
static int await_some(struct tunnel *t, struct str *run)
{
    for (;;) {
        int n = await_read(t->from, run, *t->last_ms + t->idle_ms);
        if (n != -ETIMEDOUT || *t->last_ms + t->idle_ms <= now_ms()) {
            return n;
        }
    }
}

/* Until `from` ends, which `to` is told: 0; or an error, and the tunnel is broken. */
static int carry(struct tunnel *t)
{
    struct str run;
    int n;
    while ((n = await_some(t, &run)) > 0) {
        struct iovec iov = {(void *)(uintptr_t)run.p, run.n};
        *t->last_ms = now_ms();
        t->bytes += run.n;
        if ((n = await_write(t->to, &iov, 1, deadline_in(t->idle_ms))) < 0) {
            return n;
        }
    }
    if (n == 0) {
        io_shut(t->to);
    }
    return n;
}

static void back_main(void *arg)
{
    struct tunnel *t = arg;
    if (carry(t) < 0) {
        fiber_cancel(t->other);
    }
    t->done = true;
    cond_broadcast(&t->ended);
}

/* The other direction has ended: let this one end by itself, or stop it. */
static void await_back(struct tunnel *back, struct fiber *f, bool broken)
{
    if (!broken && !back->done) {
        await_cond(&back->ended, NEVER);
    }
    fiber_shield(true);
    while (!back->done) {
        fiber_cancel(f);
        await_cond(&back->ended, NEVER);
    }
    fiber_shield(false);
}

static int send_ahead(struct io *to, struct str bytes)
{
    struct iovec iov = {(void *)(uintptr_t)bytes.p, bytes.n};
    return bytes.n ? await_write(to, &iov, 1, deadline_in(60000)) : 0;
}

/* ---- over a stream of HTTP/2 (RFC 8441): its bodies are the two ways ---- */

/* RFC 6455 4.2.2: did the upstream mean our key? The client cannot tell. */
static bool is_accepted(const struct req *r, const struct headers *answer)
{
    const struct str text =
        arena_cat(r->arena, headers_get_name(&r->headers, STR("Sec-WebSocket-Key")),
                  STR("258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_Digest(text.p, text.n, sum, &n, EVP_sha1(), NULL);
    return str_eq(headers_get_name(answer, STR("Sec-WebSocket-Accept")),
                  base64_encode(r->arena, str_of((const char *)sum, n)));
}

/* Upstream to client, until one of them ends. */
static int carry_to_stream(struct req *r, struct exchange *x, int64_t idle_ms)
{
    for (;;) {
        struct str run;
        int rc, n = client_await_body(x, &run, x->moved_ms + idle_ms);
        if (n == -ETIMEDOUT && x->moved_ms + idle_ms > now_ms()) {
            continue; /* the other way has moved */
        }
        if (n < 0) {
            return n;
        }
        x->moved_ms = now_ms();
        rc = r->transport->await_data(r, n > 0 ? run : STR(""), n == 0);
        if (rc < 0 || n == 0) {
            return rc;
        }
    }
}

static void await_stream_tunnel(struct req *r, struct proxied *p)
{
    struct exchange *x = &p->x;
    if (!is_accepted(r, &x->parser.head.headers)) {
        LOG_RATE(ERROR, "upstream %.*s: its answer to a WebSocket's opening is not of that opening",
                 STR_ARG(r->upstream->id));
        headers_init(&r->resp.headers, r->arena, 4);
        req_reply(r, 502, STR_NONE);
        request_await_reply(r);
        return;
    }
    x->body.framing = H1_TO_CLOSE;
    x->body.ahead = arena_str(r->arena, x->body.ahead);
    x->moved_ms = now_ms();
    r->resp.length = -1;
    if (r->transport->await_head(r, STR(""), false) < 0 ||
        (p->pump = pump_start(r, x, p->read_ms)) == NULL || carry_to_stream(r, x, p->read_ms) < 0) {
        r->transport->abort(r);
    }
}

void request_await_tunnel(struct req *r, struct proxied *p)
{
    if (r->major == 2) {
        await_stream_tunnel(r, p);
        return;
    }
    struct str ahead, early = arena_str(r->arena, p->x.body.ahead);
    struct io *client = server_io(r, &ahead);
    struct headers *h = &r->resp.headers;
    headers_del_id(h, H_UPGRADE);
    headers_add(h, STR("Upgrade"), headers_get(&p->x.parser.head.headers, H_UPGRADE));
    headers_add(h, STR("Connection"), STR("Upgrade"));
    r->resp.length = -1;
    if (r->transport->await_head(r, STR(""), true) < 0 || send_ahead(&p->c->io, ahead) < 0 ||
        send_ahead(client, early) < 0) {
        r->client_gone = true;
        return;
    }
    if (leave(r, p, client)) {
        return;
    }
    int64_t last = now_ms();
    struct tunnel *back = ARENA_NEW(r->arena, struct tunnel);
    *back = (struct tunnel){.from = &p->c->io,
                            .to = client,
                            .idle_ms = p->read_ms,
                            .last_ms = &last,
                            .other = r->fiber};
    struct tunnel forth = {
        .from = client, .to = &p->c->io, .idle_ms = p->read_ms, .last_ms = &last};
    cond_init(&back->ended);
    struct fiber *f = fiber_start("tunnel", back_main, back);
    if (f == NULL) {
        return;
    }
    await_back(back, f, carry(&forth) < 0);
    r->resp.body_bytes_sent += back->bytes;
    r->resp.bytes_sent += back->bytes;
}
