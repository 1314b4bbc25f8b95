/* SPDX-License-Identifier: Apache-2.0 */
/* h1_write: heads and chunk sizes on their way out. Whatever a text's origin, it is checked here
 * again. */
#include "proto/h1.h"
#include "proto/h1_scan.h"
#include "proto/h1_vec.h"

/* Most of what a head is made of has 4 to 32 bytes: two overlapping copies of a fixed size do it
 * without a call. */
static inline char *put(char *out, struct str s)
{
    const char *p = s.p;
    const size_t n = s.n;

    if (n > 32 || n < 4) {
        for (size_t i = 0; n < 4 && i < n; i++) {
            out[i] = p[i];
        }
        if (n > 32) {
            memcpy(out, p, n);
        }
    } else if (n >= 16) {
        memcpy(out, p, 16);
        memcpy(out + n - 16, p + n - 16, 16);
    } else if (n >= 8) {
        memcpy(out, p, 8);
        memcpy(out + n - 8, p + n - 8, 8);
    } else {
        memcpy(out, p, 4);
        memcpy(out + n - 4, p + n - 4, 4);
    }
    return out + n;
}

/* Are all bytes of [p, end) in the class? They are in the room of a head: a few behind them may be
 * read. */
static inline __attribute__((always_inline)) bool is_clean(const char *p, const char *end,
                                                           v16 (*not_class)(v16 x))
{
    uint64_t bits = 0;

    for (; end - p > LANES; p += LANES) {
        bits |= v16_bits(not_class(v16_load(p)));
    }
    if (p < end) {
        bits |= v16_bits(not_class(v16_load(p))) << (64 - LANE_BITS * (end - p));
    }
    return bits == 0;
}

size_t h1_fields_room(const struct headers *h)
{
    size_t n = 0;

    for (unsigned i = 0; i < h->n; i++) {
        n += h1_field_room(h->v[i].name, h->v[i].value);
    }
    return n;
}

static inline char *put_line_end(char *p)
{
    memcpy(p, "\r\n", 2);
    return p + 2;
}

static inline char *put_value(struct h1_out *o, char *p, struct str value)
{
    char *end = put(p, value);

    o->bad |= !is_clean(p, end, v16_not_value);
    return put_line_end(end);
}

struct h1_out h1_out_request(char *out, struct str method, struct str target)
{
    struct h1_out o = {.start = out, .bad = !header_name_is_valid(method) || target.n == 0};
    char *p = put(out, method);

    *p++ = ' ';
    char *end = put(p, target);

    o.bad |= !is_clean(p, end, v16_not_target_high);
    memcpy(end, " HTTP/1.1\r\n", 11);
    o.p = end + 11;
    return o;
}

struct h1_out h1_out_response(char *out, unsigned minor, int status, struct str reason)
{
    struct h1_out o = {.start = out, .bad = minor > 1 || status < 100 || status > 999};

    memcpy(out, minor == 1 ? "HTTP/1.1 " : "HTTP/1.0 ", 9);
    out[9] = (char)('0' + status / 100);
    out[10] = (char)('0' + status / 10 % 10);
    out[11] = (char)('0' + status % 10);
    out[12] = ' ';
    o.p = put_value(&o, out + 13, reason);
    return o;
}

void h1_put_field(struct h1_out *o, enum header_id id, struct str value)
{
    char *p = put(o->p, header_spelling(id));

    memcpy(p, ": ", 2);
    o->p = put_value(o, p + 2, value);
}

/* A field as it was received leaves in one piece; a name that has an id is a token. */
static inline void put_header(struct h1_out *o, const struct header *f)
{
    if (f->received && f->value.p == f->name.p + f->name.n + 2) {
        o->p = put_line_end(put(o->p, str_of(f->name.p, f->name.n + 2 + f->value.n)));
        return;
    }
    o->bad |= f->id == H_OTHER && !header_name_is_valid(f->name);
    char *p = put(o->p, f->name);

    memcpy(p, ": ", 2);
    o->p = put_value(o, p + 2, f->value);
}

void h1_put_fields(struct h1_out *o, const struct headers *h, uint64_t drop)
{
    for (const struct header *f = h->v, *end = f + h->n; f < end; f++) {
        if (!(drop >> f->id & 1) && !f->listed) {
            put_header(o, f);
        }
    }
}

size_t h1_put_end(struct h1_out *o)
{
    o->p = put_line_end(o->p);
    return o->bad ? 0 : (size_t)(o->p - o->start);
}

size_t h1_response_head_room(struct str reason, const struct headers *h)
{
    return H1_LINE_ROOM + reason.n + h1_fields_room(h) + H1_END_ROOM;
}

size_t h1_write_response_head(char *out, unsigned minor, int status, struct str reason,
                              const struct headers *h)
{
    struct h1_out o = h1_out_response(out, minor, status, reason);

    h1_put_fields(&o, h, 0);
    return h1_put_end(&o);
}

size_t h1_chunk_head(char out[18], uint64_t n)
{
    const unsigned digits = n ? (unsigned)(67 - __builtin_clzll(n)) / 4 : 1;

    for (unsigned i = 0; i < digits; i++) {
        out[i] = "0123456789abcdef"[n >> 4 * (digits - 1 - i) & 15];
    }
    memcpy(out + digits, "\r\n", 2);
    return digits + 2;
}
