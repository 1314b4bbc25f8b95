/* SPDX-License-Identifier: Apache-2.0 */
/* delay: a timer and an eye on the client. */
#include "plugin/delay.h"

#include "base/clock.h"
#include "http/server.h"

int64_t delay_us_of(double seconds)
{
    double us = seconds * 1e6;

    return us >= (double)DELAY_MAX_US ? DELAY_MAX_US : (int64_t)us;
}

enum verdict req_await_delay(struct req *r, int64_t us)
{
    if (us < 1000) {
        return NEXT;
    }
    server_watch_client(r, true);
    int rc = await_until(deadline_in((us + 999) / 1000));
    server_watch_client(r, false);
    if (rc == 0) {
        return NEXT;
    }
    r->client_gone = true;
    return req_reply(r, 499, STR(""));
}
