/* SPDX-License-Identifier: Apache-2.0 */
/* live: see live.h. */
#include "main/live.h"

#include "base/log.h"
#include "event/await.h"
#include "gateway/gateway.h"

static struct snapshot *now;
static unsigned refused;
static bool publishing;
static struct cond turn = {{&turn.waiters, &turn.waiters}};
static uint64_t applied,
    in_force; /* batches applied to `now`, and the newest of them all cores use */

const struct snapshot *live_snapshot(void)
{
    return now;
}

unsigned live_refused(void)
{
    return refused;
}

static void on_bad(const struct change *c, const struct err *e, void *arg)
{
    refused++;
    LOG(ERROR, "%s %.*s is not usable and was left out: %s", object_kind_word(c->kind),
        STR_ARG(c->id), e->msg);
}

int live_apply(const struct change *changes, size_t n)
{
    struct snapshot *old = now;
    if (old == NULL) {
        old = snapshot_empty();
    }
    now = snapshot_apply(old, changes, n, on_bad, NULL);
    snapshot_drop(old);
    applied++;
    return 0;
}

int live_await_first(void)
{
    in_force = applied;
    return gateway_await_publish(now);
}

/* Whoever finds nobody publishing publishes for all who applied before; the others wait until their
 * batch is in force. */
int live_await_publish(const struct change *changes, size_t n)
{
    live_apply(changes, n);
    uint64_t mine = applied;
    while (in_force < mine) {
        if (publishing) {
            int rc = await_cond(&turn, NEVER);
            if (rc < 0) {
                return rc;
            }
            continue;
        }
        publishing = true;
        uint64_t upto = applied;
        struct snapshot *s = now;
        snapshot_hold(s);
        gateway_await_publish(s);
        snapshot_drop(s);
        in_force = upto;
        publishing = false;
        cond_broadcast(&turn);
    }
    return 0;
}

int live_await_replace(const struct change *changes, size_t n)
{
    /* No park between here and live_apply(): nobody sees the empty one. */
    struct snapshot *old = now;
    now = snapshot_empty();
    snapshot_drop(old);
    return live_await_publish(changes, n);
}
