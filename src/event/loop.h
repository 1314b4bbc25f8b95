/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * loop: one event loop a thread: I/O, timers, mailbox, ready fibers. All functions concern the loop
 * of the calling thread, but for the mailbox and loop_stop().
 *
 * A turn: wait for events until the next timer, clock_tick(), I/O
 * callbacks, timers, mailbox, ready fibers, watches that were set on waiting data, turn functions.
 */
#include "base/clock.h"
#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;

/* What loops wait with. AUTO: io_uring where it works, else epoll, which is logged once. */
enum loop_engine { LOOP_AUTO, LOOP_EPOLL, LOOP_IO_URING };
/* Of the loops that this process makes from now on; before there are threads. Epoll until then. */
void loop_set_engine(enum loop_engine engine);
/* Of the loop of this thread: "epoll", "io_uring". */
const char *loop_engine(void);

/* Make the loop of this thread. -errno on failure. The process ignores SIGPIPE from then on. */
int loop_init(void);
/* Free it. Timers that still run are stopped; I/O must be closed before. Nobody may be about to
 * post to it: helpers (offload_fini()) and threads that do are ended or told before. */
void loop_fini(void);
struct loop *loop_self(void);
/* Turn until loop_stop(). */
void loop_run(void);
/* Make l's loop_run() return after its present turn. Any thread, also a signal handler. */
void loop_stop(struct loop *l);
/* Called at the end of each turn (per-turn work such as flushing logs). At most LOOP_TURN_FNS. */
#define LOOP_TURN_FNS 8
void loop_on_turn(void (*fn)(void *arg), void *arg);

/* ---- timers: a hierarchical wheel of 1 ms steps; O(1) to start and stop ---- */
struct timer {
    struct list link;
    int64_t at; /* now_ms() value; 0 when not started */
    void (*fn)(struct timer *t);
};
void timer_init(struct timer *t, void (*fn)(struct timer *t));
/* (Re)start: fn(t) runs on this loop's thread at the first turn at or after at. NEVER stops it.
 * Never earlier, never from inside timer_start(). */
void timer_start(struct timer *t, int64_t at);
void timer_stop(struct timer *t);
static inline bool timer_is_started(const struct timer *t)
{
    return t->at != 0;
}

/* ---- mailbox: messages that carry ownership from any thread to a loop ---- */
struct mail {
    struct mail *next;
    void (*fn)(struct mail *m); /* runs on the loop's thread; owns m from then on */
};
/* Any thread. Lock-free; one eventfd write when the box was empty. Order per sender is kept. */
void loop_post(struct loop *l, struct mail *m);

/* ---- helper threads for what cannot be asynchronous ---- */
/* Start n helper threads of the process (once, before the first await_offload). */
int offload_init(unsigned n);
/* Let them finish what is queued and end them. */
void offload_fini(void);
/* Wait until no helper is about to touch a loop whose jobs have all come back: the last step of
 * their way is after the mail has been delivered. loop_fini() does. */
void offload_settle(void);
