/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * log: the error log. Lines as nginx writes them: `2026/01/31 12:00:00 [warn] text`.
 *
 * Any thread. A line is formatted on the caller's stack (2 KB at most, control bytes escaped) and
 * written with one write(2). Traffic code logs at most a bounded number of lines a second: see
 * log_rate().
 */
#include "base/str.h"

/* clang-format off */
#define LOG_LEVELS(X) \
    X(DEBUG, "debug") \
    X(INFO, "info") \
    X(NOTICE, "notice") \
    X(WARN, "warn") \
    X(ERROR, "error") \
    X(CRIT, "crit") \
    X(ALERT, "alert") \
    X(EMERG, "emerg")
/* clang-format on */
enum log_level {
#define X(id, name) LOG_##id,
    LOG_LEVELS(X)
#undef X
};

/* Where lines go and from which level; fd is kept open. The start is fd 2, notice. */
void log_to(int fd, enum log_level least);
/* Reopen path (append) and use it; -errno when that fails, and the old one stays. */
int log_open(const char *path, enum log_level least);
/* The level of a name of config.yaml ("warn", "error" ...), -1 when unknown. */
int log_level_of(struct str name);
extern enum log_level log_least;
#define LOG_LEAST() __atomic_load_n(&log_least, __ATOMIC_RELAXED)
/* The descriptor lines go to. */
int log_fd(void);
void log_write(enum log_level l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Lines written since start at error or above (tests and status look at it). */
uint64_t log_errors(void);

#define LOG(level, ...)                                                                            \
    do {                                                                                           \
        if (LOG_##level >= LOG_LEAST()) {                                                          \
            log_write(LOG_##level, __VA_ARGS__);                                                   \
        }                                                                                          \
    } while (0)
/* At most ten lines a second from this place and thread; what was left out is counted in the next
 * line. */
#define LOG_RATE(level, ...)                                                                       \
    do {                                                                                           \
        static _Thread_local struct log_rate log_rate_here;                                        \
        if (LOG_##level >= LOG_LEAST() && log_rate_ok(&log_rate_here)) {                           \
            log_write(LOG_##level, __VA_ARGS__);                                                   \
        }                                                                                          \
    } while (0)
struct log_rate {
    int64_t second;
    unsigned n;
};
bool log_rate_ok(struct log_rate *r);
