/* SPDX-License-Identifier: Apache-2.0 */
/* refuse: log and answer. */
#include "plugin/refuse.h"

#include "base/log.h"

struct str refuse_body(struct arena *a, const char *key, struct str text)
{
    json_t *o = json_pack("{s:s%}", key, text.p, text.n);
    struct str body = arena_cat(a, json_text(a, o), STR("\n"));

    json_decref(o);
    return body;
}

enum verdict refuse(struct req *r, const struct plugin *p, int status, struct str body,
                    struct str why)
{
    const struct str route = r->route ? r->route->o.id : STR("-");

    LOG_RATE(WARN, "%s refused with %d: %.*s, client: %.*s, route: %.*s, request: \"%.*s %.*s\"",
             p->name, status, STR_ARG(why), STR_ARG(r->remote_addr), STR_ARG(route),
             STR_ARG(r->method), STR_ARG(r->raw_path));
    return req_reply(r, status, body);
}
