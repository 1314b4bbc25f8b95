/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * gateway: the data path. N cores, each a thread with its own loop, listeners, pools and snapshot;
 * they share nothing they write.
 *
 * Started, fed with snapshots and stopped by the control thread; everything else here runs on a
 * core.
 */
#include "config/settings.h"
#include "config/snapshot.h"
#include "gateway/tls.h"
#include "http/server.h"

#include <pthread.h>
#include <semaphore.h>

struct core;
struct access_log;

/* A snapshot, and the settings of its time, as one core uses them: requests hold both with a plain
 * integer. */
struct core_snapshot {
    const struct snapshot *snapshot;
    const struct settings *settings;
    unsigned requests;
    bool current;
};

struct core {
    unsigned index, cores;
    pthread_t thread;
    sem_t may_end; /* posted when nobody posts to its loop any more */
    struct loop *loop;
    const struct settings *settings;
    struct gateway_tls tls;
    struct server server;
    struct listener *listeners;
    unsigned n_listeners;
    unsigned max_connections; /* this core's share */
    struct core_snapshot *now;
    struct access_log *log;
    struct timer drain_timer;
    bool stopping;
    void (*on_stopped)(struct core *c); /* called on the core when its last connection is gone */
};

/* ---- control thread ---- */

/* Open the listening sockets of s that are not open yet: what a start or a reload can fail of. 0,
 * or -1 with e. */
int gateway_open(const struct settings *s, struct err *e);
/* Start the cores; they listen from the first snapshot on. 0, or -1 with e. */
int gateway_start(const struct settings *s, struct err *e);
/* Give all cores a snapshot (a hold of it is taken for each) and park until every core uses it; the
 * old one is dropped when its last request has ended. */
int gateway_await_publish(struct snapshot *s);
/* Reload: new settings (a hold of them is taken) for everything but the number of cores, and `now`
 * again with them. Requests that run keep the old ones. gateway_open() comes before; addresses that
 * are gone are emptied and left. 0, or -1 with e (nothing changed). Parks. */
int gateway_await_reload(const struct settings *s, struct snapshot *now, struct err *e);
/* Stop accepting, finish what runs (at most settings.shutdown_timeout_ms), end the threads.
 * handed_over: another process has the listening sockets; what is queued is its own, and idle
 * connections may stay for their next request, which is answered with Connection: close. Parks. */
void gateway_await_stop(bool handed_over);
/* While gateway_await_stop(true) waits: idle connections end now. Parks. */
void gateway_await_hurry(void);
/* So many bytes have to become free: connections that wait for their clients are reset, those that
 * keep most first. Does not park. */
void gateway_relieve(uint64_t bytes);
unsigned gateway_cores(void);
struct core *gateway_core(unsigned i);
/* Sums over the cores. */
struct server_stats gateway_stats(void);

/* ---- a core ---- */

/* The handler of the proxy server: the life of a request, from head to access log (request.c). */
void gateway_handle(struct req *r);
/* What never became a request: only logged. */
void gateway_refused(struct req *r);
/* Pin the snapshot and the settings of this moment for r. */
static inline struct core_snapshot *core_hold_snapshot(struct core *core, struct req *r)
{
    core->now->requests++;
    r->snapshot = core->now->snapshot;
    r->settings = core->now->settings;
    return core->now;
}
void core_drop_snapshot(struct core *core, struct core_snapshot *s);
static inline struct core *core_of(const struct req *r)
{
    return r->core;
}
