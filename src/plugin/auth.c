/* SPDX-License-Identifier: Apache-2.0 */
/* auth: options, the 401, consumers, hiding. */
#include "plugin/auth.h"

#include "plugin/header_ops.h"
#include "plugin/refuse.h"

void auth_prepare(struct arena *a, struct auth_options *o, const char *scheme)
{
    o->challenge = arena_printf(a, "%s realm=\"%.*s\"", scheme, STR_ARG(o->realm));
}

static void strip_owned(struct req *r)
{
    headers_del_spellings(&r->headers, STR("x-consumer-username"));
    headers_del_spellings(&r->headers, STR("x-credential-identifier"));
    headers_del_spellings(&r->headers, STR("x-consumer-custom-id"));
}

enum verdict auth_accept(struct req *r, const struct identity *who)
{
    strip_owned(r);
    req_set_consumer(r, who);
    return NEXT;
}

enum verdict auth_reject(struct req *r, const struct plugin *p, const struct auth_options *o,
                         struct str body, struct str why)
{
    if (o->anonymous.p) {
        strip_owned(r);
        if (req_set_anonymous(r, o->anonymous) == NEXT) {
            return NEXT;
        }
        body = STR("{\"message\":\"Invalid user authorization\"}\n");
        why = STR("there is no consumer of the name that anonymous_consumer gives");
    }
    headers_set(&r->resp.headers, STR("WWW-Authenticate"), o->challenge);
    return refuse(r, p, 401, body, why);
}

/* ---- hiding ---- */

void auth_hide_header(struct req *r, struct str name)
{
    char *lower = arena_bytes(r->arena, name.n);

    for (size_t i = 0; i < name.n; i++) {
        lower[i] = name.p[i] == '_' ? '-' : ascii_lower(name.p[i]);
    }
    headers_del_spellings(&r->headers, str_of(lower, name.n));
}

/* Is this pair of a query called name? Clients may encode names. */
static bool is_called(struct arena *a, struct str pair, struct str name)
{
    const ptrdiff_t eq = str_index(pair, '=');
    const struct str key = eq < 0 ? pair : str_head(pair, (size_t)eq);

    return str_eq(uri_decode(a, key, true), name);
}

void auth_hide_query(struct req *r, struct str name)
{
    struct str rest = r->args, pair;
    char *out = arena_bytes(r->arena, r->args.n + 1), *o = out;
    bool found = false, first = true;

    while (str_split(&rest, '&', &pair)) {
        if (is_called(r->arena, pair, name)) {
            found = true;
            continue;
        }
        if (!first) {
            *o++ = '&';
        }
        first = false;
        memcpy(o, pair.p, pair.n);
        o += pair.n;
    }
    if (found) {
        req_set_uri(r, r->uri, str_of(out, (size_t)(o - out)));
    }
}

/* One Cookie field without the cookie; "" when nothing is left. */
static struct str without_cookie(struct arena *a, struct str value, struct str name)
{
    struct str rest = value, pair;
    char *out = arena_bytes(a, 2 * value.n + 2), *o = out; /* ";" becomes "; " */

    while (str_split(&rest, ';', &pair)) {
        pair = str_trim(pair);
        if (pair.n == 0 || (pair.n > name.n && pair.p[name.n] == '=' && str_starts(pair, name))) {
            continue;
        }
        if (o > out) {
            *o++ = ';';
            *o++ = ' ';
        }
        memcpy(o, pair.p, pair.n);
        o += pair.n;
    }
    return str_of(out, (size_t)(o - out));
}

void auth_hide_cookie(struct req *r, struct str name)
{
    struct headers *h = &r->headers;
    unsigned kept = 0;

    for (unsigned i = 0; i < h->n; i++) {
        struct header f = h->v[i];
        if (f.id == H_COOKIE) {
            f.value = without_cookie(r->arena, f.value, name);
        }
        if (f.id != H_COOKIE || f.value.n > 0) {
            h->v[kept++] = f;
        }
    }
    h->n = kept;
}
