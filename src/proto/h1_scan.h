/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * h1_scan: how far the bytes of one class reach. Each answers the index of the first byte that is
 * not of the class, n when all are.
 *
 * Each scan exists twice: sixteen bytes at a time and byte by byte from one table. They agree on
 * every input; the test runs both. Nothing is read past p + n. Pure functions, any thread.
 */
#include "base/str.h"

/* The classes, as bits of h1_byte_class. */
enum {
    H1_TOKEN = 1,       /* tchar of RFC 9110 5.6.2: methods and field names */
    H1_TARGET = 2,      /* 0x21..0x7e but '#' */
    H1_TARGET_HIGH = 4, /* the same and 0x80..0xff */
    H1_VALUE = 8,       /* field values: SP, HTAB, 0x21..0x7e, 0x80..0xff */
    H1_HEX = 16,
    H1_REG_NAME = 32, /* unreserved and sub-delims of RFC 3986 3.2.2 without the comma: no host has
                         one, lists of hosts do */
};
extern const uint8_t h1_byte_class[256];

static inline bool h1_is(char c, uint8_t classes)
{
    return (h1_byte_class[(uint8_t)c] & classes) != 0;
}

size_t h1_scan_scalar(const char *p, size_t n, uint8_t class_);
size_t h1_scan_token_vector(const char *p, size_t n);
size_t h1_scan_target_vector(const char *p, size_t n);
size_t h1_scan_target_high_vector(const char *p, size_t n);
size_t h1_scan_value_vector(const char *p, size_t n);

#if defined(__SSE2__) || defined(__ARM_NEON)
#define H1_SCAN(class_, name) h1_scan_##name##_vector(p, n)
#else
#define H1_SCAN(class_, name) h1_scan_scalar(p, n, class_)
#endif
static inline size_t h1_scan_token(const char *p, size_t n)
{
    return H1_SCAN(H1_TOKEN, token);
}

static inline size_t h1_scan_target(const char *p, size_t n)
{
    return H1_SCAN(H1_TARGET, target);
}

static inline size_t h1_scan_target_high(const char *p, size_t n)
{
    return H1_SCAN(H1_TARGET_HIGH, target_high);
}

static inline size_t h1_scan_value(const char *p, size_t n)
{
    return H1_SCAN(H1_VALUE, value);
}
#undef H1_SCAN
