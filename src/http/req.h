/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * req: one request and its answer, as plugins and the gateway see them. The same whether it came
 * over HTTP/1.1 or another version; the wire code sits behind struct transport. Lives in the arena
 * of the fiber that serves it; one thread.
 */
#include "base/ip.h"
#include "config/object.h"
#include "event/await.h"
#include "proto/h1.h"
#include "proto/headers.h"

struct req;
struct server;
struct snapshot;
struct settings;

/* What carries a request: server.c, h2_server.c, later h3. All may park. 0 or a negative errno. */
struct transport {
    /* The next run of request body, lent until the next await. 1: data, 0: end (trailers, if any,
     * are in r->req_trailers), <0: error (-EMSGSIZE too large, -EPROTO malformed, -ETIMEDOUT too
     * slow). */
    int (*await_body)(struct req *r, struct str *data);
    /* Would await_body() return at once? NULL: nobody knows. */
    bool (*has_body)(const struct req *r);
    /* Head of the answer from r->resp (status, headers), with the first run of body when there is
     * one. Length, chunking and hop-by-hop fields are the transport's business: length < 0 means
     * unknown. */
    int (*await_head)(struct req *r, struct str body, bool last);
    int (*await_data)(struct req *r, struct str body, bool last);
    /* At most n bytes of body, the last ones not among them or length known, moved from a socket
     * without being looked at: > 0 moved, 0 end of stream. -ENOTSUP: nothing was moved, and only
     * await_data() can. NULL: it never can. */
    ptrdiff_t (*await_splice)(struct req *r, struct io *from, size_t n, int64_t deadline);
    /* An informational answer (100, 103 ...) with the headers given. */
    int (*await_interim)(struct req *r, int status, const struct headers *h);
    /* Cut visibly: what was sent must not look complete. */
    void (*abort)(struct req *r);
    /* r->local may be the wildcard of a listener: make it the address itself. */
    void (*find_local)(struct req *r);
    /* Many answers may share a connection, which keeps what of them waits for the client. There are
     * so many that it could be too much; wait until more may be read. NULL: never. */
    bool (*is_crowded)(struct req *r);
    int (*await_room)(struct req *r);
    /* server_io(), server_watch_client() */
    struct io *(*take_over)(struct req *r, struct str *ahead);
    void (*watch_client)(struct req *r, bool on);
};

enum resp_source {
    FROM_NONE,
    FROM_GATEWAY,     /* plugin or core made it */
    FROM_PROXY_ERROR, /* connect, timeout ... */
    FROM_UPSTREAM
};

struct coding;
struct io;

/* A connection with a PROXY header (proto/proxy_protocol.h). */
struct proxied_conn {
    struct addr sender;      /* the socket's other end */
    struct addr destination; /* where the client wanted to go */
};

/* Who gets a copy of the request: parts of a conf, valid as long as the request. */
struct mirror {
    struct str host; /* STR_NONE: nobody; no brackets */
    uint16_t port;
    bool tls;
    struct str uri; /* path?query */
};

/* What plugins may change about the request to the upstream; gateway/ reads it when it connects. */
struct upstream_request {
    struct str method; /* STR_NONE: the client's */
    /* path?query to send, already encoded; STR_NONE: the client's raw path and query */
    struct str uri;
    struct str host;                  /* Host to send; STR_NONE: by pass_host */
    const struct upstream_conf *conf; /* chosen by traffic-split; NULL: by route and service */
    size_t gather; /* bytes of the body that are gathered before the upstream is asked */
    struct mirror mirror;
};

/* clang-format off: to it, try is C++ */
/* One try at an upstream, for logs and variables. */
struct
try {
    struct addr addr;
    const struct upstream_node *node;           /* valid for the request */
    int status;                                 /* of the answer; 502 / 504 when there was none */
    int64_t start_us;                           /* monotonic */
    int64_t connect_us, header_us, response_us; /* since start_us; -1: did not come to it */
    uint64_t received;
};
/* clang-format on */

struct req {
    struct arena *arena;
    const struct transport *transport;
    struct server *server; /* that took it */
    void *conn;            /* the transport's */
    void *core;            /* gateway's struct core; NULL on the control thread */
    const struct settings *settings;
    const struct snapshot *snapshot;
    struct fiber *fiber;

    /* ---- the request as it came ---- */
    struct str method;
    enum http_method method_id;
    unsigned major, minor;
    struct str target;         /* raw path and query: $real_request_uri */
    struct str bad_line;       /* the first line of what was no request, else STR_NONE */
    struct str raw_path, args; /* of target; args without '?' */
    bool has_args;             /* there was a '?' */
    /* normalised, decoded path: $uri; plugins match on it and may replace it (req_set_uri) */
    struct str uri;
    /* what routing uses: uri unless an option of config.yaml says otherwise */
    struct str match_uri;
    struct str host;        /* lower case, no port, no final dot: $host */
    struct str host_header; /* Host as sent: $http_host */
    struct str host_port;   /* the digits behind its colon, STR_NONE or empty without */
    /* request headers; what is here when the upstream head is written goes out */
    struct headers headers;
    struct headers req_trailers;
    struct str scheme;    /* http, https */
    const struct io *tls; /* the client's connection when it is encrypted, else NULL */
    /* the other end: of the socket, or as a PROXY header has said; the connection's */
    const struct addr *peer;
    const struct proxied_conn *proxied; /* who has said so; NULL: nobody */
    struct ip client;                   /* after real-ip */
    bool client_unix;
    char remote_addr_text[46];
    struct str remote_addr; /* points at the text */
    uint16_t remote_port;
    uint16_t server_port;
    const struct addr *local; /* this end; find_local() makes it exact */
    uint64_t bytes_in;        /* request head and body as they came over the wire */
    int64_t content_length;   /* -1: chunked or none said */
    bool has_body, keepalive, upgrade, expect_continue;
    uint64_t max_body; /* 0: none; client_max_body_size */
    /* the whole body once req_await_body() has returned 0; STR_NONE before */
    struct str body;
    bool is_talk;   /* the body comes whenever the client has something to say (gRPC): no pace is
                       asked */
    bool body_read; /* all of the body has been taken from the transport */
    /* why req_await_body() has lost what it had read: there is no whole body any more */
    int body_error;
    uint64_t body_seen;

    /* ---- where it goes ---- */
    const struct route *route;
    const struct service *service;
    const struct plugin_config *plugin_config;
    const struct consumer *consumer;
    const struct credential *credential;
    const struct consumer_group *consumer_group;
    struct str matched_uri, matched_host; /* the route's patterns that matched */
    struct headers *uri_params;           /* :name values (router with parameters); NULL: none */
    struct upstream_request up;
    const struct upstream_conf *upstream; /* chosen */
    struct try *tries;                    /* in the arena; grown by req_add_try() */
    unsigned n_tries;
    struct str upstream_host; /* the Host that went out: $upstream_host */
    struct str upstream_uri;

    /* ---- the answer ---- */
    struct {
        int status;             /* 0: none yet */
        struct str reason;      /* STR_NONE: the standard one */
        struct headers headers; /* Content-Length is in `length`, not here */
        int64_t length;         /* -1: unknown */
        struct str body;        /* of a gateway-made answer */
        enum resp_source source;
        bool sent;    /* the head is out */
        bool no_body; /* HEAD, 204, 304 */
        /* replace the empty body of a >= 400 answer (or redirect) by the standard page when it goes
         * out */
        bool html;
        uint64_t bytes_sent; /* head and body */
        uint64_t body_bytes_sent;
        /* set by a header_filter whose body_filter wants the whole body in one run */
        bool buffer_body;
        uint64_t buffer_max; /* then: the most it may be, in bytes; more cuts the answer */
        struct headers trailers;
        struct coding *coding; /* the body's on its way out (plugin/compress.h); NULL: none */
        bool unbuffered;       /* each run goes out by itself, however soon the next one follows */
    } resp;
    bool is_reply; /* a phase answered: no proxying */

    /* ---- bookkeeping ---- */
    int64_t start_us; /* monotonic, first byte of the request */
    int64_t start_wall_us;
    int64_t apisix_us;             /* time outside the upstream; set for the log phase */
    struct str request_id;         /* $request_id / $apisix_request_id; made on first use */
    void **plugin_ctx;             /* a slot a plugin, by registry index */
    struct chain *chain, *globals; /* merged plugins (plugin/chain.h), held */
    struct str rate_limiting_info; /* what limit-count leaves for the log */
    struct {                       /* what the client sent before the gateway wrote its own */
        struct str x_forwarded_for, x_forwarded_proto, x_forwarded_host, x_forwarded_port,
            forwarded;
    } original;
    /* of `_meta.filter`, by registry index and chain: 0 unknown, 1 run, 2 skip */
    uint8_t *filter_results;
    struct body_tree *body_tree;   /* what variables found in the body; NULL: not asked for yet */
    const struct graphql *graphql; /* the same */
    bool client_gone;
};

/* ---- for plugins ---- */

enum verdict { NEXT, DONE };

/* Answer with body (borrowed until the request ends; STR_NONE: no body, then the standard HTML page
 * when status >= 400). Content-Type text/plain; charset=utf-8 unless a header says otherwise.
 * Always DONE. */
enum verdict req_reply(struct req *r, int status, struct str body);
/* The same with a JSON object text and a newline, as the reference sends tables. {"key":"value"}
 * with value escaped. */
enum verdict req_reply_json1(struct req *r, int status, const char *key, struct str value);
/* A refusal: the reason goes to the error log with route and plugin; the client gets
 * {"message":text}. */
enum verdict req_fail(struct req *r, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The $variable by compiled name; see http/vars.c for all of them. */
struct value req_var(struct req *r, const struct var *v);
/* Its text, "" when missing. For use at build time compile once with var_compile(); this is for
 * one-off names. */
struct str req_var_text(struct req *r, struct str name);

/* Replace the normalised path (and the query, unless args is STR_NONE) that goes upstream; encoded
 * canonically. */
void req_set_uri(struct req *r, struct str uri, struct str args);
/* The first query argument `name`; .p NULL: not there; has_value says whether there was a '='.
 * Value percent-decoded in the arena. */
struct str req_arg(struct req *r, struct str name, bool *has_value);
/* A cookie's value, STR_NONE when absent. Case-sensitive. */
struct str req_cookie(struct req *r, struct str name);
/* The whole request body, at most max bytes (0: the configured limit): r->body. 0, -EMSGSIZE, or
 * another error. May park. */
int req_await_body(struct req *r, uint64_t max);
/* An error of reading the body in the words of a client: 413, 408, 400. */
enum verdict req_body_failed(struct req *r, int error);
/* The request id: 32 hex digits unless request-id set another. */
struct str req_id(struct req *r);
/* Percent-encode as the reference does for paths (keeps / and what RFC 3986 allows unencoded) / for
 * values (all but unreserved). */
struct str uri_encode_path(struct arena *a, struct str s);
struct str uri_encode_value(struct arena *a, struct str s);
/* %XX decoding; plus: '+' is a blank. Bad escapes stay as they are. */
struct str uri_decode(struct arena *a, struct str s, bool plus);

/* A new, zeroed entry at the end of r->tries. Earlier pointers into it are stale. */
struct try *req_add_try(struct req *r);

/* ---- for servers (admin, control, metrics) and the gateway ---- */
/* Send r->resp as it stands with its body. 0 or an error. */
int req_await_send_reply(struct req *r);
/* The HTML page of an error, as nginx words it with the gateway's name. */
struct str req_error_page(struct arena *a, int status);
