/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * dns: c-ares on this thread's loop: its sockets and its clock, and lookups without a cache. Inside
 * knowledge of resolver.c.
 */
#include "net/resolver.h"

struct dns;

struct dns_answer {
    int status; /* 0, -ENOENT: the name has no such addresses, -ETIMEDOUT, -ECANCELED, -EIO: the
                   rest */
    const char *reason;
    int64_t ttl_ms; /* the smallest of the answer */
    struct resolved to;
};

/* NULL with errno set on failure. */
struct dns *dns_new(const struct resolver_conf *conf);
/* Lookups under way end with -ECANCELED. */
void dns_free(struct dns *d);
/* Addresses of family (AF_INET, AF_INET6) of name. fn is called once, perhaps before this returns.
 */
void dns_lookup(struct dns *d, const char *name, int family,
                void (*fn)(void *arg, const struct dns_answer *answer), void *arg);
