/* SPDX-License-Identifier: Apache-2.0 */
/* jschema: every rule with its message, defaults, and arrays too long for a slow algorithm. */
#include "schema/jschema.h"

#include "base/buf.h"
#include "schema/field.h" /* JSON() */

#include "t.h"

/* What checking text against schema says: "" when it is accepted. The value afterwards in *after
 * (may be NULL), as text in a. */
static struct str answer(struct arena *a, const char *schema, const char *text, struct str *after)
{
    struct err e = {.msg = ""};
    json_t *sj = json_parse(str_c(schema), &e), *v = json_parse(str_c(text), &e);
    struct jschema *s = sj != NULL ? jschema_new(sj, &e) : NULL;

    /* The compiled schema borrows nothing. */
    json_decref(sj);
    if (s != NULL && v != NULL) {
        CHECK((jschema_check(s, v, &e) == 0) == !err_is_set(&e));
        if (after != NULL) {
            *after = json_text(a, v);
        }
        jschema_free(s);
    }
    json_decref(v);
    return arena_str(a, str_c(e.msg));
}

struct row {
    const char *schema, *value, *want;
};

static void rows_check(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct arena *a = arena_new(1024);
        const struct str got = answer(a, rows[i].schema, rows[i].value, NULL);

        CHECK_ROW(i, str_eq(got, str_c(rows[i].want)));
        CHECK_STR(got, rows[i].want);
        arena_free(a);
    }
}
#define ROWS_CHECK(rows) rows_check(rows, sizeof(rows) / sizeof((rows)[0]))

static void types_are_those_of_lua(void)
{
    static const struct row rows[] = {
        {JSON({"type": "string"}), "1", "wrong type: expected string, got number"},
        {JSON({"type": "string"}), "null", "wrong type: expected string, got userdata"},
        {JSON({"type": "string"}), "[1]", "wrong type: expected string, got table"},
        {JSON({"type": "number"}), "true", "wrong type: expected number, got boolean"},
        {JSON({"type": "number"}), "1", ""},
        {JSON({"type": "integer"}), "1.0", ""},
        {JSON({"type": "integer"}), "1e3", ""},
        {JSON({"type": "integer"}), "1e300", ""},
        {JSON({"type": "integer"}), "1.5", "wrong type: expected integer, got number"},
        {JSON({"type": "boolean"}), "\"true\"", "wrong type: expected boolean, got string"},
        {JSON({"type": "null"}), "null", ""},
        {JSON({"type": "table"}), "{\"a\":1}", ""},
        {JSON({"type": "object"}), "[]", ""},
        {JSON({"type": "object"}), "[1]", "wrong type: expected object, got table"},
        {JSON({"type": "array"}), "{}", ""},
        {JSON({"type": "array"}), "{\"a\":1}", "wrong type: expected array, got table"},
        {JSON({"type": ["string", "integer"]}), "1", ""},
        {JSON({"type": ["string", "integer"]}), "{}",
         "wrong type: expected one of string, integer, got table"},
        {JSON({}), "null", ""},
        {JSON(true), "1", ""},
        {JSON(false), "1", "expect false always"},
    };

    ROWS_CHECK(rows);
}

static void objects_are_checked_property_by_property(void)
{
    static const struct row rows[] = {
        {JSON({"properties": {"a": {"type": "string"}}}), JSON({"a": 1}),
         "property \"a\" validation failed: wrong type: expected string, got number"},
        {JSON({"properties": {"a": {"properties": {"b": {"type": "string"}}}}}),
         JSON({"a": {"b": null}}),
         "property \"a\" validation failed: property \"b\" validation failed: wrong type: expected string, got userdata"},
        {JSON({"properties": {"a": {}}, "required": ["a"]}), JSON({"b": 1}),
         "property \"a\" is required"},
        {JSON({"required": ["b"]}), JSON({}), "property \"b\" is required"},
        {JSON({"required": ["b"]}), JSON([]), "property \"b\" is required"},
        {JSON({"required": ["b"]}), JSON("x"), ""},
        {JSON({"required": ["b"]}), JSON([1]), ""},
        /* required comes before the default */
        {JSON({"properties": {"a": {"default": 1}}, "required": ["a"]}), JSON({}),
         "property \"a\" is required"},
        {JSON({"required": []}), JSON({"a": 1}), "the input data should be an empty table"},
        {JSON({"required": []}), JSON({}), ""},
        {JSON({"properties": {"a": {}}, "additionalProperties": false}), JSON({"a": 1, "x": 2}),
         "additional properties forbidden, found x"},
        {JSON({"additionalProperties": {"type": "string"}}), JSON({"x": 2}),
         "failed to validate additional property x: wrong type: expected string, got number"},
        {JSON({"patternProperties": {"^\\d+$": {"type": "string"}}}), JSON({"x": 1, "12": 2}),
         "failed to validate 12 (matching \"^\\d+$\"): wrong type: expected string, got number"},
        {JSON({"patternProperties": {"^x": {}}, "additionalProperties": false}),
         JSON({"x1": 1, "y": 2}), "additional properties forbidden, found y"},
        {JSON({"minProperties": 2}), JSON({"a": 1}), "expect object to have at least 2 properties"},
        {JSON({"maxProperties": 1}), JSON({"a": 1, "b": 2}),
         "expect object to have at most 1 properties"},
        {JSON({"maxProperties": 1, "properties": {"b": {"default": 1}}}), JSON({"a": 1}),
         "expect object to have at most 1 properties"},
    };

    ROWS_CHECK(rows);
}

static void dependencies_ask_for_properties_or_a_schema(void)
{
    static const struct row rows[] = {
        {JSON({"properties": {"a": {}}, "dependencies": {"a": ["b"]}}), JSON({"a": 1}),
         "property \"b\" is required when \"a\" is set"},
        {JSON({"dependencies": {"a": ["b"]}}), JSON({"a": 1}),
         "property \"b\" is required when \"a\" is set"},
        {JSON({"dependencies": {"a": ["b"]}}), JSON({"b": 1}), ""},
        {JSON({"dependencies": {"a": {"required": ["c"]}}}), JSON({"a": 1}),
         "failed to validate dependent schema for \"a\": property \"c\" is required"},
        {JSON({"properties": {"a": {}}, "dependencies": {"a": {"not": {"required": ["c"]}}}}),
         JSON({"a": 1, "c": 1}),
         "failed to validate dependent schema for \"a\": value wasn't supposed to match schema"},
    };

    ROWS_CHECK(rows);
}

static void arrays_are_checked_item_by_item(void)
{
    static const struct row rows[] = {
        {JSON({"minItems": 1}), JSON([]), "expect array to have at least 1 items"},
        {JSON({"minItems": 1}), JSON({}), "expect array to have at least 1 items"},
        {JSON({"minItems": 1}), JSON({"a": 1}), ""},
        {JSON({"maxItems": 1}), JSON([1, 2]), "expect array to have at most 1 items"},
        {JSON({"items": {"type": "string"}}), JSON(["a", 1]),
         "failed to validate item 2: wrong type: expected string, got number"},
        {JSON({"items": [{"type": "string"}, {"type": "number"}]}), JSON(["a", "b"]),
         "failed to validate item 2: wrong type: expected number, got string"},
        {JSON({"items": [{"type": "string"}]}), JSON(["a", 1]), ""},
        {JSON({"items": [{"type": "string"}], "additionalItems": false}), JSON(["a", 1]),
         "found unexpected extra items in array"},
        {JSON({"items": [{"type": "string"}], "additionalItems": {"type": "string"}}),
         JSON(["a", 1]),
         "failed to validate additional item 2: wrong type: expected string, got number"},
        {JSON({"items": false}), JSON([1]), "expect false always"},
        {JSON({"items": false}), JSON([]), ""},
        {JSON({"contains": {"const": 1}}), JSON([2, 3]), "failed to check contains"},
        {JSON({"contains": {"const": 1}}), JSON([2, 1]), ""},
        {JSON({"contains": {"const": 1}}), JSON([]), "check contains: empty array is invalid"},
    };

    ROWS_CHECK(rows);
}

static void items_are_equal_as_lua_sees_them(void)
{
    static const struct row rows[] = {
        {JSON({"uniqueItems": true}), JSON(["a", "b", "a"]),
         "expected unique items but items 1 and 3 are equal"},
        {JSON({"uniqueItems": true}), JSON([1, 1.0]),
         "expected unique items but items 1 and 2 are equal"},
        {JSON({"uniqueItems": true}), JSON([0, -0.0]),
         "expected unique items but items 1 and 2 are equal"},
        {JSON({"uniqueItems": true}), JSON([1, "1", true, false, null, {}, [0]]), ""},
        {JSON({"uniqueItems": true}), JSON([null, null]),
         "expected unique items but items 1 and 2 are equal"},
        {JSON({"uniqueItems": true}), JSON([{}, []]),
         "expected unique items but items 1 and 2 are equal"},
        {JSON({"uniqueItems": true}), JSON([{"a": 1, "b": [2]}, 7, {"b": [2], "a": 1}]),
         "expected unique items but items 1 and 3 are equal"},
        {JSON({"uniqueItems": true}), JSON([{"a": 1}, {"b": 1}, {"a": 2}, {"a": 1, "b": 1}]), ""},
        {JSON({"uniqueItems": true}), JSON([[1, 2], [2, 1]]), ""},
        /* scalars first, at the earliest repetition */
        {JSON({"uniqueItems": true}), JSON([{}, {}, "b", "a", "a", "b"]),
         "expected unique items but items 4 and 5 are equal"},
        /* tables: the earliest one that is repeated */
        {JSON({"uniqueItems": true}), JSON([[1], [2], [2], [1]]),
         "expected unique items but items 1 and 4 are equal"},
        {JSON({"uniqueItems": false}), JSON([1, 1]), ""},
    };

    ROWS_CHECK(rows);
}

static void strings_count_in_characters(void)
{
    static const struct row rows[] = {
        {JSON({"minLength": 3}), "\"\\u00e9\\u20ac\"",
         "string too short, expected at least 3, got 2"},
        {JSON({"maxLength": 1}), "\"ab\"", "string too long, expected at most 1, got 2"},
        {JSON({"maxLength": 2}), "\"\\u00e9\\u20ac\"", ""},
        {JSON({"pattern": "^\\S+$"}), "\"a b\"",
         "failed to match pattern \"^\\\\S+$\" with \"a b\""},
        {JSON({"pattern": "^x\"$"}), "\"a\\\"\\n\\\\\"",
         "failed to match pattern \"^x\\\"$\" with \"a\\\"\\\n\\\\\""},
        {JSON({"pattern": "b"}), "\"abc\"", ""},
        {JSON({"pattern": "b"}), "1", ""},
    };

    ROWS_CHECK(rows);
}

static void numbers_have_limits(void)
{
    static const struct row rows[] = {
        {JSON({"minimum": 1}), "0", "expected 0 to be at least 1"},
        {JSON({"minimum": 0.5}), "0.25", "expected 0.25 to be at least 0.5"},
        {JSON({"maximum": 1}), "1.5", "expected 1.5 to be at most 1"},
        {JSON({"exclusiveMinimum": 0}), "0", "expected 0 to be greater than 0"},
        {JSON({"exclusiveMaximum": 10}), "10", "expected 10 to be smaller than 10"},
        {JSON({"multipleOf": 5}), "12", "expected 12 to be a multiple of 5"},
        {JSON({"multipleOf": 0.5}), "1.25", "expected 1.25 to be a multiple of 0.5"},
        {JSON({"multipleOf": 0.5}), "1.5", ""},
        {JSON({"minimum": 1, "maximum": 1}), "1", ""},
        {JSON({"minimum": 1}), "\"0\"", ""},
    };

    ROWS_CHECK(rows);
}

static void values_and_formats_are_compared(void)
{
    static const struct row rows[] = {
        {JSON({"enum": ["a", 1, {"k": [1]}]}), JSON("b"), "matches none of the enum values"},
        {JSON({"enum": ["a", 1, {"k": [1]}]}), JSON({"k": [1.0]}), ""},
        {JSON({"enum": ["a", 1, {"k": [1]}]}), "1.0", ""},
        {JSON({"const": "a"}), JSON("b"), "failed to check const value"},
        {JSON({"const": false}), "false", ""},
        {JSON({"format": "ipv4"}), JSON("1.2.3"), "expect valid ipv4 format but got: 1.2.3"},
        {JSON({"format": "ipv4"}), JSON("1.2.3.4"), ""},
        {JSON({"format": "ipv6"}), JSON("[::1]"), "expect valid ipv6 format but got: [::1]"},
        {JSON({"format": "ipv6"}), JSON("::1"), ""},
        {JSON({"format": "email"}), JSON("a.b@c.org"), ""},
        {JSON({"format": "email"}), JSON("a@b"), "expect valid email format but got: a@b"},
        {JSON({"format": "hostname"}), JSON("a_b"), "expect valid hostname format but got: a_b"},
        {JSON({"format": "hostname"}), JSON("a-1.b"), ""},
        {JSON({"format": "unheard-of"}), JSON("x"), ""},
    };

    ROWS_CHECK(rows);
}

static void schemas_combine(void)
{
    static const struct row rows[] = {
        {JSON({"allOf": [{"type": "object"}, {"required": ["a"]}]}), JSON({}),
         "allOf 2 failed: property \"a\" is required"},
        {JSON({"anyOf": [{"required": ["a"]}, {"required": ["b", "c"]}, {"type": "string"}]}),
         JSON({}), "object matches none of the required: [\"a\"] or [\"b\",\"c\"]"},
        {JSON({"anyOf": [{"type": "number"}, {"type": "boolean"}]}), JSON({}),
         "object matches none of the required"},
        {JSON({"anyOf": [{"type": "number"}, {"type": "boolean"}]}), "true", ""},
        {JSON({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}), JSON({}),
         "value should match only one schema, but matches none"},
        {JSON({"oneOf": [{"required": ["a"]}, {}, {"required": ["b"]}]}), JSON({"a": 1, "b": 1}),
         "value should match only one schema, but matches both schemas 1 and 2"},
        {JSON({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}), JSON({"b": 1}), ""},
        {JSON({"if": {"const": 1}, "then": {"type": "string"}}), "1", "then clause did not match"},
        {JSON({"if": {"const": 1}, "else": {"type": "string"}}), "2", "else clause did not match"},
        {JSON({"if": {"const": 1}, "then": {"type": "string"}}), "2", ""},
        {JSON({"not": {"required": ["a"]}}), JSON({"a": 1}),
         "value wasn't supposed to match schema"},
    };

    ROWS_CHECK(rows);
}

static void the_first_rule_broken_is_reported(void)
{
    static const struct row rows[] = {
        {JSON({"type": "string", "enum": [1]}), "2", "wrong type: expected string, got number"},
        {JSON({"properties": {"b": {"type": "string"}, "a": {"type": "string"}}}),
         JSON({"a": 1, "b": 1}),
         "property \"b\" validation failed: wrong type: expected string, got number"},
        {JSON({"required": ["z"], "additionalProperties": false}), JSON({"a": 1}),
         "property \"z\" is required"},
        {JSON({"minLength": 2, "pattern": "b", "enum": ["c"], "allOf": [false]}), JSON("a"),
         "string too short, expected at least 2, got 1"},
        {JSON({"enum": ["c"], "allOf": [false]}), JSON("a"), "matches none of the enum values"},
        {JSON({"anyOf": [false], "allOf": [false]}), "1", "allOf 1 failed: expect false always"},
        {JSON({"not": {}, "if": {}, "then": false}), "1", "then clause did not match"},
        {JSON({"const": 2, "not": {}}), "1", "value wasn't supposed to match schema"},
    };

    ROWS_CHECK(rows);
}

static void references_to_secrets_pass_as_strings(void)
{
    static const struct row rows[] = {
        {JSON({"type": "string", "minLength": 100, "pattern": "^x"}), JSON("$secret://vault/1/k"),
         ""},
        {JSON({"type": "string", "maxLength": 1}), JSON("$ENV://A"), ""},
        {JSON({"type": "string", "maxLength": 1}), JSON("$env://A"), ""},
        {JSON({"enum": ["a"]}), JSON("$Env://A"), ""},
        {JSON({"type": "number"}), JSON("$ENV://A"), "wrong type: expected number, got string"},
        {JSON({"type": ["string", "null"], "maxLength": 1}), JSON("$ENV://A"),
         "string too long, expected at most 1, got 8"},
        {JSON({"type": "string", "maxLength": 1}), JSON("$SECRET://A"),
         "string too long, expected at most 1, got 11"},
    };

    ROWS_CHECK(rows);
}

static void references_point_into_the_schema(void)
{
    static const struct row rows[] = {
        {JSON({
             "definitions": {"n": {"type": "number"}},
             "properties": {"a": {"$ref": "#/definitions/n"}}
         }),
         JSON({"a": "x"}),
         "property \"a\" validation failed: wrong type: expected number, got string"},
        {JSON({"properties": {"kid": {"$ref": "#"}}, "additionalProperties": false}),
         JSON({"kid": {"kid": {"x": 1}}}),
         "property \"kid\" validation failed: property \"kid\" validation failed: additional properties forbidden, found x"},
        {JSON({"a/b": [true, {"type": "string"}], "$ref": "#/a~1b/1"}), "1",
         "wrong type: expected string, got number"},
        {JSON({"$ref": "#/no"}), "1", "invalid reference: #/no"},
        {JSON({"$ref": "#/$ref"}), "1", "a schema must be an object or a boolean"},
        {JSON({"$ref": "#"}), "1", "invalid reference: #"},
        {JSON({"$ref": "http://example.com/x"}), "1", "invalid reference: http://example.com/x"},
        /* What refers to itself without getting anywhere ends, also where a failure would count as
           success. */
        {JSON({"allOf": [{"$ref": "#"}]}), "1", "schemas are nested too deeply"},
        {JSON({"not": {"$ref": "#"}}), "1", "schemas are nested too deeply"},
        {JSON({"anyOf": [{"$ref": "#"}, {"$ref": "#"}, {"$ref": "#"}]}), "1",
         "schemas are nested too deeply"},
    };

    ROWS_CHECK(rows);
}

/* Thirty schemas, each asking the next one twice: a billion steps. */
static void checks_have_a_budget(void)
{
    struct buf b = BUF_INIT(1 << 16);
    struct arena *a = arena_new(1024);

    buf_printf(&b, "{\"$ref\":\"#/d/0\",\"d\":[");
    for (int i = 1; i <= 30; i++) {
        buf_printf(&b, "{\"allOf\":[{\"$ref\":\"#/d/%d\"},{\"$ref\":\"#/d/%d\"}]},", i, i);
    }
    buf_add(&b, STR("{}]}"));
    buf_addc(&b, 0);
    CHECK_STR(answer(a, b.p, "1", NULL), "checking takes too long");
    buf_fini(&b);
    arena_free(a);
}

static void what_is_no_schema_is_refused(void)
{
    static const struct row rows[] = {
        {JSON({"type": "strin"}), "1", "invalid JSON type: strin"},
        {JSON({"type": 1}), "1", "invalid JSON type: not a string"},
        {JSON({"properties": []}), "1", "invalid \"properties\" in a schema"},
        {JSON({"properties": {"a": 1}}), "1", "a schema must be an object or a boolean"},
        {JSON({"required": "a"}), "1", "invalid \"required\" in a schema"},
        {JSON({"required": [1]}), "1", "names of required properties must be strings"},
        {JSON({"minLength": "1"}), "1", "invalid \"minLength\" in a schema"},
        {JSON({"multipleOf": 0}), "1", "invalid \"multipleOf\" in a schema"},
        {JSON({"enum": {}}), "1", "invalid \"enum\" in a schema"},
        {JSON({"items": 1}), "1", "invalid \"items\" in a schema"},
        {JSON({"oneOf": {}}), "1", "invalid \"oneOf\" in a schema"},
        {JSON({"pattern": "("}), "1",
         "invalid pattern: pcre2_compile() failed: missing closing parenthesis in \"(\""},
        {JSON([]), "1", "a schema must be an object or a boolean"},
    };

    ROWS_CHECK(rows);
}

/* n schemas, each the `not` of the one before. */
static struct str nested_answer(struct arena *a, int n)
{
    struct buf b = BUF_INIT(4096);

    for (int i = 1; i < n; i++) {
        buf_add(&b, STR("{\"not\":"));
    }
    buf_add(&b, STR("{}"));
    for (int i = 1; i < n; i++) {
        buf_addc(&b, '}');
    }
    buf_addc(&b, 0);
    const struct str got = answer(a, b.p, "1", NULL);

    buf_fini(&b);
    return got;
}

static void nesting_has_a_limit(void)
{
    struct arena *a = arena_new(1024);

    CHECK_STR(nested_answer(a, 63), "");
    CHECK_STR(nested_answer(a, 64), "value wasn't supposed to match schema");
    CHECK_STR(nested_answer(a, 65), "schemas are nested too deeply");
    arena_free(a);
}

static void defaults_are_filled_in(void)
{
    static const struct {
        const char *schema, *value, *want;
    } rows[] = {
        {JSON({"properties": {"a": {"default": 1}, "b": {"default": {"c": [1]}}}}), JSON({}),
         "{\"a\":1,\"b\":{\"c\":[1]}}"},
        {JSON({"properties": {"a": {"default": 1}}}), JSON({"a": null}), "{\"a\":null}"},
        /* Lua takes false for no default */
        {JSON({
             "properties": {"a": {"default": false}, "b": {"default": null}, "c": {"default": true}}
         }),
         JSON({}), "{\"c\":true}"},
        /* in what was given, not in what was filled in */
        {JSON({"properties": {"a": {"properties": {"b": {"default": 2}}}}}), JSON({"a": {}}),
         "{\"a\":{\"b\":2}}"},
        {JSON({"properties": {"a": {"default": {}, "properties": {"b": {"default": 2}}}}}),
         JSON({}), "{\"a\":{}}"},
        /* branches that fail leave theirs, too */
        {JSON({
             "anyOf": [
                 {"properties": {"a": {"default": 1}}, "required": ["x"]},
                 {"properties": {"b": {"default": 2}}}
             ]
         }),
         JSON({}), "{\"a\":1,\"b\":2}"},
        {JSON({
             "if": {"required": ["p"]},
             "then": {"properties": {"t": {"default": 1}}},
             "else": {"properties": {"e": {"default": 1}}}
         }),
         JSON({"p": 1}), "{\"p\":1,\"t\":1}"},
        {JSON({"items": {"properties": {"w": {"default": 1}}}}), JSON([{"w": 2}, {}]),
         "[{\"w\":2},{\"w\":1}]"},
        /* the empty value takes the form that is wanted, so that defaults find their place */
        {JSON({"properties": {"a": {"type": "object", "properties": {"b": {"default": 2}}}}}),
         JSON({"a": []}), "{\"a\":{\"b\":2}}"},
        {JSON({"properties": {"a": {"type": "array"}}}), JSON({"a": {}}), "{\"a\":[]}"},
        {JSON({"items": {"type": "object", "properties": {"b": {"default": 2}}}}), JSON([[]]),
         "[{\"b\":2}]"},
        {JSON(
             {"patternProperties": {".": {"type": "object", "properties": {"b": {"default": 2}}}}}),
         JSON({"x": []}), "{\"x\":{\"b\":2}}"},
        {JSON({"properties": {"a": {"default": 1}}, "required": ["z"]}), JSON({}), "{\"a\":1}"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena *a = arena_new(1024);
        struct str after = STR_NONE;

        answer(a, rows[i].schema, rows[i].value, &after);
        CHECK_ROW(i, str_eq(after, str_c(rows[i].want)));
        CHECK_STR(after, rows[i].want);
        arena_free(a);
    }
}

static void defaults_belong_to_each_value(void)
{
    struct err e = {.msg = ""};
    json_t *schema = json_parse(STR(JSON({"properties": {"a": {"default": {"n": 1}}}})), &e);
    struct jschema *s = jschema_new(schema, &e);
    json_t *v = json_object(), *w = json_object();

    CHECK(jschema_check(s, v, &e) == 0);
    json_object_set_new(json_get(v, "a"), "n", json_integer(2));
    CHECK(jschema_check(s, w, &e) == 0);
    CHECK(json_integer_value(json_get(json_get(w, "a"), "n")) == 1);
    json_decref(v);
    json_decref(w);
    json_decref(schema);
    jschema_free(s);
}

/* `[before 0 after, before 1 after, ...]`; freed by buf_fini(). */
static struct buf long_array(int items, const char *before, const char *after)
{
    struct buf b = BUF_INIT(16 << 20);

    for (int i = 0; i < items; i++) {
        buf_printf(&b, "%c%s%d%s", i > 0 ? ',' : '[', before, i, after);
    }
    buf_add(&b, STR("]"));
    buf_addc(&b, 0);
    return b;
}

/* A million bytes: comparing each item with each other one would take minutes. */
static void long_arrays_take_no_square_of_time(void)
{
    static const char *const forms[][2] = {
        {"", ""}, {"\"s", "\""}, {"{\"k\":", "}"}, {"[", ",[]]"}};

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct arena *a = arena_new(1024);
        struct buf b = long_array(100000, forms[i][0], forms[i][1]);

        CHECK_STR(
            answer(a, JSON({"uniqueItems": true, "items": {"properties": {"k": {"minimum": 0}}}}),
                   b.p, NULL),
            "");
        buf_fini(&b);
        arena_free(a);
    }
}

static void messages_are_cut_not_overrun(void)
{
    struct buf b = BUF_INIT(1 << 20);
    struct arena *a = arena_new(1024);

    buf_addc(&b, '"');
    for (int i = 0; i < 10000; i++) {
        buf_add(&b, STR("\\\\\xc3\xa9"));
    }
    buf_add(&b, STR("\""));
    buf_addc(&b, 0);
    const struct str got = answer(a, JSON({"pattern": "^x"}), b.p, NULL);

    CHECK(str_starts(got, STR("failed to match pattern \"^x\" with \"\\\\\xc3\xa9")));
    CHECK(got.n < sizeof(((struct err *)0)->msg));
    buf_fini(&b);
    arena_free(a);
}

TESTS(T(types_are_those_of_lua), T(objects_are_checked_property_by_property),
      T(dependencies_ask_for_properties_or_a_schema), T(arrays_are_checked_item_by_item),
      T(items_are_equal_as_lua_sees_them), T(strings_count_in_characters), T(numbers_have_limits),
      T(values_and_formats_are_compared), T(schemas_combine), T(the_first_rule_broken_is_reported),
      T(references_to_secrets_pass_as_strings), T(references_point_into_the_schema),
      T(checks_have_a_budget), T(what_is_no_schema_is_refused), T(nesting_has_a_limit),
      T(defaults_are_filled_in), T(defaults_belong_to_each_value),
      T(long_arrays_take_no_square_of_time), T(messages_are_cut_not_overrun))
