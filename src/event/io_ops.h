/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * io_ops: what a back end of the loop provides. Inside knowledge of event/.
 *
 * The functions of await.h that concern descriptors check what is common (inside a fiber, not
 * cancelled) and come here; one table a back end, chosen when the loop is made. The lower half of
 * the table is what await.h promises: io_stream.c has it for all back ends, on top of the upper
 * half, and a back end may have its own. It may keep what it likes in thread-local memory of its
 * own; struct io is its to use while open.
 */
#include "event/await.h"
#include "event/poll.h"
#include "event/slots.h"

struct io_ops {
    const char *name;
    int (*init)(void);
    void (*fini)(void);
    /* Wait at most so many ms (-1: no limit) for events and deliver them; ticks the clock. */
    void (*wait)(int timeout_ms);
    /* An eventfd: adding to it makes wait() return, from any thread. */
    int (*wake_fd)(void);

    int (*open)(struct io *io, int fd);
    /* Wake who waits with -ECANCELED and forget io; closing: its fd is about to be closed. */
    void (*release)(struct io *io, bool closing);
    /* From now on say when there is something to read (or an end, or an error), or room to write:
     * with stream_readable() or stream_writable(), once at least. */
    void (*want_read)(struct io *io);
    void (*want_write)(struct io *io);
    /* Is there really something to read? Takes io->readable away if not. */
    bool (*probe)(struct io *io);
    /* Read at most n bytes, into p or lent, without waiting: n > 0, 0 at the end, -EAGAIN when
     * there are none, another error. Says in io->readable whether there may be more. */
    int (*take)(struct io *io, void *p, size_t n);
    int (*take_lent)(struct io *io, struct str *lent);

    int (*poll_start)(struct poll *p, unsigned events);
    int (*poll_change)(struct poll *p, unsigned events);
    void (*poll_stop)(struct poll *p);

    void (*watch)(struct io *io, void (*fn)(struct io *io));
    /* Call the watches that were set on waiting data; are there any? */
    void (*run_watches)(void);
    bool (*has_watches)(void);
    int (*read)(struct io *io, struct str *lent, int64_t deadline);
    int (*read_into)(struct io *io, void *p, size_t n, int64_t deadline);
    int (*readable)(struct io *io, int64_t deadline);
    int (*write)(struct io *io, struct iovec *iov, int iovcnt, int64_t deadline);
    void (*set_min_drain)(unsigned bytes_per_second);
    ptrdiff_t (*splice)(struct io *from, struct io *to, size_t n, int64_t deadline);
    int (*connected)(struct io *io, int64_t deadline); /* wait for a connect() in progress */
};

extern const struct io_ops io_epoll, io_uring;
/* The back end of this thread. */
extern _Thread_local const struct io_ops *io_ops;

/* ---- io_stream.c ---- */

/* Names of this thread's io and poll for the kernel. */
extern _Thread_local struct slots io_slots;

/* Something to read, or room to write: who waits is woken, the watch is called (it may free io). */
void stream_readable(struct io *io);
void stream_writable(struct io *io);
/* Wake who waits with -ECANCELED. */
void stream_cancel(struct io *io);
/* Thread end. */
void stream_fini(void);

/* take, take_lent and probe with system calls. */
int stream_take(struct io *io, void *p, size_t n);
int stream_take_lent(struct io *io, struct str *lent);
bool stream_probe(struct io *io);

/* Write what fits, without waiting: how much, or an error. */
ssize_t stream_put(struct io *io, const char *p, size_t n);

void stream_watch(struct io *io, void (*fn)(struct io *io));
void stream_run_watches(void);
bool stream_has_watches(void);
int stream_read(struct io *io, struct str *lent, int64_t deadline);
int stream_read_into(struct io *io, void *p, size_t n, int64_t deadline);
int stream_await_readable(struct io *io, int64_t deadline);
int stream_write(struct io *io, struct iovec *iov, int iovcnt, int64_t deadline);
/* What did not fit at once, less the `done` bytes that did. */
int stream_write_rest(struct io *io, struct iovec *iov, int cnt, size_t done, int64_t deadline);
/* A small head and body leave as one piece: copying them costs less than the kernel's gathering. */
#define STREAM_JOIN_MAX 4096
size_t stream_bytes(const struct iovec *iov, int cnt);
struct iovec stream_join(char *room, const struct iovec *iov, int cnt);
void stream_set_min_drain(unsigned bytes_per_second);
ptrdiff_t stream_splice(struct io *from, struct io *to, size_t n, int64_t deadline);
int stream_connected(struct io *io, int64_t deadline);
#define IO_STREAM_OPS                                                                              \
    .watch = stream_watch, .run_watches = stream_run_watches, .has_watches = stream_has_watches,   \
    .read = stream_read, .read_into = stream_read_into, .readable = stream_await_readable,         \
    .write = stream_write, .set_min_drain = stream_set_min_drain, .splice = stream_splice,         \
    .connected = stream_connected

/* ---- await.c ---- */

/* Park until woken, or until the deadline: fiber_on_cancel() must have been called. */
int await_park(int64_t deadline);
/* Forget deadlines of this thread's fibers; for loop_fini(). */
void await_thread_init(void);

/* ---- wheel.c: the timers ---- */

void wheel_init(void);
void wheel_fini(void);
/* Run what is due at now_ms(). */
void wheel_run(void);
/* ms until something may be due, -1 when there is none. */
int wheel_timeout(void);
