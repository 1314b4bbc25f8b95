/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * h2: HTTP/2 on the wire (RFC 9113) without sockets: bytes in, events and bytes out. Either end of
 * a connection.
 *
 * Frames, stream states, windows and every bound are here; HPACK is libnghttp2's. Header blocks are
 * decoded as their bytes arrive, straight into the arena of the stream, and counted while they are:
 * nothing of the wire is kept. What is wrong with one stream resets it, what is wrong with the
 * connection ends it with a GOAWAY; the peer hears the codes of RFC 9113 7.
 *
 * How to use it: h2_read() in a loop until it says H2_NONE; write s->out whenever it holds
 * something (h2_take_out()). Streams are the owner's memory (embed struct h2_stream); the session
 * only knows which are open. One thread.
 */
#include "base/buf.h"
#include "proto/h1.h"

/* clang-format off */
#define H2_CODES(X) \
    X(NO_ERROR) X(PROTOCOL_ERROR) X(INTERNAL_ERROR) X(FLOW_CONTROL_ERROR) X(SETTINGS_TIMEOUT) \
    X(STREAM_CLOSED) X(FRAME_SIZE_ERROR) X(REFUSED_STREAM) X(CANCEL) X(COMPRESSION_ERROR) \
    X(CONNECT_ERROR) X(ENHANCE_YOUR_CALM) X(INADEQUATE_SECURITY) X(HTTP_1_1_REQUIRED)
/* clang-format on */
enum h2_code {
#define X(id) H2_##id,
    H2_CODES(X)
#undef X
};
/* "PROTOCOL_ERROR", for logs. */
const char *h2_code_text(unsigned code);

/* What a client says first. */
#define H2_PREFACE STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
/* Length of the head of a frame; the most its payload may be, both ways. */
#define H2_FRAME_HEAD 9
#define H2_FRAME_MAX 16384
/* More frames of one header block end the connection. */
#define H2_CONTINUATIONS 8
/* So do more entries in one SETTINGS frame. */
#define H2_SETTINGS_MAX 32
/* Bytes of s->out from which on the owner should write before it reads on: what the peer provokes
 * (acknowledgements, resets) never makes more than one read's worth. */
#define H2_OUT_HIGH 65536

/* Bounds of a connection; `head` must outlive it. Defaults are of config.yaml's weir section. */
struct h2_limits {
    /* of a head, trailers counted like one: head_bytes decoded (a field counts 32 bytes and its
     * text, as SETTINGS_MAX_HEADER_LIST_SIZE does), fields with each cookie crumb; high_bytes */
    const struct h1_limits *head;
    unsigned streams;       /* the peer may have open at once; 100 */
    uint32_t stream_window; /* bytes the peer may send ahead on a stream, at least 65535; 65536 */
    uint32_t window;        /* and on all of them together; 1 MB */
    /* Resets, by the peer or for its errors: so many at once, refilled by one with each stream that
     * ends well, and by 10 a second; 200. */
    unsigned resets;
    /* Frames that carry nothing (SETTINGS, PING, PRIORITY, RST_STREAM, WINDOW_UPDATE, empty
     * ones, unknown ones): so many at once, refilled by 4 with each stream and each frame of body
     * that is sent, by one with each 256 bytes of body either way, and by 10 a second; 1000. */
    unsigned control_frames;
    bool connect_protocol; /* server: offer RFC 8441 */
};

/* A stream, inside a struct of the owner; zeroed before it is given to the session. */
struct h2_stream {
    uint32_t id;
    bool open;                   /* the session knows it */
    bool recv_ended, send_ended; /* END_STREAM was seen, was sent */
    /* The head is there. What the answer to it must be instead of being served: 431 or 417 or 400;
     * 0: none (server). */
    bool has_head;
    int refuse;
    bool is_connect; /* server: extended CONNECT; protocol says which */
    struct arena *arena;
    /*
     * Server: method, method_id, target, path_query, authority (host_repeated_in_target: it came as
     * pseudo field and replaces Host), framing (H1_NO_BODY, H1_LENGTH, or H1_CHUNKED for a body of
     * unknown length), content_length, expect_continue, headers. Client: status, headers, framing
     * likewise. Pseudo fields are not in headers; cookie crumbs are one field. Text is in the
     * arena.
     */
    struct h1_head head;
    struct str scheme, protocol;
    struct headers trailers;
    enum http_method asked;           /* client: the method sent, as answers to HEAD have no body */
    int64_t send_window, recv_window; /* what we may send, what the peer may */
    uint32_t held,
        credit;        /* bytes the owner has not consumed yet, consumed but not told the peer */
    int64_t body_left; /* of a content-length; -1: none */
};

enum h2_event_type {
    H2_NONE,     /* all bytes are used */
    H2_OPEN,     /* server: the peer begins a stream; h2_accept() it, or it is refused */
    H2_HEAD,     /* stream->head is complete (client: interim ones too, has_head is false then) */
    H2_DATA,     /* a run of body, inside the bytes that were read; may be empty when it ends */
    H2_TRAILERS, /* stream->trailers are complete, and the stream's peer side has ended */
    H2_RESET,    /* the stream is forgotten: by the peer, or (ours) for what the peer sent */
    H2_WINDOW,   /* the stream, or NULL: all of them, may send (more) */
    H2_PONG,     /* the answer to h2_ping() */
    H2_GOING,    /* the peer sent a GOAWAY: its streams above last_id are not processed */
    H2_FAILED    /* the connection is over: write s->out, close. Repeated if read again */
};

struct h2_event {
    enum h2_event_type type;
    struct h2_stream *stream;
    struct str data;  /* H2_DATA */
    uint32_t last_id; /* H2_GOING */
    unsigned code;    /* H2_RESET, H2_GOING, H2_FAILED: enum h2_code, or what the peer invented */
    bool ours;        /* H2_RESET */
};

/* So many at once, refilled by what is useful and by 10 a second. */
struct h2_bucket {
    uint32_t left, max;
    int64_t refilled_ms;
};

#define H2_CLOSED 32 /* streams remembered when they are gone */

/* One connection. What is above the line may be read by the owner; `out` is its to take from. */
struct h2_session {
    struct buf out;
    bool is_client;
    bool failed;           /* after H2_FAILED */
    bool going;            /* the last GOAWAY was sent: no new streams of the peer */
    unsigned n_streams;    /* open now */
    uint64_t n_opened;     /* by the peer, ever */
    unsigned peer_streams; /* how many the peer lets us open at once (client) */
    bool peer_connect;     /* the peer offers RFC 8441 (client) */
    bool has_peer_settings;
    int64_t send_window; /* of the connection */
    const char *reason;  /* of a failure, for the log */
    /* ---- the session's own ---- */
    struct h2_limits limits;
    struct nghttp2_hd_inflater *inflater;
    struct nghttp2_hd_deflater *deflater;
    struct h2_stream **streams; /* open ones by ascending id */
    unsigned cap;
    uint32_t last_id; /* highest id of the peer's streams, open or not */
    uint32_t next_id; /* of our next one (client) */
    int64_t recv_window, peer_stream_window;
    uint32_t credit; /* to be given to the peer for the connection */
    uint32_t moved;  /* bytes of body not yet counted as useful */
    struct h2_bucket resets, control;
    struct {
        uint32_t id;
        bool by_us;
    } closed[H2_CLOSED];
    unsigned closed_next;
    struct {
        uint8_t stage, n; /* n bytes of what is being gathered are in text */
        uint8_t text[24];
        uint8_t type, flags, need, pad; /* need: bytes before the payload proper */
        uint32_t id, left;
        bool is_new;              /* it opens a stream */
        bool opens;               /* SETTINGS: windows */
        struct h2_stream *stream; /* NULL: what comes is skipped */
        int64_t since;
    } frame;
    struct {
        struct h2_stream *stream; /* NULL: decoded and forgotten */
        struct headers *into;
        uint32_t id;
        bool open, last, is_trailers, is_bad;
        unsigned seen; /* pseudo fields, and that they are over, by bit */
        unsigned frames, fields;
        size_t wire, size;  /* bytes as they came, decoded */
        unsigned cookie;    /* index + 1 of the Cookie field */
        size_t cookie_room; /* where its text may grow to */
    } block;
};

/* A session with its first SETTINGS (and the client's preface) in out. Freed by h2_free(). */
struct h2_session *h2_new(const struct h2_limits *limits, bool is_client);
void h2_free(struct h2_session *s);
/* What is to be written, all of it: out is empty then, and a new one begins with the next frame.
 * When it is written the buffer goes back, for the next connection. */
struct buf h2_take_out(struct h2_session *s);
void h2_return_out(struct buf *b);
/* Free what this thread keeps for sessions to come (thread end). */
void h2_thread_fini(void);

/*
 * Understand the next of *bytes, which moves on: one event. The event's data and stream are valid
 * until the next call. Bytes may be cut anywhere.
 */
enum h2_event_type h2_read(struct h2_session *s, struct str *bytes, struct h2_event *ev);
/* In the middle of a frame or header block: since when (now_ms() of the read that began it);
 * 0: not. Data frames do not count: their streams have their own limits. */
int64_t h2_pending_since(const struct h2_session *s);

/* Take the stream of an H2_OPEN; its texts will be in arena, which must live as long as it is
 * open. */
void h2_accept(struct h2_session *s, struct h2_stream *st, struct arena *arena);
/* n bytes of body need no memory any more: the peer may send as many. Of a stream that is gone the
 * session knows by itself. */
void h2_consumed(struct h2_session *s, struct h2_stream *st, size_t n);

/* ---- the way out: all of it goes to s->out ---- */

/*
 * The head of an answer (server). Interim ones are < 200 and not last. length < 0: unknown. What
 * may not stand in HTTP/2 (Connection and its like) is left out; names leave in lower case. 0, or
 * -EINVAL: a name or value has forbidden bytes, nothing was written.
 */
int h2_send_response(struct h2_session *s, struct h2_stream *st, int status,
                     const struct headers *h, int64_t length, bool last);
/* A request (client): opens the stream. Host fields of h are left out, authority stands for them.
 * protocol: of an extended CONNECT, else STR_NONE. 0, -EINVAL, or -EAGAIN: no stream may be opened
 * (any more). */
struct h2_request {
    struct str method, scheme, authority, path, protocol;
    const struct headers *headers;
    int64_t length; /* < 0: says nothing */
    bool last;
};
int h2_send_request(struct h2_session *s, struct h2_stream *st, struct arena *arena,
                    const struct h2_request *rq);
/* The last of a stream. 0 or -EINVAL. */
int h2_send_trailers(struct h2_session *s, struct h2_stream *st, const struct headers *h);
/* How much of n bytes of body the windows allow at this moment. */
size_t h2_room(const struct h2_session *s, const struct h2_stream *st, size_t n);
/* Write n bytes (h2_room() allows them) as frames, copied to out. */
void h2_send_data(struct h2_session *s, struct h2_stream *st, struct str data, bool last);
/* The same without copying: the head of one frame of n <= H2_FRAME_MAX bytes into head; the caller
 * writes out, head and payload, in this order and before anything that comes to out later. */
void h2_data_head(struct h2_session *s, struct h2_stream *st, char head[H2_FRAME_HEAD], size_t n,
                  bool last);
/* RST_STREAM unless both sides have ended, and forget it. Harmless on a stream that is not open. */
void h2_reset(struct h2_session *s, struct h2_stream *st, enum h2_code code);
/* Drain: tell the peer to open no more (both may be sent: first the warning, a round trip later,
 * see h2_ping(), the last word). */
void h2_goaway_soon(struct h2_session *s);
void h2_goaway(struct h2_session *s, enum h2_code code);
/* Ask for an H2_PONG. */
void h2_ping(struct h2_session *s);
