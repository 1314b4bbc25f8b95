/* SPDX-License-Identifier: Apache-2.0 */
/* tls_connect: the client's side of the handshake. */
#include "net/tls_priv.h"

#include "base/assert.h"
#include "base/ip.h"

#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>

enum { NAME_MAX_BYTES = 255 };

/* One for all threads: what differs is set on the connection. */
static SSL_CTX *client_ctx;

/* The server gives a session to resume, at any time after the handshake. 1: it is ours now. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_session *keep = tls_of_ssl(ssl)->session;

    if (keep == NULL) {
        return 0;
    }
    tls_session_fini(keep);
    keep->session = session;
    return 1;
}

static void client_ctx_init(void)
{
    client_ctx = SSL_CTX_new(TLS_client_method());
    ASSERT(client_ctx != NULL);
    tls_ctx_init(client_ctx);
    SSL_CTX_set_security_level(client_ctx, 1);
    SSL_CTX_set_min_proto_version(client_ctx, TLS1_2_VERSION);
    SSL_CTX_set_session_cache_mode(client_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(client_ctx, on_session);
}

void tls_session_fini(struct tls_session *s)
{
    SSL_SESSION_free(s->session);
    s->session = NULL;
}

static bool name_text(char text[NAME_MAX_BYTES + 1], struct str name)
{
    if (name.n > NAME_MAX_BYTES) {
        return false;
    }
    memcpy(text, name.n > 0 ? name.p : "", name.n);
    text[name.n] = '\0';
    return true;
}

/* RFC 6066 3: an address is no name. */
static bool ask_for(SSL *ssl, struct str name)
{
    char text[NAME_MAX_BYTES + 1];
    struct ip ip;

    return name.n == 0 || ip_parse(name, &ip) ||
           (name_text(text, name) && SSL_set_tlsext_host_name(ssl, text) == 1);
}

/* Nobody in particular is nobody who can be checked. */
static bool must_be(SSL *ssl, struct str name)
{
    char text[NAME_MAX_BYTES + 1];
    struct ip ip;

    if (name.n == 0 || !name_text(text, name)) {
        return false;
    }
    return ip_parse(name, &ip) ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), text) == 1
                               : SSL_set1_host(ssl, text) == 1;
}

static bool prepare(SSL *ssl, const struct tls_connect *c)
{
    if (c->trust != NULL) {
        SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
        SSL_set1_verify_cert_store(ssl, c->trust->store);
    }
    if (c->session != NULL && c->session->session != NULL) {
        SSL_set_session(ssl, c->session->session);
    }
    if (c->alpn.n > 0) {
        SSL_set_alpn_protos(ssl, (const unsigned char *)c->alpn.p, (unsigned)c->alpn.n);
    }
    if (c->pair != NULL && !tls_use_pair(ssl, c->pair)) {
        tls_set_reason("the client certificate cannot be used");
        return false;
    }
    if (!ask_for(ssl, c->sni) || (c->trust != NULL && !must_be(ssl, c->name))) {
        tls_set_reason("the name of the server cannot be used");
        return false;
    }
    return true;
}

int await_tls_connect(struct io *io, const struct tls_connect *c, int64_t deadline)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, client_ctx_init);
    struct tls *t = tls_new(io, client_ctx);
    t->session = c->session;
    SSL_set_connect_state(t->ssl);
    if (!prepare(t->ssl, c)) {
        ERR_clear_error();
        t->broken = true;
        return -EPROTO;
    }
    return tls_await_handshake(t, deadline);
}
