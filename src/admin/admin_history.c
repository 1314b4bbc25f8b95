/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admin_history: GET /apisix/admin/history[?key=/routes/1][&limit=20], an extension: who changed
 * what, newest first. Values are shown as they were stored, secrets encrypted.
 */
#include "admin/admin_priv.h"

enum { LIMIT_DEFAULT = 20, LIMIT_MAX = 1000 };

static void set_value(json_t *o, const char *name, struct str text)
{
    struct err e = {0};
    json_t *v = str_is_none(text) ? NULL : json_parse(text, &e);

    if (v) {
        json_object_set_new(o, name, v);
    }
}

static json_t *shown_revision(const struct store_revision *h)
{
    json_t *o =
        json_pack("{s:I, s:I}", "revision", (json_int_t)h->revision, "time", (json_int_t)h->at);

    json_object_set_new(o, "author", json_of_str(h->author));
    json_object_set_new(o, "key", json_of_str(h->key));
    set_value(o, "before", h->before);
    set_value(o, "after", h->after);
    return o;
}

void history_await_handle(struct call *c)
{
    struct str key = req_arg(c->r, STR("key"), NULL),
               limit_text = req_arg(c->r, STR("limit"), NULL);
    struct store_revision *h = NULL;
    uint64_t limit = LIMIT_DEFAULT;
    struct err e = {0};
    size_t n = 0;

    if (!str_is_none(limit_text) &&
        (!str_to_u64(limit_text, &limit) || limit < 1 || limit > LIMIT_MAX)) {
        reply_error(c->r, 400, "invalid argument limit: should be a number between 1 and %d",
                    LIMIT_MAX);
        return;
    }
    int rc = store_await_history(admin_deps.store, key, limit, c->r->arena, &h, &n, &e);
    if (rc != 0) {
        reply_store_error(c->r, rc, &e);
        return;
    }
    json_t *list = json_array(), *o = json_object();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(list, shown_revision(&h[i]));
    }
    json_object_set_new(o, "total", json_integer((json_int_t)n));
    json_object_set_new(o, "list", list);
    reply_json(c->r, 200, o);
}
