/* SPDX-License-Identifier: Apache-2.0 */
/* tmpl and var: text with variables, values as text; jsonpath. */
#include "schema/jsonpath.h"

#include "vars.h"

static struct test_var subject[] = {
    {"host", V_STR("a.org")},       {"empty", V_STR("")},    {"port", V_NUM(9080)},
    {"ratio", V_NUM(0.25)},         {"big", V_NUM(1e15)},    {"flag", V_BOOL(1)},
    {"list", {.kind = VALUE_LIST}}, {"arg_x-y", V_STR("q")}, {"a.b", V_STR("dotted")},
    {NULL, {VALUE_NONE}},
};

static struct str upper(struct arena *a, struct str s)
{
    char *p = arena_bytes(a, s.n);

    for (size_t i = 0; i < s.n; i++) {
        p[i] = s.p[i] >= 'a' && s.p[i] <= 'z' ? (char)(s.p[i] - 32) : s.p[i];
    }
    return str_of(p, s.n);
}

static void templates_expand(void)
{
    static const struct {
        const char *text, *want;
        unsigned resolved;
        bool plain;
    } rows[] = {
        {"", "", 0, true},
        {"no variables", "no variables", 0, true},
        {"$host", "a.org", 1, false},
        {"${host}", "a.org", 1, false},
        {"${ host }", "a.org", 1, false},
        {"http://$host:$port/", "http://a.org:9080/", 2, false},
        {"$host$port", "a.org9080", 2, false},
        {"${host}$port${flag}", "a.org9080true", 3, false},
        {"[$missing]", "[]", 0, false},
        {"[$empty]", "[]", 1, false},
        {"[$list]", "[]", 1, false},
        {"$ratio $big", "0.25 1e+15", 2, false},
        {"${arg_x-y}", "q", 1, false},
        {"$arg_x-y", "-y", 0, false},
        /* dots belong to a bare name */
        {"$a.b", "dotted", 1, false},
        {"$host.", "", 0, false},
        {"${host}.", "a.org.", 1, false},
        {"${missing ?? d e}", "d e", 1, false},
        {"${missing??d}", "d", 1, false},
        {"${host ?? d}", "a.org", 1, false},
        {"${empty ?? d}", "", 1, false},
        {"${missing ?? }", "", 1, false},
        {"${missing ?? a ?? b}", "a", 1, false},
        /* not a variable */
        {"$", "$", 0, true},
        {"5$", "5$", 0, true},
        {"$-", "$-", 0, true},
        {"$$host", "$a.org", 1, false},
        {"${}", "${}", 0, true},
        {"${host", "${host", 0, true},
        {"\\$host", "\\$host", 0, true},
        {"\\${host} $port", "\\${host} 9080", 1, false},
    };

    var_install(&test_vars);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena *a = arena_new(1024);
        const struct tmpl *t = tmpl_new(a, str_c(rows[i].text));
        unsigned resolved = 99;

        CHECK_STR(tmpl_expand(t, a, subject, &resolved), rows[i].want);
        CHECK_ROW(i, resolved == rows[i].resolved && tmpl_is_plain(t) == rows[i].plain);
        arena_free(a);
    }
}

static void what_comes_from_variables_can_be_escaped(void)
{
    struct arena *a = arena_new(1024);
    const struct tmpl *t = tmpl_new(a, STR("x $host ${missing ?? def} $missing"));

    var_install(&test_vars);
    CHECK_STR(tmpl_expand_with(t, a, subject, NULL, upper), "x A.ORG DEF ");
    arena_free(a);
}

static void a_template_keeps_its_own_copy(void)
{
    struct arena *a = arena_new(1024);
    char text[] = "[${missing ?? d}$host]";
    const struct tmpl *t = tmpl_new(a, str_c(text));

    memset(text, 'x', sizeof(text) - 1);
    CHECK_STR(tmpl_expand(t, a, subject, NULL), "[da.org]");
    arena_free(a);
}

static void templates_may_have_many_parts(void)
{
    struct arena *a = arena_new(1024);
    struct str text = STR(""), want = STR("");
    unsigned resolved;

    for (int i = 0; i < 100; i++) {
        text = arena_cat(a, text, STR("${port}-"));
        want = arena_cat(a, want, STR("9080-"));
    }
    CHECK(str_eq(tmpl_expand(tmpl_new(a, text), a, subject, &resolved), want) && resolved == 100);
    arena_free(a);
}

static void values_have_text(void)
{
    struct arena *a = arena_new(1024);

    for (const struct test_var *t = subject; t->name != NULL; t++) {
        CHECK(str_is_none(value_text(a, &t->value)) == (t->value.kind == VALUE_LIST));
    }
    CHECK_STR(value_text(a, &(struct value)V_BOOL(0)), "false");
    CHECK(str_is_none(value_text(a, &(struct value){.kind = VALUE_NONE})));
    arena_free(a);
}

static void without_a_table_all_variables_are_missing(void)
{
    struct arena *a = arena_new(1024);

    var_install(NULL);
    const struct var v = var_compile(a, STR("host"));

    CHECK_STR(v.name, "host");
    CHECK(var_get(subject, &v).kind == VALUE_NONE);
    CHECK_STR(tmpl_expand(tmpl_new(a, STR("[$host]")), a, subject, NULL), "[]");
    arena_free(a);
}

static void paths_are_checked_part_by_part(void)
{
    static const struct {
        const char *path;
        int bad; /* where; -1: the path is good */
    } rows[] = {
        {"", -1},
        {".a", -1},
        {".a.b_1-x", -1},
        {".a[0].b", -1},
        {".a[*].b", -1},
        {"..b", -1},
        {"..[0]", -1},
        {"[0]", -1},
        {".*", -1},
        {"['a b'].c", -1},
        {".a[?(@.x==']')]", -1},
        {".a[1:2,[3]]", -1},
        {".a[\"\\\"]\"]", -1},
        {".", 0},
        {"a", 0},
        {".a[", 2},
        {".a[]", 2},
        {".a['x]", 2},
        {".[0]", 0},
        {".a..", 2},
        {".a b", 2},
        {".a]", 2},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t bad = 0;
        const bool ok = jsonpath_check(str_c(rows[i].path), &bad);

        CHECK_ROW(i, ok == (rows[i].bad < 0) && (ok || (int)bad == rows[i].bad));
    }
}

TESTS(T(templates_expand), T(what_comes_from_variables_can_be_escaped),
      T(a_template_keeps_its_own_copy), T(templates_may_have_many_parts), T(values_have_text),
      T(without_a_table_all_variables_are_missing), T(paths_are_checked_part_by_part))
