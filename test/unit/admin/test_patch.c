/* SPDX-License-Identifier: Apache-2.0 */
/* Both forms of PATCH. */
#include "t.h"

#include "admin/admin_priv.h"
#include "base/assert.h"

static json_t *parse(const char *text)
{
    struct err e = {0};
    json_t *v = json_parse(str_c(text), &e);

    ASSERT(v != NULL);
    return v;
}

static void a_merge_goes_deep_deletes_with_null_and_replaces_arrays(void)
{
    static const struct {
        const char *value, *patch, *want;
    } cases[] = {
        {"{\"a\":1}", "{}", "{\"a\":1}"},
        {"{\"a\":1}", "{\"b\":2}", "{\"a\":1,\"b\":2}"},
        {"{\"a\":1,\"b\":2}", "{\"a\":null}", "{\"b\":2}"},
        {"{\"a\":1}", "{\"b\":null}", "{\"a\":1}"},
        {"{\"a\":{\"x\":1,\"y\":2}}", "{\"a\":{\"y\":null,\"z\":3}}", "{\"a\":{\"x\":1,\"z\":3}}"},
        {"{\"a\":[1,2,3]}", "{\"a\":[4]}", "{\"a\":[4]}"},
        {"{\"a\":{\"x\":1}}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"{\"a\":[1]}", "{\"a\":{\"x\":1}}", "{\"a\":{\"x\":1}}"},
        {"{\"a\":{\"x\":1}}", "{\"a\":{}}", "{\"a\":{\"x\":1}}"},
        {"{\"a\":{\"x\":1}}", "{\"a\":\"s\"}", "{\"a\":\"s\"}"},
        {"{}", "{\"a\":{\"x\":null}}", "{\"a\":{\"x\":null}}"},
    };
    struct arena *a = arena_new(1024);

    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        json_t *v = parse(cases[i].value), *p = parse(cases[i].patch);
        patch_merge(v, p);
        CHECK_STR(json_text(a, v), cases[i].want);
        json_decref(p);
        json_decref(v);
    }
    arena_free(a);
}

static void a_sub_path_sets_one_place_and_makes_the_way_to_it(void)
{
    static const struct {
        const char *value, *path, *at, *want; /* want NULL: refused with error */
        const char *error;
    } cases[] = {
        {"{\"a\":1}", "a", "2", "{\"a\":2}", NULL},
        {"{\"a\":{\"b\":1}}", "a/b", "[1]", "{\"a\":{\"b\":[1]}}", NULL},
        {"{}", "a/b/c", "\"x\"", "{\"a\":{\"b\":{\"c\":\"x\"}}}", NULL},
        {"{\"a\":1}", "a", "null", "{\"a\":null}", NULL},
        {"{\"nodes\":{}}", "nodes/127.0.0.1:80", "5", "{\"nodes\":{\"127.0.0.1:80\":5}}", NULL},
        {"{\"desc\":\"d\"}", "desc/x/y", "1", NULL, "invalid sub-path: /desc1x1y"},
        {"{\"a\":{\"b\":1}}", "a/b/c", "1", NULL, "invalid sub-path: /b1c"},
        {"{\"uris\":[\"/a\"]}", "uris/0", "\"/b\"", NULL, "invalid sub-path: /uris10"},
    };
    struct arena *a = arena_new(1024);

    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct err e = {0};
        json_t *v = parse(cases[i].value), *at = parse(cases[i].at);
        int rc = patch_at(v, str_c(cases[i].path), at, &e);
        CHECK_ROW(i, (rc == 0) == (cases[i].want != NULL));
        CHECK_STR(rc == 0 ? json_text(a, v) : str_c(e.msg),
                  cases[i].want ? cases[i].want : cases[i].error);
        json_decref(at);
        json_decref(v);
    }
    arena_free(a);
}

TESTS(T(a_merge_goes_deep_deletes_with_null_and_replaces_arrays),
      T(a_sub_path_sets_one_place_and_makes_the_way_to_it))
