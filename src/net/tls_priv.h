/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* tls_priv: what the files of net/tls share. */
#include "net/tls.h"

#include <openssl/ssl.h>

/* One connection; io->layer_state. */
struct tls {
    struct io *io;
    SSL *ssl;
    struct str in;     /* ciphertext at hand, lent or in kept */
    char *kept;        /* heap; NULL: nothing is */
    struct timer wake; /* calls the watch when plaintext is at hand */
    bool writing;      /* a fiber is in await_write() */
    bool broken;       /* nothing can be said any more */
    /* For the hello of a client, while the handshake goes on. */
    struct tls_acceptor *acceptor; /* held; NULL on the client's side, and afterwards */
    void *arg;
    struct str alpn;
    struct tls_session *session; /* client: where new ones go; NULL: nowhere */
};

/* What every connection has in common. */
void tls_ctx_init(SSL_CTX *ctx);
static inline struct tls *tls_of_ssl(const SSL *ssl)
{
    return SSL_get_app_data(ssl);
}
/* NULL when io has no TLS. */
struct tls *tls_of(const struct io *io);
/* A session on io: its layer from now on. */
struct tls *tls_new(struct io *io, SSL_CTX *ctx);
/* 0, or an error after which t may be gone, with its io. */
int tls_await_handshake(struct tls *t, int64_t deadline);
/* For tls_reason(): what OpenSSL will not tell of a handshake that is about to fail. */
void tls_set_reason(const char *text);

struct tls_parsed {
    X509 *leaf;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
};
/* NULL: it does not parse. */
const struct tls_parsed *tls_pair_parsed(struct tls_pair *p);
/* Use the pair for this connection. */
bool tls_use_pair(SSL *ssl, struct tls_pair *p);

/* tls_staple.c: once, before the first certificate; a parsed pair that wants stapling; the callback
 * of SSL_CTX_set_tlsext_status_cb(3). */
void tls_staple_init(void);
void tls_staple_attach(const struct tls_pair *pair, const struct tls_parsed *p);
int tls_staple_show(SSL *ssl, void *arg);

struct tls_trust {
    unsigned refs; /* atomic */
    X509_STORE *store;
    STACK_OF(X509_NAME) * names;
};
