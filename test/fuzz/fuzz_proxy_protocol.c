/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PROXY headers. Oracles: what is wanted is bounded and never behind the header; the outcome does
 * not depend on how the bytes are cut; addresses are IP addresses.
 *
 * The first byte chooses how the bytes are cut.
 */
#include "fuzz.h"
#include "proto/proxy_protocol.h"

/* As a server reads it, at most step bytes at a time. */
static int read_header(struct str bytes, size_t step, struct proxy_header *h, size_t *n)
{
    size_t want;
    int rc;

    *n = 0;
    while ((rc = proxy_parse(str_head(bytes, *n), h, &want)) == 0) {
        ORACLE(want > 0 && *n + want <= PROXY_HEADER_MAX);
        if (*n == bytes.n) {
            break;
        }
        *n += want < step ? want : step;
        *n = *n < bytes.n ? *n : bytes.n;
    }
    return rc;
}

static void check_addr(const struct addr *a)
{
    struct ip ip;
    char text[46];

    ORACLE(ip_from_addr(a, &ip) && addr_text(a, text) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header whole, cut;
    size_t n, m;

    if (size < 1) {
        return 0;
    }
    /* Of exact size, so that a read past the end is seen. */
    char *copy = memcpy(malloc(size), data + 1, size - 1);
    const struct str bytes = str_of(copy, size - 1);
    const int rc = read_header(bytes, SIZE_MAX, &whole, &n);
    ORACLE(rc < 0 || read_header(bytes, 1 + data[0] % 8, &cut, &m) == rc);
    if (rc > 0) {
        ORACLE(n == m && whole.has_addrs == cut.has_addrs);
    }
    if (rc > 0 && whole.has_addrs) {
        check_addr(&whole.source);
        check_addr(&whole.destination);
        ORACLE(memcmp(&whole.source.room, &cut.source.room, whole.source.len) == 0);
    }
    free(copy);
    return 0;
}
