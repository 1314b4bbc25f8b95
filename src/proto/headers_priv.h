/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* headers_priv: the table of known names, for who has a name in a vector already. */
#include "proto/h1_vec.h"
#include "proto/headers.h"

enum { NAME_MAX_LEN = 2 * LANES, SLOTS_LOG2 = 9 };

/* Lower case, padded with zeros, so that whole vectors can be compared. */
struct known_name {
    char text[NAME_MAX_LEN];
    uint8_t n;
};
extern const struct known_name header_names[H_COUNT];
extern uint8_t header_slots[1 << SLOTS_LOG2];
extern uint32_t header_multiplier;

/* Letters in lower case; only names spelled in ASCII can match, so folding other bytes too does no
 * harm here. */
static inline uint32_t header_slot(const char *p, size_t n, uint32_t m)
{
    const uint32_t key = (uint32_t)n | ((uint32_t)(uint8_t)(p[0] | 0x20) << 8) |
                         ((uint32_t)(uint8_t)(p[n * 3 / 4] | 0x20) << 16) |
                         ((uint32_t)(uint8_t)(p[n / 2] | 0x20) << 24);

    return (key * m) >> (32 - SLOTS_LOG2);
}

/* Are the first n bytes of both, 1 to LANES, the same letters in any case? In a token 0x20 makes
 * letters small and nothing else equal. */
static inline bool lanes_match(v16 token, const char *name, size_t n)
{
    const v16 differs = (v16)((token | 0x20) != v16_load(name));

    return v16_bits(differs) << (64 - LANE_BITS * n) == 0;
}

/* The id of the token in the first n bytes of lanes, 1 to LANES, that are also at p: letters,
 * digits and hyphens. */
static inline enum header_id header_id_of_lanes(v16 lanes, const char *p, size_t n)
{
    const enum header_id id = (enum header_id)header_slots[header_slot(p, n, header_multiplier)];
    const struct known_name *known = &header_names[id];

    return known->n == n && lanes_match(lanes, known->text, n) ? id : H_OTHER;
}
