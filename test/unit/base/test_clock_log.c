/* SPDX-License-Identifier: Apache-2.0 */
/* clock and log: texts of a second, one line a write, and the bound on repeated lines. */
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"

#include "t.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

static void time_stands_still_between_ticks(void)
{
    clock_tick();
    int64_t at = now_us();
    int64_t until = clock_us() + 2000;

    while (clock_us() < until) {
    }
    CHECK(now_us() == at && now_ms() == at / 1000);
    clock_tick();
    CHECK(now_us() >= at + 2000);
    CHECK(wall_us() / 1000000 - time(NULL) <= 1 && time(NULL) - wall_us() / 1000000 <= 1);
}

static void deadlines_do_not_overflow(void)
{
    clock_set(5000000, 0);
    CHECK(deadline_in(100) == 5100);
    CHECK(deadline_in(0) == 5000);
    CHECK(deadline_in(NEVER) == NEVER && deadline_in(NEVER - 5000) == NEVER);
    CHECK(deadline_in(NEVER - 5001) == NEVER - 1);
}

static void *first_look(void *arg)
{
    *(int64_t *)arg = now_us();
    return NULL;
}

static void a_thread_that_never_ticked_has_a_clock(void)
{
    pthread_t thread;
    int64_t seen = 0, before = clock_us();

    CHECK(pthread_create(&thread, NULL, first_look, &seen) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(seen >= before && seen <= clock_us());
}

static void texts_of_a_second_follow_the_zone(void)
{
    static const struct {
        const char *zone;
        int64_t second;
        const char *http, *local, *iso;
    } cases[] = {
        {"UTC0", 784111777, "Sun, 06 Nov 1994 08:49:37 GMT", "06/Nov/1994:08:49:37 +0000",
         "1994-11-06T08:49:37+00:00"},
        {"XXX-5:30", 784111777, "Sun, 06 Nov 1994 08:49:37 GMT", "06/Nov/1994:14:19:37 +0530",
         "1994-11-06T14:19:37+05:30"},
        {"XXX3", 0, "Thu, 01 Jan 1970 00:00:00 GMT", "31/Dec/1969:21:00:00 -0300",
         "1969-12-31T21:00:00-03:00"},
        {"UTC0", 1709164800, "Thu, 29 Feb 2024 00:00:00 GMT", "29/Feb/2024:00:00:00 +0000",
         "2024-02-29T00:00:00+00:00"},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        setenv("TZ", cases[i].zone, 1);
        tzset();
        /* Texts are made once a second, so look at another one between two zones. */
        clock_set(0, 1000000000000000);
        wall_local();
        clock_set(0, cases[i].second * 1000000 + 999999);
        CHECK_STR(str_c(wall_http_date()), cases[i].http);
        CHECK_STR(str_c(wall_local()), cases[i].local);
        CHECK_STR(str_c(wall_iso8601()), cases[i].iso);
        CHECK_ROW(i, wall_local() == wall_local());
    }
    unsetenv("TZ");
    tzset();
}

/* ---- log ---- */

static int ends[2];

static void log_start(enum log_level least)
{
    CHECK(pipe2(ends, O_NONBLOCK) == 0);
    log_to(ends[1], least);
}

/* The next write(2), of which a line is one; without the time. */
static struct str log_line(void)
{
    static char line[4096];
    ssize_t n = read(ends[0], line, sizeof(line));

    if (n < 21) {
        return STR_NONE;
    }
    return str_skip(str_of(line, (size_t)n), 20);
}

static void log_stop(void)
{
    log_to(2, LOG_NOTICE);
    close(ends[0]);
    close(ends[1]);
}

static void a_line_has_time_level_and_text(void)
{
    log_start(LOG_DEBUG);
    time_t before = time(NULL);
    LOG(WARN, "port %d", 80);
    char raw[256], texts[2][64];
    ssize_t n = read(ends[0], raw, sizeof(raw));
    time_t after = time(NULL);
    for (int i = 0; i < 2; i++) {
        struct tm tm;
        localtime_r(i ? &after : &before, &tm);
        strftime(texts[i], sizeof(texts[i]), "%Y/%m/%d %H:%M:%S [warn] port 80\n", &tm);
    }
    struct str line = str_of(raw, n > 0 ? (size_t)n : 0);
    CHECK(str_eq(line, str_c(texts[0])) || str_eq(line, str_c(texts[1])));
    log_stop();
}

static void levels_below_the_least_are_not_written(void)
{
    uint64_t errors = log_errors();

    log_start(LOG_WARN);
    LOG(NOTICE, "no");
    CHECK(str_is_none(log_line()));
    LOG(WARN, "yes");
    CHECK_STR(log_line(), "[warn] yes\n");
    CHECK(log_errors() == errors);
    LOG(ERROR, "a");
    LOG(EMERG, "b");
    CHECK(log_errors() == errors + 2);
    log_stop();
    CHECK(log_level_of(STR("warn")) == LOG_WARN && log_level_of(STR("emerg")) == LOG_EMERG);
    CHECK(log_level_of(STR("debug")) == LOG_DEBUG && log_level_of(STR("loud")) == -1);
}

static void control_bytes_are_escaped(void)
{
    log_start(LOG_DEBUG);
    LOG(INFO, "a\nb\r\t\x1b[0m\x7f \xc3\xa9 \\ \"%s\"", "q");
    CHECK_STR(log_line(), "[info] a\\x0Ab\\x0D\\x09\\x1B[0m\\x7F \xc3\xa9 \\ \"q\"\n");
    log_stop();
}

static void long_lines_are_cut_at_two_kilobytes(void)
{
    char text[5000];

    log_start(LOG_DEBUG);
    for (int control = 0; control < 2; control++) {
        memset(text, control ? '\n' : 'a', sizeof(text));
        LOG(INFO, "%.*s", (int)sizeof(text), text);
        struct str line = log_line();
        CHECK(line.n + 20 <= 2048 && line.n + 20 > 2040 && line.p[line.n - 1] == '\n');
        CHECK(str_index(line, '\n') == (ptrdiff_t)line.n - 1);
    }
    log_stop();
}

/* errno is what the caller is about to look at. */
static void logging_keeps_errno(void)
{
    log_start(LOG_DEBUG);
    log_to(-1, LOG_DEBUG);
    errno = EBUSY;
    LOG(INFO, "to nowhere");
    CHECK(errno == EBUSY);
    log_stop();
}

static void repeated_lines_are_bounded_and_counted(void)
{
    struct log_rate rate = {0};
    int passed = 0;

    log_start(LOG_DEBUG);
    /* In case the second changes in the middle, one round of two is whole. */
    for (int round = 0; round < 2 && passed != 10; round++) {
        rate = (struct log_rate){0};
        passed = 0;
        for (int i = 0; i < 25; i++) {
            passed += log_rate_ok(&rate);
        }
    }
    CHECK(passed == 10);
    rate.second--;
    CHECK(log_rate_ok(&rate));
    LOG(INFO, "again");
    CHECK_STR(log_line(), "[info] again (15 lines like this left out)\n");
    LOG(INFO, "once more");
    CHECK_STR(log_line(), "[info] once more\n");
    for (int i = 0; i < 100; i++) {
        LOG_RATE(INFO, "same");
    }
    int lines = 0;
    char all[8192];
    ssize_t n = read(ends[0], all, sizeof(all));
    for (ssize_t i = 0; i < n; i++) {
        lines += all[i] == '\n';
    }
    CHECK(lines >= 10 && lines <= 21);
    log_stop();
}

static void reopening_follows_a_rotated_file(void)
{
    char dir[] = "/tmp/weir-log-XXXXXX", path[64], old[64], text[256];

    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/error.log", dir);
    snprintf(old, sizeof(old), "%s/old.log", dir);
    CHECK(log_open(path, LOG_INFO) == 0);
    LOG(INFO, "first");
    CHECK(rename(path, old) == 0);
    LOG(INFO, "second");
    CHECK(log_open(path, LOG_INFO) == 0);
    LOG(INFO, "third");
    CHECK(log_open(dir, LOG_DEBUG) == -EISDIR);
    LOG(INFO, "fourth");
    LOG(DEBUG, "not at this level");

    static const char *const want[2][2] = {{"first\n", "second\n"}, {"third\n", "fourth\n"}};
    for (int i = 0; i < 2; i++) {
        FILE *f = fopen(i ? path : old, "r");
        for (int line = 0; f && line < 2; line++) {
            CHECK(fgets(text, sizeof(text), f) && str_ends(str_c(text), str_c(want[i][line])));
        }
        CHECK(f && fgets(text, sizeof(text), f) == NULL);
        if (f) {
            fclose(f);
        }
    }
    log_to(2, LOG_NOTICE);
    unlink(path);
    unlink(old);
    rmdir(dir);
}

static bool soft_check(int x)
{
    return SOFT_ASSERT(x > 0);
}

static void a_soft_assert_counts_and_logs_once(void)
{
    uint64_t before = soft_assert_failures();

    log_start(LOG_DEBUG);
    CHECK(soft_check(1) && soft_assert_failures() == before);
    CHECK(!soft_check(0) && !soft_check(-1));
    CHECK(soft_assert_failures() == before + 2);
    struct str line = log_line();
    CHECK(str_starts(line, STR("[alert] assertion failed, work goes on: x > 0 at ")));
    CHECK(str_is_none(log_line()));
    log_stop();
}

enum { THREADS = 4, LINES = 500 };

static void *log_often(void *arg)
{
    for (int i = 0; i < LINES; i++) {
        LOG(INFO, "thread %d line %d end", *(int *)arg, i);
    }
    return NULL;
}

static void lines_of_threads_do_not_mix(void)
{
    pthread_t threads[THREADS];
    int ids[THREADS], last[THREADS], lines = 0;
    FILE *f = tmpfile();
    char text[256];

    CHECK(f != NULL && fcntl(fileno(f), F_SETFL, O_APPEND) == 0);
    log_to(fileno(f), LOG_INFO);
    for (int i = 0; i < THREADS; i++) {
        ids[i] = i;
        last[i] = -1;
        CHECK(pthread_create(&threads[i], NULL, log_often, &ids[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    log_to(2, LOG_NOTICE);
    rewind(f);
    while (fgets(text, sizeof(text), f)) {
        int id = -1, line = -1, end = 0;
        sscanf(text + 20, "[info] thread %d line %d end%n", &id, &line, &end);
        CHECK(id >= 0 && id < THREADS && end > 0 && line == last[id] + 1);
        if (id >= 0 && id < THREADS) {
            last[id] = line;
        }
        lines++;
    }
    CHECK(lines == THREADS * LINES);
    fclose(f);
}

TESTS(T(time_stands_still_between_ticks), T(deadlines_do_not_overflow),
      T(a_thread_that_never_ticked_has_a_clock), T(texts_of_a_second_follow_the_zone),
      T(a_line_has_time_level_and_text), T(levels_below_the_least_are_not_written),
      T(control_bytes_are_escaped), T(long_lines_are_cut_at_two_kilobytes), T(logging_keeps_errno),
      T(repeated_lines_are_bounded_and_counted), T(reopening_follows_a_rotated_file),
      T(a_soft_assert_counts_and_logs_once), T(lines_of_threads_do_not_mix))
