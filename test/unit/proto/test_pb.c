/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf from and to JSON, as the reference's options have it. */
#include "base/json.h"
#include "proto/pb.h"
#include "t.h"

static const char schema_text[] =
    "syntax = \"proto3\";\n"
    "package t;\n"
    "import \"google/protobuf/timestamp.proto\";\n"
    "enum Color { RED = 0; GREEN = 1; }\n"
    "message Inner { string name = 1; }\n"
    "message All {\n"
    "  int32 i32 = 1; uint32 u32 = 2; int64 i64 = 3; uint64 u64 = 4; sint32 s32 = 5;\n"
    "  fixed64 f64 = 6; double d = 7; float f = 8; bool b = 9; string s = 10; bytes y = 11;\n"
    "  Color c = 12; Inner m = 13; repeated int32 list = 14; repeated Inner inners = 15;\n"
    "  map<string, int64> counts = 16; map<int32, Inner> by_number = 17; optional int32 o = 18;\n"
    "  oneof either { string left = 19; int32 right = 20; }\n"
    "  google.protobuf.Timestamp at = 21; string two_words = 22;\n"
    "}\n"
    "message Node { Node next = 1; }\n"
    "service Echo {\n"
    "  rpc One (All) returns (Inner); rpc Many (All) returns (stream Inner);\n"
    "  rpc Up (stream All) returns (Inner);\n"
    "}\n";

static struct arena *a;
static struct err e;

static const struct pb_schema *schema(void)
{
    static struct pb_schema *s;
    if (s == NULL) {
        a = arena_new(65536);
        s = pb_schema_new(str_c(schema_text), &e);
        if (s == NULL) {
            printf("Bail out! %s\n", e.msg);
            exit(1);
        }
    }
    return s;
}

static struct str encode(const char *type, const char *text)
{
    json_t *v = json_parse(str_c(text), &e);
    e.msg[0] = 0;
    struct str s = pb_encode(a, pb_type_find(schema(), type), v, 0, &e);
    json_decref(v);
    return s;
}

static const struct pb_format quiet = {.defaults = PB_DEFAULTS_NONE};

static struct str decode(const char *type, struct str message, const struct pb_format *f)
{
    e.msg[0] = 0;
    return pb_decode(a, pb_type_find(schema(), type), message, f, &e);
}

static void what_json_says_comes_back(void)
{
    /* NULL: as it went in */
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"{\"i32\":-7,\"u32\":4294967295,\"s32\":-1}", NULL},
        {"{\"i32\":\"12\",\"d\":\"1.5\"}", "{\"i32\":12,\"d\":1.5}"},
        {"{\"i64\":9007199254740993,\"f64\":9223372036854775807}", NULL},
        {"{\"u64\":\"18446744073709551615\"}", "{\"u64\":18446744073709551615}"},
        {"{\"i64\":\"#-2251799813685261\"}", "{\"i64\":-2251799813685261}"},
        {"{\"i64\":\"#0x10\"}", "{\"i64\":16}"},
        {"{\"i32\":3.0,\"f\":0.1,\"d\":0.1}", "{\"i32\":3,\"d\":0.1,\"f\":0.1}"},
        {"{\"b\":true}", NULL},
        {"{\"b\":\"1\"}", "{\"b\":true}"},
        {"{\"b\":\"false\"}", "{}"},
        {"{\"s\":\"a\\\"\\\\\\n\\u0001\xc3\xa4\"}", NULL},
        {"{\"s\":12}", "{\"s\":\"12\"}"},
        {"{\"y\":\"raw\"}", NULL},
        {"{\"c\":\"GREEN\"}", NULL},
        {"{\"c\":1}", "{\"c\":\"GREEN\"}"},
        {"{\"c\":7}", NULL},
        {"{\"m\":{\"name\":\"x\"},\"list\":[1,2],\"inners\":[{\"name\":\"a\"},{}]}", NULL},
        {"{\"list\":\"5\"}", "{\"list\":[5]}"},
        {"{\"counts\":{\"k\":1}}", NULL},
        {"{\"by_number\":{\"-3\":{\"name\":\"x\"}}}", NULL},
        {"{\"o\":0}", NULL},
        {"{\"right\":0}", NULL},
        {"{\"at\":{\"seconds\":5,\"nanos\":6}}", NULL},
        {"{\"twoWords\":\"x\",\"unknown\":{\"a\":[1]},\"s\":null}", "{}"},
    };
    schema();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str message = encode("t.All", cases[i].in);
        CHECK_ROW(i, message.p != NULL);
        CHECK_STR(decode("t.All", message, &quiet), cases[i].out ? cases[i].out : cases[i].in);
    }
}

static void what_does_not_fit_is_refused(void)
{
    static const struct {
        const char *in, *why;
    } cases[] = {
        {"{\"i32\":2147483648}", "t.All.i32: a number of 32 bits expected"},
        {"{\"i32\":1.5}", "t.All.i32: a number of 32 bits expected"},
        {"{\"u64\":-1}", "t.All.u64: a number of 64 bits expected"},
        {"{\"i64\":\"12x\"}", "t.All.i64: a number of 64 bits expected"},
        {"{\"i64\":\"\"}", "t.All.i64: a number of 64 bits expected"},
        {"{\"d\":\"x\"}", "t.All.d: a number expected"},
        {"{\"b\":\"maybe\"}", "t.All.b: true or false expected"},
        {"{\"s\":[]}", NULL},
        {"{\"s\":{}}", "t.All.s: a string expected"},
        {"{\"s\":true}", "t.All.s: a string expected"},
        {"{\"c\":\"BLUE\"}", "t.All.c: a value of the enum expected"},
        {"{\"m\":\"x\"}", "t.All.m: an object expected"},
        {"{\"counts\":[1]}", "t.All.counts: an object expected"},
        {"{\"by_number\":{\"x\":{}}}", "t.All.ByNumberEntry.key: a number of 32 bits expected"},
        {"[]", "an object expected"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str message = encode("t.All", cases[i].in);
        if (cases[i].why) {
            CHECK_ROW(i, message.p == NULL);
            CHECK_STR(str_c(e.msg), cases[i].why);
        }
    }
}

static void options_say_how_messages_are_written(void)
{
    static const struct pb_format number = {.defaults = PB_DEFAULTS_NONE},
                                  string = {.defaults = PB_DEFAULTS_NONE, .int64 = PB_INT64_STRING},
                                  hex = {.defaults = PB_DEFAULTS_NONE, .int64 = PB_INT64_HEX},
                                  value = {.defaults = PB_DEFAULTS_NONE, .enum_as_value = true};
    static const struct {
        const struct pb_format *format;
        const char *in, *out;
    } cases[] = {
        {&number, "{\"i64\":2251799813685261}", "{\"i64\":2251799813685261}"},
        {&string, "{\"i64\":2251799813685261}", "{\"i64\":\"#2251799813685261\"}"},
        {&string, "{\"i64\":-2251799813685261}", "{\"i64\":\"#-2251799813685261\"}"},
        {&string, "{\"i64\":4294967295}", "{\"i64\":4294967295}"},
        {&string, "{\"u64\":\"18446744073709551615\"}", "{\"u64\":\"#18446744073709551615\"}"},
        {&string, "{\"counts\":{\"a\":4294967296}}", "{\"counts\":{\"a\":\"#4294967296\"}}"},
        {&hex, "{\"i64\":2251799813685261}", "{\"i64\":\"#0x800000000000D\"}"},
        {&value, "{\"c\":\"GREEN\"}", "{\"c\":1}"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CHECK_STR(decode("t.All", encode("t.All", cases[i].in), cases[i].format), cases[i].out);
    }
}

static void defaults_of_proto3_are_written_when_asked_for(void)
{
    static const struct pb_format all = {.defaults = PB_DEFAULTS_AUTO},
                                  lists = {.defaults = PB_DEFAULTS_METATABLE};
    CHECK_STR(decode("t.All", STR(""), &all),
              "{\"i32\":0,\"u32\":0,\"i64\":0,\"u64\":0,\"s32\":0,\"f64\":0,\"d\":0,\"f\":0,"
              "\"b\":false,\"s\":\"\",\"y\":\"\",\"c\":\"RED\",\"list\":[],\"inners\":[],"
              "\"counts\":{},\"by_number\":{},\"two_words\":\"\"}");
    CHECK_STR(decode("t.All", STR(""), &lists),
              "{\"list\":[],\"inners\":[],\"counts\":{},\"by_number\":{}}");
}

static void defaults_of_proto2_are_those_it_names(void)
{
    static const struct pb_format all = {.defaults = PB_DEFAULTS_ALL},
                                  only3 = {.defaults = PB_DEFAULTS_AUTO};
    struct pb_schema *s =
        pb_schema_new(STR("syntax=\"proto2\"; message M { optional int32 a = 1 [default = 5];"
                          " optional int32 b = 2; repeated int32 c = 3; }"),
                      &e);
    const struct pb_type *t = pb_type_find(s, "M");
    CHECK_STR(pb_decode(a, t, STR(""), &all, &e), "{\"a\":5}");
    CHECK_STR(pb_decode(a, t, STR(""), &only3, &e), "{}");
    pb_schema_free(s);
}

static void json_has_a_limit(void)
{
    static const struct pb_format some = {.defaults = PB_DEFAULTS_AUTO, .max = 300};
    char message[400];
    for (size_t i = 0; i < sizeof(message); i += 2) {
        message[i] = 0x7a; /* an empty item of `inners` */
        message[i + 1] = 0;
    }
    CHECK(decode("t.All", STR(""), &some).n < 300);
    CHECK(decode("t.All", str_of(message, sizeof(message)), &some).p == NULL);
    CHECK_STR(str_c(e.msg), "longer than allowed as JSON");
}

static void bytes_that_are_no_text_stay_json(void)
{
    CHECK_STR(decode("t.All", STR("\x5a\x03\xff\x41\xc3"), &quiet), "{\"y\":\"\\u00ffA\\u00c3\"}");
}

static void what_is_no_message_is_refused(void)
{
    CHECK(decode("t.All", STR("\x0a"), &quiet).p == NULL);
    CHECK_STR(str_c(e.msg), "not a message of type t.All");
    /* a string field that is no UTF-8 */
    CHECK(decode("t.All", STR("\x52\x01\xff"), &quiet).p == NULL);
}

static void depth_is_bounded_both_ways(void)
{
    char in[4096] = "", message[512];
    size_t n = 0;
    for (int i = 0; i < 100; i++) {
        strcat(in, "{\"next\":");
    }
    strcat(in, "{}");
    for (int i = 0; i < 100; i++) {
        strcat(in, "}");
    }
    CHECK(encode("t.Node", in).p == NULL);
    CHECK_STR(str_c(e.msg), "nested too deeply");
    for (int i = 100; i >= 0; i--) {
        message[n++] = 0x0a;
        message[n++] = (char)(2 * i);
    }
    CHECK(decode("t.Node", str_of(message, n), &quiet).p == NULL);
    CHECK_STR(decode("t.Node", STR("\x0a\x02\x0a\x00"), &quiet), "{\"next\":{\"next\":{}}}");
}

static void methods_are_found_by_service_and_name(void)
{
    const struct pb_method *one = pb_method_find(schema(), "t.Echo", "One");
    const struct pb_method *many = pb_method_find(schema(), "t.Echo", "Many");
    const struct pb_method *up = pb_method_find(schema(), "t.Echo", "Up");
    CHECK(one && !one->client_streams && !one->server_streams);
    CHECK(many && !many->client_streams && many->server_streams);
    CHECK(up && up->client_streams && !up->server_streams);
    CHECK(one && one->input == pb_type_find(schema(), "t.All"));
    CHECK(pb_method_find(schema(), "Echo", "One") == NULL);
    CHECK(pb_method_find(schema(), "t.Echo", "Two") == NULL);
    CHECK(pb_type_find(schema(), "t.None") == NULL);
}

static void a_bad_schema_is_told_with_its_place(void)
{
    static const struct {
        const char *content, *why;
    } cases[] = {
        {"nope nope", "1:1: Expected top-level statement (e.g. \"message\")."},
        {"message A {\n  optional Missing m = 1;\n}", "A.m: \"Missing\" is not defined."},
        {"import \"other.proto\";", "other.proto: Import \"other.proto\" has not been loaded."},
        {"AAAA", "not a base64 encoded FileDescriptorSet"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        e.msg[0] = 0;
        CHECK_ROW(i, pb_schema_new(str_c(cases[i].content), &e) == NULL);
        CHECK_STR(str_c(e.msg), cases[i].why);
    }
}

static void a_schema_cannot_be_too_deep(void)
{
    enum { LEVELS = 60000 };
    char *text = malloc(LEVELS * 12);
    size_t n = 0;
    for (int i = 0; i < LEVELS; i++) {
        n += (size_t)sprintf(text + n, "message A {");
    }
    e.msg[0] = 0;
    CHECK(pb_schema_new(str_of(text, n), &e) == NULL);
    CHECK_STR(str_c(e.msg), "nested too deeply");
    free(text);
}

static void a_descriptor_set_is_a_schema_too(void)
{
    /* file { name: "s.proto" package: "s" message_type { name: "M" field { name: "a" number: 1
     * label: LABEL_OPTIONAL type: TYPE_INT32 } } service { name: "S" method { name: "Do"
     * input_type: ".s.M" output_type: ".s.M" } } syntax: "proto3" } */
    struct pb_schema *s = pb_schema_new(
        STR("CjsKB3MucHJvdG8SAXMiDgoBTRIJCgFhGAEgASgFMhUKAVMSEAoCRG8SBC5zLk0aBC5zLk1iBnByb3RvMw=="),
        &e);
    CHECK(s == NULL || pb_method_find(s, "s.S", "Do") != NULL);
    if (s == NULL) {
        printf("# %s\n", e.msg);
    }
    CHECK(s != NULL);
    pb_schema_free(s);
}

static void a_status_is_an_error_object(void)
{
    static const struct pb_format all = {.defaults = PB_DEFAULTS_AUTO};
    /* code 14, message "no", details [Any{type_url "u", value: t.Inner{name "x"}}] */
    const struct str status = STR("\x08\x0e\x12\x02no\x1a\x08\x0a\x01u\x12\x03\x0a\x01x");
    CHECK_STR(pb_decode_status(a, pb_type_find(schema(), "t.Inner"), status, &all, &e),
              "{\"error\":{\"code\":14,\"message\":\"no\",\"details\":[{\"name\":\"x\"}]}}");
    CHECK_STR(pb_decode_status(a, NULL, status, &all, &e),
              "{\"error\":{\"code\":14,\"message\":\"no\",\"details\":[{\"type_url\":\"u\","
              "\"value\":\"\\n\\u0001x\"}]}}");
}

TESTS(T(what_json_says_comes_back), T(what_does_not_fit_is_refused),
      T(options_say_how_messages_are_written), T(defaults_of_proto3_are_written_when_asked_for),
      T(defaults_of_proto2_are_those_it_names), T(json_has_a_limit),
      T(bytes_that_are_no_text_stay_json), T(what_is_no_message_is_refused),
      T(depth_is_bounded_both_ways), T(methods_are_found_by_service_and_name),
      T(a_bad_schema_is_told_with_its_place), T(a_schema_cannot_be_too_deep),
      T(a_descriptor_set_is_a_schema_too), T(a_status_is_an_error_object))
