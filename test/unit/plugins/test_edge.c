/* SPDX-License-Identifier: Apache-2.0 */
/* csrf, referer-restriction, ua-restriction: what they let through. */
#include "plugins/fake.h"

extern const struct plugin csrf_plugin, referer_restriction_plugin, ua_restriction_plugin;

/* Does p's access let such a request through? */
static bool passes(const struct plugin *p, const char *conf, const char *line, const char *fields)
{
    struct req *r = req_fake(line, fields);
    const void *c = conf_fake(p, CONF_PLUGIN, conf);
    return c != NULL && p->access(r, c) == NEXT;
}

static void the_host_of_a_referer_decides(void)
{
    static const char white[] = "{\"whitelist\":[\"*.ok.com\",\"ok.com\",\"[::1]\"]}";
    static const char black[] = "{\"blacklist\":[\"*bad.com\"],\"bypass_missing\":true}";
    static const struct {
        const char *conf, *fields;
        bool pass;
    } cases[] = {
        {white, "Referer: http://ok.com\n", true},
        {white, "Referer: https://a.b.OK.com:8443/x?y\n", true},
        {white, "Referer: //a.ok.com\n", true},
        {white, "Referer: http://[::1]:80/\n", true},
        {white, "Referer: http://me@ok.com/\n", true},
        {white, "Referer: http://nok.com/\n", false},
        {white, "Referer: http://evil.com#.ok.com\n", false},
        {white, "Referer: http://ok.com@evil.com/\n", false},
        {white, "Referer: http://evil.com/http://ok.com\n", false},
        {white, "Referer: ftp://ok.com/\n", false},
        {white, "Referer: ok.com\n", false},
        {white, "Referer: http://\n", false},
        {white, "", false},
        {white, "Referer: http://ok.com\nReferer: http://evil.com\n", false},
        {black, "Referer: http://worse.bad.com/\n", false},
        {black, "Referer: http://ok.com\nReferer: http://bad.com\n", false},
        {black, "Referer: http://good.com/\n", true},
        {black, "Referer: nonsense\n", true},
        {black, "", true},
        {"{\"blacklist\":[\"*\"]}", "Referer: http://x/\n", false},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        CHECK_ROW(i, passes(&referer_restriction_plugin, cases[i].conf, "GET /", cases[i].fields) ==
                         cases[i].pass);
    }
}

static void every_user_agent_must_pass(void)
{
    static const char allow[] = "{\"allowlist\":[\"^curl/\",\"Fire.*fox$\"]}";
    static const char deny[] = "{\"denylist\":[\"curl\",\"(.*)bot\"],\"bypass_missing\":true}";
    static const struct {
        const char *conf, *fields;
        bool pass;
    } cases[] = {
        {allow, "User-Agent: curl/8\n", true},
        {allow, "User-Agent: Fire hot fox\n", true},
        {allow, "User-Agent: libcurl/8\n", false},
        {allow, "User-Agent: curl/8\nUser-Agent: other\n", false},
        {allow, "User-Agent:\n", false},
        {allow, "", false},
        {deny, "User-Agent: mybot/1\n", false},
        {deny, "User-Agent: x\nUser-Agent: curl/8\n", false},
        {deny, "User-Agent: CURL\n", true},
        {deny, "User-Agent:\n", true},
        {deny, "", true},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        CHECK_ROW(i, passes(&ua_restriction_plugin, cases[i].conf, "GET /", cases[i].fields) ==
                         cases[i].pass);
    }
    CHECK(conf_fake(&ua_restriction_plugin, CONF_PLUGIN, "{\"denylist\":[\"(\"]}") == NULL);
    CHECK_STR(str_c(fake_error.msg),
              "pcre2_compile() failed: missing closing parenthesis in \"(\"");
}

/* Made by the reference in 2022, for 2053. */
#define OF_THE_REFERENCE                                                                           \
    "eyJyYW5kb20iOjAuNDI5ODYzMTk3MTYxMzksInNpZ24iOiI0ODRlMDY4NTkxMWQ5NmJhMDc5YzQ1ZGI0OTE2NmZkYjQ0" \
    "ODhjODVkNWQ0NmE1Y2FhM2UwMmFhZDliNjE5OTQ2IiwiZXhwaXJlcyI6MjY0MzExOTYyNH0="
#define BOTH(token) "apisix-csrf-token: " token "\nCookie: a=b; apisix-csrf-token=" token "\n"

static void a_token_comes_twice_and_is_signed(void)
{
    static const char key[] = "{\"key\":\"userkey\"}";
    static const struct {
        const char *conf, *line, *fields;
        bool pass;
    } cases[] = {
        {key, "GET /", "", true},
        {key, "HEAD /", "", true},
        {key, "OPTIONS /", "", true},
        {key, "POST /", BOTH(OF_THE_REFERENCE), true},
        {key, "PURGE /", BOTH(OF_THE_REFERENCE), true},
        {"{\"key\":\"other\"}", "POST /", BOTH(OF_THE_REFERENCE), false},
        {"{\"key\":\"userkey\",\"name\":\"t\"}", "POST /", BOTH(OF_THE_REFERENCE), false},
        {key, "PUT /", "apisix-csrf-token: " OF_THE_REFERENCE "\n", false},
        {key, "PUT /", "Cookie: apisix-csrf-token=" OF_THE_REFERENCE "\n", false},
        {key, "DELETE /", BOTH("e30="), false},
        {key, "DELETE /", BOTH("W10="), false},
        {key, "DELETE /", BOTH("eyJyYW5kb20iOjEsImV4cGlyZXMiOjI2NDMxMTk2MjR9"), false},
        {key, "DELETE /", BOTH("?"), false},
        {key, "PURGE /", "", false},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        CHECK_ROW(i, passes(&csrf_plugin, cases[i].conf, cases[i].line, cases[i].fields) ==
                         cases[i].pass);
    }
}

/* What a GET got, and brings back. */
static struct str fields_for(const void *conf)
{
    struct req *r = req_fake("GET /", "");
    csrf_plugin.header_filter(r, conf);
    struct str token = str_skip(answered(r, "set-cookie"), strlen("t="));
    token = str_head(token, (size_t)str_index(token, ';'));
    return arena_printf(r->arena, "t: %.*s\nCookie: t=%.*s\n", STR_ARG(token), STR_ARG(token));
}

static void a_token_is_good_until_it_expires(void)
{
    static const struct {
        int expires;
        int64_t after_s;
        bool pass;
    } cases[] = {{60, 0, true}, {60, 60, true}, {60, 61, false}, {0, 1 << 20, true}};
    const int64_t begin = 1800000000;
    char text[64];
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        snprintf(text, sizeof(text), "{\"key\":\"k\",\"name\":\"t\",\"expires\":%d}",
                 cases[i].expires);
        clock_set(0, begin * 1000000);
        const struct str fields = fields_for(conf_fake(&csrf_plugin, CONF_PLUGIN, text));
        clock_set(0, (begin + cases[i].after_s) * 1000000);
        CHECK_ROW(i, passes(&csrf_plugin, text, "POST /", fields.p) == cases[i].pass);
    }
}

static void a_cookie_says_when_it_ends(void)
{
    static const struct {
        const char *conf, *end;
    } cases[] = {
        {"{\"key\":\"k\"}", ";path=/;SameSite=Lax;Expires=Fri, 15-Jan-27 10:00:00 GMT"},
        {"{\"key\":\"k\",\"expires\":1000000000}", "Expires=Mon, 23-Sep-2058 09:46:40 GMT"},
        {"{\"key\":\"k\",\"expires\":-1800000000}", "Expires=Thu, 01-Jan-70 00:00:00 GMT"},
    };
    clock_set(0, 1800000000 * (int64_t)1000000);
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r = req_fake("GET /", "");
        csrf_plugin.header_filter(r, conf_fake(&csrf_plugin, CONF_PLUGIN, cases[i].conf));
        CHECK_ROW(i, str_ends(answered(r, "set-cookie"), str_c(cases[i].end)));
    }
}

TESTS(T(the_host_of_a_referer_decides), T(every_user_agent_must_pass),
      T(a_token_comes_twice_and_is_signed), T(a_token_is_good_until_it_expires),
      T(a_cookie_says_when_it_ends))
