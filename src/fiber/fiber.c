/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fiber: stacks, the pool, who runs.
 *
 * struct fiber sits at the upper end of its own stack mapping, so that a stack and what describes
 * it are one allocation and share cache and TLB entries. A stack that has been used once stays
 * inside fiber_main(): starting the next fiber on it is a plain switch.
 */
#include "fiber/fiber.h"

#include "base/assert.h"
#include "fiber/sanitize.h"
#include "fiber/switch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* More than one page of 4 KB, so that a function with a few large locals cannot step over it. */
#define GUARD_LEAST (16 << 10)
#define ARENA_BLOCK (16 << 10)
/* Stacks are equally aligned, so the same depth of all of them would compete for the same cache
 * sets: they begin at one of COLOURS distances from the end of the mapping instead. */
#define COLOURS 8
#define COLOUR_BYTES 320

enum fiber_state { FIBER_IDLE, FIBER_RUNNING, FIBER_NESTING, FIBER_PARKED, FIBER_READY };

struct fiber {
    struct context ctx;
    enum fiber_state state;
    bool cancelled;
    unsigned shielded;
    int result;
    struct fiber *back; /* who started it and goes on when it parks; NULL: the thread's own stack */
    struct list link;   /* ready or pool */
    struct list alive;
    const char *name;
    void (*fn)(void *arg);
    void *arg;
    void (*on_cancel)(void *arg);
    void *cancel_arg;
    void *data;
    struct arena *arena;
    char *map;
    size_t map_size;
    unsigned valgrind_id;
    _Alignas(16) char room[FIBER_ROOM];
};

struct fiber_thread {
    struct context own;
    struct context *left; /* the stack the last switch came from */
    struct fiber *running;
    struct list ready, yielded, alive, pool;
    unsigned count, stacks, pooled, colour;
    long tid;
    struct fiber_thread *next; /* under threads_lock */
};

static _Thread_local struct fiber_thread thread;
/* All threads that have fibers; the debugger script starts here. */
static struct fiber_thread *fiber_threads;
static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static size_t stack_size = 64 << 10;
static _Thread_local size_t thread_stack_size; /* 0: the process' size */
static void (*room_fini)(struct fiber *f);

void fiber_set_stack_size(size_t bytes)
{
    stack_size = bytes;
}

bool fiber_on_valgrind(void)
{
    return sanitize_valgrind();
}

void fiber_set_thread_stack_size(size_t bytes)
{
    thread_stack_size = bytes;
}

void fiber_set_room_fini(void (*fini)(struct fiber *f))
{
    __atomic_store_n(&room_fini, fini, __ATOMIC_RELAXED);
}

static void thread_enter(void)
{
    list_init(&thread.ready);
    list_init(&thread.yielded);
    list_init(&thread.alive);
    list_init(&thread.pool);
    thread.tid = syscall(SYS_gettid);
    sanitize_thread(&thread.own);
    pthread_mutex_lock(&threads_lock);
    thread.next = fiber_threads;
    fiber_threads = &thread;
    pthread_mutex_unlock(&threads_lock);
}

/* ---- stacks ---- */

/* Not in the headers of older C libraries. */
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static size_t whole_pages(size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (n + page - 1) / page * page;
}

/*
 * Make [p, p + n) fault. Linux 6.13 can mark pages inside a mapping: then all stacks are
 * one mapping to the kernel, and their number is not limited by vm.max_map_count. Whether the
 * advice was understood is tried out once, because emulators answer 0 to any advice.
 */
static int guard_install(char *p, size_t n)
{
    static _Atomic int marks = -1;
    int known = atomic_load_explicit(&marks, memory_order_relaxed);

    if (known < 0 && sanitize_valgrind()) {
        /* It would read the page that the trial below is about. */
        atomic_store_explicit(&marks, known = 0, memory_order_relaxed);
    }
    if (known != 0 && madvise(p, n, MADV_GUARD_INSTALL) == 0) {
        if (known < 0) {
            known = syscall(SYS_faccessat, AT_FDCWD, p, F_OK) < 0 && errno == EFAULT;
            atomic_store_explicit(&marks, known, memory_order_relaxed);
        }
        if (known) {
            return 0;
        }
    }
    return mprotect(p, n, PROT_NONE);
}

static struct fiber *stack_new(void)
{
    size_t guard = whole_pages(GUARD_LEAST);
    size_t size = whole_pages(
        guard + (thread_stack_size ? thread_stack_size : stack_size) * FIBER_STACK_FACTOR +
        COLOURS * COLOUR_BYTES + sizeof(struct fiber));

    char *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) {
        return NULL;
    }
    if (guard_install(map, guard) != 0) {
        munmap(map, size);
        return NULL;
    }
    size_t colour = (size_t)(thread.colour++ % COLOURS) * COLOUR_BYTES;
    struct fiber *f = (struct fiber *)(void *)(map + size - colour - sizeof(struct fiber));
    f = (struct fiber *)((uintptr_t)f & ~(uintptr_t)63);
    f->map = map;
    f->map_size = size;
    f->arena = arena_new(ARENA_BLOCK);
    f->ctx.sp = switch_prepare(f);
    char *low = map + guard;
    f->valgrind_id = sanitize_stack_new(&f->ctx, low, (size_t)((char *)f - low));
    list_init(&f->link);
    list_init(&f->alive);
    thread.stacks++;
    return f;
}

static void stack_free(struct fiber *f)
{
    void (*fini)(struct fiber *) = __atomic_load_n(&room_fini, __ATOMIC_RELAXED);

    if (fini != NULL) {
        fini(f);
    }
    arena_free(f->arena);
    sanitize_stack_free(&f->ctx, f->valgrind_id);
    thread.stacks--;
    munmap(f->map, f->map_size);
}

static struct fiber *stack_take(void)
{
    struct list *l = list_pop(&thread.pool);

    if (l == NULL) {
        return stack_new();
    }
    thread.pooled--;
    return CONTAINER_OF(l, struct fiber, link);
}

/* What the pool does not want is unmapped by fiber_start() or fiber_run_ready() later: nobody can
 * unmap the stack it stands on. So the pool may exceed its limit for that moment. */
static void pool_trim(void)
{
    while (thread.pooled > FIBER_POOL) {
        struct fiber *coldest = CONTAINER_OF(thread.pool.prev, struct fiber, link);
        list_del(&coldest->link);
        thread.pooled--;
        stack_free(coldest);
    }
}

/* ---- switching ---- */

static void context_switch(struct context *from, struct context *to, bool ends)
{
    thread.left = from;
    sanitize_leave(from, to, ends);
    fiber_switch(&from->sp, to->sp);
    sanitize_enter(from, thread.left);
}

/* Run f until it parks or ends. */
static void fiber_resume(struct fiber *f)
{
    struct fiber *me = thread.running;

    f->back = me;
    f->state = FIBER_RUNNING;
    thread.running = f;
    if (me != NULL) {
        me->state = FIBER_NESTING;
    }
    context_switch(me != NULL ? &me->ctx : &thread.own, &f->ctx, false);
    if (me != NULL) {
        me->state = FIBER_RUNNING;
    }
    thread.running = me;
}

static void fiber_leave(struct fiber *f, bool ends)
{
    context_switch(&f->ctx, f->back != NULL ? &f->back->ctx : &thread.own, ends);
}

static void fiber_end(struct fiber *f)
{
    ASSERT(f->shielded == 0);
    arena_reset(f->arena);
    list_del(&f->alive);
    thread.count--;
    f->state = FIBER_IDLE;
    f->data = NULL;
    list_add(&thread.pool, &f->link);
    thread.pooled++;
}

#if FIBER_ASAN
__attribute__((no_sanitize("address")))
#endif
_Noreturn void
fiber_main(void)
{
    struct fiber *f = thread.running;

    sanitize_enter(&f->ctx, thread.left);
    for (;;) {
        f->fn(f->arg);
        fiber_end(f);
        fiber_leave(f, true);
    }
}

struct fiber *fiber_start(const char *name, void (*fn)(void *arg), void *arg)
{
    if (thread.tid == 0) {
        thread_enter();
    }
    struct fiber *f = stack_take();
    if (f == NULL) {
        return NULL;
    }
    f->name = name;
    f->fn = fn;
    f->arg = arg;
    f->cancelled = false;
    list_add(&thread.alive, &f->alive);
    thread.count++;
    fiber_resume(f);
    pool_trim();
    return f;
}

struct fiber *fiber_self(void)
{
    return thread.running;
}

bool fiber_is_nested(void)
{
    return thread.running != NULL && thread.running->back != NULL;
}

int fiber_park(void)
{
    struct fiber *f = thread.running;

    ASSERT(f != NULL);
    if (f->cancelled && f->shielded == 0) {
        f->on_cancel = NULL;
        return -ECANCELED;
    }
    f->state = FIBER_PARKED;
    fiber_leave(f, false);
    f->on_cancel = NULL;
    return f->result;
}

static void ready_add(struct fiber *f, int result)
{
    f->state = FIBER_READY;
    f->result = result;
    list_add_tail(&thread.ready, &f->link);
}

int fiber_yield(void)
{
    struct fiber *f = thread.running;

    ASSERT(f != NULL);
    if (fiber_must_end()) {
        return -ECANCELED;
    }
    f->state = FIBER_READY;
    f->result = 0;
    list_add_tail(&thread.yielded, &f->link);
    fiber_leave(f, false);
    return f->result;
}

void fiber_wake(struct fiber *f, int result)
{
    ASSERT(f->state == FIBER_PARKED);
    ready_add(f, result);
}

bool fiber_is_parked(const struct fiber *f)
{
    return f->state == FIBER_PARKED;
}

void fiber_interrupt(struct fiber *f, int result)
{
    if (f->state == FIBER_READY) {
        f->result = result;
    }
    if (f->state != FIBER_PARKED) {
        return;
    }
    if (f->on_cancel != NULL) {
        f->on_cancel(f->cancel_arg);
        f->on_cancel = NULL;
    }
    ready_add(f, result);
}

void fiber_cancel(struct fiber *f)
{
    f->cancelled = true;
    if (f->state == FIBER_PARKED && f->shielded == 0) {
        fiber_interrupt(f, -ECANCELED);
    }
}

bool fiber_is_cancelled(const struct fiber *f)
{
    return f->cancelled;
}

bool fiber_must_end(void)
{
    return thread.running->cancelled && thread.running->shielded == 0;
}

void fiber_shield(bool on)
{
    struct fiber *f = thread.running;

    ASSERT(on || f->shielded > 0);
    f->shielded += on ? 1U : -1U;
}

void fiber_on_cancel(void (*on_cancel)(void *arg), void *arg)
{
    thread.running->on_cancel = on_cancel;
    thread.running->cancel_arg = arg;
}

struct arena *fiber_arena(void)
{
    return thread.running->arena;
}

void *fiber_data(const struct fiber *f)
{
    return f->data;
}

void fiber_set_data(struct fiber *f, void *data)
{
    f->data = data;
}

void *fiber_room(struct fiber *f)
{
    return f->room;
}

bool fiber_has_ready(void)
{
    return thread.tid != 0 && !(list_is_empty(&thread.ready) && list_is_empty(&thread.yielded));
}

void fiber_run_ready(void)
{
    ASSERT(thread.running == NULL);
    if (thread.tid == 0) {
        return;
    }
    for (struct list *l; (l = list_pop(&thread.yielded)) != NULL;) {
        list_add_tail(&thread.ready, l);
    }
    for (unsigned i = 0; i < FIBER_RUNS; i++) {
        struct list *l = list_pop(&thread.ready);
        if (l == NULL) {
            break;
        }
        fiber_resume(CONTAINER_OF(l, struct fiber, link));
    }
    pool_trim();
}

unsigned fiber_count(void)
{
    return thread.count;
}

unsigned fiber_stacks(void)
{
    return thread.stacks;
}

static void thread_leave(void)
{
    pthread_mutex_lock(&threads_lock);
    for (struct fiber_thread **at = &fiber_threads; *at != NULL; at = &(*at)->next) {
        if (*at == &thread) {
            *at = thread.next;
            break;
        }
    }
    pthread_mutex_unlock(&threads_lock);
    thread.tid = 0;
}

void fiber_thread_fini(void)
{
    ASSERT(thread.running == NULL);
    if (thread.tid == 0) {
        return;
    }
    for (struct list *l; (l = list_pop(&thread.pool)) != NULL;) {
        stack_free(CONTAINER_OF(l, struct fiber, link));
    }
    thread.pooled = 0;
    thread_leave();
}
