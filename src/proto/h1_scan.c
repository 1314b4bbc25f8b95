/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_scan: the byte classes of HTTP/1 and the loops over them.
 *
 * The vector loops are written with the compiler's vector extension, which gives SSE2 on x86-64 and
 * NEON on aarch64 from the same lines; only finding the first set byte of a mask is said per
 * machine.
 */
#include "proto/h1_scan.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define TOK H1_TOKEN
#define TGT (H1_TARGET | H1_TARGET_HIGH | H1_VALUE)
#define REG H1_REG_NAME
#define ALL (TOK | TGT | REG)
#define HEX (TOK | TGT | REG | H1_HEX)
const uint8_t h1_byte_class[256] = {
    ['\t'] = H1_VALUE,
    [' '] = H1_VALUE,
    ['!'] = ALL,
    ['"'] = TGT,
    ['#'] = TOK | H1_VALUE,
    ['$'] = ALL,
    ['%'] = TOK | TGT,
    ['&'] = ALL,
    ['\''] = ALL,
    ['('] = TGT | REG,
    [')'] = TGT | REG,
    ['*'] = ALL,
    ['+'] = ALL,
    [','] = TGT,
    ['-'] = ALL,
    ['.'] = ALL,
    ['/'] = TGT,
    ['0' ... '9'] = HEX,
    [':'] = TGT,
    [';'] = TGT | REG,
    ['<'] = TGT,
    ['='] = TGT | REG,
    ['>' ... '@'] = TGT,
    ['A' ... 'F'] = HEX,
    ['G' ... 'Z'] = ALL,
    ['[' ... ']'] = TGT,
    ['^'] = TOK | TGT,
    ['_'] = ALL,
    ['`'] = TOK | TGT,
    ['a' ... 'f'] = HEX,
    ['g' ... 'z'] = ALL,
    ['{'] = TGT,
    ['|'] = TOK | TGT,
    ['}'] = TGT,
    ['~'] = ALL,
    [0x80 ... 0xff] = H1_TARGET_HIGH | H1_VALUE,
};

size_t h1_scan_scalar(const char *p, size_t n, uint8_t class_)
{
    size_t i = 0;

    while (i < n && h1_is(p[i], class_)) {
        i++;
    }
    return i;
}

enum { LANES = 16 };
typedef uint8_t v16 __attribute__((vector_size(LANES)));
typedef uint64_t v2 __attribute__((vector_size(LANES)));

static inline v16 load(const char *p)
{
    v16 x;

    memcpy(&x, p, sizeof(x));
    return x;
}

/* lo <= x <= hi in each byte. */
static inline v16 in_range(v16 x, uint8_t lo, uint8_t hi)
{
    return (v16)((x - lo) <= (uint8_t)(hi - lo));
}

/* Index of the first byte that is set (all its bits are), LANES when none is. */
static inline unsigned first_set(v16 mask)
{
#ifdef __SSE2__
    const unsigned bits = (unsigned)_mm_movemask_epi8((__m128i)mask);

    return bits ? (unsigned)__builtin_ctz(bits) : LANES;
#else
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t half = ((v2)mask)[i];

        if (half != 0) {
            return 8 * i + (unsigned)(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
                                          ? __builtin_ctzll(half)
                                          : __builtin_clzll(half)) /
                               8;
        }
    }
    return LANES;
#endif
}

/* Set where a byte does not belong to the class. */
static inline v16 not_target(v16 x)
{
    return ~in_range(x, 0x21, 0x7e) | (v16)(x == '#');
}

static inline v16 not_target_high(v16 x)
{
    return (v16)(x <= 0x20) | (v16)(x == 0x7f) | (v16)(x == '#');
}

static inline v16 not_value(v16 x)
{
    return ((v16)(x < 0x20) & (v16)(x != '\t')) | (v16)(x == 0x7f);
}

/* Most bytes of tokens are letters, digits and hyphens; the others are looked up one at a time. */
static inline v16 not_common_token(v16 x)
{
    return ~(in_range(x | 0x20, 'a', 'z') | in_range(x, '0', '9') | (v16)(x == '-'));
}

#define SCAN(name, class_)                                                                         \
    size_t h1_scan_##name##_vector(const char *p, size_t n)                                        \
    {                                                                                              \
        size_t i = 0;                                                                              \
                                                                                                   \
        for (; i + LANES <= n; i += LANES) {                                                       \
            const unsigned k = first_set(not_##name(load(p + i)));                                 \
                                                                                                   \
            if (k < LANES) {                                                                       \
                return i + k;                                                                      \
            }                                                                                      \
        }                                                                                          \
        return i + h1_scan_scalar(p + i, n - i, class_);                                           \
    }
SCAN(target, H1_TARGET)
SCAN(target_high, H1_TARGET_HIGH)
SCAN(value, H1_VALUE)

size_t h1_scan_token_vector(const char *p, size_t n)
{
    size_t i = 0;

    while (i + LANES <= n) {
        const unsigned k = first_set(not_common_token(load(p + i)));

        i += k;
        if (k < LANES && !h1_is(p[i], H1_TOKEN)) {
            return i;
        }
        i += k < LANES;
    }
    return i + h1_scan_scalar(p + i, n - i, H1_TOKEN);
}

size_t h1_count_controls(const char *p, size_t n)
{
    size_t i = 0, count = 0;

#ifdef __SSE2__
    for (; i + LANES <= n; i += LANES) {
        /* Nearly always none or the two of a line end. */
        for (unsigned bits = (unsigned)_mm_movemask_epi8((__m128i)not_value(load(p + i))); bits;
             bits &= bits - 1) {
            count++;
        }
    }
#endif
    for (; i < n; i++) {
        count += !h1_is(p[i], H1_VALUE);
    }
    return count;
}
