/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * mirror: a copy of a request, sent to a second host in a fiber of its own. The request does not
 * wait for it and may end before it; what comes back is read and forgotten.
 *
 * At most MIRRORS_MAX copies are on their way at the same time, a core: a host that is slow or away
 * costs no more than these.
 */
#include "http/client.h"
#include "http/req.h"

#define MIRRORS_MAX 256

/* Send a copy of q, the request of r as it goes upstream, to r->up.mirror. One whose body is not
 * all there cannot be copied: then nothing is sent, and the log says so. */
void mirror_start(const struct req *r, const struct client_request *q);
/* Cancel what is on its way on this core (its end). */
void mirror_cancel_all(void);
