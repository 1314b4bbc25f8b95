/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core: the threads of the data path, and how a snapshot reaches them.
 *
 * Publishing: the control thread sends each core a message with the new snapshot; the core makes it
 * current and answers. The old one is given back (another message) when its last request on that
 * core has ended. So counts are touched on one thread only, and nobody waits for traffic. New
 * settings travel the same way: a snapshot goes with the settings of its time.
 */
#include "base/assert.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "fiber/fiber.h"
#include "gateway/access_log.h"
#include "gateway/gateway.h"
#include "gateway/mirror.h"
#include "net/resolver.h"
#include "net/sockets.h"
#include "plugin/chain.h"
#include "plugin/compress.h"
#include "upstream/balancer.h"
#include "upstream/h2_pool.h"
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
static const struct settings *in_force; /* what goes with the next snapshot */
static struct gateway_tls tls;          /* made of them */
static bool listening;                  /* the cores have listeners */
static bool ended; /* the cores were told to end: nothing may be sent to them */

/* ---- messages ---- */

/* A listening socket for a core, and what it is for. */
struct listening {
    int fd;
    const struct listen_addr *at;
};

struct publish {
    struct mail mail; /* to the core, then back */
    struct core *core;
    struct core_snapshot *next;
    struct gateway_tls tls;      /* when the settings are others */
    struct listening *listening; /* what to listen on from now on; NULL: as before */
    unsigned n_listening;
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
    settings_drop(rel->s->settings);
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
    free(p->listening);
    free(p);
}

static void take_settings(struct core *c, const struct settings *s, struct gateway_tls t);
static void listen_on(struct core *c, const struct listening *on, unsigned n);

static void on_publish(struct mail *m)
{
    struct publish *p = CONTAINER_OF(m, struct publish, mail);
    struct core_snapshot *old = p->core->now;
    p->next->current = true;
    p->core->now = p->next;
    if (p->next->settings != p->core->settings) {
        take_settings(p->core, p->next->settings, p->tls);
    }
    if (p->listening) {
        listen_on(p->core, p->listening, p->n_listening);
    }
    if (old != NULL) {
        old->current = false;
        if (old->requests == 0) {
            release(old);
        }
    }
    p->mail.fn = on_adopted;
    loop_post(control, &p->mail);
}

/* Core `index`'s part of the sockets of the addresses of s. */
static struct listening *listening_of(const struct settings *s, unsigned index, unsigned *n)
{
    int fds[SOCKETS_SHARE];
    struct listening *v = mem_alloc(sizeof(*v));
    *n = 0;
    for (unsigned i = 0; i < s->n_listen; i++) {
        unsigned got = sockets_share(&s->listen[i].addr, index, n_cores, fds);
        v = mem_resize(v, sizeof(*v) * (*n + got + 1));
        for (unsigned k = 0; k < got; k++) {
            v[(*n)++] = (struct listening){fds[k], &s->listen[i]};
        }
    }
    return v;
}

/* Send s with the settings in force to all cores, and park until all use it. */
static void await_publish(struct snapshot *s, bool listen)
{
    struct cond done;
    unsigned left = n_cores;
    cond_init(&done);
    fiber_shield(true);
    for (unsigned i = 0; i < n_cores; i++) {
        struct publish *p = mem_alloc(sizeof(*p));
        struct core_snapshot *next = mem_alloc(sizeof(*next));
        snapshot_hold(s);
        *next = (struct core_snapshot){.snapshot = s, .settings = settings_hold(in_force)};
        *p = (struct publish){.mail = {.fn = on_publish},
                              .core = &cores[i],
                              .next = next,
                              .tls = tls,
                              .done = &done,
                              .left = &left};
        if (listen) {
            p->listening = listening_of(in_force, i, &p->n_listening);
        }
        loop_post(cores[i].loop, &p->mail);
    }
    while (left > 0) {
        await_cond(&done, NEVER);
    }
    fiber_shield(false);
}

int gateway_await_publish(struct snapshot *s)
{
    if (ended) {
        return -ECANCELED;
    }
    bool first = !listening;
    listening = true;
    await_publish(s, first);
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

/* Listen on these instead of what there was: what is queued there is taken. */
static void listen_on(struct core *c, const struct listening *on, unsigned n)
{
    struct listener *old = c->listeners;
    unsigned n_old = c->n_listeners;
    c->n_listeners = n;
    c->listeners = mem_alloc(sizeof(*c->listeners) * (n + 1));
    for (unsigned i = 0; i < n; i++) {
        const struct listen_addr *a = on[i].at;
        int rc = listener_start(&c->listeners[i], on[i].fd, &a->addr, on_accept, c);
        if (rc < 0) {
            LOG(EMERG, "core %u cannot listen: %s", c->index, strerror(-rc));
        }
        c->listeners[i].kind =
            (a->proxy_protocol ? PREFACE_PROXY : 0u) | (a->tls ? PREFACE_TLS : 0u);
    }
    for (unsigned i = 0; i < n_old; i++) {
        listener_stop(&old[i]);
    }
    free(old);
}

/* Make or renew the resolver of this thread. */
static void set_resolver(const struct settings *s)
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

/* New settings of a core: limits, log, resolver. Requests that run keep the old ones, which live as
 * long as the snapshot they have. */
static void take_settings(struct core *c, const struct settings *s, struct gateway_tls t)
{
    struct access_log *old = c->log;
    c->settings = s;
    server_set_limits(&c->server, s);
    c->max_connections = connections_share(s, c->cores);
    if (c->tls.trust != NULL || t.trust != NULL) {
        h2_pool_forget();
        pool_forget(); /* who was trusted, may not be any more */
    }
    c->tls = t;
    c->server.tls = t.acceptor;
    c->log = access_log_new(s);
    if (old) {
        access_log_retire(old);
    }
    io_set_min_drain(s->weir.min_drain_rate);
    set_resolver(s);
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
    set_resolver(c->settings);
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
    h2_pool_fini();
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

int gateway_open(const struct settings *s, struct err *e)
{
    for (unsigned i = 0; i < s->n_listen; i++) {
        if (sockets_open(&s->listen[i].addr, n_cores ? n_cores : s->workers, BACKLOG, e) != 0) {
            return -1;
        }
    }
    return 0;
}

int gateway_start(const struct settings *s, struct err *e)
{
    n_cores = s->workers;
    control = loop_self();
    if (gateway_tls_new(&tls, s, e) != 0) {
        return -1;
    }
    gateway_tls_rotate();
    in_force = settings_hold(s);
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

int gateway_await_reload(const struct settings *s, struct snapshot *now, struct err *e)
{
    const struct settings *old = in_force;
    struct gateway_tls before = tls, after;
    if (gateway_tls_new(&after, s, e) != 0) {
        return -1;
    }
    tls = after;
    in_force = settings_hold(s);
    say_if_few(s);
    await_publish(now, true);
    gateway_tls_free(&before);
    settings_drop(old);
    return 0;
}

/* ---- control thread: stop ---- */

struct on_core {
    struct mail mail;
    struct core *core;
    bool handed_over;
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
static void await_on_cores(void (*fn)(struct mail *m), bool handed_over)
{
    struct cond done;
    unsigned left = n_cores;
    cond_init(&done);
    fiber_shield(true);
    for (unsigned i = 0; i < n_cores; i++) {
        struct on_core *o = mem_alloc(sizeof(*o));
        *o = (struct on_core){.mail = {.fn = fn},
                              .core = &cores[i],
                              .handed_over = handed_over,
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

static void on_stop(struct mail *m)
{
    struct on_core *o = CONTAINER_OF(m, struct on_core, mail);
    struct core *c = o->core;
    c->stopping = true;
    for (unsigned i = 0; i < c->n_listeners; i++) {
        (o->handed_over ? listener_leave : listener_stop)(&c->listeners[i]);
    }
    server_drain(&c->server, o->handed_over ? NEVER : SERVER_STOP_IDLE_MS);
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

void gateway_await_hurry(void)
{
    if (!ended) {
        await_on_cores(on_stop, false);
    }
}

void gateway_await_stop(bool handed_over)
{
    int64_t until = deadline_in(in_force->shutdown_timeout_ms);
    await_on_cores(on_stop, handed_over);
    while (gateway_stats().active > 0 && now_ms() < until) {
        await_until(deadline_in(10));
    }
    ended = true;
    await_on_cores(on_end, false);
    for (unsigned i = 0; i < n_cores; i++) {
        sem_post(&cores[i].may_end);
        pthread_join(cores[i].thread, NULL);
        sem_destroy(&cores[i].may_end);
    }
}

/* ---- control thread: memory ---- */

struct relief {
    struct mail mail;
    struct core *core;
    uint64_t bytes;
};

static void on_relief(struct mail *m)
{
    struct relief *r = CONTAINER_OF(m, struct relief, mail);
    server_relieve(&r->core->server, r->bytes);
    free(r);
}

void gateway_relieve(uint64_t bytes)
{
    for (unsigned i = 0; i < n_cores && !ended; i++) {
        struct relief *r = mem_alloc(sizeof(*r));
        *r =
            (struct relief){.mail = {.fn = on_relief}, .core = &cores[i], .bytes = bytes / n_cores};
        loop_post(cores[i].loop, &r->mail);
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
