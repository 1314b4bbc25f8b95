/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * resolver: host names to addresses with c-ares on this thread's loop; one a thread, with a cache.
 *
 * Order: /etc/hosts ("localhost" too), then DNS A, then, when there is no A and ipv6 is on, AAAA.
 * Answers are kept for their TTL (at least 1 s, at most a day) or the configured time. When a
 * renewal fails the last good answer stays in use and is tried again at most once a second; a name
 * that never resolved gives -ENOENT, cached for 1 s. One query a name is in flight: others wait for
 * it. The cache holds RESOLVER_MAX_NAMES; the one not asked for longest goes first.
 */
#include "base/ip.h"
#include "event/await.h"

#define RESOLVER_MAX_ADDRS 32
#define RESOLVER_MAX_NAMES 4096

struct resolver_conf {
    const char *servers; /* "127.0.0.1:53,[::1]:53", NULL: /etc/resolv.conf */
    int64_t valid_ms;    /* overrides the TTL when > 0 */
    int64_t timeout_ms;  /* of one resolution, all tries */
    bool ipv6, search;
};

struct resolved {
    unsigned n;
    struct ip ip[RESOLVER_MAX_ADDRS];
};

/* Make the resolver of this thread, or give the one there is another configuration (it keeps what
 * it knows; lookups under way begin again). -errno on failure, then it stays as it is. */
int resolver_init(const struct resolver_conf *conf);
/* Free it, before loop_fini(). Fibers that wait get -ECANCELED; they must run before the loop ends.
 */
void resolver_fini(void);
/*
 * Addresses of host (a literal address works too). 0 or -ENOENT, -ETIMEDOUT, -ECANCELED. Parks only
 * when nothing usable is cached: an expired answer is served while its renewal goes on behind.
 */
int await_resolve(struct str host, struct resolved *out, int64_t deadline);
