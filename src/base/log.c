/* SPDX-License-Identifier: Apache-2.0 */
/* log: one line, one write(2), so that lines of different threads never mix. */
#include "base/log.h"

#include "base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048, LINES_A_SECOND = 10 };

enum log_level log_least = LOG_NOTICE;

static int target_fd = 2;
static int own_fd = -1; /* what log_open() opened */
static uint64_t errors;

/* What log_rate_ok() held back, to be told in the next line of this thread. */
static _Thread_local unsigned left_out;

static const struct str level_names[] = {
#define X(id, name) [LOG_##id] = STR_INIT(name),
    LOG_LEVELS(X)
#undef X
};

void log_to(int fd, enum log_level least)
{
    __atomic_store_n(&target_fd, fd, __ATOMIC_RELAXED);
    __atomic_store_n(&log_least, least, __ATOMIC_RELAXED);
}

int log_open(const char *path, enum log_level least)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0) {
        return -errno;
    }
    if (own_fd < 0) {
        own_fd = fd;
    } else {
        /* The number stays, so that a thread in the middle of a write hits no stranger's file. */
        int rc = dup3(fd, own_fd, O_CLOEXEC) < 0 ? -errno : 0;
        close(fd);
        if (rc != 0) {
            return rc;
        }
    }
    log_to(own_fd, least);
    return 0;
}

int log_fd(void)
{
    return __atomic_load_n(&target_fd, __ATOMIC_RELAXED);
}

int log_level_of(struct str name)
{
    for (size_t i = 0; i < LENGTH_OF(level_names); i++) {
        if (str_eq(name, level_names[i])) {
            return (int)i;
        }
    }
    return -1;
}

/* "2026/01/31 12:00:00" of this second, in local time; formatted once a second and thread. */
static const char *time_text(void)
{
    static _Thread_local char text[32];
    static _Thread_local time_t second;
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME_COARSE, &ts);
    if (ts.tv_sec != second || text[0] == 0) {
        struct tm tm;
        second = ts.tv_sec;
        localtime_r(&second, &tm);
        strftime(text, sizeof(text), "%Y/%m/%d %H:%M:%S", &tm);
    }
    return text;
}

/* Copy s to out[room] with control bytes as \xHH, so that a line stays one line. Returns the
 * length. */
static size_t escape(char *out, size_t room, const char *s)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;

    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        bool plain = c >= 0x20 && c != 0x7f;
        if (n + (plain ? 1 : 4) > room) {
            break;
        }
        if (plain) {
            out[n++] = *s;
        } else {
            out[n++] = '\\';
            out[n++] = 'x';
            out[n++] = hex[c >> 4];
            out[n++] = hex[c & 15];
        }
    }
    return n;
}

static void write_line(const char *line, size_t n)
{
    int fd = __atomic_load_n(&target_fd, __ATOMIC_RELAXED);

    while (write(fd, line, n) < 0 && errno == EINTR) {
    }
}

void log_write(enum log_level l, const char *fmt, ...)
{
    char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES], more[48] = "";
    int saved_errno = errno;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (left_out) {
        snprintf(more, sizeof(more), " (%u lines like this left out)", left_out);
        left_out = 0;
    }
    int head = snprintf(line, sizeof(line), "%s [%s] ", time_text(), level_names[l].p);
    size_t tail = strlen(more), n = (size_t)head;
    n += escape(line + n, sizeof(line) - n - tail - 1, text);
    memcpy(line + n, more, tail);
    n += tail;
    line[n++] = '\n';
    if (l >= LOG_ERROR) {
        __atomic_fetch_add(&errors, 1, __ATOMIC_RELAXED);
    }
    write_line(line, n);
    errno = saved_errno;
}

uint64_t log_errors(void)
{
    return __atomic_load_n(&errors, __ATOMIC_RELAXED);
}

bool log_rate_ok(struct log_rate *r)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    if (r->second != ts.tv_sec) {
        left_out = r->n > LINES_A_SECOND ? r->n - LINES_A_SECOND : 0;
        *r = (struct log_rate){.second = ts.tv_sec};
    }
    return ++r->n <= LINES_A_SECOND;
}
