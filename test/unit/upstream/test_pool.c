/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool: connections to listeners of the test itself. The kernel completes a connect to a listening
 * socket before anybody accepts it, so the test plays the upstream by plain system calls.
 */
#include "upstream/pool.h"

#include "fiber/fiber.h"
#include "t.h"

#include <errno.h>
#include <unistd.h>

static const struct pool_limits roomy = {.size = 8, .idle_ms = 60000, .requests = 1000};

/* ---- the upstream's side ---- */

static int listen_on(const char *ip, int backlog, struct addr *addr)
{
    int fd;

    CHECK(addr_parse(str_c(ip), 0, addr));
    fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, &addr->sa, addr->len) == 0 && listen(fd, backlog) == 0);
    CHECK(getsockname(fd, &addr->sa, &addr->len) == 0);
    return fd;
}

static unsigned idle_count(void)
{
    unsigned idle, open;
    pool_counts(&idle, &open);
    return idle;
}

static unsigned open_count(void)
{
    unsigned idle, open;
    pool_counts(&idle, &open);
    return open;
}

/* Let the loop turn until there are n open connections. */
static bool await_open(unsigned n)
{
    int64_t end = deadline_in(5000);

    while (open_count() != n && now_ms() < end) {
        await_until(now_ms() + 1);
    }
    return open_count() == n;
}

static struct upconn *take(const struct addr *addr, bool fresh, bool want_reused)
{
    struct upconn *c = NULL;
    bool reused = false;

    CHECK(await_upconn(addr, fresh, deadline_in(5000), &c, &reused) == 0);
    CHECK(reused == want_reused);
    return c;
}

/* ---- the tests; each runs in a fiber on a loop ---- */

static void reuse(void)
{
    struct addr addr, other;
    int l = listen_on("127.0.0.1", 16, &addr), l2 = listen_on("::1", 16, &other);
    struct upconn *a = take(&addr, false, false), *b = take(&addr, false, false);

    CHECK(a->requests == 0 && open_count() == 2 && idle_count() == 0);
    upconn_put(a, &roomy);
    upconn_put(b, &roomy);
    CHECK(idle_count() == 2);
    /* Last in, first out; another address and a fresh one do not see them. */
    struct upconn *c = take(&addr, false, true), *d = take(&other, false, false);
    struct upconn *e = take(&addr, true, false);
    CHECK(c == b && c->requests == 1);
    CHECK(open_count() == 4 && idle_count() == 1);
    CHECK(take(&addr, false, true) == a);
    upconn_close(a);
    upconn_close(c);
    upconn_close(d);
    upconn_close(e);
    CHECK(open_count() == 0);
    close(l);
    close(l2);
}

static void upstream_talks(void)
{
    struct addr addr;
    int l = listen_on("127.0.0.1", 16, &addr);
    struct upconn *a = take(&addr, false, false), *b = take(&addr, false, false);
    int pa = accept(l, NULL, NULL), pb = accept(l, NULL, NULL);

    upconn_put(a, &roomy);
    upconn_put(b, &roomy);
    close(pa);
    CHECK(await_open(1));
    CHECK(send(pb, "x", 1, 0) == 1);
    CHECK(await_open(0) && idle_count() == 0);
    close(pb);
    /* The end was seen before the connection came back. */
    a = take(&addr, false, false);
    close(accept(l, NULL, NULL));
    CHECK(await_readable(&a->io, deadline_in(5000)) == 0);
    upconn_put(a, &roomy);
    CHECK(await_open(0));
    /* Bytes nobody read are there when it comes back: it is not given again. */
    a = take(&addr, false, false);
    pa = accept(l, NULL, NULL);
    CHECK(send(pa, "HTTP", 4, 0) == 4);
    CHECK(await_readable(&a->io, deadline_in(5000)) == 0);
    upconn_put(a, &roomy);
    b = take(&addr, false, false);
    CHECK(await_open(1));
    /* The same when the owner has read them. */
    b->surplus = STR("more");
    upconn_put(b, &roomy);
    CHECK(open_count() == 0);
    close(pa);
    close(l);
}

static void limits(void)
{
    struct pool_limits small = {.size = 2, .idle_ms = 60000, .requests = 3};
    struct addr addr;
    int l = listen_on("127.0.0.1", 16, &addr);
    struct upconn *c[4];

    /* More idle ones than wanted: the one unused longest goes. */
    for (int i = 0; i < 4; i++) {
        c[i] = take(&addr, false, false);
    }
    for (int i = 0; i < 4; i++) {
        upconn_put(c[i], &small);
    }
    CHECK(idle_count() == 2 && open_count() == 2);
    CHECK(take(&addr, false, true) == c[3] && take(&addr, false, true) == c[2]);
    /* Third request: not kept. */
    upconn_put(c[3], &small);
    CHECK(take(&addr, false, true) == c[3] && c[3]->requests == 2);
    upconn_put(c[3], &small);
    CHECK(open_count() == 1 && idle_count() == 0);
    /* Nothing is kept. */
    upconn_put(c[2], &(struct pool_limits){.size = 0, .idle_ms = 60000, .requests = 1000});
    CHECK(open_count() == 0);
    /* No limit of requests. */
    c[0] = take(&addr, false, false);
    c[0]->requests = 1000000;
    upconn_put(c[0], &(struct pool_limits){.size = 1});
    CHECK(idle_count() == 1);
    pool_drain();
    CHECK(open_count() == 0);
    close(l);
}

static void idle_time(void)
{
    struct pool_limits brief = {.size = 8, .idle_ms = 30, .requests = 1000};
    struct addr addr;
    int l = listen_on("127.0.0.1", 16, &addr);
    struct upconn *a = take(&addr, false, false), *b = take(&addr, false, false);
    int64_t start;

    upconn_put(a, &roomy);
    upconn_put(b, &brief);
    CHECK(await_open(1) && idle_count() == 1);
    /* A shorter time than the one running counts from its own start. */
    CHECK(take(&addr, false, true) == a);
    start = now_ms();
    upconn_put(a, &brief);
    CHECK(await_open(0) && now_ms() - start >= 30);
    /* The timer passes while the connection is in use, and it is none the worse for it. */
    a = take(&addr, false, false);
    upconn_put(a, &brief);
    CHECK(take(&addr, false, true) == a);
    CHECK(await_until(now_ms() + 60) == 0);
    CHECK(open_count() == 1);
    upconn_put(a, &brief);
    CHECK(idle_count() == 1 && await_open(0));
    close(l);
}

static void failed_connects(void)
{
    struct addr addr;
    int l = listen_on("127.0.0.1", 0, &addr), fill[4];
    struct upconn *c;
    bool reused;
    int64_t start = now_ms();

    /* A full queue drops what comes. */
    for (int i = 0; i < 4; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        CHECK(connect(fill[i], &addr.sa, addr.len) == 0 || errno == EINPROGRESS);
    }
    CHECK(await_upconn(&addr, false, deadline_in(40), &c, &reused) == -ETIMEDOUT);
    CHECK(now_ms() - start >= 40 && now_ms() - start < 1000);
    CHECK(open_count() == 0);
    for (int i = 0; i < 4; i++) {
        close(fill[i]);
    }
    close(l);
    CHECK(await_upconn(&addr, false, deadline_in(5000), &c, &reused) == -ECONNREFUSED);
    CHECK(open_count() == 0);
}

static void connect_and_report(void *arg)
{
    struct upconn *c;
    bool reused;
    struct addr *addr = arg;
    CHECK(await_upconn(addr, false, NEVER, &c, &reused) == -ECANCELED);
    addr->len = 0;
}

static void cancelled_connects(void)
{
    struct addr addr, gone;
    int l = listen_on("127.0.0.1", 0, &addr), fill[4];
    struct fiber *f;

    for (int i = 0; i < 4; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        CHECK(connect(fill[i], &addr.sa, addr.len) == 0 || errno == EINPROGRESS);
    }
    gone = addr;
    f = fiber_start("client", connect_and_report, &gone);
    CHECK(f != NULL && open_count() == 1);
    fiber_cancel(f);
    CHECK(await_open(0) && gone.len == 0);
    for (int i = 0; i < 4; i++) {
        close(fill[i]);
    }
    close(l);
}

static void many_nodes(void)
{
    enum { N = 200 };
    struct addr addr[N];
    struct upconn *c[N];
    int l[N];

    for (int i = 0; i < N; i++) {
        l[i] = listen_on("127.0.0.1", 4, &addr[i]);
        c[i] = take(&addr[i], false, false);
        upconn_put(c[i], &roomy);
    }
    for (int i = 0; i < N; i++) {
        CHECK_ROW(i, take(&addr[i], false, true) == c[i]);
        if (i % 2) {
            upconn_close(c[i]);
        } else {
            upconn_put(c[i], &roomy);
        }
    }
    CHECK(open_count() == N / 2);
    pool_drain();
    CHECK(open_count() == 0 && idle_count() == 0);
    for (int i = 0; i < N; i++) {
        close(l[i]);
    }
}

static void run_and_stop(void *arg)
{
    (*(void (**)(void))arg)();
    pool_fini();
    loop_stop(loop_self());
}

static void on_loop(void (*test)(void))
{
    CHECK(loop_init() == 0);
    CHECK(fiber_start("test", run_and_stop, &test) != NULL);
    loop_run();
    loop_fini();
    fiber_thread_fini();
}

static void the_last_used_connection_is_reused_first(void)
{
    on_loop(reuse);
}
static void an_idle_connection_that_speaks_or_ends_is_closed(void)
{
    on_loop(upstream_talks);
}
static void limits_of_the_pool_are_kept(void)
{
    on_loop(limits);
}
static void idle_connections_end_in_time(void)
{
    on_loop(idle_time);
}
static void failed_connects_tell_why_and_leave_nothing(void)
{
    on_loop(failed_connects);
}
static void a_cancelled_connect_leaves_nothing(void)
{
    on_loop(cancelled_connects);
}
static void many_nodes_find_their_own_connections(void)
{
    on_loop(many_nodes);
}

TESTS(T(the_last_used_connection_is_reused_first),
      T(an_idle_connection_that_speaks_or_ends_is_closed), T(limits_of_the_pool_are_kept),
      T(idle_connections_end_in_time), T(failed_connects_tell_why_and_leave_nothing),
      T(a_cancelled_connect_leaves_nothing), T(many_nodes_find_their_own_connections))
