/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * sanitize: tell AddressSanitizer, ThreadSanitizer and valgrind about stacks and switches. Inside
 * knowledge of fiber.c; all of it is empty in a plain build without valgrind's headers.
 */
#include "fiber/switch.h"

#include <stdbool.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define FIBER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define FIBER_TSAN 1
#endif

#if FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if FIBER_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if !FIBER_ASAN && !FIBER_TSAN && __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define FIBER_VALGRIND 1
#endif

/* Instrumented frames are larger. */
#if FIBER_ASAN || FIBER_TSAN
#define FIBER_STACK_FACTOR 4
#else
#define FIBER_STACK_FACTOR 1
#endif

static inline bool sanitize_valgrind(void)
{
#if FIBER_VALGRIND
    return RUNNING_ON_VALGRIND;
#else
    return false;
#endif
}

static inline unsigned sanitize_stack_new(struct context *c, void *low, size_t size)
{
    c->stack = low;
    c->stack_size = size;
#if FIBER_TSAN
    c->tsan = __tsan_create_fiber(0);
#endif
#if FIBER_VALGRIND
    return VALGRIND_STACK_REGISTER(low, (char *)low + size);
#else
    return 0;
#endif
}

static inline void sanitize_stack_free(struct context *c, unsigned valgrind_id)
{
#if FIBER_ASAN
    /* The next mapping at this address must not inherit the poison of dead frames. */
    __asan_unpoison_memory_region(c->stack, c->stack_size);
#endif
#if FIBER_TSAN
    __tsan_destroy_fiber(c->tsan);
#endif
#if FIBER_VALGRIND
    VALGRIND_STACK_DEREGISTER(valgrind_id);
#endif
    (void)c;
    (void)valgrind_id;
}

/* The thread's own stack. */
static inline void sanitize_thread(struct context *c)
{
#if FIBER_TSAN
    c->tsan = __tsan_get_current_fiber();
#endif
    (void)c;
}

/* Right before a switch; ends: what ran on from is over. */
static inline void sanitize_leave(struct context *from, const struct context *to, bool ends)
{
#if FIBER_ASAN
    __sanitizer_start_switch_fiber(ends ? NULL : &from->asan_fake, to->stack, to->stack_size);
    if (ends) {
        from->asan_fake = NULL;
    }
#endif
#if FIBER_TSAN
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
    (void)from;
    (void)to;
    (void)ends;
}

/* Right after one, on the new stack; left is where the thread comes from: its bounds are learnt
 * here, which is how those of the thread's own stack become known. */
static inline void sanitize_enter(struct context *now, struct context *left)
{
#if FIBER_ASAN
    __sanitizer_finish_switch_fiber(now->asan_fake, &left->stack, &left->stack_size);
#endif
    (void)now;
    (void)left;
}
