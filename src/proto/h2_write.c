/* SPDX-License-Identifier: Apache-2.0 */
/* h2_write: frames on their way out. */
#include "proto/h1_scan.h"
#include "proto/h2_priv.h"

#include <errno.h>

#define FIELDS_FEW 64 /* more do not fit on the stack */

/* ---- frames ---- */

void h2_write_frame_head(char *p, size_t n, uint8_t type, uint8_t flags, uint32_t id)
{
    p[0] = (char)(n >> 16);
    p[1] = (char)(n >> 8);
    p[2] = (char)n;
    p[3] = (char)type;
    p[4] = (char)flags;
    p[5] = (char)(id >> 24);
    p[6] = (char)(id >> 16);
    p[7] = (char)(id >> 8);
    p[8] = (char)id;
}

/* Room for n bytes; the caller adds what it has written to out.n. NULL: the peer is far behind, the
 * connection cannot go on. */
static char *reserve(struct h2_session *s, size_t n)
{
    if (s->out.p == NULL) {
        h2_start_out(s);
    }
    char *p = buf_reserve(&s->out, n);
    s->failed |= p == NULL;
    return p;
}

static void write_frame(struct h2_session *s, uint8_t type, uint8_t flags, uint32_t id,
                        const void *payload, size_t n)
{
    char *p = reserve(s, H2_FRAME_HEAD + n);
    if (p != NULL) {
        h2_write_frame_head(p, n, type, flags, id);
        memcpy(p + H2_FRAME_HEAD, payload, n);
        s->out.n += H2_FRAME_HEAD + n;
    }
}

static void put_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

void h2_write_u32_frame(struct h2_session *s, uint8_t type, uint32_t id, uint32_t value)
{
    uint8_t payload[4];
    put_u32(payload, value);
    write_frame(s, type, 0, id, payload, sizeof(payload));
}

void h2_write_ping(struct h2_session *s, const uint8_t data[8], bool ack)
{
    write_frame(s, F_PING, ack ? FLAG_ACK : 0, 0, data, 8);
}

void h2_write_goaway(struct h2_session *s, uint32_t last_id, enum h2_code code)
{
    uint8_t payload[8];
    put_u32(payload, last_id);
    put_u32(payload + 4, code);
    write_frame(s, F_GOAWAY, 0, 0, payload, sizeof(payload));
}

void h2_write_settings_ack(struct h2_session *s)
{
    write_frame(s, F_SETTINGS, FLAG_ACK, 0, "", 0);
}

void h2_write_settings(struct h2_session *s)
{
    const struct h2_limits *l = &s->limits;
    const struct {
        unsigned id;
        uint32_t value;
        bool said;
    } settings[] = {
        {SET_ENABLE_PUSH, 0, s->is_client},
        {SET_MAX_CONCURRENT_STREAMS, l->streams, !s->is_client},
        {SET_INITIAL_WINDOW_SIZE, l->stream_window, true},
        {SET_MAX_HEADER_LIST_SIZE, l->head->head_bytes, true},
        {SET_ENABLE_CONNECT_PROTOCOL, 1, !s->is_client && l->connect_protocol},
    };
    uint8_t payload[sizeof(settings) / sizeof(settings[0]) * 6];
    size_t n = 0;
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        if (settings[i].said) {
            payload[n] = 0;
            payload[n + 1] = (uint8_t)settings[i].id;
            put_u32(payload + n + 2, settings[i].value);
            n += 6;
        }
    }
    if (s->is_client) {
        memcpy(reserve(s, H2_PREFACE.n), H2_PREFACE.p, H2_PREFACE.n);
        s->out.n += H2_PREFACE.n;
    }
    write_frame(s, F_SETTINGS, 0, 0, payload, n);
    if (l->window > H2_WINDOW_START) {
        h2_write_u32_frame(s, F_WINDOW_UPDATE, 0, l->window - H2_WINDOW_START);
        s->recv_window = l->window;
    }
}

/* ---- header blocks ---- */

/* Fields on their way to HPACK. */
struct fields {
    nghttp2_nv *v;
    size_t n;
};

static void add(struct fields *f, struct str name, struct str value)
{
    f->v[f->n++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.p,
                                .value = (uint8_t *)(uintptr_t)(value.n ? value.p : ""),
                                .namelen = name.n,
                                .valuelen = value.n};
}

/* 8.2.2: what concerns a connection of HTTP/1.1 only, and what is said elsewhere. */
static bool is_left_out(const struct h2_session *s, const struct header *h)
{
    switch ((int)h->id) {
    case H_CONNECTION:
    case H_KEEP_ALIVE:
    case H_PROXY_CONNECTION:
    case H_TRANSFER_ENCODING:
    case H_UPGRADE:
    case H_HTTP2_SETTINGS:
    case H_CONTENT_LENGTH:
        return true;
    case H_HOST:
        return s->is_client;
    case H_TE:
        return !s->is_client || !str_ieq(h->value, STR("trailers"));
    default:
        return false;
    }
}

static bool has_capital(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] >= 'A' && s.p[i] <= 'Z') {
            return true;
        }
    }
    return false;
}

/* False: bytes that may not stand there. */
static bool add_headers(struct h2_session *s, struct h2_stream *st, struct fields *f,
                        const struct headers *h)
{
    for (unsigned i = 0; i < h->n; i++) {
        const struct header *one = &h->v[i];
        if (is_left_out(s, one)) {
            continue;
        }
        if (!header_value_is_valid(one->value) ||
            (one->id == H_OTHER && !header_name_is_valid(one->name))) {
            return false;
        }
        const struct str name = one->id != H_OTHER       ? header_name(one->id)
                                : has_capital(one->name) ? arena_lower(st->arena, one->name)
                                                         : one->name;
        add(f, name, str_trim(one->value));
    }
    return true;
}

/* One block, in CONTINUATION frames what does not fit in one: the pieces are moved apart from the
 * last to the first. */
static void spread(char *p, size_t n, uint8_t flags, uint32_t id)
{
    const size_t pieces = n == 0 ? 1 : (n + H2_FRAME_MAX - 1) / H2_FRAME_MAX;
    for (size_t i = pieces; i-- > 0;) {
        const size_t at = i * H2_FRAME_MAX, size = n - at < H2_FRAME_MAX ? n - at : H2_FRAME_MAX;
        char *to = p + i * (H2_FRAME_MAX + H2_FRAME_HEAD);
        memmove(to + H2_FRAME_HEAD, p + H2_FRAME_HEAD + at, size);
        h2_write_frame_head(
            to, size, i == 0 ? F_HEADERS : F_CONTINUATION,
            (uint8_t)((i == 0 ? flags : 0) | (i + 1 == pieces ? FLAG_END_HEADERS : 0)), id);
    }
}

static int write_block(struct h2_session *s, struct h2_stream *st, const struct fields *f,
                       bool last)
{
    const size_t most = nghttp2_hd_deflate_bound(s->deflater, f->v, f->n);
    char *p = reserve(s, most + (most / H2_FRAME_MAX + 2) * H2_FRAME_HEAD);
    if (p == NULL) {
        return -EINVAL;
    }
    const ssize_t n =
        nghttp2_hd_deflate_hd(s->deflater, (uint8_t *)p + H2_FRAME_HEAD, most, f->v, f->n);
    if (n < 0) {
        s->failed = true; /* the peer's table cannot be known any more */
        return -EINVAL;
    }
    spread(p, (size_t)n, last ? FLAG_END_STREAM : 0, st->id);
    const size_t pieces = n == 0 ? 1 : ((size_t)n + H2_FRAME_MAX - 1) / H2_FRAME_MAX;
    s->out.n += (size_t)n + pieces * H2_FRAME_HEAD;
    st->send_ended = last;
    h2_close_if_ended(s, st);
    return 0;
}

/* Room for the fields of h and as many pseudo fields as there may be. */
static nghttp2_nv *fields_room(struct h2_stream *st, const struct headers *h,
                               nghttp2_nv few[FIELDS_FEW])
{
    const unsigned n = h->n + 8;
    return n <= FIELDS_FEW ? few : arena_alloc_raw(st->arena, n * sizeof(nghttp2_nv));
}

int h2_send_response(struct h2_session *s, struct h2_stream *st, int status,
                     const struct headers *h, int64_t length, bool last)
{
    nghttp2_nv few[FIELDS_FEW];
    struct fields f = {fields_room(st, h, few), 0};
    if (!st->open || st->send_ended || s->failed) {
        return -EINVAL;
    }
    add(&f, STR(":status"), arena_u64(st->arena, (unsigned)status));
    if (!add_headers(s, st, &f, h)) {
        return -EINVAL;
    }
    if (length >= 0) {
        add(&f, STR("content-length"), arena_u64(st->arena, (uint64_t)length));
    }
    return write_block(s, st, &f, last);
}

int h2_send_trailers(struct h2_session *s, struct h2_stream *st, const struct headers *h)
{
    nghttp2_nv few[FIELDS_FEW];
    struct fields f = {fields_room(st, h, few), 0};
    if (!st->open || st->send_ended || s->failed || !add_headers(s, st, &f, h)) {
        return -EINVAL;
    }
    return write_block(s, st, &f, true);
}

/* What HPACK may carry need not be a request. */
static bool request_is_good(const struct h2_request *rq)
{
    return header_name_is_valid(rq->method) && header_name_is_valid(rq->scheme) &&
           (rq->protocol.n == 0 || header_name_is_valid(rq->protocol)) &&
           h1_scan_target_high(rq->path.p, rq->path.n) == rq->path.n &&
           h1_authority_is_valid(rq->authority);
}

int h2_send_request(struct h2_session *s, struct h2_stream *st, struct arena *arena,
                    const struct h2_request *rq)
{
    nghttp2_nv few[FIELDS_FEW];
    st->arena = arena;
    struct fields f = {fields_room(st, rq->headers, few), 0};
    if (s->failed || s->n_streams >= s->peer_streams || s->next_id > H2_WINDOW_MAX) {
        return -EAGAIN;
    }
    const struct str pseudo[][2] = {
        {STR(":method"), rq->method},       {STR(":scheme"), rq->scheme},
        {STR(":authority"), rq->authority}, {STR(":path"), rq->path},
        {STR(":protocol"), rq->protocol},
    };
    for (size_t i = 0; i < sizeof(pseudo) / sizeof(pseudo[0]); i++) {
        if (pseudo[i][1].n > 0) {
            add(&f, pseudo[i][0], pseudo[i][1]);
        }
    }
    if (!request_is_good(rq) || !add_headers(s, st, &f, rq->headers)) {
        return -EINVAL;
    }
    if (rq->length >= 0) {
        add(&f, STR("content-length"), arena_u64(arena, (uint64_t)rq->length));
    }
    st->asked = http_method_of(rq->method);
    h2_open(s, st, s->next_id, arena);
    s->next_id += 2;
    return write_block(s, st, &f, rq->last);
}

/* ---- bodies ---- */

/* A small message too may be answered by updates of both windows, a PING and SETTINGS: peers that
 * measure the path do that with each. */
#define EARNED_BY_DATA (4 * 256)

void h2_data_head(struct h2_session *s, struct h2_stream *st, char head[H2_FRAME_HEAD], size_t n,
                  bool last)
{
    h2_write_frame_head(head, n, F_DATA, last ? FLAG_END_STREAM : 0, st->id);
    s->send_window -= (int64_t)n;
    st->send_window -= (int64_t)n;
    st->send_ended = last;
    h2_moved(s, n > 0 && n < EARNED_BY_DATA ? EARNED_BY_DATA : n);
    h2_close_if_ended(s, st);
}

void h2_send_data(struct h2_session *s, struct h2_stream *st, struct str data, bool last)
{
    do {
        const struct str one = str_head(data, H2_FRAME_MAX);
        char *p = reserve(s, H2_FRAME_HEAD + one.n);
        if (p == NULL) {
            return;
        }
        data = str_skip(data, one.n);
        h2_data_head(s, st, p, one.n, last && data.n == 0);
        memcpy(p + H2_FRAME_HEAD, one.n ? one.p : "", one.n);
        s->out.n += H2_FRAME_HEAD + one.n;
    } while (data.n > 0);
}
