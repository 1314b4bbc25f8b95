/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_scan: the byte classes of HTTP/1 and the loops over them.
 *
 * The loops are written once, over the vectors of h1_vec.h.
 */
#include "proto/h1_scan.h"

#include "proto/h1_vec.h"

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

#define SCAN(name, class_)                                                                         \
    size_t h1_scan_##name##_vector(const char *p, size_t n)                                        \
    {                                                                                              \
        size_t i = 0;                                                                              \
                                                                                                   \
        for (; i + LANES <= n; i += LANES) {                                                       \
            const uint64_t bits = v16_bits(v16_not_##name(v16_load(p + i)));                       \
                                                                                                   \
            if (bits != 0) {                                                                       \
                return i + v16_first(bits);                                                        \
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
        const uint64_t bits = v16_bits(v16_not_common_token(v16_load(p + i)));
        const unsigned k = bits != 0 ? v16_first(bits) : LANES;

        i += k;
        if (k < LANES && !h1_is(p[i], H1_TOKEN)) {
            return i;
        }
        i += k < LANES;
    }
    return i + h1_scan_scalar(p + i, n - i, H1_TOKEN);
}
