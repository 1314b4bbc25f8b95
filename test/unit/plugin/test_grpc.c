/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of gRPC in runs of body, and the base64 of gRPC-Web. */
#include "plugin/grpc.h"
#include "t.h"

#include <errno.h>

/* Three messages, one of them empty. */
static const char body[] = "\0\0\0\0\3abc\0\0\0\0\0\0\0\0\0\5hello";
#define BODY str_of(body, sizeof(body) - 1)

/* Feed the body in runs of n bytes; the messages, each in brackets. */
static void messages_of(struct str whole, size_t n, size_t max, struct buf *out, int *rc)
{
    struct grpc_frames f = {.part = BUF_INIT(max)};
    struct str message;
    *rc = 0;
    while (whole.n > 0 && *rc >= 0) {
        grpc_frames_feed(&f, str_head(whole, n));
        whole = str_skip(whole, n);
        while ((*rc = grpc_frames_next(&f, &message)) > 0) {
            buf_printf(out, "[%.*s]", STR_ARG(message));
        }
    }
    if (*rc == 0 && grpc_frames_partial(&f)) {
        buf_add(out, STR("..."));
    }
    buf_fini(&f.part);
}

static void messages_come_whole_however_they_are_cut(void)
{
    for (size_t n = 1; n <= sizeof(body); n++) {
        struct buf out = BUF_INIT(1000);
        int rc;
        messages_of(BODY, n, 100, &out, &rc);
        CHECK_STR(buf_str(&out), "[abc][][hello]");
        CHECK_ROW(n, rc == 0);
        buf_fini(&out);
    }
}

static void a_beginning_is_kept(void)
{
    for (size_t n = 1; n < 8; n++) {
        struct buf out = BUF_INIT(1000);
        int rc;
        messages_of(str_head(BODY, sizeof(body) - 3), n, 100, &out, &rc);
        CHECK_STR(buf_str(&out), "[abc][]...");
        buf_fini(&out);
    }
}

static void what_is_too_long_or_compressed_is_an_error(void)
{
    static const struct {
        struct str bytes;
        int want;
    } cases[] = {
        {STR_INIT("\0\0\0\0\5hello"), 0},
        {STR_INIT("\0\0\0\0\6hello!"), -EMSGSIZE},
        {STR_INIT("\0\xff\xff\xff\xff"), -EMSGSIZE},
        {STR_INIT("\1\0\0\0\2ab"), -ENOTSUP},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t n = 1; n < 12; n++) {
            struct buf out = BUF_INIT(1000);
            int rc;
            messages_of(cases[i].bytes, n, GRPC_PREFIX + 5, &out, &rc);
            CHECK_ROW(i, rc == cases[i].want);
            buf_fini(&out);
        }
    }
}

static void a_prefix_says_kind_and_length(void)
{
    char p[GRPC_PREFIX];
    grpc_prefix(p, GRPC_WEB_TRAILERS, 0x01020304);
    CHECK(memcmp(p, "\x80\1\2\3\4", sizeof(p)) == 0);
}

static void text_is_decoded_piece_by_piece(void)
{
    static const struct {
        const char *text, *want; /* NULL: malformed */
    } cases[] = {
        {"", ""},           {"YWJj", "abc"},     {"YQ==", "a"},   {"YQ==YmM=ZGVm", "abcdef"},
        {"YQ==YQ==", "aa"}, {"YQ", "a"},         {"Y", NULL},     {"YQ=", NULL},
        {"====", NULL},     {"YQ== YQ==", NULL}, {"YQ===", NULL}, {"Y-_j", NULL},
    };
    struct arena *a = arena_new(4096);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct str got = grpc_web_text_decode(a, str_c(cases[i].text));
        CHECK_ROW(i, (got.p == NULL) == (cases[i].want == NULL));
        if (cases[i].want) {
            CHECK_STR(got, cases[i].want);
        }
    }
    arena_free(a);
}

TESTS(T(messages_come_whole_however_they_are_cut), T(a_beginning_is_kept),
      T(what_is_too_long_or_compressed_is_an_error), T(a_prefix_says_kind_and_length),
      T(text_is_decoded_piece_by_piece))
