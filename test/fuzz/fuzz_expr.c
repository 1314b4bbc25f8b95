/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conditions and templates. The input is a rule, then a line feed, then text with variables.
 * Oracles: a refusal has words; a rule and its negation ("!AND" with a clause that always holds)
 * never agree; a template is never longer than its text and values.
 */
#include "base/json.h"
#include "base/log.h"
#include "fuzz.h"
#include "schema/expr.h"

static const struct value list[] = {{.kind = VALUE_STR, .s = STR_INIT("a")},
                                    {.kind = VALUE_NUM, .num = 1}};

static struct var name_compile(struct arena *a, struct str name)
{
    return (struct var){.name = arena_str(a, name)};
}

/* The first letter of the name chooses the kind, the rest is the value. */
static struct value name_value(void *subject, const struct var *v)
{
    const struct str rest = str_skip(v->name, 1);
    double num = 0;

    switch (v->name.n > 0 ? v->name.p[0] : 0) {
    case 's':
        return (struct value){.kind = VALUE_STR, .s = rest};
    case 'n':
        str_to_number(rest, &num);
        return (struct value){.kind = VALUE_NUM, .num = num};
    case 'b':
        return (struct value){.kind = VALUE_BOOL, .num = rest.n % 2};
    case 'l':
        return (struct value){.kind = VALUE_LIST, .list = list, .n = 2};
    default:
        return (struct value){.kind = VALUE_NONE};
    }
}

static const struct var_table table = {.compile = name_compile, .get = name_value};

/* ["!AND", [["-", "==", null]], rule] */
static json_t *negation_of(json_t *rule)
{
    return json_pack("[s,[[s,s,n]],O]", "!AND", "-", "==", rule);
}

static void json_drop(void *v)
{
    json_decref(v);
}

static void rule_check(struct arena *a, json_t *rule)
{
    struct err e = {.msg = ""}, none = {.msg = ""};
    const struct expr *x = expr_new(a, rule, &e);

    ORACLE((x == NULL) == err_is_set(&e));
    if (x == NULL || json_array_size(rule) == 0) {
        ORACLE(x == NULL || expr_eval(x, NULL));
        return;
    }
    json_t *negation = negation_of(rule);
    const struct expr *not = expr_new(a, negation, &none);

    /* One level deeper may be one too many. */
    ORACLE(not == NULL || expr_eval(not, NULL) != expr_eval(x, NULL));
    arena_on_reset(a, json_drop, negation);
}

static void template_check(struct arena *a, struct str text)
{
    const struct tmpl *t = tmpl_new(a, text);
    unsigned resolved;
    const struct str got = tmpl_expand(t, a, NULL, &resolved);

    ORACLE(got.p != NULL && resolved <= text.n / 2);
    ORACLE(!tmpl_is_plain(t) || (str_eq(got, text) && resolved == 0));
    /* A value is part of its name, or a number or boolean of at most 24 bytes. */
    ORACLE(got.n <= text.n + resolved * 24);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct str all = str_of((const char *)data, size);
    const ptrdiff_t line = str_index(all, '\n');
    struct arena *a = arena_new(1024);
    struct err e = {.msg = ""};
    const size_t n = line < 0 ? all.n : (size_t)line;
    json_t *rule = json_parse(str_head(all, n), &e);

    log_least = LOG_EMERG;
    var_install(&table);
    if (rule != NULL) {
        rule_check(a, rule);
    }
    template_check(a, str_skip(all, line < 0 ? 0 : n + 1));
    arena_free(a);
    json_decref(rule);
    return 0;
}
