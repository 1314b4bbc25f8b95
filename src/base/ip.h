/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* ip: addresses and CIDR blocks as values. Pure functions, any thread. */
#include "base/arena.h"

#include <netinet/in.h>
#include <sys/socket.h>

/* An address; v4 is kept as v4-mapped v6 so that one comparison serves both. */
struct ip {
    uint8_t b[16];
    bool v4;
};
struct cidr {
    struct ip ip;
    uint8_t bits; /* 0..128 in the mapped form */
};
/* A host and port to connect to or bind, ready for the kernel. */
struct addr {
    socklen_t len; /* 0: none */
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_storage ss;
        char room[112]; /* sockaddr_un */
    };
};

/* "1.2.3.4", "::1", "[::1]". */
bool ip_parse(struct str s, struct ip *out);
/* An address or a block. */
bool cidr_parse(struct str s, struct cidr *out);
bool cidr_has(const struct cidr *c, const struct ip *ip);
bool ip_from_addr(const struct addr *a, struct ip *out);
/* Canonical text without brackets; valid in arena a. */
struct str ip_text(struct arena *a, const struct ip *ip);
/* Canonical text of address (no port) into out[46], "unix:" for Unix sockets; its length. */
size_t addr_text(const struct addr *a, char out[46]);
uint16_t addr_port(const struct addr *a);
/* The same family, host and port, or path. */
bool addr_equal(const struct addr *a, const struct addr *b);
void addr_from_ip(struct addr *a, const struct ip *ip, uint16_t port);
/* "unix:/path", an IP with a port; false when it is none. */
bool addr_parse(struct str host, uint16_t port, struct addr *out);
