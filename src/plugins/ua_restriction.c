/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ua-restriction: let clients in or keep them out by User-Agent.
 *
 * Of several fields every one must pass: an upstream may look at any of them. A search that takes
 * too long refuses.
 */
#include "plugin/re_list.h"
#include "plugin/refuse.h"

struct ua_restriction_conf {
    bool bypass_missing;
    struct arr allowlist, denylist;
    struct str message;
    struct re_list allowed, denied;
    struct str body;
};

static const struct field ua_restriction_fields[] = {
    F_BOOL(struct ua_restriction_conf, bypass_missing, .def = "false",
           .doc = "Let requests without User-Agent in."),
    F_ARR(struct ua_restriction_conf, allowlist, .min_len = 1,
          .item = &(const struct field){F_ITEM(FK_STR, .min_len = 1)},
          .doc = "Regular expressions; only what one is found in is let in."),
    F_ARR(struct ua_restriction_conf, denylist, .min_len = 1,
          .item = &(const struct field){F_ITEM(FK_STR, .min_len = 1)},
          .doc = "Regular expressions; what one is found in is kept out."),
    F_STR(struct ua_restriction_conf, message, .def = JSON("Not allowed"), .min_len = 1,
          .max_len = 1024, .doc = "Message of a refusal."),
    F_END,
};

extern const struct plugin ua_restriction_plugin;

static int ua_restriction_check(const json_t *conf, enum conf_use use, struct err *e)
{
    return re_list_check(json_get(conf, "allowlist"), e) != 0
               ? -1
               : re_list_check(json_get(conf, "denylist"), e);
}

static int ua_restriction_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct ua_restriction_conf *c = conf;
    c->body = refuse_body(p->arena, "message", c->message);
    if (re_list_prepare(p->arena, &c->allowlist, "jo", &c->allowed, e) != 0) {
        return -1;
    }
    return re_list_prepare(p->arena, &c->denylist, "jo", &c->denied, e);
}

static bool may_pass(const struct ua_restriction_conf *c, struct str agent)
{
    return c->allowed.n ? re_list_find(&c->allowed, agent) == RE_FOUND
                        : re_list_find(&c->denied, agent) == RE_NOT_FOUND;
}

static enum verdict ua_restriction_access(struct req *r, const void *conf)
{
    const struct ua_restriction_conf *c = conf;
    bool missing = true;
    for (unsigned i = 0; i < r->headers.n; i++) {
        const struct header *h = &r->headers.v[i];
        if (h->id != H_USER_AGENT) {
            continue;
        }
        missing = false;
        if (!may_pass(c, h->value)) {
            return refuse(r, &ua_restriction_plugin, 403, c->body, STR("User-Agent"));
        }
    }
    if (missing && !c->bypass_missing) {
        return refuse(r, &ua_restriction_plugin, 403, c->body, STR("no User-Agent"));
    }
    return NEXT;
}

const struct plugin ua_restriction_plugin = {
    .name = "ua-restriction",
    .priority = 2999,
    .version = "0.1",
    .conf_size = sizeof(struct ua_restriction_conf),
    .fields = ua_restriction_fields,
    .schema_extra = JSON({"oneOf": [{"required": ["allowlist"]}, {"required": ["denylist"]}]}),
    .check = ua_restriction_check,
    .prepare = ua_restriction_prepare,
    .access = ua_restriction_access,
};
