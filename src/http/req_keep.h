/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * req_keep: a request of which nothing is left to do but its log phase, later, in little memory.
 *
 * A tunnel may live for days, and its request is logged when it ends. What the log phase reads is
 * packed out of the arena of the request, which then serves others.
 */
#include "http/req.h"

struct kept_req;

/*
 * Pack r (heap). r itself is as it was; nothing may be done with it but forget it. NULL when it is
 * too large, or when something in it leads into its arena or the fiber's stack in a way that is not
 * known here: then it has to stay where it is.
 *
 * Not taken along: the transport (r->local is found out before), what plugins keep (plugin_ctx),
 * what variables have found in the body.
 */
struct kept_req *req_keep(struct req *r);
/* A request again, in arena a of the running fiber; k is freed. It cannot be answered any more. */
struct req *req_unkeep(struct kept_req *k, struct arena *a);
