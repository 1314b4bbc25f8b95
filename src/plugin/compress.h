/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * compress: content codings of answers (RFC 9110 8.4), what gzip and brotli share.
 *
 * A plugin offers its coding in its header filter. When all header filters have run the gateway
 * begins it, if the answer is still one to be coded, and puts each run of body through it behind
 * all body filters, so that these see plain text whatever their priority.
 *
 * Encoders belong to a thread. Those in use at the same time hold at most COMPRESS_BYTES and what
 * they take after they have begun; answers beyond go out as they are.
 */
#include "base/buf.h"
#include "http/req.h"
#include "schema/field.h"

#define COMPRESS_BYTES (64 << 20)

/* ---- the part of a conf that is common ---- */

struct compress_conf {
    const json_t *types;
    int64_t min_length;
    double http_version;
    bool vary;
};

#define COMPRESS_FIELDS(s, m)                                                                      \
    F_AS("types", s, m.types, .raw = COMPRESS_TYPES,                                               \
         .doc = "Content types of answers to compress; * for all."),                               \
        F_AS("min_length", s, m.min_length, .def = "20", .min = 1,                                 \
             .doc = "Answers known to be shorter are left alone."),                                \
        F_AS("http_version", s, m.http_version, .def = "1.1",                                      \
             .raw = JSON({"enum": [1.1, 1], "default": 1.1}),                                      \
             .doc = "The lowest version of HTTP a client must speak."),                            \
        F_AS("vary", s, m.vary, .doc = "Say `Vary: Accept-Encoding`.")
#define COMPRESS_TYPES                                                                             \
    JSON({                                                                                         \
        "anyOf": [                                                                                 \
            {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},         \
            {"enum": ["*"]}                                                                        \
        ],                                                                                         \
        "default": ["text/html"]                                                                   \
    })

/* ---- a coding ---- */

enum compress_step {
    COMPRESS_RUN,   /* more follows soon: the encoder may hold back what it likes */
    COMPRESS_FLUSH, /* nobody knows when more follows: what was put in must come out */
    COMPRESS_END
};

/* An encoder of one body: the first member of a codec's own struct. */
struct encoder {
    const struct codec *codec;
    struct encoder *next; /* while it is idle */
    struct buf out;
};

struct codec {
    struct str token; /* in Accept-Encoding and Content-Encoding */
    int rank;         /* of two that are offered the higher one is taken */
    bool (*is_for)(int status);
    /* An encoder as conf wants it; old is an idle one to begin anew, or NULL. */
    struct encoder *(*begin)(struct encoder *old, const void *conf);
    /* Append to e->out what comes out for in. */
    void (*put)(struct encoder *e, struct str in, enum compress_step step);
    void (*free)(struct encoder *e);
    bool can_begin_anew;
};

/* The memory of encoders, counted; not zeroed, never NULL. opaque is not looked at. */
void *compress_alloc(void *opaque, size_t n);
void compress_free(void *opaque, void *p);

/* ---- for plugins ---- */

/* In a header filter: r's answer is to be coded if c and the client allow it. conf goes to
 * codec->begin() and lives as long as r. */
void compress_offer(struct req *r, const struct codec *codec, const struct compress_conf *c,
                    const void *conf);

/* ---- for the gateway ---- */

/* All header filters have run: begin what was offered, and say so in the head; else r->resp.coding
 * is NULL from then on. */
void compress_begin(struct req *r);
/* A run of body, coded; valid until the next call. */
struct str compress_run(struct req *r, struct str data, enum compress_step step);
/* Free this thread's idle encoders (thread end). */
void compress_thread_fini(void);
