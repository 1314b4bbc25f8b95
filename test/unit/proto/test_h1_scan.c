/* SPDX-License-Identifier: Apache-2.0 */
/* The vector scans against the table, and the table against the grammar. */
#include "proto/h1_scan.h"
#include "t.h"

typedef size_t scan_fn(const char *p, size_t n);
static const struct {
    uint8_t class_;
    scan_fn *vector, *chosen;
} scans[] = {
    {H1_TOKEN, h1_scan_token_vector, h1_scan_token},
    {H1_TARGET, h1_scan_target_vector, h1_scan_target},
    {H1_TARGET_HIGH, h1_scan_target_high_vector, h1_scan_target_high},
    {H1_VALUE, h1_scan_value_vector, h1_scan_value},
};
enum { SCANS = sizeof(scans) / sizeof(scans[0]), ROOM = 70 };

static bool all_agree(size_t k, const char *p, size_t n)
{
    const size_t want = h1_scan_scalar(p, n, scans[k].class_);

    return scans[k].vector(p, n) == want && scans[k].chosen(p, n) == want;
}

static void every_byte_at_every_place_is_judged_alike(void)
{
    for (size_t k = 0; k < SCANS; k++) {
        for (size_t n = 0; n <= ROOM; n++) {
            char *p = malloc(n + 1);

            memset(p, 'a', n);
            CHECK_ROW(n, all_agree(k, p, n));
            for (size_t i = 0; i < n; i++) {
                for (int c = 0; c < 256; c++) {
                    p[i] = (char)c;
                    CHECK_ROW(c, all_agree(k, p, n));
                }
                p[i] = 'a';
            }
            free(p);
        }
    }
}

static void random_bytes_are_judged_alike(void)
{
    uint32_t x = 12345;

    for (int round = 0; round < 200000; round++) {
        char p[ROOM];
        const size_t n = round % ROOM;

        for (size_t i = 0; i < n; i++) {
            x = x * 1664525 + 1013904223;
            /* Mostly printable, so that runs are long. */
            p[i] = (char)(x >> 31 ? 33 + (x >> 8) % 94 : x >> 30 ? '_' : x >> 16);
        }
        for (size_t k = 0; k < SCANS; k++) {
            CHECK_ROW(round, all_agree(k, p, n));
        }
    }
}

static void nothing_past_the_end_is_counted(void)
{
    const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    for (size_t k = 0; k < SCANS; k++) {
        for (size_t n = 0; n < sizeof(text); n++) {
            CHECK_ROW(n, scans[k].vector(text, n) == n);
        }
    }
}

static bool in(const char *set, int c)
{
    return c != 0 && strchr(set, c) != NULL;
}

static bool is_alnum(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void the_classes_are_those_of_the_grammar(void)
{
    for (int c = 0; c < 256; c++) {
        const bool visible = c > 0x20 && c < 0x7f;
        const uint8_t want =
            (uint8_t)((is_alnum(c) || in("!#$%&'*+-.^_`|~", c) ? H1_TOKEN : 0) |
                      (visible && c != '#' ? H1_TARGET | H1_TARGET_HIGH : 0) |
                      (c >= 0x80 ? H1_TARGET_HIGH : 0) |
                      (visible || c == ' ' || c == '\t' || c >= 0x80 ? H1_VALUE : 0) |
                      (in("0123456789abcdefABCDEF", c) ? H1_HEX : 0) |
                      (is_alnum(c) || in("-._~!$&'()*+;=", c) ? H1_REG_NAME : 0));

        CHECK_ROW(c, h1_byte_class[c] == want);
    }
}
TESTS(T(every_byte_at_every_place_is_judged_alike), T(random_bytes_are_judged_alike),
      T(nothing_past_the_end_is_counted), T(the_classes_are_those_of_the_grammar))
