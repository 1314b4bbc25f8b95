/* SPDX-License-Identifier: Apache-2.0 */
/*
 * await: deadlines, conditions, and the way into the back end.
 *
 * A deadline is almost never reached, and the next one is almost always later. So each fiber has
 * one timer (in the room its stack keeps for it) that is started only when none runs that fires
 * early enough, and is not stopped when the await ends: when it fires too early it is started
 * again, if the fiber still has a deadline. A request that waits ten times pays for no timer.
 */
#include "event/await.h"

#include "event/io_layer.h"
#include "event/io_ops.h"
#include "event/lend.h"
#include "fiber/fiber.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

struct deadline {
    struct timer timer;
    int64_t at;          /* of the await the fiber is in; NEVER: it is in none that has one */
    struct fiber *fiber; /* NULL: the room was never used */
};
_Static_assert(sizeof(struct deadline) <= FIBER_ROOM, "the room of a fiber is too small");

static void deadline_fired(struct timer *t)
{
    struct deadline *d = CONTAINER_OF(t, struct deadline, timer);

    if (d->at == NEVER || !fiber_is_parked(d->fiber)) {
        return;
    }
    if (d->at > now_ms()) {
        timer_start(t, d->at);
        return;
    }
    fiber_interrupt(d->fiber, -ETIMEDOUT);
}

static void deadline_fini(struct fiber *f)
{
    struct deadline *d = fiber_room(f);

    if (d->fiber != NULL) {
        timer_stop(&d->timer);
    }
}

void await_thread_init(void)
{
    fiber_set_room_fini(deadline_fini);
}

int await_park(int64_t deadline)
{
    lend_expire();
    if (deadline == NEVER) {
        return fiber_park();
    }
    struct deadline *d = fiber_room(fiber_self());
    if (d->fiber == NULL) {
        d->fiber = fiber_self();
        timer_init(&d->timer, deadline_fired);
    }
    d->at = deadline;
    if (!timer_is_started(&d->timer) || deadline < d->timer.at) {
        timer_start(&d->timer, deadline);
    }
    int rc = fiber_park();
    d->at = NEVER;
    return rc;
}

int await_until(int64_t deadline)
{
    if (fiber_must_end()) {
        return -ECANCELED;
    }
    if (deadline <= now_ms()) {
        return fiber_yield();
    }
    int rc = await_park(deadline);
    return rc == -ETIMEDOUT ? 0 : rc;
}

/* ---- conditions ---- */

struct waiter {
    struct list link;
    struct fiber *fiber;
};

void cond_init(struct cond *c)
{
    list_init(&c->waiters);
}

static void waiter_leave(void *arg)
{
    list_del(arg);
}

int await_cond(struct cond *c, int64_t deadline)
{
    struct waiter w = {.fiber = fiber_self()};

    if (fiber_must_end()) {
        return -ECANCELED;
    }
    if (deadline <= now_ms()) {
        return -ETIMEDOUT;
    }
    list_add_tail(&c->waiters, &w.link);
    fiber_on_cancel(waiter_leave, &w.link);
    /* Whoever wakes the fiber has taken w off; c may be gone by now. */
    return await_park(deadline);
}

void cond_signal(struct cond *c)
{
    struct list *l = list_pop(&c->waiters);

    if (l != NULL) {
        fiber_wake(CONTAINER_OF(l, struct waiter, link)->fiber, 0);
    }
}

void cond_broadcast(struct cond *c)
{
    while (!list_is_empty(&c->waiters)) {
        cond_signal(c);
    }
}

/* ---- descriptors ---- */

int io_open(struct io *io, int fd)
{
    *io = (struct io){.fd = fd};
    int rc = io_ops->open(io, fd);
    if (rc < 0) {
        io->fd = -1;
    }
    return rc;
}

static int io_forget(struct io *io, bool closing)
{
    int fd = io->fd;

    if (fd >= 0) {
        if (io->layer != NULL) {
            io->layer->close(io);
        }
        io_ops->release(io, closing);
        *io = (struct io)IO_CLOSED;
    }
    return fd;
}

int io_release(struct io *io)
{
    return io_forget(io, false);
}

void io_close(struct io *io)
{
    int fd = io_forget(io, true);

    if (fd >= 0) {
        close(fd);
    }
}

void socket_shut(struct io *io)
{
    shutdown(io->fd, SHUT_WR);
}

void io_shut(struct io *io)
{
    (io->layer != NULL ? io->layer->shut : socket_shut)(io);
}

void socket_watch(struct io *io, void (*fn)(struct io *io))
{
    io_ops->watch(io, fn);
}

void io_watch(struct io *io, void (*fn)(struct io *io))
{
    (io->layer != NULL ? io->layer->watch : io_ops->watch)(io, fn);
}

int socket_await_turn(struct io *io)
{
    io->reader = fiber_self();
    int rc = fiber_yield();
    if (rc == 0) {
        io->reader = NULL;
    }
    return rc;
}

int socket_await_read(struct io *io, struct str *lent, int64_t deadline)
{
    return fiber_must_end() ? -ECANCELED : io_ops->read(io, lent, deadline);
}

int await_read(struct io *io, struct str *lent, int64_t deadline)
{
    if (fiber_must_end()) {
        return -ECANCELED;
    }
    return (io->layer != NULL ? io->layer->read : io_ops->read)(io, lent, deadline);
}

int await_read_into(struct io *io, void *p, size_t n, int64_t deadline)
{
    if (fiber_must_end()) {
        return -ECANCELED;
    }
    return (io->layer != NULL ? io->layer->read_into : io_ops->read_into)(io, p, n, deadline);
}

int socket_await_readable(struct io *io, int64_t deadline)
{
    return fiber_must_end() ? -ECANCELED : io_ops->readable(io, deadline);
}

int await_readable(struct io *io, int64_t deadline)
{
    if (fiber_must_end()) {
        return -ECANCELED;
    }
    return (io->layer != NULL ? io->layer->readable : io_ops->readable)(io, deadline);
}

int socket_await_write(struct io *io, struct iovec *iov, int iovcnt, int64_t deadline)
{
    return fiber_must_end() ? -ECANCELED : io_ops->write(io, iov, iovcnt, deadline);
}

int await_write(struct io *io, struct iovec *iov, int iovcnt, int64_t deadline)
{
    if (fiber_must_end()) {
        return -ECANCELED;
    }
    return (io->layer != NULL ? io->layer->write : io_ops->write)(io, iov, iovcnt, deadline);
}

void io_set_min_drain(unsigned bytes_per_second)
{
    io_ops->set_min_drain(bytes_per_second);
}

ptrdiff_t await_splice(struct io *from, struct io *to, size_t n, int64_t deadline)
{
    if (fiber_must_end()) {
        return -ECANCELED;
    }
    return from->layer != NULL || to->layer != NULL ? -ENOTSUP
                                                    : io_ops->splice(from, to, n, deadline);
}

int await_connect(struct io *io, const struct addr *addr, int64_t deadline)
{
    int family = addr->sa.sa_family, rc;

    *io = (struct io)IO_CLOSED;
    if (fiber_must_end()) {
        return -ECANCELED;
    }
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    if (family != AF_UNIX) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    }
    io_stats.connects++;
    bool pending = connect(fd, &addr->sa, addr->len) != 0;
    if (pending && errno != EINPROGRESS) {
        rc = -errno;
        close(fd);
        return rc;
    }
    rc = io_open(io, fd);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    io->lenient = true;
    rc = pending ? io_ops->connected(io, deadline) : 0;
    if (rc < 0) {
        io_close(io);
    }
    return rc;
}

int poll_start(struct poll *p, int fd, unsigned events, void (*fn)(struct poll *p, unsigned ready))
{
    *p = (struct poll){.fd = fd, .fn = fn};
    return io_ops->poll_start(p, events);
}

int poll_change(struct poll *p, unsigned events)
{
    return io_ops->poll_change(p, events);
}

void poll_stop(struct poll *p)
{
    io_ops->poll_stop(p);
}
