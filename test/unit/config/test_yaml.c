/* SPDX-License-Identifier: Apache-2.0 */
/* YAML and variables of the environment, as JSON. */
#include "config/settings_priv.h"
#include "t.h"

static void check_json(int row, json_t *got, const char *want)
{
    json_t *w = json_loads(want, JSON_DECODE_ANY, NULL);
    const bool same = got != NULL && json_equal(got, w);

    CHECK_ROW(row, same);
    if (!same) {
        char *text = got != NULL ? json_dumps(got, JSON_ENCODE_ANY) : NULL;
        printf("# got %s, want %s\n", text != NULL ? text : "an error", want);
        free(text);
    }
    json_decref(w);
}

static void documents_become_json(void)
{
    static const struct {
        const char *yaml, *want;
    } cases[] = {
        {"", "null"},
        {"# a comment\n", "null"},
        {"a: 1\nb: [x, 'y', \"z\\n\"]\n", "{\"a\":1,\"b\":[\"x\",\"y\",\"z\\n\"]}"},
        {"- ~\n- null\n- \n- 'null'\n", "[null,null,null,\"null\"]"},
        {"- true\n- False\n- on\n- no\n- 'true'\n", "[true,false,\"on\",\"no\",\"true\"]"},
        {"- 10\n- -3\n- +4\n- 010\n- 0x1f\n- 0o17\n- 1.5\n- 1e3\n- .5\n- 12a\n- 1.2.3.4\n- '10'\n",
         "[10,-3,4,10,31,15,1.5,1000.0,0.5,\"12a\",\"1.2.3.4\",\"10\"]"},
        {"- .inf\n- e5\n- 0x\n- 99999999999999999999\n", "[\".inf\",\"e5\",\"0x\",1e20]"},
        {"1: a\ntrue: b\n", "{\"1\":\"a\",\"true\":\"b\"}"},
        {"a: |\n  x\n  y\nb: >\n  x\n  y\n", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\\n\"}"},
        {"a: &x {p: 1}\nb: *x\nc: &x 2\nd: *x\n",
         "{\"a\":{\"p\":1},\"b\":{\"p\":1},\"c\":2,\"d\":2}"},
        {"a: &x {p: 1, q: 2}\nb:\n  p: 3\n  <<: *x\nc: {<<: [*x, {r: 4}]}\n",
         "{\"a\":{\"p\":1,\"q\":2},\"b\":{\"p\":3,\"q\":2},\"c\":{\"p\":1,\"q\":2,\"r\":4}}"},
        {"a: !!str 5\nb: ! 6\n", "{\"a\":\"5\",\"b\":\"6\"}"},
        {"---\na: 1\n...\n", "{\"a\":1}"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err e = {0};
        json_t *v = yaml_parse(str_c(cases[i].yaml), &e);

        CHECK_STR(str_c(e.msg), "");
        check_json((int)i, v, cases[i].want);
        json_decref(v);
    }
}

static void what_is_ambiguous_or_boundless_is_refused(void)
{
    static const struct {
        const char *yaml, *want;
    } cases[] = {
        {"a: 1\nb: 2\na: 3\n", "line 3: the key \"a\" is there twice"},
        {"a: 1\n---\nb: 2\n", "line 2: more than one document"},
        {"a: !!python/object x\n", "line 1: tags are not supported"},
        {"a: !!map {}\n", "line 1: tags are not supported"},
        {"a: *x\n", "line 1: an alias without an anchor before it"},
        {"a: &x [*x]\n", "line 1: an alias without an anchor before it"},
        {"[a]: 1\n", "line 1: a key must be text"},
        {"a: {<<: 1}\n", "line 1: << wants a mapping"},
        {"a: \"\\0\"\n", "line 1: a NUL character"},
        {"a: [1\n", "line 2: did not find expected ',' or ']'"},
        {"a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c "
         "[*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\n"
         "e: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n",
         "line 6: too many values"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err e = {0};

        CHECK_ROW(i, yaml_parse(str_c(cases[i].yaml), &e) == NULL);
        CHECK_STR(str_c(e.msg), cases[i].want);
    }
}

static void depth_is_bounded(void)
{
    char deep[201];
    struct err e = {0};

    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    CHECK(yaml_parse(str_of(deep, 200), &e) == NULL);
    CHECK_STR(str_c(e.msg), "line 1: nested too deeply");
}

static void variables_are_replaced_and_typed(void)
{
    static const struct {
        const char *json, *want;
    } cases[] = {
        {"\"${{WEIR_T_PORT}}\"", "9080"},
        {"\"${{ WEIR_T_PORT }}\"", "9080"},
        {"\"p${{WEIR_T_PORT}}\"", "\"p9080\""},
        {"\"${{WEIR_T_TRUE}}\"", "true"},
        {"\"${{WEIR_T_ZERO}}\"", "\"007\""},
        {"\"${{WEIR_T_ABSENT:=x y }}\"", "\"x y\""},
        {"\"${{WEIR_T_ABSENT:=5}}\"", "5"},
        {"\"${{WEIR_T_ABSENT := 1.5}}\"", "1.5"},
        {"\"${{WEIR_T_PORT:=1}}\"", "9080"},
        {"\"${{WEIR_T_PORT}}-${{WEIR_T_TRUE}}\"", "\"9080-true\""},
        {"\"${{not a name}}\"", "\"${{not a name}}\""},
        {"\"${{open\"", "\"${{open\""},
        {"\"9080\"", "\"9080\""},
        {"{\"${{WEIR_T_PORT}}\":[\"${{WEIR_T_TRUE}}\",{\"a\":\"${{WEIR_T_PORT}}\"}]}",
         "{\"9080\":[true,{\"a\":9080}]}"},
        {"7", "7"},
    };

    setenv("WEIR_T_PORT", "9080", 1);
    setenv("WEIR_T_TRUE", "true", 1);
    setenv("WEIR_T_ZERO", "007", 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err e = {0};
        json_t *v = env_substitute(json_loads(cases[i].json, JSON_DECODE_ANY, NULL), &e);

        check_json((int)i, v, cases[i].want);
        json_decref(v);
    }
}

static void an_unset_variable_is_an_error(void)
{
    static const char *const cases[] = {"\"${{WEIR_T_ABSENT}}\"", "[1,\"a ${{WEIR_T_ABSENT}}\"]",
                                        "{\"a\":{\"${{WEIR_T_ABSENT}}\":1}}"};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err e = {0};

        CHECK_ROW(i, env_substitute(json_loads(cases[i], JSON_DECODE_ANY, NULL), &e) == NULL);
        CHECK_STR(str_c(e.msg),
                  "failed to handle configuration: can't find environment variable WEIR_T_ABSENT");
    }
}

TESTS(T(documents_become_json), T(what_is_ambiguous_or_boundless_is_refused), T(depth_is_bounded),
      T(variables_are_replaced_and_typed), T(an_unset_variable_is_an_error))
