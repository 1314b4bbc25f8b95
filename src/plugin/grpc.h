/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * grpc: how gRPC puts messages into a body, for plugins that turn them into something else: each is
 * a byte of flags, four bytes of length, and the message.
 */
#include "base/buf.h"
#include "http/req.h"

#define GRPC_PREFIX 5
#define GRPC_COMPRESSED 0x01
#define GRPC_WEB_TRAILERS 0x80

/* The GRPC_PREFIX bytes before a message of n bytes. */
void grpc_prefix(char out[GRPC_PREFIX], unsigned flags, uint32_t n);

/* Messages out of runs of body that are cut anywhere. Zero it, but for part.max: the most a message
 * and its prefix may be; buf_fini(&f->part) when done. */
struct grpc_frames {
    struct buf part;  /* the beginning of a message whose rest is to come */
    struct str ahead; /* of the present run */
    size_t given;     /* bytes of part that were handed out */
};
void grpc_frames_feed(struct grpc_frames *f, struct str run);
/* The next whole message, valid until the next call: 1; 0: none; -EMSGSIZE, -ENOTSUP: compressed.
 */
int grpc_frames_next(struct grpc_frames *f, struct str *message);
/* Is a beginning left over? */
bool grpc_frames_partial(const struct grpc_frames *f);

/* gRPC-Web's base64: several encoded pieces may follow each other, each with its own padding.
 * STR_NONE: malformed. */
struct str grpc_web_text_decode(struct arena *a, struct str text);

/* grpc-status of the answer: of its trailers, else of its head; STR_NONE: none (yet). */
struct str grpc_status(const struct req *r);
/* A field of the same place. */
struct str grpc_field(const struct req *r, struct str name);
