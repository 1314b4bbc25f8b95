/* SPDX-License-Identifier: Apache-2.0 */
/* consumer: what the plugins of a request share: their state, their metadata, and who is asking
 * (runtime.md section 9). */
#include "config/snapshot.h"
#include "plugin/plugin.h"

void *req_ctx_get(const struct req *r, const struct plugin *p)
{
    return r->plugin_ctx ? r->plugin_ctx[plugin_index(p)] : NULL;
}

void req_ctx_set(struct req *r, const struct plugin *p, void *state)
{
    if (r->plugin_ctx == NULL) {
        r->plugin_ctx = ARENA_ARRAY(r->arena, void *, plugin_count());
    }
    r->plugin_ctx[plugin_index(p)] = state;
}

void *req_ctx_make(struct req *r, const struct plugin *p, size_t size)
{
    void *state = req_ctx_get(r, p);
    if (state == NULL) {
        state = arena_alloc(r->arena, size);
        req_ctx_set(r, p, state);
    }
    return state;
}

const void *plugin_metadata(const struct req *r, const struct plugin *p)
{
    const void *conf = snapshot_metadata(r->snapshot, p->name);
    return conf ? conf : plugin_metadata_defaults(p);
}

static void set_or_del(struct req *r, enum header_id id, const char *name, struct str value)
{
    if (value.p) {
        headers_set(&r->headers, str_c(name), value);
    } else {
        headers_del_id(&r->headers, id);
    }
}

void req_set_consumer(struct req *r, const struct identity *who)
{
    r->consumer = who->consumer;
    r->credential = who->credential;
    r->consumer_group =
        who->consumer->group_id.p
            ? SNAP_FIND(r->snapshot, CONSUMER_GROUP, consumer_group, who->consumer->group_id)
            : NULL;
    set_or_del(r, H_X_CONSUMER_USERNAME, "X-Consumer-Username", who->consumer->username);
    set_or_del(r, H_X_CREDENTIAL_IDENTIFIER, "X-Credential-Identifier",
               who->credential ? who->credential->credential_id : STR_NONE);
    set_or_del(r, H_X_CONSUMER_CUSTOM_ID, "X-Consumer-Custom-ID", who->consumer->custom_id);
}

const struct identity *req_find_identity(const struct req *r, const struct plugin *p,
                                         struct str key)
{
    return snapshot_identity(r->snapshot, p->name, key);
}

enum verdict req_set_anonymous(struct req *r, struct str name)
{
    const struct consumer *c = SNAP_FIND(r->snapshot, CONSUMER, consumer, name);
    if (c == NULL) {
        return req_reply_json1(r, 401, "message", STR("Invalid user authorization"));
    }
    const struct identity who = {.consumer = c};
    req_set_consumer(r, &who);
    return NEXT;
}
