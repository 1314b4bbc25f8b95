/* SPDX-License-Identifier: Apache-2.0 */
/* cors, ip-restriction, real-ip, request-id. */
#include "plugins/fake.h"

extern const struct plugin cors_plugin, ip_restriction_plugin, real_ip_plugin, request_id_plugin;

static void an_origin_is_told_whether_it_may_read(void)
{
    static const char list[] = "{\"allow_origins\":\"http://a.com,http://b.com\"}";
    static const char regex[] =
        "{\"allow_origins_by_regex\":[\"^https://.*\\\\.t\\\\.com$\",\"^null$\"]}";
    static const struct {
        const char *conf, *fields, *allow, *vary;
    } cases[] = {
        {"{}", "Origin: http://a.com\n", "*", ""},
        {"{}", "", "*", ""},
        {list, "Origin: http://b.com\n", "http://b.com", "Origin"},
        {list, "Origin: http://c.com\n", "", "Origin"},
        {list, "Origin: http://a.com,http://b.com\n", "", "Origin"},
        {list, "", "", "Origin"},
        {"{\"allow_origins\":\"http://a.com\"}", "Origin: http://a.com\n", "http://a.com",
         "Origin"},
        {"{\"allow_origins\":\"http://a.com\"}", "Origin: http://a.com.evil\n", "", "Origin"},
        {"{\"allow_origins\":\"null\"}", "Origin: null\n", "null", "Origin"},
        {"{\"allow_origins\":\"**\"}", "Origin: http://z.com\n", "http://z.com", "Origin"},
        {"{\"allow_origins\":\"**\"}", "", "*", "Origin"},
        {regex, "Origin: https://x.t.com\n", "https://x.t.com", ""},
        {regex, "Origin: https://x.t.com.evil\n", "", ""},
        {regex, "", "", ""},
        /* no metadata: nobody */
        {"{\"allow_origins_by_metadata\":[\"k\"]}", "Origin: http://a.com\n", "", ""},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r = req_fake("GET /", cases[i].fields);
        const void *conf = conf_fake(&cors_plugin, CONF_PLUGIN, cases[i].conf);
        CHECK_ROW(i, cors_plugin.rewrite(r, conf) == NEXT);
        cors_plugin.header_filter(r, conf);
        CHECK_STR(answered(r, "access-control-allow-origin"), cases[i].allow);
        CHECK_STR(answered(r, "vary"), cases[i].vary);
        CHECK_ROW(i, !cases[i].allow[0] == !answered(r, "access-control-allow-methods").n);
    }
}

static void origins_of_the_metadata_join_those_of_the_route(void)
{
    static const struct {
        const char *conf, *origin, *allow;
    } cases[] = {
        {"{\"allow_origins_by_metadata\":[\"one\",\"two\"]}", "http://b.com", "http://b.com"},
        {"{\"allow_origins_by_metadata\":[\"one\"]}", "http://b.com", ""},
        {"{\"allow_origins_by_metadata\":[\"nope\",\"all\"]}", "http://z.com", "http://z.com"},
        {"{\"allow_origins_by_metadata\":[\"one\"],\"allow_origins\":\"http://r.com\"}",
         "http://r.com", "http://r.com"},
        {"{\"allow_origins_by_metadata\":[\"one\"],\"allow_origins\":\"http://r.com\"}",
         "http://a.com", "http://a.com"},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r =
            req_fake("GET /", arena_printf(arena_new(256), "Origin: %s\n%c", cases[i].origin, 0).p);
        const void *conf = conf_fake(&cors_plugin, CONF_PLUGIN, cases[i].conf);
        fake_put(
            r, K_PLUGIN_METADATA, "cors",
            "{\"allow_origins\":{\"two\":\"http://c.com,http://b.com\",\"one\":\"http://a.com\",\"all\":\"*\"}}");
        cors_plugin.rewrite(r, conf);
        cors_plugin.header_filter(r, conf);
        CHECK_STR(answered(r, "access-control-allow-origin"), cases[i].allow);
    }
}

static void a_preflight_is_answered_and_the_upstreams_fields_give_way(void)
{
    struct req *r = req_fake(
        "OPTIONS /",
        "Origin: http://a.com\nAccess-Control-Request-Method: PUT\nAccess-Control-Request-Headers: x-a,x-b\n");
    const void *conf = conf_fake(
        &cors_plugin, CONF_PLUGIN,
        "{\"allow_origins\":\"**\",\"allow_methods\":\"**\",\"allow_headers\":\"**\",\"expose_headers\":\"e\",\"max_age\":-1,\"allow_credential\":true,"
        "\"timing_allow_origins\":\"http://a.com\"}");

    CHECK(cors_plugin.rewrite(r, conf) == DONE && r->resp.status == 200 && r->resp.body.n == 0);
    headers_del(&r->headers, STR("origin")); /* another plugin may */
    headers_add(&r->resp.headers, STR("access-control-allow-origin"), STR("http://upstream"));
    headers_add(&r->resp.headers, STR("Vary"), STR("Via"));
    cors_plugin.header_filter(r, conf);
    CHECK_STR(answered(r, "access-control-allow-origin"), "http://a.com");
    CHECK_STR(answered(r, "access-control-allow-methods"),
              "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE");
    CHECK_STR(answered(r, "access-control-allow-headers"), "x-a,x-b");
    CHECK_STR(answered(r, "access-control-expose-headers"), "e");
    CHECK_STR(answered(r, "access-control-max-age"), "-1");
    CHECK_STR(answered(r, "access-control-allow-credentials"), "true");
    CHECK_STR(answered(r, "timing-allow-origin"), "http://a.com");
    CHECK(headers_del(&r->resp.headers, STR("vary")) == 2);
}

static void timing_has_origins_of_its_own(void)
{
    static const struct {
        const char *conf, *want;
    } cases[] = {
        {"{}", ""},
        {"{\"timing_allow_origins\":\"*\"}", "*"},
        {"{\"timing_allow_origins\":\"http://o.com\"}", ""},
        {"{\"timing_allow_origins_by_regex\":[\"a\\\\.com$\"]}", "http://a.com"},
        {"{\"timing_allow_origins\":\"http://a.com\",\"timing_allow_origins_by_regex\":[\"b\"]}",
         ""},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r = req_fake("GET /", "Origin: http://a.com\n");
        const void *conf = conf_fake(&cors_plugin, CONF_PLUGIN, cases[i].conf);
        cors_plugin.rewrite(r, conf);
        cors_plugin.header_filter(r, conf);
        CHECK_STR(answered(r, "timing-allow-origin"), cases[i].want);
    }
}

static void credentials_are_not_for_everybody(void)
{
    static const char *const confs[] = {
        "{\"allow_credential\":true}",
        "{\"allow_credential\":true,\"allow_origins\":\"http://a.com\",\"allow_methods\":\"GET\",\"allow_headers\":\"a\",\"timing_allow_origins\":\"*\"}",
        "{\"allow_credential\":true,\"allow_origins\":\"**\",\"allow_methods\":\"GET\",\"allow_headers\":\"a\",\"expose_headers\":\"*\"}",
    };
    for (size_t i = 0; i < LENGTH_OF(confs); i++) {
        CHECK_ROW(i, conf_fake(&cors_plugin, CONF_PLUGIN, confs[i]) == NULL);
        CHECK_STR(str_c(fake_error.msg),
                  "you can not set '*' for other option when 'allow_credential' is true");
    }
}

static void an_address_is_let_in_or_kept_out(void)
{
    static const struct {
        const char *conf, *ip;
        int status;
    } cases[] = {
        {"{\"whitelist\":[\"10.0.0.0/8\"]}", "10.1.1.1", 0},
        {"{\"whitelist\":[\"10.0.0.0/8\"]}", "11.1.1.1", 403},
        {"{\"blacklist\":[\"10.0.0.0/8\",\"::1\"]}", "10.1.1.1", 403},
        {"{\"blacklist\":[\"10.0.0.0/8\",\"::1\"]}", "::1", 403},
        {"{\"blacklist\":[\"10.0.0.0/8\"],\"response_code\":404}", "10.1.1.1", 404},
        {"{\"blacklist\":[\"10.0.0.0/8\"]}", "::1", 0},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r = req_fake("GET /", "");
        fake_client(r, cases[i].ip, 1);
        ip_restriction_plugin.access(r,
                                     conf_fake(&ip_restriction_plugin, CONF_PLUGIN, cases[i].conf));
        CHECK_ROW(i, r->resp.status == cases[i].status);
    }
    CHECK(conf_fake(&ip_restriction_plugin, CONF_PLUGIN, "{\"whitelist\":[\"fe80::/129\"]}") ==
          NULL);
    CHECK_STR(str_c(fake_error.msg), "invalid ip address: fe80::/129");
}

static void the_clients_address_comes_from_where_it_is_said_to(void)
{
    static const char xff[] = "{\"source\":\"http_x_forwarded_for\"}";
    static const char recursive[] =
        "{\"source\":\"http_x_forwarded_for\",\"trusted_addresses\":[\"127.0.0.0/24\",\"9.0.0.0/8\"],\"recursive\":true}";
    static const struct {
        const char *conf, *line, *fields, *ip;
        uint16_t port;
    } cases[] = {
        {"{\"source\":\"arg_ip\"}", "GET /?ip=1.2.3.4:80", "", "1.2.3.4", 80},
        {"{\"source\":\"arg_ip\"}", "GET /?ip=1.2.3.4", "", "1.2.3.4", 50000},
        {"{\"source\":\"arg_ip\"}", "GET /?ip=zz", "", "127.0.0.1", 50000},
        {"{\"source\":\"arg_ip\"}", "GET /?ip=1.2.3.4:0", "", "127.0.0.1", 50000},
        {"{\"source\":\"arg_ip\"}", "GET /?ip=1.2.3.4:65536", "", "127.0.0.1", 50000},
        {"{\"source\":\"arg_ip\"}", "GET /?ip", "", "127.0.0.1", 50000},
        {"{\"source\":\"arg_ip\"}", "GET /", "", "127.0.0.1", 50000},
        {"{\"source\":\"arg_ip\"}", "GET /?ip=[::1]:81", "", "::1", 81},
        {"{\"source\":\"arg_ip\"}", "GET /?ip=2001:db8::7", "", "2001:db8::7", 50000},
        {"{\"source\":\"http_x_y\"}", "GET /", "X-Y: 5.5.5.5\n", "5.5.5.5", 50000},
        {"{\"source\":\"cookie_ip\"}", "GET /", "Cookie: ip=6.6.6.6\n", "6.6.6.6", 50000},
        {"{\"source\":\"arg_ip\",\"trusted_addresses\":[\"10.0.0.0/8\"]}", "GET /?ip=1.2.3.4", "",
         "127.0.0.1", 50000},
        {xff, "GET /", "X-Forwarded-For: 1.1.1.1, 2.2.2.2\n", "2.2.2.2", 50000},
        {xff, "GET /", "X-Forwarded-For: 1.1.1.1\nX-Forwarded-For: 3.3.3.3\n", "3.3.3.3", 50000},
        {recursive, "GET /", "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 127.0.0.1\n", "2.2.2.2", 50000},
        {recursive, "GET /",
         "X-Forwarded-For: 1.1.1.1, 2.2.2.2\nX-Forwarded-For: 9.9.9.9,127.0.0.1\n", "2.2.2.2",
         50000},
        /* all are trusted: the first */
        {recursive, "GET /", "X-Forwarded-For: 9.1.1.1, 127.0.0.1\n", "9.1.1.1", 50000},
        {recursive, "GET /", "X-Forwarded-For: junk, 127.0.0.1\n", "127.0.0.1", 50000},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r = req_fake(cases[i].line, cases[i].fields);
        struct ip want;
        CHECK(ip_parse(str_c(cases[i].ip), &want));
        CHECK_ROW(i, real_ip_plugin.rewrite(
                         r, conf_fake(&real_ip_plugin, CONF_PLUGIN, cases[i].conf)) == NEXT);
        CHECK_STR(r->remote_addr, cases[i].ip);
        CHECK_ROW(i, memcmp(r->client.b, want.b, 16) == 0 && r->client.v4 == want.v4 &&
                         r->remote_port == cases[i].port);
    }
}

/* Does text look like shape: x hexadecimal, a letter, digit, - or _, others themselves? */
static bool is_shaped(struct str text, const char *shape)
{
    size_t i = 0;

    for (; shape[i] && i < text.n; i++) {
        const char c = text.p[i];
        const bool alnum =
            (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
        const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (shape[i] == 'x'   ? !hex
            : shape[i] == 'A' ? !alnum && c != '-' && c != '_'
                              : shape[i] != c) {
            return false;
        }
    }
    return shape[i] == 0 && i == text.n;
}

static void ids_have_the_shape_of_their_kind(void)
{
    static const struct {
        const char *conf, *shape;
    } cases[] = {
        {"{}", "xxxxxxxx-xxxx-4xxx-xxxx-xxxxxxxxxxxx"},
        {"{\"algorithm\":\"uuidv7\"}", "xxxxxxxx-xxxx-7xxx-xxxx-xxxxxxxxxxxx"},
        {"{\"algorithm\":\"nanoid\"}", "AAAAAAAAAAAAAAAAAAAAA"},
        {"{\"algorithm\":\"ksuid\"}", "AAAAAAAAAAAAAAAAAAAAAAAAAAA"},
        {"{\"algorithm\":\"range_id\"}", "AAAAAAAAAAAAAAAA"},
        {"{\"algorithm\":\"range_id\",\"range_id\":{\"length\":6,\"char_set\":\"ffffff\"}}",
         "ffffff"},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        const void *conf = conf_fake(&request_id_plugin, CONF_PLUGIN, cases[i].conf);
        struct str last = STR("");
        for (int k = 0; k < 50; k++) {
            struct req *r = req_fake("GET /", "");
            request_id_plugin.rewrite(r, conf);
            request_id_plugin.header_filter(r, conf);
            const struct str id = sent(r, "x-request-id");
            CHECK_ROW(i, is_shaped(id, cases[i].shape));
            CHECK_ROW(i, str_eq(answered(r, "x-request-id"), id) && str_eq(req_id(r), id));
            CHECK_ROW(i, i == 5 || !str_eq(id, last));
            /* version 7 sorts by time, also within a millisecond */
            CHECK_ROW(i, i != 1 || str_cmp(last, id) < 0);
            last = id;
        }
    }
}

static void an_id_that_was_sent_stays(void)
{
    static const struct {
        const char *conf, *fields, *up, *down;
    } cases[] = {
        {"{}", "X-Request-Id: abc\n", "abc", "abc"},
        {"{\"include_in_response\":false}", "X-Request-Id: abc\n", "abc", ""},
        {"{\"header_name\":\"X-Other\"}", "X-Other: o\nX-Request-Id: abc\n", "abc", ""},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r = req_fake("GET /", cases[i].fields);
        const void *conf = conf_fake(&request_id_plugin, CONF_PLUGIN, cases[i].conf);
        request_id_plugin.rewrite(r, conf);
        request_id_plugin.header_filter(r, conf);
        CHECK_STR(sent(r, "x-request-id"), cases[i].up);
        CHECK_STR(answered(r, "x-request-id"), cases[i].down);
    }
}

static void two_ids_do_not_get_in_each_others_way(void)
{
    struct req *r = req_fake("GET /", "A: 1\nB: 2\n");
    const void *a = conf_fake(&request_id_plugin, CONF_PLUGIN, "{\"header_name\":\"A\"}"),
               *b = conf_fake(&request_id_plugin, CONF_PLUGIN, "{\"header_name\":\"b\"}");

    request_id_plugin.rewrite(r, a);
    request_id_plugin.rewrite(r, b);
    headers_add(&r->resp.headers, STR("B"), STR("from upstream"));
    request_id_plugin.header_filter(r, a);
    request_id_plugin.header_filter(r, b);
    CHECK_STR(answered(r, "a"), "1");
    CHECK_STR(answered(r, "b"), "from upstream");
    CHECK(conf_fake(&request_id_plugin, CONF_PLUGIN, "{\"header_name\":\"a b\"}") == NULL);
    CHECK(conf_fake(&request_id_plugin, CONF_PLUGIN,
                    "{\"algorithm\":\"range_id\",\"range_id\":{\"length\":1000000}}") == NULL);
}

TESTS(T(an_origin_is_told_whether_it_may_read), T(origins_of_the_metadata_join_those_of_the_route),
      T(a_preflight_is_answered_and_the_upstreams_fields_give_way),
      T(timing_has_origins_of_its_own), T(credentials_are_not_for_everybody),
      T(an_address_is_let_in_or_kept_out), T(the_clients_address_comes_from_where_it_is_said_to),
      T(ids_have_the_shape_of_their_kind), T(an_id_that_was_sent_stays),
      T(two_ids_do_not_get_in_each_others_way))
