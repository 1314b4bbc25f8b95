/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admin_ttl: objects that end by themselves (?ttl=). Deleted through the same way as by hand,
 * author "ttl", and only if nobody has written them since: so an entry here need not be removed
 * when its object changes.
 */
#include "admin/admin_priv.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "event/loop.h"
#include "fiber/fiber.h"

#include <errno.h>
#include <stdlib.h>

/* The wall clock may be set: look again at least this often. After a failed delete: this soon. */
enum { LOOK_MS = 60000, RETRY_MS = 5000 };

struct entry {
    struct list link;
    int64_t modified, expires_at;
    struct str key; /* the bytes follow the struct */
};

static struct list entries = LIST_INIT(entries);
static struct timer timer;
static bool deleting;

static void start_timer(int64_t at_least_ms)
{
    int64_t now = wall_us() / 1000, wait = LOOK_MS;

    if (deleting || list_is_empty(&entries)) {
        return;
    }
    LIST_EACH(l, &entries) {
        int64_t left = CONTAINER_OF(l, struct entry, link)->expires_at * 1000 - now;
        wait = left < wait ? left : wait;
    }
    timer_start(&timer, deadline_in(wait > at_least_ms ? wait : at_least_ms));
}

/* False when the delete is to be tried again. */
static bool await_end(const struct entry *it)
{
    struct err e = {0};
    int rc = await_delete(fiber_arena(), it->key, it->modified, STR("ttl"), STR("-"), &e);

    return rc == 0 || rc == -EAGAIN;
}

static void delete_expired(void *arg)
{
    int64_t now = wall_us() / 1000000;
    struct list over = LIST_INIT(over);
    struct list *l;
    bool failed = false;

    LIST_EACH_SAFE(it, next, &entries) {
        if (CONTAINER_OF(it, struct entry, link)->expires_at <= now) {
            list_del(it);
            list_add_tail(&over, it);
        }
    }
    while ((l = list_pop(&over)) != NULL) {
        struct entry *it = CONTAINER_OF(l, struct entry, link);
        if (await_end(it)) {
            free(it);
        } else {
            list_add_tail(&entries, l);
            failed = true;
        }
    }
    deleting = false;
    start_timer(failed ? RETRY_MS : 0);
}

static void timer_fired(struct timer *t)
{
    deleting = true;
    if (!fiber_start("ttl", delete_expired, NULL)) {
        deleting = false;
        start_timer(RETRY_MS);
    }
}

void ttl_add(struct str key, int64_t modified, int64_t expires_at)
{
    struct entry *it = mem_alloc(sizeof(*it) + key.n);
    char *bytes = (char *)(it + 1);

    memcpy(bytes, key.p, key.n);
    *it =
        (struct entry){.modified = modified, .expires_at = expires_at, .key = str_of(bytes, key.n)};
    list_add_tail(&entries, &it->link);
    if (!timer.fn) {
        timer_init(&timer, timer_fired);
    }
    start_timer(0);
}
