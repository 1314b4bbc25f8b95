/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * client: one HTTP/1.1 exchange over a connection somebody else owns (a pooled upstream
 * connection).
 *
 * Order: client_await_request, client_await_response, client_await_body until 0; then
 * client_is_reusable says whether the connection may serve another. Sending the request body may go
 * on in another fiber while this one reads. All return 0 or more, or a negative errno.
 */
#include "event/await.h"
#include "http/h1_body.h"

#define SMALL_REST 32

struct exchange;
struct client_request;
/* An exchange over another version of HTTP than 1.1 (h2_client.c): each stands for the client_...()
 * function of its name. */
struct exchange_ops {
    int (*await_request)(struct exchange *x, const struct client_request *q, int64_t deadline);
    int (*await_request_body)(struct exchange *x, struct str body, bool last, int64_t deadline);
    int (*await_response)(struct exchange *x,
                          int (*on_interim)(void *arg, const struct h1_head *head), void *arg,
                          int64_t idle_ms);
    int (*await_body)(struct exchange *x, struct str *run, int64_t deadline);
    bool (*has_run)(const struct exchange *x);
    void (*abort)(struct exchange *x);
};

struct exchange {
    const struct exchange_ops *ops; /* NULL: HTTP/1.1 */
    struct h2_exchange *h2;
    bool unprocessed; /* it failed, and the upstream said that it did not look at the request */
    struct io *io;    /* HTTP/1.1 */
    struct arena *arena;
    const struct h1_limits *limits;
    enum http_method method;
    bool asked_upgrade;
    bool chunked_request; /* the request body goes out in chunks */
    bool request_done;
    bool got_bytes; /* any byte of an answer came */
    /* another fiber still sends the body: the wait for an answer has not begun */
    bool uploading;
    bool is_talk;     /* set after it has begun: either side speaks when it likes (struct req) */
    int64_t moved_ms; /* when bytes last went out or came in */
    uint64_t sent, received; /* bytes on the wire */
    bool own_runs;           /* the body is read to room, else it is lent */
    bool kept;               /* body.ahead is not lent */
    /* set after client_init(): little of the body is read with the head, as the rest can be moved,
     * or must not be read yet */
    bool head_first;
    char *room; /* LEND_BYTES in the arena, when it was needed */
    /* what client_init() has no need to clear */
    struct h1_parser parser; /* the answer: parser.head */
    struct h1_body body;
    /* what is behind the last chunk of a read is mostly an end of chunk or of body */
    char rest[SMALL_REST];
};

void client_init(struct exchange *x, struct io *io, struct arena *a, const struct h1_limits *limits,
                 enum http_method method);
/* A request to send. Its fields are final but for framing. */
struct client_request {
    struct str method, target;
    const struct headers *own; /* first these */
    const struct headers
        *passed; /* then these, less those whose bit (1 << id) is in drop; or NULL */
    uint64_t drop;
    /* >= 0 adds Content-Length (a zero only for methods that usually have a body), -1 sends chunks,
     * -2 says nothing (no body). */
    int64_t body_length;
    struct str body; /* a first run of it */
    bool last;       /* which is all */
};
int client_await_request(struct exchange *x, const struct client_request *q, int64_t deadline);
/* More of the request body. */
int client_await_request_body(struct exchange *x, struct str body, bool last, int64_t deadline);
/*
 * Read a response head into x->parser.head. Interim answers (1xx but 101) are given to on_interim
 * (may be NULL), which may park. -EPROTO: not HTTP, -ECONNRESET: closed first, -ETIMEDOUT: nothing
 * moved for idle_ms, counted from the end of the request on.
 */
int client_await_response(struct exchange *x,
                          int (*on_interim)(void *arg, const struct h1_head *head), void *arg,
                          int64_t idle_ms);
/* The next run of the body, lent until the next await: 1; the end: 0. Never parks as long as bytes
 * that came with the head are left. */
int client_await_body(struct exchange *x, struct str *run, int64_t deadline);
/* The body up to its known end, at least 1 byte, which may be moved from x->io by other means; 0:
 * it has to be read. client_moved(): so many bytes of it were. */
uint64_t client_movable(const struct exchange *x);
void client_moved(struct exchange *x, size_t n);
/* The runs to come are not lent but stay until the next client_await_body(), for who awaits other
 * things between taking a run and passing it on. */
void client_own_runs(struct exchange *x);
/* Is a run (or the end) at hand without parking? */
bool client_has_run(const struct exchange *x);
bool client_is_reusable(const struct exchange *x);
/* Nobody wants it any more: awaits of other fibers on it fail, and the upstream notices. */
void client_abort(struct exchange *x);
