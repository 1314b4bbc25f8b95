/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy-buffering: pass each piece of an answer on by itself.
 *
 * Answers are streamed here anyway. What remains to switch off is that pieces which follow at once
 * are compressed together.
 */
#include "plugin/plugin.h"

struct proxy_buffering_conf {
    bool disable_proxy_buffering;
};

static const struct field proxy_buffering_fields[] = {
    F_BOOL(struct proxy_buffering_conf, disable_proxy_buffering, .def = "false",
           .doc = "Pass each piece of an answer on by itself."),
    F_END,
};

static enum verdict proxy_buffering_rewrite(struct req *r, const void *conf)
{
    const struct proxy_buffering_conf *c = conf;
    r->resp.unbuffered = c->disable_proxy_buffering;
    return NEXT;
}

const struct plugin proxy_buffering_plugin = {
    .name = "proxy-buffering",
    .priority = 21991,
    .version = "0.1",
    .conf_size = sizeof(struct proxy_buffering_conf),
    .fields = proxy_buffering_fields,
    .rewrite = proxy_buffering_rewrite,
};
