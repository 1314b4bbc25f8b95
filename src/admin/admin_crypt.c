/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admin_crypt: secrets at rest, in the reference's format, so that either gateway reads what the
 * other wrote: AES-CBC, key and IV both the keyring entry (16 bytes: AES-128, 32: AES-256), PKCS#7,
 * base64. The first entry encrypts, all decrypt.
 *
 * Which values are secret stands in the plugins' field tables (.secret).
 */
#include "admin/admin_priv.h"
#include "base/assert.h"
#include "base/hash.h"
#include "plugin/plugin.h"

#include <openssl/evp.h>

static const EVP_CIPHER *cipher_of(struct str key)
{
    return key.n == 16 ? EVP_aes_128_cbc() : key.n == 32 ? EVP_aes_256_cbc() : NULL;
}

/* in through the cipher; STR_NONE when it does not fit the key. */
static struct str run_cipher(struct arena *a, struct str key, struct str in, bool encrypt)
{
    const EVP_CIPHER *cipher = cipher_of(key);
    const unsigned char *k = (const unsigned char *)key.p;
    struct str out = STR_NONE;
    int n = 0, last = 0;

    if (!cipher || in.n > INT_MAX - 64) {
        return STR_NONE;
    }
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    unsigned char *p = (unsigned char *)arena_bytes(a, in.n + 32);
    /* The first 16 bytes of the key are the IV. */
    if (EVP_CipherInit_ex(ctx, cipher, NULL, k, k, encrypt) == 1 &&
        EVP_CipherUpdate(ctx, p, &n, (const unsigned char *)in.p, (int)in.n) == 1 &&
        EVP_CipherFinal_ex(ctx, p + n, &last) == 1) {
        out = str_of((const char *)p, (size_t)(n + last));
    }
    EVP_CIPHER_CTX_free(ctx);
    return out;
}

struct str crypt_encrypt(struct arena *a, const struct settings *s, struct str plain)
{
    struct str out = s->n_keyring > 0 ? run_cipher(a, s->keyring[0], plain, true) : STR_NONE;

    return str_is_none(out) ? out : base64_encode(a, out);
}

struct str crypt_decrypt(struct arena *a, const struct settings *s, struct str text)
{
    struct str bytes = base64_decode(a, text), plain;

    if (str_is_none(bytes) || bytes.n == 0 || bytes.n % 16 != 0) {
        return STR_NONE;
    }
    for (unsigned i = 0; i < s->n_keyring; i++) {
        plain = run_cipher(a, s->keyring[i], bytes, false);
        if (!str_is_none(plain)) {
            return plain;
        }
    }
    return STR_NONE;
}

/* ---- where the secrets are ---- */

/* What happens to each secret text; a new string, or NULL to leave it. */
typedef json_t *text_fn(struct arena *a, struct str text);

static json_t *encrypted(struct arena *a, struct str text)
{
    struct str out = crypt_encrypt(a, admin_deps.settings, text);

    return str_is_none(out) ? NULL : json_stringn(out.p, out.n);
}

/* What does not decrypt was stored in clear: it stays. (No string comes of bytes that are not
 * UTF-8.) */
static json_t *decrypted(struct arena *a, struct str text)
{
    struct str out = crypt_decrypt(a, admin_deps.settings, text);

    return str_is_none(out) ? NULL : json_stringn(out.p, out.n);
}

/* v at the end of path ("a.b") with all texts in it changed; arrays on the way apply to each
 * element. Takes v over, gives what goes in its place. */
static json_t *change_texts(json_t *v, struct str path, struct arena *a, text_fn *fn)
{
    struct str rest = path, part;
    size_t i;
    const char *key;
    json_t *child;

    if (json_is_array(v)) {
        json_array_foreach(v, i, child) {
            json_array_set_new(v, i, change_texts(json_incref(child), path, a, fn));
        }
    } else if (path.n > 0 && json_is_object(v)) {
        str_split(&rest, '.', &part);
        child = json_object_getn(v, part.p, part.n);
        if (child) {
            json_object_setn_new(v, part.p, part.n, change_texts(json_incref(child), rest, a, fn));
        }
    } else if (json_is_object(v)) {
        json_object_foreach(v, key, child) {
            json_object_set_new(v, key, change_texts(json_incref(child), path, a, fn));
        }
    } else if (path.n == 0 && json_is_string(v)) {
        json_t *changed = fn(a, json_str(v));
        if (changed) {
            json_decref(v);
            return changed;
        }
    }
    return v;
}

/* One object's walk over its plugins. */
struct walk {
    json_t *conf;
    struct arena *a;
    text_fn *fn;
};

static void change_path(const char *path, void *arg)
{
    struct walk *w = arg;

    json_decref(change_texts(json_incref(w->conf), str_c(path), w->a, w->fn));
}

static void change_conf(const struct plugin *p, enum conf_use use, json_t *conf, struct arena *a,
                        text_fn *fn)
{
    struct walk w = {.conf = conf, .a = a, .fn = fn};

    if (p && json_is_object(conf)) {
        plugin_secrets(p, use, change_path, &w);
    }
}

/* All plugin confs in value. A consumer's confs are of the consumer schema where the plugin has
 * one. */
static void change_plugins(enum object_kind kind, json_t *value, text_fn *fn)
{
    bool is_consumer = kind == K_CONSUMER || kind == K_CREDENTIAL;
    struct arena *a = arena_new(4096);
    const char *name;
    json_t *conf;

    if (kind == K_PLUGIN_METADATA) {
        change_conf(plugin_find(json_str(json_get(value, "id"))), CONF_METADATA, value, a, fn);
    }
    json_object_foreach(json_get(value, "plugins"), name, conf) {
        const struct plugin *p = plugin_find(str_c(name));
        bool consumer_conf = is_consumer && p && plugin_schema(p, CONF_CONSUMER);
        change_conf(p, consumer_conf ? CONF_CONSUMER : CONF_PLUGIN, conf, a, fn);
    }
    arena_free(a);
}

/* The tls object of an upstream, or of the one inside a route or service. */
static json_t *tls_of(enum object_kind kind, const json_t *value)
{
    const json_t *upstream = kind == K_UPSTREAM ? value : json_get(value, "upstream");

    return json_get(upstream, "tls");
}

/* A private key, told by how PEM begins; what else there may be is a reference to a secret. */
static bool is_clear_key(struct str text)
{
    return str_starts(text, STR("---"));
}

static json_t *encrypted_key(struct arena *a, struct str text)
{
    return is_clear_key(text) ? encrypted(a, text) : NULL;
}

static json_t *decrypted_key(struct arena *a, struct str text)
{
    return is_clear_key(text) ? NULL : decrypted(a, text);
}

static void change_keys(enum object_kind kind, json_t *value, text_fn *fn)
{
    static const struct str ssl_paths[] = {STR_INIT("key"), STR_INIT("keys")};
    json_t *tls = tls_of(kind, value);
    struct arena *a = arena_new(8192);

    for (size_t i = 0; kind == K_SSL && i < LENGTH_OF(ssl_paths); i++) {
        json_decref(change_texts(json_incref(value), ssl_paths[i], a, fn));
    }
    if (tls != NULL) {
        json_decref(change_texts(json_incref(tls), STR("client_key"), a, fn));
    }
    arena_free(a);
}

void secrets_encrypt(enum object_kind kind, json_t *value)
{
    if (admin_deps.settings->encrypt_fields) {
        change_plugins(kind, value, encrypted);
    }
    /* Private keys whatever the setting says. */
    change_keys(kind, value, encrypted_key);
}

void secrets_decrypt(enum object_kind kind, json_t *value)
{
    if (admin_deps.settings->encrypt_fields) {
        change_plugins(kind, value, decrypted);
    }
}

void secrets_decrypt_keys(enum object_kind kind, json_t *value)
{
    change_keys(kind, value, decrypted_key);
}

void secrets_hide(enum object_kind kind, json_t *value)
{
    if (kind == K_SSL) {
        json_object_del(value, "key");
        json_object_del(value, "keys");
    }
}
