/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets at rest: the reference's vectors, keyrings of two, and which values of an object are
 * touched. */
#include "t.h"

#include "admin/admin_priv.h"
#include "base/assert.h"
#include "plugin/plugin.h"

static const struct str default_keyring[] = {STR_INIT("qeddd145sfvddff3"),
                                             STR_INIT("edd1c9f0985e76a2")};
static struct settings settings = {
    .encrypt_fields = true, .keyring = default_keyring, .n_keyring = 2};

/* A plugin with secrets everywhere: flat, nested, and in each element of an array. */
struct vault_conf {
    struct str key;
    const json_t *auth, *instances;
};
static const struct field vault_fields[] = {
    F_STR(struct vault_conf, key, .secret = true),
    F_JSON(struct vault_conf, auth, .secret = true, .raw = "{}"),
    F_END,
};
static const struct field vault_consumer_fields[] = {F_STR(struct vault_conf, key), F_END};
static const struct plugin vault = {
    .name = "vault", .conf_size = sizeof(struct vault_conf), .fields = vault_fields};
static const struct plugin consumer_vault = {.name = "consumer-vault",
                                             .auth = true,
                                             .conf_size = sizeof(struct vault_conf),
                                             .fields = vault_fields,
                                             .consumer_size = sizeof(struct vault_conf),
                                             .consumer_fields = vault_consumer_fields};

static void setup(void)
{
    static const struct plugin *const all[] = {&vault, &consumer_vault};
    static bool done;

    admin_deps.settings = &settings;
    if (!done) {
        plugin_registry_init(all, 2, NULL, 0, NULL);
        done = true;
    }
}

static void the_reference_reads_what_is_written_here_and_the_other_way_round(void)
{
    static const struct {
        const char *plain, *text;
    } cases[] = {
        {"auth-one", "4y+JvURBE6ZwRbbgaryrhg=="},  {"cred-one", "6N/u2y8lFIpX6CXSvJAF+g=="},
        {"secret-pw", "cJA+xJdDo7VB3Xnrp+otHA=="}, {"s", "ahvU0zgBeaH26zz2sZrtkg=="},
        {"p", "n+P1VeClZzq3tyjZVsPmcg=="},
    };
    struct arena *a = arena_new(1024);

    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        CHECK_STR(crypt_encrypt(a, &settings, str_c(cases[i].plain)), cases[i].text);
        CHECK_STR(crypt_decrypt(a, &settings, str_c(cases[i].text)), cases[i].plain);
    }
    arena_free(a);
}

static void every_key_of_the_ring_decrypts_and_the_first_encrypts(void)
{
    static const struct str turned[] = {STR_INIT("edd1c9f0985e76a2"), STR_INIT("qeddd145sfvddff3")};
    static const struct str long_key[] = {STR_INIT("0123456789abcdef0123456789abcdef")};
    static const struct str strange[] = {STR_INIT("0123456789abcde!")};
    struct settings rotated = {.keyring = turned, .n_keyring = 2},
                    wide = {.keyring = long_key, .n_keyring = 1};
    struct settings other = {.keyring = strange, .n_keyring = 1};
    struct arena *a = arena_new(1024);

    CHECK_STR(crypt_decrypt(a, &rotated, STR("4y+JvURBE6ZwRbbgaryrhg==")), "auth-one");
    CHECK(!str_eq(crypt_encrypt(a, &rotated, STR("auth-one")), STR("4y+JvURBE6ZwRbbgaryrhg==")));
    CHECK_STR(crypt_decrypt(a, &wide, crypt_encrypt(a, &wide, STR("auth-one"))), "auth-one");
    CHECK(str_is_none(crypt_decrypt(a, &other, STR("4y+JvURBE6ZwRbbgaryrhg=="))));
    arena_free(a);
}

static void what_is_no_ciphertext_does_not_decrypt(void)
{
    static const char *const cases[] = {
        "", "auth-one", "AAAA", "!!!!", "4y+JvURBE6ZwRbbgaryrhg=", "4y+JvURBE6ZwRbbgaryrhAAA"};
    struct arena *a = arena_new(1024);

    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct str plain = crypt_decrypt(a, &settings, str_c(cases[i]));
        CHECK_ROW(i, str_is_none(plain) || str_eq(plain, STR("auth-one")));
    }
    arena_free(a);
}

/* in, encrypted as kind, must be out; and decrypted again, in. */
static void check_round(enum object_kind kind, const char *in, const char *out)
{
    struct arena *a = arena_new(1024);
    struct err e = {0};
    json_t *v = json_parse(str_c(in), &e);

    ASSERT(v != NULL);
    secrets_encrypt(kind, v);
    CHECK_STR(json_text(a, v), out);
    secrets_decrypt(kind, v);
    secrets_decrypt_keys(kind, v);
    CHECK_STR(json_text(a, v), in);
    json_decref(v);
    arena_free(a);
}

static void only_secret_fields_change_at_any_depth(void)
{
    setup();
    check_round(K_ROUTE, "{\"uri\":\"p\",\"plugins\":{\"vault\":{\"key\":\"p\",\"other\":\"p\"}}}",
                "{\"uri\":\"p\",\"plugins\":{\"vault\":{\"key\":\"n+P1VeClZzq3tyjZVsPmcg==\","
                "\"other\":\"p\"}}}");
    check_round(K_SERVICE, "{\"plugins\":{\"vault\":{\"auth\":{\"a\":\"p\",\"b\":[\"s\",1]}}}}",
                "{\"plugins\":{\"vault\":{\"auth\":{\"a\":\"n+P1VeClZzq3tyjZVsPmcg==\",\"b\":["
                "\"ahvU0zgBeaH26zz2sZrtkg==\",1]}}}}");
    check_round(K_ROUTE, "{\"plugins\":{\"vault\":{\"key\":1},\"nobody\":{\"key\":\"p\"}}}",
                "{\"plugins\":{\"vault\":{\"key\":1},\"nobody\":{\"key\":\"p\"}}}");
    check_round(K_ROUTE, "{\"plugins\":{\"vault\":null}}", "{\"plugins\":{\"vault\":null}}");
    check_round(K_ROUTE, "{\"plugins\":[]}", "{\"plugins\":[]}");
    check_round(K_ROUTE, "{\"uri\":\"p\"}", "{\"uri\":\"p\"}");
}

static void a_consumer_conf_follows_the_consumer_schema(void)
{
    setup();
    /* In a consumer the plugin's consumer fields count (no secret here); a plugin without them is
     * what it is elsewhere. */
    check_round(K_CONSUMER,
                "{\"plugins\":{\"consumer-vault\":{\"key\":\"p\"},\"vault\":{\"key\":\"p\"}}}",
                "{\"plugins\":{\"consumer-vault\":{\"key\":\"p\"},\"vault\":{\"key\":\"n+"
                "P1VeClZzq3tyjZVsPmcg==\"}}}");
    check_round(K_ROUTE, "{\"plugins\":{\"consumer-vault\":{\"key\":\"p\"}}}",
                "{\"plugins\":{\"consumer-vault\":{\"key\":\"n+P1VeClZzq3tyjZVsPmcg==\"}}}");
}

static void private_keys_of_upstreams_are_encrypted_even_with_the_option_off(void)
{
    static const char inside[] = "{\"upstream\":{\"tls\":{\"client_key\":\"---key---\"}}}";
    struct arena *a = arena_new(1024);
    struct err e = {0};

    setup();
    settings.encrypt_fields = false;
    json_t *v = json_parse(
        STR("{\"tls\":{\"client_key\":\"---key---\"},\"plugins\":{\"vault\":{\"key\":\"p\"}}}"),
        &e);
    secrets_encrypt(K_UPSTREAM, v);
    CHECK(!str_starts(json_str(json_get(json_get(v, "tls"), "client_key")), STR("---")));
    CHECK_STR(json_str(json_get(json_get(json_get(v, "plugins"), "vault"), "key")), "p");
    /* Twice does not encrypt twice. */
    struct str once = arena_str(a, json_text(a, v));
    secrets_encrypt(K_UPSTREAM, v);
    CHECK(str_eq(json_text(a, v), once));
    secrets_decrypt_keys(K_UPSTREAM, v);
    CHECK_STR(json_str(json_get(json_get(v, "tls"), "client_key")), "---key---");
    json_decref(v);
    v = json_parse(str_c(inside), &e);
    secrets_encrypt(K_ROUTE, v);
    CHECK(str_find(json_text(a, v), STR("---")) < 0);
    secrets_decrypt(K_ROUTE, v);
    secrets_decrypt_keys(K_ROUTE, v);
    CHECK_STR(json_text(a, v), inside);
    json_decref(v);
    settings.encrypt_fields = true;
    arena_free(a);
}

TESTS(T(the_reference_reads_what_is_written_here_and_the_other_way_round),
      T(every_key_of_the_ring_decrypts_and_the_first_encrypts),
      T(what_is_no_ciphertext_does_not_decrypt), T(only_secret_fields_change_at_any_depth),
      T(a_consumer_conf_follows_the_consumer_schema),
      T(private_keys_of_upstreams_are_encrypted_even_with_the_option_off))
