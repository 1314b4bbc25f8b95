/* SPDX-License-Identifier: Apache-2.0 */
/* graphql: what a document asks for, what is none, and the variables of a request. */
#include "http/graphql.h"

#include "config/settings.h"
#include "http/vars.h"
#include "t.h"

/* "operation name field field ...", or the mistake. */
static struct str told(struct arena *a, struct str text)
{
    struct graphql g;
    struct err e = {""};

    if (graphql_parse(a, text, &g, &e) != 0) {
        return arena_str(a, str_c(e.msg));
    }
    struct str s = arena_printf(a, "%.*s(%.*s)", STR_ARG(g.operation), STR_ARG(g.name));
    for (size_t i = 0; i < g.n_fields; i++) {
        s = arena_printf(a, "%.*s %.*s", STR_ARG(s), STR_ARG(g.fields[i]));
    }
    return s;
}

static void the_first_operation_and_its_root_fields_are_found(void)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"{ owner }", "query() owner"},
        {"{owner{a b{c}}repo}", "query() owner repo"},
        {"query { repo { name } owner { a } }", "query() repo owner"},
        {"mutation m1 { a { b } }", "mutation(m1) a"},
        {"subscription S @live { a }", "subscription(S) a"},
        {"query query { query }", "query(query) query"},
        {"query A { a } mutation B { b }", "query(A) a"},
        {"\xef\xbb\xbf # BOM, comment\n\t,{,a,b,},", "query() a b"},
        {"{ x: a(id: 1) { y: b } c: d }", "query() a d"},
        {"{ a @include(if: $x) @skip(if: false) b }", "query() a b"},
        {"query Q($a: Int = 1, $b: [[T!]!]! = [[]] @d(x: 1) $c: X = {a: {b: [E]}}) { a }",
         "query(Q) a"},
        {"{ a(s: \"x } { \\\" \\u00e9\", t: \"\"\"b } \\\"\"\" \"\n\"\"\", u: \"\") b }",
         "query() a b"},
        {"{ a(n: [-0, 10, 1.5, 2e10, -3.25E-2], v: $v, o: {}, l: [], e: ON, n: null) }",
         "query() a"},
        {"{ ... on Query { a } ... { b } ... @skip(if: $x) { c { d } } e }", "query() a b c e"},
        {"{ a { ... on T { b } } ... on Q { c { ... on T { d } } ... { e } f } g }",
         "query() a c e f g"},
        {"fragment F on Q { a ...G } query { x ...F b } fragment G on Q { c ...F d { e } }",
         "query() x a c d b"},
        {"{ ...Unknown a }", "query() a"},
        {"{ on fragment query true null }", "query() on fragment query true null"},
        {"{ ...F } fragment F on on { type }", "query() type"},
    };

    struct arena *a = arena_new(4096);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CHECK_STR(told(a, str_c(cases[i].text)), cases[i].want);
    }
    arena_free(a);
}

static void what_is_no_document_is_refused_with_its_place(void)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", "no operation"},
        {" # nothing", "no operation"},
        {"fragment F on Q { a }", "no operation"},
        {"{}", "expected a name at byte 2"},
        {"{ a { } }", "expected a name at byte 7"},
        {"{ a", "expected a name at byte 4"},
        {"{ a { b }", "expected a name at byte 10"},
        {"{ a } }", "expected a definition at byte 7"},
        {"{ a b: }", "expected a name at byte 8"},
        {"query Q a { b }", "expected { at byte 9"},
        {"query", "expected { at byte 6"},
        {"type T { a: Int }", "expected a definition at byte 1"},
        {"{ a() }", "expected a name at byte 5"},
        {"{ a(b) }", "expected a colon at byte 6"},
        {"{ a(b: ) }", "expected a value at byte 8"},
        {"{ a(b: [1) }", "expected a value at byte 10"},
        {"{ a(b: {c: 1, 2}) }", "expected a name at byte 15"},
        {"{ a(b: {[1]}) }", "expected a name at byte 9"},
        {"{ a(b: 01) }", "expected a value at byte 8"},
        {"{ a(b: 1.) }", "expected a value at byte 8"},
        {"{ a(b: 1x) }", "expected a value at byte 8"},
        {"{ a(b: 1e) }", "expected a value at byte 8"},
        {"{ a(b: -) }", "expected a value at byte 8"},
        {"{ a(b: \"x) }", "expected a value at byte 8"},
        {"{ a(b: \"x\ny\") }", "expected a value at byte 8"},
        {"{ a(b: \"\\x\") }", "expected a value at byte 8"},
        {"{ a(b: \"\\u12g4\") }", "expected a value at byte 8"},
        {"{ a(b: \"\"\"x\"\") }", "expected a value at byte 8"},
        {"{ a(b: \"\"\"\x01\"\"\") }", "expected a value at byte 8"},
        {"{ .. on Q { a } }", "expected a name at byte 3"},
        {"{ ... on Q }", "expected { at byte 12"},
        {"{ ... on { a } }", "expected a name at byte 10"},
        {"{ ...F { a } }", "expected a name at byte 8"},
        {"fragment on on Q { a } { b }", "expected a name at byte 10"},
        {"fragment F in Q { a } { b }", "expected on at byte 12"},
        {"query ($a) { b }", "expected a colon at byte 10"},
        {"query (a: Int) { b }", "expected a variable at byte 8"},
        {"query ($a: [Int) { b }", "expected ] at byte 16"},
        {"query ($a: Int!!) { b }", "expected a variable at byte 16"},
        {"{ a @ }", "expected a name at byte 7"},
        {"{ a % b }", "expected a name at byte 5"},
        {"{ \xc3\xa9 }", "expected a name at byte 3"},
    };

    struct arena *a = arena_new(4096);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CHECK_STR(told(a, str_c(cases[i].text)), cases[i].want);
    }
    CHECK_STR(told(a, str_of("{ a \0 }", 7)), "expected a name at byte 5");
    arena_free(a);
}

static struct str repeat(struct arena *a, struct str what, size_t times)
{
    char *p = arena_bytes(a, what.n * times);

    for (size_t i = 0; i < times; i++) {
        memcpy(p + i * what.n, what.p, what.n);
    }
    return str_of(p, what.n * times);
}

static bool is_document(struct arena *a, struct str head, struct str what, size_t times,
                        struct str tail)
{
    struct graphql g;
    struct err e = {""};
    struct str text = arena_cat(a, head, arena_cat(a, repeat(a, what, times), tail));

    return graphql_parse(a, text, &g, &e) == 0;
}

static void depth_and_number_are_bounded(void)
{
    struct arena *a = arena_new(1 << 16);

    CHECK(is_document(a, STR("{ a"), STR("{ a"), 199, repeat(a, STR("}"), 200)));
    CHECK(!is_document(a, STR("{ a"), STR("{ a"), 200, repeat(a, STR("}"), 201)));
    CHECK(is_document(a, STR("{ a(b:"), STR("["), 64,
                      arena_cat(a, repeat(a, STR("]"), 64), STR(")}"))));
    CHECK(!is_document(a, STR("{ a(b:"), STR("["), 65,
                       arena_cat(a, repeat(a, STR("]"), 65), STR(")}"))));
    CHECK(is_document(a, STR("query ($a:"), STR("["), 32,
                      arena_cat(a, STR("T"), arena_cat(a, repeat(a, STR("]"), 32), STR(") {a}")))));
    CHECK(
        !is_document(a, STR("query ($a:"), STR("["), 33,
                     arena_cat(a, STR("T"), arena_cat(a, repeat(a, STR("]"), 33), STR(") {a}")))));
    CHECK(is_document(a, STR("{"), STR("a "), 4096, STR("}")));
    CHECK(!is_document(a, STR("{"), STR("a "), 4097, STR("}")));
    CHECK(is_document(a, STR("{ a {"), STR("a "), 100000, STR("}}")));
    CHECK(is_document(a, STR(""), STR("{a}"), 256, STR("")));
    CHECK(!is_document(a, STR(""), STR("{a}"), 257, STR("")));
    arena_free(a);
}

/* ---- variables ---- */

static struct str var_text(struct req *r, const char *name)
{
    const struct var v = var_compile(r->arena, str_c(name));
    const struct value x = var_get(r, &v);
    struct str s = STR("");

    for (size_t i = 0; i < x.n; i++) {
        s = arena_printf(r->arena, "%.*s%.*s,", STR_ARG(s), STR_ARG(x.list[i].s));
    }
    return x.kind == VALUE_LIST ? s : x.kind == VALUE_STR ? x.s : STR("(missing)");
}

static void a_request_carries_its_document_in_one_of_three_ways(void)
{
    static const struct {
        enum http_method method;
        const char *args, *type, *body, *operation, *name, *fields;
    } cases[] = {
        {M_GET, "query=query%20Q+%7B%20owner%20%7D", "", "", "query", "Q", "owner,"},
        {M_GET, "query=%7B%20owner", "", "", "(missing)", "(missing)", "(missing)"},
        {M_GET, "q=%7Ba%7D", "", "", "(missing)", "(missing)", "(missing)"},
        {M_POST, "query={a}", "application/json", "{\"query\":\"mutation { b c }\"}", "mutation",
         "", "b,c,"},
        {M_POST, "", "application/json; charset=utf-8", "{\"query\":\"{ b }\",\"variables\":{}}",
         "query", "", "b,"},
        {M_POST, "", "application/json", "{\"query\":5}", "(missing)", "(missing)", "(missing)"},
        {M_POST, "", "application/json", "[{\"query\":\"{b}\"}]", "(missing)", "(missing)",
         "(missing)"},
        {M_POST, "", "application/json", "{ b }", "(missing)", "(missing)", "(missing)"},
        {M_POST, "", "application/graphql", "subscription S { b }", "subscription", "S", "b,"},
        {M_POST, "", "application/graphql", "", "(missing)", "(missing)", "(missing)"},
        {M_POST, "", "application/graphql",
         "{ b } # 3456789012345678901234567890123456789012345678901234567890", "(missing)",
         "(missing)", "(missing)"},
        {M_PUT, "query={a}", "application/graphql", "{ b }", "(missing)", "(missing)", "(missing)"},
    };
    static const struct settings settings = {.graphql_max_size = 64};

    vars_install();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena *a = arena_new(4096);
        struct req r = {.arena = a, .settings = &settings, .method_id = cases[i].method};
        r.args = str_c(cases[i].args);
        r.body = str_c(cases[i].body);
        r.body_read = true;
        headers_init(&r.headers, a, 4);
        headers_add(&r.headers, STR("Content-Type"), str_c(cases[i].type));
        CHECK_STR(var_text(&r, "graphql_operation"), cases[i].operation);
        CHECK_STR(var_text(&r, "graphql_name"), cases[i].name);
        CHECK_STR(var_text(&r, "graphql_root_fields"), cases[i].fields);
        arena_free(a);
    }
}

TESTS(T(the_first_operation_and_its_root_fields_are_found),
      T(what_is_no_document_is_refused_with_its_place), T(depth_and_number_are_bounded),
      T(a_request_carries_its_document_in_one_of_three_ways))
