/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* steps: the parts of a request's way that request.c calls in order, a file each. All run in the
 * request's fiber. */
#include "http/client.h"
#include "plugin/chain.h"
#include "upstream/balancer.h"

/* address.c: normalise the path, find host and client address, write the X-Forwarded fields
 * (runtime.md sections 1, 3, 8). DONE: answered with an error. */
enum verdict request_prepare(struct req *r);
/* What $uri and matching need, for servers without a route (admin, metrics): path and host only.
 * DONE: answered with 400. */
enum verdict request_prepare_paths(struct req *r);

/* body.c: the request body on its way to the upstream. */
struct upload {
    struct str first; /* what has been read already */
    bool complete;    /* first is all of it: tries can repeat it */
    int64_t length;   /* for client_await_request(): >= 0, -1 chunks, -2 none */
};
/* Read what comes before the upstream is asked: the whole body when it is at most r->up.gather
 * bytes, which are UPLOAD_BUFFER unless a plugin says otherwise. DONE: answered (413, 400, 408). */
#define UPLOAD_BUFFER 65536
enum verdict request_await_upload(struct req *r, struct upload *u);

/* proxy.c: choose a node, send, read the head of the answer; tries as the upstream says. DONE:
 * r->resp has an answer of the gateway. NEXT: *x has a response head and the connection in *c. */
struct upconn;
struct pump;
struct core_snapshot;
struct proxied {
    struct core_snapshot *snapshot; /* that the request holds */
    bool left;                      /* a tunnel goes on without the fiber, and ends the request */
    struct exchange x;
    struct upconn *c;
    struct balancer_walk walk; /* open until the answer is out: least_conn counts it */
    struct pump *pump;         /* the rest of the request body on its way, NULL: none */
    int64_t read_ms;           /* timeout between two reads */
    struct upload upload;
};
enum verdict request_await_proxy(struct req *r, struct proxied *p);
/* A client that goes away ends the request, from the first try until the answer is out: nobody
 * waits for an upstream that says nothing, for a client that has gone. */
void proxied_watch(struct req *r, const struct proxied *p, bool on);
/* Give the connection back, or close it */
void proxied_end(struct req *r, struct proxied *p);

/* respond.c: send what a phase answered. */
void request_await_reply(struct req *r);
/* respond.c: send what the upstream answers, through the filters. */
void request_await_response(struct req *r, struct proxied *p);

/* tunnel.c: after a 101, bytes both ways until one side ends; or p->left. */
void request_await_tunnel(struct req *r, struct proxied *p);

/* request.c: the last step, log and the end of what the request holds. */
void request_end(struct req *r, struct core_snapshot *held);

/* access_log.c */
void access_log_request(struct req *r);
