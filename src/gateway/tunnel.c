/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel: an upgraded connection (WebSocket): bytes both ways, each at the pace of its reader. A
 * side that says it has no more to send is passed on as such, the other may go on; the tunnel is
 * over when both have ended, one is broken, or nothing has moved for the upstream's read timeout.
 */
#include "fiber/fiber.h"
#include "gateway/gateway.h"
#include "gateway/steps.h"
#include "upstream/pool.h"

#include <errno.h>

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

void request_await_tunnel(struct req *r, struct proxied *p)
{
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
