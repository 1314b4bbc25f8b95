/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * switch: from one stack to another. Inside knowledge of fiber.c.
 *
 * A stack that does not run keeps its callee-saved registers on itself, and its stack pointer in
 * struct context. The layout on the stack is known here, in the two assembly files, and in
 * tools/gdb_fibers.py.
 */
#include <stddef.h>
#include <stdint.h>

struct context {
    void *sp;
    /* What the sanitizers want to know; unused without them. */
    void *asan_fake;
    const void *stack;
    size_t stack_size;
    void *tsan;
};

/* Save the callee-saved registers on this stack and its pointer in *save, go on at to. */
void fiber_switch(void **save, void *to);
/* Where a new stack begins: calls fiber_main(), which never returns. Ends each backtrace. */
void fiber_entry(void);
_Noreturn void fiber_main(void);

/* Lay out a stack that ends at top (16-byte aligned) so that switching to it enters fiber_entry().
 */
static inline void *switch_prepare(void *top)
{
#if defined(__x86_64__)
    enum { WORDS = 8, RETURN = 7 };
    uintptr_t *sp = (uintptr_t *)top - WORDS;
    uint32_t mxcsr;
    uint16_t fpcw;

    __asm__("stmxcsr %0" : "=m"(mxcsr));
    __asm__("fnstcw %0" : "=m"(fpcw));
#elif defined(__aarch64__)
    enum { WORDS = 20, RETURN = 11 };
    uintptr_t *sp = (uintptr_t *)top - WORDS;
#else
#error "fiber: no context switch for this processor"
#endif
    for (int i = 0; i < WORDS; i++) {
        sp[i] = 0;
    }
    sp[RETURN] = (uintptr_t)fiber_entry;
#if defined(__x86_64__)
    sp[0] = (uintptr_t)mxcsr | (uintptr_t)fpcw << 32;
#endif
    return sp;
}
