/* SPDX-License-Identifier: Apache-2.0 */
/* uri: the normal form of paths, its variants, and hosts. */
#include "route/uri.h"
#include "t.h"

static void paths_are_decoded_once_merged_and_resolved(void)
{
    static const struct {
        const char *raw, *want;
        enum uri_result result;
    } cases[] = {
        {"/", "/", URI_OK},
        {"/a/b", "/a/b", URI_OK},
        {"//a//b", "/a/b", URI_OK},
        {"/a///", "/a/", URI_OK},
        {"/a/../b/./c", "/b/c", URI_OK},
        {"/a%20b/%2e%2e/c%2Fd", "/c/d", URI_OK},
        {"/%61", "/a", URI_OK},
        {"/%2561", "/%61", URI_OK},
        {"/%252e%252e/x", "/%2e%2e/x", URI_OK},
        {"/a/.", "/a/", URI_OK},
        {"/a/b/..", "/a/", URI_OK},
        {"/a/..", "/", URI_OK},
        {"/a/b/%2E%2e/", "/a/", URI_OK},
        {"/a%2f%2fb", "/a/b", URI_OK},
        {"/a%2f..%2fb", "/b", URI_OK},
        {"/a//../b", "/b", URI_OK},
        {"/a...", "/a...", URI_OK},
        {"/...", "/...", URI_OK},
        {"/.a/..b/c..", "/.a/..b/c..", URI_OK},
        {"/.well-known/x", "/.well-known/x", URI_OK},
        {"/%E4%BD%A0", "/\xe4\xbd\xa0", URI_OK},
        {"/a%3fb%23c%25", "/a?b#c%", URI_OK},
        {"/a+b", "/a+b", URI_OK},
        {"/0123456789abcdef/0123456789/..", "/0123456789abcdef/", URI_OK},
        {"/0123456789abcdef/0123456789//", "/0123456789abcdef/0123456789/", URI_OK},
        {"/0123456789abcdef/0123456789/%41", "/0123456789abcdef/0123456789/A", URI_OK},
        {"*", "*", URI_OK},
        {"", "", URI_OK},
        {"/..", "", URI_ABOVE_ROOT},
        {"/../a", "", URI_ABOVE_ROOT},
        {"/a/../../b", "", URI_ABOVE_ROOT},
        {"/%2e%2e", "", URI_ABOVE_ROOT},
        {"/%2e%2e%2f", "", URI_ABOVE_ROOT},
        {"/a%00b", "", URI_NUL},
        {"/a%", "", URI_BAD_ESCAPE},
        {"/a%4", "", URI_BAD_ESCAPE},
        {"/a%4g", "", URI_BAD_ESCAPE},
        {"/a%zz/b", "", URI_BAD_ESCAPE},
        {"/0123456789abcdef0123456789%", "", URI_BAD_ESCAPE},
    };
    struct arena *a = arena_new(256);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str out;
        CHECK_ROW(i, uri_normalise(a, str_c(cases[i].raw), &out) == cases[i].result);
        CHECK_ROW(i, cases[i].result != URI_OK || str_eq(out, str_c(cases[i].want)));
    }
    arena_free(a);
}

/* Whatever the length and wherever the work stands, the fast scan sees it. */
static void the_fast_scan_misses_no_position(void)
{
    static const char *const work[] = {"%41", "//", "/./", "/.."};
    struct arena *a = arena_new(4096);

    for (size_t n = 1; n < 70; n++) {
        for (size_t at = 2; at < n; at++) { /* "//.." would be above the root */
            for (size_t k = 0; k < 4; k++) {
                size_t len = strlen(work[k]);
                char raw[80];
                struct str out;

                memset(raw, 'a', sizeof(raw));
                raw[0] = '/';
                memcpy(raw + at, work[k], len);
                size_t total = at + len > n ? at + len : n;
                CHECK(uri_normalise(a, str_of(raw, total), &out) == URI_OK);
                bool is_name = k == 3 && at + len < total; /* "/..a" is a name */
                CHECK_ROW(n * 100 + at, is_name || out.n < total);
            }
        }
        arena_reset(a);
    }
    arena_free(a);
}

static void nothing_to_do_is_no_copy(void)
{
    struct arena *a = arena_new(64);
    struct str raw = STR("/api/v1/orders/12345/items/678"), out;

    CHECK(uri_normalise(a, raw, &out) == URI_OK && out.p == raw.p && out.n == raw.n);
    arena_free(a);
}

static void servlet_parameters_go_and_bad_segments_are_refused(void)
{
    static const struct {
        const char *uri, *want;
    } cases[] = {
        {"/a/b", "/a/b"},     {"/a;x=1/b;y", "/a/b"}, {"/a;x;y/b", "/a/b"}, {"/;x", "/"},
        {"/a/;x", "/a/"},     {"/a/", "/a/"},         {"/a;x/", "/a"},      {"/a/..;/b", NULL},
        {"/a/.;x", NULL},     {"/;a/b", NULL},        {"/a/;/b", NULL},     {"/%2e;/b", NULL},
        {"/%2E%2e;/b", NULL}, {"/..a;/b", "/..a/b"},
    };
    struct arena *a = arena_new(256);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str out;
        bool ok = uri_servlet(a, str_c(cases[i].uri), &out);
        CHECK_ROW(i, ok == (cases[i].want != NULL));
        CHECK_ROW(i, !ok || str_eq(out, str_c(cases[i].want)));
    }
    arena_free(a);
}

static void encoded_slashes_stay_when_nothing_else_was_done(void)
{
    static const struct {
        const char *raw, *want;
    } cases[] = {
        {"/a/b", "/a/b"},         {"/a%2Fb", "/a%2Fb"},    {"/a%2fb/c", "/a%2Fb/c"},
        {"/a%20%2fb", "/a %2Fb"}, {"/a%2Fb//c", "/a/b/c"}, {"/x/../a%2Fb", "/a/b"},
    };
    struct arena *a = arena_new(256);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str uri;
        CHECK(uri_normalise(a, str_c(cases[i].raw), &uri) == URI_OK);
        CHECK_STR(uri_keep_encoded_slash(a, str_c(cases[i].raw), uri), cases[i].want);
    }
    arena_free(a);
}

static void hosts_lose_port_case_and_final_dot(void)
{
    static const struct {
        const char *header, *host, *port;
    } cases[] = {
        {"foo.com", "foo.com", NULL},
        {"Foo.COM:80", "foo.com", "80"},
        {"foo.com.", "foo.com", NULL},
        {"foo.com.:8080", "foo.com", "8080"},
        {"foo.com:", "foo.com", NULL},
        {"[::1]", "[::1]", NULL},
        {"[::1]:9080", "[::1]", "9080"},
        {"[FE80::1]:1", "[fe80::1]", "1"},
        {"[::1", "[::1", NULL},
        {"", NULL, NULL},
        {":80", NULL, "80"},
        {".", NULL, NULL},
    };
    struct arena *a = arena_new(256);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str port, host = host_of(a, str_c(cases[i].header), &port);
        CHECK_ROW(i, cases[i].host ? str_eq(host, str_c(cases[i].host)) : str_is_none(host));
        CHECK_ROW(i, cases[i].port ? str_eq(port, str_c(cases[i].port)) : str_is_none(port));
    }
    CHECK(str_is_none(host_of(a, STR_NONE, &(struct str){NULL, 0})));
    arena_free(a);
}

TESTS(T(paths_are_decoded_once_merged_and_resolved), T(the_fast_scan_misses_no_position),
      T(nothing_to_do_is_no_copy), T(servlet_parameters_go_and_bad_segments_are_refused),
      T(encoded_slashes_stay_when_nothing_else_was_done), T(hosts_lose_port_case_and_final_dot))
