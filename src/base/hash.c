/* SPDX-License-Identifier: Apache-2.0 */
/* hash: SipHash, CRC-32, FNV, base64 and random numbers. */
#include "base/hash.h"

#include "base/assert.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <sys/random.h>

static uint64_t sip_key[2];

static inline uint64_t rotl(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

/* Up to eight bytes, little-endian. */
static inline uint64_t load_le(const char *p, size_t n)
{
    uint64_t v = 0;

    memcpy(&v, p, n);
    return le64toh(v);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

static inline void sip_block(uint64_t v[4], uint64_t m)
{
    v[3] ^= m;
    sip_round(v);
    v[0] ^= m;
}

/* SipHash with one round a block and three at the end. */
static uint64_t siphash13(const uint64_t key[2], struct str s)
{
    uint64_t v[4] = {
        key[0] ^ 0x736f6d6570736575,
        key[1] ^ 0x646f72616e646f6d,
        key[0] ^ 0x6c7967656e657261,
        key[1] ^ 0x7465646279746573,
    };
    uint64_t last = (uint64_t)s.n << 56;

    for (; s.n >= 8; s = str_skip(s, 8)) {
        sip_block(v, load_le(s.p, 8));
    }
    sip_block(v, s.n ? last | load_le(s.p, s.n) : last);
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t hash_keyed(struct str s)
{
    return siphash13(sip_key, s);
}

uint32_t hash_crc32(uint32_t crc, struct str s)
{
    /* Half a byte at a time: 64 bytes of table stay in cache. */
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };

    crc = ~crc;
    for (size_t i = 0; i < s.n; i++) {
        crc ^= (unsigned char)s.p[i];
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc;
}

uint64_t hash_fnv(struct str s)
{
    uint64_t h = 0xcbf29ce484222325;

    for (size_t i = 0; i < s.n; i++) {
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3;
    }
    return h;
}

static const char standard_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* The alphabet gives the two characters that differ; padding is written when pad is set. */
static struct str encode64(struct arena *a, struct str s, const char *alphabet, bool pad)
{
    char *out = arena_bytes(a, (s.n + 2) / 3 * 4 + 1);
    size_t n = 0;

    for (; s.n > 0; s = str_skip(s, 3)) {
        unsigned char b[3] = {0};
        size_t have = s.n < 3 ? s.n : 3;
        memcpy(b, s.p, have);
        unsigned bits = (unsigned)b[0] << 16 | (unsigned)b[1] << 8 | b[2];
        for (size_t i = 0; i <= have; i++) {
            out[n++] = alphabet[bits >> (18 - 6 * i) & 63];
        }
        for (size_t i = have; i < 3 && pad; i++) {
            out[n++] = '=';
        }
    }
    out[n] = 0;
    return str_of(out, n);
}

static int value64(char c, char c62, char c63)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == c62 ? 62 : c == c63 ? 63 : -1;
}

static struct str decode64(struct arena *a, struct str s, const char *alphabet)
{
    /* Padding, when there is any, must fill the last four characters. */
    if (s.n % 4 == 0 && str_ends(s, STR("="))) {
        s.n -= str_ends(s, STR("==")) ? 2 : 1;
    }
    if (str_is_none(s) || s.n % 4 == 1) {
        return STR_NONE;
    }
    char *out = arena_bytes(a, s.n / 4 * 3 + 3);
    size_t n = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < s.n; i++) {
        int v = value64(s.p[i], alphabet[62], alphabet[63]);
        if (v < 0) {
            return STR_NONE;
        }
        bits = bits << 6 | (unsigned)v;
        if (i % 4 != 0) {
            out[n++] = (char)(bits >> (6 - 2 * (i % 4)));
        }
    }
    out[n] = 0;
    return str_of(out, n);
}

struct str base64_encode(struct arena *a, struct str s)
{
    return encode64(a, s, standard_alphabet, true);
}

struct str base64_decode(struct arena *a, struct str s)
{
    return decode64(a, s, standard_alphabet);
}

struct str base64url_encode(struct arena *a, struct str s)
{
    return encode64(a, s, url_alphabet, false);
}

struct str base64url_decode(struct arena *a, struct str s)
{
    return decode64(a, s, url_alphabet);
}

struct str uuid_text(struct arena *a, uint64_t hi, uint64_t lo, unsigned version)
{
    hi = (hi & ~(uint64_t)0xf000) | (uint64_t)version << 12;
    lo = (lo & ~((uint64_t)3 << 62)) | (uint64_t)2 << 62;
    return arena_printf(a, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(hi >> 32),
                        (unsigned)(hi >> 16 & 0xffff), (unsigned)(hi & 0xffff),
                        (unsigned)(lo >> 48), (unsigned long long)(lo & 0xffffffffffff));
}

void random_bytes(void *p, size_t n)
{
    char *at = p;

    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        ASSERT(got > 0 || errno == EINTR);
        if (got > 0) {
            at += got;
            n -= (size_t)got;
        }
    }
}

static _Thread_local struct {
    bool seeded;
    uint64_t s[4];
} xoshiro;

/* The child of a fork must not repeat the numbers of its parent. */
static void forget_seed(void)
{
    xoshiro.seeded = false;
}

static __attribute__((constructor)) void hash_start(void)
{
    random_bytes(sip_key, sizeof(sip_key));
    pthread_atfork(NULL, NULL, forget_seed);
}

uint64_t random_u64(void)
{
    uint64_t *s = xoshiro.s;

    if (__builtin_expect(!xoshiro.seeded, 0)) {
        random_bytes(s, sizeof(xoshiro.s));
        xoshiro.seeded = true;
    }
    /* xoshiro256**; a seed of zeros, its one bad state, does not happen. */
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}
