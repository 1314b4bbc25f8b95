/* SPDX-License-Identifier: Apache-2.0 */
/* h2_client: see h2_client.h. */
#include "http/h2_client.h"

#include "base/assert.h"
#include "base/mem.h"
#include "fiber/fiber.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define STREAMS_MAX 128 /* on one connection, whatever the upstream allows */
#define LAST_WORDS_MS 1000
#define WRITE_MS 15000 /* windows hold streams back, so an upstream always takes what comes */
#define SPARES 64
#define SPARE_BYTES (32 << 10) /* larger buffers are not kept */

struct h2_exchange {
    struct h2_client *c;
    struct exchange *x;
    struct h2_stream st;
    struct str scheme;
    struct list link;
    struct list waiting; /* on c->waiting while n_waiting > 0 */
    unsigned n_waiting;
    struct cond news;
    int error;
    struct buf in;   /* came, not handed out */
    struct buf lent; /* handed out */
    struct buf rest; /* of a body that the windows do not allow yet */
    struct h2_exchange *next_spare;
};

static _Thread_local struct h2_exchange *spares;
static _Thread_local unsigned n_spares;

/* ---- a connection ---- */

void h2_client_init(struct h2_client *c, struct io *io, const struct h2_limits *limits,
                    void (*on_unused)(struct h2_client *c))
{
    *c = (struct h2_client){.io = io, .s = h2_new(limits, true), .on_unused = on_unused};
    io->owner = c;
    list_init(&c->exchanges);
    list_init(&c->waiting);
    cond_init(&c->written);
}

void h2_client_fini(struct h2_client *c)
{
    ASSERT(c->users == 0);
    if (c->io->fd >= 0) {
        io_watch(c->io, NULL);
    }
    h2_free(c->s);
}

bool h2_client_has_room(const struct h2_client *c)
{
    const unsigned most = c->s->peer_streams < STREAMS_MAX ? c->s->peer_streams : STREAMS_MAX;
    return c->error == 0 && !c->retired && !c->doubted && !c->s->failed && c->s->n_streams < most;
}

static void release(struct h2_client *c)
{
    if (--c->users == 0) {
        c->on_unused(c);
    }
}

static struct h2_exchange *of_stream(struct h2_stream *st)
{
    return CONTAINER_OF(st, struct h2_exchange, st);
}

/* The exchange is over, unless all of the answer is here. */
static void give_up(struct h2_exchange *y, int error)
{
    if (!y->st.recv_ended && y->error == 0) {
        y->error = error;
    }
    cond_broadcast(&y->news);
}

static void fail(struct h2_client *c, int error)
{
    if (c->error != 0) {
        return;
    }
    c->error = error;
    shutdown(c->io->fd, SHUT_RDWR); /* who reads or writes at this moment hears of it */
    LIST_EACH(l, &c->exchanges) {
        give_up(CONTAINER_OF(l, struct h2_exchange, link), error);
    }
    cond_broadcast(&c->written);
}

void h2_client_break(struct h2_client *c)
{
    fail(c, -ECANCELED);
    io_close(c->io);
}

/* ---- the way out ---- */

/* One write of all there is. Others' bytes are among it: it is finished even when this fiber is
 * asked to end. */
static void await_write_out(struct h2_client *c)
{
    struct buf b = h2_take_out(c->s);
    struct iovec iov = {b.p, b.n};
    fiber_shield(true);
    const int rc = await_write(c->io, &iov, 1, deadline_in(WRITE_MS));
    fiber_shield(false);
    h2_return_out(&b);
    if (rc < 0) {
        fail(c, rc);
    }
}

/* Until there is nothing to write, or another fiber is at it and not far behind. */
static int await_flush(struct h2_client *c, int64_t deadline)
{
    while (c->writing && c->s->out.n >= H2_OUT_HIGH && c->error == 0) {
        const int rc = await_cond(&c->written, deadline);
        if (rc < 0) {
            return rc;
        }
    }
    if (c->writing) {
        return c->error;
    }
    c->writing = true;
    while (c->error == 0 && c->s->out.n > 0) {
        await_write_out(c);
        cond_broadcast(&c->written);
    }
    c->writing = false;
    return c->error;
}

/* ---- the way in ---- */

/* The upstream has not looked at the request: it may be sent again, whatever it was. */
static void on_unprocessed(struct h2_exchange *y)
{
    y->x->unprocessed = !y->st.has_head;
    give_up(y, -ECONNRESET);
}

static void on_going(struct h2_client *c, uint32_t last_id)
{
    c->retired = true;
    LIST_EACH(l, &c->exchanges) {
        struct h2_exchange *y = CONTAINER_OF(l, struct h2_exchange, link);
        if (y->st.open && y->st.id > last_id) {
            h2_reset(c->s, &y->st, H2_CANCEL);
            on_unprocessed(y);
        }
    }
}

static void wake_all(struct h2_client *c)
{
    LIST_EACH(l, &c->exchanges) {
        cond_broadcast(&CONTAINER_OF(l, struct h2_exchange, link)->news);
    }
}

static void on_reset(struct h2_exchange *y, const struct h2_event *ev)
{
    if (ev->code == H2_REFUSED_STREAM && !ev->ours) {
        on_unprocessed(y);
    } else {
        give_up(y, ev->ours ? -EPROTO : -ECONNRESET);
    }
}

static void on_stream_event(struct h2_exchange *y, const struct h2_event *ev)
{
    y->x->moved_ms = now_ms();
    if (ev->type == H2_RESET) {
        on_reset(y, ev);
        return;
    }
    y->x->got_bytes |= ev->type != H2_WINDOW;
    buf_add(&y->in, ev->data); /* empty but for H2_DATA; within the stream's window */
    cond_broadcast(&y->news);
}

static void on_event(struct h2_client *c, const struct h2_event *ev)
{
    if (ev->stream) {
        on_stream_event(of_stream(ev->stream), ev);
    } else if (ev->type == H2_WINDOW) {
        wake_all(c);
    } else if (ev->type == H2_GOING) {
        on_going(c, ev->last_id);
    }
}

/* Hand out what was read. False: it was no HTTP/2. */
static bool dispatch(struct h2_client *c, struct str bytes)
{
    struct h2_event ev;
    while (h2_read(c->s, &bytes, &ev) != H2_NONE) {
        on_event(c, &ev);
        if (ev.type == H2_FAILED) {
            return false;
        }
    }
    return true;
}

/* Read once, for all. 0, or why not. */
static int await_some(struct h2_client *c, int64_t deadline)
{
    struct str bytes;
    c->reading = true;
    io_watch(c->io, NULL);
    const int n = await_read(c->io, &bytes, deadline);
    c->reading = false;
    if (n > 0) {
        c->doubted = false;
        if (!dispatch(c, bytes)) {
            await_flush(c, deadline_in(LAST_WORDS_MS)); /* it is told why */
            fail(c, -EPROTO);
        }
        return 0;
    }
    if (n == 0 || (n != -ETIMEDOUT && !fiber_is_cancelled(fiber_self()))) {
        fail(c, n == 0 ? -ECONNRESET : n);
        return 0;
    }
    return n;
}

static void on_readable(struct io *io);

/* This fiber does not read any more: another one does that waits, or else the loop tells. */
static void give_turn(struct h2_client *c)
{
    if (c->reading || c->error != 0) {
        return;
    }
    if (list_is_empty(&c->waiting)) {
        io_watch(c->io, on_readable);
        return;
    }
    cond_signal(&CONTAINER_OF(c->waiting.next, struct h2_exchange, waiting)->news);
}

/* Nobody waits for what has come. */
static void serve_main(void *arg)
{
    struct h2_client *c = arg;
    if (!c->reading && c->error == 0) {
        await_some(c, now_ms());
    }
    await_flush(c, deadline_in(LAST_WORDS_MS));
    give_turn(c);
    release(c);
}

static void on_readable(struct io *io)
{
    struct h2_client *c = io->owner;
    c->users++;
    if (fiber_start("h2 upstream", serve_main, c) == NULL) {
        fail(c, -ENOMEM);
        release(c);
    }
}

static int await_turn(struct h2_exchange *y, int64_t deadline)
{
    if (y->n_waiting++ == 0) {
        list_add_tail(&y->c->waiting, &y->waiting);
    }
    const int rc = await_cond(&y->news, deadline);
    if (--y->n_waiting == 0) {
        list_del(&y->waiting);
    }
    return rc;
}

/* Park until is_there(y). 0, or why it will not be. */
static int await_for(struct h2_exchange *y, bool (*is_there)(const struct h2_exchange *y),
                     int64_t deadline)
{
    struct h2_client *c = y->c;
    int rc = 0;
    while (rc == 0 && !is_there(y)) {
        if (y->error != 0 || c->error != 0) {
            rc = y->error ? y->error : c->error;
        } else if (c->s->out.n > 0 && !c->writing) {
            give_turn(c); /* an upstream may take nothing before it is read from */
            rc = await_flush(c, deadline);
        } else {
            rc = c->reading ? await_turn(y, deadline) : await_some(c, deadline);
        }
    }
    give_turn(c);
    return is_there(y) ? 0 : rc;
}

/* ---- the request ---- */

static bool may_send(const struct h2_exchange *y)
{
    return !y->st.open || h2_room(y->c->s, &y->st, 1) > 0;
}

/* Lent bytes do not outlast an await. */
static struct str keep(struct h2_exchange *y, struct str data)
{
    buf_reset(&y->rest);
    buf_add(&y->rest, data);
    return buf_str(&y->rest);
}

/* As much as the windows allow at this moment. */
static void send_some(struct h2_exchange *y, struct str *data, bool last)
{
    const size_t n = h2_room(y->c->s, &y->st, data->n);
    if (n > 0 || (last && data->n == 0)) {
        h2_send_data(y->c->s, &y->st, str_head(*data, n), last && n == data->n);
        y->x->sent += n;
        y->x->moved_ms = now_ms();
    }
    *data = str_skip(*data, n);
}

static int h2_await_request_body(struct exchange *x, struct str data, bool last, int64_t deadline)
{
    struct h2_exchange *y = x->h2;
    const int64_t patience = deadline - now_ms();
    struct str left = data;
    for (bool kept = false;; kept = true) {
        if (!y->st.open || y->st.send_ended) {
            return y->error ? y->error : -EPIPE;
        }
        const size_t before = left.n;
        send_some(y, &left, last);
        deadline = left.n < before ? now_ms() + patience : deadline;
        left = kept ? left : keep(y, left);
        int rc = await_flush(y->c, deadline);
        if (rc == 0 && left.n > 0) {
            rc = await_for(y, may_send, deadline);
        }
        if (rc < 0 || left.n == 0) {
            x->request_done = last && rc == 0;
            return rc;
        }
    }
}

/* All fields in one list. */
static struct headers fields_of(struct arena *a, const struct client_request *q)
{
    struct headers h;
    headers_init(&h, a, q->own->n + (q->passed ? q->passed->n : 0));
    for (unsigned i = 0; i < q->own->n; i++) {
        headers_push(&h, &q->own->v[i]);
    }
    for (unsigned i = 0; q->passed && i < q->passed->n; i++) {
        const struct header *f = &q->passed->v[i];
        if (!(q->drop >> f->id & 1) && !f->listed) {
            headers_push(&h, f);
        }
    }
    return h;
}

static int h2_await_request(struct exchange *x, const struct client_request *q, int64_t deadline)
{
    struct h2_exchange *y = x->h2;
    const struct headers headers = fields_of(x->arena, q);
    const struct h2_request rq = {.method = q->method,
                                  .scheme = y->scheme,
                                  .authority = headers_get(&headers, H_HOST),
                                  .path = q->target,
                                  .headers = &headers,
                                  .length = q->body_length < 0 ? -1 : q->body_length,
                                  .last = q->last && q->body.n == 0};
    int rc = h2_send_request(y->c->s, &y->st, x->arena, &rq);
    if (rc < 0) {
        x->unprocessed = rc == -EAGAIN;
        return rc;
    }
    x->moved_ms = now_ms();
    if (!rq.last && q->body.n > 0) {
        rc = h2_await_request_body(x, q->body, q->last, deadline);
        return rc == -EPIPE && y->st.has_head ? 0 : rc; /* answered before it was read */
    }
    rc = await_flush(y->c, deadline);
    x->request_done = rq.last && rc == 0;
    return rc;
}

/* ---- the answer ---- */

static bool has_head(const struct h2_exchange *y)
{
    return y->st.has_head;
}

static void take_trailers(struct exchange *x)
{
    x->body.ended = true;
    x->body.chunked.trailers = x->h2->st.trailers;
}

/* What the gateway reads of an answer, in HTTP/1.1's words: a body of any length is in chunks, as
 * only these have trailers. */
static void take_head(struct exchange *x)
{
    const struct h2_stream *st = &x->h2->st;
    const bool is_bare = st->recv_ended && x->h2->in.n == 0 && st->trailers.n == 0;
    x->parser.head = st->head;
    x->body.framing = is_bare || st->head.framing == H1_NO_BODY ? H1_NO_BODY : H1_CHUNKED;
    x->body.ended = x->body.framing == H1_NO_BODY;
}

/* Perhaps all of the connection has gone silent: nobody else begins on it until it says something,
 * be it the answer to a ping. */
static void doubt(struct h2_client *c)
{
    c->doubted = true;
    h2_ping(c->s);
}

/* Interim answers are passed over: gRPC has none. */
static int h2_await_response(struct exchange *x,
                             int (*on_interim)(void *arg, const struct h1_head *head), void *arg,
                             int64_t idle_ms)
{
    struct h2_exchange *y = x->h2;
    for (;;) {
        const bool waits = x->uploading && !x->is_talk; /* for the rest of the upload */
        const int rc = await_for(y, has_head, (waits ? now_ms() : x->moved_ms) + idle_ms);
        if (rc == 0) {
            take_head(x);
            return 0;
        }
        if (rc != -ETIMEDOUT || (!waits && x->moved_ms + idle_ms <= now_ms())) {
            if (rc == -ETIMEDOUT) {
                doubt(y->c);
            }
            return rc;
        }
    }
}

static bool has_run(const struct h2_exchange *y)
{
    return y->in.n > 0 || y->st.recv_ended;
}

/* An upstream that listens need not speak. */
static int await_run(struct h2_exchange *y, int64_t deadline)
{
    const int64_t patience = deadline - now_ms();
    int rc;
    while ((rc = await_for(y, has_run, deadline)) == -ETIMEDOUT && y->x->uploading &&
           y->x->moved_ms + patience > now_ms()) {
        deadline = y->x->moved_ms + patience;
    }
    return rc;
}

static int h2_await_body(struct exchange *x, struct str *run, int64_t deadline)
{
    struct h2_exchange *y = x->h2;
    h2_consumed(y->c->s, &y->st, y->lent.n);
    buf_reset(&y->lent);
    if (x->body.framing == H1_NO_BODY) {
        return 0;
    }
    const int rc = await_run(y, deadline);
    if (rc < 0) {
        return rc;
    }
    const struct buf filled = y->in;
    y->in = y->lent;
    y->lent = filled;
    *run = buf_str(&y->lent);
    x->received += run->n;
    if (y->st.recv_ended) {
        take_trailers(x);
    }
    return run->n > 0;
}

static bool h2_has_run(const struct exchange *x)
{
    return x->body.framing == H1_NO_BODY || has_run(x->h2);
}

static void h2_abort(struct exchange *x)
{
    h2_reset(x->h2->c->s, &x->h2->st, H2_CANCEL);
    give_up(x->h2, -ECONNRESET);
}

static const struct exchange_ops h2_ops = {
    .await_request = h2_await_request,
    .await_request_body = h2_await_request_body,
    .await_response = h2_await_response,
    .await_body = h2_await_body,
    .has_run = h2_has_run,
    .abort = h2_abort,
};

/* ---- exchanges ---- */

static struct h2_exchange *exchange_new(void)
{
    struct h2_exchange *y = spares;
    if (y == NULL) {
        y = mem_alloc(sizeof(*y));
        y->in.max = y->lent.max = y->rest.max = SIZE_MAX; /* windows and runs bound them */
        return y;
    }
    spares = y->next_spare;
    n_spares--;
    const struct h2_exchange clean = {.in = y->in, .lent = y->lent, .rest = y->rest};
    *y = clean;
    return y;
}

static void exchange_free(struct h2_exchange *y)
{
    struct buf *const bufs[] = {&y->in, &y->lent, &y->rest};
    const bool keep_it = n_spares < SPARES;
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++) {
        buf_reset(bufs[i]);
        if (!keep_it || bufs[i]->cap > SPARE_BYTES) {
            buf_fini(bufs[i]);
        }
    }
    if (!keep_it) {
        free(y);
        return;
    }
    y->next_spare = spares;
    spares = y;
    n_spares++;
}

void h2_client_thread_fini(void)
{
    while (spares) {
        struct h2_exchange *y = spares;
        spares = y->next_spare;
        buf_fini(&y->in);
        buf_fini(&y->lent);
        buf_fini(&y->rest);
        free(y);
    }
    n_spares = 0;
    h2_thread_fini();
}

void h2_exchange_begin(struct exchange *x, struct h2_client *c, struct arena *a, struct str scheme)
{
    struct h2_exchange *y = exchange_new();
    y->c = c;
    y->x = x;
    y->scheme = scheme;
    list_init(&y->waiting);
    cond_init(&y->news);
    list_add_tail(&c->exchanges, &y->link);
    c->users++;
    *x = (struct exchange){.arena = a, .ops = &h2_ops, .h2 = y, .moved_ms = now_ms()};
}

void h2_exchange_end(struct exchange *x)
{
    struct h2_exchange *y = x->h2;
    struct h2_client *c = y->c;
    h2_reset(c->s, &y->st, H2_CANCEL);
    list_del(&y->link);
    exchange_free(y);
    x->h2 = NULL;
    fiber_shield(true);
    await_flush(c, deadline_in(LAST_WORDS_MS));
    fiber_shield(false);
    release(c);
}
