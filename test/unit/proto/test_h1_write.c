/* SPDX-License-Identifier: Apache-2.0 */
/* Heads on their way out: spelling, the room they need, and what is not let out. */
#include "h1_run.h"

static struct str write_request(struct arena *a, struct str method, struct str target,
                                const struct headers *h)
{
    size_t room;
    char *out = run_write_request(method, target, h, &room);
    const struct str s = room > 0 ? arena_str(a, str_of(out, room)) : STR("refused");

    free(out);
    return s;
}

static struct str write_response(struct arena *a, unsigned minor, int status, struct str reason,
                                 const struct headers *h)
{
    const size_t room = h1_response_head_room(reason, h);
    char *out = malloc(room);
    const size_t n = h1_write_response_head(out, minor, status, reason, h);
    const struct str s = n > 0 ? arena_str(a, str_of(out, n)) : STR("refused");

    CHECK(n <= room);
    free(out);
    return s;
}

static void heads_have_one_spelling(void)
{
    struct arena *a = arena_new(4096);
    struct headers h;

    headers_init(&h, a, 0);
    CHECK_STR(write_response(a, 0, 404, STR(""), &h), "HTTP/1.0 404 \r\n\r\n");
    headers_add(&h, STR("Host"), STR("a"));
    headers_add(&h, STR("X-B"), STR(""));
    CHECK_STR(write_request(a, STR("GET"), STR("/a?b"), &h),
              "GET /a?b HTTP/1.1\r\nHost: a\r\nX-B: \r\n\r\n");
    CHECK_STR(write_response(a, 1, 200, STR("OK"), &h),
              "HTTP/1.1 200 OK\r\nHost: a\r\nX-B: \r\n\r\n");
    arena_free(a);
}

static void nothing_invalid_is_written(void)
{
    static const struct {
        struct str method, target, name, value;
        bool taken;
    } cases[] = {
#define ROW(m, t, n, v, taken) {STR_INIT(m), STR_INIT(t), STR_INIT(n), STR_INIT(v), taken}
        ROW("GET", "/", "a", "b", true),       ROW("GET", "/\x80", "a", "\x80", true),
        ROW("G T", "/", "a", "b", false),      ROW("", "/", "a", "b", false),
        ROW("GET\r\n", "/", "a", "b", false),  ROW("GET", "", "a", "b", false),
        ROW("GET", "/ ", "a", "b", false),     ROW("GET", "/\r\n", "a", "b", false),
        ROW("GET", "/\0", "a", "b", false),    ROW("GET", "/#", "a", "b", false),
        ROW("GET", "/\x7f", "a", "b", false),  ROW("GET", "/", "", "b", false),
        ROW("GET", "/", "a b", "b", false),    ROW("GET", "/", "a:", "b", false),
        ROW("GET", "/", "a\r\nb", "b", false), ROW("GET", "/", "a\0", "b", false),
        ROW("GET", "/", "a\x80", "b", false),  ROW("GET", "/", "a", "b\r\nc: d", false),
        ROW("GET", "/", "a", "b\n", false),    ROW("GET", "/", "a", "b\r", false),
        ROW("GET", "/", "a", "b\0", false),    ROW("GET", "/", "a", "b\x7f", false),
        ROW("GET", "/", "a", "\x01", false),
#undef ROW
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena *a = arena_new(4096);
        struct headers h;

        headers_init(&h, a, 0);
        headers_add(&h, cases[i].name, cases[i].value);
        CHECK_ROW(i, str_eq(write_request(a, cases[i].method, cases[i].target, &h),
                            STR("refused")) != cases[i].taken);
        arena_free(a);
    }
}

static void answers_with_invalid_words_are_not_written(void)
{
    struct arena *a = arena_new(4096);
    struct headers h;

    headers_init(&h, a, 0);
    CHECK_STR(write_response(a, 1, 200, STR("O\rK"), &h), "refused");
    CHECK_STR(write_response(a, 1, 200, STR("O\0K"), &h), "refused");
    CHECK_STR(write_response(a, 1, 99, STR("x"), &h), "refused");
    CHECK_STR(write_response(a, 1, 1000, STR("x"), &h), "refused");
    CHECK_STR(write_response(a, 2, 200, STR("x"), &h), "refused");
    headers_add(&h, STR("a"), STR("b\r\n\r\nHTTP/1.1 200 OK"));
    CHECK_STR(write_response(a, 1, 200, STR("x"), &h), "refused");
    arena_free(a);
}

static void hop_by_hop_fields_are_known_and_listed_ones_found(void)
{
    static const struct {
        const char *name;
        bool want;
    } cases[] = {
        {"Connection", true},
        {"Keep-Alive", true},
        {"Proxy-Connection", true},
        {"TE", true},
        {"Transfer-Encoding", true},
        {"Upgrade", true},
        {"HTTP2-Settings", true},
        {"Proxy-Authorization", true},
        {"Proxy-Authenticate", true},
        {"X-Listed", true},
        {"x-listed", true},
        {"Cookie", true},
        {"Host", false},
        {"Content-Length", false},
        {"Accept", false},
        {"X-Other", false},
        {"x-liste", false},
        {"Trailer", false},
    };
    struct arena *a = arena_new(4096);
    struct headers h;

    headers_init(&h, a, 0);
    headers_add(&h, STR("Connection"), STR("x-listed, Host, content-length"));
    headers_add(&h, STR("Connection"), STR("cookie"));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        headers_add(&h, str_c(cases[i].name), STR("v"));
        CHECK_ROW(i, h1_is_hop_by_hop(&h, &h.v[h.n - 1]) == cases[i].want);
    }
    arena_free(a);
}

static void what_is_written_is_read_as_the_same_message(void)
{
    struct arena *a = arena_new(4096);
    struct headers h;

    headers_init(&h, a, 0);
    headers_add(&h, STR("Host"), STR("a:80"));
    headers_add(&h, STR("Content-Length"), STR("12"));
    headers_add(&h, STR("X"), STR("\x80 \"z\""));
    CHECK_STR(run_request(a, &h1_run_limits, write_request(a, STR("PUT"), STR("/p?q"), &h)),
              "/p?q a:80 1.1 keepalive length 12");
    arena_free(a);
}
TESTS(T(heads_have_one_spelling), T(nothing_invalid_is_written),
      T(answers_with_invalid_words_are_not_written),
      T(hop_by_hop_fields_are_known_and_listed_ones_found),
      T(what_is_written_is_read_as_the_same_message))
