/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * h2_run: bytes of HTTP/2 into a session, and what it makes of them as text, for tests and fuzzing:
 * a line an event, then a line a frame that it answers with (less SETTINGS and credit). The text
 * does not depend on how the bytes are cut.
 */
#include "base/clock.h"
#include "proto/h2.h"

#include <stdio.h>
#include <stdlib.h>

#define RUN_STREAMS 256

struct h2_run {
    struct arena *arena;
    struct h2_session *s;
    struct run_stream {
        struct h2_stream s;
        char *body;
        size_t n, cap;
    } streams[RUN_STREAMS];
    unsigned n;
    struct buf text;
    bool keep_bodies; /* nothing is consumed */
};

static const struct h1_limits run_heads = {.head_bytes = 65536, .line_bytes = 16384, .fields = 200};
static const struct h2_limits run_limits = {.head = &run_heads,
                                            .streams = 100,
                                            .stream_window = 65536,
                                            .window = 1 << 20,
                                            .resets = 200,
                                            .control_frames = 1000};

static inline struct h2_run *run_new(const struct h2_limits *limits, bool is_client)
{
    struct h2_run *r = calloc(1, sizeof(*r));
    clock_tick();
    r->arena = arena_new(4096);
    r->s = h2_new(limits, is_client);
    r->text.max = 1 << 24;
    return r;
}

static inline void run_free(struct h2_run *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        free(r->streams[i].body);
    }
    h2_free(r->s);
    buf_fini(&r->text);
    arena_free(r->arena);
    h2_thread_fini();
    free(r);
}

static inline void run_body(struct h2_run *r, struct run_stream *q, struct str data)
{
    if (q->n + data.n > q->cap) {
        q->cap = (q->n + data.n) * 2;
        q->body = realloc(q->body, q->cap);
    }
    if (data.n > 0) {
        memcpy(q->body + q->n, data.p, data.n);
    }
    q->n += data.n;
    if (!r->keep_bodies) {
        h2_consumed(r->s, &q->s, data.n);
    }
}

static inline void run_headers(struct h2_run *r, const struct headers *h)
{
    for (unsigned i = 0; i < h->n; i++) {
        buf_printf(&r->text, " %.*s=%.*s", STR_ARG(h->v[i].name), STR_ARG(h->v[i].value));
    }
}

static inline void run_head(struct h2_run *r, const struct h2_stream *st)
{
    const struct h1_head *h = &st->head;
    if (r->s->is_client) {
        buf_printf(&r->text, "head %u %d", st->id, h->status);
    } else if (st->refuse) {
        buf_printf(&r->text, "head %u refuse %d\n", st->id, st->refuse);
        return;
    } else {
        buf_printf(&r->text, "head %u %.*s %.*s %.*s", st->id, STR_ARG(h->method),
                   STR_ARG(h->path_query), STR_ARG(h->authority));
    }
    run_headers(r, &h->headers);
    buf_printf(&r->text, "\n");
}

static inline void run_event(struct h2_run *r, const struct h2_event *ev)
{
    struct run_stream *q = (struct run_stream *)(void *)ev->stream;
    const uint32_t id = q ? q->s.id : 0;
    switch (ev->type) {
    case H2_OPEN:
        if (r->n < RUN_STREAMS) {
            h2_accept(r->s, &r->streams[r->n++].s, r->arena);
        }
        break;
    case H2_HEAD:
        run_head(r, &q->s);
        break;
    case H2_DATA:
        run_body(r, q, ev->data);
        break;
    case H2_TRAILERS:
        buf_printf(&r->text, "trailers %u", id);
        run_headers(r, &q->s.trailers);
        buf_printf(&r->text, "\n");
        break;
    case H2_RESET:
        buf_printf(&r->text, "reset %u %s%s\n", id, h2_code_text(ev->code),
                   ev->ours ? " by us" : "");
        break;
    case H2_WINDOW:
        buf_printf(&r->text, "window %u\n", id);
        break;
    case H2_PONG:
        buf_printf(&r->text, "pong\n");
        break;
    case H2_GOING:
        buf_printf(&r->text, "going %u %s\n", ev->last_id, h2_code_text(ev->code));
        break;
    case H2_FAILED:
        buf_printf(&r->text, "failed %s\n", h2_code_text(ev->code));
        break;
    case H2_NONE:
        break;
    }
    if (q && q->s.recv_ended && ev->type != H2_RESET) {
        buf_printf(&r->text, "end %u %zu\n", id, q->n);
    }
}

/* Feed, at most `step` bytes at once. */
static inline void run_feed(struct h2_run *r, struct str bytes, size_t step)
{
    while (bytes.n > 0 && !r->s->failed) {
        struct h2_event ev;
        struct str some = str_head(bytes, step);
        bytes = str_skip(bytes, some.n);
        while (!r->s->failed && h2_read(r->s, &some, &ev) != H2_NONE) {
            run_event(r, &ev);
        }
    }
}

/* What it says, frame by frame; out is empty then. */
static inline void run_say(struct h2_run *r)
{
    static const char *const names[] = {
        "DATA",         "HEADERS", "PRIORITY", "RST",           "",
        "PUSH_PROMISE", "PING",    "GOAWAY",   "WINDOW_UPDATE", "CONTINUATION"};
    struct buf out = h2_take_out(r->s);
    for (size_t at = 0; at + H2_FRAME_HEAD <= out.n;) {
        const uint8_t *p = (const uint8_t *)out.p + at;
        const size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        const unsigned id = (unsigned)p[7] << 8 | p[8];
        if (p[3] == 3) {
            buf_printf(&r->text, "> RST %u %s\n", id, h2_code_text(p[12]));
        } else if (p[3] == 7) {
            buf_printf(&r->text, "> GOAWAY %u %s\n", (unsigned)p[11] << 8 | p[12],
                       h2_code_text(p[16]));
        } else if (p[3] != 4 && p[3] != 8) {
            buf_printf(&r->text, "> %s %u %zu\n", p[3] < 10 ? names[p[3]] : "?", id, n);
        }
        at += H2_FRAME_HEAD + n;
    }
    h2_return_out(&out);
}

/* ---- bytes for it ---- */

static inline void put_frame(struct buf *b, unsigned type, unsigned flags, uint32_t id,
                             struct str payload)
{
    const size_t n = payload.n;
    const char head[9] = {(char)(n >> 16),  (char)(n >> 8),  (char)n,
                          (char)type,       (char)flags,     (char)(id >> 24),
                          (char)(id >> 16), (char)(id >> 8), (char)id};
    buf_add(b, str_of(head, 9));
    buf_add(b, payload);
}

/* A literal without indexing: texts shorter than 127 bytes, or any with a length in two parts. */
static inline void put_text(struct buf *b, struct str s)
{
    if (s.n < 127) {
        buf_addc(b, (char)s.n);
    } else {
        size_t rest = s.n - 127;
        buf_addc(b, 127);
        for (; rest >= 128; rest >>= 7) {
            buf_addc(b, (char)(128 | (rest & 127)));
        }
        buf_addc(b, (char)rest);
    }
    buf_add(b, s);
}

static inline void put_field(struct buf *b, struct str name, struct str value)
{
    buf_addc(b, 0);
    put_text(b, name);
    put_text(b, value);
}

static inline void put_get(struct buf *b)
{
    put_field(b, STR(":method"), STR("GET"));
    put_field(b, STR(":scheme"), STR("http"));
    put_field(b, STR(":path"), STR("/"));
    put_field(b, STR(":authority"), STR("a.test"));
}

/* Preface and SETTINGS of a client. */
static inline void put_start(struct buf *b)
{
    buf_add(b, H2_PREFACE);
    put_frame(b, 4, 0, 0, STR(""));
}
