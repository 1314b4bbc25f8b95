/* SPDX-License-Identifier: Apache-2.0 */
/*
 * req_keep: see req_keep.h.
 *
 * One function, move_all(), knows the pointers of a request. It runs twice: to gather what they
 * point to into one piece of memory, and to set them right when that piece has moved. Packing ends
 * with a look at all words of what was gathered: a member that move_all() does not know is found
 * there.
 *
 * What was gathered is mostly zeros and pointers: compressed it is a third.
 */
#include "http/req_keep.h"

#include "base/assert.h"
#include "base/mem.h"
#include "fiber/fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

/* More is not worth the trouble: such a request stays in its fiber. */
#define KEEP_MAX 16384
#define RANGES_MAX 256
/* For zlib: of so little, a small window and small tables remember all; 25 KB while it works. */
#define WINDOW_BITS 12
#define MEM_LEVEL 4

struct kept_req {
    uint32_t n, packed;    /* bytes in all, and compressed */
    uintptr_t base;        /* where they were when the pointers among them were set */
    unsigned char bytes[]; /* compressed: struct req, then what it points to */
};

/* Gives p, which has n bytes behind it, its new value. */
struct mover {
    const void *(*move)(struct mover *m, const void *p, size_t n);
    struct arena *arena; /* of the request: the old one or the new one */
    char *to;            /* gathering: where to, and how much is there; moving: the new base */
    size_t n;
    uintptr_t base; /* moving: the old base */
    bool full;
    unsigned n_ranges;
    struct {
        const char *from;
        size_t n, at;
    } ranges[RANGES_MAX]; /* gathered so far */
};

/* ---- the pointers of a request ---- */

static void move_str(struct mover *m, struct str *s)
{
    s->p = m->move(m, s->p, s->n);
}

static void move_headers(struct mover *m, struct headers *h)
{
    h->v = (struct header *)(uintptr_t)m->move(m, h->v, h->n * sizeof(*h->v));
    h->cap = h->n;
    h->arena = m->arena;
    for (unsigned i = 0; i < h->n && !m->full; i++) {
        move_str(m, &h->v[i].name);
        move_str(m, &h->v[i].value);
    }
}

static void move_all(struct mover *m, struct req *r)
{
    struct str *const texts[] = {
        &r->target, /* before those that are parts of it */
        &r->method,
        &r->bad_line,
        &r->raw_path,
        &r->args,
        &r->uri,
        &r->match_uri,
        &r->host,
        &r->host_header,
        &r->host_port,
        &r->scheme,
        &r->remote_addr,
        &r->body,
        &r->matched_uri,
        &r->matched_host,
        &r->up.method,
        &r->up.uri,
        &r->up.host,
        &r->upstream_host,
        &r->upstream_uri,
        &r->resp.reason,
        &r->resp.body,
        &r->request_id,
        &r->rate_limiting_info,
        &r->original.x_forwarded_for,
        &r->original.x_forwarded_proto,
        &r->original.x_forwarded_host,
        &r->original.x_forwarded_port,
        &r->original.forwarded,
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        move_str(m, texts[i]);
    }
    move_headers(m, &r->headers);
    move_headers(m, &r->req_trailers);
    move_headers(m, &r->resp.headers);
    move_headers(m, &r->resp.trailers);
    if (r->uri_params != NULL) {
        r->uri_params =
            (struct headers *)(uintptr_t)m->move(m, r->uri_params, sizeof(*r->uri_params));
        move_headers(m, r->uri_params);
    }
    r->tries = (struct try *)(uintptr_t)m->move(m, r->tries, r->n_tries * sizeof(*r->tries));
}

/* ---- gathering ---- */

static const void *append(struct mover *m, const char *p, size_t n)
{
    const size_t at = (m->n + 7) & ~(size_t)7;

    if (at + n > KEEP_MAX || m->n_ranges == RANGES_MAX) {
        m->full = true;
        return p;
    }
    memcpy(m->to + at, p, n);
    m->n = at + n;
    m->ranges[m->n_ranges].from = p;
    m->ranges[m->n_ranges].n = n;
    m->ranges[m->n_ranges++].at = at;
    return m->to + at;
}

static const void *gather(struct mover *m, const void *p, size_t n)
{
    if (!arena_owns(m->arena, p)) {
        return p;
    }
    for (unsigned i = 0; i < m->n_ranges; i++) {
        const size_t at = (uintptr_t)p - (uintptr_t)m->ranges[i].from;
        if (at <= m->ranges[i].n && n <= m->ranges[i].n - at) {
            return m->to + m->ranges[i].at + at;
        }
    }
    return append(m, p, n);
}

/* Does a word of what was gathered lead to what will not be there any more? */
static bool leads_astray(const struct mover *m)
{
    const uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    const uintptr_t *word = (const uintptr_t *)(const void *)m->to;

    for (size_t i = 0; i < m->n / sizeof(*word); i++) {
        const bool inside = word[i] - (uintptr_t)m->to < KEEP_MAX;
        const bool on_stack = word[i] - here < (uintptr_t)fiber_self() - here;
        if (on_stack || (!inside && arena_owns(m->arena, (const void *)word[i]))) {
            return true;
        }
    }
    return false;
}

static struct kept_req *pack(const struct mover *m)
{
    z_stream z = {.next_in = (unsigned char *)m->to, .avail_in = (unsigned)m->n};
    int rc = deflateInit2(&z, 1, Z_DEFLATED, WINDOW_BITS, MEM_LEVEL, Z_DEFAULT_STRATEGY);

    ASSERT(rc == Z_OK);
    z.avail_out = (unsigned)deflateBound(&z, m->n);
    unsigned char *out = arena_alloc_raw(m->arena, z.avail_out);
    z.next_out = out;
    rc = deflate(&z, Z_FINISH);
    ASSERT(rc == Z_STREAM_END);
    deflateEnd(&z);
    struct kept_req *k = mem_resize(NULL, sizeof(*k) + z.total_out);
    *k = (struct kept_req){
        .n = (uint32_t)m->n, .packed = (uint32_t)z.total_out, .base = (uintptr_t)m->to};
    memcpy(k->bytes, out, z.total_out);
    return k;
}

struct kept_req *req_keep(struct req *r)
{
    /* In the arena that is given up: so no address of it can be anything else later. */
    struct mover *m = ARENA_NEW(r->arena, struct mover);

    if (r->transport && r->transport->find_local) {
        r->transport->find_local(r);
    }
    m->move = gather;
    m->arena = r->arena;
    m->to = arena_alloc(r->arena, KEEP_MAX);
    struct req *copy = (struct req *)(uintptr_t)append(m, (const char *)r, sizeof(*r));
    move_all(m, copy);
    copy->arena = NULL;
    copy->headers.arena = copy->req_trailers.arena = NULL;
    copy->resp.headers.arena = copy->resp.trailers.arena = NULL;
    if (copy->uri_params != NULL) {
        copy->uri_params->arena = NULL;
    }
    copy->transport = NULL;
    copy->fiber = NULL;
    copy->plugin_ctx = NULL;
    copy->filter_results = NULL;
    copy->body_tree = NULL;
    copy->graphql = NULL;
    return m->full || leads_astray(m) ? NULL : pack(m);
}

/* ---- back ---- */

static const void *shift(struct mover *m, const void *p, size_t n)
{
    const size_t at = (uintptr_t)p - m->base;

    return at < m->n ? m->to + at : p;
}

struct req *req_unkeep(struct kept_req *k, struct arena *a)
{
    char *to = arena_alloc(a, k->n);
    unsigned long n = k->n;
    int rc = uncompress((unsigned char *)to, &n, k->bytes, k->packed);
    ASSERT(rc == Z_OK && n == k->n);
    struct mover m = {.move = shift, .arena = a, .to = to, .n = k->n, .base = k->base};
    struct req *r = (struct req *)(void *)to;

    free(k);
    move_all(&m, r);
    r->arena = a;
    r->fiber = fiber_self();
    return r;
}
