/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * h1_body: the body of one HTTP/1.1 message as runs of payload, whatever its framing (RFC 9112 6).
 * Takes bytes, gives slices of them; the reading is the caller's. Used for requests by h1_server
 * and for answers by h1_client.
 */
#include "proto/h1.h"

#include <sys/uio.h>

struct h1_body {
    enum h1_framing framing;
    uint64_t left; /* H1_LENGTH: payload bytes still to come */
    struct h1_chunked chunked;
    struct str ahead; /* bytes that were read and not yet looked at */
    uint64_t wire;    /* bytes of the body consumed so far, framing included */
    bool ended;       /* the end was seen */
    enum h1_error error;
};

enum h1_body_result {
    BODY_RUN,  /* *run has payload */
    BODY_MORE, /* ahead is empty: read, set ahead, call again */
    BODY_END,  /* complete; what remains in ahead belongs to the next message */
    BODY_ERROR
};

/* Before the head is read: nothing is ahead, nothing is wrong. */
static inline void h1_body_begin(struct h1_body *b)
{
    b->framing = H1_NO_BODY;
    b->ahead = STR("");
    b->ended = false;
    b->error = H1_OK;
}
/* ahead: what followed the head. */
void h1_body_init(struct h1_body *b, const struct h1_head *head, struct str ahead, struct arena *a,
                  const struct h1_limits *limits);
enum h1_body_result h1_body_next(struct h1_body *b, struct str *run);
/* Would h1_body_next() give something without more bytes: a run, the end, an error? */
bool h1_body_has_next(const struct h1_body *b);
/* The stream ended: BODY_END when that is how this body ends, else BODY_ERROR. */
enum h1_body_result h1_body_eof(struct h1_body *b);
/*
 * The way out: a run of body as pieces for one write, raw or as a chunk; the last one ends a
 * chunked body. At most three pieces; size_line must live until they are written.
 */
int h1_body_iov(bool chunked, struct iovec *iov, char size_line[18], struct str body, bool last);
