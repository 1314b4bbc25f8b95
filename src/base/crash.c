/* SPDX-License-Identifier: Apache-2.0 */
/* crash: see crash.h. */
#include "base/crash.h"

#include "base/assert.h"
#include "base/log.h"

#include <execinfo.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* The sanitizers handle crashes themselves, and say more. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif

#ifdef HAS_SANITIZER

void crash_thread_init(void)
{
}

void crash_install(void)
{
}

#else

#define ALT_STACK 65536

static void say(const char *text)
{
    ssize_t n = write(log_fd(), text, strlen(text));
    (void)n;
}

static const char *name_of(int signo)
{
    switch (signo) {
    case SIGSEGV:
        return "SIGSEGV";
    case SIGBUS:
        return "SIGBUS";
    case SIGFPE:
        return "SIGFPE";
    case SIGILL:
        return "SIGILL";
    default:
        return "SIGABRT";
    }
}

static void on_crash(int signo)
{
    void *frames[64];
    say("[alert] the gateway process died of ");
    say(name_of(signo));
    say("; backtrace:\n");
    backtrace_symbols_fd(frames, backtrace(frames, 64), log_fd());
    signal(signo, SIG_DFL);
    raise(signo);
}

void crash_thread_init(void)
{
    const stack_t alt = {.ss_sp = malloc(ALT_STACK), .ss_size = ALT_STACK};
    ASSERT(alt.ss_sp != NULL);
    sigaltstack(&alt, NULL);
}

void crash_install(void)
{
    void *frame;
    backtrace(&frame, 1); /* loads libgcc now: it must not be loaded from a handler */
    const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | SA_RESETHAND};
    for (size_t i = 0; i < LENGTH_OF(signals); i++) {
        sigaction(signals[i], &action, NULL);
    }
    crash_thread_init();
}

#endif
