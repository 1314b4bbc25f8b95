/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * ip_set: a list of addresses and blocks of a configuration. Made into disjoint ranges once, so
 * that a list of many thousands costs a request a dozen comparisons. Immutable, in its arena.
 *
 * 0.0.0.0/0 is every IPv4 address and ::/0 every IPv6 address; neither holds the other's.
 */
#include "base/err.h"
#include "base/ip.h"
#include "schema/field.h"

struct ip_range; /* opaque */
struct ip_set {
    const struct ip_range *v;
    size_t n;
};

/* The JSON Schema of one item, as the reference writes it. */
#define IP_SCHEMA                                                                                  \
    "{\"anyOf\":[{\"title\":\"IPv4\",\"type\":\"string\",\"format\":\"ipv4\"},"                    \
    "{\"title\":\"IPv4/CIDR\",\"type\":\"string\",\"pattern\":\"^" IP_OCTET "\\\\." IP_OCTET       \
    "\\\\." IP_OCTET "\\\\." IP_OCTET "/([12]?[0-9]|3[0-2])$\"},"                                  \
    "{\"title\":\"IPv6\",\"type\":\"string\",\"format\":\"ipv6\"},"                                \
    "{\"title\":\"IPv6/CIDR\",\"type\":\"string\",\"pattern\":"                                    \
    "\"^([a-fA-F0-9]{0,4}:){1,8}(:[a-fA-F0-9]{0,4}){0,8}([a-fA-F0-9]{0,4})?/[0-9]{1,3}$\"}]}"
#define IP_OCTET "([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
/* Of a property that is a list of them. */
#define IP_LIST_SCHEMA "{\"type\":\"array\",\"minItems\":1,\"items\":" IP_SCHEMA "}"

/* Are all items of a JSON array (NULL: none) addresses or blocks? 0, or -1 with `invalid ip
 * address: X`. */
int ip_set_check(const json_t *list, struct err *e);
/* 0, or -1 with e as above. */
int ip_set_prepare(struct arena *a, const json_t *list, struct ip_set *out, struct err *e);
bool ip_set_has(const struct ip_set *s, const struct ip *ip);
