/* SPDX-License-Identifier: Apache-2.0 */
/* relay: see relay.h. */
#include "event/relay.h"

#include "base/mem.h"
#include "event/io_ops.h"
#include "event/lend.h"

#include <errno.h>
#include <stdlib.h>

/* Reads of one way in a row: others want a turn too. */
#define READS_MAX 4

static bool is_stuck(const struct relay_way *w)
{
    return w->rest != NULL;
}

static void way_clear(struct relay_way *w)
{
    free(w->rest);
    w->rest = NULL;
}

void relay_stop(struct relay *r)
{
    timer_stop(&r->timer);
    r->over = true;
    for (int i = 0; i < 2; i++) {
        struct io *io = r->way[i].from;
        if (io != NULL && io->relay == r) {
            io_watch(io, NULL);
            io->relay = NULL;
        }
        way_clear(&r->way[i]);
        r->way[i].from = NULL;
    }
}

/* Told from the timer: whoever delivers an event still has the io in hand. */
void relay_end(struct relay *r, int64_t at)
{
    relay_stop(r);
    timer_start(&r->timer, at);
}

/* ---- one way; a result below 0 ends the relay ---- */

static int keep_rest(struct relay_way *w, struct str bytes)
{
    w->rest = memcpy(mem_resize(NULL, bytes.n), bytes.p, bytes.n);
    w->rest_at = 0;
    w->rest_n = (uint32_t)bytes.n;
    io_ops->want_write(w->to);
    return 0;
}

/* What was kept goes out: 1 all of it, 0 not all. */
static int put_rest(struct relay_way *w)
{
    ssize_t put = stream_put(w->to, w->rest + w->rest_at, w->rest_n - w->rest_at);

    if (put < 0) {
        return (int)put;
    }
    w->rest_at += (uint32_t)put;
    w->moved_ms = put > 0 ? now_ms() : w->moved_ms;
    if (w->rest_at < w->rest_n) {
        io_ops->want_write(w->to);
        return 0;
    }
    way_clear(w);
    return 1;
}

/* 1: some was carried and there may be more; 0: not now. */
static int carry_some(struct relay_way *w)
{
    struct str run;
    int n = w->from->readable ? io_ops->take_lent(w->from, &run) : -EAGAIN;

    if (n <= 0) {
        if (n == 0) {
            w->ended = true;
            shutdown(w->to->fd, SHUT_WR);
        }
        return n == -EAGAIN ? 0 : n;
    }
    w->bytes += run.n;
    w->moved_ms = now_ms();
    ssize_t put = stream_put(w->to, run.p, run.n);
    if (put < 0) {
        return (int)put;
    }
    return (size_t)put < run.n ? keep_rest(w, str_skip(run, (size_t)put)) : 1;
}

static void on_readable(struct io *io);

static int carry(struct relay_way *w)
{
    int rc = is_stuck(w) ? put_rest(w) : 1;

    for (int i = 0; rc == 1 && i < READS_MAX; i++) {
        rc = carry_some(w);
    }
    lend_expire();
    if (rc >= 0 && !w->ended && !is_stuck(w)) {
        io_watch(w->from, on_readable);
    }
    return rc;
}

/* ---- events ---- */

static void run(struct relay *r, struct relay_way *w)
{
    if (carry(w) < 0 || (r->way[0].ended && r->way[1].ended)) {
        relay_end(r, now_ms());
    }
}

static void on_readable(struct io *io)
{
    struct relay *r = io->relay;

    run(r, &r->way[r->way[1].from == io]);
}

void relay_writable(struct io *io)
{
    struct relay *r = io->relay;
    struct relay_way *w = &r->way[r->way[1].to == io];

    if (is_stuck(w)) {
        run(r, w);
    }
}

/* When it will have been idle for too long. */
static int64_t limit(const struct relay *r)
{
    const struct relay_way *a = &r->way[0], *b = &r->way[1];
    int64_t moved = a->moved_ms > b->moved_ms ? a->moved_ms : b->moved_ms;

    for (int i = 0; i < 2; i++) {
        const struct relay_way *w = &r->way[i];
        moved = is_stuck(w) && w->moved_ms < moved ? w->moved_ms : moved;
    }
    return moved + r->idle_ms;
}

/* Not moved with every byte: it looks whether there was one when it fires. */
static void on_timer(struct timer *t)
{
    struct relay *r = CONTAINER_OF(t, struct relay, timer);

    if (r->over || limit(r) <= now_ms()) {
        relay_stop(r);
        r->on_end(r);
        return;
    }
    timer_start(t, limit(r));
}

void relay_start(struct relay *r, struct io *a, struct io *b, int64_t idle_ms,
                 void (*on_end)(struct relay *r))
{
    const int64_t now = now_ms();

    *r = (struct relay){
        .way = {{.from = a, .to = b, .moved_ms = now}, {.from = b, .to = a, .moved_ms = now}},
        .idle_ms = idle_ms,
        .on_end = on_end};
    a->relay = b->relay = r;
    timer_init(&r->timer, on_timer);
    timer_start(&r->timer, limit(r));
    io_watch(a, on_readable);
    io_watch(b, on_readable);
}
