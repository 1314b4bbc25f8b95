/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of event/loop.h and of offloading: timers, mailbox, helper threads. */
#include "event/loop.h"

#include "engine.h"
#include "event/await.h"
#include "event/poll.h"
#include "fiber/fiber.h"
#include "t.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static void run(void (*fn)(void))
{
    CHECK(loop_init() == 0);
    fn();
    loop_run();
    offload_fini();
    loop_fini();
    fiber_thread_fini();
}

/* ---- timers ---- */

struct tick {
    struct timer timer;
    int64_t want;
};

static int64_t last;
static unsigned fired, expected;

static void on_tick(struct timer *t)
{
    struct tick *k = CONTAINER_OF(t, struct tick, timer);

    CHECK(!timer_is_started(t));
    CHECK(now_ms() >= k->want);
    CHECK(k->want >= last);
    last = k->want;
    if (++fired == expected) {
        loop_stop(loop_self());
    }
}

#define TICKS 500
static struct tick ticks[TICKS];

static void start_ticks(void)
{
    last = 0, fired = 0, expected = TICKS - 50;
    srand(1);
    for (int i = 0; i < TICKS; i++) {
        timer_init(&ticks[i].timer, on_tick);
        ticks[i].want = deadline_in(rand() % 300);
        timer_start(&ticks[i].timer, deadline_in(100000));
        timer_start(&ticks[i].timer, ticks[i].want);
    }
    for (int i = 0; i < TICKS; i += 10) {
        timer_stop(&ticks[i].timer);
        timer_stop(&ticks[i].timer);
    }
}

static void timers_fire_in_order_and_never_early(void)
{
    run(start_ticks);
    CHECK(fired == TICKS - 50);
    CHECK(!timer_is_started(&ticks[0].timer));
}

static void on_far(struct timer *t)
{
    CHECK(!"a far timer fired");
}

static void on_end(struct timer *t)
{
    loop_stop(loop_self());
}

static struct timer far[8], end;

static void start_far(void)
{
    static const int64_t in[] = {3600000,   86400000,  1LL << 31, 1LL << 32,
                                 1LL << 40, 1LL << 45, 1LL << 60};

    for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++) {
        timer_init(&far[i], on_far);
        timer_start(&far[i], deadline_in(in[i]));
        CHECK(timer_is_started(&far[i]));
    }
    timer_init(&far[7], on_far);
    timer_start(&far[7], NEVER);
    CHECK(!timer_is_started(&far[7]));
    timer_init(&end, on_end);
    timer_start(&end, deadline_in(150));
}

static void far_deadlines_wait_and_never_stops_a_timer(void)
{
    uint64_t turns = io_stats.turns;

    run(start_far);
    /* Moving down the wheel may wake the loop a few times, not more. */
    CHECK(io_stats.turns - turns < 12);
    CHECK(!timer_is_started(&far[0]));
}

static unsigned repeats;

static void on_repeat(struct timer *t)
{
    if (++repeats == 5) {
        loop_stop(loop_self());
    }
    timer_start(t, now_ms() - 10);
}

static struct timer repeat;

static void start_repeat(void)
{
    repeats = 0;
    timer_init(&repeat, on_repeat);
    timer_start(&repeat, now_ms());
    CHECK(repeats == 0);
}

static void a_timer_in_the_past_fires_in_the_next_turn(void)
{
    uint64_t turns = io_stats.turns;

    run(start_repeat);
    CHECK(repeats == 5);
    CHECK(io_stats.turns - turns >= 5);
}

static struct timer victim, killer;

static void on_killer(struct timer *t)
{
    timer_stop(&victim);
    timer_start(&end, now_ms() + 5);
}

static void start_killer(void)
{
    int64_t at = deadline_in(5);
    timer_init(&killer, on_killer);
    timer_init(&victim, on_far);
    timer_init(&end, on_end);
    timer_start(&killer, at);
    timer_start(&victim, at);
}

static void a_timer_can_stop_another_that_is_due_at_the_same_time(void)
{
    run(start_killer);
}

/* ---- mailbox ---- */

#define SENDERS 3
#define LETTERS 2000

struct letter {
    struct mail mail;
    int sender, number;
};

static struct loop *target;
static int next_number[SENDERS], received;

static void on_letter(struct mail *m)
{
    struct letter *l = CONTAINER_OF(m, struct letter, mail);

    CHECK(loop_self() == target);
    CHECK(l->number == next_number[l->sender]++);
    free(l);
    if (++received == SENDERS * LETTERS) {
        loop_stop(target);
    }
}

static void *send_letters(void *arg)
{
    for (int i = 0; i < LETTERS; i++) {
        struct letter *l = malloc(sizeof(*l));
        *l = (struct letter){.mail.fn = on_letter, .sender = (int)(size_t)arg, .number = i};
        loop_post(target, &l->mail);
    }
    return NULL;
}

static pthread_t sender[SENDERS];

static void start_senders(void)
{
    target = loop_self();
    received = 0;
    memset(next_number, 0, sizeof(next_number));
    for (size_t i = 0; i < SENDERS; i++) {
        CHECK(pthread_create(&sender[i], NULL, send_letters, (void *)i) == 0);
    }
}

static void mail_from_several_threads_arrives_in_order_per_sender(void)
{
    run(start_senders);
    CHECK(received == SENDERS * LETTERS);
    for (size_t i = 0; i < SENDERS; i++) {
        pthread_join(sender[i], NULL);
    }
}

/* Two loops send one message back and forth. */
struct ball {
    struct mail mail;
    struct loop *loop[2];
    int bounces;
};

static void on_ball(struct mail *m)
{
    struct ball *b = CONTAINER_OF(m, struct ball, mail);

    CHECK(loop_self() == b->loop[b->bounces % 2]);
    if (++b->bounces == 2000) {
        loop_stop(b->loop[0]);
        loop_stop(b->loop[1]);
        return;
    }
    loop_post(b->loop[b->bounces % 2], &b->mail);
}

static struct ball ball;
static pthread_barrier_t ready;

static void *second_loop(void *arg)
{
    CHECK(loop_init() == 0);
    ball.loop[1] = loop_self();
    pthread_barrier_wait(&ready);
    loop_run();
    pthread_barrier_wait(&ready);
    loop_fini();
    return NULL;
}

static void two_loops_play_with_one_message(void)
{
    pthread_t t;

    ball = (struct ball){.mail.fn = on_ball};
    CHECK(loop_init() == 0);
    ball.loop[0] = loop_self();
    pthread_barrier_init(&ready, NULL, 2);
    CHECK(pthread_create(&t, NULL, second_loop, NULL) == 0);
    pthread_barrier_wait(&ready);
    loop_post(ball.loop[0], &ball.mail);
    loop_run();
    /* Neither loop goes away while the other may still post to it. */
    pthread_barrier_wait(&ready);
    CHECK(ball.bounces == 2000);
    pthread_join(t, NULL);
    loop_fini();
    pthread_barrier_destroy(&ready);
}

/* ---- offload ---- */

static atomic_int squares;
static pthread_t own_thread;
static int jobs_done;

static void square(void *arg)
{
    int *n = arg;
    CHECK(!pthread_equal(pthread_self(), own_thread));
    *n = *n * *n;
    atomic_fetch_add(&squares, 1);
}

static void offloads(void *arg)
{
    for (int i = 0; i < 20; i++) {
        int n = i;
        CHECK(await_offload(square, &n) == 0);
        CHECK(pthread_equal(pthread_self(), own_thread) && n == i * i);
    }
    if (++jobs_done == 10) {
        loop_stop(loop_self());
    }
}

static void start_offloads(void)
{
    own_thread = pthread_self();
    jobs_done = 0;
    CHECK(offload_init(3) == 0);
    for (int i = 0; i < 10; i++) {
        fiber_start("offload", offloads, NULL);
    }
}

static void helpers_run_what_fibers_offload(void)
{
    atomic_store(&squares, 0);
    run(start_offloads);
    CHECK(atomic_load(&squares) == 200);
}

static int gate[2];
static bool came_back;

static void wait_for_gate(void *arg)
{
    char c;
    CHECK(read(gate[0], &c, 1) == 1);
    came_back = true;
}

static void offload_and_see(void *arg)
{
    CHECK(await_offload(wait_for_gate, NULL) == -ECANCELED);
    CHECK(came_back);
    CHECK(await_offload(wait_for_gate, NULL) == -ECANCELED);
    loop_stop(loop_self());
}

static void cancels(void *arg)
{
    struct fiber *f = arg;

    CHECK(await_until(deadline_in(5)) == 0);
    fiber_cancel(f);
    CHECK(await_until(deadline_in(5)) == 0);
    CHECK(!came_back && fiber_is_parked(f));
    CHECK(write(gate[1], "x", 1) == 1);
}

static void start_cancelled_offload(void)
{
    came_back = false;
    CHECK(pipe(gate) == 0 && offload_init(1) == 0);
    fiber_start("canceller", cancels, fiber_start("offload", offload_and_see, NULL));
}

static void a_cancelled_fiber_waits_for_its_running_job(void)
{
    run(start_cancelled_offload);
    close(gate[0]), close(gate[1]);
}

static void inline_job(void *arg)
{
    *(int *)arg += 1;
}

static void offloads_inline(void *arg)
{
    int n = 1;
    CHECK(await_offload(inline_job, &n) == 0);
    CHECK(n == 2);
    loop_stop(loop_self());
}

static void start_inline(void)
{
    fiber_start("inline", offloads_inline, NULL);
}

static void without_helpers_a_job_runs_in_place(void)
{
    run(start_inline);
}

/* ---- foreign descriptors ---- */

static struct poll foreign;
static unsigned polls;

static void on_poll(struct poll *p, unsigned got)
{
    char c;

    polls++;
    if (polls == 1) {
        CHECK(got == POLL_READ);
        return;
    }
    /* Level-triggered: it comes again until it is read. */
    if (polls == 2) {
        CHECK(read(p->fd, &c, 1) == 1);
        CHECK(poll_change(p, 0) == 0);
        CHECK(write(gate[1], "y", 1) == 1);
        timer_start(&end, deadline_in(20));
        return;
    }
    CHECK(!"polled after poll_change(0)");
}

static void start_poll(void)
{
    polls = 0;
    timer_init(&end, on_end);
    CHECK(pipe(gate) == 0 && write(gate[1], "x", 1) == 1);
    CHECK(poll_start(&foreign, gate[0], POLL_READ, on_poll) == 0);
}

static void a_foreign_descriptor_is_polled_until_it_is_served(void)
{
    run(start_poll);
    CHECK(polls == 2);
    close(gate[0]), close(gate[1]);
}

/* ---- starvation ---- */

static bool heard;

static void restless(void *arg)
{
    while (!heard && fiber_yield() == 0) {
    }
    loop_stop(loop_self());
}

static void hears(struct poll *p, unsigned got)
{
    heard = true;
    poll_stop(p);
}

static void start_restless(void)
{
    heard = false;
    CHECK(pipe(gate) == 0 && write(gate[1], "x", 1) == 1);
    CHECK(poll_start(&foreign, gate[0], POLL_READ, hears) == 0);
    fiber_start("restless", restless, NULL);
}

static void fibers_that_never_rest_do_not_starve_descriptors(void)
{
    run(start_restless);
    CHECK(heard);
    close(gate[0]), close(gate[1]);
}

TESTS(T(timers_fire_in_order_and_never_early), T(far_deadlines_wait_and_never_stops_a_timer),
      T(a_timer_in_the_past_fires_in_the_next_turn),
      T(a_timer_can_stop_another_that_is_due_at_the_same_time),
      T(mail_from_several_threads_arrives_in_order_per_sender), T(two_loops_play_with_one_message),
      T(helpers_run_what_fibers_offload), T(a_cancelled_fiber_waits_for_its_running_job),
      T(without_helpers_a_job_runs_in_place), T(a_foreign_descriptor_is_polled_until_it_is_served),
      T(fibers_that_never_rest_do_not_starve_descriptors))
