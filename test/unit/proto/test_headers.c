/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/headers.h"
#include "t.h"

static const char *const names[H_COUNT] = {
#define X(id, name) [H_##id] = name,
    HEADER_IDS(X)
#undef X
};

static void every_known_name_is_found_in_any_case(void)
{
    for (int id = H_OTHER + 1; id < H_COUNT; id++) {
        char text[64];
        const size_t n = strlen(names[id]);

        for (unsigned variant = 0; variant < 4; variant++) {
            for (size_t i = 0; i < n; i++) {
                const char c = names[id][i];

                text[i] =
                    c >= 'a' && c <= 'z' &&
                            (variant == 1 || (variant == 2 && i % 2) || (variant == 3 && i == 0))
                        ? c - 32
                        : c;
            }
            CHECK_ROW(id, header_id_of(str_of(text, n)) == (enum header_id)id);
        }
        CHECK_STR(header_name(id), names[id]);
    }
}

static void a_name_with_one_byte_changed_is_unknown(void)
{
    for (int id = H_OTHER + 1; id < H_COUNT; id++) {
        const size_t n = strlen(names[id]);

        for (size_t i = 0; i < n; i++) {
            for (int c = 0; c < 256; c++) {
                char text[64];

                memcpy(text, names[id], n);
                text[i] = (char)c;
                if (ascii_lower((char)c) != names[id][i]) {
                    CHECK_ROW(id, header_id_of(str_of(text, n)) != (enum header_id)id);
                }
            }
        }
        CHECK_ROW(id, header_id_of(str_of(names[id], n - 1)) == H_OTHER);
    }
    CHECK(header_id_of(STR("")) == H_OTHER);
    CHECK(header_id_of(STR_NONE) == H_OTHER);
    CHECK(header_id_of(STR("a-name-that-is-longer-than-every-known-one-of-them")) == H_OTHER);
}

static struct str joined(struct arena *a, const struct headers *h)
{
    struct str s = STR("");

    for (unsigned i = 0; i < h->n; i++) {
        s = arena_printf(a, "%.*s%.*s=%.*s;", STR_ARG(s), STR_ARG(h->v[i].name),
                         STR_ARG(h->v[i].value));
    }
    return s;
}

static void fields_are_added_replaced_and_removed_by_name_in_any_case(void)
{
    struct arena *a = arena_new(4096);
    struct headers h;

    headers_init(&h, a, 0);
    headers_add(&h, STR("X-One"), STR("1"));
    headers_add(&h, STR("Accept"), STR("2"));
    headers_add_id(&h, H_ACCEPT, STR("3"));
    headers_add(&h, STR("x-one"), STR("4"));
    CHECK_STR(joined(a, &h), "X-One=1;Accept=2;Accept=3;x-one=4;");
    CHECK_STR(headers_get_name(&h, STR("X-ONE")), "1");
    CHECK_STR(headers_get(&h, H_ACCEPT), "2");
    CHECK_STR(headers_get_name(&h, STR("ACCEPT")), "2");
    CHECK(str_is_none(headers_get(&h, H_COOKIE)));
    CHECK(str_is_none(headers_get_name(&h, STR("nope"))));
    headers_set(&h, STR("x-One"), STR("5"));
    CHECK_STR(joined(a, &h), "x-One=5;Accept=2;Accept=3;");
    headers_set_id(&h, H_ACCEPT, STR("6"));
    headers_set_id(&h, H_HOST, STR("7"));
    CHECK_STR(joined(a, &h), "x-One=5;Accept=6;Host=7;");
    CHECK(headers_del(&h, STR("aCCept")) == 1);
    CHECK(headers_del(&h, STR("accept")) == 0);
    CHECK(headers_del_id(&h, H_HOST) == 1);
    CHECK_STR(joined(a, &h), "x-One=5;");
    headers_set(&h, STR("host"), STR("8"));
    CHECK_STR(headers_get(&h, H_HOST), "8");
    arena_free(a);
}

static void a_long_list_grows_and_keeps_its_order(void)
{
    struct arena *a = arena_new(4096);
    struct headers h;

    headers_init(&h, a, 3);
    for (int i = 0; i < 500; i++) {
        headers_add(&h, arena_printf(a, "x-%d", i), arena_printf(a, "%d", i));
    }
    CHECK(h.n == 500);
    for (int i = 0; i < 500; i++) {
        CHECK_ROW(i, str_eq(h.v[i].value, arena_printf(a, "%d", i)));
    }
    arena_free(a);
}

static void tokens_are_found_in_lists_over_several_fields(void)
{
    static const struct {
        const char *one, *two, *token;
        bool want;
    } cases[] = {
        {"close", "", "close", true},       {"keep-alive, Upgrade", "", "upgrade", true},
        {"a", "b ,\tClose", "close", true}, {"closed", "", "close", false},
        {"clos e", "", "close", false},     {",,close,,", "", "close", true},
        {"not close", "", "close", false},  {"", "", "close", false},
        {"close;a", "", "close", false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena *a = arena_new(1024);
        struct headers h;

        headers_init(&h, a, 4);
        headers_add(&h, STR("x-close"), STR("close"));
        headers_add(&h, STR("Connection"), str_c(cases[i].one));
        headers_add(&h, STR("connection"), str_c(cases[i].two));
        CHECK_ROW(i, headers_has_token(&h, H_CONNECTION, str_c(cases[i].token)) == cases[i].want);
        arena_free(a);
    }
}

static void names_and_values_are_judged_by_the_grammar(void)
{
    CHECK(header_name_is_valid(STR("X-A_b.c~1!#$%&'*+^`|")));
    CHECK(!header_name_is_valid(STR("")));
    CHECK(!header_name_is_valid(STR("a b")));
    CHECK(!header_name_is_valid(STR("a:")));
    CHECK(!header_name_is_valid(STR("a\0b")));
    CHECK(header_value_is_valid(STR("")));
    CHECK(header_value_is_valid(STR("a \t\"(\x80\xff~")));
    CHECK(!header_value_is_valid(STR("a\r\nb: c")));
    CHECK(!header_value_is_valid(STR("a\0")));
    CHECK(!header_value_is_valid(STR("\x7f")));
}
TESTS(T(every_known_name_is_found_in_any_case), T(a_name_with_one_byte_changed_is_unknown),
      T(fields_are_added_replaced_and_removed_by_name_in_any_case),
      T(a_long_list_grows_and_keeps_its_order), T(tokens_are_found_in_lists_over_several_fields),
      T(names_and_values_are_judged_by_the_grammar))
