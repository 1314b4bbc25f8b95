/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_accept: the server's side of the handshake.
 *
 * One SSL_CTX serves all names and all threads: what a name needs (certificates, protocols, client
 * authentication) is set on the connection when its hello has been read, before OpenSSL looks for a
 * session to resume. So a certificate costs no context, and a session of one identity cannot be
 * resumed under another.
 */
#include "net/tls_priv.h"

#include "base/assert.h"
#include "base/mem.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>

enum {
    SESSION_SECONDS = 600,
    SESSIONS_KEPT = 20480, /* by this process, when clients keep none */
    NAME_MAX_BYTES = 255,
};

struct tls_acceptor {
    unsigned refs; /* atomic */
    SSL_CTX *ctx;
    char fallback[NAME_MAX_BYTES + 1];
    const struct tls_identity *(*find)(void *arg, struct str name);
};

/* ---- tickets: keys that all threads share ---- */

/* A few are valid at a time; the one behind them is where the next is written, so a reader is only
 * disturbed if it takes as long as a key lives. */
enum { KEYS_VALID = 3, KEYS = KEYS_VALID + 1 };
struct ticket_key {
    unsigned char name[16], aes[32], hmac[32];
};
static struct ticket_key keys[KEYS];
static unsigned rotations; /* atomic; keys[rotations % KEYS] is the newest */
static EVP_CIPHER *ticket_cipher;

void tls_tickets_rotate(void)
{
    unsigned next = __atomic_load_n(&rotations, __ATOMIC_RELAXED) + 1;
    int rc = RAND_priv_bytes((unsigned char *)&keys[next % KEYS], sizeof(keys[0]));

    ASSERT(rc == 1);
    __atomic_store_n(&rotations, next, __ATOMIC_RELEASE);
}

/* The key called name, how many rotations ago: -1, there is none. */
static int key_age(const unsigned char *name, unsigned newest)
{
    for (int age = 0; age < KEYS_VALID && newest > (unsigned)age; age++) {
        if (CRYPTO_memcmp(keys[(newest - (unsigned)age) % KEYS].name, name, 16) == 0) {
            return age;
        }
    }
    return -1;
}

/* See SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 1 take it, 2 take it and give a new one, 0 do
 * without. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int encrypt)
{
    unsigned newest = __atomic_load_n(&rotations, __ATOMIC_ACQUIRE);
    int age = encrypt ? 0 : key_age(name, newest);

    if (age < 0) {
        return 0;
    }
    struct ticket_key *k = &keys[(newest - (unsigned)age) % KEYS];
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->hmac, sizeof(k->hmac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"sha256", 0),
        OSSL_PARAM_construct_end(),
    };
    if (encrypt) {
        memcpy(name, k->name, sizeof(k->name));
        if (RAND_bytes(iv, 16) != 1) {
            return -1;
        }
    }
    if (EVP_CipherInit_ex(cipher, ticket_cipher, NULL, k->aes, iv, encrypt) != 1 ||
        EVP_MAC_CTX_set_params(mac, params) != 1) {
        return -1;
    }
    return encrypt || age == 0 ? 1 : 2;
}

/* ---- the hello ---- */

/* The host name of the server_name extension (RFC 6066 3): one entry, of type 0. */
static struct str name_of_hello(SSL *ssl)
{
    const unsigned char *p;
    size_t n;

    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n) != 1 || n < 5 ||
        p[2] != TLSEXT_NAMETYPE_host_name) {
        return STR("");
    }
    size_t name_n = (size_t)p[3] << 8 | p[4];
    return name_n == n - 5 && name_n <= NAME_MAX_BYTES ? str_of((const char *)p + 5, name_n)
                                                       : STR("");
}

static struct str lower_name(struct str s, char room[NAME_MAX_BYTES])
{
    if (s.n > 0 && s.p[s.n - 1] == '.') {
        s.n--;
    }
    for (size_t i = 0; i < s.n; i++) {
        room[i] = ascii_lower(s.p[i]);
    }
    return str_of(room, s.n);
}

static int accept_anything(int ok, X509_STORE_CTX *ctx)
{
    return 1;
}

static void ask_for_certificate(SSL *ssl, const struct tls_identity *id)
{
    int mode = SSL_VERIFY_PEER | (id->optional ? 0 : SSL_VERIFY_FAIL_IF_NO_PEER_CERT);

    SSL_set_verify(ssl, mode, id->optional ? accept_anything : NULL);
    SSL_set_verify_depth(ssl, id->depth);
    SSL_set1_verify_cert_store(ssl, id->trust->store);
    SSL_set_client_CA_list(ssl, SSL_dup_CA_list(id->trust->names));
}

static uint64_t without(unsigned protocols)
{
    return (protocols & TLS_1_1 ? 0 : SSL_OP_NO_TLSv1_1) |
           (protocols & TLS_1_2 ? 0 : SSL_OP_NO_TLSv1_2) |
           (protocols & TLS_1_3 ? 0 : SSL_OP_NO_TLSv1_3);
}

/* False: none of the certificates is of use. */
static bool use_identity(SSL *ssl, const struct tls_identity *id)
{
    bool any = false;

    for (unsigned i = 0; i < id->n_pairs; i++) {
        any |= tls_use_pair(ssl, &id->pairs[i]);
    }
    SSL_set_session_id_context(ssl, (const unsigned char *)id->context, sizeof(id->context));
    if (id->protocols != 0) {
        SSL_set_options(ssl, without(id->protocols));
    }
    if (id->trust != NULL) {
        ask_for_certificate(ssl, id);
    }
    return any;
}

static int on_hello(SSL *ssl, int *alert, void *arg)
{
    const struct tls *t = tls_of_ssl(ssl);
    char room[NAME_MAX_BYTES];
    struct str name = lower_name(name_of_hello(ssl), room);

    if (name.n == 0) {
        name = str_c(t->acceptor->fallback);
    }
    const struct tls_identity *id = name.n > 0 ? t->acceptor->find(t->arg, name) : NULL;
    if (id != NULL && use_identity(ssl, id)) {
        return SSL_CLIENT_HELLO_SUCCESS;
    }
    char why[NAME_MAX_BYTES + 64];
    snprintf(why, sizeof(why),
             id != NULL   ? "the certificates of %.*s cannot be used"
             : name.n > 0 ? "failed to find any SSL certificate by SNI: %.*s"
                          : "failed to find SNI: please check if the client requests via IP or "
                            "uses an outdated protocol%.*s",
             STR_ARG(name));
    tls_set_reason(why);
    *alert = SSL_AD_INTERNAL_ERROR;
    return SSL_CLIENT_HELLO_ERROR;
}

/* Has OpenSSL keep the name with the session, for SSL_get_servername() of one that is resumed. */
static int on_name(SSL *ssl, int *alert, void *arg)
{
    return SSL_TLSEXT_ERR_OK;
}

/* Without a protocol in common the handshake fails (RFC 7301 3.2). */
static int on_alpn(SSL *ssl, const unsigned char **chosen, unsigned char *n,
                   const unsigned char *offered, unsigned offered_n, void *arg)
{
    const struct tls *t = tls_of_ssl(ssl);
    unsigned char *p;

    if (t->alpn.n == 0) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    if (SSL_select_next_proto(&p, n, (const unsigned char *)t->alpn.p, (unsigned)t->alpn.n, offered,
                              offered_n) != OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *chosen = p;
    return SSL_TLSEXT_ERR_OK;
}

/* ---- the acceptor ---- */

static void use_sessions(SSL_CTX *ctx, bool tickets)
{
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_SERVER);
    SSL_CTX_sess_set_cache_size(ctx, SESSIONS_KEPT);
    SSL_CTX_set_timeout(ctx, SESSION_SECONDS);
    SSL_CTX_set_num_tickets(ctx, 1);
    if (!tickets) {
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        return;
    }
    if (ticket_cipher == NULL) {
        ticket_cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
        ASSERT(ticket_cipher != NULL);
        tls_tickets_rotate();
    }
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
}

static int use_ciphers(SSL_CTX *ctx, struct str ciphers, struct err *e)
{
    char text[4096];

    snprintf(text, sizeof(text), "%.*s", STR_ARG(ciphers));
    if (ciphers.n == 0 || SSL_CTX_set_cipher_list(ctx, text) == 1) {
        return 0;
    }
    ERR_clear_error();
    return err_set(e, "ssl_ciphers: none of these is known: %s", text);
}

struct tls_acceptor *tls_acceptor_new(const struct tls_accept_conf *c, struct err *e)
{
    struct tls_acceptor *a = mem_alloc(sizeof(*a));
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    ASSERT(ctx != NULL);
    *a = (struct tls_acceptor){.refs = 1, .ctx = ctx, .find = c->find};
    lower_name(str_head(c->fallback, NAME_MAX_BYTES), a->fallback);
    tls_ctx_init(ctx);
    /* What the reference's build of the library takes: RSA keys of 1024 bits. TLS 1.1 signs with
     * SHA-1, which no higher level has. */
    SSL_CTX_set_security_level(ctx, c->protocols & TLS_1_1 ? 0 : 1);
    SSL_CTX_set_min_proto_version(ctx, TLS1_1_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | without(c->protocols));
    SSL_CTX_set_client_hello_cb(ctx, on_hello, NULL);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_name);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    tls_staple_init();
    SSL_CTX_set_tlsext_status_cb(ctx, tls_staple_show);
    use_sessions(ctx, c->tickets);
    if (use_ciphers(ctx, c->ciphers, e) != 0) {
        tls_acceptor_drop(a);
        return NULL;
    }
    return a;
}

void tls_acceptor_drop(struct tls_acceptor *a)
{
    if (a != NULL && __atomic_sub_fetch(&a->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        SSL_CTX_free(a->ctx);
        free(a);
    }
}

int await_tls_accept(struct io *io, struct tls_acceptor *a, void *arg, struct str alpn,
                     int64_t deadline)
{
    struct tls *t = tls_new(io, a->ctx);

    __atomic_add_fetch(&a->refs, 1, __ATOMIC_RELAXED);
    t->acceptor = a;
    t->arg = arg;
    t->alpn = alpn;
    SSL_set_accept_state(t->ssl);
    int rc = tls_await_handshake(t, deadline);
    if (rc == 0) {
        t->acceptor = NULL;
        tls_acceptor_drop(a);
    }
    return rc;
}
