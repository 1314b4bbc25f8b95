/* SPDX-License-Identifier: Apache-2.0 */
/* loop: the turn, and the mailbox. */
#include "event/loop.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "event/io_ops.h"
#include "fiber/fiber.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct loop {
    _Atomic(struct mail *) box; /* last posted first */
    int wake_fd;
    atomic_bool stop;
    unsigned turn_fns;
    struct {
        void (*fn)(void *arg);
        void *arg;
    } turn_fn[LOOP_TURN_FNS];
};

static _Thread_local struct loop *self;
_Thread_local const struct io_ops *io_ops;
_Thread_local struct io_stats io_stats;

static enum loop_engine wanted = LOOP_EPOLL;

void loop_set_engine(enum loop_engine engine)
{
    wanted = engine;
}

const char *loop_engine(void)
{
    return io_ops->name;
}

static void say_fallback(int rc)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;

    if (!atomic_flag_test_and_set(&said)) {
        LOG(NOTICE, "io_uring is not available (%s), using epoll", strerror(-rc));
    }
}

static int engine_init(const struct io_ops *ops)
{
    io_ops = ops;
    return ops->init();
}

/* The only way to know whether a ring works is to make one; but valgrind, which does not see what
 * the kernel writes into it, would wait for ever. */
static int engine_start(void)
{
    if (wanted == LOOP_EPOLL || (wanted == LOOP_AUTO && fiber_on_valgrind())) {
        return engine_init(&io_epoll);
    }
    int rc = engine_init(&io_uring);
    if (rc < 0 && wanted == LOOP_AUTO) {
        say_fallback(rc);
        rc = engine_init(&io_epoll);
    }
    return rc;
}

int loop_init(void)
{
    ASSERT(self == NULL);
    signal(SIGPIPE, SIG_IGN);
    clock_tick();
    int rc = engine_start();
    if (rc < 0) {
        io_ops = NULL;
        return rc;
    }
    wheel_init();
    await_thread_init();
    self = mem_alloc(sizeof(*self));
    self->wake_fd = io_ops->wake_fd();
    return 0;
}

void loop_fini(void)
{
    ASSERT(self != NULL);
    offload_settle();
    wheel_fini();
    io_ops->fini();
    io_ops = NULL;
    free(self);
    self = NULL;
}

struct loop *loop_self(void)
{
    return self;
}

static void loop_wake(struct loop *l)
{
    /* The only error there is says that the counter is full: then the loop is being woken. */
    while (write(l->wake_fd, &(uint64_t){1}, 8) < 0 && errno == EINTR) {
    }
}

void loop_post(struct loop *l, struct mail *m)
{
    struct mail *first = atomic_load_explicit(&l->box, memory_order_relaxed);

    do {
        m->next = first;
    } while (!atomic_compare_exchange_weak_explicit(&l->box, &first, m, memory_order_release,
                                                    memory_order_relaxed));
    /* m may have been delivered and freed by now; l is there because of what loop_fini() demands.
     */
    if (first == NULL) {
        loop_wake(l);
    }
}

/* Deliver what has been posted up to now, oldest first. */
static void run_mail(struct loop *l)
{
    struct mail *m = atomic_exchange_explicit(&l->box, NULL, memory_order_acquire);
    struct mail *oldest = NULL;

    while (m != NULL) {
        struct mail *next = m->next;
        m->next = oldest;
        oldest = m;
        m = next;
    }
    while (oldest != NULL) {
        struct mail *next = oldest->next;
        oldest->fn(oldest);
        oldest = next;
    }
}

void loop_stop(struct loop *l)
{
    int saved = errno;

    atomic_store(&l->stop, true);
    loop_wake(l);
    errno = saved;
}

void loop_on_turn(void (*fn)(void *arg), void *arg)
{
    ASSERT(self->turn_fns < LOOP_TURN_FNS);
    self->turn_fn[self->turn_fns].fn = fn;
    self->turn_fn[self->turn_fns++].arg = arg;
}

/* One turn; busy: there is work that waits for the next one. */
static bool loop_turn(struct loop *l, bool busy)
{
    io_ops->wait(busy ? 0 : wheel_timeout());
    io_stats.turns++;
    wheel_run();
    if (atomic_load_explicit(&l->box, memory_order_relaxed) != NULL) {
        run_mail(l);
    }
    fiber_run_ready();
    io_ops->run_watches();
    fiber_run_ready();
    for (unsigned i = 0; i < l->turn_fns; i++) {
        l->turn_fn[i].fn(l->turn_fn[i].arg);
    }
    return io_ops->has_watches() || fiber_has_ready();
}

void loop_run(void)
{
    struct loop *l = self;
    /* What was started or posted before is not announced by any event. */
    bool busy = true;

    ASSERT(l != NULL && fiber_self() == NULL);
    clock_tick();
    while (!atomic_load_explicit(&l->stop, memory_order_relaxed)) {
        busy = loop_turn(l, busy);
    }
    atomic_store(&l->stop, false);
}
