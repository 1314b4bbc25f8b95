/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * h1: the HTTP/1.1 wire format (RFC 9112) without sockets: heads, chunked bodies, and their
 * spelling on the way out.
 *
 * Strict: what RELIABILITY's framing classes call MUST or BAR is refused, never repaired.
 * Incremental: feed the same growing buffer again; work already done is not repeated, and the
 * outcome does not depend on how the bytes were cut. Errors are found as early as the offending
 * byte allows (a bare LF is refused at once, not at a timeout).
 */
#include "base/str.h"
#include "proto/headers.h"

/* clang-format off */
#define H1_ERRORS(X) \
    X(BAD_REQUEST_LINE, 400, "malformed request line") \
    X(BAD_METHOD, 400, "malformed method") \
    X(BAD_TARGET, 400, "malformed request target") \
    X(BAD_VERSION, 505, "unsupported HTTP version") \
    X(URI_TOO_LONG, 414, "request line too long") \
    X(BAD_LINE_END, 400, "bare CR or LF") \
    X(BAD_FIELD_NAME, 400, "malformed field name") \
    X(BAD_FIELD_VALUE, 400, "malformed field value") \
    X(OBS_FOLD, 400, "folded field line") \
    X(HEAD_TOO_LARGE, 431, "head too large") \
    X(TOO_MANY_FIELDS, 431, "too many fields") \
    X(BAD_HOST, 400, "missing, repeated or malformed Host") \
    X(BAD_CONTENT_LENGTH, 400, "malformed or conflicting Content-Length") \
    X(BAD_TRANSFER_ENCODING, 400, "malformed Transfer-Encoding") \
    X(UNKNOWN_TRANSFER_CODING, 501, "unknown transfer coding") \
    X(CL_AND_TE, 400, "both Content-Length and Transfer-Encoding") \
    X(BAD_EXPECT, 417, "unknown expectation") \
    X(BAD_UPGRADE, 400, "malformed Upgrade") \
    X(BAD_STATUS_LINE, 502, "malformed status line") \
    X(BAD_CHUNK_SIZE, 400, "malformed chunk size") \
    X(BAD_CHUNK_END, 400, "malformed chunk end") \
    X(BAD_CHUNK_EXT, 400, "malformed chunk extension") \
    X(CHUNK_OVERHEAD, 400, "too much chunk framing") \
    X(BAD_TRAILER, 400, "malformed trailer") \
    X(TRUNCATED, 400, "message cut short")
/* clang-format on */
enum h1_error {
    H1_OK,
#define X(id, status, text) H1_##id,
    H1_ERRORS(X)
#undef X
};
/* The status a client gets for it, and words for the log. */
int h1_error_status(enum h1_error e);
const char *h1_error_text(enum h1_error e);

/* Defaults 64 KB, 16 KB, 200: weir.head_bytes, weir.line_bytes, weir.fields in config.yaml. lax_lf:
 * a bare LF may end a line of the head; high_bytes: 0x80..0xff in targets pass. */
struct h1_limits {
    unsigned head_bytes, line_bytes, fields;
    bool lax_lf, high_bytes;
};

enum h1_framing {
    H1_NO_BODY, /* nothing follows */
    H1_LENGTH,  /* content_length bytes, which may be 0 */
    H1_CHUNKED,
    H1_TO_CLOSE, /* responses only */
    H1_TUNNEL    /* 101 to an upgrade that was asked, 2xx to CONNECT */
};

/* clang-format off */
#define HTTP_METHODS(X) \
    X(GET) X(HEAD) X(POST) X(PUT) X(DELETE) X(PATCH) X(OPTIONS) X(CONNECT) X(TRACE) \
    X(PURGE) X(COPY) X(LOCK) X(MKCOL) X(MOVE) X(PROPFIND) X(UNLOCK)
/* clang-format on */
enum http_method {
    M_OTHER,
#define X(m) M_##m,
    HTTP_METHODS(X)
#undef X
};
enum http_method http_method_of(struct str name);

/* A parsed head; slices point into the buffer that was fed. */
struct h1_head {
    /* request */
    struct str method, target; /* target: the raw bytes of the request line */
    enum http_method method_id;
    struct str authority; /* absolute-form: its authority, else the Host value; may be empty for 1.0
                             without Host */
    struct str path_query; /* the part of the target from the path on: "/a?b"; "*" for OPTIONS *;
                              for CONNECT the authority. An absolute-form without path gives "/", or
                              "*" when the method is OPTIONS */
    size_t path_n;         /* the bytes of path_query before its first '?' */
    bool host_repeated_in_target; /* absolute-form: authority replaces Host */
    bool path_is_made;            /* path_query is a literal or in the arena, not in the buffer */
    /* response */
    int status;
    struct str reason;
    /* both */
    unsigned minor; /* 0 or 1 */
    bool keepalive; /* persistence of RFC 9112 9.3 from version and Connection */
    bool expect_continue;
    bool upgrade; /* Connection lists upgrade and Upgrade is there (never h2c) */
    enum h1_framing framing;
    uint64_t content_length;
    struct headers headers; /* all of them; hop-by-hop ones too */
    size_t bytes;           /* length of the head, blank line included */
};

/* Parser state, made by h1_parse_init. */
struct h1_parser {
    struct h1_head head;
    const struct h1_limits *limits;
    const char *base; /* the buffer of the last feed: slices are moved when it changes */
    size_t pos;       /* parsed up to here */
    size_t scanned;   /* looked at up to here */
    size_t line;      /* where the current line began */
    unsigned skipped_crlf;
    uint8_t state;
    bool is_response;
    enum h1_error error;
};

void h1_parse_init(struct h1_parser *p, struct arena *a, const struct h1_limits *limits,
                   bool is_response);
/*
 * Feed all bytes received so far (the buffer may have moved and grown; its start must be the start
 * of the message). 1: the head is complete, p->head.bytes long. 0: more is needed. -1: p->error
 * says why. A complete head that is fed again from another buffer only has its slices moved; do
 * that before its headers are changed.
 */
int h1_parse(struct h1_parser *p, struct str bytes);
/*
 * After a response head is complete: its framing, given the request (RFC 9112 6.3): HEAD, 1xx, 204,
 * 304, 101 to our upgrade, 2xx to CONNECT. 0, or -1 with p->error (CL and TE together, bad length:
 * the answer is a 502).
 */
int h1_response_framing(struct h1_parser *p, enum http_method request_method, bool asked_upgrade);
/* host[:port] as it may stand in Host or :authority: a reg-name or an IPv6 literal, no userinfo,
 * port 0..65535 or empty. */
bool h1_authority_is_valid(struct str s);

/* ---- chunked ---- */
struct h1_chunked {
    uint8_t state;
    uint64_t left;             /* data bytes of this chunk still to come */
    uint64_t payload, framing; /* for the overhead cap: framing > 8 x payload + 4 KB is refused */
    unsigned ext_bytes, hex_digits;
    bool done;
    enum h1_error error;
    struct headers trailers; /* allowed ones only (no framing, routing, auth names: RFC 9110 6.5.1);
                                in the arena */
    struct arena *arena;
    const struct h1_limits *limits;
    char *line; /* a trailer line being collected, in the arena */
    unsigned line_n, line_cap, trailer_bytes, trailer_fields;
};
void h1_chunked_init(struct h1_chunked *c, struct arena *a, const struct h1_limits *limits);
/*
 * Decode from in: *used bytes were consumed, *data is a run of payload inside in (may be empty).
 * Call again with the rest until used == in.n or done. 0, or -1 with c->error.
 */
int h1_chunked_feed(struct h1_chunked *c, struct str in, size_t *used, struct str *data);
/* "1f4\r\n" into out[18]; its length. A chunk is: this, data, CRLF. */
size_t h1_chunk_head(char out[18], uint64_t n);

/* ---- the way out: one canonical spelling ---- */
/*
 * A head being written: a first line, fields (their framing is the caller's business), the blank
 * line. Whatever a text's origin, it is checked here: one that may not stand where it is put makes
 * the whole head fail. The caller has seen to the room: H1_LINE_ROOM for each first line and what
 * its texts have, h1_field_room() for each field, H1_END_ROOM once.
 */
struct h1_out {
    char *start, *p;
    bool bad;
};
enum { H1_LINE_ROOM = sizeof("HTTP/1.1 200 \r\n") - 1, H1_END_ROOM = 2 + 16 };
static inline size_t h1_field_room(struct str name, struct str value)
{
    return name.n + value.n + sizeof(": \r\n") - 1;
}
/* What all of them need. */
size_t h1_fields_room(const struct headers *h);
/* Begin in out with `METHOD target HTTP/1.1` / `HTTP/1.minor status reason`. */
struct h1_out h1_out_request(char *out, struct str method, struct str target);
struct h1_out h1_out_response(char *out, unsigned minor, int status, struct str reason);
/* One field of a known name, in its usual spelling. */
void h1_put_field(struct h1_out *o, enum header_id id, struct str value);
/* All fields but those whose bit (1 << id) is in drop and those that are `listed`. */
void h1_put_fields(struct h1_out *o, const struct headers *h, uint64_t drop);
/* The blank line: the bytes of the head, 0 when something may not stand in it. */
size_t h1_put_end(struct h1_out *o);

/* A whole head of these: the room it needs, and the bytes of it, or 0. */
size_t h1_response_head_room(struct str reason, const struct headers *h);
size_t h1_write_response_head(char *out, unsigned minor, int status, struct str reason,
                              const struct headers *h);
/* The standard reason phrase, "" when unknown. */
struct str http_reason(int status);
/* The bits (1 << id) of the hop-by-hop fields (RFC 9110 7.6.1), framing by chunks included. */
#define H1_BIT(id) ((uint64_t)1 << (id))
#define H1_HOP_BY_HOP                                                                              \
    (H1_BIT(H_CONNECTION) | H1_BIT(H_HTTP2_SETTINGS) | H1_BIT(H_KEEP_ALIVE) |                      \
     H1_BIT(H_PROXY_AUTHENTICATE) | H1_BIT(H_PROXY_AUTHORIZATION) | H1_BIT(H_PROXY_CONNECTION) |   \
     H1_BIT(H_TE) | H1_BIT(H_TRANSFER_ENCODING) | H1_BIT(H_UPGRADE))
/* Is this one of them, or listed in Connection? Framing fields and Host are never so by a client's
 * listing. */
bool h1_is_hop_by_hop(const struct headers *h, const struct header *f);
