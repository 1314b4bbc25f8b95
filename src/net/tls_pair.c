/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_pair: certificates and keys from PEM.
 *
 * Parsing a key takes OpenSSL a good part of a millisecond and its result some 10 KB, so what comes
 * from the store, checked once when it was written, is parsed when the first client asks for it.
 */
#include "net/tls_priv.h"

#include "base/mem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>

static BIO *text_bio(struct str s)
{
    return BIO_new_mem_buf(s.p, (int)s.n);
}

static X509 *parse_leaf(BIO *b)
{
    return PEM_read_bio_X509_AUX(b, NULL, NULL, (void *)"");
}

static EVP_PKEY *parse_key(struct str pem)
{
    BIO *b = text_bio(pem);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(b, NULL, NULL, (void *)"");

    BIO_free(b);
    return key;
}

static void parsed_free(struct tls_parsed *p)
{
    if (p != NULL) {
        X509_free(p->leaf);
        sk_X509_pop_free(p->chain, X509_free);
        EVP_PKEY_free(p->key);
        free(p);
    }
}

static struct tls_parsed *parse(const struct tls_pair *pair)
{
    struct tls_parsed *p = mem_alloc(sizeof(*p));
    BIO *b = text_bio(pair->cert);
    X509 *x;

    p->leaf = parse_leaf(b);
    p->chain = sk_X509_new_null();
    while (p->leaf != NULL && (x = PEM_read_bio_X509(b, NULL, NULL, (void *)"")) != NULL) {
        sk_X509_push(p->chain, x);
    }
    BIO_free(b);
    p->key = parse_key(pair->key);
    ERR_clear_error();
    if (p->leaf == NULL || p->key == NULL) {
        parsed_free(p);
        return NULL;
    }
    if (pair->staple) {
        tls_staple_attach(pair, p);
    }
    return p;
}

const struct tls_parsed *tls_pair_parsed(struct tls_pair *pair)
{
    struct tls_parsed *had = __atomic_load_n(&pair->parsed, __ATOMIC_ACQUIRE);

    if (had == NULL) {
        struct tls_parsed *p = parse(pair);
        /* Another thread may have been quicker. */
        if (p != NULL && !__atomic_compare_exchange_n(&pair->parsed, &had, p, false,
                                                      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            parsed_free(p);
        } else {
            had = p;
        }
    }
    return had;
}

void tls_pair_fini(struct tls_pair *pair)
{
    parsed_free(pair->parsed);
    pair->parsed = NULL;
}

bool tls_use_pair(SSL *ssl, struct tls_pair *pair)
{
    const struct tls_parsed *p = tls_pair_parsed(pair);

    return p != NULL && SSL_use_cert_and_key(ssl, p->leaf, p->key, p->chain, 1) == 1;
}

int tls_pair_check(struct str cert, struct str key, struct err *e)
{
    BIO *b = text_bio(cert);
    X509 *x = parse_leaf(b);
    EVP_PKEY *k = NULL;

    BIO_free(b);
    if (x == NULL) {
        err_set(e, "failed to parse cert: PEM_read_bio_X509_AUX() failed");
    } else if (!str_starts(key, STR("---"))) {
        err_set(e, "failed to decrypt previous encrypted key");
    } else if ((k = parse_key(key)) == NULL) {
        err_set(e, "failed to parse key: PEM_read_bio_PrivateKey() failed");
    }
    X509_free(x);
    EVP_PKEY_free(k);
    ERR_clear_error();
    return err_is_set(e) ? -1 : 0;
}

/* ---- trust ---- */

static struct tls_trust *trust_of(X509_STORE *store, STACK_OF(X509_NAME) * names)
{
    struct tls_trust *t = mem_alloc(sizeof(*t));

    *t = (struct tls_trust){.refs = 1, .store = store, .names = names};
    return t;
}

struct tls_trust *tls_trust_new(struct str pem, struct err *e)
{
    X509_STORE *store = X509_STORE_new();
    STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
    BIO *b = text_bio(pem);
    X509 *x;

    while ((x = PEM_read_bio_X509(b, NULL, NULL, (void *)"")) != NULL) {
        X509_STORE_add_cert(store, x);
        sk_X509_NAME_push(names, X509_NAME_dup(X509_get_subject_name(x)));
        X509_free(x);
    }
    BIO_free(b);
    ERR_clear_error();
    struct tls_trust *t = trust_of(store, names);
    if (sk_X509_NAME_num(names) == 0) {
        tls_trust_drop(t);
        err_set(e, "failed to parse cert: PEM_read_bio_X509_AUX() failed");
        return NULL;
    }
    return t;
}

struct tls_trust *tls_trust_load(struct str path, struct err *e)
{
    X509_STORE *store = X509_STORE_new();
    char file[4096];

    snprintf(file, sizeof(file), "%.*s", STR_ARG(path));
    int rc = str_eq(path, STR("system")) ? X509_STORE_set_default_paths(store)
                                         : X509_STORE_load_file(store, file);
    ERR_clear_error();
    if (rc != 1) {
        X509_STORE_free(store);
        err_set(e, "cannot read certificates from %s", file);
        return NULL;
    }
    return trust_of(store, NULL);
}

void tls_trust_drop(struct tls_trust *t)
{
    if (t != NULL && __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        X509_STORE_free(t->store);
        sk_X509_NAME_pop_free(t->names, X509_NAME_free);
        free(t);
    }
}
