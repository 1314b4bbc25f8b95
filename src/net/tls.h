/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * tls: TLS 1.1 to 1.3 on a connected io, towards clients and upstreams, by OpenSSL.
 *
 * After await_tls_accept() or await_tls_connect() the io carries plaintext: await_read() lends what
 * was decrypted, await_write() encrypts, io_close() says close_notify. Nobody else has to know;
 * await_splice() says -ENOTSUP. The asymmetric part of a handshake runs on the calling thread.
 *
 * Errors of awaits beyond the usual: -ECONNRESET also when the peer ended the connection without
 * close_notify (what was read may be cut), -EBADMSG for what is not TLS or was forged.
 * Renegotiation is refused. An idle connection has no buffers.
 */
#include "base/arena.h"
#include "base/err.h"
#include "event/await.h"

/* ---- certificates ---- */

/*
 * A certificate chain and its key as PEM, parsed when first used, once for all threads. The texts
 * are borrowed.
 */
struct tls_pair {
    struct str cert, key;
    bool staple, staple_unchecked; /* show what the issuer says of it; whoever signed that */
    int64_t staple_ttl_ms;         /* ask again after that long */
    struct tls_parsed *parsed;     /* atomic; NULL: not yet */
};
/* Do they parse, and belong together? 0, or -1 with the reference's words (admin-api.md 6). */
int tls_pair_check(struct str cert, struct str key, struct err *e);
/* Free what was parsed. Connections go on. */
void tls_pair_fini(struct tls_pair *p);

/* Certificates that peers are checked against; counted, any thread. NULL with e: not PEM. */
struct tls_trust;
struct tls_trust *tls_trust_new(struct str pem, struct err *e);
/* From a file; "system": where the distribution keeps them. */
struct tls_trust *tls_trust_load(struct str path, struct err *e);
void tls_trust_drop(struct tls_trust *t);

/* ---- towards clients ---- */

enum tls_protocol { TLS_1_1 = 1, TLS_1_2 = 2, TLS_1_3 = 4 };
/* The bit of "TLSv1.2"; 0: none is called so. */
unsigned tls_protocol_of(struct str name);

/* What the clients that ask for a name get. Immutable; any thread. */
struct tls_identity {
    struct tls_pair *pairs; /* of different key types: the client's algorithms choose */
    unsigned n_pairs;
    unsigned protocols;      /* TLS_ bits that are allowed; 0: all the listener has */
    struct tls_trust *trust; /* a client certificate is asked for; NULL: none */
    int depth;               /* of its chain */
    bool optional;           /* the handshake goes on without a good one: see tls_is_verified() */
    char context[32];        /* sessions are resumed only under the same: who may be let in */
};

struct tls_accept_conf {
    unsigned protocols;  /* TLS_ bits */
    struct str ciphers;  /* of TLS 1.2, in OpenSSL's words; "": OpenSSL's own choice */
    bool tickets;        /* sessions are kept by the clients, else by this process */
    struct str fallback; /* the name of clients that give none; "": none */
    /* What a name (lower case, no final dot) gets; NULL: nothing, the handshake fails. On the
     * thread of the connection. May not park; the identity must stay as long as find()'s caller
     * does not park. */
    const struct tls_identity *(*find)(void *arg, struct str name);
};
/* What listeners share, on all threads: settings, sessions. */
struct tls_acceptor;
struct tls_acceptor *tls_acceptor_new(const struct tls_accept_conf *c, struct err *e);
/* Counted, any thread; a handshake holds it. */
void tls_acceptor_drop(struct tls_acceptor *a);
/*
 * The handshake, as server. arg: for find(). alpn: protocols to offer, the most wanted first, as on
 * the wire ("\x02h2\x08http/1.1"); static. 0, or an error (-EPROTO: tls_reason() says why); io
 * stays the caller's to close.
 */
int await_tls_accept(struct io *io, struct tls_acceptor *a, void *arg, struct str alpn,
                     int64_t deadline);
/* New keys for tickets; the last few go on to be taken. All acceptors share them. Any one thread.
 */
void tls_tickets_rotate(void);

/* ---- towards upstreams ---- */

/* A session to resume with the next connection; zeroed: none. Outlives the connections that were
 * given it. One thread. */
struct tls_session {
    void *session;
};
void tls_session_fini(struct tls_session *s);

struct tls_connect {
    struct str sni;          /* whom to ask for; "" or an address: nobody in particular */
    struct str name;         /* whose certificate it must be when trust is given, host or address */
    struct str alpn;         /* protocols to offer, as on the wire; "": none */
    struct tls_pair *pair;   /* to show when asked; NULL: none */
    struct tls_trust *trust; /* the certificate must be good, and of name; NULL: any will do */
    struct tls_session *session; /* NULL: no resumption */
};
/* The handshake, as client; everything in *c must stay until it is over. 0, or an error as of
 * await_tls_accept(). */
int await_tls_connect(struct io *io, const struct tls_connect *c, int64_t deadline);

/* ---- what was agreed (io: any; not TLS: "" or false) ---- */

bool io_is_tls(const struct io *io);
/* "h2", "http/1.1", or "": none agreed on. */
struct str tls_alpn(const struct io *io);
/* The name the client asked for, as it came; the fallback does not show. "": none. */
struct str tls_server_name(const struct io *io);
/* The peer has shown a certificate that was verified. */
bool tls_is_verified(const struct io *io);
/* The client's rights were settled under id, or another with the same context. */
bool tls_is_under(const struct io *io, const struct tls_identity *id);
/* The handshake went on with an earlier session. */
bool tls_is_resumed(const struct io *io);
/* $ssl_NAME as nginx has it; STR_NONE: there is none, or nothing to say. Text in a, or static. */
struct str tls_var(const struct io *io, struct str name, struct arena *a);
/* Why the last handshake of this thread failed; valid until the next. */
const char *tls_reason(void);
