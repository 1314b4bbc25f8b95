/* SPDX-License-Identifier: Apache-2.0 */
/* Request heads, each parsed whole, byte by byte and cut at every point. */
#include "h1_run.h"

#include "proto/h1_scan.h"

struct row {
    struct str bytes;
    const char *want; /* run_request(), or the error's name */
};

static void check_rows(const struct row *rows, size_t n, const struct h1_limits *limits)
{
    for (size_t i = 0; i < n; i++) {
        struct arena *a = arena_new(4096);
        const struct str got = run_request(a, limits, rows[i].bytes);

        if (!str_eq(got, str_c(rows[i].want))) {
            printf("# row %zu: %.*s\n", i, STR_ARG(rows[i].bytes));
        }
        CHECK_STR(got, rows[i].want);
        arena_free(a);
    }
}
#define CHECK_ROWS(rows, limits) check_rows(rows, sizeof(rows) / sizeof((rows)[0]), limits)

/* A request line; a request to host h with more fields; with no Host; HTTP/1.0 without Host. */
#define LINE(line, want)                                                                           \
    {                                                                                              \
        STR_INIT(line "\r\nHost: h\r\n\r\n"), want                                                 \
    }
#define GET(fields, want)                                                                          \
    {                                                                                              \
        STR_INIT("GET / HTTP/1.1\r\nHost: h\r\n" fields "\r\n"), want                              \
    }
#define POST(fields, want)                                                                         \
    {                                                                                              \
        STR_INIT("POST / HTTP/1.1\r\nHost: h\r\n" fields "\r\n"), want                             \
    }
#define HOST(fields, want)                                                                         \
    {                                                                                              \
        STR_INIT("GET / HTTP/1.1\r\n" fields "\r\n"), want                                         \
    }
#define OLD(fields, want)                                                                          \
    {                                                                                              \
        STR_INIT("GET / HTTP/1.0\r\n" fields "\r\n"), want                                         \
    }

static void request_lines_are_taken_or_refused(void)
{
    static const struct row rows[] = {
        LINE("GET / HTTP/1.1", "/ h 1.1 keepalive"),
        LINE("get / HTTP/1.1", "/ h 1.1 keepalive"),
        LINE("M-SEARCH /x HTTP/1.1", "/x h 1.1 keepalive"),
        LINE("A!#$%&'*+-.^_`|~9 /x HTTP/1.1", "/x h 1.1 keepalive"),
        LINE("GET /a/b?c=d&e=%zz%00 HTTP/1.1", "/a/b?c=d&e=%zz%00 h 1.1 keepalive"),
        LINE("GET /%41%2f%2F%e2%82%ac HTTP/1.1", "/%41%2f%2F%e2%82%ac h 1.1 keepalive"),
        LINE("GET /a%0d%0aX:y HTTP/1.1", "/a%0d%0aX:y h 1.1 keepalive"),
        LINE("GET //evil/../x HTTP/1.1", "//evil/../x h 1.1 keepalive"),
        LINE("GET /\"<>[]\\^`{|} HTTP/1.1", "/\"<>[]\\^`{|} h 1.1 keepalive"),
        LINE("GET /? HTTP/1.1", "/? h 1.1 keepalive"),
        LINE("GET /a?b?c HTTP/1.1", "/a?b?c h 1.1 keepalive"),
        LINE("GET  / HTTP/1.1", "BAD_REQUEST_LINE"),
        LINE("GET /  HTTP/1.1", "BAD_REQUEST_LINE"),
        LINE("GET\t/ HTTP/1.1", "BAD_REQUEST_LINE"),
        LINE("GET /\tHTTP/1.1", "BAD_TARGET"),
        LINE("GET /a b HTTP/1.1", "BAD_REQUEST_LINE"),
        LINE(" GET / HTTP/1.1", "BAD_REQUEST_LINE"),
        LINE("\tGET / HTTP/1.1", "BAD_REQUEST_LINE"),
        LINE("GET / HTTP/1.1 ", "BAD_REQUEST_LINE"),
        LINE("GET / HTTP/1.1\t", "BAD_REQUEST_LINE"),
        LINE("GET / HTTP/1.1 x", "BAD_REQUEST_LINE"),
        LINE("GET /\x0bHTTP/1.1", "BAD_TARGET"),
        LINE("GET /\x0cHTTP/1.1", "BAD_TARGET"),
        LINE("GET /", "BAD_REQUEST_LINE"),
        LINE("GET", "BAD_REQUEST_LINE"),
        LINE("GET ", "BAD_REQUEST_LINE"),
        LINE("GET  HTTP/1.1", "BAD_REQUEST_LINE"),
        LINE("/ HTTP/1.1", "BAD_METHOD"),
        LINE("G:T / HTTP/1.1", "BAD_METHOD"),
        LINE("G(T) / HTTP/1.1", "BAD_METHOD"),
        LINE("G\x80T / HTTP/1.1", "BAD_METHOD"),
        LINE("G\0T / HTTP/1.1", "BAD_METHOD"),
        LINE("\"GET\" / HTTP/1.1", "BAD_METHOD"),
        LINE("\x16\x03\x01", "BAD_METHOD"),
        LINE("GET /\0 HTTP/1.1", "BAD_TARGET"),
        LINE("GET /\x01 HTTP/1.1", "BAD_TARGET"),
        LINE("GET /\x7f HTTP/1.1", "BAD_TARGET"),
        LINE("GET /\xc3\xa9 HTTP/1.1", "BAD_TARGET"),
        LINE("GET /#a HTTP/1.1", "BAD_TARGET"),
        LINE("GET /a?b#c HTTP/1.1", "BAD_TARGET"),
        LINE("GET /% HTTP/1.1", "BAD_TARGET"),
        LINE("GET /%4 HTTP/1.1", "BAD_TARGET"),
        LINE("GET /%zz HTTP/1.1", "BAD_TARGET"),
        LINE("GET /%4g HTTP/1.1", "BAD_TARGET"),
        LINE("GET /a%?b HTTP/1.1", "BAD_TARGET"),
        LINE("GET /a%4?1 HTTP/1.1", "BAD_TARGET"),
        LINE("GET /%%41 HTTP/1.1", "BAD_TARGET"),
        LINE("GET /%u0041 HTTP/1.1", "BAD_TARGET"),
        LINE("GET /a%00 HTTP/1.1", "BAD_TARGET"),
        LINE("GET /%41%00b HTTP/1.1", "BAD_TARGET"),
        LINE("GET a HTTP/1.1", "BAD_TARGET"),
        LINE("GET ?a HTTP/1.1", "BAD_TARGET"),
        LINE("GET h:80 HTTP/1.1", "BAD_TARGET"),
        LINE("GET \\a HTTP/1.1", "BAD_TARGET"),
        LINE("GET * HTTP/1.1", "BAD_TARGET"),
        LINE("GET *a HTTP/1.1", "BAD_TARGET"),
        LINE("PRI * HTTP/2.0", "BAD_TARGET"),
        LINE("OPTIONS * HTTP/1.1", "* h 1.1 keepalive"),
        LINE("OPTIONS ** HTTP/1.1", "BAD_TARGET"),
        LINE("OPTIONS /* HTTP/1.1", "/* h 1.1 keepalive"),
        LINE("CONNECT h:443 HTTP/1.1", "h:443 h:443 1.1 keepalive"),
        LINE("CONNECT [::1]:443 HTTP/1.1", "[::1]:443 [::1]:443 1.1 keepalive"),
        LINE("CONNECT h HTTP/1.1", "BAD_TARGET"),
        LINE("CONNECT h: HTTP/1.1", "BAD_TARGET"),
        LINE("CONNECT :443 HTTP/1.1", "BAD_TARGET"),
        LINE("CONNECT h:65536 HTTP/1.1", "BAD_TARGET"),
        LINE("CONNECT u@h:443 HTTP/1.1", "BAD_TARGET"),
        LINE("CONNECT h:443/ HTTP/1.1", "BAD_TARGET"),
        LINE("CONNECT / HTTP/1.1", "BAD_TARGET"),
        LINE("CONNECT http://h/ HTTP/1.1", "BAD_TARGET"),
        LINE("CONNECT * HTTP/1.1", "BAD_TARGET"),
    };

    CHECK_ROWS(rows, &h1_run_limits);
}

static void an_absolute_target_brings_its_own_authority(void)
{
    static const struct row rows[] = {
        LINE("GET http://a.b/c?d HTTP/1.1", "/c?d a.b 1.1 keepalive absolute"),
        LINE("GET HTTPS://a:8443/ HTTP/1.1", "/ a:8443 1.1 keepalive absolute"),
        LINE("GET hTTp://a HTTP/1.1", "/ a 1.1 keepalive absolute"),
        LINE("GET http://a: HTTP/1.1", "/ a: 1.1 keepalive absolute"),
        LINE("GET http://a?b=/c HTTP/1.1", "/?b=/c a 1.1 keepalive absolute"),
        LINE("GET http://[::1]:80/x HTTP/1.1", "/x [::1]:80 1.1 keepalive absolute"),
        LINE("OPTIONS http://a HTTP/1.1", "* a 1.1 keepalive absolute"),
        LINE("OPTIONS http://a/ HTTP/1.1", "/ a 1.1 keepalive absolute"),
        LINE("OPTIONS http://a?b HTTP/1.1", "/?b a 1.1 keepalive absolute"),
        LINE("GET http:// HTTP/1.1", "BAD_TARGET"),
        LINE("GET http:/// HTTP/1.1", "BAD_TARGET"),
        LINE("GET http:///a HTTP/1.1", "BAD_TARGET"),
        LINE("GET http://?a HTTP/1.1", "BAD_TARGET"),
        LINE("GET http:/a HTTP/1.1", "BAD_TARGET"),
        LINE("GET http:a HTTP/1.1", "BAD_TARGET"),
        LINE("GET http HTTP/1.1", "BAD_TARGET"),
        LINE("GET ftp://a/ HTTP/1.1", "BAD_TARGET"),
        LINE("GET httpx://a/ HTTP/1.1", "BAD_TARGET"),
        LINE("GET ://a/ HTTP/1.1", "BAD_TARGET"),
        LINE("GET http://u@a/ HTTP/1.1", "BAD_TARGET"),
        LINE("GET http://u:p@a/ HTTP/1.1", "BAD_TARGET"),
        LINE("GET http://a:x/ HTTP/1.1", "BAD_TARGET"),
        LINE("GET http://a:99999/ HTTP/1.1", "BAD_TARGET"),
        LINE("GET http://a\\b/ HTTP/1.1", "BAD_TARGET"),
        LINE("GET http://a%00/ HTTP/1.1", "BAD_TARGET"),
        LINE("GET http://a/%00 HTTP/1.1", "BAD_TARGET"),
        LINE("GET http://a/%x HTTP/1.1", "BAD_TARGET"),
        LINE("GET http://a/#b HTTP/1.1", "BAD_TARGET"),
        HOST("", "BAD_HOST"),
        {STR_INIT("GET http://a/ HTTP/1.1\r\n\r\n"), "BAD_HOST"},
        {STR_INIT("GET http://a/ HTTP/1.1\r\nHost: b\r\nHost: b\r\n\r\n"), "BAD_HOST"},
        {STR_INIT("GET http://a/ HTTP/1.1\r\nHost: u@b\r\n\r\n"), "BAD_HOST"},
        {STR_INIT("GET http://a/ HTTP/1.0\r\n\r\n"), "/ a 1.0 close absolute"},
    };

    CHECK_ROWS(rows, &h1_run_limits);
}

static void only_two_versions_are_spoken(void)
{
    static const struct row rows[] = {
        LINE("GET / HTTP/1.0", "/ h 1.0 close"),       LINE("GET / HTTP/1.2", "/ h 1.1 keepalive"),
        LINE("GET / HTTP/1.9", "/ h 1.1 keepalive"),   LINE("GET / HTTP/0.9", "BAD_VERSION"),
        LINE("GET / HTTP/2.0", "BAD_VERSION"),         LINE("GET / HTTP/2", "BAD_VERSION"),
        LINE("GET / HTTP/3.0", "BAD_VERSION"),         LINE("GET / HTTP/9.9", "BAD_VERSION"),
        LINE("GET / HTTP/1", "BAD_REQUEST_LINE"),      LINE("GET / HTTP/1.", "BAD_REQUEST_LINE"),
        LINE("GET / HTTP/1.10", "BAD_REQUEST_LINE"),   LINE("GET / HTTP/1.01", "BAD_REQUEST_LINE"),
        LINE("GET / HTTP/01.1", "BAD_VERSION"),        LINE("GET / HTTP/11.1", "BAD_REQUEST_LINE"),
        LINE("GET / HTTP/1,1", "BAD_REQUEST_LINE"),    LINE("GET / HTTP/1.x", "BAD_REQUEST_LINE"),
        LINE("GET / HTTP/x.1", "BAD_REQUEST_LINE"),    LINE("GET / HTTP/ 1.1", "BAD_REQUEST_LINE"),
        LINE("GET / HTTP /1.1", "BAD_REQUEST_LINE"),   LINE("GET / HTTP/1 .1", "BAD_REQUEST_LINE"),
        LINE("GET / HTTP/1. 1", "BAD_REQUEST_LINE"),   LINE("GET / HTTP/+1.1", "BAD_REQUEST_LINE"),
        LINE("GET / HTTP/-1.1", "BAD_REQUEST_LINE"),   LINE("GET / http/1.1", "BAD_REQUEST_LINE"),
        LINE("GET / Http/1.1", "BAD_REQUEST_LINE"),    LINE("GET / HTTPS/1.1", "BAD_REQUEST_LINE"),
        LINE("GET / HTP/1.1", "BAD_REQUEST_LINE"),     LINE("GET / HTTP1.1", "BAD_REQUEST_LINE"),
        LINE("GET / ICY/1.1", "BAD_REQUEST_LINE"),     LINE("GET / HTTP/1.1\0", "BAD_REQUEST_LINE"),
        LINE("GET / HTTP/1.\xb1", "BAD_REQUEST_LINE"), LINE("GET / ", "BAD_REQUEST_LINE"),
    };

    CHECK_ROWS(rows, &h1_run_limits);
}

static void lines_end_in_crlf_and_nothing_else(void)
{
    static const struct row rows[] = {
        {STR_INIT("GET / HTTP/1.1\nHost: h\r\n\r\n"), "BAD_LINE_END"},
        {STR_INIT("GET / HTTP/1.1\r\nHost: h\n\r\n"), "BAD_LINE_END"},
        {STR_INIT("GET / HTTP/1.1\r\nHost: h\r\n\n"), "BAD_LINE_END"},
        {STR_INIT("GET / HTTP/1.1\rHost: h\r\n\r\n"), "BAD_LINE_END"},
        {STR_INIT("GET / HTTP/1.1\r\nHost: h\rA: b\r\n\r\n"), "BAD_LINE_END"},
        {STR_INIT("GET / HTTP/1.1\r\nHost: h\r\n\r\r\n"), "BAD_LINE_END"},
        {STR_INIT("GET / HTTP/1.1\r\r\nHost: h\r\n\r\n"), "BAD_LINE_END"},
        {STR_INIT("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n"), "BAD_LINE_END"},
        {STR_INIT("GET / HTTP/1.1\r\nHost: h\r\n\rA: b\r\n\r\n"), "BAD_LINE_END"},
        {STR_INIT("GET / HTTP/1.1\n\nHost: h"), "BAD_LINE_END"},
        {STR_INIT("GET /\nHost: h\n\n"), "BAD_REQUEST_LINE"},
        {STR_INIT("GET\n"), "BAD_REQUEST_LINE"},
        {STR_INIT("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), "BAD_LINE_END"},
        {STR_INIT("\rGET / HTTP/1.1\r\nHost: h\r\n\r\n"), "BAD_LINE_END"},
        {STR_INIT("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), "/ h 1.1 keepalive"},
        {STR_INIT("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), "/ h 1.1 keepalive"},
        {STR_INIT("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), "BAD_REQUEST_LINE"},
        {STR_INIT("\r\n GET / HTTP/1.1\r\nHost: h\r\n\r\n"), "BAD_REQUEST_LINE"},
        {STR_INIT("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET"), "/ h 1.1 keepalive and 3 more"},
        {STR_INIT("GET / HTTP/1.1\r\nHost: h\r\n\r\n\n\r\0"), "/ h 1.1 keepalive and 3 more"},
        {STR_INIT("GET / HTTP/1.1\r\nHost: h\r\n\r"), "MORE"},
        {STR_INIT("GET / HTTP/1.1\r\nHost: h\r\n"), "MORE"},
        {STR_INIT("GET / HTTP/1.1\r\nHost: h"), "MORE"},
        {STR_INIT("GET / HT"), "MORE"},
        {STR_INIT("\r\n"), "MORE"},
    };

    CHECK_ROWS(rows, &h1_run_limits);
}

static void a_bare_lf_passes_where_that_is_switched_on(void)
{
    static const struct h1_limits lax = {
        .head_bytes = 65536, .line_bytes = 16384, .fields = 200, .lax_lf = true};
    static const struct row rows[] = {
        {STR_INIT("GET / HTTP/1.1\nHost: h\n\n"), "/ h 1.1 keepalive"},
        {STR_INIT("GET / HTTP/1.1\r\nHost: h\n\r\n"), "/ h 1.1 keepalive"},
        {STR_INIT("GET / HTTP/1.1\nHost: h\r\nContent-Length: 5\n\nabc"),
         "/ h 1.1 keepalive length 5 and 3 more"},
        {STR_INIT("\nGET / HTTP/1.1\nHost: h\n\n"), "/ h 1.1 keepalive"},
        {STR_INIT("\n\n\nGET / HTTP/1.1\nHost: h\n\n"), "BAD_REQUEST_LINE"},
        {STR_INIT("GET / HTTP/1.1\n\n"), "BAD_HOST"},
        {STR_INIT("GET / HTTP/1.1\nHost: h\n folded\n\n"), "OBS_FOLD"},
        {STR_INIT("GET / HTTP/1.1\nHost: h\rA: b\n\n"), "BAD_LINE_END"},
        {STR_INIT("GET / HTTP/1.1\r\r\nHost: h\n\n"), "BAD_LINE_END"},
        {STR_INIT("GET /\n\n"), "BAD_REQUEST_LINE"},
        {STR_INIT("GET / HTTP/1.1\nHost\n\n"), "BAD_FIELD_NAME"},
    };

    CHECK_ROWS(rows, &lax);
}

static void high_bytes_pass_in_targets_where_that_is_switched_on(void)
{
    static const struct h1_limits high = {
        .head_bytes = 65536, .line_bytes = 16384, .fields = 200, .high_bytes = true};
    static const struct row rows[] = {
        LINE("GET /\xc3\xa9?\xff HTTP/1.1", "/\xc3\xa9?\xff h 1.1 keepalive"),
        LINE("GET http://a/\xc3\xa9 HTTP/1.1", "/\xc3\xa9 a 1.1 keepalive absolute"),
        LINE("GET http://\xc3\xa9/ HTTP/1.1", "BAD_TARGET"),
        LINE("GET /\x7f HTTP/1.1", "BAD_TARGET"),
        LINE("GET /\xc3\x01 HTTP/1.1", "BAD_TARGET"),
        LINE("GET /\xc3#a HTTP/1.1", "BAD_TARGET"),
        LINE("GET\xc3 / HTTP/1.1", "BAD_METHOD"),
        HOST("Host: \xc3\xa9\r\n", "BAD_HOST"),
    };

    CHECK_ROWS(rows, &high);
}

static void field_lines_are_taken_or_refused(void)
{
    static const struct row rows[] = {
        GET("A:b\r\n", "/ h 1.1 keepalive"),
        GET("A:\r\n", "/ h 1.1 keepalive"),
        GET("A:  \t \r\n", "/ h 1.1 keepalive"),
        GET("A: b: c\r\n", "/ h 1.1 keepalive"),
        GET("A: \"(b\x80\xff\r\n", "/ h 1.1 keepalive"),
        GET("X_Real_Ip: 1\r\n", "/ h 1.1 keepalive"),
        GET("A : b\r\n", "BAD_FIELD_NAME"),
        GET("A\t: b\r\n", "BAD_FIELD_NAME"),
        GET("A b: c\r\n", "BAD_FIELD_NAME"),
        GET("A\r\n", "BAD_FIELD_NAME"),
        GET("A\n", "BAD_FIELD_NAME"),
        GET(": b\r\n", "BAD_FIELD_NAME"),
        GET(":\r\n", "BAD_FIELD_NAME"),
        GET("A\0: b\r\n", "BAD_FIELD_NAME"),
        GET("\0A: b\r\n", "BAD_FIELD_NAME"),
        GET("A\x80: b\r\n", "BAD_FIELD_NAME"),
        GET("A\x7f: b\r\n", "BAD_FIELD_NAME"),
        GET("A\x0b: b\r\n", "BAD_FIELD_NAME"),
        GET("A\x01: b\r\n", "BAD_FIELD_NAME"),
        GET("A(b): c\r\n", "BAD_FIELD_NAME"),
        GET("A/b: c\r\n", "BAD_FIELD_NAME"),
        GET("A;b: c\r\n", "BAD_FIELD_NAME"),
        GET("A=b: c\r\n", "BAD_FIELD_NAME"),
        GET("A@b: c\r\n", "BAD_FIELD_NAME"),
        GET("[A]: c\r\n", "BAD_FIELD_NAME"),
        GET("{A}: c\r\n", "BAD_FIELD_NAME"),
        GET("\"A\": c\r\n", "BAD_FIELD_NAME"),
        GET("A\\: c\r\n", "BAD_FIELD_NAME"),
        GET("A,b: c\r\n", "BAD_FIELD_NAME"),
        GET("\xef\xbb\xbf"
            "A: c\r\n",
            "BAD_FIELD_NAME"),
        GET("A\rB: c\r\n", "BAD_FIELD_NAME"),
        GET("A: b\0c\r\n", "BAD_FIELD_VALUE"),
        GET("A: \0\r\n", "BAD_FIELD_VALUE"),
        GET("A: b\x01\r\n", "BAD_FIELD_VALUE"),
        GET("A: b\x08\r\n", "BAD_FIELD_VALUE"),
        GET("A: b\x0b\r\n", "BAD_FIELD_VALUE"),
        GET("A: b\x0c\r\n", "BAD_FIELD_VALUE"),
        GET("A: b\x1f\r\n", "BAD_FIELD_VALUE"),
        GET("A: b\x7f\r\n", "BAD_FIELD_VALUE"),
        GET("A: b\r c\r\n", "BAD_LINE_END"),
        GET("A: b\r\n c\r\n", "OBS_FOLD"),
        GET("A: b\r\n\tc\r\n", "OBS_FOLD"),
        GET("A:\r\n b\r\n", "OBS_FOLD"),
        GET("A: b\r\n \r\n", "OBS_FOLD"),
        GET(" A: b\r\n", "OBS_FOLD"),
        HOST(" Host: h\r\n", "OBS_FOLD"),
        HOST("\tHost: h\r\n", "OBS_FOLD"),
        HOST(" \r\nHost: h\r\n", "OBS_FOLD"),
    };

    CHECK_ROWS(rows, &h1_run_limits);
}

static void every_byte_in_a_name_or_value_is_judged_by_its_class(void)
{
    char name[] = "GET / HTTP/1.1\r\nHost: h\r\nXyyyyyyyyyyyyyyyyyyyyyyyX: v\r\n\r\n";
    char value[] = "GET / HTTP/1.1\r\nHost: h\r\nX: vvvvvvvvvvvvvvvvvvvvvvvvvv\r\n\r\n";
    char target[] = "GET /vvvvvvvvvvvvvvvvvvvvvvvvvvvv HTTP/1.1\r\nHost: h\r\n\r\n";

    for (int c = 0; c < 256; c++) {
        struct arena *a = arena_new(4096);

        name[35] = value[35] = target[20] = (char)c;
        if (c != ':') {
            CHECK_ROW(c, str_starts(run_request(a, &h1_run_limits, str_of(name, sizeof(name) - 1)),
                                    STR("/ h")) == h1_is((char)c, H1_TOKEN));
        }
        CHECK_ROW(c, str_starts(run_request(a, &h1_run_limits, str_of(value, sizeof(value) - 1)),
                                STR("/ h")) == h1_is((char)c, H1_VALUE));
        CHECK_ROW(c, str_starts(run_request(a, &h1_run_limits, str_of(target, sizeof(target) - 1)),
                                STR("/v")) == (h1_is((char)c, H1_TARGET) && c != '%'));
        arena_free(a);
    }
}

static void length_and_coding_exclude_each_other(void)
{
    static const struct row rows[] = {
        POST("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "CL_AND_TE"),
        POST("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "CL_AND_TE"),
        POST("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "CL_AND_TE"),
        POST("content-length: 5\r\nA: b\r\ntransfer-encoding: chunked\r\n", "CL_AND_TE"),
        GET("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "CL_AND_TE"),
        POST("Content-Length: 5\r\nTransfer-Encoding: identity\r\n", "CL_AND_TE"),
        POST("Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n", "CL_AND_TE"),
        POST("Content-Length: 5\r\nTransfer-Encoding:\r\n", "CL_AND_TE"),
        POST("Content-Length: x\r\nTransfer-Encoding: chunked\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content_Length: 5\r\nTransfer-Encoding: chunked\r\n", "BAD_FIELD_NAME"),
        POST("Content-Length: 5\r\nTransfer_Encoding: chunked\r\n", "BAD_FIELD_NAME"),
    };

    CHECK_ROWS(rows, &h1_run_limits);
}

static void the_only_coding_is_chunked(void)
{
    static const struct row rows[] = {
        POST("Transfer-Encoding: chunked\r\n", "/ h 1.1 keepalive chunked"),
        POST("transfer-encoding:chunked\r\n", "/ h 1.1 keepalive chunked"),
        POST("TRANSFER-ENCODING: \tCHUNKED \t\r\n", "/ h 1.1 keepalive chunked"),
        POST("Transfer-Encoding: , chunked\r\n", "/ h 1.1 keepalive chunked"),
        POST("Transfer-Encoding: chunked,\r\n", "/ h 1.1 keepalive chunked"),
        POST("Transfer-Encoding: , ,chunked , ,\r\n", "/ h 1.1 keepalive chunked"),
        GET("Transfer-Encoding: chunked\r\n", "/ h 1.1 keepalive chunked"),
        POST("Transfer-Encoding: xchunked\r\n", "UNKNOWN_TRANSFER_CODING"),
        POST("Transfer-Encoding: chunkedx\r\n", "UNKNOWN_TRANSFER_CODING"),
        POST("Transfer-Encoding: chunke\r\n", "UNKNOWN_TRANSFER_CODING"),
        POST("Transfer-Encoding: chunk\r\n", "UNKNOWN_TRANSFER_CODING"),
        POST("Transfer-Encoding: identity\r\n", "UNKNOWN_TRANSFER_CODING"),
        POST("Transfer-Encoding: gzip\r\n", "UNKNOWN_TRANSFER_CODING"),
        POST("Transfer-Encoding: gzip, chunked\r\n", "UNKNOWN_TRANSFER_CODING"),
        POST("Transfer-Encoding: identity, chunked\r\n", "UNKNOWN_TRANSFER_CODING"),
        POST("Transfer-Encoding: cow, chunked\r\n", "UNKNOWN_TRANSFER_CODING"),
        POST("Transfer-Encoding: chunked, identity\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: chunked, gzip\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: chunked, chunked\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
             "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
             "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
             "UNKNOWN_TRANSFER_CODING"),
        POST("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding:\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: ,\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: \"chunked\"\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: 'chunked'\r\n", "UNKNOWN_TRANSFER_CODING"),
        POST("Transfer-Encoding: chunked;a=b\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: chunked;\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: chunked a\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: a chunked\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: chun ked\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: chunked\x0b\r\n", "BAD_FIELD_VALUE"),
        POST("Transfer-Encoding: \x0b"
             "chunked\r\n",
             "BAD_FIELD_VALUE"),
        POST("Transfer-Encoding: \x0c"
             "chunked\r\n",
             "BAD_FIELD_VALUE"),
        POST("Transfer-Encoding: chunked\0\r\n", "BAD_FIELD_VALUE"),
        POST("Transfer-Encoding: chunked\0, identity\r\n", "BAD_FIELD_VALUE"),
        POST("Transfer-Encoding: \xa0"
             "chunked\r\n",
             "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: \x85"
             "chunked\r\n",
             "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: chunked\xff\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: chun\xc5\xb1ked\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding: chunked\r\n , identity\r\n", "OBS_FOLD"),
        POST("Transfer-Encoding:\r\n chunked\r\n", "BAD_TRANSFER_ENCODING"),
        POST("Transfer-Encoding : chunked\r\n", "BAD_FIELD_NAME"),
        POST("Transfer-Encoding\t: chunked\r\n", "BAD_FIELD_NAME"),
        POST("Transfer-Encoding\0: chunked\r\n", "BAD_FIELD_NAME"),
        POST("Transfer-Encoding\x0b: chunked\r\n", "BAD_FIELD_NAME"),
        POST(" Transfer-Encoding: chunked\r\n", "OBS_FOLD"),
        POST("\x0bTransfer-Encoding: chunked\r\n", "BAD_FIELD_NAME"),
        POST("Transfer Encoding: chunked\r\n", "BAD_FIELD_NAME"),
        POST("Transfer_Encoding: chunked\r\n", "BAD_FIELD_NAME"),
        POST("transfer_encoding: chunked\r\n", "BAD_FIELD_NAME"),
        POST("Transfer\xad"
             "Encoding: chunked\r\n",
             "BAD_FIELD_NAME"),
        POST("Transfer-\r\nEncoding: chunked\r\n", "BAD_FIELD_NAME"),
        POST("Transfer-Encoding\r\n: chunked\r\n", "BAD_FIELD_NAME"),
        POST("X: y\rTransfer-Encoding: chunked\r\n", "BAD_LINE_END"),
        POST("X: y\nTransfer-Encoding: chunked\r\n", "BAD_LINE_END"),
        {STR_INIT("POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"),
         "BAD_TRANSFER_ENCODING"},
        {STR_INIT("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
         "BAD_TRANSFER_ENCODING"},
        {STR_INIT("POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
         "BAD_TRANSFER_ENCODING"},
        {STR_INIT("POST / HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n"),
         "BAD_TRANSFER_ENCODING"},
    };

    CHECK_ROWS(rows, &h1_run_limits);
}

static void a_length_is_digits_once(void)
{
    static const struct row rows[] = {
        POST("Content-Length: 0\r\n", "/ h 1.1 keepalive length 0"),
        POST("Content-Length: 5\r\n", "/ h 1.1 keepalive length 5"),
        POST("Content-Length: \t 5 \t\r\n", "/ h 1.1 keepalive length 5"),
        POST("Content-Length: 005\r\n", "/ h 1.1 keepalive length 5"),
        POST("CONTENT-LENGTH: 4294967296\r\n", "/ h 1.1 keepalive length 4294967296"),
        POST("Content-Length: 9223372036854775807\r\n",
             "/ h 1.1 keepalive length 9223372036854775807"),
        POST("Content-Length: 18446744073709551616\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 18446744073709551621\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 99999999999999999999999999\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length:\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: \r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: +5\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: -5\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: -0\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 0x5\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 5h\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 1_0\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 5.0\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 5e1\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 5 5\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 5, 5\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 5, 6\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 5,\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: ,5\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: \"5\"\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 5;a\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 5\x0b\r\n", "BAD_FIELD_VALUE"),
        POST("Content-Length: 5\0\r\n", "BAD_FIELD_VALUE"),
        POST("Content-Length: \xd9\xa5\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: \xa0"
             "5\r\n",
             "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 5\r\nContent-Length: 5\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 5\r\nContent-Length: 6\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 5\r\ncontent-length: 5\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length:\r\nContent-Length: 5\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length: 5\r\n 6\r\n", "OBS_FOLD"),
        POST("Content-Length:\r\n 5\r\n", "BAD_CONTENT_LENGTH"),
        POST("Content-Length : 5\r\n", "BAD_FIELD_NAME"),
        POST("Content_Length: 5\r\n", "BAD_FIELD_NAME"),
        POST("CONTENT_LENGTH: 5\r\n", "BAD_FIELD_NAME"),
        POST("Content Length: 5\r\n", "BAD_FIELD_NAME"),
        POST("Content-Length\x80: 5\r\n", "BAD_FIELD_NAME"),
        POST("Content-Lengthx: 5\r\n", "/ h 1.1 keepalive"),
        {STR_INIT("POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nabcde"),
         "/  1.0 close length 5 and 5 more"},
    };

    CHECK_ROWS(rows, &h1_run_limits);
}

static void there_is_one_valid_host(void)
{
    static const struct row rows[] = {
        HOST("Host: a.example\r\n", "/ a.example 1.1 keepalive"),
        HOST("hOST:a\r\n", "/ a 1.1 keepalive"),
        HOST("Host: a:80\r\n", "/ a:80 1.1 keepalive"),
        HOST("Host: a:\r\n", "/ a: 1.1 keepalive"),
        HOST("Host: a:0\r\n", "/ a:0 1.1 keepalive"),
        HOST("Host: a:65535\r\n", "/ a:65535 1.1 keepalive"),
        HOST("Host: a:00080\r\n", "/ a:00080 1.1 keepalive"),
        HOST("Host: 127.0.0.1:8080\r\n", "/ 127.0.0.1:8080 1.1 keepalive"),
        HOST("Host: [::1]\r\n", "/ [::1] 1.1 keepalive"),
        HOST("Host: [2001:DB8::7]:443\r\n", "/ [2001:DB8::7]:443 1.1 keepalive"),
        HOST("Host: [::ffff:1.2.3.4]\r\n", "/ [::ffff:1.2.3.4] 1.1 keepalive"),
        HOST("Host: a_b-c.~\r\n", "/ a_b-c.~ 1.1 keepalive"),
        HOST("Host: a%c3%a9\r\n", "/ a%c3%a9 1.1 keepalive"),
        HOST("Host: a.\r\n", "/ a. 1.1 keepalive"),
        HOST("", "BAD_HOST"),
        HOST("X: y\r\n", "BAD_HOST"),
        HOST("Host:\r\n", "BAD_HOST"),
        HOST("Host: \r\n", "BAD_HOST"),
        HOST("Host: a\r\nHost: a\r\n", "BAD_HOST"),
        HOST("Host: a\r\nhost: b\r\n", "BAD_HOST"),
        HOST("Host: a\r\nHost:\r\n", "BAD_HOST"),
        HOST("Host: a, b\r\n", "BAD_HOST"),
        HOST("Host: a,b\r\n", "BAD_HOST"),
        HOST("Host: a b\r\n", "BAD_HOST"),
        HOST("Host: a\tb\r\n", "BAD_HOST"),
        HOST("Host: u@a\r\n", "BAD_HOST"),
        HOST("Host: u:p@a\r\n", "BAD_HOST"),
        HOST("Host: a/b\r\n", "BAD_HOST"),
        HOST("Host: /\r\n", "BAD_HOST"),
        HOST("Host: a?b\r\n", "BAD_HOST"),
        HOST("Host: a#b\r\n", "BAD_HOST"),
        HOST("Host: a\\b\r\n", "BAD_HOST"),
        HOST("Host: http://a\r\n", "BAD_HOST"),
        HOST("Host: \"a\"\r\n", "BAD_HOST"),
        HOST("Host: <a>\r\n", "BAD_HOST"),
        HOST("Host: a|b\r\n", "BAD_HOST"),
        HOST("Host: {a}\r\n", "BAD_HOST"),
        HOST("Host: a^b\r\n", "BAD_HOST"),
        HOST("Host: a`b\r\n", "BAD_HOST"),
        HOST("Host: :80\r\n", "BAD_HOST"),
        HOST("Host: a:x\r\n", "BAD_HOST"),
        HOST("Host: a:8x\r\n", "BAD_HOST"),
        HOST("Host: a:-1\r\n", "BAD_HOST"),
        HOST("Host: a:+1\r\n", "BAD_HOST"),
        HOST("Host: a: 80\r\n", "BAD_HOST"),
        HOST("Host: a:65536\r\n", "BAD_HOST"),
        HOST("Host: a:4294967376\r\n", "BAD_HOST"),
        HOST("Host: a:80:80\r\n", "BAD_HOST"),
        HOST("Host: ::1\r\n", "BAD_HOST"),
        HOST("Host: [::1\r\n", "BAD_HOST"),
        HOST("Host: [\r\n", "BAD_HOST"),
        HOST("Host: []\r\n", "BAD_HOST"),
        HOST("Host: ::1]\r\n", "BAD_HOST"),
        HOST("Host: [::1]x\r\n", "BAD_HOST"),
        HOST("Host: [::1]80\r\n", "BAD_HOST"),
        HOST("Host: [::1]:x\r\n", "BAD_HOST"),
        HOST("Host: [::1%25eth0]\r\n", "BAD_HOST"),
        HOST("Host: [1.2.3.4]\r\n", "BAD_HOST"),
        HOST("Host: [a]\r\n", "BAD_HOST"),
        HOST("Host: [::g]\r\n", "BAD_HOST"),
        HOST("Host: [1:2:3:4:5:6:7:8:9]\r\n", "BAD_HOST"),
        HOST("Host: [0000000000000000000000000000000000000000000000000000::1]\r\n", "BAD_HOST"),
        HOST("Host: a%\r\n", "BAD_HOST"),
        HOST("Host: a%0\r\n", "BAD_HOST"),
        HOST("Host: a%zz\r\n", "BAD_HOST"),
        HOST("Host: a%00\r\n", "BAD_HOST"),
        HOST("Host: a%0d%0a\r\n", "BAD_HOST"),
        HOST("Host: a%2fb\r\n", "BAD_HOST"),
        HOST("Host: a\0b\r\n", "BAD_FIELD_VALUE"),
        HOST("Host: a\x7f\r\n", "BAD_FIELD_VALUE"),
        HOST("Host: a\xc3\xa9\r\n", "BAD_HOST"),
        HOST("Host : a\r\n", "BAD_FIELD_NAME"),
        OLD("", "/  1.0 close"),
        OLD("Host: a\r\n", "/ a 1.0 close"),
        OLD("Host: a\r\nHost: a\r\n", "BAD_HOST"),
        OLD("Host: a/b\r\n", "BAD_HOST"),
    };

    CHECK_ROWS(rows, &h1_run_limits);
}

static void persistence_follows_version_and_connection(void)
{
    static const struct row rows[] = {
        GET("Connection: close\r\n", "/ h 1.1 close"),
        GET("Connection: Close\r\n", "/ h 1.1 close"),
        GET("Connection: keep-alive\r\n", "/ h 1.1 keepalive"),
        GET("Connection: keep-alive, close\r\n", "/ h 1.1 close"),
        GET("Connection: a\r\nConnection: close\r\n", "/ h 1.1 close"),
        GET("Connection: closed\r\n", "/ h 1.1 keepalive"),
        GET("Proxy-Connection: close\r\n", "/ h 1.1 keepalive"),
        OLD("Connection: keep-alive\r\n", "/  1.0 keepalive"),
        OLD("Connection: Keep-Alive\r\n", "/  1.0 keepalive"),
        OLD("Connection: keep-alive, close\r\n", "/  1.0 close"),
        OLD("Proxy-Connection: keep-alive\r\n", "/  1.0 close"),
        OLD("Keep-Alive: timeout=5\r\n", "/  1.0 close"),
    };

    CHECK_ROWS(rows, &h1_run_limits);
}

static void an_expectation_is_100_continue_or_refused(void)
{
    static const struct row rows[] = {
        POST("Expect: 100-continue\r\nContent-Length: 5\r\n", "/ h 1.1 keepalive expect length 5"),
        POST("Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n",
             "/ h 1.1 keepalive expect chunked"),
        POST("Content-Length: 5\r\nExpect:100-continue \r\n", "/ h 1.1 keepalive expect length 5"),
        GET("Expect: 100-continue\r\n", "/ h 1.1 keepalive"),
        POST("Expect: y 100-continue\r\nContent-Length: 5\r\n", "BAD_EXPECT"),
        POST("Expect: 100-continue y\r\n", "BAD_EXPECT"),
        POST("Expect: 100-continue, y\r\n", "BAD_EXPECT"),
        POST("Expect: 100-continue;a=b\r\n", "BAD_EXPECT"),
        POST("Expect: 100\r\n", "BAD_EXPECT"),
        POST("Expect: \"100-continue\"\r\n", "BAD_EXPECT"),
        POST("Expect:\r\n", "BAD_EXPECT"),
        POST("Expect: 100-continue\r\nExpect: y\r\n", "BAD_EXPECT"),
        POST("Expect: 100-continue\0\r\n", "BAD_FIELD_VALUE"),
        POST("Expect : 100-continue\r\n", "BAD_FIELD_NAME"),
        OLD("Expect: 100-continue\r\nContent-Length: 5\r\n", "/  1.0 close length 5"),
        OLD("Expect: y\r\n", "/  1.0 close"),
    };

    CHECK_ROWS(rows, &h1_run_limits);
}

static void an_upgrade_needs_both_fields_and_is_never_h2c(void)
{
    static const struct row rows[] = {
        GET("Connection: Upgrade\r\nUpgrade: websocket\r\n", "/ h 1.1 keepalive upgrade"),
        GET("Connection: keep-alive, upgrade\r\nUpgrade: WebSocket/13, b\r\n",
            "/ h 1.1 keepalive upgrade"),
        GET("Upgrade: websocket\r\n", "/ h 1.1 keepalive"),
        GET("Connection: upgrade\r\n", "/ h 1.1 keepalive"),
        GET("Connection: upgrade\r\nUpgrade:\r\n", "/ h 1.1 keepalive"),
        GET("Connection: upgrade\r\nUpgrade: ,\r\n", "/ h 1.1 keepalive"),
        GET("Connection: upgraded\r\nUpgrade: websocket\r\n", "/ h 1.1 keepalive"),
        GET("Connection: upgrade\r\nUpgrade: h2c\r\n", "/ h 1.1 keepalive"),
        GET("Connection: upgrade\r\nUpgrade: H2C\r\n", "/ h 1.1 keepalive"),
        GET("Connection: upgrade\r\nUpgrade: websocket, h2c\r\n", "/ h 1.1 keepalive"),
        GET("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n", "/ h 1.1 keepalive"),
        GET("Connection: upgrade, http2-settings\r\nUpgrade: websocket\r\nHTTP2-Settings: AAM\r\n",
            "/ h 1.1 keepalive"),
        GET("Connection: upgrade\r\nUpgrade: a b\r\n", "BAD_UPGRADE"),
        GET("Connection: upgrade\r\nUpgrade: /1\r\n", "BAD_UPGRADE"),
        GET("Connection: upgrade\r\nUpgrade: a/\r\n", "BAD_UPGRADE"),
        GET("Connection: upgrade\r\nUpgrade: a/b/c\r\n", "BAD_UPGRADE"),
        GET("Upgrade: \"websocket\"\r\n", "BAD_UPGRADE"),
        OLD("Connection: upgrade\r\nUpgrade: websocket\r\n", "/  1.0 close"),
    };

    CHECK_ROWS(rows, &h1_run_limits);
}

/* A request of n bytes in its line or its field, or with n fields. */
static struct str sized(struct arena *a, size_t line, size_t field, unsigned fields)
{
    const size_t room = line + field + fields * 6 + 100;
    char *p = arena_bytes(a, room);
    size_t n = (size_t)snprintf(p, room, "GET /");

    memset(p + n, 'a', line - 16);
    n += line - 16;
    n += (size_t)snprintf(p + n, room - n, " HTTP/1.1\r\nHost: h\r\n");
    if (field > 0) {
        n += (size_t)snprintf(p + n, room - n, "X: ");
        memset(p + n, 'b', field - 5);
        n += field - 5;
        n += (size_t)snprintf(p + n, room - n, "\r\n");
    }
    for (unsigned i = 0; i < fields; i++) {
        n += (size_t)snprintf(p + n, room - n, "X: y\r\n");
    }
    n += (size_t)snprintf(p + n, room - n, "\r\n");
    return str_of(p, n);
}

static void limits_hold_to_the_byte(void)
{
    static const struct {
        size_t line, field;
        unsigned fields, head_bytes, line_bytes, max_fields;
        const char *want; /* NULL: taken */
    } cases[] = {
        {100, 0, 0, 1000, 100, 10, NULL},
        {101, 0, 0, 1000, 100, 10, "URI_TOO_LONG"},
        {2000, 0, 0, 1000, 5000, 10, "URI_TOO_LONG"},
        {50, 100, 0, 1000, 100, 10, NULL},
        {50, 101, 0, 1000, 100, 10, "HEAD_TOO_LARGE"},
        {50, 90, 0, 151, 100, 10, NULL},
        {50, 90, 0, 150, 100, 10, "HEAD_TOO_LARGE"},
        {50, 90, 0, 60, 100, 10, "HEAD_TOO_LARGE"},
        {50, 0, 9, 1000, 100, 10, NULL},
        {50, 0, 10, 1000, 100, 10, "TOO_MANY_FIELDS"},
        {16384, 0, 0, 65536, 16384, 200, NULL},
        {16385, 0, 0, 65536, 16384, 200, "URI_TOO_LONG"},
        {50, 16384, 0, 65536, 16384, 200, NULL},
        {50, 16385, 0, 65536, 16384, 200, "HEAD_TOO_LARGE"},
        {50, 0, 199, 65536, 16384, 200, NULL},
        {50, 0, 200, 65536, 16384, 200, "TOO_MANY_FIELDS"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena *a = arena_new(4096);
        const struct h1_limits limits = {cases[i].head_bytes, cases[i].line_bytes,
                                         cases[i].max_fields, false, false};
        const struct str got =
            run_all(a, &limits, false, sized(a, cases[i].line, cases[i].field, cases[i].fields));

        CHECK_ROW(i,
                  cases[i].want ? str_eq(got, str_c(cases[i].want)) : str_starts(got, STR("GET ")));
        arena_free(a);
    }
}

static void an_endless_line_is_refused_at_the_limit_without_its_end(void)
{
    static const struct {
        const char *start;
        const char *want;
    } cases[] = {
        {"", "URI_TOO_LONG"},
        {"GET /", "URI_TOO_LONG"},
        {"GET / HTTP/1.1\r\n", "HEAD_TOO_LARGE"},
        {"GET / HTTP/1.1\r\nHost: h\r\nA:", "HEAD_TOO_LARGE"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena *a = arena_new(4096);
        const struct h1_limits limits = {.head_bytes = 4000, .line_bytes = 500, .fields = 10};
        char text[1000];

        memset(text, 'a', sizeof(text));
        memcpy(text, cases[i].start, strlen(cases[i].start));
        CHECK_STR(run_all(a, &limits, false, str_of(text, sizeof(text))), cases[i].want);
        CHECK_STR(run_all(a, &limits, false, str_of(text, 499)), "MORE");
        arena_free(a);
    }
}

static void a_long_list_of_connection_options_is_refused(void)
{
    struct arena *a = arena_new(4096);
    char text[2000] = "GET / HTTP/1.1\r\nHost: h\r\nConnection: ";
    const size_t n = strlen(text);

    for (int count = 199; count <= 201; count++) {
        memset(text + n, ',', (size_t)count - 1);
        memcpy(text + n + count - 1, "\r\n\r\n", 5);
        CHECK_STR(run_request(a, &h1_run_limits, str_c(text)),
                  count > 200 ? "TOO_MANY_FIELDS" : "/ h 1.1 keepalive");
    }
    arena_free(a);
}

/* The text ends with the byte that makes it wrong: nothing after it is waited for, and all before
 * it is fine. */
static void an_error_is_found_at_the_byte_that_makes_it(void)
{
    static const struct row rows[] = {
        {STR_INIT("GET\t"), "BAD_REQUEST_LINE"},
        {STR_INIT("GET  "), "BAD_REQUEST_LINE"},
        {STR_INIT("G\x01"), "BAD_METHOD"},
        {STR_INIT("GET /a#"), "BAD_TARGET"},
        {STR_INIT("GET /a\x80"), "BAD_TARGET"},
        {STR_INIT("GET /%zz "), "BAD_TARGET"},
        {STR_INIT("GET / HTTP/2"), "BAD_VERSION"},
        {STR_INIT("GET / h"), "BAD_REQUEST_LINE"},
        {STR_INIT("GET / HTTP/1.1\n"), "BAD_LINE_END"},
        {STR_INIT("GET / HTTP/1.1 "), "BAD_REQUEST_LINE"},
        {STR_INIT("GET / HTTP/1.1\rH"), "BAD_LINE_END"},
        {STR_INIT("GET / HTTP/1.1\r\n "), "OBS_FOLD"},
        {STR_INIT("GET / HTTP/1.1\r\n:"), "BAD_FIELD_NAME"},
        {STR_INIT("GET / HTTP/1.1\r\nA "), "BAD_FIELD_NAME"},
        {STR_INIT("GET / HTTP/1.1\r\nA: b\0"), "BAD_FIELD_VALUE"},
        {STR_INIT("GET / HTTP/1.1\r\nA: b\n"), "BAD_LINE_END"},
        {STR_INIT("GET / HTTP/1.1\r\nA: b\r\n\t"), "OBS_FOLD"},
        {STR_INIT("GET / HTTP/1.1\r\nHost: a b\r\n"), "BAD_HOST"},
        {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n"), "BAD_HOST"},
        {STR_INIT("GET / HTTP/1.1\r\nContent-Length: x\r\n"), "BAD_CONTENT_LENGTH"},
        {STR_INIT("GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
         "CL_AND_TE"},
        {STR_INIT("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n"), "BAD_TRANSFER_ENCODING"},
        {STR_INIT("GET / HTTP/1.1\r\nExpect: x\r\n"), "BAD_EXPECT"},
        {STR_INIT("GET / HTTP/1.1\r\n\r\n"), "BAD_HOST"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena *a = arena_new(4096);

        CHECK_STR(run_request(a, &h1_run_limits, rows[i].bytes), rows[i].want);
        CHECK_STR(run_request(a, &h1_run_limits, str_head(rows[i].bytes, rows[i].bytes.n - 1)),
                  "MORE");
        arena_free(a);
    }
}

static void slices_follow_the_buffer(void)
{
    struct arena *a = arena_new(4096);
    static const struct str bytes =
        STR_INIT("\r\nPOST http://a:1?q HTTP/1.1\r\nHost: b\r\nX-Y:  z \r\nEmpty:\r\n\r\n");

    CHECK_STR(
        run_all(a, &h1_run_limits, false, bytes),
        "POST http://a:1?q a:1 /?q 31 0  1.1 keepalive none 0 59\n21 Host=b\n0 X-Y=z\n0 Empty=");
    arena_free(a);
}

/* Buffers that lie in the arena of the parser, back to back with what the parser itself puts there.
 */
static void slices_follow_a_buffer_in_the_same_arena(void)
{
    static const struct row rows[] = {
        {STR_INIT("GET http://a:1?q HTTP/1.1\r\nHost: b\r\n\r\n"), "/?q"},
        {STR_INIT("GET http://a:1 HTTP/1.1\r\nHost: b\r\n\r\n"), "/"},
        {STR_INIT("GET /?q HTTP/1.1\r\nHost: a:1\r\n\r\n"), "/?q"},
        {STR_INIT("OPTIONS * HTTP/1.1\r\nHost: a:1\r\n\r\n"), "*"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t cut = 1; cut < rows[i].bytes.n; cut++) {
            struct arena *a = arena_new(4096);
            struct h1_parser p;

            h1_parse_init(&p, a, &h1_run_limits, false);
            for (size_t n = cut; n < rows[i].bytes.n; n++) {
                char *copy = arena_bytes(a, n);

                CHECK(h1_parse(&p, str_of(memcpy(copy, rows[i].bytes.p, n), n)) == 0);
            }
            CHECK(h1_parse(&p, rows[i].bytes) == 1);
            CHECK_STR(p.head.path_query, rows[i].want);
            CHECK_STR(p.head.authority, "a:1");
            CHECK(h1_parse(&p, arena_str(a, rows[i].bytes)) == 1);
            CHECK_STR(p.head.path_query, rows[i].want);
            arena_free(a);
        }
    }
}

static void methods_have_their_ids(void)
{
    CHECK(http_method_of(STR("GET")) == M_GET);
    CHECK(http_method_of(STR("PROPFIND")) == M_PROPFIND);
    CHECK(http_method_of(STR("get")) == M_OTHER);
    CHECK(http_method_of(STR("GE")) == M_OTHER);
    CHECK(http_method_of(STR("")) == M_OTHER);
}
TESTS(T(request_lines_are_taken_or_refused), T(an_absolute_target_brings_its_own_authority),
      T(only_two_versions_are_spoken), T(lines_end_in_crlf_and_nothing_else),
      T(a_bare_lf_passes_where_that_is_switched_on),
      T(high_bytes_pass_in_targets_where_that_is_switched_on), T(field_lines_are_taken_or_refused),
      T(every_byte_in_a_name_or_value_is_judged_by_its_class),
      T(length_and_coding_exclude_each_other), T(the_only_coding_is_chunked),
      T(a_length_is_digits_once), T(there_is_one_valid_host),
      T(persistence_follows_version_and_connection), T(an_expectation_is_100_continue_or_refused),
      T(an_upgrade_needs_both_fields_and_is_never_h2c), T(limits_hold_to_the_byte),
      T(an_endless_line_is_refused_at_the_limit_without_its_end),
      T(a_long_list_of_connection_options_is_refused),
      T(an_error_is_found_at_the_byte_that_makes_it), T(slices_follow_the_buffer),
      T(slices_follow_a_buffer_in_the_same_arena), T(methods_have_their_ids))
