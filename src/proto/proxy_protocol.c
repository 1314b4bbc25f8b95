/* SPDX-License-Identifier: Apache-2.0 */
/* proxy_protocol: see proxy_protocol.h. */
#include "proto/proxy_protocol.h"

enum {
    FIRST_BYTES = 12, /* fewer than any header has; they tell the version */
    V1_MAX = 107,
    V2_HEAD = 16,
    V2_LOCAL = 0,
    V2_PROXY = 1,
    V2_INET = 1,
    V2_INET6 = 2,
    V2_UNIX = 3,
    V2_DATAGRAM = 2,
};

/* ---- version 1: "PROXY TCP4 192.0.2.1 198.51.100.1 40000 443" ---- */

/* No brackets, no leading zeros: one spelling for one address. */
static bool parse_addr(struct str text, struct str port, bool is_v6, struct addr *out)
{
    struct ip ip;
    uint64_t n;

    if ((str_index(text, ':') >= 0) != is_v6 || str_starts(text, STR("[")) ||
        !ip_parse(text, &ip)) {
        return false;
    }
    if (!str_to_u64(port, &n) || n > 65535 || (port.n > 1 && port.p[0] == '0')) {
        return false;
    }
    addr_from_ip(out, &ip, (uint16_t)n);
    return true;
}

/* What follows "PROXY ", without the end of the line. */
static int parse_line(struct str rest, struct proxy_header *out)
{
    struct str part[5] = {{0}};

    for (int i = 0; i < 5; i++) {
        str_split(&rest, ' ', &part[i]);
    }
    if (str_eq(part[0], STR("UNKNOWN"))) {
        return 1;
    }
    const bool is_v6 = str_eq(part[0], STR("TCP6"));
    out->has_addrs = (is_v6 || str_eq(part[0], STR("TCP4"))) && str_is_none(rest) &&
                     parse_addr(part[1], part[3], is_v6, &out->source) &&
                     parse_addr(part[2], part[4], is_v6, &out->destination);
    return out->has_addrs ? 1 : -1;
}

static int parse_v1(struct str bytes, struct proxy_header *out, size_t *want)
{
    const struct str prefix = STR("PROXY ");
    const ptrdiff_t end = str_index(bytes, '\n');

    if (end < 0) {
        *want = bytes.n < FIRST_BYTES ? FIRST_BYTES - bytes.n : 1;
        return bytes.n < V1_MAX ? 0 : -1;
    }
    if (end < FIRST_BYTES || (size_t)end + 1 < bytes.n || bytes.p[end - 1] != '\r') {
        return -1;
    }
    return parse_line(str_skip(str_head(bytes, bytes.n - 2), prefix.n), out);
}

/* ---- version 2 ---- */

static uint16_t be16(const char *p)
{
    return (uint16_t)((uint8_t)p[0] << 8 | (uint8_t)p[1]);
}

/* An IPv4 address in IPv6 clothes becomes one without, as everywhere here. */
static struct addr addr_of(bool is_v6, const char *bytes, const char *port)
{
    struct addr a = {.len = is_v6 ? sizeof(a.in6) : sizeof(a.in)};
    struct ip ip;

    a.sa.sa_family = is_v6 ? AF_INET6 : AF_INET;
    memcpy(is_v6 ? (void *)&a.in6.sin6_addr : &a.in.sin_addr, bytes, is_v6 ? 16 : 4);
    ip_from_addr(&a, &ip);
    addr_from_ip(&a, &ip, be16(port));
    return a;
}

/* Both addresses, then both ports; what follows (TLVs) is of no interest here. */
static int parse_addrs(struct str body, unsigned family, struct proxy_header *out)
{
    static const size_t size[] = {[V2_INET] = 12, [V2_INET6] = 36, [V2_UNIX] = 216};
    const bool is_v6 = family == V2_INET6;
    const size_t n = is_v6 ? 16 : 4;
    const char *p = body.p;

    if (body.n < size[family]) {
        return -1;
    }
    if (family == V2_INET || is_v6) {
        out->source = addr_of(is_v6, p, p + 2 * n);
        out->destination = addr_of(is_v6, p + n, p + 2 * n + 2);
        out->has_addrs = true;
    }
    return 1;
}

static int parse_v2(struct str bytes, struct proxy_header *out, size_t *want)
{
    if (bytes.n < V2_HEAD) {
        *want = (bytes.n < FIRST_BYTES ? FIRST_BYTES : V2_HEAD) - bytes.n;
        return 0;
    }
    const unsigned version = (uint8_t)bytes.p[12] >> 4, command = bytes.p[12] & 15,
                   family = (uint8_t)bytes.p[13] >> 4, transport = bytes.p[13] & 15;
    const size_t size = (size_t)V2_HEAD + be16(bytes.p + 14);

    if (version != 2 || command > V2_PROXY || family > V2_UNIX || transport > V2_DATAGRAM ||
        size > PROXY_HEADER_MAX) {
        return -1;
    }
    if (bytes.n < size) {
        *want = size - bytes.n;
        return 0;
    }
    if (command == V2_LOCAL || transport == 0) {
        return 1;
    }
    return parse_addrs(str_skip(str_head(bytes, size), V2_HEAD), family, out);
}

static bool agree(struct str bytes, struct str with)
{
    return str_starts(with, str_head(bytes, with.n));
}

int proxy_parse(struct str bytes, struct proxy_header *out, size_t *want)
{
    *out = (struct proxy_header){0};
    if (bytes.n == 0) {
        *want = FIRST_BYTES;
        return 0;
    }
    if (agree(bytes, STR("PROXY "))) {
        return parse_v1(bytes, out, want);
    }
    return agree(bytes, STR("\r\n\r\n\0\r\nQUIT\n")) ? parse_v2(bytes, out, want) : -1;
}
