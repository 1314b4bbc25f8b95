/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * overload: does this core get more requests than it has time for?
 *
 * Who comes while a turn of the loop lasts waits until it is over, so a turn of so many
 * milliseconds is a queue as long. When the requests that begin in a turn take more than the limit,
 * turn after turn for half a second, those beyond the limit are refused: the others are answered in
 * a few turns, as they are when there are fewer, and the client hears at once that it should try
 * elsewhere. A burst is served. What a request takes is measured until it first waits; clocks are
 * read only while turns are long. One thread each.
 */
#include "base/clock.h"

#include <stdbool.h>

extern _Thread_local struct overload {
    int64_t turn_us;   /* when this turn began */
    int64_t work_us;   /* what its requests have taken so far */
    int64_t since_us;  /* since then every turn with requests was beyond the limit */
    int64_t beyond_us; /* the last that was */
    bool beyond;       /* this one is */
    bool refusing;     /* until it has been calm for a second */
    bool watched;      /* the last turn was long: requests are measured */
} overload;

void overload_turn(void);

/* Around what begins a request. */
static inline int64_t overload_begin(void)
{
    if (overload.turn_us != now_us()) {
        overload_turn();
    }
    return overload.watched ? clock_us() : 0;
}

static inline void overload_end(int64_t began)
{
    if (began != 0) {
        overload.work_us += clock_us() - began;
    }
}

/* The request that begins is to be refused. limit_ms 0: never. */
bool is_overloaded(int64_t limit_ms);
