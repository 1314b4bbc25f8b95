/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames and header blocks of HTTP/2, as server and as client. Oracles: the outcome does not depend
 * on how the bytes are cut; what becomes a message could be one of HTTP/1.1; a body is as long as
 * its head said; windows add up; what a peer provokes and what is held for it are bounded.
 *
 * The first byte chooses the role and the limits, the second how the bytes are cut. A server gets
 * its preface unless the first byte says otherwise.
 */
#include "fuzz.h"
#include "h2_run.h"

static struct h1_limits heads;
static struct h2_limits limits;

static void choose(uint8_t how)
{
    heads = (struct h1_limits){.head_bytes = how & 1 ? 512 : 65536,
                               .line_bytes = how & 1 ? 64 : 16384,
                               .fields = how & 1 ? 8 : 200,
                               .high_bytes = how & 2};
    limits = (struct h2_limits){.head = &heads,
                                .streams = how & 1 ? 3 : 100,
                                .stream_window = 65535,
                                .window = how & 4 ? 65535 : 1 << 20,
                                .resets = how & 1 ? 5 : 200,
                                .control_frames = how & 1 ? 20 : 1000,
                                .connect_protocol = how & 2};
}

static struct h2_run *run(uint8_t how, struct str bytes, size_t step)
{
    struct h2_run *r = run_new(&limits, how & 8);
    /* Tokens come back with time, which the two runs must not see. */
    r->s->resets.refilled_ms = r->s->control.refilled_ms = INT64_MAX / 2000;
    r->keep_bodies = how & 16;
    if (how & 8) {
        struct headers none;
        headers_init(&none, r->arena, 0);
        for (int i = 0; i < 3; i++) {
            const struct h2_request rq = {.method = i == 1 ? STR("HEAD") : STR("GET"),
                                          .scheme = STR("http"),
                                          .authority = STR("a"),
                                          .path = STR("/"),
                                          .headers = &none,
                                          .length = -1,
                                          .last = i < 2};
            ORACLE(h2_send_request(r->s, &r->streams[r->n++].s, r->arena, &rq) == 0);
        }
    } else if (!(how & 32)) {
        struct buf start = {.max = 1000};
        put_start(&start);
        run_feed(r, buf_str(&start), 1000);
        buf_fini(&start);
    }
    run_feed(r, bytes, step);
    return r;
}

static void check_fields(const struct headers *h)
{
    static const enum header_id never[] = {H_CONNECTION, H_TRANSFER_ENCODING, H_UPGRADE,
                                           H_KEEP_ALIVE, H_PROXY_CONNECTION};
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        ORACLE(headers_find(h, never[i]) == NULL);
    }
    ORACLE(h->n <= heads.fields);
    for (unsigned i = 0; i < h->n; i++) {
        ORACLE(header_name_is_valid(h->v[i].name) && header_value_is_valid(h->v[i].value));
    }
}

/* What HTTP/1.1 writes of it can be read again. */
static void check_request(const struct h2_stream *st, struct arena *a)
{
    const struct h1_head *h = &st->head;
    const struct h1_limits wide = {1 << 20, 1 << 20, 1000, false, true};
    struct h1_parser p;
    struct headers own;
    if (h->method_id == M_CONNECT) {
        return;
    }
    headers_init(&own, a, 1);
    headers_add_id(&own, H_HOST, h->authority);
    char *out = arena_bytes(a, H1_LINE_ROOM + h->method.n + h->path_query.n + h1_fields_room(&own) +
                                   h1_fields_room(&h->headers) + H1_END_ROOM);
    struct h1_out o = h1_out_request(out, h->method, h->path_query);
    h1_put_fields(&o, &own, 0);
    h1_put_fields(&o, &h->headers, H1_BIT(H_HOST) | H1_BIT(H_TE) | H1_BIT(H_HTTP2_SETTINGS));
    const size_t n = h1_put_end(&o);
    ORACLE(n > 0);
    h1_parse_init(&p, a, &wide, false);
    ORACLE(h1_parse(&p, str_of(out, n)) == 1);
    ORACLE_SAME(p.head.method, h->method);
    ORACLE_SAME(p.head.target, h->path_query);
    ORACLE_SAME(p.head.authority, h->authority);
}

static void check_stream(struct h2_run *r, const struct run_stream *q)
{
    const struct h2_stream *st = &q->s;
    if (!st->has_head || st->refuse) {
        return;
    }
    check_fields(&st->head.headers);
    check_fields(&st->trailers);
    if (!r->s->is_client) {
        check_request(st, r->arena);
    }
    if (st->recv_ended && st->head.framing == H1_LENGTH) {
        ORACLE(q->n == st->head.content_length);
    }
    ORACLE(!st->open || st->held == (r->keep_bodies ? q->n : 0));
}

static void check(struct h2_run *r)
{
    uint64_t held = 0;
    for (unsigned i = 0; i < r->n; i++) {
        check_stream(r, &r->streams[i]);
        held += r->streams[i].s.held;
    }
    ORACLE(r->s->n_streams <= limits.streams);
    ORACLE(r->s->out.n <= H2_OUT_HIGH);
    ORACLE(r->s->failed || r->s->frame.left > 0 ||
           r->s->recv_window + r->s->credit + (int64_t)held == (int64_t)limits.window);
    ORACLE(arena_held(r->arena) < 40 << 20);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) {
        return 0;
    }
    choose(data[0]);
    /* Of exact size, so that a read past the end is seen. */
    const struct str bytes = str_of(memcpy(malloc(size - 2), data + 2, size - 2), size - 2);
    struct h2_run *whole = run(data[0], bytes, bytes.n);
    struct h2_run *cut = run(data[0], bytes, 1 + data[1] % 16);
    check(whole);
    check(cut);
    run_say(whole);
    run_say(cut);
    ORACLE_SAME(buf_str(&whole->text), buf_str(&cut->text));
    run_free(whole);
    run_free(cut);
    free((char *)bytes.p);
    return 0;
}
