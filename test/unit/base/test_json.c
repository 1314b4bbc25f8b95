/* SPDX-License-Identifier: Apache-2.0 */
/* json: lua-cjson's words for errors, its spelling of numbers, and what we refuse beyond it. */
#include "base/assert.h"
#include "base/json.h"

#include "t.h"

#include <pthread.h>

static void errors_are_in_cjsons_words(void)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        /* Recorded from the reference. */
        {"{bad", "Expected object key string but found invalid token at character 2"},
        {"{", "Expected object key string but found T_END at character 2"},
        {"{\"uri\":\"/1\",\"plugins\":{}} x",
         "Expected the end but found invalid token at character 27"},
        {"uri=/x", "Expected value but found invalid token at character 1"},
        /* The rest of cjson's grammar. */
        {"", "Expected value but found T_END at character 1"},
        {" \n", "Expected value but found T_END at character 3"},
        {"[", "Expected value but found T_END at character 2"},
        {"]", "Expected value but found T_ARR_END at character 1"},
        {"}", "Expected value but found T_OBJ_END at character 1"},
        {",", "Expected value but found T_COMMA at character 1"},
        {":", "Expected value but found T_COLON at character 1"},
        {"[1,]", "Expected value but found T_ARR_END at character 4"},
        {"[1 2]", "Expected comma or array end but found T_NUMBER at character 4"},
        {"[1}", "Expected comma or array end but found T_OBJ_END at character 3"},
        {"[1", "Expected comma or array end but found T_END at character 3"},
        {"{\"a\":1,}", "Expected object key string but found T_OBJ_END at character 8"},
        {"{\"a\" 1}", "Expected colon but found T_NUMBER at character 6"},
        {"{\"a\":}", "Expected value but found T_OBJ_END at character 6"},
        {"{\"a\":1 \"b\"}", "Expected comma or object end but found T_STRING at character 8"},
        {"{\"a\":1]", "Expected comma or object end but found T_ARR_END at character 7"},
        {"{1:2}", "Expected object key string but found T_NUMBER at character 2"},
        {"{true:2}", "Expected object key string but found T_BOOLEAN at character 2"},
        {"{null:2}", "Expected object key string but found T_NULL at character 2"},
        {"{{", "Expected object key string but found T_OBJ_BEGIN at character 2"},
        {"{[", "Expected object key string but found T_ARR_BEGIN at character 2"},
        {"{} {}", "Expected the end but found T_OBJ_BEGIN at character 4"},
        {"1 1", "Expected the end but found T_NUMBER at character 3"},
        {"1.2.3", "Expected the end but found invalid token at character 4"},
        {"tru", "Expected value but found invalid token at character 1"},
        {"True", "Expected value but found invalid token at character 1"},
        {"'a'", "Expected value but found invalid token at character 1"},
        {"\xef\xbb\xbf{}", "Expected value but found invalid token at character 1"},
        {"[-]", "Expected value but found invalid number at character 2"},
        {"\"abc", "Expected value but found unexpected end of string at character 5"},
        {"\"a\\x\"", "Expected value but found invalid escape code at character 3"},
        {"\"a\\", "Expected value but found invalid escape code at character 3"},
        {"\"\\u12g4\"", "Expected value but found invalid unicode escape code at character 2"},
        {"\"\\ud800\"", "Expected value but found invalid unicode escape code at character 2"},
        {"\"\\ud800\\u0041\"",
         "Expected value but found invalid unicode escape code at character 2"},
        {"\"\\udc00\"", "Expected value but found invalid unicode escape code at character 2"},
        {"{\"a\\q\":1}", "Expected object key string but found invalid escape code at character 4"},
        /* Where we are stricter. */
        {"01", "Expected value but found invalid number at character 1"},
        {"[1.]", "Expected value but found invalid number at character 2"},
        {"[1e]", "Expected value but found invalid number at character 2"},
        {"[.5]", "Expected value but found invalid token at character 2"},
        {"0x10", "Expected value but found invalid number at character 1"},
        {"+1", "Expected value but found invalid number at character 1"},
        {"nan", "Expected value but found invalid number at character 1"},
        {"-Infinity", "Expected value but found invalid number at character 1"},
        {"[1,1e999]", "Expected value but found invalid number at character 4"},
        {"\"a\nb\"", "Expected value but found invalid control character at character 3"},
        {"\"\\u0000\"", "Expected value but found invalid unicode escape code at character 2"},
        {"[1,\"a\xff\"]", "Expected value but found invalid UTF-8 at character 6"},
        {"\"\xed\xa0\x80\"", "Expected value but found invalid UTF-8 at character 2"},
        {"{\"a\":1,\"b\":2,\"a\":3}",
         "Expected object key string but found duplicate key at character 14"},
        {"{\"a\":1,\"\\u0061\":3}",
         "Expected object key string but found duplicate key at character 8"},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct err e = {0};
        json_t *v = json_parse(str_c(cases[i].text), &e);
        CHECK_ROW(i, v == NULL);
        CHECK_STR(str_c(e.msg), cases[i].words);
        json_decref(v);
    }
}

static void nul_bytes_are_no_end(void)
{
    static const struct {
        struct str text;
        const char *words;
    } cases[] = {
        {STR_INIT("{\0}\0"), "JSON parser does not support UTF-16 or UTF-32"},
        {STR_INIT("\0{"), "JSON parser does not support UTF-16 or UTF-32"},
        {STR_INIT("{}\0"), "Expected the end but found invalid token at character 3"},
        {STR_INIT("\"ab\0\""), "Expected value but found invalid control character at character 4"},
        {STR_INIT("\"a\\\0\""), "Expected value but found invalid escape code at character 3"},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct err e = {0};
        CHECK_ROW(i, json_parse(cases[i].text, &e) == NULL);
        CHECK_STR(str_c(e.msg), cases[i].words);
    }
}

static void text_comes_back_compact(void)
{
    static const char *const cases[][2] = {
        {" { \"b\" : [ 1 , true , false , null ] , \"a\" : { } } ",
         "{\"b\":[1,true,false,null],\"a\":{}}"},
        {"{\"z\":1,\"y\":2,\"x\":3,\"w\":4,\"v\":5,\"u\":6,\"t\":7,\"s\":8,\"r\":9}",
         "{\"z\":1,\"y\":2,\"x\":3,\"w\":4,\"v\":5,\"u\":6,\"t\":7,\"s\":8,\"r\":9}"},
        {"\"/a\\/b\"", "\"/a/b\""},
        {"\"\\b\\t\\n\\f\\r\\\"\\\\\"", "\"\\b\\t\\n\\f\\r\\\"\\\\\""},
        {"\"\\u0001\\u001F\x7f\"", "\"\\u0001\\u001f\\u007f\""},
        {"\"\\u00e9\\uD83D\\uDE00\"", "\"\xc3\xa9\xf0\x9f\x98\x80\""},
        {"{\"\":\"\"}", "{\"\":\"\"}"},
        {"[]", "[]"},
        {"[[],[{}]]", "[[],[{}]]"},
        {"null", "null"},
    };
    struct arena *a = arena_new(1024);
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct err e = {0};
        json_t *v = json_parse(str_c(cases[i][0]), &e);
        CHECK_STR(str_c(e.msg), "");
        if (v) {
            CHECK_STR(json_text(a, v), cases[i][1]);
        }
        json_decref(v);
    }
    arena_free(a);
}

static void numbers_without_fraction_are_integers(void)
{
    static const struct {
        const char *text, *out;
        bool integer;
    } cases[] = {
        {"0", "0", true},
        {"-0", "0", true},
        {"1.0", "1", true},
        {"-2e3", "-2000", true},
        {"0.5", "0.5", false},
        {"0.1", "0.1", false},
        {"1e-2", "0.01", false},
        {"3.14159265358979", "3.1415926535898", false},
        {"1700000000123", "1700000000123", true},
        {"9007199254740992", "9007199254740992", true},
        {"-9007199254740992", "-9007199254740992", true},
        /* The reference reads what passes 64 bits as the largest there is, and writes 14 digits. */
        {"12345678901234567890", "9.2233720368548e+18", true},
        {"-12345678901234567890", "-9.2233720368548e+18", true},
        {"9223372036854775807", "9.2233720368548e+18", true},
        {"9.2233720368548e+18", "9.2233720368548e+18", true},
        {"1e300", "1e+300", false},
        {"1e-400", "0", true},
    };
    struct arena *a = arena_new(1024);
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct err e = {0};
        char nested[64];
        snprintf(nested, sizeof(nested), "{\"a\":[%s]}", cases[i].text);
        json_t *top = json_parse(str_c(cases[i].text), &e);
        json_t *deep = json_parse(str_c(nested), &e);
        CHECK_STR(str_c(e.msg), "");
        CHECK_STR(json_text(a, top), cases[i].out);
        CHECK_ROW(i, json_is_integer(top) == cases[i].integer);
        CHECK_ROW(i, json_equal(json_array_get(json_get(deep, "a"), 0), top));
        json_decref(top);
        json_decref(deep);
    }
    arena_free(a);
}

static void several_wide_integers_keep_what_is_between(void)
{
    struct arena *a = arena_new(1024);
    struct err e = {0};
    json_t *v = json_parse(
        STR("[1,99999999999999999999,\"99999999999999999999\",-99999999999999999999,2]"), &e);

    CHECK_STR(json_text(a, v),
              "[1,9.2233720368548e+18,\"99999999999999999999\",-9.2233720368548e+18,2]");
    json_decref(v);
    arena_free(a);
}

/* n open brackets, or objects, around a value. */
static struct str nested(struct arena *a, size_t n, bool objects)
{
    size_t width = objects ? 5 : 1;
    char *p = arena_bytes(a, n * (width + 1) + 1), *at = p;

    for (size_t i = 0; i < n; i++) {
        memcpy(at, objects ? "{\"a\":" : "[", width);
        at += width;
    }
    *at++ = '1';
    memset(at, objects ? '}' : ']', n);
    return str_of(p, (size_t)(at - p) + n);
}

static void depth_is_limited(void)
{
    struct arena *a = arena_new(4096);

    for (int objects = 0; objects < 2; objects++) {
        struct err e = {0};
        json_t *v = json_parse(nested(a, 128, objects), &e);
        CHECK(v != NULL && json_text(a, v).n > 256);
        json_decref(v);
        CHECK(json_parse(nested(a, 129, objects), &e) == NULL);
        CHECK_STR(str_c(e.msg),
                  objects ? "Found too many nested data structures (129) at character 641"
                          : "Found too many nested data structures (129) at character 129");
        struct err worse = {0};
        CHECK(json_parse(nested(a, 100000, objects), &worse) == NULL && err_is_set(&worse));
    }
    arena_free(a);
}

static void *parse_deep(void *arg)
{
    struct arena *a = arena_new(4096);
    struct err e = {0};

    for (int objects = 0; objects < 2; objects++) {
        json_t *v = json_parse(nested(a, 128, objects), &e);
        *(bool *)arg |= v != NULL && json_text(a, v).n > 256;
        json_decref(v);
    }
    arena_free(a);
    return NULL;
}

static void the_deepest_text_fits_a_fibers_stack(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    bool ok = false;
    /* 48 KiB of a fiber's 64; sanitizers' frames are larger. */
    size_t stack = 48 * 1024;
#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
    stack *= 16;
#endif

    CHECK(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, stack) == 0);
    CHECK(pthread_create(&thread, &attr, parse_deep, &ok) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(ok);
    pthread_attr_destroy(&attr);
}

static void children_and_strings_are_safe_to_ask_for(void)
{
    struct err e = {0};
    json_t *v = json_parse(STR("{\"s\":\"text\",\"n\":1}"), &e);

    CHECK_STR(json_str(json_get(v, "s")), "text");
    CHECK(str_is_none(json_str(json_get(v, "n"))) && str_is_none(json_str(NULL)));
    CHECK(json_get(v, "none") == NULL && json_get(NULL, "s") == NULL);
    CHECK(json_get(json_get(v, "n"), "s") == NULL);
    json_decref(v);
}

static void a_text_need_not_end_with_a_nul(void)
{
    static const char *const texts[] = {"12",  "-12.5e1", "true", "\"a\"", "[1]",
                                        "tru", "\"\\u12", "1e",   "-",     "\"\\ud800\\u"};

    for (size_t i = 0; i < LENGTH_OF(texts); i++) {
        size_t n = strlen(texts[i]);
        char *exact = malloc(n);
        struct err e = {0};
        memcpy(exact, texts[i], n);
        json_t *v = json_parse(str_of(exact, n), &e);
        CHECK_ROW(i, (v != NULL) == (i < 5));
        json_decref(v);
        free(exact);
    }
}

TESTS(T(errors_are_in_cjsons_words), T(nul_bytes_are_no_end), T(text_comes_back_compact),
      T(numbers_without_fraction_are_integers), T(several_wide_integers_keep_what_is_between),
      T(depth_is_limited), T(the_deepest_text_fits_a_fibers_stack),
      T(children_and_strings_are_safe_to_ask_for), T(a_text_need_not_end_with_a_nul))
