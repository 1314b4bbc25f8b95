/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * tls_staple: what a certificate's issuer says of it now (OCSP, RFC 6960), shown to clients that
 * ask (RFC 6066 8).
 *
 * A pair with `staple` set has one of these from its first use on. A handshake never waits for it:
 * it takes the answer that is there, and when that is missing or old has it fetched for those to
 * come. Any thread; counted.
 */
#include "net/tls.h"

struct tls_staple;

/* Called on the thread of a handshake when an answer is wanted, by one thread at a time for each; s
 * is held for it, to be given to tls_staple_done(). It may not park. NULL: nobody fetches. */
extern void (*tls_staple_fetch)(struct tls_staple *s);

/* The address of the responder, as the certificate names it: http://...; in a. STR_NONE: none. */
struct str tls_staple_url(struct tls_staple *s, struct arena *a);
/* The question, DER; in a. STR_NONE: the issuer is not in the chain. */
struct str tls_staple_question(struct tls_staple *s, struct arena *a);
/* Keep the answer, DER. 0, or -1 with e: it is not about this certificate, not good, or not signed
 * by its issuer. */
int tls_staple_answer(struct tls_staple *s, struct str der, struct err *e);
/* The fetch is over, well or not. */
void tls_staple_done(struct tls_staple *s);
