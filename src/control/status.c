/* SPDX-License-Identifier: Apache-2.0 */
/* status: see status.h. */
#include "control/status.h"

static bool ready;

void status_set_ready(void)
{
    ready = true;
}

static void reply(struct req *r, int status, struct str body)
{
    headers_add(&r->resp.headers, STR("Content-Type"), STR("text/plain"));
    req_reply(r, status, body);
}

void status_handle(struct req *r)
{
    if (str_eq(r->uri, STR("/status/ready"))) {
        if (!ready) {
            reply(
                r, 503,
                STR("{\"status\":\"error\",\"error\":\"worker id: 0 has not received configuration\"}"));
        } else {
            reply(r, 200, STR("{\"status\":\"ok\"}"));
        }
    } else if (str_starts(r->uri, STR("/status"))) {
        reply(r, 200, STR("{\"status\":\"ok\"}"));
    } else {
        req_reply(r, 404, STR_NONE);
    }
}
