/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server: HTTP/1.1 towards clients.
 *
 *   accept → (idle: watched, no fiber) → first byte → conn_serve() in a fiber: read head → handle()
 * → finish → next or idle or close
 *
 * A connection that turns out to speak HTTP/2 goes on in h2_server.c.
 */
#include "http/server.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/settings.h"
#include "fiber/fiber.h"
#include "http/h1_body.h"
#include "http/overload.h"
#include "http/server_priv.h"
#include "http/sources.h"
#include "proto/h2.h"
#include "proto/proxy_protocol.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SMALL_READ 2048     /* most requests are smaller, head and body */
#define DRAIN_BYTES 65536   /* unread request body that is worth reading to keep a connection */
#define CHUNKED_ROOM 16384  /* read at once of a chunked body */
#define UNTAKEN_BYTES 65536 /* of an answer that the kernel may keep as long as it likes */
#define UNTAKEN_LOOK_MS 1000
#define CONNS_KEPT 1024 /* closed connections kept for reuse, a thread */

struct h1_req {
    struct req r; /* first: struct req * is struct h1_req * for the transport */
    struct conn *c;
    char *room;        /* where a chunked body is read to */
    bool continue_due; /* the client waits for 100 Continue */
    bool chunked_out, close, tunnel;
    struct pace pace;
    struct h1_parser parser;
    struct h1_body body;
};

static void conn_serve(void *arg);
static void conn_on_readable(struct io *io);
static void conn_on_timer(struct timer *t);
static void conn_end_idle(struct conn *c);

static int pressure; /* relaxed atomic */

void server_set_pressure(int level)
{
    __atomic_store_n(&pressure, level, __ATOMIC_RELAXED);
}

int server_pressure(void)
{
    return __atomic_load_n(&pressure, __ATOMIC_RELAXED);
}

/* ---- connections ---- */

static _Thread_local struct list spare = {NULL, NULL};
static _Thread_local unsigned spare_n;

static struct conn *conn_alloc(void)
{
    struct list *l = spare.next ? list_pop(&spare) : NULL;
    if (l == NULL) {
        struct conn *c = calloc(1, sizeof(*c));
        ASSERT(c != NULL);
        return c;
    }
    spare_n--;
    struct conn *c = CONTAINER_OF(l, struct conn, link);
    memset(c, 0, sizeof(*c));
    return c;
}

static void conn_release(struct conn *c)
{
    if (spare.next == NULL) {
        list_init(&spare);
    }
    if (spare_n >= CONNS_KEPT) {
        free(c);
        return;
    }
    spare_n++;
    list_add(&spare, &c->link);
}

void server_thread_fini(void)
{
    for (struct list *l; spare.next && (l = list_pop(&spare)) != NULL;) {
        free(CONTAINER_OF(l, struct conn, link));
    }
    spare_n = 0;
    h2_server_thread_fini();
}

void conn_close(struct conn *c)
{
    h2_conn_free(c->h2);
    timer_stop(&c->timer);
    io_close(&c->io);
    list_del(&c->link);
    count(&c->server->stats.active, -1);
    count(&c->server->stats.waiting, -(int)c->idle);
    if (c->counted) {
        source_leave(&c->source);
    }
    free(c->proxied);
    free(c->left);
    conn_release(c);
}

void conn_idle(struct conn *c, int64_t until)
{
    if (!c->idle) {
        c->idle = true;
        count(&c->server->stats.waiting, 1);
    }
    c->idle_until = until;
    if (!timer_is_started(&c->timer) || c->timer.at > until) {
        timer_start(&c->timer, until);
    }
    io_watch(&c->io, conn_on_readable);
}

static void conn_on_timer(struct timer *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, timer);
    if (!c->idle) {
        return; /* conn_idle() starts it again */
    }
    if (c->idle_until > now_ms()) {
        timer_start(t, c->idle_until);
        return;
    }
    io_watch(&c->io, NULL);
    conn_end_idle(c);
}

static void conn_wake(struct conn *c)
{
    c->idle = false;
    count(&c->server->stats.waiting, -1);
    int64_t began = overload_begin();
    if (fiber_start("request", conn_serve, c) == NULL) {
        LOG_RATE(ERROR, "no memory for a fiber, closing a connection");
        conn_close(c);
    }
    overload_end(began);
}

/* Nobody has anything to say; HTTP/2 says so first. */
static void conn_end_idle(struct conn *c)
{
    if (c->h2 != NULL) {
        h2_conn_end(c->h2);
        conn_wake(c);
    } else {
        conn_close(c);
    }
}

static void conn_on_readable(struct io *io)
{
    conn_wake(CONTAINER_OF(io, struct conn, io));
}

void server_init(struct server *s, const char *name, void (*handle)(struct req *r),
                 const struct settings *settings, void *core)
{
    *s = (struct server){.name = name, .handle = handle, .settings = settings, .core = core};
    server_set_limits(s, settings);
    list_init(&s->conns);
}

void server_set_limits(struct server *s, const struct settings *settings)
{
    s->settings = settings;
    s->limits = (struct h1_limits){.head_bytes = settings->weir.head_bytes,
                                   .line_bytes = settings->weir.line_bytes,
                                   .fields = settings->weir.fields,
                                   .lax_lf = settings->weir.lax_lf,
                                   .high_bytes = settings->weir.high_bytes};
}

static void set_peer(struct conn *c, const struct addr *peer)
{
    c->peer = *peer;
    c->peer_ip = (struct ip){0};
    ip_from_addr(peer, &c->peer_ip);
    c->peer_text_n = (uint8_t)addr_text(peer, c->peer_text);
}

/* False: this client has as many connections as one may have. */
static bool count_source(struct conn *c)
{
    unsigned limit = c->server->settings->weir.max_connections_per_source;
    if (!c->server->is_proxy || c->peer.sa.sa_family == AF_UNIX || limit == 0) {
        return true;
    }
    c->source = source_of(&c->peer_ip, c->server->settings->weir.source_ipv6_bits);
    c->counted = source_enter(&c->source, limit);
    if (!c->counted) {
        LOG_RATE(WARN, "%.*s has %u connections already, closing a new one", c->peer_text_n,
                 c->peer_text, limit);
    }
    return c->counted;
}

static bool has_memory(const struct server *s)
{
    if (s->is_proxy && server_pressure() >= 3) {
        LOG_RATE(WARN, "memory: no room for another connection, closing a new one");
        return false;
    }
    return true;
}

void server_accept_after(struct server *s, int fd, const struct addr *peer,
                         const struct addr *local, unsigned prefaces)
{
    struct conn *c = conn_alloc();
    c->server = s;
    c->local = *local;
    c->prefaces = prefaces;
    list_init(&c->link);
    timer_init(&c->timer, conn_on_timer);
    set_peer(c, peer);
    if (!has_memory(s) || (!(prefaces & PREFACE_PROXY) && !count_source(c))) {
        close(fd);
        conn_release(c);
        return;
    }
    count_all(&s->stats.accepted);
    count(&s->stats.active, 1);
    if (io_open(&c->io, fd) < 0) {
        LOG_RATE(ERROR, "cannot register a connection with the event loop");
        close(fd);
        list_add(&s->conns, &c->link);
        conn_close(c);
        return;
    }
    count_all(&s->stats.handled);
    list_add(&s->conns, &c->link);
    conn_idle(c, deadline_in(s->settings->client_header_timeout_ms));
}

void server_accept(struct server *s, int fd, const struct addr *peer, const struct addr *local)
{
    server_accept_after(s, fd, peer, local, 0);
}

void server_drain(struct server *s, int64_t idle_ms)
{
    s->draining = true;
    s->idle_ms = idle_ms;
    int64_t until = deadline_in(idle_ms);
    LIST_EACH_SAFE(it, nxt, &s->conns) {
        struct conn *c = CONTAINER_OF(it, struct conn, link);
        if (c->h2 != NULL && c->idle) {
            io_watch(&c->io, NULL);
            conn_end_idle(c);
        } else if (c->h2 != NULL) {
            h2_conn_end(c->h2);
        } else if (c->idle && c->idle_until > until) {
            conn_idle(c, until);
        }
    }
}

void server_close_all(struct server *s)
{
    LIST_EACH_SAFE(it, nxt, &s->conns) {
        struct conn *c = CONTAINER_OF(it, struct conn, link);
        if (c->fiber) {
            fiber_cancel(c->fiber);
        } else if (c->stop) {
            c->stop(c->stop_arg);
        } else {
            io_watch(&c->io, NULL);
            conn_close(c);
        }
    }
}

/* ---- memory ---- */

#define RELIEF_MOST (1 << 20)
#define RELIEF_LEAST (16 << 10) /* to reset smaller ones would be of no use */

/* What a connection keeps while it waits for its client; 0 when it does not wait for it. */
static size_t stalled_bytes(const struct conn *c)
{
    const struct req *r = c->fiber ? fiber_data(c->fiber) : NULL;
    if (r == NULL || (c->io.reader == NULL && c->io.writer == NULL) ||
        fiber_is_cancelled(c->fiber)) {
        return 0;
    }
    return arena_held(r->arena) + (c->io.writer ? LEND_BYTES : 0);
}

/* What the client did not take goes at the end of the connection, or the kernel would keep it for
 * minutes. */
static void reset_at_close(struct conn *c)
{
    c->given_up = true;
    setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
               sizeof(struct linger));
}

void server_relieve(struct server *s, uint64_t bytes)
{
    uint64_t freed = 0;
    unsigned n = 0;
    for (size_t least = RELIEF_MOST; least >= RELIEF_LEAST && freed < bytes; least /= 2) {
        LIST_EACH_SAFE(it, nxt, &s->conns) {
            struct conn *c = CONTAINER_OF(it, struct conn, link);
            size_t held = stalled_bytes(c);
            if (held >= least && freed < bytes) {
                freed += held;
                n++;
                reset_at_close(c);
                fiber_cancel(c->fiber);
            }
        }
    }
    if (n > 0) {
        LOG_RATE(WARN, "memory: reset %u connections that wait for their clients, with %llu KB", n,
                 (unsigned long long)(freed >> 10));
    }
}

/* ---- reading the request ---- */

static struct h1_req *of(struct req *r)
{
    return (struct h1_req *)(void *)r;
}

/* Room to gather a head that comes in pieces: bytes moved to the arena, with free space behind. */
struct gather {
    char *p;
    size_t n, cap;
};

static void gather_grow(struct gather *g, struct arena *a, struct str bytes)
{
    g->cap = bytes.n * 2 < 4096 ? 4096 : bytes.n * 2;
    char *bigger = arena_bytes(a, g->cap);
    memcpy(bigger, bytes.p, bytes.n);
    g->p = bigger;
    g->n = bytes.n;
}

/* What the log has of it: the length, and the first line as it came. */
static int bad_head(struct h1_req *q, struct str bytes)
{
    q->r.bytes_in = bytes.n;
    while (bytes.n > 0 && (bytes.p[0] == '\r' || bytes.p[0] == '\n')) {
        bytes = str_skip(bytes, 1);
    }
    size_t n = 0;
    while (n < bytes.n && bytes.p[n] != '\r' && bytes.p[n] != '\n') {
        n++;
    }
    q->r.bad_line = arena_str(q->r.arena, str_head(bytes, n));
    return -EPROTO;
}

static bool may_speak_h2(const struct server *s)
{
    return s->is_proxy && s->settings->enable_http2;
}

/* Without TLS HTTP/2 begins with its preface, which is no request of HTTP/1.1 (RFC 9113 3.3). */
static bool begins_h2(const struct conn *c, struct str bytes)
{
    return c->requests == 0 && may_speak_h2(c->server) && !io_is_tls(&c->io) &&
           str_starts(H2_PREFACE, str_head(bytes, H2_PREFACE.n));
}

/* The head is parsed where it was received; only then is it copied, as the request outlives the
 * lent buffer. */
static int await_head_bytes(struct h1_req *q, int64_t deadline)
{
    struct conn *c = q->c;
    struct gather g = {NULL, 0, 0};
    struct str bytes = str_of(c->left, c->left_n);
    if (bytes.n == 0) {
        int n = await_read(&c->io, &bytes, deadline);
        if (n <= 0) {
            return n == 0 ? -ECONNRESET : n;
        }
        if (bytes.n <= SMALL_READ) {
            /* Copied before it is parsed: then no slice has to move. */
            g.p = memcpy(arena_bytes(q->r.arena, bytes.n), bytes.p, bytes.n);
            g.n = g.cap = bytes.n;
            bytes.p = g.p;
        }
    }
    for (;;) {
        int n, rc = h1_parse(&q->parser, bytes);
        if (rc < 0 && begins_h2(c, bytes)) {
            q->body.ahead = bytes;
            return -EPROTOTYPE;
        }
        if (rc != 0) {
            size_t head = rc > 0 ? q->parser.head.bytes : bytes.n;
            if (bytes.p != g.p) {
                h1_parse(&q->parser,
                         arena_str(q->r.arena, str_head(bytes, head))); /* moves the slices */
            }
            q->body.ahead = str_skip(bytes, head);
            return rc > 0 ? 0 : bad_head(q, bytes);
        }
        if (bytes.p != g.p || g.cap - g.n < 1024) {
            gather_grow(&g, q->r.arena, bytes);
            h1_parse(&q->parser,
                     str_of(g.p, g.n)); /* moves the slices: what was lent ends with this wait */
        }
        n = await_read_into(&c->io, g.p + g.n, g.cap - g.n, deadline);
        g.n += n > 0 ? (size_t)n : 0;
        bytes = str_of(g.p, g.n);
        if (n <= 0) {
            bad_head(q, bytes);
            return n == 0 ? -ECONNRESET : n;
        }
    }
}

void conn_take_head(struct req *r, const struct h1_head *h)
{
    r->method = h->method;
    r->method_id = h->method_id;
    r->major = 1;
    r->minor = h->minor;
    r->target = h->path_query;
    r->raw_path = str_head(h->path_query, h->path_n);
    r->args = str_skip(h->path_query, h->path_n + 1);
    r->has_args = h->path_n < h->path_query.n;
    r->uri = r->match_uri = r->raw_path;
    r->headers = h->headers;
    r->host_header = h->authority;
    r->keepalive = h->keepalive;
    r->upgrade = h->upgrade;
    r->expect_continue = h->expect_continue;
    r->has_body = h->framing == H1_CHUNKED || (h->framing == H1_LENGTH && h->content_length > 0);
    r->content_length = h->framing == H1_LENGTH ? (int64_t)h->content_length : -1;
    r->bytes_in = h->bytes;
    r->resp.no_body = h->method_id == M_HEAD;
    if (h->host_repeated_in_target) {
        headers_set_id(&r->headers, H_HOST, h->authority);
    }
}

/* Bytes that follow the head: of the body (kept, since plugins may await), or of the next request.
 */
static void keep_ahead(struct h1_req *q)
{
    struct conn *c = q->c;
    struct str ahead = q->body.ahead;
    bool in_arena = q->parser.head.method.p + q->parser.head.bytes ==
                    ahead.p; /* a small read was copied whole */
    struct str stable = !q->r.has_body ? STR("") : in_arena ? ahead : arena_str(q->r.arena, ahead);
    char *next = NULL;
    size_t next_n = 0;
    if (!q->r.has_body && ahead.n > 0) {
        next = malloc(ahead.n);
        ASSERT(next != NULL);
        memcpy(next, ahead.p, next_n = ahead.n);
    }
    free(c->left);
    c->left = next;
    c->left_n = next_n;
    h1_body_init(&q->body, &q->parser.head, stable, q->r.arena, &c->server->limits);
}

/* Chunks behind the one that is handed out must outlive what the caller awaits meanwhile: they are
 * not lent. */
static int await_body_bytes(struct h1_req *q, int64_t deadline)
{
    if (q->body.framing != H1_CHUNKED) {
        return await_read(&q->c->io, &q->body.ahead, deadline);
    }
    if (q->room == NULL) {
        q->room = arena_bytes(q->r.arena, CHUNKED_ROOM);
    }
    int n = await_read_into(&q->c->io, q->room, CHUNKED_ROOM, deadline);
    q->body.ahead = str_of(q->room, n > 0 ? (size_t)n : 0);
    return n;
}

static int await_more_body(struct h1_req *q)
{
    const struct settings *s = q->c->server->settings;
    const int64_t before = now_ms();
    int n = await_body_bytes(
        q, pace_deadline(&q->pace, s->client_body_timeout_ms, s->weir.min_body_rate));
    pace_moved(&q->pace, now_ms() - before, n > 0 ? (size_t)n : 0, s->weir.min_body_rate);
    return n;
}

static int await_continue(struct h1_req *q)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec iov = {(void *)text, sizeof(text) - 1};
    return await_write(&q->c->io, &iov, 1, deadline_in(q->c->server->settings->send_timeout_ms));
}

/* The bytes behind the body are the next request's. */
static void keep_next(struct h1_req *q)
{
    struct conn *c = q->c;
    if (q->body.ahead.n == 0) {
        return;
    }
    free(c->left);
    c->left = malloc(q->body.ahead.n);
    ASSERT(c->left != NULL);
    c->left_n = q->body.ahead.n;
    memcpy(c->left, q->body.ahead.p, c->left_n);
    q->body.ahead = STR("");
}

static int h1_await_body(struct req *r, struct str *run)
{
    struct h1_req *q = of(r);
    if (q->continue_due) {
        q->continue_due = false;
        if (q->body.ahead.n == 0 && await_continue(q) < 0) {
            return -ECONNRESET;
        }
    }
    for (;;) {
        uint64_t wire = q->body.wire;
        enum h1_body_result rc = h1_body_next(&q->body, run);
        r->bytes_in += q->body.wire - wire;
        if (rc == BODY_MORE) {
            int n = await_more_body(q);
            if (n < 0) {
                return n;
            }
            if (n > 0) {
                continue;
            }
            rc = h1_body_eof(&q->body);
        }
        switch (rc) {
        case BODY_RUN:
            r->body_seen += run->n;
            if (q->body.ended) {
                keep_next(q); /* what is lent does not outlive the caller's next await */
            }
            return r->max_body && r->body_seen > r->max_body ? -EMSGSIZE : 1;
        case BODY_END:
            keep_next(q);
            r->body_read = true;
            if (q->body.framing == H1_CHUNKED) {
                r->req_trailers = q->body.chunked.trailers;
            }
            return 0;
        case BODY_MORE:
        case BODY_ERROR:
            return q->body.error == H1_TRUNCATED ? -ECONNRESET : -EPROTO;
        }
    }
}

/* ---- writing the answer ---- */

/* May the connection serve another request after this answer? */
static bool can_keep(const struct h1_req *q)
{
    const struct req *r = &q->r;
    const struct server *s = q->c->server;
    if (!r->keepalive || s->draining || s->settings->keepalive_timeout_ms <= 0 ||
        q->c->requests >= (uint64_t)s->settings->weir.keepalive_requests ||
        (s->is_proxy && server_pressure() >= 1)) {
        return false;
    }
    if (q->body.ended) {
        return true;
    }
    /* Unread body: only a short rest whose length is known is worth reading. */
    return q->body.framing == H1_LENGTH && q->body.left <= DRAIN_BYTES && !q->continue_due &&
           q->body.error == H1_OK;
}

bool conn_has_no_body(const struct req *r)
{
    int s = r->resp.status;
    return r->resp.no_body || s < 200 || s == 204 || s == 304;
}

void conn_add_usual(struct req *r)
{
    struct headers *h = &r->resp.headers;
    if (headers_find(h, H_SERVER) == NULL) {
        headers_add_id(h, H_SERVER,
                       r->settings->enable_server_tokens ? STR("weir/" WEIR_VERSION) : STR("weir"));
    }
    if (headers_find(h, H_DATE) == NULL) {
        headers_add_id(h, H_DATE, str_of(wall_http_date(), 29));
    }
}

static void add_framing(struct h1_req *q)
{
    struct req *r = &q->r;
    struct headers *h = &r->resp.headers;
    if (r->resp.length >= 0 && r->resp.status >= 200 && r->resp.status != 204 &&
        !(r->resp.status == 304 && r->resp.length == 0)) {
        headers_add_id(h, H_CONTENT_LENGTH, arena_u64(r->arena, (uint64_t)r->resp.length));
    } else if (!conn_has_no_body(r)) {
        if (r->minor == 1) {
            q->chunked_out = true;
            headers_add_id(h, H_TRANSFER_ENCODING, STR("chunked"));
        } else {
            q->close = true;
        }
    }
    if (q->close) {
        headers_add_id(h, H_CONNECTION, STR("close"));
    } else if (r->minor == 0) {
        headers_add_id(h, H_CONNECTION, STR("keep-alive"));
    }
}

static int send_iov(struct h1_req *q, struct iovec *iov, int n)
{
    struct req *r = &q->r;
    uint64_t total = 0;
    for (int i = 0; i < n; i++) {
        total += iov[i].iov_len;
    }
    int rc = n == 0 ? 0
                    : await_write(&q->c->io, iov, n,
                                  deadline_in(q->c->server->settings->send_timeout_ms));
    if (rc == -ETIMEDOUT) {
        reset_at_close(q->c);
    }
    if (rc < 0) {
        q->close = true;
        r->client_gone = rc != -ETIMEDOUT;
        return rc;
    }
    r->resp.bytes_sent += total;
    return 0;
}

/* The body part of a write; nothing where the answer has none. */
static int body_iov(struct h1_req *q, struct iovec *iov, char size_line[18], struct str body,
                    bool last)
{
    struct req *r = &q->r;
    if (conn_has_no_body(r)) {
        return 0;
    }
    if (!q->chunked_out && r->resp.length >= 0) {
        const uint64_t left = (uint64_t)r->resp.length - r->resp.body_bytes_sent;
        body = str_head(body, body.n < left ? body.n : (size_t)left);
        /* The head has promised more, or less: what comes next on this connection could be taken
         * for body. */
        q->close = q->close || (last && body.n < left);
    }
    r->resp.body_bytes_sent += body.n;
    return h1_body_iov(q->chunked_out, iov, size_line, body, last);
}

/* The last chunk with trailers, when there are some. */
static int await_trailers(struct h1_req *q)
{
    struct req *r = &q->r;
    size_t size = h1_fields_room(&r->resp.trailers) + 8, n = 0;
    char *text = arena_bytes(r->arena, size);
    memcpy(text, "0\r\n", 3);
    n = 3;
    for (unsigned i = 0; i < r->resp.trailers.n; i++) {
        const struct header *h = &r->resp.trailers.v[i];
        if (!header_name_is_valid(h->name) || !header_value_is_valid(h->value)) {
            continue;
        }
        memcpy(text + n, h->name.p, h->name.n);
        n += h->name.n;
        memcpy(text + n, ": ", 2);
        memcpy(text + n + 2, h->value.n ? h->value.p : "", h->value.n);
        n += 2 + h->value.n;
        memcpy(text + n, "\r\n", 2);
        n += 2;
    }
    memcpy(text + n, "\r\n", 2);
    struct iovec iov = {text, n + 2};
    return send_iov(q, &iov, 1);
}

static int h1_await_data(struct req *r, struct str body, bool last)
{
    struct h1_req *q = of(r);
    struct iovec iov[3];
    char size_line[18];
    bool trailers = last && q->chunked_out && r->resp.trailers.n > 0;
    int rc = send_iov(q, iov, body_iov(q, iov, size_line, body, last && !trailers));
    return rc == 0 && trailers ? await_trailers(q) : rc;
}

static ptrdiff_t h1_await_splice(struct req *r, struct io *from, size_t n, int64_t deadline)
{
    struct h1_req *q = of(r);
    const uint64_t left = (uint64_t)r->resp.length - r->resp.body_bytes_sent;
    if (r->resp.length < 0 || conn_has_no_body(r) || n > left) {
        return -ENOTSUP;
    }
    ptrdiff_t moved = await_splice(from, &q->c->io, n, deadline);
    if (moved > 0) {
        r->resp.bytes_sent += (uint64_t)moved;
        r->resp.body_bytes_sent += (uint64_t)moved;
    }
    if (moved == -ETIMEDOUT) {
        reset_at_close(q->c);
    }
    q->close = q->close || (moved <= 0 && moved != -ENOTSUP);
    return moved;
}

static int h1_await_head(struct req *r, struct str body, bool last)
{
    struct h1_req *q = of(r);
    struct headers *h = &r->resp.headers;
    if (r->resp.sent) {
        return -EALREADY;
    }
    struct str reason = r->resp.reason.p ? r->resp.reason : http_reason(r->resp.status);
    conn_add_usual(r);
    q->tunnel = r->resp.status == 101;
    q->close = q->close || (!can_keep(q) && !q->tunnel);
    if (!q->tunnel) {
        add_framing(q);
    }
    char *head = arena_bytes(r->arena, h1_response_head_room(reason, h));
    size_t n = h1_write_response_head(head, 1, r->resp.status, reason, h);
    if (n == 0) {
        LOG_RATE(
            ERROR,
            "an answer has a header name or value with forbidden bytes; the connection is closed");
        q->close = true;
        return -EPROTO;
    }
    r->resp.sent = true;
    struct iovec iov[4] = {{head, n}};
    char size_line[18];
    bool trailers = last && q->chunked_out && r->resp.trailers.n > 0;
    int rc = send_iov(q, iov, 1 + body_iov(q, iov + 1, size_line, body, last && !trailers));
    return rc == 0 && trailers ? await_trailers(q) : rc;
}

static int h1_await_interim(struct req *r, int status, const struct headers *h)
{
    struct h1_req *q = of(r);
    if (r->minor == 0 || r->resp.sent) {
        return 0;
    }
    if (status == 100) {
        q->continue_due = false;
    }
    struct str reason = http_reason(status);
    char *head = arena_bytes(r->arena, h1_response_head_room(reason, h));
    struct iovec iov = {head, h1_write_response_head(head, 1, status, reason, h)};
    return iov.iov_len ? send_iov(q, &iov, 1) : -EPROTO;
}

static void h1_abort(struct req *r)
{
    struct h1_req *q = of(r);
    q->close = true;
    q->body.ended = true; /* nothing is read any more, and no lingering */
    if (r->resp.sent && !q->chunked_out && r->resp.length < 0) {
        /* The end of the connection would be the end of the body. */
        reset_at_close(q->c);
    }
}

void conn_find_local(struct req *r)
{
    struct conn *c = r->conn;
    struct addr a = {.len = sizeof(a.room)}, *local = &c->local;
    if (getsockname(c->io.fd, &a.sa, &a.len) == 0 &&
        a.sa.sa_family == local->sa.sa_family) { /* an inner connection has no address of its own */
        *local = a;
    }
}

static struct io *h1_take_over(struct req *r, struct str *ahead)
{
    struct h1_req *q = of(r);
    *ahead = str_of(q->c->left, q->c->left_n);
    return &q->c->io;
}

void server_leave(struct req *r, void (*stop)(void *arg), void *arg)
{
    struct conn *c = of(r)->c;
    c->stop = stop;
    c->stop_arg = arg;
    count(&c->server->stats.writing, 1);
}

void server_return(void *conn)
{
    struct conn *c = conn;
    c->stop = NULL;
    c->fiber = fiber_self();
}

void server_close(void *conn)
{
    struct conn *c = conn;
    count(&c->server->stats.writing, -1);
    conn_close(c);
}

static void on_client_event(struct io *io)
{
    struct conn *c = CONTAINER_OF(io, struct conn, io);
    if (io->hup || io->error) {
        fiber_cancel(c->fiber);
    }
}

static void h1_watch_client(struct req *r, bool on)
{
    io_watch(&of(r)->c->io, on ? on_client_event : NULL);
}

static const struct transport h1_transport = {
    .await_body = h1_await_body,
    .await_head = h1_await_head,
    .await_data = h1_await_data,
    .await_splice = h1_await_splice,
    .await_interim = h1_await_interim,
    .abort = h1_abort,
    .find_local = conn_find_local,
    .take_over = h1_take_over,
    .watch_client = h1_watch_client,
};

struct io *server_io(struct req *r, struct str *ahead)
{
    return r->transport->take_over(r, ahead);
}

void server_watch_client(struct req *r, bool on)
{
    r->transport->watch_client(r, on);
}

/* ---- one connection's fiber ---- */

void conn_begin_req(struct conn *c, struct req *r, struct arena *a,
                    const struct transport *transport)
{
    r->arena = a;
    r->transport = transport;
    r->server = c->server;
    r->conn = c;
    r->core = c->server->core;
    r->settings = c->server->settings;
    r->fiber = fiber_self();
    r->tls = io_is_tls(&c->io) ? &c->io : NULL;
    r->scheme = r->tls ? STR("https") : STR("http");
    r->peer = &c->peer;
    r->proxied = c->proxied;
    r->local = &c->local;
    r->client = c->peer_ip;
    r->client_unix = c->peer.sa.sa_family == AF_UNIX;
    r->remote_addr = str_of(c->peer_text, c->peer_text_n);
    r->remote_port = addr_port(&c->peer);
    r->server_port = addr_port(&c->local);
    r->max_body = c->server->settings->client_max_body_size;
    r->start_us = now_us();
    r->start_wall_us = wall_us();
    r->content_length = -1;
    r->resp.length = -1;
    headers_init(&r->resp.headers, a, 16);
}

static struct h1_req *req_new(struct conn *c)
{
    struct arena *a = fiber_arena();
    struct h1_req *q = arena_alloc_raw(a, sizeof(*q));
    memset(q, 0, offsetof(struct h1_req, parser));
    h1_body_begin(&q->body);
    q->c = c;
    conn_begin_req(c, &q->r, a, &h1_transport);
    h1_parse_init(&q->parser, a, &c->server->limits, false);
    return q;
}

void conn_refuse(struct req *r, int status)
{
    if (r->host_header.p == NULL) {
        r->host_header = STR("");
    }
    req_reply(r, status, STR_NONE);
    req_await_send_reply(r);
    if (r->server->refused) {
        r->server->refused(r);
    }
}

static void refuse(struct h1_req *q, int status)
{
    q->close = true;
    q->r.minor = 1;
    q->body.ended = true;
    conn_refuse(&q->r, status);
}

void conn_handle(struct req *r)
{
    struct server *s = r->server;
    count(&s->stats.writing, 1);
    if (s->is_proxy && (server_pressure() >= 2 || is_overloaded(s->settings->weir.overload_ms))) {
        headers_add(&r->resp.headers, STR("Retry-After"), STR("1"));
        conn_refuse(r, 503);
    } else {
        s->handle(r);
    }
    count(&s->stats.writing, -1);
}

void conn_linger(struct conn *c)
{
    /* When memory is scarce only what has come already is taken. */
    int64_t until = deadline_in(server_pressure() >= 2 ? 0 : LINGER_MS);
    size_t budget = 16 * DRAIN_BYTES;
    struct str junk;
    io_shut(&c->io);
    while (budget > 0) {
        int n = await_read(&c->io, &junk, until);
        if (n <= 0) {
            return;
        }
        budget -= (size_t)n < budget ? (size_t)n : budget;
    }
}

/* Bytes that the kernel has of what was written and the client has not taken. */
static int64_t untaken(const struct conn *c)
{
    int n = 0;
    return ioctl(c->io.fd, SIOCOUTQ, &n) == 0 ? n : 0;
}

/* The end of a large answer leaves the kernel at the minimum rate as well: false when it does not.
 * The next request, or the client's end, ends the wait. */
static bool await_taken(struct h1_req *q)
{
    const struct conn *c = q->c;
    const int64_t rate = c->server->settings->weir.min_drain_rate;
    const int64_t since = now_ms(), first = untaken(c);
    if (q->close && q->body.ended) {
        io_shut(&q->c->io); /* some clients wait for the end */
    }
    for (int64_t left = first; rate > 0 && left > UNTAKEN_BYTES; left = untaken(c)) {
        int64_t waited = now_ms() - since;
        if (waited > GRACE_MS && (first - left) * 1000 < rate * waited) {
            reset_at_close(q->c);
            return false;
        }
        if (await_readable(&q->c->io, deadline_in(UNTAKEN_LOOK_MS)) != -ETIMEDOUT) {
            break;
        }
    }
    return true;
}

/* Read the rest of a short request body, so that the connection can go on. */
static bool await_drain(struct h1_req *q)
{
    struct str run;
    int rc;
    q->r.max_body = 0;
    while ((rc = h1_await_body(&q->r, &run)) > 0) {
    }
    return rc == 0;
}

/* One request. True when the connection may serve another. */
static bool await_one(struct conn *c)
{
    struct server *s = c->server;
    struct h1_req *q = req_new(c);
    count(&s->stats.reading, 1);
    int rc = await_head_bytes(q, deadline_in(s->settings->client_header_timeout_ms));
    count(&s->stats.reading, -1);
    q->r.settings = s->settings; /* a reload may have come meanwhile */
    if (rc == -EPROTOTYPE) {
        c->h2 = h2_conn_new(c);
        h2_conn_feed(c->h2, q->body.ahead);
        return false;
    }
    if (rc == -EPROTO || (rc == -ETIMEDOUT && q->r.bytes_in > 0)) {
        enum h1_error e = q->parser.error;
        LOG_RATE(INFO, "client %.*s sent a bad request: %s", c->peer_text_n, c->peer_text,
                 rc == -EPROTO ? h1_error_text(e) : "head not complete in time");
        q->r.method = q->parser.head.method;
        q->r.target = q->parser.head.target;
        refuse(q, rc == -EPROTO ? h1_error_status(e) : 408);
        conn_linger(c);
        return false;
    }
    if (rc < 0) {
        return false;
    }
    c->requests++;
    count_all(&s->stats.requests);
    conn_take_head(&q->r, &q->parser.head);
    q->continue_due = q->r.expect_continue && q->r.has_body;
    keep_ahead(q);
    fiber_set_data(fiber_self(), &q->r);
    conn_handle(&q->r);
    if (q->r.resp.bytes_sent > UNTAKEN_BYTES && !q->tunnel && !c->given_up && !await_taken(q)) {
        q->close = q->body.ended = true;
    }
    if (q->close || !q->r.resp.sent || q->tunnel || fiber_is_cancelled(fiber_self())) {
        if (q->r.resp.sent && !q->body.ended && !q->tunnel) {
            conn_linger(c);
        }
        return false;
    }
    return q->body.ended ? (keep_next(q), true) : await_drain(q);
}

static bool await_handshake(struct conn *c)
{
    const struct server *s = c->server;
    int rc = await_tls_accept(&c->io, s->tls, s->core,
                              may_speak_h2(s) ? STR("\x02h2\x08http/1.1") : STR("\x08http/1.1"),
                              deadline_in(s->settings->client_header_timeout_ms));
    if (rc == -EPROTO) {
        LOG_RATE(WARN, "client %.*s: TLS handshake failed: %s", c->peer_text_n, c->peer_text,
                 tls_reason());
    } else if (rc == -ETIMEDOUT) {
        LOG_RATE(INFO, "client %.*s: TLS handshake not complete in time", c->peer_text_n,
                 c->peer_text);
    }
    if (rc == 0 && str_eq(tls_alpn(&c->io), STR("h2"))) {
        c->h2 = h2_conn_new(c);
    }
    return rc == 0;
}

/* Read what is a header, byte by byte where its length is not known yet: nothing is left over for
 * who reads next. */
static int await_proxy_header(struct conn *c, struct proxy_header *h)
{
    const int64_t deadline = deadline_in(c->server->settings->client_header_timeout_ms);
    char room[PROXY_HEADER_MAX];
    size_t n = 0, want;
    int rc;
    while ((rc = proxy_parse(str_of(room, n), h, &want)) == 0) {
        int got = await_read_into(&c->io, room + n, want, deadline);
        if (got <= 0) {
            return got == 0 && n > 0 ? -ECONNRESET : got;
        }
        n += (size_t)got;
    }
    return rc < 0 ? -EPROTO : 1;
}

/* The connection is another one from now on: of the client that the header names. */
static bool await_proxied(struct conn *c)
{
    struct proxy_header h;
    int rc = await_proxy_header(c, &h);
    if (rc <= 0) {
        if (rc < 0 && rc != -ECANCELED) {
            LOG_RATE(WARN, "no PROXY header from %.*s (%s), closing the connection", c->peer_text_n,
                     c->peer_text, rc == -EPROTO ? "something else came" : strerror(-rc));
        }
        return false;
    }
    if (h.has_addrs) {
        c->proxied = mem_alloc(sizeof(*c->proxied));
        *c->proxied = (struct proxied_conn){.sender = c->peer, .destination = h.destination};
        set_peer(c, &h.source);
    }
    return count_source(c);
}

/* One of what comes before the first request. */
static bool await_preface(struct conn *c)
{
    if (c->prefaces & PREFACE_PROXY) {
        c->prefaces &= ~(unsigned)PREFACE_PROXY;
        return await_proxied(c);
    }
    c->prefaces = 0;
    return await_handshake(c);
}

static void conn_serve(void *arg)
{
    struct conn *c = arg;
    c->fiber = fiber_self();
    if (c->prefaces) {
        bool ok = await_preface(c);
        c->fiber = NULL;
        if (ok) {
            conn_idle(c, deadline_in(c->server->settings->client_header_timeout_ms));
        } else {
            conn_close(c);
        }
        return;
    }
    bool more = c->h2 == NULL && await_one(c);
    while (more && c->left_n > 0) {
        arena_reset(fiber_arena());
        more = await_one(c);
    }
    if (c->h2 != NULL) {
        h2_conn_serve(c->h2);
        return;
    }
    c->fiber = NULL;
    if (c->stop) {
        return;
    }
    if (!more) {
        conn_close(c);
        return;
    }
    const struct server *s = c->server;
    int64_t idle_ms = s->settings->keepalive_timeout_ms;
    conn_idle(c, deadline_in(s->draining && s->idle_ms < idle_ms ? s->idle_ms : idle_ms));
}
