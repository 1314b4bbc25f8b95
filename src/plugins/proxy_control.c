/* SPDX-License-Identifier: Apache-2.0 */
/* proxy-control: is the beginning of a request body gathered before the upstream is asked? */
#include "plugin/plugin.h"

struct proxy_control_conf {
    bool request_buffering;
};

static const struct field proxy_control_fields[] = {
    F_BOOL(struct proxy_control_conf, request_buffering, .def = "true",
           .doc = "Gather a request body, up to 64 KB, before the upstream is asked; false: stream "
                  "it as it comes."),
    F_END,
};

static enum verdict proxy_control_rewrite(struct req *r, const void *conf)
{
    const struct proxy_control_conf *c = conf;
    if (!c->request_buffering) {
        r->up.gather = 0;
    }
    return NEXT;
}

const struct plugin proxy_control_plugin = {
    .name = "proxy-control",
    .priority = 21990,
    .version = "0.1",
    .conf_size = sizeof(struct proxy_control_conf),
    .fields = proxy_control_fields,
    .rewrite = proxy_control_rewrite,
};
