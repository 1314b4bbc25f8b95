/* SPDX-License-Identifier: Apache-2.0 */
/* post_args: variables in JSON, form and multipart bodies. */
#include "http/post_args.h"

#include "config/settings.h"
#include "http/vars.h"
#include "t.h"

static const struct settings settings = {.max_post_args_bytes = 4096};

static void request_make(struct req *r, struct arena *a, const char *type, struct str body)
{
    *r = (struct req){.arena = a, .settings = &settings, .method_id = M_POST};
    r->body = body;
    r->body_read = true;
    headers_init(&r->headers, a, 4);
    headers_add(&r->headers, STR("Content-Type"), str_c(type));
}

/* A value so that one sees its type: "text", 5, true, [a, b], - for a missing one. */
static struct str spell(struct arena *a, const struct value *v)
{
    struct str s = STR("[");

    switch (v->kind) {
    case VALUE_NONE:
        return STR("-");
    case VALUE_STR:
        return arena_printf(a, "\"%.*s\"", STR_ARG(v->s));
    case VALUE_NUM:
    case VALUE_BOOL:
        return value_text(a, v);
    case VALUE_LIST:
        break;
    }
    for (size_t i = 0; i < v->n; i++) {
        s = arena_printf(a, "%.*s%s%.*s", STR_ARG(s), i ? ", " : "",
                         STR_ARG(spell(a, &v->list[i])));
    }
    return arena_cat(a, s, STR("]"));
}

struct post_case {
    const char *name, *want;
};

static void check_cases(const char *type, struct str body, const struct post_case *cases, size_t n)
{
    struct arena *a = arena_new(4096);
    struct req r;

    vars_install();
    request_make(&r, a, type, body);
    for (size_t i = 0; i < n; i++) {
        const struct var v = var_compile(a, str_c(cases[i].name));
        const struct value x = var_get(&r, &v);
        struct str got = spell(a, &x);
        if (!str_eq(got, str_c(cases[i].want))) {
            printf("# %s of %s\n", cases[i].name, type);
        }
        CHECK_STR(got, cases[i].want);
    }
    arena_free(a);
}
#define CHECK_CASES(type, body, cases)                                                             \
    check_cases(type, STR(body), cases, sizeof(cases) / sizeof((cases)[0]))

#define FORM "application/x-www-form-urlencoded"

static void a_form_field_is_found_by_its_name(void)
{
    static const struct post_case cases[] = {
        {"post_arg_a", "\"1\""},         {"post_arg_b", "\"x y&z\""}, {"post_arg_twice", "\"one\""},
        {"post_arg_flag", "true"},       {"post_arg_empty", "\"\""},  {"post_arg_none", "-"},
        {"post_arg_user.name", "\"x\""}, {"post_arg_", "-"},          {"post_arg_A", "-"},
        {"post_arg_\xc3\xa9", "\"e\""},
    };

    CHECK_CASES(FORM, "a=1&b=x+y%26z&twice=one&twice=two&flag&empty=&user.name=x&=n&%c3%a9=e&",
                cases);
    CHECK_CASES(FORM "; charset=utf-8", "a=1&b=x+y%26z&twice=one&flag&empty=&user.name=x&%C3%A9=e",
                cases);
}

/* golden-routing: user.name=x is no member name of user. */
static void a_dotted_path_finds_no_form_field(void)
{
    static const struct post_case cases[] = {
        {"post_arg.user.name", "-"},
        {"post_arg.a", "\"1\""},
        {"post_arg.twice", "[\"one\", \"two\"]"},
        {"post_arg.flag", "true"},
        {"post_arg.twice[1]", "[\"two\"]"},
        {"post_arg.twice[*]", "[\"one\", \"two\"]"},
        {"post_arg.a.b", "-"},
    };

    CHECK_CASES(FORM, "user.name=x&a=1&twice=one&twice=two&flag", cases);
}

static void json_members_are_found_by_path(void)
{
    static const struct post_case cases[] = {
        {"post_arg.user.name", "\"x\""},
        {"post_arg.user.age", "7"},
        {"post_arg.user", "\"{\"name\":\"x\",\"age\":7}\""},
        {"post_arg.ok", "true"},
        {"post_arg.no", "-"},
        {"post_arg.null", "-"},
        {"post_arg.tags", "[\"a\", \"b\"]"},
        {"post_arg.items[*].id", "[1, 2]"},
        {"post_arg.items[0].id", "[1]"},
        {"post_arg.items[-1].id", "[2]"},
        {"post_arg.items[7].id", "-"},
        {"post_arg.items[-7].id", "-"},
        {"post_arg.items[x]", "-"},
        {"post_arg.items[", "-"},
        {"post_arg.items.id", "-"},
        {"post_arg.*.name", "[\"x\"]"},
        {"post_arg.user.*", "[\"x\", 7]"},
        {"post_arg.user['name']", "[\"x\"]"},
        {"post_arg..id", "[1, 2]"},
        {"post_arg.items..id", "[1, 2]"},
        {"post_arg..name", "[\"x\"]"},
        {"post_arg..items..id", "[1, 2]"},
        {"post_arg..nothing", "-"},
        {"post_arg_user", "-"},
    };

    CHECK_CASES(
        "application/json",
        "{\"user\":{\"name\":\"x\",\"age\":7},\"ok\":true,\"null\":null,\"tags\":[\"a\",\"b\"],"
        "\"items\":[{\"id\":1},{\"id\":2}]}",
        cases);
}

static void multipart_fields_are_found_by_name(void)
{
    static const struct post_case cases[] = {
        {"post_arg.a", "\"1\""},       {"post_arg.b", "\"line\r\n--x\""},
        {"post_arg.empty", "\"\""},    {"post_arg.file", "\"data\""},
        {"post_arg.twice", "\"two\""}, {"post_arg.bare", "\"t\""},
        {"post_arg.none", "-"},        {"post_arg.a.b", "-"},
        {"post_arg_a", "-"},
    };
#define PART(head) "\r\n--xx\r\nContent-Disposition: form-data; " head "\r\n\r\n"
#define BODY                                                                                       \
    PART("name=\"a\"")                                                                             \
    "1" PART("name=\"b\"") "line\r\n--x" PART("name=\"empty\"")                                    \
        PART("filename=\"a;name=z\"; name=\"file\"\r\nContent-Type: text/plain") "data" PART(      \
            "name=\"twice\"") "one" PART("name=\"twice\"") "two" PART("name=bare") "t"

    CHECK_CASES("multipart/form-data; boundary=xx", BODY "\r\n--xx--\r\n", cases);
    CHECK_CASES("Multipart/Form-Data; charset=\"a;b\"; Boundary=\"xx\"",
                "preamble" BODY "\r\n--xx--", cases);
}

static void a_body_of_another_kind_or_malformed_has_no_fields(void)
{
    static const struct post_case cases[] = {
        {"post_arg.a", "-"}, {"post_arg_a", "-"}, {"post_arg..a", "-"}};
    static const char long_boundary[] =
        "multipart/form-data; boundary=12345678901234567890123456789012345678901234567890"
        "123456789012345678901";

    CHECK_CASES("text/plain", "a=1", cases);
    CHECK_CASES("", "{\"a\":1}", cases);
    CHECK_CASES("application/json", "{\"a\":1", cases);
    CHECK_CASES("application/json", "{\"a\":1,\"a\":2}", cases);
    CHECK_CASES("multipart/form-data",
                "--\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n----", cases);
    CHECK_CASES("multipart/form-data; boundary=\"x", PART("name=a") "1\r\n--xx--", cases);
    CHECK_CASES("multipart/form-data; boundary=xx", PART("name=a") "1\r\n--x", cases);
    CHECK_CASES("multipart/form-data; boundary=xx", "--xx--\r\n", cases);
    check_cases(long_boundary, STR(""), cases, 3);
}

static void a_body_above_the_limit_is_not_looked_at(void)
{
    static const struct post_case cases[] = {{"post_arg.a", "-"}, {"post_arg_a", "-"}};
    struct arena *a = arena_new(8192);
    char *p = arena_bytes(a, 5000);

    memset(p, 'x', 5000);
    memcpy(p, "a=1&", 4);
    check_cases(FORM, str_of(p, 5000), cases, 2);
    arena_free(a);
}

static void a_body_that_a_plugin_replaces_is_read_again(void)
{
    struct arena *a = arena_new(4096);
    struct req r;

    request_make(&r, a, FORM, STR("a=1"));
    CHECK_STR(post_arg_form(&r, STR("a")).s, "1");
    r.body = STR("a=2");
    CHECK_STR(post_arg_form(&r, STR("a")).s, "2");
    CHECK_STR(post_arg_json(&r, STR("a")).s, "2");
    arena_free(a);
}

/* Bytes that are no UTF-8 are values like others. */
static void any_byte_may_stand_in_a_form(void)
{
    static const struct post_case cases[] = {{"post_arg_a", "\"\xff\xfe\""},
                                             {"post_arg.a", "\"\xff\xfe\""},
                                             {"post_arg..a", "[\"\xff\xfe\"]"}};

    CHECK_CASES(FORM, "a=%FF%FE&%FF=1", cases);
}

TESTS(T(a_form_field_is_found_by_its_name), T(a_dotted_path_finds_no_form_field),
      T(json_members_are_found_by_path), T(multipart_fields_are_found_by_name),
      T(a_body_of_another_kind_or_malformed_has_no_fields),
      T(a_body_above_the_limit_is_not_looked_at), T(a_body_that_a_plugin_replaces_is_read_again),
      T(any_byte_may_stand_in_a_form))
