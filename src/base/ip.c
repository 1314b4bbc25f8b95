/* SPDX-License-Identifier: Apache-2.0 */
/* ip: addresses, blocks and socket addresses. */
#include "base/ip.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/un.h>

enum { V4_AT = 12 /* where the four bytes stand */, V4_BITS = 96 /* what comes before them */ };

static const uint8_t mapped_prefix[V4_AT] = {[10] = 0xff, [11] = 0xff};

static void ip_from_v4(struct ip *ip, const void *bytes)
{
    memcpy(ip->b, mapped_prefix, V4_AT);
    memcpy(ip->b + V4_AT, bytes, 4);
    ip->v4 = true;
}

/* A v4 address in v6 spelling is that v4 address: rules about it must not be sidestepped by writing
 * it so. */
static void ip_from_v6(struct ip *ip, const void *bytes)
{
    memcpy(ip->b, bytes, sizeof(ip->b));
    ip->v4 = memcmp(ip->b, mapped_prefix, V4_AT) == 0;
}

bool ip_parse(struct str s, struct ip *out)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    bool brackets = str_starts(s, STR("[")) && str_ends(s, STR("]")) && s.n > 2;

    if (brackets) {
        s = str_of(s.p + 1, s.n - 2);
    }
    /* A NUL inside would hide what follows it from inet_pton(). */
    if (s.n == 0 || s.n >= sizeof(text) || str_index(s, 0) >= 0) {
        return false;
    }
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    if (!brackets && inet_pton(AF_INET, text, bytes) == 1) {
        ip_from_v4(out, bytes);
        return true;
    }
    if (inet_pton(AF_INET6, text, bytes) == 1) {
        ip_from_v6(out, bytes);
        return true;
    }
    return false;
}

/* Whether the first `bits` bits of a and b are the same. */
static bool bits_eq(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    return memcmp(a, b, whole) == 0 && (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}

bool cidr_parse(struct str s, struct cidr *out)
{
    ptrdiff_t slash = str_index(s, '/');
    struct cidr c = {.bits = 128};
    uint64_t bits;

    if (!ip_parse(slash < 0 ? s : str_head(s, (size_t)slash), &c.ip)) {
        return false;
    }
    if (slash >= 0) {
        /* In v6 spelling the length counts all 128 bits, also where the address is a mapped v4. */
        bool short_form = str_index(s, ':') < 0;
        struct str length = str_skip(s, (size_t)slash + 1);
        if (length.n > 3 || !str_to_u64(length, &bits) || bits > (short_form ? 32 : 128)) {
            return false;
        }
        c.bits = (uint8_t)(short_form ? V4_BITS + bits : bits);
        c.ip.v4 = c.ip.v4 && c.bits >= V4_BITS;
    }
    for (unsigned i = c.bits; i < 128; i++) {
        c.ip.b[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
    }
    *out = c;
    return true;
}

bool cidr_has(const struct cidr *c, const struct ip *ip)
{
    /* "::/0" is every v6 address, not every address. */
    return c->ip.v4 == ip->v4 && bits_eq(c->ip.b, ip->b, c->bits);
}

bool ip_from_addr(const struct addr *a, struct ip *out)
{
    if (a->len == 0) {
        return false;
    }
    switch (a->sa.sa_family) {
    case AF_INET:
        ip_from_v4(out, &a->in.sin_addr);
        return true;
    case AF_INET6:
        ip_from_v6(out, &a->in6.sin6_addr);
        return true;
    default:
        return false;
    }
}

/* Text of ip into out[INET6_ADDRSTRLEN]; its length. */
static size_t ip_format(const struct ip *ip, char *out)
{
    inet_ntop(ip->v4 ? AF_INET : AF_INET6, ip->v4 ? ip->b + V4_AT : ip->b, out, INET6_ADDRSTRLEN);
    return strlen(out);
}

struct str ip_text(struct arena *a, const struct ip *ip)
{
    char text[INET6_ADDRSTRLEN];

    return arena_str(a, str_of(text, ip_format(ip, text)));
}

size_t addr_text(const struct addr *a, char out[46])
{
    struct ip ip;

    if (ip_from_addr(a, &ip)) {
        return ip_format(&ip, out);
    }
    struct str text = a->len > 0 && a->sa.sa_family == AF_UNIX ? STR("unix:") : STR("");
    memcpy(out, text.p, text.n);
    return text.n;
}

uint16_t addr_port(const struct addr *a)
{
    if (a->len == 0) {
        return 0;
    }
    switch (a->sa.sa_family) {
    case AF_INET:
        return ntohs(a->in.sin_port);
    case AF_INET6:
        return ntohs(a->in6.sin6_port);
    default:
        return 0;
    }
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    return a->len == b->len && memcmp(a->room, b->room, a->len) == 0;
}

void addr_from_ip(struct addr *a, const struct ip *ip, uint16_t port)
{
    memset(a, 0, sizeof(*a));
    if (ip->v4) {
        a->in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
        memcpy(&a->in.sin_addr, ip->b + V4_AT, 4);
        a->len = sizeof(a->in);
    } else {
        a->in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
        memcpy(&a->in6.sin6_addr, ip->b, sizeof(ip->b));
        a->len = sizeof(a->in6);
    }
}

static bool addr_from_path(struct addr *a, struct str path)
{
    _Static_assert(sizeof(struct sockaddr_un) <= sizeof(a->room), "a path fits");
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    if (path.n == 0 || path.n >= sizeof(un.sun_path) || str_index(path, 0) >= 0) {
        return false;
    }
    memcpy(un.sun_path, path.p, path.n);
    memset(a, 0, sizeof(*a));
    memcpy(&a->sa, &un, sizeof(un));
    a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);
    return true;
}

bool addr_parse(struct str host, uint16_t port, struct addr *out)
{
    struct ip ip;

    if (str_starts(host, STR("unix:"))) {
        return addr_from_path(out, str_skip(host, 5));
    }
    if (!ip_parse(host, &ip)) {
        return false;
    }
    addr_from_ip(out, &ip, port);
    return true;
}
