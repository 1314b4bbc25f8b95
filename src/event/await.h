/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * await: what may park a fiber. Completion style: a call returns data or a result; neither
 * readiness nor completion shows, so epoll and io_uring serve the same callers (event/io_epoll.c;
 * chosen at start).
 *
 * Conventions: a result >= 0 is success, < 0 a negative errno. Each takes an absolute deadline
 * (now_ms() values, NEVER for none) and returns -ETIMEDOUT when it passes, -ECANCELED when the
 * fiber was cancelled. A deadline that has passed already fails only an await that would have to
 * park. All must be called inside a fiber.
 *
 * Lent data: await_read() lends memory that belongs to the thread; it is valid until the next await
 * of this fiber, whatever that awaits. Who needs it longer copies it. (await_write() may be given
 * lent memory: it keeps what it could not send at once.)
 */
#include "base/ip.h"
#include "base/str.h"
#include "event/loop.h"

#include <sys/uio.h>

struct fiber;
struct io_layer; /* event/io_layer.h */

/* The most that await_read() lends at once. */
#define LEND_BYTES (64 << 10)

/* What io_uring.c remembers of an io. */
struct io_ring {
    uint16_t first, last;    /* the chain of buffers that were received and not read yet */
    uint8_t held;            /* how many */
    uint8_t direct;          /* reads to go before the kernel is asked to receive ahead again */
    uint8_t asked;           /* to the kernel: an enum of io_uring.c */
    bool asked_write, ended; /* ended: no more will come, and */
    int error;               /* this is why: 0 the end of the stream, or a negative errno */
    bool sending;            /* what is given to the kernel with the next turn, or */
    int sent;                /* what came of it: bytes, or a negative errno */
};

/*
 * A file descriptor on this thread's loop. Owned by the caller, in place (inside a connection
 * struct); must not move. At most one fiber reads and one writes at a time. Registered once,
 * edge-triggered, for both directions; a read that comes back short is taken as "drained".
 */
struct io {
    int fd; /* -1: closed */
    /* What the last events said; "true" may be stale, the call finds out. */
    bool readable, writable, hup, error;
    bool plain;    /* not a socket */
    bool lenient;  /* io_set_min_drain() does not apply: await_connect() sets it */
    uint32_t slot; /* the back end's */
    struct fiber *reader, *writer;
    void *owner;                        /* for on_readable(): whatever who opened it likes */
    void (*on_readable)(struct io *io); /* io_watch(); NULL while a fiber reads */
    struct relay *relay;                /* that has it; NULL: none */
    struct io_ring ring;                /* of io_uring.c */
    /* Between the socket and its users (TLS): the functions below go through it, and read and write
     * what it carries. NULL: none. */
    const struct io_layer *layer;
    void *layer_state; /* the layer's */
};
/* An io that is closed; zeroed memory is not one. */
#define IO_CLOSED                                                                                  \
    {                                                                                              \
        .fd = -1                                                                                   \
    }

/* Take over fd (must be non-blocking) and register it with this thread's loop. -errno on failure,
 * fd stays the caller's. */
int io_open(struct io *io, int fd);
/* Close fd; a fiber that waits on it wakes with -ECANCELED and does not touch io any more, so io
 * may be freed at once. Harmless on a closed io. */
void io_close(struct io *io);
/* Give fd back without closing it (hand-over). Fibers that wait wake as with io_close(). */
int io_release(struct io *io);
/* Say that nothing more will be sent; reading goes on. Only while nobody writes. */
void io_shut(struct io *io);
/*
 * No fiber: call fn(io) on the loop when there is something to read, an error, or the end. One
 * shot; fn usually starts a fiber, and may free io. This is how an idle connection costs no stack.
 * NULL takes the watch off. When data is known to be waiting already fn is called in this turn,
 * not from inside io_watch().
 */
void io_watch(struct io *io, void (*fn)(struct io *io));

/* n > 0 bytes lent in *lent (at most LEND_BYTES), 0 at the end of the stream. */
int await_read(struct io *io, struct str *lent, int64_t deadline);
/* Like read(2) into memory of the caller. */
int await_read_into(struct io *io, void *p, size_t n, int64_t deadline);
/* Wait until there is something to read (or the end) without reading: 0. */
int await_readable(struct io *io, int64_t deadline);
/*
 * All of it: 0 or an error. The deadline is for a peer that takes nothing: with all it takes the
 * deadline moves on, by the time it was away when the call was made. Sends at once, or
 * together with what the other fibers of this turn send; what did not fit is sent from where it is
 * while the fiber waits: from the caller's memory, or, when it was lent, from the lent memory,
 * which the thread then leaves to this fiber until the call returns. iov is changed.
 */
int await_write(struct io *io, struct iovec *iov, int iovcnt, int64_t deadline);
/* Set the lowest acceptable drain rate (bytes/s, 0 none) for await_write() on this thread, to peers
 * that came to us: what one took on average over one call, judged from 5 s of waiting on; too slow
 * is -ETIMEDOUT. */
void io_set_min_drain(unsigned bytes_per_second);
/* Zero-copy move of at most n bytes from one socket to the other through a pipe of this thread's
 * pool; > 0 moved, 0 end of stream. -ENOTSUP when these descriptors cannot, or one has a layer:
 * nothing was moved. */
ptrdiff_t await_splice(struct io *from, struct io *to, size_t n, int64_t deadline);
/* A non-blocking stream socket connected to addr, registered in *io. On failure *io is closed; it
 * must not be freed meanwhile. */
int await_connect(struct io *io, const struct addr *addr, int64_t deadline);
/* Park until the deadline (0) or cancellation. */
int await_until(int64_t deadline);
/* Run fn(arg) on a helper thread; parks until it is done (then 0). Never abandons a running fn:
 * cancellation is returned only after fn has come back. Without helpers fn runs here. */
int await_offload(void (*fn)(void *arg), void *arg);

/* ---- a fiber-level condition: one fiber waits, others (same thread) signal ---- */
struct cond {
    struct list waiters;
};
void cond_init(struct cond *c);
int await_cond(struct cond *c, int64_t deadline);
/* Wake one / all. */
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

/* Counters of this thread's loop, for metrics and benches. */
struct io_stats {
    uint64_t turns, events, reads, writes, short_reads, spills, accepts, connects;
};
extern _Thread_local struct io_stats io_stats;
