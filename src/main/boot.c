/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot: the order in which the gateway comes up and goes down, one function a step. The control
 * thread runs its own loop; boot_main() is its first fiber.
 */
#include "main/boot.h"

#include "admin/admin.h"
#include "base/assert.h"
#include "base/log.h"
#include "config/hooks.h"
#include "config/settings.h"
#include "control/status.h"
#include "event/loop.h"
#include "event/poll.h"
#include "fiber/fiber.h"
#include "gateway/gateway.h"
#include "http/vars.h"
#include "main/faces.h"
#include "main/handover.h"
#include "main/instance_id.h"
#include "main/keys.h"
#include "main/live.h"
#include "main/memory.h"
#include "main/trim.h"
#include "net/resolver.h"
#include "net/sockets.h"
#include "plugin/instance.h"
#include "plugin/metrics.h"
#include "plugins/list.h"
#include "route/router.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONTROL_STACK (512 << 10) /* schemas, regular expressions and SQL are deep */

static struct boot {
    const char *config, *data;
    struct settings *settings;
    const struct settings *first; /* held for good: plugins keep what their init is given */
    struct store *store;
} boot;

static void warn(const char *line)
{
    LOG(WARN, "%s", line);
}

/* ---- settings and logs ---- */

/* The folder a log goes to is made when it is missing (one level: logs/). */
static void make_folder_of(struct str path)
{
    char folder[4096];
    ptrdiff_t slash = str_rindex(path, '/');
    if (slash > 0) {
        snprintf(folder, sizeof(folder), "%.*s", (int)slash, path.p);
        mkdir(folder, 0755);
    }
}

static int open_error_log(const struct settings *s)
{
    char path[4096];
    snprintf(path, sizeof(path), "%.*s", STR_ARG(s->error_log));
    make_folder_of(s->error_log);
    make_folder_of(s->access_log);
    int rc = log_open(path, (enum log_level)s->error_log_level);
    if (rc < 0) {
        fprintf(stderr, "weir: cannot open the error log %s: %s\n", path, strerror(-rc));
    }
    return rc;
}

static int make_data_dir(struct err *e)
{
    if (mkdir(boot.data, 0700) != 0 && errno != EEXIST) {
        return err_set(e, "cannot make the data folder %s: %s", boot.data, strerror(errno));
    }
    return 0;
}

/* ---- the layers that look up things in higher ones ---- */

static void enable_plugins(const struct settings *s)
{
    unsigned n;
    const struct plugin *const *built = plugins_built(&n);
    plugin_registry_init(built, n, s->plugins_set ? s->plugins : NULL, s->n_plugins, warn);
}

static void install_hooks(const struct settings *s)
{
    vars_install();
    enable_plugins(s);
    plugin_install_hooks(&config_hooks);
    config_hooks.router_put = router_put;
    config_hooks.router_del = router_del;
    config_hooks.router_hold = router_hold;
    config_hooks.router_drop = router_drop;
    router_set_mode((enum router_mode)router_mode_of(s->router));
}

static int init_plugins(const struct settings *s, struct err *e)
{
    for (unsigned i = 0; i < plugin_count(); i++) {
        if (plugin_at(i)->init && plugin_at(i)->init(s, e) != 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- listening sockets ---- */

static bool is_wanted(const struct addr *addr, const void *settings)
{
    const struct settings *s = settings;
    for (unsigned i = 0; i < s->n_listen; i++) {
        if (addr_equal(&s->listen[i].addr, addr)) {
            return true;
        }
    }
    return faces_want(s, addr);
}

/* All that s asks for, or as it was. */
static int open_sockets(const struct settings *s, struct err *e)
{
    int rc = gateway_open(s, e) != 0 || faces_open(s, e) != 0 ? -1 : 0;
    if (rc != 0) {
        sockets_keep(is_wanted, boot.settings);
    }
    return rc;
}

/* What s does not ask for is closed, here and at the supervisor. */
static void keep_sockets(const struct settings *s)
{
    sockets_keep(is_wanted, s);
    handover_tell_sockets();
}

/* ---- plugin list reload ---- */

/* Build every object again, with the plugins and the router of now. */
static int rebuild(struct err *e)
{
    return admin_load(live_await_replace, e);
}

static int reload_plugins(struct err *e)
{
    struct settings *s = settings_load(boot.config, warn, e);
    if (s == NULL) {
        return -1;
    }
    enable_plugins(s);
    settings_free(s);
    return rebuild(e);
}

/* Also at a reload: a key that is taken out of config.yaml opens nothing any more. */
static void start_admin(const struct settings *s)
{
    const struct admin_deps deps = {
        .settings = s,
        .store = boot.store,
        .current = live_snapshot,
        .await_publish = live_await_publish,
        .reload_plugins = reload_plugins,
    };
    admin_init(&deps);
}

/* ---- reload of config.yaml ---- */

/* What signals and the supervisor have asked for. One reload at a time, and none while the gateway
 * starts, stops, or hands over. */
static struct {
    bool ready, reload, reloading, quiet, renewing, retired, stopping;
} asked;

/* plugin_attr, but for where the metrics are served. */
static json_t *attributes(const struct settings *s)
{
    json_t *all = json_deep_copy(json_get(s->json, "plugin_attr"));
    json_t *metrics = json_get(all, "prometheus");
    json_object_del(metrics, "export_addr");
    json_object_del(metrics, "enable_export_server");
    return all ? all : json_object();
}

static bool same_attributes(const struct settings *a, const struct settings *b)
{
    json_t *x = attributes(a), *y = attributes(b);
    bool same = json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return same;
}

/* Some settings are taken once in the life of a process. */
static bool needs_process(const struct settings *old, const struct settings *s)
{
    return old->workers != s->workers || !str_eq(old->weir.engine, s->weir.engine) ||
           old->rlimit_nofile != s->rlimit_nofile || old->weir.stack_size != s->weir.stack_size ||
           old->weir.offload_threads != s->weir.offload_threads || !same_attributes(old, s);
}

static void memory_pressure(int level, uint64_t excess)
{
    server_set_pressure(level);
    if (excess > 0) {
        gateway_relieve(excess);
    }
}

/* With the sockets of s open. */
static int await_apply(struct settings *s, struct err *e)
{
    struct settings *old = boot.settings;
    if (gateway_await_reload(s, (struct snapshot *)(uintptr_t)live_snapshot(), e) != 0) {
        sockets_keep(is_wanted, old);
        return -1;
    }
    open_error_log(s);
    boot.settings = s;
    start_admin(s);
    faces_set(s);
    keep_sockets(s);
    enable_plugins(s);
    router_set_mode((enum router_mode)router_mode_of(s->router));
    memory_watch(s->weir.memory_budget, memory_pressure);
    if (rebuild(e) != 0) {
        LOG(ERROR, "reload: the stored configuration could not be built again: %s", e->msg);
    }
    settings_drop(old);
    LOG(NOTICE, "config.yaml was read again");
    return 0;
}

static void refuse_reload(const char *why)
{
    LOG(ERROR, "reload refused, the old configuration stays: %s", why);
}

static void await_reload(void)
{
    struct err e = {""};
    struct settings *s = settings_load(boot.config, warn, &e);
    if (s == NULL || keys_ensure(s, boot.data, &e) != 0) {
        refuse_reload(e.msg);
    } else if (!needs_process(boot.settings, s)) {
        if (open_sockets(s, &e) == 0 && await_apply(s, &e) == 0) {
            return;
        }
        refuse_reload(e.msg);
    } else if (handover_is_supervised()) {
        asked.renewing = true;
        handover_say(CHANNEL_RENEW, NULL);
    } else {
        refuse_reload("the number of cores, engine, worker_rlimit_nofile, stack_size, "
                      "offload_threads and plugin_attr need a new process, and there is no "
                      "supervisor to start it");
    }
    settings_drop(s);
}

static void reload_main(void *arg)
{
    asked.reloading = true;
    while (asked.reload && !asked.stopping && !asked.quiet) {
        asked.reload = false;
        await_reload();
    }
    asked.reloading = false;
}

static void reload_if_asked(void)
{
    if (asked.reload && asked.ready && !asked.reloading && !asked.quiet) {
        fiber_start("reload", reload_main, NULL);
    }
}

/* ---- stop ---- */

#define FACES_END_MS 5000

/* After a request that does not end the store is left as it is: it survives an end without a close.
 */
static void stop_main(void *arg)
{
    const bool handed_over = asked.retired;
    LOG(NOTICE, "stopping: no new connections, running requests finish");
    while (asked.reloading) {
        await_until(deadline_in(10));
    }
    sockets_close();
    faces_stop(handed_over);
    gateway_await_stop(handed_over);
    if (faces_await_end(deadline_in(FACES_END_MS))) {
        boot.store->ops->close(boot.store);
    }
    loop_stop(loop_self());
}

static void begin_stop(void)
{
    if (!asked.stopping) {
        asked.stopping = true;
        fiber_start("stop", stop_main, NULL);
    }
}

static void hurry_main(void *arg)
{
    gateway_await_hurry();
}

/* ---- handing over to another process ---- */

#define QUIET_MS 5000

/*
 * The store has one writer at a time: the Admin API of this process ends (its queue waits for the
 * other process), what is being written is written, and anything later is refused. So what the
 * other one reads is the last word.
 */
static void quiet_main(void *arg)
{
    while (asked.reloading) {
        await_until(deadline_in(10));
    }
    faces_await_admin_end(deadline_in(QUIET_MS));
    int rc = boot.store->ops->await_hand_over(boot.store, true, deadline_in(QUIET_MS));
    handover_say(rc == 0 ? CHANNEL_IS_QUIET : CHANNEL_FAILED,
                 "the running process has a write to its store that does not end");
}

static void on_quiet(void)
{
    if (!asked.ready) {
        handover_say(CHANNEL_FAILED, "the running process is not ready itself yet");
    } else if (!asked.stopping) {
        asked.quiet = true;
        fiber_start("quiet", quiet_main, NULL);
    }
}

static void on_go_on(const char *why)
{
    if (asked.stopping || !asked.quiet) {
        return;
    }
    asked.quiet = false;
    boot.store->ops->await_hand_over(boot.store, false, NEVER); /* does not park */
    faces_admin_again();
    if (asked.renewing) {
        refuse_reload(why);
    } else {
        LOG(ERROR, "upgrade refused, this process serves on: %s", why);
    }
    asked.renewing = false;
    reload_if_asked();
}

static void on_retire(void)
{
    LOG(NOTICE, "another process has taken over%s",
        asked.renewing ? ": config.yaml was read again" : "");
    asked.retired = true;
    begin_stop();
}

static const struct handover_steps steps = {
    .quiet = on_quiet, .go_on = on_go_on, .retire = on_retire};

/* ---- signals ---- */

static void on_signal(int signo)
{
    if (signo == SIGHUP) {
        asked.reload = true;
        reload_if_asked();
    } else if (!asked.ready) {
        _exit(0); /* nothing is served yet */
    } else if (asked.retired) {
        fiber_start("hurry", hurry_main, NULL);
    } else {
        begin_stop();
    }
}

static struct poll signals;

static void on_signals(struct poll *p, unsigned ready)
{
    struct signalfd_siginfo info;
    while (read(p->fd, &info, sizeof(info)) == sizeof(info)) {
        on_signal((int)info.ssi_signo);
    }
}

/* Read from a descriptor, so they are blocked everywhere. */
static sigset_t our_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    return set;
}

static void watch_signals(void)
{
    sigset_t set = our_signals();
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    ASSERT(fd >= 0);
    int rc = poll_start(&signals, fd, POLL_READ, on_signals);
    ASSERT(rc == 0);
}

/* ---- start ---- */

static struct metrics_connections connections(void)
{
    struct server_stats s = gateway_stats();
    return (struct metrics_connections){s.accepted, s.handled, s.requests, s.active,
                                        s.reading,  s.writing, s.waiting};
}

static int64_t config_revision(void)
{
    return boot.store ? boot.store->revision : 0;
}

/* Requests, connections that came and went, changes of the configuration. */
static uint64_t work_done(void)
{
    const struct server_stats s = gateway_stats();
    return s.requests + 2 * s.accepted - s.active + (uint64_t)config_revision();
}

static int boot_steps(struct err *e)
{
    struct settings *s = boot.settings;
    if (make_data_dir(e) != 0 || keys_ensure(s, boot.data, e) != 0 ||
        instance_id_load(boot.data, s, &instance.id, e) != 0) {
        return -1;
    }
    instance.stats = gateway_stats;
    const struct resolver_conf names = {.timeout_ms = 5000, .ipv6 = true, .search = true};
    resolver_init(&names);
    offload_init(s->weir.offload_threads);
    install_hooks(s);
    boot.store = store_open_embedded(boot.data, e);
    if (boot.store == NULL) {
        return -1;
    }
    start_admin(s);
    const struct metrics_sources sources = {.connections = connections,
                                            .config_revision = config_revision};
    metrics_set_sources(&sources);
    boot.first = settings_hold(s);
    if (metrics_init(s, s->workers, e) != 0 || init_plugins(s, e) != 0 ||
        admin_load(live_apply, e) != 0) {
        return -1;
    }
    if (open_sockets(s, e) != 0 || gateway_start(s, e) != 0) {
        return -1;
    }
    live_await_first();
    faces_set(s);
    keep_sockets(s);
    memory_watch(s->weir.memory_budget, memory_pressure);
    trim_start(work_done);
    return 0;
}

static _Noreturn void cannot_start(const char *why)
{
    handover_say(CHANNEL_FAILED, why);
    fprintf(stderr, "weir: cannot start: %s\n", why);
    _exit(1);
}

static void boot_main(void *arg)
{
    struct err e = {""};
    if (boot_steps(&e) != 0) {
        LOG(EMERG, "cannot start: %s", e.msg);
        cannot_start(e.msg);
    }
    status_set_ready();
    LOG(NOTICE, "weir " WEIR_VERSION " is ready: %u cores on %s", boot.settings->workers,
        loop_engine());
    asked.ready = true;
    handover_say(CHANNEL_READY, WEIR_VERSION);
    reload_if_asked();
}

/* A connection is a descriptor: take as many as the system allows, or as config.yaml says. */
static void set_descriptor_limit(rlim_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    if (wanted > limit.rlim_max) {
        const struct rlimit more = {.rlim_cur = wanted, .rlim_max = wanted};
        if (setrlimit(RLIMIT_NOFILE, &more) == 0) {
            return;
        }
        LOG(WARN,
            "nginx_config.worker_rlimit_nofile is %llu, but the system allows no more than %llu "
            "open files",
            (unsigned long long)wanted, (unsigned long long)limit.rlim_max);
        wanted = 0;
    }
    limit.rlim_cur = wanted > 0 ? wanted : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void block_signals(void)
{
    sigset_t set = our_signals();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static int start_loop(void)
{
    const struct str engine = boot.settings->weir.engine;

    loop_set_engine(str_eq(engine, STR("epoll"))      ? LOOP_EPOLL
                    : str_eq(engine, STR("io_uring")) ? LOOP_IO_URING
                                                      : LOOP_AUTO);
    int rc = loop_init();
    if (rc < 0) {
        struct err e = {""};
        err_set(&e, "weir.engine %.*s is not available here: %s", STR_ARG(engine), strerror(-rc));
        LOG(EMERG, "cannot start: %s", e.msg);
        handover_say(CHANNEL_FAILED, e.msg);
        fprintf(stderr, "weir: cannot start: %s\n", e.msg);
    }
    return rc;
}

int boot_run(const char *config, const char *data, int channel)
{
    struct err e = {""};
    boot.config = config;
    boot.data = data;
    clock_tick();
    handover_begin(channel);
    boot.settings = settings_load(config, warn, &e);
    if (boot.settings == NULL) {
        handover_say(CHANNEL_FAILED, e.msg);
        fprintf(stderr, "weir: %s\n", e.msg);
        return 1;
    }
    if (open_error_log(boot.settings) < 0) {
        handover_say(CHANNEL_FAILED, "cannot open the error log");
        return 1;
    }
    block_signals();
    set_descriptor_limit(boot.settings->rlimit_nofile);
    fiber_set_stack_size(boot.settings->weir.stack_size);
    fiber_set_thread_stack_size(CONTROL_STACK);
    if (start_loop() < 0) {
        return 1;
    }
    watch_signals();
    handover_watch(&steps);
    fiber_start("boot", boot_main, NULL);
    loop_run();
    fiber_thread_fini();
    LOG(NOTICE, "stopped");
    return 0;
}

int boot_check(const char *config)
{
    struct err e = {""};
    struct settings *s = settings_load(config, warn, &e);
    if (s == NULL) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    settings_free(s);
    return 0;
}
