/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of http/client.h over a socket pair: what a run of body is worth after other things were
 * awaited. */
#include "http/client.h"

#include "fiber/fiber.h"

#include "t.h"

#define CHUNKS 8
#define CHUNK_BYTES 4000

static const struct h1_limits limits = {.head_bytes = 65536, .line_bytes = 16384, .fields = 200};

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

static void put(struct io *io, const char *p, size_t n)
{
    struct iovec v = {(void *)(uintptr_t)p, n};
    CHECK(await_write(io, &v, 1, deadline_in(5000)) == 0);
}

/* Another fiber of this thread that reads what it is sent. */
static void stranger(void *arg)
{
    struct io *io = arg;
    struct str s;
    while (await_read(io, &s, deadline_in(5000)) > 0) {
    }
}

/* An answer of which several chunks arrive at once; while one of them is used up, others read. */
static void chunks_of_one_read(void *arg)
{
    const bool own = *(const bool *)arg;
    struct arena *a = fiber_arena();
    struct io up[2], other[2];
    struct exchange x;
    struct str run_;
    static char noise[65536];
    char text[CHUNK_BYTES];
    struct headers h;
    memset(noise, '!', sizeof(noise));
    pair(up);
    pair(other);
    fiber_start("stranger", stranger, &other[1]);
    client_init(&x, &up[0], a, &limits, M_GET);
    headers_init(&h, a, 4);
    const struct client_request q = {.method = STR_INIT("GET"),
                                     .target = STR_INIT("/"),
                                     .own = &h,
                                     .body_length = -2,
                                     .last = true};
    CHECK(client_await_request(&x, &q, deadline_in(5000)) == 0);
    static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    put(&up[1], head, sizeof(head) - 1);
    CHECK(client_await_response(&x, NULL, NULL, 5000) == 0);
    if (own) {
        client_own_runs(&x);
    }
    for (int i = 0; i < CHUNKS; i++) {
        char line[18];
        memset(text, 'a' + i, sizeof(text));
        put(&up[1], line, h1_chunk_head(line, sizeof(text)));
        put(&up[1], text, sizeof(text));
        put(&up[1], "\r\n", 2);
    }
    put(&up[1], "0\r\n\r\n", 5);
    for (int i = 0; i < CHUNKS; i++) {
        CHECK_ROW(i, client_await_body(&x, &run_, deadline_in(5000)) == 1);
        CHECK_ROW(i,
                  run_.n == CHUNK_BYTES && run_.p[0] == 'a' + i && run_.p[run_.n - 1] == 'a' + i);
        put(&other[0], noise, sizeof(noise));
        CHECK(await_until(deadline_in(2)) == 0);
    }
    CHECK(client_await_body(&x, &run_, deadline_in(5000)) == 0);
    io_close(&other[0]);
    io_close(&up[0]);
    io_close(&up[1]);
    while (fiber_count() > 1) {
        CHECK(await_until(deadline_in(1)) == 0);
    }
    io_close(&other[1]);
}

static void chunks_behind_a_run_outlive_what_is_awaited_meanwhile(void)
{
    run(chunks_of_one_read, &(bool){false});
}

static void own_runs_do_too(void)
{
    run(chunks_of_one_read, &(bool){true});
}

TESTS(T(chunks_behind_a_run_outlive_what_is_awaited_meanwhile), T(own_runs_do_too))
