/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resolver: the cache. An entry is renewed by lookups that run on the loop without a fiber; fibers
 * wait on the entry's condition only when it has nothing to give.
 */
#include "net/resolver.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "fiber/fiber.h"
#include "net/dns.h"

#include <errno.h>
#include <stdlib.h>

#define NAME_MAX_BYTES 254 /* RFC 1035 2.3.4, with the final dot */
#define TTL_LEAST 1000
#define TTL_MOST 86400000
#define RETRY_MS 1000

struct entry {
    char name[NAME_MAX_BYTES + 1]; /* lower case */
    struct resolved good;          /* n == 0: never resolved */
    int error;                     /* how the last lookup failed */
    int64_t fresh_until, retry_at;
    bool busy;     /* a lookup is under way */
    unsigned held; /* fibers that wait */
    struct cond done;
    struct timer limit; /* of a resolution */
    struct list link;   /* resolver.used */
};

struct resolver {
    struct resolver_conf conf;
    struct dns *dns;
    struct map names;
    struct list used; /* asked for last comes first */
    bool ending;
};

static _Thread_local struct resolver *self;

int resolver_init(const struct resolver_conf *conf)
{
    struct dns *dns = dns_new(conf);

    if (dns == NULL) {
        return -errno;
    }
    if (self == NULL) {
        self = mem_alloc(sizeof(*self));
        list_init(&self->used);
    }
    struct dns *old = self->dns;
    self->conf = *conf;
    self->conf.servers = NULL; /* not needed any more, and not ours */
    self->dns = dns;
    if (old != NULL) {
        dns_free(old);
    }
    return 0;
}

/* ---- entries ---- */

static void entry_free(struct resolver *r, struct entry *e)
{
    map_del(&r->names, str_c(e->name));
    list_del(&e->link);
    timer_stop(&e->limit);
    free(e);
}

/* Make room for one more; what is in use stays. */
static void evict(struct resolver *r)
{
    for (struct list *l = r->used.prev; l != &r->used && r->names.n >= RESOLVER_MAX_NAMES;) {
        struct entry *e = CONTAINER_OF(l, struct entry, link);
        l = l->prev;
        if (!e->busy && e->held == 0) {
            entry_free(r, e);
        }
    }
}

/* What is known now is final until the next lookup: tell who waits. */
static void entry_settle(struct entry *e)
{
    timer_stop(&e->limit);
    cond_broadcast(&e->done);
}

/* c-ares goes on asking, and a late answer is welcome; nobody waits for it any longer. */
static void on_limit(struct timer *t)
{
    struct entry *e = CONTAINER_OF(t, struct entry, limit);

    e->error = -ETIMEDOUT;
    e->retry_at = deadline_in(RETRY_MS);
    LOG_RATE(WARN, "resolving %s timed out%s", e->name,
             e->good.n > 0 ? ", keeping the last answer" : "");
    entry_settle(e);
}

static struct entry *entry_get(struct resolver *r, struct str host)
{
    char name[NAME_MAX_BYTES + 1];

    if (host.n == 0 || host.n > NAME_MAX_BYTES || str_index(host, '\0') >= 0) {
        return NULL;
    }
    for (size_t i = 0; i < host.n; i++) {
        name[i] = ascii_lower(host.p[i]);
    }
    name[host.n] = 0;
    struct entry *e = map_get(&r->names, str_of(name, host.n));
    if (e == NULL) {
        evict(r);
        e = mem_alloc(sizeof(*e));
        memcpy(e->name, name, host.n + 1);
        cond_init(&e->done);
        timer_init(&e->limit, on_limit);
        map_put(&r->names, str_of(name, host.n), e);
    } else {
        list_del(&e->link);
    }
    list_add(&r->used, &e->link);
    return e;
}

/* ---- lookups ---- */

static int64_t valid_for(const struct resolver *r, int64_t ttl_ms)
{
    if (r->conf.valid_ms > 0) {
        return r->conf.valid_ms;
    }
    return ttl_ms < TTL_LEAST ? TTL_LEAST : ttl_ms > TTL_MOST ? TTL_MOST : ttl_ms;
}

static void entry_answered(struct entry *e, const struct dns_answer *answer)
{
    e->busy = false;
    if (answer->status == 0) {
        e->good = answer->to;
        e->error = 0;
        e->fresh_until = deadline_in(valid_for(self, answer->ttl_ms));
    } else {
        e->error = answer->status == -EIO ? -ENOENT : answer->status;
        e->retry_at = deadline_in(RETRY_MS);
        if (answer->status != -ECANCELED) {
            LOG_RATE(WARN, "resolving %s failed: %s%s", e->name, answer->reason,
                     e->good.n > 0 ? ", keeping the last answer" : "");
        }
    }
    entry_settle(e);
}

static void on_v4(void *arg, const struct dns_answer *answer);

static void on_v6(void *arg, const struct dns_answer *answer)
{
    struct entry *e = arg;

    if (answer->status == -ECANCELED && !self->ending) {
        dns_lookup(self->dns, e->name, AF_INET, on_v4, e); /* with the new configuration */
        return;
    }
    entry_answered(e, answer);
}

static void on_v4(void *arg, const struct dns_answer *answer)
{
    struct entry *e = arg;

    if (answer->status == -ENOENT && self->conf.ipv6 && !self->ending) {
        dns_lookup(self->dns, e->name, AF_INET6, on_v6, e);
        return;
    }
    on_v6(e, answer);
}

static void entry_renew(struct resolver *r, struct entry *e)
{
    e->busy = true;
    timer_start(&e->limit, deadline_in(r->conf.timeout_ms));
    dns_lookup(r->dns, e->name, AF_INET, on_v4, e);
}

void resolver_fini(void)
{
    struct resolver *r = self;

    if (r == NULL) {
        return;
    }
    r->ending = true;
    dns_free(r->dns);
    while (!list_is_empty(&r->used)) {
        entry_free(r, CONTAINER_OF(r->used.next, struct entry, link));
    }
    map_fini(&r->names);
    free(r);
    self = NULL;
}

/* Park until the lookup is done, or given up. */
static int await_entry(struct entry *e, int64_t deadline)
{
    e->held++;
    int rc = await_cond(&e->done, deadline);
    if (rc == 0 && self == NULL) {
        return -ECANCELED; /* resolver_fini() */
    }
    if (self != NULL) {
        e->held--;
    }
    return rc;
}

int await_resolve(struct str host, struct resolved *out, int64_t deadline)
{
    struct resolver *r = self;

    ASSERT(r != NULL);
    if (ip_parse(host, &out->ip[0])) {
        out->n = 1;
        return 0;
    }
    struct entry *e = entry_get(r, host);
    if (e == NULL) {
        return -ENOENT;
    }
    bool due = e->good.n > 0 ? now_ms() >= e->fresh_until && now_ms() >= e->retry_at
                             : now_ms() >= e->retry_at;
    if (due && !e->busy) {
        entry_renew(r, e);
    }
    if (e->good.n == 0 && timer_is_started(&e->limit)) {
        int rc = await_entry(e, deadline);
        if (rc < 0) {
            return rc;
        }
    }
    *out = e->good;
    return e->good.n > 0 ? 0 : e->error;
}
