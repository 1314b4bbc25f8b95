/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot: the order in which the gateway comes up and goes down, one function a step. The control
 * thread runs its own loop; boot_main() is its first fiber.
 */
#include "main/boot.h"

#include "admin/admin.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/log.h"
#include "config/hooks.h"
#include "config/settings.h"
#include "control/status.h"
#include "event/loop.h"
#include "event/poll.h"
#include "fiber/fiber.h"
#include "gateway/gateway.h"
#include "gateway/steps.h"
#include "http/vars.h"
#include "main/instance_id.h"
#include "main/live.h"
#include "main/memory.h"
#include "main/trim.h"
#include "net/resolver.h"
#include "plugin/instance.h"
#include "plugin/metrics.h"
#include "plugins/list.h"
#include "route/router.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONTROL_STACK (512 << 10) /* schemas, regular expressions and SQL are deep */

struct face {
    struct server server;
    struct listener listener;
    const char *name;
};

static struct boot {
    const char *config, *data;
    struct settings *settings;
    struct store *store;
    struct face admin, metrics, status;
    int exit_status;
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

/* Without a key in config.yaml one is made at first start and kept in a file only its owner can
 * read. */
static int ensure_admin_key(struct settings *s, struct err *e)
{
    char path[4096], key[33] = "";
    if (s->n_admin_keys > 0 || !s->admin_key_required || s->admin.addr.len == 0) {
        return 0;
    }
    snprintf(path, sizeof(path), "%s/admin.key", boot.data);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = read(fd, key, sizeof(key) - 1);
        close(fd);
        if (n != (ssize_t)sizeof(key) - 1) {
            return err_set(
                e, "%s does not hold a key of 32 characters: delete it to have a new one made",
                path);
        }
    } else {
        uint8_t random[16];
        random_bytes(random, sizeof(random));
        for (size_t i = 0; i < sizeof(random); i++) {
            snprintf(key + 2 * i, 3, "%02x", random[i]);
        }
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 || write(fd, key, 32) != 32 || fsync(fd) != 0) {
            return err_set(e, "cannot write the generated admin key to %s: %s", path,
                           strerror(errno));
        }
        close(fd);
        LOG(NOTICE, "generated an admin key, see %s", path);
    }
    struct admin_key *k = ARENA_NEW(s->arena, struct admin_key);
    *k = (struct admin_key){.name = STR("admin"), .key = arena_str(s->arena, str_c(key))};
    s->admin_keys = k;
    s->n_admin_keys = 1;
    return 0;
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

/* ---- servers of the control thread ---- */

static void serve(struct req *r, void (*handle)(struct req *r))
{
    r->snapshot = live_snapshot();
    if (request_prepare_paths(r) == NEXT) {
        handle(r);
    }
    if (r->resp.status == 0) {
        req_reply(r, 404, STR_NONE);
    }
    if (!r->resp.sent) {
        req_await_send_reply(r);
    }
}

static void serve_admin(struct req *r)
{
    serve(r, admin_handle);
}

static void serve_metrics(struct req *r)
{
    serve(r, metrics_handle);
}

static void serve_status(struct req *r)
{
    serve(r, status_handle);
}

static void on_face_accept(struct listener *l, int fd, const struct addr *peer)
{
    struct face *f = l->owner;
    server_accept(&f->server, fd, peer, &l->addr);
}

static int open_face(struct face *f, const char *name, const struct listen_addr *at,
                     void (*handle)(struct req *r), struct err *e)
{
    if (at->addr.len == 0) {
        return 0;
    }
    int fd = listener_socket(&at->addr, false, 512, e);
    if (fd < 0) {
        return err_prefix(e, "%s: ", name);
    }
    f->name = name;
    server_init(&f->server, name, handle, boot.settings, NULL);
    int rc = listener_start(&f->listener, fd, &at->addr, on_face_accept, f);
    return rc < 0 ? err_set(e, "%s: cannot listen: %s", name, strerror(-rc)) : 0;
}

static void close_face(struct face *f)
{
    if (f->name) {
        listener_stop(&f->listener);
        server_drain(&f->server);
    }
}

static int open_faces(const struct settings *s, struct err *e)
{
    if (open_face(&boot.admin, "admin", &s->admin, serve_admin, e) != 0) {
        return -1;
    }
    if (open_face(&boot.metrics, "prometheus", &s->prometheus, serve_metrics, e) != 0) {
        return -1;
    }
    return open_face(&boot.status, "status", &s->status, serve_status, e);
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
    boot.admin.server.settings = boot.metrics.server.settings = boot.status.server.settings = s;
}

/* ---- reload of config.yaml ---- */

static void await_reload(void)
{
    struct err e = {""};
    struct settings *s = settings_load(boot.config, warn, &e);
    if (s == NULL || ensure_admin_key(s, &e) != 0 || gateway_await_reload(s, &e) != 0) {
        LOG(ERROR, "reload refused, the old configuration stays: %s", e.msg);
        settings_free(s);
        return;
    }
    open_error_log(s);
    s->before = boot.settings;
    boot.settings = s;
    start_admin(s);
    enable_plugins(s);
    router_set_mode((enum router_mode)router_mode_of(s->router));
    if (rebuild(&e) != 0) {
        LOG(ERROR, "reload: the stored configuration could not be built again: %s", e.msg);
    }
    LOG(NOTICE, "config.yaml was read again");
}

/* What signals have asked for. One reload at a time, and none while the gateway starts or stops. */
static struct {
    bool ready, reload, reloading, stopping;
} asked;

static void reload_main(void *arg)
{
    asked.reloading = true;
    while (asked.reload && !asked.stopping) {
        asked.reload = false;
        await_reload();
    }
    asked.reloading = false;
}

/* ---- stop ---- */

#define FACES_END_MS 5000

static unsigned face_requests(void)
{
    return boot.admin.server.stats.active + boot.metrics.server.stats.active +
           boot.status.server.stats.active;
}

static void stop_main(void *arg)
{
    LOG(NOTICE, "stopping: no new connections, running requests finish");
    while (asked.reloading) {
        await_until(deadline_in(10));
    }
    close_face(&boot.admin);
    close_face(&boot.metrics);
    close_face(&boot.status);
    gateway_await_stop();
    int64_t until = deadline_in(FACES_END_MS);
    while (face_requests() > 0 && now_ms() < until) {
        await_until(deadline_in(10));
    }
    /* A request that does not end may be in the middle of a write: the store survives an end
     * without a close. */
    if (boot.store && face_requests() == 0) {
        boot.store->ops->close(boot.store);
    }
    loop_stop(loop_self());
}

static void on_signal(int signo)
{
    if (signo == SIGHUP) {
        asked.reload = true;
        if (asked.ready && !asked.reloading) {
            fiber_start("reload", reload_main, NULL);
        }
    } else if (!asked.ready) {
        _exit(0); /* nothing is served yet */
    } else if (!asked.stopping) {
        asked.stopping = true;
        fiber_start("stop", stop_main, NULL);
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

static void memory_pressure(int level)
{
    server_set_pressure(level);
}

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
    if (make_data_dir(e) != 0 || ensure_admin_key(s, e) != 0 ||
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
    if (metrics_init(s, s->workers, e) != 0 || init_plugins(s, e) != 0 ||
        admin_load(live_apply, e) != 0) {
        return -1;
    }
    if (gateway_start(s, e) != 0 || open_faces(s, e) != 0) {
        return -1;
    }
    live_await_first();
    memory_watch_start(s->weir.memory_budget, memory_pressure);
    trim_start(work_done);
    return 0;
}

static void boot_main(void *arg)
{
    struct err e = {""};
    if (boot_steps(&e) != 0) {
        LOG(EMERG, "cannot start: %s", e.msg);
        fprintf(stderr, "weir: cannot start: %s\n", e.msg);
        boot.exit_status = 1;
        _exit(1);
    }
    status_set_ready();
    LOG(NOTICE, "weir " WEIR_VERSION " is ready: %u cores on %s", boot.settings->workers,
        loop_engine());
    asked.ready = true;
    if (asked.reload) {
        reload_main(NULL);
    }
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
        LOG(EMERG, "cannot start: weir.engine %.*s is not available here: %s", STR_ARG(engine),
            strerror(-rc));
        fprintf(stderr, "weir: cannot start: weir.engine %.*s is not available here: %s\n",
                STR_ARG(engine), strerror(-rc));
    }
    return rc;
}

int boot_run(const char *config, const char *data)
{
    struct err e = {""};
    boot.config = config;
    boot.data = data;
    clock_tick();
    boot.settings = settings_load(config, warn, &e);
    if (boot.settings == NULL) {
        fprintf(stderr, "weir: %s\n", e.msg);
        return 1;
    }
    if (open_error_log(boot.settings) < 0) {
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
    fiber_start("boot", boot_main, NULL);
    loop_run();
    fiber_thread_fini();
    LOG(NOTICE, "stopped");
    return boot.exit_status;
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
