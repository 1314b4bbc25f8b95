/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies of gRPC-Web. Oracles: messages, what is left of one, and the error do not depend on how
 * the bytes are cut; what base64 gives is given by its own encoding too, and pieces that each
 * decode decode together to the same.
 *
 * The first byte chooses how the bytes are cut.
 */
#include "base/hash.h"
#include "fuzz.h"
#include "plugin/grpc.h"

#define MESSAGE_MAX 1000

struct outcome {
    struct buf messages;
    bool partial;
    int rc;
};

static void read_messages(struct outcome *o, struct str body, size_t step)
{
    struct grpc_frames f = {.part = BUF_INIT(MESSAGE_MAX)};
    struct str message;
    *o = (struct outcome){.messages = BUF_INIT(1 << 24)};
    while (body.n > 0 && o->rc >= 0) {
        grpc_frames_feed(&f, str_head(body, step));
        body = str_skip(body, step);
        while ((o->rc = grpc_frames_next(&f, &message)) > 0) {
            ORACLE(message.n + GRPC_PREFIX <= MESSAGE_MAX);
            buf_printf(&o->messages, "%zu:", message.n);
            buf_add(&o->messages, message);
        }
    }
    o->partial = o->rc == 0 && grpc_frames_partial(&f);
    buf_fini(&f.part);
}

static void check_frames(struct str body, size_t step)
{
    struct outcome whole, cut;
    read_messages(&whole, body, body.n + 1);
    read_messages(&cut, body, step);
    ORACLE(whole.rc == cut.rc && whole.partial == cut.partial);
    ORACLE_SAME(buf_str(&whole.messages), buf_str(&cut.messages));
    buf_fini(&whole.messages);
    buf_fini(&cut.messages);
}

static void check_text(struct arena *a, struct str text, size_t at)
{
    const struct str all = grpc_web_text_decode(a, text);
    if (all.p == NULL) {
        return;
    }
    ORACLE(all.n <= text.n / 4 * 3 + 2);
    ORACLE_SAME(grpc_web_text_decode(a, base64_encode(a, all)), all);
    const struct str one = base64_encode(a, str_head(all, at)),
                     two = base64_encode(a, str_skip(all, at));
    ORACLE_SAME(grpc_web_text_decode(a, arena_cat(a, one, two)), all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const struct str body = str_of((const char *)data + 1, size - 1);
    struct arena *a = arena_new(4096);
    check_frames(body, data[0] % 16 + 1);
    check_text(a, body, data[0]);
    arena_free(a);
    return 0;
}
