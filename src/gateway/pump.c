/* SPDX-License-Identifier: Apache-2.0 */
/* pump: see pump.h. */
#include "gateway/pump.h"

#include "fiber/fiber.h"
#include "http/server.h"

static int carry(struct pump *p)
{
    for (;;) {
        struct str run;
        int rc = p->r->transport->await_body(p->r, &run);
        if (rc < 0) {
            p->client_error = rc;
            return rc;
        }
        bool last = rc == 0;
        rc = client_await_request_body(p->x, last ? STR("") : run, last, deadline_in(p->send_ms));
        if (rc == 0 && last && p->x->asked_upgrade) {
            io_shut(p->x->io); /* of a tunnel */
        }
        if (rc < 0 || last) {
            /* an upstream that stops reading may still answer: the request's fiber finds out */
            return rc;
        }
    }
}

static void pump_main(void *arg)
{
    struct pump *p = arg;
    p->fiber = fiber_self();
    p->x->uploading = true;
    carry(p);
    p->x->uploading = false;
    p->x->moved_ms = now_ms();
    if (p->client_error) {
        /* half a request must not look whole, and nobody will answer it */
        client_abort(p->x);
    }
    p->done = true;
    if (p->watch) {
        server_watch_client(p->r, true);
    }
    cond_broadcast(&p->ended);
}

void pump_watch(struct pump *p, bool on)
{
    p->watch = on;
    if (p->done) {
        server_watch_client(p->r, on);
    }
}

struct pump *pump_start(struct req *r, struct exchange *x, int64_t send_ms)
{
    struct pump *p = ARENA_NEW(r->arena, struct pump);
    p->r = r;
    p->x = x;
    p->send_ms = send_ms;
    cond_init(&p->ended);
    return fiber_start("upload", pump_main, p) ? p : NULL;
}

void pump_await_stop(struct pump *p)
{
    if (p->done) {
        return;
    }
    fiber_cancel(p->fiber);
    fiber_shield(true);
    while (!p->done) {
        await_cond(&p->ended, NEVER);
    }
    fiber_shield(false);
}
