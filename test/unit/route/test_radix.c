/* SPDX-License-Identifier: Apache-2.0 */
/* radix: the persistent tree against a plain table, with every older version still as it was. */
#include "base/assert.h"
#include "base/mem.h"
#include "route/radix.h"
#include "t.h"

/* A counted number. */
struct value {
    unsigned refs;
    int n;
};
static int alive;

static void value_hold(void *v)
{
    ((struct value *)v)->refs++;
}

static void value_drop(void *v)
{
    if (--((struct value *)v)->refs == 0) {
        alive--;
        free(v);
    }
}

static const struct radix_ops ops = {value_hold, value_drop};

/* arg: NULL to take away. */
static void *set_number(void *old, void *arg)
{
    if (!arg) {
        return NULL;
    }
    struct value *v = mem_alloc(sizeof(*v));
    *v = (struct value){1, *(int *)arg};
    alive++;
    return v;
}

static int number_at(const struct radix *t, struct str key, enum radix_slot slot)
{
    const struct value *v = radix_get(t, key, slot);

    return v ? v->n : 0;
}

static uint32_t seed = 1;

static uint32_t roll(uint32_t n)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % n;
}

enum { KEYS = 400, ROUNDS = 6000, VERSIONS = 40 };
static char key_text[KEYS][12];
static struct str key_of[KEYS];

static void make_keys(const char *alphabet, uint32_t letters)
{
    for (int i = 0; i < KEYS; i++) {
        size_t n = roll(11);
        for (size_t k = 0; k < n; k++) {
            key_text[i][k] = alphabet[roll(letters)];
        }
        key_of[i] = str_of(key_text[i], n);
        for (int j = 0; j < i; j++) {
            if (str_eq(key_of[i], key_of[j])) { /* one name, one entry in the table */
                i--;
                break;
            }
        }
        seed += (uint32_t)i;
    }
}

struct version {
    struct radix *t;
    int want[KEYS][RADIX_SLOTS];
};

static void check_version(const struct version *v)
{
    for (int i = 0; i < KEYS; i++) {
        for (int s = 0; s < RADIX_SLOTS; s++) {
            CHECK_ROW(i, number_at(v->t, key_of[i], s) == v->want[i][s]);
        }
    }
}

static void versions_never_change(void)
{
    static const char many[] = "\0/abcdefghijklmnopqrstuvwxyz0123456789";
    static struct version versions[VERSIONS], now;

    for (int run = 0; run < 3; run++) {
        make_keys(many, run == 0 ? 4 : run == 1 ? 20 : sizeof(many) - 1);
        memset(&now, 0, sizeof(now));
        for (int round = 0; round < ROUNDS; round++) {
            int i = (int)roll(KEYS), slot = (int)roll(2), n = round + 1;
            bool put = roll(3) != 0 || round < 300;
            struct radix *next = radix_update(now.t, &ops, key_of[i], (enum radix_slot)slot,
                                              set_number, put ? &n : NULL);

            radix_drop(now.t, &ops);
            now.t = next;
            now.want[i][slot] = put ? n : 0;
            if (round % (ROUNDS / VERSIONS) == 0) {
                versions[round / (ROUNDS / VERSIONS)] = now;
                radix_hold(now.t);
            }
        }
        check_version(&now);
        for (int v = 0; v < VERSIONS; v++) {
            check_version(&versions[v]);
            radix_drop(versions[v].t, &ops);
        }
        for (int i = 0; i < KEYS; i++) {
            for (int slot = 0; slot < RADIX_SLOTS; slot++) {
                struct radix *next =
                    radix_update(now.t, &ops, key_of[i], (enum radix_slot)slot, set_number, NULL);
                radix_drop(now.t, &ops);
                now.t = next;
            }
        }
        CHECK(now.t == NULL);
        CHECK(alive == 0);
    }
}

/*
 * Node invariants: children in order, no node without need, a parameter only at the beginning of a
 * label.
 */
static void check_node(const struct radix *t, bool root)
{
    CHECK(root || t->label_n > 0);
    CHECK(t->slot[0] || t->slot[1] || t->n_kids > 1 || (t->n_kids == 1 && t->has_param));
    for (uint32_t i = 1; i < t->label_n; i++) {
        CHECK(radix_label(t)[i] != RADIX_PARAM);
    }
    CHECK(t->has_param == (t->n_kids > 0 && radix_bytes(t)[0] == RADIX_PARAM));
    for (uint32_t i = 0; i < t->n_kids; i++) {
        CHECK(radix_bytes(t)[i] == (uint8_t)radix_label(radix_kids(t)[i])[0]);
        CHECK(i == 0 || radix_bytes(t)[i - 1] < radix_bytes(t)[i]);
        check_node(radix_kids(t)[i], false);
    }
}

static void nodes_stay_tidy(void)
{
    struct radix *t = NULL;
    int n = 1;

    make_keys("\0/ab", 4);
    for (int round = 0; round < 4000; round++) {
        struct radix *next = radix_update(t, &ops, key_of[roll(KEYS)], (enum radix_slot)roll(2),
                                          set_number, roll(5) < 2 ? &n : NULL);
        radix_drop(t, &ops);
        t = next;
        if (t && round % 50 == 0) {
            check_node(t, true);
        }
    }
    radix_drop(t, &ops);
    CHECK(alive == 0);
}

/* 4096 keys, each the beginning of the next: neither change nor end may recurse. */
static void long_chains_are_no_deep_recursion(void)
{
    static char key[20000];
    struct radix *t = NULL;
    int n = 1;

    memset(key, 'a', sizeof(key));
    for (size_t i = 1; i < sizeof(key); i += 5) {
        struct radix *next = radix_update(t, &ops, str_of(key, i), RADIX_PREFIX, set_number, &n);
        radix_drop(t, &ops);
        t = next;
    }
    CHECK(number_at(t, str_of(key, 19996), RADIX_PREFIX) == 1);
    radix_drop(t, &ops);
    CHECK(alive == 0);
}

TESTS(T(versions_never_change), T(nodes_stay_tidy), T(long_chains_are_no_deep_recursion))
