/* SPDX-License-Identifier: Apache-2.0 */
/* str: slices compared, searched, split and read as numbers; err, which is made of them. */
#include "base/assert.h"
#include "base/err.h"
#include "base/list.h"
#include "base/str.h"

#include "t.h"

#include <math.h>

static void equality_is_of_bytes_and_length(void)
{
    CHECK(str_eq(STR("abc"), STR("abc")));
    CHECK(!str_eq(STR("abc"), STR("abcd")));
    CHECK(!str_eq(STR("abc"), STR("abC")));
    CHECK(str_eq(STR_NONE, STR("")));
    CHECK(str_eq(STR("a\0b"), STR("a\0b")));
    CHECK(!str_eq(STR("a\0b"), STR("a\0c")));
    CHECK(str_is_none(str_c(NULL)) && !str_is_none(STR("")));
}

static void case_is_ignored_for_ascii_only(void)
{
    CHECK(str_ieq(STR("Content-Type"), STR("content-tYPE")));
    CHECK(!str_ieq(STR("a@"), STR("a`")));
    CHECK(!str_ieq(STR("\xc4"), STR("\xe4")));
    CHECK(!str_ieq(STR("ab"), STR("abc")));
    CHECK(str_ieq(STR_NONE, STR("")));
}

static void order_is_lexicographic_and_by_unsigned_bytes(void)
{
    static const struct {
        const char *a, *b;
        int sign;
    } cases[] = {{"a", "b", -1}, {"b", "a", 1}, {"a", "a", 0},   {"a", "ab", -1},
                 {"", "", 0},    {"", "a", -1}, {"\xff", "a", 1}};
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        int order = str_cmp(str_c(cases[i].a), str_c(cases[i].b));
        CHECK_ROW(i, (order > 0) - (order < 0) == cases[i].sign);
    }
}

static void searching_gives_an_index_or_minus_one(void)
{
    CHECK(str_index(STR("a/b/c"), '/') == 1);
    CHECK(str_rindex(STR("a/b/c"), '/') == 3);
    CHECK(str_index(STR("abc"), '/') == -1 && str_rindex(STR("abc"), '/') == -1);
    CHECK(str_index(STR_NONE, 'a') == -1 && str_rindex(STR_NONE, 'a') == -1);
    CHECK(str_find(STR("hello world"), STR("wor")) == 6);
    CHECK(str_find(STR("hello"), STR("world")) == -1);
    CHECK(str_find(STR("hello"), STR("")) == 0);
    CHECK(str_find(STR_NONE, STR("x")) == -1);
    CHECK(str_find(STR("a"), STR("ab")) == -1);
}

static void heads_and_rests_are_clamped(void)
{
    CHECK_STR(str_head(STR("abc"), 2), "ab");
    CHECK_STR(str_head(STR("abc"), 9), "abc");
    CHECK_STR(str_skip(STR("abc"), 2), "c");
    CHECK_STR(str_skip(STR("abc"), 9), "");
    CHECK(str_starts(STR("abc"), STR("ab")) && !str_starts(STR("a"), STR("ab")));
    CHECK(str_ends(STR("abc"), STR("bc")) && !str_ends(STR("c"), STR("bc")));
    CHECK(str_starts(STR_NONE, STR("")) && str_ends(STR_NONE, STR("")));
}

static void trimming_takes_spaces_and_tabs_only(void)
{
    CHECK_STR(str_trim(STR(" \t a b\t ")), "a b");
    CHECK_STR(str_trim(STR("\na\r")), "\na\r");
    CHECK_STR(str_trim(STR(" \t")), "");
    CHECK_STR(str_trim(STR("")), "");
}

static void splitting_gives_empty_parts_too(void)
{
    static const struct {
        const char *text, *joined;
    } cases[] = {{"a,,b", "a||b|"}, {"", "|"}, {",", "||"}, {"a", "a|"}, {"a,", "a||"}};
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct str rest = str_c(cases[i].text), part;
        char joined[32] = "";
        while (str_split(&rest, ',', &part)) {
            strncat(joined, part.p, part.n);
            strcat(joined, "|");
        }
        CHECK_STR(str_c(joined), cases[i].joined);
    }
}

static void whole_numbers_are_exact_or_refused(void)
{
    static const struct {
        const char *text;
        bool u_ok, i_ok;
        uint64_t u;
        int64_t i;
    } cases[] = {
        {"0", true, true, 0, 0},
        {"007", true, true, 7, 7},
        {"18446744073709551615", true, false, UINT64_MAX, 0},
        {"18446744073709551616", false, false, 0, 0},
        {"99999999999999999999", false, false, 0, 0},
        {"9223372036854775807", true, true, INT64_MAX, INT64_MAX},
        {"9223372036854775808", true, false, 9223372036854775808u, 0},
        {"-9223372036854775808", false, true, 0, INT64_MIN},
        {"-9223372036854775809", false, false, 0, 0},
        {"-0", false, true, 0, 0},
        {"-", false, false, 0, 0},
        {"--1", false, false, 0, 0},
        {"+1", false, false, 0, 0},
        {"", false, false, 0, 0},
        {" 1", false, false, 0, 0},
        {"1 ", false, false, 0, 0},
        {"0x1", false, false, 0, 0},
        {"1.0", false, false, 0, 0},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        uint64_t u = 0;
        int64_t v = 0;
        CHECK_ROW(i, str_to_u64(str_c(cases[i].text), &u) == cases[i].u_ok && u == cases[i].u);
        CHECK_ROW(i, str_to_i64(str_c(cases[i].text), &v) == cases[i].i_ok && v == cases[i].i);
    }
}

static void numbers_are_read_as_lua_reads_them(void)
{
    static const struct {
        const char *text;
        bool ok;
        double v;
    } cases[] = {
        {"1", true, 1},
        {" 1 ", true, 1},
        {"\t\n-1.5e3\r", true, -1500},
        {"+2", true, 2},
        {".5", true, 0.5},
        {"5.", true, 5},
        {"0x10", true, 16},
        {"-0xA", true, -10},
        {"0x.8", true, 0.5},
        {"0x1p4", true, 16},
        {"1E2", true, 100},
        {"1e999", true, HUGE_VAL},
        {"", false, 0},
        {" ", false, 0},
        {".", false, 0},
        {"1x", false, 0},
        {"0x", false, 0},
        {"1e", false, 0},
        {"1e+", false, 0},
        {"e5", false, 0},
        {"inf", false, 0},
        {"nan", false, 0},
        {"1 2", false, 0},
        {"--1", false, 0},
        {"0x1e+2", false, 0},
        {"1.2.3", false, 0},
        {"\xc2\xa0"
         "1",
         false, 0},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        double v = 0;
        CHECK_ROW(i, str_to_number(str_c(cases[i].text), &v) == cases[i].ok && v == cases[i].v);
    }
    double v;
    CHECK(!str_to_number(STR("1\0"), &v));
}

static void secrets_compare_by_length_and_bytes(void)
{
    CHECK(str_eq_secret(STR("key"), STR("key")));
    CHECK(!str_eq_secret(STR("key"), STR("kez")));
    CHECK(!str_eq_secret(STR("key"), STR("key1")));
    CHECK(!str_eq_secret(STR("keykey"), STR("key")));
    CHECK(!str_eq_secret(STR(""), STR("key")));
    CHECK(!str_eq_secret(STR("key"), STR_NONE));
    CHECK(str_eq_secret(STR(""), STR_NONE));
}

static void the_first_error_wins_and_prefixes_pile_up(void)
{
    struct err e = {0};

    CHECK(!err_is_set(&e));
    CHECK(err_set(&e, "bad %s", "port") == -1);
    CHECK(err_set(&e, "later") == -1);
    CHECK(err_prefix(&e, "listen[%d]: ", 2) == -1);
    CHECK_STR(str_c(e.msg), "listen[2]: bad port");
    CHECK(err_is_set(&e));
}

/* Whether no UTF-8 character of text, which is made of three-byte characters and ASCII, is cut at
 * its end. */
static bool ends_whole(const char *text)
{
    size_t n = strlen(text), tail = 0;

    while (tail < n && ((unsigned char)text[n - 1 - tail] & 0xc0) == 0x80) {
        tail++;
    }
    return tail == 2 || (tail == 0 && (unsigned char)text[n - 1] < 0x80);
}

static void long_errors_are_cut_between_characters(void)
{
    char text[6001];

    for (size_t i = 0; i + 3 < sizeof(text); i += 3) {
        memcpy(text + i, "\xe2\x82\xac", 4);
    }
    for (int shift = 0; shift < 4; shift++) {
        struct err e = {0};
        err_set(&e, "%.*s%s", shift, "abc", text);
        CHECK_ROW(shift, strlen(e.msg) > sizeof(e.msg) - 4 && ends_whole(e.msg));
        err_prefix(&e, "%.*s", shift, "xyz");
        CHECK_ROW(shift, strlen(e.msg) > sizeof(e.msg) - 7 && ends_whole(e.msg));
    }
}

struct item {
    int id;
    struct list link;
};

static void a_list_keeps_order_and_survives_deleting(void)
{
    struct list head = LIST_INIT(head);
    struct item items[4];

    CHECK(list_is_empty(&head) && list_pop(&head) == NULL);
    for (int i = 0; i < 4; i++) {
        items[i].id = i;
        list_add_tail(&head, &items[i].link);
    }
    LIST_EACH_SAFE(it, next, &head) {
        if (CONTAINER_OF(it, struct item, link)->id % 2) {
            list_del(it);
            list_del(it);
        }
    }
    list_add(&head, &items[3].link);
    int want[] = {3, 0, 2}, n = 0;
    LIST_EACH(it, &head) {
        CHECK(n < 3 && CONTAINER_OF(it, struct item, link)->id == want[n]);
        n++;
    }
    CHECK(n == 3);
    CHECK(list_pop(&head) == &items[3].link && list_is_empty(&items[3].link));
}

TESTS(T(equality_is_of_bytes_and_length), T(case_is_ignored_for_ascii_only),
      T(order_is_lexicographic_and_by_unsigned_bytes), T(searching_gives_an_index_or_minus_one),
      T(heads_and_rests_are_clamped), T(trimming_takes_spaces_and_tabs_only),
      T(splitting_gives_empty_parts_too), T(whole_numbers_are_exact_or_refused),
      T(numbers_are_read_as_lua_reads_them), T(secrets_compare_by_length_and_bytes),
      T(the_first_error_wins_and_prefixes_pile_up), T(long_errors_are_cut_between_characters),
      T(a_list_keeps_order_and_survives_deleting))
