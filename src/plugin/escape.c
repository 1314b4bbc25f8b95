/* SPDX-License-Identifier: Apache-2.0 */
/* escape: percent-encoding of the few bytes that may not stand in a place. */
#include "plugin/escape.h"

static bool breaks_header(unsigned char c)
{
    return (c < 0x20 && c != '\t') || c == 0x7f;
}

static bool breaks_uri(unsigned char c)
{
    return c <= 0x20 || c >= 0x7f || c == '"' || c == '<' || c == '>';
}

static bool breaks_target(unsigned char c)
{
    return breaks_uri(c) || c == '#';
}

static struct str escape(struct arena *a, struct str s, bool (*breaks)(unsigned char))
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        n += breaks((unsigned char)s.p[i]);
    }
    if (n == 0) {
        return s;
    }
    char *out = arena_bytes(a, s.n + 2 * n), *o = out;
    for (size_t i = 0; i < s.n; i++) {
        const unsigned char c = (unsigned char)s.p[i];
        if (breaks(c)) {
            *o++ = '%';
            *o++ = hex[c >> 4];
            *o++ = hex[c & 15];
        } else {
            *o++ = (char)c;
        }
    }
    return str_of(out, (size_t)(o - out));
}

struct str escape_header_value(struct arena *a, struct str s)
{
    return escape(a, s, breaks_header);
}

struct str escape_uri(struct arena *a, struct str s)
{
    return escape(a, s, breaks_uri);
}

struct str escape_target(struct arena *a, struct str s)
{
    return escape(a, s, breaks_target);
}
