/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * str: a slice of bytes that somebody else owns. Passed by value, never NUL-terminated.
 *
 * A slice is valid as long as the memory it points into: say which arena or buffer that is
 * wherever a slice is stored. All functions are pure and may be called from any thread.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

/* A slice of a string literal. */
#define STR(lit) ((struct str){"" lit, sizeof(lit) - 1})
/* The same where the compiler wants a constant initialiser. */
#define STR_INIT(lit)                                                                              \
    {                                                                                              \
        "" lit, sizeof(lit) - 1                                                                    \
    }
/* For printf: printf("%.*s", STR_ARG(s)). */
#define STR_ARG(s) (int)(s).n, (s).p
/* The absent string: p is NULL. An empty string that is present has a non-NULL p. */
#define STR_NONE ((struct str){NULL, 0})

static inline struct str str_c(const char *c)
{
    return (struct str){c, c ? strlen(c) : 0};
}

static inline struct str str_of(const char *p, size_t n)
{
    return (struct str){p, n};
}

static inline bool str_is_none(struct str s)
{
    return s.p == NULL;
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

static inline bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

/* s without its first n bytes; n is clamped. */
static inline struct str str_skip(struct str s, size_t n)
{
    return n < s.n ? (struct str){s.p + n, s.n - n} : (struct str){s.p + s.n, 0};
}

/* The first n bytes of s; n is clamped. */
static inline struct str str_head(struct str s, size_t n)
{
    return (struct str){s.p, n < s.n ? n : s.n};
}

/* ASCII only; locale never matters. */
static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Equal without regard to ASCII case. */
bool str_ieq(struct str a, struct str b);
/* Lexicographic order of bytes: <0, 0, >0. */
int str_cmp(struct str a, struct str b);
/* Index of the first c, or -1. */
ptrdiff_t str_index(struct str s, char c);
/* Index of the last c, or -1. */
ptrdiff_t str_rindex(struct str s, char c);
/* Index of the first occurrence of needle, or -1. */
ptrdiff_t str_find(struct str s, struct str needle);
/* Without leading and trailing spaces and tabs (OWS of RFC 9110 5.6.3). */
struct str str_trim(struct str s);
/* Take the part before sep off *rest; false when *rest is used up (p == NULL). "a,,b" gives a, "",
 * b. */
bool str_split(struct str *rest, char sep, struct str *part);
/* Decimal digits only, no sign, no blanks; false on overflow or anything else. */
bool str_to_u64(struct str s, uint64_t *out);
/* The same with an optional minus. */
bool str_to_i64(struct str s, int64_t *out);
/* What Lua's tonumber() takes: blanks around, decimal, exponent, 0x hexadecimal. */
bool str_to_number(struct str s, double *out);
/* Equality in a time that depends on the lengths only; for secrets. */
bool str_eq_secret(struct str a, struct str b);
