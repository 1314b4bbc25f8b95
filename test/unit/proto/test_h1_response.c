/* SPDX-License-Identifier: Apache-2.0 */
/* Response heads, each parsed whole, byte by byte and cut at every point, and what follows them. */
#include "h1_run.h"

struct row {
    struct str bytes;
    const char *want;
    enum http_method method;
    bool asked_upgrade;
};

/* "200 OK 1.1 keepalive length 5", or the error's name. */
static struct str run_response(struct arena *a, const struct row *row)
{
    static const char *const framings[] = {"none", "length", "chunked", "to-close", "tunnel"};
    const struct str full = run_all(a, &h1_run_limits, true, row->bytes);
    struct h1_run r;
    struct str s = full;

    run_begin(&r, &h1_run_limits, true);
    run_feed(&r, row->bytes);
    if (r.rc == 1 && !str_starts(full, STR("DIFFERS"))) {
        const struct h1_head *h = &r.parser.head;

        if (h1_response_framing(&r.parser, row->method ? row->method : M_GET, row->asked_upgrade) !=
            0) {
            s = str_c(h1_error_names[r.parser.error]);
        } else {
            s = arena_printf(a, "%d %.*s 1.%u %s %s", h->status, STR_ARG(h->reason), h->minor,
                             h->keepalive ? "keepalive" : "close", framings[h->framing]);
            if (h->framing == H1_LENGTH) {
                s = arena_printf(a, "%.*s %llu", STR_ARG(s), (unsigned long long)h->content_length);
            }
        }
    }
    run_end(&r);
    return s;
}

static void check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct arena *a = arena_new(4096);
        const struct str got = run_response(a, &rows[i]);

        if (!str_eq(got, str_c(rows[i].want))) {
            printf("# row %zu: %.*s\n", i, STR_ARG(rows[i].bytes));
        }
        CHECK_STR(got, rows[i].want);
        arena_free(a);
    }
}
#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))
#define LINE(line, want)                                                                           \
    {                                                                                              \
        STR_INIT(line "\r\nContent-Length: 5\r\n\r\n"), want                                       \
    }
#define OK(fields, want, ...)                                                                      \
    {                                                                                              \
        STR_INIT("HTTP/1.1 200 OK\r\n" fields "\r\n"), want, __VA_ARGS__                           \
    }

static void status_lines_are_taken_or_refused(void)
{
    static const struct row rows[] = {
        LINE("HTTP/1.1 200 OK", "200 OK 1.1 keepalive length 5"),
        LINE("HTTP/1.1 200 ", "200  1.1 keepalive length 5"),
        LINE("HTTP/1.1 200", "200  1.1 keepalive length 5"),
        LINE("HTTP/1.1 200 Not \t\"so\" \x80 bad",
             "200 Not \t\"so\" \x80 bad 1.1 keepalive length 5"),
        LINE("HTTP/1.1 200  OK", "200  OK 1.1 keepalive length 5"),
        LINE("HTTP/1.0 404 Not Found", "404 Not Found 1.0 close length 5"),
        LINE("HTTP/1.5 599 x", "599 x 1.1 keepalive length 5"),
        LINE("HTTP/1.1 600 x", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1 999 x", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1 099 x", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1 000 x", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1 20 x", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1 2000 x", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1 2x0 x", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1 -20 x", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1 +20 x", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1 200.1 x", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1  200 OK", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1\t200 OK", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1 200\tOK", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1 ", "BAD_STATUS_LINE"),
        LINE("HTTP/2 200", "BAD_VERSION"),
        LINE("HTTP/2.0 200 OK", "BAD_VERSION"),
        LINE("HTTP/0.9 200 OK", "BAD_VERSION"),
        LINE("http/1.1 200 OK", "BAD_STATUS_LINE"),
        LINE("HTTP/1.x 200 OK", "BAD_STATUS_LINE"),
        LINE("ICY 200 OK", "BAD_STATUS_LINE"),
        LINE(" HTTP/1.1 200 OK", "BAD_STATUS_LINE"),
        LINE("\r\nHTTP/1.1 200 OK", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1 200 O\0K", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1 200 O\x01K", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1 200 O\x7fK", "BAD_STATUS_LINE"),
        LINE("HTTP/1.1 200 O\rK", "BAD_LINE_END"),
        LINE("HTTP/1.1 200 OK\n", "BAD_LINE_END"),
        LINE("hello", "BAD_STATUS_LINE"),
        LINE("\0", "BAD_STATUS_LINE"),
        {STR_INIT("HTTP/1.1 200 OK\nA: b\n\n"), "BAD_LINE_END"},
        {STR_INIT("HTTP/1.1 200\nA: b\n\n"), "BAD_LINE_END"},
        {STR_INIT("HTTP/1.1 200 OK\r\n"), "MORE"},
        {STR_INIT("HTTP/1"), "MORE"},
    };

    CHECK_ROWS(rows);
}

static void fields_of_answers_obey_the_same_rules(void)
{
    static const struct row rows[] = {
        OK("A: b\0c\r\n", "BAD_FIELD_VALUE"),
        OK("A: b\x01\r\n", "BAD_FIELD_VALUE"),
        OK("A: b\rc\r\n", "BAD_LINE_END"),
        OK("A: b\nc: d\r\n", "BAD_LINE_END"),
        OK("A : b\r\n", "BAD_FIELD_NAME"),
        OK("A\0: b\r\n", "BAD_FIELD_NAME"),
        OK("A\x80: b\r\n", "BAD_FIELD_NAME"),
        OK("A\r\n", "BAD_FIELD_NAME"),
        OK(": b\r\n", "BAD_FIELD_NAME"),
        OK("A: b\r\n c\r\n", "OBS_FOLD"),
        OK(" A: b\r\n", "OBS_FOLD"),
        OK("Transfer_Encoding: chunked\r\n", "BAD_FIELD_NAME"),
        OK("Content_Length: 5\r\n", "BAD_FIELD_NAME"),
        OK("Host: not a host\r\nExpect: x\r\nContent-Length: 1\r\n",
           "200 OK 1.1 keepalive length 1"),
        OK("Connection: upgrade\r\nUpgrade: a b\r\nContent-Length: 1\r\n",
           "200 OK 1.1 keepalive length 1"),
    };

    CHECK_ROWS(rows);
}

static void the_length_of_an_answer_follows_rfc_9112_6_3(void)
{
    static const struct row rows[] = {
        OK("Content-Length: 5\r\n", "200 OK 1.1 keepalive length 5"),
        OK("Content-Length: 0\r\n", "200 OK 1.1 keepalive length 0"),
        OK("Content-Length: 5\r\nConnection: close\r\n", "200 OK 1.1 close length 5"),
        OK("Transfer-Encoding: chunked\r\n", "200 OK 1.1 keepalive chunked"),
        OK("", "200 OK 1.1 close to-close"),
        OK("Connection: keep-alive\r\n", "200 OK 1.1 close to-close"),
        OK("Content-Length: 5\r\n", "200 OK 1.1 keepalive none", M_HEAD),
        OK("Transfer-Encoding: chunked\r\n", "200 OK 1.1 keepalive none", M_HEAD),
        OK("", "200 OK 1.1 keepalive none", M_HEAD),
        OK("Content-Length: 5\r\n", "200 OK 1.1 keepalive tunnel", M_CONNECT),
        OK("", "200 OK 1.1 keepalive tunnel", M_CONNECT),
        {STR_INIT("HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\n"), "403 No 1.1 keepalive length 5",
         M_CONNECT},
        {STR_INIT("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n"), "204 No 1.1 keepalive none"},
        {STR_INIT("HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n"),
         "204 No 1.1 keepalive none"},
        {STR_INIT("HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n"), "304 No 1.1 keepalive none"},
        {STR_INIT("HTTP/1.1 205 No\r\nContent-Length: 0\r\n\r\n"), "205 No 1.1 keepalive length 0"},
        {STR_INIT("HTTP/1.1 100 Continue\r\n\r\n"), "100 Continue 1.1 keepalive none"},
        {STR_INIT("HTTP/1.1 103 Early\r\nLink: a\r\n\r\n"), "103 Early 1.1 keepalive none"},
        {STR_INIT("HTTP/1.1 199 x\r\nContent-Length: 5\r\n\r\n"), "199 x 1.1 keepalive none"},
        {STR_INIT("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: w\r\n\r\n"),
         "101 S 1.1 keepalive tunnel", M_GET, true},
        {STR_INIT("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: w\r\n\r\n"), "BAD_UPGRADE",
         M_GET, false},
        {STR_INIT("HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: w\r\n\r\n"),
         "200 OK 1.1 close to-close", M_GET, true},
        {STR_INIT("HTTP/1.0 200 OK\r\n\r\n"), "200 OK 1.0 close to-close"},
        {STR_INIT("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"),
         "200 OK 1.0 keepalive length 5"},
    };

    CHECK_ROWS(rows);
}

static void broken_framing_of_an_answer_is_refused(void)
{
    static const struct row rows[] = {
        OK("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "CL_AND_TE"),
        OK("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "CL_AND_TE"),
        OK("Content-Length: 5\r\nContent-Length: 6\r\n", "BAD_CONTENT_LENGTH"),
        OK("Content-Length: 5\r\nContent-Length: 5\r\n", "BAD_CONTENT_LENGTH"),
        OK("Content-Length: 5, 5\r\n", "BAD_CONTENT_LENGTH"),
        OK("Content-Length: x\r\n", "BAD_CONTENT_LENGTH"),
        OK("Content-Length: -1\r\n", "BAD_CONTENT_LENGTH"),
        OK("Content-Length:\r\n", "BAD_CONTENT_LENGTH"),
        OK("Content-Length: 18446744073709551616\r\n", "BAD_CONTENT_LENGTH"),
        OK("Transfer-Encoding: gzip\r\n", "UNKNOWN_TRANSFER_CODING"),
        OK("Transfer-Encoding: gzip, chunked\r\n", "UNKNOWN_TRANSFER_CODING"),
        OK("Transfer-Encoding: chunked, gzip\r\n", "BAD_TRANSFER_ENCODING"),
        OK("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "BAD_TRANSFER_ENCODING"),
        OK("Transfer-Encoding: \"chunked\"\r\n", "BAD_TRANSFER_ENCODING"),
        OK("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "CL_AND_TE", M_HEAD),
        {STR_INIT("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
         "BAD_TRANSFER_ENCODING"},
    };

    CHECK_ROWS(rows);
}

static void errors_and_statuses_have_words(void)
{
    for (int e = H1_OK + 1; e <= H1_TRUNCATED; e++) {
        CHECK_ROW(e, h1_error_status(e) >= 400 && h1_error_text(e)[0] != 0);
    }
    CHECK_STR(http_reason(200), "OK");
    CHECK_STR(http_reason(502), "Bad Gateway");
    CHECK_STR(http_reason(299), "");
    CHECK_STR(http_reason(-1), "");
    CHECK_STR(http_reason(100000), "");
}
TESTS(T(status_lines_are_taken_or_refused), T(fields_of_answers_obey_the_same_rules),
      T(the_length_of_an_answer_follows_rfc_9112_6_3), T(broken_framing_of_an_answer_is_refused),
      T(errors_and_statuses_have_words))
