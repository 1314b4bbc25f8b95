/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_stream: a request that came over HTTP/2: the transport of its struct req.
 *
 * Body that comes is kept in blocks, at most the stream's window; the client may send more as they
 * are taken. Body that goes out waits for the windows where it is: what was lent is kept, not
 * copied.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "base/log.h"
#include "config/settings.h"
#include "event/lend.h"
#include "fiber/fiber.h"
#include "http/h2_server_priv.h"
#include "http/overload.h"

#include <errno.h>
#include <stdlib.h>

#define ARENA_BLOCK 12288
#define ARENAS_KEPT 256
#define BLOCKS_KEPT 64
#define DIRECT_BYTES 4096  /* from so many on body is written from where it is */
#define KEPT_MAX (1 << 20) /* of a connection, in runs that wait */
/* A run has at most so many frames. */
#define RUN_FRAMES (LEND_BYTES / H2_FRAME_MAX + 1)

/* ---- memory of this thread ---- */

static _Thread_local struct arena *arenas[ARENAS_KEPT];
static _Thread_local unsigned n_arenas;
static _Thread_local struct h2_block *blocks;
static _Thread_local unsigned n_blocks;

static struct h2_block *block_take(void)
{
    struct h2_block *b = blocks;
    if (b != NULL) {
        blocks = b->next;
        n_blocks--;
    } else {
        b = malloc(sizeof(*b));
        ASSERT(b != NULL);
    }
    b->next = NULL;
    b->n = b->taken = 0;
    return b;
}

static void block_return(struct h2_block *b)
{
    if (n_blocks == BLOCKS_KEPT) {
        free(b);
        return;
    }
    b->next = blocks;
    blocks = b;
    n_blocks++;
}

void h2_server_thread_fini(void)
{
    while (n_arenas > 0) {
        arena_free(arenas[--n_arenas]);
    }
    for (struct h2_block *b; (b = blocks) != NULL;) {
        blocks = b->next;
        free(b);
    }
    n_blocks = 0;
    h2_thread_fini();
}

static struct h2_req *of(struct req *r)
{
    return (struct h2_req *)(void *)r;
}

/* ---- the request body ---- */

void h2_req_body(struct h2_req *q, struct str run)
{
    q->r.bytes_in += run.n;
    while (run.n > 0) {
        if (q->last == NULL || q->last->n == BLOCK_BYTES) {
            struct h2_block *b = block_take();
            *(q->last ? &q->last->next : &q->first) = b;
            q->last = b;
        }
        struct h2_block *b = q->last;
        const struct str some = str_head(run, BLOCK_BYTES - b->n);
        memcpy(b->data + b->n, some.p, some.n);
        b->n += (unsigned)some.n;
        run = str_skip(run, some.n);
    }
    cond_signal(&q->more);
}

/* What was lent has been used: the client may send as much again. */
static void end_loan(struct h2_req *q)
{
    struct h2_block *b = q->first;
    if (q->lent == 0) {
        return;
    }
    h2_consumed(q->h->s, &q->s, q->lent);
    h2_conn_flush(q->h);
    q->lent = 0;
    if (b->taken == b->n) {
        q->first = b->next;
        q->last = b->next ? q->last : NULL;
        block_return(b);
    }
}

static bool h2_has_body(const struct req *r)
{
    const struct h2_req *q = (const struct h2_req *)(const void *)r;
    return (q->first && q->first->n > q->first->taken) || q->s.recv_ended || q->error != 0;
}

static int await_more_body(struct h2_req *q)
{
    if (q->r.is_talk) {
        return await_cond(&q->more, NEVER);
    }
    const struct settings *s = q->r.settings;
    const int64_t before = now_ms();
    if (q->is_tunnel) {
        return await_cond(&q->more, NEVER); /* when it is idle its other way finds out */
    }
    int rc = await_cond(
        &q->more, pace_deadline(&q->pace_in, s->client_body_timeout_ms, s->weir.min_body_rate));
    const size_t n = q->first ? q->first->n - q->first->taken : 0;
    pace_moved(&q->pace_in, now_ms() - before, n, s->weir.min_body_rate);
    return rc;
}

static int h2_await_body(struct req *r, struct str *run)
{
    struct h2_req *q = of(r);
    end_loan(q);
    if (q->continue_due && q->first == NULL) {
        q->continue_due = false;
        r->transport->await_interim(r, 100, &(struct headers){0});
    }
    for (;;) {
        struct h2_block *b = q->first;
        if (q->error != 0) {
            return q->error;
        }
        if (b != NULL && b->n > b->taken) {
            *run = str_of(b->data + b->taken, b->n - b->taken);
            q->lent = run->n;
            b->taken = b->n;
            r->body_seen += run->n;
            return r->max_body && r->body_seen > r->max_body ? -EMSGSIZE : 1;
        }
        if (q->s.recv_ended) {
            r->body_read = true;
            r->req_trailers = q->s.trailers;
            return 0;
        }
        const int rc = await_more_body(q);
        if (rc < 0) {
            return rc;
        }
    }
}

/* ---- the answer ---- */

/* How long the connection may go without taking anything of what waits. */
static int64_t turn_deadline(const struct h2_req *q, int64_t since)
{
    const struct settings *s = q->r.settings;
    const int64_t from = q->h->moved_ms > since ? q->h->moved_ms : since;
    return pace_deadline(&q->h->pace_out, from + s->send_timeout_ms - now_ms(),
                         s->weir.min_drain_rate);
}

/* Wait for what all streams share. Their patience is with the connection: as long as it moves, each
 * gets its turn. */
static int await_shared(struct h2_req *q, struct cond *c)
{
    struct h2_conn *h = q->h;
    const int64_t since = now_ms();
    h->waited_ms = h->waiting++ == 0 ? since : h->waited_ms;
    int rc;
    do {
        rc = await_cond(c, turn_deadline(q, since));
        pace_moved(&h->pace_out, now_ms() - h->waited_ms, 0, q->r.settings->weir.min_drain_rate);
        h->waited_ms = now_ms();
    } while (rc == -ETIMEDOUT && turn_deadline(q, since) > now_ms());
    h->waiting--;
    return rc;
}

static int await_window(struct h2_req *q)
{
    const struct settings *s = q->r.settings;
    const int64_t before = now_ms();
    const int rc = await_cond(
        &q->window, pace_deadline(&q->pace_out, s->send_timeout_ms, s->weir.min_drain_rate));
    pace_moved(&q->pace_out, now_ms() - before, 0, s->weir.min_drain_rate);
    return rc;
}

/* What is lent is taken out of the thread's hands until end_keep(). */
static void keep(struct h2_req *q, struct str run)
{
    const struct iovec iov = {(void *)(uintptr_t)run.p, run.n};
    if (q->kept == NULL && (q->kept = lend_keep(&iov, 1)) != NULL) {
        q->h->kept += LEND_BYTES;
    }
}

static void end_keep(struct h2_req *q)
{
    if (q->kept != NULL) {
        lend_return(q->kept);
        q->kept = NULL;
        q->h->kept -= LEND_BYTES;
        cond_signal(&q->h->memory);
    }
}

/* Wait for a window, for the others, for room in the connection's buffer. */
static int await_turn(struct h2_req *q, struct str run)
{
    const bool for_window = h2_conn_takes(q->h) && q->s.send_window <= 0;
    keep(q, run);
    if (for_window) {
        h2_conn_next_turn(q->h);
    }
    const int rc = for_window ? await_window(q) : await_shared(q, &q->h->turn);
    if (rc < 0 || q->error != 0) {
        h2_conn_next_turn(q->h);
    }
    return rc < 0 ? rc : q->error;
}

static bool h2_is_crowded(struct req *r)
{
    return of(r)->h->live > KEPT_MAX / LEND_BYTES;
}

static int h2_await_room(struct req *r)
{
    struct h2_req *q = of(r);
    int rc = q->error;
    while (rc == 0 && q->h->kept + LEND_BYTES > KEPT_MAX) {
        rc = await_shared(q, &q->h->memory);
        rc = rc < 0 ? rc : q->error;
    }
    if (rc < 0) {
        cond_signal(&q->h->memory);
    }
    return rc;
}

/* As frames, from where it is, behind what others have put into the buffer. */
static int await_direct(struct h2_req *q, struct str run, bool last)
{
    char heads[RUN_FRAMES][H2_FRAME_HEAD];
    struct iovec iov[1 + 2 * RUN_FRAMES];
    int n = 1;
    for (unsigned i = 0; run.n > 0; i++) {
        const struct str one = str_head(run, H2_FRAME_MAX);
        run = str_skip(run, one.n);
        h2_data_head(q->h->s, &q->s, heads[i], one.n, last && run.n == 0);
        iov[n++] = (struct iovec){heads[i], H2_FRAME_HEAD};
        iov[n++] = (struct iovec){(void *)(uintptr_t)one.p, one.n};
    }
    return h2_conn_await_write(q->h, iov, n);
}

/* A part of the run that may go now. The number of its bytes in *n. */
static int await_part(struct h2_req *q, struct str run, bool last, size_t *n)
{
    struct h2_conn *h = q->h;
    size_t most = h2_room(h->s, &q->s, run.n < LEND_BYTES ? run.n : LEND_BYTES);
    if (most >= (h->live > 1 ? DIRECT_BYTES : 1) && !h->writing) {
        *n = most;
        if (most < run.n) {
            keep(q, run); /* the write may park, and there is more to come */
        }
        return await_direct(q, str_head(run, most), last && most == run.n);
    }
    most = most < H2_OUT_HIGH - h->s->out.n ? most : H2_OUT_HIGH - h->s->out.n;
    h2_send_data(h->s, &q->s, str_head(run, most), last && most == run.n);
    h2_conn_next_turn(h);
    *n = most;
    if (most < run.n) {
        h2_conn_flush(h);
        return 0;
    }
    return h2_conn_await_flush(h);
}

static int failed(struct h2_req *q, int rc)
{
    q->r.client_gone = q->r.client_gone || rc != -ETIMEDOUT;
    h2_reset(q->h->s, &q->s, H2_CANCEL);
    h2_conn_flush(q->h);
    return rc;
}

static int await_run(struct h2_req *q, struct str run, bool last)
{
    int rc = q->error;
    bool more = run.n > 0 || last;
    while (rc == 0 && more) {
        if (!h2_conn_takes(q->h) || h2_room(q->h->s, &q->s, 1) < (run.n > 0)) {
            rc = await_turn(q, run);
            continue;
        }
        size_t n = 0;
        rc = await_part(q, run, last, &n);
        run = str_skip(run, n);
        more = run.n > 0;
        q->r.resp.bytes_sent += n + (n / H2_FRAME_MAX + 1) * H2_FRAME_HEAD;
        q->r.resp.body_bytes_sent += n;
        pace_moved(&q->pace_out, 0, n, q->r.settings->weir.min_drain_rate);
        pace_moved(&q->h->pace_out, 0, n, q->r.settings->weir.min_drain_rate);
        q->h->moved_ms = now_ms();
    }
    end_keep(q);
    return rc < 0 ? failed(q, rc) : 0;
}

static int send_trailers(struct h2_req *q)
{
    const size_t before = q->h->s->out.n;
    if (h2_send_trailers(q->h->s, &q->s, &q->r.resp.trailers) != 0) {
        h2_send_data(q->h->s, &q->s, STR(""), true);
    }
    q->r.resp.bytes_sent += q->h->s->out.n - before;
    return h2_conn_await_flush(q->h);
}

static void h2_abort(struct req *r)
{
    struct h2_req *q = of(r);
    h2_reset(q->h->s, &q->s, H2_INTERNAL_ERROR);
    h2_conn_flush(q->h);
}

static int h2_await_data(struct req *r, struct str body, bool last)
{
    struct h2_req *q = of(r);
    if (!q->s.open || q->s.send_ended) {
        return q->error; /* an answer without a body has ended with its head */
    }
    if (r->resp.length >= 0) {
        const uint64_t left = (uint64_t)r->resp.length - r->resp.body_bytes_sent;
        body = str_head(body, body.n < left ? body.n : (size_t)left);
        if (last && body.n < left) {
            h2_abort(r); /* the head has promised more: it must not look whole */
            return 0;
        }
    }
    const bool trailers = last && r->resp.trailers.n > 0;
    int rc = await_run(q, body, last && !trailers);
    return rc == 0 && trailers ? send_trailers(q) : rc;
}

/* Room for the head; its body is kept meanwhile. */
static int await_buffer(struct h2_req *q, struct str body)
{
    int rc = q->error;
    while (rc == 0 && !h2_conn_takes(q->h)) {
        rc = await_turn(q, body);
    }
    return rc;
}

/* RFC 8441 5: 200 is what 101 is in HTTP/1.1. Without a tunnel no other success may look like one.
 */
static void answer_connect(struct h2_req *q)
{
    struct req *r = &q->r;
    q->is_tunnel = r->resp.status == 101;
    if (q->is_tunnel) {
        headers_del(&r->resp.headers, STR("Sec-WebSocket-Accept"));
        r->resp.status = 200;
    } else if (r->resp.status >= 200 && r->resp.status < 300) {
        r->resp.status = 502;
    }
}

/* Content-Length where the status may have one (RFC 9110 8.6). */
static int64_t length_of(const struct req *r)
{
    const int status = r->resp.status;
    const bool none = status < 200 || status == 204 || (status == 304 && r->resp.length == 0);
    return none ? -1 : r->resp.length;
}

static int send_head(struct h2_req *q, bool ends)
{
    struct req *r = &q->r;
    struct h2_session *s = q->h->s;
    const size_t before = s->out.n;
    if (h2_send_response(s, &q->s, r->resp.status, &r->resp.headers, length_of(r), ends) != 0) {
        LOG_RATE(ERROR,
                 "an answer has a header name or value with forbidden bytes; the stream is reset");
        return -EPROTO;
    }
    r->resp.sent = true;
    r->resp.bytes_sent += s->out.n - before;
    return 0;
}

static int h2_await_head(struct req *r, struct str body, bool last)
{
    struct h2_req *q = of(r);
    if (r->resp.sent) {
        return -EALREADY;
    }
    conn_add_usual(r);
    if (q->s.is_connect) {
        answer_connect(q);
    }
    const bool ends = conn_has_no_body(r) ||
                      (last && body.n == 0 && r->resp.trailers.n == 0 && r->resp.length <= 0);
    int rc = await_buffer(q, body);
    rc = rc == 0 ? send_head(q, ends) : rc;
    if (rc == 0 && !ends && (body.n > 0 || last)) {
        rc = h2_await_data(r, body, last);
    } else {
        rc = rc == 0 ? h2_conn_await_flush(q->h) : failed(q, rc);
    }
    end_keep(q);
    return rc;
}

static int h2_await_interim(struct req *r, int status, const struct headers *h)
{
    struct h2_req *q = of(r);
    if (r->resp.sent) {
        return 0;
    }
    q->continue_due &= status != 100;
    const int rc = h2_send_response(q->h->s, &q->s, status, h, -1, false);
    h2_conn_flush(q->h);
    return rc == 0 ? 0 : -EPROTO;
}

static struct io *h2_take_over(struct req *r, struct str *ahead)
{
    *ahead = STR("");
    return NULL;
}

/* Always watched: see h2_req_gone(). */
static void h2_watch_client(struct req *r, bool on)
{
}

static const struct transport h2_transport = {
    .await_body = h2_await_body,
    .has_body = h2_has_body,
    .await_head = h2_await_head,
    .await_data = h2_await_data,
    .await_interim = h2_await_interim,
    .abort = h2_abort,
    .find_local = conn_find_local,
    .is_crowded = h2_is_crowded,
    .await_room = h2_await_room,
    .take_over = h2_take_over,
    .watch_client = h2_watch_client,
};

/* ---- a stream's life ---- */

struct h2_req *h2_req_new(struct h2_conn *h)
{
    struct arena *a = n_arenas > 0 ? arenas[--n_arenas] : arena_new(ARENA_BLOCK);
    struct h2_req *q = ARENA_NEW(a, struct h2_req);
    q->h = h;
    conn_begin_req(h->c, &q->r, a, &h2_transport);
    list_init(&q->start);
    cond_init(&q->more);
    cond_init(&q->window);
    return q;
}

static void req_free(struct h2_req *q)
{
    struct arena *a = q->r.arena;
    for (struct h2_block *b; (b = q->first) != NULL;) {
        q->first = b->next;
        block_return(b);
    }
    list_del(&q->start);
    h2_conn_left(q);
    if (n_arenas == ARENAS_KEPT) {
        arena_free(a);
        return;
    }
    arena_reset(a);
    arenas[n_arenas++] = a;
}

/* What is not complete is cut; a request that is not needed to its end is told so (RFC 9113 8.1).
 */
static void req_end(struct h2_req *q)
{
    h2_reset(q->h->s, &q->s, q->s.send_ended ? H2_NO_ERROR : H2_INTERNAL_ERROR);
    fiber_set_data(fiber_self(), NULL);
    req_free(q);
}

static void stream_main(void *arg)
{
    struct h2_req *q = arg;
    q->fiber = q->r.fiber = fiber_self();
    fiber_set_data(q->fiber, &q->r);
    count_all(&q->h->c->server->stats.requests);
    if (q->s.refuse) {
        conn_refuse(&q->r, q->s.refuse);
    } else {
        conn_handle(&q->r);
    }
    req_end(q);
}

/* An extended CONNECT (RFC 8441) is to plugins and upstreams what it would be in HTTP/1.1. */
static void take_connect(struct h2_req *q)
{
    struct req *r = &q->r;
    uint64_t key[2] = {random_u64(), random_u64()};
    if (!str_ieq(q->s.protocol, STR("websocket"))) {
        q->s.refuse = 501;
        return;
    }
    r->method = STR("GET");
    r->method_id = M_GET;
    r->upgrade = true;
    r->has_body = false;
    r->max_body = 0;
    headers_set_id(&r->headers, H_UPGRADE, STR("websocket"));
    headers_set(&r->headers, STR("Sec-WebSocket-Key"),
                base64_encode(r->arena, str_of((const char *)key, sizeof(key))));
}

void h2_req_start(struct h2_req *q)
{
    struct req *r = &q->r;
    conn_take_head(r, &q->s.head);
    r->major = 2;
    r->minor = 0;
    r->settings = q->h->c->server->settings; /* a reload may have come meanwhile */
    if (q->s.is_connect) {
        take_connect(q);
    }
    q->continue_due = r->expect_continue && r->has_body;
    int64_t began = overload_begin();
    if (fiber_start("stream", stream_main, q) == NULL) {
        LOG_RATE(ERROR, "no memory for a fiber, refusing a stream");
        h2_reset(q->h->s, &q->s, H2_REFUSED_STREAM);
        req_free(q);
    }
    overload_end(began);
}

void h2_req_gone(struct h2_req *q, int error)
{
    q->error = error;
    q->r.client_gone = true;
    if (q->fiber == NULL) {
        req_free(q);
        return;
    }
    cond_signal(&q->more);
    cond_signal(&q->window);
    fiber_cancel(q->fiber);
}
