/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * h1_vec: the byte classes of HTTP/1, sixteen bytes at a time. Inside knowledge of proto/.
 *
 * Written with the compiler's vector extension, which gives SSE2 on x86-64 and NEON on aarch64 from
 * the same lines; only how a mask of bytes becomes an integer is said per machine.
 */
#include "base/str.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

enum { LANES = 16 };
typedef uint8_t v16 __attribute__((vector_size(LANES)));

static inline v16 v16_load(const char *p)
{
    v16 x;

    memcpy(&x, p, sizeof(x));
    return x;
}

/* lo <= x <= hi in each byte. */
static inline v16 v16_in_range(v16 x, uint8_t lo, uint8_t hi)
{
    return (v16)((x - lo) <= (uint8_t)(hi - lo));
}

/* A mask of bytes (0 or 0xff each) as an integer: LANE_BITS a byte, the first byte lowest. */
#if defined(__SSE2__)
enum { LANE_BITS = 1 };
static inline uint64_t v16_bits(v16 mask)
{
    return (unsigned)_mm_movemask_epi8((__m128i)mask);
}
#elif defined(__ARM_NEON)
enum { LANE_BITS = 4 };
static inline uint64_t v16_bits(v16 mask)
{
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(mask), 4)), 0);
}
#else
enum { LANE_BITS = 1 };
static inline uint64_t v16_bits(v16 mask)
{
    uint64_t bits = 0;

    for (unsigned i = 0; i < LANES; i++) {
        bits |= (uint64_t)(mask[i] & 1) << i;
    }
    return bits;
}
#endif

/* The byte that the lowest bit belongs to; bits is not 0. */
static inline unsigned v16_first(uint64_t bits)
{
    return (unsigned)__builtin_ctzll(bits) / LANE_BITS;
}

/* Set where a byte does not belong to the class. */
static inline v16 v16_not_target(v16 x)
{
    return ~v16_in_range(x, 0x21, 0x7e) | (v16)(x == '#');
}

static inline v16 v16_not_target_high(v16 x)
{
    return (v16)(x <= 0x20) | (v16)(x == 0x7f) | (v16)(x == '#');
}

static inline v16 v16_not_value(v16 x)
{
    return ((v16)(x < 0x20) & (v16)(x != '\t')) | (v16)(x == 0x7f);
}

/* Most bytes of tokens are letters, digits and hyphens. */
static inline v16 v16_not_common_token(v16 x)
{
    return ~(v16_in_range(x | 0x20, 'a', 'z') | v16_in_range(x, '0', '9') | (v16)(x == '-'));
}
