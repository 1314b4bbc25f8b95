/* SPDX-License-Identifier: Apache-2.0 */
/* key-auth, basic-auth, consumer-restriction. */
#include "base/hash.h"
#include "plugins/fake.h"

extern const struct plugin key_auth_plugin, basic_auth_plugin, consumer_restriction_plugin;

static struct req *with_consumers(const char *line, const char *fields)
{
    struct req *r = req_fake(line, fields);

    fake_put(r, K_CONSUMER_GROUP, "g", "{\"plugins\":{}}");
    fake_put(
        r, K_CONSUMER, "jack",
        "{\"username\":\"jack\",\"group_id\":\"g\",\"labels\":{\"custom_id\":\"7\"},\"plugins\":{\"key-auth\":{\"key\":\"k1\"},"
        "\"basic-auth\":{\"username\":\"jack\",\"password\":\"a:b c\"}}}");
    fake_put(r, K_CREDENTIAL, "jack/credentials/c1",
             "{\"plugins\":{\"key-auth\":{\"key\":\"k2\"}}}");
    fake_put(
        r, K_CONSUMER, "empty",
        "{\"username\":\"empty\",\"plugins\":{\"key-auth\":{\"key\":\"\"},\"basic-auth\":{\"username\":\"empty\",\"password\":\"\"}}}");
    return r;
}

static void a_key_in_the_header_comes_before_one_in_the_query(void)
{
    static const struct {
        const char *conf, *line, *fields;
        int status;                   /* 0: let in */
        const char *who, *body, *uri; /* uri: what goes upstream, NULL: as it came */
    } cases[] = {
        {"{}", "GET /", "apikey: k1\n", 0, "jack", "", NULL},
        {"{}", "GET /?apikey=k1", "", 0, "jack", "", NULL},
        {"{}", "GET /?apikey=k1", "apikey: bad\n", 401, "",
         "{\"message\":\"Invalid API key in request\"}\n", NULL},
        {"{}", "GET /?apikey=bad", "APIKEY: k1\n", 0, "jack", "", NULL},
        {"{}", "GET /", "", 401, "", "{\"message\":\"Missing API key in request\"}\n", NULL},
        {"{}", "GET /", "apikey:\n", 401, "", "{\"message\":\"Invalid API key in request\"}\n",
         NULL},
        {"{}", "GET /?apikey", "", 401, "", "{\"message\":\"Invalid API key in request\"}\n", NULL},
        {"{\"header\":\"X-Key\",\"query\":\"key\"}", "GET /?apikey=k1", "apikey: k1\n", 401, "",
         "{\"message\":\"Missing API key in request\"}\n", NULL},
        {"{\"hide_credentials\":true}", "GET /?a=1&apikey=k1", "apikey: k1\n", 0, "jack", "",
         "/?a=1"},
        {"{\"hide_credentials\":true}", "GET /?a=1&apikey=k1", "apikey: bad\n", 401, "",
         "{\"message\":\"Invalid API key in request\"}\n", NULL},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r = with_consumers(cases[i].line, cases[i].fields);
        const enum verdict v =
            key_auth_plugin.rewrite(r, conf_fake(&key_auth_plugin, CONF_PLUGIN, cases[i].conf));
        CHECK_ROW(i, (v == DONE) == (cases[i].status != 0) && r->resp.status == cases[i].status);
        CHECK_STR(sent(r, "x-consumer-username"), cases[i].who);
        CHECK_ROW(i, v == NEXT || str_eq(r->resp.body, str_c(cases[i].body)));
        CHECK_ROW(i, str_eq(r->up.uri, str_c(cases[i].uri)));
        CHECK_STR(answered(r, "www-authenticate"), v == DONE ? "apikey realm=\"key\"" : "");
    }
}

static void what_a_client_claims_to_be_does_not_pass(void)
{
    struct req *r = with_consumers(
        "GET /",
        "apikey: k2\nX-Consumer-Username: root\nX_Consumer_Username: root\nx-credential_identifier: root\n"
        "X-Consumer-Custom-Id: root\n");

    CHECK(key_auth_plugin.rewrite(r, conf_fake(&key_auth_plugin, CONF_PLUGIN, "{}")) == NEXT);
    CHECK_STR(sent(r, "X-Consumer-Username"), "jack");
    CHECK_STR(sent(r, "X-Credential-Identifier"), "c1");
    CHECK_STR(sent(r, "X-Consumer-Custom-ID"), "7");
    for (unsigned i = 0; i < r->headers.n; i++) {
        CHECK_ROW(i, !str_eq(r->headers.v[i].value, STR("root")));
    }
}

static void a_name_and_a_password_let_in(void)
{
    static const char missing[] = "{\"message\":\"Missing authorization in request\"}\n";
    static const char invalid[] = "{\"message\":\"Invalid authorization in request\"}\n";
    static const char wrong[] = "{\"message\":\"Invalid user authorization\"}\n";
    static const struct {
        /* sent as: scheme base64(plain); NULL: no field; plain NULL: scheme alone */
        const char *scheme, *plain;
        const char *body; /* of the 401; NULL: let in */
    } cases[] = {
        {NULL, NULL, missing},
        {"Basic ", "jack:a:b c", NULL},
        {"basic  ", "jack:a:b c", NULL},
        /* the password has a blank of its own, so none may come besides */
        {"Basic ", "jack:a:b c\n", wrong},
        {"Basic ", "jack\n:a:b c", NULL},
        {"Basic ", "jack:a", wrong}, /* all that follows the first colon */
        {"Basic ", "jack:a:b", wrong},
        {"Basic ", "jack:", wrong},
        {"Basic ", "rose:a:b c", wrong},
        {"Basic ", "empty:", wrong}, /* an empty password lets nobody in */
        {"Basic ", "empty: ", wrong},
        {"Basic ", "jack", invalid},
        {"Basic ", "", invalid},
        {"Basic", "jack:a:b c", invalid},
        {"Bearer ", "jack:a:b c", invalid},
        {"Basic !!!", NULL, invalid},
        {"Basic", NULL, invalid},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct arena *a = arena_new(512);
        struct str field = STR("");
        if (cases[i].scheme) {
            struct str code = cases[i].plain ? base64_encode(a, str_c(cases[i].plain)) : STR("");
            field = arena_printf(a, "Authorization: %s%.*s\n%c", cases[i].scheme, STR_ARG(code), 0);
        }
        struct req *r = with_consumers("GET /", field.p);
        const enum verdict v =
            basic_auth_plugin.rewrite(r, conf_fake(&basic_auth_plugin, CONF_PLUGIN, "{}"));
        CHECK_ROW(i, (v == NEXT) == (cases[i].body == NULL));
        CHECK_ROW(i, v == NEXT
                         ? r->consumer != NULL
                         : r->resp.status == 401 && str_eq(r->resp.body, str_c(cases[i].body)));
        arena_free(a);
    }
}

static void a_line_end_behind_a_password_does_not_count(void)
{
    /* foo:bar and a line end */
    struct req *r = req_fake("GET /", "Authorization: Basic Zm9vOmJhcgo=\n");

    fake_put(
        r, K_CONSUMER, "foo",
        "{\"username\":\"foo\",\"plugins\":{\"basic-auth\":{\"username\":\"foo\",\"password\":\"bar\"}}}");
    CHECK(basic_auth_plugin.rewrite(r, conf_fake(&basic_auth_plugin, CONF_PLUGIN,
                                                 "{\"hide_credentials\":true}")) == NEXT);
    CHECK_STR(sent(r, "x-consumer-username"), "foo");
    CHECK_STR(sent(r, "authorization"), "");
}

static void a_consumer_is_let_in_by_its_name(void)
{
    static const char forbidden[] = "{\"message\":\"The consumer_name is forbidden.\"}\n";
    static const struct {
        const char *conf, *line;
        bool known; /* as jack of group g */
        int status; /* 0: let in */
        const char *body;
    } cases[] = {
        {"{\"whitelist\":[\"rose\",\"jack\"]}", "GET /", true, 0, ""},
        {"{\"whitelist\":[\"rose\"]}", "GET /", true, 403, forbidden},
        {"{\"whitelist\":[\"jack\"]}", "GET /", false, 401,
         "{\"message\":\"The request is rejected, please check the consumer_name for this request\"}\n"},
        {"{\"blacklist\":[\"jack\"],\"rejected_code\":404,\"rejected_msg\":\"no \\\"jack\\\"\"}",
         "GET /", true, 404, "{\"message\":\"no \\\"jack\\\"\"}\n"},
        {"{\"blacklist\":[\"rose\"]}", "GET /", true, 0, ""},
        {"{\"blacklist\":[\"jack\"],\"whitelist\":[\"jack\"]}", "GET /", true, 403, forbidden},
        {"{\"allowed_by_methods\":[{\"user\":\"jack\",\"methods\":[\"POST\"]}]}", "GET /", true,
         403, forbidden},
        {"{\"allowed_by_methods\":[{\"user\":\"jack\",\"methods\":[\"POST\",\"GET\"]}]}", "GET /",
         true, 0, ""},
        {"{\"allowed_by_methods\":[{\"user\":\"rose\",\"methods\":[\"POST\"]}]}", "GET /", true, 0,
         ""},
        {"{\"whitelist\":[\"jack\"],\"allowed_by_methods\":[{\"user\":\"jack\",\"methods\":[\"POST\"]}]}",
         "GET /", true, 0, ""},
        {"{\"whitelist\":[\"rose\"],\"allowed_by_methods\":[{\"user\":\"jack\",\"methods\":[\"POST\"]}]}",
         "POST /", true, 0, ""},
        {"{\"type\":\"consumer_group_id\",\"whitelist\":[\"g\"]}", "GET /", true, 0, ""},
        {"{\"type\":\"consumer_group_id\",\"blacklist\":[\"g\"]}", "GET /", true, 403,
         "{\"message\":\"The consumer_group_id is forbidden.\"}\n"},
        {"{\"type\":\"service_id\",\"whitelist\":[\"s\"]}", "GET /", true, 401,
         "{\"message\":\"The request is rejected, please check the service_id for this request\"}\n"},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r = with_consumers(cases[i].line, "apikey: k1\n");
        if (cases[i].known) {
            CHECK(key_auth_plugin.rewrite(r, conf_fake(&key_auth_plugin, CONF_PLUGIN, "{}")) ==
                  NEXT);
        }
        consumer_restriction_plugin.access(
            r, conf_fake(&consumer_restriction_plugin, CONF_PLUGIN, cases[i].conf));
        CHECK_ROW(i, r->resp.status == cases[i].status);
        CHECK_ROW(i, str_eq(r->resp.body, str_c(cases[i].body)));
    }
}

TESTS(T(a_key_in_the_header_comes_before_one_in_the_query),
      T(what_a_client_claims_to_be_does_not_pass), T(a_name_and_a_password_let_in),
      T(a_line_end_behind_a_password_does_not_count), T(a_consumer_is_let_in_by_its_name))
