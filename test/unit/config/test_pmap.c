/* SPDX-License-Identifier: Apache-2.0 */
/* The trie is included, so that a poor hash can make collisions. */
#include "base/hash.h"

static unsigned hash_bits = 64; /* how many bits of the hash differ */
static uint64_t test_hash(struct str s)
{
    const uint64_t h = hash_fnv(s);

    return hash_bits >= 64 ? h : h & ((1ULL << hash_bits) - 1);
}
#define hash_keyed test_hash
#include "config/pmap.c"
#undef hash_keyed
#include "t.h"

/* A value that knows its holders. */
struct item {
    int holds, v;
    char key[16];
};

static void item_hold(void *v)
{
    ((struct item *)v)->holds++;
}

static void item_drop(void *v)
{
    ((struct item *)v)->holds--;
}
static const struct pmap_type type = {item_hold, item_drop};

enum { N = 3000 };

static struct item *items_new(void)
{
    struct item *v = calloc(N, sizeof(*v));

    for (int i = 0; i < N; i++) {
        v[i].v = i;
        snprintf(v[i].key, sizeof(v[i].key), "key-%d", i);
    }
    return v;
}

static struct pmap *put(struct pmap *m, struct item *i)
{
    struct pmap *next = pmap_put(m, &type, str_c(i->key), i);

    pmap_drop(m, &type);
    return next;
}

static struct pmap *del(struct pmap *m, const char *key)
{
    struct pmap *next = pmap_del(m, &type, str_c(key));

    pmap_drop(m, &type);
    return next;
}

static bool sum(struct str key, void *value, void *arg)
{
    const struct item *i = value;

    (void)key;
    *(long *)arg += i->v;
    return true;
}

static void what_is_put_is_found_until_it_is_deleted(void)
{
    static const unsigned widths[] = {64, 8, 2, 0};

    for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++) {
        const int n = widths[w] < 64 ? 200 : N;
        struct item *v = items_new();
        struct pmap *m = NULL;
        long total = 0;

        hash_bits = widths[w];
        for (int i = 0; i < n; i++) {
            m = put(m, &v[i]);
        }
        CHECK_ROW(w, pmap_count(m) == (size_t)n);
        for (int i = 0; i < n; i++) {
            CHECK_ROW(w, pmap_get(m, str_c(v[i].key)) == &v[i]);
        }
        CHECK_ROW(w, pmap_get(m, STR("absent")) == NULL);
        pmap_each(m, sum, &total);
        CHECK_ROW(w, total == (long)n * (n - 1) / 2);
        for (int i = 0; i < n; i += 2) {
            m = del(m, v[i].key);
        }
        for (int i = 0; i < n; i++) {
            CHECK_ROW(w, pmap_get(m, str_c(v[i].key)) == (i % 2 ? &v[i] : NULL));
            CHECK_ROW(w, v[i].holds == i % 2);
        }
        for (int i = 1; i < n; i += 2) {
            m = del(m, v[i].key);
        }
        CHECK_ROW(w, m == NULL && pmap_count(m) == 0);
        for (int i = 0; i < n; i++) {
            CHECK_ROW(w, v[i].holds == 0);
        }
        free(v);
    }
    hash_bits = 64;
}

static void an_old_root_stays_as_it_was(void)
{
    static const unsigned widths[] = {64, 2};

    for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++) {
        struct item *v = items_new();
        struct item other = {.v = 1000, .key = "key-7"};
        struct pmap *old = NULL, *replaced, *shorter;

        hash_bits = widths[w];
        for (int i = 0; i < 100; i++) {
            old = put(old, &v[i]);
        }
        replaced = pmap_put(old, &type, str_c(other.key), &other);
        shorter = pmap_del(replaced, &type, STR("key-8"));
        CHECK_ROW(w, pmap_get(old, STR("key-7")) == &v[7] &&
                         pmap_get(replaced, STR("key-7")) == &other);
        CHECK_ROW(w, pmap_get(replaced, STR("key-8")) == &v[8] &&
                         pmap_get(shorter, STR("key-8")) == NULL);
        CHECK_ROW(w, pmap_count(old) == 100 && pmap_count(replaced) == 100 &&
                         pmap_count(shorter) == 99);
        pmap_drop(old, &type);
        pmap_drop(replaced, &type);
        CHECK_ROW(w, pmap_get(shorter, STR("key-7")) == &other &&
                         pmap_get(shorter, STR("key-9")) == &v[9]);
        CHECK_ROW(w, v[7].holds == 0 && v[8].holds == 0 && other.holds == 1);
        pmap_drop(shorter, &type);
        CHECK_ROW(w, other.holds == 0 && v[9].holds == 0);
        free(v);
    }
    hash_bits = 64;
}

static void deleting_an_absent_key_holds_the_same_root(void)
{
    struct item i = {.key = "a"};
    struct pmap *m = pmap_put(NULL, &type, STR("a"), &i);

    CHECK(pmap_del(NULL, &type, STR("a")) == NULL);
    CHECK(pmap_del(m, &type, STR("b")) == m);
    pmap_drop(m, &type);
    CHECK(pmap_get(m, STR("a")) == &i);
    pmap_drop(m, &type);
    CHECK(i.holds == 0);
}

static bool stop_at_once(struct str key, void *value, void *arg)
{
    (void)key, (void)value;
    ++*(int *)arg;
    return false;
}

static void a_walk_stops_when_told(void)
{
    struct item *v = items_new();
    struct pmap *m = NULL;
    int seen = 0;

    for (int i = 0; i < 50; i++) {
        m = put(m, &v[i]);
    }
    pmap_each(m, stop_at_once, &seen);
    CHECK(seen == 1);
    pmap_drop(m, &type);
    free(v);
}

TESTS(T(what_is_put_is_found_until_it_is_deleted), T(an_old_root_stays_as_it_was),
      T(deleting_an_absent_key_holds_the_same_root), T(a_walk_stops_when_told))
