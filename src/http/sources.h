/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * sources: how many connections each source holds, over all cores, so that one client
 * cannot take them all. Any thread; striped locks, touched when a connection opens and closes only.
 */
#include "base/ip.h"

/* Who counts as one: an IPv4 address, or a block of IPv6 addresses, which one host has by the
 * million. */
struct ip source_of(const struct ip *ip, unsigned ipv6_bits);
/* Count one more from this address; false (and not counted) when it has limit already. */
bool source_enter(const struct ip *ip, unsigned limit);
void source_leave(const struct ip *ip);
/* For tests and status: connections counted for an address. */
unsigned source_count(const struct ip *ip);
