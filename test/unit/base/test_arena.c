/* SPDX-License-Identifier: Apache-2.0 */
/* arena: contents, alignment, growth, reset and what ASan is told. */
#include "base/arena.h"
#include "base/assert.h"

#include "t.h"

#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#endif
#ifdef ASAN
#include <sanitizer/asan_interface.h>
#endif

/* Built so that each object is a malloc of its own, the sizes of blocks say nothing. */
#ifdef ARENA_MALLOC
#define ARENA_IS_MALLOC 1
#else
#define ARENA_IS_MALLOC 0
#endif

static bool is_zero(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i]) {
            return false;
        }
    }
    return true;
}

static void objects_are_zeroed_aligned_and_apart(void)
{
    struct arena *a = arena_new(256);
    char *all[500];
    size_t size[500];

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < LENGTH_OF(all); i++) {
            size[i] = i * 7 % 300;
            arena_bytes(a, i % 5);
            all[i] = arena_alloc(a, size[i]);
            CHECK_ROW(i, (uintptr_t)all[i] % 16 == 0 && is_zero(all[i], size[i]));
            memset(all[i], (int)i, size[i]);
        }
        for (size_t i = 0; i < LENGTH_OF(all); i++) {
            CHECK_ROW(i, size[i] == 0 || (all[i][0] == (char)i && all[i][size[i] - 1] == (char)i));
        }
        arena_reset(a);
    }
    arena_free(a);
}

static void a_warm_arena_stays_in_its_first_block(void)
{
    struct arena *a = arena_new(4096);
    size_t start = arena_held(a);

    CHECK(start >= 4096 || ARENA_IS_MALLOC);
    for (int i = 0; i < 1000; i++) {
        memset(arena_alloc(a, 1000), 1, 1000);
        arena_bytes(a, 1500);
        CHECK(ARENA_IS_MALLOC || arena_held(a) == start);
        arena_reset(a);
    }
    arena_free(a);
}

static void large_objects_do_not_waste_the_block_in_use(void)
{
    struct arena *a = arena_new(4096);
    size_t start = arena_held(a);

    char *small = arena_alloc(a, 16);
    char *large = arena_alloc(a, 1 << 20);
    memset(large, 1, 1 << 20);
    CHECK(arena_held(a) >= start + (1 << 20) && arena_held(a) < start + (1 << 20) + 256);
    char *next = arena_alloc(a, 16);
    CHECK(ARENA_IS_MALLOC || next - small < 64);
    arena_reset(a);
    CHECK(arena_held(a) == start);
    arena_free(a);
}

static void many_small_objects_take_few_blocks(void)
{
    struct arena *a = arena_new(1024);

    for (int i = 0; i < 100000; i++) {
        *(int *)arena_alloc(a, 16) = i;
    }
    CHECK(arena_held(a) >= 1600000);
    arena_free(a);
}

static void texts_are_copied_joined_and_formatted(void)
{
    struct arena *a = arena_new(64);
    char source[] = "Abc";

    struct str s = arena_str(a, str_c(source));
    source[0] = 'x';
    CHECK_STR(s, "Abc");
    CHECK(s.p[s.n] == 0);
    CHECK(str_is_none(arena_str(a, STR_NONE)) && str_is_none(arena_lower(a, STR_NONE)));
    s = arena_str(a, STR(""));
    CHECK(!str_is_none(s) && s.n == 0 && s.p[0] == 0);
    CHECK_STR(arena_cat(a, STR("ab"), STR("cd")), "abcd");
    CHECK_STR(arena_cat(a, STR_NONE, STR("cd")), "cd");
    CHECK_STR(arena_lower(a, STR("AbC-\xc4")), "abc-\xc4");
    CHECK_STR(arena_printf(a, "%s %d", "n", 5), "n 5");
    CHECK_STR(arena_printf(a, "%s", ""), "");
    for (int n = 505; n < 520; n++) {
        s = arena_printf(a, "%*d", n, 7);
        CHECK_ROW(n, s.n == (size_t)n && s.p[n - 1] == '7' && s.p[n] == 0);
    }
    arena_free(a);
}

static char order[8];

static void note(void *arg)
{
    strcat(order, arg);
}

static void cleanups_run_last_first_and_once(void)
{
    struct arena *a = arena_new(64);

    static char texts[][2] = {"1", "2", "3", "4"};
    arena_on_reset(a, note, texts[0]);
    arena_on_reset(a, note, texts[1]);
    arena_on_reset(a, note, texts[2]);
    arena_reset(a);
    CHECK_STR(str_c(order), "321");
    arena_reset(a);
    arena_on_reset(a, note, texts[3]);
    arena_free(a);
    CHECK_STR(str_c(order), "3214");
    arena_free(NULL);
}

static void asan_sees_unused_memory_as_poisoned(void)
{
#ifdef ASAN
    struct arena *a = arena_new(1024);
    char *p = arena_alloc(a, 20), *q = arena_alloc(a, 20), *t = arena_bytes(a, 5);
    CHECK(!__asan_region_is_poisoned(p, 20) && __asan_address_is_poisoned(p + 20));
    CHECK(!__asan_region_is_poisoned(q, 20) && __asan_address_is_poisoned(q + 20));
    CHECK(!__asan_region_is_poisoned(t, 5) && __asan_address_is_poisoned(t + 5));
    arena_reset(a);
    CHECK(__asan_address_is_poisoned(p) && __asan_address_is_poisoned(q));
    arena_free(a);
#else
    CHECK(true);
#endif
}

TESTS(T(objects_are_zeroed_aligned_and_apart), T(a_warm_arena_stays_in_its_first_block),
      T(large_objects_do_not_waste_the_block_in_use), T(many_small_objects_take_few_blocks),
      T(texts_are_copied_joined_and_formatted), T(cleanups_run_last_first_and_once),
      T(asan_sees_unused_memory_as_poisoned))
