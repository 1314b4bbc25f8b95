/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key-auth: a consumer is who has the key in a header or, when there is no such header, in the
 * query.
 *
 * The key is looked up in a table under a keyed hash, so the time it takes says nothing about the
 * keys there are.
 */
#include "plugin/auth.h"

struct key_auth_conf {
    struct str header, query;
    struct auth_options auth;
};
struct key_auth_consumer {
    struct str key;
};

static const struct field key_auth_fields[] = {
    F_STR(struct key_auth_conf, header, .def = JSON("apikey"), .doc = "Header with the key."),
    F_STR(struct key_auth_conf, query, .def = JSON("apikey"),
          .doc = "Query argument with the key, read when the header is missing."),
    AUTH_FIELDS(struct key_auth_conf, auth, JSON("key")),
    F_END,
};
static const struct field key_auth_consumer_fields[] = {
    F_STR(struct key_auth_consumer, key, .required = true, .secret = true,
          .doc = "Key of this consumer."),
    F_END,
};

extern const struct plugin key_auth_plugin;

static int key_auth_prepare(const struct prepare *p, void *conf, struct err *e)
{
    if (p->use == CONF_PLUGIN) {
        auth_prepare(p->arena, &((struct key_auth_conf *)conf)->auth, "apikey");
    }
    return 0;
}

static enum verdict key_auth_reject(struct req *r, const struct key_auth_conf *c, bool missing)
{
    if (missing) {
        return auth_reject(r, &key_auth_plugin, &c->auth,
                           STR("{\"message\":\"Missing API key in request\"}\n"),
                           STR("no key was sent"));
    }
    return auth_reject(r, &key_auth_plugin, &c->auth,
                       STR("{\"message\":\"Invalid API key in request\"}\n"),
                       STR("nobody has this key"));
}

/* An empty key identifies nobody, even if a consumer has it. */
static enum verdict key_auth_find(struct req *r, const struct key_auth_conf *c)
{
    struct str key = headers_get_name(&r->headers, c->header);
    if (str_is_none(key)) {
        key = req_arg(r, c->query, NULL);
    }
    if (str_is_none(key)) {
        return key_auth_reject(r, c, true);
    }
    const struct identity *who = key.n > 0 ? req_find_identity(r, &key_auth_plugin, key) : NULL;
    return who ? auth_accept(r, who) : key_auth_reject(r, c, false);
}

static enum verdict key_auth_rewrite(struct req *r, const void *conf)
{
    const struct key_auth_conf *c = conf;
    const enum verdict v = key_auth_find(r, c);
    /* After a refusal multi-auth may let another plugin look. */
    if (v == NEXT && c->auth.hide) {
        auth_hide_header(r, c->header);
        auth_hide_query(r, c->query);
    }
    return v;
}

const struct plugin key_auth_plugin = {
    .name = "key-auth",
    .priority = 2500,
    .version = "0.1",
    .auth = true,
    .conf_size = sizeof(struct key_auth_conf),
    .fields = key_auth_fields,
    .consumer_size = sizeof(struct key_auth_consumer),
    .consumer_fields = key_auth_consumer_fields,
    .key_attr = "key",
    .prepare = key_auth_prepare,
    .rewrite = key_auth_rewrite,
};
