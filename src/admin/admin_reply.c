/* SPDX-License-Identifier: Apache-2.0 */
/* admin_reply: the shapes of answers that all handlers share. */
#include "admin/admin_priv.h"

#include <errno.h>

static void drop_json(void *arg)
{
    json_decref(arg);
}

json_t *keep_json(struct arena *a, json_t *v)
{
    if (v) {
        arena_on_reset(a, drop_json, v);
    }
    return v;
}

json_t *json_of_str(struct str s)
{
    json_t *v = json_stringn(s.p ? s.p : "", s.n);

    if (v) {
        return v;
    }
    struct arena *a = arena_new(s.n + 64);
    char *ascii = arena_bytes(a, s.n);
    for (size_t i = 0; i < s.n; i++) {
        ascii[i] = (unsigned char)s.p[i] < 0x80 ? s.p[i] : '?';
    }
    v = json_stringn(ascii, s.n);
    arena_free(a);
    return v;
}

void reply_text(struct req *r, int status, struct str text)
{
    headers_set_id(&r->resp.headers, H_CONTENT_TYPE, STR("application/json"));
    req_reply(r, status, text);
}

void reply_json(struct req *r, int status, json_t *v)
{
    struct str text = json_text(r->arena, v);

    json_decref(v);
    reply_text(r, status, arena_cat(r->arena, text, STR("\n")));
}

void reply_error(struct req *r, int status, const char *fmt, ...)
{
    json_t *o = json_object();
    va_list ap;

    va_start(ap, fmt);
    json_object_set_new(o, "error_msg", json_of_str(arena_vprintf(r->arena, fmt, ap)));
    va_end(ap);
    reply_json(r, status, o);
}

void reply_not_found(struct req *r)
{
    reply_text(r, 404, STR("{\"message\":\"Key not found\"}\n"));
}

void reply_store_error(struct req *r, int rc, const struct err *e)
{
    if (rc == -EAGAIN) {
        reply_error(r, 503, "value changed before overwritten");
    } else {
        reply_error(r, 503, "%s", err_is_set(e) ? e->msg : strerror(-rc));
    }
}

struct str shown_key(struct arena *a, struct str key)
{
    return arena_cat(a, admin_deps.settings->etcd_prefix, key);
}
