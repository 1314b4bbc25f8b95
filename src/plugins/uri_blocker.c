/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uri-blocker: refuse requests whose URI one of some expressions is found in.
 *
 * Looked at are the normalised path with the query, which the reference looks at, and what the
 * client sent: whichever spelling the upstream gets to see, the rule has seen it. A search that
 * takes too long refuses too.
 */
#include "plugin/re_list.h"
#include "plugin/refuse.h"

struct uri_blocker_conf {
    struct arr block_rules;
    int64_t rejected_code;
    struct str rejected_msg;
    bool case_insensitive;
    struct re_list rules;
    struct str body;
};

static const struct field uri_blocker_fields[] = {
    F_ARR(struct uri_blocker_conf, block_rules, .required = true, .unique = true,
          .item = &(const struct field){F_ITEM(FK_STR, .min_len = 1, .max_len = 4096)},
          .doc = "Regular expressions; one that is found refuses."),
    F_INT(struct uri_blocker_conf, rejected_code, .def = "403", .min = 200,
          .doc = "Status of a refusal."),
    F_STR(struct uri_blocker_conf, rejected_msg, .min_len = 1,
          .doc = "Message of a refusal; without it the standard page is sent."),
    F_BOOL(struct uri_blocker_conf, case_insensitive, .def = "false",
           .doc = "Letter case does not count."),
    F_END,
};

extern const struct plugin uri_blocker_plugin;

static int uri_blocker_check(const json_t *conf, enum conf_use use, struct err *e)
{
    return re_list_check(json_get(conf, "block_rules"), e);
}

static int uri_blocker_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct uri_blocker_conf *c = conf;
    c->body = c->rejected_msg.p ? refuse_body(p->arena, "error_msg", c->rejected_msg) : STR_NONE;
    return re_list_prepare(p->arena, &c->block_rules, c->case_insensitive ? "ijo" : "jo", &c->rules,
                           e);
}

static bool is_blocked(const struct uri_blocker_conf *c, struct str uri)
{
    return re_list_find(&c->rules, uri) != RE_NOT_FOUND;
}

static struct str with_args(const struct req *r, struct str path)
{
    return r->has_args ? arena_printf(r->arena, "%.*s?%.*s", STR_ARG(path), STR_ARG(r->args))
                       : path;
}

static enum verdict uri_blocker_rewrite(struct req *r, const void *conf)
{
    const struct uri_blocker_conf *c = conf;
    const bool is_plain = str_eq(r->raw_path, r->uri);
    bool blocked = is_blocked(c, r->target);
    if (!blocked && !is_plain) {
        blocked = is_blocked(c, with_args(r, r->uri));
    }
    /* Options of config.yaml give routing a path of its own; rules are about that one as well. */
    if (!blocked && !str_eq(r->match_uri, r->uri)) {
        blocked = is_blocked(c, with_args(r, r->match_uri));
    }
    if (!blocked) {
        return NEXT;
    }
    return refuse(r, &uri_blocker_plugin, (int)c->rejected_code, c->body,
                  STR("a rule matches the URI"));
}

const struct plugin uri_blocker_plugin = {
    .name = "uri-blocker",
    .priority = 2900,
    .version = "0.1",
    .conf_size = sizeof(struct uri_blocker_conf),
    .fields = uri_blocker_fields,
    .check = uri_blocker_check,
    .prepare = uri_blocker_prepare,
    .rewrite = uri_blocker_rewrite,
};
