/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * h1_run: parse one message in every way its bytes can be cut, and say what came out as one line of
 * text.
 *
 * Every feed gets its own copy of exact size, so that a slice left pointing into an earlier buffer,
 * or a read past the end, shows under AddressSanitizer.
 */
#include "proto/h1.h"
#include "t.h"

static const struct h1_limits h1_run_limits = {
    .head_bytes = 65536, .line_bytes = 16384, .fields = 200};

static const char *const h1_error_names[] = {"OK",
#define X(id, status, text) #id,
                                             H1_ERRORS(X)
#undef X
};

struct h1_run {
    struct arena *arena;
    struct h1_parser parser;
    char *copy; /* what was fed last */
    int rc;
};

static inline void run_feed(struct h1_run *r, struct str bytes)
{
    char *copy = malloc(bytes.n ? bytes.n : 1);

    memcpy(copy, bytes.p, bytes.n);
    free(r->copy);
    r->copy = copy;
    r->rc = h1_parse(&r->parser, str_of(copy, bytes.n));
}

static inline void run_begin(struct h1_run *r, const struct h1_limits *limits, bool is_response)
{
    *r = (struct h1_run){.arena = arena_new(4096)};
    h1_parse_init(&r->parser, r->arena, limits, is_response);
}

static inline void run_end(struct h1_run *r)
{
    free(r->copy);
    arena_free(r->arena);
}

/* A request head of these in memory of malloc; *n: its bytes, 0 when it was refused. */
static inline char *run_write_request(struct str method, struct str target, const struct headers *h,
                                      size_t *n)
{
    const size_t room = H1_LINE_ROOM + method.n + target.n + h1_fields_room(h) + H1_END_ROOM;
    char *out = malloc(room);
    struct h1_out o = h1_out_request(out, method, target);

    h1_put_fields(&o, h, 0);
    *n = h1_put_end(&o);
    return out;
}

/* Everything a caller may read of the outcome. */
static inline struct str run_text(struct h1_run *r, struct arena *a)
{
    static const char *const framings[] = {"none", "length", "chunked", "to-close", "tunnel"};
    const struct h1_head *h = &r->parser.head;

    if (r->rc == 0) {
        return STR("MORE");
    }
    if (r->rc < 0) {
        return str_c(h1_error_names[r->parser.error]);
    }
    struct str s =
        arena_printf(a, "%.*s %.*s %.*s %.*s %d%d %d %.*s 1.%u%s%s%s %s %llu %zu",
                     STR_ARG(h->method), STR_ARG(h->target), STR_ARG(h->authority),
                     STR_ARG(h->path_query), (int)h->method_id, h->host_repeated_in_target,
                     h->status, STR_ARG(h->reason), h->minor, h->keepalive ? " keepalive" : "",
                     h->expect_continue ? " expect" : "", h->upgrade ? " upgrade" : "",
                     framings[h->framing], (unsigned long long)h->content_length, h->bytes);

    for (unsigned i = 0; i < h->headers.n; i++) {
        const struct header *f = &h->headers.v[i];

        s = arena_printf(a, "%.*s\n%d %.*s=%.*s", STR_ARG(s), (int)f->id, STR_ARG(f->name),
                         STR_ARG(f->value));
    }
    return s;
}

/* The outcome of feeding the first `cut` bytes, then all; with cut 0 all at once; with cut >
 * bytes.n one at a time. */
static inline struct str run_cut(struct arena *a, const struct h1_limits *limits, bool is_response,
                                 struct str bytes, size_t cut)
{
    struct h1_run r;

    run_begin(&r, limits, is_response);
    if (cut > bytes.n) {
        for (size_t n = 1; n < bytes.n && r.rc == 0; n++) {
            run_feed(&r, str_head(bytes, n));
        }
    } else if (cut > 0) {
        run_feed(&r, str_head(bytes, cut));
    }
    if (r.rc == 0) {
        run_feed(&r, bytes);
    }
    const struct str text = run_text(&r, a);

    run_end(&r);
    return text;
}

/* Parse in every way (long messages: at sampled points); the one outcome, or "DIFFERS" with the
 * cut. */
static inline struct str run_all(struct arena *a, const struct h1_limits *limits, bool is_response,
                                 struct str bytes)
{
    const struct str whole = run_cut(a, limits, is_response, bytes, 0);
    const size_t stride = bytes.n > 2000 ? bytes.n / 40 : 1;

    for (size_t cut = 1; cut < bytes.n; cut += stride) {
        const struct str other = run_cut(a, limits, is_response, bytes, cut);

        if (!str_eq(whole, other)) {
            return arena_printf(a, "DIFFERS at %zu: %.*s / %.*s", cut, STR_ARG(whole),
                                STR_ARG(other));
        }
    }
    if (bytes.n <= 20000) {
        const struct str other = run_cut(a, limits, is_response, bytes, SIZE_MAX);

        if (!str_eq(whole, other)) {
            return arena_printf(a, "DIFFERS byte by byte: %.*s / %.*s", STR_ARG(whole),
                                STR_ARG(other));
        }
    }
    return whole;
}

/* What matters most of a request, or the error: "path_query authority 1.1 keepalive length 5". */
static inline struct str run_request(struct arena *a, const struct h1_limits *limits,
                                     struct str bytes)
{
    static const char *const framings[] = {"none", "length", "chunked", "to-close", "tunnel"};
    const struct str full = run_all(a, limits, false, bytes);
    struct h1_run r;

    if (str_starts(full, STR("DIFFERS"))) {
        return full;
    }
    run_begin(&r, limits, false);
    run_feed(&r, bytes);
    const struct h1_head *h = &r.parser.head;
    struct str s = full;

    if (r.rc == 1) {
        s = arena_printf(a, "%.*s %.*s 1.%u %s%s%s%s", STR_ARG(h->path_query),
                         STR_ARG(h->authority), h->minor, h->keepalive ? "keepalive" : "close",
                         h->expect_continue ? " expect" : "", h->upgrade ? " upgrade" : "",
                         h->host_repeated_in_target ? " absolute" : "");
        if (h->framing != H1_NO_BODY) {
            s = arena_printf(a, "%.*s %s", STR_ARG(s), framings[h->framing]);
        }
        if (h->framing == H1_LENGTH) {
            s = arena_printf(a, "%.*s %llu", STR_ARG(s), (unsigned long long)h->content_length);
        }
        if (h->bytes != bytes.n) {
            s = arena_printf(a, "%.*s and %zu more", STR_ARG(s), bytes.n - h->bytes);
        }
    }
    run_end(&r);
    return s;
}
