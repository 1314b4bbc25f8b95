/* SPDX-License-Identifier: Apache-2.0 */
/* h1_body: see h1_body.h. */
#include "http/h1_body.h"

void h1_body_init(struct h1_body *b, const struct h1_head *head, struct str ahead, struct arena *a,
                  const struct h1_limits *limits)
{
    b->framing = head->framing;
    b->left = head->content_length;
    b->ahead = ahead;
    b->wire = 0;
    b->error = H1_OK;
    b->ended =
        head->framing == H1_NO_BODY || (head->framing == H1_LENGTH && head->content_length == 0);
    if (head->framing == H1_CHUNKED) {
        h1_chunked_init(&b->chunked, a, limits);
    }
}

static void take(struct h1_body *b, size_t n)
{
    b->ahead = str_skip(b->ahead, n);
    b->wire += n;
}

static enum h1_body_result next_of_length(struct h1_body *b, struct str *run)
{
    *run = str_head(b->ahead, b->left < b->ahead.n ? (size_t)b->left : b->ahead.n);
    take(b, run->n);
    b->left -= run->n;
    b->ended = b->left == 0;
    return BODY_RUN;
}

static enum h1_body_result next_of_chunked(struct h1_body *b, struct str *run)
{
    while (b->ahead.n > 0 && !b->chunked.done) {
        size_t used;
        if (h1_chunked_feed(&b->chunked, b->ahead, &used, run) != 0) {
            b->error = b->chunked.error;
            return BODY_ERROR;
        }
        take(b, used);
        if (run->n > 0) {
            b->ended = b->chunked.done;
            return BODY_RUN;
        }
    }
    b->ended = b->chunked.done;
    return b->ended ? BODY_END : BODY_MORE;
}

enum h1_body_result h1_body_next(struct h1_body *b, struct str *run)
{
    if (b->ended) {
        return BODY_END;
    }
    if (b->error != H1_OK) {
        return BODY_ERROR;
    }
    if (b->ahead.n == 0) {
        return BODY_MORE;
    }
    switch (b->framing) {
    case H1_LENGTH:
        return next_of_length(b, run);
    case H1_CHUNKED:
        return next_of_chunked(b, run);
    case H1_NO_BODY:
        return BODY_END;
    case H1_TO_CLOSE:
    case H1_TUNNEL:
        *run = b->ahead;
        take(b, run->n);
        return BODY_RUN;
    }
    return BODY_ERROR;
}

bool h1_body_has_next(const struct h1_body *b)
{
    struct h1_body ahead = *b;
    struct str run;
    return h1_body_next(&ahead, &run) != BODY_MORE;
}

enum h1_body_result h1_body_eof(struct h1_body *b)
{
    if (b->framing == H1_TO_CLOSE || b->ended) {
        b->ended = true;
        return BODY_END;
    }
    b->error = H1_TRUNCATED;
    return BODY_ERROR;
}

static struct iovec piece(const char *p, size_t n)
{
    return (struct iovec){(void *)(uintptr_t)p, n};
}

int h1_body_iov(bool chunked, struct iovec *iov, char size_line[18], struct str body, bool last)
{
    int n = 0;

    if (chunked && body.n > 0) {
        iov[n++] = piece(size_line, h1_chunk_head(size_line, body.n));
    }
    if (body.n > 0) {
        iov[n++] = piece(body.p, body.n);
    }
    if (chunked && body.n > 0) {
        iov[n++] = last ? piece("\r\n0\r\n\r\n", 7) : piece("\r\n", 2);
    } else if (chunked && last) {
        iov[n++] = piece("0\r\n\r\n", 5);
    }
    return n;
}
