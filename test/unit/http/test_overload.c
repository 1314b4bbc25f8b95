/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of http/overload.h, with a clock moved by hand: turns of so many requests that take so
 * long. */
#include "http/overload.h"

#include "t.h"

enum { MS = 1000, LIMIT_MS = 20 };

static int64_t now;

/* A turn of n requests of ms each, begun after a pause; how many are refused. */
static unsigned turn(unsigned n, int64_t ms, int64_t pause_ms)
{
    unsigned refused = 0;

    now += pause_ms * MS;
    clock_set(now, now);
    for (unsigned i = 0; i < n; i++) {
        overload_begin();
        if (is_overloaded(LIMIT_MS)) {
            refused++;
        } else {
            overload.work_us += ms * MS;
            now += ms * MS;
        }
    }
    return refused;
}

static unsigned turns(unsigned count, unsigned n, int64_t ms)
{
    unsigned refused = 0;

    for (unsigned i = 0; i < count; i++) {
        refused += turn(n, ms, 0);
    }
    return refused;
}

static void begin(void)
{
    overload = (struct overload){0};
    now = 3600LL * 1000 * MS;
}

static void a_burst_is_served(void)
{
    begin();
    CHECK(turns(20, 5, 3) == 0);
    CHECK(turn(100, 4, 1000) == 0);
    CHECK(turns(20, 5, 3) == 0);
    /* Nor do bursts that are far apart add up. */
    for (int i = 0; i < 20; i++) {
        CHECK(turn(100, 4, 1500) == 0);
    }
}

static void what_lasts_is_refused_beyond_the_limit(void)
{
    begin();
    unsigned before = turns(5, 30, 4), later = turns(10, 30, 4);
    CHECK(before == 0);
    CHECK(later >= 8 * (30 - LIMIT_MS / 4) - 30);
    /* Each turn serves what fits, and no turn is longer. */
    CHECK(turn(30, 4, 0) == 30 - LIMIT_MS / 4);
}

static void it_is_over_after_a_second_of_calm(void)
{
    begin();
    turns(20, 30, 4);
    CHECK(turn(30, 4, 0) > 0);
    CHECK(turns(20, 3, 5) == 0); /* 0.3 s */
    CHECK(turn(30, 4, 0) > 0);
    CHECK(turns(100, 3, 5) == 0);
    CHECK(turn(30, 4, 0) == 0);
}

static void no_limit_refuses_nobody(void)
{
    begin();
    for (int i = 0; i < 50; i++) {
        turn(1, 30, 0);
        CHECK(!is_overloaded(0));
    }
}

TESTS(T(a_burst_is_served), T(what_lasts_is_refused_beyond_the_limit),
      T(it_is_over_after_a_second_of_calm), T(no_limit_refuses_nobody))
