/* SPDX-License-Identifier: Apache-2.0 */
/* public-api: a route that leads to an endpoint which another plugin offers, under the route's own
 * path or the one it names. What guards it are the route's other plugins. */
#include "plugin/refuse.h"

struct public_api_conf {
    struct str uri;
};

static const struct field public_api_fields[] = {
    F_STR(struct public_api_conf, uri,
          .doc = "Path of the endpoint; the request's own when left out."),
    F_END,
};

extern const struct plugin public_api_plugin;

static enum verdict public_api_access(struct req *r, const void *conf)
{
    const struct public_api_conf *c = conf;
    const struct endpoint *e =
        plugin_find_endpoint(r->settings, r->method_id, c->uri.p ? c->uri : r->uri);
    if (e == NULL) {
        return refuse(r, &public_api_plugin, 404, STR_NONE, STR("no plugin offers this"));
    }
    return e->answer(r);
}

const struct plugin public_api_plugin = {
    .name = "public-api",
    .priority = 501,
    .version = "0.1",
    .conf_size = sizeof(struct public_api_conf),
    .fields = public_api_fields,
    .access = public_api_access,
};
