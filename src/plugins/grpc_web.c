/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc-web: calls of browsers (gRPC-Web, binary or base64) for a gRPC upstream.
 *
 * A browser cannot read trailers: they follow the messages as one more frame. The path is what
 * stands behind the prefix of the route, as the reference has it; preflight requests and CORS
 * fields are answered here too.
 */
#include "base/hash.h"
#include "base/log.h"
#include "plugin/grpc.h"
#include "plugin/plugin.h"

#include <errno.h>

struct grpc_web_conf {
    struct str cors_allow_headers;
    int64_t max_req_body_size;
};

static const struct field grpc_web_fields[] = {
    F_STR(struct grpc_web_conf, cors_allow_headers,
          .def = "\"content-type,x-grpc-web,x-user-agent\"",
          .doc = "Access-Control-Allow-Headers of the answer to a preflight request."),
    F_INT(struct grpc_web_conf, max_req_body_size, .def = "67108864", .min = 1,
          .doc = "The most a request body may be, in bytes."),
    F_END,
};

extern const struct plugin grpc_web_plugin;

/* A call on its way. */
struct call {
    struct str type; /* Content-Type, of the request and of the answer */
    bool text;       /* base64 */
    bool status_in_head;
    struct arena *scratch; /* what one run of body has become */
};

/* ---- the request ---- */

static bool is_known(struct str type, bool *text)
{
    static const struct {
        struct str type;
        bool text;
    } types[] = {
        {STR_INIT("application/grpc-web"), false},
        {STR_INIT("application/grpc-web+proto"), false},
        {STR_INIT("application/grpc-web-text"), true},
        {STR_INIT("application/grpc-web-text+proto"), true},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (str_eq(type, types[i].type)) {
            *text = types[i].text;
            return true;
        }
    }
    return false;
}

static enum verdict refuse(struct req *r, int status, const char *why, struct str what)
{
    LOG_RATE(ERROR, "grpc-web: %s: %.*s, route: %.*s", why, STR_ARG(what),
             STR_ARG(r->route ? r->route->o.id : STR("-")));
    return req_reply(r, status, STR_NONE);
}

/* /package.Service/Method: what the star at the end of the route's path stands for. */
static void take_path(struct req *r)
{
    if (!str_ends(r->matched_uri, STR("*"))) {
        return;
    }
    const struct str rest = str_skip(r->match_uri, r->matched_uri.n - 1);
    if (rest.n > 0) {
        req_set_uri(r, rest.p[0] == '/' ? rest : arena_cat(r->arena, STR("/"), rest), STR_NONE);
    }
}

static void end_call(void *arg)
{
    struct call *call = arg;
    arena_free(call->scratch);
}

static enum verdict await_message(struct req *r, const struct grpc_web_conf *c, bool text)
{
    const int rc = req_await_body(r, (uint64_t)c->max_req_body_size);
    if (rc < 0) {
        return refuse(r, rc == -EMSGSIZE ? 413 : 400, "failed to read request body",
                      str_c(strerror(-rc)));
    }
    if (text) {
        r->body = grpc_web_text_decode(r->arena, r->body);
    }
    return r->body.p ? NEXT : refuse(r, 400, "failed to decode request body", STR(""));
}

static enum verdict grpc_web_access(struct req *r, const void *conf)
{
    const struct str type = headers_get(&r->headers, H_CONTENT_TYPE);
    bool text = false;

    if (r->method_id == M_OPTIONS) {
        return req_reply(r, 204, STR_NONE);
    }
    if (r->method_id != M_POST) {
        return refuse(r, 405, "request method invalid", r->method);
    }
    if (!is_known(type, &text)) {
        return refuse(r, 400, "request Content-Type invalid", type);
    }
    if (await_message(r, conf, text) == DONE) {
        return DONE;
    }
    take_path(r);
    headers_set_id(&r->headers, H_CONTENT_TYPE, STR("application/grpc"));
    struct call *call = req_ctx(r, &grpc_web_plugin, struct call);
    *call = (struct call){.type = type, .text = text, .scratch = arena_new(4096)};
    arena_on_reset(r->arena, end_call, call);
    return NEXT;
}

/* ---- the answer ---- */

static void grpc_web_header_filter(struct req *r, const void *conf)
{
    const struct grpc_web_conf *c = conf;
    struct headers *h = &r->resp.headers;
    struct call *call = req_ctx_get(r, &grpc_web_plugin);

    if (r->method_id == M_OPTIONS) {
        headers_set(h, STR("Access-Control-Allow-Methods"), STR("POST"));
        headers_set(h, STR("Access-Control-Allow-Headers"), c->cors_allow_headers);
    }
    if (headers_get_name(h, STR("Access-Control-Allow-Origin")).p == NULL) {
        headers_set(h, STR("Access-Control-Allow-Origin"), STR("*"));
    }
    headers_set(h, STR("Access-Control-Expose-Headers"), STR("grpc-message,grpc-status"));
    if (call && r->resp.source == FROM_UPSTREAM) {
        headers_set_id(h, H_CONTENT_TYPE, call->type);
        r->resp.length = -1;
        call->status_in_head = grpc_status(r).p != NULL;
    }
}

/* The last frame: status and message, then what else the upstream sent as trailers. */
static struct str trailers_frame(struct req *r, struct arena *a)
{
    const struct str status = grpc_status(r);
    struct buf b = BUF_INIT(1 << 20);
    char prefix[GRPC_PREFIX] = "";
    buf_add(&b, str_of(prefix, GRPC_PREFIX));
    if (status.p) {
        buf_printf(&b, "grpc-status:%.*s\r\ngrpc-message:%.*s\r\n", STR_ARG(status),
                   STR_ARG(grpc_field(r, STR("grpc-message"))));
    } else {
        buf_printf(&b, "grpc-status:2\r\ngrpc-message:upstream grpc status not received\r\n");
    }
    for (unsigned i = 0; i < r->resp.trailers.n; i++) {
        const struct header *h = &r->resp.trailers.v[i];
        if (!str_ieq(h->name, STR("grpc-status")) && !str_ieq(h->name, STR("grpc-message"))) {
            buf_printf(&b, "%.*s:%.*s\r\n", STR_ARG(arena_lower(a, h->name)), STR_ARG(h->value));
        }
    }
    grpc_prefix(b.p, GRPC_WEB_TRAILERS, (uint32_t)(b.n - GRPC_PREFIX));
    const struct str frame = arena_str(a, buf_str(&b));
    buf_fini(&b);
    return frame;
}

static void grpc_web_body_filter(struct req *r, const void *conf, struct body_run *b)
{
    struct call *call = req_ctx_get(r, &grpc_web_plugin);

    if (call == NULL || r->resp.source != FROM_UPSTREAM) {
        return;
    }
    struct arena *a = call->scratch;
    arena_reset(a);
    if (call->text) {
        b->data = base64_encode(a, b->data);
    }
    if (b->last && !call->status_in_head) {
        const struct str frame = trailers_frame(r, a);
        b->data = arena_cat(a, b->data, call->text ? base64_encode(a, frame) : frame);
        headers_init(&r->resp.trailers, r->arena, 1); /* they have gone out */
    }
}

const struct plugin grpc_web_plugin = {
    .name = "grpc-web",
    .priority = 505,
    .version = "0.1",
    .conf_size = sizeof(struct grpc_web_conf),
    .fields = grpc_web_fields,
    .access = grpc_web_access,
    .header_filter = grpc_web_header_filter,
    .body_filter = grpc_web_body_filter,
};
