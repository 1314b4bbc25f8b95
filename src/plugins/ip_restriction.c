/* SPDX-License-Identifier: Apache-2.0 */
/* ip-restriction: let clients in or keep them out by address. */
#include "plugin/ip_set.h"
#include "plugin/refuse.h"

struct ip_restriction_conf {
    const json_t *whitelist, *blacklist;
    struct str message;
    int64_t response_code;
    struct ip_set white, black;
    struct str body;
};

static const struct field ip_restriction_fields[] = {
    F_JSON(struct ip_restriction_conf, whitelist, .raw = IP_LIST_SCHEMA,
           .doc = "Addresses and blocks that are let in, and no others."),
    F_JSON(struct ip_restriction_conf, blacklist, .raw = IP_LIST_SCHEMA,
           .doc = "Addresses and blocks that are kept out."),
    F_STR(struct ip_restriction_conf, message, .def = JSON("Your IP address is not allowed"),
          .min_len = 1, .max_len = 1024, .doc = "Message of a refusal."),
    F_INT(struct ip_restriction_conf, response_code, .def = "403", .min = 403, .max = 404,
          .doc = "Status of a refusal."),
    F_END,
};

extern const struct plugin ip_restriction_plugin;

static int ip_restriction_check(const json_t *conf, enum conf_use use, struct err *e)
{
    return ip_set_check(json_get(conf, "whitelist"), e) != 0
               ? -1
               : ip_set_check(json_get(conf, "blacklist"), e);
}

static int ip_restriction_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct ip_restriction_conf *c = conf;
    c->body = refuse_body(p->arena, "message", c->message);
    if (ip_set_prepare(p->arena, c->whitelist, &c->white, e) != 0) {
        return -1;
    }
    return ip_set_prepare(p->arena, c->blacklist, &c->black, e);
}

static enum verdict ip_restriction_access(struct req *r, const void *conf)
{
    const struct ip_restriction_conf *c = conf;
    if (c->whitelist ? ip_set_has(&c->white, &r->client) : !ip_set_has(&c->black, &r->client)) {
        return NEXT;
    }
    return refuse(r, &ip_restriction_plugin, (int)c->response_code, c->body, STR("client address"));
}

const struct plugin ip_restriction_plugin = {
    .name = "ip-restriction",
    .priority = 3000,
    .version = "0.1",
    .conf_size = sizeof(struct ip_restriction_conf),
    .fields = ip_restriction_fields,
    .schema_extra = JSON({"oneOf": [{"required": ["whitelist"]}, {"required": ["blacklist"]}]}),
    .check = ip_restriction_check,
    .prepare = ip_restriction_prepare,
    .access = ip_restriction_access,
};
