/* SPDX-License-Identifier: Apache-2.0 */
/* tls_staple: see tls_staple.h. It hangs on the certificate (ex data), so that it lives as long as
 * a connection or an object has it. */
#include "net/tls_staple.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "net/tls_priv.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    AGAIN_MS = 60 * 1000, /* after a fetch that failed */
    CLOCK_SKEW_S = 300,   /* RFC 5019 asks to be patient with clocks */
    ANSWER_MAX = 64 << 10,
};

struct tls_staple {
    unsigned refs;       /* atomic */
    X509 *leaf, *issuer; /* leaf: owned by who has the certificate, a fetch holds it; issuer may be
                            NULL */
    bool unchecked;      /* the signature need not be good */
    int64_t ttl_ms;
    pthread_mutex_t lock; /* for what follows */
    char *der;            /* NULL: no answer */
    size_t n;
    int64_t until;   /* when the answer is old */
    int64_t next_ms; /* when to ask again */
    bool fetching;
};

void (*tls_staple_fetch)(struct tls_staple *s);

static int ex_index = -1;

static void staple_drop(struct tls_staple *s)
{
    if (s != NULL && __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        X509_free(s->issuer);
        pthread_mutex_destroy(&s->lock);
        free(s->der);
        free(s);
    }
}

static void on_leaf_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl,
                         void *argp)
{
    staple_drop(ptr);
}

void tls_staple_init(void)
{
    if (ex_index < 0) {
        ex_index = X509_get_ex_new_index(0, NULL, NULL, NULL, on_leaf_free);
    }
}

static X509 *issuer_of(X509 *leaf, const STACK_OF(X509) * chain)
{
    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *x = sk_X509_value(chain, i);
        if (X509_check_issued(x, leaf) == X509_V_OK) {
            X509_up_ref(x);
            return x;
        }
    }
    return NULL;
}

void tls_staple_attach(const struct tls_pair *pair, const struct tls_parsed *p)
{
    struct tls_staple *s = mem_alloc(sizeof(*s));

    *s = (struct tls_staple){.refs = 1,
                             .leaf = p->leaf,
                             .issuer = issuer_of(p->leaf, p->chain),
                             .unchecked = pair->staple_unchecked,
                             .ttl_ms = pair->staple_ttl_ms};
    pthread_mutex_init(&s->lock, NULL);
    X509_set_ex_data(p->leaf, ex_index, s);
}

/* A copy of the answer for OpenSSL to free; NULL: there is none. *fetch: one should be fetched, by
 * the caller. */
static unsigned char *copy_answer(struct tls_staple *s, size_t *n, bool *fetch)
{
    unsigned char *copy = NULL;

    pthread_mutex_lock(&s->lock);
    if (s->der != NULL && s->until > now_ms()) {
        copy = OPENSSL_memdup(s->der, s->n);
        *n = s->n;
    }
    *fetch = !s->fetching && s->next_ms <= now_ms();
    s->fetching |= *fetch;
    pthread_mutex_unlock(&s->lock);
    return copy;
}

int tls_staple_show(SSL *ssl, void *arg)
{
    X509 *leaf = SSL_get_certificate(ssl);
    struct tls_staple *s = leaf != NULL ? X509_get_ex_data(leaf, ex_index) : NULL;
    size_t n = 0;
    bool fetch;

    if (s == NULL || tls_staple_fetch == NULL) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    unsigned char *answer = copy_answer(s, &n, &fetch);
    if (fetch) {
        X509_up_ref(leaf);
        __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
        tls_staple_fetch(s);
    }
    if (answer == NULL) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    SSL_set_tlsext_status_ocsp_resp(ssl, answer, (long)n);
    return SSL_TLSEXT_ERR_OK;
}

/* ---- for who fetches ---- */

struct str tls_staple_url(struct tls_staple *s, struct arena *a)
{
    STACK_OF(OPENSSL_STRING) *urls = X509_get1_ocsp(s->leaf);
    struct str url = STR_NONE;

    for (int i = 0; str_is_none(url) && i < sk_OPENSSL_STRING_num(urls); i++) {
        struct str one = str_c(sk_OPENSSL_STRING_value(urls, i));
        url = str_starts(one, STR("http://")) ? arena_str(a, one) : STR_NONE;
    }
    X509_email_free(urls);
    return url;
}

static OCSP_CERTID *id_of(const struct tls_staple *s)
{
    return OCSP_cert_to_id(EVP_sha1(), s->leaf, s->issuer);
}

struct str tls_staple_question(struct tls_staple *s, struct arena *a)
{
    unsigned char *der = NULL;

    if (s->issuer == NULL) {
        return STR_NONE;
    }
    OCSP_REQUEST *q = OCSP_REQUEST_new();
    OCSP_request_add0_id(q, id_of(s));
    int n = i2d_OCSP_REQUEST(q, &der);
    struct str out = n > 0 ? arena_str(a, str_of((const char *)der, (size_t)n)) : STR_NONE;
    OPENSSL_free(der);
    OCSP_REQUEST_free(q);
    return out;
}

/* Signed by the issuer, or by one whom it has named. */
static bool is_signed(const struct tls_staple *s, OCSP_BASICRESP *b)
{
    X509_STORE *store = X509_STORE_new();
    STACK_OF(X509) *known = sk_X509_new_null();

    X509_STORE_add_cert(store, s->issuer);
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    sk_X509_push(known, s->issuer);
    bool ok = OCSP_basic_verify(b, known, store, OCSP_TRUSTOTHER) == 1;
    sk_X509_free(known);
    X509_STORE_free(store);
    return ok;
}

static const char *why_bad(const struct tls_staple *s, OCSP_BASICRESP *b)
{
    ASN1_GENERALIZEDTIME *since, *until;
    OCSP_CERTID *id = id_of(s);
    int status = 0, found = OCSP_resp_find_status(b, id, &status, NULL, NULL, &since, &until);

    OCSP_CERTID_free(id);
    if (found != 1) {
        return "it is about another certificate";
    }
    if (status != V_OCSP_CERTSTATUS_GOOD) {
        return OCSP_cert_status_str(status);
    }
    if (OCSP_check_validity(since, until, CLOCK_SKEW_S, -1) != 1) {
        return "it is not of this time";
    }
    return s->unchecked || is_signed(s, b) ? NULL : "its signature is not the issuer's";
}

static void keep(struct tls_staple *s, struct str der)
{
    char *copy = mem_resize(NULL, der.n);

    memcpy(copy, der.p, der.n);
    pthread_mutex_lock(&s->lock);
    free(s->der);
    s->der = copy;
    s->n = der.n;
    /* Renewed when the time is over, shown until the renewal had its chance. */
    s->next_ms = now_ms() + s->ttl_ms;
    s->until = s->next_ms + 2 * AGAIN_MS;
    pthread_mutex_unlock(&s->lock);
}

int tls_staple_answer(struct tls_staple *s, struct str der, struct err *e)
{
    const unsigned char *p = (const unsigned char *)der.p;
    OCSP_RESPONSE *r = der.n <= ANSWER_MAX ? d2i_OCSP_RESPONSE(NULL, &p, (long)der.n) : NULL;
    OCSP_BASICRESP *b = NULL;
    const char *why = "it is no OCSP answer";

    if (r != NULL && OCSP_response_status(r) != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
        why = OCSP_response_status_str(OCSP_response_status(r));
    } else if (r != NULL && (b = OCSP_response_get1_basic(r)) != NULL) {
        why = why_bad(s, b);
    }
    OCSP_BASICRESP_free(b);
    OCSP_RESPONSE_free(r);
    ERR_clear_error();
    if (why != NULL) {
        return err_set(e, "%s", why);
    }
    keep(s, der);
    return 0;
}

void tls_staple_done(struct tls_staple *s)
{
    X509 *leaf = s->leaf;

    pthread_mutex_lock(&s->lock);
    s->fetching = false;
    if (s->next_ms <= now_ms()) {
        s->next_ms = now_ms() + AGAIN_MS;
    }
    pthread_mutex_unlock(&s->lock);
    staple_drop(s);
    X509_free(leaf);
}
