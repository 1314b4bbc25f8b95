/* SPDX-License-Identifier: Apache-2.0 */
/* uri_text: percent-encoding (RFC 3986 2.1). */
#include "http/uri_text.h"

#include "http/req.h"

int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_unreserved(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

/* What nginx leaves alone in a path it writes: printable ASCII but what may not stand in a URI,
 * '%', '?' and '#'. */
static bool is_path_byte(unsigned char c)
{
    return c > 0x20 && c < 0x7f && strchr("%?#\"<>\\^`{|}", c) == NULL;
}

static struct str encode(struct arena *a, struct str s, bool (*keep)(unsigned char))
{
    static const char hex[] = "0123456789ABCDEF";
    size_t extra = 0;
    for (size_t i = 0; i < s.n; i++) {
        extra += keep((unsigned char)s.p[i]) ? 0 : 2;
    }
    if (extra == 0) {
        return s;
    }
    char *out = arena_bytes(a, s.n + extra), *o = out;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (keep(c)) {
            *o++ = (char)c;
        } else {
            *o++ = '%';
            *o++ = hex[c >> 4];
            *o++ = hex[c & 15];
        }
    }
    return str_of(out, (size_t)(o - out));
}

struct str uri_encode_path(struct arena *a, struct str s)
{
    return encode(a, s, is_path_byte);
}

struct str uri_encode_value(struct arena *a, struct str s)
{
    return encode(a, s, is_unreserved);
}

struct str uri_decode(struct arena *a, struct str s, bool plus)
{
    if (str_index(s, '%') < 0 && !(plus && str_index(s, '+') >= 0)) {
        return s;
    }
    char *out = arena_bytes(a, s.n), *o = out;
    for (size_t i = 0; i < s.n; i++) {
        int hi, lo;
        if (s.p[i] == '%' && i + 2 < s.n && (hi = hex_digit(s.p[i + 1])) >= 0 &&
            (lo = hex_digit(s.p[i + 2])) >= 0) {
            *o++ = (char)(hi * 16 + lo);
            i += 2;
        } else {
            *o++ = plus && s.p[i] == '+' ? ' ' : s.p[i];
        }
    }
    return str_of(out, (size_t)(o - out));
}
