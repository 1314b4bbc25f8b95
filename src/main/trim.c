/* SPDX-License-Identifier: Apache-2.0 */
/* trim: see trim.h. While there is work malloc will want its memory again, and giving it back holds
 * up who allocates meanwhile. */
#include "main/trim.h"

#include "event/loop.h"

#include <malloc.h>

#define LOOK_MS 3000

static struct timer timer;
static uint64_t (*work)(void);
static uint64_t seen, trimmed;

static void on_timer(struct timer *t)
{
    const uint64_t now = work();

    if (now == seen && now != trimmed) {
        malloc_trim(0);
        trimmed = now;
    }
    seen = now;
    timer_start(t, deadline_in(LOOK_MS));
}

void trim_start(uint64_t (*fn)(void))
{
    work = fn;
    timer_init(&timer, on_timer);
    timer_start(&timer, deadline_in(LOOK_MS));
}
