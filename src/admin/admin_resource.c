/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admin_resource: GET, PUT, POST, PATCH and DELETE of one object. The order of checks and their
 * words are the reference's.
 *
 * Two forms of a value are about: in clear (what is checked and goes into the live configuration)
 * and as stored (secrets encrypted; what PUT, POST and PATCH show).
 */
#include "admin/admin_priv.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/hooks.h"

#include <errno.h>

static const struct face faces[] = {
    {K_ROUTE, .posts = true, .patches = true, .has_times = true},
    {K_SERVICE, .posts = true, .patches = true, .has_times = true},
    {K_UPSTREAM, .posts = true, .patches = true, .has_times = true},
    {K_CONSUMER, .id_outside = true, .has_times = true},
    {K_CREDENTIAL, .has_times = true},
    {K_CONSUMER_GROUP, .patches = true, .has_times = true},
    {K_GLOBAL_RULE, .patches = true, .has_times = true},
    {K_PLUGIN_CONFIG, .patches = true, .has_times = true},
    {K_PLUGIN_METADATA, .id_outside = true},
    {K_SSL, .posts = true, .patches = true, .has_times = true},
    {K_PROTO, .posts = true, .has_times = true},
};

const struct face *face_find(struct str plural)
{
    enum object_kind kind = object_kind_of(plural);

    for (size_t i = 0; i < sizeof(faces) / sizeof(faces[0]); i++) {
        if (faces[i].kind == kind) {
            return &faces[i];
        }
    }
    return NULL;
}

/* ---- keys ---- */

struct str store_key(struct arena *a, enum object_kind kind, struct str owner, struct str id)
{
    if (kind == K_CREDENTIAL) {
        return arena_printf(a, "/consumers/%.*s/credentials/%.*s", STR_ARG(owner), STR_ARG(id));
    }
    return arena_printf(a, "/%s/%.*s", object_kind_plural(kind), STR_ARG(id));
}

bool object_of_key(struct str key, enum object_kind *kind, struct str *id)
{
    struct str rest = str_skip(key, 1), plural;

    if (!str_split(&rest, '/', &plural) || rest.n == 0) {
        return false;
    }
    *id = rest;
    *kind = object_kind_of(plural);
    if (*kind == K_CONSUMER && str_index(rest, '/') >= 0) {
        *kind = K_CREDENTIAL;
    }
    return *kind != K_COUNT;
}

json_t *stored_value(struct arena *a, const struct store_item *it)
{
    enum object_kind kind;
    struct err e = {0};
    struct str id;
    json_t *value = keep_json(a, json_parse(it->value, &e));

    if (!value) {
        LOG(ERROR, "admin: the stored value of %.*s is no JSON: %s", STR_ARG(it->key), e.msg);
    } else if (object_of_key(it->key, &kind, &id)) {
        secrets_decrypt(kind, value);
    }
    return value;
}

/* This object's id as config/ has it. */
static struct str object_id(const struct call *c)
{
    if (c->face->kind == K_CREDENTIAL) {
        return arena_printf(c->r->arena, "%.*s/credentials/%.*s", STR_ARG(c->owner),
                            STR_ARG(c->id));
    }
    return c->id;
}

static struct str call_key(const struct call *c)
{
    return store_key(c->r->arena, c->face->kind, c->owner, c->id);
}

static const char *kind_word(const struct call *c)
{
    return object_kind_word(c->face->kind);
}

/* ---- answers ---- */

/* {"key","value"[,"createdIndex","modifiedIndex"]}; value is borrowed. */
static json_t *shown_item(struct arena *a, struct str key, json_t *value,
                          const struct store_item *it)
{
    json_t *o = json_object();

    json_object_set_new(o, "key", json_of_str(shown_key(a, key)));
    json_object_set(o, "value", value);
    if (it) {
        json_object_set_new(o, "createdIndex", json_integer(it->created));
        json_object_set_new(o, "modifiedIndex", json_integer(it->modified));
    }
    return o;
}

static void reply_item(struct call *c, int status, const char *action, json_t *item)
{
    if (admin_deps.settings->admin_v2) {
        item = json_pack("{s:s, s:o}", "action", action, "node", item);
    }
    reply_json(c->r, status, item);
}

static void reply_deleted(struct call *c, struct str key)
{
    json_t *o = json_object();

    json_object_set_new(o, "deleted", json_string("1"));
    json_object_set_new(o, "key", json_of_str(shown_key(c->r->arena, key)));
    if (admin_deps.settings->admin_v2) {
        json_object_set_new(o, "action", json_string("delete"));
        json_object_set_new(o, "node", json_object());
    }
    reply_json(c->r, 200, o);
}

static void set_number_text(json_t *o, const char *name, int64_t v)
{
    char text[32];

    snprintf(text, sizeof(text), "%lld", (long long)v);
    json_object_set_new(o, name, json_string(text));
}

/* A missing object's answer carries its neighbours: what begins with the same text (the reference
 * shows etcd's answer here). */
static void await_reply_missing(struct call *c, struct str key)
{
    struct store *store = admin_deps.store;
    struct store_item *items;
    struct err e = {0};
    size_t n;

    if (store->ops->await_list(store, key, c->r->arena, &items, &n, &e) != 0 || n == 0) {
        reply_not_found(c->r);
        return;
    }
    json_t *kvs = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *value = keep_json(c->r->arena, json_parse(items[i].value, &e));
        secrets_hide(c->face->kind, value);
        json_t *o = shown_item(c->r->arena, items[i].key, value ? value : json_null(), NULL);
        set_number_text(o, "create_revision", items[i].created);
        set_number_text(o, "mod_revision", items[i].modified);
        set_number_text(o, "version", items[i].version);
        json_array_append_new(kvs, o);
    }
    reply_json(c->r, 404, json_pack("{s:o, s:s}", "kvs", kvs, "message", "Key not found"));
}

/* ---- reading ---- */

/* The item under this call's key. False when it has answered; a missing one is told by modified 0.
 */
static bool await_old(struct call *c, struct store_item *it)
{
    struct store *store = admin_deps.store;
    struct err e = {0};
    int rc = store->ops->await_get(store, call_key(c), c->r->arena, it, &e);

    if (rc != 0 && rc != -ENOENT) {
        reply_store_error(c->r, rc, &e);
        return false;
    }
    return true;
}

static void await_get_one(struct call *c)
{
    struct store_item it;

    if (!await_old(c, &it)) {
        return;
    }
    json_t *value = it.modified ? stored_value(c->r->arena, &it) : NULL;
    if (value) {
        secrets_hide(c->face->kind, value);
        reply_item(c, 200, "get", shown_item(c->r->arena, it.key, value, &it));
    } else {
        await_reply_missing(c, call_key(c));
    }
}

/* ---- checking what is to be written ---- */

/* An id in a body as the key has it. */
static struct str id_text(struct arena *a, const json_t *id)
{
    return json_is_string(id) ? json_str(id) : json_text(a, id);
}

/* Settle the id of a value whose key is its id: path and body must agree; the value gets it. False
 * when it has answered. */
static bool settle_id(struct call *c)
{
    json_t *in_body = json_get(c->conf, "id");
    bool has_body = in_body && !json_is_false(in_body), has_path = !str_is_none(c->id);
    bool need = c->r->method_id != M_POST;

    if (need && !has_path && !has_body) {
        reply_error(c->r, 400, "missing %s id", kind_word(c));
        return false;
    }
    if (!need && (has_path || has_body)) {
        reply_error(c->r, 400, "wrong %s id, do not need it", kind_word(c));
        return false;
    }
    if (has_path && has_body && !str_eq(id_text(c->r->arena, in_body), c->id)) {
        reply_error(c->r, 400, "wrong %s id", kind_word(c));
        return false;
    }
    if (has_path) {
        json_object_set_new(c->conf, "id", json_of_str(c->id));
    } else if (has_body) {
        c->id = id_text(c->r->arena, in_body);
    }
    return true;
}

/* The plugin's name is the id. */
static bool settle_plugin_name(struct call *c)
{
    if (str_is_none(c->id)) {
        reply_error(c->r, 400, "missing plugin name");
        return false;
    }
    if (!config_hooks.plugin_find(c->id)) {
        reply_error(c->r, 400, "invalid plugin name");
        return false;
    }
    json_object_set_new(c->conf, "id", json_of_str(c->id));
    return true;
}

/* Times are ours to set. */
static bool check_times(struct call *c)
{
    static const struct {
        const char *inside, *name, *shown;
    } places[] = {
        {NULL, "create_time", "create_time"},
        {"upstream", "create_time", "upstream.create_time"},
        {"plugins", "create_time", "plugins.create_time"},
        {NULL, "update_time", "update_time"},
        {"upstream", "update_time", "upstream.update_time"},
        {"plugins", "update_time", "plugins.update_time"},
    };

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        const json_t *at = places[i].inside ? json_get(c->conf, places[i].inside) : c->conf;
        if (json_get(at, places[i].name)) {
            reply_error(c->r, 400, "the property is forbidden:  %s", places[i].shown);
            return false;
        }
    }
    return true;
}

/* A consumer's key is its username, checked by now; the path may repeat it. */
static bool settle_username(struct call *c)
{
    struct str username = json_str(json_get(c->conf, "username"));

    if (!str_is_none(c->id) && !str_eq(c->id, username)) {
        reply_error(c->r, 400, "wrong username");
        return false;
    }
    c->id = username;
    return true;
}

/* The resource's own rules. False when it has answered. */
static bool check_value(struct call *c)
{
    enum object_kind kind = c->face->kind;
    struct err e = {0};
    struct str id = object_id(c);

    if (kind == K_CONSUMER && json_is_string(json_get(c->conf, "username"))) {
        id = json_str(json_get(c->conf, "username"));
    }
    secrets_decrypt_keys(kind, c->conf);
    if (resource_check(kind, id, c->conf, &admin_refs, &e) != 0) {
        bool no_owner = kind == K_CREDENTIAL && strcmp(e.msg, "consumer not found") == 0;
        reply_error(c->r, no_owner ? 404 : 400, "%s", e.msg);
        return false;
    }
    if (kind == K_CONSUMER && !settle_username(c)) {
        return false;
    }
    if (refs_check_unique(kind, id, c->conf, &e) != 0) {
        reply_error(c->r, 400, "%s", e.msg);
        return false;
    }
    return true;
}

/* The body of PUT and POST as an object. The reference takes [] for {} and crashes on anything else
 * that is no object. */
static bool take_object(struct call *c)
{
    if (!c->conf) {
        reply_error(c->r, 400, "missing configurations");
        return false;
    }
    if (json_is_array(c->conf) && json_array_size(c->conf) == 0) {
        c->conf = keep_json(c->r->arena, json_object());
    }
    if (!json_is_object(c->conf)) {
        reply_error(c->r, 400, "invalid configuration: the request body must be a JSON object");
        return false;
    }
    return true;
}

/* ---- writing ---- */

/* Store c->conf (in clear) over old. 0, or an error of the store; the stored form in *stored. */
static int await_put(struct call *c, const struct store_item *old, int64_t if_modified,
                     json_t **stored, struct err *e)
{
    struct arena *a = c->r->arena;
    int64_t revision;

    *stored = keep_json(a, json_deep_copy(c->conf));
    secrets_encrypt(c->face->kind, *stored);
    const struct edit edit = {
        .write = {.key = call_key(c),
                  .value = json_text(a, *stored),
                  .if_modified = if_modified,
                  .expires_at = c->expires_at},
        .value = c->conf,
        .created = old->created,
    };
    char what[16];
    snprintf(what, sizeof(what), "%.*s", STR_ARG(c->r->method));
    int rc = await_edit(&edit, 1, c->who, c->r->remote_addr, what, &revision, e);
    if (rc == 0 && c->expires_at) {
        ttl_add(edit.write.key, revision, c->expires_at);
    }
    return rc;
}

static void reply_written(struct call *c, int status, const char *action, json_t *stored)
{
    reply_item(c, status, action, shown_item(c->r->arena, call_key(c), stored, NULL));
}

/* create_time stays what it was; update_time is now. */
static void set_times(struct call *c, const json_t *old)
{
    json_t *created = json_get(old, "create_time");
    int64_t now = wall_us() / 1000000;

    if (!c->face->has_times) {
        return;
    }
    if (json_is_number(created)) {
        json_object_set(c->conf, "create_time", created);
    } else {
        json_object_set_new(c->conf, "create_time", json_integer(now));
    }
    json_object_set_new(c->conf, "update_time", json_integer(now));
}

static void await_put_one(struct call *c)
{
    struct store_item old;
    struct err e = {0};
    json_t *stored;

    if (!take_object(c) || (c->face->kind == K_PLUGIN_METADATA && !settle_plugin_name(c)) ||
        (!c->face->id_outside && !settle_id(c)) || !check_times(c) || !check_value(c) ||
        !await_old(c, &old)) {
        return;
    }
    set_times(c, old.modified ? keep_json(c->r->arena, json_parse(old.value, &e)) : NULL);
    int rc = await_put(c, &old, -1, &stored, &e);
    if (rc != 0) {
        reply_store_error(c->r, rc, &e);
    } else {
        reply_written(c, old.modified ? 200 : 201, "set", stored);
    }
}

/* The next id of POST: the revision the write will probably get. Never the same twice, whatever
 * else is written meanwhile. */
static struct str next_id(struct arena *a)
{
    static int64_t last;

    last = last < admin_deps.store->revision ? admin_deps.store->revision + 1 : last + 1;
    return arena_printf(a, "%020lld", (long long)last);
}

static void await_post(struct call *c)
{
    const struct store_item none = {0};
    struct err e = {0};
    json_t *stored;
    int rc;

    if (!take_object(c) || !settle_id(c) || !check_times(c)) {
        return;
    }
    c->id = next_id(c->r->arena);
    if (!check_value(c)) {
        return;
    }
    set_times(c, NULL);
    do {
        json_object_set_new(c->conf, "id", json_of_str(c->id));
        rc = await_put(c, &none, 0, &stored, &e);
        /* Somebody has taken this very id by PUT. */
        c->id = rc == -EAGAIN ? next_id(c->r->arena) : c->id;
    } while (rc == -EAGAIN);
    if (rc != 0) {
        reply_store_error(c->r, rc, &e);
    } else {
        reply_written(c, 201, "create", stored);
    }
}

/* The patch is a value for one place, or an object to merge. False when it has answered. */
static bool apply_patch(struct call *c, json_t *value)
{
    json_t *patch = c->conf;
    struct err e = {0};
    bool sets_created, sets_updated;
    int64_t now = wall_us() / 1000000;

    if (c->sub.n > 0) {
        sets_created = str_eq(c->sub, STR("create_time"));
        sets_updated = str_eq(c->sub, STR("update_time"));
        if (patch_at(value, c->sub, patch, &e) != 0) {
            reply_error(c->r, 400, "%s", e.msg);
            return false;
        }
    } else {
        sets_created = json_get(patch, "create_time") != NULL;
        sets_updated = json_get(patch, "update_time") != NULL;
        patch_merge(value, patch);
    }
    c->conf = value;
    if (!sets_created && !json_get(value, "create_time")) {
        json_object_set_new(value, "create_time", json_integer(now));
    }
    if (!sets_updated) {
        json_object_set_new(value, "update_time", json_integer(now));
    }
    return true;
}

static void await_patch(struct call *c)
{
    struct store_item old;
    struct err e = {0};
    json_t *stored;

    if (str_is_none(c->id)) {
        reply_error(c->r, 400, "missing %s id", kind_word(c));
        return;
    }
    if (!c->conf) {
        reply_error(c->r, 400, "missing new configuration");
        return;
    }
    if (c->sub.n == 0 && json_is_array(c->conf) && json_array_size(c->conf) == 0) {
        c->conf = keep_json(c->r->arena, json_object());
    }
    if (c->sub.n == 0 && !json_is_object(c->conf)) {
        reply_error(c->r, 400, "invalid configuration");
        return;
    }
    if (!await_old(c, &old)) {
        return;
    }
    json_t *value = old.modified ? stored_value(c->r->arena, &old) : NULL;
    if (!value) {
        reply_not_found(c->r);
        return;
    }
    if (!apply_patch(c, value) || !settle_id(c) || !check_value(c)) {
        return;
    }
    int rc = await_put(c, &old, old.modified, &stored, &e);
    if (rc != 0) {
        reply_store_error(c->r, rc, &e);
    } else {
        reply_written(c, 200, "compareAndSwap", stored);
    }
}

static void await_delete_one(struct call *c)
{
    struct store_item old;
    struct err e = {0};

    if (str_is_none(c->id)) {
        reply_error(c->r, 400, "missing %s id", kind_word(c));
        return;
    }
    bool force = str_eq(req_arg(c->r, STR("force"), NULL), STR("true"));
    if (!force && refs_check_delete(c->face->kind, object_id(c), &e) != 0) {
        reply_error(c->r, 400, "%s", e.msg);
        return;
    }
    if (!await_old(c, &old)) {
        return;
    }
    if (!old.modified) {
        reply_not_found(c->r);
        return;
    }
    int rc = await_delete(c->r->arena, old.key, -1, c->who, c->r->remote_addr, &e);
    if (rc != 0) {
        reply_store_error(c->r, rc, &e);
    } else {
        reply_deleted(c, old.key);
    }
}

/* ---- dispatch ---- */

void resource_await_handle(struct call *c)
{
    enum http_method m = c->r->method_id;

    if ((m == M_POST && !c->face->posts) || (m == M_PATCH && !c->face->patches)) {
        reply_error(c->r, 405, "not supported `%.*s` method for %s", STR_ARG(c->r->method),
                    kind_word(c));
        return;
    }
    /* Below an object there are only places to PATCH; the reference takes such an address for the
     * object itself, also in DELETE. */
    if (c->sub.n > 0 && m != M_PATCH) {
        reply_not_found(c->r);
        return;
    }
    switch (m) {
    case M_PUT:
        await_put_one(c);
        break;
    case M_POST:
        await_post(c);
        break;
    case M_PATCH:
        await_patch(c);
        break;
    case M_DELETE:
        await_delete_one(c);
        break;
    default:
        if (str_is_none(c->id)) {
            list_await_handle(c);
        } else {
            await_get_one(c);
        }
        break;
    }
}
