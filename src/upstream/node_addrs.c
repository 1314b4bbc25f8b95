/* SPDX-License-Identifier: Apache-2.0 */
/* node_addrs: the addresses an upstream's nodes have at this moment. */
#include "base/log.h"
#include "fiber/fiber.h"
#include "net/resolver.h"
#include "upstream/balancer_priv.h"

#include <stdlib.h>

static int ip_cmp(const void *a, const void *b)
{
    const struct ip *x = a, *y = b;
    return memcmp(x->b, y->b, sizeof(x->b));
}

static void await_name(const struct upstream_node *node, struct node_addrs *out, struct arena *a,
                       int64_t deadline)
{
    struct resolved r;
    int err = await_resolve(node->host, &r, deadline);

    if (err != 0 || r.n == 0) {
        LOG_RATE(WARN, "upstream node %.*s has no address: %s", STR_ARG(node->host),
                 err ? strerror(-err) : "empty answer");
        return;
    }
    if (r.n > 1) {
        qsort(r.ip, r.n, sizeof(r.ip[0]), ip_cmp);
    }
    struct ip *copy = ARENA_ARRAY(a, struct ip, r.n);
    memcpy(copy, r.ip, r.n * sizeof(r.ip[0]));
    *out = (struct node_addrs){.n = r.n, .ip = copy};
}

const struct node_addrs *await_node_addrs(const struct upstream_conf *u, struct arena *a,
                                          int64_t deadline)
{
    struct node_addrs *all = ARENA_ARRAY(a, struct node_addrs, u->n_nodes);
    bool is_any = false;

    for (unsigned i = 0; i < u->n_nodes; i++) {
        if (u->nodes[i].is_ip) {
            all[i] = (struct node_addrs){.n = 1, .ip = &u->nodes[i].ip};
        } else if (!fiber_must_end()) {
            await_name(&u->nodes[i], &all[i], a, deadline);
        }
        is_any |= all[i].n > 0;
    }
    return is_any && !fiber_must_end() ? all : NULL;
}

const struct node_addrs *node_addrs_literal(const struct upstream_conf *u, struct arena *a)
{
    struct node_addrs *all = ARENA_ARRAY(a, struct node_addrs, u->n_nodes);

    for (unsigned i = 0; i < u->n_nodes; i++) {
        all[i] = (struct node_addrs){.n = 1, .ip = &u->nodes[i].ip};
    }
    return all;
}
