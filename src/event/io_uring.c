/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_uring: the back end of the loop on io_uring.
 *
 * Receiving ahead: a connection is armed once, with a multishot receive; what comes lands in a
 * buffer of a small ring that the kernel chooses from, and is lent from there. A small request
 * costs no system call to be read and none to be waited for.
 *
 * That would let a fast peer fill the ring while nobody reads. So a connection that fills a whole
 * buffer, or has several unread, or finds none free, is read directly for a while: the kernel is
 * asked only to tell when there is something, and it is received with a system call into the
 * thread's large buffer, as io_epoll does. That is also the cheaper way for large bodies.
 *
 * Small writes of a turn go to the kernel together, and it is told not to wait: it has sent them,
 * or what fits, when it has been entered. So it holds no pointer to memory of a fiber from one turn
 * to the next, and a fiber that may not wait any longer enters it there and then. What did not fit
 * is written as io_stream.c does it, with room to write waited for through the ring.
 *
 * What the kernel was asked carries a token (slots.h): an answer that comes too late finds no io,
 * and its buffer goes back. A socket stays open in the kernel until what was asked of it is taken
 * back, so closing does that.
 *
 * The ring belongs to one thread, and does its work when that thread waits (SINGLE_ISSUER,
 * DEFER_TASKRUN: Linux 6.1).
 */
#include "base/assert.h"
#include "base/mem.h"
#include "event/io_ops.h"
#include "event/lend.h"
#include "fiber/fiber.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define SQ_ENTRIES 512
#define CQ_ENTRIES 4096
/* Small, so that they stay in cache: the kernel takes them in turn. A power of two. */
#define BUFFERS 256
#define BUFFER_BYTES 4096
#define BUFFER_GROUP 0
/* Unread buffers of one connection. */
#define HELD_MAX 4
/* Short reads after which a connection that had much to say is received ahead again. */
#define DIRECT_READS 16
#define NO_BUFFER UINT16_MAX

/* What io->ring.asked says. */
enum { ASKED_NOTHING, ASKED_RECV, ASKED_CANCEL, ASKED_POLL };

/* What an answer of the kernel is about: the upper bits of the index in the token. */
enum kind { KIND_RECV, KIND_READ, KIND_WRITE, KIND_SENT, KIND_FOREIGN };
#define KIND_SHIFT 28
#define KIND_MASK ((uint64_t)7 << KIND_SHIFT)
/* No slot has such an index. */
#define TOKEN_IGNORE (UINT64_MAX - 1)
#define TOKEN_WAKE (UINT64_MAX - 2)

struct back {
    struct io_uring ring;
    int wake;
    struct io_uring_buf_ring *free;
    char *buffers;
    struct {
        uint16_t next, at, n; /* in a chain of io->ring */
        uint16_t run;         /* lent: so many that lie one behind the other */
    } held[BUFFERS];
};

static _Thread_local struct back *back;

/* ---- asking ---- */

static uint64_t token(uint32_t slot, enum kind kind)
{
    return slots_token(&io_slots, slot) | (uint64_t)kind << KIND_SHIFT;
}

static struct io_uring_sqe *sqe_new(void)
{
    struct io_uring_sqe *e = io_uring_get_sqe(&back->ring);

    if (e == NULL) {
        io_uring_submit(&back->ring);
        e = io_uring_get_sqe(&back->ring);
        ASSERT(e != NULL);
    }
    return e;
}

static unsigned poll_events(unsigned events)
{
    return (events & POLL_READ ? POLLIN : 0) | (events & POLL_WRITE ? POLLOUT : 0);
}

static void ask_poll(int fd, unsigned events, uint64_t data)
{
    struct io_uring_sqe *e = sqe_new();

    io_uring_prep_poll_add(e, fd, events);
    e->user_data = data;
}

static void ask_recv(const struct io *io)
{
    struct io_uring_sqe *e = sqe_new();

    io_uring_prep_recv_multishot(e, io->fd, NULL, 0, 0);
    e->flags |= IOSQE_BUFFER_SELECT;
    e->buf_group = BUFFER_GROUP;
    e->user_data = token(io->slot, KIND_RECV);
}

static void ask_cancel(uint64_t data)
{
    struct io_uring_sqe *e = sqe_new();

    io_uring_prep_cancel64(e, data, 0);
    e->flags |= IOSQE_CQE_SKIP_SUCCESS;
    e->user_data = TOKEN_IGNORE;
}

/* What was cancelled last leaves its descriptor alone when this returns. */
static void cancel_now(void)
{
    io_uring_submit_and_get_events(&back->ring);
}

static void ask_wake(void)
{
    struct io_uring_sqe *e = sqe_new();

    /* Edge-triggered: each write to it is an event, so it never has to be read. */
    io_uring_prep_poll_multishot(e, back->wake, POLLIN);
    e->user_data = TOKEN_WAKE;
}

/* ---- buffers ---- */

static char *buffer_at(unsigned i)
{
    return back->buffers + (size_t)i * BUFFER_BYTES;
}

static void buffer_give(unsigned i)
{
    io_uring_buf_ring_add(back->free, buffer_at(i), BUFFER_BYTES, (uint16_t)i, BUFFERS - 1, 0);
    io_uring_buf_ring_advance(back->free, 1);
}

static size_t buffers_bytes(void)
{
    return BUFFERS * (sizeof(struct io_uring_buf) + BUFFER_BYTES);
}

/* Nobody needs it any more. */
static void buffer_done(unsigned i)
{
    lend_emptied(buffer_at(i), BUFFER_BYTES);
    buffer_give(i);
}

/* The loan of what begins at p has ended. */
static void lent_done(char *p)
{
    const unsigned first = (unsigned)((size_t)(p - back->buffers) / BUFFER_BYTES);

    for (unsigned i = 0; i < back->held[first].run; i++) {
        buffer_done(first + i);
    }
}

/* One mapping: the ring of free ones, then the buffers. */
static int buffers_init(struct back *b)
{
    void *p =
        mmap(NULL, buffers_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return -ENOMEM;
    }
    struct io_uring_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)p, .ring_entries = BUFFERS, .bgid = BUFFER_GROUP};
    int rc = io_uring_register_buf_ring(&b->ring, &reg, 0);
    if (rc != 0) {
        munmap(p, buffers_bytes());
        return rc;
    }
    b->free = p;
    b->buffers = (char *)p + BUFFERS * sizeof(struct io_uring_buf);
    return 0;
}

static char *held_bytes(uint16_t i)
{
    return buffer_at(i) + back->held[i].at;
}

static void hold(struct io *io, uint16_t i, int n)
{
    struct io_ring *r = &io->ring;

    back->held[i].next = NO_BUFFER;
    back->held[i].at = 0;
    back->held[i].n = (uint16_t)n;
    if (r->held++ == 0) {
        r->first = i;
    } else {
        back->held[r->last].next = i;
    }
    r->last = i;
    lend_filled(held_bytes(i), (size_t)n);
}

/* Take the first buffer off the chain. */
static uint16_t unhold(struct io *io)
{
    uint16_t i = io->ring.first;

    io->ring.first = back->held[i].next;
    io->ring.held--;
    return i;
}

/* ---- start and end ---- */

static int ring_init(struct back *b)
{
    struct io_uring_params p = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
        .cq_entries = CQ_ENTRIES,
    };
    int rc = io_uring_queue_init_params(SQ_ENTRIES, &b->ring, &p);

    if (rc < 0) {
        return rc;
    }
    rc = buffers_init(b);
    if (rc < 0) {
        io_uring_queue_exit(&b->ring);
        return rc;
    }
    io_uring_register_ring_fd(&b->ring);
    return 0;
}

static int back_init(void)
{
    struct back *b = mem_alloc(sizeof(*b));
    int rc = ring_init(b);

    if (rc < 0) {
        free(b);
        return rc;
    }
    back = b;
    b->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ASSERT(b->wake >= 0);
    for (unsigned i = 0; i < BUFFERS; i++) {
        buffer_give(i);
    }
    lend_own(b->buffers, (size_t)BUFFERS * BUFFER_BYTES, lent_done);
    ask_wake();
    return 0;
}

static void back_fini(void)
{
    struct back *b = back;

    /* What was closed last is still open in the kernel. */
    cancel_now();
    io_uring_queue_exit(&b->ring);
    close(b->wake);
    stream_fini();
    munmap(b->free, buffers_bytes());
    free(b);
    back = NULL;
}

static int back_wake_fd(void)
{
    return back->wake;
}

/* ---- reading ---- */

static void back_want_read(struct io *io)
{
    if (io->ring.asked != ASKED_NOTHING || io->ring.ended) {
        return;
    }
    if (io->ring.direct > 0) {
        io->ring.asked = ASKED_POLL;
        ask_poll(io->fd, POLLIN | POLLRDHUP, token(io->slot, KIND_READ));
    } else {
        io->ring.asked = ASKED_RECV;
        ask_recv(io);
    }
}

static void go_direct(struct io *io)
{
    io->ring.direct = DIRECT_READS;
    if (io->ring.asked == ASKED_RECV) {
        io->ring.asked = ASKED_CANCEL;
        ask_cancel(token(io->slot, KIND_RECV));
    }
}

/* While the kernel receives ahead only it may: bytes would change places. */
static bool is_ahead(const struct io *io)
{
    return io->ring.asked == ASKED_RECV || io->ring.asked == ASKED_CANCEL;
}

static int take_held(struct io *io, char *p, size_t n)
{
    size_t done = 0;

    while (done < n && io->ring.held > 0) {
        uint16_t i = io->ring.first;
        size_t left = back->held[i].n, some = left < n - done ? left : n - done;
        memcpy(p + done, held_bytes(i), some);
        done += some;
        back->held[i].at += (uint16_t)some;
        back->held[i].n -= (uint16_t)some;
        if (some == left) {
            buffer_done(unhold(io));
        }
    }
    return (int)done;
}

/* Buffers that were filled and lie one behind the other are lent as one piece, of at most `most`
 * bytes; the first must not have more. */
static int lend_held(struct io *io, struct str *lent, size_t most)
{
    const uint16_t first = unhold(io);
    uint16_t last = first;

    *lent = str_of(held_bytes(first), back->held[first].n);
    while (io->ring.held > 0 && io->ring.first == last + 1 &&
           lent->p + lent->n == buffer_at(last + 1u) && back->held[last + 1].n <= most - lent->n) {
        last = unhold(io);
        lent->n += back->held[last].n;
    }
    back->held[first].run = last - first + 1;
    lend_out(held_bytes(first), lent->n);
    return (int)lent->n;
}

/* After a read of what was held. */
static int held_taken(struct io *io, int n)
{
    io->readable = io->ring.held > 0 || io->ring.ended;
    return n;
}

/* With nothing held: may a system call read? If not, *rc says what there is. */
static bool may_call(struct io *io, int *rc)
{
    if (io->ring.ended) {
        *rc = io->ring.error;
        return false;
    }
    if (is_ahead(io)) {
        io->readable = false;
        *rc = -EAGAIN;
        return false;
    }
    return true;
}

/* A connection that has become quiet is received ahead again. */
static int called(struct io *io, int rc)
{
    if (rc > 0 && rc < BUFFER_BYTES && io->ring.direct > 0 && !io->plain) {
        io->ring.direct--;
    }
    return rc;
}

static int back_take(struct io *io, void *p, size_t n)
{
    int rc;

    if (io->ring.held > 0) {
        return held_taken(io, take_held(io, p, n));
    }
    return may_call(io, &rc) ? called(io, stream_take(io, p, n)) : rc;
}

static int back_take_lent(struct io *io, struct str *lent)
{
    int rc;

    if (io->ring.held > 0) {
        return held_taken(io, lend_held(io, lent, LEND_BYTES));
    }
    *lent = STR("");
    return may_call(io, &rc) ? called(io, stream_take_lent(io, lent)) : rc;
}

static bool back_probe(struct io *io)
{
    int rc;

    return io->ring.held > 0 || (may_call(io, &rc) ? stream_probe(io) : io->ring.ended);
}

/* ---- writing ---- */

static void back_want_write(struct io *io)
{
    if (!io->ring.asked_write) {
        io->ring.asked_write = true;
        ask_poll(io->fd, POLLOUT, token(io->slot, KIND_WRITE));
    }
}

/* Before the fiber goes on, and its memory is something else. */
static void send_now(void *arg)
{
    struct io *io = arg;

    io->writer = NULL;
    io_uring_submit(&back->ring);
}

static void ask_send(const struct io *io, struct iovec one)
{
    struct io_uring_sqe *e = sqe_new();

    io_uring_prep_send(e, io->fd, one.iov_base, one.iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    e->user_data = token(io->slot, KIND_SENT);
    io_stats.writes++;
}

/* Bytes sent, or an error; after -ECANCELED io may be gone. */
static int await_sent(struct io *io, struct iovec one)
{
    int rc = 0;

    ASSERT(io->writer == NULL);
    ask_send(io, one);
    io->ring.sending = true;
    /* Room to write that was waited for before may be told now. */
    while (rc == 0 && io->ring.sending) {
        io->writer = fiber_self();
        fiber_on_cancel(send_now, io);
        rc = await_park(NEVER);
    }
    if (rc < 0) {
        return rc;
    }
    io->writer = NULL;
    return io->ring.sent;
}

static int await_small(struct io *io, struct iovec *iov, int cnt, int64_t deadline)
{
    char room[STREAM_JOIN_MAX];
    struct iovec one = cnt > 1 ? stream_join(room, iov, cnt) : *iov;
    int put = await_sent(io, one);

    if (put == -ENOTSOCK) {
        io->plain = true;
        return stream_write(io, iov, cnt, deadline);
    }
    if (put < 0 && put != -EAGAIN) {
        return put;
    }
    if (put == (int)one.iov_len) {
        return 0;
    }
    io->writable = false;
    return stream_write_rest(io, iov, cnt, put > 0 ? (size_t)put : 0, deadline);
}

static int back_write(struct io *io, struct iovec *iov, int cnt, int64_t deadline)
{
    if (cnt == 0 || io->fd < 0 || io->plain || !io->writable ||
        stream_bytes(iov, cnt) > STREAM_JOIN_MAX) {
        return stream_write(io, iov, cnt, deadline);
    }
    char *kept = lend_keep(iov, cnt);
    int rc = await_small(io, iov, cnt, deadline);
    lend_return(kept);
    return rc;
}

/* ---- answers ---- */

/* The receive has ended without an end of the stream: no buffer was free, or it was cancelled. */
static void recv_stopped(struct io *io, int why)
{
    io->plain |= why == -ENOTSOCK;
    io->ring.direct = DIRECT_READS;
    if (io->on_readable != NULL && io->ring.held == 0) {
        back_want_read(io);
    } else if (io->reader != NULL) {
        stream_readable(io);
    }
}

static void on_recv(struct io *io, const struct io_uring_cqe *e)
{
    if (!(e->flags & IORING_CQE_F_MORE)) {
        io->ring.asked = ASKED_NOTHING;
    }
    if (e->res > 0) {
        hold(io, (uint16_t)(e->flags >> IORING_CQE_BUFFER_SHIFT), e->res);
        if (e->res == BUFFER_BYTES || io->ring.held >= HELD_MAX) {
            go_direct(io);
        }
    } else if (e->res == -ENOBUFS || e->res == -ECANCELED || e->res == -ENOTSOCK) {
        recv_stopped(io, e->res);
        return;
    } else {
        io->ring.ended = io->hup = true;
        io->ring.error = e->res;
        io->error = e->res < 0;
    }
    stream_readable(io);
}

static void on_ready_to_read(struct io *io, int events)
{
    io->ring.asked = ASKED_NOTHING;
    io->error |= events < 0 || (events & POLLERR) != 0;
    io->hup |= events < 0 || (events & (POLLRDHUP | POLLERR | POLLHUP)) != 0;
    stream_readable(io);
}

static void on_ready_to_write(struct io *io, int events)
{
    io->ring.asked_write = false;
    io->error |= events < 0 || (events & POLLERR) != 0;
    stream_writable(io);
}

static void on_sent(struct io *io, int result)
{
    io->ring.sending = false;
    io->ring.sent = result;
    if (io->writer != NULL && fiber_is_parked(io->writer)) {
        fiber_wake(io->writer, 0);
    }
}

/* Asked again after each call, unless that has stopped or changed it. */
static void on_ready_foreign(struct poll *p, uint64_t data, int events)
{
    const int broken = POLLERR | POLLHUP;

    p->fn(p, (events < 0 || (events & (POLLIN | broken)) ? POLL_READ : 0) |
                 (events < 0 || (events & (POLLOUT | broken)) ? POLL_WRITE : 0));
    if (slots_find(&io_slots, data & ~KIND_MASK) != NULL) {
        ask_poll(p->fd, poll_events(p->events), data);
    }
}

static void answer(const struct io_uring_cqe *e)
{
    const struct slot *s = slots_find(&io_slots, e->user_data & ~KIND_MASK);

    if (s == NULL) {
        if (e->flags & IORING_CQE_F_BUFFER) {
            buffer_give(e->flags >> IORING_CQE_BUFFER_SHIFT);
        }
        return;
    }
    io_stats.events++;
    switch ((enum kind)((e->user_data & KIND_MASK) >> KIND_SHIFT)) {
    case KIND_RECV:
        on_recv(s->object, e);
        break;
    case KIND_READ:
        on_ready_to_read(s->object, e->res);
        break;
    case KIND_WRITE:
        on_ready_to_write(s->object, e->res);
        break;
    case KIND_SENT:
        on_sent(s->object, e->res);
        break;
    case KIND_FOREIGN:
        on_ready_foreign(s->object, e->user_data, e->res);
        break;
    }
}

/* Hand over what was asked, let the kernel do what is due for this ring, and wait if there is
 * nothing yet. */
static void enter(int timeout_ms)
{
    struct io_uring *r = &back->ring;
    struct io_uring_cqe *first;

    if (timeout_ms == 0 || io_uring_cq_ready(r) > 0) {
        const unsigned due = IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW;
        if (io_uring_sq_ready(r) > 0 || (IO_URING_READ_ONCE(*r->sq.kflags) & due) != 0) {
            io_uring_submit_and_get_events(r);
        }
        return;
    }
    struct __kernel_timespec t = {.tv_sec = timeout_ms / 1000,
                                  .tv_nsec = (long long)(timeout_ms % 1000) * 1000000};
    io_uring_submit_and_wait_timeout(r, &first, 1, timeout_ms < 0 ? NULL : &t, NULL);
}

static void back_wait(int timeout_ms)
{
    struct io_uring_cqe *e;

    enter(timeout_ms);
    clock_tick();
    /* What comes while these are looked at is for the next turn. */
    for (unsigned n = io_uring_cq_ready(&back->ring); n > 0; n--) {
        if (io_uring_peek_cqe(&back->ring, &e) != 0) {
            break;
        }
        const struct io_uring_cqe copy = *e;
        io_uring_cqe_seen(&back->ring, e);
        if (copy.user_data == TOKEN_WAKE) {
            if (!(copy.flags & IORING_CQE_F_MORE)) {
                ask_wake();
            }
        } else if (copy.user_data != TOKEN_IGNORE) {
            answer(&copy);
        }
    }
}

/* ---- the table ---- */

static int back_open(struct io *io, int fd)
{
    io->slot = slots_add(&io_slots, io, false);
    io->writable = true;
    return 0;
}

static void back_release(struct io *io, bool closing)
{
    struct io_ring *r = &io->ring;

    while (r->held > 0) {
        buffer_done(unhold(io));
    }
    if (r->asked == ASKED_RECV || r->asked == ASKED_POLL) {
        ask_cancel(token(io->slot, r->asked == ASKED_RECV ? KIND_RECV : KIND_READ));
    }
    if (r->asked_write) {
        ask_cancel(token(io->slot, KIND_WRITE));
    }
    slots_del(&io_slots, io->slot);
    if (!closing) {
        /* Or bytes that come from now on would be lost. */
        cancel_now();
    }
    stream_cancel(io);
}

/* Wait until nothing is received ahead any more, or something was: 0 or an error. */
static int await_direct(struct io *io, int64_t deadline)
{
    int rc = 0;

    go_direct(io);
    while (rc == 0 && io->ring.held == 0 && is_ahead(io) && !io->ring.ended) {
        io->readable = false;
        rc = stream_await_readable(io, deadline);
    }
    return rc;
}

/* What has come in already goes by hand; from then on it is moved without being looked at. */
static ptrdiff_t back_splice(struct io *from, struct io *to, size_t n, int64_t deadline)
{
    char some[BUFFER_BYTES];
    struct iovec iov = {some, 0};
    struct str run;
    int rc = await_direct(from, deadline);

    if (rc < 0 || (from->ring.held == 0 && from->ring.ended)) {
        return rc < 0 ? rc : from->ring.error;
    }
    if (from->ring.held == 0) {
        return stream_splice(from, to, n, deadline);
    }
    if (back->held[from->ring.first].n > n) {
        iov.iov_len = (size_t)take_held(from, some, n);
    } else {
        iov.iov_len = (size_t)lend_held(from, &run, n < LEND_BYTES ? n : LEND_BYTES);
        iov.iov_base = (void *)(uintptr_t)run.p;
    }
    const int got = held_taken(from, (int)iov.iov_len);
    rc = stream_write(to, &iov, 1, deadline);
    return rc < 0 ? rc : got;
}

static void foreign_ask(struct poll *p, unsigned events)
{
    p->events = events;
    p->slot = slots_add(&io_slots, p, true);
    if (events != 0) {
        ask_poll(p->fd, poll_events(events), token(p->slot, KIND_FOREIGN));
    }
}

static int back_poll_start(struct poll *p, unsigned events)
{
    foreign_ask(p, events);
    return 0;
}

static void foreign_forget(const struct poll *p)
{
    ask_cancel(token(p->slot, KIND_FOREIGN));
    slots_del(&io_slots, p->slot);
}

/* A listener that is closed next must refuse connections from then on. */
static void back_poll_stop(struct poll *p)
{
    foreign_forget(p);
    cancel_now();
}

/* Under another name: an answer to what was asked before must not be taken for one to this. */
static int back_poll_change(struct poll *p, unsigned events)
{
    foreign_forget(p);
    foreign_ask(p, events);
    return 0;
}

const struct io_ops io_uring = {
    .name = "io_uring",
    .init = back_init,
    .fini = back_fini,
    .wait = back_wait,
    .wake_fd = back_wake_fd,
    .open = back_open,
    .release = back_release,
    .want_read = back_want_read,
    .want_write = back_want_write,
    .probe = back_probe,
    .take = back_take,
    .take_lent = back_take_lent,
    .poll_start = back_poll_start,
    .poll_change = back_poll_change,
    .poll_stop = back_poll_stop,
    IO_STREAM_OPS,
    .write = back_write,
    .splice = back_splice,
};
