/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_whole: a head that is here to its end and spelled as nearly all are, read in one go.
 *
 * It takes nothing that the states of h1_head.c would not take, and with the same result. Whatever
 * else comes (a piece, an error, a rarity) it leaves to them, from the first byte on.
 */
#include "proto/h1_priv.h"
#include "proto/h1_scan.h"
#include "proto/headers_priv.h"

/* What is read: [p, end), which begins at base. */
struct text {
    const char *base, *end;
};

/* The bits of sixteen bytes at p that are not in the class; those behind the end are. Nothing is
 * read outside of the text, which has at least LANES bytes. */
static inline __attribute__((always_inline)) uint64_t bits_at(const struct text *t, const char *p,
                                                              v16 (*not_class)(v16 x))
{
    const size_t n = (size_t)(t->end - p);

    return n >= LANES ? v16_bits(not_class(v16_load(p)))
                      : v16_bits(not_class(v16_load(t->end - LANES))) >> (LANE_BITS * (LANES - n));
}

static inline const char *value_end(const struct text *t, const char *p)
{
    for (; p < t->end; p += LANES) {
        const uint64_t bits = bits_at(t, p, v16_not_value);

        if (bits != 0) {
            return p + v16_first(bits);
        }
    }
    return t->end;
}

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static const char *skip_blanks(const struct text *t, const char *p)
{
    while (p < t->end && is_blank(*p)) {
        p++;
    }
    return p;
}

static inline bool is_at(const struct text *t, const char *p, struct str s)
{
    return (size_t)(t->end - p) >= s.n && memcmp(p, s.p, s.n) == 0;
}

/* The fields with a meaning for framing, routing or the connection; see h1_read_field(). */
#define READ_FIELDS                                                                                \
    (H1_BIT(H_CONTENT_LENGTH) | H1_BIT(H_TRANSFER_ENCODING) | H1_BIT(H_HOST) | H1_BIT(H_EXPECT))

/* A name: its end, and its id. A long one, or one of other bytes than letters, digits and hyphens,
 * is looked up the slow way; `odd` says that it has such bytes. */
static inline const char *read_name(const struct text *t, const char *p, enum header_id *id,
                                    bool *odd)
{
    if (t->end - p >= LANES) {
        const v16 lanes = v16_load(p);
        const uint64_t bits = v16_bits(v16_not_common_token(lanes));
        const unsigned n = bits != 0 ? v16_first(bits) : 0;

        if (n > 0 && p[n] == ':') {
            *id = header_id_of_lanes(lanes, p, n);
            *odd = false;
            return p + n;
        }
    }
    const size_t n = h1_scan_token(p, (size_t)(t->end - p));

    *id = header_id_of(str_of(p, n));
    *odd = *id == H_OTHER;
    return p + n;
}

/* The fields and the blank line: behind it, NULL when they are not as usual. */
static const char *read_fields(struct h1_parser *p, const struct text *t, const char *at)
{
    struct headers *h = &p->head.headers;
    const unsigned max = p->limits->fields;

    while (at < t->end && *at != '\r') {
        enum header_id id;
        bool odd;
        const char *colon = read_name(t, at, &id, &odd), *value = colon + 1;

        if (colon == at || t->end - colon < (ptrdiff_t)sizeof(":\r\n") - 1 || *colon != ':' ||
            h->n == max) {
            return NULL;
        }
        const bool usual = *value == ' ' && !is_blank(value[1]);

        value = usual ? value + 1 : skip_blanks(t, value);
        const char *line_end = value_end(t, value), *end = line_end;

        if (!is_at(t, line_end, STR("\r\n"))) {
            return NULL;
        }
        while (end > value && is_blank(end[-1])) {
            end--;
        }
        const bool is_first = !headers_may_have(h, id);

        headers_append(h, id, str_of(at, (size_t)(colon - at)),
                       str_of(value, (size_t)(end - value)));
        h->v[h->n - 1].received = usual;
        if ((odd || (READ_FIELDS >> id & 1)) &&
            h1_read_field(&p->head, p->is_response, is_first) != H1_OK) {
            return NULL;
        }
        at = line_end + 2;
    }
    return is_at(t, at, STR("\r\n")) ? at + 2 : NULL;
}

/* "GET /path?query HTTP/1.1": behind its line end, or NULL. */
static const char *read_request_line(struct h1_parser *p, const struct text *t)
{
    struct h1_head *head = &p->head;
    const char *blank = t->base + h1_scan_token(t->base, (size_t)(t->end - t->base));
    const size_t room = (size_t)(t->end - blank);

    if (room < 2 || blank == t->base || blank[0] != ' ' || blank[1] != '/') {
        return NULL;
    }
    head->method = str_of(t->base, (size_t)(blank - t->base));
    head->method_id = http_method_of(head->method);
    const char *target = blank + 1;
    const size_t n = p->limits->high_bytes ? h1_scan_target_high(target, room - 1)
                                           : h1_scan_target(target, room - 1);

    head->target = str_of(target, n);
    if (!is_at(t, target + n, STR(" HTTP/1.1\r\n")) || h1_read_target(head) != H1_OK) {
        return NULL;
    }
    return target + n + sizeof(" HTTP/1.1\r\n") - 1;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK": behind its line end, or NULL. */
static const char *read_status_line(struct h1_parser *p, const struct text *t)
{
    const char *code = t->base + sizeof("HTTP/1.1 ") - 1;

    if (!is_at(t, t->base, STR("HTTP/1.1 ")) || t->end - code < 4 || code[0] < '1' ||
        code[0] > '5' || !is_digit(code[1]) || !is_digit(code[2]) || code[3] != ' ') {
        return NULL;
    }
    const char *reason = code + 4, *end = value_end(t, reason);

    p->head.status = (code[0] - '0') * 100 + (code[1] - '0') * 10 + (code[2] - '0');
    p->head.reason = str_of(reason, (size_t)(end - reason));
    return is_at(t, end, STR("\r\n")) ? end + 2 : NULL;
}

bool h1_parse_whole(struct h1_parser *p, struct str bytes)
{
    const unsigned line = p->limits->line_bytes, head = p->limits->head_bytes;
    const size_t limit = line < head ? line : head;
    const struct text t = {bytes.p, bytes.p + (bytes.n < limit ? bytes.n : limit)};

    if (t.end - t.base < LANES) {
        return false;
    }
    const char *at = p->is_response ? read_status_line(p, &t) : read_request_line(p, &t);

    p->head.minor = 1;
    at = at != NULL ? read_fields(p, &t, at) : NULL;
    if (at == NULL || h1_read_end(&p->head, p->is_response, p->limits->fields) != H1_OK) {
        return false;
    }
    p->base = t.base;
    p->head.bytes = (size_t)(at - t.base);
    return true;
}
