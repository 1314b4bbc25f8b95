/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * pool: connections to upstream nodes, one pool a core, keyed by address and TLS identity. LIFO
 * reuse. An idle connection is watched (io_watch): the upstream closing it, or sending anything
 * unasked, takes it out at once. All functions concern the pool of the calling thread.
 */
#include "base/ip.h"
#include "config/object.h"
#include "event/await.h"
#include "net/tls.h"

struct pool_limits {
    int64_t size;     /* idle connections of a node; 0: none are kept */
    int64_t idle_ms;  /* 0: for ever */
    int64_t requests; /* served by one connection; 0: any number */
};

/* One connection to an upstream. Belongs to whoever took it until it is put back or closed. */
struct upconn {
    struct io io;
    struct addr addr;
    uint64_t requests; /* served before, 0: fresh */
    bool had_large;    /* the last answer's body was worth moving: the next one's may be, too */
    struct list link;  /* idle ones of its node, last used first */
    struct pool_node *home;
    struct upconn *next_free;
    struct timer idle;  /* may run on while the connection is in use: see idle_until */
    int64_t idle_until; /* 0: in use */
    struct str
        surplus; /* always empty on reuse: a connection with bytes left over is never put back */
};

/* With whom TLS is spoken, as whom, and how it is checked: connections are used again only for the
 * same. Everything is borrowed until the call returns. */
struct upconn_tls {
    struct str sni, name, alpn; /* as in struct tls_connect */
    struct tls_pair *pair;
    uint64_t pair_serial;    /* tells pairs apart; 0: none */
    struct tls_trust *trust; /* one at a time: pool_forget() when it is another */
};

/*
 * A connection to addr: an idle one (*reused true) or a new one. fresh: never an idle one. 0, or
 * -errno of the connect (-ETIMEDOUT ...).
 */
int await_upconn(const struct addr *addr, bool fresh, int64_t connect_deadline, struct upconn **out,
                 bool *reused);
/* The same with TLS, which the deadline includes; NULL: without. -EPROTO: the handshake failed,
 * tls_reason() says why. */
int await_upconn_tls(const struct addr *addr, const struct upconn_tls *tls, bool fresh,
                     int64_t connect_deadline, struct upconn **out, bool *reused);
/* Give back for reuse after one more request; closes instead when the limits say so, when the
 * upstream has closed, or when there is surplus. */
void upconn_put(struct upconn *c, const struct pool_limits *limits);
void upconn_close(struct upconn *c);
/* Close all idle connections of this core (drain). */
void pool_drain(void);
/* The same, and TLS sessions: what was checked is checked anew. */
void pool_forget(void);
/* Idle and open (idle ones included) connections of this core. */
void pool_counts(unsigned *idle, unsigned *open);
/* Thread end: drain and free the memory; no connection may be taken. */
void pool_fini(void);
