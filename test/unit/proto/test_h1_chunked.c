/* SPDX-License-Identifier: Apache-2.0 */
/* Chunked bodies, each decoded whole, byte by byte and cut at every point. */
#include "proto/h1.h"
#include "t.h"

static const struct h1_limits limits = {.head_bytes = 2000, .line_bytes = 1000, .fields = 10};
static const char *const error_names[] = {"OK",
#define X(id, status, text) #id,
                                          H1_ERRORS(X)
#undef X
};

struct outcome {
    char data[8192];
    size_t n, used;
    int rc;
};

static void feed(struct h1_chunked *c, struct str in, struct outcome *o)
{
    /* A copy of exact size: nothing past its end may be read, nothing kept may point into it. */
    char *copy = malloc(in.n ? in.n : 1);
    struct str rest = str_of(memcpy(copy, in.p, in.n), in.n);

    while (rest.n > 0 && !c->done && o->rc == 0) {
        size_t used;
        struct str data;

        o->rc = h1_chunked_feed(c, rest, &used, &data);
        if (o->rc == 0) {
            CHECK(used > 0 && used <= rest.n && data.p >= rest.p &&
                  data.p + data.n <= rest.p + used);
            CHECK(o->n + data.n <= sizeof(o->data));
            memcpy(o->data + o->n, data.p, data.n);
            o->n += data.n;
            o->used += used;
            rest = str_skip(rest, used);
        }
    }
    free(copy);
}

/* "data/name=value;" and how many bytes were left over, or the error's name, or "MORE". */
static struct str run_cut(struct arena *a, struct str bytes, size_t cut, size_t step)
{
    static struct outcome o;
    struct h1_chunked c;

    o = (struct outcome){0};
    h1_chunked_init(&c, a, &limits);
    feed(&c, str_head(bytes, cut), &o);
    for (struct str rest = str_skip(bytes, cut); rest.n > 0 && o.rc == 0 && !c.done;
         rest = str_skip(rest, step)) {
        feed(&c, str_head(rest, step), &o);
    }
    if (o.rc != 0) {
        return str_c(error_names[c.error]);
    }
    struct str s = arena_printf(a, "%s%.*s", c.done ? "" : "MORE ", (int)o.n, o.data);

    for (unsigned i = 0; i < c.trailers.n; i++) {
        s = arena_printf(a, "%.*s/%.*s=%.*s", STR_ARG(s), STR_ARG(c.trailers.v[i].name),
                         STR_ARG(c.trailers.v[i].value));
    }
    return c.done && o.used < bytes.n ? arena_printf(a, "%.*s +%zu", STR_ARG(s), bytes.n - o.used)
                                      : s;
}

static struct str run_all(struct arena *a, struct str bytes)
{
    const struct str whole = run_cut(a, bytes, bytes.n, bytes.n);
    const size_t stride = bytes.n > 2000 ? bytes.n / 50 : 1;

    for (size_t cut = 0; cut < bytes.n; cut += stride) {
        const struct str other = run_cut(a, bytes, cut, cut == 0 ? 1 : bytes.n);

        if (!str_eq(whole, other)) {
            return arena_printf(a, "DIFFERS at %zu: %.*s / %.*s", cut, STR_ARG(whole),
                                STR_ARG(other));
        }
    }
    return whole;
}

struct row {
    struct str bytes;
    const char *want;
};

static void check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct arena *a = arena_new(4096);
        const struct str got = run_all(a, rows[i].bytes);

        if (!str_eq(got, str_c(rows[i].want))) {
            printf("# row %zu: %.*s\n", i, STR_ARG(rows[i].bytes));
        }
        CHECK_STR(got, rows[i].want);
        arena_free(a);
    }
}
#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))
#define ROW(bytes, want)                                                                           \
    {                                                                                              \
        STR_INIT(bytes), want                                                                      \
    }
#define SIZE(line, want)                                                                           \
    {                                                                                              \
        STR_INIT(line "\r\nhello\r\n0\r\n\r\n"), want                                              \
    }

static void sizes_are_hexadecimal_digits_only(void)
{
    static const struct row rows[] = {
        SIZE("5", "hello"),
        SIZE("05", "hello"),
        SIZE("0000000000000005", "hello"),
        SIZE("00000000000000005", "BAD_CHUNK_SIZE"),
        ROW("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
        ROW("1f\r\n0123456789012345678901234567890\r\n00\r\n\r\n",
            "0123456789012345678901234567890"),
        ROW("0\r\n\r\n", ""),
        ROW("000\r\n\r\n", ""),
        ROW("0\r\n\r\nGET / HTTP", " +10"),
        SIZE("+5", "BAD_CHUNK_SIZE"),
        SIZE("-5", "BAD_CHUNK_SIZE"),
        SIZE("0x5", "BAD_CHUNK_SIZE"),
        SIZE("0X5", "BAD_CHUNK_SIZE"),
        SIZE("x5", "BAD_CHUNK_SIZE"),
        SIZE("5h", "BAD_CHUNK_SIZE"),
        SIZE("5_", "BAD_CHUNK_SIZE"),
        SIZE("_5", "BAD_CHUNK_SIZE"),
        SIZE("0_5", "BAD_CHUNK_SIZE"),
        SIZE("5.", "BAD_CHUNK_SIZE"),
        SIZE("5.0", "BAD_CHUNK_SIZE"),
        SIZE("5,", "BAD_CHUNK_SIZE"),
        SIZE(" 5", "BAD_CHUNK_SIZE"),
        SIZE("\t5", "BAD_CHUNK_SIZE"),
        SIZE("5 ", "BAD_CHUNK_SIZE"),
        SIZE("5\t", "BAD_CHUNK_SIZE"),
        SIZE("5 5", "BAD_CHUNK_EXT"),
        SIZE("5\0", "BAD_CHUNK_SIZE"),
        SIZE("\0"
             "5",
             "BAD_CHUNK_SIZE"),
        SIZE("5\x0b", "BAD_CHUNK_SIZE"),
        SIZE("5\x80", "BAD_CHUNK_SIZE"),
        SIZE("\"5\"", "BAD_CHUNK_SIZE"),
        SIZE("", "BAD_CHUNK_SIZE"),
        SIZE(";a", "BAD_CHUNK_SIZE"),
        SIZE("g", "BAD_CHUNK_SIZE"),
        SIZE("5%00", "BAD_CHUNK_SIZE"),
        SIZE("10000000000000005", "BAD_CHUNK_SIZE"),
        SIZE("100000000000000000000000000000005", "BAD_CHUNK_SIZE"),
        SIZE("ffffffffffffffff", "MORE hello\r\n0\r\n\r\n"),
        ROW("5", "MORE "),
        ROW("5\r\nhe", "MORE he"),
        ROW("5\r\nhello\r\n0\r\n", "MORE hello"),
        ROW("5\r\nhello\r\n0\r\n\r", "MORE hello"),
    };

    CHECK_ROWS(rows);
}

static void chunks_end_in_crlf(void)
{
    static const struct row rows[] = {
        ROW("5\nhello\r\n0\r\n\r\n", "BAD_CHUNK_SIZE"),
        ROW("5\r\nhello\n0\r\n\r\n", "BAD_CHUNK_END"),
        ROW("5\r\nhello\r\n0\n\r\n", "BAD_CHUNK_SIZE"),
        ROW("5\r\nhello\r\n0\r\n\n", "BAD_TRAILER"),
        ROW("5\rhello\r\n0\r\n\r\n", "BAD_CHUNK_SIZE"),
        ROW("5\r\rhello\r\n0\r\n\r\n", "BAD_CHUNK_SIZE"),
        ROW("5\r\nhello\r0\r\n\r\n", "BAD_CHUNK_END"),
        ROW("5\r\nhello0\r\n\r\n", "BAD_CHUNK_END"),
        ROW("5\r\nhello!\r\n0\r\n\r\n", "BAD_CHUNK_END"),
        ROW("5\r\nhello \r\n0\r\n\r\n", "BAD_CHUNK_END"),
        ROW("5\r\nhell\r\n0\r\n\r\n", "BAD_CHUNK_END"),
        ROW("5\r\nhelloXX0\r\n\r\n", "BAD_CHUNK_END"),
        ROW("5\r\nhello\r\n\r\n0\r\n\r\n", "BAD_CHUNK_SIZE"),
        ROW("5\r\nhello\0\n0\r\n\r\n", "BAD_CHUNK_END"),
        ROW("0\r\n\rX", "BAD_TRAILER"),
        ROW("0\r\r\n", "BAD_CHUNK_SIZE"),
        ROW("\r\n5\r\nhello\r\n0\r\n\r\n", "BAD_CHUNK_SIZE"),
        ROW("5\r\n\r\n\r\n\0\r\n0\r\n\r\n", "\r\n\r\n"),
    };

    CHECK_ROWS(rows);
}

static void extensions_are_checked_and_forgotten(void)
{
    static const struct row rows[] = {
        SIZE("5;a", "hello"),
        SIZE("5;a=b", "hello"),
        SIZE("5;a=b;c;d=e", "hello"),
        SIZE("5;a=\"b\"", "hello"),
        SIZE("5;a=\"\"", "hello"),
        SIZE("5;a=\"b;c=\\\"\\\\\t \x80\";d", "hello"),
        SIZE("5 ;a", "hello"),
        SIZE("5; a = b ; c", "hello"),
        SIZE("5;a =\t\"b\"\t;c", "hello"),
        ROW("0;a=b\r\n\r\n", ""),
        SIZE("5;", "BAD_CHUNK_EXT"),
        SIZE("5; ", "BAD_CHUNK_EXT"),
        SIZE("5;a ", "BAD_CHUNK_EXT"),
        SIZE("5;a=b ", "BAD_CHUNK_SIZE"),
        SIZE("5;;", "BAD_CHUNK_EXT"),
        SIZE("5;;a", "BAD_CHUNK_EXT"),
        SIZE("5;a;", "BAD_CHUNK_EXT"),
        SIZE("5;=b", "BAD_CHUNK_EXT"),
        SIZE("5;a=", "BAD_CHUNK_EXT"),
        SIZE("5;a=;b", "BAD_CHUNK_EXT"),
        SIZE("5;a==b", "BAD_CHUNK_EXT"),
        SIZE("5;a b", "BAD_CHUNK_EXT"),
        SIZE("5;a=b c", "BAD_CHUNK_EXT"),
        SIZE("5;a=\"b", "BAD_CHUNK_EXT"),
        SIZE("5;a=\"b\"c", "BAD_CHUNK_EXT"),
        SIZE("5;a=\"\r\n\"", "BAD_CHUNK_EXT"),
        SIZE("5;a=\"\n\"", "BAD_CHUNK_EXT"),
        SIZE("5;a=\"\\\n\"", "BAD_CHUNK_EXT"),
        SIZE("5;a=\"\x01\"", "BAD_CHUNK_EXT"),
        SIZE("5;a=\"\0\"", "BAD_CHUNK_EXT"),
        SIZE("5;a=\"\x7f\"", "BAD_CHUNK_EXT"),
        SIZE("5;a\n", "BAD_CHUNK_EXT"),
        SIZE("5;\n", "BAD_CHUNK_EXT"),
        SIZE("5;\nxx", "BAD_CHUNK_EXT"),
        SIZE("5;a\rb", "BAD_CHUNK_SIZE"),
        SIZE("5;\ra", "BAD_CHUNK_EXT"),
        SIZE("5;a\0", "BAD_CHUNK_EXT"),
        SIZE("5;a\x80", "BAD_CHUNK_EXT"),
        SIZE("5;a(b)", "BAD_CHUNK_EXT"),
        SIZE("5;a:b", "BAD_CHUNK_EXT"),
    };

    CHECK_ROWS(rows);
}

static void trailers_are_fields_but_never_frame_or_route(void)
{
    static const struct row rows[] = {
        ROW("0\r\nA: b\r\n\r\n", "/A=b"),
        ROW("5\r\nhello\r\n0\r\nA:\r\nGrpc-Status: \t0 \r\n\r\nX", "hello/A=/Grpc-Status=0 +1"),
        ROW("0\r\nContent-Length: 5\r\n\r\n", ""),
        ROW("0\r\ncontent-length: x\r\nTransfer-Encoding: chunked\r\nHOST: a b\r\nA: b\r\n\r\n",
            "/A=b"),
        ROW("0\r\nAuthorization: a\r\nCookie: a\r\nSet-Cookie: a\r\n\r\n", ""),
        ROW("0\r\nConnection: a\r\nTE: a\r\nTrailer: a\r\nUpgrade: a\r\nExpect: a\r\nRange: "
            "a\r\n\r\n",
            ""),
        ROW("0\r\nContent-Encoding: a\r\nContent-Type: a\r\nContent-Range: a\r\nCache-Control: "
            "a\r\n\r\n",
            ""),
        ROW("0\r\nX-Forwarded-For: a\r\nX-Real-IP: a\r\napikey: a\r\nX-Consumer-Username: "
            "a\r\n\r\n",
            ""),
        ROW("0\r\nMax-Forwards: a\r\nIf-Match: a\r\nTransfer_Encoding: a\r\nContent_Length: "
            "1\r\n\r\n",
            ""),
        ROW("0\r\nETag: \"a\"\r\nServer-Timing: a\r\n\r\n", "/ETag=\"a\"/Server-Timing=a"),
        ROW("0\r\nA : b\r\n\r\n", "BAD_TRAILER"),
        ROW("0\r\n A: b\r\n\r\n", "BAD_TRAILER"),
        ROW("0\r\nA: b\r\n c\r\n\r\n", "BAD_TRAILER"),
        ROW("0\r\nA\r\n\r\n", "BAD_TRAILER"),
        ROW("0\r\n: b\r\n\r\n", "BAD_TRAILER"),
        ROW("0\r\nA\0: b\r\n\r\n", "BAD_TRAILER"),
        ROW("0\r\nA\x80: b\r\n\r\n", "BAD_TRAILER"),
        ROW("0\r\nA: b\0\r\n\r\n", "BAD_TRAILER"),
        ROW("0\r\nA: b\x01\r\n\r\n", "BAD_TRAILER"),
        ROW("0\r\nA: b\n\r\n", "BAD_TRAILER"),
        ROW("0\r\nA: b\rc\r\n\r\n", "BAD_TRAILER"),
        ROW("0\r\nA: b\r\n\n", "BAD_TRAILER"),
        ROW("0\r\nGET / HTTP/1.1\r\n", "BAD_TRAILER"),
        ROW("0\r\nA: 1\r\nA: 2\r\nA: 3\r\nA: 4\r\nA: 5\r\nA: 6\r\nA: 7\r\nA: 8\r\nA: 9\r\nA: "
            "10\r\n\r\n",
            "/A=1/A=2/A=3/A=4/A=5/A=6/A=7/A=8/A=9/A=10"),
        ROW("0\r\nA: 1\r\nA: 2\r\nA: 3\r\nA: 4\r\nHost: 5\r\nA: 6\r\nA: 7\r\nA: 8\r\nA: 9\r\nA: "
            "10\r\nA: 11\r\n\r\n",
            "TOO_MANY_FIELDS"),
    };

    CHECK_ROWS(rows);
}

/* prefix, n times fill, suffix. */
static struct str filled(struct arena *a, const char *prefix, char fill, size_t n,
                         const char *suffix)
{
    char *p = arena_bytes(a, strlen(prefix) + n + strlen(suffix));

    memcpy(p, prefix, strlen(prefix));
    memset(p + strlen(prefix), fill, n);
    memcpy(p + strlen(prefix) + n, suffix, strlen(suffix));
    return str_of(p, strlen(prefix) + n + strlen(suffix));
}

static void framing_may_not_outweigh_the_payload(void)
{
    struct arena *a = arena_new(4096);

    CHECK_STR(run_all(a, filled(a, "0;", 'a', 4000, "\r\n\r\n")), "");
    CHECK_STR(run_all(a, filled(a, "0;", 'a', 5000, "\r\n\r\n")), "CHUNK_OVERHEAD");
    CHECK_STR(run_all(a, filled(a, "0;", 'a', 100000, "")), "CHUNK_OVERHEAD");
    CHECK_STR(run_all(a, filled(a, "5;a=\"", ' ', 100000, "")), "CHUNK_OVERHEAD");
    CHECK(str_starts(run_all(a, filled(a, "400\r\n", 'x', 1024, "\r\n0;a=")), STR("MORE xxx")));

    /* Many chunks of one byte are honest; as many with extensions are not. */
    struct str honest = STR(""), greedy = STR("");

    for (int i = 0; i < 1000; i++) {
        honest = arena_cat(a, honest, STR("1\r\nx\r\n"));
        greedy = arena_cat(a, greedy, STR("1;abcdefgh=i\r\nx\r\n"));
    }
    CHECK(str_starts(run_all(a, honest), STR("MORE xxx")));
    CHECK_STR(run_all(a, greedy), "CHUNK_OVERHEAD");
    arena_free(a);
}

static void an_extension_is_capped_however_large_the_payload(void)
{
    struct arena *a = arena_new(4096);
    struct str big = filled(a, "1000\r\n", 'x', 4096, "\r\n");

    CHECK_STR(run_all(a, arena_cat(a, big, filled(a, "0;", 'a', 4096, "\r\n\r\n"))),
              "BAD_CHUNK_EXT");
    CHECK(str_starts(run_all(a, arena_cat(a, big, filled(a, "0;", 'a', 4000, "\r\n\r\n"))),
                     STR("xxx")));
    arena_free(a);
}

static void trailers_count_against_the_limits_of_a_head(void)
{
    struct arena *a = arena_new(4096);

    CHECK(str_starts(run_all(a, filled(a, "0\r\nA: ", 'x', 900, "\r\n\r\n")), STR("/A=xxx")));
    CHECK_STR(run_all(a, filled(a, "0\r\nA: ", 'x', 1100, "\r\n\r\n")), "HEAD_TOO_LARGE");
    CHECK_STR(run_all(a, filled(a, "0\r\n", 'x', 5000, "")), "HEAD_TOO_LARGE");
    struct str three = filled(a, "A: ", 'x', 800, "\r\n");

    three = arena_cat(a, STR("0\r\n"), arena_cat(a, three, arena_cat(a, three, three)));
    CHECK_STR(run_all(a, three), "HEAD_TOO_LARGE");
    arena_free(a);
}

static void a_chunk_head_is_the_number_in_lower_case(void)
{
    static const struct {
        uint64_t n;
        const char *want;
    } cases[] = {
        {0, "0\r\n"},
        {1, "1\r\n"},
        {15, "f\r\n"},
        {16, "10\r\n"},
        {500, "1f4\r\n"},
        {0xabcdef, "abcdef\r\n"},
        {UINT64_MAX, "ffffffffffffffff\r\n"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[18];

        CHECK_STR(str_of(out, h1_chunk_head(out, cases[i].n)), cases[i].want);
    }
}
TESTS(T(sizes_are_hexadecimal_digits_only), T(chunks_end_in_crlf),
      T(extensions_are_checked_and_forgotten), T(trailers_are_fields_but_never_frame_or_route),
      T(framing_may_not_outweigh_the_payload), T(an_extension_is_capped_however_large_the_payload),
      T(trailers_count_against_the_limits_of_a_head), T(a_chunk_head_is_the_number_in_lower_case))
