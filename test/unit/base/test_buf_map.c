/* SPDX-License-Identifier: Apache-2.0 */
/* buf and map: growth, limits, and a map that behaves like a slow one. */
#include "base/assert.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/map.h"

#include "t.h"

static void appends_join_up(void)
{
    struct buf b = BUF_INIT(1000);

    CHECK_STR(buf_str(&b), "");
    buf_add(&b, STR("ab"));
    buf_add(&b, STR_NONE);
    buf_addc(&b, 'c');
    buf_printf(&b, "-%03d", 7);
    CHECK_STR(buf_str(&b), "abc-007");
    memcpy(buf_reserve(&b, 3), "xyz", 3);
    b.n += 3;
    buf_shift(&b, 4);
    CHECK_STR(buf_str(&b), "007xyz");
    buf_shift(&b, 99);
    CHECK_STR(buf_str(&b), "");
    buf_printf(&b, "%400d", 1);
    CHECK(b.n == 400 && b.p[399] == '1' && !b.overflow);
    buf_reset(&b);
    CHECK(b.n == 0 && b.cap >= 400);
    buf_fini(&b);
    CHECK(b.p == NULL && b.max == 1000);
}

static void the_maximum_is_reached_and_not_passed(void)
{
    struct buf b = BUF_INIT(300);

    buf_printf(&b, "%299d", 1);
    CHECK(b.n == 299 && !b.overflow);
    buf_add(&b, STR("ab"));
    CHECK(b.n == 299 && b.overflow);
    buf_reset(&b);
    CHECK(!b.overflow);
    buf_printf(&b, "%300d", 1);
    CHECK(b.n == 300 && !b.overflow);
    buf_addc(&b, 'x');
    CHECK(b.overflow && b.n == 300 && buf_reserve(&b, SIZE_MAX) == NULL);
    buf_reset(&b);
    buf_printf(&b, "%301d", 1);
    CHECK(b.overflow && b.n == 0);
    buf_fini(&b);

    struct buf none = {0};
    buf_addc(&none, 'x');
    CHECK(none.overflow && none.n == 0);
    buf_fini(&none);
}

static void many_appends_stay_in_order(void)
{
    struct buf b = BUF_INIT(1 << 20);

    for (int i = 0; i < 10000; i++) {
        buf_printf(&b, "%05d", i);
    }
    CHECK(b.n == 50000 && b.cap <= 128 * 1024);
    for (int i = 0; i < 10000; i += 777) {
        char want[16];
        snprintf(want, sizeof(want), "%05d", i);
        CHECK_STR(str_head(str_skip(buf_str(&b), (size_t)i * 5), 5), want);
    }
    buf_fini(&b);
}

static void a_map_answers_what_was_put(void)
{
    struct map m = {0};
    int one = 1, two = 2;
    char key[] = "key";

    CHECK(map_get(&m, STR("key")) == NULL && map_del(&m, STR("key")) == NULL);
    CHECK(map_put(&m, str_c(key), &one) == NULL);
    key[0] = 'x';
    CHECK(map_get(&m, STR("key")) == &one && map_get(&m, STR("xey")) == NULL);
    CHECK(map_put(&m, STR("key"), &two) == &one && m.n == 1);
    CHECK(map_put(&m, STR(""), &one) == NULL && map_get(&m, STR_NONE) == &one);
    CHECK(map_put(&m, STR("a\0b"), &one) == NULL && map_get(&m, STR("a\0c")) == NULL);
    CHECK(map_del(&m, STR("key")) == &two && map_get(&m, STR("key")) == NULL && m.n == 2);
    map_fini(&m);
    CHECK(m.n == 0 && map_get(&m, STR("")) == NULL);
    map_fini(&m);
}

enum { KEYS = 2000 };

/* Random puts and removals beside an array that is always right. */
static void a_map_agrees_with_a_plain_array(void)
{
    static int values[KEYS];
    int *shadow[KEYS] = {0};
    struct map m = {0};
    char text[16];

    for (int i = 0; i < 200000; i++) {
        size_t k = random_u64() % KEYS;
        struct str key = str_of(text, (size_t)snprintf(text, sizeof(text), "key-%zu", k));
        /* First mostly growing, then mostly shrinking. */
        bool put = random_u64() % 4 < (i < 100000 ? 3u : 1u);
        void *before = put ? map_put(&m, key, &values[k]) : map_del(&m, key);
        CHECK(before == shadow[k]);
        shadow[k] = put ? &values[k] : NULL;
    }
    size_t alive = 0;
    for (size_t k = 0; k < KEYS; k++) {
        snprintf(text, sizeof(text), "key-%zu", k);
        CHECK(map_get(&m, str_c(text)) == shadow[k]);
        alive += shadow[k] != NULL;
    }
    CHECK(m.n == alive && m.cap <= 8192);

    struct str key;
    void *value;
    size_t visited = 0;
    for (size_t i = 0; map_next(&m, &i, &key, &value);) {
        snprintf(text, sizeof(text), "key-%zu", (size_t)((int *)value - values));
        CHECK_STR(key, text);
        visited++;
    }
    CHECK(visited == alive);
    map_fini(&m);
}

static void coming_and_going_does_not_grow_a_map(void)
{
    struct map m = {0};
    char text[16];

    for (int i = 0; i < 100000; i++) {
        struct str key = str_of(text, (size_t)snprintf(text, sizeof(text), "%d", i));
        map_put(&m, key, &m);
        CHECK(map_del(&m, key) == &m);
    }
    CHECK(m.n == 0 && m.cap <= 16);
    map_fini(&m);
}

TESTS(T(appends_join_up), T(the_maximum_is_reached_and_not_passed), T(many_appends_stay_in_order),
      T(a_map_answers_what_was_put), T(a_map_agrees_with_a_plain_array),
      T(coming_and_going_does_not_grow_a_map))
