/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of fiber/fiber.h: start, park, wake, cancel, pool, guard page. */
#include "fiber/fiber.h"

#include "t.h"

#include <errno.h>
#include <fenv.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

/* What happened, as one letter a step. */
static char trace[64];

static void step(char c)
{
    size_t n = strlen(trace);
    trace[n] = c;
    trace[n + 1] = 0;
}

static void trace_reset(void)
{
    trace[0] = 0;
}

static struct fiber *kept;

static void parks_twice(void *arg)
{
    kept = fiber_self();
    step('b');
    CHECK(fiber_park() == 7);
    step('d');
    CHECK(fiber_park() == -EIO);
    step('f');
}

static void a_fiber_runs_at_once_and_goes_on_when_woken(void)
{
    trace_reset();
    step('a');
    struct fiber *f = fiber_start("twice", parks_twice, NULL);
    CHECK(f == kept && fiber_is_parked(f) && fiber_count() == 1 && fiber_self() == NULL);
    step('c');
    fiber_wake(f, 7);
    CHECK(!fiber_is_parked(f) && fiber_has_ready());
    fiber_run_ready();
    step('e');
    fiber_wake(f, -EIO);
    fiber_run_ready();
    CHECK_STR(str_c(trace), "abcdef");
    CHECK(fiber_count() == 0 && !fiber_has_ready());
}

static void inner(void *arg)
{
    step('2');
    CHECK(fiber_is_nested());
    fiber_yield();
    CHECK(!fiber_is_nested());
    step('5');
}

static void outer(void *arg)
{
    step('1');
    fiber_start("inner", inner, NULL);
    CHECK(!fiber_is_nested());
    step('3');
    fiber_yield();
    step('6');
}

static void a_fiber_may_start_another_and_goes_on_when_it_parks(void)
{
    trace_reset();
    fiber_start("outer", outer, NULL);
    step('4');
    fiber_run_ready();
    CHECK_STR(str_c(trace), "123456");
    CHECK(fiber_count() == 0);
}

static int cancel_calls;

static void cancel_seen(void *arg)
{
    CHECK(fiber_self() == NULL);
    cancel_calls += *(int *)arg;
}

static void waits_for_cancel(void *arg)
{
    int one = 1;

    kept = fiber_self();
    fiber_on_cancel(cancel_seen, &one);
    CHECK(fiber_park() == -ECANCELED);
    CHECK(fiber_is_cancelled(kept) && fiber_must_end());
    CHECK(fiber_park() == -ECANCELED);
    CHECK(fiber_yield() == -ECANCELED);
    fiber_shield(true);
    CHECK(!fiber_must_end());
    CHECK(fiber_park() == 3);
    fiber_shield(true);
    fiber_shield(false);
    CHECK(fiber_park() == 4);
    fiber_shield(false);
    CHECK(fiber_park() == -ECANCELED);
    step('x');
}

static void a_cancelled_fiber_ends_and_a_shield_lets_it_clean_up(void)
{
    trace_reset();
    cancel_calls = 0;
    struct fiber *f = fiber_start("cancel", waits_for_cancel, NULL);
    fiber_cancel(f);
    CHECK(cancel_calls == 1);
    fiber_cancel(f);
    CHECK(cancel_calls == 1);
    fiber_run_ready();
    fiber_cancel(f);
    fiber_run_ready();
    CHECK(fiber_is_parked(f));
    fiber_wake(f, 3);
    fiber_run_ready();
    fiber_wake(f, 4);
    fiber_run_ready();
    CHECK_STR(str_c(trace), "x");
    CHECK(fiber_count() == 0);
}

static void cancels_itself(void *arg)
{
    fiber_cancel(fiber_self());
    CHECK(fiber_park() == -ECANCELED);
    step('y');
}

static void a_fiber_may_cancel_itself(void)
{
    trace_reset();
    fiber_start("self", cancels_itself, NULL);
    CHECK_STR(str_c(trace), "y");
    CHECK(!fiber_has_ready());
}

static void waits_once(void *arg)
{
    kept = fiber_self();
    *(int *)arg = fiber_park();
}

static void an_interrupt_replaces_the_result_of_a_ready_fiber(void)
{
    int got = 1;

    fiber_start("once", waits_once, &got);
    fiber_wake(kept, 0);
    fiber_interrupt(kept, -ETIMEDOUT);
    fiber_run_ready();
    CHECK(got == -ETIMEDOUT);
}

static void *last_alloc;

static void uses_arena(void *arg)
{
    void *p = arena_alloc(fiber_arena(), 100);
    CHECK(*(char *)p == 0);
    memset(p, 1, 100);
    fiber_set_data(fiber_self(), p);
    CHECK(fiber_data(fiber_self()) == p);
    last_alloc = fiber_self();
}

static void stacks_and_arenas_are_reused_last_in_first_out(void)
{
    fiber_start("arena", uses_arena, NULL);
    void *first = last_alloc;
    unsigned stacks = fiber_stacks();
    for (int i = 0; i < 10; i++) {
        fiber_start("arena", uses_arena, NULL);
        CHECK(last_alloc == first);
    }
    CHECK(fiber_stacks() == stacks);
    CHECK(fiber_data(last_alloc) == NULL);
}

#if defined(__SANITIZE_THREAD__)
#define MANY 300
#else
#define MANY 10000
#endif
static struct fiber *many[MANY];
static unsigned done;

static void one_of_many(void *arg)
{
    char room[2000];
    size_t me = (size_t)arg;

    memset(room, (int)me, sizeof(room));
    many[me] = fiber_self();
    for (int i = 0; i < 3; i++) {
        CHECK(fiber_park() == i);
    }
    for (size_t i = 0; i < sizeof(room); i++) {
        CHECK(room[i] == (char)me);
    }
    done++;
}

static void ten_thousand_fibers_keep_their_stacks_apart(void)
{
    done = 0;
    for (size_t i = 0; i < MANY; i++) {
        CHECK(fiber_start("many", one_of_many, (void *)i) != NULL);
    }
    CHECK(fiber_count() == MANY && fiber_stacks() >= MANY);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < MANY; i++) {
            fiber_wake(many[i], round);
        }
        while (fiber_has_ready()) {
            fiber_run_ready();
        }
    }
    CHECK(done == MANY && fiber_count() == 0);
    CHECK(fiber_stacks() <= FIBER_POOL);
}

static unsigned runs;
static struct fiber *restless[2];

static void never_rests(void *arg)
{
    struct fiber *const *other = arg;

    while (fiber_park() == 0) {
        runs++;
        if (fiber_is_parked(*other)) {
            fiber_wake(*other, 0);
        }
    }
}

static void fibers_that_wake_each_other_do_not_keep_the_loop(void)
{
    runs = 0;
    restless[0] = fiber_start("restless", never_rests, &restless[1]);
    restless[1] = fiber_start("restless", never_rests, &restless[0]);
    fiber_wake(restless[0], 0);
    fiber_run_ready();
    CHECK(runs >= 1000 && runs <= FIBER_RUNS && fiber_has_ready());
    fiber_cancel(restless[0]);
    fiber_cancel(restless[1]);
    while (fiber_has_ready()) {
        fiber_run_ready();
    }
    CHECK(fiber_count() == 0);
}

static void always_yields(void *arg)
{
    while (fiber_yield() == 0) {
        runs++;
    }
}

static void who_yields_waits_for_the_next_turn(void)
{
    runs = 0;
    struct fiber *f = fiber_start("yields", always_yields, NULL);
    for (unsigned i = 1; i <= 3; i++) {
        fiber_run_ready();
        CHECK(runs == i && fiber_has_ready());
    }
    fiber_cancel(f);
    fiber_run_ready();
    CHECK(fiber_count() == 0 && !fiber_has_ready());
}

static void changes_rounding(void *arg)
{
    fesetround(FE_UPWARD);
    fiber_yield();
    *(int *)arg = fegetround();
}

static void each_fiber_has_its_own_floating_point_mode(void)
{
#if defined(__x86_64__)
    int seen = -1;

    fiber_start("rounding", changes_rounding, &seen);
    CHECK(fegetround() == FE_TONEAREST);
    fiber_run_ready();
    CHECK(seen == FE_UPWARD);
    CHECK(fegetround() == FE_TONEAREST);
#else
    (void)changes_rounding;
#endif
}

static void mixes_doubles(void *arg)
{
    double *sum = arg, a = *sum, b = a + 1, c = a * 2;

    for (int i = 0; i < 100; i++) {
        fiber_yield();
        a += b;
        b += c;
        c += 1;
    }
    *sum = a + b + c;
}

static void floating_point_values_survive_switches(void)
{
    double together[4], alone[4];

    for (int i = 0; i < 4; i++) {
        alone[i] = together[i] = i * 1.5;
        fiber_start("alone", mixes_doubles, &alone[i]);
        while (fiber_has_ready()) {
            fiber_run_ready();
        }
    }
    for (int i = 0; i < 4; i++) {
        fiber_start("together", mixes_doubles, &together[i]);
    }
    while (fiber_has_ready()) {
        fiber_run_ready();
    }
    CHECK(memcmp(alone, together, sizeof(alone)) == 0);
}

__attribute__((noinline)) static int overflow(volatile char *below, int depth)
{
    volatile char here[512];
    here[0] = below[0];
    return depth == 0 ? here[0] : overflow(here, depth - 1) + here[0];
}

static void overflows(void *arg)
{
    volatile char c = 0;
    overflow(&c, 100000);
}

static void a_stack_overflow_hits_the_guard_page(void)
{
    int status = 0;

    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(2);
        fiber_start("overflow", overflows, NULL);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}

static void yields_often(void *arg)
{
    for (int i = 0; i < 100; i++) {
        fiber_yield();
    }
    ++*(int *)arg;
}

static void *thread_main(void *arg)
{
    for (int i = 0; i < 10; i++) {
        fiber_start("thread", yields_often, arg);
    }
    while (fiber_count() > 0) {
        fiber_run_ready();
    }
    fiber_thread_fini();
    return NULL;
}

static void threads_have_their_own_fibers(void)
{
    pthread_t t[3];
    int ended[3] = {0};

    for (int i = 0; i < 3; i++) {
        CHECK(pthread_create(&t[i], NULL, thread_main, &ended[i]) == 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], NULL);
        CHECK(ended[i] == 10);
    }
}

static void the_pool_can_be_emptied(void)
{
    fiber_thread_fini();
    CHECK(fiber_stacks() == 0);
    fiber_start("again", uses_arena, NULL);
    CHECK(fiber_stacks() == 1);
    fiber_thread_fini();
}

TESTS(T(a_fiber_runs_at_once_and_goes_on_when_woken),
      T(a_fiber_may_start_another_and_goes_on_when_it_parks),
      T(a_cancelled_fiber_ends_and_a_shield_lets_it_clean_up), T(a_fiber_may_cancel_itself),
      T(an_interrupt_replaces_the_result_of_a_ready_fiber),
      T(stacks_and_arenas_are_reused_last_in_first_out),
      T(ten_thousand_fibers_keep_their_stacks_apart),
      T(fibers_that_wake_each_other_do_not_keep_the_loop), T(who_yields_waits_for_the_next_turn),
      T(each_fiber_has_its_own_floating_point_mode), T(floating_point_values_survive_switches),
      T(a_stack_overflow_hits_the_guard_page), T(threads_have_their_own_fibers),
      T(the_pool_can_be_emptied))
