/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* h2_server_priv: what a connection of HTTP/2 and its streams know of each other. */
#include "http/server_priv.h"
#include "proto/h2.h"

struct h2_conn {
    struct conn *c;
    struct h2_session *s;
    struct list streams; /* all, by h2_req.link */
    struct list heads;   /* complete since the last read, by h2_req.start: not started yet */
    unsigned live;
    /* Who waits: streams for the connection (its window, its buffer, the one that writes), in the
     * order they came; the writer for something to write; the reader for all else. */
    struct cond turn, work, calm;
    struct cond memory; /* and streams whose answers would be too much to keep */
    size_t kept;        /* bytes of answers that wait for windows */
    /* streams that wait for turn or memory; until when their waiting is in pace_out; when data were
     * last sent */
    unsigned waiting;
    int64_t waited_ms, moved_ms;
    struct pace pace_out;
    bool reading;    /* the connection's fiber is in await_read() */
    bool writing;    /* somebody writes to the socket: the order of frames is the order of writes */
    bool has_writer; /* there is a fiber to write what is in the buffer */
    bool broken;     /* the socket takes nothing any more */
    bool ending, said_last;
    int64_t ending_ms, quiet_ms; /* since when it is to end; when its last stream ended */
};

/* A run of request body in memory of its own. */
#define BLOCK_BYTES (16384 - 16)
struct h2_block {
    struct h2_block *next;
    unsigned n, taken;
    char data[BLOCK_BYTES];
};

struct h2_req {
    struct req r; /* first: struct req * is struct h2_req * for the transport */
    struct h2_conn *h;
    struct h2_stream s;
    struct list link, start;
    struct fiber *fiber; /* NULL: not started */
    int error;           /* why the stream is gone */
    struct cond more;    /* body came, or will not come */
    struct cond window;  /* the stream's window is open, or will not be */
    struct h2_block *first, *last;
    size_t lent;       /* of the first block, until the next await */
    char *kept;        /* the buffer of the run that waits, when it was lent */
    bool continue_due; /* the client waits for 100 */
    bool is_tunnel;    /* extended CONNECT: the bodies are its two ways */
    struct pace pace_in, pace_out;
};

/* ---- h2_server.c ---- */
/* Frames are in out: have them written, with those of the other streams that are ready now. */
void h2_conn_flush(struct h2_conn *h);
/* The same, at once when there is no other stream. */
int h2_conn_await_flush(struct h2_conn *h);
/* May a stream put frames into out? */
static inline bool h2_conn_takes(const struct h2_conn *h)
{
    return h->s->out.n < H2_OUT_HIGH;
}
/* Let the next stream that waits try. */
void h2_conn_next_turn(struct h2_conn *h);
/* Write out and then the vectors behind iov[0], which is for out. Only when nobody is writing. */
int h2_conn_await_write(struct h2_conn *h, struct iovec *iov, int n);
/* q has ended and is about to be freed. */
void h2_conn_left(struct h2_req *q);

/* ---- h2_stream.c ---- */
struct h2_req *h2_req_new(struct h2_conn *h);
/* Its head is complete: serve it. */
void h2_req_start(struct h2_req *q);
/* Body that came. */
void h2_req_body(struct h2_req *q, struct str run);
/* The stream has been reset, or its connection is over: end. May free q. */
void h2_req_gone(struct h2_req *q, int error);
