/* SPDX-License-Identifier: Apache-2.0 */
/* PROXY headers: what is taken, what is refused, and that never a byte too many is asked for. */
#include "proto/proxy_protocol.h"
#include "t.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\x01\x02\x03\x04\x05\x06\x07\x08\x9c\x40\x01\xbb" /* 1.2.3.4:40000 to 5.6.7.8:443 */
#define V6_A "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
#define V6_B "\0\0\0\0\0\0\0\0\0\0\xff\xff\x05\x06\x07\x08"

/* clang-format off */
#define ROW(text, ...) {STR_INIT(text), __VA_ARGS__}
static const struct {
    struct str bytes;
    int want;                                /* of the whole */
    const char *source, *destination;        /* NULL: no addresses */
    unsigned source_port, destination_port;
} rows[] = {
    ROW("PROXY TCP4 1.2.3.4 5.6.7.8 40000 443\r\n", 1, "1.2.3.4", "5.6.7.8", 40000, 443),
    ROW("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", 1, "255.255.255.255", "255.255.255.255", 65535, 65535),
    ROW("PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n", 1, "1.2.3.4", "5.6.7.8", 0, 0),
    ROW("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", 1, "2001:db8::1", "::1", 1, 2),
    ROW("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", 1,
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535, 65535),
    ROW("PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n", 1, "1.2.3.4", "::1", 1, 2),
    ROW("PROXY UNKNOWN\r\n", 1),
    ROW("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", 1),
    /* what is none */
    ROW("GET / HTTP/1.1\r\n", -1),
    ROW("PROXY TCP4 1.2.3.4 5.6.7.8 40000 443\n", -1),
    ROW("PROXY TCP4 1.2.3.4 5.6.7.8 40000 443 \r\n", -1),
    ROW("PROXY TCP4 1.2.3.4 5.6.7.8 40000\r\n", -1),
    ROW("PROXY TCP4 1.2.3.4  5.6.7.8 40000 443\r\n", -1),
    ROW("PROXY  TCP4 1.2.3.4 5.6.7.8 40000 443\r\n", -1),
    ROW("PROXY TCP4 1.2.3.4 5.6.7.8 65536 443\r\n", -1),
    ROW("PROXY TCP4 1.2.3.4 5.6.7.8 040 443\r\n", -1),
    ROW("PROXY TCP4 1.2.3.4 5.6.7.8 -1 443\r\n", -1),
    ROW("PROXY TCP4 ::1 5.6.7.8 1 2\r\n", -1),
    ROW("PROXY TCP6 1.2.3.4 ::1 1 2\r\n", -1),
    ROW("PROXY TCP6 [::1] ::1 1 2\r\n", -1),
    ROW("PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n", -1),
    ROW("PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", -1),
    ROW("PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", -1),
    ROW("proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n", -1),
    ROW("PROXY UNKNOWNX\r\n", -1),
    ROW("PROXY \r\nabcd\r\n", -1),
    ROW("PROXY UNKNOWN aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", -1),
    /* version 2 */
    ROW(SIGNATURE "\x21\x11\0\x0c" V4, 1, "1.2.3.4", "5.6.7.8", 40000, 443),
    ROW(SIGNATURE "\x21\x12\0\x0c" V4, 1, "1.2.3.4", "5.6.7.8", 40000, 443),
    ROW(SIGNATURE "\x21\x11\0\x14" V4 "\x04\0\x05hello", 1, "1.2.3.4", "5.6.7.8", 40000, 443),
    ROW(SIGNATURE "\x21\x21\0\x24" V6_A V6_B "\x00\x50\x00\x51", 1, "2001:db8::1", "5.6.7.8", 80, 81),
    ROW(SIGNATURE "\x20\0\0\0", 1),
    ROW(SIGNATURE "\x20\x11\0\x0c" V4, 1),
    ROW(SIGNATURE "\x21\0\0\0", 1),
    ROW(SIGNATURE "\x21\x10\0\x0c" V4, 1),
    ROW(SIGNATURE "\x21\x11\0\x0b" V4, -1),
    ROW(SIGNATURE "\x21\x21\0\x0c" V4, -1),
    ROW(SIGNATURE "\x21\x31\0\x0c" V4, -1),
    ROW(SIGNATURE "\x21\x41\0\x0c" V4, -1),
    ROW(SIGNATURE "\x21\x13\0\x0c" V4, -1),
    ROW(SIGNATURE "\x22\x11\0\x0c" V4, -1),
    ROW(SIGNATURE "\x11\x11\0\x0c" V4, -1),
    ROW(SIGNATURE "\x21\x11\x0f\xf1" V4, -1),
    ROW("\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c" V4, -1),
};
/* clang-format on */

static bool is_addr(const struct addr *a, const char *text, unsigned port)
{
    char got[46];
    return str_eq(str_of(got, addr_text(a, got)), str_c(text)) && addr_port(a) == port;
}

static void a_header_read_as_wanted_gives_what_it_says(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct proxy_header h;
        size_t n = 0, want = 0;
        int rc;
        while ((rc = proxy_parse(str_head(rows[i].bytes, n), &h, &want)) == 0 &&
               n < rows[i].bytes.n) {
            CHECK_ROW(i, want > 0);
            n += want;
        }
        CHECK_ROW(i, rc == rows[i].want);
        CHECK_ROW(i, rc < 0 || n == rows[i].bytes.n);
        CHECK_ROW(i, rc < 0 || h.has_addrs == (rows[i].source != NULL));
        if (rc > 0 && rows[i].source) {
            CHECK_ROW(i, is_addr(&h.source, rows[i].source, rows[i].source_port));
            CHECK_ROW(i, is_addr(&h.destination, rows[i].destination, rows[i].destination_port));
        }
    }
}

/* However the bytes come in: a beginning of a good header is never refused, and wants no more than
 * there is. */
static void each_beginning_wants_more_of_it(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t n = 0; rows[i].want > 0 && n < rows[i].bytes.n; n++) {
            struct proxy_header h;
            size_t want = 0;
            CHECK_ROW(i, proxy_parse(str_head(rows[i].bytes, n), &h, &want) == 0);
            CHECK_ROW(i, want > 0 && n + want <= rows[i].bytes.n);
        }
    }
}

TESTS(T(a_header_read_as_wanted_gives_what_it_says), T(each_beginning_wants_more_of_it))
