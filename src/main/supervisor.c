/* SPDX-License-Identifier: Apache-2.0 */
/* supervisor: see supervisor.h. */
#include "main/supervisor.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define YOUNG_US 2000000 /* who dies before this age is given a pause */
#define PAUSE_MAX_MS 5000

static pid_t child_pid;

static void handled(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGQUIT);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGCHLD);
}

static pid_t start(int (*child)(void *arg), void *arg)
{
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        /* the others stay blocked until the child reads them */
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent) {
            _exit(1);
        }
        exit(child(arg));
    }
    return pid;
}

/* Pass a signal on. True when it asks to stop. */
static bool pass_on(int signo)
{
    bool stop = signo != SIGHUP && signo != SIGCHLD;
    if (signo != SIGCHLD && child_pid > 0) {
        kill(child_pid, stop ? SIGTERM : SIGHUP);
    }
    return stop;
}

int supervisor_claim(const char *pid_path)
{
    /* Never closed: the lock is the claim, and the child inherits it. Never unlinked: two could
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
    return 0;
}

static void say_death(int status)
{
    char when[32];
    time_t now = time(NULL);
    struct tm tm;
    strftime(when, sizeof(when), "%Y/%m/%d %H:%M:%S", localtime_r(&now, &tm));
    fprintf(stderr, "%s [alert] the gateway process %d died of signal %d (%s), starting it again\n",
            when, (int)child_pid, WTERMSIG(status), strsignal(WTERMSIG(status)));
}

/* Wait for the child's end, passing signals on. *stopping: one of them asked to stop. Its wait
 * status. */
static int wait_child(int fd, bool *stopping)
{
    int status;
    for (;;) {
        struct signalfd_siginfo info;
        if (waitpid(child_pid, &status, WNOHANG) == child_pid) {
            return status;
        }
        if (read(fd, &info, sizeof(info)) == sizeof(info) && pass_on((int)info.ssi_signo)) {
            *stopping = true;
        }
    }
}

/* Sleep, but for a signal that asks to stop; others do not cut the pause short. */
static bool pause_for(int fd, int ms)
{
    const int64_t until = clock_us() + (int64_t)ms * 1000;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct signalfd_siginfo info;
    for (int64_t left; (left = until - clock_us()) > 0;) {
        if (poll(&p, 1, (int)(left / 1000) + 1) > 0 &&
            read(fd, &info, sizeof(info)) == sizeof(info) && pass_on((int)info.ssi_signo)) {
            return true;
        }
    }
    return false;
}

int supervisor_run(int (*child)(void *arg), void *arg)
{
    sigset_t set;
    handled(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC), pause_ms = 0;
    bool stopping = false;
    for (;;) {
        int64_t born = clock_us();
        child_pid = start(child, arg);
        if (child_pid < 0) {
            fprintf(stderr, "weir: cannot start the gateway process: %s\n", strerror(errno));
            return 1;
        }
        int status = wait_child(fd, &stopping);
        if (WIFEXITED(status)) {
            return WEXITSTATUS(status);
        }
        if (stopping) {
            return 0; /* it died while it was asked to end: there is nothing left to start again */
        }
        say_death(status);
        child_pid = 0;
        pause_ms = clock_us() - born > YOUNG_US  ? 0
                   : pause_ms == 0               ? 100
                   : pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2
                                                 : PAUSE_MAX_MS;
        if (pause_ms && pause_for(fd, pause_ms)) {
            return 0;
        }
    }
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
