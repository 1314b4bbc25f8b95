/* SPDX-License-Identifier: Apache-2.0 */
/* body: the request body before the upstream is asked. Small bodies are read whole first, so that
 * slow senders hold no upstream connection and a failed try can be repeated. */
#include "base/log.h"
#include "gateway/steps.h"

#include <errno.h>

/* A client that talks may wait for an answer to what it has said: only what is here is read. */
static bool is_silent(const struct req *r)
{
    return r->is_talk && !r->transport->has_body(r);
}

/* Runs are gathered until the end, or until there are as many bytes as the request's plugins want
 * to have first. */
static int gather(struct req *r, struct upload *u)
{
    *u = (struct upload){.first = STR("")};
    if (r->up.gather == 0) {
        return 0;
    }
    size_t cap = r->content_length > 0 && r->content_length < UPLOAD_BUFFER
                     ? (size_t)r->content_length
                     : 4096;
    char *p = arena_bytes(r->arena, cap);
    size_t n = 0;
    while (!is_silent(r)) {
        struct str run;
        int rc = r->transport->await_body(r, &run);
        if (rc < 0) {
            return rc;
        }
        if (rc > 0 && n + run.n > cap) {
            cap = (n + run.n) * 2;
            char *bigger = arena_bytes(r->arena, cap);
            memcpy(bigger, p, n);
            p = bigger;
        }
        memcpy(p + n, rc > 0 ? run.p : "", rc > 0 ? run.n : 0);
        n += rc > 0 ? run.n : 0;
        u->first = str_of(p, n);
        u->complete = rc == 0;
        if (rc == 0 || n >= r->up.gather) {
            return 0;
        }
    }
    return 0;
}

enum verdict request_await_upload(struct req *r, struct upload *u)
{
    if (r->body_error != 0) {
        return req_body_failed(r, r->body_error);
    }
    if (r->max_body && r->content_length > 0 && (uint64_t)r->content_length > r->max_body) {
        return req_body_failed(r, -EMSGSIZE);
    }
    if (r->body.p) {
        *u = (struct upload){.first = r->body, .complete = true};
    } else if (!r->has_body) {
        *u = (struct upload){.first = STR(""), .complete = true};
    } else {
        r->is_talk = r->upstream->grpc && r->content_length < 0 && r->transport->has_body;
        int rc = gather(r, u);
        if (rc < 0) {
            return req_body_failed(r, rc);
        }
        if (u->complete) {
            r->body = u->first;
        }
    }
    if (u->complete) {
        bool says_length = u->first.n > 0 || r->content_length == 0 || r->has_body;
        u->length = says_length ? (int64_t)u->first.n : -2;
    } else {
        u->length = r->content_length >= 0 ? r->content_length : -1;
    }
    return NEXT;
}
