/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_read: frames on their way in (RFC 9113 4 to 6).
 *
 * A frame passes four stages, each of which may be cut anywhere: its head; a few bytes before the
 * payload proper (padding length, the fixed fields of small frames), gathered; the payload, passed
 * on as it comes; the padding, skipped. What is done at each stage is in one table, kinds[].
 */
#include "base/clock.h"
#include "proto/h2_priv.h"

enum stage { S_PREFACE, S_HEAD, S_PREFIX, S_PAYLOAD, S_PADDING };

/* Handlers say H2_NONE to go on. */
typedef enum h2_event_type handler(struct h2_session *s, struct h2_event *ev);

struct kind {
    int length; /* exactly; -1: any */
    bool on_stream, on_connection;
    bool may_be_idle; /* a stream nobody has opened yet */
    handler *begin;   /* the head is there */
    handler *prefix;  /* frame.need bytes are in frame.text */
    enum h2_event_type (*run)(struct h2_session *s, struct str bytes, struct h2_event *ev);
    handler *end; /* all of the payload was there */
};

static enum h2_event_type protocol_error(struct h2_session *s, struct h2_event *ev,
                                         const char *reason)
{
    return h2_fail(s, ev, H2_PROTOCOL_ERROR, reason);
}

static bool is_ours(const struct h2_session *s, uint32_t id)
{
    return (id & 1) == s->is_client;
}

static bool is_idle(const struct h2_session *s, uint32_t id)
{
    return is_ours(s, id) ? id >= s->next_id : id > s->last_id;
}

enum fate { FORGOTTEN, ENDED, RESET_BY_US };

static enum fate fate_of(const struct h2_session *s, uint32_t id)
{
    for (unsigned i = 0; i < H2_CLOSED; i++) {
        if (s->closed[i].id == id) {
            return s->closed[i].by_us ? RESET_BY_US : ENDED;
        }
    }
    return FORGOTTEN;
}

/* A frame that carries nothing; there may not be too many. */
static enum h2_event_type spend_control(struct h2_session *s, struct h2_event *ev)
{
    return h2_spend(&s->control)
               ? H2_NONE
               : h2_fail(s, ev, H2_ENHANCE_YOUR_CALM, "too many frames that carry nothing");
}

/* Padding is the first byte of the frame's prefix. */
static bool take_padding(struct h2_session *s)
{
    const bool padded = s->frame.flags & FLAG_PADDED;
    s->frame.pad = padded ? s->frame.text[0] : 0;
    if (s->frame.pad > s->frame.left) {
        return false;
    }
    s->frame.left -= s->frame.pad;
    return true;
}

/* ---- DATA (6.1) ---- */

static enum h2_event_type data_begin(struct h2_session *s, struct h2_event *ev)
{
    const uint32_t id = s->frame.id, n = s->frame.left;
    struct h2_stream *st = s->frame.stream = h2_find(s, id);
    s->frame.need = (s->frame.flags & FLAG_PADDED) != 0;
    if (n > s->recv_window) {
        return h2_fail(s, ev, H2_FLOW_CONTROL_ERROR, "more data than the connection's window");
    }
    s->recv_window -= n;
    if (st == NULL) {
        return fate_of(s, id) == RESET_BY_US ? H2_NONE /* it may not know yet */
                                             : h2_stream_error(s, ev, id, NULL, H2_STREAM_CLOSED);
    }
    if (st->recv_ended || !st->has_head) {
        return h2_stream_error(s, ev, id, st,
                               st->recv_ended ? H2_STREAM_CLOSED : H2_PROTOCOL_ERROR);
    }
    if (n > st->recv_window) {
        return h2_stream_error(s, ev, id, st, H2_FLOW_CONTROL_ERROR);
    }
    st->recv_window -= n;
    return H2_NONE;
}

/* Padding needs no memory: the peer may send as much again. */
static enum h2_event_type data_prefix(struct h2_session *s, struct h2_event *ev)
{
    if (!take_padding(s)) {
        return protocol_error(s, ev, "padding longer than its frame");
    }
    if (s->frame.left == 0 && !(s->frame.flags & FLAG_END_STREAM) && !h2_spend(&s->control)) {
        return h2_fail(s, ev, H2_ENHANCE_YOUR_CALM, "too many empty DATA frames");
    }
    const uint32_t overhead = s->frame.need + s->frame.pad;
    struct h2_stream *st = s->frame.stream;
    if (st != NULL) {
        st->held += overhead;
    }
    h2_consumed(s, st, overhead);
    return H2_NONE;
}

static enum h2_event_type data_run(struct h2_session *s, struct str bytes, struct h2_event *ev)
{
    struct h2_stream *st = s->frame.stream;
    if (st == NULL) {
        h2_consumed(s, NULL, bytes.n);
        return H2_NONE;
    }
    st->held += (uint32_t)bytes.n;
    h2_moved(s, bytes.n);
    if (st->body_left >= 0) {
        if (bytes.n > (uint64_t)st->body_left) {
            return h2_stream_error(s, ev, st->id, st, H2_PROTOCOL_ERROR);
        }
        st->body_left -= (int64_t)bytes.n;
    }
    *ev = (struct h2_event){.type = H2_DATA, .stream = st, .data = bytes};
    return H2_DATA;
}

static enum h2_event_type data_end(struct h2_session *s, struct h2_event *ev)
{
    struct h2_stream *st = s->frame.stream;
    if (st == NULL || !(s->frame.flags & FLAG_END_STREAM)) {
        return H2_NONE;
    }
    if (st->body_left > 0) {
        return h2_stream_error(s, ev, st->id, st, H2_PROTOCOL_ERROR);
    }
    st->recv_ended = true;
    *ev = (struct h2_event){.type = H2_DATA, .stream = st, .data = STR("")};
    h2_close_if_ended(s, st);
    return H2_DATA;
}

/* ---- HEADERS and CONTINUATION (6.2, 6.10) ---- */

/* The peer opens a stream: the owner has to take it, or the block is decoded for nothing. */
static enum h2_event_type begin_stream(struct h2_session *s, struct h2_event *ev)
{
    s->last_id = s->frame.id;
    if (s->going) {
        h2_remember(s, s->last_id, true); /* 6.8: the GOAWAY told it that nobody looks */
        return H2_NONE;
    }
    s->n_opened++;
    s->frame.is_new = true;
    if (s->n_streams >= s->limits.streams) {
        return H2_NONE;
    }
    *ev = (struct h2_event){.type = H2_OPEN};
    return H2_OPEN;
}

static enum h2_event_type headers_begin(struct h2_session *s, struct h2_event *ev)
{
    const uint32_t id = s->frame.id;
    struct h2_stream *st = s->frame.stream = h2_find(s, id);
    s->frame.need =
        (s->frame.flags & FLAG_PADDED ? 1 : 0) + (s->frame.flags & FLAG_PRIORITY ? 5 : 0);
    if (st != NULL) {
        return st->recv_ended ? h2_stream_error(s, ev, id, st, H2_STREAM_CLOSED) : H2_NONE;
    }
    if (!is_idle(s, id)) {
        switch (fate_of(s, id)) {
        case RESET_BY_US:
            return H2_NONE;
        case ENDED:
            return h2_fail(s, ev, H2_STREAM_CLOSED, "a head on a stream that has ended");
        case FORGOTTEN:
            break;
        }
        return protocol_error(s, ev, "a stream id below that of an older stream");
    }
    return begin_stream(s, ev);
}

/* A block may be larger than what it may mean, so that a large head gets its answer; but not by
 * much. */
static enum h2_event_type charge_block(struct h2_session *s, struct h2_event *ev)
{
    s->block.wire += s->frame.left;
    return s->block.wire > 2 * (size_t)s->limits.head->head_bytes
               ? h2_fail(s, ev, H2_ENHANCE_YOUR_CALM, "header block too large")
               : H2_NONE;
}

static enum h2_event_type headers_prefix(struct h2_session *s, struct h2_event *ev)
{
    const unsigned padded = (s->frame.flags & FLAG_PADDED) != 0;
    struct h2_stream *st = s->frame.stream;
    if (!take_padding(s)) {
        return protocol_error(s, ev, "padding longer than its frame");
    }
    h2_block_start(s, st, s->frame.flags & FLAG_END_STREAM);
    if (s->frame.flags & FLAG_PRIORITY &&
        (h2_u32(s->frame.text + padded) & H2_WINDOW_MAX) == s->frame.id) {
        s->block.is_bad = true; /* depends on itself */
    }
    if (charge_block(s, ev) == H2_FAILED) {
        return H2_FAILED;
    }
    return st == NULL && s->frame.is_new
               ? h2_stream_error(s, ev, s->frame.id, NULL, H2_REFUSED_STREAM)
               : H2_NONE;
}

static enum h2_event_type continuation_begin(struct h2_session *s, struct h2_event *ev)
{
    s->frame.need = 0;
    s->frame.stream = s->block.stream;
    return ++s->block.frames > H2_CONTINUATIONS
               ? h2_fail(s, ev, H2_ENHANCE_YOUR_CALM, "too many CONTINUATION frames")
               : charge_block(s, ev);
}

static enum h2_event_type compression_error(struct h2_session *s, struct h2_event *ev)
{
    return h2_fail(s, ev, H2_COMPRESSION_ERROR, "malformed header block");
}

static enum h2_event_type block_run(struct h2_session *s, struct str bytes, struct h2_event *ev)
{
    return h2_block_decode(s, bytes, false) ? H2_NONE : compression_error(s, ev);
}

static enum h2_event_type block_end(struct h2_session *s, struct h2_event *ev)
{
    if (!(s->frame.flags & FLAG_END_HEADERS)) {
        return H2_NONE;
    }
    s->block.open = false;
    if (!h2_block_decode(s, STR(""), true)) {
        return compression_error(s, ev);
    }
    struct h2_stream *st = s->block.stream;
    if (st == NULL) {
        return H2_NONE;
    }
    if (!h2_block_finish(s)) {
        return h2_stream_error(s, ev, st->id, st, H2_PROTOCOL_ERROR);
    }
    st->recv_ended = s->block.last;
    *ev = (struct h2_event){.type = s->block.is_trailers ? H2_TRAILERS : H2_HEAD, .stream = st};
    h2_close_if_ended(s, st);
    return ev->type;
}

/* ---- the small frames ---- */

static enum h2_event_type priority_begin(struct h2_session *s, struct h2_event *ev)
{
    s->frame.need = s->frame.left == 5 ? 5 : 0;
    if (spend_control(s, ev) == H2_FAILED) {
        return H2_FAILED;
    }
    return s->frame.need
               ? H2_NONE
               : h2_stream_error(s, ev, s->frame.id, h2_find(s, s->frame.id), H2_FRAME_SIZE_ERROR);
}

/* Priorities are not used (RFC 9113 5.3.2), only checked. */
static enum h2_event_type priority_prefix(struct h2_session *s, struct h2_event *ev)
{
    return s->frame.need == 5 && (h2_u32(s->frame.text) & H2_WINDOW_MAX) == s->frame.id
               ? h2_stream_error(s, ev, s->frame.id, h2_find(s, s->frame.id), H2_PROTOCOL_ERROR)
               : H2_NONE;
}

static enum h2_event_type small_begin(struct h2_session *s, struct h2_event *ev)
{
    s->frame.need = (uint8_t)s->frame.left;
    return spend_control(s, ev);
}

static enum h2_event_type rst_prefix(struct h2_session *s, struct h2_event *ev)
{
    struct h2_stream *st = h2_find(s, s->frame.id);
    if (st == NULL) {
        return H2_NONE;
    }
    if (!h2_spend(&s->resets)) {
        return h2_fail(s, ev, H2_ENHANCE_YOUR_CALM, "too many resets");
    }
    h2_forget(s, st, false);
    *ev = (struct h2_event){.type = H2_RESET, .stream = st, .code = h2_u32(s->frame.text)};
    return H2_RESET;
}

static enum h2_event_type settings_begin(struct h2_session *s, struct h2_event *ev)
{
    const uint32_t n = s->frame.left;
    s->frame.need = 0;
    if (s->frame.flags & FLAG_ACK) {
        return n == 0 ? spend_control(s, ev)
                      : h2_fail(s, ev, H2_FRAME_SIZE_ERROR, "SETTINGS that acknowledge with text");
    }
    if (n % 6 != 0) {
        return h2_fail(s, ev, H2_FRAME_SIZE_ERROR, "SETTINGS of odd length");
    }
    if (n > H2_SETTINGS_MAX * 6) {
        return h2_fail(s, ev, H2_ENHANCE_YOUR_CALM, "too many SETTINGS in one frame");
    }
    return spend_control(s, ev);
}

/* 6.9.2: what streams may send changes by the difference. */
static enum h2_event_type change_windows(struct h2_session *s, struct h2_event *ev, uint32_t value)
{
    if (value > H2_WINDOW_MAX) {
        return h2_fail(s, ev, H2_FLOW_CONTROL_ERROR, "initial window too large");
    }
    const int64_t by = (int64_t)value - s->peer_stream_window;
    s->peer_stream_window = value;
    for (unsigned i = 0; i < s->n_streams; i++) {
        s->streams[i]->send_window += by;
        if (s->streams[i]->send_window > H2_WINDOW_MAX) {
            return h2_fail(s, ev, H2_FLOW_CONTROL_ERROR, "window too large");
        }
    }
    s->frame.opens |= by > 0;
    return H2_NONE;
}

static enum h2_event_type apply_setting(struct h2_session *s, struct h2_event *ev, unsigned id,
                                        uint32_t value)
{
    switch (id) {
    case SET_HEADER_TABLE_SIZE:
        nghttp2_hd_deflate_change_table_size(s->deflater,
                                             value < H2_TABLE_BYTES ? value : H2_TABLE_BYTES);
        return H2_NONE;
    case SET_ENABLE_PUSH:
        return value > (s->is_client ? 0 : 1) ? protocol_error(s, ev, "bad ENABLE_PUSH") : H2_NONE;
    case SET_MAX_CONCURRENT_STREAMS:
        s->peer_streams = value;
        return H2_NONE;
    case SET_INITIAL_WINDOW_SIZE:
        return change_windows(s, ev, value);
    case SET_MAX_FRAME_SIZE:
        return value < H2_FRAME_MAX || value > 0xffffff
                   ? protocol_error(s, ev, "bad MAX_FRAME_SIZE")
                   : H2_NONE; /* ours are never larger than the least */
    case SET_ENABLE_CONNECT_PROTOCOL:
        s->peer_connect = s->is_client && value == 1;
        return value > 1 ? protocol_error(s, ev, "bad ENABLE_CONNECT_PROTOCOL") : H2_NONE;
    default:
        return H2_NONE;
    }
}

/* Entries are six bytes; they need not come whole. */
static enum h2_event_type settings_run(struct h2_session *s, struct str bytes, struct h2_event *ev)
{
    uint8_t *t = s->frame.text;
    for (size_t i = 0; i < bytes.n; i++) {
        t[s->frame.n++] = (uint8_t)bytes.p[i];
        if (s->frame.n < 6) {
            continue;
        }
        s->frame.n = 0;
        if (apply_setting(s, ev, (unsigned)t[0] << 8 | t[1], h2_u32(t + 2)) == H2_FAILED) {
            return H2_FAILED;
        }
    }
    return H2_NONE;
}

static enum h2_event_type settings_end(struct h2_session *s, struct h2_event *ev)
{
    if (s->frame.flags & FLAG_ACK) {
        return H2_NONE;
    }
    s->has_peer_settings = true;
    h2_write_settings_ack(s);
    if (!s->frame.opens) {
        return H2_NONE;
    }
    *ev = (struct h2_event){.type = H2_WINDOW};
    return H2_WINDOW;
}

static enum h2_event_type ping_prefix(struct h2_session *s, struct h2_event *ev)
{
    if (s->frame.flags & FLAG_ACK) {
        *ev = (struct h2_event){.type = H2_PONG};
        return H2_PONG;
    }
    h2_write_ping(s, s->frame.text, true);
    return H2_NONE;
}

static enum h2_event_type goaway_begin(struct h2_session *s, struct h2_event *ev)
{
    s->frame.need = 8;
    return s->frame.left < 8 ? h2_fail(s, ev, H2_FRAME_SIZE_ERROR, "short GOAWAY")
                             : spend_control(s, ev);
}

static enum h2_event_type goaway_prefix(struct h2_session *s, struct h2_event *ev)
{
    *ev = (struct h2_event){.type = H2_GOING,
                            .last_id = h2_u32(s->frame.text) & H2_WINDOW_MAX,
                            .code = h2_u32(s->frame.text + 4)};
    return H2_GOING;
}

static enum h2_event_type window_prefix(struct h2_session *s, struct h2_event *ev)
{
    const uint32_t by = h2_u32(s->frame.text) & H2_WINDOW_MAX;
    struct h2_stream *st = s->frame.id ? h2_find(s, s->frame.id) : NULL;
    if (s->frame.id != 0 && st == NULL) {
        return H2_NONE; /* it has just ended */
    }
    int64_t *window = st ? &st->send_window : &s->send_window;
    if (by == 0 || *window + by > H2_WINDOW_MAX) {
        const enum h2_code code = by ? H2_FLOW_CONTROL_ERROR : H2_PROTOCOL_ERROR;
        return st ? h2_stream_error(s, ev, st->id, st, code)
                  : h2_fail(s, ev, code, by ? "window too large" : "window update by nothing");
    }
    *window += by;
    *ev = (struct h2_event){.type = H2_WINDOW, .stream = st};
    return H2_WINDOW;
}

static enum h2_event_type push_begin(struct h2_session *s, struct h2_event *ev)
{
    return protocol_error(s, ev, "PUSH_PROMISE that nobody asked for");
}

static enum h2_event_type unknown_begin(struct h2_session *s, struct h2_event *ev)
{
    s->frame.need = 0;
    return spend_control(s, ev);
}

/* ---- frames ---- */

/* clang-format off */
static const struct kind kinds[F_KNOWN + 1] = {
    [F_DATA] = {-1, .on_stream = true, .begin = data_begin, .prefix = data_prefix, .run = data_run, .end = data_end},
    [F_HEADERS] = {-1, .on_stream = true, .may_be_idle = true, .begin = headers_begin, .prefix = headers_prefix, .run = block_run, .end = block_end},
    [F_PRIORITY] = {-1, .on_stream = true, .may_be_idle = true, .begin = priority_begin, .prefix = priority_prefix},
    [F_RST_STREAM] = {4, .on_stream = true, .begin = small_begin, .prefix = rst_prefix},
    [F_SETTINGS] = {-1, .on_connection = true, .begin = settings_begin, .run = settings_run, .end = settings_end},
    [F_PUSH_PROMISE] = {-1, .on_stream = true, .may_be_idle = true, .begin = push_begin},
    [F_PING] = {8, .on_connection = true, .begin = small_begin, .prefix = ping_prefix},
    [F_GOAWAY] = {-1, .on_connection = true, .begin = goaway_begin, .prefix = goaway_prefix},
    [F_WINDOW_UPDATE] = {4, .on_stream = true, .on_connection = true, .begin = small_begin, .prefix = window_prefix},
    [F_CONTINUATION] = {-1, .on_stream = true, .begin = continuation_begin, .run = block_run, .end = block_end},
    [F_KNOWN] = {-1, .on_stream = true, .on_connection = true, .may_be_idle = true, .begin = unknown_begin},
};
/* clang-format on */

static const struct kind *kind_of(const struct h2_session *s)
{
    return &kinds[s->frame.type < F_KNOWN ? s->frame.type : F_KNOWN];
}

/* The head of a frame is in frame.text. */
static enum h2_event_type begin_frame(struct h2_session *s, struct h2_event *ev)
{
    const uint8_t *t = s->frame.text;
    s->frame.left = h2_u32(t) >> 8;
    s->frame.type = t[3];
    s->frame.flags = t[4];
    s->frame.id = h2_u32(t + 5) & H2_WINDOW_MAX;
    s->frame.pad = 0;
    s->frame.stream = NULL;
    s->frame.is_new = s->frame.opens = false;
    const struct kind *k = kind_of(s);
    const uint32_t id = s->frame.id;
    if (!s->has_peer_settings && (s->frame.type != F_SETTINGS || s->frame.flags & FLAG_ACK)) {
        return protocol_error(s, ev, "the first frame is not SETTINGS");
    }
    if (s->frame.left > H2_FRAME_MAX) {
        return h2_fail(s, ev, H2_FRAME_SIZE_ERROR, "frame too large");
    }
    if (s->block.open != (s->frame.type == F_CONTINUATION) ||
        (s->block.open && id != s->block.id)) {
        return protocol_error(s, ev, "a header block that is not in one piece");
    }
    if (id == 0 ? !k->on_connection : !k->on_stream) {
        return protocol_error(s, ev, "a frame where it does not belong");
    }
    if (id != 0 && !k->may_be_idle && is_idle(s, id)) {
        return protocol_error(s, ev, "a frame of a stream that was never opened");
    }
    if (s->frame.type == F_HEADERS && is_idle(s, id) && (s->is_client || is_ours(s, id))) {
        return protocol_error(s, ev, "a stream the peer may not open");
    }
    if (k->length >= 0 && s->frame.left != (uint32_t)k->length) {
        return h2_fail(s, ev, H2_FRAME_SIZE_ERROR, "a frame of wrong length");
    }
    enum h2_event_type rc = k->begin(s, ev);
    if (rc != H2_FAILED && s->frame.need > s->frame.left) {
        return h2_fail(s, ev, H2_FRAME_SIZE_ERROR, "a frame too short for its fields");
    }
    return rc;
}

/* Gather up to n bytes in frame.text. */
static bool gather(struct h2_session *s, struct str *bytes, unsigned n)
{
    const struct str some = str_head(*bytes, n - s->frame.n);
    memcpy(s->frame.text + s->frame.n, some.n ? some.p : "", some.n);
    s->frame.n += (uint8_t)some.n;
    *bytes = str_skip(*bytes, some.n);
    return s->frame.n == n;
}

static enum h2_event_type read_preface(struct h2_session *s, struct str *bytes, struct h2_event *ev)
{
    const struct str want = str_skip(H2_PREFACE, s->frame.n), got = str_head(*bytes, want.n);
    if (!str_starts(want, got)) {
        return protocol_error(s, ev, "not the preface of HTTP/2");
    }
    s->frame.n += (uint8_t)got.n;
    *bytes = str_skip(*bytes, got.n);
    if (got.n == want.n) {
        s->frame.stage = S_HEAD;
        s->frame.n = 0;
    }
    return H2_NONE;
}

/* The payload that is there; all of it: the end of it. */
static enum h2_event_type read_payload(struct h2_session *s, struct str *bytes, struct h2_event *ev)
{
    const struct kind *k = kind_of(s);
    if (s->frame.left == 0) {
        s->frame.stage = S_PADDING;
        return k->end ? k->end(s, ev) : H2_NONE;
    }
    const struct str run = str_head(*bytes, s->frame.left);
    *bytes = str_skip(*bytes, run.n);
    s->frame.left -= (uint32_t)run.n;
    return run.n > 0 && k->run ? k->run(s, run, ev) : H2_NONE;
}

static void end_frame(struct h2_session *s)
{
    s->frame.stage = S_HEAD;
    s->frame.n = 0;
    s->frame.since = s->block.open ? s->frame.since : 0;
}

/* One step; stages without bytes of their own pass at once. */
static enum h2_event_type step(struct h2_session *s, struct str *bytes, struct h2_event *ev)
{
    switch ((enum stage)s->frame.stage) {
    case S_PREFACE:
        return read_preface(s, bytes, ev);
    case S_HEAD:
        if (!gather(s, bytes, H2_FRAME_HEAD)) {
            return H2_NONE;
        }
        s->frame.stage = S_PREFIX;
        s->frame.n = 0;
        return begin_frame(s, ev);
    case S_PREFIX:
        if (!gather(s, bytes, s->frame.need)) {
            return H2_NONE;
        }
        s->frame.stage = S_PAYLOAD;
        s->frame.n = 0;
        s->frame.left -= s->frame.need;
        return kind_of(s)->prefix ? kind_of(s)->prefix(s, ev) : H2_NONE;
    case S_PAYLOAD:
        return read_payload(s, bytes, ev);
    case S_PADDING: {
        const size_t n = bytes->n < s->frame.pad ? bytes->n : s->frame.pad;
        *bytes = str_skip(*bytes, n);
        s->frame.pad -= (uint8_t)n;
        if (s->frame.pad == 0) {
            end_frame(s);
        }
        return H2_NONE;
    }
    }
    return H2_NONE;
}

/* Is the next step possible with these bytes? */
static bool has_step(const struct h2_session *s, struct str bytes)
{
    return bytes.n > 0 || (s->frame.stage == S_PREFIX && s->frame.n == s->frame.need) ||
           (s->frame.stage == S_PAYLOAD && s->frame.left == 0) ||
           (s->frame.stage == S_PADDING && s->frame.pad == 0);
}

static bool is_pending(const struct h2_session *s)
{
    const bool between = s->frame.stage == S_HEAD && s->frame.n == 0;
    const bool in_data = s->frame.type == F_DATA && s->frame.stage >= S_PREFIX;
    return s->block.open || (!between && !in_data);
}

enum h2_event_type h2_read(struct h2_session *s, struct str *bytes, struct h2_event *ev)
{
    if (s->is_client && s->frame.stage == S_PREFACE) {
        s->frame.stage = S_HEAD;
    }
    if (s->failed) {
        return h2_fail(s, ev, H2_NO_ERROR, s->reason);
    }
    while (has_step(s, *bytes)) {
        const enum h2_event_type rc = step(s, bytes, ev);
        if (rc != H2_NONE) {
            return rc;
        }
    }
    if (is_pending(s) && s->frame.since == 0) {
        s->frame.since = now_ms();
    }
    *ev = (struct h2_event){.type = H2_NONE};
    return H2_NONE;
}

int64_t h2_pending_since(const struct h2_session *s)
{
    return is_pending(s) ? s->frame.since : 0;
}
