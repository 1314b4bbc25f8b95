/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wheel: the timers of one loop.
 *
 * LEVELS rings of 64 slots; a slot of level L spans 64^L ms. A timer sits on the level of the
 * highest base-64 digit in which its time differs from the present (wheel.now), in the slot of that
 * digit. When the present reaches the first ms of a slot of a higher level its timers move down. So
 * a timer moves at most LEVELS times, all timers of a level lie before those of the next one, and
 * the first used slot of the lowest used level is where to go next. Stopping leaves the bit of
 * the slot set; who finds such a slot empty clears it.
 */
#include "base/assert.h"
#include "event/io_ops.h"

#include <limits.h>

#define BITS 6
#define SLOTS 64
#define LEVELS 7 /* 64^7 ms is 139 years */
#define HORIZON ((int64_t)1 << (BITS * LEVELS))

struct wheel {
    int64_t now; /* every timer at or before this has run, but for those on due */
    struct list due;
    uint64_t used[LEVELS];
    struct list slot[LEVELS][SLOTS];
};

static _Thread_local struct wheel wheel;

static unsigned digit(int64_t at, unsigned level)
{
    return (unsigned)(at >> (BITS * level)) & (SLOTS - 1);
}

static void place(struct timer *t)
{
    int64_t at = t->at;

    if (at <= wheel.now) {
        list_add_tail(&wheel.due, &t->link);
        return;
    }
    /* What is past the horizon waits in the last slot and is placed again from there. */
    if ((at ^ wheel.now) >= HORIZON) {
        at = wheel.now | (HORIZON - 1);
    }
    unsigned level = (63U - (unsigned)__builtin_clzll((uint64_t)(at ^ wheel.now) | 1)) / BITS;
    unsigned slot = digit(at, level);
    wheel.used[level] |= (uint64_t)1 << slot;
    list_add_tail(&wheel.slot[level][slot], &t->link);
}

void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
    list_init(&t->link);
    t->at = 0;
    t->fn = fn;
}

void timer_start(struct timer *t, int64_t at)
{
    timer_stop(t);
    if (at == NEVER) {
        return;
    }
    t->at = at > 0 ? at : 1;
    place(t);
}

void timer_stop(struct timer *t)
{
    if (t->at != 0) {
        list_del(&t->link);
        t->at = 0;
    }
}

/* The first used slot: its level, with the ms at which it begins in *at. -1: none. */
static int first_slot(int64_t *at)
{
    for (int level = 0; level < LEVELS; level++) {
        while (wheel.used[level] != 0) {
            unsigned slot = (unsigned)__builtin_ctzll(wheel.used[level]);
            if (!list_is_empty(&wheel.slot[level][slot])) {
                int shift = BITS * level;
                int64_t block = wheel.now >> (shift + BITS) << (shift + BITS);
                *at = block + ((int64_t)slot << shift);
                return level;
            }
            wheel.used[level] &= ~((uint64_t)1 << slot);
        }
    }
    return -1;
}

int wheel_timeout(void)
{
    int64_t at;

    if (!list_is_empty(&wheel.due)) {
        return 0;
    }
    if (first_slot(&at) < 0) {
        return -1;
    }
    int64_t ms = at - now_ms();
    return ms < 0 ? 0 : ms > INT_MAX ? INT_MAX : (int)ms;
}

/* Append all of from to to. */
static void move_all(struct list *to, struct list *from)
{
    if (!list_is_empty(from)) {
        from->next->prev = to->prev;
        to->prev->next = from->next;
        from->prev->next = to;
        to->prev = from->prev;
        list_init(from);
    }
}

/* Move the present to now: timers come down the levels and end on the due list, in order. */
static void advance(int64_t now)
{
    int64_t at;
    int level;

    while ((level = first_slot(&at)) >= 0 && at <= now) {
        unsigned slot = digit(at, (unsigned)level);
        struct list batch = LIST_INIT(batch);

        wheel.now = at;
        wheel.used[level] &= ~((uint64_t)1 << slot);
        move_all(&batch, &wheel.slot[level][slot]);
        for (struct list *l; (l = list_pop(&batch)) != NULL;) {
            place(CONTAINER_OF(l, struct timer, link));
        }
    }
    if (now > wheel.now) {
        wheel.now = now;
    }
}

void wheel_run(void)
{
    struct list batch = LIST_INIT(batch);

    /* Timers that callbacks start in the past come in the next turn. */
    advance(now_ms());
    move_all(&batch, &wheel.due);
    for (struct list *l; (l = list_pop(&batch)) != NULL;) {
        struct timer *t = CONTAINER_OF(l, struct timer, link);
        t->at = 0;
        t->fn(t);
    }
}

void wheel_init(void)
{
    wheel.now = now_ms();
    list_init(&wheel.due);
    for (int i = 0; i < LEVELS; i++) {
        wheel.used[i] = 0;
        for (int j = 0; j < SLOTS; j++) {
            list_init(&wheel.slot[i][j]);
        }
    }
}

static void stop_all(struct list *slot)
{
    while (!list_is_empty(slot)) {
        timer_stop(CONTAINER_OF(slot->next, struct timer, link));
    }
}

void wheel_fini(void)
{
    stop_all(&wheel.due);
    for (int i = 0; i < LEVELS; i++) {
        for (int j = 0; j < SLOTS; j++) {
            stop_all(&wheel.slot[i][j]);
        }
    }
}
