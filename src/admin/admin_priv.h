/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * admin_priv: one call of the Admin API on its way through admin.c (who and what), one of the
 * handlers, and out.
 *
 * A call lives on the stack of the request's fiber; JSON that it makes is kept until the request's
 * arena is emptied.
 */
#include "admin/admin.h"
#include "base/json.h"
#include "config/resource.h"
#include "config/settings.h"

#include <limits.h>

/* A body larger than this is refused. */
#define ADMIN_BODY_MAX 1572864

/* How a resource kind behaves: one row a kind in admin_resource.c. */
struct face {
    enum object_kind kind;
    bool posts, patches; /* the others answer 405 */
    bool id_outside;     /* the value's own id is not the key: consumers (username), plugin_metadata
                            (plugin) */
    bool has_times;      /* create_time, update_time */
};

struct call {
    struct req *r;
    const struct face *face;
    struct str who;      /* the admin key's name, for history and audit */
    struct str resource; /* first part of the path */
    struct str id;       /* STR_NONE: not in the path */
    struct str owner;    /* of a credential: the consumer */
    struct str sub;      /* what follows the id; "" when nothing does */
    json_t *conf;        /* the body, NULL when there was none */
    int64_t expires_at;  /* of ?ttl=, 0: never */
};

extern struct admin_deps admin_deps;

/* ---- admin_reply.c: answers ---- */
/* v is kept until the request ends. */
json_t *keep_json(struct arena *a, json_t *v);
/* A JSON string of any bytes: what is not UTF-8 becomes '?'. New reference. */
json_t *json_of_str(struct str s);
/* v (taken over) and a newline, as application/json. */
void reply_json(struct req *r, int status, json_t *v);
void reply_text(struct req *r, int status, struct str text);
/* {"error_msg":"..."} */
void reply_error(struct req *r, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* {"message":"Key not found"} */
void reply_not_found(struct req *r);
/* What the store said: 503 {"error_msg":...}. */
void reply_store_error(struct req *r, int rc, const struct err *e);
/* The key with the prefix of the reference's etcd layout. */
struct str shown_key(struct arena *a, struct str key);

/* ---- admin_auth.c ---- */
/* May this source speak to the Admin API at all (allow_admin)? */
bool auth_source_is_allowed(const struct req *r);
/* The name of the key that was shown. False when it has answered. */
bool auth_check(struct req *r, struct str *who);

/* ---- admin_resource.c ---- */
/* The kind by its plural, NULL when there is none. */
const struct face *face_find(struct str plural);
void resource_await_handle(struct call *c);
/* The store's key of an object. owner: of a credential. */
struct str store_key(struct arena *a, enum object_kind kind, struct str owner, struct str id);
/* The other way round: kind, and id as config/ has it. False when the key is of no kind. */
bool object_of_key(struct str key, enum object_kind *kind, struct str *id);
/* A stored value, plugin secrets in clear; kept until the arena is emptied. NULL (logged) when it
 * is no JSON. */
json_t *stored_value(struct arena *a, const struct store_item *it);

/* ---- admin_write.c ---- */
/* What a write means for the live configuration; value NULL deletes. */
struct edit {
    struct store_write write;
    json_t *value;   /* in clear */
    int64_t created; /* index to keep; 0: it is new */
};
/*
 * Store the edits as one revision, put them in force, and write the audit line. 0, or what the
 * store said; parks. Not stopped by cancellation once begun: what is stored must come into force.
 */
int await_edit(const struct edit *edits, size_t n, struct str who, struct str from,
               const char *what, int64_t *revision, struct err *e);
/* Delete key (and, of a consumer, its credentials) if its modified revision is if_modified (-1:
 * any). */
int await_delete(struct arena *a, struct str key, int64_t if_modified, struct str who,
                 struct str from, struct err *e);

/* ---- admin_refs.c: what one object says about others ---- */
/* For resource_check(). */
extern const struct resource_refs admin_refs;
/* 0, or -1 with the reference's words in e when something uses the object. */
int refs_check_delete(enum object_kind kind, struct str id, struct err *e);
/* Auth keys of a consumer or credential that somebody else has; plugins of a global rule that
 * another rule has. */
int refs_check_unique(enum object_kind kind, struct str id, const json_t *value, struct err *e);

/* ---- admin_list.c ---- */
void list_await_handle(struct call *c);

/* ---- admin_patch.c ---- */
/* Merge patch into value, both objects, in place: null deletes, arrays replace. */
void patch_merge(json_t *value, json_t *patch);
/* Set what stands at path ("a/b/c"), making objects on the way. 0, or -1 with the reference's words
 * in e. */
int patch_at(json_t *value, struct str path, json_t *v, struct err *e);

/* ---- admin_crypt.c ---- */
/* AES-CBC with the first key of the keyring, base64. STR_NONE when there is no usable key. */
struct str crypt_encrypt(struct arena *a, const struct settings *s, struct str plain);
/* With any key of the keyring; STR_NONE when none fits. */
struct str crypt_decrypt(struct arena *a, const struct settings *s, struct str text);
/* Encrypt what is secret in value, in place. */
void secrets_encrypt(enum object_kind kind, json_t *value);
/* Plugin secrets in clear. */
void secrets_decrypt(enum object_kind kind, json_t *value);
/* Private keys too, which the API never shows in clear. */
void secrets_decrypt_keys(enum object_kind kind, json_t *value);
/* Leave out what reading never shows: the keys of ssl objects. */
void secrets_hide(enum object_kind kind, json_t *value);

/* ---- admin_schema.c ---- */
void schema_handle(struct call *c);  /* GET /schema/... */
void plugins_handle(struct call *c); /* GET /plugins... */
void plugins_list(struct req *r);
void plugins_reload(struct req *r);
void schema_validate(struct req *r, struct str resource, const json_t *conf);

/* ---- admin_history.c ---- */
void history_await_handle(struct call *c);

/* ---- admin_ttl.c ---- */
/* Remember that key, as written by revision `modified`, ends at expires_at. */
void ttl_add(struct str key, int64_t modified, int64_t expires_at);
