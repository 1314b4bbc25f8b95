/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core: the threads of the data path, and how a snapshot reaches them.
 *
 * Publishing: the control thread sends each core a message with the new snapshot; the core makes it
 * current and answers. The old one is given back (another message) when its last request on that
 * core has ended. So counts are touched on one thread only, and nobody waits for traffic.
 */
#include "base/assert.h"
#include "base/crash.h"
#include "base/log.h"
#include "fiber/fiber.h"
#include "gateway/access_log.h"
#include "gateway/gateway.h"
#include "gateway/mirror.h"
#include "net/resolver.h"
#include "plugin/chain.h"
#include "plugin/compress.h"
#include "upstream/balancer.h"
#include "upstream/pool.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define BACKLOG 4096
#define END_MS 5000
#define DESCRIPTORS_KEPT 256 /* not for clients and upstreams */

static struct core *cores;
static unsigned n_cores;
static struct loop *control;
static int *listen_fds; /* core-major: fds of core i start at i * n_listen */
static bool ended;      /* the cores were told to end: nothing may be sent to them */

/* ---- messages ---- */

struct publish {
    struct mail mail; /* to the core, then back */
    struct core *core;
    struct core_snapshot *next;
    struct cond *done; /* control thread: waits until left is 0 */
    unsigned *left;
};
struct release {
    struct mail mail;
    struct core_snapshot *s;
};

static void on_released(struct mail *m)
{
    struct release *rel = CONTAINER_OF(m, struct release, mail);
    snapshot_drop((struct snapshot *)(uintptr_t)rel->s->snapshot);
    free(rel->s);
    free(rel);
}

/* Nobody on this core uses s any more: its hold goes back to the control thread. */
static void release(struct core_snapshot *s)
{
    struct release *rel = malloc(sizeof(*rel));
    ASSERT(rel != NULL);
    *rel = (struct release){.mail = {.fn = on_released}, .s = s};
    loop_post(control, &rel->mail);
}

void core_drop_snapshot(struct core *core, struct core_snapshot *s)
{
    ASSERT(s->requests > 0);
    if (--s->requests == 0 && !s->current) {
        release(s);
    }
}

static void on_adopted(struct mail *m)
{
    struct publish *p = CONTAINER_OF(m, struct publish, mail);
    if (--*p->left == 0) {
        cond_broadcast(p->done);
    }
    free(p);
}

static void start_listening(struct core *c);

static void on_publish(struct mail *m)
{
    struct publish *p = CONTAINER_OF(m, struct publish, mail);
    struct core_snapshot *old = p->core->now;
    p->next->current = true;
    p->core->now = p->next;
    if (old == NULL) {
        start_listening(p->core);
    } else {
        old->current = false;
        if (old->requests == 0) {
            release(old);
        }
    }
    p->mail.fn = on_adopted;
    loop_post(control, &p->mail);
}

int gateway_await_publish(struct snapshot *s)
{
    struct cond done;
    unsigned left = n_cores;
    if (ended) {
        return -ECANCELED;
    }
    cond_init(&done);
    fiber_shield(true);
    for (unsigned i = 0; i < n_cores; i++) {
        struct publish *p = calloc(1, sizeof(*p));
        struct core_snapshot *next = calloc(1, sizeof(*next));
        ASSERT(p && next);
        snapshot_hold(s);
        next->snapshot = s;
        *p = (struct publish){.mail = {.fn = on_publish},
                              .core = &cores[i],
                              .next = next,
                              .done = &done,
                              .left = &left};
        loop_post(cores[i].loop, &p->mail);
    }
    while (left > 0) {
        await_cond(&done, NEVER);
    }
    fiber_shield(false);
    return 0;
}

/* ---- a core's thread ---- */

static void on_accept(struct listener *l, int fd, const struct addr *peer)
{
    struct core *c = l->owner;
    if (c->server.stats.active >= c->max_connections) {
        LOG_RATE(WARN, "%u connections are open on this core, closing a new one",
                 c->server.stats.active);
        close(fd);
        return;
    }
    server_accept_after(&c->server, fd, peer, &l->addr, l->kind);
}

static unsigned connections_wanted(const struct settings *s)
{
    const uint64_t all = (uint64_t)s->worker_connections * s->workers;
    return all > 0 && all < s->weir.max_connections ? (unsigned)all : s->weir.max_connections;
}

/*
 * The connections that are wanted and that there are descriptors for: each may need one more to an
 * upstream, and some are kept for logs, the store and the Admin API, so that a gateway full of
 * clients can still be looked after.
 */
static unsigned connections_allowed(const struct settings *s)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
        return connections_wanted(s);
    }
    rlim_t kept = limit.rlim_cur / 4 < DESCRIPTORS_KEPT ? limit.rlim_cur / 4 : DESCRIPTORS_KEPT;
    rlim_t room = (limit.rlim_cur - kept) / 2;
    const unsigned wanted = connections_wanted(s);
    return room < wanted ? (unsigned)room : wanted;
}

static void say_if_few(const struct settings *s)
{
    const unsigned n = connections_allowed(s);
    if (n >= connections_wanted(s)) {
        return;
    }
    if (s->worker_connections) {
        LOG(WARN,
            "the limit of open files allows %u connections, fewer than "
            "nginx_config.event.worker_connections on each core",
            n);
    } else {
        LOG(NOTICE,
            "the limit of open files allows %u connections, fewer than weir.max_connections", n);
    }
}

static unsigned connections_share(const struct settings *s, unsigned cores_n)
{
    return (connections_allowed(s) + cores_n - 1) / cores_n;
}

static void start_listening(struct core *c)
{
    c->n_listeners = c->settings->n_listen;
    c->listeners = calloc(c->n_listeners, sizeof(*c->listeners));
    ASSERT(c->listeners != NULL);
    for (unsigned i = 0; i < c->n_listeners; i++) {
        const struct listen_addr *a = &c->settings->listen[i];
        int rc = listener_start(&c->listeners[i], c->fds[i], &a->addr, on_accept, c);
        if (rc < 0) {
            LOG(EMERG, "core %u cannot listen: %s", c->index, strerror(-rc));
        }
        c->listeners[i].kind =
            (a->proxy_protocol ? PREFACE_PROXY : 0u) | (a->tls ? PREFACE_TLS : 0u);
    }
}

static void resolver_start(const struct settings *s)
{
    char servers[1024] = "";
    snprintf(servers, sizeof(servers), "%.*s", STR_ARG(s->dns_servers));
    const struct resolver_conf conf = {
        .servers = servers[0] ? servers : NULL,
        .valid_ms = s->dns_valid_ms,
        .timeout_ms = s->resolver_timeout_ms,
        .ipv6 = s->enable_ipv6,
        .search = s->resolv_search,
    };
    int rc = resolver_init(&conf);
    if (rc < 0) {
        LOG(ERROR, "the resolver cannot start: %s", strerror(-rc));
    }
}

struct start {
    struct core *core;
    struct cond *done;
    struct mail mail;
    unsigned *left;
};

static void on_started(struct mail *m)
{
    struct start *st = CONTAINER_OF(m, struct start, mail);
    if (--*st->left == 0) {
        cond_broadcast(st->done);
    }
}

static void core_init(struct core *c)
{
    int rc = loop_init();
    ASSERT(rc == 0);
    clock_tick();
    c->loop = loop_self();
    io_set_min_drain(c->settings->weir.min_drain_rate);
    resolver_start(c->settings);
    balancer_core_init();
    server_init(&c->server, "proxy", gateway_handle, c->settings, c);
    c->server.refused = gateway_refused;
    c->server.tls = c->tls.acceptor;
    c->server.is_proxy = true;
    c->log = access_log_new(c->settings);
    for (unsigned i = 0; i < plugin_count(); i++) {
        if (plugin_at(i)->core_init) {
            plugin_at(i)->core_init(c->index, c->cores);
        }
    }
}

static void core_fini(struct core *c)
{
    server_close_all(&c->server);
    fiber_run_ready();
    server_thread_fini();
    pool_fini();
    balancer_core_fini();
    access_log_free(c->log);
    chain_core_fini();
    resolver_fini();
    fiber_thread_fini();
    compress_thread_fini();
    free(c->listeners);
    loop_fini();
}

static void *core_main(void *arg)
{
    struct start *st = arg;
    struct core *c = st->core;
    crash_thread_init();
    core_init(c);
    st->mail.fn = on_started;
    loop_post(control, &st->mail);
    loop_run();
    sem_wait(&c->may_end); /* whoever posted the last message may still be waking the loop */
    core_fini(c);
    return NULL;
}

/* ---- control thread: start ---- */

static int open_listeners(const struct settings *s, unsigned n, struct err *e)
{
    listen_fds = calloc((size_t)n * s->n_listen + 1, sizeof(int));
    ASSERT(listen_fds != NULL);
    for (unsigned core = 0; core < n; core++) {
        for (unsigned i = 0; i < s->n_listen; i++) {
            const struct addr *a = &s->listen[i].addr;
            bool is_unix = a->sa.sa_family == AF_UNIX;
            int *fd = &listen_fds[core * s->n_listen + i];
            /* A Unix socket cannot be bound twice: the cores share one queue. */
            *fd = is_unix && core > 0 ? dup(listen_fds[i]) : listener_socket(a, true, BACKLOG, e);
            if (*fd < 0) {
                return -1;
            }
        }
    }
    return 0;
}

int gateway_start(const struct settings *s, struct err *e)
{
    n_cores = s->workers;
    control = loop_self();
    struct gateway_tls tls;
    if (gateway_tls_new(&tls, s, e) != 0) {
        return -1;
    }
    gateway_tls_rotate();
    if (open_listeners(s, n_cores, e) != 0) {
        return -1;
    }
    say_if_few(s);
    cores = calloc(n_cores, sizeof(*cores));
    struct start *starts = calloc(n_cores, sizeof(*starts));
    ASSERT(cores && starts);
    struct cond done;
    unsigned left = n_cores;
    cond_init(&done);
    for (unsigned i = 0; i < n_cores; i++) {
        cores[i] = (struct core){.index = i,
                                 .cores = n_cores,
                                 .settings = s,
                                 .tls = tls,
                                 .fds = &listen_fds[i * s->n_listen],
                                 .max_connections = connections_share(s, n_cores)};
        starts[i] = (struct start){.core = &cores[i], .done = &done, .left = &left};
        sem_init(&cores[i].may_end, 0, 0);
        int rc = pthread_create(&cores[i].thread, NULL, core_main, &starts[i]);
        if (rc != 0) {
            return err_set(e, "cannot start a core: %s", strerror(rc));
        }
        char name[32];
        snprintf(name, sizeof(name), "core-%u", i);
        pthread_setname_np(cores[i].thread, name);
    }
    while (left > 0) {
        await_cond(&done, NEVER);
    }
    free(starts);
    return 0;
}

/* ---- control thread: reload ---- */

struct on_core {
    struct mail mail;
    struct core *core;
    const struct settings *settings;
    struct gateway_tls tls;
    struct cond *done;
    unsigned *left;
};

static void on_done(struct mail *m)
{
    struct on_core *o = CONTAINER_OF(m, struct on_core, mail);
    if (--*o->left == 0) {
        cond_broadcast(o->done);
    }
    free(o);
}

/* Send each core a message and park until all have handled it and sent it back with fn = on_done.
 */
static void await_on_cores(void (*fn)(struct mail *m), const struct settings *s,
                           struct gateway_tls tls)
{
    struct cond done;
    unsigned left = n_cores;
    cond_init(&done);
    fiber_shield(true);
    for (unsigned i = 0; i < n_cores; i++) {
        struct on_core *o = calloc(1, sizeof(*o));
        ASSERT(o != NULL);
        *o = (struct on_core){.mail = {.fn = fn},
                              .core = &cores[i],
                              .settings = s,
                              .tls = tls,
                              .done = &done,
                              .left = &left};
        loop_post(cores[i].loop, &o->mail);
    }
    while (left > 0) {
        await_cond(&done, NEVER);
    }
    fiber_shield(false);
}

static void send_back(struct on_core *o)
{
    o->mail.fn = on_done;
    loop_post(control, &o->mail);
}

/* New settings of a core: limits, log and listeners. Requests that run keep the old ones (settings
 * live as long as the process). */
static void on_reload(struct mail *m)
{
    struct on_core *o = CONTAINER_OF(m, struct on_core, mail);
    struct core *c = o->core;
    struct access_log *old = c->log;
    c->settings = o->settings;
    c->max_connections = connections_share(o->settings, c->cores);
    server_set_limits(&c->server, o->settings);
    if (c->tls.trust != NULL || o->tls.trust != NULL) {
        pool_forget(); /* who was trusted, may not be any more */
    }
    c->tls = o->tls;
    c->server.tls = c->tls.acceptor;
    c->log = access_log_new(o->settings);
    if (old) {
        access_log_retire(old);
    }
    io_set_min_drain(o->settings->weir.min_drain_rate);
    send_back(o);
}

static bool same_listeners(const struct settings *a, const struct settings *b)
{
    if (a->n_listen != b->n_listen) {
        return false;
    }
    for (unsigned i = 0; i < a->n_listen; i++) {
        if (a->listen[i].tls != b->listen[i].tls ||
            a->listen[i].proxy_protocol != b->listen[i].proxy_protocol ||
            a->listen[i].addr.len != b->listen[i].addr.len ||
            memcmp(&a->listen[i].addr.room, &b->listen[i].addr.room, a->listen[i].addr.len) != 0) {
            return false;
        }
    }
    return true;
}

/* The sockets of the new addresses; those that stay are kept, so that no queued connection is lost.
 */
static int *reopen(const struct settings *old, const struct settings *s, struct err *e)
{
    int *fds = malloc(sizeof(int) * ((size_t)n_cores * s->n_listen + 1));
    ASSERT(fds != NULL);
    for (unsigned core = 0; core < n_cores; core++) {
        for (unsigned i = 0; i < s->n_listen; i++) {
            int *fd = &fds[core * s->n_listen + i];
            *fd = -1;
            for (unsigned k = 0; k < old->n_listen && *fd < 0; k++) {
                const struct addr *a = &old->listen[k].addr, *b = &s->listen[i].addr;
                if (a->len == b->len && memcmp(a->room, b->room, a->len) == 0) {
                    *fd = dup(listen_fds[core * old->n_listen + k]);
                }
            }
            bool shared = s->listen[i].addr.sa.sa_family == AF_UNIX && core > 0;
            if (*fd < 0) {
                *fd = shared ? dup(fds[i]) : listener_socket(&s->listen[i].addr, true, BACKLOG, e);
            }
            if (*fd < 0) {
                for (unsigned k = 0; k < core * s->n_listen + i; k++) {
                    close(fds[k]);
                }
                free(fds);
                return NULL;
            }
        }
    }
    return fds;
}

static void on_relisten(struct mail *m)
{
    struct on_core *o = CONTAINER_OF(m, struct on_core, mail);
    struct core *c = o->core;
    struct listener *old = c->listeners;
    unsigned n_old = c->n_listeners;
    start_listening(c);
    for (unsigned i = 0; i < n_old; i++) {
        listener_stop(&old[i]);
    }
    free(old);
    send_back(o);
}

int gateway_await_reload(const struct settings *s, struct err *e)
{
    const struct settings *old = cores[0].settings;
    struct gateway_tls before = cores[0].tls, tls;
    int *fds = NULL;
    if (gateway_tls_new(&tls, s, e) != 0) {
        return -1;
    }
    if (!same_listeners(old, s)) {
        fds = reopen(old, s, e);
        if (fds == NULL) {
            gateway_tls_free(&tls);
            return -1;
        }
    }
    say_if_few(s);
    await_on_cores(on_reload, s, tls);
    gateway_tls_free(&before);
    if (fds) {
        for (unsigned i = 0; i < n_cores; i++) {
            cores[i].fds = &fds[i * s->n_listen];
        }
        await_on_cores(on_relisten, s, tls);
        free(listen_fds);
        listen_fds = fds;
    }
    return 0;
}

/* ---- control thread: stop ---- */

static void on_stop(struct mail *m)
{
    struct on_core *o = CONTAINER_OF(m, struct on_core, mail);
    struct core *c = o->core;
    c->stopping = true;
    for (unsigned i = 0; i < c->n_listeners; i++) {
        listener_stop(&c->listeners[i]);
    }
    server_drain(&c->server);
    send_back(o);
}

/* What was cancelled unwinds, and helpers bring back what they have of this core; then the loop
 * ends. */
static void end_main(void *arg)
{
    int64_t until = deadline_in(END_MS);
    while (fiber_count() > 1 && now_ms() < until) {
        await_until(deadline_in(1));
    }
    loop_stop(loop_self());
}

static void on_end(struct mail *m)
{
    struct on_core *o = CONTAINER_OF(m, struct on_core, mail);
    server_close_all(&o->core->server);
    mirror_cancel_all();
    send_back(o);
    if (fiber_start("end", end_main, NULL) == NULL) {
        loop_stop(loop_self());
    }
}

void gateway_await_stop(void)
{
    const struct settings *s = cores[0].settings;
    int64_t until = deadline_in(s->shutdown_timeout_ms);
    await_on_cores(on_stop, s, cores[0].tls);
    while (gateway_stats().active > 0 && now_ms() < until) {
        await_until(deadline_in(10));
    }
    ended = true;
    await_on_cores(on_end, s, cores[0].tls);
    for (unsigned i = 0; i < n_cores; i++) {
        sem_post(&cores[i].may_end);
        pthread_join(cores[i].thread, NULL);
        sem_destroy(&cores[i].may_end);
    }
}

unsigned gateway_cores(void)
{
    return n_cores;
}

struct core *gateway_core(unsigned i)
{
    return &cores[i];
}

/* Plain reads of counters another thread writes: each is one aligned word, and a value that is a
 * moment old is as good. */
struct server_stats gateway_stats(void)
{
    struct server_stats sum = {0};
    for (unsigned i = 0; i < n_cores; i++) {
        const struct server_stats *s = &cores[i].server.stats;
        sum.accepted += __atomic_load_n(&s->accepted, __ATOMIC_RELAXED);
        sum.handled += __atomic_load_n(&s->handled, __ATOMIC_RELAXED);
        sum.requests += __atomic_load_n(&s->requests, __ATOMIC_RELAXED);
        sum.active += __atomic_load_n(&s->active, __ATOMIC_RELAXED);
        sum.reading += __atomic_load_n(&s->reading, __ATOMIC_RELAXED);
        sum.writing += __atomic_load_n(&s->writing, __ATOMIC_RELAXED);
        sum.waiting += __atomic_load_n(&s->waiting, __ATOMIC_RELAXED);
    }
    return sum;
}
