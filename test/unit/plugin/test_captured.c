/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/captured.h"

#include "plugin/regex_uri.h"
#include "plugins/fake.h"

static struct re_match match(struct arena *a, const char *pattern, const char *subject)
{
    struct err e = {0};
    struct re_match m;
    const struct re *re = re_new(a, str_c(pattern), "", &e);

    CHECK(re != NULL && re_search(re, str_c(subject), 0, &m));
    return m;
}

static void a_template_takes_variables_and_groups(void)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"plain", "plain"},
        {"", ""},
        {"$1", "one"},
        {"${2}", "two"},
        {"$2-$1", "two-one"},
        {"$0", "one/two"},
        {"a$1b$2c", "aonebtwoc"},
        {"$9|${31}|$99|$4294967297|", "||||"}, /* no such group */
        {"$1$arg_k", "onev"},
        {"${arg_k}$1", "vone"},
        {"$arg_none.$1", "one"}, /* a dot is part of a variable's name */
        {"${arg_none ?? d}$1", "done"},
        {"\\$1 $1", "\\$1 one"},
        {"${1", "${1"},
        {"cost 5$", "cost 5$"},
    };
    struct req *r = req_fake("GET /?k=v", "");
    struct re_match m = match(r->arena, "(\\w+)/(\\w+)", "one/two");

    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        const struct captured *c = captured_tmpl(r->arena, str_c(cases[i].text));
        CHECK_ROW(i, str_eq(captured_expand(c, r->arena, r, &m), str_c(cases[i].want)));
    }
}

static void without_a_match_groups_are_empty(void)
{
    struct req *r = req_fake("GET /?k=v", "");

    CHECK_STR(captured_expand(captured_tmpl(r->arena, STR("a$1-$arg_k")), r->arena, r, NULL),
              "a-v");
}

static void what_a_client_sent_is_no_template(void)
{
    struct req *r = req_fake("GET /?k=$remote_addr", "");
    struct re_match m = match(r->arena, "(.*)", "$host $1");

    CHECK_STR(captured_expand(captured_tmpl(r->arena, STR("$1 $arg_k")), r->arena, r, &m),
              "$host $1 $remote_addr");
}

static void a_replacement_knows_only_groups(void)
{
    static const struct {
        const char *text, *want; /* NULL: malformed */
    } cases[] = {
        {"/$2/$1", "/two/one"}, {"$$1", "$1"},    {"/a", "/a"},   {"", ""},    {"$$", "$"},
        {"x$1$$y", "xone$y"},   {"$arg_k", NULL}, {"${x}", NULL}, {"$", NULL}, {"${1", NULL},
    };
    struct arena *a = arena_new(4096);
    struct re_match m = match(a, "(\\w+)/(\\w+)", "one/two");

    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct err e = {0};
        const struct captured *c = captured_replacement(a, str_c(cases[i].text), &e);
        CHECK_ROW(i, (c != NULL) == (cases[i].want != NULL) && err_is_set(&e) == (c == NULL));
        CHECK_ROW(i, c == NULL || str_eq(captured_expand(c, a, NULL, &m), str_c(cases[i].want)));
    }
    arena_free(a);
}

static struct arr texts_of(struct arena *a, const char *const *v)
{
    struct str *out = ARENA_ARRAY(a, struct str, 8);
    size_t n = 0;

    for (; v[n]; n++) {
        out[n] = str_c(v[n]);
    }
    return (struct arr){out, n};
}

static void the_first_expression_found_rewrites(void)
{
    static const char *const pairs[] = {"^/a/(.*)/(.*)", "/$2_$1",  "^/c", "/see",
                                        "/q/(.*)$",      "/r?x=$1", NULL};
    static const struct {
        const char *uri, *path, *query; /* path NULL: none is found */
    } cases[] = {
        {"/a/x/y", "/y_x", NULL},     {"/c/1", "/see/1", NULL},  {"/z", NULL, NULL},
        {"/a/b?c/d", "/d_b?c", NULL}, /* a question mark of the path stays in the path */
        {"/q/1?2", "/r", "x=1?2"},    {"/p/q/1", "/p/r", "x=1"}, /* what stands around the match
                                                                    stays */
    };
    struct arena *a = arena_new(4096);
    struct err e = {0};
    struct regex_uri x;
    const struct arr texts = texts_of(a, pairs);

    CHECK(regex_uri_prepare(a, &texts, &x, &e) == 0);
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct rewritten w;
        CHECK_ROW(i, regex_uri_apply(&x, a, str_c(cases[i].uri), &w) == (cases[i].path != NULL));
        CHECK_ROW(i, str_eq(w.path, str_c(cases[i].path ? cases[i].path : cases[i].uri)));
        CHECK_ROW(i, str_eq(w.query, str_c(cases[i].query)) && !w.query.p == !cases[i].query);
    }
    arena_free(a);
}

static void the_wrong_pair_is_named(void)
{
    static const struct {
        const char *json, *text;
        int index;
    } cases[] = {
        {"[\"^/a\",\"/b\"]", "", -1},
        {"[]", "", -1},
        {"[\"^/a\",\"/b\",\"^/c(\",\"/d\"]",
         "pcre2_compile() failed: missing closing parenthesis in \"^/c(\"", 2},
        {"[\"^/a\",\"/$x\"]", "invalid capturing variable name found in \"/$x\"", 0},
        {"[\"^/a\",\"/b?$x\"]", "invalid capturing variable name found in \"/b?$x\"", 0},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct err e = {0};
        json_t *pairs = json_parse(str_c(cases[i].json), &e);
        CHECK_ROW(i, regex_uri_check(pairs, &e) == cases[i].index);
        CHECK_STR(str_c(e.msg), cases[i].text);
        json_decref(pairs);
    }
}

TESTS(T(a_template_takes_variables_and_groups), T(without_a_match_groups_are_empty),
      T(what_a_client_sent_is_no_template), T(a_replacement_knows_only_groups),
      T(the_first_expression_found_rewrites), T(the_wrong_pair_is_named))
