/* SPDX-License-Identifier: Apache-2.0 */
/* field: one table, as schema and as struct. */
#include "schema/field.h"

#include "base/buf.h"
#include "schema/jschema.h"

#include "t.h"

struct pool {
    int64_t size;
    struct str password;
};
static const struct field pool_fields[] = {
    F_INT(struct pool, size, .def = "320", .min = 1),
    F_STR(struct pool, password, .secret = true),
    F_END,
};

struct node {
    struct str host;
    int64_t weight;
    bool backup;
    struct pool pool;
};
static const struct field node_fields[] = {
    F_STR(struct node, host, .required = true, .min_len = 1),
    F_INT(struct node, weight, .def = "1", .min = 0),
    F_BOOL(struct node, backup, .def = "false"),
    F_OBJ(struct node, pool, pool_fields),
    F_END,
};

struct conf {
    int64_t status;
    struct opt_int retries;
    double ratio;
    struct opt_num limit;
    bool on;
    struct opt_bool verbose;
    struct str uri, mode, id;
    struct arr codes, nodes, names, any;
    bool has_pool;
    struct pool pool;
    const json_t *headers;
};
static const char *const modes[] = {"fast", "safe", NULL};
static const struct field conf_fields[] = {
    F_INT(struct conf, status, .def = "302", .min = 200, .max = 399, .title = "code"),
    F_INT(struct conf, retries, .min = 0),
    F_NUM(struct conf, ratio, .def = "0.5", .min_excl = 0, .max_excl = 1.5),
    F_NUM(struct conf, limit),
    F_BOOL(struct conf, on, .def = "true"),
    F_BOOL(struct conf, verbose),
    F_STR(struct conf, uri, .required = true, .min_len = 1, .max_len = 64, .pattern = "^/",
          .secret = true),
    F_STR(struct conf, mode, .def = JSON("fast"), .choices = modes),
    F_AS("node-id", struct conf, id,
         .extra = JSON({"type": null, "anyOf": [{"type": "string"}, {"type": "integer"}]})),
    F_ARR(struct conf, codes, .item = &(const struct field){F_ITEM(FK_INT, .min = 1)},
          .unique = true, .min_len = 1, .def = JSON([1, 2])),
    F_ARR_OF(struct conf, nodes, struct node, node_fields, .closed = true),
    F_ARR(struct conf, names, .item = &(const struct field){F_ITEM(FK_STR)}),
    F_ARR(struct conf, any),
    F_OBJ(struct conf, pool, pool_fields, .present = offsetof(struct conf, has_pool),
          .closed = true, .max_len = 2),
    F_JSON(struct conf, headers, .raw = JSON({"type": "object", "minProperties": 1})),
    F_ONLY("legacy", .extra = JSON({"type": "string", "format": "ipv4"})),
    F_END,
};

static const char conf_schema[] = JSON({
    "type": "object",
    "properties": {
        "status":
            {"type": "integer", "default": 302, "minimum": 200, "maximum": 399, "title": "code"},
        "retries": {"type": "integer", "minimum": 0},
        "ratio": {"type": "number", "default": 0.5, "exclusiveMinimum": 0, "exclusiveMaximum": 1.5},
        "limit": {"type": "number"},
        "on": {"type": "boolean", "default": true},
        "verbose": {"type": "boolean"},
        "uri": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^/"},
        "mode": {"type": "string", "default": "fast", "enum": ["fast", "safe"]},
        "node-id": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "codes": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1},
            "uniqueItems": true,
            "minItems": 1,
            "default": [1, 2]
        },
        "nodes": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["host"],
                "additionalProperties": false,
                "properties": {
                    "host": {"type": "string", "minLength": 1},
                    "weight": {"type": "integer", "minimum": 0, "default": 1},
                    "backup": {"type": "boolean", "default": false},
                    "pool": {
                        "type": "object",
                        "properties": {
                            "size": {"type": "integer", "default": 320, "minimum": 1},
                            "password": {"type": "string"}
                        }
                    }
                }
            }
        },
        "names": {"type": "array", "items": {"type": "string"}},
        "any": {"type": "array"},
        "pool": {
            "type": "object",
            "additionalProperties": false,
            "maxProperties": 2,
            "properties": {
                "size": {"type": "integer", "default": 320, "minimum": 1},
                "password": {"type": "string"}
            }
        },
        "headers": {"type": "object", "minProperties": 1},
        "legacy": {"type": "string", "format": "ipv4"}
    },
    "required": ["uri", "node-id"],
    "additionalProperties": false,
    "oneOf": [{"required": ["uri"]}]
});

/* v accepted by the schema of the table, as configurations are. */
static json_t *checked(const char *text)
{
    struct err e = {.msg = ""};
    json_t *schema = fields_schema(conf_fields, false, NULL), *v = json_parse(str_c(text), &e);
    struct jschema *s = jschema_new(schema, &e);

    CHECK(jschema_check(s, v, &e) == 0);
    CHECK_STR(str_c(e.msg), "");
    jschema_free(s);
    json_decref(schema);
    return v;
}

static void a_table_prints_its_schema(void)
{
    struct err e = {.msg = ""};
    json_t *got =
        fields_schema(conf_fields, true,
                      JSON({"oneOf": [{"required": ["uri"]}], "required": ["uri", "node-id"]}));
    json_t *want = json_parse(str_c(conf_schema), &e);
    char *text = json_dumps(got, JSON_SORT_KEYS | JSON_INDENT(1));

    CHECK(want != NULL && json_equal(got, want));
    if (!json_equal(got, want)) {
        printf("# %s\n", text);
    }
    free(text);
    json_decref(got);
    json_decref(want);
}

static const struct field nested[] = {
    F_ARR(struct conf, any,
          .item = &(const struct field){F_ITEM(
              FK_ARR, .item = &(const struct field){F_ITEM(FK_NUM, .max = 2)})}),
    F_END,
};

static void schemas_of_few_fields(void)
{
    static const struct field none[] = {F_END};
    const struct {
        const struct field *fields;
        bool closed;
        const char *extra, *want;
    } cases[] = {
        {NULL, false, NULL, JSON({"type": "object"})},
        {none, false, NULL, JSON({"type": "object", "properties": {}})},
        {none, true, NULL,
         JSON({"type": "object", "properties": {}, "additionalProperties": false})},
        /* extra merges into what is there, and null takes away */
        {none, false, JSON({"type": null, "properties": {"a": true}, "minProperties": 1}),
         JSON({"properties": {"a": true}, "minProperties": 1})},
        {nested, false, NULL, JSON({
             "type": "object",
             "properties": {
                 "any": {
                     "type": "array",
                     "items": {"type": "array", "items": {"type": "number", "maximum": 2}}
                 }
             }
         })},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *got = fields_schema(cases[i].fields, cases[i].closed, cases[i].extra);
        json_t *want = json_loads(cases[i].want, 0, NULL);

        CHECK_ROW(i, json_equal(got, want));
        json_decref(got);
        json_decref(want);
    }
}

static void absent_fields_get_their_defaults(void)
{
    struct arena *a = arena_new(1024);
    struct conf c = {.status = 0};
    json_t *v = checked("{\"uri\":\"/a\"}");

    fields_fill(conf_fields, v, &c, a);
    CHECK(c.status == 302 && c.ratio == 0.5 && c.on);
    CHECK(!c.retries.set && !c.limit.set && !c.verbose.set);
    CHECK_STR(c.uri, "/a");
    CHECK_STR(c.mode, "fast");
    CHECK(str_is_none(c.id) && c.headers == NULL);
    CHECK(c.codes.n == 2 && ((int64_t *)c.codes.v)[1] == 2);
    CHECK(c.nodes.n == 0 && c.names.n == 0 && c.any.n == 0);
    CHECK(!c.has_pool && c.pool.size == 320 && str_is_none(c.pool.password));
    json_decref(v);
    arena_free(a);
}

static void defaults_need_no_schema_check(void)
{
    struct arena *a = arena_new(1024);
    struct conf c = {.status = 0};
    json_t *empty_array = json_array();

    /* [] is what an empty object looks like to some clients. */
    fields_fill(conf_fields, empty_array, &c, a);
    json_decref(empty_array);
    CHECK(c.status == 302 && c.codes.n == 2 && c.pool.size == 320);
    /* Nothing of the default is borrowed from a value that is gone. */
    CHECK_STR(c.mode, "fast");
    arena_free(a);
}

static void given_values_fill_the_struct(void)
{
    struct arena *a = arena_new(1024);
    struct conf c = {.status = 0};
    json_t *v = checked(JSON({
        "uri": "/b",
        "status": 301.0,
        "retries": 0,
        "ratio": 1,
        "limit": 2.5,
        "on": false,
        "verbose": false,
        "mode": "safe",
        "node-id": 17,
        "codes": [7],
        "names": ["x", ""],
        "any": [1, {"k": null}],
        "nodes": [
            {"host": "h1", "pool": {"size": 5, "password": "p"}},
            {"host": "h2", "weight": 0, "backup": true}
        ],
        "pool": {},
        "headers": {"h": "v"},
        "legacy": "1.2.3.4"
    }));
    const struct node *n;

    fields_fill(conf_fields, v, &c, a);
    CHECK(c.status == 301 && c.ratio == 1 && !c.on);
    CHECK(c.retries.set && c.retries.v == 0 && c.limit.set && c.limit.v == 2.5);
    CHECK(c.verbose.set && !c.verbose.v);
    CHECK_STR(c.mode, "safe");
    CHECK_STR(c.id, "17");
    CHECK(c.codes.n == 1 && ((int64_t *)c.codes.v)[0] == 7);
    CHECK(c.names.n == 2);
    CHECK_STR(((struct str *)c.names.v)[0], "x");
    CHECK(((struct str *)c.names.v)[1].n == 0 && !str_is_none(((struct str *)c.names.v)[1]));
    CHECK(c.any.n == 2 && json_is_object(((const json_t **)c.any.v)[1]));
    CHECK(c.has_pool && c.pool.size == 320);
    CHECK_STR(json_str(json_get(c.headers, "h")), "v");
    CHECK(c.nodes.n == 2);
    n = c.nodes.v;
    CHECK_STR(n[0].host, "h1");
    CHECK_STR(n[0].pool.password, "p");
    CHECK(n[0].weight == 1 && n[0].pool.size == 5);
    CHECK(n[1].weight == 0 && n[1].backup && n[1].pool.size == 320);
    json_decref(v);
    arena_free(a);
}

static void numbers_out_of_range_are_kept_in_it(void)
{
    struct arena *a = arena_new(1024);
    struct conf c = {.status = 0};
    json_t *v = json_pack("{s:f,s:f}", "status", 1e300, "retries", -1e300);

    fields_fill(conf_fields, v, &c, a);
    CHECK(c.status == INT64_MAX && c.retries.v == INT64_MIN);
    json_decref(v);
    arena_free(a);
}

static void path_add(const char *path, void *arg)
{
    struct buf *all = arg;

    buf_printf(all, "%s ", path);
}

static void secrets_are_dotted_paths(void)
{
    struct buf all = BUF_INIT(256);

    fields_secrets(conf_fields, path_add, &all);
    fields_secrets(NULL, path_add, &all);
    CHECK_STR(buf_str(&all), "uri nodes.pool.password pool.password ");
    buf_fini(&all);
}

TESTS(T(a_table_prints_its_schema), T(schemas_of_few_fields), T(absent_fields_get_their_defaults),
      T(defaults_need_no_schema_check), T(given_values_fill_the_struct),
      T(numbers_out_of_range_are_kept_in_it), T(secrets_are_dotted_paths))
