/* SPDX-License-Identifier: Apache-2.0 */
/* grpc: see grpc.h. */
#include "plugin/grpc.h"

#include "base/hash.h"

#include <errno.h>

void grpc_prefix(char out[GRPC_PREFIX], unsigned flags, uint32_t n)
{
    out[0] = (char)flags;
    out[1] = (char)(n >> 24);
    out[2] = (char)(n >> 16);
    out[3] = (char)(n >> 8);
    out[4] = (char)n;
}

static uint32_t length_of(const char *prefix)
{
    const unsigned char *p = (const unsigned char *)prefix + 1;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Bytes the message at s has with its prefix; 0: not known yet. */
static size_t frame_size(struct str s)
{
    return s.n < GRPC_PREFIX ? 0 : GRPC_PREFIX + (size_t)length_of(s.p);
}

void grpc_frames_feed(struct grpc_frames *f, struct str run)
{
    f->ahead = run;
}

/* Move bytes of the run behind the beginning that was kept, until there are want of them. */
static void complete(struct grpc_frames *f, size_t want)
{
    const struct str more = str_head(f->ahead, want > f->part.n ? want - f->part.n : 0);
    buf_add(&f->part, more);
    f->ahead = str_skip(f->ahead, more.n);
}

int grpc_frames_next(struct grpc_frames *f, struct str *message)
{
    if (f->given) {
        buf_reset(&f->part);
        f->given = 0;
    }
    if (f->part.n > 0) {
        complete(f, GRPC_PREFIX);
    }
    const struct str from = f->part.n > 0 ? buf_str(&f->part) : f->ahead;
    const size_t size = frame_size(from);
    if (size > f->part.max) {
        return -EMSGSIZE;
    }
    if (size > 0 && from.p[0] & GRPC_COMPRESSED) {
        return -ENOTSUP;
    }
    if (f->part.n == 0 && size > 0 && size <= f->ahead.n) {
        *message = str_skip(str_head(f->ahead, size), GRPC_PREFIX);
        f->ahead = str_skip(f->ahead, size);
        return 1;
    }
    complete(f, size ? size : GRPC_PREFIX);
    if (size == 0 || f->part.n < size) {
        return 0;
    }
    f->given = size;
    *message = str_skip(buf_str(&f->part), GRPC_PREFIX);
    return 1;
}

bool grpc_frames_partial(const struct grpc_frames *f)
{
    return f->part.n > f->given;
}

/* Up to and including the padding of the first piece. */
static struct str take_piece(struct str *rest)
{
    const ptrdiff_t pad = str_index(*rest, '=');
    size_t n = pad < 0 ? rest->n : (size_t)pad;
    while (n < rest->n && rest->p[n] == '=') {
        n++;
    }
    const struct str piece = str_head(*rest, n);
    *rest = str_skip(*rest, n);
    return piece;
}

struct str grpc_web_text_decode(struct arena *a, struct str text)
{
    char *out = arena_bytes(a, text.n + 1);
    size_t n = 0;
    while (text.n > 0) {
        const struct str bytes = base64_decode(a, take_piece(&text));
        if (bytes.p == NULL) {
            return STR_NONE;
        }
        memcpy(out + n, bytes.p, bytes.n);
        n += bytes.n;
    }
    return str_of(out, n);
}

struct str grpc_field(const struct req *r, struct str name)
{
    const struct str v = headers_get_name(&r->resp.trailers, name);
    return v.p ? v : headers_get_name(&r->resp.headers, name);
}

struct str grpc_status(const struct req *r)
{
    return grpc_field(r, STR("grpc-status"));
}
