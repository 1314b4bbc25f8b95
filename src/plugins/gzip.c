/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip: answers compressed with gzip (RFC 1952).
 *
 * As in the reference the answers are those with a page of their own: 200, 403 and 404.
 */
#include "plugin/compress.h"
#include "plugin/plugin.h"

#include "base/assert.h"

#include <zlib.h>

/* Of deflateInit2(): the largest window, with the head and end of gzip; zlib's usual memory. */
enum { GZIP_WINDOW = 15 + 16, MEMORY_LEVEL = 8 };
#define OUT_MIN 512

struct gzip_conf {
    struct compress_conf common;
    int64_t comp_level;
};

#define BUFFERS                                                                                    \
    JSON({                                                                                         \
        "type": "object",                                                                          \
        "properties": {                                                                            \
            "number": {"type": "integer", "minimum": 1, "default": 32},                            \
            "size": {"type": "integer", "minimum": 1, "default": 4096}                             \
        },                                                                                         \
        "default": {"number": 32, "size": 4096}                                                    \
    })

static const struct field gzip_fields[] = {
    COMPRESS_FIELDS(struct gzip_conf, common),
    F_INT(struct gzip_conf, comp_level, .def = "1", .min = 1, .max = 9,
          .doc = "1 is the fastest, 9 the smallest."),
    F_ONLY("buffers", .raw = BUFFERS, .doc = "Taken and not needed: output is sent as it comes."),
    F_END,
};

struct gzip {
    struct encoder e;
    z_stream z;
};

static void *zalloc(void *opaque, unsigned n, unsigned size)
{
    return compress_alloc(opaque, (size_t)n * size);
}

static bool gzip_is_for(int status)
{
    return status == 200 || status == 403 || status == 404;
}

static struct encoder *gzip_begin(struct encoder *old, const void *conf)
{
    const struct gzip_conf *c = conf;
    struct gzip *g = (struct gzip *)(void *)old;
    if (g) {
        deflateReset(&g->z);
        deflateParams(&g->z, (int)c->comp_level, Z_DEFAULT_STRATEGY);
        return old;
    }
    g = compress_alloc(NULL, sizeof(*g));
    *g = (struct gzip){.z = {.zalloc = zalloc, .zfree = compress_free}};
    int rc = deflateInit2(&g->z, (int)c->comp_level, Z_DEFLATED, GZIP_WINDOW, MEMORY_LEVEL,
                          Z_DEFAULT_STRATEGY);
    ASSERT(rc == Z_OK);
    return &g->e;
}

static void gzip_put(struct encoder *e, struct str in, enum compress_step step)
{
    static const int flush[] = {Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH};
    struct gzip *g = (struct gzip *)(void *)e;
    g->z.next_in = (Bytef *)(uintptr_t)in.p;
    g->z.avail_in = (uInt)in.n;
    do {
        /* What it compresses to is not known: half of it, then more. */
        g->z.avail_out = (uInt)(in.n / 2 + OUT_MIN);
        g->z.next_out = (Bytef *)buf_reserve(&e->out, g->z.avail_out);
        int rc = deflate(&g->z, flush[step]);
        ASSERT(rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR);
        e->out.n = (size_t)((char *)g->z.next_out - e->out.p);
    } while (g->z.avail_out == 0);
}

static void gzip_free(struct encoder *e)
{
    struct gzip *g = (struct gzip *)(void *)e;
    deflateEnd(&g->z);
    compress_free(NULL, g);
}

static const struct codec gzip_codec = {
    .token = STR_INIT("gzip"),
    .rank = 1,
    .is_for = gzip_is_for,
    .begin = gzip_begin,
    .put = gzip_put,
    .free = gzip_free,
    .can_begin_anew = true,
};

static void gzip_header_filter(struct req *r, const void *conf)
{
    const struct gzip_conf *c = conf;
    compress_offer(r, &gzip_codec, &c->common, conf);
}

const struct plugin gzip_plugin = {
    .name = "gzip",
    .priority = 995,
    .version = "0.1",
    .conf_size = sizeof(struct gzip_conf),
    .fields = gzip_fields,
    .header_filter = gzip_header_filter,
};
