/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * h2_pool: HTTP/2 connections to upstream nodes, shared by the requests of a core. A request takes
 * one that has room, or waits for the one that is being made, or makes one. All functions concern
 * the pool of the calling thread.
 */
#include "http/h2_client.h"
#include "upstream/pool.h"

/*
 * A connection to addr, with TLS unless tls is NULL, on which an exchange may begin, before the
 * next await: of limits, `requests` are the exchanges of one connection, `size` and `idle_ms` are
 * for connections without any. fresh: a new one. 0, or -errno as of await_upconn_tls(). reused: it
 * has served before, or serves others.
 */
int await_h2_upconn(const struct addr *addr, const struct upconn_tls *tls, bool fresh,
                    const struct pool_limits *limits, int64_t connect_deadline,
                    struct h2_client **out, bool *reused);
/* Nothing more begins on the connections there are: who was trusted may not be any more. */
void h2_pool_forget(void);
/* Thread end, before pool_fini(): close what is open. Requests must have ended. */
void h2_pool_fini(void);
