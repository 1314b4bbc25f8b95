/* SPDX-License-Identifier: Apache-2.0 */
/* main: the command line. Each command is a row of the table and a function. */
#include "base/assert.h"
#include "base/crash.h"
#include "main/boot.h"
#include "main/echo.h"
#include "main/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct options {
    const char *config, *data, *listen;
    bool no_supervisor;
    char **argv;
    char *data_beside; /* made from config */
    char pid_path[4096];
};

static int serve(void *arg, int channel)
{
    const struct options *o = arg;
    crash_install();
    return boot_run(o->config, o->data, channel);
}

static int cmd_run(struct options *o)
{
    const struct supervisor_conf conf = {
        .serve = serve, .arg = o, .argv = o->argv, .data = o->data};
    int channel = supervisor_channel();
    if (channel >= 0) {
        return serve(o, channel);
    }
    if (supervisor_goes_on()) {
        return supervisor_run(&conf);
    }
    if (mkdir(o->data, 0700) != 0 && errno != EEXIST) {
        fprintf(stderr, "weir: cannot make the data folder %s: %s\n", o->data, strerror(errno));
        return 1;
    }
    if (supervisor_claim(o->pid_path) != 0) {
        return 1;
    }
    return o->no_supervisor ? serve(o, -1) : supervisor_run(&conf);
}

static int cmd_check(struct options *o)
{
    int status = boot_check(o->config);
    if (status == 0) {
        printf("%s is valid\n", o->config);
    }
    return status;
}

static int signal_running(const struct options *o, int signo)
{
    int pid = supervisor_pid(o->pid_path);
    if (pid == 0) {
        fprintf(stderr, "weir: not running with data folder %s\n", o->data);
        return 1;
    }
    if (kill(pid, signo) != 0) {
        fprintf(stderr, "weir: cannot signal process %d: %s\n", pid, strerror(errno));
        return 1;
    }
    return 0;
}

static int cmd_reload(struct options *o)
{
    /* A file that cannot be used is refused here already, where a person sees it. */
    return boot_check(o->config) ? 1 : signal_running(o, SIGHUP);
}

static int cmd_upgrade(struct options *o)
{
    return boot_check(o->config) ? 1 : supervisor_ask_upgrade(o->data);
}

static int cmd_stop(struct options *o)
{
    int pid = supervisor_pid(o->pid_path);
    if (signal_running(o, SIGTERM) != 0) {
        return 1;
    }
    const struct timespec tick = {.tv_nsec = 20 * 1000 * 1000};
    while (supervisor_pid(o->pid_path) == pid) {
        nanosleep(&tick, NULL);
    }
    return 0;
}

static int cmd_status(struct options *o)
{
    int pid = supervisor_pid(o->pid_path);
    if (pid == 0) {
        printf("not running\n");
        return 3;
    }
    printf("running, pid %d\n", pid);
    return 0;
}

static int cmd_version(struct options *o)
{
    printf("weir %s\n", WEIR_VERSION);
    return 0;
}

static int cmd_echo(struct options *o)
{
    return echo_run(o->listen);
}

static const struct command {
    const char *name;
    int (*run)(struct options *o);
    const char *help;
} commands[] = {
    {"run", cmd_run, "serve in the foreground until SIGTERM"},
    {"check", cmd_check, "read and check config.yaml, change nothing"},
    {"reload", cmd_reload,
     "have the running gateway read config.yaml again; no connection is dropped"},
    {"upgrade", cmd_upgrade,
     "have the program that is installed now take over from the one that runs; no connection is dropped"},
    {"stop", cmd_stop, "stop the running gateway after its running requests"},
    {"status", cmd_status, "say whether it runs (exit status 0 or 3)"},
    {"version", cmd_version, "print the version"},
    {"echo", cmd_echo,
     "a tiny upstream that answers with what it received (--listen ADDRESS:PORT)"},
};

static int usage(FILE *f)
{
    fprintf(f, "usage: weir COMMAND [--config FILE] [--data FOLDER]\n\n");
    for (size_t i = 0; i < LENGTH_OF(commands); i++) {
        fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].help);
    }
    fprintf(
        f,
        "\n--config: default conf/config.yaml; --data: default a folder data beside the folder of config.yaml\n"
        "run --no-supervisor: one process, for profilers and for who restarts it himself\n");
    return f == stderr ? 2 : 0;
}

/* conf/config.yaml -> conf/../data: the folder beside the configuration's. */
static void default_data(struct options *o)
{
    if (o->data) {
        return;
    }
    const char *slash = strrchr(o->config, '/');
    int folder = slash ? (int)(slash - o->config) : 1;
    if (asprintf(&o->data_beside, "%.*s/../data", folder, slash ? o->config : ".") < 0) {
        abort();
    }
    o->data = o->data_beside;
}

static int parse(int argc, char **argv, struct options *o)
{
    const struct {
        const char *name;
        const char **value;
    } known[] = {{"--config", &o->config},
                 {"-c", &o->config},
                 {"--data", &o->data},
                 {"--listen", &o->listen}};
    for (int i = 2; i < argc; i++) {
        size_t k = 0;
        if (strcmp(argv[i], "--no-supervisor") == 0) {
            o->no_supervisor = true;
            continue;
        }
        while (k < LENGTH_OF(known) && strcmp(argv[i], known[k].name) != 0) {
            k++;
        }
        if (k == LENGTH_OF(known) || i + 1 == argc) {
            fprintf(stderr, "weir: %s %s\n",
                    k == LENGTH_OF(known) ? "unknown option" : "a value is missing after", argv[i]);
            return -1;
        }
        *known[k].value = argv[++i];
    }
    default_data(o);
    snprintf(o->pid_path, sizeof(o->pid_path), "%s/weir.pid", o->data);
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {.config = "conf/config.yaml", .listen = "127.0.0.1:1980", .argv = argv};
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        return usage(stdout);
    }
    for (size_t i = 0; i < LENGTH_OF(commands); i++) {
        if (strcmp(name, commands[i].name) == 0) {
            int status = parse(argc, argv, &o) == 0 ? commands[i].run(&o) : 2;
            free(o.data_beside);
            return status;
        }
    }
    return usage(stderr);
}
