/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long the router takes: a look-up among 10, 10,000 and 100,000 routes of four shapes, and one
 * change.
 *
 *     bench_route                     a table
 *     bench_route SHAPE ROUTES TRIES  one look-up loop, for counting instructions:
 *         valgrind --tool=callgrind --toggle-collect=router_match bench_route exact 100000 100000
 *         (collected instructions divided by TRIES)
 *
 * "near": the same 64 requests again and again, so that what they touch stays in the cache; "far":
 * all routes in random order. The difference is memory, not work.
 */
#include "base/arena.h"
#include "base/assert.h"
#include "route/router.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { QUERIES = 1 << 16, NEAR = 64, CHANGES = 2000 };

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint32_t roll(uint32_t n)
{
    static uint32_t seed = 1;

    seed = seed * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)seed * n >> 32);
}

/* Route i of a shape, and a request for it. */
struct shape {
    const char *name;
    enum router_mode mode;
    const char *uri, *host; /* %u: the number */
    const char *ask_uri, *ask_host;
};
static const struct shape shapes[] = {
    {"exact", ROUTER_HOST_URI, "/api/v1/service%05u/items", NULL, "/api/v1/service%05u/items",
     NULL},
    {"prefix", ROUTER_HOST_URI, "/api/v1/service%05u/*", NULL, "/api/v1/service%05u/items/77",
     NULL},
    {"host", ROUTER_HOST_URI, "/*", "svc%05u.example.com", "/api/v1/items", "svc%05u.example.com"},
    {"param", ROUTER_URI_PARAMS, "/users/:id/x%u", NULL, "/users/4711/x%u", NULL},
    {"params", ROUTER_URI_PARAMS, "/t/:tenant/u/:id/x%u/:item", NULL, "/t/acme/u/4711/x%u/9", NULL},
};

static struct str numbered(struct arena *a, const char *fmt, unsigned i)
{
    char text[128];

    return fmt ? arena_str(a, str_of(text, (size_t)snprintf(text, sizeof(text), fmt, i)))
               : STR_NONE;
}

static struct route *route_new(struct arena *a, const struct shape *s, unsigned i)
{
    struct route *r = ARENA_NEW(a, struct route);
    struct str *uri = ARENA_NEW(a, struct str), *host = ARENA_NEW(a, struct str);

    *uri = numbered(a, s->uri, i);
    *host = numbered(a, s->host, i);
    r->o.id = numbered(a, "%u", i);
    r->o.created_index = i;
    r->uris = uri;
    r->n_uris = 1;
    r->hosts = host;
    r->n_hosts = s->host != NULL;
    r->enabled = true;
    return r;
}

struct bench {
    struct arena *arena;
    const struct shape *shape;
    unsigned n;
    struct router *router;
    struct route_query *queries;
    double build_us; /* a route */
};

static void bench_make(struct bench *b, const struct shape *s, unsigned n)
{
    *b = (struct bench){.arena = arena_new(1 << 20), .shape = s, .n = n};
    struct route **routes = ARENA_ARRAY(b->arena, struct route *, n);

    for (unsigned i = 0; i < n; i++) {
        routes[i] = route_new(b->arena, s, i);
    }
    router_set_mode(s->mode);
    double start = now_ns();
    for (unsigned i = 0; i < n; i++) {
        struct router *next = router_put(b->router, routes[i], NULL);
        router_drop(b->router);
        b->router = next;
    }
    b->build_us = (now_ns() - start) / n / 1000;
    b->queries = ARENA_ARRAY(b->arena, struct route_query, QUERIES);
    for (unsigned i = 0; i < QUERIES; i++) {
        unsigned number = roll(n);
        struct str host =
            s->ask_host ? numbered(b->arena, s->ask_host, number) : STR("api.example.com");
        b->queries[i] = (struct route_query){.uri = numbered(b->arena, s->ask_uri, number),
                                             .host = host,
                                             .host_header = host,
                                             .method_bit = 2};
    }
}

static void bench_drop(struct bench *b)
{
    router_drop(b->router);
    arena_free(b->arena);
}

static double lookups(const struct bench *b, unsigned tries, unsigned queries)
{
    static struct route_match m;
    double start = now_ns();

    for (unsigned i = 0; i < tries; i++) {
        ASSERT(router_match(b->router, &b->queries[i & (queries - 1)], &m));
    }
    return (now_ns() - start) / tries;
}

static double best_of(const struct bench *b, unsigned queries)
{
    double best = 1e18;

    for (int i = 0; i < 7; i++) {
        double ns = lookups(b, 300000, queries);
        best = ns < best ? ns : best;
    }
    return best;
}

/* The mean of putting a new route and taking it out again, the old roots dropped. */
static void changes(const struct bench *b, double *put_us, double *del_us)
{
    struct route *routes[CHANGES];
    double put = 0, del = 0;

    for (unsigned i = 0; i < CHANGES; i++) {
        routes[i] = route_new(b->arena, b->shape,
                              100000 + roll(900000)); /* six digits: among the five-digit ones */
    }
    for (unsigned i = 0; i < CHANGES; i++) {
        double start = now_ns();
        struct router *with = router_put(b->router, routes[i], NULL);
        double middle = now_ns();
        struct router *without = router_del(with, routes[i], NULL);

        router_drop(with);
        router_drop(without);
        put += middle - start;
        del += now_ns() - middle;
    }
    *put_us = put / CHANGES / 1000;
    *del_us = del / CHANGES / 1000;
}

static void table(void)
{
    static const unsigned sizes[] = {10, 10000, 100000};

    printf("%-8s %8s %9s %9s %9s %9s %12s\n", "shape", "routes", "near ns", "far ns", "put us",
           "del us", "build us/rt");
    for (size_t s = 0; s < LENGTH_OF(shapes); s++) {
        for (size_t i = 0; i < LENGTH_OF(sizes); i++) {
            struct bench b;
            double put, del;

            bench_make(&b, &shapes[s], sizes[i]);
            double near = best_of(&b, NEAR), far = best_of(&b, QUERIES);
            changes(&b, &put, &del);
            printf("%-8s %8u %9.1f %9.1f %9.2f %9.2f %12.2f\n", shapes[s].name, sizes[i], near, far,
                   put, del, b.build_us);
            fflush(stdout);
            bench_drop(&b);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        table();
        return 0;
    }
    for (size_t s = 0; s < LENGTH_OF(shapes); s++) {
        if (strcmp(shapes[s].name, argv[1]) == 0) {
            struct bench b;
            unsigned tries = (unsigned)atoi(argv[3]);

            bench_make(&b, &shapes[s], (unsigned)atoi(argv[2]));
            printf("%.1f ns\n", lookups(&b, tries, NEAR));
            bench_drop(&b);
        }
    }
    return 0;
}
