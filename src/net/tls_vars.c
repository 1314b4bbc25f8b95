/* SPDX-License-Identifier: Apache-2.0 */
/* tls_vars: what $ssl_ variables say of a connection, in nginx's forms. */
#include "net/tls_priv.h"

#include "base/assert.h"

#include <openssl/pem.h>
#include <time.h>

/* What was printed to b, which ends here. */
static struct str bio_text(struct arena *a, BIO *b)
{
    char *p;
    long n = BIO_get_mem_data(b, &p);
    struct str s = arena_str(a, str_of(p, n > 0 ? (size_t)n : 0));

    BIO_free(b);
    return s;
}

static struct str hex(struct arena *a, const unsigned char *p, size_t n)
{
    char *out = arena_bytes(a, 2 * n + 1);

    for (size_t i = 0; i < n; i++) {
        snprintf(out + 2 * i, 3, "%02x", p[i]);
    }
    return str_of(out, 2 * n);
}

/* ---- of the connection ---- */

static struct str get_protocol(struct arena *a, SSL *ssl)
{
    return str_c(SSL_get_version(ssl));
}

static struct str get_cipher(struct arena *a, SSL *ssl)
{
    return str_c(SSL_get_cipher_name(ssl));
}

static struct str get_curve(struct arena *a, SSL *ssl)
{
    const char *name = SSL_group_to_name(ssl, (int)SSL_get_negotiated_group(ssl));

    return name != NULL ? str_c(name) : STR("");
}

static struct str get_server_name(struct arena *a, SSL *ssl)
{
    return str_c(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
}

static struct str get_alpn(struct arena *a, SSL *ssl)
{
    const unsigned char *p = NULL;
    unsigned n = 0;

    SSL_get0_alpn_selected(ssl, &p, &n);
    return str_of((const char *)p, n);
}

static struct str get_session_id(struct arena *a, SSL *ssl)
{
    unsigned n = 0;
    const SSL_SESSION *s = SSL_get_session(ssl);
    const unsigned char *id = s != NULL ? SSL_SESSION_get_id(s, &n) : NULL;

    return n > 0 ? hex(a, id, n) : STR("");
}

static struct str get_reused(struct arena *a, SSL *ssl)
{
    return SSL_session_reused(ssl) ? STR("r") : STR(".");
}

static struct str get_verify(struct arena *a, SSL *ssl)
{
    long rc = SSL_get_verify_result(ssl);

    if (SSL_get0_peer_certificate(ssl) == NULL) {
        return STR("NONE");
    }
    return rc == X509_V_OK ? STR("SUCCESS")
                           : arena_printf(a, "FAILED:%s", X509_verify_cert_error_string(rc));
}

/* ---- of the client's certificate ---- */

static struct str name_text(struct arena *a, const X509_NAME *name)
{
    BIO *b = BIO_new(BIO_s_mem());

    X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253);
    return bio_text(a, b);
}

static struct str get_subject(struct arena *a, X509 *x)
{
    return name_text(a, X509_get_subject_name(x));
}

static struct str get_issuer(struct arena *a, X509 *x)
{
    return name_text(a, X509_get_issuer_name(x));
}

static struct str get_serial(struct arena *a, X509 *x)
{
    BIO *b = BIO_new(BIO_s_mem());

    i2a_ASN1_INTEGER(b, X509_get0_serialNumber(x));
    return bio_text(a, b);
}

static struct str get_fingerprint(struct arena *a, X509 *x)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    X509_digest(x, EVP_sha1(), sum, &n);
    return hex(a, sum, n);
}

static struct str time_text(struct arena *a, const ASN1_TIME *t)
{
    BIO *b = BIO_new(BIO_s_mem());

    ASN1_TIME_print(b, t);
    return bio_text(a, b);
}

static struct str get_start(struct arena *a, X509 *x)
{
    return time_text(a, X509_get0_notBefore(x));
}

static struct str get_end(struct arena *a, X509 *x)
{
    return time_text(a, X509_get0_notAfter(x));
}

static struct str get_remain(struct arena *a, X509 *x)
{
    int days = 0, seconds = 0;

    ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x));
    return arena_u64(a, days > 0 ? (uint64_t)days : 0);
}

static struct str get_raw_cert(struct arena *a, X509 *x)
{
    BIO *b = BIO_new(BIO_s_mem());

    PEM_write_bio_X509(b, x);
    struct str pem = bio_text(a, b);
    return str_head(pem, pem.n - (pem.n > 0)); /* without the last newline */
}

/* As a header field may carry it: percent-encoded but for unreserved characters. */
static struct str get_escaped_cert(struct arena *a, X509 *x)
{
    struct str pem = get_raw_cert(a, x);
    char *out = arena_bytes(a, 3 * pem.n + 3), *o = out;

    for (size_t i = 0; i <= pem.n; i++) { /* the last newline, too */
        char c = pem.p[i], low = ascii_lower(c);
        bool plain = (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                     c == '.' || c == '~';
        o += plain ? (*o = c, 1) : snprintf(o, 4, "%%%02X", (unsigned char)c);
    }
    return str_of(out, (size_t)(o - out));
}

/* ---- by name ---- */

static const struct {
    struct str name;
    struct str (*of_connection)(struct arena *a, SSL *ssl);
    struct str (*of_client)(struct arena *a, X509 *x);
} vars[] = {
    {STR_INIT("protocol"), get_protocol, NULL},
    {STR_INIT("cipher"), get_cipher, NULL},
    {STR_INIT("curve"), get_curve, NULL},
    {STR_INIT("server_name"), get_server_name, NULL},
    {STR_INIT("alpn_protocol"), get_alpn, NULL},
    {STR_INIT("session_id"), get_session_id, NULL},
    {STR_INIT("session_reused"), get_reused, NULL},
    {STR_INIT("client_verify"), get_verify, NULL},
    {STR_INIT("client_s_dn"), NULL, get_subject},
    {STR_INIT("client_i_dn"), NULL, get_issuer},
    {STR_INIT("client_serial"), NULL, get_serial},
    {STR_INIT("client_fingerprint"), NULL, get_fingerprint},
    {STR_INIT("client_v_start"), NULL, get_start},
    {STR_INIT("client_v_end"), NULL, get_end},
    {STR_INIT("client_v_remain"), NULL, get_remain},
    {STR_INIT("client_raw_cert"), NULL, get_raw_cert},
    {STR_INIT("client_escaped_cert"), NULL, get_escaped_cert},
};

struct str tls_var(const struct io *io, struct str name, struct arena *a)
{
    const struct tls *t = tls_of(io);

    for (size_t i = 0; t != NULL && i < LENGTH_OF(vars); i++) {
        if (!str_eq(vars[i].name, name)) {
            continue;
        }
        X509 *x = SSL_get0_peer_certificate(t->ssl);
        struct str s = vars[i].of_connection != NULL ? vars[i].of_connection(a, t->ssl)
                       : x != NULL                   ? vars[i].of_client(a, x)
                                                     : STR_NONE;
        return s.n > 0 ? s : STR_NONE;
    }
    return STR_NONE;
}
