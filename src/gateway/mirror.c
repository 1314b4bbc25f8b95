/* SPDX-License-Identifier: Apache-2.0 */
/* mirror: see mirror.h. */
#include "gateway/mirror.h"

#include "base/hash.h"
#include "base/log.h"
#include "fiber/fiber.h"
#include "gateway/gateway.h"
#include "net/resolver.h"
#include "upstream/pool.h"

#include <errno.h>

#define ANSWER_MAX (1 << 20) /* read of an answer, so that its connection can be used again */

/* On the stack of its fiber, and all it points to in the arena of that. */
struct copy {
    struct list link;
    struct fiber *fiber;
    struct mirror to;
    struct headers headers;
    struct client_request request;
    const struct core *core;
    bool unchecked; /* whoever answers with TLS will do */
    /* of the settings, which may be others by the time they are needed */
    int64_t resolve_ms, connect_ms, send_ms, read_ms;
    struct pool_limits keep;
};

static _Thread_local struct list copies;
static _Thread_local unsigned n_copies;

static void copy_headers(struct headers *to, const struct headers *from, uint64_t drop)
{
    for (unsigned i = 0; i < from->n; i++) {
        const struct header *h = &from->v[i];
        if (!(drop >> h->id & 1) && !h->listed) {
            headers_append(to, h->id, arena_str(to->arena, h->name),
                           arena_str(to->arena, h->value));
        }
    }
}

/* Without the upgrade that the original may ask for: the copy is not to become a tunnel. */
static void copy_request(struct copy *c, const struct client_request *q, struct arena *a)
{
    headers_init(&c->headers, a, q->own->n + q->passed->n);
    copy_headers(&c->headers, q->own, H1_BIT(H_UPGRADE) | H1_BIT(H_CONNECTION));
    copy_headers(&c->headers, q->passed, q->drop);
    c->request = (struct client_request){.method = arena_str(a, q->method),
                                         .target = c->to.uri,
                                         .own = &c->headers,
                                         .body_length = q->body_length,
                                         .body = arena_str(a, q->body),
                                         .last = true};
}

static int await_address(const struct copy *c, struct addr *addr)
{
    struct resolved r;
    int rc = await_resolve(c->to.host, &r, deadline_in(c->resolve_ms));
    if (rc < 0 || r.n == 0) {
        return rc < 0 ? rc : -ENOENT;
    }
    addr_from_ip(addr, &r.ip[random_u64() % r.n], c->to.port);
    return 0;
}

/* As with upstreams: checked where certificates to trust are configured. */
static int await_conn(const struct copy *c, struct upconn **conn)
{
    struct addr addr;
    bool reused;
    int rc = await_address(c, &addr);
    if (rc < 0) {
        return rc;
    }
    const struct upconn_tls tls = {
        .sni = c->to.host, .name = c->to.host, .trust = c->unchecked ? NULL : c->core->tls.trust};
    return await_upconn_tls(&addr, c->to.tls ? &tls : NULL, false, deadline_in(c->connect_ms), conn,
                            &reused);
}

static int await_exchange(struct copy *c, struct exchange *x)
{
    struct str run;
    int rc = client_await_request(x, &c->request, deadline_in(c->send_ms));
    rc = rc < 0 ? rc : client_await_response(x, NULL, NULL, c->read_ms);
    if (rc < 0) {
        return rc;
    }
    do {
        rc = client_await_body(x, &run, deadline_in(c->read_ms));
    } while (rc > 0 && x->received < ANSWER_MAX);
    return rc;
}

/* NULL, or why it failed. */
static const char *await_copy(struct copy *c, struct arena *a)
{
    struct exchange x;
    struct upconn *conn;
    int rc = await_conn(c, &conn);
    if (rc < 0) {
        return rc == -EPROTO ? tls_reason() : strerror(-rc);
    }
    client_init(&x, &conn->io, a, &c->core->server.limits, http_method_of(c->request.method));
    rc = await_exchange(c, &x);
    if (rc == 0 && client_is_reusable(&x)) {
        upconn_put(conn, &c->keep);
    } else {
        upconn_close(conn);
    }
    return rc >= 0 ? NULL : rc == -EPROTO ? "the answer is not HTTP" : strerror(-rc);
}

struct original {
    const struct req *r;
    const struct client_request *request;
};

/* Runs at once until it first parks: so long the original is there to be copied. */
static void copy_main(void *arg)
{
    const struct original *o = arg;
    const struct mirror *to = &o->r->up.mirror;
    const struct settings *s = o->r->settings;
    struct arena *a = fiber_arena();
    struct copy c = {
        .fiber = fiber_self(),
        .to = {arena_str(a, to->host), to->port, to->tls, arena_str(a, to->uri)},
        .core = core_of(o->r),
        .unchecked = s->weir.upstream_unchecked,
        .resolve_ms = s->resolver_timeout_ms,
        .connect_ms = s->mirror_connect_ms,
        .send_ms = s->mirror_send_ms,
        .read_ms = s->mirror_read_ms,
        .keep = {s->upstream_keepalive, s->upstream_keepalive_timeout_ms,
                 s->upstream_keepalive_requests},
    };
    copy_request(&c, o->request, a);
    list_add(&copies, &c.link);
    n_copies++;
    const char *why = await_copy(&c, a);
    if (why && !fiber_is_cancelled(c.fiber)) {
        LOG_RATE(WARN, "mirroring to %.*s:%u failed: %s, request: \"%.*s %.*s\"",
                 STR_ARG(c.to.host), c.to.port, why, STR_ARG(c.request.method), STR_ARG(c.to.uri));
    }
    n_copies--;
    list_del(&c.link);
}

void mirror_start(const struct req *r, const struct client_request *q)
{
    const struct str host = r->up.mirror.host, route = r->route->o.id;
    struct original o = {r, q};
    if (copies.next == NULL) {
        list_init(&copies);
    }
    if (!q->last) {
        LOG_RATE(WARN, "a request is not mirrored to %.*s: its body is too long, route: %.*s",
                 STR_ARG(host), STR_ARG(route));
    } else if (n_copies >= MIRRORS_MAX || fiber_start("mirror", copy_main, &o) == NULL) {
        LOG_RATE(WARN, "a request is not mirrored to %.*s: %u are on their way, route: %.*s",
                 STR_ARG(host), n_copies, STR_ARG(route));
    }
}

void mirror_cancel_all(void)
{
    if (copies.next == NULL) {
        return;
    }
    LIST_EACH_SAFE(it, nxt, &copies) {
        fiber_cancel(CONTAINER_OF(it, struct copy, link)->fiber);
    }
}
