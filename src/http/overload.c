/* SPDX-License-Identifier: Apache-2.0 */
/* overload: see overload.h. */
#include "http/overload.h"

#define WATCH_US 5000      /* a turn that lasts as long is long */
#define PATIENCE_US 500000 /* a burst is no overload */
#define CALM_US 1000000    /* so long without a turn beyond the limit, and it is over */

_Thread_local struct overload overload;

void overload_turn(void)
{
    struct overload *o = &overload;
    const int64_t now = now_us();

    if (!o->beyond || now - o->turn_us > CALM_US) {
        o->since_us = now;
    }
    o->refusing = o->refusing && now - o->beyond_us < CALM_US;
    o->watched = now - o->turn_us >= WATCH_US; /* includes the wait for this turn */
    o->turn_us = now;
    o->work_us = 0;
    o->beyond = false;
}

bool is_overloaded(int64_t limit_ms)
{
    struct overload *o = &overload;

    if (limit_ms == 0 || !o->watched || o->work_us < limit_ms * 1000) {
        return false;
    }
    o->beyond = true;
    o->beyond_us = o->turn_us;
    o->refusing = o->refusing || o->turn_us - o->since_us >= PATIENCE_US;
    return o->refusing;
}
