/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one normal form of a path. The common path has nothing to do and is recognised 16 bytes at a
 * time; everything else goes through one pass that decodes, then looks at what was decoded ("%2e"
 * is a dot, "%2F" is a slash), and resolves dot segments whenever a segment ends.
 */
#include "route/uri.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Does this byte, followed by that one, need the slow pass? */
static inline bool pair_is_work(char c, char next)
{
    return c == '%' || (c == '/' && (next == '/' || next == '.'));
}

#ifdef __SSE2__
/* The same question about the 16 pairs that start at p: reads 17 bytes. */
static inline bool block_is_work(const char *p)
{
    const __m128i slash = _mm_set1_epi8('/'), dot = _mm_set1_epi8('.'),
                  percent = _mm_set1_epi8('%');
    __m128i here = _mm_loadu_si128((const __m128i *)p);
    __m128i next = _mm_loadu_si128((const __m128i *)(p + 1));
    __m128i bad =
        _mm_and_si128(_mm_cmpeq_epi8(here, slash),
                      _mm_or_si128(_mm_cmpeq_epi8(next, slash), _mm_cmpeq_epi8(next, dot)));

    return _mm_movemask_epi8(_mm_or_si128(bad, _mm_cmpeq_epi8(here, percent))) != 0;
}
#endif

/* Conservative: "/.well-known" is looked at closely though nothing will change. */
static bool is_normal(struct str s)
{
    size_t i = 0;

#ifdef __SSE2__
    for (; i + 17 <= s.n; i += 16) {
        if (block_is_work(s.p + i)) {
            return false;
        }
    }
    if (i > 0 && i < s.n) { /* the rest, together with bytes already seen */
        return !block_is_work(s.p + s.n - 17) && s.p[s.n - 1] != '%';
    }
#endif
    for (; i + 1 < s.n; i++) {
        if (pair_is_work(s.p[i], s.p[i + 1])) {
            return false;
        }
    }
    return s.n == 0 || s.p[s.n - 1] != '%';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that "%XY" at s.p[i] stands for, or -1. */
static int escape_value(struct str s, size_t i)
{
    if (i + 2 >= s.n) {
        return -1;
    }
    int hi = hex_digit(s.p[i + 1]), lo = hex_digit(s.p[i + 2]);

    return hi < 0 || lo < 0 ? -1 : hi << 4 | lo;
}

/*
 * A segment has ended; out[0..n) ends with it. When it is "." or "..", take it (and the one before)
 * away. The new length, always behind a slash then; 0 when it went above the root.
 */
static size_t resolve_dots(const char *out, size_t n)
{
    if (n >= 2 && out[n - 1] == '.' && out[n - 2] == '/') {
        return n - 1;
    }
    if (n < 3 || out[n - 1] != '.' || out[n - 2] != '.' || out[n - 3] != '/') {
        return n;
    }
    n -= 3; /* out[n] is the slash before the dots */
    while (n > 0 && out[n - 1] != '/') {
        n--;
    }
    return n;
}

static enum uri_result normalise_slowly(struct str raw, char *out, size_t *out_n)
{
    size_t n = 0;

    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i];

        if (c == '%') {
            int v = escape_value(raw, i);
            if (v <= 0) {
                return v < 0 ? URI_BAD_ESCAPE : URI_NUL;
            }
            c = (char)v;
            i += 2;
        }
        if (c == '/' && n > 0) {
            n = resolve_dots(out, n);
            if (n == 0) {
                return URI_ABOVE_ROOT;
            }
            if (out[n - 1] == '/') {
                continue;
            }
        }
        out[n++] = c;
    }
    n = resolve_dots(out, n);
    *out_n = n;
    return n == 0 ? URI_ABOVE_ROOT : URI_OK;
}

enum uri_result uri_normalise(struct arena *a, struct str raw, struct str *out)
{
    *out = raw;
    if (raw.n == 0 || raw.p[0] != '/' || is_normal(raw)) {
        return URI_OK;
    }
    char *p = arena_bytes(a, raw.n);
    size_t n = 0;
    enum uri_result r = normalise_slowly(raw, p, &n);

    *out = str_of(p, n);
    return r;
}

/* ---- like a servlet container ---- */

/* A segment that had parameters must not become something a container would read differently. */
static bool segment_is_bad(struct str seg, bool is_last)
{
    return str_eq(seg, STR(".")) || str_eq(seg, STR("..")) || str_ieq(seg, STR("%2e")) ||
           str_ieq(seg, STR("%2e%2e")) || (seg.n == 0 && !is_last);
}

bool uri_servlet(struct arena *a, struct str uri, struct str *out)
{
    *out = uri;
    if (str_index(uri, ';') < 0) {
        return true;
    }
    while (uri.n > 1 &&
           uri.p[uri.n - 1] == '/') { /* the reference loses trailing slashes here, and only here */
        uri.n--;
    }
    char *p = arena_bytes(a, uri.n);
    size_t n = 0;
    struct str rest = uri, seg;

    for (bool first = true; str_split(&rest, '/', &seg); first = false) {
        ptrdiff_t semi = str_index(seg, ';');

        if (semi >= 0) {
            seg.n = (size_t)semi;
            if (segment_is_bad(seg, str_is_none(rest))) {
                return false;
            }
        }
        if (!first) {
            p[n++] = '/';
        }
        memcpy(p + n, seg.p, seg.n);
        n += seg.n;
    }
    *out = str_of(p, n);
    return true;
}

/* ---- encoded slashes ---- */

static bool has_encoded_slash(struct str raw)
{
    for (size_t i = 0; i + 2 < raw.n; i++) {
        if (raw.p[i] == '%' && raw.p[i + 1] == '2' && (raw.p[i + 2] | 0x20) == 'f') {
            return true;
        }
    }
    return false;
}

struct str uri_keep_encoded_slash(struct arena *a, struct str raw, struct str uri)
{
    if (!has_encoded_slash(raw)) {
        return uri;
    }
    char *p = arena_bytes(a, raw.n);
    size_t n = 0, u = 0; /* written; bytes of uri seen to be equal */

    for (size_t i = 0; i < raw.n; i++) {
        int v = raw.p[i] == '%' ? escape_value(raw, i) : -1;
        char c = v < 0 ? raw.p[i] : (char)v;

        if (u >= uri.n || uri.p[u++] != c) {
            return uri;
        }
        if (v == '/') {
            memcpy(p + n, "%2F", 3);
            n += 3;
        } else {
            p[n++] = c;
        }
        i += v < 0 ? 0 : 2;
    }
    return u == uri.n ? str_of(p, n) : uri;
}

/* ---- host ---- */

/* Where the name ends in "name[:port]"; the colons in brackets belong to the name. */
static size_t host_end(struct str s)
{
    ptrdiff_t colon = str_index(s, ':');

    if (s.n > 0 && s.p[0] == '[') {
        ptrdiff_t close = str_index(s, ']');
        return close < 0 ? s.n : (size_t)close + 1;
    }
    return colon < 0 ? s.n : (size_t)colon;
}

struct str host_of(struct arena *a, struct str host_header, struct str *port)
{
    *port = STR_NONE;
    if (host_header.n == 0) {
        return STR_NONE;
    }
    size_t end = host_end(host_header);
    struct str host = str_head(host_header, end), tail = str_skip(host_header, end);

    *port = tail.n > 1 && tail.p[0] == ':' ? str_skip(tail, 1) : STR_NONE;
    if (host.n > 0 && host.p[host.n - 1] == '.') {
        host.n--;
    }
    if (host.n == 0) {
        return STR_NONE;
    }
    for (size_t i = 0; i < host.n; i++) {
        if (host.p[i] != ascii_lower(host.p[i])) {
            return arena_lower(a, host);
        }
    }
    return host;
}
