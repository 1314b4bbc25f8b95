/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * router: from a request to a route, as runtime.md section 3 says, in all three router modes.
 *
 * Persistent radix trees with path copying: router_put/del give a new root that shares all
 * untouched nodes, in time proportional to the change. Node counts are touched on the control
 * thread only; any core may match in a root that is held. Takes bytes and returns values: no
 * sockets, no loop.
 *
 * Routes (and the hosts of services) are borrowed: they live as long as any root they were put in;
 * the snapshot that holds a root holds its routes.
 */
#include "config/object.h"

enum router_mode { ROUTER_HOST_URI, ROUTER_URI, ROUTER_URI_PARAMS };
/* "radixtree_host_uri" ...; -1 when unknown. */
int router_mode_of(struct str name);
/* The mode of routers made from now on (process-wide; set at boot and when config.yaml is read
 * again, followed by a rebuild). */
void router_set_mode(enum router_mode m);

struct router;
/*
 * NULL is the empty router. A new root with one reference. A route that is not enabled is not put.
 * service: for the hosts of a route without any; may be NULL. Routes with equal paths are tried by
 * priority, length of path, created_index, id. A changed route is first taken out as it was, then
 * put.
 */
struct router *router_put(struct router *r, const struct route *route,
                          const struct service *service);
/* service must be the one it was put with. */
struct router *router_del(struct router *r, const struct route *route,
                          const struct service *service);
struct router *router_hold(struct router *r);
void router_drop(struct router *r);

/* What matching looks at. */
struct route_query {
    struct str uri;  /* normalised, decoded path */
    struct str host; /* lower case, no port, no final dot; STR_NONE: none */
    /* as sent, with port: radixtree_uri compares host:port patterns with it */
    struct str host_header;
    /* 1 << enum http_method; 0: a method outside the list (matches only routes without methods) */
    unsigned method_bit;
    const struct ip *client; /* may be NULL */
    void *subject;           /* for vars: the struct req */
};
#define ROUTE_MAX_PARAMS 32
struct route_match {
    const struct route *route; /* NULL: none */
    struct str uri_pattern;    /* the uri of the route that matched: $matched_uri */
    /* the host pattern that matched, STR_NONE when the route has none; valid while the root is held
     */
    struct str host_pattern;
    /* ":name" (router with parameters) and "*name" segments; of a "*" segment without name: ":ext"
     */
    unsigned n_params;
    struct {
        struct str name, value;
    } params[ROUTE_MAX_PARAMS];
};
/* The route of a request. No allocation. */
bool router_match(const struct router *r, const struct route_query *q, struct route_match *m);
size_t router_count(const struct router *r);
