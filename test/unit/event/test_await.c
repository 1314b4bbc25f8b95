/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of event/await.h on the loop of this thread: reads, writes, deadlines, cancellation,
 * watches. */
#include "event/await.h"
#include "fiber/fiber.h"

#include "engine.h"
#include "t.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <unistd.h>

/* Run fn in a fiber and the loop until every fiber has ended. */
static void end_when_alone(void *arg)
{
    if (fiber_count() == 0) {
        loop_stop(loop_self());
    }
}

static void run(void (*fn)(void *arg), void *arg)
{
    CHECK(loop_init() == 0);
    loop_on_turn(end_when_alone, NULL);
    fiber_start("test", fn, arg);
    loop_run();
    loop_fini();
    fiber_thread_fini();
}

static void pair(struct io io[2])
{
    int fd[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
    CHECK(io_open(&io[0], fd[0]) == 0);
    CHECK(io_open(&io[1], fd[1]) == 0);
}

static void close_pair(struct io io[2])
{
    io_close(&io[0]);
    io_close(&io[1]);
    CHECK(io[0].fd == -1);
}

static int put(struct io *io, const char *text, size_t n)
{
    struct iovec v = {(void *)(uintptr_t)text, n};
    return await_write(io, &v, 1, deadline_in(5000));
}

static void echo(void *arg)
{
    struct io *io = arg;
    struct str s;
    int n;

    while ((n = await_read(io, &s, deadline_in(5000))) > 0) {
        struct iovec v = {(void *)(uintptr_t)s.p, s.n};
        CHECK(await_write(io, &v, 1, deadline_in(5000)) == 0);
    }
    CHECK(n == 0);
}

static void ping(void *arg)
{
    struct io io[2];
    struct str s;

    pair(io);
    fiber_start("echo", echo, &io[1]);
    for (int i = 0; i < 1000; i++) {
        char text[16];
        int n = snprintf(text, sizeof(text), "ping %d", i);
        CHECK(put(&io[0], text, (size_t)n) == 0);
        CHECK(await_read(&io[0], &s, deadline_in(5000)) == n);
        CHECK_STR(s, text);
    }
    shutdown(io[0].fd, SHUT_WR);
    CHECK(await_read(&io[0], &s, deadline_in(50)) == -ETIMEDOUT);
    io_close(&io[1]);
    CHECK(await_read(&io[0], &s, deadline_in(5000)) == 0);
    CHECK(await_read(&io[0], &s, deadline_in(5000)) == 0);
    io_close(&io[0]);
}

static void fibers_play_ping_pong_over_a_socket_pair(void)
{
    run(ping, NULL);
}

static void data_and_end_together(void *arg)
{
    struct io io[2];
    struct str s;
    char c[3];

    pair(io);
    CHECK(put(&io[0], "hello", 5) == 0);
    io_close(&io[0]);
    CHECK(await_readable(&io[1], deadline_in(5000)) == 0);
    CHECK(await_read_into(&io[1], c, 3, deadline_in(5000)) == 3 && memcmp(c, "hel", 3) == 0);
    CHECK(await_read(&io[1], &s, deadline_in(5000)) == 2);
    CHECK_STR(s, "lo");
    CHECK(await_read(&io[1], &s, deadline_in(5000)) == 0);
    CHECK(put(&io[1], "x", 1) == -EPIPE);
    io_close(&io[1]);
    CHECK(await_read(&io[1], &s, NEVER) == -EBADF);
}

static void what_came_before_the_end_is_read_first(void)
{
    run(data_and_end_together, NULL);
}

/* ---- deadlines and cancellation, one case an await ---- */

struct waits {
    struct io io[2], other[2];
    struct cond cond;
    int64_t deadline;
    ptrdiff_t rc;
};

static void fill(struct io *io)
{
    static const char block[4096];
    while (write(io->fd, block, sizeof(block)) > 0) {
    }
}

static ptrdiff_t w_read(struct waits *w)
{
    struct str s;
    return await_read(&w->io[0], &s, w->deadline);
}
static ptrdiff_t w_read_into(struct waits *w)
{
    char c;
    return await_read_into(&w->io[0], &c, 1, w->deadline);
}
static ptrdiff_t w_readable(struct waits *w)
{
    return await_readable(&w->io[0], w->deadline);
}
static ptrdiff_t w_write(struct waits *w)
{
    struct iovec v = {w, 100};
    fill(&w->io[0]);
    return await_write(&w->io[0], &v, 1, w->deadline);
}
static ptrdiff_t w_splice_from(struct waits *w)
{
    return await_splice(&w->io[0], &w->other[0], 10, w->deadline);
}
static ptrdiff_t w_splice_to(struct waits *w)
{
    CHECK(write(w->other[1].fd, "data", 4) == 4);
    fill(&w->io[0]);
    return await_splice(&w->other[0], &w->io[0], 10, w->deadline);
}
static ptrdiff_t w_cond(struct waits *w)
{
    return await_cond(&w->cond, w->deadline);
}
static ptrdiff_t w_until(struct waits *w)
{
    return await_until(w->deadline);
}

static const struct {
    const char *name;
    ptrdiff_t (*fn)(struct waits *w);
    int late;    /* the result when the deadline passes */
    bool on_io0; /* ends with -ECANCELED when io[0] is closed */
} waits_for[] = {
    {"read", w_read, -ETIMEDOUT, true},
    {"read_into", w_read_into, -ETIMEDOUT, true},
    {"readable", w_readable, -ETIMEDOUT, true},
    {"write", w_write, -ETIMEDOUT, true},
    {"splice from", w_splice_from, -ETIMEDOUT, true},
    {"splice to", w_splice_to, -ETIMEDOUT, true},
    {"cond", w_cond, -ETIMEDOUT, false},
    {"until", w_until, 0, false},
};

struct waiter {
    size_t row;
    struct waits w;
    struct fiber *fiber;
    bool ended;
};

static void wait_row(void *arg)
{
    struct waiter *t = arg;
    t->w.rc = waits_for[t->row].fn(&t->w);
    t->ended = true;
}

static struct waiter *waiter_start(size_t row, int64_t deadline)
{
    struct waiter *t = calloc(1, sizeof(*t));
    t->row = row;
    pair(t->w.io);
    pair(t->w.other);
    cond_init(&t->w.cond);
    t->w.deadline = deadline;
    t->fiber = fiber_start(waits_for[row].name, wait_row, t);
    return t;
}

static void waiter_free(struct waiter *t)
{
    close_pair(t->w.io);
    close_pair(t->w.other);
    CHECK(list_is_empty(&t->w.cond.waiters));
    free(t);
}

static void deadline_rows(void *arg)
{
    for (size_t i = 0; i < sizeof(waits_for) / sizeof(waits_for[0]); i++) {
        int64_t deadline = deadline_in(30);
        struct waiter *t = waiter_start(i, deadline);
        for (int turn = 0; !t->ended && turn < 1000; turn++) {
            CHECK_ROW(i, clock_us() / 1000 <= deadline + 1000);
            CHECK(await_until(deadline_in(5)) == 0);
        }
        CHECK_ROW(i, t->ended && t->w.rc == waits_for[i].late && now_ms() >= deadline);
        waiter_free(t);
    }
}

static void each_await_ends_at_its_deadline(void)
{
    run(deadline_rows, NULL);
}

static void cancel_rows(void *arg)
{
    for (size_t i = 0; i < sizeof(waits_for) / sizeof(waits_for[0]); i++) {
        struct waiter *t = waiter_start(i, i % 2 ? NEVER : deadline_in(60000));
        CHECK_ROW(i, await_until(deadline_in(2)) == 0);
        CHECK_ROW(i, !t->ended);
        fiber_cancel(t->fiber);
        CHECK_ROW(i, fiber_yield() == 0);
        CHECK_ROW(i, t->ended && t->w.rc == -ECANCELED);
        waiter_free(t);
    }
}

static void each_await_ends_when_its_fiber_is_cancelled(void)
{
    run(cancel_rows, NULL);
}

static void close_rows(void *arg)
{
    for (size_t i = 0; i < sizeof(waits_for) / sizeof(waits_for[0]); i++) {
        if (!waits_for[i].on_io0) {
            continue;
        }
        struct waiter *t = waiter_start(i, deadline_in(60000));
        CHECK(await_until(deadline_in(2)) == 0);
        CHECK_ROW(i, !t->ended);
        io_close(&t->w.io[0]);
        /* Freed connections may be written over at once. */
        memset(&t->w.io[0], 0xee, sizeof(t->w.io[0]));
        CHECK(fiber_yield() == 0);
        CHECK_ROW(i, t->ended && t->w.rc == -ECANCELED);
        t->w.io[0] = (struct io)IO_CLOSED;
        waiter_free(t);
    }
}

static void each_await_ends_when_its_descriptor_is_closed(void)
{
    run(close_rows, NULL);
}

static void earlier_deadline(void *arg)
{
    struct io io[2];
    struct str s;

    pair(io);
    /* A later deadline leaves the timer early, an earlier one must move it. */
    CHECK(await_read(&io[0], &s, deadline_in(20)) == -ETIMEDOUT);
    CHECK(put(&io[1], "a", 1) == 0);
    CHECK(await_read(&io[0], &s, deadline_in(3600000)) == 1);
    int64_t deadline = deadline_in(20);
    CHECK(await_read(&io[0], &s, deadline) == -ETIMEDOUT);
    CHECK(now_ms() >= deadline && now_ms() < deadline + 1000);
    deadline = deadline_in(40);
    CHECK(await_until(deadline_in(10)) == 0);
    CHECK(await_read(&io[0], &s, deadline) == -ETIMEDOUT);
    CHECK(now_ms() >= deadline);
    CHECK(await_read(&io[0], &s, now_ms() - 1) == -ETIMEDOUT);
    CHECK(put(&io[1], "b", 1) == 0);
    CHECK(await_readable(&io[0], NEVER) == 0);
    CHECK(await_read(&io[0], &s, now_ms() - 1) == 1);
    close_pair(io);
}

static void deadlines_may_go_back_and_forth(void)
{
    run(earlier_deadline, NULL);
}

/* ---- a fiber that is ready but has not run ---- */

static void read_result(void *arg)
{
    struct waits *w = arg;
    w->rc = w_read(w);
}

static void close_after_wake(void *arg)
{
    struct io own[2];
    struct waits w = {.deadline = NEVER, .rc = 12345};
    char c[8];

    pair(own);
    pair(w.io);
    struct fiber *f = fiber_start("reader", read_result, &w);
    CHECK(put(&own[1], "y", 1) == 0 && await_read_into(&own[0], c, sizeof(c), NEVER) == 1);
    /* Both are waited for now, and both events come in one batch, this fiber's first. */
    CHECK(put(&own[1], "x", 1) == 0 && put(&w.io[1], "x", 1) == 0);
    CHECK(await_read_into(&own[0], c, sizeof(c), NEVER) == 1);
    CHECK(!fiber_is_parked(f) && w.rc == 12345);
    io_close(&w.io[0]);
    memset(&w.io[0], 0xee, sizeof(w.io[0]));
    CHECK(fiber_yield() == 0);
    CHECK(w.rc == -ECANCELED);
    w.io[0] = (struct io)IO_CLOSED;
    close_pair(w.io);
    close_pair(own);
}

static void a_woken_reader_does_not_touch_a_closed_descriptor(void)
{
    run(close_after_wake, NULL);
}

/* ---- watches ---- */

static struct io *seen;
static struct cond sleeper;

static void on_watch(struct io *io)
{
    CHECK(fiber_self() == NULL);
    seen = io;
    cond_broadcast(&sleeper);
}

/* Until the watch has been called; perhaps it has been already. */
static void await_seen(struct io *io)
{
    if (seen == NULL) {
        CHECK(await_cond(&sleeper, deadline_in(5000)) == 0);
    }
    CHECK(seen == io);
}

static void watch(void *arg)
{
    struct io io[2];
    struct str s;

    pair(io);
    cond_init(&sleeper);
    for (int i = 0; i < 3; i++) {
        seen = NULL;
        io_watch(&io[0], on_watch);
        CHECK(put(&io[1], "x", 1) == 0);
        await_seen(&io[0]);
        CHECK(io[0].on_readable == NULL);
        CHECK(await_read(&io[0], &s, NEVER) == 1);
    }
    /* Data that is known to wait. */
    char c;
    CHECK(put(&io[1], "xy", 2) == 0);
    CHECK(await_read_into(&io[0], &c, 1, NEVER) == 1);
    seen = NULL;
    io_watch(&io[0], on_watch);
    CHECK(seen == NULL);
    await_seen(&io[0]);
    CHECK(await_read_into(&io[0], &c, 1, NEVER) == 1);
    /* io[0].readable may be stale now: the watch must wait for real data. */
    seen = NULL;
    io_watch(&io[0], on_watch);
    CHECK(await_until(deadline_in(20)) == 0);
    CHECK(seen == NULL && io[0].on_readable == on_watch);
    /* Taken off: silent. */
    io_watch(&io[0], NULL);
    CHECK(put(&io[1], "z", 1) == 0);
    CHECK(await_until(deadline_in(20)) == 0);
    CHECK(seen == NULL);
    CHECK(await_read_into(&io[0], &c, 1, NEVER) == 1 && c == 'z');
    /* The end of the stream is an event too. */
    io_watch(&io[0], on_watch);
    seen = NULL;
    io_close(&io[1]);
    await_seen(&io[0]);
    io_close(&io[0]);
}

static void a_watch_is_called_once_without_a_fiber(void)
{
    run(watch, NULL);
}

static void late_watch(void *arg)
{
    struct io io[2];
    char c;

    pair(io);
    cond_init(&sleeper);
    CHECK(put(&io[1], "xy", 2) == 0);
    CHECK(await_read_into(&io[0], &c, 1, NEVER) == 1);
    /* Runs after the watches of this turn; no event and no timer announces this one. */
    CHECK(fiber_yield() == 0);
    const int64_t start = now_ms();
    seen = NULL;
    io_watch(&io[0], on_watch);
    CHECK(await_cond(&sleeper, deadline_in(2000)) == 0);
    CHECK(seen == &io[0] && now_ms() - start < 1000);
    close_pair(io);
}

static void a_watch_on_waiting_data_is_called_however_late_it_was_set(void)
{
    run(late_watch, NULL);
}

static struct io *doomed[64];
static int doomed_calls;

/* The first callback of a batch frees all of them: the other events of the batch are stale. */
static void on_doomed(struct io *io)
{
    doomed_calls++;
    for (int i = 0; i < 64; i++) {
        io_close(doomed[i]);
        free(doomed[i]);
    }
    cond_broadcast(&sleeper);
}

static void stale_events(void *arg)
{
    struct io peer[64];

    cond_init(&sleeper);
    doomed_calls = 0;
    for (int i = 0; i < 64; i++) {
        struct io io[2];
        pair(io);
        int a = io_release(&io[0]), b = io_release(&io[1]);
        doomed[i] = malloc(sizeof(struct io));
        CHECK(io_open(doomed[i], a) == 0 && io_open(&peer[i], b) == 0);
        io_watch(doomed[i], on_doomed);
        CHECK(write(b, "x", 1) == 1);
    }
    CHECK(await_cond(&sleeper, deadline_in(5000)) == 0);
    CHECK(await_until(deadline_in(5)) == 0);
    CHECK(doomed_calls == 1);
    for (int i = 0; i < 64; i++) {
        io_close(&peer[i]);
    }
}

static void events_of_freed_descriptors_are_dropped(void)
{
    run(stale_events, NULL);
}

static void duplicated(void *arg)
{
    struct io io[2], *gone = malloc(sizeof(*gone));

    pair(io);
    int fd = io_release(&io[0]);
    CHECK(io_open(gone, fd) == 0);
    int copy = dup(fd);
    io_close(gone);
    memset(gone, 0xee, sizeof(*gone));
    free(gone);
    CHECK(put(&io[1], "x", 1) == 0);
    CHECK(await_until(deadline_in(5)) == 0);
    close(copy);
    io_close(&io[1]);
}

static void events_of_a_descriptor_that_lives_on_elsewhere_are_dropped(void)
{
    run(duplicated, NULL);
}

/* ---- writing ---- */

#define BIG (3 << 20)

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 7 + (i >> 11));
}

struct sink {
    struct io *io;
    size_t got;
    bool ok;
};

static void slow_sink(void *arg)
{
    struct sink *k = arg;
    struct str s;
    int n;

    k->ok = true;
    while ((n = await_read(k->io, &s, deadline_in(5000))) > 0) {
        for (size_t i = 0; i < s.n; i++) {
            k->ok &= (unsigned char)s.p[i] == pattern(k->got + i);
        }
        k->got += s.n;
        fiber_yield();
    }
    CHECK(n == 0);
}

static void big_write(void *arg)
{
    struct io io[2];
    struct sink k = {.io = &io[1]};
    struct iovec v[2000];
    char *data = malloc(BIG);

    pair(io);
    for (size_t i = 0; i < BIG; i++) {
        data[i] = (char)pattern(i);
    }
    /* More vectors than one call takes, some of them empty. */
    size_t at = 0;
    for (int i = 0; i < 2000; i++) {
        size_t n = i % 10 == 3 ? 0 : i == 1999 ? BIG - at : 1000;
        v[i] = (struct iovec){data + at, n};
        at += n;
    }
    fiber_start("sink", slow_sink, &k);
    CHECK(await_write(&io[0], v, 2000, deadline_in(20000)) == 0);
    io_close(&io[0]);
    for (int i = 0; i < 10000 && k.got < BIG; i++) {
        fiber_yield();
    }
    CHECK(k.got == BIG && k.ok);
    CHECK(await_until(deadline_in(2)) == 0);
    io_close(&io[1]);
    free(data);
}

static void a_write_larger_than_the_socket_waits_for_the_peer(void)
{
    run(big_write, NULL);
}

struct relay {
    struct io *from, *to;
};

static void relay(void *arg)
{
    struct relay *r = arg;
    struct str s;

    while (await_read(r->from, &s, deadline_in(5000)) > 0) {
        struct iovec v[2] = {{(void *)(uintptr_t)s.p, s.n / 2},
                             {(void *)(uintptr_t)(s.p + s.n / 2), s.n - s.n / 2}};
        CHECK(await_write(r->to, v, 2, deadline_in(5000)) == 0);
    }
    io_close(r->to);
}

static void write_pattern(struct io *io, size_t n)
{
    char block[10000];

    for (size_t at = 0; at < n; at += sizeof(block)) {
        for (size_t i = 0; i < sizeof(block); i++) {
            block[i] = (char)pattern(at + i);
        }
        CHECK(put(io, block, sizeof(block)) == 0);
    }
}

static void lent_relay(void *arg)
{
    struct io a[2], b[2], c[2], d[2];
    uint64_t spills = io_stats.spills;

    pair(a), pair(b), pair(c), pair(d);
    /* Two relays through the same read buffer, with targets that are full most of the time. */
    struct relay r[2] = {{&a[1], &b[0]}, {&c[1], &d[0]}};
    struct sink k[2] = {{.io = &b[1]}, {.io = &d[1]}};
    CHECK(setsockopt(b[0].fd, SOL_SOCKET, SO_SNDBUF, &(int){8192}, sizeof(int)) == 0);
    CHECK(setsockopt(d[0].fd, SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int)) == 0);
    for (int i = 0; i < 2; i++) {
        fiber_start("relay", relay, &r[i]);
        fiber_start("sink", slow_sink, &k[i]);
    }
    write_pattern(&a[0], 500000);
    write_pattern(&c[0], 500000);
    io_close(&a[0]);
    io_close(&c[0]);
    for (int i = 0; i < 10000 && (k[0].got < 500000 || k[1].got < 500000); i++) {
        CHECK(await_until(now_ms() + 1) == 0);
    }
    CHECK(k[0].got == 500000 && k[1].got == 500000 && k[0].ok && k[1].ok);
    CHECK(io_stats.spills > spills);
    CHECK(await_until(deadline_in(2)) == 0);
    io_close(&a[1]), io_close(&c[1]), io_close(&b[1]), io_close(&d[1]);
}

static void lent_memory_that_did_not_fit_is_kept_for_the_write(void)
{
    run(lent_relay, NULL);
}

static void nested_reader(void *arg)
{
    struct io *io = arg;
    struct str s;

    CHECK(await_read(io, &s, deadline_in(5000)) == 5);
    CHECK_STR(s, "inner");
}

static void nested_lending(void *arg)
{
    struct io a[2], b[2];
    struct str s;

    pair(a), pair(b);
    CHECK(put(&a[1], "outer", 5) == 0 && put(&b[1], "inner", 5) == 0);
    CHECK(await_readable(&b[0], NEVER) == 0);
    CHECK(await_read(&a[0], &s, NEVER) == 5);
    fiber_start("nested", nested_reader, &b[0]);
    CHECK_STR(s, "outer");
    CHECK(await_until(deadline_in(2)) == 0);
    close_pair(a), close_pair(b);
}

static void a_nested_fiber_does_not_overwrite_what_its_starter_was_lent(void)
{
    run(nested_lending, NULL);
}

static void min_drain(void *arg)
{
    struct io io[2];
    char *data = calloc(1, BIG);
    struct iovec v = {data, BIG};

    pair(io);
    io_set_min_drain(1000000);
    int64_t start = now_ms();
    /* The peer takes nothing: given up after the grace, long before the deadline. */
    CHECK(await_write(&io[0], &v, 1, deadline_in(60000)) == -ETIMEDOUT);
    CHECK(now_ms() - start >= 5000 && now_ms() - start < 20000);
    io_set_min_drain(0);
    v = (struct iovec){data, BIG};
    CHECK(await_write(&io[0], &v, 1, deadline_in(20)) == -ETIMEDOUT);
    close_pair(io);
    free(data);
}

static void a_peer_that_takes_too_little_is_given_up_after_the_grace(void)
{
    run(min_drain, NULL);
}

struct steady {
    struct io *io;
    bool stop;
};

/* Takes a little every few milliseconds. */
static void steady_reader(void *arg)
{
    struct steady *s = arg;
    char some[1000];

    while (!s->stop && await_read_into(s->io, some, sizeof(some), deadline_in(5000)) > 0) {
        CHECK(await_until(deadline_in(15)) == 0);
    }
}

static void patient_write(void *arg)
{
    struct io io[2];
    char *data = calloc(1, BIG);
    struct iovec v = {data, 120000};

    pair(io);
    CHECK(setsockopt(io[0].fd, SOL_SOCKET, SO_SNDBUF, &(int){8192}, sizeof(int)) == 0);
    struct steady s = {.io = &io[1]};
    int64_t start = now_ms();
    fiber_start("reader", steady_reader, &s);
    /* In all it takes far longer than the deadline, but never so long between two pieces. */
    CHECK(await_write(&io[0], &v, 1, deadline_in(1000)) == 0);
    CHECK(now_ms() - start > 1000);
    s.stop = true;
    /* And one that has stopped is given up as soon as ever. */
    v = (struct iovec){data, BIG};
    CHECK(await_write(&io[0], &v, 1, deadline_in(200)) == -ETIMEDOUT);
    CHECK(now_ms() - start < 30000);
    close_pair(io);
    free(data);
}

static void the_deadline_of_a_write_moves_on_while_the_peer_takes_some(void)
{
    run(patient_write, NULL);
}

static unsigned ticks;

static void tick(void *arg)
{
    const bool *stop = arg;

    while (!*stop) {
        ticks++;
        CHECK(fiber_yield() == 0);
    }
}

static void ticking(struct timer *t)
{
    ticks++;
    timer_start(t, deadline_in(1));
}

/* Everything is there already, so no read has to wait; what others have of the time is counted. */
static void greedy_reads(void *arg)
{
    static char data[150000];
    struct io io[2];
    bool stop = false;
    struct str s;
    char some[500];

    pair(io);
    CHECK(put(&io[0], data, sizeof(data)) == 0);
    fiber_start("tick", tick, &stop);
    ticks = 0;
    for (size_t got = 0; got < sizeof(data); got += sizeof(some)) {
        CHECK(await_read_into(&io[1], some, sizeof(some), deadline_in(5000)) == sizeof(some));
    }
    CHECK(ticks >= 5);
    stop = true;
    ticks = 0;
    for (int i = 0; i < 200; i++) {
        CHECK(put(&io[0], "x", 1) == 0);
        CHECK(await_read(&io[1], &s, deadline_in(5000)) == 1);
    }
    close_pair(io);
}

static void who_reads_all_the_time_lets_others_have_turns(void)
{
    run(greedy_reads, NULL);
}

static void yields(void *arg)
{
    struct timer t;
    int64_t start = now_ms();

    timer_init(&t, ticking);
    timer_start(&t, deadline_in(1));
    ticks = 0;
    for (int i = 0; i < 100000 && ticks < 3; i++) {
        CHECK(fiber_yield() == 0);
    }
    CHECK(ticks == 3 && now_ms() - start < 5000);
    timer_stop(&t);
}

static void a_yield_lets_the_loop_turn(void)
{
    run(yields, NULL);
}

/* ---- splice ---- */

static void splice_relay(void *arg)
{
    struct relay *r = arg;
    ptrdiff_t n;

    while ((n = await_splice(r->from, r->to, 100000, deadline_in(5000))) > 0) {
    }
    CHECK(n == 0);
    io_close(r->to);
}

static void splice_all(void *arg)
{
    struct io a[2], b[2];
    struct sink k = {.io = &b[1]};

    pair(a), pair(b);
    CHECK(setsockopt(b[0].fd, SOL_SOCKET, SO_SNDBUF, &(int){8192}, sizeof(int)) == 0);
    struct relay r = {&a[1], &b[0]};
    fiber_start("splice", splice_relay, &r);
    fiber_start("sink", slow_sink, &k);
    write_pattern(&a[0], 1000000);
    io_close(&a[0]);
    for (int i = 0; i < 10000 && k.got < 1000000; i++) {
        CHECK(await_until(now_ms() + 1) == 0);
    }
    CHECK(k.got == 1000000 && k.ok);
    CHECK(await_until(deadline_in(2)) == 0);
    io_close(&a[1]), io_close(&b[1]);
}

static void splice_moves_a_stream_against_back_pressure(void)
{
    run(splice_all, NULL);
}

/* ---- conditions ---- */

static unsigned woken;

static void waits_on_cond(void *arg)
{
    CHECK(await_cond(arg, deadline_in(5000)) == 0);
    woken++;
}

static void conditions(void *arg)
{
    struct cond c;

    cond_init(&c);
    cond_signal(&c);
    woken = 0;
    for (int i = 0; i < 5; i++) {
        fiber_start("cond", waits_on_cond, &c);
    }
    CHECK(woken == 0);
    cond_signal(&c);
    CHECK(await_until(now_ms()) == 0);
    CHECK(woken == 1);
    cond_broadcast(&c);
    CHECK(await_until(now_ms()) == 0);
    CHECK(woken == 5 && list_is_empty(&c.waiters));
}

static void a_condition_wakes_one_or_all(void)
{
    run(conditions, NULL);
}

/* ---- many ---- */

#if defined(__SANITIZE_THREAD__)
#define MANY 200
#else
#define MANY 10000
#endif

static void sleeps(void *arg)
{
    size_t i = (size_t)arg;
    CHECK(await_until(deadline_in((int64_t)(i % 50))) == 0);
    CHECK(await_until(deadline_in((int64_t)(i % 7))) == 0);
    woken++;
}

static void starts_many(void *arg)
{
    woken = 0;
    for (size_t i = 0; i < MANY; i++) {
        CHECK(fiber_start("sleeper", sleeps, (void *)i) != NULL);
    }
    CHECK(await_until(deadline_in(100)) == 0);
    while (woken < MANY) {
        CHECK(await_until(deadline_in(10)) == 0);
    }
}

static void ten_thousand_fibers_wait_at_once(void)
{
    run(starts_many, NULL);
    CHECK(woken == MANY);
}

TESTS(T(fibers_play_ping_pong_over_a_socket_pair), T(what_came_before_the_end_is_read_first),
      T(each_await_ends_at_its_deadline), T(each_await_ends_when_its_fiber_is_cancelled),
      T(each_await_ends_when_its_descriptor_is_closed), T(deadlines_may_go_back_and_forth),
      T(a_woken_reader_does_not_touch_a_closed_descriptor),
      T(a_watch_is_called_once_without_a_fiber),
      T(a_watch_on_waiting_data_is_called_however_late_it_was_set),
      T(events_of_freed_descriptors_are_dropped),
      T(events_of_a_descriptor_that_lives_on_elsewhere_are_dropped),
      T(a_write_larger_than_the_socket_waits_for_the_peer),
      T(lent_memory_that_did_not_fit_is_kept_for_the_write),
      T(a_nested_fiber_does_not_overwrite_what_its_starter_was_lent),
      T(a_peer_that_takes_too_little_is_given_up_after_the_grace),
      T(the_deadline_of_a_write_moves_on_while_the_peer_takes_some),
      T(who_reads_all_the_time_lets_others_have_turns), T(a_yield_lets_the_loop_turn),
      T(splice_moves_a_stream_against_back_pressure), T(a_condition_wakes_one_or_all),
      T(ten_thousand_fibers_wait_at_once))
