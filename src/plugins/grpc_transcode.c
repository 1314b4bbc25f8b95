/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc-transcode: HTTP and JSON in front of a gRPC upstream.
 *
 * The members of a JSON body, the fields of a form or the query arguments fill the request message;
 * the message that comes back leaves as JSON. Schemas are `protos` of the Admin API. A call that
 * fails has the HTTP status that belongs to its gRPC status.
 *
 * Beyond the reference: the messages of a server stream leave one by one, as lines of JSON or as
 * events when the client asks for text/event-stream.
 */
#include "base/hash.h"
#include "base/log.h"
#include "config/snapshot.h"
#include "http/body_tree.h"
#include "plugin/grpc.h"
#include "plugin/plugin.h"
#include "proto/pb.h"

#include <errno.h>

/* The most of a request body that is taken; the reference's default for answers. */
#define BODY_MAX 67108864

/* Names and defaults make JSON longer than its message; so many times at most. */
#define JSON_LONGER 4

struct grpc_transcode_conf {
    const json_t *proto_id;
    struct str service, method, status_detail_type;
    double deadline;
    struct arr pb_option;
    bool show_status_in_body;
    int64_t max_resp_body_size;
    struct str proto, path, timeout; /* timeout STR_NONE: none */
    struct pb_format format;
};

/* clang-format off */
static const struct field grpc_transcode_fields[] = {
    F_JSON(struct grpc_transcode_conf, proto_id, .required = true,
           .raw = JSON({"anyOf": [
               {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-_.]+$"},
               {"type": "integer", "minimum": 1}
           ]}),
           .doc = "Id of the proto with the schema."),
    F_STR(struct grpc_transcode_conf, service, .required = true,
          .doc = "The service with its package."),
    F_STR(struct grpc_transcode_conf, method, .required = true, .doc = "The method."),
    F_NUM(struct grpc_transcode_conf, deadline, .def = "0",
          .doc = "Milliseconds the upstream is told it has; 0: any."),
    F_ARR(struct grpc_transcode_conf, pb_option,
          .item = &(const struct field){F_ITEM(FK_STR)},
          .raw = JSON({"type": "array", "minItems": 1,
              "items": {"type": "string", "anyOf": [
                  {"type": "string", "enum": ["enum_as_name", "enum_as_value"]},
                  {"type": "string",
                   "enum": ["int64_as_number", "int64_as_string", "int64_as_hexstring"]},
                  {"type": "string", "enum": ["auto_default_values", "no_default_values",
                                              "use_default_values", "use_default_metatable"]},
                  {"type": "string", "enum": ["enable_hooks", "disable_hooks"]}
              ]},
              "default": ["enum_as_name", "int64_as_number", "auto_default_values",
                          "disable_hooks"]}),
          .doc = "How messages are written as JSON."),
    F_BOOL(struct grpc_transcode_conf, show_status_in_body, .def = "false",
           .doc = "Write grpc-status-details-bin of a failed call into the body."),
    F_STR(struct grpc_transcode_conf, status_detail_type, .doc = "The message its details are."),
    F_INT(struct grpc_transcode_conf, max_resp_body_size, .def = "67108864", .min = 1,
          .doc = "The most an answer, or a message of a stream, may be, in bytes."),
    F_END,
};
/* clang-format on */

extern const struct plugin grpc_transcode_plugin;

/* ---- configuration ---- */

static int grpc_transcode_check(const json_t *conf, enum conf_use use, struct err *e)
{
    return pb_load(e);
}

static void take_option(struct pb_format *f, struct str option)
{
    static const struct {
        struct str name;
        size_t offset;
        unsigned value;
    } options[] = {
        {STR_INIT("int64_as_number"), offsetof(struct pb_format, int64), PB_INT64_NUMBER},
        {STR_INIT("int64_as_string"), offsetof(struct pb_format, int64), PB_INT64_STRING},
        {STR_INIT("int64_as_hexstring"), offsetof(struct pb_format, int64), PB_INT64_HEX},
        {STR_INIT("auto_default_values"), offsetof(struct pb_format, defaults), PB_DEFAULTS_AUTO},
        {STR_INIT("no_default_values"), offsetof(struct pb_format, defaults), PB_DEFAULTS_NONE},
        {STR_INIT("use_default_values"), offsetof(struct pb_format, defaults), PB_DEFAULTS_ALL},
        {STR_INIT("use_default_metatable"), offsetof(struct pb_format, defaults),
         PB_DEFAULTS_METATABLE},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (str_eq(option, options[i].name)) {
            *(unsigned *)(void *)((char *)f + options[i].offset) = options[i].value;
        }
    }
    if (str_starts(option, STR("enum_as_"))) {
        f->enum_as_value = str_eq(option, STR("enum_as_value"));
    }
}

static int grpc_transcode_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct grpc_transcode_conf *c = conf;

    c->proto =
        json_is_string(c->proto_id) ? json_str(c->proto_id) : json_text(p->arena, c->proto_id);
    c->path = arena_printf(p->arena, "/%.*s/%.*s", STR_ARG(c->service), STR_ARG(c->method));
    c->timeout = c->deadline > 0 ? arena_printf(p->arena, "%.0fm", ceil(c->deadline)) : STR_NONE;
    for (size_t i = 0; i < c->pb_option.n; i++) {
        take_option(&c->format, ((const struct str *)c->pb_option.v)[i]);
    }
    c->format.max = (size_t)c->max_resp_body_size * JSON_LONGER;
    return pb_load(e);
}

/* ---- between JSON and messages ---- */

/* One conversion; from so many bytes on another thread does it, as the core has other requests. */
#define OFFLOAD_BYTES (256 << 10)
struct conversion {
    const struct grpc_transcode_conf *conf;
    const struct pb_method *method;
    struct arena *arena;
    struct str in;
    bool in_is_json; /* else a form or query */
    struct str out;  /* STR_NONE: see e */
    struct err e;
};

static void to_message(void *arg)
{
    struct conversion *v = arg;
    json_t *input = v->in_is_json ? json_parse(v->in, &v->e) : body_form_tree(v->arena, v->in);
    if (input) {
        v->out = pb_encode(v->arena, v->method->input, input, GRPC_PREFIX, &v->e);
        json_decref(input);
    }
}

static void to_json(void *arg)
{
    struct conversion *v = arg;
    v->out = pb_decode(v->arena, v->method->output, v->in, &v->conf->format, &v->e);
}

static void await_conversion(void (*fn)(void *v), struct conversion *v)
{
    if (v->in.n < OFFLOAD_BYTES) {
        fn(v);
    } else if (await_offload(fn, v) < 0) {
        v->out = STR_NONE;
    }
}

/* ---- the request ---- */

/* A call on its way. */
struct call {
    const struct proto *proto;
    const struct pb_method *method;
    bool failed; /* the gRPC status has become the HTTP status; of a stream: it is over */
    /* of a stream: */
    bool streams, events; /* events: text/event-stream */
    struct grpc_frames frames;
    struct buf text;       /* what one run of body has become */
    struct arena *scratch; /* emptied with each run */
};

static bool has_json(const struct req *r)
{
    return (r->method_id == M_POST || r->method_id == M_PUT || r->method_id == M_PATCH) &&
           str_find(headers_get(&r->headers, H_CONTENT_TYPE), STR("application/json")) >= 0;
}

/* What the message is made of. */
static void take_input(const struct req *r, struct conversion *v)
{
    const bool json = has_json(r);
    v->in_is_json = json && r->body.n > 0;
    v->in = json || r->method_id == M_POST ? r->body : r->args;
}

static enum verdict refuse(struct req *r, int status, const char *what, const char *why)
{
    LOG_RATE(ERROR, "grpc-transcode: %s: %s, route: %.*s", what, why,
             STR_ARG(r->route ? r->route->o.id : STR("-")));
    return req_reply(r, status, STR_NONE);
}

static void ask_upstream(struct req *r, const struct grpc_transcode_conf *c, struct str message)
{
    r->up.method = STR("POST");
    r->up.uri = c->path;
    r->body = message;
    headers_set_id(&r->headers, H_CONTENT_TYPE, STR("application/grpc"));
    headers_del(&r->headers, STR("grpc-accept-encoding"));
    if (c->timeout.p) {
        headers_set(&r->headers, STR("grpc-timeout"), c->timeout);
    }
}

static enum verdict grpc_transcode_access(struct req *r, const void *conf)
{
    const struct grpc_transcode_conf *c = conf;
    const struct proto *proto = SNAP_FIND(r->snapshot, PROTO, proto, c->proto);

    if (proto == NULL) {
        LOG_RATE(ERROR, "grpc-transcode: failed to find proto by id: %.*s", STR_ARG(c->proto));
        return NEXT;
    }
    const struct pb_method *m = pb_method_find(proto->schema, c->service.p, c->method.p);
    if (m == NULL) {
        return refuse(r, 503, "undefined service method", c->path.p);
    }
    const int rc = req_await_body(r, BODY_MAX);
    if (rc < 0) {
        return refuse(r, rc == -EMSGSIZE ? 413 : 400, "request body", strerror(-rc));
    }
    struct conversion v = {.conf = c, .method = m, .arena = r->arena};
    take_input(r, &v);
    await_conversion(to_message, &v);
    if (v.out.p == NULL) {
        return refuse(r, 400, "failed to encode request data to protobuf", v.e.msg);
    }
    grpc_prefix((char *)(uintptr_t)v.out.p, 0, (uint32_t)(v.out.n - GRPC_PREFIX));
    struct call *call = req_ctx(r, &grpc_transcode_plugin, struct call);
    call->proto = proto;
    call->method = m;
    ask_upstream(r, c, v.out);
    return NEXT;
}

/* ---- the head of the answer ---- */

/* The HTTP status for a gRPC status. */
static int http_status(struct str status)
{
    static const int of[] = {200, 499, 500, 400, 504, 404, 409, 403, 429,
                             400, 409, 400, 501, 500, 503, 500, 401};
    uint64_t n;
    return str_to_u64(status, &n) && n < sizeof(of) / sizeof(of[0]) ? of[n] : 599;
}

static bool is_failure(struct str status)
{
    return status.p != NULL && !str_eq(status, STR("0"));
}

static void take_status(struct req *r, struct call *call)
{
    const struct str status = grpc_status(r);
    if (is_failure(status)) {
        call->failed = true;
        r->resp.status = http_status(status);
        r->resp.reason = STR_NONE;
    }
}

static void end_stream(void *arg)
{
    struct call *call = arg;
    buf_fini(&call->frames.part);
    buf_fini(&call->text);
    arena_free(call->scratch);
}

static void begin_stream(struct req *r, const struct grpc_transcode_conf *c, struct call *call)
{
    call->streams = true;
    call->events = headers_has_token(&r->headers, H_ACCEPT, STR("text/event-stream"));
    headers_set_id(&r->resp.headers, H_CONTENT_TYPE,
                   call->events ? STR("text/event-stream") : STR("application/x-ndjson"));
    call->frames.part.max = GRPC_PREFIX + (size_t)c->max_resp_body_size;
    call->text.max = SIZE_MAX;
    call->scratch = arena_new(4096);
    arena_on_reset(r->arena, end_stream, call);
}

static void grpc_transcode_header_filter(struct req *r, const void *conf)
{
    const struct grpc_transcode_conf *c = conf;
    struct call *call = req_ctx_get(r, &grpc_transcode_plugin);

    if (call == NULL || r->resp.source != FROM_UPSTREAM || r->resp.status >= 300) {
        return;
    }
    headers_set_id(&r->resp.headers, H_CONTENT_TYPE, STR("application/json"));
    r->resp.length = -1;
    take_status(r, call);
    if (!call->failed) {
        headers_set_id(&r->resp.headers, H_TRAILER, STR("grpc-status, grpc-message"));
    }
    if (call->method->server_streams && !call->failed) {
        begin_stream(r, c, call);
    } else {
        r->resp.buffer_body = true;
        r->resp.buffer_max = (uint64_t)c->max_resp_body_size;
    }
}

/* ---- the body: one message ---- */

static struct str not_decoded(struct req *r, const char *what, const char *why)
{
    LOG_RATE(ERROR, "grpc-transcode: %s: %s, route: %.*s", what, why,
             STR_ARG(r->route ? r->route->o.id : STR("-")));
    if (!r->resp.sent) {
        r->resp.status = 502;
        r->resp.reason = STR_NONE;
    }
    return str_c(what);
}

/* google.rpc.Status, in base64, which gRPC writes without padding. STR_NONE: there is none. */
static struct str status_details(struct req *r, struct arena *a,
                                 const struct grpc_transcode_conf *c, const struct call *call)
{
    const struct str field = grpc_field(r, STR("grpc-status-details-bin"));
    const struct pb_type *type = NULL;
    struct err e = {""};
    if (field.p == NULL) {
        return STR_NONE;
    }
    const struct str bytes = base64_decode(a, field);
    if (bytes.p == NULL) {
        return not_decoded(r, "grpc-status-details-bin is not base64 format", "");
    }
    if (c->status_detail_type.n) {
        type = pb_type_find(call->proto->schema, c->status_detail_type.p);
        if (type == NULL) {
            return not_decoded(r,
                               "failed to call pb.decode to decode details in "
                               "grpc-status-details-bin",
                               c->status_detail_type.p);
        }
    }
    const struct str text = pb_decode_status(a, type, bytes, &c->format, &e);
    return text.p ? text : not_decoded(r, "failed to decode grpc-status-details-bin", e.msg);
}

static void await_message(struct req *r, const struct grpc_transcode_conf *c, struct call *call,
                          struct body_run *b)
{
    struct grpc_frames frames = {.part = BUF_INIT(GRPC_PREFIX + (size_t)c->max_resp_body_size)};
    struct conversion v = {
        .conf = c, .method = call->method, .arena = r->arena, .in = STR(""), .out = STR_NONE};
    grpc_frames_feed(&frames, b->data);
    const int rc = grpc_frames_next(&frames, &v.in);
    if (rc == 1 || (rc == 0 && b->data.n == 0)) {
        await_conversion(to_json, &v);
    }
    b->data = v.out.p ? v.out
                      : not_decoded(r, "failed to decode response data by protobuf",
                                    rc < 0 ? strerror(-rc) : v.e.msg);
    buf_fini(&frames.part);
}

static void await_answer(struct req *r, const struct grpc_transcode_conf *c, struct call *call,
                         struct body_run *b)
{
    if (!call->failed) {
        take_status(r, call); /* the trailers have come, and the head is not out yet */
    }
    if (!call->failed) {
        await_message(r, c, call, b);
    } else if (c->show_status_in_body) {
        const struct str details = status_details(r, r->arena, c, call);
        b->data = details.p ? details : b->data;
    }
}

/* ---- the body: a stream of messages ---- */

static void add_line(struct call *call, const char *event, struct str json)
{
    if (call->events) {
        buf_printf(&call->text, "%sdata: %.*s\n\n", event, STR_ARG(json));
    } else {
        buf_printf(&call->text, "%.*s\n", STR_ARG(json));
    }
}

static void add_failure(struct call *call, struct str status, struct str message)
{
    uint64_t code = 2; /* UNKNOWN */
    str_to_u64(status, &code);
    json_t *text = json_stringn(message.n ? message.p : "", message.n);
    json_t *error = json_pack("{s:{s:I,s:o}}", "error", "code", (json_int_t)code, "message",
                              text ? text : json_null());
    add_line(call, "event: error\n", json_text(call->scratch, error));
    json_decref(error);
}

/* How the call ended is in the trailers, which readers of lines do not see. */
static void add_end(struct req *r, const struct grpc_transcode_conf *c, struct call *call)
{
    const struct str status = grpc_status(r);
    if (status.p == NULL) {
        add_failure(call, STR("2"), STR("upstream grpc status not received"));
    } else if (is_failure(status)) {
        const struct str details =
            c->show_status_in_body ? status_details(r, call->scratch, c, call) : STR_NONE;
        if (details.p) {
            add_line(call, "event: error\n", details);
        } else {
            const struct str message = grpc_field(r, STR("grpc-message"));
            add_failure(call, status, uri_decode(call->scratch, message, false));
        }
    }
}

/* All whole messages there are: 0, or what is wrong with the next one. */
static int await_messages(const struct grpc_transcode_conf *c, struct call *call, struct err *e)
{
    struct conversion v = {.conf = c, .method = call->method, .arena = call->scratch};
    int rc;
    while ((rc = grpc_frames_next(&call->frames, &v.in)) > 0) {
        await_conversion(to_json, &v);
        if (v.out.p == NULL) {
            return err_set(e, "%s", v.e.msg);
        }
        add_line(call, "", v.out);
    }
    return rc < 0 ? err_set(e, "%s", strerror(-rc)) : 0;
}

static void await_stream(struct req *r, const struct grpc_transcode_conf *c, struct call *call,
                         struct body_run *b)
{
    struct err e = {""};
    arena_reset(call->scratch);
    buf_reset(&call->text);
    grpc_frames_feed(&call->frames, b->data);
    if (await_messages(c, call, &e) < 0) {
        const struct str what = not_decoded(r, "failed to decode response data by protobuf", e.msg);
        add_failure(call, STR("13"), what);
        call->failed = true;
    } else if (b->last) {
        add_end(r, c, call);
    }
    b->data = buf_str(&call->text);
}

static void grpc_transcode_body_filter(struct req *r, const void *conf, struct body_run *b)
{
    struct call *call = req_ctx_get(r, &grpc_transcode_plugin);

    if (call == NULL || r->resp.source != FROM_UPSTREAM) {
        return;
    }
    if (!call->streams) {
        if (call->failed || r->resp.status < 300) {
            await_answer(r, conf, call, b);
        }
    } else if (call->failed) {
        b->data = STR("");
    } else {
        await_stream(r, conf, call, b);
    }
}

const struct plugin grpc_transcode_plugin = {
    .name = "grpc-transcode",
    .priority = 506,
    .version = "0.1",
    .conf_size = sizeof(struct grpc_transcode_conf),
    .fields = grpc_transcode_fields,
    .schema_extra = JSON({"additionalProperties": true}),
    .check = grpc_transcode_check,
    .prepare = grpc_transcode_prepare,
    .access = grpc_transcode_access,
    .header_filter = grpc_transcode_header_filter,
    .body_filter = grpc_transcode_body_filter,
};
