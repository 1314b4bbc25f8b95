/* SPDX-License-Identifier: Apache-2.0 */
/* access_log: see access_log.h. The format is compiled once into literals and variables. */
#include "gateway/access_log.h"

#include "base/assert.h"
#include "base/log.h"
#include "fiber/fiber.h"
#include "gateway/gateway.h"
#include "gateway/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define LINE_MAX_BYTES 32768
#define PIECES_MAX 128
#define FLUSH_MS 3000

struct piece {
    struct str literal; /* when p is set */
    struct var var;
};

struct batch {
    char *p;
    size_t n;
};

struct access_log {
    int fd;
    bool json; /* escape=json */
    struct arena *arena;
    struct piece pieces[PIECES_MAX];
    unsigned n_pieces;
    size_t cap; /* of a batch; a flush starts when less than a line is left */
    struct batch fill, writing;
    bool busy; /* a helper thread writes `writing` */
    uint64_t dropped;
    struct timer timer;
};

/* "$name" and "${name}" are variables, the rest is text. */
static void compile(struct access_log *l, struct str f)
{
    while (f.n > 0 && l->n_pieces < PIECES_MAX) {
        struct piece *p = &l->pieces[l->n_pieces++];
        size_t n = 0;
        if (f.p[0] != '$' || f.n == 1) {
            ptrdiff_t next = str_index(str_skip(f, 1), '$');
            n = next < 0 ? f.n : (size_t)next + 1;
            p->literal = arena_str(l->arena, str_head(f, n));
            f = str_skip(f, n);
            continue;
        }
        bool braces = f.p[1] == '{';
        f = str_skip(f, braces ? 2 : 1);
        while (n < f.n && (f.p[n] == '_' || (f.p[n] >= '0' && f.p[n] <= '9') ||
                           (ascii_lower(f.p[n]) >= 'a' && ascii_lower(f.p[n]) <= 'z'))) {
            n++;
        }
        p->var = var_compile(l->arena, str_head(f, n));
        f = str_skip(f, n + (braces && n < f.n && f.p[n] == '}'));
    }
}

/* A thread without fibers cannot offload: the loop's timer starts a fiber for the write. */
static void write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR) {
            continue;
        }
        if (w <= 0) {
            return;
        }
        p += w;
        n -= (size_t)w;
    }
}

static void write_batch(void *arg)
{
    struct access_log *l = arg;
    write_all(l->fd, l->writing.p, l->writing.n);
}

static void flush_main(void *arg)
{
    struct access_log *l = arg;
    fiber_shield(true);
    await_offload(write_batch, l);
    fiber_shield(false);
    l->writing.n = 0;
    l->busy = false;
}

void access_log_flush(struct access_log *l)
{
    if (l->busy || l->fill.n == 0) {
        return;
    }
    struct batch full = l->fill;
    l->fill = l->writing;
    l->writing = full;
    l->busy = true;
    if (fiber_start("access log", flush_main, l) == NULL) {
        write_batch(l);
        l->writing.n = 0;
        l->busy = false;
    }
}

static void on_timer(struct timer *t)
{
    access_log_flush(CONTAINER_OF(t, struct access_log, timer));
    timer_start(t, deadline_in(FLUSH_MS));
}

struct access_log *access_log_new(const struct settings *s)
{
    if (!s->access_log_enabled) {
        return NULL;
    }
    char path[4096];
    snprintf(path, sizeof(path), "%.*s", STR_ARG(s->access_log));
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        LOG(ERROR, "cannot open the access log %s: %s", path, strerror(errno));
        return NULL;
    }
    struct access_log *l = calloc(1, sizeof(*l));
    ASSERT(l != NULL);
    l->fd = fd;
    l->json = s->access_log_json_escape;
    l->arena = arena_new(4096);
    l->cap = (size_t)s->access_log_buffer + 2 * LINE_MAX_BYTES;
    l->fill.p = malloc(l->cap);
    l->writing.p = malloc(l->cap);
    ASSERT(l->fill.p && l->writing.p);
    compile(l, s->access_log_format);
    timer_init(&l->timer, on_timer);
    timer_start(&l->timer, deadline_in(FLUSH_MS));
    return l;
}

void access_log_free(struct access_log *l)
{
    if (l == NULL) {
        return;
    }
    timer_stop(&l->timer);
    if (l->busy) {
        return; /* the thread ends, and a helper still writes: it is left to the end of the process
                 */
    }
    write_all(l->fd, l->fill.p, l->fill.n);
    close(l->fd);
    free(l->fill.p);
    free(l->writing.p);
    arena_free(l->arena);
    free(l);
}

static void retire_main(void *arg)
{
    struct access_log *l = arg;
    fiber_shield(true);
    while (l->busy) {
        await_until(deadline_in(10));
    }
    fiber_shield(false);
    access_log_free(l);
}

void access_log_retire(struct access_log *l)
{
    if (fiber_start("access log", retire_main, l) == NULL) {
        access_log_free(l);
    }
}

uint64_t access_log_dropped(const struct access_log *l)
{
    return l->dropped;
}

/* The letter of a control byte that has a short escape in JSON, else 0. */
static char json_letter(unsigned char c)
{
    switch (c) {
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

/* nginx' escaping: default writes \xXX for ", \ and control or high bytes; json as JSON strings
 * have it. */
static char *put_escaped(char *o, const char *end, struct str s, bool json)
{
    static const char upper[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n && o + 6 < end; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x7f || json)) {
            *o++ = (char)c;
        } else if (!json) {
            *o++ = '\\';
            *o++ = 'x';
            *o++ = upper[c >> 4];
            *o++ = upper[c & 15];
        } else if (c == '"' || c == '\\' || json_letter(c)) {
            *o++ = '\\';
            *o++ = json_letter(c) ? json_letter(c) : (char)c;
        } else {
            memcpy(o, "\\u00", 4);
            o[4] = upper[c >> 4];
            o[5] = upper[c & 15];
            o += 6;
        }
    }
    return o;
}

static char *put_piece(struct access_log *l, struct req *r, const struct piece *p, char *o,
                       const char *end)
{
    if (p->literal.p) {
        size_t n = p->literal.n < (size_t)(end - o) ? p->literal.n : (size_t)(end - o);
        memcpy(o, p->literal.p, n);
        return o + n;
    }
    struct value v = var_get(r, &p->var);
    struct str s = v.kind == VALUE_STR ? v.s : value_text(r->arena, &v);
    if (s.p == NULL || (s.n == 0 && !l->json)) {
        s = l->json ? STR("") : STR("-");
    }
    return put_escaped(o, end, s, l->json);
}

void access_log_add(struct access_log *l, struct req *r)
{
    if (l->cap - l->fill.n < LINE_MAX_BYTES) {
        access_log_flush(l);
        if (l->cap - l->fill.n < LINE_MAX_BYTES) {
            l->dropped++;
            return;
        }
    }
    char *start = l->fill.p + l->fill.n, *o = start;
    const char *end = start + LINE_MAX_BYTES - 1;
    for (unsigned i = 0; i < l->n_pieces; i++) {
        o = put_piece(l, r, &l->pieces[i], o, end);
    }
    *o++ = '\n';
    l->fill.n += (size_t)(o - start);
    if (l->fill.n + 2 * LINE_MAX_BYTES > l->cap) {
        access_log_flush(l);
    }
}

void access_log_request(struct req *r)
{
    struct core *core = core_of(r);
    if (core && core->log) {
        access_log_add(core->log, r);
    }
}
