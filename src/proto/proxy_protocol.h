/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * proxy_protocol: what a balancer says about a connection before its first byte: the PROXY
 * protocol, versions 1 (a line) and 2 (binary), as haproxy.org's proxy-protocol.txt describes them.
 * Pure functions, any thread.
 */
#include "base/ip.h"

/* The longest header that is taken; version 1 ends at 107 bytes. */
#define PROXY_HEADER_MAX 4096

struct proxy_header {
    bool has_addrs; /* else it is about the connection itself, or about one that is not IP */
    struct addr source, destination;
};

/*
 * bytes: what was read so far, from the first one on. 1: that is a header, and it is whole. 0: the
 * next *want bytes belong to it, or fewer if it is none. -1: it is none. Who never reads more than
 * wanted has nothing left over.
 */
int proxy_parse(struct str bytes, struct proxy_header *out, size_t *want);
