/* SPDX-License-Identifier: Apache-2.0 */
/*
 * brotli: answers compressed with brotli (RFC 7932).
 *
 * Goes before gzip where the client takes both, as in the reference. There it compresses parts of
 * an answer (206) too, with a Content-Range that is wrong then; not here.
 */
#include "plugin/compress.h"
#include "plugin/plugin.h"

#include "base/assert.h"

#include <brotli/encode.h>

struct brotli_conf {
    struct compress_conf common;
    int64_t mode, comp_level, lgwin, lgblock;
};

static const struct field brotli_fields[] = {
    COMPRESS_FIELDS(struct brotli_conf, common),
    F_INT(struct brotli_conf, mode, .def = "0", .min = 0, .max = 2,
          .doc = "What is compressed: 0 anything, 1 text, 2 fonts."),
    F_INT(struct brotli_conf, comp_level, .def = "6", .min = 0, .max = 11,
          .doc = "0 is the fastest, 11 the smallest."),
    F_INT(struct brotli_conf, lgwin, .def = "19",
          .extra = JSON({"enum": [0, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24]}),
          .doc = "The window, as a power of two; 0: the library's choice."),
    F_INT(struct brotli_conf, lgblock, .def = "0",
          .extra = JSON({"enum": [0, 16, 17, 18, 19, 20, 21, 22, 23, 24]}),
          .doc = "The largest input block, as a power of two; 0: the library's choice."),
    F_END,
};

struct brotli {
    struct encoder e;
    BrotliEncoderState *state;
};

static bool brotli_is_for(int status)
{
    return status >= 200 && status != 204 && status != 206 && status != 304;
}

static struct encoder *brotli_begin(struct encoder *old, const void *conf)
{
    const struct brotli_conf *c = conf;
    struct brotli *b = compress_alloc(NULL, sizeof(*b));
    b->state = BrotliEncoderCreateInstance(compress_alloc, compress_free, NULL);
    ASSERT(b->state != NULL);
    BrotliEncoderSetParameter(b->state, BROTLI_PARAM_MODE, (uint32_t)c->mode);
    BrotliEncoderSetParameter(b->state, BROTLI_PARAM_QUALITY, (uint32_t)c->comp_level);
    if (c->lgwin) {
        BrotliEncoderSetParameter(b->state, BROTLI_PARAM_LGWIN, (uint32_t)c->lgwin);
    }
    BrotliEncoderSetParameter(b->state, BROTLI_PARAM_LGBLOCK, (uint32_t)c->lgblock);
    return &b->e;
}

static void brotli_put(struct encoder *e, struct str in, enum compress_step step)
{
    static const BrotliEncoderOperation operation[] = {
        BROTLI_OPERATION_PROCESS, BROTLI_OPERATION_FLUSH, BROTLI_OPERATION_FINISH};
    struct brotli *b = (struct brotli *)(void *)e;
    const uint8_t *next = (const uint8_t *)in.p;
    do {
        size_t no_room = 0, n = 0;
        BROTLI_BOOL ok = BrotliEncoderCompressStream(b->state, operation[step], &in.n, &next,
                                                     &no_room, NULL, NULL);
        ASSERT(ok);
        const uint8_t *out = BrotliEncoderTakeOutput(b->state, &n);
        buf_add(&e->out, str_of((const char *)out, n));
    } while (in.n > 0 || BrotliEncoderHasMoreOutput(b->state));
}

static void brotli_free(struct encoder *e)
{
    struct brotli *b = (struct brotli *)(void *)e;
    BrotliEncoderDestroyInstance(b->state);
    compress_free(NULL, b);
}

static const struct codec brotli_codec = {
    .token = STR_INIT("br"),
    .rank = 2,
    .is_for = brotli_is_for,
    .begin = brotli_begin,
    .put = brotli_put,
    .free = brotli_free,
};

static void brotli_header_filter(struct req *r, const void *conf)
{
    const struct brotli_conf *c = conf;
    compress_offer(r, &brotli_codec, &c->common, conf);
}

const struct plugin brotli_plugin = {
    .name = "brotli",
    .priority = 996,
    .version = "0.1",
    .off_by_default = true,
    .conf_size = sizeof(struct brotli_conf),
    .fields = brotli_fields,
    .header_filter = brotli_header_filter,
};
