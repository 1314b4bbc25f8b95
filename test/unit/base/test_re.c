/* SPDX-License-Identifier: Apache-2.0 */
/* re: matching, replacing, the words of a refusal and the bound on work. */
#include "base/assert.h"
#include "base/clock.h"
#include "base/re.h"

#include "t.h"

#include <pthread.h>

static struct arena *arena;

static struct re *re_of(const char *pattern, const char *options)
{
    struct err e = {0};
    struct re *re = re_new(arena, str_c(pattern), options, &e);

    CHECK_STR(str_c(e.msg), "");
    CHECK(re != NULL);
    return re;
}

static void options_change_what_matches(void)
{
    static const struct {
        const char *pattern, *options, *subject;
        bool match;
    } cases[] = {
        {"abc", "", "xabcx", true},
        {"abc", "", "ABC", false},
        {"abc", "jo", "abc", true},
        {"abc", "ijo", "ABC", true},
        {"a.c", "", "a\nc", false},
        {"a.c", "s", "a\nc", true},
        {"^b", "", "a\nb", false},
        {"^b", "m", "a\nb", true},
        {"a b", "x", "ab", true},
        {"b", "a", "ab", false},
        {"^.$", "", "\xc3\xa9", false},
        {"^.$", "u", "\xc3\xa9", true},
        {"", "", "", true},
        {"(?<x>a)|(?<x>b)", "D", "b", true},
        {"a", NULL, "a", true},
    };
    arena = arena_new(4096);
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct re *re = re_of(cases[i].pattern, cases[i].options);
        CHECK_ROW(i, re_search(re, str_c(cases[i].subject), 0, NULL) == cases[i].match);
    }
    CHECK(re_search(re_of("^$", ""), STR_NONE, 0, NULL));
    arena_free(arena);
}

static void groups_are_slices_of_the_subject(void)
{
    arena = arena_new(4096);
    struct re *re = re_of("(a)|(b)(c)?", "");
    struct re_match m;
    struct str s = STR("..a.b");

    CHECK(re_search(re, s, 0, &m) && m.n == 2 && m.group[0].p == s.p + 2);
    CHECK_STR(m.group[1], "a");
    CHECK(str_is_none(m.group[2]) && str_is_none(m.group[3]));
    CHECK(re_search(re, s, 3, &m) && m.n == 3 && m.group[0].p == s.p + 4);
    CHECK(str_is_none(m.group[1]) && str_is_none(m.group[3]));
    CHECK_STR(m.group[2], "b");
    CHECK(!re_search(re, s, 5, &m) && m.n == 0 && str_is_none(m.group[0]));
    CHECK(!re_search(re, s, 6, &m) && m.n == 0);
    arena_free(arena);
}

static void groups_past_the_last_kept_are_dropped(void)
{
    char pattern[4 * 40 + 1] = "";

    arena = arena_new(4096);
    for (int i = 0; i < 40; i++) {
        strcat(pattern, "(.)");
    }
    struct re_match m;
    CHECK(re_search(re_of(pattern, ""), STR("0123456789012345678901234567890123456789"), 0, &m));
    CHECK(m.n == RE_GROUPS);
    CHECK_STR(m.group[31], "0");
    arena_free(arena);
}

static void a_refusal_names_place_and_pattern(void)
{
    static const struct {
        const char *pattern, *options, *words;
    } cases[] = {
        {"(", "", "pcre2_compile() failed: missing closing parenthesis in \"(\""},
        {"^/a(", "jo", "pcre2_compile() failed: missing closing parenthesis in \"^/a(\""},
        {"a)b", "", "pcre2_compile() failed: unmatched closing parenthesis in \"a)b\" at \")b\""},
        {"[a", "", "pcre2_compile() failed: missing terminating ] for character class in \"[a\""},
        {"a**", "z", "unknown flag \"z\" (flags \"z\")"},
    };
    arena = arena_new(4096);
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct err e = {0};
        CHECK_ROW(i, re_new(arena, str_c(cases[i].pattern), cases[i].options, &e) == NULL);
        CHECK_STR(str_c(e.msg), cases[i].words);
    }
    arena_free(arena);
}

static void deep_nesting_is_refused(void)
{
    char pattern[20001];
    struct err e = {0};

    arena = arena_new(4096);
    memset(pattern, '(', 10000);
    memset(pattern + 10000, ')', 10000);
    CHECK(re_new(arena, str_of(pattern, 20000), "", &e) == NULL && err_is_set(&e));
    arena_free(arena);
}

static void replacing_follows_ngx_re_sub(void)
{
    static const struct {
        const char *pattern, *options, *subject, *replacement;
        bool all;
        const char *want;
    } cases[] = {
        {"l", "", "hello", "L", false, "heLlo"},
        {"l", "", "hello", "L", true, "heLLo"},
        {"x", "", "hello", "L", true, "hello"},
        {"^/t/(.*)/(.*)$", "", "/t/a/b", "/$1/$2/x", false, "/a/b/x"},
        {"(h)(e)", "", "hello", "$2$1$0", false, "ehhello"},
        {"(h)", "", "hello", "${1}1", false, "h1ello"},
        {"(h)", "", "hello", "$11", false, "ello"},
        {"(h)", "", "hello", "$999999999999", false, "ello"},
        {"h", "", "hello", "$$0", false, "$0ello"},
        {"(h)|(e)", "", "hello", "[$1$2]", true, "[h][e]llo"},
        {"x*", "", "abc", "-", true, "-a-b-c-"},
        {"b*", "", "abc", "-", true, "-a--c-"},
        {"", "", "", "-", true, "-"},
        {"$", "", "abc", "!", true, "abc!"},
        {"", "u", "\xc3\xa9", "-", true, "-\xc3\xa9-"},
        {"hello", "", "hello", "", false, ""},
    };
    arena = arena_new(4096);
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct re *re = re_of(cases[i].pattern, cases[i].options);
        struct err e = {0};
        struct str replacement = str_c(cases[i].replacement);
        CHECK_ROW(i, re_check_replacement(replacement, &e) == 0);
        struct str got = re_replace(arena, re, str_c(cases[i].subject), replacement, cases[i].all);
        CHECK_STR(got, cases[i].want);
        CHECK_ROW(i, !str_is_none(got));
    }
    struct str s = STR("hello");
    CHECK(re_replace(arena, re_of("x", ""), s, STR("y"), true).p == s.p);
    arena_free(arena);
}

static void malformed_replacements_are_refused(void)
{
    static const char *const bad[] = {"$", "a$", "$x", "${1", "${}", "${a}", "${1a}", "$-", "$1${"};

    arena = arena_new(4096);
    struct re *re = re_of("(a)", "");
    for (size_t i = 0; i < LENGTH_OF(bad); i++) {
        struct err e = {0};
        CHECK_ROW(i, re_check_replacement(str_c(bad[i]), &e) == -1 && err_is_set(&e));
        CHECK_ROW(i, str_is_none(re_replace(arena, re, STR("a"), str_c(bad[i]), false)));
    }
    arena_free(arena);
}

static void backtracking_without_end_is_stopped(void)
{
    static char subject[64];
    struct re_match m;

    arena = arena_new(4096);
    memset(subject, 'a', sizeof(subject) - 1);
    struct re *re = re_of("^(a+)+(b|c)\\1$", "");
    int64_t start = clock_us();
    CHECK(!re_search(re, str_of(subject, sizeof(subject) - 1), 0, &m) && m.n <= 0);
    re = re_of("^(?:a|a|aa)+$", "");
    subject[sizeof(subject) - 2] = 'b';
    CHECK(!re_search(re, str_of(subject, sizeof(subject) - 1), 0, &m) && m.n == -1);
    CHECK(str_is_none(re_replace(arena, re, str_of(subject, sizeof(subject) - 1), STR(""), true)));
    CHECK(clock_us() - start < 5000000);
    arena_free(arena);
}

/* Starts are tried in portions; a match must not depend on where one begins or ends. */
static void a_match_is_found_wherever_it_starts(void)
{
    static const struct {
        const char *pattern, *options, *needle, *filler;
    } cases[] = {
        {"(?<=[xy])ab*c", "", "abbc", "x"},
        {"\\bab", "u", "ab", "\xc3\xa9 "},
        {"\xc3\xa9+$", "u", "\xc3\xa9\xc3\xa9", "\xe2\x82\xac"},
        {"(?:x|y)*?abc", "", "abc", "-"},
        {"^abc$", "m", "abc", "x\n"},
        {"[^x]", "s", "\n", "x"},
    };
    arena = arena_new(4096);
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct re *re = re_of(cases[i].pattern, cases[i].options);
        size_t width = strlen(cases[i].filler);
        char text[4096];
        size_t n = 0;
        for (int fillers = 0; fillers < 600; fillers++) {
            struct re_match m;
            strcpy(text + n, cases[i].needle);
            struct str s = str_c(text);
            if (fillers > 0) {
                CHECK_ROW(i, re_search(re, s, 0, &m) && m.group[0].p == s.p + n);
                CHECK_STR(m.group[0], cases[i].needle);
            }
            CHECK_ROW(i, !re_search(re, str_head(s, n), 0, &m) && m.n == 0);
            memcpy(text + n, cases[i].filler, width);
            n += width;
        }
    }
    arena_free(arena);
}

static void patterns_bound_to_the_first_start_stay_so(void)
{
    static const char *const cases[] = {"^b", "\\Ab", "\\Gb", "a(*COMMIT)b|b", "(?:^x|\\G)b"};
    char text[1001];

    arena = arena_new(4096);
    memset(text, 'a', 1000);
    strcpy(text + 999, "b");
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct re *re = re_of(cases[i], "");
        CHECK_ROW(i, !re_search(re, str_of(text, 1000), 0, NULL));
    }
    CHECK(re_search(re_of("\\Gb", ""), str_of(text, 1000), 999, NULL));
    arena_free(arena);
}

static void long_subjects_take_bounded_time(void)
{
    static const char *const cases[] = {".*.*=",  "a.*.*[bc]",    "(a+)+[bc]",
                                        "a*[bc]", "(?:a|b)*[cd]", "a.*a.*a.*x?[bc]"};
    size_t n = 1 << 20;

    arena = arena_new(4096);
    char *text = arena_bytes(arena, n);
    memset(text, 'a', n);
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct re *re = re_of(cases[i], "");
        struct re_match m;
        int64_t start = clock_us();
        CHECK_ROW(i, !re_search(re, str_of(text, n), 0, &m) && m.n <= 0);
        /* 50 ms are meant; the rest is for slow machines and sanitizers. */
        CHECK_ROW(i, clock_us() - start < 2000000);
    }
    arena_free(arena);
}

static void results_have_a_limit_too(void)
{
    arena = arena_new(4096);
    char *subject = arena_bytes(arena, 100000), *replacement = arena_bytes(arena, 1000);
    memset(subject, 'a', 100000);
    memset(replacement, 'b', 1000);
    CHECK(str_is_none(re_replace(arena, re_of("a", ""), str_of(subject, 100000),
                                 str_of(replacement, 1000), true)));
    arena_free(arena);
}

static void *match_often(void *arg)
{
    size_t found = 0;

    for (int i = 0; i < 10000; i++) {
        struct re_match m;
        found += re_search(arg, STR("user=4711;"), 0, &m) && str_eq(m.group[1], STR("4711"));
    }
    return (void *)found;
}

static void threads_share_an_expression(void)
{
    pthread_t threads[4];

    arena = arena_new(4096);
    struct re *re = re_of("user=(\\d+)", "");
    for (size_t i = 0; i < LENGTH_OF(threads); i++) {
        CHECK(pthread_create(&threads[i], NULL, match_often, re) == 0);
    }
    for (size_t i = 0; i < LENGTH_OF(threads); i++) {
        void *found;
        CHECK(pthread_join(threads[i], &found) == 0 && (size_t)found == 10000);
    }
    arena_free(arena);
}

TESTS(T(options_change_what_matches), T(groups_are_slices_of_the_subject),
      T(groups_past_the_last_kept_are_dropped), T(a_refusal_names_place_and_pattern),
      T(deep_nesting_is_refused), T(replacing_follows_ngx_re_sub),
      T(malformed_replacements_are_refused), T(backtracking_without_end_is_stopped),
      T(a_match_is_found_wherever_it_starts), T(patterns_bound_to_the_first_start_stay_so),
      T(long_subjects_take_bounded_time), T(results_have_a_limit_too),
      T(threads_share_an_expression))
