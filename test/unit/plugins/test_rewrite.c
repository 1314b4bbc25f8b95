/* SPDX-License-Identifier: Apache-2.0 */
/* proxy-rewrite, redirect, uri-blocker: what they make of a URI. */
#include "plugins/fake.h"

extern const struct plugin proxy_rewrite_plugin, redirect_plugin, uri_blocker_plugin;

static void what_goes_upstream(void)
{
    static const struct {
        const char *conf, *line, *uri;
    } cases[] = {
        {"{\"uri\":\"/n\"}", "GET /a?b=1", "/n?b=1"},
        {"{\"uri\":\"/n\"}", "GET /a?", "/n"},
        {"{\"uri\":\"/n?x=1\"}", "GET /a?b=1", "/n?x=1&b=1"},
        {"{\"uri\":\"/n?x=1\"}", "GET /a", "/n?x=1"},
        {"{\"uri\":\"/p$uri\"}", "GET /a%20b%2Fc", "/p/a%20b/c"},
        /* a question mark of the path is no query */
        {"{\"uri\":\"/p$uri\"}", "GET /a%3Fb", "/p/a%3Fb"},
        /* a line end never comes out decoded */
        {"{\"uri\":\"/p$uri\"}", "GET /a%0d%0aX:1", "/p/a%0D%0AX:1"},
        {"{\"uri\":\"/p?u=$arg_u\"}", "GET /a?u=1%0d%0aX:%201",
         "/p?u=1%0D%0AX:%201&u=1%0d%0aX:%201"},
        {"{\"uri\":\"/p?u=$uri\"}", "GET /a%20%23b", "/p?u=/a%20%23b"},
        {"{\"uri\":\"/p/${arg_x ?? d?e}/$arg_y?z\"}", "GET /a?y=1", "/p/d%3Fe/1?z&y=1"},
        /* without a new path the normalised one */
        {"{\"headers\":{\"X\":\"1\"}}", "GET /a/../b//c%2e?q", "/b/c.?q"},
        {"{\"regex_uri\":[\"^/a/(.*)/(.*)\",\"/$2?x=$1\"]}", "GET /a/p%20q/r?y", "/r?x=p%20q&y"},
        {"{\"regex_uri\":[\"^/a\",\"\"]}", "GET /a/b", "/b"},
        /* a target starts with a slash */
        {"{\"regex_uri\":[\"^/a/\",\"\"]}", "GET /a/b", "/b"},
        {"{\"regex_uri\":[\"^/a\",\"\"]}", "GET /a", "/"},
        /* uri comes first */
        {"{\"regex_uri\":[\"^/x\",\"/y\"],\"uri\":\"/n\"}", "GET /x", "/n"},
        {"{\"use_real_request_uri_unsafe\":true}", "GET /a%2Fb/../c?x=%20", "/a%2Fb/../c?x=%20"},
        {"{\"use_real_request_uri_unsafe\":true,\"regex_uri\":[\"^/a/(.*)\",\"/b/$1\"]}",
         "GET /a/%2F?x=1", "/b/%2F?x=1"},
        {"{\"use_real_request_uri_unsafe\":true,\"uri\":\"/n$uri\"}", "GET /a%20b?x=1", "/n/a%20b"},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r = req_fake(cases[i].line, "");
        CHECK_ROW(i, proxy_rewrite_plugin.rewrite(
                         r, conf_fake(&proxy_rewrite_plugin, CONF_PLUGIN, cases[i].conf)) == NEXT);
        CHECK_STR(r->up.uri, cases[i].uri);
    }
}

static void a_hidden_key_stays_hidden_from_the_raw_uri(void)
{
    struct req *r = req_fake("GET /a%2Fb?key=1&x=2", "");

    req_set_uri(r, r->uri, STR("x=2"));
    proxy_rewrite_plugin.rewrite(
        r, conf_fake(&proxy_rewrite_plugin, CONF_PLUGIN, "{\"use_real_request_uri_unsafe\":true}"));
    CHECK_STR(r->up.uri, "/a%2Fb?x=2");
}

static void method_host_and_headers_change(void)
{
    struct req *r = req_fake("GET /v1/users/7", "X-R: 1\n");

    proxy_rewrite_plugin.rewrite(
        r,
        conf_fake(
            &proxy_rewrite_plugin, CONF_PLUGIN,
            "{\"regex_uri\":[\"^/v(\\\\d)/(.*)\",\"/$2\"],\"method\":\"POST\",\"host\":\"h.com:81\","
            "\"headers\":{\"add\":{\"X-V\":\"v$1-${2}-$uri\"},\"remove\":[\"X-R\"]}}"));
    CHECK_STR(r->up.method, "POST");
    CHECK_STR(r->up.host, "h.com:81");
    CHECK_STR(sent(r, "x-v"), "v1-users/7-/users/7");
    CHECK_STR(sent(r, "x-r"), "");
}

static void confs_that_cannot_work_are_refused(void)
{
    static const struct {
        const struct plugin *p;
        const char *conf, *text;
    } cases[] = {
        {&proxy_rewrite_plugin, "{}", "expect object to have at least 1 properties"},
        {&proxy_rewrite_plugin, "{\"regex_uri\":[\"a\",\"b\",\"c\"]}",
         "The length of regex_uri should be an even number"},
        {&proxy_rewrite_plugin, "{\"regex_uri\":[\"^/a(\",\"/b\"]}",
         "invalid regex_uri(^/a(, /b): pcre2_compile() failed: missing closing parenthesis in \"^/a(\""},
        {&proxy_rewrite_plugin, "{\"headers\":{\"a b\":\"c\"}}",
         "invalid field character in header"},
        {&redirect_plugin, "{\"regex_uri\":[\"(\",\"/b\"]}",
         "invalid regex_uri ((, /b), err:pcre2_compile() failed: missing closing parenthesis in \"(\""},
        {&redirect_plugin, "{\"http_to_https\":true,\"append_query_string\":true}",
         "only one of `http_to_https` and `append_query_string` can be configured."},
        {&uri_blocker_plugin, "{\"block_rules\":[\"a\",\"(\"]}",
         "pcre2_compile() failed: missing closing parenthesis in \"(\""},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        CHECK_ROW(i, conf_fake(cases[i].p, CONF_PLUGIN, cases[i].conf) == NULL);
        CHECK_STR(str_c(fake_error.msg), cases[i].text);
    }
}

static void where_a_redirect_leads(void)
{
    static const struct {
        const char *conf, *line, *fields;
        int status; /* 0: none */
        const char *location;
    } cases[] = {
        {"{\"uri\":\"/t$uri/add\",\"ret_code\":301}", "GET /a?b=1", "", 301, "/t/a/add"},
        {"{\"uri\":\"https://$host.test/${uri}x\"}", "GET /a", "", 302,
         "https://example.com.test//ax"},
        {"{\"uri\":\"/$nothing/\\\\$host\"}", "GET /a", "", 302, "//\\$host"},
        {"{\"uri\":\"/t\",\"append_query_string\":true}", "GET /a?b=1&c", "", 302, "/t?b=1&c"},
        {"{\"uri\":\"/t?z\",\"append_query_string\":true}", "GET /a?b=1", "", 302, "/t?z&b=1"},
        {"{\"uri\":\"/t\",\"append_query_string\":true}", "GET /a", "", 302, "/t"},
        {"{\"uri\":\"/x$uri\"}", "GET /a%0d%0aSet-Cookie:%20x", "", 302,
         "/x/a%0D%0ASet-Cookie:%20x"},
        {"{\"uri\":\"/x$uri#top\"}", "GET /a", "", 302, "/x/a#top"},
        {"{\"uri\":\"/x$uri?a b\",\"encode_uri\":true}", "GET /a%25b", "", 302, "/x/a%25b?a%20b"},
        {"{\"regex_uri\":[\"^/t/(.*)/(.*)$\",\"/$1/$2/x\"]}", "GET /t/a/b", "", 302, "/a/b/x"},
        {"{\"regex_uri\":[\"^/t/(.*)$\",\"https://o.com/?q=$1\"]}", "GET /t/a", "", 302,
         "https://o.com/?q=a"},
        {"{\"regex_uri\":[\"^/t/(.*)$\",\"/x\"]}", "GET /a", "", 0, ""},
        {"{\"http_to_https\":true}", "GET /a%3Fb?c=1", "Host: foo.com:9080\n", 301,
         "https://foo.com/a%3Fb?c=1"},
        {"{\"http_to_https\":true}", "POST /a", "", 308, "https://example.com/a"},
        {"{\"http_to_https\":true}", "GET /a", "X-Forwarded-Proto: https\n", 0, ""},
        {"{\"http_to_https\":false}", "GET /a", "", 0, ""},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r = req_fake(cases[i].line, cases[i].fields);
        const enum verdict v =
            redirect_plugin.rewrite(r, conf_fake(&redirect_plugin, CONF_PLUGIN, cases[i].conf));
        CHECK_ROW(i, (v == DONE) == (cases[i].status != 0) && r->resp.status == cases[i].status);
        CHECK_STR(answered(r, "location"), cases[i].location);
    }
}

static void a_rule_sees_every_spelling(void)
{
    static const struct {
        const char *conf, *line;
        bool blocked;
    } cases[] = {
        {"{\"block_rules\":[\"aa\"]}", "GET /x?aa=1", true},
        {"{\"block_rules\":[\"^/admin\"]}", "GET /admin/x", true},
        {"{\"block_rules\":[\"^/admin\"]}", "GET /%61dmin", true},
        {"{\"block_rules\":[\"^/admin\"]}", "GET /./admin", true},
        {"{\"block_rules\":[\"^/admin\"]}", "GET //admin", true},
        {"{\"block_rules\":[\"^/admin\"]}", "GET /x/../admin", true},
        {"{\"block_rules\":[\"^/admin/secret\"]}", "GET /admin%2Fsecret", true},
        /* gone from the normalised path */
        {"{\"block_rules\":[\"\\\\.\\\\./\"]}", "GET /x/../y", true},
        {"{\"block_rules\":[\"^/admin\"]}", "GET /ADMIN", false},
        {"{\"block_rules\":[\"^/admin\"],\"case_insensitive\":true}", "GET /ADMIN", true},
        {"{\"block_rules\":[\"b\",\"^/admin$\"]}", "GET /admins", false},
        {"{\"block_rules\":[]}", "GET /a", false},
        /* nobody waits for it */
        {"{\"block_rules\":[\"(a+)+$\"]}",
         "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", true},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r = req_fake(cases[i].line, "");
        const enum verdict v = uri_blocker_plugin.rewrite(
            r, conf_fake(&uri_blocker_plugin, CONF_PLUGIN, cases[i].conf));
        CHECK_ROW(i, (v == DONE) == cases[i].blocked);
        CHECK_ROW(i, r->resp.status == (cases[i].blocked ? 403 : 0));
    }
}

TESTS(T(what_goes_upstream), T(a_hidden_key_stays_hidden_from_the_raw_uri),
      T(method_host_and_headers_change), T(confs_that_cannot_work_are_refused),
      T(where_a_redirect_leads), T(a_rule_sees_every_spelling))
