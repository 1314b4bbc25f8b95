/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* h2_priv: what the parts of the HTTP/2 session know of each other. */
#include "proto/h2.h"

#include <nghttp2/nghttp2.h>

/* clang-format off */
enum { F_DATA, F_HEADERS, F_PRIORITY, F_RST_STREAM, F_SETTINGS, F_PUSH_PROMISE, F_PING, F_GOAWAY,
       F_WINDOW_UPDATE, F_CONTINUATION, F_KNOWN };
/* clang-format on */
enum {
    FLAG_END_STREAM = 1,
    FLAG_ACK = 1,
    FLAG_END_HEADERS = 4,
    FLAG_PADDED = 8,
    FLAG_PRIORITY = 32
};
enum {
    SET_HEADER_TABLE_SIZE = 1,
    SET_ENABLE_PUSH,
    SET_MAX_CONCURRENT_STREAMS,
    SET_INITIAL_WINDOW_SIZE,
    SET_MAX_FRAME_SIZE,
    SET_MAX_HEADER_LIST_SIZE,
    SET_ENABLE_CONNECT_PROTOCOL = 8
};

#define H2_WINDOW_MAX 0x7fffffff
#define H2_WINDOW_START 65535
#define H2_TABLE_BYTES 4096 /* HPACK's dynamic tables, both ways */

static inline uint32_t h2_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ---- h2.c ---- */
/* A buffer for out, which has none. */
void h2_start_out(struct h2_session *s);
struct h2_stream *h2_find(const struct h2_session *s, uint32_t id);
void h2_open(struct h2_session *s, struct h2_stream *st, uint32_t id, struct arena *arena);
/* The stream is gone; by_us: we reset it, so the peer may not know yet. */
void h2_forget(struct h2_session *s, struct h2_stream *st, bool by_us);
void h2_remember(struct h2_session *s, uint32_t id, bool by_us);
/* Both sides have ended? Then it is gone, and it was useful. */
void h2_close_if_ended(struct h2_session *s, struct h2_stream *st);
bool h2_spend(struct h2_bucket *b);
/* n bytes of body went one way or the other. */
void h2_moved(struct h2_session *s, size_t n);
/* The connection is over. */
enum h2_event_type h2_fail(struct h2_session *s, struct h2_event *ev, enum h2_code code,
                           const char *reason);
/* The stream is reset for what the peer did; st NULL: nobody knows it any more. */
enum h2_event_type h2_stream_error(struct h2_session *s, struct h2_event *ev, uint32_t id,
                                   struct h2_stream *st, enum h2_code code);

/* ---- h2_fields.c: header blocks on their way in ---- */
void h2_block_start(struct h2_session *s, struct h2_stream *st, bool last);
/* Part of a block; final: its end was before. False: HPACK is broken. */
bool h2_block_decode(struct h2_session *s, struct str bytes, bool final);
/* The block is complete: is it a message? Fills the stream's head. */
bool h2_block_finish(struct h2_session *s);

/* ---- h2_write.c ---- */
void h2_write_frame_head(char *p, size_t n, uint8_t type, uint8_t flags, uint32_t id);
void h2_write_u32_frame(struct h2_session *s, uint8_t type, uint32_t id, uint32_t value);
void h2_write_settings(struct h2_session *s);
void h2_write_settings_ack(struct h2_session *s);
void h2_write_ping(struct h2_session *s, const uint8_t data[8], bool ack);
void h2_write_goaway(struct h2_session *s, uint32_t last_id, enum h2_code code);

/* ---- h2_mem.c ---- */
/* For libnghttp2: freed memory is kept for the next field. */
nghttp2_mem *h2_mem(void);
void h2_mem_fini(void);
