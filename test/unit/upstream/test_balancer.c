/* SPDX-License-Identifier: Apache-2.0 */
/* balancer: who is chosen, how often, and what is left when some were tried. */
#include "upstream/balancer.h"

#include "fiber/fiber.h"
#include "net/resolver.h"
#include "t.h"

#include <errno.h>

/* ---- a resolver that knows what the test says ---- */

static struct {
    const char *name;
    const char *ips[4];
} names[8];
static unsigned n_resolved;

int await_resolve(struct str host, struct resolved *out, int64_t deadline)
{
    n_resolved++;
    out->n = 0;
    for (size_t i = 0; i < 8 && names[i].name; i++) {
        if (!str_eq(host, str_c(names[i].name))) {
            continue;
        }
        for (size_t k = 0; k < 4 && names[i].ips[k]; k++) {
            CHECK(ip_parse(str_c(names[i].ips[k]), &out->ip[out->n++]));
        }
    }
    return out->n ? 0 : -ENOENT;
}

/* ---- upstreams from a short table ---- */

struct spec {
    const char *host; /* NULL ends a table */
    uint16_t port;
    uint32_t weight;
    int32_t priority;
};

static struct upstream_conf *upstream_new(const char *type, const struct spec *spec)
{
    static uint64_t serial;
    struct upstream_conf *u = calloc(1, sizeof(*u));
    struct upstream_node *nodes = calloc(64, sizeof(*nodes));

    u->serial = ++serial;
    u->type = str_c(type);
    u->nodes = nodes;
    for (; spec->host; spec++) {
        struct upstream_node *n = &nodes[u->n_nodes++];
        n->host = str_c(spec->host);
        n->port = spec->port;
        n->weight = spec->weight;
        n->priority = spec->priority;
        n->is_ip = ip_parse(n->host, &n->ip);
        u->has_domain |= !n->is_ip;
    }
    return u;
}

static void upstream_free(struct upstream_conf *u)
{
    free((void *)(uintptr_t)u->nodes);
    free(u);
}

static unsigned node_index(const struct upstream_conf *u, const struct balancer_target *t)
{
    return (unsigned)(t->node - u->nodes);
}

static enum balancer_result start(struct balancer_walk *w, const struct upstream_conf *u,
                                  const char *key)
{
    memset(w, 0, sizeof(*w));
    return balancer_await_start(w, u, str_c(key), NEVER);
}

/* First choices of n walks, by node. */
static void count_first(const struct upstream_conf *u, unsigned n, unsigned *count)
{
    struct balancer_walk w;
    struct balancer_target t;

    memset(count, 0, 64 * sizeof(*count));
    for (unsigned i = 0; i < n; i++) {
        CHECK(start(&w, u, "") == BALANCER_OK);
        CHECK(balancer_next(&w, &t) == BALANCER_OK);
        count[node_index(u, &t)]++;
        balancer_end(&w);
    }
}

/* ---- the tests ---- */

static void chash_chooses_as_the_reference(void)
{
    static const struct spec spec[] = {
        {"127.0.0.1", 21980, 1}, {"127.0.0.1", 21981, 1}, {"127.0.0.1", 21982, 1}, {0}};
    static const struct {
        const char *key;
        uint16_t want;
    } cases[] = {
        {"a", 21981}, {"b", 21982}, {"c", 21981}, {"d", 21982}, {"e", 21981},
        {"f", 21982}, {"1", 21980}, {"2", 21982}, {"3", 21982}, {"hello", 21982},
    };
    struct upstream_conf *u = upstream_new("chash", spec);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct balancer_walk w;
        struct balancer_target t;
        CHECK_ROW(i, start(&w, u, cases[i].key) == BALANCER_OK);
        CHECK_ROW(i, balancer_next(&w, &t) == BALANCER_OK);
        CHECK_ROW(i, addr_port(&t.addr) == cases[i].want);
        balancer_end(&w);
    }
    upstream_free(u);
}

/* Ports of the walk for a key, in order. */
static void walk_ports(const struct upstream_conf *u, const char *key, uint16_t out[3])
{
    struct balancer_walk w;
    struct balancer_target t;

    CHECK(start(&w, u, key) == BALANCER_OK);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(balancer_next(&w, &t) == BALANCER_OK);
        out[i] = addr_port(&t.addr);
    }
    balancer_end(&w);
}

static void a_key_whose_node_leaves_goes_to_the_next_on_the_ring(void)
{
    static const struct spec all[] = {
        {"10.0.0.1", 1, 1}, {"10.0.0.2", 2, 1}, {"10.0.0.3", 3, 1}, {"10.0.0.4", 4, 1}, {0}};
    struct upstream_conf *u = upstream_new("chash", all);
    struct upstream_conf *less = upstream_new("chash", all + 1);
    unsigned stayed = 0, moved = 0;

    for (unsigned i = 0; i < 200; i++) {
        char key[16];
        uint16_t before[3], after[3];
        snprintf(key, sizeof(key), "key-%u", i);
        walk_ports(u, key, before);
        walk_ports(less, key, after);
        if (before[0] == 1) {
            CHECK_ROW(i, after[0] == before[1]);
            moved++;
        } else {
            CHECK_ROW(i, after[0] == before[0]);
            stayed++;
        }
    }
    CHECK(moved > 20 && stayed > 100);
    upstream_free(u);
    upstream_free(less);
}

static void chash_spreads_keys_by_weight(void)
{
    static const struct spec spec[] = {
        {"10.0.0.1", 1, 100}, {"10.0.0.2", 1, 300}, {"::1", 1, 0}, {0}};
    struct upstream_conf *u = upstream_new("chash", spec);
    unsigned count[3] = {0};

    for (unsigned i = 0; i < 8000; i++) {
        char key[16];
        struct balancer_walk w;
        struct balancer_target t;
        snprintf(key, sizeof(key), "%u", i);
        CHECK(start(&w, u, key) == BALANCER_OK && balancer_next(&w, &t) == BALANCER_OK);
        count[node_index(u, &t)]++;
        balancer_end(&w);
    }
    CHECK(count[0] > 1600 && count[0] < 2400);
    CHECK(count[2] == 0);
    upstream_free(u);
}

static void huge_weights_make_a_bounded_ring(void)
{
    static const struct spec spec[] = {{"10.0.0.1", 1, 4000000007U}, {"10.0.0.2", 1, 1}, {0}};
    struct upstream_conf *u = upstream_new("chash", spec);
    struct balancer_walk w;
    struct balancer_target t;
    bool seen[2] = {false};

    CHECK(start(&w, u, "k") == BALANCER_OK);
    for (unsigned i = 0; i < 2; i++) {
        CHECK(balancer_next(&w, &t) == BALANCER_OK);
        seen[node_index(u, &t)] = true;
    }
    CHECK(seen[0] && seen[1]);
    CHECK(balancer_next(&w, &t) == BALANCER_EXHAUSTED);
    balancer_end(&w);
    upstream_free(u);
}

static void weights_are_kept_exactly(void)
{
    static const struct {
        const char *type;
        struct spec spec[5];
        unsigned rounds, want[4];
    } cases[] = {
        {"roundrobin",
         {{"10.0.0.1", 1, 1}, {"10.0.0.2", 1, 1}, {"10.0.0.3", 1, 1}},
         300,
         {100, 100, 100}},
        {"roundrobin",
         {{"10.0.0.1", 1, 5}, {"10.0.0.2", 1, 1}, {"10.0.0.3", 1, 1}},
         700,
         {500, 100, 100}},
        {"roundrobin", {{"10.0.0.1", 1, 90}, {"10.0.0.2", 1, 10}}, 1000, {900, 100}},
        {"roundrobin", {{"10.0.0.1", 1, 1}, {"10.0.0.2", 1, 0}}, 100, {100, 0}},
        {"roundrobin", {{"10.0.0.1", 1, 0}, {"10.0.0.2", 1, 0}}, 100, {50, 50}},
        {"roundrobin", {{"10.0.0.1", 1, 0}}, 10, {10}},
        {"roundrobin", {{"::1", 1, 3}, {"::2", 1, 6}}, 90, {30, 60}},
        {"least_conn", {{"10.0.0.1", 1, 2}, {"10.0.0.2", 1, 2}}, 100, {50, 50}},
        /* Nothing under way: the heaviest is always the freest. */
        {"least_conn", {{"10.0.0.1", 1, 1}, {"10.0.0.2", 1, 2}}, 100, {0, 100}},
        /* Only the highest priority is asked first. */
        {"roundrobin",
         {{"10.0.0.1", 1, 9, -1}, {"10.0.0.2", 1, 1, 5}, {"10.0.0.3", 1, 1, 5}},
         100,
         {0, 50, 50}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct upstream_conf *u = upstream_new(cases[i].type, cases[i].spec);
        unsigned count[64];
        count_first(u, cases[i].rounds, count);
        for (unsigned k = 0; k < 4; k++) {
            CHECK_ROW(i, count[k] == cases[i].want[k]);
        }
        upstream_free(u);
    }
}

static void heavy_nodes_are_spread_over_the_round(void)
{
    static const struct spec spec[] = {
        {"10.0.0.1", 1, 4}, {"10.0.0.2", 1, 2}, {"10.0.0.3", 1, 1}, {0}};
    struct upstream_conf *u = upstream_new("roundrobin", spec);
    unsigned run = 0, longest = 0, last = 99;

    for (unsigned i = 0; i < 70; i++) {
        unsigned count[64], now = 0;
        count_first(u, 1, count);
        while (!count[now]) {
            now++;
        }
        run = now == last ? run + 1 : 1;
        last = now;
        longest = run > longest ? run : longest;
    }
    CHECK(longest <= 2);
    upstream_free(u);
}

/* Each type: every node with a weight exactly once, higher priorities first, then the end. */
static void a_walk_visits_every_node_once(void)
{
    static const char *const types[] = {"roundrobin", "chash", "ewma", "least_conn"};
    static const struct spec spec[] = {
        {"10.0.0.1", 1, 3, 0},  {"10.0.0.2", 1, 1, 7}, {"10.0.0.3", 1, 0, 7}, {"10.0.0.4", 1, 2, 7},
        {"10.0.0.5", 1, 0, -3}, {"10.0.0.6", 1, 1, 0}, {"10.0.0.7", 1, 1, 7}, {0}};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct upstream_conf *u = upstream_new(types[i], spec);
        for (unsigned round = 0; round < 50; round++) {
            struct balancer_walk w;
            struct balancer_target t;
            unsigned seen = 0;
            int32_t priority = INT32_MAX;
            CHECK(start(&w, u, "some key") == BALANCER_OK);
            while (balancer_next(&w, &t) == BALANCER_OK) {
                CHECK_ROW(i, !(seen & 1U << node_index(u, &t)));
                CHECK_ROW(i, t.node->priority <= priority);
                priority = t.node->priority;
                seen |= 1U << node_index(u, &t);
            }
            CHECK_ROW(i, seen == 0x7b); /* all but the third: weight 0 among others */
            CHECK_ROW(i, balancer_next(&w, &t) == BALANCER_EXHAUSTED);
            balancer_end(&w);
        }
        upstream_free(u);
    }
}

static void walks_end_after_the_most_tries(void)
{
    struct spec spec[41] = {{0}};
    struct balancer_walk w;
    struct balancer_target t;
    unsigned n = 0;

    for (uint16_t i = 0; i < 40; i++) {
        spec[i] = (struct spec){.host = "10.0.0.1", .port = (uint16_t)(i + 1), .weight = 1};
    }
    struct upstream_conf *u = upstream_new("roundrobin", spec);
    CHECK(start(&w, u, "") == BALANCER_OK);
    while (balancer_next(&w, &t) == BALANCER_OK) {
        n++;
    }
    CHECK(n == BALANCER_MAX_TRIES);
    balancer_end(&w);
    upstream_free(u);
}

static void a_lone_address_is_given_again(void)
{
    static const struct spec spec[] = {{"10.0.0.1", 80, 1}, {0}};
    struct upstream_conf *u = upstream_new("chash", spec);
    struct balancer_walk w;
    struct balancer_target t;

    CHECK(start(&w, u, "k") == BALANCER_OK);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(balancer_next(&w, &t) == BALANCER_OK && addr_port(&t.addr) == 80);
        balancer_done(&w, 10);
    }
    balancer_end(&w);
    balancer_end(&w);
    upstream_free(u);
}

static void refusals_in_fiber(void *arg)
{
    static const struct {
        const char *type;
        struct spec spec[3];
        enum balancer_result want;
    } cases[] = {
        {"roundrobin", {{0}}, BALANCER_NO_NODES},
        {"nonsense", {{0}}, BALANCER_NO_NODES},
        {"nonsense", {{"10.0.0.1", 80, 1}}, BALANCER_UNKNOWN_TYPE},
        {"p2c", {{"10.0.0.1", 80, 1}, {"10.0.0.2", 80, 1}}, BALANCER_UNKNOWN_TYPE},
        {"chash", {{"no.such.name", 80, 1}}, BALANCER_NO_ADDRESS},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct upstream_conf *u = upstream_new(cases[i].type, cases[i].spec);
        struct balancer_walk w;
        CHECK_ROW(i, start(&w, u, "") == cases[i].want);
        balancer_end(&w);
        upstream_free(u);
    }
}

static void upstreams_without_choice_are_refused(void)
{
    CHECK(fiber_start("test", refusals_in_fiber, NULL) != NULL);
}

static void tries_follow_retries_and_nodes(void)
{
    static const struct {
        unsigned nodes;
        bool set;
        int64_t retries;
        unsigned want;
    } cases[] = {
        {1, false, 0, 1}, {3, false, 0, 3}, {3, true, 0, 1},    {3, true, 1, 2},
        {1, true, 2, 3},  {0, false, 0, 1}, {64, false, 0, 16}, {2, true, INT64_MAX, 16},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct upstream_conf u = {.n_nodes = cases[i].nodes,
                                  .retries = {cases[i].set, cases[i].retries}};
        CHECK_ROW(i, balancer_max_tries(&u) == cases[i].want);
    }
}

/* ---- names ---- */

static void count_addrs(const struct upstream_conf *u, unsigned n, unsigned by_last_byte[256])
{
    memset(by_last_byte, 0, 256 * sizeof(*by_last_byte));
    for (unsigned i = 0; i < n; i++) {
        struct balancer_walk w;
        struct balancer_target t;
        struct ip ip;
        CHECK(start(&w, u, "") == BALANCER_OK && balancer_next(&w, &t) == BALANCER_OK);
        CHECK(ip_from_addr(&t.addr, &ip));
        by_last_byte[ip.b[15]]++;
        balancer_end(&w);
    }
}

static void names_in_fiber(void *arg)
{
    static const struct spec spec[] = {
        {"two.test", 80, 3}, {"gone.test", 80, 7}, {"10.0.0.9", 80, 1}, {0}};
    struct upstream_conf *u = upstream_new("roundrobin", spec);
    unsigned got[256];

    memset(names, 0, sizeof(names));
    names[0].name = "two.test";
    names[0].ips[0] = "10.0.0.1";
    names[0].ips[1] = "10.0.0.2";
    count_addrs(u, 800, got);
    CHECK(got[1] == 300 && got[2] == 300 && got[9] == 200);

    /* The same answer in another order is no change: the round goes on where it was. */
    count_addrs(u, 3, got);
    names[0].ips[0] = "10.0.0.2";
    names[0].ips[1] = "10.0.0.1";
    unsigned rest[256];
    count_addrs(u, 5, rest);
    CHECK(got[1] + rest[1] == 3 && got[2] + rest[2] == 3 && got[9] + rest[9] == 2);

    /* A new answer is followed at once; a walk that has begun keeps its targets. */
    struct balancer_walk w;
    struct balancer_target t;
    CHECK(start(&w, u, "") == BALANCER_OK && balancer_next(&w, &t) == BALANCER_OK);
    names[0].ips[0] = "10.0.0.3";
    names[0].ips[1] = NULL;
    count_addrs(u, 400, got);
    CHECK(got[3] == 300 && got[9] == 100);
    CHECK(balancer_next(&w, &t) == BALANCER_OK && balancer_next(&w, &t) == BALANCER_OK);
    CHECK(balancer_next(&w, &t) == BALANCER_EXHAUSTED);
    balancer_end(&w);

    names[0].name = NULL;
    count_addrs(u, 10, got);
    CHECK(got[9] == 10);
    upstream_free(u);
    *(bool *)arg = true;
}

static void names_are_resolved_and_share_the_weight(void)
{
    bool done = false;

    n_resolved = 0;
    CHECK(fiber_start("test", names_in_fiber, &done) != NULL);
    CHECK(done && n_resolved > 0);
}

/* ---- what is under way ---- */

static void least_conn_counts_what_is_under_way(void)
{
    static const struct spec spec[] = {{"10.0.0.1", 1, 1}, {"10.0.0.2", 1, 3}, {0}};
    struct upstream_conf *u = upstream_new("least_conn", spec);
    struct balancer_walk w[8];
    struct balancer_target t;
    unsigned count[2] = {0};

    for (unsigned i = 0; i < 8; i++) {
        CHECK(start(&w[i], u, "") == BALANCER_OK && balancer_next(&w[i], &t) == BALANCER_OK);
        count[node_index(u, &t)]++;
    }
    CHECK(count[0] == 2 && count[1] == 6);
    for (unsigned i = 0; i < 8; i++) {
        balancer_end(&w[i]);
    }
    upstream_free(u);
}

static void ewma_avoids_the_slow_node(void)
{
    static const struct spec spec[] = {
        {"10.0.0.1", 1, 1}, {"10.0.0.2", 1, 1}, {"10.0.0.3", 1, 1}, {0}};
    static const int64_t rtt[] = {1000, 50000, -1};
    struct upstream_conf *u = upstream_new("ewma", spec);
    unsigned count[3] = {0};

    for (unsigned i = 0; i < 1000; i++) {
        struct balancer_walk w;
        struct balancer_target t;
        CHECK(start(&w, u, "") == BALANCER_OK && balancer_next(&w, &t) == BALANCER_OK);
        count[node_index(u, &t)]++;
        clock_set((int64_t)(i + 1) * 1000, 0);
        balancer_done(&w, rtt[node_index(u, &t)]);
        balancer_end(&w);
    }
    CHECK(count[0] > 600 && count[0] > count[1] && count[1] > count[2]);
    upstream_free(u);
}

/* ---- the table of states ---- */

static void old_states_give_way_but_not_under_a_walk(void)
{
    enum { MANY = 6000 };
    static const struct spec spec[] = {{"10.0.0.1", 1, 1}, {"10.0.0.2", 1, 1}, {0}};
    struct upstream_conf *first = upstream_new("least_conn", spec);
    struct balancer_walk held, w;
    struct balancer_target t;

    CHECK(start(&held, first, "") == BALANCER_OK && balancer_next(&held, &t) == BALANCER_OK);
    for (unsigned i = 0; i < MANY; i++) {
        struct upstream_conf *u = upstream_new("roundrobin", spec);
        CHECK(start(&w, u, "") == BALANCER_OK && balancer_next(&w, &t) == BALANCER_OK);
        balancer_end(&w);
        upstream_free(u);
    }
    /* Its state is out of the table by now, so a new walk gets another one. */
    CHECK(start(&w, first, "") == BALANCER_OK);
    CHECK(w.b != held.b);
    balancer_end(&w);
    CHECK(balancer_next(&held, &t) == BALANCER_OK);
    CHECK(balancer_next(&held, &t) == BALANCER_EXHAUSTED);
    balancer_end(&held);
    upstream_free(first);
}

static void the_core_starts_and_ends(void)
{
    balancer_core_fini();
    balancer_core_init();
    balancer_core_fini();
    fiber_thread_fini();
}

static void the_core_starts(void)
{
    clock_tick();
    balancer_core_init();
}

TESTS(T(the_core_starts), T(chash_chooses_as_the_reference),
      T(a_key_whose_node_leaves_goes_to_the_next_on_the_ring), T(chash_spreads_keys_by_weight),
      T(huge_weights_make_a_bounded_ring), T(weights_are_kept_exactly),
      T(heavy_nodes_are_spread_over_the_round), T(a_walk_visits_every_node_once),
      T(walks_end_after_the_most_tries), T(a_lone_address_is_given_again),
      T(upstreams_without_choice_are_refused), T(tries_follow_retries_and_nodes),
      T(names_are_resolved_and_share_the_weight), T(least_conn_counts_what_is_under_way),
      T(ewma_avoids_the_slow_node), T(old_states_give_way_but_not_under_a_walk),
      T(the_core_starts_and_ends))
