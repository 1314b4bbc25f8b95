/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_server: a connection of HTTP/2 towards a client (docs/internals/http2.md).
 *
 * One fiber reads frames and starts a fiber for each stream (h2_stream.c). What several streams put
 * into the session's buffer is written by one more, which runs after those that are ready, so that
 * all of it goes out with one write; a stream that is alone writes itself. A connection without
 * streams has no fiber: it is watched, like an idle one of HTTP/1.1.
 */
#include "http/h2_server_priv.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/settings.h"
#include "fiber/fiber.h"

#include <errno.h>
#include <stdlib.h>

#define LOOK_MS 5000  /* how often the reader looks up */
#define GOING_MS 1000 /* for the answer to the ping behind a first GOAWAY */

static struct h2_limits limits_of(const struct server *s)
{
    const struct settings *set = s->settings;
    return (struct h2_limits){.head = &s->limits,
                              .streams = set->weir.http2_streams,
                              .stream_window = set->weir.http2_stream_window,
                              .window = set->weir.http2_window,
                              .resets = set->weir.http2_resets,
                              .control_frames = set->weir.http2_control_frames,
                              .connect_protocol = true};
}

struct h2_conn *h2_conn_new(struct conn *c)
{
    struct h2_conn *h = mem_alloc(sizeof(*h));
    const struct h2_limits limits = limits_of(c->server);
    h->c = c;
    h->s = h2_new(&limits, false);
    h->quiet_ms = now_ms();
    list_init(&h->streams);
    list_init(&h->heads);
    cond_init(&h->turn);
    cond_init(&h->work);
    cond_init(&h->calm);
    cond_init(&h->memory);
    return h;
}

void h2_conn_free(struct h2_conn *h)
{
    if (h != NULL) {
        ASSERT(h->live == 0 && !h->has_writer);
        h2_free(h->s);
        free(h);
    }
}

/* The reader has something to look at. */
static void wake_reader(struct h2_conn *h)
{
    if (h->reading && fiber_is_parked(h->c->fiber)) {
        fiber_interrupt(h->c->fiber, -EINTR);
    }
}

/* ---- the end (RFC 9113 6.8) ---- */

/* First the warning; the last word when the client has heard it, so that no request that is on its
 * way is lost. */
static void begin_end(struct h2_conn *h)
{
    if (h->ending) {
        return;
    }
    h->ending = true;
    h->ending_ms = now_ms();
    h2_goaway_soon(h->s);
    h2_ping(h->s);
    h2_conn_flush(h);
    wake_reader(h);
}

static void say_last(struct h2_conn *h)
{
    h->said_last = true;
    h2_goaway(h->s, H2_NO_ERROR);
    h2_conn_flush(h);
}

void h2_conn_end(struct h2_conn *h)
{
    begin_end(h);
}

static bool must_end(const struct h2_conn *h)
{
    const struct server *s = h->c->server;
    return s->draining || s->settings->keepalive_timeout_ms <= 0 || server_pressure() >= 1 ||
           h->s->n_opened >= (uint64_t)s->settings->weir.keepalive_requests;
}

void h2_conn_left(struct h2_req *q)
{
    struct h2_conn *h = q->h;
    list_del(&q->link);
    h->live--;
    h->quiet_ms = now_ms();
    h2_conn_flush(h);
    h2_conn_next_turn(h);
    if (must_end(h)) {
        begin_end(h);
    }
    if (h->live == 0) {
        cond_broadcast(&h->calm);
        wake_reader(h); /* to rest */
    }
}

/* ---- writing ---- */

void h2_conn_next_turn(struct h2_conn *h)
{
    if (h2_conn_takes(h) && h->s->send_window > 0) {
        cond_signal(&h->turn);
    }
}

static void broke(struct h2_conn *h)
{
    h->broken = true;
    cond_broadcast(&h->turn);
    cond_broadcast(&h->calm);
    if (h->c->fiber != NULL) {
        fiber_cancel(h->c->fiber);
    }
}

int h2_conn_await_write(struct h2_conn *h, struct iovec *iov, int n)
{
    struct buf out = h2_take_out(h->s);
    const bool skip = out.n == 0;
    iov[0] = (struct iovec){out.p, out.n};
    h->writing = true;
    fiber_shield(true); /* half a frame would be the end of all streams */
    const int rc = await_write(&h->c->io, iov + skip, n - skip,
                               deadline_in(h->c->server->settings->send_timeout_ms));
    fiber_shield(false);
    h->writing = false;
    h2_return_out(&out);
    if (rc < 0) {
        broke(h);
        return rc;
    }
    h2_conn_next_turn(h);
    cond_broadcast(&h->calm);
    h2_conn_flush(h);
    return 0;
}

/* Behind the streams that are ready when it is started. */
static void writer_main(void *arg)
{
    struct h2_conn *h = arg;
    struct iovec iov[1];
    h->has_writer = true;
    int rc = await_cond(&h->work, NEVER);
    while (rc == 0 && h->s->out.n > 0 && !h->writing) {
        rc = h2_conn_await_write(h, iov, 1);
    }
    h->has_writer = false;
    cond_broadcast(&h->calm);
}

void h2_conn_flush(struct h2_conn *h)
{
    if (h->has_writer || h->writing || h->broken || h->s->out.n == 0) {
        return;
    }
    if (fiber_start("h2 writer", writer_main, h) == NULL) {
        LOG_RATE(ERROR, "no memory for a fiber, closing a connection");
        broke(h);
        return;
    }
    cond_signal(&h->work);
}

int h2_conn_await_flush(struct h2_conn *h)
{
    struct iovec iov[1];
    if (h->live > 1 || h->writing || h->s->out.n == 0) {
        h2_conn_flush(h);
        return 0;
    }
    return h2_conn_await_write(h, iov, 1);
}

/* Until all is written, or cannot be. */
static void await_writer(struct h2_conn *h)
{
    fiber_shield(true); /* it uses what its owner would free */
    h2_conn_flush(h);
    while (h->has_writer) {
        await_cond(&h->calm, NEVER);
    }
    fiber_shield(false);
}

/* ---- reading ---- */

static struct h2_req *req_of(struct h2_stream *st)
{
    return CONTAINER_OF(st, struct h2_req, s);
}

/* A stream counts until its fiber has ended, whatever its state on the wire: resets do not buy more
 * work at once. */
static void open_stream(struct h2_conn *h)
{
    if (h->live < h->s->limits.streams) {
        struct h2_req *q = h2_req_new(h);
        list_add_tail(&h->streams, &q->link);
        h->live++;
        h2_accept(h->s, &q->s, q->r.arena);
    }
}

static void on_event(struct h2_conn *h, const struct h2_event *ev)
{
    struct h2_req *q = ev->stream ? req_of(ev->stream) : NULL;
    switch (ev->type) {
    case H2_OPEN:
        open_stream(h);
        break;
    case H2_HEAD:
        list_add_tail(&h->heads, &q->start);
        break;
    case H2_DATA:
        h2_req_body(q, ev->data);
        break;
    case H2_TRAILERS:
        cond_signal(&q->more);
        break;
    case H2_RESET:
        h2_req_gone(q, ev->ours ? -EPROTO : -ECONNRESET);
        break;
    case H2_WINDOW:
        if (q != NULL) {
            cond_signal(&q->window);
        } else {
            LIST_EACH(it, &h->streams) {
                cond_signal(&CONTAINER_OF(it, struct h2_req, link)->window);
            }
            h2_conn_next_turn(h);
        }
        break;
    case H2_PONG:
        if (h->ending && !h->said_last) {
            say_last(h);
        }
        break;
    case H2_FAILED: {
        const struct conn *c = h->c;
        LOG_RATE(INFO, "client %.*s broke HTTP/2: %s (%s)", c->peer_text_n, c->peer_text,
                 h->s->reason, h2_code_text(ev->code));
        break;
    }
    case H2_GOING:
    case H2_NONE:
        break;
    }
}

/* Streams start when all that came with their heads is known: one that is reset in the same breath
 * never does. */
void h2_conn_feed(struct h2_conn *h, struct str bytes)
{
    struct h2_event ev;
    while (!h->s->failed && h2_read(h->s, &bytes, &ev) != H2_NONE) {
        on_event(h, &ev);
    }
    for (struct list *l; !h->s->failed && (l = list_pop(&h->heads)) != NULL;) {
        struct h2_req *q = CONTAINER_OF(l, struct h2_req, start);
        list_init(l);
        h2_req_start(q);
    }
    h2_conn_flush(h);
}

static int64_t head_deadline(const struct h2_conn *h)
{
    const int64_t since = h2_pending_since(h->s);
    return since ? since + h->c->server->settings->client_header_timeout_ms : NEVER;
}

static int64_t read_deadline(const struct h2_conn *h)
{
    const int64_t look = deadline_in(h->ending && !h->said_last ? GOING_MS : LOOK_MS);
    return head_deadline(h) < look ? head_deadline(h) : look;
}

enum next { READ_ON, REST, END, HANG_UP };

/* What time alone brings. */
static enum next look_up(struct h2_conn *h)
{
    if (head_deadline(h) <= now_ms()) {
        h2_goaway(h->s, H2_NO_ERROR);
        return END;
    }
    if (h->ending && !h->said_last && h->ending_ms + GOING_MS <= now_ms()) {
        say_last(h);
    }
    return READ_ON;
}

/* Nothing to do and nothing in sight. */
static bool may_rest(const struct h2_conn *h)
{
    return h->live == 0 && !h->ending && !h->c->io.readable && h2_pending_since(h->s) == 0;
}

static enum next await_bytes(struct h2_conn *h)
{
    struct str bytes;
    if (h->s->failed || (h->said_last && h->live == 0)) {
        return END;
    }
    if (may_rest(h)) {
        return REST;
    }
    if (!h2_conn_takes(h)) {
        /* It does not take what it made us say: no more of it. */
        return await_cond(&h->calm, NEVER) < 0 ? HANG_UP : READ_ON;
    }
    h->reading = true;
    const int n = await_read(&h->c->io, &bytes, read_deadline(h));
    h->reading = false;
    if (n > 0) {
        h2_conn_feed(h, bytes);
        return READ_ON;
    }
    return n == -ETIMEDOUT || n == -EINTR ? look_up(h) : HANG_UP;
}

/* ---- the connection's fiber ---- */

/* All streams end, what is left is written, and the client gets the time to read it. */
static void await_end(struct h2_conn *h, bool hang_up)
{
    struct conn *c = h->c;
    fiber_shield(true);
    if (hang_up) {
        h->broken = true;
        io_close(&c->io);
    }
    LIST_EACH_SAFE(it, nxt, &h->streams) {
        h2_req_gone(CONTAINER_OF(it, struct h2_req, link), -ECONNRESET);
    }
    while (h->live > 0) {
        await_cond(&h->calm, NEVER);
    }
    await_writer(h);
    fiber_shield(false);
    if (!hang_up) {
        conn_linger(c);
    }
    c->fiber = NULL;
    conn_close(c);
}

static enum next await_frames(struct h2_conn *h)
{
    enum next next = READ_ON;
    if (h->c->server->draining) {
        begin_end(h);
    }
    while (next == READ_ON) {
        next = await_bytes(h);
    }
    return next;
}

void h2_conn_serve(struct h2_conn *h)
{
    enum next next;
    h->c->fiber = fiber_self();
    do {
        next = await_frames(h);
        if (next != REST) {
            await_end(h, next == HANG_UP);
            return;
        }
        await_writer(h);
    } while (h->ending);
    h->c->fiber = NULL;
    conn_idle(h->c, h->quiet_ms + h->c->server->settings->keepalive_timeout_ms);
}
