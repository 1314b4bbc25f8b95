/* SPDX-License-Identifier: Apache-2.0 */
/*
 * referer-restriction: let requests in or keep them out by the host their Referer names.
 *
 * The host is compared without letter case and as RFC 3986 3.2 has it: user information is not part
 * of it, and it ends at '#' too, which the reference takes into the name. A Referer that is no
 * http or https address counts as missing. Of several fields every one must pass.
 */
#include "config/hosts.h"
#include "plugin/refuse.h"
#include "plugin/str_set.h"

/* Names, and what is behind the * of patterns. */
struct host_list {
    struct str_set names;
    struct str *suffixes;
    size_t n_suffixes;
};

struct referer_restriction_conf {
    bool bypass_missing;
    struct arr whitelist, blacklist;
    struct str message;
    struct host_list hosts; /* of the one list there is */
    struct str body;
};

#define HOST_LIST(m, ...)                                                                          \
    F_ARR(struct referer_restriction_conf, m, .min_len = 1,                                        \
          .item = &(const struct field){F_ITEM(FK_STR, .pattern = HOST_PATTERN)}, __VA_ARGS__)

static const struct field referer_restriction_fields[] = {
    F_BOOL(struct referer_restriction_conf, bypass_missing, .def = "false",
           .doc = "Let requests in whose Referer is missing or malformed."),
    HOST_LIST(whitelist, .doc = "Hosts that are let in, and no others; may begin with *."),
    HOST_LIST(blacklist, .doc = "Hosts that are kept out; may begin with *."),
    F_STR(struct referer_restriction_conf, message, .def = JSON("Your referer host is not allowed"),
          .min_len = 1, .max_len = 1024, .doc = "Message of a refusal."),
    F_END,
};

extern const struct plugin referer_restriction_plugin;

static void host_list_prepare(struct arena *a, const struct arr *list, struct host_list *out)
{
    struct str *names = ARENA_ARRAY(a, struct str, list->n + 1);
    size_t n = 0;
    out->suffixes = ARENA_ARRAY(a, struct str, list->n + 1);
    for (size_t i = 0; i < list->n; i++) {
        const struct str host = arena_lower(a, ((struct str *)list->v)[i]);
        if (host.p[0] == '*') {
            out->suffixes[out->n_suffixes++] = str_skip(host, 1);
        } else {
            names[n++] = host;
        }
    }
    str_set_prepare(a, names, n, &out->names);
}

static int referer_restriction_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct referer_restriction_conf *c = conf;
    host_list_prepare(p->arena, c->whitelist.n ? &c->whitelist : &c->blacklist, &c->hosts);
    c->body = refuse_body(p->arena, "message", c->message);
    return 0;
}

static bool host_list_has(const struct host_list *l, struct str host)
{
    for (size_t i = 0; i < l->n_suffixes; i++) {
        if (str_ends(host, l->suffixes[i])) {
            return true;
        }
    }
    return str_set_has(&l->names, host);
}

/* The bytes of s before the first of these. */
static struct str before_any(struct str s, const char *stops)
{
    size_t n = 0;
    while (n < s.n && strchr(stops, s.p[n]) == NULL) {
        n++;
    }
    return str_head(s, n);
}

/* The host of an address in lower case, with the brackets of IPv6; STR_NONE when it has none. */
static struct str host_in(struct arena *a, struct str uri)
{
    const ptrdiff_t slashes = str_find(uri, STR("//"));
    const struct str scheme = str_head(uri, slashes > 0 ? (size_t)slashes : 0);
    if (slashes < 0 ||
        (scheme.n && !str_ieq(scheme, STR("http:")) && !str_ieq(scheme, STR("https:")))) {
        return STR_NONE;
    }
    struct str host = before_any(str_skip(uri, (size_t)slashes + 2), "/?#");
    host = str_skip(host, (size_t)(str_rindex(host, '@') + 1));
    const ptrdiff_t bracket = str_index(host, ']');
    host = bracket > 0 ? str_head(host, (size_t)bracket + 1) : before_any(host, ":");
    return host.n ? arena_lower(a, host) : STR_NONE;
}

static bool may_pass(struct req *r, const struct referer_restriction_conf *c, struct str referer)
{
    const struct str host = host_in(r->arena, referer);
    if (host.p == NULL) {
        return c->bypass_missing;
    }
    return host_list_has(&c->hosts, host) == (c->whitelist.n > 0);
}

static enum verdict referer_restriction_access(struct req *r, const void *conf)
{
    const struct referer_restriction_conf *c = conf;
    bool missing = true;
    for (unsigned i = 0; i < r->headers.n; i++) {
        const struct header *h = &r->headers.v[i];
        if (h->id != H_REFERER) {
            continue;
        }
        missing = false;
        if (!may_pass(r, c, h->value)) {
            return refuse(r, &referer_restriction_plugin, 403, c->body, STR("Referer"));
        }
    }
    if (missing && !c->bypass_missing) {
        return refuse(r, &referer_restriction_plugin, 403, c->body, STR("no Referer"));
    }
    return NEXT;
}

const struct plugin referer_restriction_plugin = {
    .name = "referer-restriction",
    .priority = 2990,
    .version = "0.1",
    .conf_size = sizeof(struct referer_restriction_conf),
    .fields = referer_restriction_fields,
    .schema_extra = JSON({"oneOf": [{"required": ["whitelist"]}, {"required": ["blacklist"]}]}),
    .prepare = referer_restriction_prepare,
    .access = referer_restriction_access,
};
