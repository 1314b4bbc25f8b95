/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of a configuration that requests are looked up in, and bytes on their way out. */
#include "plugin/escape.h"
#include "plugin/ip_set.h"
#include "plugin/str_set.h"
#include "t.h"

#include "base/assert.h"

static struct ip ip_of(const char *text)
{
    struct ip ip = {0};

    CHECK(ip_parse(str_c(text), &ip));
    return ip;
}

static void an_address_is_in_its_blocks(void)
{
    static const char list[] =
        "[\"10.0.0.0/8\", \"10.1.0.0/16\", \"192.168.0.7\", \"2001:db8::/32\", \"::1\", \"10.0.0.0/8\", \"172.16.0.0/12\"]";
    static const struct {
        const char *ip;
        bool want;
    } cases[] = {
        {"10.0.0.0", true},       {"10.255.255.255", true},
        {"9.255.255.255", false}, {"11.0.0.0", false},
        {"10.1.2.3", true},       {"192.168.0.7", true},
        {"192.168.0.6", false},   {"192.168.0.8", false},
        {"172.31.255.255", true}, {"172.32.0.0", false},
        {"2001:db8::", true},     {"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true},
        {"2001:db9::", false},    {"::1", true},
        {"::2", false},           {"::ffff:10.1.1.1", true}, /* the same address as 10.1.1.1 */
    };
    struct arena *a = arena_new(4096);
    struct err e = {0};
    struct ip_set s;
    json_t *json = json_parse(str_c(list), &e);

    CHECK(ip_set_check(json, &e) == 0 && ip_set_prepare(a, json, &s, &e) == 0);
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        const struct ip ip = ip_of(cases[i].ip);
        CHECK_ROW(i, ip_set_has(&s, &ip) == cases[i].want);
    }
    json_decref(json);
    arena_free(a);
}

static void every_address_of_one_family_is_none_of_the_other(void)
{
    static const struct {
        const char *list;
        bool v4, v6;
    } cases[] = {
        {"[\"0.0.0.0/0\"]", true, false},
        {"[\"::/0\"]", false, true},
        {"[\"::/0\",\"0.0.0.0/0\"]", true, true},
        {"[]", false, false},
    };
    const struct ip v4 = ip_of("1.2.3.4"), v6 = ip_of("2001::1");
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct arena *a = arena_new(4096);
        struct err e = {0};
        struct ip_set s;
        json_t *json = json_parse(str_c(cases[i].list), &e);
        CHECK_ROW(i, ip_set_prepare(a, json, &s, &e) == 0);
        CHECK_ROW(i, ip_set_has(&s, &v4) == cases[i].v4 && ip_set_has(&s, &v6) == cases[i].v6);
        json_decref(json);
        arena_free(a);
    }
}

/* The same answer as looking at each block, for blocks that hold each other in many ways. */
static void a_set_agrees_with_its_blocks(void)
{
    struct arena *a = arena_new(65536);
    struct err e = {0};
    json_t *json = json_array();
    struct cidr blocks[300];
    struct ip_set s;
    uint64_t state = 1;

    for (size_t i = 0; i < LENGTH_OF(blocks); i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const unsigned x = (unsigned)(state >> 33);
        const struct str text = arena_printf(a, "10.%u.%u.%u/%u", x & 3, x >> 2 & 255,
                                             x >> 10 & 255, 14 + (x >> 18) % 19);
        json_array_append_new(json, json_stringn(text.p, text.n));
        CHECK(cidr_parse(text, &blocks[i]));
    }
    CHECK(ip_set_prepare(a, json, &s, &e) == 0);
    for (unsigned i = 0; i < 20000; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const unsigned x = (unsigned)(state >> 33);
        const struct ip ip =
            ip_of(arena_printf(a, "10.%u.%u.%u%c", x & 3, x >> 2 & 255, x >> 10 & 255, 0).p);
        bool want = false;
        for (size_t k = 0; k < LENGTH_OF(blocks); k++) {
            want |= cidr_has(&blocks[k], &ip);
        }
        CHECK_ROW(i, ip_set_has(&s, &ip) == want);
    }
    json_decref(json);
    arena_free(a);
}

static void what_is_no_address_is_named(void)
{
    struct err e = {0};
    json_t *json = json_parse(STR("[\"10.0.0.1\", \"10.0.0.0/33\"]"), &e);

    CHECK(ip_set_check(json, &e) == -1);
    CHECK_STR(str_c(e.msg), "invalid ip address: 10.0.0.0/33");
    CHECK(ip_set_check(NULL, &e) == 0);
    json_decref(json);
}

static void a_name_is_found_whole(void)
{
    static const struct str names[] = {STR_INIT("rose"), STR_INIT("jack"), STR_INIT(""),
                                       STR_INIT("jac")};
    struct arena *a = arena_new(1024);
    struct str_set s, none;

    str_set_prepare(a, names, LENGTH_OF(names), &s);
    str_set_prepare(a, NULL, 0, &none);
    CHECK(str_set_has(&s, STR("jack")) && str_set_has(&s, STR("jac")) &&
          str_set_has(&s, STR("rose")) && str_set_has(&s, STR("")));
    CHECK(!str_set_has(&s, STR("ja")) && !str_set_has(&s, STR("jacks")) &&
          !str_set_has(&s, STR("Jack")));
    CHECK(!str_set_has(&none, STR("jack")));
    arena_free(a);
}

static void bytes_that_break_a_message_are_encoded(void)
{
    static const struct {
        struct str (*escape)(struct arena *a, struct str s);
        struct str in;
        const char *want;
    } cases[] = {
        {escape_header_value, STR_INIT("a\r\nX: 1"), "a%0D%0AX: 1"},
        {escape_header_value, STR_INIT("tab\tok \x80\x7f"), "tab\tok \x80%7F"},
        {escape_header_value, STR_INIT("nul\0x"), "nul%00x"},
        {escape_uri, STR_INIT("/a b?c=d%20e#f"), "/a%20b?c=d%20e#f"},
        {escape_uri, STR_INIT("/\xe4\xbd\xa0\"<>"), "/%E4%BD%A0%22%3C%3E"},
        {escape_target, STR_INIT("a=1\r\nx#y&b={2}"), "a=1%0D%0Ax%23y&b={2}"},
        {escape_target, STR_INIT("same"), "same"},
    };
    struct arena *a = arena_new(1024);

    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        CHECK_STR(cases[i].escape(a, cases[i].in), cases[i].want);
    }
    arena_free(a);
}

TESTS(T(an_address_is_in_its_blocks), T(every_address_of_one_family_is_none_of_the_other),
      T(a_set_agrees_with_its_blocks), T(what_is_no_address_is_named), T(a_name_is_found_whole),
      T(bytes_that_break_a_message_are_encoded))
