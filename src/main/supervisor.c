/* SPDX-License-Identifier: Apache-2.0 */
/* supervisor: see supervisor.h. One loop, turn(); whoever waits for something turns until it has
 * come. */
#include "main/supervisor.h"

#include "base/clock.h"
#include "base/mem.h"
#include "main/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define YOUNG_US 2000000 /* who dies before this age is given a pause */
#define PAUSE_MAX_MS 5000
#define QUIET_MS 20000 /* for the running process to let go of the store */
#define READY_MS 60000 /* for a new one to come up */
#define ASK_MS 1000
#define DRAINING_MAX 64
#define CHANNEL_VARIABLE "WEIR_CHANNEL"
#define STATE_VARIABLE "WEIR_SUPERVISOR"
#define DOOR "weir.sock"

struct fds {
    int *v;
    unsigned n;
};

/* A gateway process. */
struct child {
    pid_t pid; /* 0: none */
    int channel;
    int64_t born_us;
    bool ended;
    int status;
    struct fds sockets, coming; /* its listening sockets; a set that is not complete */
    enum channel_word said;     /* the last word, and its text */
    char text[CHANNEL_TEXT];
};

static int lock_fd = -1;
static struct {
    struct supervisor_conf conf;
    int signals, door, visitor; /* visitor: who asks for an upgrade */
    struct child now, next;
    pid_t draining[DRAINING_MAX]; /* were replaced; 0: free */
    bool stopping, reload, renew; /* asked for */
} sv = {.door = -1, .visitor = -1, .now.channel = -1, .next.channel = -1};

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static void fds_drop(struct fds *f)
{
    for (unsigned i = 0; i < f->n; i++) {
        close(f->v[i]);
    }
    free(f->v);
    *f = (struct fds){NULL, 0};
}

static void fds_add(struct fds *f, const int *v, unsigned n)
{
    f->v = mem_resize(f->v, (f->n + n + 1) * sizeof(*v));
    memcpy(f->v + f->n, v, n * sizeof(*v));
    f->n += n;
}

static void child_drop(struct child *c)
{
    close_fd(&c->channel);
    fds_drop(&c->sockets);
    fds_drop(&c->coming);
    *c = (struct child){.channel = -1};
}

/* ---- starting a gateway process ---- */

static void inherit(int fd)
{
    fcntl(fd, F_SETFD, 0);
}

/* In the new process. */
static _Noreturn void be_child(int channel, bool program)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    /* the others stay blocked until the child reads them */
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    if (!program) {
        close_fd(&sv.signals);
        close_fd(&sv.door);
        close_fd(&sv.visitor);
        child_drop(&sv.now);
        child_drop(&sv.next);
        exit(sv.conf.serve(sv.conf.arg, channel));
    }
    char text[CHANNEL_TEXT];
    snprintf(text, sizeof(text), "%d", channel);
    setenv(CHANNEL_VARIABLE, text, 1);
    inherit(channel);
    inherit(lock_fd);
    execvp(sv.conf.argv[0], sv.conf.argv);
    snprintf(text, sizeof(text), "cannot execute %s: %s", sv.conf.argv[0], strerror(errno));
    channel_say(channel, CHANNEL_FAILED, text);
    _exit(127);
}

/* program: what is found now under the name this one was started by. 0 or -errno. */
static int start(struct child *c, const struct fds *sockets, bool program)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
        return -errno;
    }
    /* They are in the channel before there is anybody to read them. */
    int rc = channel_say_sockets(pair[0], sockets->v, sockets->n);
    pid_t parent = getpid(), pid = rc < 0 ? -1 : fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent) {
            _exit(1);
        }
        be_child(pair[1], program);
    }
    rc = rc < 0 ? rc : pid < 0 ? -errno : 0;
    close(pair[1]);
    if (rc < 0) {
        close(pair[0]);
        return rc;
    }
    *c = (struct child){.pid = pid, .channel = pair[0], .born_us = clock_us()};
    return 0;
}

/* ---- the loop ---- */

static void on_message(struct child *c, const struct channel_message *m)
{
    switch (m->word) {
    case CHANNEL_SOCKETS:
        fds_add(&c->coming, m->fds, m->n_fds);
        break;
    case CHANNEL_SOCKETS_END:
        fds_add(&c->coming, m->fds, m->n_fds);
        fds_drop(&c->sockets);
        c->sockets = c->coming;
        c->coming = (struct fds){NULL, 0};
        break;
    case CHANNEL_RENEW:
        sv.renew = sv.renew || c == &sv.now;
        break;
    default:
        c->said = m->word;
        memcpy(c->text, m->text, sizeof(c->text));
        break;
    }
}

static void hear(struct child *c)
{
    struct channel_message m;
    int rc = 0;
    while (c->channel >= 0 && (rc = channel_hear(c->channel, &m)) > 0) {
        on_message(c, &m);
    }
    if (rc < 0) {
        close_fd(&c->channel);
    }
}

static void stop(void)
{
    sv.stopping = true;
    /* New connections are refused from now on. */
    fds_drop(&sv.now.sockets);
    fds_drop(&sv.next.sockets);
    const struct child *both[] = {&sv.now, &sv.next};
    for (unsigned i = 0; i < 2 + DRAINING_MAX; i++) {
        pid_t pid = i >= 2 ? sv.draining[i - 2] : both[i]->ended ? 0 : both[i]->pid;
        if (pid > 0) {
            kill(pid, SIGTERM);
        }
    }
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
    char when[32], text[1200];
    time_t now = time(NULL);
    struct tm tm;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    strftime(when, sizeof(when), "%Y/%m/%d %H:%M:%S", localtime_r(&now, &tm));
    fprintf(stderr, "%s [alert] %s\n", when, text);
}

static void drained(pid_t pid, int status)
{
    for (unsigned i = 0; i < DRAINING_MAX; i++) {
        sv.draining[i] = sv.draining[i] == pid ? 0 : sv.draining[i];
    }
    if (WIFSIGNALED(status)) {
        say("the gateway process %d, which was draining, died of signal %d (%s)", (int)pid,
            WTERMSIG(status), strsignal(WTERMSIG(status)));
    }
}

static void reap(void)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        struct child *c = pid == sv.now.pid ? &sv.now : pid == sv.next.pid ? &sv.next : NULL;
        if (c == NULL) {
            drained(pid, status);
            continue;
        }
        hear(c); /* its last words */
        c->ended = true;
        c->status = status;
    }
}

static void take_signals(void)
{
    struct signalfd_siginfo info;
    while (read(sv.signals, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGHUP) {
            sv.reload = true;
        } else if (info.ssi_signo != SIGCHLD) {
            stop();
        }
    }
    reap();
    if (sv.reload && sv.next.pid == 0 && sv.now.pid > 0) {
        sv.reload = false;
        kill(sv.now.pid, SIGHUP);
    }
}

/* Somebody is at the door: he may ask for an upgrade. */
static void open_door(void)
{
    struct channel_message m;
    int fd = accept4(sv.door, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    if (channel_take(fd, &m, ASK_MS) != 1 || m.word != CHANNEL_RENEW) {
        channel_say(fd, CHANNEL_FAILED, "this supervisor knows how to upgrade only");
    } else if (sv.visitor >= 0 || sv.stopping) {
        channel_say(fd, CHANNEL_FAILED, sv.stopping ? "it is stopping" : "one is under way");
    } else {
        sv.visitor = fd;
        return;
    }
    close(fd);
}

/* Wait for something to happen, at most until then (clock_us()), and see to it. */
static void turn(int64_t until)
{
    struct pollfd p[] = {{.fd = sv.signals, .events = POLLIN},
                         {.fd = sv.now.channel, .events = POLLIN},
                         {.fd = sv.next.channel, .events = POLLIN},
                         {.fd = sv.door, .events = POLLIN}};
    int64_t left = until - clock_us();
    poll(p, 4, until == NEVER ? -1 : left > 0 ? (int)(left / 1000) + 1 : 0);
    hear(&sv.now);
    hear(&sv.next);
    take_signals();
    if (p[3].revents) {
        open_door();
    }
}

static void turn_until(int64_t until, const bool * or)
{
    while (!* or &&clock_us() < until) {
        turn(until);
    }
}

/* ---- one process in place of another ---- */

static bool no(char *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool no(char *why, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, CHANNEL_TEXT, fmt, ap);
    va_end(ap);
    return false;
}

/* Until c has said the word; false with the reason when it will not. */
static bool await_word(const struct child *c, enum channel_word word, int ms, char *why)
{
    const char *who = c == &sv.now ? "the running process" : "the new process";
    const int64_t until = clock_us() + (int64_t)ms * 1000;
    while (c->said != word) {
        if (c->said == CHANNEL_FAILED) {
            return no(why, "%s", c->text);
        }
        if (c->ended && WIFSIGNALED(c->status)) {
            return no(why, "%s died of signal %d (%s)", who, WTERMSIG(c->status),
                      strsignal(WTERMSIG(c->status)));
        }
        if (c->ended) {
            return no(why, "%s ended with status %d, see the gateway's standard error and log", who,
                      WEXITSTATUS(c->status));
        }
        if (sv.stopping) {
            return no(why, "the gateway is stopping");
        }
        if (clock_us() >= until) {
            return no(why, "%s was not ready within %d s", who, ms / 1000);
        }
        turn(until);
    }
    return true;
}

static bool begin(struct child *c, const struct fds *sockets, bool program, char *why)
{
    int rc = start(c, sockets, program);
    return rc == 0 || no(why, "cannot start a process: %s", strerror(-rc));
}

/* It did not come up. */
static void abandon(struct child *c)
{
    if (c->pid > 0 && !c->ended) {
        kill(c->pid, SIGKILL);
        turn_until(NEVER, &c->ended);
    }
    child_drop(c);
}

static void retire(struct child *c)
{
    channel_say(c->channel, CHANNEL_RETIRE, NULL);
    for (unsigned i = 0; i < DRAINING_MAX && !c->ended; i++) {
        if (sv.draining[i] == 0) {
            sv.draining[i] = c->pid;
            break;
        }
    }
    child_drop(c);
}

/*
 * Have another process take over: the running one lets go of the store, the new one comes up with
 * the same sockets and accepts, the old one drains. Nothing is closed in between, and until the new
 * one is ready nothing has happened that CHANNEL_GO_ON would not undo.
 */
static bool replace(bool program, char *why)
{
    sv.now.said = 0;
    channel_say(sv.now.channel, CHANNEL_QUIET, NULL);
    if (!await_word(&sv.now, CHANNEL_IS_QUIET, QUIET_MS, why) ||
        !begin(&sv.next, &sv.now.sockets, program, why) ||
        !await_word(&sv.next, CHANNEL_READY, READY_MS, why)) {
        abandon(&sv.next);
        channel_say(sv.now.channel, CHANNEL_GO_ON, why);
        return false;
    }
    retire(&sv.now);
    sv.now = sv.next;
    sv.next = (struct child){.channel = -1};
    return true;
}

/* The supervisor itself becomes the new program; what it has to know goes along. */
static void go_on_as_new_program(void)
{
    turn(clock_us()); /* what was asked for meanwhile */
    if (sv.stopping || sv.now.ended) {
        return;
    }
    char text[64 + 12 * DRAINING_MAX];
    int n = snprintf(text, sizeof(text), "%d %d %d %d", lock_fd, sv.door, sv.now.channel,
                     (int)sv.now.pid);
    for (unsigned i = 0; i < DRAINING_MAX; i++) {
        if (sv.draining[i] > 0) {
            n += snprintf(text + n, sizeof(text) - (size_t)n, " %d", (int)sv.draining[i]);
        }
    }
    setenv(STATE_VARIABLE, text, 1);
    const int fds[] = {lock_fd, sv.door, sv.now.channel};
    for (unsigned i = 0; i < 3; i++) {
        inherit(fds[i]);
    }
    execvp(sv.conf.argv[0], sv.conf.argv);
    say("the supervisor stays the old program: cannot execute %s: %s", sv.conf.argv[0],
        strerror(errno));
    unsetenv(STATE_VARIABLE);
    for (unsigned i = 0; i < 3; i++) {
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    }
}

static void upgrade(void)
{
    char text[CHANNEL_TEXT];
    bool ok = replace(true, text);
    if (ok) {
        snprintf(text, sizeof(text), "weir %.900s has taken over, pid %d", sv.now.text,
                 (int)sv.now.pid);
    }
    channel_say(sv.visitor, ok ? CHANNEL_READY : CHANNEL_FAILED, text);
    close_fd(&sv.visitor);
    if (ok) {
        go_on_as_new_program();
    }
}

/* ---- being the supervisor ---- */

/* A path of any length: the address has room for 107 bytes. -1 when the folder is not there. */
static int door_address(const char *data, struct sockaddr_un *un)
{
    int dir = open(data, O_PATH | O_DIRECTORY | O_CLOEXEC);
    *un = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(un->sun_path, sizeof(un->sun_path), "/proc/self/fd/%d/" DOOR, dir);
    return dir;
}

static int make_door(const char *data)
{
    struct sockaddr_un un;
    int dir = door_address(data, &un);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    mode_t mask = umask(077);
    unlinkat(dir, DOOR, 0); /* ours: we have the lock */
    if (fd >= 0 &&
        (bind(fd, (const struct sockaddr *)&un, sizeof(un)) != 0 || listen(fd, 4) != 0)) {
        say("weir upgrade will not work: cannot listen on %s/" DOOR ": %s", data, strerror(errno));
        close_fd(&fd);
    }
    umask(mask);
    close_fd(&dir);
    return fd;
}

static int watch_signals(void)
{
    static const int ours[] = {SIGTERM, SIGQUIT, SIGINT, SIGHUP, SIGCHLD};
    sigset_t set;
    sigemptyset(&set);
    for (unsigned i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        sigaddset(&set, ours[i]);
    }
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void say_death(const struct child *c)
{
    say("the gateway process %d died of signal %d (%s), starting it again", (int)c->pid,
        WTERMSIG(c->status), strsignal(WTERMSIG(c->status)));
}

/* After the death of one: another, with the same sockets. */
static bool start_again(void)
{
    struct child dead = sv.now;
    sv.now = (struct child){.channel = -1};
    int rc = start(&sv.now, &dead.sockets, false);
    child_drop(&dead);
    if (sv.now.pid == 0) {
        fprintf(stderr, "weir: cannot start the gateway process: %s\n", strerror(-rc));
    }
    return sv.now.pid > 0;
}

static int next_pause(int pause_ms, const struct child *dead)
{
    if (clock_us() - dead->born_us > YOUNG_US) {
        return 0;
    }
    return pause_ms == 0 ? 100 : pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
}

static void run_until_end(void)
{
    while (!sv.now.ended) {
        turn(NEVER);
        if (sv.renew && !sv.stopping) {
            char why[CHANNEL_TEXT];
            sv.renew = false;
            replace(false, why); /* the gateway says why not: it is its reload */
        }
        if (sv.visitor >= 0) {
            upgrade();
        }
    }
}

int supervisor_run(const struct supervisor_conf *conf)
{
    int pause_ms = 0;
    sv.conf = *conf;
    sv.signals = watch_signals();
    if (sv.now.pid == 0) {
        sv.door = make_door(conf->data);
        if (!start_again()) {
            return 1;
        }
    }
    for (;;) {
        run_until_end();
        if (WIFEXITED(sv.now.status) || sv.stopping) {
            break; /* also when it died while it was asked to end: nothing is left to start again */
        }
        say_death(&sv.now);
        pause_ms = next_pause(pause_ms, &sv.now);
        turn_until(clock_us() + (int64_t)pause_ms * 1000, &sv.stopping);
        if (sv.stopping) {
            break;
        }
        if (!start_again()) {
            return 1;
        }
    }
    int status = WIFEXITED(sv.now.status) ? WEXITSTATUS(sv.now.status) : 0;
    stop(); /* those that still drain */
    while (waitpid(-1, NULL, 0) > 0) {
    }
    return status;
}

bool supervisor_goes_on(void)
{
    char *state = getenv(STATE_VARIABLE), *end = state;
    if (state == NULL) {
        return false;
    }
    lock_fd = (int)strtol(end, &end, 10);
    sv.door = (int)strtol(end, &end, 10);
    sv.now.channel = (int)strtol(end, &end, 10);
    sv.now.pid = (pid_t)strtol(end, &end, 10);
    sv.now.born_us = clock_us();
    for (unsigned i = 0; i < DRAINING_MAX; i++) {
        sv.draining[i] = (pid_t)strtol(end, &end, 10);
    }
    unsetenv(STATE_VARIABLE);
    const int fds[] = {lock_fd, sv.door, sv.now.channel};
    for (unsigned i = 0; i < 3; i++) {
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    }
    channel_say(sv.now.channel, CHANNEL_TELL, NULL);
    return true;
}

int supervisor_channel(void)
{
    const char *text = getenv(CHANNEL_VARIABLE);
    int type = 0, channel = text ? atoi(text) : -1;
    socklen_t n = sizeof(type);
    unsetenv(CHANNEL_VARIABLE);
    if (channel < 0 || getsockopt(channel, SOL_SOCKET, SO_TYPE, &type, &n) != 0 ||
        type != SOCK_SEQPACKET) {
        return -1;
    }
    fcntl(channel, F_SETFD, FD_CLOEXEC);
    /* Lost in an exec of a file with capabilities. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    return channel;
}

/* ---- the claim ---- */

int supervisor_claim(const char *pid_path)
{
    /* Never closed: the lock is the claim, and the children inherit it. Never unlinked: two could
     * hold locks on files of one name. */
    int fd = open(pid_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        fprintf(stderr, "weir: cannot open %s: %s\n", pid_path, strerror(errno));
        return -1;
    }
    struct flock lock = {.l_type = F_WRLCK};
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        int pid = supervisor_pid(pid_path);
        fprintf(stderr, "weir: already running with this data folder, pid %d\n", pid);
        close(fd);
        return -1;
    }
    if (ftruncate(fd, 0) != 0 || dprintf(fd, "%d\n", (int)getpid()) < 0) {
        fprintf(stderr, "weir: cannot write %s: %s\n", pid_path, strerror(errno));
        return -1;
    }
    lock_fd = fd;
    return 0;
}

int supervisor_pid(const char *pid_path)
{
    int pid = 0;
    FILE *f = fopen(pid_path, "re");
    if (f == NULL) {
        return 0;
    }
    /* A pid alone says little: after a crash of the machine it may be somebody else's. */
    struct flock lock = {.l_type = F_RDLCK};
    bool held = fcntl(fileno(f), F_OFD_GETLK, &lock) == 0 && lock.l_type == F_WRLCK;
    if (!held || fscanf(f, "%d", &pid) != 1) {
        pid = 0;
    }
    fclose(f);
    return pid;
}

/* ---- asking for an upgrade ---- */

int supervisor_ask_upgrade(const char *data)
{
    struct sockaddr_un un;
    struct channel_message m = {.text = ""};
    int dir = door_address(data, &un);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&un, sizeof(un)) != 0) {
        fprintf(stderr,
                "weir: nobody to ask at %s/" DOOR " (%s): a gateway without its supervisor is "
                "upgraded by a stop and a start\n",
                data, strerror(errno));
        return 1;
    }
    int rc = channel_say(fd, CHANNEL_RENEW, NULL);
    rc = rc < 0 ? rc : channel_take(fd, &m, QUIET_MS + READY_MS + ASK_MS);
    close(fd);
    close(dir);
    bool ok = rc == 1 && m.word == CHANNEL_READY;
    fprintf(ok ? stdout : stderr, "%s%s\n",
            ok ? "" : "weir: not upgraded, the old process serves on: ",
            rc == 1 ? m.text : "the supervisor gave no answer");
    return ok ? 0 : 1;
}
