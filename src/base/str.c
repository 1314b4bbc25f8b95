/* SPDX-License-Identifier: Apache-2.0 */
/* str: comparing, searching and reading numbers out of slices. */
#include "base/str.h"

#include <stdlib.h>

/* Eight bytes with ASCII capitals made small; no carry leaves a byte. */
static inline uint64_t fold8(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101, high = 0x80 * ones;
    const uint64_t low7 = x & ~high;
    const uint64_t from_a = low7 + (0x80 - 'A') * ones, past_z = low7 + (0x7f - 'Z') * ones;
    const uint64_t capital = (from_a ^ past_z) & ~x & high;

    return x | capital >> 2;
}

static inline uint64_t load8(const char *p)
{
    uint64_t x;

    memcpy(&x, p, sizeof(x));
    return x;
}

/* Mostly they are spelled alike. */
static inline bool ieq8(const char *a, const char *b)
{
    const uint64_t x = load8(a), y = load8(b);

    return x == y || fold8(x) == fold8(y);
}

/* Words that overlap make one comparison of what is behind the last whole one. */
bool str_ieq(struct str a, struct str b)
{
    if (a.n != b.n) {
        return false;
    }
    if (a.n < 8) {
        for (size_t i = 0; i < a.n; i++) {
            if (ascii_lower(a.p[i]) != ascii_lower(b.p[i])) {
                return false;
            }
        }
        return true;
    }
    for (size_t i = 0; i + 8 < a.n; i += 8) {
        if (!ieq8(a.p + i, b.p + i)) {
            return false;
        }
    }
    return ieq8(a.p + a.n - 8, b.p + b.n - 8);
}

int str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;

    return order ? order : (a.n > b.n) - (a.n < b.n);
}

ptrdiff_t str_index(struct str s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
    return at ? at - s.p : -1;
}

ptrdiff_t str_rindex(struct str s, char c)
{
    const char *at = s.n ? memrchr(s.p, c, s.n) : NULL;
    return at ? at - s.p : -1;
}

ptrdiff_t str_find(struct str s, struct str needle)
{
    if (needle.n == 0) {
        return 0;
    }
    const char *at = s.n ? memmem(s.p, s.n, needle.p, needle.n) : NULL;
    return at ? at - s.p : -1;
}

struct str str_trim(struct str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s = str_skip(s, 1);
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) {
        s.n--;
    }
    return s;
}

bool str_split(struct str *rest, char sep, struct str *part)
{
    if (str_is_none(*rest)) {
        return false;
    }
    ptrdiff_t at = str_index(*rest, sep);
    if (at < 0) {
        *part = *rest;
        *rest = STR_NONE;
    } else {
        *part = str_head(*rest, (size_t)at);
        *rest = str_skip(*rest, (size_t)at + 1);
    }
    return true;
}

bool str_to_u64(struct str s, uint64_t *out)
{
    uint64_t v = 0;

    if (s.n == 0) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v)) {
            return false;
        }
    }
    *out = v;
    return true;
}

bool str_to_i64(struct str s, int64_t *out)
{
    bool minus = s.n > 0 && s.p[0] == '-';
    uint64_t v;

    if (!str_to_u64(str_skip(s, minus), &v) || v > (uint64_t)INT64_MAX + minus) {
        return false;
    }
    *out = (int64_t)(minus ? -v : v);
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c, bool hex)
{
    return (c >= '0' && c <= '9') || (hex && ascii_lower(c) >= 'a' && ascii_lower(c) <= 'f');
}

/* Digits from p on; the first byte that is none. */
static const char *skip_digits(const char *p, bool hex)
{
    while (is_digit(*p, hex)) {
        p++;
    }
    return p;
}

/*
 * Whether text is a number as a whole. strtod() alone would also take "inf", "nan" and what
 * stands before garbage.
 */
static bool is_number(const char *p)
{
    p += *p == '-' || *p == '+';
    bool hex = p[0] == '0' && ascii_lower(p[1]) == 'x';
    p += hex ? 2 : 0;

    const char *digits = p;
    p = skip_digits(p, hex);
    ptrdiff_t count = p - digits;
    if (*p == '.') {
        const char *fraction = ++p;
        p = skip_digits(p, hex);
        count += p - fraction;
    }
    if (count > 0 && ascii_lower(*p) == (hex ? 'p' : 'e')) {
        p++;
        p += *p == '-' || *p == '+';
        const char *exponent = p;
        p = skip_digits(p, false);
        count = p - exponent;
    }
    return count > 0 && *p == 0;
}

bool str_to_number(struct str s, double *out)
{
    char text[512];

    while (s.n > 0 && is_blank(s.p[0])) {
        s = str_skip(s, 1);
    }
    while (s.n > 0 && is_blank(s.p[s.n - 1])) {
        s.n--;
    }
    /* Nobody writes a number of 500 digits; a NUL inside must not end it early. */
    if (s.n == 0 || s.n >= sizeof(text) || str_index(s, 0) >= 0) {
        return false;
    }
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    if (!is_number(text)) {
        return false;
    }
    *out = strtod(text, NULL);
    return true;
}

bool str_eq_secret(struct str a, struct str b)
{
    unsigned char differ = a.n != b.n;

    for (size_t i = 0; i < a.n && b.n > 0; i++) {
        differ |= (unsigned char)(a.p[i] ^ b.p[i % b.n]);
    }
    /* Keeps the compiler from leaving the loop early once the answer is known. */
    __asm__ volatile("" : "+r"(differ));
    return differ == 0;
}
