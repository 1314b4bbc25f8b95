/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * hooks: what config/ needs from the layers above it. main/ fills this once before the first object
 * is made.
 */
#include "config/object.h"

enum conf_use { CONF_PLUGIN, CONF_CONSUMER, CONF_METADATA };

struct config_hooks {
    /* An enabled plugin by name, NULL when there is none. */
    const struct plugin *(*plugin_find)(struct str name);
    const char *(*plugin_name)(const struct plugin *p);
    unsigned (*plugin_index)(const struct plugin *p);
    bool (*plugin_is_auth)(const struct plugin *p);
    /* Schema check (fills defaults into conf) and the plugin's own checks. 0, or -1 with the bare
     * text in e. A use for which the plugin has no schema accepts anything. */
    int (*plugin_check)(const struct plugin *p, enum conf_use use, json_t *conf, struct err *e);
    /* Compile an accepted conf into arena a; conf (JSON) outlives it. NULL with e set. */
    const void *(*plugin_build)(const struct plugin *p, enum conf_use use, const json_t *conf,
                                struct arena *a, struct err *e);
    /* The name of the consumer attribute that identifies ("key" of key-auth), NULL for none. */
    const char *(*plugin_key_attr)(const struct plugin *p);

    /* route/: a persistent router. NULL is the empty one. Both return a new root (one reference)
     * and leave the old as it was. */
    struct router *(*router_put)(struct router *r, const struct route *route,
                                 const struct service *service);
    struct router *(*router_del)(struct router *r, const struct route *route,
                                 const struct service *service);
    /* Another reference to r, for a snapshot that shares the router; returns r. */
    struct router *(*router_hold)(struct router *r);
    void (*router_drop)(struct router *r);
};
extern struct config_hooks config_hooks;
