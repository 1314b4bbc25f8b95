/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* certs: certificates made on the spot,. */
#include "base/str.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

struct made {
    EVP_PKEY *key;
    X509 *cert;
    struct str key_pem, cert_pem;
};

/* What was written to b, which ends here; kept for the life of the test. */
static struct str made_pem(BIO *b)
{
    char *p;
    long n = BIO_get_mem_data(b, &p);
    struct str pem = str_c(strndup(p, (size_t)n));
    BIO_free(b);
    return pem;
}

/* A certificate of name, signed by issuer (NULL: itself, which may then sign others). */
static struct made cert_make(const char *name, bool rsa, const struct made *issuer)
{
    static long serial;
    struct made m = {.key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256"), .cert = X509_new()};
    X509_NAME *n = X509_get_subject_name(m.cert);
    char alt[300];

    snprintf(alt, sizeof(alt), "DNS:%s", name);
    X509_set_version(m.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(m.cert), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(m.cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(m.cert), 3600);
    X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(m.cert, issuer ? X509_get_subject_name(issuer->cert) : n);
    X509_set_pubkey(m.cert, m.key);
    X509_EXTENSION *ext[] = {
        X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alt),
        X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, issuer ? "CA:FALSE" : "CA:TRUE"),
    };
    for (int i = 0; i < 2; i++) {
        X509_add_ext(m.cert, ext[i], -1);
        X509_EXTENSION_free(ext[i]);
    }
    X509_sign(m.cert, issuer ? issuer->key : m.key, EVP_sha256());
    BIO *k = BIO_new(BIO_s_mem()), *c = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(k, m.key, NULL, NULL, 0, NULL, NULL);
    PEM_write_bio_X509(c, m.cert);
    m.key_pem = made_pem(k);
    m.cert_pem = made_pem(c);
    return m;
}
