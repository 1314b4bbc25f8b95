/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * fiber: one in-flight request's thread of execution. Many fibers share one thread; exactly one
 * runs at a time, and another runs only when it parks, so between two awaits nothing else
 * on this thread changes.
 *
 * A fiber belongs to the thread that started it for all its life. Stacks (64 KiB of address space
 * by default, guard pages below) come from a per-thread pool and are reused last in, first out, so
 * that they stay in cache. AddressSanitizer, ThreadSanitizer and valgrind are told about each
 * switch; tools/gdb_fibers.py lists the fibers of a process or core file.
 */
#include "base/arena.h"
#include "base/list.h"

#include <stdint.h>

struct fiber;

/* Usable stack bytes of fibers started from now on by this process; set once, before threads start.
 * Builds with a sanitizer take four times as much. */
void fiber_set_stack_size(size_t bytes);
/* The same for the calling thread only, before its first fiber: the control thread compiles schemas
 * and regular expressions, which are deep. */
void fiber_set_thread_stack_size(size_t bytes);
/* Does the program run under valgrind? */
bool fiber_on_valgrind(void);

/*
 * Run fn(arg) in a new fiber at once: the caller continues when it first parks or ends. May be
 * called from the thread's own stack (the loop) or from inside another fiber. name is a literal for
 * the debugger. NULL when no stack could be had (-ENOMEM; the caller must then refuse the work).
 * The fiber may have ended already when this returns: only who knows that it has not may use the
 * pointer.
 */
struct fiber *fiber_start(const char *name, void (*fn)(void *arg), void *arg);

/* The running fiber, NULL on the thread's own stack. */
struct fiber *fiber_self(void);

/*
 * Give up the thread until fiber_wake(). Only for the await_ functions of event/ and for primitives
 * built like them. Returns what fiber_wake() was given: 0, or a negative errno. Returns -ECANCELED
 * at once, without parking, when the fiber is cancelled and not shielded.
 */
int fiber_park(void);
/* Let everything else run first, the loop too: goes on with the next fiber_run_ready(). 0,
 * -ECANCELED as fiber_park(), or what fiber_interrupt() said meanwhile. */
int fiber_yield(void);

/* Make a parked fiber ready with the given result; it runs before the loop sleeps again. Waking a
 * fiber that is not parked is a bug (ASSERT). */
void fiber_wake(struct fiber *f, int result);
bool fiber_is_parked(const struct fiber *f);
/*
 * Wake a fiber that has registered with fiber_on_cancel() without the help of what it waits on
 * (deadline passed, descriptor closed): on_cancel(arg) is called, then it wakes with the result. A
 * fiber that is ready but has not run yet gets the new result instead of its old one.
 */
void fiber_interrupt(struct fiber *f, int result);

/*
 * Ask a fiber to end: its present and all later awaits return -ECANCELED, and it unwinds through
 * its normal exits. Cancelling twice, or a fiber that runs, is allowed.
 */
void fiber_cancel(struct fiber *f);
bool fiber_is_cancelled(const struct fiber *f);
/* The running fiber is cancelled and not shielded: an await must not begin. */
bool fiber_must_end(void);
/* Between shield(true) and shield(false) awaits of this fiber work although it is cancelled: for
 * the few steps of cleaning up that must wait. Nests. */
void fiber_shield(bool on);

/*
 * What an await waits on registers itself here, so that cancel can take the fiber off it:
 * on_cancel(arg) is called (on the thread, outside the fiber) when a parked fiber is cancelled or
 * interrupted, before it wakes. Cleared by each return of fiber_park(). Not called when
 * fiber_park() returns without parking.
 */
void fiber_on_cancel(void (*on_cancel)(void *arg), void *arg);

/* The running fiber was started by another one that has not gone on yet: that one is in the middle
 * of something, and what the thread lends (event/await.h) may be in its hands. */
bool fiber_is_nested(void);

/* An arena that is emptied when the fiber ends and reused with its stack: no malloc for a warm
 * request. */
struct arena *fiber_arena(void);

/* One pointer of the owner's choice (the request), seen by the debugger script. */
void *fiber_data(const struct fiber *f);
void fiber_set_data(struct fiber *f, void *data);

/*
 * FIBER_ROOM bytes for the layer above (event keeps the deadline timer there): zero in a new stack,
 * kept when the stack is reused. fini(f) is called before the stack is unmapped; one function for
 * the process.
 */
#define FIBER_ROOM 64
void *fiber_room(struct fiber *f);
void fiber_set_room_fini(void (*fini)(struct fiber *f));

/*
 * Run the ready fibers of this thread, and those they wake, first in first out; who yields waits
 * for the next call. Called by the loop. At most FIBER_RUNS switches, so that fibers that keep
 * waking each other cannot keep the loop from its sockets: fiber_has_ready() tells that some are
 * left.
 */
#define FIBER_RUNS 4096
void fiber_run_ready(void);
bool fiber_has_ready(void);

/* Fibers of this thread that are alive; stacks mapped by this thread (at most FIBER_POOL of them
 * are idle, the rest is given back). */
#define FIBER_POOL 1024
unsigned fiber_count(void);
unsigned fiber_stacks(void);
/* Free the pooled stacks of this thread (thread end). */
void fiber_thread_fini(void);
