/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 on the wire: what is understood, what is refused and how, and what a peer may do for free.
 */
#include "h2_run.h"
#include "t.h"

enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8, PRIORITY = 32, WHOLE = 5 };

struct field {
    struct str name, value;
};
#define F(n, v)                                                                                    \
    {                                                                                              \
        STR_INIT(n), STR_INIT(v)                                                                   \
    }
#define GET_HEAD                                                                                   \
    F(":method", "GET"), F(":scheme", "http"), F(":path", "/"), F(":authority", "a.test")

static struct buf new_bytes(void)
{
    return (struct buf){.max = 1 << 26};
}

/* The transcript of a server that is sent these frames behind a preface. */
static struct str talk(struct arena *a, struct buf *frames, size_t step)
{
    struct h2_run *r = run_new(&run_limits, false);
    struct buf all = new_bytes();
    put_start(&all);
    buf_add(&all, buf_str(frames));
    run_feed(r, buf_str(&all), step);
    run_say(r);
    const struct str text = arena_str(a, buf_str(&r->text));
    buf_fini(&all);
    run_free(r);
    return text;
}

static void put_head(struct buf *b, uint32_t id, unsigned flags, const struct field *f, size_t n)
{
    struct buf block = new_bytes();
    for (size_t i = 0; i < n && f[i].name.p; i++) {
        put_field(&block, f[i].name, f[i].value);
    }
    put_frame(b, 1, flags, id, buf_str(&block));
    buf_fini(&block);
}

static void heads_become_requests(void)
{
    static const struct {
        struct field f[12];
        const char *want;
    } cases[] = {
        {{GET_HEAD, F("accept", "*/*")}, "head 1 GET / a.test accept=*/*\nend 1 0\n"},
        {{GET_HEAD, F("host", "a.test")}, "head 1 GET / a.test host=a.test\nend 1 0\n"},
        {{F(":method", "GET"), F(":scheme", "http"), F(":path", "/a?b"), F("host", "h.test:8")},
         "head 1 GET /a?b h.test:8 host=h.test:8\nend 1 0\n"},
        {{GET_HEAD, F("cookie", "a=1"), F("x-y", "z"), F("cookie", "b=2"), F("cookie", "c=3")},
         "head 1 GET / a.test cookie=a=1; b=2; c=3 x-y=z\nend 1 0\n"},
        {{GET_HEAD, F("te", "trailers")}, "head 1 GET / a.test te=trailers\nend 1 0\n"},
        {{GET_HEAD, F("content-length", "0")}, "head 1 GET / a.test content-length=0\nend 1 0\n"},
        {{F(":method", "OPTIONS"), F(":scheme", "http"), F(":path", "*"), F(":authority", "a")},
         "head 1 OPTIONS * a\nend 1 0\n"},
        {{F(":method", "CONNECT"), F(":authority", "a:1")}, "head 1 CONNECT a:1 a:1\nend 1 0\n"},
        {{F(":method", "GET"), F(":scheme", "http"), F(":path", "/")},
         "head 1 refuse 400\nend 1 0\n"},
        {{GET_HEAD, F("expect", "100-continue")},
         "head 1 GET / a.test expect=100-continue\nend 1 0\n"},
        {{GET_HEAD, F("expect", "miracles")}, "head 1 refuse 417\nend 1 0\n"},
        {{F(":method", "GET"), F(":scheme", "http"), F(":path", "/%zz"), F(":authority", "a")},
         "head 1 refuse 400\nend 1 0\n"},
    };
    struct arena *a = arena_new(4096);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = new_bytes();
        put_head(&b, 1, WHOLE, cases[i].f, 12);
        const struct str got = talk(a, &b, 1 << 20);
        CHECK_STR(got, cases[i].want);
        buf_fini(&b);
    }
    arena_free(a);
}

static void malformed_heads_are_reset(void)
{
    static const struct field cases[][8] = {
        {GET_HEAD, F("X-Upper", "1")},
        {GET_HEAD, F("x y", "1")},
        {GET_HEAD, F("x:y", "1")},
        {GET_HEAD, F("", "1")},
        {GET_HEAD, F("x\0y", "1")},
        {GET_HEAD, F("x\r\ny", "1")},
        {GET_HEAD, F("x\x80", "1")},
        {GET_HEAD, F("Host", "a.test")},
        {GET_HEAD, F("x", "a\r\nevil: 1")},
        {GET_HEAD, F("x", "a\nb")},
        {GET_HEAD, F("x", "a\rb")},
        {GET_HEAD, F("x", "a\0b")},
        {GET_HEAD, F("x", "a\x01")},
        {GET_HEAD, F("x", "a\x7f")},
        {GET_HEAD, F("x", " a")},
        {GET_HEAD, F("x", "a ")},
        {GET_HEAD, F("x", "\ta")},
        {GET_HEAD, F("cookie", "a\r\nb")},
        {GET_HEAD, F("connection", "close")},
        {GET_HEAD, F("keep-alive", "1")},
        {GET_HEAD, F("proxy-connection", "x")},
        {GET_HEAD, F("transfer-encoding", "chunked")},
        {GET_HEAD, F("upgrade", "h2c")},
        {GET_HEAD, F("te", "gzip")},
        {GET_HEAD, F("te", "trailers, gzip")},
        {GET_HEAD, F("content_length", "3")},
        {GET_HEAD, F("content-length", "1")}, /* of nothing */
        {GET_HEAD, F("content-length", "-0")},
        {GET_HEAD, F("content-length", "0, 0")},
        {GET_HEAD, F("content-length", "0"), F("content-length", "0")},
        {GET_HEAD, F("content-length", "18446744073709551616")},
        {GET_HEAD, F("host", "a"), F("host", "a")},
        {GET_HEAD, F("host", "a b")},
        {GET_HEAD, F(":path", "/")},
        {GET_HEAD, F(":unknown", "x")},
        {GET_HEAD, F(":status", "200")},
        {GET_HEAD, F(":protocol", "websocket")},
        {F("x", "y"), GET_HEAD},
        {F(":method", "GET"), F("x", "y"), F(":scheme", "http"), F(":path", "/")},
        {F(":scheme", "http"), F(":path", "/"), F(":authority", "a")},
        {F(":method", "GET"), F(":path", "/"), F(":authority", "a")},
        {F(":method", "GET"), F(":scheme", "http"), F(":authority", "a")},
        {F(":method", "G T"), F(":scheme", "http"), F(":path", "/"), F(":authority", "a")},
        {F(":method", ""), F(":scheme", "http"), F(":path", "/"), F(":authority", "a")},
        {F(":method", "GET"), F(":scheme", "ftp"), F(":path", "/"), F(":authority", "a")},
        {F(":method", "GET"), F(":scheme", "http\r\n"), F(":path", "/"), F(":authority", "a")},
        {F(":method", "GET"), F(":scheme", "http"), F(":path", ""), F(":authority", "a")},
        {F(":method", "GET"), F(":scheme", "http"), F(":path", "a"), F(":authority", "a")},
        {F(":method", "GET"), F(":scheme", "http"), F(":path", "/ b"), F(":authority", "a")},
        {F(":method", "GET"), F(":scheme", "http"), F(":path", "/#b"), F(":authority", "a")},
        {F(":method", "GET"), F(":scheme", "http"), F(":path", "/\r\nx: y"), F(":authority", "a")},
        {F(":method", "GET"), F(":scheme", "http"), F(":path", "/\x80"), F(":authority", "a")},
        {F(":method", "GET"), F(":scheme", "http"), F(":path", "http://a/"), F(":authority", "a")},
        {F(":method", "GET"), F(":scheme", "http"), F(":path", "/"), F(":authority", "a b")},
        {F(":method", "GET"), F(":scheme", "http"), F(":path", "/"), F(":authority", "u@a")},
        {F(":method", "GET"), F(":scheme", "http"), F(":path", "/"), F(":authority", "a\r\n")},
        {F(":method", "GET"), F(":scheme", "http"), F(":path", "/"), F(":authority", "")},
        {F(":method", "CONNECT"), F(":scheme", "http"), F(":path", "/"), F(":authority", "a:1")},
        {F(":method", "CONNECT")},
    };
    struct arena *a = arena_new(4096);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = new_bytes();
        put_head(&b, 1, WHOLE, cases[i], 8);
        put_head(&b, 3, WHOLE, (const struct field[]){GET_HEAD}, 4); /* the connection goes on */
        CHECK_ROW(i, str_eq(talk(a, &b, 1 << 20), STR("reset 1 PROTOCOL_ERROR by us\n"
                                                      "head 3 GET / a.test\nend 3 0\n"
                                                      "> RST 1 PROTOCOL_ERROR\n")));
        buf_fini(&b);
    }
    arena_free(a);
}

/* Frames as text: type flags id payload; the first head of every row is a good one on stream 1. */
struct script {
    struct {
        unsigned type, flags, id;
        struct str payload;
    } frames[4];
    const char *want;
};
#define FR(t, f, i, p)                                                                             \
    {                                                                                              \
        t, f, i, STR_INIT(p)                                                                       \
    }

static void check_scripts(const struct script *scripts, size_t n, bool post)
{
    static const struct field post_head[] = {F(":method", "POST"), F(":scheme", "http"),
                                             F(":path", "/"), F(":authority", "a"),
                                             F("content-length", "5")};
    struct arena *a = arena_new(4096);
    for (size_t i = 0; i < n; i++) {
        struct buf b = new_bytes();
        if (post) {
            put_head(&b, 1, END_HEADERS, post_head, 5);
        }
        for (size_t k = 0; k < 4 && scripts[i].frames[k].payload.p; k++) {
            put_frame(&b, scripts[i].frames[k].type, scripts[i].frames[k].flags,
                      scripts[i].frames[k].id, scripts[i].frames[k].payload);
        }
        struct str got = talk(a, &b, 1 << 20);
        if (post) {
            got = str_skip(got, (size_t)str_index(got, '\n') + 1);
        }
        CHECK_STR(got, scripts[i].want);
        CHECK_ROW(i, str_eq(talk(a, &b, 1), talk(a, &b, 1 << 20)));
        buf_fini(&b);
    }
    arena_free(a);
}

static void bodies_are_as_long_as_they_said(void)
{
    static const struct script scripts[] = {
        {{FR(0, END_STREAM, 1, "hello")}, "end 1 5\n"},
        {{FR(0, 0, 1, "he"), FR(0, END_STREAM, 1, "llo")}, "end 1 5\n"},
        {{FR(0, 0, 1, "hello"), FR(0, END_STREAM, 1, "")}, "end 1 5\n"},
        {{FR(0, PADDED | END_STREAM, 1, "\3hello\0\0\0")}, "end 1 5\n"},
        {{FR(0, 0, 1, "hello"), FR(1, WHOLE, 1, "\0\1x\1y")}, "trailers 1 x=y\nend 1 5\n"},
        {{FR(0, END_STREAM, 1, "hell")}, "reset 1 PROTOCOL_ERROR by us\n> RST 1 PROTOCOL_ERROR\n"},
        {{FR(0, END_STREAM, 1, "hello!")},
         "reset 1 PROTOCOL_ERROR by us\n> RST 1 PROTOCOL_ERROR\n"},
        {{FR(0, 0, 1, "hello!")}, "reset 1 PROTOCOL_ERROR by us\n> RST 1 PROTOCOL_ERROR\n"},
        {{FR(0, END_STREAM, 1, "")}, "reset 1 PROTOCOL_ERROR by us\n> RST 1 PROTOCOL_ERROR\n"},
        {{FR(0, 0, 1, "hell"), FR(1, WHOLE, 1, "\0\1x\1y")},
         "reset 1 PROTOCOL_ERROR by us\n> RST 1 PROTOCOL_ERROR\n"},
        {{FR(0, 0, 1, "hello"), FR(1, END_HEADERS, 1, "\0\1x\1y")},
         "reset 1 PROTOCOL_ERROR by us\n> RST 1 PROTOCOL_ERROR\n"},
        {{FR(0, 0, 1, "hello"), FR(1, WHOLE, 1, "\0\7:method\3GET")},
         "reset 1 PROTOCOL_ERROR by us\n> RST 1 PROTOCOL_ERROR\n"},
        {{FR(0, 0, 1, "hello"), FR(1, WHOLE, 1, "\0\4host\1y")}, "trailers 1\nend 1 5\n"},
        {{FR(0, END_STREAM, 1, "hello"), FR(0, 0, 1, "more")},
         "end 1 5\nreset 1 STREAM_CLOSED by us\n> RST 1 STREAM_CLOSED\n"},
        {{FR(0, 0, 1, "he"), FR(3, 0, 1, "\0\0\0\x8"), FR(0, 0, 1, "llo")},
         "reset 1 CANCEL\n> RST 1 STREAM_CLOSED\n"},
    };
    check_scripts(scripts, sizeof(scripts) / sizeof(scripts[0]), true);
}

static void broken_frames_end_the_connection(void)
{
#define FAILS(code) "failed " code "\n> GOAWAY 0 " code "\n"
    static const struct script scripts[] = {
        {{FR(0, 0, 0, "x")}, FAILS("PROTOCOL_ERROR")},
        {{FR(0, 0, 1, "x")}, FAILS("PROTOCOL_ERROR")},
        {{FR(1, WHOLE, 0, "\x82")}, FAILS("PROTOCOL_ERROR")},
        {{FR(1, WHOLE, 2, "\x82")}, FAILS("PROTOCOL_ERROR")},
        {{FR(9, WHOLE, 1, "\x82")}, FAILS("PROTOCOL_ERROR")},
        {{FR(3, 0, 0, "\0\0\0\0")}, FAILS("PROTOCOL_ERROR")},
        {{FR(3, 0, 1, "\0\0\0\0")}, FAILS("PROTOCOL_ERROR")},
        {{FR(8, 0, 1, "\0\0\0\1")}, FAILS("PROTOCOL_ERROR")},
        {{FR(8, 0, 0, "\0\0\0\0")}, FAILS("PROTOCOL_ERROR")},
        {{FR(8, 0, 0, "\x7f\xff\xff\xff")}, FAILS("FLOW_CONTROL_ERROR")},
        {{FR(8, 0, 0, "\0\0\1")}, FAILS("FRAME_SIZE_ERROR")},
        {{FR(6, 0, 0, "1234567")}, FAILS("FRAME_SIZE_ERROR")},
        {{FR(6, 0, 1, "12345678")}, FAILS("PROTOCOL_ERROR")},
        {{FR(5, 0, 1, "1234")}, FAILS("PROTOCOL_ERROR")},
        {{FR(4, 0, 1, "")}, FAILS("PROTOCOL_ERROR")},
        {{FR(4, ACK, 0, "123456")}, FAILS("FRAME_SIZE_ERROR")},
        {{FR(4, 0, 0, "12345")}, FAILS("FRAME_SIZE_ERROR")},
        {{FR(4, 0, 0, "\0\2\0\0\0\2")}, FAILS("PROTOCOL_ERROR")},
        {{FR(4, 0, 0, "\0\4\x80\0\0\0")}, FAILS("FLOW_CONTROL_ERROR")},
        {{FR(4, 0, 0, "\0\5\0\0\x3f\xff")}, FAILS("PROTOCOL_ERROR")},
        {{FR(4, 0, 0, "\0\x8\0\0\0\2")}, FAILS("PROTOCOL_ERROR")},
        {{FR(7, 0, 0, "\0\0\0\0\0\0\0")}, FAILS("FRAME_SIZE_ERROR")},
        {{FR(2, 0, 0, "\0\0\0\3\1")}, FAILS("PROTOCOL_ERROR")},
        {{FR(1, WHOLE, 1, "\xff\xff\xff")},
         "failed COMPRESSION_ERROR\n> GOAWAY 1 COMPRESSION_ERROR\n"},
        {{FR(1, WHOLE | PADDED, 1, "\x5\x82")},
         "failed PROTOCOL_ERROR\n> GOAWAY 1 PROTOCOL_ERROR\n"},
        {{FR(1, WHOLE | PRIORITY, 1, "\0\0\0")},
         "failed FRAME_SIZE_ERROR\n> GOAWAY 1 FRAME_SIZE_ERROR\n"},
        {{FR(1, 0, 1, "\x82"), FR(0, 0, 1, "")},
         "failed PROTOCOL_ERROR\n> GOAWAY 1 PROTOCOL_ERROR\n"},
        {{FR(1, 0, 1, "\x82"), FR(99, 0, 1, "")},
         "failed PROTOCOL_ERROR\n> GOAWAY 1 PROTOCOL_ERROR\n"},
        {{FR(1, 0, 1, "\x82"), FR(9, 4, 3, "")},
         "failed PROTOCOL_ERROR\n> GOAWAY 1 PROTOCOL_ERROR\n"},
    };
    check_scripts(scripts, sizeof(scripts) / sizeof(scripts[0]), false);
}

static void harmless_frames_are_taken(void)
{
    static const struct script scripts[] = {
        {{FR(6, 0, 0, "12345678")}, "> PING 0 8\n"},
        {{FR(6, ACK, 0, "12345678")}, "pong\n"},
        {{FR(99, 255, 7, "whatever")}, ""},
        {{FR(4, 0, 0, "\0\x63\0\0\0\1")}, ""},
        {{FR(7, 0, 0, "\0\0\0\5\0\0\0\0why")}, "going 5 NO_ERROR\n"},
        {{FR(8, 0, 0, "\0\0\0\1")}, "window 0\n"},
        {{FR(2, 0, 9, "\0\0\0\3\1")}, ""},
        {{FR(4, 0, 0, "\0\4\0\1\0\0")}, "window 0\n"},
        /* good on their own: a head in three frames, of which one is empty */
        {{FR(1, END_STREAM, 1, "\x82\x84\x86"), FR(9, 0, 1, ""), FR(9, 4, 1, "\1\1a")},
         "head 1 GET / a\nend 1 0\n"},
        {{FR(1, WHOLE | PADDED | PRIORITY, 1, "\2\0\0\0\0\1\x82\x84\x86\1\1a\0\0")},
         "head 1 GET / a\nend 1 0\n"},
        {{FR(1, WHOLE | PRIORITY, 1, "\0\0\0\1\1\x82\x84\x86\1\1a")}, /* depends on itself */
         "reset 1 PROTOCOL_ERROR by us\n> RST 1 PROTOCOL_ERROR\n"},
        {{FR(1, WHOLE, 1, "\x82\x84\x86\1\1a"), FR(8, 0, 1, "\0\0\0\0")},
         "head 1 GET / a\nend 1 0\nreset 1 PROTOCOL_ERROR by us\n> RST 1 PROTOCOL_ERROR\n"},
        {{FR(1, WHOLE, 1, "\x82\x84\x86\1\1a"), FR(8, 0, 1, "\x7f\xff\xff\xff")},
         "head 1 GET / a\nend 1 0\nreset 1 FLOW_CONTROL_ERROR by us\n"
         "> RST 1 FLOW_CONTROL_ERROR\n"},
        {{FR(1, WHOLE, 5, "\x82\x84\x86\1\1a"), FR(1, WHOLE, 3, "\x82\x84\x86\1\1a")},
         "head 5 GET / a\nend 5 0\nfailed PROTOCOL_ERROR\n> GOAWAY 5 PROTOCOL_ERROR\n"},
    };
    check_scripts(scripts, sizeof(scripts) / sizeof(scripts[0]), false);
}

/* ---- bounds ---- */

/* How many times the bytes of one round are taken before the connection ends, and why. */
static int rounds(const char *want, void (*round)(struct buf *b, uint32_t i), int most)
{
    struct h2_run *r = run_new(&run_limits, false);
    struct buf b = new_bytes();
    int n = 0;
    put_start(&b);
    for (; n < most && !r->s->failed; n++) {
        round(&b, (uint32_t)n);
        run_feed(r, buf_str(&b), 1 << 20);
        buf_reset(&b);
        CHECK(r->s->out.n < H2_OUT_HIGH);
        r->n = 0;
        memset(r->streams, 0, sizeof(r->streams[0]));
    }
    run_say(r);
    if (want) {
        CHECK(str_find(buf_str(&r->text), str_c(want)) >= 0);
    }
    buf_fini(&b);
    run_free(r);
    return n;
}

static void put_small_head(struct buf *b, uint32_t id, unsigned flags)
{
    put_frame(b, 1, flags, id, STR("\x82\x84\x86\1\1a"));
}

static void rapid_reset(struct buf *b, uint32_t i)
{
    put_small_head(b, i * 2 + 1, WHOLE);
    put_frame(b, 3, 0, i * 2 + 1, STR("\0\0\0\x8"));
}

static void zero_window_update(struct buf *b, uint32_t i)
{
    put_small_head(b, i * 2 + 1, WHOLE);
    put_frame(b, 8, 0, i * 2 + 1, STR("\0\0\0\0"));
}

static void overflowing_window_update(struct buf *b, uint32_t i)
{
    put_small_head(b, i * 2 + 1, WHOLE);
    put_frame(b, 8, 0, i * 2 + 1, STR("\x7f\xff\xff\xff"));
}

static void data_after_end(struct buf *b, uint32_t i)
{
    put_small_head(b, i * 2 + 1, WHOLE);
    put_frame(b, 0, 0, i * 2 + 1, STR("x"));
}

static void head_after_end(struct buf *b, uint32_t i)
{
    put_small_head(b, i * 2 + 1, WHOLE);
    put_small_head(b, i * 2 + 1, WHOLE);
}

static void short_priority(struct buf *b, uint32_t i)
{
    put_small_head(b, i * 2 + 1, WHOLE);
    put_frame(b, 2, 0, i * 2 + 1, STR("\0\0\0\0"));
}

static void self_dependence(struct buf *b, uint32_t i)
{
    const uint32_t id = i * 2 + 1;
    const char payload[5] = {0, 0, (char)(id >> 8), (char)id, 1};
    put_small_head(b, id, WHOLE);
    put_frame(b, 2, 0, id, str_of(payload, 5));
}

static void malformed(struct buf *b, uint32_t i)
{
    put_frame(b, 1, WHOLE, i * 2 + 1, STR("\x82"));
}

static void resets_of_all_kinds_have_one_budget(void)
{
    static void (*const kinds[])(struct buf * b, uint32_t i) = {
        rapid_reset,    zero_window_update, overflowing_window_update, data_after_end,
        head_after_end, short_priority,     self_dependence,           malformed};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const int n = rounds("GOAWAY", kinds[i], 10000);
        CHECK_ROW(i, n > 190 && n < 260);
    }
}

static void settings_flood(struct buf *b, uint32_t i)
{
    put_frame(b, 4, 0, 0, STR("\0\3\0\0\0\1"));
}

static void ping_flood(struct buf *b, uint32_t i)
{
    put_frame(b, 6, 0, 0, STR("12345678"));
}

static void ping_ack_flood(struct buf *b, uint32_t i)
{
    put_frame(b, 6, ACK, 0, STR("12345678"));
}

static void priority_flood(struct buf *b, uint32_t i)
{
    put_frame(b, 2, 0, 1, STR("\0\0\0\3\1"));
}

static void window_flood(struct buf *b, uint32_t i)
{
    put_frame(b, 8, 0, 0, STR("\0\0\0\1"));
}

static void unknown_flood(struct buf *b, uint32_t i)
{
    put_frame(b, 77, 0, 0, STR("x"));
}

static void goaway_flood(struct buf *b, uint32_t i)
{
    put_frame(b, 7, 0, 0, STR("\0\0\0\0\0\0\0\0"));
}

static void empty_data_flood(struct buf *b, uint32_t i)
{
    if (i == 0) {
        put_small_head(b, 1, END_HEADERS);
    }
    put_frame(b, 0, 0, 1, STR(""));
}

static void padding_flood(struct buf *b, uint32_t i)
{
    if (i == 0) {
        put_small_head(b, 1, END_HEADERS);
    }
    put_frame(b, 0, PADDED, 1, STR("\3\0\0\0"));
}

static void late_reset_flood(struct buf *b, uint32_t i)
{
    if (i == 0) {
        put_small_head(b, 1, WHOLE);
    }
    put_frame(b, 3, 0, 1, STR("\0\0\0\x8"));
}

static void frames_that_carry_nothing_have_a_budget(void)
{
    static void (*const kinds[])(struct buf * b, uint32_t i) = {
        settings_flood, ping_flood,       ping_ack_flood, priority_flood,   window_flood,
        unknown_flood,  empty_data_flood, padding_flood,  late_reset_flood, goaway_flood};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const int n = rounds("ENHANCE_YOUR_CALM", kinds[i], 100000);
        CHECK_ROW(i, n > 990 && n < 1100);
    }
}

/* Streams that end well pay for themselves. */
static struct h2_run *served;
static void served_stream(struct buf *b, uint32_t i)
{
    put_small_head(b, i * 2 + 1, WHOLE);
    put_frame(b, 8, 0, 0, STR("\0\0\0\x9"));
    put_frame(b, 6, 0, 0, STR("12345678"));
}

static void useful_work_earns_more(void)
{
    struct h2_run *r = served = run_new(&run_limits, false);
    struct headers none = {0};
    struct buf b = new_bytes();
    put_start(&b);
    for (uint32_t i = 0; i < 20000 && !r->s->failed; i++) {
        served_stream(&b, i);
        run_feed(r, buf_str(&b), 1 << 20);
        buf_reset(&b);
        CHECK(h2_send_response(r->s, &r->streams[0].s, 204, &none, -1, true) == 0);
        CHECK(!r->streams[0].s.open && r->s->n_streams == 0);
        r->n = 0;
        memset(&r->streams[0], 0, sizeof(r->streams[0]));
        buf_reset(&r->text);
        run_say(r);
    }
    CHECK(!r->s->failed);
    buf_fini(&b);
    run_free(r);
}

static void heads_are_counted_while_they_are_decoded(void)
{
    static const struct {
        const char *what;
        unsigned fields, crumbs, value; /* and the length of each value */
        bool one_big, refused;
    } cases[] = {
        {"as many as are allowed", 196, 0, 1, false, false},
        {"one more", 197, 0, 1, false, true},
        {"crumbs as many as are allowed", 0, 196, 1, false, false},
        {"crumbs are counted", 0, 197, 1, false, true},
        {"a lot of text", 10, 0, 6000, false, false},
        {"too much text", 11, 0, 6000, false, true},
    };
    struct arena *a = arena_new(4096);
    char *value = malloc(6000);
    memset(value, 'v', 6000);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf block = new_bytes(), b = new_bytes();
        put_get(&block);
        for (unsigned k = 0; k < cases[i].fields + cases[i].crumbs; k++) {
            put_field(&block, k < cases[i].fields ? STR("x-f") : STR("cookie"),
                      str_of(value, cases[i].value));
        }
        struct str rest = buf_str(&block);
        put_frame(&b, 1, END_STREAM | (rest.n <= 16384 ? END_HEADERS : 0), 1,
                  str_head(rest, 16384));
        while ((rest = str_skip(rest, 16384)).n > 0) {
            put_frame(&b, 9, rest.n <= 16384 ? END_HEADERS : 0, 1, str_head(rest, 16384));
        }
        const struct str got = talk(a, &b, 777);
        const bool refused = str_starts(got, STR("head 1 refuse 431\n"));
        CHECK_ROW(i, refused == cases[i].refused);
        CHECK_ROW(i, refused || str_starts(got, STR("head 1 GET / a.test")));
        buf_fini(&b);
        buf_fini(&block);
    }
    free(value);
    arena_free(a);
}

/* One entry of the table, named again and again by one byte: what a field costs is bounded by the
 * cap, and so is what decoding costs. */
static void a_table_entry_repeated_is_no_bomb(void)
{
    struct arena *a = arena_new(4096);
    struct buf block = new_bytes(), b = new_bytes();
    put_get(&block);
    buf_addc(&block, 0x40);
    put_text(&block, STR("x"));
    put_text(&block, STR(""));
    for (int i = 0; i < 16000; i++) {
        buf_addc(&block, (char)0xbe);
    }
    put_frame(&b, 1, WHOLE, 1, buf_str(&block));
    struct h2_run *r = run_new(&run_limits, false);
    struct buf start = new_bytes();
    put_start(&start);
    run_feed(r, buf_str(&start), 1 << 20);
    const size_t before = arena_held(r->arena);
    run_feed(r, buf_str(&b), 1 << 20);
    CHECK(str_starts(buf_str(&r->text), STR("head 1 refuse 431\n")));
    CHECK(arena_held(r->arena) - before < 64 << 10);
    run_free(r);
    buf_fini(&start);
    buf_fini(&block);
    buf_fini(&b);
    arena_free(a);
}

static void a_block_has_few_frames_and_bytes(void)
{
    struct arena *a = arena_new(4096);
    for (unsigned n = H2_CONTINUATIONS - 1; n <= H2_CONTINUATIONS + 1; n++) {
        struct buf b = new_bytes();
        put_frame(&b, 1, END_STREAM, 1, STR("\x82\x84\x86\1\1a"));
        for (unsigned i = 1; i <= n; i++) {
            put_frame(&b, 9, i == n ? END_HEADERS : 0, 1, STR(""));
        }
        CHECK_ROW(n, (str_find(talk(a, &b, 1 << 20), STR("ENHANCE_YOUR_CALM")) >= 0) ==
                         (n > H2_CONTINUATIONS));
        buf_fini(&b);
    }
    char *filler = malloc(16384);
    memset(filler, 0x82, 16384);
    struct buf b = new_bytes();
    put_frame(&b, 1, END_STREAM, 1, str_of(filler, 16384));
    for (unsigned i = 0; i < 8; i++) {
        put_frame(&b, 9, 0, 1, str_of(filler, 16384));
    }
    CHECK(str_find(talk(a, &b, 1 << 20), STR("ENHANCE_YOUR_CALM")) >= 0);
    buf_fini(&b);
    free(filler);
    arena_free(a);
}

static void streams_beyond_the_limit_are_refused(void)
{
    struct arena *a = arena_new(4096);
    struct buf b = new_bytes();
    for (uint32_t i = 0; i < 101; i++) {
        put_small_head(&b, i * 2 + 1, WHOLE);
    }
    const struct str got = talk(a, &b, 1 << 20);
    CHECK(str_find(got, STR("head 199 GET / a\n")) >= 0);
    CHECK(str_find(got, STR("head 201 ")) < 0);
    CHECK(str_find(got, STR("> RST 201 REFUSED_STREAM\n")) >= 0);
    buf_fini(&b);
    arena_free(a);
}

/* ---- windows ---- */

static void a_peer_may_send_what_was_promised(void)
{
    char *text = calloc(1, 16384);
    for (int consumes = 0; consumes < 2; consumes++) {
        struct h2_run *r = run_new(&run_limits, false);
        struct buf b = new_bytes();
        r->keep_bodies = !consumes;
        put_start(&b);
        put_small_head(&b, 1, END_HEADERS);
        for (int i = 0; i < 5; i++) {
            put_frame(&b, 0, 0, 1, str_of(text, 16384));
        }
        run_feed(r, buf_str(&b), 1000);
        run_say(r);
        CHECK(r->streams[0].n == (size_t)(consumes ? 5 : 4) * 16384);
        CHECK((str_find(buf_str(&r->text), STR("RST 1 FLOW_CONTROL_ERROR")) >= 0) == !consumes);
        /* of what is gone the connection's window knows */
        CHECK(consumes || r->s->recv_window + r->s->credit == 1 << 20);
        buf_fini(&b);
        run_free(r);
    }
    free(text);
}

static void all_streams_share_a_window(void)
{
    char *text = calloc(1, 16384);
    struct h2_run *r = run_new(&run_limits, false);
    struct buf b = new_bytes();
    r->keep_bodies = true;
    put_start(&b);
    for (uint32_t i = 0; i < 17; i++) {
        put_small_head(&b, i * 2 + 1, END_HEADERS);
        for (int k = 0; k < 4; k++) {
            put_frame(&b, 0, 0, i * 2 + 1, str_of(text, 16384));
        }
    }
    run_feed(r, buf_str(&b), 1 << 20);
    run_say(r);
    CHECK(str_find(buf_str(&r->text), STR("failed FLOW_CONTROL_ERROR")) >= 0);
    buf_fini(&b);
    run_free(r);
    free(text);
}

static void we_send_what_we_may(void)
{
    struct h2_run *r = run_new(&run_limits, false);
    struct headers none = {0};
    struct buf b = new_bytes();
    char head[H2_FRAME_HEAD];
    put_start(&b);
    put_frame(&b, 4, 0, 0, STR("\0\4\0\0\0\xa")); /* ten bytes a stream */
    put_small_head(&b, 1, WHOLE);
    run_feed(r, buf_str(&b), 1 << 20);
    struct h2_stream *st = &r->streams[0].s;
    CHECK(h2_send_response(r->s, st, 200, &none, -1, false) == 0);
    CHECK(h2_room(r->s, st, 100) == 10);
    h2_send_data(r->s, st, STR("12345678"), false);
    h2_data_head(r->s, st, head, 2, false);
    CHECK(h2_room(r->s, st, 100) == 0);
    buf_reset(&b);
    put_frame(&b, 4, 0, 0, STR("\0\4\0\0\0\4")); /* six less: below nothing */
    put_frame(&b, 8, 0, 1, STR("\0\0\0\6"));
    run_feed(r, buf_str(&b), 1 << 20);
    CHECK(st->send_window == 0 && h2_room(r->s, st, 100) == 0);
    buf_reset(&b);
    put_frame(&b, 8, 0, 1, STR("\0\1\0\0"));
    run_feed(r, buf_str(&b), 1 << 20);
    CHECK(h2_room(r->s, st, 100000) == 65525); /* now the connection's is the smaller */
    buf_fini(&b);
    run_free(r);
}

/* ---- both ends ---- */

static void carry(struct h2_run *from, struct h2_run *to, size_t step)
{
    struct buf out = h2_take_out(from->s);
    run_feed(to, buf_str(&out), step);
    h2_return_out(&out);
}

static void a_client_and_a_server_understand_each_other(void)
{
    for (size_t step = 1; step < 100000; step = step * 7 + 1) {
        struct h2_run *c = run_new(&run_limits, true), *s = run_new(&run_limits, false);
        struct headers h, interim, trailers;
        headers_init(&h, c->arena, 0);
        headers_init(&interim, c->arena, 0);
        headers_init(&trailers, c->arena, 0);
        headers_add(&h, STR("Content-Type"), STR("text/plain"));
        headers_add(&h, STR("Connection"), STR("close"));
        headers_add(&h, STR("Host"), STR("elsewhere"));
        headers_add(&h, STR("TE"), STR("trailers"));
        headers_add(&h, STR("X-Mixed-Case"), STR(" blanks "));
        headers_add(&interim, STR("Link"), STR("</a>"));
        headers_add(&trailers, STR("X-End"), STR("1"));
        const struct h2_request rq = {.method = STR("POST"),
                                      .scheme = STR("http"),
                                      .authority = STR("a.test:80"),
                                      .path = STR("/p?q"),
                                      .headers = &h,
                                      .length = 11};
        struct h2_stream *st = &c->streams[0].s;
        c->n = 1;
        CHECK(h2_send_request(c->s, st, c->arena, &rq) == 0);
        h2_send_data(c->s, st, STR("hello "), false);
        h2_send_data(c->s, st, STR("world"), true);
        carry(c, s, step);
        CHECK_STR(buf_str(&s->text),
                  "window 0\nwindow 0\nhead 1 POST /p?q a.test:80 content-type=text/plain "
                  "te=trailers x-mixed-case=blanks content-length=11\nend 1 11\n");
        struct h2_stream *answer = &s->streams[0].s;
        headers_del_id(&h, H_TE);
        CHECK(h2_send_response(s->s, answer, 103, &interim, -1, false) == 0);
        CHECK(h2_send_response(s->s, answer, 200, &h, 2, false) == 0);
        h2_send_data(s->s, answer, STR("ok"), false);
        CHECK(h2_send_trailers(s->s, answer, &trailers) == 0);
        CHECK(!answer->open && s->s->n_streams == 0);
        carry(s, c, step);
        CHECK_STR(
            buf_str(&c->text),
            "window 0\nwindow 0\nhead 1 103 link=</a>\nhead 1 200 content-type=text/plain host=elsewhere "
            "x-mixed-case=blanks content-length=2\ntrailers 1 x-end=1\nend 1 2\n");
        CHECK(!st->open && c->s->n_streams == 0);
        run_free(c);
        run_free(s);
    }
}

static void answers_to_head_have_no_body(void)
{
    struct h2_run *c = run_new(&run_limits, true), *s = run_new(&run_limits, false);
    struct headers none;
    headers_init(&none, c->arena, 0);
    const struct h2_request rq = {.method = STR("HEAD"),
                                  .scheme = STR("http"),
                                  .authority = STR("a"),
                                  .path = STR("/"),
                                  .headers = &none,
                                  .length = -1,
                                  .last = true};
    c->n = 1;
    CHECK(h2_send_request(c->s, &c->streams[0].s, c->arena, &rq) == 0);
    carry(c, s, 100);
    CHECK(h2_send_response(s->s, &s->streams[0].s, 200, &none, 1000, true) == 0);
    carry(s, c, 100);
    CHECK_STR(buf_str(&c->text), "window 0\nwindow 0\nhead 1 200 content-length=1000\nend 1 0\n");
    run_free(c);
    run_free(s);
}

/* A block larger than a frame goes on in CONTINUATION frames. */
static void large_heads_are_spread(void)
{
    struct h2_run *c = run_new(&run_limits, true), *s = run_new(&run_limits, false);
    struct headers h;
    headers_init(&h, c->arena, 0);
    for (int i = 0; i < 8; i++) {
        char *v = arena_bytes(c->arena, 7000);
        memset(v, 0x80 + i, 7000); /* nothing for Huffman to gain */
        headers_add(&h, arena_printf(c->arena, "x-%d", i), str_of(v, 7000));
    }
    const struct h2_request rq = {.method = STR("GET"),
                                  .scheme = STR("http"),
                                  .authority = STR("a"),
                                  .path = STR("/"),
                                  .headers = &h,
                                  .length = -1,
                                  .last = true};
    c->n = 1;
    CHECK(h2_send_request(c->s, &c->streams[0].s, c->arena, &rq) == 0);
    carry(c, s, 1 << 20);
    CHECK(str_find(buf_str(&s->text), STR("head 1 GET / a x-0=")) >= 0);
    CHECK(s->streams[0].s.head.headers.n == 8);
    for (unsigned i = 0; i < 8; i++) {
        CHECK(str_eq(s->streams[0].s.head.headers.v[i].value, h.v[i].value));
    }
    run_free(c);
    run_free(s);
}

static void nothing_invalid_leaves(void)
{
    static const struct field cases[] = {F("x", "a\r\nb: c"), F("x", "a\n"),   F("x", "a\0"),
                                         F("x y", "a"),       F("x\r\n", "a"), F("", "a"),
                                         F(":status", "500"), F("x", "\x7f")};
    struct h2_run *c = run_new(&run_limits, true);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct headers h;
        headers_init(&h, c->arena, 0);
        headers_add(&h, cases[i].name, cases[i].value);
        struct h2_request rq = {.method = STR("GET"),
                                .scheme = STR("http"),
                                .authority = STR("a"),
                                .path = STR("/"),
                                .headers = &h,
                                .length = -1,
                                .last = true};
        CHECK_ROW(i, h2_send_request(c->s, &c->streams[0].s, c->arena, &rq) != 0);
    }
    static const struct field places[] = {F("path", "/ x"),   F("path", "/\r\n"), F("host", "a b"),
                                          F("host", "a\r\n"), F("method", "G T"), F("method", "")};
    struct headers none;
    headers_init(&none, c->arena, 0);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct h2_request rq = {.method = STR("GET"),
                                .scheme = STR("http"),
                                .authority = STR("a"),
                                .path = STR("/"),
                                .headers = &none,
                                .length = -1,
                                .last = true};
        *(places[i].name.p[0] == 'p'   ? &rq.path
          : places[i].name.p[0] == 'h' ? &rq.authority
                                       : &rq.method) = places[i].value;
        CHECK_ROW(i, h2_send_request(c->s, &c->streams[0].s, c->arena, &rq) != 0);
    }
    CHECK(c->s->n_streams == 0);
    run_free(c);
}

static void a_goaway_lets_what_runs_end(void)
{
    struct h2_run *r = run_new(&run_limits, false);
    struct headers none = {0};
    struct buf b = new_bytes();
    put_start(&b);
    put_small_head(&b, 1, WHOLE);
    run_feed(r, buf_str(&b), 1 << 20);
    h2_goaway_soon(r->s);
    buf_reset(&b);
    put_small_head(&b, 3, WHOLE); /* was on its way */
    run_feed(r, buf_str(&b), 1 << 20);
    h2_goaway(r->s, H2_NO_ERROR);
    buf_reset(&b);
    put_small_head(&b, 5, END_HEADERS); /* nobody looks */
    put_frame(&b, 0, END_STREAM, 5, STR("x"));
    run_feed(r, buf_str(&b), 1 << 20);
    CHECK(h2_send_response(r->s, &r->streams[0].s, 200, &none, 0, true) == 0);
    CHECK(h2_send_response(r->s, &r->streams[1].s, 200, &none, 0, true) == 0);
    run_say(r);
    CHECK_STR(buf_str(&r->text),
              "head 1 GET / a\nend 1 0\nhead 3 GET / a\nend 3 0\n> GOAWAY 65535 NO_ERROR\n"
              "> GOAWAY 3 NO_ERROR\n> HEADERS 1 5\n> HEADERS 3 5\n");
    CHECK(!r->s->failed && r->s->n_streams == 0);
    buf_fini(&b);
    run_free(r);
}

TESTS(T(heads_become_requests), T(malformed_heads_are_reset), T(bodies_are_as_long_as_they_said),
      T(broken_frames_end_the_connection), T(harmless_frames_are_taken),
      T(resets_of_all_kinds_have_one_budget), T(frames_that_carry_nothing_have_a_budget),
      T(useful_work_earns_more), T(heads_are_counted_while_they_are_decoded),
      T(a_table_entry_repeated_is_no_bomb), T(a_block_has_few_frames_and_bytes),
      T(streams_beyond_the_limit_are_refused), T(a_peer_may_send_what_was_promised),
      T(all_streams_share_a_window), T(we_send_what_we_may),
      T(a_client_and_a_server_understand_each_other), T(answers_to_head_have_no_body),
      T(large_heads_are_spread), T(nothing_invalid_leaves), T(a_goaway_lets_what_runs_end))
