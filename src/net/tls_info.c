/* SPDX-License-Identifier: Apache-2.0 */
/* tls_info: what was agreed on a connection. */
#include "net/tls_priv.h"

bool io_is_tls(const struct io *io)
{
    return tls_of(io) != NULL;
}

unsigned tls_protocol_of(struct str name)
{
    return str_eq(name, STR("TLSv1.1"))   ? TLS_1_1
           : str_eq(name, STR("TLSv1.2")) ? TLS_1_2
           : str_eq(name, STR("TLSv1.3")) ? TLS_1_3
                                          : 0;
}

struct str tls_alpn(const struct io *io)
{
    const struct tls *t = tls_of(io);
    const unsigned char *p = NULL;
    unsigned n = 0;

    if (t != NULL) {
        SSL_get0_alpn_selected(t->ssl, &p, &n);
    }
    return n > 0 ? str_of((const char *)p, n) : STR("");
}

struct str tls_server_name(const struct io *io)
{
    const struct tls *t = tls_of(io);
    const char *name = t != NULL ? SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name) : NULL;

    return name != NULL ? str_c(name) : STR("");
}

bool tls_is_verified(const struct io *io)
{
    const struct tls *t = tls_of(io);

    return t != NULL && SSL_get0_peer_certificate(t->ssl) != NULL &&
           SSL_get_verify_mode(t->ssl) & SSL_VERIFY_PEER &&
           SSL_get_verify_result(t->ssl) == X509_V_OK;
}

bool tls_is_resumed(const struct io *io)
{
    const struct tls *t = tls_of(io);

    return t != NULL && SSL_session_reused(t->ssl) == 1;
}

bool tls_is_under(const struct io *io, const struct tls_identity *id)
{
    const struct tls *t = tls_of(io);
    const SSL_SESSION *session = t != NULL ? SSL_get_session(t->ssl) : NULL;
    unsigned n = 0;
    const unsigned char *context =
        session != NULL ? SSL_SESSION_get0_id_context(session, &n) : NULL;

    return n == sizeof(id->context) && memcmp(context, id->context, n) == 0;
}
