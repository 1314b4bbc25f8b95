/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * server: HTTP/1.1 and HTTP/2 towards clients. One a core and purpose (proxy, admin, metrics), all
 * on one thread.
 *
 * A connection that waits for a request holds no fiber; one is taken when the first byte arrives
 * and goes back when the answer is out. handle() runs in that fiber with a complete head, must send
 * an answer through r->transport (or req_await_send_reply), and may park.
 */
#include "http/req.h"
#include "net/listener.h"
#include "net/tls.h"

struct server_stats {
    uint64_t accepted, handled, requests;
    unsigned active, reading, writing, waiting;
};

struct server {
    const char *name;
    void (*handle)(struct req *r);
    /* A request that never became one (malformed head, timeout): for the access log. May be NULL.
     */
    void (*refused)(struct req *r);
    const struct settings *settings;
    struct h1_limits limits;
    void *core;               /* copied to req.core, and for find() of tls */
    struct tls_acceptor *tls; /* for PREFACE_TLS */
    bool draining;            /* answers say Connection: close */
    int64_t idle_ms;          /* while draining: how long connections may wait for a request */
    bool is_proxy;            /* limits per source and memory pressure apply */
    struct list conns;        /* all open ones */
    struct server_stats stats;
};

void server_init(struct server *s, const char *name, void (*handle)(struct req *r),
                 const struct settings *settings, void *core);
/* Limits and timeouts of new settings (reload); connections of HTTP/2 keep theirs. */
void server_set_limits(struct server *s, const struct settings *settings);
/* Serve an accepted socket. */
void server_accept(struct server *s, int fd, const struct addr *peer, const struct addr *local);
/* The same, once what comes before the first request is over, in this order: a PROXY header
 * (proto/proxy_protocol.h), a TLS handshake. Each may take client_header_timeout. */
enum { PREFACE_PROXY = 1, PREFACE_TLS = 2 };
void server_accept_after(struct server *s, int fd, const struct addr *peer,
                         const struct addr *local, unsigned prefaces);
/*
 * Stop keeping connections: each is closed after its next answer, which says so; who does not ask
 * within idle_ms (or the time it has anyway) is closed without. To close idle ones at once would
 * fail the requests that are on their way. HTTP/2 is told at once (GOAWAY).
 */
#define SERVER_STOP_IDLE_MS 200
void server_drain(struct server *s, int64_t idle_ms);
/* Close whatever is left, at once. */
void server_close_all(struct server *s);
/* Free what this thread keeps for connections to come (thread end). */
void server_thread_fini(void);

/* ---- for the gateway ---- */
/* The client's socket, to make a tunnel; what was read beyond the head is in *ahead. Not for
 * HTTP/2, whose requests never have `upgrade`. */
struct io *server_io(struct req *r, struct str *ahead);
/*
 * The answer is out, and the connection goes on without a fiber (a tunnel): handle() may return.
 * The io stays open until server_close(); stop(arg) is called once should the server have to end
 * first (server_close_all()).
 */
void server_leave(struct req *r, void (*stop)(void *arg), void *arg);
/* The running fiber has r->conn of a request that left; it closes it before it ends. */
void server_return(void *conn);
void server_close(void *conn);
/* Client went away? Calls fiber_cancel() on r's fiber when the client closes while the watch is on.
 * Only while nothing reads from the client. (A stream of HTTP/2 that is reset is always
 * cancelled.) */
void server_watch_client(struct req *r, bool on);

/* ---- for requests on behalf of a request ---- */
/* A connection to r's own server, as if r's client had opened it: what is sent on it goes the way
 * of any request, from that client's address. *io is the client's end, the caller's to close. 0 or
 * -errno. (inner.c) */
int server_open_inner(struct req *r, struct io *io);

/* ---- overload, shared by all cores ---- */
/* 0: none, 1: answers close connections, 2: new requests are refused with 503, 3: so are new
 * connections, without an answer. Set by the control thread. */
void server_set_pressure(int level);
int server_pressure(void);
/* Reset connections whose requests wait for their clients, those that keep most memory first, until
 * so many bytes will be free. */
void server_relieve(struct server *s, uint64_t bytes);
