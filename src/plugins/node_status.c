/* SPDX-License-Identifier: Apache-2.0 */
/* node-status: connections and requests of this instance, as JSON. An endpoint for public-api. */
#include "plugin/instance.h"
#include "plugin/plugin.h"

#include <inttypes.h>

static enum verdict node_status_answer(struct req *r)
{
    const struct server_stats s = instance.stats();
    struct buf text = BUF_INIT(4096);
    buf_add(&text, STR("{\"id\":"));
    json_write_string(&text, instance.id);
    buf_printf(&text,
               ",\"status\":{\"active\":\"%u\",\"accepted\":\"%" PRIu64 "\",\"handled\":\"%" PRIu64
               "\",\"total\":\"%" PRIu64 "\",\"reading\":\"%u\",\"writing\":\"%u\","
               "\"waiting\":\"%u\"}}",
               s.active, s.accepted, s.handled, s.requests, s.reading, s.writing, s.waiting);
    const struct str body = arena_str(r->arena, buf_str(&text));
    buf_fini(&text);
    return req_reply(r, 200, body);
}

static const struct field no_fields[] = {F_END};
static const struct endpoint node_status_endpoints[] = {
    {M_GET, "/apisix/status", NULL, node_status_answer},
    {0},
};

const struct plugin node_status_plugin = {
    .name = "node-status",
    .priority = 1000,
    .version = "0.1",
    .global_scope = true,
    .off_by_default = true,
    .fields = no_fields,
    .endpoints = node_status_endpoints,
};
