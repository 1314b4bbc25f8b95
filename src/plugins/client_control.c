/* SPDX-License-Identifier: Apache-2.0 */
/* client-control: the largest request body of a route, instead of client_max_body_size. */
#include "plugin/refuse.h"

struct client_control_conf {
    struct opt_int max_body_size;
};

static const struct field client_control_fields[] = {
    F_INT(struct client_control_conf, max_body_size, .min = 0,
          .doc = "Bytes a request body may have; 0: any number."),
    F_END,
};

extern const struct plugin client_control_plugin;

/* What is known of the length by now: what the client says, or all of it when a condition has had
 * it read already. */
static uint64_t length_of(const struct req *r)
{
    return r->content_length > 0 ? (uint64_t)r->content_length : r->body.n;
}

static enum verdict client_control_rewrite(struct req *r, const void *conf)
{
    const struct client_control_conf *c = conf;
    if (!c->max_body_size.set) {
        return NEXT;
    }
    r->max_body = (uint64_t)c->max_body_size.v;
    if (r->max_body && length_of(r) > r->max_body) {
        return refuse(r, &client_control_plugin, 413, STR_NONE, STR("the body is too large"));
    }
    return NEXT; /* who reads the body counts it */
}

const struct plugin client_control_plugin = {
    .name = "client-control",
    .priority = 22000,
    .version = "0.1",
    .conf_size = sizeof(struct client_control_conf),
    .fields = client_control_fields,
    .rewrite = client_control_rewrite,
};
