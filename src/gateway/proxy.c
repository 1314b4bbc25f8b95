/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy: which upstream, which node, and the tries until one gives a response head (runtime.md
 * section 5).
 *
 * A try is repeated on a connect error, and on a send or read error or timeout as long as no answer
 * came; a method that is not idempotent is not sent again once bytes went out. A pooled connection
 * that was closed under us gives one more try on a fresh connection to the same node, which does
 * not count.
 */
#include "base/log.h"
#include "config/settings.h"
#include "config/snapshot.h"
#include "fiber/fiber.h"
#include "gateway/gateway.h"
#include "gateway/mirror.h"
#include "gateway/pump.h"
#include "gateway/steps.h"
#include "gateway/tls.h"
#include "upstream/balancer.h"
#include "upstream/h2_pool.h"
#include "upstream/pool.h"

#include <errno.h>

#define DEFAULT_TIMEOUT_MS 60000
#define LARGE_BODY 32768 /* worth moving instead of copying */

/* ---- which upstream ---- */

/* A reference that leads nowhere is a 502, no upstream at all a 503. NULL: answered. */
static const struct upstream_conf *by_id(struct req *r, struct str id)
{
    const struct upstream *u = SNAP_FIND(r->snapshot, UPSTREAM, upstream, id);
    if (u == NULL) {
        LOG_RATE(ERROR, "failed to find upstream by id: %.*s", STR_ARG(id));
        req_reply(r, 502, STR_NONE);
        return NULL;
    }
    return &u->c;
}

static const struct upstream_conf *choose_upstream(struct req *r)
{
    if (r->up.conf) {
        return r->up.conf;
    }
    if (r->route->upstream_id.p) {
        return by_id(r, r->route->upstream_id);
    }
    if (r->route->upstream) {
        return r->route->upstream;
    }
    if (r->service && r->service->upstream_id.p) {
        return by_id(r, r->service->upstream_id);
    }
    if (r->service && r->service->upstream) {
        return r->service->upstream;
    }
    req_reply(r, 503, STR_NONE);
    return NULL;
}

static struct timeouts timeouts_of(const struct req *r)
{
    if (r->route->has_timeout) {
        return r->route->timeout;
    }
    if (r->upstream->has_timeout) {
        return r->upstream->timeout;
    }
    return (struct timeouts){DEFAULT_TIMEOUT_MS, DEFAULT_TIMEOUT_MS, DEFAULT_TIMEOUT_MS};
}

static struct pool_limits pool_limits_of(const struct req *r)
{
    const struct upstream_conf *u = r->upstream;
    const struct settings *s = r->settings;
    if (u->has_pool) {
        return (struct pool_limits){u->pool_size, u->pool_idle_ms, u->pool_requests};
    }
    return (struct pool_limits){s->upstream_keepalive, s->upstream_keepalive_timeout_ms,
                                s->upstream_keepalive_requests};
}

/* The text chash hashes; missing: the client's address. */
static struct str hash_key(struct req *r)
{
    const struct upstream_conf *u = r->upstream;
    struct str key;
    if (!str_eq(u->type, STR("chash"))) {
        return STR("");
    }
    if (u->hash_on == HASH_CONSUMER) {
        key = r->consumer ? r->consumer->username : STR_NONE;
    } else if (u->hash_on == HASH_VARS_COMBINATIONS) {
        unsigned resolved = 0;
        key = u->hash_tmpl ? tmpl_expand(u->hash_tmpl, r->arena, r, &resolved) : STR_NONE;
        key = resolved ? key : STR_NONE;
    } else {
        struct value v = var_get(r, &u->hash_var);
        key = value_text(r->arena, &v);
    }
    return key.n ? key : r->remote_addr;
}

/* ---- what goes out ---- */

/* What the gateway says itself, or what is of the client's connection. */
#define NOT_PASSED                                                                                 \
    ((H1_HOP_BY_HOP & ~H1_BIT(H_PROXY_AUTHORIZATION)) | H1_BIT(H_HOST) |                           \
     H1_BIT(H_CONTENT_LENGTH) | H1_BIT(H_EXPECT) | H1_BIT(H_X_REAL_IP) |                           \
     H1_BIT(H_X_FORWARDED_FOR))

/* A body that is still on its way would be read by the tunnel as well: no upgrade then. */
static bool wants_websocket(const struct req *r, const struct upload *u)
{
    struct opt_bool on = r->route->enable_websocket;
    if (!on.set && r->service) {
        on = r->service->enable_websocket;
    }
    return on.v && r->upgrade && u->complete;
}

static struct str host_for(const struct req *r, const struct upstream_node *node)
{
    if (r->up.host.p) {
        return r->up.host;
    }
    switch (r->upstream->pass_host) {
    case PASS_HOST_NODE:
        return node->host_header;
    case PASS_HOST_REWRITE:
        return r->upstream->upstream_host;
    case PASS_HOST_PASS:
        break;
    }
    struct str now = headers_get(&r->headers, H_HOST);
    now = now.p ? now : r->host_header;
    /* HTTP/1.0 may come without Host; HTTP/1.1 may not leave without */
    return now.n ? now : node->host_header;
}

/* What a gRPC server insists on. */
static void fill_grpc(const struct req *r, struct headers *own)
{
    if (!str_starts(headers_get(&r->headers, H_CONTENT_TYPE), STR("application/grpc"))) {
        headers_add_id(own, H_CONTENT_TYPE, STR("application/grpc"));
    }
    headers_add_id(own, H_TE, STR("trailers"));
}

/* The fields that the gateway says to the upstream (runtime.md section 8); the others are passed.
 */
static void fill_own(struct req *r, const struct upstream_node *node, struct proxied *p,
                     struct headers *own)
{
    const struct str had = headers_get(&r->headers, H_X_FORWARDED_FOR);

    headers_init(own, r->arena, 5);
    r->upstream_host = host_for(r, node);
    headers_add_id(own, H_HOST, r->upstream_host);
    if (wants_websocket(r, &p->upload)) {
        p->x.asked_upgrade = true;
        headers_add_id(own, H_UPGRADE, headers_get(&r->headers, H_UPGRADE));
        headers_add_id(own, H_CONNECTION, STR("Upgrade"));
    }
    headers_add_id(own, H_X_REAL_IP, r->remote_addr);
    headers_add_id(own, H_X_FORWARDED_FOR,
                   had.n ? arena_join(r->arena, had, STR(", "), r->remote_addr) : r->remote_addr);
    if (r->upstream->grpc) {
        fill_grpc(r, own);
    }
}

/* ---- one try ---- */

enum outcome {
    GOT_HEAD,
    FAILED_BEFORE_SEND, /* connecting: anything may be tried again */
    FAILED_AFTER_SEND,
    FAILED_STALE,  /* a pooled connection was closed under us, nothing came back */
    FAILED_UNSEEN, /* the upstream said that it did not look at the request */
    FAILED_CLIENT  /* the client is the reason */
};

struct attempt {
    struct req *r;
    struct proxied *p;
    struct timeouts timeout;
    struct pool_limits limits;
    int error;
    struct str why; /* the handshake failed; STR_NONE: it did not */
};

static int pass_interim(void *arg, const struct h1_head *head)
{
    struct req *r = arg;
    struct headers out;
    if (head->status == 100) {
        return 0; /* the transport says it itself when it needs the body */
    }
    headers_init(&out, r->arena, head->headers.n);
    for (unsigned i = 0; i < head->headers.n; i++) {
        if (!h1_is_hop_by_hop(&head->headers, &head->headers.v[i])) {
            headers_push(&out, &head->headers.v[i]);
        }
    }
    return r->transport->await_interim(r, head->status, &out);
}

/* own is for what the gateway says; it has to live as long as what is returned. */
static struct client_request request_for(struct attempt *a, const struct upstream_node *node,
                                         struct headers *own)
{
    const struct req *r = a->r;
    const struct upload *u = &a->p->upload;
    fill_own(a->r, node, a->p, own);
    return (struct client_request){.method = r->up.method.p ? r->up.method : r->method,
                                   .target = r->up.uri.p ? r->up.uri : r->target,
                                   .own = own,
                                   .passed = &r->headers,
                                   .drop = NOT_PASSED | (own->present & H1_BIT(H_CONTENT_TYPE)),
                                   .body_length = u->length,
                                   .body = u->first,
                                   .last = u->complete};
}

static int send_request(struct attempt *a, const struct upstream_node *node)
{
    struct req *r = a->r;
    struct exchange *x = &a->p->x;
    struct headers own;
    const struct client_request q = request_for(a, node, &own);
    r->upstream_uri = q.target;
    x->method = r->up.method.p ? http_method_of(r->up.method) : r->method_id;
    return client_await_request(x, &q, deadline_in(a->timeout.send_ms));
}

/* The request of the first try, whatever becomes of it. */
static void mirror(struct attempt *a, const struct upstream_node *node)
{
    struct headers own;
    const struct client_request q = request_for(a, node, &own);
    mirror_start(a->r, &q);
}

static int read_head(struct attempt *a)
{
    struct req *r = a->r;
    struct proxied *p = a->p;
    if (!p->upload.complete) {
        p->pump = pump_start(r, &p->x, a->timeout.send_ms);
        if (p->pump == NULL) {
            return -ENOMEM;
        }
        pump_watch(p->pump, true);
    }
    int rc = client_await_response(&p->x, pass_interim, r, a->timeout.read_ms);
    if (p->pump) {
        pump_watch(p->pump, false);
    }
    return rc;
}

static enum outcome classify(struct attempt *a, bool reused)
{
    struct proxied *p = a->p;
    if (fiber_is_cancelled(fiber_self())) {
        a->r->client_gone = true;
        return FAILED_CLIENT;
    }
    if (p->pump && p->pump->client_error) {
        a->error = p->pump->client_error;
        return FAILED_CLIENT;
    }
    if (p->x.unprocessed) {
        return FAILED_UNSEEN;
    }
    return reused && !p->x.got_bytes && a->error != -ETIMEDOUT ? FAILED_STALE : FAILED_AFTER_SEND;
}

/* Host without its port, and without the brackets of an address. */
static struct str name_of_host(struct str host)
{
    if (host.n > 0 && host.p[0] == '[') {
        ptrdiff_t end = str_index(host, ']');
        return end > 0 ? str_of(host.p + 1, (size_t)end - 1) : host;
    }
    ptrdiff_t colon = str_rindex(host, ':');
    return colon >= 0 ? str_head(host, (size_t)colon) : host;
}

/* A connection, and the exchange on it. */
static int await_exchange(struct attempt *a, const struct addr *addr, const struct upconn_tls *tls,
                          bool fresh, bool *reused)
{
    struct req *r = a->r;
    struct proxied *p = a->p;
    const int64_t deadline = deadline_in(a->timeout.connect_ms);
    int rc;
    if (r->upstream->grpc) {
        struct h2_client *c;
        p->c = NULL;
        rc = await_h2_upconn(addr, tls, fresh, &a->limits, deadline, &c, reused);
        if (rc == 0) {
            h2_exchange_begin(&p->x, c, r->arena, tls ? STR("https") : STR("http"));
            p->x.is_talk = r->is_talk;
        }
        return rc;
    }
    rc = await_upconn_tls(addr, tls, fresh, deadline, &p->c, reused);
    if (rc == 0) {
        client_init(&p->x, &p->c->io, r->arena, &core_of(r)->server.limits, r->method_id);
        p->x.head_first = r->transport->is_crowded ? r->transport->is_crowded(r) : p->c->had_large;
    }
    return rc;
}

static int await_conn(struct attempt *a, const struct balancer_target *t, bool fresh, bool *reused)
{
    struct req *r = a->r;
    struct upconn_tls tls, *with = NULL;
    if (r->upstream->tls) {
        with = &tls;
        if (!request_upstream_tls(r, t->node, name_of_host(host_for(r, t->node)), with)) {
            a->why = STR("its tls cannot be used");
            return -EPROTO;
        }
        tls.alpn = r->upstream->grpc ? STR("\2h2") : STR("");
    }
    int rc = await_exchange(a, &t->addr, with, fresh, reused);
    if (rc == -EPROTO) {
        a->why = arena_str(r->arena, str_c(tls_reason()));
    }
    return rc;
}

/* The exchange is over; limits NULL: nothing may follow it on its connection. */
static void end_exchange(struct proxied *p, const struct pool_limits *limits)
{
    if (p->x.h2) {
        h2_exchange_end(&p->x);
    } else if (limits) {
        upconn_put(p->c, limits);
    } else {
        upconn_close(p->c);
    }
    p->c = NULL;
}

static enum outcome await_try(struct attempt *a, const struct balancer_target *t, bool fresh)
{
    struct req *r = a->r;
    struct proxied *p = a->p;
    struct try *try = req_add_try(r);
    int64_t start = now_us();
    bool reused = false;
    try->addr = t->addr;
    try->node = t->node;
    try->status = 502;
    a->why = STR_NONE;
    p->pump = NULL;
    a->error = await_conn(a, t, fresh, &reused);
    if (a->error < 0) {
        p->c = NULL;
        try->response_us = now_us() - start;
        try->status = a->error == -ETIMEDOUT ? 504 : 502;
        return fiber_is_cancelled(fiber_self()) ? (r->client_gone = true, FAILED_CLIENT)
                                                : FAILED_BEFORE_SEND;
    }
    try->connect_us = reused ? 0 : now_us() - start;
    a->error = send_request(a, t->node);
    if (a->error == 0) {
        a->error = read_head(a);
    }
    try = &r->tries[r->n_tries - 1];
    try->start_us = start;
    try->header_us = try->response_us = now_us() - start;
    if (a->error == 0) {
        try->status = p->x.parser.head.status;
        return GOT_HEAD;
    }
    enum outcome o = classify(a, reused);
    try->header_us = -1;
    try->status = a->error == -ETIMEDOUT ? 504 : 502;
    if (p->pump) {
        pump_await_stop(p->pump);
    }
    end_exchange(p, NULL);
    return o;
}

/* ---- the tries ---- */

/* RFC 9110 9.2.2, of the method that is sent, which a plugin may have changed. */
static bool is_idempotent(const struct attempt *a)
{
    switch (a->p->x.method) {
    case M_POST:
    case M_PATCH:
    case M_LOCK:
    case M_OTHER:
        return false;
    default:
        return true;
    }
}

static bool may_retry(const struct attempt *a, enum outcome o)
{
    if (o == FAILED_CLIENT) {
        return false;
    }
    return o == FAILED_BEFORE_SEND ||
           (a->p->upload.complete && (o == FAILED_UNSEEN || is_idempotent(a)));
}

static enum verdict balancer_failed(struct req *r, enum balancer_result rc)
{
    switch (rc) {
    case BALANCER_NO_NODES:
    case BALANCER_NO_ADDRESS:
        return req_reply(r, 503, STR_NONE);
    case BALANCER_UNKNOWN_TYPE:
        LOG_RATE(ERROR, "upstream %.*s: unknown balancer type %.*s", STR_ARG(r->upstream->id),
                 STR_ARG(r->upstream->type));
        return req_reply(r, 500, STR_NONE);
    case BALANCER_EXHAUSTED:
    case BALANCER_OK:
        break;
    }
    return req_reply(r, 502, STR_NONE);
}

/* "502, 504": what each try gave. */
static struct str statuses(const struct req *r)
{
    struct str s = STR("");
    for (unsigned i = 0; i < r->n_tries; i++) {
        s = arena_printf(r->arena, "%.*s%s%d", STR_ARG(s), i ? ", " : "", r->tries[i].status);
    }
    return s;
}

static const char *failure_text(const struct attempt *a)
{
    if (!str_is_none(a->why)) {
        return arena_printf(a->r->arena, "TLS: %.*s", STR_ARG(a->why)).p;
    }
    return a->error == -EPROTO ? "answer is not HTTP" : strerror(-a->error);
}

static enum verdict all_failed(struct attempt *a, enum outcome o, bool too_late)
{
    struct req *r = a->r;
    if (o == FAILED_CLIENT) {
        return req_body_failed(r, a->error);
    }
    const struct try *t = &r->tries[r->n_tries - 1];
    char ip[46];
    size_t n = addr_text(&t->addr, ip);
    LOG_RATE(ERROR,
             "upstream %.*s:%u failed: %s, client: %.*s, request: \"%.*s %.*s\", route: %.*s",
             (int)n, ip, addr_port(&t->addr), failure_text(a), STR_ARG(r->remote_addr),
             STR_ARG(r->method), STR_ARG(r->raw_path), STR_ARG(r->route->o.id));
    req_reply(r, too_late ? 502 : t->status, STR_NONE);
    r->resp.source = FROM_PROXY_ERROR;
    headers_add(&r->resp.headers, STR("X-APISIX-Upstream-Status"), statuses(r));
    return DONE;
}

static enum verdict run_before_proxy(struct req *r)
{
    if (chain_run(r, r->globals, PHASE_BEFORE_PROXY, r->chain) == DONE) {
        return DONE;
    }
    return chain_run(r, r->chain, PHASE_BEFORE_PROXY, NULL);
}

static enum verdict await_tries(struct attempt *a)
{
    struct req *r = a->r;
    unsigned left = balancer_max_tries(r->upstream);
    int64_t give_up =
        r->upstream->retry_timeout_ms ? deadline_in(r->upstream->retry_timeout_ms) : NEVER;
    enum outcome o = FAILED_BEFORE_SEND;
    while (left-- > 0) {
        struct balancer_target t;
        enum balancer_result rc = balancer_next(&a->p->walk, &t);
        if (rc != BALANCER_OK) {
            return r->n_tries ? all_failed(a, o, false) : balancer_failed(r, rc);
        }
        if (run_before_proxy(r) == DONE) {
            return DONE;
        }
        if (r->up.mirror.host.p && r->n_tries == 0) {
            mirror(a, t.node);
        }
        o = await_try(a, &t, false);
        if ((o == FAILED_STALE || o == FAILED_UNSEEN) && may_retry(a, o)) {
            r->n_tries--; /* the pool's fault, not the node's */
            o = await_try(a, &t, true);
        }
        if (o == GOT_HEAD) {
            return NEXT;
        }
        if (!may_retry(a, o)) {
            break;
        }
        if (left > 0 && now_ms() >= give_up) {
            return all_failed(a, o, true);
        }
    }
    return all_failed(a, o, false);
}

void proxied_watch(struct req *r, const struct proxied *p, bool on)
{
    if (p->upload.complete) { /* else the pump reads from the client */
        server_watch_client(r, on);
    }
}

enum verdict request_await_proxy(struct req *r, struct proxied *p)
{
    r->upstream = choose_upstream(r);
    if (r->upstream == NULL) {
        return DONE;
    }
    if (r->upstream->needs_discovery) {
        LOG_RATE(ERROR, "upstream %.*s: service discovery is not available in this build",
                 STR_ARG(r->upstream->id));
        return req_reply(r, 503, STR_NONE);
    }
    if (!r->upstream->is_http) {
        LOG_RATE(ERROR, "upstream %.*s: scheme %.*s is not available in this build",
                 STR_ARG(r->upstream->id), STR_ARG(r->upstream->scheme));
        return req_reply(r, 502, STR_NONE);
    }
    if (request_await_upload(r, &p->upload) == DONE) {
        return DONE;
    }
    struct attempt a = {.r = r, .p = p, .timeout = timeouts_of(r), .limits = pool_limits_of(r)};
    p->read_ms = a.timeout.read_ms;
    proxied_watch(r, p, true);
    enum balancer_result rc = balancer_await_start(&p->walk, r->upstream, hash_key(r),
                                                   deadline_in(r->settings->resolver_timeout_ms));
    enum verdict v = rc == BALANCER_OK ? await_tries(&a) : balancer_failed(r, rc);
    if (v == DONE) {
        proxied_watch(r, p, false);
        balancer_end(&p->walk);
    }
    return v;
}

void proxied_end(struct req *r, struct proxied *p)
{
    if (p->pump) {
        pump_await_stop(p->pump);
        p->pump = NULL;
    }
    balancer_done(&p->walk, r->tries[r->n_tries - 1].header_us);
    balancer_end(&p->walk);
    struct pool_limits limits = pool_limits_of(r);
    if (p->c) {
        p->c->had_large = p->x.parser.head.content_length >= LARGE_BODY;
    }
    const bool reusable = client_is_reusable(&p->x) && !fiber_is_cancelled(fiber_self());
    end_exchange(p, reusable ? &limits : NULL);
}
