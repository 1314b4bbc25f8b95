/* SPDX-License-Identifier: Apache-2.0 */
/*
 * basic-auth: HTTP Basic (RFC 7617) against the user names and passwords of consumers.
 *
 * Everything after the first colon is the password. The reference takes blanks out of what a client
 * sends, and `echo user:pass | base64` with its line end has to work on, so a name or password
 * matches as it is or without its blanks. An empty password lets nobody in.
 */
#include "base/hash.h"
#include "plugin/auth.h"

struct basic_auth_conf {
    struct auth_options auth;
};
struct basic_auth_consumer {
    struct str username, password;
};

static const struct field basic_auth_fields[] = {
    AUTH_FIELDS(struct basic_auth_conf, auth, JSON("basic")),
    F_END,
};
static const struct field basic_auth_consumer_fields[] = {
    F_STR(struct basic_auth_consumer, username, .required = true, .doc = "Name to log in with."),
    F_STR(struct basic_auth_consumer, password, .required = true, .secret = true,
          .doc = "Password."),
    F_END,
};

extern const struct plugin basic_auth_plugin;

static int basic_auth_prepare(const struct prepare *p, void *conf, struct err *e)
{
    if (p->use == CONF_PLUGIN) {
        auth_prepare(p->arena, &((struct basic_auth_conf *)conf)->auth, "Basic");
    }
    return 0;
}

struct credentials {
    struct str user, password;
};

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Name and password of an Authorization field; false when it holds none. */
static bool parse(struct arena *a, struct str field, struct credentials *out)
{
    if (field.n < 7 || !str_ieq(str_head(field, 5), STR("basic")) || !is_blank(field.p[5])) {
        return false;
    }
    const struct str plain = base64_decode(a, str_trim(str_skip(field, 6)));
    const ptrdiff_t colon = plain.p ? str_index(plain, ':') : -1;
    if (colon < 0) {
        return false;
    }
    *out = (struct credentials){str_head(plain, (size_t)colon), str_skip(plain, (size_t)colon + 1)};
    return true;
}

static struct str without_blanks(struct arena *a, struct str s)
{
    char *out = arena_bytes(a, s.n + 1), *o = out;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_blank(s.p[i])) {
            *o++ = s.p[i];
        }
    }
    return str_of(out, (size_t)(o - out));
}

static const struct identity *find_user(struct req *r, struct str user)
{
    const struct identity *who = req_find_identity(r, &basic_auth_plugin, user);
    return who ? who : req_find_identity(r, &basic_auth_plugin, without_blanks(r->arena, user));
}

static bool is_right(struct arena *a, struct str want, struct str sent)
{
    const bool same = str_eq_secret(want, sent),
               squeezed = str_eq_secret(want, without_blanks(a, sent));
    return want.n > 0 && (same || squeezed);
}

static enum verdict basic_auth_check(struct req *r, const struct basic_auth_conf *c)
{
    const struct str field = headers_get(&r->headers, H_AUTHORIZATION);
    struct credentials sent;
    if (str_is_none(field)) {
        return auth_reject(r, &basic_auth_plugin, &c->auth,
                           STR("{\"message\":\"Missing authorization in request\"}\n"),
                           STR("no Authorization field was sent"));
    }
    if (!parse(r->arena, field, &sent)) {
        return auth_reject(r, &basic_auth_plugin, &c->auth,
                           STR("{\"message\":\"Invalid authorization in request\"}\n"),
                           STR("the Authorization field is not Basic with name and password"));
    }
    const struct identity *who = find_user(r, sent.user);
    const struct basic_auth_consumer *k = who ? who->conf : NULL;
    if (k == NULL || !is_right(r->arena, k->password, sent.password)) {
        return auth_reject(r, &basic_auth_plugin, &c->auth,
                           STR("{\"message\":\"Invalid user authorization\"}\n"),
                           k ? STR("wrong password") : STR("no consumer has this user name"));
    }
    return auth_accept(r, who);
}

static enum verdict basic_auth_rewrite(struct req *r, const void *conf)
{
    const struct basic_auth_conf *c = conf;
    const enum verdict v = basic_auth_check(r, c);
    if (v == NEXT && c->auth.hide) {
        auth_hide_header(r, STR("authorization"));
    }
    return v;
}

const struct plugin basic_auth_plugin = {
    .name = "basic-auth",
    .priority = 2520,
    .version = "0.1",
    .auth = true,
    .conf_size = sizeof(struct basic_auth_conf),
    .fields = basic_auth_fields,
    .schema_extra = JSON({"title": "work with route or service object"}),
    .consumer_size = sizeof(struct basic_auth_consumer),
    .consumer_fields = basic_auth_consumer_fields,
    .consumer_extra = JSON({"title": "work with consumer object"}),
    .key_attr = "username",
    .prepare = basic_auth_prepare,
    .rewrite = basic_auth_rewrite,
};
