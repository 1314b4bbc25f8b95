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

/* A snapshot as one core uses it: requests hold it with a plain integer. */
struct core_snapshot {
    const struct snapshot *snapshot;
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
    const int *fds;           /* listening sockets, one a listen address */
    struct core_snapshot *now;
    struct access_log *log;
    struct timer drain_timer;
    bool stopping;
    void (*on_stopped)(struct core *c); /* called on the core when its last connection is gone */
};

/* ---- control thread ---- */

/* Open the listening sockets and start the cores; requests are answered once the first snapshot is
 * published. 0, or -1 with e. */
int gateway_start(const struct settings *s, struct err *e);
/* Give all cores a snapshot (a hold of it is taken for each) and park until every core uses it; the
 * old one is dropped when its last request has ended. */
int gateway_await_publish(struct snapshot *s);
/* Reload: new settings for limits and logs. Both settings stay valid until the process ends.
 * Listeners that are new are opened, those gone are closed after a drain. 0, or -1 with e (nothing
 * changed). */
int gateway_await_reload(const struct settings *s, struct err *e);
/* Stop accepting, finish what runs (at most settings.shutdown_timeout_ms), end the threads. Parks.
 */
void gateway_await_stop(void);
unsigned gateway_cores(void);
struct core *gateway_core(unsigned i);
/* Sums over the cores. */
struct server_stats gateway_stats(void);

/* ---- a core ---- */

/* The handler of the proxy server: the life of a request, from head to access log (request.c). */
void gateway_handle(struct req *r);
/* What never became a request: only logged. */
void gateway_refused(struct req *r);
/* Pin the snapshot of this moment for r. */
static inline struct core_snapshot *core_hold_snapshot(struct core *core, struct req *r)
{
    core->now->requests++;
    r->snapshot = core->now->snapshot;
    return core->now;
}
void core_drop_snapshot(struct core *core, struct core_snapshot *s);
static inline struct core *core_of(const struct req *r)
{
    return r->core;
}
