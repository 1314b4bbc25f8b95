/* SPDX-License-Identifier: Apache-2.0 */
/* client: see client.h. */
#include "http/client.h"

#include <errno.h>
#include <sys/socket.h>

#define SMALL_READ 2048
#define HEAD_READ 4096

void client_init(struct exchange *x, struct io *io, struct arena *a, const struct h1_limits *limits,
                 enum http_method method)
{
    memset(x, 0, offsetof(struct exchange, parser));
    x->io = io;
    x->arena = a;
    x->limits = limits;
    x->method = method;
    h1_body_begin(&x->body);
}

static int await_iov(struct exchange *x, struct iovec *iov, int n, int64_t deadline)
{
    uint64_t total = 0;
    for (int i = 0; i < n; i++) {
        total += iov[i].iov_len;
    }
    int rc = n == 0 ? 0 : await_write(x->io, iov, n, deadline);
    x->sent += rc == 0 ? total : 0;
    x->moved_ms = now_ms();
    return rc;
}

/* The head in the arena; 0 bytes when it may not be sent. */
static struct iovec write_head(struct exchange *x, const struct client_request *q)
{
    const struct str length =
        q->body_length >= 0 ? arena_u64(x->arena, (uint64_t)q->body_length) : STR("chunked");
    const size_t room = H1_LINE_ROOM + q->method.n + q->target.n + h1_fields_room(q->own) +
                        (q->passed ? h1_fields_room(q->passed) : 0) +
                        h1_field_room(STR("Transfer-Encoding"), length) + H1_END_ROOM;
    struct h1_out o = h1_out_request(arena_bytes(x->arena, room), q->method, q->target);

    h1_put_fields(&o, q->own, 0);
    if (q->passed) {
        h1_put_fields(&o, q->passed, q->drop);
    }
    if (q->body_length >= -1) {
        h1_put_field(&o, q->body_length >= 0 ? H_CONTENT_LENGTH : H_TRANSFER_ENCODING, length);
    }
    return (struct iovec){o.start, h1_put_end(&o)};
}

int client_await_request(struct exchange *x, const struct client_request *q, int64_t deadline)
{
    if (x->ops) {
        return x->ops->await_request(x, q, deadline);
    }
    struct iovec iov[4] = {write_head(x, q)};
    char size_line[18];

    if (iov[0].iov_len == 0) {
        return -EINVAL;
    }
    x->chunked_request = q->body_length == -1;
    x->request_done = q->last;
    return await_iov(x, iov,
                     1 + h1_body_iov(x->chunked_request, iov + 1, size_line, q->body, q->last),
                     deadline);
}

int client_await_request_body(struct exchange *x, struct str body, bool last, int64_t deadline)
{
    if (x->ops) {
        return x->ops->await_request_body(x, body, last, deadline);
    }
    struct iovec iov[3];
    char size_line[18];
    int rc =
        await_iov(x, iov, h1_body_iov(x->chunked_request, iov, size_line, body, last), deadline);
    x->request_done = last && rc == 0;
    return rc;
}

/* Room to gather a head that comes in pieces. */
struct gather {
    char *p;
    size_t n, cap;
};

/* The first read: lent, or copied to the arena when it is small, so that no slice has to move
 * later. */
static int await_first(struct exchange *x, struct gather *g, struct str *bytes, int64_t deadline)
{
    int got = await_read(x->io, bytes, deadline);
    if (got > 0 && bytes->n <= SMALL_READ) {
        *bytes = arena_str(x->arena, *bytes);
        *g = (struct gather){(char *)(uintptr_t)bytes->p, bytes->n, bytes->n};
    }
    return got;
}

/* What continues a head goes to the arena. */
static int await_into(struct exchange *x, struct gather *g, struct str *bytes, int64_t deadline)
{
    if (bytes->p != g->p || g->cap - g->n < 1024) {
        g->cap = bytes->n * 2 < HEAD_READ ? HEAD_READ : bytes->n * 2;
        char *bigger = arena_bytes(x->arena, g->cap);
        memcpy(bigger, bytes->n ? bytes->p : "", bytes->n);
        g->p = bigger;
        g->n = bytes->n;
    }
    int got = await_read_into(x->io, g->p + g->n, g->cap - g->n, deadline);
    g->n += got > 0 ? (size_t)got : 0;
    *bytes = str_of(g->p, g->n);
    return got;
}

static int await_more(struct exchange *x, struct gather *g, struct str *bytes, int64_t deadline)
{
    int got = bytes->n == 0 && !x->head_first ? await_first(x, g, bytes, deadline)
                                              : await_into(x, g, bytes, deadline);
    if (got > 0) {
        x->got_bytes = true;
        x->received += (size_t)got;
        x->moved_ms = now_ms();
    }
    return got;
}

/* The same, with as much patience as the answer deserves: an upload may go on for long. */
static int await_answer(struct exchange *x, struct gather *g, struct str *bytes, int64_t idle_ms)
{
    for (;;) {
        int64_t deadline = (x->uploading ? now_ms() : x->moved_ms) + idle_ms;
        int got = await_more(x, g, bytes, deadline);
        if (got != -ETIMEDOUT || (!x->uploading && x->moved_ms + idle_ms <= now_ms())) {
            return got;
        }
    }
}

/* A large first read is parsed where it lies in the lent buffer and only the head copied; what
 * follows stays lent (body.ahead). */
static int await_one_head(struct exchange *x, struct str bytes, int64_t idle_ms)
{
    struct gather g = {NULL, 0, 0};
    h1_parse_init(&x->parser, x->arena, x->limits, true);
    for (;;) {
        int rc = bytes.n ? h1_parse(&x->parser, bytes) : 0;
        if (rc < 0) {
            return -EPROTO;
        }
        if (rc > 0) {
            size_t head = x->parser.head.bytes;
            if (bytes.p != g.p) {
                h1_parse(&x->parser, arena_str(x->arena, str_head(bytes, head)));
            }
            x->body.ahead = str_skip(bytes, head);
            return 0;
        }
        int got = await_answer(x, &g, &bytes, idle_ms);
        if (got <= 0) {
            return got == 0 ? -ECONNRESET : got;
        }
    }
}

int client_await_response(struct exchange *x,
                          int (*on_interim)(void *arg, const struct h1_head *head), void *arg,
                          int64_t idle_ms)
{
    if (x->ops) {
        return x->ops->await_response(x, on_interim, arg, idle_ms);
    }
    struct str ahead = STR("");
    for (int interims = 0; interims < 32; interims++) {
        int rc = await_one_head(x, ahead, idle_ms);
        if (rc < 0) {
            return rc;
        }
        const struct h1_head *head = &x->parser.head;
        if (head->status >= 200 || head->status == 101) {
            if (h1_response_framing(&x->parser, x->method, x->asked_upgrade) < 0) {
                return -EPROTO;
            }
            h1_body_init(&x->body, head, x->body.ahead, x->arena, x->limits);
            return 0;
        }
        ahead = arena_str(x->arena, x->body.ahead);
        if (on_interim && (rc = on_interim(arg, head)) < 0) {
            return rc;
        }
    }
    return -EPROTO;
}

bool client_has_run(const struct exchange *x)
{
    return x->ops ? x->ops->has_run(x) : h1_body_has_next(&x->body);
}

void client_own_runs(struct exchange *x)
{
    if (x->ops) {
        return; /* they stay as they are */
    }
    x->own_runs = x->kept = true;
    x->body.ahead = arena_str(x->arena, x->body.ahead);
}

static char *room(struct exchange *x)
{
    if (x->room == NULL) {
        x->room = arena_bytes(x->arena, LEND_BYTES);
    }
    return x->room;
}

/* Chunks behind the one that is handed out must outlive what the caller awaits meanwhile; what is
 * lent does not. */
static void keep_chunks(struct exchange *x)
{
    struct str *ahead = &x->body.ahead;
    if (x->body.framing != H1_CHUNKED || ahead->n == 0 || x->kept) {
        return;
    }
    char *p = ahead->n <= SMALL_REST ? x->rest : room(x);
    memcpy(p, ahead->p, ahead->n);
    ahead->p = p;
    x->kept = true;
}

static int await_body_bytes(struct exchange *x, int64_t deadline)
{
    x->kept = x->own_runs;
    if (!x->own_runs) {
        return await_read(x->io, &x->body.ahead, deadline);
    }
    int n = await_read_into(x->io, room(x), LEND_BYTES, deadline);
    x->body.ahead = str_of(x->room, n > 0 ? (size_t)n : 0);
    return n;
}

int client_await_body(struct exchange *x, struct str *run, int64_t deadline)
{
    if (x->ops) {
        return x->ops->await_body(x, run, deadline);
    }
    for (;;) {
        enum h1_body_result rc = h1_body_next(&x->body, run);
        if (rc == BODY_MORE) {
            int n = await_body_bytes(x, deadline);
            if (n < 0) {
                return n;
            }
            x->received += (size_t)n;
            if (n > 0) {
                continue;
            }
            rc = h1_body_eof(&x->body);
        }
        switch (rc) {
        case BODY_RUN:
            keep_chunks(x);
            return 1;
        case BODY_END:
            return 0;
        case BODY_MORE:
        case BODY_ERROR:
            return x->body.error == H1_TRUNCATED ? -ECONNRESET : -EPROTO;
        }
    }
}

uint64_t client_movable(const struct exchange *x)
{
    const struct h1_body *b = &x->body;
    return b->framing == H1_LENGTH && b->ahead.n == 0 && b->error == H1_OK ? b->left : 0;
}

void client_moved(struct exchange *x, size_t n)
{
    x->received += n;
    x->body.wire += n;
    x->body.left -= n;
    x->body.ended = x->body.left == 0;
}

bool client_is_reusable(const struct exchange *x)
{
    return x->request_done && x->body.ended && x->body.ahead.n == 0 && x->parser.head.keepalive &&
           x->body.framing != H1_TO_CLOSE && x->body.framing != H1_TUNNEL;
}

void client_abort(struct exchange *x)
{
    if (x->ops) {
        x->ops->abort(x);
    } else {
        shutdown(x->io->fd, SHUT_RDWR);
    }
}
