/* SPDX-License-Identifier: Apache-2.0 */
/* err: words for the author of a configuration. They end up in JSON, so a cut never splits a UTF-8
 * character. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

/* s holds n bytes and is about to be cut there: where the last whole character ends. */
static size_t utf8_cut(const char *s, size_t n)
{
    size_t at = n;

    while (at > 0 && n - at < 3 && ((unsigned char)s[at] & 0xc0) == 0x80) {
        at--;
    }
    return at;
}

/* Format into out[room]; returns the length of what stands there. */
static size_t format(char *out, size_t room, const char *fmt, va_list ap)
{
    /* One byte more than fits shows whether the first byte left out continues a character. */
    char text[sizeof(((struct err *)0)->msg) + 1];
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    size_t len = n < 0 ? 0 : (size_t)n;

    if (len >= room) {
        len = utf8_cut(text, room - 1);
    }
    memcpy(out, text, len);
    out[len] = 0;
    return len;
}

int err_set(struct err *e, const char *fmt, ...)
{
    va_list ap;

    if (!err_is_set(e)) {
        va_start(ap, fmt);
        format(e->msg, sizeof(e->msg), fmt, ap);
        va_end(ap);
    }
    return -1;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    struct err old = *e;
    va_list ap;

    va_start(ap, fmt);
    size_t n = format(e->msg, sizeof(e->msg), fmt, ap);
    va_end(ap);
    size_t rest = strlen(old.msg), room = sizeof(e->msg) - 1 - n;
    if (rest > room) {
        rest = utf8_cut(old.msg, room);
    }
    memcpy(e->msg + n, old.msg, rest);
    e->msg[n + rest] = 0;
    return -1;
}
