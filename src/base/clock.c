/* SPDX-License-Identifier: Apache-2.0 */
/* clock: thread-local copies of both clocks and of the texts of the present second. */
#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

static _Thread_local struct {
    bool ticked;
    int64_t mono_us, wall_us;
    int64_t text_second; /* the second the texts are of, valid when has_texts */
    bool has_texts;
    char http_date[32], local[32], iso8601[32];
} now;

static int64_t read_us(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void clock_set(int64_t mono_us, int64_t wall)
{
    now.mono_us = mono_us;
    now.wall_us = wall;
    now.ticked = true;
}

void clock_tick(void)
{
    clock_set(read_us(CLOCK_MONOTONIC), read_us(CLOCK_REALTIME));
}

/* A thread without a loop may ask before anybody ticked. */
static void ensure_ticked(void)
{
    if (__builtin_expect(!now.ticked, 0)) {
        clock_tick();
    }
}

int64_t now_us(void)
{
    ensure_ticked();
    return now.mono_us;
}

int64_t now_ms(void)
{
    return now_us() / 1000;
}

int64_t wall_us(void)
{
    ensure_ticked();
    return now.wall_us;
}

int64_t clock_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

int64_t deadline_in(int64_t ms)
{
    int64_t at;

    return __builtin_add_overflow(now_ms(), ms, &at) ? NEVER : at;
}

/* Names of days and months are English: the program never leaves the C locale. */
static void format_texts(int64_t second)
{
    time_t t = (time_t)second;
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(now.http_date, sizeof(now.http_date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    localtime_r(&t, &tm);
    strftime(now.local, sizeof(now.local), "%d/%b/%Y:%H:%M:%S %z", &tm);
    size_t n = strftime(now.iso8601, sizeof(now.iso8601), "%Y-%m-%dT%H:%M:%S%z", &tm);
    /* +0100 becomes +01:00. */
    memmove(now.iso8601 + n - 1, now.iso8601 + n - 2, 3);
    now.iso8601[n - 2] = ':';
    now.text_second = second;
    now.has_texts = true;
}

static void ensure_texts(void)
{
    int64_t second = wall_us() / 1000000;

    if (!now.has_texts || now.text_second != second) {
        format_texts(second);
    }
}

const char *wall_http_date(void)
{
    ensure_texts();
    return now.http_date;
}

const char *wall_local(void)
{
    ensure_texts();
    return now.local;
}

const char *wall_iso8601(void)
{
    ensure_texts();
    return now.iso8601;
}
