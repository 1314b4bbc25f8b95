/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* hash: sums and encodings. Pure functions, any thread. */
#include "base/arena.h"

/* SipHash-1-3 under the key of this process (random at start). */
uint64_t hash_keyed(struct str s);
/* CRC-32 (IEEE 802.3), as zlib's: continue from crc, start with 0. */
uint32_t hash_crc32(uint32_t crc, struct str s);
/* Plain 64-bit FNV-1a: for tables whose keys we choose. */
uint64_t hash_fnv(struct str s);
/* RFC 4648 base64 with padding. Decoding takes the standard alphabet, padding optional, no blanks;
 * STR_NONE on error. */
struct str base64_encode(struct arena *a, struct str s);
struct str base64_decode(struct arena *a, struct str s);
/* The same with the URL and file name alphabet ("-_"), written without padding (RFC 7515 section
 * 2). */
struct str base64url_encode(struct arena *a, struct str s);
struct str base64url_decode(struct arena *a, struct str s);
/* 16 bytes as 8-4-4-4-12 hexadecimal digits, with version and variant of RFC 9562 put in. */
struct str uuid_text(struct arena *a, uint64_t hi, uint64_t lo, unsigned version);
/* n random bytes from the kernel. */
void random_bytes(void *p, size_t n);
/* A fast thread-local pseudo-random number (xoshiro), seeded from the kernel. Not for secrets. */
uint64_t random_u64(void);
