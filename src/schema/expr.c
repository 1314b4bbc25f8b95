/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expr: conditions, compiled to a list of tests with two ways out of each.
 *
 * A rule is a tree of AND, OR and clauses; the program has one step a clause, and each step names
 * the step to go on with when it holds and when it does not. Negation only swaps the two, so
 * evaluating is a loop without a stack. Steps are made from the last to the first, which makes the
 * step that follows known when a step is made. Types are Lua's: "1" is not 1, only comparisons with
 * a number convert.
 */
#include "schema/expr.h"

#include "base/ip.h"
#include "base/log.h"
#include "base/re.h"
#include "schema/jsonpath.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Ways out of the program. */
enum { YES = -1, NO = -2 };

/* Rules in rules: more than anybody writes, few enough for the stack of a fiber. */
enum { NEST_MAX = 64 };

/* clang-format off */
#define OPS(X)                                                                                     \
    X(EQ, "==") X(NE, "~=") X(GT, ">") X(GE, ">=") X(LT, "<") X(LE, "<=")                          \
    X(MATCH, "~~") X(IMATCH, "~*") X(IN, "in") X(HAS, "has") X(IPMATCH, "ipmatch")
enum op {
#define X(id, name) OP_##id,
    OPS(X)
#undef X
    OP_COUNT
};
/* clang-format on */
static const struct str op_names[] = {
#define X(id, name) STR_INIT(name),
    OPS(X)
#undef X
};

struct step {
    struct var var;
    enum op op;
    struct value x;      /* what is compared with; in: its strings first, sorted */
    size_t n_strs;       /* in: how many of x are strings */
    double num;          /* x as a number, NAN when it is none */
    const struct re *re; /* NULL: an expression that does not compile matches nothing */
    const struct cidr *blocks;
    size_t n_blocks;
    int yes, no;
};

struct expr {
    struct step *steps;
    int entry;
};

/* A clause as written. */
struct clause {
    struct str name;
    enum op op;
    bool negate;
    const json_t *value; /* NULL: none */
    /* [var, value]: the value, in lower case as the reference makes it; else STR_NONE */
    struct str word;
};

enum word { WORD_NONE, WORD_AND, WORD_OR, WORD_NOT_AND, WORD_NOT_OR };

/* ---- reading rules ---- */

static enum word logic_word(const json_t *v)
{
    static const struct {
        struct str name;
        enum word word;
    } words[] = {{STR_INIT("AND"), WORD_AND},
                 {STR_INIT("OR"), WORD_OR},
                 {STR_INIT("!AND"), WORD_NOT_AND},
                 {STR_INIT("!OR"), WORD_NOT_OR}};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (json_is_string(v) && str_ieq(json_str(v), words[i].name)) {
            return words[i].word;
        }
    }
    return WORD_NONE;
}

static bool is_table(const json_t *v)
{
    return json_is_array(v) || json_is_object(v);
}

/* Strings as they are and numbers as Lua would print them: the two that pass for text. */
static struct str scalar_text(struct arena *a, const json_t *v)
{
    return json_is_number(v) ? arena_printf(a, "%.14g", json_number_value(v)) : json_str(v);
}

static enum op op_of(struct str name)
{
    for (int i = 0; i < OP_COUNT; i++) {
        if (str_eq(name, op_names[i])) {
            return (enum op)i;
        }
    }
    return OP_COUNT;
}

static int clause_read(struct arena *a, const json_t *v, struct clause *c, struct err *e)
{
    const size_t at = json_array_size(v) == 4 ? 2 : 1;

    *c = (struct clause){.negate = at == 2, .word = STR_NONE};
    if (c->negate && !str_eq(json_str(json_array_get(v, 1)), STR("!"))) {
        return err_set(e, "bad 'not' expression");
    }
    const struct str op = arena_lower(a, scalar_text(a, json_array_get(v, at)));

    c->name = scalar_text(a, json_array_get(v, 0));
    c->value = json_array_get(v, at + 1);
    if (str_is_none(c->name) || str_is_none(op)) {
        return err_set(e, "invalid expression");
    }
    c->op = op_of(op);
    if (c->op == OP_COUNT && c->value == NULL) {
        c->op = OP_EQ;
        c->word = op;
    }
    return c->op != OP_COUNT ? 0 : err_set(e, "invalid operator '%.*s'", STR_ARG(op));
}

/* ---- checking ---- */

static int block_check(struct arena *a, const json_t *v, struct err *e)
{
    const struct str text = scalar_text(a, v);
    struct cidr block;

    if (str_is_none(text) || text.n == 0) {
        return err_set(e, "invalid ip address");
    }
    return cidr_parse(text, &block) ? 0 : err_set(e, "invalid ip address: %.*s", STR_ARG(text));
}

static int blocks_check(struct arena *a, const json_t *v, struct err *e)
{
    if (!json_is_array(v)) {
        return block_check(a, v, e);
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (block_check(a, json_array_get(v, i), e) != 0) {
            return -1;
        }
    }
    return json_array_size(v) > 0 ? 0 : err_set(e, "invalid ip address");
}

/*
 * post_arg.PATH, when PATH is more than names and dots. The reference quotes the path without its
 * first character (golden case route-vars-postarg-bad); so do we.
 */
static int post_arg_check(struct arena *a, struct str name, struct err *e)
{
    const struct str prefix = STR("post_arg."), path = str_skip(name, prefix.n);
    size_t bad = 0;

    if (!str_starts(name, prefix) ||
        (str_index(path, '[') < 0 && str_index(path, '*') < 0 && str_find(path, STR("..")) < 0)) {
        return 0;
    }
    if (jsonpath_check(arena_cat(a, STR("."), path), &bad)) {
        return 0;
    }
    const struct str quoted = arena_cat(a, STR("."), str_skip(path, 1));

    jsonpath_check(quoted, &bad);
    const struct str near = str_skip(quoted, bad);

    return err_set(e, "invalid expression \"$%.*s\" near \"%.*s\"", STR_ARG(quoted), STR_ARG(near));
}

static int clause_check(struct arena *a, const json_t *v, struct err *e)
{
    struct clause c;

    if (clause_read(a, v, &c, e) != 0 || post_arg_check(a, c.name, e) != 0) {
        return -1;
    }
    return c.op == OP_IPMATCH ? blocks_check(a, c.value, e) : 0;
}

/* Is v, inside depth others, a rule? Counts its clauses. */
static int rule_check(struct arena *a, const json_t *v, unsigned depth, size_t *clauses,
                      struct err *e)
{
    const size_t n = json_array_size(v);
    const json_t *first = json_array_get(v, 0);
    const bool has_word = logic_word(first) != WORD_NONE;

    if (!is_table(v)) {
        return err_set(e, "invalid expression");
    }
    if (depth == NEST_MAX) {
        return err_set(e, "rules are nested too deeply");
    }
    if (n == 0 || (has_word && n < 3)) {
        return err_set(e, "rule too short");
    }
    if (!has_word && !is_table(first)) {
        *clauses += 1;
        return clause_check(a, v, e);
    }
    for (size_t i = has_word ? 1 : 0; i < n; i++) {
        if (rule_check(a, json_array_get(v, i), depth + 1, clauses, e) != 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- making steps ---- */

static struct value scalar_value(const json_t *v)
{
    if (json_is_string(v)) {
        return (struct value){.kind = VALUE_STR, .s = json_str(v)};
    }
    if (json_is_number(v)) {
        return (struct value){.kind = VALUE_NUM, .num = json_number_value(v)};
    }
    if (json_is_boolean(v)) {
        return (struct value){.kind = VALUE_BOOL, .num = json_is_true(v)};
    }
    /* null and nothing are one; a table equals no variable, nor does a null inside a table. */
    return (struct value){.kind = v == NULL || json_is_null(v) ? VALUE_NONE : VALUE_LIST};
}

/* Strings first, sorted. */
static int element_cmp(const void *x, const void *y)
{
    const struct value *a = x, *b = y;

    if (a->kind != VALUE_STR || b->kind != VALUE_STR) {
        return (b->kind == VALUE_STR) - (a->kind == VALUE_STR);
    }
    return str_cmp(a->s, b->s);
}

static void step_set_list(struct step *s, struct arena *a, const json_t *v)
{
    const size_t n = json_array_size(v);
    struct value *list = ARENA_ARRAY(a, struct value, n + 1);

    for (size_t i = 0; i < n; i++) {
        list[i] = scalar_value(json_array_get(v, i));
        if (list[i].kind == VALUE_NONE) {
            list[i].kind = VALUE_LIST;
        }
        s->n_strs += list[i].kind == VALUE_STR;
    }
    qsort(list, n, sizeof(*list), element_cmp);
    s->x = (struct value){.kind = VALUE_LIST, .list = list, .n = n};
}

static void step_set_blocks(struct step *s, struct arena *a, const json_t *v)
{
    const size_t n = json_is_array(v) ? json_array_size(v) : 1;
    struct cidr *blocks = ARENA_ARRAY(a, struct cidr, n);

    for (size_t i = 0; i < n; i++) {
        cidr_parse(scalar_text(a, json_is_array(v) ? json_array_get(v, i) : v), &blocks[i]);
    }
    s->blocks = blocks;
    s->n_blocks = n;
}

/* The reference accepts an expression that does not compile and matches nothing with it; we say so
 * in the log. */
static void step_set_re(struct step *s, struct arena *a)
{
    const struct str pattern = value_text(a, &s->x);
    struct err why = {.msg = ""};

    if (str_is_none(pattern)) {
        return;
    }
    s->re = re_new(a, pattern, s->op == OP_IMATCH ? "i" : "", &why);
    if (s->re == NULL) {
        LOG(WARN, "condition on %.*s never holds: %s", STR_ARG(s->var.name), why.msg);
    }
}

static double value_number(const struct value *v)
{
    double d;

    if (v->kind == VALUE_NUM) {
        return v->num;
    }
    return v->kind == VALUE_STR && str_to_number(v->s, &d) ? d : NAN;
}

static void step_set(struct step *s, struct arena *a, const struct clause *c)
{
    s->var = var_compile(a, c->name);
    s->op = c->op;
    s->x = str_is_none(c->word) ? scalar_value(c->value)
                                : (struct value){.kind = VALUE_STR, .s = c->word};
    s->num = value_number(&s->x);
    if (s->op == OP_IN) {
        step_set_list(s, a, c->value);
    } else if (s->op == OP_IPMATCH) {
        step_set_blocks(s, a, c->value);
    } else if (s->op == OP_MATCH || s->op == OP_IMATCH) {
        step_set_re(s, a);
    }
}

struct maker {
    struct arena *arena;
    struct step *steps;
    int next; /* steps from here on are made */
    struct err *e;
};

/* Steps for rule v that leaves to yes or to no; where to enter them. v has been checked. */
static int rule_make(struct maker *m, const json_t *v, int yes, int no)
{
    const enum word word = logic_word(json_array_get(v, 0));
    const bool any = word == WORD_OR || word == WORD_NOT_OR;
    const bool negate = word == WORD_NOT_AND || word == WORD_NOT_OR;
    const int hold = negate ? no : yes, fail = negate ? yes : no;
    struct clause c;

    if (word == WORD_NONE && !is_table(json_array_get(v, 0))) {
        struct step *s = &m->steps[--m->next];

        clause_read(m->arena, v, &c, m->e);
        step_set(s, m->arena, &c);
        s->yes = c.negate ? no : yes;
        s->no = c.negate ? yes : no;
        return m->next;
    }
    /* The last part decides; each part before it decides or goes on with the one after it. */
    int entry = any ? fail : hold;

    for (size_t i = json_array_size(v); i-- > (word == WORD_NONE ? 0 : 1);) {
        entry = any ? rule_make(m, json_array_get(v, i), hold, entry)
                    : rule_make(m, json_array_get(v, i), entry, fail);
    }
    return entry;
}

struct expr *expr_new(struct arena *a, const json_t *rule, struct err *e)
{
    const json_t *first = json_array_get(rule, 0);
    struct expr *x = ARENA_NEW(a, struct expr);
    size_t clauses = 0;

    x->entry = YES;
    /* {} is [] where JSON went through Lua. */
    if (is_table(rule) && json_array_size(rule) + json_object_size(rule) == 0) {
        return x;
    }
    if (!json_is_array(rule) || (!is_table(first) && logic_word(first) == WORD_NONE)) {
        err_set(e, "rule should be wrapped inside brackets");
        return NULL;
    }
    if (rule_check(a, rule, 0, &clauses, e) != 0) {
        return NULL;
    }
    struct maker m = {a, ARENA_ARRAY(a, struct step, clauses), (int)clauses, e};

    x->steps = m.steps;
    x->entry = rule_make(&m, rule, YES, NO);
    return x;
}

/* ---- evaluating ---- */

static bool value_same(const struct value *a, const struct value *b)
{
    if (a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case VALUE_STR:
        return str_eq(a->s, b->s);
    case VALUE_NUM:
    case VALUE_BOOL:
        return a->num == b->num;
    case VALUE_NONE:
        return true;
    case VALUE_LIST:
        break;
    }
    return false;
}

static bool is_equal(const struct step *s, const struct value *v)
{
    return s->x.kind == VALUE_NUM ? value_number(v) == s->x.num : value_same(v, &s->x);
}

static bool is_in(const struct step *s, const struct value *v)
{
    if (v->kind == VALUE_STR) {
        return s->n_strs > 0 && bsearch(v, s->x.list, s->n_strs, sizeof(*v), element_cmp) != NULL;
    }
    for (size_t i = s->n_strs; i < s->x.n; i++) {
        if (value_same(v, &s->x.list[i])) {
            return true;
        }
    }
    return false;
}

static bool has_element(const struct step *s, const struct value *v)
{
    for (size_t i = 0; v->kind == VALUE_LIST && i < v->n; i++) {
        if (value_same(&v->list[i], &s->x)) {
            return true;
        }
    }
    return false;
}

static bool is_matched(const struct step *s, const struct value *v)
{
    char digits[32];
    struct str text = STR("true");

    if (s->re == NULL || v->kind == VALUE_NONE || v->kind == VALUE_LIST ||
        (v->kind == VALUE_BOOL && v->num == 0)) {
        return false;
    }
    if (v->kind == VALUE_STR) {
        text = v->s;
    } else if (v->kind == VALUE_NUM) {
        text = str_of(digits, (size_t)snprintf(digits, sizeof(digits), "%.14g", v->num));
    }
    return re_search(s->re, text, 0, NULL);
}

static bool is_in_blocks(const struct step *s, const struct value *v)
{
    struct ip ip;

    if (v->kind != VALUE_STR || !ip_parse(v->s, &ip)) {
        return false;
    }
    for (size_t i = 0; i < s->n_blocks; i++) {
        if (cidr_has(&s->blocks[i], &ip)) {
            return true;
        }
    }
    return false;
}

static bool step_holds(const struct step *s, const struct value *v)
{
    switch (s->op) {
    case OP_EQ:
        return is_equal(s, v);
    case OP_NE:
        return !is_equal(s, v);
    /* What is not a number is NAN, and no comparison with that holds. */
    case OP_GT:
        return value_number(v) > s->num;
    case OP_GE:
        return value_number(v) >= s->num;
    case OP_LT:
        return value_number(v) < s->num;
    case OP_LE:
        return value_number(v) <= s->num;
    case OP_MATCH:
    case OP_IMATCH:
        return is_matched(s, v);
    case OP_IN:
        return is_in(s, v);
    case OP_HAS:
        return has_element(s, v);
    case OP_IPMATCH:
        return is_in_blocks(s, v);
    case OP_COUNT:
        break;
    }
    return false;
}

bool expr_eval(const struct expr *x, void *subject)
{
    int at = x->entry;

    while (at >= 0) {
        const struct step *s = &x->steps[at];
        const struct value v = var_get(subject, &s->var);

        at = step_holds(s, &v) ? s->yes : s->no;
    }
    return at == YES;
}
