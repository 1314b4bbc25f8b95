/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunked bodies. Oracles: payload, trailers, error and the number of bytes used do not depend on
 * how the bytes are cut; payload encoded again is decoded to itself; framing never exceeds its cap.
 *
 * The first byte chooses the limits, the second how the bytes are cut.
 */
#include "fuzz.h"
#include "proto/h1.h"

struct outcome {
    char *data;
    size_t n, used;
    struct h1_chunked c;
};

static void decode(struct outcome *o, struct arena *a, const struct h1_limits *limits,
                   struct str bytes, size_t step)
{
    *o = (struct outcome){.data = arena_bytes(a, bytes.n + 1)};
    h1_chunked_init(&o->c, a, limits);
    while (o->used < bytes.n && !o->c.done) {
        const struct str in = str_head(str_skip(bytes, o->used), step);
        size_t used;
        struct str data;

        if (h1_chunked_feed(&o->c, in, &used, &data) != 0) {
            ORACLE(o->c.error != H1_OK && !o->c.done);
            return;
        }
        ORACLE(used > 0 && used <= in.n && data.n <= used);
        ORACLE(data.n == 0 || (data.p >= in.p && data.p + data.n <= in.p + used));
        memcpy(o->data + o->n, data.p, data.n);
        o->n += data.n;
        o->used += used;
    }
    ORACLE(o->c.framing <= 8 * o->c.payload + 4096 && o->c.payload == o->n);
}

static void same(const struct outcome *x, const struct outcome *y)
{
    ORACLE(x->c.error == y->c.error && x->c.done == y->c.done && x->c.left == y->c.left);
    ORACLE(x->c.error != H1_OK || x->used == y->used);
    ORACLE_SAME(str_of(x->data, x->n), str_of(y->data, y->n));
    ORACLE(x->c.trailers.n == y->c.trailers.n);
    for (unsigned i = 0; i < x->c.trailers.n; i++) {
        ORACLE_SAME(x->c.trailers.v[i].name, y->c.trailers.v[i].name);
        ORACLE_SAME(x->c.trailers.v[i].value, y->c.trailers.v[i].value);
    }
}

static void check_trailers(const struct headers *trailers)
{
    static const enum header_id forbidden[] = {H_TRANSFER_ENCODING,
                                               H_CONTENT_LENGTH,
                                               H_HOST,
                                               H_AUTHORIZATION,
                                               H_COOKIE,
                                               H_CONNECTION,
                                               H_TE};

    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
        ORACLE(headers_find(trailers, forbidden[i]) == NULL);
    }
    for (unsigned i = 0; i < trailers->n; i++) {
        ORACLE(header_name_is_valid(trailers->v[i].name) &&
               header_value_is_valid(trailers->v[i].value));
    }
}

/* The payload as one chunk of ours. */
static void check_round_trip(const struct outcome *o, struct arena *a,
                             const struct h1_limits *limits)
{
    char head[18];
    struct outcome again;
    struct str bytes = STR("0\r\n\r\n");

    if (o->n > 0) {
        bytes = arena_cat(
            a, arena_cat(a, str_of(head, h1_chunk_head(head, o->n)), str_of(o->data, o->n)),
            STR("\r\n0\r\n\r\n"));
    }
    decode(&again, a, limits, bytes, bytes.n);
    ORACLE(again.c.done && again.used == bytes.n);
    ORACLE_SAME(str_of(o->data, o->n), str_of(again.data, again.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) {
        return 0;
    }
    const struct h1_limits limits = {.head_bytes = data[0] & 1 ? 100 : 65536,
                                     .line_bytes = data[0] & 1 ? 40 : 16384,
                                     .fields = data[0] & 1 ? 3 : 200,
                                     .lax_lf = data[0] & 2};
    /* Of exact size, so that a read past the end is seen. */
    const struct str bytes = str_of(memcpy(malloc(size - 2), data + 2, size - 2), size - 2);
    struct arena *a = arena_new(8192);
    struct outcome whole, cut;

    decode(&whole, a, &limits, bytes, bytes.n);
    decode(&cut, a, &limits, bytes, 1 + data[1] % 16);
    same(&whole, &cut);
    check_trailers(&whole.c.trailers);
    if (whole.c.done) {
        check_round_trip(&whole, a, &limits);
    }
    arena_free(a);
    free((char *)bytes.p);
    return 0;
}
