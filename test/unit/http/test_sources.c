/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of http/sources.h: who counts as one source, and how many connections it has. */
#include "http/sources.h"

#include "t.h"

static struct ip source(const char *text, unsigned bits)
{
    struct ip ip;
    CHECK(ip_parse(str_c(text), &ip));
    return source_of(&ip, bits);
}

static void an_ipv6_block_is_one_source(void)
{
    static const struct {
        const char *a, *b;
        unsigned bits;
        bool same;
    } rows[] = {
        {"2001:db8::1", "2001:db8::ffff:1", 64, true},
        {"2001:db8:0:1::1", "2001:db8:0:2::1", 64, false},
        {"2001:db8:0:1::1", "2001:db8:0:2::1", 56, true},
        {"2001:db8::1", "2001:db8::2", 128, false},
        {"2001:db8:0:0:8000::", "2001:db8::", 65, false},
        {"10.0.0.1", "10.0.0.2", 16, false},
        {"10.0.0.1", "10.0.0.1", 64, true},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct ip a = source(rows[i].a, rows[i].bits), b = source(rows[i].b, rows[i].bits);
        CHECK_ROW(i, source_enter(&a, 1));
        CHECK_ROW(i, source_enter(&b, 1) == !rows[i].same);
        source_leave(&a);
        if (!rows[i].same) {
            source_leave(&b);
        }
        CHECK_ROW(i, source_count(&a) == 0 && source_count(&b) == 0);
    }
}

static void each_source_has_its_own_number(void)
{
    enum { MANY = 5000 };

    for (unsigned i = 0; i < MANY; i++) {
        struct ip ip = {.v4 = true, .b = {[14] = (uint8_t)(i >> 8), [15] = (uint8_t)i}};
        CHECK(source_enter(&ip, 2) && source_enter(&ip, 2) && !source_enter(&ip, 2));
    }
    for (unsigned i = 0; i < MANY; i++) {
        struct ip ip = {.v4 = true, .b = {[14] = (uint8_t)(i >> 8), [15] = (uint8_t)i}};
        source_leave(&ip);
        CHECK(source_count(&ip) == 1);
        source_leave(&ip);
        CHECK(source_count(&ip) == 0);
    }
}

TESTS(T(an_ipv6_block_is_one_source), T(each_source_has_its_own_number))
