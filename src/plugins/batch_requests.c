/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch-requests: one POST that names a list of requests; the gateway makes them to itself, one
 * after the other, and answers with the list of their answers. An endpoint for public-api.
 *
 * Each part goes the way of any request, from the client's own address, whatever fields say
 * (http/inner.c). Fields and query of the batch, then the fields of the POST itself but for
 * Content-*, are added to those a part has. Each part has exactly one answer, in order: one that
 * fails or takes too long is a 504, and does not stop the others.
 */
#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"
#include "config/settings.h"
#include "fiber/fiber.h"
#include "http/client.h"
#include "http/server.h"
#include "plugin/refuse.h"
#include "schema/jschema.h"

#include <errno.h>

#define ANSWER_MAX ((size_t)64 << 20) /* all answers together, as text */

struct batch_requests_metadata {
    int64_t max_body_size, max_pipeline_items;
};

static const struct field batch_requests_metadata_fields[] = {
    F_INT(struct batch_requests_metadata, max_body_size, .def = "1048576", .min_excl = 0,
          .doc = "Bytes the body of a batch may have."),
    F_INT(struct batch_requests_metadata, max_pipeline_items, .def = "1000", .min_excl = 0,
          .doc = "Requests a batch may hold."),
    F_END,
};

static const struct field no_fields[] = {F_END};

extern const struct plugin batch_requests_plugin;

/* Of the body of a batch. */
static const char body_schema[] = JSON({
    "type": "object",
    "properties": {
        "query": {"type": "object"},
        "headers": {"type": "object"},
        "timeout": {"type": "integer", "minimum": 1, "default": 30000},
        "pipeline": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "version": {"type": "number", "enum": [1, 1.1], "default": 1.1},
                    "method": {
                        "type": "string",
                        "enum": [
                            "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT",
                            "TRACE", "PURGE"
                        ],
                        "default": "GET"
                    },
                    "path": {"type": "string", "minLength": 1},
                    "query": {"type": "object"},
                    "headers": {"type": "object"},
                    "body": {"type": "string"},
                    "ssl_verify": {"type": "boolean", "default": false}
                },
                "required": ["path"],
                "additionalProperties": false
            }
        }
    },
    "anyOf": [{"required": ["pipeline"]}]
});
static struct jschema *checked; /* made once, read by all cores */

static int batch_requests_init(const struct settings *s, struct err *e)
{
    json_t *schema = json_parse(str_c(body_schema), e);
    checked = schema ? jschema_new(schema, e) : NULL;
    json_decref(schema);
    return checked ? 0 : -1;
}

/* A batch on its way; in the arena of the request that brought it. */
struct batch {
    struct req *r;
    json_t *said; /* the body */
    int64_t timeout_ms;
    struct io io;        /* to this gateway; kept from part to part while it can be */
    struct arena *arena; /* of one part */
    struct buf body;     /* of its answer */
    struct buf out;
};

static void batch_fini(void *arg)
{
    struct batch *b = arg;
    io_close(&b->io);
    json_decref(b->said);
    arena_free(b->arena);
    buf_fini(&b->body);
    buf_fini(&b->out);
}

static struct batch *batch_new(struct req *r, json_t *said)
{
    struct batch *b = ARENA_NEW(r->arena, struct batch);
    *b = (struct batch){
        .r = r,
        .said = said,
        .timeout_ms = json_integer_value(json_get(said, "timeout")),
        .io = IO_CLOSED,
        .arena = arena_new(16384),
        .body = BUF_INIT(ANSWER_MAX),
        .out = BUF_INIT(ANSWER_MAX),
    };
    arena_on_reset(r->arena, batch_fini, b);
    return b;
}

/* ---- what a part asks for ---- */

/* Text of a value, as it stands in a field or a query; what has none (null, objects) is empty. */
static struct str text_of(struct arena *a, const json_t *v)
{
    if (json_is_string(v)) {
        return json_str(v);
    }
    return json_is_number(v) || json_is_boolean(v) ? json_text(a, v) : STR_NONE;
}

/* What belongs to one connection or frames one message is not handed on. */
static bool is_own(const struct headers *all, const struct header *h)
{
    return h->listed || h->id == H_CONTENT_LENGTH || h->id == H_EXPECT || h->id == H_TRAILER ||
           h1_is_hop_by_hop(all, h);
}

/* Fields of a map, unless there are some of that name; a list gives several. */
static void add_fields(struct arena *a, struct headers *to, const json_t *map)
{
    const char *key;
    json_t *v, *one;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)map, key, v) {
        const struct str name = arena_lower(a, str_c(key));
        const struct header h = {.name = name, .id = header_id_of(name)};
        if (headers_find_name(to, name) != NULL || is_own(to, &h)) {
            continue;
        }
        if (!json_is_array(v)) {
            headers_append(to, h.id, name, text_of(a, v));
        }
        json_array_foreach(v, i, one) {
            headers_append(to, h.id, name, text_of(a, one));
        }
    }
}

static void add_outer_fields(struct headers *to, const struct headers *outer)
{
    const unsigned own = to->n; /* several of one name all come along */
    for (unsigned i = 0; i < outer->n; i++) {
        const struct header *h = &outer->v[i];
        const struct headers had = {.v = to->v, .n = own, .present = to->present};
        if (!str_ieq(str_head(h->name, 8), STR("content-")) && !is_own(outer, h) &&
            headers_find_name(&had, h->name) == NULL) {
            headers_push(to, h);
        }
    }
}

static void fill_fields(const struct batch *b, const json_t *part, struct headers *to)
{
    const struct req *r = b->r;
    headers_init(to, b->arena, r->headers.n + 16);
    to->options_only = true;
    add_fields(b->arena, to, json_get(part, "headers"));
    add_fields(b->arena, to, json_get(b->said, "headers"));
    add_outer_fields(to, &r->headers);
    if (r->settings->real_ip_header.n) {
        headers_set(to, r->settings->real_ip_header, r->remote_addr);
    }
}

static void add_arg(struct arena *a, struct buf *to, const char *key, const json_t *v)
{
    if (json_is_false(v) || json_is_null(v)) {
        return;
    }
    buf_addc(to, memchr(to->p, '?', to->n) ? '&' : '?');
    buf_add(to, uri_encode_value(a, str_c(key)));
    if (!json_is_true(v)) {
        buf_addc(to, '=');
        buf_add(to, uri_encode_value(a, text_of(a, v)));
    }
}

static void add_args(struct arena *a, struct buf *to, const json_t *query, const json_t *but)
{
    const char *key;
    json_t *v, *one;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)query, key, v) {
        if (json_get(but, key) != NULL) {
            continue;
        }
        if (!json_is_array(v)) {
            add_arg(a, to, key, v);
        }
        json_array_foreach(v, i, one) {
            add_arg(a, to, key, one);
        }
    }
}

static struct str target_of(const struct batch *b, const json_t *part)
{
    struct buf text = BUF_INIT(ANSWER_MAX);
    const json_t *query = json_get(part, "query");
    buf_add(&text, json_str(json_get(part, "path")));
    add_args(b->arena, &text, query, NULL);
    add_args(b->arena, &text, json_get(b->said, "query"), query);
    const struct str target = arena_str(b->arena, buf_str(&text));
    buf_fini(&text);
    return target;
}

/* ---- one part ---- */

static int await_request(struct batch *b, const json_t *part, struct exchange *x)
{
    const struct str method = json_str(json_get(part, "method")),
                     body = json_str(json_get(part, "body"));
    const enum http_method m = http_method_of(method);
    const bool usual = m == M_POST || m == M_PUT || m == M_PATCH;
    struct headers fields;
    if (b->io.fd < 0) {
        int rc = server_open_inner(b->r, &b->io);
        if (rc < 0) {
            return rc;
        }
    }
    client_init(x, &b->io, b->arena, &b->r->server->limits, m);
    fill_fields(b, part, &fields);
    const struct client_request q = {.method = method,
                                     .target = target_of(b, part),
                                     .own = &fields,
                                     .body_length = body.p || usual ? (int64_t)body.n : -2,
                                     .body = body,
                                     .last = true};
    return client_await_request(x, &q, deadline_in(b->timeout_ms));
}

static int await_answer(struct batch *b, struct exchange *x)
{
    struct str run;
    int rc = client_await_response(x, NULL, NULL, b->timeout_ms);
    buf_reset(&b->body);
    while (rc >= 0 && (rc = client_await_body(x, &run, deadline_in(b->timeout_ms))) > 0) {
        buf_add(&b->body, run);
        rc = b->body.overflow ? -EMSGSIZE : rc;
    }
    return rc;
}

/* "name":"value", or a list of values where the name comes again. */
static void write_field(struct buf *out, const struct headers *all, unsigned i)
{
    const struct str name = all->v[i].name;
    unsigned n = 0;
    for (unsigned k = 0; k < all->n; k++) {
        n += str_ieq(all->v[k].name, name);
        if (k < i && str_ieq(all->v[k].name, name)) {
            return;
        }
    }
    buf_add(out, i ? STR(",") : STR(""));
    json_write_string(out, name);
    buf_add(out, n > 1 ? STR(":[") : STR(":"));
    for (unsigned k = i, left = n; k < all->n; k++) {
        if (str_ieq(all->v[k].name, name)) {
            json_write_string(out, all->v[k].value);
            buf_add(out, --left ? STR(",") : STR(""));
        }
    }
    buf_add(out, n > 1 ? STR("]") : STR(""));
}

static void write_answer(struct batch *b, const struct exchange *x)
{
    const struct h1_head *head = &x->parser.head;
    struct buf *out = &b->out;
    buf_printf(out, "{\"status\":%d,\"reason\":", head->status);
    json_write_string(out, head->reason);
    buf_add(out, STR(",\"headers\":{"));
    for (unsigned i = 0; i < head->headers.n; i++) {
        write_field(out, &head->headers, i);
    }
    buf_addc(out, '}');
    if (x->body.framing != H1_NO_BODY) {
        buf_add(out, STR(",\"body\":"));
        json_write_string(out, buf_str(&b->body));
    }
    buf_addc(out, '}');
}

static void write_failure(struct batch *b, size_t nth, int error)
{
    LOG_RATE(WARN, "batch-requests: no answer to part %zu: %s, client: %.*s", nth + 1,
             strerror(-error), STR_ARG(b->r->remote_addr));
    /* What no message can be made of never went out. */
    buf_add(&b->out, error == -EINVAL ? STR("{\"status\":400,\"reason\":\"malformed request\"}")
                                      : STR("{\"status\":504,\"reason\":\"upstream timeout\"}"));
}

static void await_part(struct batch *b, size_t nth, const json_t *part)
{
    struct exchange x;
    int rc = await_request(b, part, &x);
    rc = rc < 0 ? rc : await_answer(b, &x);
    if (rc < 0) {
        write_failure(b, nth, rc);
    } else {
        write_answer(b, &x);
    }
    b->out.overflow = b->out.overflow || rc == -EMSGSIZE;
    if (rc < 0 || !client_is_reusable(&x)) {
        io_close(&b->io);
    }
    arena_reset(b->arena);
}

/* ---- the batch ---- */

static enum verdict fail(struct req *r, int status, struct str text)
{
    headers_set_id(&r->resp.headers, H_CONTENT_TYPE, STR("application/json"));
    return req_reply_json1(r, status, "error_msg", text);
}

static enum verdict read_failed(struct req *r, int error, uint64_t max)
{
    if (error == -EMSGSIZE) {
        const uint64_t size = r->content_length > 0 ? (uint64_t)r->content_length
                              : r->body.p           ? r->body.n
                                                    : r->body_seen;
        return fail(r, 413,
                    arena_printf(r->arena,
                                 "request size %llu is greater than the maximum size %llu allowed",
                                 (unsigned long long)size, (unsigned long long)max));
    }
    return req_body_failed(r, error);
}

/* The body of a batch, checked, with defaults; NULL: answered. */
static json_t *batch_of(struct req *r, const struct batch_requests_metadata *m)
{
    struct err e = {0};
    if (r->body.n == 0) {
        fail(r, 400, STR("no request body, you should give at least one pipeline setting"));
        return NULL;
    }
    json_t *said = json_parse(r->body, &e);
    if (said == NULL) {
        fail(
            r, 400,
            arena_printf(r->arena, "invalid request body: %.*s, err: %s", STR_ARG(r->body), e.msg));
        return NULL;
    }
    if (jschema_check(checked, said, &e) == 0 &&
        (int64_t)json_array_size(json_get(said, "pipeline")) > m->max_pipeline_items) {
        err_set(&e,
                "property \"pipeline\" validation failed: expect array to have at most %lld items",
                (long long)m->max_pipeline_items);
    }
    if (err_is_set(&e)) {
        fail(r, 400, arena_printf(r->arena, "bad request body: %s", e.msg));
        json_decref(said);
        return NULL;
    }
    return said;
}

/* All parts; false when the client has gone meanwhile. */
static bool await_parts(struct batch *b)
{
    size_t i;
    json_t *part;
    server_watch_client(b->r, true);
    json_array_foreach(json_get(b->said, "pipeline"), i, part) {
        if (fiber_is_cancelled(fiber_self()) || b->out.overflow) {
            break;
        }
        buf_addc(&b->out, i ? ',' : '[');
        await_part(b, i, part);
    }
    server_watch_client(b->r, false);
    io_close(&b->io);
    buf_add(&b->out, STR("]\n"));
    return !fiber_is_cancelled(fiber_self());
}

static enum verdict batch_requests_answer(struct req *r)
{
    const struct batch_requests_metadata *m = plugin_metadata(r, &batch_requests_plugin);
    int rc = req_await_body(r, (uint64_t)m->max_body_size);
    if (rc < 0) {
        return read_failed(r, rc, (uint64_t)m->max_body_size);
    }
    json_t *said = batch_of(r, m);
    if (said == NULL) {
        return DONE;
    }
    struct batch *b = batch_new(r, said);
    if (!await_parts(b)) {
        r->client_gone = true;
    }
    if (b->out.overflow) {
        return fail(r, 500, STR("request failed: the answers are larger than 64 MiB"));
    }
    headers_set_id(&r->resp.headers, H_CONTENT_TYPE, STR("application/json"));
    return req_reply(r, 200, buf_str(&b->out));
}

static const struct endpoint batch_requests_endpoints[] = {
    {M_POST, "/apisix/batch-requests", "uri", batch_requests_answer},
    {0},
};

const struct plugin batch_requests_plugin = {
    .name = "batch-requests",
    .priority = 4010,
    .version = "0.1",
    .global_scope = true,
    .off_by_default = true,
    .fields = no_fields,
    .metadata_size = sizeof(struct batch_requests_metadata),
    .metadata_fields = batch_requests_metadata_fields,
    .endpoints = batch_requests_endpoints,
    .init = batch_requests_init,
};
