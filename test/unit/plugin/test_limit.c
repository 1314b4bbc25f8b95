/* SPDX-License-Identifier: Apache-2.0 */
/* The counters of rate limits: windows, the leaky bucket, what is in flight, full buckets, and
 * threads that count at once. */
#include "plugin/limit.h"

#include "t.h"

#include <pthread.h>

#define S INT64_C(1000000) /* a second */

static struct limit_table *table(void)
{
    return limit_table_new("test", 1024);
}

static void a_fixed_window_begins_with_its_first_event(void)
{
    static const struct {
        int64_t at, cost;
        bool ok;
        int64_t remaining, reset;
    } events[] = {
        {5 * S, 1, true, 1, 10 * S},
        {6 * S, 1, true, 0, 9 * S},
        {6 * S, 1, false, 0, 9 * S},
        {14 * S + 999999, 1, false, 0, 1},
        {15 * S, 1, true, 1, 10 * S},
        /* The clock of another core lags. */
        {15 * S - 400, 1, true, 0, 10 * S + 400},
        {15 * S, 1, false, 0, 10 * S},
        /* More than what is left is refused whole; nothing is always allowed. */
        {40 * S, 3, false, 0, 10 * S},
        {41 * S, 0, true, 2, 9 * S},
        {42 * S, 2, true, 0, 8 * S},
    };
    struct limit_table *t = table();
    const struct limit_key k = limit_key(1, STR("k"));

    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        struct limit_quota q = limit_fixed(t, k, 2, 10 * S, events[i].cost, events[i].at);
        CHECK_ROW(i, q.ok == events[i].ok);
        CHECK_ROW(i, q.remaining == events[i].remaining);
        CHECK_ROW(i, q.reset_us == events[i].reset);
    }
    limit_table_free(t);
}

static void a_sliding_window_counts_what_reaches_out_of_the_last_one(void)
{
    static const struct {
        int64_t at;
        bool ok;
        int64_t remaining, reset;
    } events[] = {
        {100 * S, true, 3, 10 * S},
        {108 * S, true, 2, 2 * S},
        {108 * S, true, 1, 2 * S},
        {109 * S, true, 0, 1 * S},
        {109 * S, false, 0, 1 * S},
        /* All four reach fully into the new window, then less and less of them. */
        {110 * S, false, 0, 0},
        {110 * S + 100000, true, 0, 9 * S + 900000},
        {111 * S, false, 0, 1500000},
        {112 * S + 500000, false, 0, 0},
        {112 * S + 600000, true, 0, 7 * S + 400000},
        {113 * S, false, 0, 2 * S},
        {116 * S, true, 0, 4 * S},
        /* The clock of another core lags behind the window: it has just begun. */
        {109 * S + 999999, false, 0, 0},
        /* Two windows later nothing of them counts. */
        {140 * S, true, 3, 10 * S},
    };
    struct limit_table *t = table();
    const struct limit_key k = limit_key(1, STR("k"));

    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        struct limit_quota q = limit_sliding(t, k, 4, 10 * S, 1, events[i].at);
        CHECK_ROW(i, q.ok == events[i].ok);
        CHECK_ROW(i, !q.ok || q.remaining == events[i].remaining);
        CHECK_ROW(i, !events[i].reset || q.reset_us == events[i].reset);
        CHECK_ROW(i, q.reset_us >= 0 && q.reset_us <= 10 * S);
    }
    limit_table_free(t);
}

static void a_leaky_bucket_says_how_long_to_wait(void)
{
    static const struct {
        int64_t at, wait;
    } events[] = {
        {0, 0},
        {0, S / 2},
        {0, S},
        {0, -1},
        {S / 2, S},
        {S / 2, -1},
        /* A clock that lags drains nothing. */
        {S / 4, -1},
        {10 * S, 0},
        {10 * S + S / 4, S / 4},
    };
    struct limit_table *t = table();
    const struct limit_key k = limit_key(1, STR("k"));

    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        int64_t wait = limit_leaky(t, k, 2, 2, 100 * S + events[i].at);
        CHECK_ROW(i, wait == events[i].wait);
    }
    limit_table_free(t);
}

static void huge_numbers_do_not_overflow(void)
{
    struct limit_table *t = table();
    struct limit_quota q = limit_fixed(t, limit_key(1, STR("a")), INT64_MAX, INT64_MAX, 1, 7 * S);

    CHECK(q.ok && q.remaining == INT64_MAX - 1 && q.reset_us > 0);
    q = limit_fixed(t, limit_key(1, STR("a")), INT64_MAX, INT64_MAX, INT64_MAX, 7 * S);
    CHECK(!q.ok);
    q = limit_sliding(t, limit_key(1, STR("b")), INT64_C(1) << 53, INT64_C(1000000000000) * S, 1,
                      7 * S);
    CHECK(q.ok && q.reset_us > 0);
    CHECK(limit_leaky(t, limit_key(1, STR("c")), 1e-300, 1e300, 7 * S) == 0);
    CHECK(limit_leaky(t, limit_key(1, STR("c")), 1e-300, 1e300, 7 * S) > 0);
    CHECK(limit_leaky(t, limit_key(1, STR("d")), 1e300, 0, 7 * S) == 0);
    CHECK(limit_leaky(t, limit_key(1, STR("d")), 1e300, 0, 8 * S) == 0);
    limit_table_free(t);
}

static void owners_and_texts_have_counters_of_their_own(void)
{
    struct limit_table *t = table();

    for (uint64_t owner = 1; owner <= 3; owner++) {
        CHECK(limit_fixed(t, limit_key(owner, STR("a")), 1, S, 1, S).ok);
        CHECK(limit_fixed(t, limit_key(owner, STR("b")), 1, S, 1, S).ok);
        CHECK(limit_fixed(t, limit_key(owner, STR("")), 1, S, 1, S).ok);
    }
    CHECK(!limit_fixed(t, limit_key(2, STR("a")), 1, S, 1, S).ok);
    limit_table_free(t);
}

static void what_is_in_flight_is_bounded_and_comes_back(void)
{
    struct limit_table *t = table();
    const struct limit_key k = limit_key(1, STR("k"));

    CHECK(limit_enter(t, k, 2) == 1);
    CHECK(limit_enter(t, k, 2) == 2);
    CHECK(limit_enter(t, k, 2) == 0);
    limit_leave(t, k);
    CHECK(limit_enter(t, k, 2) == 2);
    limit_leave(t, k);
    limit_leave(t, k);
    CHECK(limit_enter(t, k, 1) == 1);
    limit_table_free(t);
}

static void a_full_bucket_gives_up_what_expires_first(void)
{
    struct limit_table *t = limit_table_new("test", 16); /* one bucket */
    char text[4];

    for (int i = 0; i < 16; i++) {
        snprintf(text, sizeof(text), "%d", i);
        CHECK_ROW(i, limit_fixed(t, limit_key(1, str_c(text)), 1, (i == 5 ? 10 : 20) * S, 1, S).ok);
    }
    CHECK(limit_fixed(t, limit_key(1, STR("new")), 1, 20 * S, 1, 2 * S).ok);
    for (int i = 0; i < 16; i++) {
        if (i != 5) {
            snprintf(text, sizeof(text), "%d", i);
            CHECK_ROW(i, !limit_fixed(t, limit_key(1, str_c(text)), 1, 20 * S, 1, 3 * S).ok);
        }
    }
    limit_table_free(t);
}

static void what_is_in_flight_is_never_given_up(void)
{
    struct limit_table *t = limit_table_new("test", 16);
    char text[4];

    for (int i = 0; i < 16; i++) {
        snprintf(text, sizeof(text), "%d", i);
        CHECK_ROW(i, limit_enter(t, limit_key(1, str_c(text)), 1) == 1);
    }
    CHECK(limit_enter(t, limit_key(1, STR("new")), 1) == -1);
    limit_leave(t, limit_key(1, STR("3")));
    CHECK(limit_enter(t, limit_key(1, STR("new")), 1) == 1);
    CHECK(limit_enter(t, limit_key(1, STR("4")), 1) == 0);
    limit_table_free(t);
}

/* ---- threads ---- */

enum { THREADS = 4, TURNS = 20000, KEYS = 3 };

struct worker {
    struct limit_table *t;
    int64_t fixed[KEYS], sliding[KEYS], leaky;
    int64_t most; /* seen in flight */
};

static void *work(void *arg)
{
    struct worker *w = arg;
    static const struct str names[KEYS] = {STR_INIT("a"), STR_INIT("b"), STR_INIT("c")};

    for (int i = 0; i < TURNS; i++) {
        const int k = i % KEYS;
        const struct limit_key in = limit_key(4, names[k]);
        w->fixed[k] += limit_fixed(w->t, limit_key(1, names[k]), 5000, 100 * S, 1, S).ok;
        w->sliding[k] += limit_sliding(w->t, limit_key(2, names[k]), 5000, 100 * S, 1, S).ok;
        w->leaky += limit_leaky(w->t, limit_key(3, STR("x")), 1, 700, S) >= 0;
        const int64_t n = limit_enter(w->t, in, 2);
        w->most = n > w->most ? n : w->most;
        if (n > 0) {
            limit_leave(w->t, in);
        }
    }
    return NULL;
}

static void counts_are_exact_across_threads(void)
{
    struct limit_table *t = table();
    struct worker w[THREADS] = {0};
    pthread_t threads[THREADS];
    int64_t leaky = 0;

    for (int i = 0; i < THREADS; i++) {
        w[i].t = t;
        CHECK(pthread_create(&threads[i], NULL, work, &w[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(w[i].most <= 2);
        leaky += w[i].leaky;
    }
    for (int k = 0; k < KEYS; k++) {
        int64_t fixed = 0, sliding = 0;
        for (int i = 0; i < THREADS; i++) {
            fixed += w[i].fixed[k];
            sliding += w[i].sliding[k];
        }
        CHECK_ROW(k, fixed == 5000);
        CHECK_ROW(k, sliding == 5000);
        CHECK(limit_enter(t,
                          limit_key(4, k == 0   ? STR("a")
                                       : k == 1 ? STR("b")
                                                : STR("c")),
                          1) == 1);
    }
    CHECK(leaky == 701);
    limit_table_free(t);
}

TESTS(T(a_fixed_window_begins_with_its_first_event),
      T(a_sliding_window_counts_what_reaches_out_of_the_last_one),
      T(a_leaky_bucket_says_how_long_to_wait), T(huge_numbers_do_not_overflow),
      T(owners_and_texts_have_counters_of_their_own),
      T(what_is_in_flight_is_bounded_and_comes_back), T(a_full_bucket_gives_up_what_expires_first),
      T(what_is_in_flight_is_never_given_up), T(counts_are_exact_across_threads))
