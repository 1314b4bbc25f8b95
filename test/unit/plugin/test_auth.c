/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/auth.h"

#include "plugins/fake.h"

static void a_query_argument_is_hidden_and_the_others_stay_as_they_were(void)
{
    static const struct {
        const char *line, *uri, *args; /* uri NULL: nothing was changed */
    } cases[] = {
        {"GET /a?key=1", "/a", ""},
        {"GET /a?key=1&b=2", "/a?b=2", "b=2"},
        {"GET /a?b=%32&key=1&c", "/a?b=%32&c", "b=%32&c"},
        {"GET /a?key=1&key=2&b&key", "/a?b", "b"},
        {"GET /a?k%65y=1&b=2", "/a?b=2", "b=2"},
        {"GET /a?keys=1&b=key", NULL, "keys=1&b=key"},
        {"GET /a?&b&&c=", NULL, "&b&&c="},
        {"GET /a?&key=1&b", "/a?&b", "&b"},
        {"GET /a", NULL, ""},
        {"GET /a%20b?key=1", "/a%20b", ""},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r = req_fake(cases[i].line, "");
        auth_hide_query(r, STR("key"));
        CHECK_ROW(i, !r->up.uri.p == !cases[i].uri);
        CHECK_STR(r->args, cases[i].args);
        CHECK_ROW(i, !cases[i].uri || str_eq(r->up.uri, str_c(cases[i].uri)));
    }
}

static void a_cookie_is_hidden_and_the_others_stay(void)
{
    static const struct {
        const char *sent, *want;
    } cases[] = {
        {"k=1", ""},
        {"k=1; a=2", "a=2"},
        {"a=2;k=1;b=3", "a=2; b=3"},
        {"kk=1; a=k", "kk=1; a=k"},
        {"k=1; k=2; x", "x"},
        {"a;b;c;d;e", "a; b; c; d; e"},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r = req_fake(
            "GET /", arena_printf(arena_new(256), "Cookie: %s\nX-A: 1\n%c", cases[i].sent, 0).p);
        auth_hide_cookie(r, STR("k"));
        CHECK_STR(sent(r, "cookie"), cases[i].want);
        CHECK_STR(sent(r, "x-a"), "1");
        CHECK_ROW(i, !headers_get(&r->headers, H_COOKIE).p == !cases[i].want[0]);
    }
}

static void a_header_is_hidden_in_every_spelling(void)
{
    struct req *r = req_fake("GET /", "X-Key: 1\nx_key: 2\nX-KEY: 3\nX-Keys: 4\n");

    auth_hide_header(r, STR("X_Key"));
    CHECK(headers_get_name(&r->headers, STR("x-key")).p == NULL &&
          headers_get_name(&r->headers, STR("x_key")).p == NULL);
    CHECK_STR(sent(r, "x-keys"), "4");
}

static void nobody_becomes_the_anonymous_consumer_or_is_refused(void)
{
    static const struct {
        const char *anonymous; /* NULL: none */
        enum verdict want;
        const char *body;
    } cases[] = {
        {NULL, DONE, "{\"message\":\"no\"}\n"},
        {"anon", NEXT, NULL},
        {"other", DONE, "{\"message\":\"Invalid user authorization\"}\n"},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r = req_fake("GET /", "X-Consumer-Username: me\nX_Credential_Identifier: c\n");
        struct auth_options o = {.realm = STR("my realm"), .anonymous = str_c(cases[i].anonymous)};
        fake_put(r, K_CONSUMER, "anon", "{\"username\":\"anon\",\"labels\":{\"custom_id\":\"7\"}}");
        auth_prepare(r->arena, &o, "Test");
        CHECK_ROW(i, auth_reject(r, plugin_find(STR("key-auth")), &o, STR("{\"message\":\"no\"}\n"),
                                 STR("why")) == cases[i].want);
        if (cases[i].want == NEXT) {
            CHECK_STR(sent(r, "x-consumer-username"), "anon");
            CHECK_STR(sent(r, "x-consumer-custom-id"), "7");
            CHECK_STR(sent(r, "x_credential_identifier"), "");
        } else {
            CHECK_ROW(i, r->resp.status == 401 && str_eq(r->resp.body, str_c(cases[i].body)));
            CHECK_STR(answered(r, "www-authenticate"), "Test realm=\"my realm\"");
        }
    }
}

TESTS(T(a_query_argument_is_hidden_and_the_others_stay_as_they_were),
      T(a_cookie_is_hidden_and_the_others_stay), T(a_header_is_hidden_in_every_spelling),
      T(nobody_becomes_the_anonymous_consumer_or_is_refused))
