/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Response heads. Oracles: the outcome does not depend on how the bytes are cut; what the writer
 * makes of an answer is read as the same answer with the same framing.
 *
 * The first byte chooses the switches and the request, the second where to cut.
 */
#include "fuzz.h"
#include "h1_run.h"

static void check_round_trip(const struct h1_head *h, struct arena *a,
                             const struct h1_limits *limits)
{
    struct h1_parser p;
    const size_t room = h1_response_head_room(h->reason, &h->headers);
    char *out = malloc(room);
    const size_t size = h1_write_response_head(out, h->minor, h->status, h->reason, &h->headers);

    ORACLE(size > 0 && size <= room);
    h1_parse_init(&p, a, limits, true);
    const int rc = h1_parse(&p, str_of(out, size));

    if (rc == 1) {
        ORACLE(p.head.bytes == size && p.head.status == h->status && p.head.framing == h->framing);
        ORACLE(p.head.keepalive == h->keepalive && p.head.content_length == h->content_length &&
               p.head.headers.n == h->headers.n);
        ORACLE_SAME(p.head.reason, h->reason);
        for (unsigned i = 0; i < h->headers.n; i++) {
            ORACLE_SAME(p.head.headers.v[i].name, h->headers.v[i].name);
            ORACLE_SAME(p.head.headers.v[i].value, h->headers.v[i].value);
        }
    } else {
        ORACLE(p.error == H1_HEAD_TOO_LARGE);
    }
    free(out);
}

static void check_framing(struct h1_parser *p, enum http_method method, bool asked_upgrade)
{
    const struct h1_head *h = &p->head;

    if (h1_response_framing(p, method, asked_upgrade) != 0) {
        ORACLE(h->status == 101 && !asked_upgrade);
        return;
    }
    ORACLE(h->framing != H1_TUNNEL || h->status == 101 ||
           (method == M_CONNECT && h->status / 100 == 2));
    ORACLE(h->framing != H1_TO_CLOSE || !h->keepalive);
    if (method == M_HEAD && h->status != 101) {
        ORACLE(h->framing == H1_NO_BODY);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum http_method methods[] = {M_GET, M_HEAD, M_CONNECT, M_OTHER};

    if (size < 3) {
        return 0;
    }
    const struct h1_limits limits = {.head_bytes = data[0] & 4 ? 300 : 65536,
                                     .line_bytes = data[0] & 4 ? 80 : 16384,
                                     .fields = data[0] & 4 ? 6 : 200,
                                     .lax_lf = data[0] & 1};
    const struct str bytes = str_of((const char *)data + 2, size - 2);
    struct arena *a = arena_new(8192);
    struct h1_run r;

    const struct str whole = run_cut(a, &limits, true, bytes, 0);

    ORACLE_SAME(whole, run_cut(a, &limits, true, bytes, (size_t)data[1] * bytes.n / 255));
    if (bytes.n < 400) {
        ORACLE_SAME(whole, run_cut(a, &limits, true, bytes, SIZE_MAX));
    }
    run_begin(&r, &limits, true);
    run_feed(&r, bytes);
    if (r.rc == 1) {
        check_round_trip(&r.parser.head, a, &limits);
        check_framing(&r.parser, methods[data[0] >> 3 & 3], data[0] & 32);
    }
    run_end(&r);
    arena_free(a);
    return 0;
}
