/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_stream: reading and writing as all back ends do it: waiting, watches, deadlines of slow peers,
 * splice.
 *
 * io->readable and io->writable remember what a back end has told: "true" means that a call may
 * succeed, "false" that it would not, and that word will come once want() has been called. A short
 * read or write takes the flag away without asking for EAGAIN: what arrives later is told anew. (A
 * stream read stops early in one more case, at TCP urgent data; a peer that sends some waits for
 * its own deadline.)
 *
 * A fiber that waits is in io->reader or io->writer until it runs again, not only until it is
 * woken: so io_close() finds it in between, and it never touches an io that was closed meanwhile.
 */
#include "event/await.h"

#include "base/assert.h"
#include "base/mem.h"
#include "event/io_ops.h"
#include "event/lend.h"
#include "event/pipe.h"
#include "event/relay.h"
#include "fiber/fiber.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A peer is judged by its drain rate from here on. */
#define DRAIN_GRACE_MS 5000

_Thread_local struct slots io_slots;

static _Thread_local unsigned min_drain;
/* Tokens of io whose watch was set while they were readable. */
static _Thread_local struct {
    uint64_t *token;
    size_t n, cap;
} later;

void stream_fini(void)
{
    slots_fini(&io_slots);
    free(later.token);
    later.token = NULL;
    later.n = later.cap = 0;
    min_drain = 0;
    lend_fini();
    pipe_fini();
}

/* ---- events ---- */

static void wake(struct fiber *f)
{
    if (f != NULL && fiber_is_parked(f)) {
        fiber_wake(f, 0);
    }
}

/* The callback may free io: it comes last. */
static void watch_call(struct io *io)
{
    void (*fn)(struct io *) = io->on_readable;

    io->on_readable = NULL;
    fn(io);
}

void stream_writable(struct io *io)
{
    io->writable = true;
    wake(io->writer);
    if (io->relay != NULL) {
        relay_writable(io);
    }
}

void stream_readable(struct io *io)
{
    io->readable = true;
    wake(io->reader);
    if (io->on_readable != NULL) {
        watch_call(io);
    }
}

void stream_cancel(struct io *io)
{
    if (io->reader != NULL) {
        fiber_interrupt(io->reader, -ECANCELED);
    }
    if (io->writer != NULL) {
        fiber_interrupt(io->writer, -ECANCELED);
    }
}

/* ---- watches ---- */

bool stream_probe(struct io *io)
{
    char c;

    if (io->hup) {
        return true;
    }
    if (recv(io->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN) {
        io->readable = false;
    }
    return io->readable;
}

void stream_watch(struct io *io, void (*fn)(struct io *io))
{
    ASSERT(io->fd >= 0 && (fn == NULL || io->reader == NULL));
    io->on_readable = fn;
    if (fn == NULL) {
        return;
    }
    if (!io->readable) {
        io_ops->want_read(io);
        return;
    }
    if (later.n == later.cap) {
        later.cap = later.cap == 0 ? 64 : 2 * later.cap;
        later.token = mem_resize(later.token, later.cap * sizeof(*later.token));
    }
    later.token[later.n++] = slots_token(&io_slots, io->slot);
}

static void watch_run(struct io *io)
{
    if (io->on_readable == NULL || !io->readable) {
        return;
    }
    if (io_ops->probe(io)) {
        watch_call(io);
    } else {
        io_ops->want_read(io);
    }
}

/* Those that callbacks add wait for the next turn, or a busy connection could keep the loop. */
void stream_run_watches(void)
{
    size_t n = later.n;

    for (size_t i = 0; i < n; i++) {
        const struct slot *s = slots_find(&io_slots, later.token[i]);
        if (s != NULL) {
            watch_run(s->object);
        }
    }
    if (n > 0) {
        later.n -= n;
        memmove(later.token, later.token + n, later.n * sizeof(*later.token));
    }
}

bool stream_has_watches(void)
{
    return later.n > 0;
}

/* ---- waiting ---- */

/* Reads of this thread one after another that did not have to wait. */
static _Thread_local unsigned burst;

static void forget(void *who)
{
    *(struct fiber **)who = NULL;
}

/* Park in io->reader or io->writer until an event. After an error io may be gone. */
static int wait_event(struct io *io, struct fiber **who, void (*want)(struct io *io),
                      int64_t deadline)
{
    if (fiber_must_end()) {
        return -ECANCELED;
    }
    if (io->fd < 0) {
        return -EBADF;
    }
    if (deadline <= now_ms()) {
        return -ETIMEDOUT;
    }
    ASSERT(*who == NULL);
    burst = 0;
    want(io);
    *who = fiber_self();
    fiber_on_cancel(forget, who);
    int rc = await_park(deadline);
    if (rc == 0) {
        *who = NULL;
    }
    return rc;
}

static int wait_readable(struct io *io, int64_t deadline)
{
    ASSERT(io->on_readable == NULL);
    return wait_event(io, &io->reader, io_ops->want_read, deadline);
}

/* A stream between two fast peers never waits: after so many reads it lets others have a turn. A
 * nested fiber must not read at all: the buffer may be lent to who started it. */
enum { BURST_MAX = 8 };

static bool must_leave(bool lends)
{
    return ++burst > BURST_MAX || (lends && fiber_is_nested());
}

static int leave(struct io *io)
{
    burst = 0;
    lend_expire();
    io->reader = fiber_self();
    int rc = fiber_yield();
    if (rc == 0) {
        io->reader = NULL;
    }
    return rc;
}

/* ---- reading ---- */

/*
 * recv() and send() are 3 % cheaper for the whole system than read() and write(); and without the C
 * library's part in them, which makes them points of pthread_cancel(), another one.
 */
static ssize_t sys_read(struct io *io, void *p, size_t n)
{
    if (!io->plain) {
        ssize_t got = syscall(SYS_recvfrom, io->fd, p, n, 0, NULL, NULL);
        if (got >= 0 || errno != ENOTSOCK) {
            return got;
        }
        io->plain = true;
    }
    return read(io->fd, p, n);
}

int stream_take(struct io *io, void *p, size_t n)
{
    ssize_t got;

    do {
        got = sys_read(io, p, n);
    } while (got < 0 && errno == EINTR);
    io_stats.reads++;
    if (got < 0) {
        io->readable = errno != EAGAIN;
        return -errno;
    }
    if ((size_t)got < n && got > 0 && !io->hup) {
        io->readable = false;
        io_stats.short_reads++;
    }
    return (int)got;
}

int stream_take_lent(struct io *io, struct str *lent)
{
    char *buffer = lend_buffer();
    int rc = stream_take(io, buffer, LEND_BYTES);

    if (rc != -EAGAIN) {
        *lent = (struct str){buffer, rc > 0 ? (size_t)rc : 0};
        lend_mark(lent->n);
    }
    return rc;
}

int stream_read_into(struct io *io, void *p, size_t n, int64_t deadline)
{
    int rc = io->readable && must_leave(false) ? leave(io) : 0;

    if (rc < 0) {
        return rc;
    }
    for (;;) {
        rc = io->readable ? io_ops->take(io, p, n < INT_MAX ? n : INT_MAX) : -EAGAIN;
        if (rc != -EAGAIN) {
            return rc;
        }
        rc = wait_readable(io, deadline);
        if (rc < 0) {
            return rc;
        }
    }
}

int stream_read(struct io *io, struct str *lent, int64_t deadline)
{
    int rc = io->readable && must_leave(true) ? leave(io) : 0;

    while (rc == 0) {
        if (!io->readable) {
            rc = wait_readable(io, deadline);
            continue;
        }
        rc = io_ops->take_lent(io, lent);
        if (rc != -EAGAIN) {
            return rc;
        }
        rc = 0;
    }
    return rc;
}

int stream_await_readable(struct io *io, int64_t deadline)
{
    while (!io->readable || !io_ops->probe(io)) {
        int rc = wait_readable(io, deadline);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* ---- writing ---- */

/* How fast a peer takes what is written for it, from the first wait on. */
struct drain {
    int64_t since;           /* 0: not waited yet */
    int64_t put;             /* bytes given to the socket since */
    int64_t gone;            /* bytes known to have left the socket since */
    int64_t queued;          /* in the socket when the wait began */
    int64_t patience, until; /* how long the peer may take nothing, and until when */
};

static int socket_queue(const struct io *io)
{
    int n = 0;
    return ioctl(io->fd, SIOCOUTQ, &n) == 0 ? n : 0;
}

/* When the peer will have been too slow unless it takes more. */
static int64_t drain_deadline(const struct drain *d, const struct io *io)
{
    if (min_drain == 0 || io->lenient) {
        return NEVER;
    }
    int64_t taken = d->put > d->gone ? d->put : d->gone;
    int64_t earned = taken * 1000 / min_drain + 1;
    return d->since + (earned > DRAIN_GRACE_MS ? earned : DRAIN_GRACE_MS);
}

/* Has the peer taken more than was seen? Then it has time again. The socket tells of room only when
 * a good part of its queue is free, so the queue is asked. */
static void drain_look(struct drain *d, const struct io *io)
{
    int64_t gone = d->put + d->queued - socket_queue(io);

    if (gone > d->gone) {
        d->gone = gone;
        d->until = d->patience == NEVER ? NEVER : now_ms() + d->patience;
    }
}

static void drain_begin(struct drain *d, const struct io *io, int64_t deadline)
{
    d->since = now_ms();
    d->put = 0; /* what went at once was room in the queue, not the peer */
    d->queued = socket_queue(io);
    d->until = deadline;
    d->patience = deadline == NEVER ? NEVER : deadline - d->since;
}

static int wait_writable(struct io *io, struct drain *d, int64_t deadline)
{
    if (d->since == 0) {
        drain_begin(d, io, deadline);
    } else {
        drain_look(d, io);
    }
    for (;;) {
        int64_t slow = drain_deadline(d, io);
        int rc = wait_event(io, &io->writer, io_ops->want_write, slow < d->until ? slow : d->until);
        if (rc != -ETIMEDOUT) {
            return rc;
        }
        drain_look(d, io);
        if (d->until <= now_ms() || drain_deadline(d, io) <= now_ms()) {
            return rc;
        }
    }
}

static void iov_skip(struct iovec **iov, int *cnt, size_t n)
{
    while (*cnt > 0 && n >= (*iov)->iov_len) {
        n -= (*iov)->iov_len;
        ++*iov;
        --*cnt;
    }
    if (n > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + n;
        (*iov)->iov_len -= n;
    }
}

static ssize_t sys_write(struct io *io, struct iovec *iov, int cnt)
{
    if (cnt == 1 && !io->plain) {
        ssize_t put =
            syscall(SYS_sendto, io->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL, NULL, 0);
        if (put >= 0 || errno != ENOTSOCK) {
            return put;
        }
        io->plain = true;
    }
    return writev(io->fd, iov, cnt);
}

ssize_t stream_put(struct io *io, const char *p, size_t n)
{
    struct iovec one = {(void *)(uintptr_t)p, n};
    ssize_t put = sys_write(io, &one, 1);

    io_stats.writes++;
    io->writable = put == (ssize_t)n;
    if (put >= 0) {
        return put;
    }
    return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

size_t stream_bytes(const struct iovec *iov, int cnt)
{
    size_t n = 0;

    for (int i = 0; i < cnt; i++) {
        n += iov[i].iov_len;
    }
    return n;
}

struct iovec stream_join(char *room, const struct iovec *iov, int cnt)
{
    struct iovec one = {.iov_base = room};

    for (int i = 0; i < cnt; i++) {
        memcpy(room + one.iov_len, iov[i].iov_base, iov[i].iov_len);
        one.iov_len += iov[i].iov_len;
    }
    return one;
}

static ssize_t write_joined(struct io *io, const struct iovec *iov, int cnt)
{
    char room[STREAM_JOIN_MAX];
    struct iovec one = stream_join(room, iov, cnt);

    return sys_write(io, &one, 1);
}

/* Write what fits: 1 all of it, 0 not all, or an error. */
static int write_some(struct io *io, struct iovec **iov, int *cnt, struct drain *d)
{
    while (*cnt > 0 && io->writable) {
        int now = *cnt < IOV_MAX ? *cnt : IOV_MAX;
        size_t want = stream_bytes(*iov, now);
        ssize_t put = now > 1 && want <= STREAM_JOIN_MAX ? write_joined(io, *iov, now)
                                                         : sys_write(io, *iov, now);
        io_stats.writes++;
        if (put < 0 && errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        if (put >= 0 ? (size_t)put < want : errno == EAGAIN) {
            io->writable = false;
        }
        if (put >= 0) {
            d->put += put;
            iov_skip(iov, cnt, (size_t)put);
        }
    }
    return *cnt == 0;
}

int stream_write_rest(struct io *io, struct iovec *iov, int cnt, size_t done, int64_t deadline)
{
    struct drain d = {0};
    char *kept = lend_keep(iov, cnt);
    int rc;

    iov_skip(&iov, &cnt, done);
    io_stats.spills += kept != NULL;
    do {
        rc = wait_writable(io, &d, deadline);
        if (rc == 0) {
            rc = write_some(io, &iov, &cnt, &d);
        }
    } while (rc == 0);
    lend_return(kept);
    return rc < 0 ? rc : 0;
}

int stream_write(struct io *io, struct iovec *iov, int cnt, int64_t deadline)
{
    struct drain d = {0};
    int rc = write_some(io, &iov, &cnt, &d);

    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    return stream_write_rest(io, iov, cnt, 0, deadline);
}

void stream_set_min_drain(unsigned bytes_per_second)
{
    min_drain = bytes_per_second;
}

int stream_connected(struct io *io, int64_t deadline)
{
    int error = 0;

    io->writable = false;
    int rc = wait_event(io, &io->writer, io_ops->want_write, deadline);
    if (rc == 0 && io->error) {
        getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof(error)});
    }
    return rc < 0 ? rc : -error;
}

/* ---- splice ---- */

/* From the socket into the empty pipe: bytes, 0 at the end. Stays readable: a short move may also
 * mean that the pipe is full. */
static ptrdiff_t pipe_fill(const struct pipe *p, struct io *from, size_t n, int64_t deadline)
{
    for (;;) {
        ssize_t got = -1;
        errno = EAGAIN;
        if (from->readable) {
            io_stats.reads++;
            got = splice(from->fd, NULL, p->in, NULL, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        }
        if (got >= 0) {
            return got;
        }
        if (errno == EINVAL) {
            return -ENOTSUP;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        from->readable = errno == EINTR;
        int rc = from->readable ? 0 : wait_readable(from, deadline);
        if (rc < 0) {
            return rc;
        }
    }
}

/* All n bytes in the pipe to the socket: 0 or an error. */
static int pipe_empty(const struct pipe *p, struct io *to, size_t n, int64_t deadline)
{
    struct drain d = {0};

    while (n > 0) {
        ssize_t put = -1;
        errno = EAGAIN;
        if (to->writable) {
            io_stats.writes++;
            put = splice(p->out, NULL, to->fd, NULL, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        }
        if (put >= 0) {
            n -= (size_t)put;
            d.put += put;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return errno == EINVAL ? -ENOTSUP : -errno;
        }
        to->writable = errno == EINTR;
        int rc = to->writable ? 0 : wait_writable(to, &d, deadline);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

ptrdiff_t stream_splice(struct io *from, struct io *to, size_t n, int64_t deadline)
{
    struct pipe p;

    if (!pipe_take(&p)) {
        return -ENOTSUP;
    }
    ptrdiff_t got = pipe_fill(&p, from, n, deadline);
    int rc = got > 0 ? pipe_empty(&p, to, (size_t)got, deadline) : 0;
    pipe_give(&p, rc == 0);
    return rc < 0 ? rc : got;
}
