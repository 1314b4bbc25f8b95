/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * io_ops: what a back end of the loop provides. Inside knowledge of event/.
 *
 * The functions of await.h that concern descriptors check what is common (inside a fiber, not
 * cancelled) and come here; one table a back end, chosen when the loop is made. A back end may keep
 * what it likes in its own thread-local memory; struct io is its to use while open.
 */
#include "event/await.h"
#include "event/poll.h"

struct io_ops {
    const char *name;
    int (*init)(void);
    void (*fini)(void);
    /* Wait at most so many ms (-1: no limit) for events and deliver them; ticks the clock. */
    void (*wait)(int timeout_ms);
    /* Call the watches that were set on waiting data. True when some are left for the next turn. */
    bool (*run_watches)(void);
    /* An eventfd: adding to it makes wait() return, from any thread. */
    int (*wake_fd)(void);

    int (*open)(struct io *io, int fd);
    /* Wake who waits with -ECANCELED and forget io; closing: its fd is about to be closed. */
    void (*release)(struct io *io, bool closing);
    void (*watch)(struct io *io, void (*fn)(struct io *io));
    int (*read)(struct io *io, struct str *lent, int64_t deadline);
    int (*read_into)(struct io *io, void *p, size_t n, int64_t deadline);
    int (*readable)(struct io *io, int64_t deadline);
    int (*write)(struct io *io, struct iovec *iov, int iovcnt, int64_t deadline);
    void (*set_min_drain)(unsigned bytes_per_second);
    ptrdiff_t (*splice)(struct io *from, struct io *to, size_t n, int64_t deadline);
    int (*connected)(struct io *io, int64_t deadline); /* wait for a connect() in progress */

    int (*poll_start)(struct poll *p, unsigned events);
    int (*poll_change)(struct poll *p, unsigned events);
    void (*poll_stop)(struct poll *p);
};

extern const struct io_ops io_epoll;
/* The back end of this thread. */
extern _Thread_local const struct io_ops *io_ops;

/* Park until woken, or until the deadline: fiber_on_cancel() must have been called. */
int await_park(int64_t deadline);
/* Forget deadlines of this thread's fibers; for loop_fini(). */
void await_thread_init(void);

/* The timer wheel (wheel.c). */
void wheel_init(void);
void wheel_fini(void);
/* Run what is due at now_ms(). */
void wheel_run(void);
/* ms until something may be due, -1 when there is none. */
int wheel_timeout(void);
