/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_fields: header blocks on their way in: HPACK, the pseudo fields, and what makes a message
 * malformed (RFC 9113 8.2, 8.3).
 *
 * A block is always decoded to its end, as its fields may change the table that later blocks refer
 * to; what is beyond a bound, or belongs to nobody, is not stored. Text goes from HPACK's table to
 * the stream's arena, once.
 */
#include "proto/h1_priv.h"
#include "proto/h1_scan.h"
#include "proto/h2_priv.h"

enum {
    P_METHOD = 1,
    P_SCHEME = 2,
    P_AUTHORITY = 4,
    P_PATH = 8,
    P_PROTOCOL = 16,
    P_STATUS = 32,
    P_OVER = 64 /* a regular field was seen */
};

#define FIELD_OVERHEAD 32 /* what RFC 9113 6.5.2 counts for a field beside its text */

void h2_block_start(struct h2_session *s, struct h2_stream *st, bool last)
{
    memset(&s->block, 0, sizeof(s->block));
    s->block.open = true;
    s->block.id = s->frame.id;
    s->block.last = last;
    s->block.stream = st;
    if (st == NULL) {
        return;
    }
    s->block.is_trailers = st->has_head;
    if (!st->has_head) {
        st->head = (struct h1_head){.minor = 1, .keepalive = true};
    }
    s->block.into = st->has_head ? &st->trailers : &st->head.headers;
    headers_init(s->block.into, st->arena, st->has_head ? 4 : 16);
}

/* ---- a field ---- */

static bool is_connection_specific(enum header_id id)
{
    return id == H_CONNECTION || id == H_KEEP_ALIVE || id == H_PROXY_CONNECTION ||
           id == H_TRANSFER_ENCODING || id == H_UPGRADE;
}

/* A token without capitals. */
static bool name_is_valid(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        if (!h1_is(name.p[i], H1_TOKEN) || (name.p[i] >= 'A' && name.p[i] <= 'Z')) {
            return false;
        }
    }
    return name.n > 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool value_is_valid(struct str v)
{
    return h1_scan_value(v.p, v.n) == v.n &&
           (v.n == 0 || (!is_blank(v.p[0]) && !is_blank(v.p[v.n - 1])));
}

static struct str keep(const struct h2_session *s, struct str text)
{
    char *p = arena_bytes(s->block.stream->arena, text.n);
    memcpy(p, text.p, text.n);
    return str_of(p, text.n);
}

/* 8.2.3: crumbs are one field in HTTP/1.1. The text has room to grow, so that many cost no more
 * than one. */
static void add_crumb(struct h2_session *s, struct str crumb)
{
    struct headers *h = s->block.into;
    if (s->block.cookie == 0) {
        headers_append(h, H_COOKIE, header_name(H_COOKIE), keep(s, crumb));
        s->block.cookie = h->n;
        s->block.cookie_room = crumb.n;
        return;
    }
    struct str *value = &h->v[s->block.cookie - 1].value;
    const size_t n = value->n + 2 + crumb.n;
    if (n > s->block.cookie_room) {
        s->block.cookie_room = n * 2;
        char *bigger = arena_bytes(s->block.stream->arena, n * 2);
        memcpy(bigger, value->p, value->n);
        value->p = bigger;
    }
    char *p = (char *)(uintptr_t)value->p;
    memcpy(p + value->n, "; ", 2);
    memcpy(p + value->n + 2, crumb.p, crumb.n);
    value->n = n;
}

/* What HTTP/1.1 checks of a field holds here as well. */
static bool field_is_good(struct h2_session *s, bool is_first)
{
    struct h2_stream *st = s->block.stream;
    switch (h1_read_field(&st->head, s->is_client, is_first)) {
    case H1_OK:
        return true;
    case H1_BAD_EXPECT:
        st->refuse = h1_error_status(H1_BAD_EXPECT);
        return true;
    default:
        return false;
    }
}

static bool on_regular(struct h2_session *s, struct str name, struct str value)
{
    const enum header_id id = header_id_of(name);
    s->block.seen |= P_OVER;
    if (id != H_OTHER ? !str_eq(name, header_name(id)) : !name_is_valid(name)) {
        return false;
    }
    if (is_connection_specific(id) || !value_is_valid(value) ||
        (id == H_TE && (s->is_client || !str_ieq(value, STR("trailers"))))) {
        return false;
    }
    if (s->block.is_trailers) {
        if (!h1_trailer_is_forbidden(name)) {
            headers_append(s->block.into, id, keep(s, name), keep(s, value));
        }
        return true;
    }
    if (id == H_COOKIE) {
        add_crumb(s, value);
        return true;
    }
    const bool is_first = !headers_may_have(s->block.into, id);
    headers_append(s->block.into, id, id != H_OTHER ? header_name(id) : keep(s, name),
                   keep(s, value));
    return field_is_good(s, is_first);
}

/* ---- pseudo fields ---- */

static bool read_status(struct h2_stream *st, struct str v)
{
    uint64_t n;
    if (v.n != 3 || !str_to_u64(v, &n) || n < 100 || n == 101) {
        return false;
    }
    st->head.status = (int)n;
    return true;
}

static bool read_method(struct h2_stream *st, struct str v)
{
    st->head.method = v;
    st->head.method_id = http_method_of(v);
    return header_name_is_valid(v);
}

static bool read_path(struct h2_session *s, struct str v)
{
    const struct h1_limits *limits = s->limits.head;
    const size_t good =
        limits->high_bytes ? h1_scan_target_high(v.p, v.n) : h1_scan_target(v.p, v.n);
    s->block.stream->head.target = v;
    if (v.n > limits->line_bytes) {
        s->block.stream->refuse = h1_error_status(H1_URI_TOO_LONG);
    }
    return v.n > 0 && good == v.n && (v.p[0] == '/' || str_eq(v, STR("*")));
}

static bool read_authority(struct h2_stream *st, struct str v)
{
    st->head.authority = v;
    st->head.host_repeated_in_target = true;
    return h1_authority_is_valid(v);
}

static bool read_scheme(struct h2_stream *st, struct str v)
{
    st->scheme = v;
    return str_ieq(v, STR("http")) || str_ieq(v, STR("https"));
}

static unsigned pseudo_bit(struct str name)
{
    static const struct {
        struct str name;
        unsigned bit;
    } fields[] = {
        {STR_INIT(":method"), P_METHOD},       {STR_INIT(":path"), P_PATH},
        {STR_INIT(":scheme"), P_SCHEME},       {STR_INIT(":status"), P_STATUS},
        {STR_INIT(":authority"), P_AUTHORITY}, {STR_INIT(":protocol"), P_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (str_eq(name, fields[i].name)) {
            return fields[i].bit;
        }
    }
    return 0;
}

static bool on_pseudo(struct h2_session *s, struct str name, struct str text)
{
    struct h2_stream *st = s->block.stream;
    const unsigned bit = pseudo_bit(name);
    if (bit == 0 || s->block.seen & (bit | P_OVER) || s->block.is_trailers ||
        (bit == P_STATUS) != s->is_client) {
        return false;
    }
    s->block.seen |= bit;
    const struct str v = keep(s, text);
    switch (bit) {
    case P_METHOD:
        return read_method(st, v);
    case P_PATH:
        return read_path(s, v);
    case P_SCHEME:
        return read_scheme(st, v);
    case P_AUTHORITY:
        return read_authority(st, v);
    case P_STATUS:
        return read_status(st, v);
    default:
        st->protocol = v;
        return s->limits.connect_protocol && header_name_is_valid(v);
    }
}

/* ---- a block ---- */

static void on_field(struct h2_session *s, struct str name, struct str value)
{
    struct h2_stream *st = s->block.stream;
    const struct h1_limits *limits = s->limits.head;
    s->block.fields++;
    s->block.size += name.n + value.n + FIELD_OVERHEAD;
    if (st == NULL || s->block.is_bad) {
        return;
    }
    if (s->block.fields > limits->fields || s->block.size > limits->head_bytes) {
        st->refuse = h1_error_status(H1_HEAD_TOO_LARGE);
        s->block.is_bad = s->is_client || s->block.is_trailers;
        return;
    }
    const bool is_pseudo = name.n > 0 && name.p[0] == ':';
    s->block.is_bad = is_pseudo ? !on_pseudo(s, name, value) : !on_regular(s, name, value);
}

bool h2_block_decode(struct h2_session *s, struct str bytes, bool final)
{
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        const ssize_t n = nghttp2_hd_inflate_hd2(s->inflater, &nv, &flags, (const uint8_t *)bytes.p,
                                                 bytes.n, final);
        if (n < 0) {
            return false;
        }
        bytes = str_skip(bytes, (size_t)n);
        if (flags & NGHTTP2_HD_INFLATE_EMIT) {
            on_field(s, str_of((const char *)nv.name, nv.namelen),
                     str_of((const char *)nv.value, nv.valuelen));
        } else if (flags & NGHTTP2_HD_INFLATE_FINAL) {
            return nghttp2_hd_inflate_end_headers(s->inflater) == 0;
        } else if (bytes.n == 0) {
            return true;
        }
    }
}

/* Whether there is a body, and how long it must be. */
static bool finish_framing(struct h2_session *s, bool has_none)
{
    struct h2_stream *st = s->block.stream;
    struct h1_head *head = &st->head;
    const bool said = head->framing == H1_LENGTH;
    if (has_none) {
        /* of the body that is left out */
        st->body_left = 0;
        head->framing = H1_NO_BODY;
        return true;
    }
    if (s->block.last) {
        return !said || head->content_length == 0;
    }
    st->body_left = said ? (int64_t)head->content_length : -1;
    /* A request of length nothing that goes on is to be awaited to its end, which may be a lie. */
    head->framing = said && (s->is_client || head->content_length > 0) ? H1_LENGTH : H1_CHUNKED;
    return true;
}

static bool finish_request(struct h2_session *s)
{
    struct h2_stream *st = s->block.stream;
    struct h1_head *head = &st->head;
    const unsigned seen = s->block.seen & (P_SCHEME | P_PATH), both = P_SCHEME | P_PATH;
    st->is_connect = s->block.seen & P_PROTOCOL;
    if (!(s->block.seen & P_METHOD) || (st->is_connect && head->method_id != M_CONNECT)) {
        return st->refuse != 0;
    }
    const bool is_plain_connect = head->method_id == M_CONNECT && !st->is_connect;
    if (is_plain_connect ? seen != 0 || !(s->block.seen & P_AUTHORITY) : seen != both) {
        return st->refuse != 0;
    }
    const enum http_method method = head->method_id;
    head->method_id = st->is_connect ? M_GET : method; /* its target is a path */
    head->target = is_plain_connect ? head->authority : head->target;
    if (h1_read_target(head) != H1_OK || head->authority.n == 0) {
        st->refuse = st->refuse ? st->refuse : 400;
    }
    head->method_id = method;
    head->expect_continue &= !s->block.last;
    return finish_framing(s, false);
}

static bool finish_response(struct h2_session *s)
{
    struct h2_stream *st = s->block.stream;
    const int status = st->head.status;
    if (!(s->block.seen & P_STATUS)) {
        return false;
    }
    if (status < 200) {
        return !s->block.last;
    }
    st->has_head = true;
    return finish_framing(s, st->asked == M_HEAD || status == 204 || status == 304);
}

bool h2_block_finish(struct h2_session *s)
{
    struct h2_stream *st = s->block.stream;
    if (s->block.is_bad) {
        return false;
    }
    if (s->block.is_trailers) {
        return s->block.last && st->body_left <= 0;
    }
    s->block.into->options_only = true; /* there is no Connection */
    if (s->is_client) {
        return finish_response(s);
    }
    st->has_head = finish_request(s);
    return st->has_head;
}
