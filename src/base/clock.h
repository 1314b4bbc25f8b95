/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * clock: monotonic time for every timer, wall time for logs and answers only.
 *
 * clock_tick() reads both clocks into thread-local copies; a loop calls it once a turn and after
 * long work. The rest of the functions read these copies, so they cost nothing.
 */
#include <stdint.h>

/* No deadline. */
#define NEVER INT64_MAX

void clock_tick(void);
/* Move the copies of this thread by hand until the next tick: for tests. */
void clock_set(int64_t mono_us, int64_t wall_us);
/* Monotonic microseconds / milliseconds of the last tick. Deadlines are absolute values of
 * now_ms(). */
int64_t now_us(void);
int64_t now_ms(void);
/* Unix time in microseconds of the last tick. */
int64_t wall_us(void);
/* Monotonic microseconds read now, for measuring. */
int64_t clock_us(void);
/* now_ms() + ms, NEVER when ms is NEVER or does not fit. */
int64_t deadline_in(int64_t ms);

/* Text of the wall second of the last tick, formatted once a second: IMF-fixdate (29 bytes, RFC
 * 9110 5.6.7) and nginx' $time_local (26 bytes) and $time_iso8601 (25 bytes). Valid until the next
 * tick. */
const char *wall_http_date(void);
const char *wall_local(void);
const char *wall_iso8601(void);
