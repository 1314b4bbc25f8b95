/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_epoll: the back end of the loop on epoll. Each descriptor is registered once, edge-triggered,
 * for both directions, so nothing is left to do when somebody wants to read or write.
 */
#include "base/mem.h"
#include "event/io_ops.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BATCH 256
#define TOKEN_WAKE UINT64_MAX

struct back {
    int epoll, wake;
    struct epoll_event events[BATCH];
};

static _Thread_local struct back *back;

/* ---- events ---- */

static int back_init(void)
{
    struct back *b = mem_alloc(sizeof(*b));

    b->epoll = epoll_create1(EPOLL_CLOEXEC);
    b->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.u64 = TOKEN_WAKE};
    if (b->epoll < 0 || b->wake < 0 || epoll_ctl(b->epoll, EPOLL_CTL_ADD, b->wake, &e) != 0) {
        int rc = -errno;
        close(b->epoll);
        close(b->wake);
        free(b);
        return rc;
    }
    back = b;
    return 0;
}

static void back_fini(void)
{
    close(back->epoll);
    close(back->wake);
    free(back);
    back = NULL;
    stream_fini();
}

/* Edge-triggered: each write to it is an event, so it never has to be read. */
static int back_wake_fd(void)
{
    return back->wake;
}

/* The last call may free io. */
static void io_event(struct io *io, uint32_t events)
{
    io->error |= (events & EPOLLERR) != 0;
    io->hup |= (events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0;
    if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
        stream_writable(io);
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) {
        stream_readable(io);
    }
}

static void poll_event(struct poll *p, uint32_t events)
{
    unsigned ready = (events & (EPOLLIN | EPOLLERR | EPOLLHUP) ? POLL_READ : 0) |
                     (events & (EPOLLOUT | EPOLLERR | EPOLLHUP) ? POLL_WRITE : 0);

    p->fn(p, ready);
}

static void back_wait(int timeout_ms)
{
    struct back *b = back;
    int n = epoll_wait(b->epoll, b->events, BATCH, timeout_ms);

    clock_tick();
    for (int i = 0; i < n; i++) {
        if (b->events[i].data.u64 == TOKEN_WAKE) {
            continue;
        }
        const struct slot *s = slots_find(&io_slots, b->events[i].data.u64);
        if (s == NULL) {
            continue;
        }
        io_stats.events++;
        if (s->foreign) {
            poll_event(s->object, b->events[i].events);
        } else {
            io_event(s->object, b->events[i].events);
        }
    }
}

static int back_add(int fd, uint32_t slot, uint32_t events, int op)
{
    struct epoll_event e = {.events = events, .data.u64 = slots_token(&io_slots, slot)};

    return epoll_ctl(back->epoll, op, fd, &e) == 0 ? 0 : -errno;
}

static int back_open(struct io *io, int fd)
{
    io->slot = slots_add(&io_slots, io, false);
    int rc = back_add(fd, io->slot, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, EPOLL_CTL_ADD);
    if (rc < 0) {
        slots_del(&io_slots, io->slot);
        return rc;
    }
    io->writable = true;
    return 0;
}

static void back_release(struct io *io, bool closing)
{
    slots_del(&io_slots, io->slot);
    if (!closing) {
        epoll_ctl(back->epoll, EPOLL_CTL_DEL, io->fd, NULL);
    }
    stream_cancel(io);
}

/* Nothing to do: every edge comes. */
static void back_want(struct io *io)
{
}

/* ---- foreign descriptors ---- */

static uint32_t poll_events(unsigned events)
{
    return (events & POLL_READ ? EPOLLIN : 0) | (events & POLL_WRITE ? EPOLLOUT : 0);
}

static int back_poll_start(struct poll *p, unsigned events)
{
    p->slot = slots_add(&io_slots, p, true);
    int rc = back_add(p->fd, p->slot, poll_events(events), EPOLL_CTL_ADD);
    if (rc < 0) {
        slots_del(&io_slots, p->slot);
    }
    return rc;
}

static int back_poll_change(struct poll *p, unsigned events)
{
    return back_add(p->fd, p->slot, poll_events(events), EPOLL_CTL_MOD);
}

static void back_poll_stop(struct poll *p)
{
    slots_del(&io_slots, p->slot);
    epoll_ctl(back->epoll, EPOLL_CTL_DEL, p->fd, NULL);
}

const struct io_ops io_epoll = {
    .name = "epoll",
    .init = back_init,
    .fini = back_fini,
    .wait = back_wait,
    .wake_fd = back_wake_fd,
    .open = back_open,
    .release = back_release,
    .want_read = back_want,
    .want_write = back_want,
    .probe = stream_probe,
    .take = stream_take,
    .take_lent = stream_take_lent,
    .poll_start = back_poll_start,
    .poll_change = back_poll_change,
    .poll_stop = back_poll_stop,
    IO_STREAM_OPS,
};
