/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* tls: what the cores share for TLS, and what a request's TLS connection must fulfil. */
#include "config/settings.h"
#include "http/req.h"
#include "net/tls.h"

/* Made from settings, on the control thread; every core has a copy of these pointers. */
struct gateway_tls {
    struct tls_acceptor *acceptor;
    struct tls_trust *trust; /* for upstreams; NULL: no certificates were named */
};
/* 0, or -1 with e. */
int gateway_tls_new(struct gateway_tls *t, const struct settings *s, struct err *e);
void gateway_tls_free(struct gateway_tls *t);
/* Let the keys of session tickets change from time to time, on this thread's loop. */
void gateway_tls_rotate(void);

/*
 * How the node is spoken to with TLS; sni: the host the request goes to. Who must be there, when
 * that is checked: the host again, or the node's own name where the client chooses the host. False
 * (logged): a certificate that the upstream names is not there, or nobody can be checked.
 */
struct upconn_tls;
bool request_upstream_tls(struct req *r, const struct upstream_node *node, struct str sni,
                          struct upconn_tls *tls);

/* Has the client shown the certificate that the host of its request asks for (runtime.md section
 * 12)? DONE: answered with 400. */
enum verdict request_check_client(struct req *r);
