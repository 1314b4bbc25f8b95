/* SPDX-License-Identifier: Apache-2.0 */
/* h2: a session, its streams, and what its peer may do for free. */
#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "proto/h2_priv.h"

#include <stdlib.h>

#define OUT_MAX (4U << 20) /* nothing comes near: owners stop at H2_OUT_HIGH */
#define OUT_START (16 << 10)
#define OUT_KEPT 64     /* buffers a thread keeps */
#define STREAMS_KEPT 16 /* room for so many stays with an idle connection */
#define REFILL_PER_SECOND 10

const char *h2_code_text(unsigned code)
{
    static const char *const texts[] = {
#define X(id) #id,
        H2_CODES(X)
#undef X
    };
    return code < sizeof(texts) / sizeof(texts[0]) ? texts[code] : "unknown code";
}

/* ---- buffers of this thread ---- */

static _Thread_local struct buf spare[OUT_KEPT];
static _Thread_local unsigned spares;

void h2_start_out(struct h2_session *s)
{
    s->out =
        spares > 0 ? spare[--spares] : (struct buf){.p = mem_alloc(OUT_START), .cap = OUT_START};
    s->out.max = OUT_MAX;
}

struct buf h2_take_out(struct h2_session *s)
{
    const struct buf b = s->out;
    s->out = (struct buf){.max = OUT_MAX};
    return b;
}

void h2_return_out(struct buf *b)
{
    if (b->cap != OUT_START || spares == OUT_KEPT) {
        buf_fini(b);
        return;
    }
    buf_reset(b);
    spare[spares++] = *b;
    *b = (struct buf){.p = NULL};
}

void h2_thread_fini(void)
{
    while (spares > 0) {
        buf_fini(&spare[--spares]);
    }
    h2_mem_fini();
}

/* ---- sessions ---- */

struct h2_session *h2_new(const struct h2_limits *limits, bool is_client)
{
    struct h2_session *s = calloc(1, sizeof(*s));
    ASSERT(s != NULL);
    s->is_client = is_client;
    s->limits = *limits;
    s->send_window = s->recv_window = s->peer_stream_window = H2_WINDOW_START;
    s->peer_streams = 100; /* until its SETTINGS say otherwise */
    s->next_id = 1;
    s->resets = (struct h2_bucket){limits->resets, limits->resets, now_ms()};
    s->control = (struct h2_bucket){limits->control_frames, limits->control_frames, now_ms()};
    s->frame.since = now_ms();
    int rc = nghttp2_hd_inflate_new2(&s->inflater, h2_mem());
    rc |= nghttp2_hd_deflate_new2(&s->deflater, H2_TABLE_BYTES, h2_mem());
    ASSERT(rc == 0);
    h2_write_settings(s);
    return s;
}

void h2_free(struct h2_session *s)
{
    nghttp2_hd_inflate_del(s->inflater);
    nghttp2_hd_deflate_del(s->deflater);
    buf_fini(&s->out);
    free(s->streams);
    free(s);
}

/* ---- streams ---- */

/* Where id is or would be. */
static unsigned place_of(const struct h2_session *s, uint32_t id)
{
    unsigned from = 0, to = s->n_streams;
    while (from < to) {
        const unsigned mid = (from + to) / 2;
        if (s->streams[mid]->id < id) {
            from = mid + 1;
        } else {
            to = mid;
        }
    }
    return from;
}

struct h2_stream *h2_find(const struct h2_session *s, uint32_t id)
{
    const unsigned i = place_of(s, id);
    return i < s->n_streams && s->streams[i]->id == id ? s->streams[i] : NULL;
}

void h2_open(struct h2_session *s, struct h2_stream *st, uint32_t id, struct arena *arena)
{
    if (s->n_streams == s->cap) {
        s->cap = s->cap ? s->cap * 2 : STREAMS_KEPT;
        s->streams = mem_resize(s->streams, s->cap * sizeof(*s->streams));
    }
    s->streams[s->n_streams++] = st; /* ids only grow */
    st->id = id;
    st->open = true;
    st->arena = arena;
    st->send_window = s->peer_stream_window;
    st->recv_window = s->limits.stream_window;
    st->body_left = -1;
}

void h2_remember(struct h2_session *s, uint32_t id, bool by_us)
{
    s->closed[s->closed_next].id = id;
    s->closed[s->closed_next].by_us = by_us;
    s->closed_next = (s->closed_next + 1) % H2_CLOSED;
}

void h2_forget(struct h2_session *s, struct h2_stream *st, bool by_us)
{
    const unsigned i = place_of(s, st->id);
    ASSERT(i < s->n_streams && s->streams[i] == st);
    memmove(s->streams + i, s->streams + i + 1, (--s->n_streams - i) * sizeof(*s->streams));
    if (s->n_streams == 0 && s->cap > STREAMS_KEPT) {
        free(s->streams);
        s->streams = NULL;
        s->cap = 0;
    }
    h2_remember(s, st->id, by_us);
    if (s->frame.stream == st) {
        s->frame.stream = NULL;
    }
    if (s->block.stream == st) {
        s->block.stream = NULL;
    }
    const uint32_t held = st->held;
    st->open = false;
    st->held = 0;
    h2_consumed(s, NULL, held);
}

void h2_close_if_ended(struct h2_session *s, struct h2_stream *st)
{
    if (!st->recv_ended || !st->send_ended || !st->open) {
        return;
    }
    s->resets.left += s->resets.left < s->resets.max;
    s->control.left = s->control.left + 4 < s->control.max ? s->control.left + 4 : s->control.max;
    h2_forget(s, st, false);
}

void h2_accept(struct h2_session *s, struct h2_stream *st, struct arena *arena)
{
    h2_open(s, st, s->frame.id, arena);
    s->frame.stream = st;
}

/* ---- what is free ---- */

bool h2_spend(struct h2_bucket *b)
{
    const int64_t more = (now_ms() - b->refilled_ms) * REFILL_PER_SECOND / 1000;
    if (more > 0) {
        b->left = b->left + more < b->max ? (uint32_t)(b->left + more) : b->max;
        b->refilled_ms = now_ms();
    }
    if (b->left == 0) {
        return false;
    }
    b->left--;
    return true;
}

void h2_moved(struct h2_session *s, size_t n)
{
    s->moved += (uint32_t)n;
    const uint32_t more = s->moved >> 8;
    s->moved &= 255;
    s->control.left =
        s->control.left + more < s->control.max ? s->control.left + more : s->control.max;
}

/* ---- errors ---- */

enum h2_event_type h2_fail(struct h2_session *s, struct h2_event *ev, enum h2_code code,
                           const char *reason)
{
    if (!s->failed) {
        h2_write_goaway(s, s->last_id, code);
        s->failed = s->going = true;
        s->reason = reason;
    }
    *ev = (struct h2_event){.type = H2_FAILED, .code = code};
    return H2_FAILED;
}

enum h2_event_type h2_stream_error(struct h2_session *s, struct h2_event *ev, uint32_t id,
                                   struct h2_stream *st, enum h2_code code)
{
    if (!h2_spend(&s->resets)) {
        return h2_fail(s, ev, H2_ENHANCE_YOUR_CALM, "too many streams had to be reset");
    }
    h2_write_u32_frame(s, F_RST_STREAM, id, code);
    if (st == NULL) {
        h2_remember(s, id, true);
        return H2_NONE;
    }
    h2_forget(s, st, true);
    *ev = (struct h2_event){.type = H2_RESET, .stream = st, .code = code, .ours = true};
    return H2_RESET;
}

/* ---- for the owner ---- */

void h2_reset(struct h2_session *s, struct h2_stream *st, enum h2_code code)
{
    if (!st->open) {
        return;
    }
    if (!s->failed) {
        h2_write_u32_frame(s, F_RST_STREAM, st->id, code);
    }
    h2_forget(s, st, true);
}

/* Tell the peer when half of a window is free again. */
static void give_credit(struct h2_session *s, uint32_t id, uint32_t *credit, int64_t *window,
                        size_t n, uint32_t whole)
{
    *credit += (uint32_t)n;
    if (*credit >= whole / 2 && !s->failed) {
        h2_write_u32_frame(s, F_WINDOW_UPDATE, id, *credit);
        *window += *credit;
        *credit = 0;
    }
}

void h2_consumed(struct h2_session *s, struct h2_stream *st, size_t n)
{
    if (n == 0 || (st != NULL && !st->open)) {
        return;
    }
    give_credit(s, 0, &s->credit, &s->recv_window, n, s->limits.window);
    if (st != NULL) {
        ASSERT(n <= st->held);
        st->held -= (uint32_t)n;
        if (!st->recv_ended) {
            give_credit(s, st->id, &st->credit, &st->recv_window, n, s->limits.stream_window);
        }
    }
}

size_t h2_room(const struct h2_session *s, const struct h2_stream *st, size_t n)
{
    const int64_t window = s->send_window < st->send_window ? s->send_window : st->send_window;
    return window <= 0 || !st->open ? 0 : (size_t)window < n ? (size_t)window : n;
}

void h2_goaway_soon(struct h2_session *s)
{
    h2_write_goaway(s, H2_WINDOW_MAX, H2_NO_ERROR);
}

void h2_goaway(struct h2_session *s, enum h2_code code)
{
    if (!s->going) {
        s->going = true;
        h2_write_goaway(s, s->last_id, code);
    }
}

void h2_ping(struct h2_session *s)
{
    static const uint8_t data[8] = "weir h2";
    h2_write_ping(s, data, false);
}
