/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* server_priv: a client's connection, for the files that speak a protocol on it. */
#include "http/server.h"

#define GRACE_MS 5000 /* before a minimum rate counts */
#define LINGER_MS 2000

struct h2_conn;

struct conn {
    struct io io;
    struct server *server;
    struct list link;
    struct addr peer, local;
    struct ip peer_ip, source; /* source: who it is counted for */
    char peer_text[46];
    uint8_t peer_text_n;
    bool counted, idle;
    bool given_up;                /* reset when it is closed */
    unsigned prefaces;            /* PREFACE_ bits: what is to come before the first request */
    struct proxied_conn *proxied; /* what a PROXY header has said (heap) */
    uint64_t requests;
    int64_t idle_until; /* while idle: when to close */
    struct timer timer; /* one, started lazily: it may fire early and start again */
    char *left;         /* bytes of the next request that came with this one (heap) */
    size_t left_n;
    struct fiber *fiber;     /* that reads; NULL: idle */
    struct h2_conn *h2;      /* it speaks HTTP/2 */
    void (*stop)(void *arg); /* server_leave() */
    void *stop_arg;
};

/* Statistics have one writer; the control thread reads them at any time. */
static inline void count(unsigned *n, int change)
{
    __atomic_store_n(n, *n + (unsigned)change, __ATOMIC_RELAXED);
}

static inline void count_all(uint64_t *n)
{
    __atomic_store_n(n, *n + 1, __ATOMIC_RELAXED);
}

/* ---- server.c ---- */
/* Close and free. */
void conn_close(struct conn *c);
/* Wait for bytes without a fiber, at most until then. */
void conn_idle(struct conn *c, int64_t until);
/* Take what the client still sends, so that it can read the last words before the connection ends
 * (RFC 9112 9.6). */
void conn_linger(struct conn *c);
/* A new request of this connection (zeroed before), and what its head says. */
void conn_begin_req(struct conn *c, struct req *r, struct arena *a,
                    const struct transport *transport);
void conn_take_head(struct req *r, const struct h1_head *h);
/* Have it answered: by the server's handle(), or refused when memory or time is short. */
void conn_handle(struct req *r);
/* Refuse what never became a request: an error page, and the log. */
void conn_refuse(struct req *r, int status);
void conn_find_local(struct req *r);
/* Server and Date, unless they are there. */
void conn_add_usual(struct req *r);
/* Has the answer no body, whatever its fields say? */
bool conn_has_no_body(const struct req *r);

/*
 * Whether somebody keeps a minimum rate: time that was waited and bytes that moved, in a window
 * that begins again when the rate was kept, so that a burst does not buy an hour of trickling.
 */
struct pace {
    int64_t waited_ms;
    uint64_t bytes;
};
/* When the next bytes must have moved: after wait_ms, or when the rate (bytes/s, 0: none) is
 * missed. */
static inline int64_t pace_deadline(const struct pace *p, int64_t wait_ms, unsigned rate)
{
    if (rate) {
        const int64_t allowed = GRACE_MS + (int64_t)(p->bytes * 1000 / rate) - p->waited_ms;
        wait_ms = allowed < wait_ms ? allowed : wait_ms;
    }
    return deadline_in(wait_ms > 0 ? wait_ms : 0);
}

static inline void pace_moved(struct pace *p, int64_t waited_ms, size_t bytes, unsigned rate)
{
    p->waited_ms += waited_ms;
    p->bytes += bytes;
    if (p->waited_ms > GRACE_MS && p->bytes * 1000 >= (uint64_t)p->waited_ms * rate) {
        *p = (struct pace){0};
    }
}

/* ---- h2_server.c ---- */
struct h2_conn *h2_conn_new(struct conn *c);
void h2_conn_free(struct h2_conn *h); /* NULL: nothing */
/* Understand bytes that came; does not park. */
void h2_conn_feed(struct h2_conn *h, struct str bytes);
/* In the connection's fiber: read until it is over, or idle. */
void h2_conn_serve(struct h2_conn *h);
/* The connection is to end when its streams have; an idle one has to be served for that. */
void h2_conn_end(struct h2_conn *h);
/* Thread end. */
void h2_server_thread_fini(void);
