/* SPDX-License-Identifier: Apache-2.0 */
/* h1_write: heads and chunk sizes on their way out. Whatever a value's origin, it is checked here
 * again. */
#include "base/assert.h"
#include "proto/h1.h"
#include "proto/h1_scan.h"

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

static size_t fields_size(const struct headers *h)
{
    size_t n = 2;

    for (unsigned i = 0; i < h->n; i++) {
        n += h->v[i].name.n + h->v[i].value.n + 4;
    }
    return n;
}

/* The fields and the blank line; NULL when a name is not one. A name that has an id is a token; the
 * values are checked together, as written (is_clean). */
static char *put_fields(char *out, const struct headers *h)
{
    for (unsigned i = 0; i < h->n; i++) {
        const struct header *f = &h->v[i];

        if (f->id == H_OTHER && !header_name_is_valid(f->name)) {
            return NULL;
        }
        out = put(out, f->name);
        memcpy(out, ": ", 2);
        out = put(out + 2, f->value);
        memcpy(out, "\r\n", 2);
        out += 2;
    }
    return put(out, STR("\r\n"));
}

/* Have only our own line ends put control bytes into a head of this many lines (blank one
 * included)? */
static bool is_clean(const char *out, const char *end, unsigned lines)
{
    return h1_count_controls(out, (size_t)(end - out)) == 2 * (size_t)lines;
}

size_t h1_request_head_size(struct str method, struct str target, const struct headers *h)
{
    return method.n + target.n + sizeof("  HTTP/1.1\r\n") - 1 + fields_size(h);
}

size_t h1_write_request_head(char *out, struct str method, struct str target,
                             const struct headers *h)
{
    char *p = out;

    if (!header_name_is_valid(method) || target.n == 0 ||
        h1_scan_target_high(target.p, target.n) != target.n) {
        return 0;
    }
    p = put(p, method);
    p = put(p, STR(" "));
    p = put(p, target);
    p = put(p, STR(" HTTP/1.1\r\n"));
    p = put_fields(p, h);
    return p && is_clean(out, p, h->n + 2) ? (size_t)(p - out) : 0;
}

size_t h1_response_head_size(struct str reason, const struct headers *h)
{
    return reason.n + sizeof("HTTP/1.1 200 \r\n") - 1 + fields_size(h);
}

size_t h1_write_response_head(char *out, unsigned minor, int status, struct str reason,
                              const struct headers *h)
{
    char *p = out;

    if (minor > 1 || status < 100 || status > 999) {
        return 0;
    }
    p = put(p, minor == 1 ? STR("HTTP/1.1 ") : STR("HTTP/1.0 "));
    *p++ = (char)('0' + status / 100);
    *p++ = (char)('0' + status / 10 % 10);
    *p++ = (char)('0' + status % 10);
    *p++ = ' ';
    p = put(p, reason);
    p = put(p, STR("\r\n"));
    p = put_fields(p, h);
    return p && is_clean(out, p, h->n + 2) ? (size_t)(p - out) : 0;
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
