/* SPDX-License-Identifier: Apache-2.0 */
/* expr: operators, logic, types, and what is refused. */
#include "schema/expr.h"

#include "base/buf.h"
#include "base/log.h"
#include "schema/field.h" /* JSON() */

#include "vars.h"

static const struct value roots[] = {V_STR("owner"), V_STR("repo"), V_NUM(2), V_BOOL(1)};
static struct test_var subject[] = {
    {"arg_k", V_STR("10")},       {"arg_hex", V_STR("0x0A")},
    {"arg_word", V_STR("Hello")}, {"arg_empty", V_STR("")},
    {"arg_flag", V_BOOL(1)},      {"arg_off", V_BOOL(0)},
    {"num", V_NUM(10)},           {"remote_addr", V_STR("10.1.2.3")},
    {"addr6", V_STR("fe80::1")},  {"list", {.kind = VALUE_LIST, .list = roots, .n = 4}},
    {"7", V_STR("seven")},        {NULL, {VALUE_NONE}},
};

/* Evaluate the rule; -1 when it is refused, with *e. */
static int result(const char *rule, struct err *e)
{
    struct arena *a = arena_new(1024);
    json_t *v = json_parse(str_c(rule), e);
    struct expr *x = v != NULL ? expr_new(a, v, e) : NULL;
    const int got = x != NULL ? expr_eval(x, subject) : -1;

    arena_free(a);
    json_decref(v);
    return got;
}

static void rules_hold_or_not(void)
{
    static const struct {
        const char *rule;
        int want;
    } rows[] = {
        /* == and ~= compare numbers with numbers, and else type and value */
        {JSON([["arg_k", "==", "10"]]), 1},
        {JSON([["arg_k", "==", 10]]), 1},
        {JSON([["arg_k", "==", 11]]), 0},
        {JSON([["arg_hex", "==", 10]]), 1},
        {JSON([["arg_word", "==", 10]]), 0},
        {JSON([["arg_word", "==", "hello"]]), 0},
        {JSON([["num", "==", "10"]]), 0},
        {JSON([["num", "==", 10]]), 1},
        {JSON([["arg_flag", "==", true]]), 1},
        {JSON([["arg_flag", "==", "true"]]), 0},
        {JSON([["arg_flag", "==", ""]]), 0},
        {JSON([["arg_flag", "==", 1]]), 0},
        {JSON([["arg_off", "==", false]]), 1},
        {JSON([["arg_empty", "==", ""]]), 1},
        {JSON([["list", "==", ["owner"]]]), 0},
        {JSON([["arg_k", "==", ["10"]]]), 0},
        {JSON([["nope", "==", "x"]]), 0},
        {JSON([["nope", "==", 1]]), 0},
        {JSON([["nope", "==", null]]), 1},
        {JSON([["nope", "=="]]), 1},
        {JSON([["arg_k", "==", null]]), 0},
        {JSON([["arg_k", "~=", "10"]]), 0},
        {JSON([["arg_k", "~=", 10]]), 0},
        {JSON([["arg_word", "~=", 10]]), 1},
        {JSON([["nope", "~=", "x"]]), 1},
        {JSON([["nope", "~=", 1]]), 1},
        {JSON([["nope", "~=", null]]), 0},
        {JSON([["arg_k", "~=", null]]), 1},
        /* order converts both */
        {JSON([["arg_k", ">", 9]]), 1},
        {JSON([["arg_k", ">", "9"]]), 1},
        {JSON([["arg_k", ">", 10]]), 0},
        {JSON([["arg_k", ">=", 10]]), 1},
        {JSON([["arg_k", "<", 10.5]]), 1},
        {JSON([["arg_k", "<=", 9]]), 0},
        {JSON([["arg_word", ">", 0]]), 0},
        {JSON([["arg_word", "<", 0]]), 0},
        {JSON([["nope", "<", 1]]), 0},
        {JSON([["arg_k", "<", "x"]]), 0},
        {JSON([["arg_flag", ">=", 0]]), 0},
        /* expressions */
        {JSON([["arg_word", "~~", "ell"]]), 1},
        {JSON([["arg_word", "~~", "^ell"]]), 0},
        {JSON([["arg_word", "~~", "HELLO"]]), 0},
        {JSON([["arg_word", "~*", "HELLO"]]), 1},
        {JSON([["num", "~~", "^10$"]]), 1},
        {JSON([["arg_k", "~~", 1]]), 1},
        {JSON([["arg_flag", "~~", "^true$"]]), 1},
        {JSON([["arg_off", "~~", "."]]), 0},
        {JSON([["nope", "~~", ".*"]]), 0},
        {JSON([["list", "~~", ".*"]]), 0},
        {JSON([["arg_word", "~~", ["ell"]]]), 0},
        /* lists */
        {JSON([["arg_word", "in", ["a", "Hello", "b"]]]), 1},
        {JSON([["arg_word", "in", ["a", "b"]]]), 0},
        {JSON([["arg_word", "IN", ["Hello"]]]), 1},
        {JSON([["arg_k", "in", [10, "x"]]]), 0},
        {JSON([["num", "in", ["x", 10, true]]]), 1},
        {JSON([["arg_flag", "in", ["x", 1, true]]]), 1},
        {JSON([["nope", "in", ["x", null]]]), 0},
        {JSON([["arg_k", "in", "10"]]), 0},
        {JSON([["arg_k", "in", []]]), 0},
        {JSON([["list", "in", [[]]]]), 0},
        {JSON([["list", "has", "repo"]]), 1},
        {JSON([["list", "HAS", 2]]), 1},
        {JSON([["list", "has", "2"]]), 0},
        {JSON([["list", "has", true]]), 1},
        {JSON([["arg_word", "has", "Hello"]]), 0},
        {JSON([["nope", "has", "x"]]), 0},
        /* addresses */
        {JSON([["remote_addr", "ipmatch", "10.0.0.0/8"]]), 1},
        {JSON([["remote_addr", "ipmatch", ["::1", "10.1.2.3"]]]), 1},
        {JSON([["remote_addr", "ipmatch", ["::1", "10.1.2.4"]]]), 0},
        {JSON([["addr6", "IPMATCH", ["fe80::/10"]]]), 1},
        {JSON([["arg_word", "ipmatch", "0.0.0.0/0"]]), 0},
        {JSON([["nope", "ipmatch", "0.0.0.0/0"]]), 0},
        /* negation */
        {JSON([["arg_word", "!", "~~", "ell"]]), 0},
        {JSON([["nope", "!", "~~", "x"]]), 1},
        {JSON([["arg_word", "!", "in", ["x"]]]), 1},
        {JSON([["arg_word", "!", "ipmatch", "0.0.0.0/0"]]), 1},
        {JSON([["arg_k", "!", "==", "10"]]), 0},
        /* [var, value] is ==, in lower case as the reference makes it */
        {JSON([["arg_k", "10"]]), 1},
        {JSON([["arg_k", 10]]), 1},
        {JSON([["arg_word", "Hello"]]), 0},
        {JSON([[7, "==", "seven"]]), 1},
        /* five and more: the rest is not looked at */
        {JSON([["arg_k", "==", "10", "x", "y"]]), 1},
        /* logic */
        {JSON([]), 1},
        {JSON({}), 1},
        {JSON([["arg_k", "==", "10"], ["num", "==", 10]]), 1},
        {JSON([["arg_k", "==", "10"], ["num", "==", 11]]), 0},
        {JSON([["arg_k", "==", "11"], ["num", "==", 10]]), 0},
        {JSON(["AND", ["arg_k", "==", "10"], ["num", "==", 10]]), 1},
        {JSON(["OR", ["arg_k", "==", "11"], ["num", "==", 10]]), 1},
        {JSON(["or", ["arg_k", "==", "11"], ["num", "==", 11]]), 0},
        {JSON(["!AND", ["arg_k", "==", "10"], ["num", "==", 10]]), 0},
        {JSON(["!AND", ["arg_k", "==", "10"], ["num", "==", 11]]), 1},
        {JSON(["!or", ["arg_k", "==", "11"], ["num", "==", 11]]), 1},
        {JSON(["!OR", ["arg_k", "==", "11"], ["num", "==", 10]]), 0},
        {JSON([["OR", ["arg_k", "==", "11"], ["num", "==", 10]], ["arg_word", "~~", "H"]]), 1},
        {JSON(["OR", ["AND", ["arg_k", "==", "10"], ["num", "==", 11]], ["arg_word", "~~", "H"]]),
         1},
        {JSON(["OR", ["AND", ["arg_k", "==", "10"], ["num", "==", 11]], ["arg_word", "~~", "x"]]),
         0},
        {JSON([
             "!OR", ["!AND", ["arg_k", "==", "10"], ["num", "==", 10]],
             ["!OR", ["arg_word", "~~", "x"], ["arg_flag", "==", true]]
         ]),
         1},
        {JSON([[["arg_k", "==", "10"]], [["num", "==", 10], ["arg_word", "~~", "H"]]]), 1},
    };

    var_install(&test_vars);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err e = {.msg = ""};

        CHECK_ROW(i, result(rows[i].rule, &e) == rows[i].want);
        CHECK_STR(str_c(e.msg), "");
    }
}

static void what_is_no_rule_is_refused(void)
{
    static const struct {
        const char *rule, *want;
    } rows[] = {
        {JSON(["arg_k", "==", "v"]), "rule should be wrapped inside brackets"},
        {JSON("arg_k"), "rule should be wrapped inside brackets"},
        {JSON({"a": 1}), "rule should be wrapped inside brackets"},
        {JSON([1]), "rule should be wrapped inside brackets"},
        {JSON([["arg_k", "===", "v"]]), "invalid operator '==='"},
        {JSON([["a", "B", "c", "d", "e"]]), "invalid operator 'b'"},
        {JSON([["arg_k"]]), "invalid expression"},
        {JSON([["arg_k", null, "v"]]), "invalid expression"},
        {JSON([["arg_k", true]]), "invalid expression"},
        {JSON([[null, "==", "v"]]), "invalid expression"},
        {JSON([["arg_k", "==", "v"], "x"]), "invalid expression"},
        {JSON([[]]), "rule too short"},
        {JSON([{"a": 1}]), "rule too short"},
        {JSON(["OR", ["arg_k", "==", "v"]]), "rule too short"},
        {JSON([["OR"]]), "rule too short"},
        {JSON([["arg_k", "?", "==", "v"]]), "bad 'not' expression"},
        {JSON([["arg_k", "!", "===", "v"]]), "invalid operator '==='"},
        {JSON([["remote_addr", "ipmatch", "abc"]]), "invalid ip address: abc"},
        {JSON([["remote_addr", "ipmatch", ["::1", "1.2.3.4/33"]]]),
         "invalid ip address: 1.2.3.4/33"},
        {JSON([["remote_addr", "ipmatch", []]]), "invalid ip address"},
        {JSON([["remote_addr", "ipmatch"]]), "invalid ip address"},
        {JSON([["post_arg.a[", "==", "v"]]), "invalid expression \"$.[\" near \".[\""},
        {JSON([["post_arg.items[*", "==", "v"]]), "invalid expression \"$.tems[*\" near \"[*\""},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err e = {.msg = ""};

        CHECK_ROW(i, result(rows[i].rule, &e) == -1);
        CHECK_STR(str_c(e.msg), rows[i].want);
    }
}

/* n rules, each inside the one before. */
static int nested_result(int n, struct err *e)
{
    struct buf b = BUF_INIT(4096);

    for (int i = 0; i < n; i++) {
        buf_addc(&b, '[');
    }
    buf_add(&b, STR("\"num\",\"==\",10"));
    for (int i = 0; i < n; i++) {
        buf_addc(&b, ']');
    }
    buf_addc(&b, 0);
    const int got = result(b.p, e);

    buf_fini(&b);
    return got;
}

static void nesting_has_a_limit(void)
{
    struct err e = {.msg = ""};

    var_install(&test_vars);
    CHECK(nested_result(64, &e) == 1);
    CHECK(nested_result(65, &e) == -1);
    CHECK_STR(str_c(e.msg), "rules are nested too deeply");
}

static void paths_into_bodies_are_variables(void)
{
    static const char *const rules[] = {
        JSON([["post_arg.user.name", "==", null]]), JSON([["post_arg.a[*].b", "==", null]]),
        JSON([["post_arg..b", "==", null]]), JSON([["post_arg.a b", "==", null]])};

    var_install(&test_vars);
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        struct err e = {.msg = ""};

        CHECK_ROW(i, result(rules[i], &e) == 1);
    }
}

/* The reference takes such a rule, too; here the log tells. */
static void a_bad_regular_expression_matches_nothing(void)
{
    struct err e = {.msg = ""};
    const enum log_level before = log_least;

    var_install(&test_vars);
    log_least = LOG_EMERG;
    CHECK(result(JSON([["arg_k", "~~", "("]]), &e) == 0);
    CHECK(result(JSON([["arg_k", "!", "~~", "("]]), &e) == 1);
    log_least = before;
}

static unsigned reads;

static struct value counted_get(void *s, const struct var *v)
{
    reads++;
    return test_var_get(s, v);
}

/* A clause that cannot change the answer is not looked at. */
static void evaluation_stops_when_the_answer_is_known(void)
{
    static const struct var_table counted = {.compile = test_var_compile, .get = counted_get};
    static const struct {
        const char *rule;
        unsigned reads;
    } rows[] = {
        {JSON([["arg_k", "==", "x"], ["num", "==", 10]]), 1},
        {JSON([["arg_k", "==", "10"], ["num", "==", 10]]), 2},
        {JSON(["OR", ["arg_k", "==", "10"], ["num", "==", 10]]), 1},
        {JSON(["!OR", ["arg_k", "==", "10"], ["num", "==", 10]]), 1},
        {JSON([["OR", ["arg_k", "==", "10"], ["num", "==", 10]], ["nope", "==", null]]), 2},
    };

    var_install(&counted);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err e = {.msg = ""};

        reads = 0;
        result(rows[i].rule, &e);
        CHECK_ROW(i, reads == rows[i].reads);
    }
    var_install(&test_vars);
}

TESTS(T(rules_hold_or_not), T(what_is_no_rule_is_refused), T(nesting_has_a_limit),
      T(paths_into_bodies_are_variables), T(a_bad_regular_expression_matches_nothing),
      T(evaluation_stops_when_the_answer_is_known))
