/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ssl: certificates: of type server, for the names that clients ask for, and of type client, for
 * upstreams that ask us (runtime.md section 12).
 *
 * PEM is parsed when it is written through the Admin API, to be refused if it is bad, and otherwise
 * only when a client first asks for the name: ten thousand objects are loaded in the time of their
 * JSON.
 */
#include "base/log.h"
#include "config/resource_priv.h"
#include "schema/jschema.h"

#include <openssl/evp.h>

struct client_json {
    struct str ca;
    int64_t depth;
    struct arr skip_mtls_uri_regex; /* of struct str */
};
struct ssl_json {
    struct str type, cert, key, sni;
    struct arr certs, keys, snis, ssl_protocols; /* of struct str */
    bool has_client;
    struct client_json client;
    int64_t status;
};
/* A property that is there while the plugin ocsp-stapling is on. */
struct staple_json {
    bool enabled, skip_verify;
    int64_t cache_ttl; /* seconds */
};

/* clang-format off */
#define CERT_LENGTH .min_len = 128, .max_len = 65536
#define KEY_LENGTH .min_len = 64, .max_len = 65536

static const struct field client_fields[] = {
    F_STR(struct client_json, ca, .required = true, CERT_LENGTH,
          .doc = "Certificates that may have signed a client's, as PEM."),
    F_INT(struct client_json, depth, .def = "1", .min = 0,
          .doc = "Certificates between a client's and the trusted one, at most."),
    F_ARR(struct client_json, skip_mtls_uri_regex, .min_len = 1, .unique = true,
          .item = &(const struct field){F_ITEM(FK_STR)},
          .doc = "Expressions for paths that need no client certificate."),
    F_END,
};
static const struct field ssl_fields[] = {
    FIELD_ID,
    FIELD_TIMES,
    FIELD_DESC,
    FIELD_LABELS,
    F_STR(struct ssl_json, type, .def = "\"server\"",
          .choices = (const char *const[]){"server", "client", NULL},
          .doc = "server: for clients; client: for upstreams that name it by tls.client_cert_id."),
    F_STR(struct ssl_json, cert, CERT_LENGTH, .doc = "Certificate and its chain, as PEM."),
    F_STR(struct ssl_json, key, KEY_LENGTH, .doc = "Private key, as PEM; encrypted in the store."),
    F_STR(struct ssl_json, sni, .pattern = HOST_PATTERN, .doc = "Name it is for; * and *.d too."),
    F_ARR(struct ssl_json, snis, .min_len = 1,
          .item = &(const struct field){F_ITEM(FK_STR, .pattern = HOST_PATTERN)},
          .doc = "Names it is for."),
    F_ARR(struct ssl_json, certs, .item = &(const struct field){F_ITEM(FK_STR, CERT_LENGTH)},
          .doc = "Further certificates for the same names, with keys of other types."),
    F_ARR(struct ssl_json, keys, .item = &(const struct field){F_ITEM(FK_STR, KEY_LENGTH)},
          .doc = "Their keys."),
    F_OBJ(struct ssl_json, client, client_fields, .present = offsetof(struct ssl_json, has_client),
          .doc = "Clients must show a certificate."),
    F_INT(struct ssl_json, status, .raw = JSON({"type": "integer", "enum": [1, 0], "default": 1}),
          .def = "1", .doc = "0: not used."),
    F_ARR(struct ssl_json, ssl_protocols, .unique = true, .max_len = 3,
          .item = &(const struct field){F_ITEM(FK_STR,
              .raw = JSON({"enum": ["TLSv1.1", "TLSv1.2", "TLSv1.3"]}))},
          .doc = "The protocols of apisix.ssl.ssl_protocols to take."),
    F_END,
};
/* clang-format on */

static const struct field staple_fields[] = {
    F_BOOL(struct staple_json, enabled, .def = "false", .doc = "Show what the issuer says now."),
    F_BOOL(struct staple_json, skip_verify, .def = "false", .doc = "Take it whoever signed it."),
    F_INT(struct staple_json, cache_ttl, .def = "3600", .min = 60,
          .doc = "Seconds after which to ask again."),
    F_END,
};

static bool has_stapling(const json_t *value)
{
    return json_get(value, "ocsp_stapling") != NULL &&
           config_hooks.plugin_find(STR("ocsp-stapling")) != NULL;
}

static const struct str *texts(const struct arr *a)
{
    return a->v;
}

/* ---- references to secrets ---- */

static const char filler[129] = "----------------------------------------------------------------"
                                "----------------------------------------------------------------";

/* A reference may be shorter than what it stands for. NULL: leave it. */
static json_t *stand_in(const json_t *v)
{
    return secret_ref_is(json_str(v)) ? json_string(filler) : NULL;
}

static bool stand_in_at(json_t *o, const char *key)
{
    json_t *v = stand_in(json_get(o, key));

    return v != NULL && json_object_set_new(o, key, v) == 0;
}

static bool stand_in_list(json_t *list)
{
    bool any = false;
    json_t *item;
    size_t i;

    json_array_foreach(list, i, item) {
        json_t *v = stand_in(item);
        any |= v != NULL && json_array_set_new(list, i, v) == 0;
    }
    return any;
}

/* The schema knows nothing of stapling: check_stapling() does. */
static bool ssl_fill_refs(json_t *copy)
{
    bool any = stand_in_at(copy, "cert");

    any |= has_stapling(copy) && json_object_del(copy, "ocsp_stapling") == 0;

    any |= stand_in_at(copy, "key");
    any |= stand_in_at(json_get(copy, "client"), "ca");
    any |= stand_in_list(json_get(copy, "certs"));
    any |= stand_in_list(json_get(copy, "keys"));
    return any;
}

/* ---- checks ---- */

/* What a reference stands for may not be there yet. */
static int check_pair(struct str cert, struct str key, struct err *e)
{
    return secret_ref_is(cert) || secret_ref_is(key) ? 0 : tls_pair_check(cert, key, e);
}

static int check_pairs(const json_t *v, struct err *e)
{
    const json_t *certs = json_get(v, "certs"), *keys = json_get(v, "keys");

    if (json_array_size(certs) != json_array_size(keys)) {
        return err_set(e, "mismatched number of certs and keys");
    }
    for (size_t i = 0; i < json_array_size(certs); i++) {
        if (check_pair(json_str(json_array_get(certs, i)), json_str(json_array_get(keys, i)), e) !=
            0) {
            return err_prefix(e, "failed to handle cert-key pair[%zu]: ", i + 1);
        }
    }
    return 0;
}

static int check_skips(const json_t *list, struct err *e)
{
    struct arena *a = arena_new(1024);
    json_t *v;
    size_t i;

    json_array_foreach(list, i, v) {
        if (re_new(a, json_str(v), "", e) == NULL) {
            err_prefix(e, "invalid skip_mtls_uri_regex: ");
            break;
        }
    }
    arena_free(a);
    return err_is_set(e) ? -1 : 0;
}

static int check_client(const json_t *client, struct err *e)
{
    struct str ca = json_str(json_get(client, "ca"));

    if (client == NULL) {
        return 0;
    }
    if (!secret_ref_is(ca)) {
        struct tls_trust *t = tls_trust_new(ca, e);
        if (t == NULL) {
            return err_prefix(e, "failed to validate client_cert: ");
        }
        tls_trust_drop(t);
    }
    return check_skips(json_get(client, "skip_mtls_uri_regex"), e);
}

static int check_stapling(const json_t *value, struct err *e)
{
    static struct jschema *schema;

    if (!has_stapling(value)) {
        return 0;
    }
    if (schema == NULL) {
        json_t *text = fields_schema(staple_fields, false, NULL);
        schema = jschema_new(text, e);
        json_decref(text);
    }
    if (jschema_check(schema, json_get(value, "ocsp_stapling"), e) != 0) {
        return err_prefix(e,
                          "invalid configuration: property \"ocsp_stapling\" validation failed: ");
    }
    return 0;
}

static int ssl_after(const struct check *c)
{
    const json_t *v = c->value;

    if (check_stapling(v, c->e) != 0) {
        return -1;
    }
    /* What is loaded was checked when it was written. */
    if (c->refs == NULL) {
        return 0;
    }
    if (check_pair(json_str(json_get(v, "cert")), json_str(json_get(v, "key")), c->e) != 0) {
        return -1;
    }
    if (str_eq(json_str(json_get(v, "type")), STR("client"))) {
        return 0;
    }
    return check_pairs(v, c->e) != 0 ? -1 : check_client(json_get(v, "client"), c->e);
}

/* ---- building ---- */

static void pair_drop(void *pair)
{
    tls_pair_fini(pair);
}

static void pair_set(struct arena *a, struct tls_pair *p, struct str cert, struct str key,
                     struct str id)
{
    *p = (struct tls_pair){.cert = secret_ref_text(a, cert), .key = secret_ref_text(a, key)};
    if (str_is_none(p->cert) || str_is_none(p->key)) {
        LOG(WARN, "ssl %.*s: a secret reference cannot be resolved", STR_ARG(id));
    }
    arena_on_reset(a, pair_drop, p);
}

static void staple_build(struct arena *a, const json_t *value, struct ssl *s)
{
    struct staple_json j = {0};

    if (!has_stapling(value)) {
        return;
    }
    fields_fill(staple_fields, json_get(value, "ocsp_stapling"), &j, a);
    for (unsigned i = 0; i < s->tls.n_pairs; i++) {
        s->tls.pairs[i].staple = j.enabled;
        s->tls.pairs[i].staple_unchecked = j.skip_verify;
        s->tls.pairs[i].staple_ttl_ms = seconds_to_ms((double)j.cache_ttl);
    }
}

static void pairs_build(struct arena *a, const struct ssl_json *j, struct ssl *s, struct str id)
{
    size_t more = j->certs.n < j->keys.n ? j->certs.n : j->keys.n;
    struct tls_pair *v = ARENA_ARRAY(a, struct tls_pair, 1 + more);

    pair_set(a, &v[0], j->cert, j->key, id);
    for (size_t i = 0; i < more; i++) {
        pair_set(a, &v[1 + i], texts(&j->certs)[i], texts(&j->keys)[i], id);
    }
    s->tls.pairs = v;
    s->tls.n_pairs = (unsigned)(1 + more);
}

static void names_build(struct arena *a, const struct ssl_json *j, struct ssl *s)
{
    const struct str *from = str_is_none(j->sni) ? texts(&j->snis) : &j->sni;
    const size_t n = str_is_none(j->sni) ? j->snis.n : 1;
    struct str *v = ARENA_ARRAY(a, struct str, n);

    for (size_t i = 0; i < n; i++) {
        v[i] = arena_lower(a, from[i]);
    }
    s->snis = v;
    s->n_snis = (unsigned)n;
}

static unsigned protocols_of(const struct arr *names)
{
    unsigned bits = 0;

    for (size_t i = 0; i < names->n; i++) {
        bits |= tls_protocol_of(texts(names)[i]);
    }
    return bits;
}

static void trust_drop(void *trust)
{
    tls_trust_drop(trust);
}

/* A session that was opened under other rules is not resumed: what they are made of, as a hash. */
static void set_context(struct tls_identity *t, struct str ca)
{
    struct arena *a = arena_new(4096);
    struct str rules = arena_printf(a, "%d %.*s", t->depth, STR_ARG(ca));
    unsigned n = sizeof(t->context);

    EVP_Digest(rules.p, rules.n, (unsigned char *)t->context, &n, EVP_sha256(), NULL);
    arena_free(a);
}

static int client_build(struct arena *a, const struct client_json *j, struct ssl *s, struct err *e)
{
    struct str ca = secret_ref_text(a, j->ca);
    const struct re **skip = ARENA_ARRAY(a, const struct re *, j->skip_mtls_uri_regex.n + 1);

    s->tls.trust = tls_trust_new(str_is_none(ca) ? STR("") : ca, e);
    if (s->tls.trust == NULL) {
        return err_prefix(e, "failed to validate client_cert: ");
    }
    arena_on_reset(a, trust_drop, s->tls.trust);
    for (size_t i = 0; i < j->skip_mtls_uri_regex.n; i++) {
        skip[i] = re_new(a, texts(&j->skip_mtls_uri_regex)[i], "", e);
        if (skip[i] == NULL) {
            return err_prefix(e, "invalid skip_mtls_uri_regex: ");
        }
    }
    s->skip = skip;
    s->n_skip = (unsigned)j->skip_mtls_uri_regex.n;
    s->tls.depth = j->depth > 100 ? 100 : (int)j->depth;
    s->tls.optional = s->n_skip > 0;
    set_context(&s->tls, ca);
    return 0;
}

static struct object *ssl_build(struct arena *a, struct str id, const json_t *value, struct err *e)
{
    struct ssl *s = ARENA_NEW(a, struct ssl);
    struct ssl_json j = {0};

    fields_fill(ssl_fields, value, &j, a);
    s->is_client = str_eq(j.type, STR("client"));
    s->enabled = j.status == 1;
    pairs_build(a, &j, s, id);
    if (s->is_client) {
        return &s->o;
    }
    names_build(a, &j, s);
    staple_build(a, value, s);
    s->tls.protocols = protocols_of(&j.ssl_protocols);
    return !j.has_client || client_build(a, &j.client, s, e) == 0 ? &s->o : NULL;
}

const struct resource_type ssl_type = {
    .fields = ssl_fields,
    .extra = JSON({
        "if": {"properties": {"type": {"enum": ["server"]}}},
        "then": {
            "oneOf": [{"required": ["sni", "key", "cert"]}, {"required": ["snis", "key", "cert"]}]
        },
        "else": {"required": ["key", "cert"]}
    }),
    .has_id = true,
    .fill_refs = ssl_fill_refs,
    .after = ssl_after,
    .build = ssl_build,
};
