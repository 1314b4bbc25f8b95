/* SPDX-License-Identifier: Apache-2.0 */
/*
 * consumer-restriction: let a consumer (or its group), a route or a service in by its name.
 *
 * The blacklist comes first. Who is in the whitelist is in. allowed_by_methods decides about all
 * others and lets those in whom it does not name, even with a whitelist: the reference does so too.
 */
#include "plugin/refuse.h"
#include "plugin/str_set.h"

struct user_methods {
    struct str user;
    struct arr methods;
    struct str_set names;
};
struct consumer_restriction_conf {
    struct str type;
    struct arr blacklist, whitelist, allowed_by_methods;
    int64_t rejected_code;
    struct str rejected_msg;
    struct str_set black, white;
    struct str missing_body, forbidden_body;
};

static const char *const methods[] = {"GET",     "POST",    "PUT",   "DELETE", "PATCH", "HEAD",
                                      "OPTIONS", "CONNECT", "TRACE", "PURGE",  NULL};
static const char *const types[] = {"consumer_name", "service_id", "route_id", "consumer_group_id",
                                    NULL};

static const struct field user_methods_fields[] = {
    F_STR(struct user_methods, user, .doc = "Who."),
    F_ARR(struct user_methods, methods,
          .item = &(const struct field){F_ITEM(FK_STR, .choices = methods)}, .min_len = 1,
          .doc = "Methods this one may use."),
    F_END,
};
static const struct field consumer_restriction_fields[] = {
    F_STR(struct consumer_restriction_conf, type, .choices = types, .def = JSON("consumer_name"),
          .doc = "What the lists name."),
    F_ARR(struct consumer_restriction_conf, blacklist,
          .item = &(const struct field){F_ITEM(FK_STR)}, .min_len = 1, .doc = "Who is kept out."),
    F_ARR(struct consumer_restriction_conf, whitelist,
          .item = &(const struct field){F_ITEM(FK_STR)}, .min_len = 1, .doc = "Who is let in."),
    F_ARR_OF(struct consumer_restriction_conf, allowed_by_methods, struct user_methods,
             user_methods_fields, .doc = "Methods that the named ones may use."),
    F_INT(struct consumer_restriction_conf, rejected_code, .def = "403", .min = 200,
          .doc = "Status of a refusal."),
    F_STR(struct consumer_restriction_conf, rejected_msg, .doc = "Message of a refusal."),
    F_END,
};

extern const struct plugin consumer_restriction_plugin;

static int consumer_restriction_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct consumer_restriction_conf *c = conf;
    struct user_methods *u = c->allowed_by_methods.v;

    str_set_prepare(p->arena, c->blacklist.v, c->blacklist.n, &c->black);
    str_set_prepare(p->arena, c->whitelist.v, c->whitelist.n, &c->white);
    for (size_t i = 0; i < c->allowed_by_methods.n; i++) {
        str_set_prepare(p->arena, u[i].methods.v, u[i].methods.n, &u[i].names);
    }
    c->missing_body = refuse_body(
        p->arena, "message",
        arena_printf(p->arena, "The request is rejected, please check the %.*s for this request",
                     STR_ARG(c->type)));
    c->forbidden_body = refuse_body(
        p->arena, "message",
        c->rejected_msg.p ? c->rejected_msg
                          : arena_printf(p->arena, "The %.*s is forbidden.", STR_ARG(c->type)));
    return 0;
}

/* What the lists are about, of this request; STR_NONE when there is none. */
static struct str subject_of(const struct req *r, struct str type)
{
    if (str_eq(type, STR("service_id"))) {
        return r->service ? r->service->o.id : STR_NONE;
    }
    if (str_eq(type, STR("route_id"))) {
        return r->route ? r->route->o.id : STR_NONE;
    }
    if (str_eq(type, STR("consumer_group_id"))) {
        return r->consumer ? r->consumer->group_id : STR_NONE;
    }
    return r->consumer ? r->consumer->username : STR_NONE;
}

/* The first entry of a name decides; who has none may use any method. */
static bool may_use(const struct consumer_restriction_conf *c, struct str who, struct str method)
{
    const struct user_methods *u = c->allowed_by_methods.v;
    for (size_t i = 0; i < c->allowed_by_methods.n; i++) {
        if (str_eq(u[i].user, who)) {
            return str_set_has(&u[i].names, method);
        }
    }
    return true;
}

static bool is_allowed(const struct consumer_restriction_conf *c, struct str who, struct str method)
{
    if (str_set_has(&c->black, who)) {
        return false;
    }
    if (str_set_has(&c->white, who)) {
        return true;
    }
    return c->allowed_by_methods.n > 0 ? may_use(c, who, method) : c->white.n == 0;
}

static enum verdict consumer_restriction_access(struct req *r, const void *conf)
{
    const struct consumer_restriction_conf *c = conf;
    const struct str who = subject_of(r, c->type);
    if (str_is_none(who)) {
        return refuse(r, &consumer_restriction_plugin, 401, c->missing_body,
                      arena_cat(r->arena, STR("there is no "), c->type));
    }
    if (is_allowed(c, who, r->method)) {
        return NEXT;
    }
    return refuse(r, &consumer_restriction_plugin, (int)c->rejected_code, c->forbidden_body,
                  arena_printf(r->arena, "%.*s %.*s", STR_ARG(c->type), STR_ARG(who)));
}

const struct plugin consumer_restriction_plugin = {
    .name = "consumer-restriction",
    .priority = 2400,
    .version = "0.1",
    .conf_size = sizeof(struct consumer_restriction_conf),
    .fields = consumer_restriction_fields,
    .schema_extra = JSON({
        "anyOf": [
            {"required": ["blacklist"]}, {"required": ["whitelist"]},
            {"required": ["allowed_by_methods"]}
        ]
    }),
    .prepare = consumer_restriction_prepare,
    .access = consumer_restriction_access,
};
