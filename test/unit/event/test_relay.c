/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of event/relay.h: two socket pairs with a relay between them, and fibers at the far ends.
 */
#include "event/relay.h"

#include "fiber/fiber.h"

#include "engine.h"
#include "t.h"

#include <errno.h>
#include <unistd.h>

/* near[0] and far[0] are the test's, near[1] and far[1] the relay's. */
struct bench {
    struct io near[2], far[2];
    struct relay relay;
    unsigned ended;
};

static struct bench b;

static void pair(struct io io[2])
{
    int fd[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
    CHECK(io_open(&io[0], fd[0]) == 0 && io_open(&io[1], fd[1]) == 0);
}

static void on_end(struct relay *r)
{
    CHECK(r == &b.relay && fiber_self() == NULL);
    b.ended++;
}

static void begin(int64_t idle_ms)
{
    memset(&b, 0, sizeof(b));
    pair(b.near);
    pair(b.far);
    relay_start(&b.relay, &b.near[1], &b.far[1], idle_ms, on_end);
}

static void await_ended(void)
{
    for (int64_t until = deadline_in(5000); b.ended == 0 && now_ms() < until;) {
        CHECK(await_until(deadline_in(1)) == 0);
    }
    CHECK(b.ended == 1);
}

static void finish(void)
{
    relay_stop(&b.relay);
    CHECK(b.relay.way[0].rest == NULL && b.relay.way[1].rest == NULL);
    for (int i = 0; i < 2; i++) {
        io_close(&b.near[i]);
        io_close(&b.far[i]);
    }
    CHECK(await_until(deadline_in(2)) == 0);
}

static void end_when_alone(void *arg)
{
    if (fiber_count() == 0) {
        loop_stop(loop_self());
    }
}

static void run(void (*fn)(void *arg))
{
    CHECK(loop_init() == 0);
    loop_on_turn(end_when_alone, NULL);
    fiber_start("test", fn, NULL);
    loop_run();
    loop_fini();
    fiber_thread_fini();
}

static int put(struct io *io, const char *text)
{
    struct iovec v = {(void *)(uintptr_t)text, strlen(text)};
    return await_write(io, &v, 1, deadline_in(5000));
}

static void check_get(struct io *io, const char *text)
{
    struct str s;
    CHECK(await_read(io, &s, deadline_in(5000)) == (int)strlen(text));
    CHECK_STR(s, text);
}

/* ---- tests ---- */

static void messages(void *arg)
{
    begin(60000);
    for (int i = 0; i < 100; i++) {
        CHECK(put(&b.near[0], "question") == 0);
        check_get(&b.far[0], "question");
        CHECK(put(&b.far[0], "ans") == 0);
        check_get(&b.near[0], "ans");
    }
    CHECK(b.relay.way[0].bytes == 800 && b.relay.way[1].bytes == 300 && b.ended == 0);
    finish();
    CHECK(b.ended == 0);
}

static void it_carries_messages_both_ways(void)
{
    run(messages);
}

static void early(void *arg)
{
    struct str s;
    char first;

    memset(&b, 0, sizeof(b));
    pair(b.near), pair(b.far);
    /* Some of it has been received already, by who had the connection before. */
    CHECK(put(&b.near[0], "xearly") == 0);
    CHECK(await_read_into(&b.near[1], &first, 1, deadline_in(5000)) == 1);
    relay_start(&b.relay, &b.near[1], &b.far[1], 60000, on_end);
    CHECK(await_read(&b.far[0], &s, deadline_in(5000)) == 5);
    CHECK_STR(s, "early");
    finish();
}

static void what_was_waiting_already_is_carried(void)
{
    run(early);
}

static void half(void *arg)
{
    struct str s;

    begin(60000);
    CHECK(put(&b.near[0], "all of it") == 0);
    shutdown(b.near[0].fd, SHUT_WR);
    check_get(&b.far[0], "all of it");
    CHECK(await_read(&b.far[0], &s, deadline_in(5000)) == 0);
    for (int i = 0; i < 3; i++) {
        CHECK(put(&b.far[0], "answer") == 0);
        check_get(&b.near[0], "answer");
    }
    CHECK(b.ended == 0);
    shutdown(b.far[0].fd, SHUT_WR);
    CHECK(await_read(&b.near[0], &s, deadline_in(5000)) == 0);
    await_ended();
    finish();
}

static void an_end_is_passed_on_and_the_other_way_goes_on(void)
{
    run(half);
}

#define BIG 3000000

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 7 + (i >> 11));
}

static void writes_big(void *arg)
{
    char *data = malloc(BIG);
    struct iovec v = {data, BIG};

    for (size_t i = 0; i < BIG; i++) {
        data[i] = (char)pattern(i);
    }
    CHECK(await_write(arg, &v, 1, deadline_in(20000)) == 0);
    free(data);
}

static void check_big(struct io *io)
{
    struct str s;
    bool same = true;
    size_t got = 0;

    while (got < BIG && await_read(io, &s, deadline_in(20000)) > 0) {
        for (size_t i = 0; i < s.n; i++) {
            same &= (unsigned char)s.p[i] == pattern(got + i);
        }
        got += s.n;
    }
    CHECK(got == BIG && same);
}

/* Does the relay come to hold what a reader has not taken? */
static bool await_stuck(int way)
{
    for (int64_t until = deadline_in(10000); b.relay.way[way].rest == NULL && now_ms() < until;) {
        await_until(deadline_in(5));
    }
    return b.relay.way[way].rest != NULL;
}

static void pressure(void *arg)
{
    begin(60000);
    CHECK(setsockopt(b.far[1].fd, SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int)) == 0);
    fiber_start("near", writes_big, &b.near[0]);
    fiber_start("far", writes_big, &b.far[0]);
    /* Nobody reads: it takes what the sockets hold and one piece, and no more. */
    CHECK(await_stuck(0) && b.relay.way[0].bytes < BIG / 2);
    CHECK(await_stuck(1) && b.relay.way[1].bytes < BIG / 2);
    check_big(&b.far[0]);
    check_big(&b.near[0]);
    CHECK(b.relay.way[0].bytes == BIG && b.relay.way[1].bytes == BIG && b.ended == 0);
    finish();
}

static void each_way_goes_at_the_pace_of_its_reader(void)
{
    run(pressure);
}

static void fails_big(void *arg)
{
    char *data = calloc(1, BIG);
    struct iovec v = {data, BIG};
    CHECK(await_write(arg, &v, 1, deadline_in(20000)) < 0);
    free(data);
}

static void breaks_while_stuck(void *arg)
{
    begin(60000);
    fiber_start("near", fails_big, &b.near[0]);
    CHECK(await_stuck(0));
    io_close(&b.far[0]);
    await_ended();
    finish();
}

static void a_side_that_breaks_ends_it(void)
{
    run(breaks_while_stuck);
}

static void idle(void *arg)
{
    struct str s;

    begin(60);
    const int64_t start = now_ms();
    /* One way alone keeps it. */
    while (now_ms() < start + 200) {
        CHECK(put(&b.near[0], "x") == 0);
        CHECK(await_read(&b.far[0], &s, deadline_in(5000)) > 0);
        CHECK(await_until(deadline_in(5)) == 0);
    }
    CHECK(b.ended == 0);
    const int64_t moved = b.relay.way[0].moved_ms;
    await_ended();
    CHECK(now_ms() >= moved + 60);
    finish();
}

static void stuck(void *arg)
{
    struct str s;

    begin(60);
    fiber_start("near", fails_big, &b.near[0]);
    /* The other way moves all the time, but this one's reader takes nothing. */
    for (int64_t until = deadline_in(5000); b.ended == 0 && now_ms() < until;) {
        if (put(&b.far[0], "x") == 0) {
            CHECK(await_read(&b.near[0], &s, deadline_in(1000)) > 0 || b.ended == 1);
        }
        CHECK(await_until(deadline_in(5)) == 0);
    }
    CHECK(b.ended == 1);
    io_close(&b.near[1]);
    finish();
}

static void it_ends_when_nothing_moves_or_one_way_is_stuck(void)
{
    run(idle);
    run(stuck);
}

static void ends_later(void *arg)
{
    begin(60000);
    const int64_t at = deadline_in(20);
    relay_end(&b.relay, at);
    CHECK(put(&b.near[0], "lost") == 0);
    await_ended();
    CHECK(now_ms() >= at && b.relay.way[0].bytes == 0);
    finish();
}

static void it_can_be_told_to_end(void)
{
    run(ends_later);
}

TESTS(T(it_carries_messages_both_ways), T(what_was_waiting_already_is_carried),
      T(an_end_is_passed_on_and_the_other_way_goes_on), T(each_way_goes_at_the_pace_of_its_reader),
      T(a_side_that_breaks_ends_it), T(it_ends_when_nothing_moves_or_one_way_is_stuck),
      T(it_can_be_told_to_end))
