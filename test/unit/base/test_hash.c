/* SPDX-License-Identifier: Apache-2.0 */
/* hash: published vectors, base64 both ways, and random numbers that do not repeat. */
#include "base/hash.c"

#include "t.h"

#include <sys/wait.h>
#include <unistd.h>

static void siphash_1_3_gives_the_known_values(void)
{
    static const uint64_t zero_key[2] = {0, 0};
    static const struct {
        struct str text;
        uint64_t want;
    } cases[] = {
        /* What CPython 3.11, whose str hash is SipHash-1-3, gives with PYTHONHASHSEED=0. */
        {STR_INIT("a"), 0x407448d2b89b1813},
        {STR_INIT("abcdefg"), 0x6db12aae9070f506},
        {STR_INIT("abcdefgh"), 0x3f7b849c0b8e35ea},
        {STR_INIT("abcdefghi"), 0xf89b34a3d11eb6e5},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        CHECK_ROW(i, siphash13(zero_key, cases[i].text) == cases[i].want);
    }
}

static void the_keyed_hash_depends_on_a_random_key(void)
{
    static const uint64_t zero_key[2] = {0, 0};

    CHECK(sip_key[0] != 0 || sip_key[1] != 0);
    CHECK(hash_keyed(STR("a")) == hash_keyed(STR("a")));
    CHECK(hash_keyed(STR("a")) != siphash13(zero_key, STR("a")));
    CHECK(hash_keyed(STR_NONE) == hash_keyed(STR("")));
}

static void crc32_is_zlibs_and_continues(void)
{
    CHECK(hash_crc32(0, STR("123456789")) == 0xcbf43926);
    CHECK(hash_crc32(0, STR("")) == 0);
    CHECK(hash_crc32(hash_crc32(0, STR("1234")), STR("56789")) == 0xcbf43926);
    CHECK(hash_crc32(0, STR("127.0.0.1\00080")) == 0x5d561a4e);
}

static void fnv_gives_the_known_values(void)
{
    CHECK(hash_fnv(STR("")) == 0xcbf29ce484222325);
    CHECK(hash_fnv(STR("a")) == 0xaf63dc4c8601ec8c);
    CHECK(hash_fnv(STR("foobar")) == 0x85944171f73967e8);
}

static void base64_encodes_the_vectors_of_rfc_4648(void)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xfb\xff\xfe", "+//+"},
    };
    struct arena *a = arena_new(1024);
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        CHECK_STR(base64_encode(a, str_c(cases[i][0])), cases[i][1]);
        CHECK_STR(base64_decode(a, str_c(cases[i][1])), cases[i][0]);
        struct str bare = str_c(cases[i][1]);
        while (str_ends(bare, STR("="))) {
            bare.n--;
        }
        CHECK_STR(base64_decode(a, bare), cases[i][0]);
    }
    CHECK_STR(base64url_encode(a, STR("\xfb\xff\xfe\xff")), "-__-_w");
    CHECK_STR(base64url_decode(a, STR("-__-_w")), "\xfb\xff\xfe\xff");
    arena_free(a);
}

static void base64_refuses_what_is_not_it(void)
{
    static const char *const bad[] = {
        "Z",      "Zg=",  "Zg===", "Z===", "Zm9v=", "Zm9v====", "Zm 9v",
        "Zm9v\n", "Z=g=", "-__-",  "=",    "===",   "Zm9vYg=A", "\xff\xff\xff\xff"};
    struct arena *a = arena_new(1024);
    for (size_t i = 0; i < LENGTH_OF(bad); i++) {
        CHECK_ROW(i, str_is_none(base64_decode(a, str_c(bad[i]))));
    }
    CHECK(str_is_none(base64_decode(a, STR_NONE)));
    CHECK(!str_is_none(base64_decode(a, STR(""))));
    CHECK(str_is_none(base64url_decode(a, STR("+//+"))));
    arena_free(a);
}

static void base64_round_trips_any_bytes(void)
{
    struct arena *a = arena_new(1024);
    char bytes[100];

    for (size_t n = 0; n < sizeof(bytes); n++) {
        random_bytes(bytes, n);
        struct str s = str_of(bytes, n);
        CHECK_ROW(n, str_eq(base64_decode(a, base64_encode(a, s)), s));
        CHECK_ROW(n, str_eq(base64url_decode(a, base64url_encode(a, s)), s));
    }
    arena_free(a);
}

static void random_bits_are_balanced(void)
{
    size_t ones = 0, draws = 100000;

    for (size_t i = 0; i < draws; i++) {
        ones += (size_t)__builtin_popcountll(random_u64());
    }
    /* 32 of 64 on average; ten standard deviations of the mean are 0.13. */
    double mean = (double)ones / (double)draws;
    CHECK(mean > 31.87 && mean < 32.13);
}

static void *draw(void *arg)
{
    *(uint64_t *)arg = random_u64();
    return NULL;
}

static void threads_and_forks_draw_different_numbers(void)
{
    uint64_t mine = random_u64(), other, child = 0;
    pthread_t thread;
    int ends[2];

    CHECK(pthread_create(&thread, NULL, draw, &other) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(mine != other);
    CHECK(pipe(ends) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        child = random_u64();
        _exit(write(ends[1], &child, sizeof(child)) == sizeof(child) ? 0 : 1);
    }
    mine = random_u64();
    CHECK(pid > 0 && read(ends[0], &child, sizeof(child)) == sizeof(child));
    CHECK(mine != child);
    CHECK(waitpid(pid, NULL, 0) == pid);
    close(ends[0]);
    close(ends[1]);
}

TESTS(T(siphash_1_3_gives_the_known_values), T(the_keyed_hash_depends_on_a_random_key),
      T(crc32_is_zlibs_and_continues), T(fnv_gives_the_known_values),
      T(base64_encodes_the_vectors_of_rfc_4648), T(base64_refuses_what_is_not_it),
      T(base64_round_trips_any_bytes), T(random_bits_are_balanced),
      T(threads_and_forks_draw_different_numbers))
