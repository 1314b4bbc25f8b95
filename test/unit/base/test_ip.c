/* SPDX-License-Identifier: Apache-2.0 */
/* ip: addresses and blocks read, written and compared. */
#include "base/assert.h"
#include "base/ip.h"

#include "t.h"

#include <sys/un.h>

static void addresses_are_read_and_written_canonically(void)
{
    static const struct {
        const char *text, *canonical; /* NULL: refused */
        bool v4;
    } cases[] = {
        {"1.2.3.4", "1.2.3.4", true},
        {"255.255.255.255", "255.255.255.255", true},
        {"::1", "::1", false},
        {"[::1]", "::1", false},
        {"2001:DB8:0:0::0001", "2001:db8::1", false},
        {"::ffff:1.2.3.4", "1.2.3.4", true},
        {"::ffff:102:304", "1.2.3.4", true},
        {"[::ffff:1.2.3.4]", "1.2.3.4", true},
        {"[1.2.3.4]", NULL, false},
        {"1.2.3", NULL, false},
        {"1.2.3.4.5", NULL, false},
        {"1.2.3.256", NULL, false},
        {"01.2.3.4", NULL, false},
        {" 1.2.3.4", NULL, false},
        {"1.2.3.4 ", NULL, false},
        {"0x7f.1", NULL, false},
        {"fe80::1%eth0", NULL, false},
        {"[::1", NULL, false},
        {"::1]", NULL, false},
        {"[]", NULL, false},
        {"", NULL, false},
        {"localhost", NULL, false},
        {"1::2::3", NULL, false},
        {"0000:0000:0000:0000:0000:0000:255.255.255.2555", NULL, false},
    };
    struct arena *a = arena_new(1024);
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct ip ip;
        bool ok = ip_parse(str_c(cases[i].text), &ip);
        CHECK_ROW(i, ok == (cases[i].canonical != NULL));
        if (ok && cases[i].canonical) {
            CHECK_STR(ip_text(a, &ip), cases[i].canonical);
            CHECK_ROW(i, ip.v4 == cases[i].v4);
        }
    }
    struct ip ip;
    CHECK(!ip_parse(STR("1.2.3.4\0"), &ip) && !ip_parse(STR_NONE, &ip));
    arena_free(a);
}

static void blocks_hold_their_addresses(void)
{
    static const struct {
        const char *block, *ip;
        bool has;
    } cases[] = {
        {"10.0.0.0/8", "10.255.1.2", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.1.2.3/8", "10.9.9.9", true},
        {"10.1.2.3", "10.1.2.3", true},
        {"10.1.2.3", "10.1.2.4", false},
        {"10.1.2.3/32", "10.1.2.4", false},
        {"10.0.0.128/25", "10.0.0.127", false},
        {"10.0.0.128/25", "10.0.0.200", true},
        {"0.0.0.0/0", "9.9.9.9", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "2001:db8::1", true},
        {"::/0", "9.9.9.9", false},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"[2001:db8::1]", "2001:db8::1", true},
        {"10.0.0.0/8", "::ffff:10.1.1.1", true},
        {"::ffff:10.0.0.0/104", "10.1.1.1", true},
        {"::ffff:10.0.0.0/104", "11.1.1.1", false},
        {"::1/128", "::1", true},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct cidr c;
        struct ip ip;
        CHECK_ROW(i, cidr_parse(str_c(cases[i].block), &c) && ip_parse(str_c(cases[i].ip), &ip) &&
                         cidr_has(&c, &ip) == cases[i].has);
    }
}

static void malformed_blocks_are_refused(void)
{
    static const char *const bad[] = {"10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8/8",
                                      "10.0.0.0/ 8", "::/129",    "/8",          "",
                                      "10.0.0/8",    "::1/0128",  "a/8"};
    for (size_t i = 0; i < LENGTH_OF(bad); i++) {
        struct cidr c;
        CHECK_ROW(i, !cidr_parse(str_c(bad[i]), &c));
    }
}

static void socket_addresses_go_both_ways(void)
{
    static const struct {
        const char *host, *text; /* NULL: refused */
        int family;
        uint16_t port;
    } cases[] = {
        {"127.0.0.1", "127.0.0.1", AF_INET, 80},
        {"::1", "::1", AF_INET6, 443},
        {"[::1]", "::1", AF_INET6, 443},
        {"unix:/run/a.sock", "unix:", AF_UNIX, 0},
        {"unix:", NULL, 0, 0},
        {"example.com", NULL, 0, 0},
        {"", NULL, 0, 0},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct addr addr = {0};
        bool ok = addr_parse(str_c(cases[i].host), cases[i].port, &addr);
        char text[46];
        CHECK_ROW(i, ok == (cases[i].text != NULL));
        if (ok) {
            CHECK_STR(str_of(text, addr_text(&addr, text)), cases[i].text);
            CHECK_ROW(i, addr.sa.sa_family == cases[i].family && addr_port(&addr) == cases[i].port);
        }
    }
}

static void socket_addresses_give_their_ip(void)
{
    struct addr addr = {0};
    struct ip ip;
    char text[46];

    CHECK(!ip_from_addr(&addr, &ip) && addr_text(&addr, text) == 0 && addr_port(&addr) == 0);
    /* A dual-stack socket shows v4 clients as mapped addresses. */
    addr.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(9)};
    addr.len = sizeof(addr.in6);
    memcpy(&addr.in6.sin6_addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff\1\2\3\4", 16);
    CHECK(ip_from_addr(&addr, &ip) && ip.v4);
    CHECK_STR(str_of(text, addr_text(&addr, text)), "1.2.3.4");
    addr_from_ip(&addr, &ip, 8080);
    CHECK(addr.len == sizeof(addr.in) && addr_port(&addr) == 8080);
}

static void unix_paths_are_bounded(void)
{
    struct sockaddr_un un;
    char host[5 + sizeof(un.sun_path) + 1] = "unix:";
    struct addr addr;

    memset(host + 5, 'a', sizeof(un.sun_path));
    CHECK(!addr_parse(str_of(host, 5 + sizeof(un.sun_path)), 0, &addr));
    CHECK(addr_parse(str_of(host, 5 + sizeof(un.sun_path) - 1), 0, &addr));
    CHECK(addr.len == sizeof(un));
    CHECK(!addr_parse(STR("unix:/a\0b"), 0, &addr));
}

TESTS(T(addresses_are_read_and_written_canonically), T(blocks_hold_their_addresses),
      T(malformed_blocks_are_refused), T(socket_addresses_go_both_ways),
      T(socket_addresses_give_their_ip), T(unix_paths_are_bounded))
