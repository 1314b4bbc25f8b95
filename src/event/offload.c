/* SPDX-License-Identifier: Apache-2.0 */
/*
 * offload: helper threads for what cannot be asynchronous. One queue for the process; a job lives
 * on the stack of the fiber that waits for it and comes back as mail.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "event/await.h"
#include "fiber/fiber.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

struct job {
    struct mail mail;
    struct list link;
    void (*fn)(void *arg);
    void *arg;
    struct loop *loop;
    struct fiber *fiber;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t some = PTHREAD_COND_INITIALIZER;
static struct list queue = LIST_INIT(queue);
static bool ending;
static pthread_t *helpers;
static unsigned helper_count;
static atomic_uint posting; /* helpers that send a job back at this moment */

/* The next job; NULL at the end. */
static struct job *job_take(void)
{
    pthread_mutex_lock(&lock);
    while (list_is_empty(&queue) && !ending) {
        pthread_cond_wait(&some, &lock);
    }
    struct list *l = list_pop(&queue);
    pthread_mutex_unlock(&lock);
    return l != NULL ? CONTAINER_OF(l, struct job, link) : NULL;
}

static void *helper_main(void *arg)
{
    for (struct job *j; (j = job_take()) != NULL;) {
        j->fn(j->arg);
        atomic_fetch_add(&posting, 1);
        loop_post(j->loop, &j->mail);
        atomic_fetch_sub(&posting, 1);
    }
    return NULL;
}

int offload_init(unsigned n)
{
    sigset_t all, before;
    int rc = 0;

    ASSERT(helpers == NULL && n > 0);
    helpers = mem_alloc(n * sizeof(*helpers));
    ending = false;
    /* Signals are for the threads with a loop. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (helper_count = 0; helper_count < n && rc == 0; helper_count += rc == 0) {
        rc = pthread_create(&helpers[helper_count], NULL, helper_main, NULL);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        offload_fini();
    }
    return -rc;
}

void offload_settle(void)
{
    while (atomic_load(&posting) > 0) {
        sched_yield();
    }
}

void offload_fini(void)
{
    pthread_mutex_lock(&lock);
    ending = true;
    pthread_cond_broadcast(&some);
    pthread_mutex_unlock(&lock);
    for (unsigned i = 0; i < helper_count; i++) {
        pthread_join(helpers[i], NULL);
    }
    free(helpers);
    helpers = NULL;
    helper_count = 0;
}

static void job_done(struct mail *m)
{
    fiber_wake(CONTAINER_OF(m, struct job, mail)->fiber, 0);
}

int await_offload(void (*fn)(void *arg), void *arg)
{
    struct job j = {
        .mail.fn = job_done, .fn = fn, .arg = arg, .loop = loop_self(), .fiber = fiber_self()};

    if (fiber_must_end()) {
        return -ECANCELED;
    }
    if (helper_count == 0) {
        fn(arg);
        return 0;
    }
    pthread_mutex_lock(&lock);
    list_add_tail(&queue, &j.link);
    pthread_cond_signal(&some);
    pthread_mutex_unlock(&lock);
    /* The helper has a pointer to this stack: nothing may end the wait but the helper. */
    fiber_shield(true);
    fiber_park();
    fiber_shield(false);
    return fiber_must_end() ? -ECANCELED : 0;
}
