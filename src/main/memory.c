/* SPDX-License-Identifier: Apache-2.0 */
/* memory: see memory.h. */
#include "main/memory.h"

#include "base/log.h"
#include "event/loop.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#define LOOK_MS 100
#define LOOK_CLOSELY_MS 20 /* from level 1 on */
#define TRIM_MS 1000
#define TRIM_FULL_MS 100 /* at the highest level: what is freed has to show */

static struct timer timer;
static uint64_t limit;
static void (*told)(int level, uint64_t excess);
static int level;
static int64_t trimmed_ms; /* when malloc_trim() ran last */

static uint64_t resident(void)
{
    char text[128];
    unsigned long long pages = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    sscanf(text, "%*u %llu", &pages);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t percent(unsigned n)
{
    return limit / 100 * n;
}

static int level_of(uint64_t used)
{
    return used >= percent(98) ? 3 : used >= percent(95) ? 2 : used >= percent(85) ? 1 : 0;
}

/* What malloc keeps for later is memory that others could use; giving it back is slow, so now and
 * then only. True when it was. */
static bool trim(int64_t every_ms)
{
    if (now_ms() - trimmed_ms < every_ms) {
        return false;
    }
    trimmed_ms = now_ms();
    malloc_trim(0);
    return true;
}

static void look(void)
{
    uint64_t used = limit ? resident() : 0;
    int now = limit ? level_of(used) : 0;
    bool fresh = now > 0 && trim(now == 3 ? TRIM_FULL_MS : TRIM_MS);
    if (fresh) {
        used = resident();
        now = level_of(used);
    }
    if (now != level) {
        LOG(WARN, "memory: %llu of %llu MB in use, level %d", (unsigned long long)(used >> 20),
            (unsigned long long)(limit >> 20), now);
    }
    /* What was freed since the last look shows after a trim only: no second relief for the same. */
    if (now != level || (now == 3 && fresh)) {
        level = now;
        told(now, now == 3 ? used - percent(95) : 0);
    }
}

static void on_timer(struct timer *t)
{
    look();
    if (limit) {
        timer_start(t, deadline_in(level > 0 ? LOOK_CLOSELY_MS : LOOK_MS));
    }
}

void memory_watch(uint64_t budget, void (*on_level)(int level, uint64_t excess))
{
    if (told == NULL) {
        timer_init(&timer, on_timer);
    }
    limit = budget;
    told = on_level;
    on_timer(&timer);
}
