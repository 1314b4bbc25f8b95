/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * h2_client: exchanges with an upstream over HTTP/2, several at a time on one connection. What the
 * gateway does with an exchange it does through http/client.h, as with HTTP/1.1.
 *
 * There is no fiber for a connection. Of the fibers that wait for something of it, one reads and
 * hands out what it finds; when it has what it waits for, another one goes on reading. When nobody
 * waits the connection is watched, so that it answers the upstream's pings and hears of its end.
 * Bytes to write are gathered by the session; whoever finds some writes all of them.
 *
 * Bounds: what an upstream sends ahead of its reader is held by its stream's window; what we send
 * is held back by the upstream's windows. One thread.
 */
#include "http/client.h"
#include "proto/h2.h"

/* A connection. */
struct h2_client {
    struct io *io; /* connected; not ours */
    struct h2_session *s;
    int error;      /* why it is over, negative errno; 0: it is not */
    bool retired;   /* begins no more exchanges: the upstream is going, or does not answer */
    bool doubted;   /* an answer is overdue, and nothing has come since */
    unsigned users; /* exchanges on it, and fibers that serve it */
    /* The last user has left. May free it. */
    void (*on_unused)(struct h2_client *c);
    /* ---- */
    bool reading, writing;
    struct list exchanges; /* h2_exchange.link */
    struct list waiting;   /* those whose fibers wait while another one reads */
    struct cond written;
};

/* Begin on io: the preface goes out with the first request. limits must outlive c. */
void h2_client_init(struct h2_client *c, struct io *io, const struct h2_limits *limits,
                    void (*on_unused)(struct h2_client *c));
/* No user is left. io stays the caller's. */
void h2_client_fini(struct h2_client *c);
/* Close it under its users, who leave when they run next. */
void h2_client_break(struct h2_client *c);
/* May another exchange begin at this moment? */
bool h2_client_has_room(const struct h2_client *c);

/* An exchange of c, of which it is a user until h2_exchange_end(). scheme: http or https. */
void h2_exchange_begin(struct exchange *x, struct h2_client *c, struct arena *a, struct str scheme);
/* Whatever has come of it: resets the stream unless both sides have ended. May park shortly. */
void h2_exchange_end(struct exchange *x);
/* Free what this thread keeps for exchanges to come (thread end). */
void h2_client_thread_fini(void);
