/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * relay: bytes between two connections, both ways, without a fiber: for tunnels that live long and
 * are mostly idle.
 *
 * Each way goes at the pace of its reader: what does not fit is kept, and nothing more is read
 * until it is out. A side that says it has no more to send is passed on as such, the other way may
 * go on. The relay has ended when both ways have, when one breaks, or when nothing has moved for
 * idle_ms: a way that is stuck counts for itself, one that is quiet together with the other.
 *
 * Owned by the caller, in place; one thread. The two io stay the caller's and must have no layer,
 * and nobody else may watch, read or write them until on_end().
 */
#include "event/await.h"

/* One way. */
struct relay_way {
    struct io *from, *to;
    uint64_t bytes;   /* that came from `from` */
    int64_t moved_ms; /* when bytes last came or went */
    char *rest;       /* what did not fit (heap), from rest_at to rest_n */
    uint32_t rest_at, rest_n;
    bool ended;
};

struct relay {
    struct relay_way way[2]; /* a to b, b to a */
    int64_t idle_ms;
    bool over; /* the timer is to tell */
    struct timer timer;
    void (*on_end)(struct relay *r);
};

/* on_end(r) is called on the loop, once, from a timer: it may close both and free r. */
void relay_start(struct relay *r, struct io *a, struct io *b, int64_t idle_ms,
                 void (*on_end)(struct relay *r));
/* Nothing is carried any more, and on_end() is not called. Harmless on one that has ended. */
void relay_stop(struct relay *r);
/* Stop, and call on_end(r) at that time (a now_ms() value), though it may have been called before.
 */
void relay_end(struct relay *r, int64_t at);

/* For io_stream.c: there is room in an io of a relay. */
void relay_writable(struct io *io);
