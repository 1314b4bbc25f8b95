/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admin_auth: who may speak to the Admin API. The source is always the other end of the socket,
 * never a header: a request that another one made must not borrow an address (that is how the
 * reference's allow list was once passed).
 */
#include "admin/admin_priv.h"
#include "base/hash.h"
#include "base/log.h"

/* Wrong keys that one source may send in a second; after that it gets 429 whatever it sends, so a
 * guess that fits does not show either. */
enum { FAILURES_PER_SECOND = 10, SOURCES = 256 };

/* A source's failures in one second. Sources share rows by hash: what a stranger in the same row
 * loses is a second. */
static struct row {
    int64_t second;
    uint64_t source;
    unsigned failures;
} rows[SOURCES];

bool auth_source_is_allowed(const struct req *r)
{
    const struct settings *s = admin_deps.settings;
    struct ip ip;

    if (!s->has_allow_admin || !ip_from_addr(r->peer, &ip)) {
        return true;
    }
    for (unsigned i = 0; i < s->n_allow_admin; i++) {
        if (cidr_has(&s->allow_admin[i], &ip)) {
            return true;
        }
    }
    return false;
}

/* The row of this request's source for the present second. */
static struct row *row_of(const struct req *r)
{
    struct ip ip = {0};
    int64_t second = now_ms() / 1000;

    ip_from_addr(r->peer, &ip);
    uint64_t source = hash_keyed(str_of((const char *)ip.b, sizeof(ip.b)));
    struct row *row = &rows[source % SOURCES];
    if (row->second != second || row->source != source) {
        /* A newcomer does not clear the count of a source that is being held off. */
        if (row->second != second || row->failures < FAILURES_PER_SECOND) {
            *row = (struct row){.second = second, .source = source};
        }
    }
    return row;
}

static bool refuse(struct req *r, const char *description)
{
    json_t *o =
        json_pack("{s:s, s:s}", "error_msg", "failed to check token", "description", description);

    reply_json(r, 401, o);
    return false;
}

static struct str shown_token(struct req *r)
{
    struct str token = req_arg(r, STR("api_key"), NULL);

    if (str_is_none(token)) {
        token = headers_get(&r->headers, H_X_API_KEY);
    }
    if (str_is_none(token)) {
        token = req_cookie(r, STR("x_api_key"));
    }
    return token;
}

/* All keys are compared, so that the time does not tell which one nearly fitted. */
static const struct admin_key *find_key(struct str token)
{
    const struct settings *s = admin_deps.settings;
    const struct admin_key *found = NULL;

    for (unsigned i = 0; i < s->n_admin_keys; i++) {
        const struct admin_key *k = &s->admin_keys[i];
        if (k->key.n > 0 && str_eq_secret(k->key, token)) {
            found = k;
        }
    }
    return found;
}

bool auth_check(struct req *r, struct str *who)
{
    const struct settings *s = admin_deps.settings;

    *who = STR("anonymous");
    if (!s->admin_key_required || s->n_admin_keys == 0) {
        return true;
    }
    struct row *row = row_of(r);
    if (row->failures >= FAILURES_PER_SECOND) {
        reply_error(r, 429, "too many failed attempts, try again later");
        return false;
    }
    struct str token = shown_token(r);
    if (str_is_none(token)) {
        return refuse(r, "missing apikey");
    }
    const struct admin_key *key = find_key(token);
    if (!key) {
        row->failures++;
        LOG_RATE(WARN, "admin: wrong key from %.*s", STR_ARG(r->remote_addr));
        return refuse(r, "wrong apikey");
    }
    *who = key->name;
    if (key->viewer && r->method_id != M_GET) {
        return refuse(r, "invalid method for role viewer");
    }
    return true;
}
