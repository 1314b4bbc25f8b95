/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * headers: the fields of one message (RFC 9110 5), in the order they came, names as they were
 * spelled.
 *
 * Names that the gateway itself looks at have an id, found once when the field is parsed or added,
 * so that later look-ups compare integers. Lives in an arena; slices point into the receive buffer
 * or the arena.
 */
#include "base/arena.h"

/* Known names, lower case. The order is of no meaning. */
/* clang-format off */
#define HEADER_IDS(X) \
    X(ACCEPT, "accept") X(ACCEPT_ENCODING, "accept-encoding") \
    X(ACCEPT_LANGUAGE, "accept-language") \
    X(ACCESS_CONTROL_REQUEST_HEADERS, "access-control-request-headers") \
    X(ACCESS_CONTROL_REQUEST_METHOD, "access-control-request-method") X(AGE, "age") \
    X(ALLOW, "allow") X(APIKEY, "apikey") X(AUTHORIZATION, "authorization") \
    X(CACHE_CONTROL, "cache-control") X(CONNECTION, "connection") \
    X(CONTENT_ENCODING, "content-encoding") X(CONTENT_LENGTH, "content-length") \
    X(CONTENT_TYPE, "content-type") X(COOKIE, "cookie") X(DATE, "date") X(ETAG, "etag") \
    X(EXPECT, "expect") X(EXPIRES, "expires") X(FORWARDED, "forwarded") X(HOST, "host") \
    X(HTTP2_SETTINGS, "http2-settings") X(IF_MODIFIED_SINCE, "if-modified-since") \
    X(IF_NONE_MATCH, "if-none-match") X(KEEP_ALIVE, "keep-alive") \
    X(LAST_MODIFIED, "last-modified") X(LOCATION, "location") X(ORIGIN, "origin") \
    X(PROXY_AUTHENTICATE, "proxy-authenticate") X(PROXY_AUTHORIZATION, "proxy-authorization") \
    X(PROXY_CONNECTION, "proxy-connection") X(RANGE, "range") X(REFERER, "referer") \
    X(SERVER, "server") X(SET_COOKIE, "set-cookie") X(TE, "te") X(TRAILER, "trailer") \
    X(TRANSFER_ENCODING, "transfer-encoding") X(UPGRADE, "upgrade") X(USER_AGENT, "user-agent") \
    X(VARY, "vary") X(VIA, "via") X(WWW_AUTHENTICATE, "www-authenticate") \
    X(X_API_KEY, "x-api-key") X(X_CONSUMER_CUSTOM_ID, "x-consumer-custom-id") \
    X(X_CONSUMER_USERNAME, "x-consumer-username") \
    X(X_CREDENTIAL_IDENTIFIER, "x-credential-identifier") X(X_FORWARDED_FOR, "x-forwarded-for") \
    X(X_FORWARDED_HOST, "x-forwarded-host") X(X_FORWARDED_PORT, "x-forwarded-port") \
    X(X_FORWARDED_PROTO, "x-forwarded-proto") X(X_REAL_IP, "x-real-ip") \
    X(X_REQUEST_ID, "x-request-id")
enum header_id {
    H_OTHER, /* not in the list: compare names */
#define X(id, name) H_##id,
    HEADER_IDS(X)
#undef X
    H_COUNT
};
/* clang-format on */

struct header {
    struct str name, value; /* value without surrounding blanks */
    enum header_id id;
    bool listed;   /* set by who received it: Connection names it, so it is not forwarded */
    bool received; /* as parsed: value follows name in memory, with ": " between; both were checked
                    */
};

struct headers {
    struct header *v;
    unsigned n, cap;
    bool options_only; /* of a parsed message: Connection lists no fields, only options, or they
                          are marked `listed` */
    uint64_t present;  /* bit of each id that was ever added: what is not there is not looked for */
    struct arena *arena; /* where v and added text live */
};

/* The id of a name in any letter case, H_OTHER when it has none. A perfect hash: no allocation, a
 * few nanoseconds. */
enum header_id header_id_of(struct str name);
/* The canonical lower-case name of an id. */
struct str header_name(enum header_id id);
/* The name as it is usually spelled on the wire: "Content-Type". */
struct str header_spelling(enum header_id id);

void headers_init(struct headers *h, struct arena *a, unsigned cap);
/* Was a field with this id added (and perhaps deleted since)? */
static inline bool headers_may_have(const struct headers *h, enum header_id id)
{
    return h->present >> id & 1;
}
/* The first field with this id / name, NULL when there is none. */
struct header *headers_find(const struct headers *h, enum header_id id);
struct header *headers_find_name(const struct headers *h, struct str name);
/* The value of the first, STR_NONE when there is none. */
struct str headers_get(const struct headers *h, enum header_id id);
struct str headers_get_name(const struct headers *h, struct str name);
/* More room for fields, in the arena. */
void headers_grow(struct headers *h);
/* Append a field whose id is known to be that of its name. */
static inline void headers_append(struct headers *h, enum header_id id, struct str name,
                                  struct str value)
{
    if (h->n == h->cap) {
        headers_grow(h);
    }
    h->present |= (uint64_t)1 << id;
    h->v[h->n++] = (struct header){.name = name, .value = value, .id = id};
}
/* Append. name and value must live as long as the arena (use arena_str). */
void headers_add(struct headers *h, struct str name, struct str value);
/* The same for a known name, in its usual spelling: no look-up. */
void headers_add_id(struct headers *h, enum header_id id, struct str value);
/* Append a copy of a field of another message (same rule of lifetime); its id is known already. */
static inline void headers_push(struct headers *h, const struct header *f)
{
    headers_append(h, f->id, f->name, f->value);
    h->v[h->n - 1].received = f->received;
}
/* Replace the first and drop the others, or append. */
void headers_set(struct headers *h, struct str name, struct str value);
void headers_set_id(struct headers *h, enum header_id id, struct str value);
/* Remove all of this name; how many went. */
unsigned headers_del(struct headers *h, struct str name);
unsigned headers_del_id(struct headers *h, enum header_id id);
/* Does the comma-separated list value contain token (case-insensitive)? Over all fields with this
 * id. */
bool headers_has_token(const struct headers *h, enum header_id id, struct str token);

/* May these bytes stand in a field name (token, RFC 9110 5.6.2) / in a field value (no control
 * bytes but HTAB)? Every value that leaves passes this, wherever it came from. */
bool header_name_is_valid(struct str name);
bool header_value_is_valid(struct str value);
