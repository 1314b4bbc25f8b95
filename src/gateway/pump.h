/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* pump: a second fiber that carries the rest of a large request body to the upstream while the
 * request's own fiber waits for the answer. */
#include "http/client.h"
#include "http/req.h"

struct pump {
    struct req *r;
    struct exchange *x;
    int64_t send_ms;  /* timeout of one write */
    int client_error; /* reading from the client failed: negative errno */
    bool done;
    bool watch; /* when it has ended: watch the client for the request's fiber */
    struct fiber *fiber;
    struct cond ended;
};

/* In r's arena. NULL when there is no memory for a fiber. */
struct pump *pump_start(struct req *r, struct exchange *x, int64_t send_ms);
/* While the request's fiber waits: a client that goes away is noticed, by the pump as long as it
 * reads from it, then by a watch. */
void pump_watch(struct pump *p, bool on);
/* Stop it if it still runs, and wait until it is gone. Works in a cancelled fiber too. */
void pump_await_stop(struct pump *p);
