/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * sources: how many connections each client address holds, over all cores, so that one client
 * cannot take them all. Any thread; striped locks, touched when a connection opens and closes only.
 */
#include "base/ip.h"

/* Count one more from this address; false (and not counted) when it has limit already. */
bool source_enter(const struct ip *ip, unsigned limit);
void source_leave(const struct ip *ip);
/* For tests and status: connections counted for an address. */
unsigned source_count(const struct ip *ip);
