/* SPDX-License-Identifier: Apache-2.0 */
/* listener: listening sockets, and accepting on the loop. */
#include "net/listener.h"

#include "base/log.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Connections of one turn: the requests of the others must go on meanwhile. */
#define ACCEPT_BATCH 64
/* A listener that stops takes at most so many: more arrive while it takes them. */
#define DRAIN_MAX 65536
#define PAUSE_MS 100

/* ---- opening ---- */

static const char *unix_path(const struct addr *a)
{
    return ((const struct sockaddr_un *)(const void *)a->room)->sun_path;
}

/* "0.0.0.0:80", "[::]:80", "unix:/path" into out. */
static const char *where(const struct addr *a, char *out, size_t room)
{
    char host[46];

    if (a->sa.sa_family == AF_UNIX) {
        snprintf(out, room, "unix:%s", unix_path(a));
        return out;
    }
    size_t n = addr_text(a, host);
    const char *form = a->sa.sa_family == AF_INET6 ? "[%.*s]:%u" : "%.*s:%u";
    snprintf(out, room, form, (int)n, host, (unsigned)addr_port(a));
    return out;
}

static void set_options(int fd, int family, bool reuseport)
{
    static const int one = 1;

    if (family == AF_UNIX) {
        return;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (reuseport) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
    }
    if (family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    }
}

/* Remove a socket file that nobody listens on: what a process that was killed leaves behind. */
static bool remove_stale(const struct addr *a)
{
    struct stat st;
    bool stale = false;

    if (lstat(unix_path(a), &st) != 0 || !S_ISSOCK(st.st_mode)) {
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        stale = connect(fd, &a->sa, a->len) != 0 && errno == ECONNREFUSED;
        close(fd);
    }
    return stale && unlink(unix_path(a)) == 0;
}

static int bind_to(int fd, const struct addr *a)
{
    if (bind(fd, &a->sa, a->len) == 0) {
        return 0;
    }
    if (errno != EADDRINUSE || a->sa.sa_family != AF_UNIX) {
        return -1;
    }
    return remove_stale(a) ? bind(fd, &a->sa, a->len) : (errno = EADDRINUSE, -1);
}

int listener_socket(const struct addr *addr, bool reuseport, int backlog, struct err *e)
{
    char text[160];
    const char *step = "socket for";
    int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd >= 0) {
        set_options(fd, addr->sa.sa_family, reuseport);
        step = "bind to";
        if (bind_to(fd, addr) == 0) {
            step = "listen on";
            if (listen(fd, backlog) == 0) {
                return fd;
            }
        }
    }
    err_set(e, "%s %s failed: %s", step, where(addr, text, sizeof(text)), strerror(errno));
    if (fd >= 0) {
        close(fd);
    }
    return -1;
}

/* ---- accepting ---- */

/* Accept at most max; -errno when there are no resources to accept with. */
static int accept_some(struct listener *l, int max)
{
    for (int i = 0; i < max;) {
        struct addr peer = {.len = sizeof(peer.room)};
        int fd = accept4(l->poll.fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            io_stats.accepts++;
            l->on_accept(l, fd, &peer);
            i++;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            return -errno;
        } else {
            /* The others concern one connection, which is gone: ECONNABORTED, EPERM, EPROTO. */
            i++;
        }
    }
    return 0;
}

static void on_ready(struct poll *p, unsigned ready)
{
    struct listener *l = CONTAINER_OF(p, struct listener, poll);
    char text[160];
    int rc = accept_some(l, ACCEPT_BATCH);

    if (rc < 0) {
        LOG_RATE(CRIT, "accept on %s failed: %s", where(&l->addr, text, sizeof(text)),
                 strerror(-rc));
        poll_change(p, 0);
        timer_start(&l->retry, deadline_in(PAUSE_MS));
    }
}

static void on_retry(struct timer *t)
{
    struct listener *l = CONTAINER_OF(t, struct listener, retry);

    poll_change(&l->poll, POLL_READ);
}

int listener_start(struct listener *l, int fd, const struct addr *addr,
                   void (*on_accept)(struct listener *, int, const struct addr *), void *owner)
{
    *l = (struct listener){.addr = *addr, .on_accept = on_accept, .owner = owner};
    timer_init(&l->retry, on_retry);
    if (addr->sa.sa_family != AF_UNIX) {
        /* Accepted sockets inherit it: one call instead of one a connection. */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    }
    int rc = poll_start(&l->poll, fd, POLL_READ, on_ready);
    l->open = rc == 0;
    return rc;
}

void listener_stop(struct listener *l)
{
    if (l->open) {
        accept_some(l, DRAIN_MAX);
    }
    listener_leave(l);
}

void listener_leave(struct listener *l)
{
    if (l->open) {
        l->open = false;
        timer_stop(&l->retry);
        /* Taken off the loop by name: another descriptor of the same socket may live on, and the
         * kernel would keep watching it. */
        poll_stop(&l->poll);
        close(l->poll.fd);
    }
}
