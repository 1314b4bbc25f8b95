/* SPDX-License-Identifier: Apache-2.0 */
/* memory: see memory.h. */
#include "main/memory.h"

#include "base/log.h"
#include "event/loop.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

static struct timer timer;
static uint64_t limit;
static void (*changed)(int level);
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

/* What malloc keeps for later is memory that others could use; giving it back is slow, so once a
 * second. */
static uint64_t resident_trimmed(void)
{
    if (now_ms() - trimmed_ms >= 1000) {
        trimmed_ms = now_ms();
        malloc_trim(0);
    }
    return resident();
}

static void set_level(int now, uint64_t used)
{
    if (now != level) {
        LOG(WARN, "memory: %llu of %llu MB in use, level %d", (unsigned long long)(used >> 20),
            (unsigned long long)(limit >> 20), now);
        level = now;
        changed(now);
    }
}

static void on_timer(struct timer *t)
{
    if (limit == 0) {
        set_level(0, 0);
        return;
    }
    uint64_t used = resident();
    if (used >= limit / 100 * 85) {
        used = resident_trimmed();
    }
    int now = used >= limit / 100 * 95 ? 2 : used >= limit / 100 * 85 ? 1 : 0;
    set_level(now, used);
    timer_start(t, deadline_in(100));
}

void memory_watch(uint64_t budget, void (*on_change)(int level))
{
    if (changed == NULL) {
        timer_init(&timer, on_timer);
    }
    limit = budget;
    changed = on_change;
    on_timer(&timer);
}
