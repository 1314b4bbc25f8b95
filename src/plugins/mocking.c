/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mocking: answer with an example, or with random data that fits a JSON schema, so that clients can
 * be written before the service is.
 *
 * A schema is compiled into a tree of makers; an answer is written by walking it. Property names
 * and examples are prepared as they will stand in the text.
 */
#include "plugin/delay.h"
#include "plugin/plugin.h"
#include "plugin/resp_fields.h"

#include "base/hash.h"
#include "config/settings.h"

#include <math.h>
#include <stdio.h>

enum {
    ITEMS_MAX = 3,
    LETTERS_MAX = 10,
    NUMBER_MAX = 10000,
    ANSWER_MAX = 1 << 20, /* nested arrays stop growing there */
    DEPTH_MAX = 100,
};

enum maker_kind {
    MAKE_NOTHING,
    MAKE_TEXT,
    MAKE_STRING,
    MAKE_NUMBER,
    MAKE_INTEGER,
    MAKE_BOOLEAN,
    MAKE_ARRAY,
    MAKE_OBJECT
};
struct maker {
    enum maker_kind kind;
    struct str name;     /* of the property, escaped */
    struct str text;     /* MAKE_TEXT: an example as it is written */
    struct maker *items; /* MAKE_ARRAY: one; MAKE_OBJECT: n */
    size_t n;
};

enum format { FORMAT_NONE, FORMAT_JSON, FORMAT_XML };

struct mocking_conf {
    int64_t delay, response_status;
    struct str content_type, response_example;
    const json_t *response_schema, *response_headers;
    bool with_mock_header;

    /* Made by prepare. */
    struct tmpl *example;
    struct maker *maker;
    enum format format;
    struct resp_fields fields;
};

static const struct field mocking_fields[] = {
    F_INT(struct mocking_conf, delay, .def = "0", .doc = "Seconds to wait first."),
    F_INT(struct mocking_conf, response_status, .def = "200", .min = 100,
          .doc = "Status of the answer."),
    F_STR(struct mocking_conf, content_type, .def = "\"application/json;charset=utf8\"",
          .doc = "Content-Type of the answer."),
    F_STR(struct mocking_conf, response_example, .doc = "Its body; $variables are expanded."),
    F_JSON(struct mocking_conf, response_schema, .raw = JSON({"type": "object"}),
           .doc = "A JSON schema to make a body from."),
    F_BOOL(struct mocking_conf, with_mock_header, .def = "true",
           .doc = "Say in x-mock-by who made the answer."),
    F_JSON(struct mocking_conf, response_headers,
           .raw = JSON({
               "type": "object",
               "minProperties": 1,
               "patternProperties": {"^[^:]+$": {"oneOf": [{"type": "string"}, {"type": "number"}]}}
           }),
           .doc = "Further headers; $variables are expanded."),
    F_END,
};

/* ---- checks ---- */

/* Without parameters. */
static struct str media_type(struct str content_type)
{
    const ptrdiff_t at = str_rindex(content_type, ';');

    return at >= 0 ? str_head(content_type, (size_t)at) : content_type;
}

static bool is_one_of(struct str s, const char *const *list)
{
    while (*list != NULL && !str_eq(s, str_c(*list))) {
        list++;
    }
    return *list != NULL;
}

static int mocking_check(const json_t *conf, enum conf_use use, struct err *e)
{
    static const char *const known[] = {"application/xml", "application/json", "text/plain",
                                        "text/html",       "text/xml",         NULL};
    const struct str type = json_str(json_get(conf, "content_type"));
    const json_t *status = json_get(conf, "response_status");

    if (type.p != NULL && (!is_one_of(media_type(type), known) || !header_value_is_valid(type))) {
        return err_set(e, "unsupported content type!");
    }
    if (status != NULL && (json_integer_value(status) < 200 || json_integer_value(status) > 999)) {
        return err_set(e, "property \"response_status\" validation failed: expected 200 to 999");
    }
    return resp_fields_check(json_get(conf, "response_headers"), e);
}

/* ---- prepare ---- */

static struct str xml_escaped(struct arena *a, struct str s)
{
    char *p = arena_bytes(a, s.n * 6), *to = p;

    for (size_t i = 0; i < s.n; i++) {
        const struct str as = s.p[i] == '<'   ? STR("&lt;")
                              : s.p[i] == '>' ? STR("&gt;")
                              : s.p[i] == '&' ? STR("&amp;")
                                              : str_of(s.p + i, 1);
        memcpy(to, as.p, as.n);
        to += as.n;
    }
    return str_of(p, (size_t)(to - p));
}

/* A string as it stands in the answer, with quotes when it is JSON. */
static struct str written(struct arena *a, const json_t *s, enum format format)
{
    return format == FORMAT_XML ? xml_escaped(a, json_str(s)) : json_text(a, s);
}

static void example_use(struct arena *a, struct maker *m, const json_t *example, enum format format)
{
    if (m->kind == MAKE_STRING && json_is_string(example)) {
        m->text = written(a, example, format);
    } else if (m->kind == MAKE_NUMBER && json_is_number(example)) {
        m->text = json_text(a, example);
    } else if (m->kind == MAKE_INTEGER && json_is_number(example)) {
        m->text = arena_printf(a, "%.14g", floor(json_number_value(example)));
    } else if (m->kind == MAKE_BOOLEAN && json_is_boolean(example)) {
        m->text = json_text(a, example);
    } else {
        return;
    }
    m->kind = MAKE_TEXT;
}

static enum maker_kind kind_of(const json_t *schema)
{
    static const struct {
        struct str name;
        enum maker_kind kind;
    } kinds[] = {
        {STR_INIT("string"), MAKE_STRING},   {STR_INIT("number"), MAKE_NUMBER},
        {STR_INIT("integer"), MAKE_INTEGER}, {STR_INIT("boolean"), MAKE_BOOLEAN},
        {STR_INIT("array"), MAKE_ARRAY},     {STR_INIT("object"), MAKE_OBJECT},
    };
    const struct str type = json_str(json_get(schema, "type"));

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (str_ieq(type, kinds[i].name)) {
            return kinds[i].kind;
        }
    }
    return MAKE_NOTHING;
}

static void maker_fill(struct arena *a, struct maker *m, const json_t *schema, enum format format,
                       unsigned depth);

static void object_fill(struct arena *a, struct maker *m, const json_t *properties,
                        enum format format, unsigned depth)
{
    const char *name;
    json_t *property;

    m->kind = MAKE_OBJECT;
    m->items = ARENA_ARRAY(a, struct maker, json_object_size(properties) + 1);
    json_object_foreach((json_t *)properties, name, property) {
        struct maker *item = &m->items[m->n];
        maker_fill(a, item, property, format, depth + 1);
        if (item->kind != MAKE_NOTHING) {
            json_t *key = json_string(name);
            item->name = written(a, key, format);
            json_decref(key);
            m->n++;
        }
    }
}

/* depth ends what JSON's own limit of depth would allow, long before the stack does. */
static void maker_fill(struct arena *a, struct maker *m, const json_t *schema, enum format format,
                       unsigned depth)
{
    m->kind = depth < DEPTH_MAX ? kind_of(schema) : MAKE_NOTHING;
    if (m->kind == MAKE_OBJECT) {
        object_fill(a, m, json_get(schema, "properties"), format, depth);
        return;
    }
    if (m->kind == MAKE_ARRAY) {
        m->items = ARENA_NEW(a, struct maker);
        maker_fill(a, m->items, json_get(schema, "items"), format, depth + 1);
        m->kind = m->items->kind == MAKE_NOTHING ? MAKE_NOTHING : MAKE_ARRAY;
        return;
    }
    example_use(a, m, json_get(schema, "example"), format);
}

static enum format format_of(struct str content_type)
{
    static const char *const json[] = {"application/json", "text/plain", NULL},
                             *const xml[] = {"application/xml", "text/xml", NULL};
    const struct str type = media_type(content_type);

    return is_one_of(type, json) ? FORMAT_JSON : is_one_of(type, xml) ? FORMAT_XML : FORMAT_NONE;
}

static int mocking_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct mocking_conf *c = conf;

    c->format = format_of(c->content_type);
    c->fields = resp_fields_new(p->arena, c->response_headers);
    if (c->response_example.p != NULL) {
        c->example = tmpl_new(p->arena, c->response_example);
    } else {
        c->maker = ARENA_NEW(p->arena, struct maker);
        object_fill(p->arena, c->maker, json_get(c->response_schema, "properties"), c->format, 0);
    }
    return 0;
}

/* ---- making an answer ---- */

/* Text that grows in the request's arena. */
struct out {
    struct arena *arena;
    char *p;
    size_t n, cap;
};

static void put(struct out *o, struct str s)
{
    if (o->n + s.n > o->cap) {
        o->cap = (o->n + s.n) * 2;
        char *bigger = arena_bytes(o->arena, o->cap);
        memcpy(bigger, o->n ? o->p : "", o->n);
        o->p = bigger;
    }
    memcpy(o->p + o->n, s.n ? s.p : "", s.n);
    o->n += s.n;
}

/* 1 to max. */
static unsigned up_to(unsigned max)
{
    return 1 + (unsigned)(random_u64() % max);
}

static void put_letters(struct out *o, enum format format)
{
    char text[LETTERS_MAX + 2] = "\"";
    const unsigned n = up_to(LETTERS_MAX);

    for (unsigned i = 1; i <= n; i++) {
        text[i] = (char)('a' + random_u64() % 26);
    }
    text[n + 1] = '"';
    put(o, format == FORMAT_XML ? str_of(text + 1, n) : str_of(text, n + 2));
}

static void put_number(struct out *o, double v)
{
    char text[32];
    const int n = snprintf(text, sizeof(text), "%.14g", v);

    put(o, str_of(text, (size_t)n));
}

static void put_scalar(struct out *o, const struct maker *m, enum format format)
{
    switch (m->kind) {
    case MAKE_TEXT:
        put(o, m->text);
        break;
    case MAKE_STRING:
        put_letters(o, format);
        break;
    case MAKE_NUMBER:
        put_number(o, (double)(random_u64() >> 11) * 0x1p-53 * NUMBER_MAX);
        break;
    case MAKE_INTEGER:
        put_number(o, up_to(NUMBER_MAX));
        break;
    case MAKE_BOOLEAN:
        put(o, random_u64() & 1 ? STR("true") : STR("false"));
        break;
    case MAKE_NOTHING:
    case MAKE_ARRAY:
    case MAKE_OBJECT:
        break;
    }
}

static void put_json(struct out *o, const struct maker *m);

static void put_json_members(struct out *o, const struct maker *m)
{
    for (size_t i = 0; i < m->n; i++) {
        put(o, i ? STR(",") : STR(""));
        put(o, m->items[i].name);
        put(o, STR(":"));
        put_json(o, &m->items[i]);
    }
}

static void put_json(struct out *o, const struct maker *m)
{
    if (m->kind == MAKE_OBJECT) {
        put(o, STR("{"));
        put_json_members(o, m);
        put(o, STR("}"));
    } else if (m->kind == MAKE_ARRAY) {
        const unsigned n = o->n < ANSWER_MAX ? up_to(ITEMS_MAX) : 1;
        for (unsigned i = 0; i < n; i++) {
            put(o, i ? STR(",") : STR("["));
            put_json(o, m->items);
        }
        put(o, STR("]"));
    } else {
        put_scalar(o, m, FORMAT_JSON);
    }
}

/* An array is its items, each in a tag of the array's name. */
static void put_xml(struct out *o, const struct maker *m, struct str name)
{
    if (m->kind == MAKE_ARRAY) {
        const unsigned n = o->n < ANSWER_MAX ? up_to(ITEMS_MAX) : 1;
        for (unsigned i = 0; i < n; i++) {
            put_xml(o, m->items, name);
        }
        return;
    }
    put(o, STR("<"));
    put(o, name);
    put(o, STR(">"));
    for (size_t i = 0; i < m->n; i++) {
        put_xml(o, &m->items[i], m->items[i].name);
    }
    put_scalar(o, m, FORMAT_XML);
    put(o, STR("</"));
    put(o, name);
    put(o, STR(">"));
}

static struct str body_for(struct req *r, const struct mocking_conf *c)
{
    struct out o = {.arena = r->arena, .p = arena_bytes(r->arena, 1024), .cap = 1024};

    if (c->example != NULL) {
        return tmpl_expand(c->example, r->arena, r, NULL);
    }
    if (c->format == FORMAT_JSON) {
        put_json(&o, c->maker);
    } else if (c->format == FORMAT_XML) {
        put_xml(&o, c->maker, STR("data"));
    }
    return str_of(o.p, o.n);
}

static enum verdict mocking_access(struct req *r, const void *conf)
{
    const struct mocking_conf *c = conf;
    const int64_t wait = c->delay > 0 ? delay_us_of((double)c->delay) : 0;

    headers_set_id(&r->resp.headers, H_CONTENT_TYPE, c->content_type);
    if (c->with_mock_header) {
        headers_set(&r->resp.headers, STR("x-mock-by"),
                    r->settings->enable_server_tokens ? STR("weir/" WEIR_VERSION) : STR("weir"));
    }
    resp_fields_set(r, &c->fields);
    if (req_await_delay(r, wait) == DONE) {
        return DONE;
    }
    return req_reply(r, (int)c->response_status, body_for(r, c));
}

const struct plugin mocking_plugin = {
    .name = "mocking",
    .priority = 10900,
    .version = "0.1",
    .conf_size = sizeof(struct mocking_conf),
    .fields = mocking_fields,
    .schema_extra =
        JSON({"anyOf": [{"required": ["response_example"]}, {"required": ["response_schema"]}]}),
    .check = mocking_check,
    .prepare = mocking_prepare,
    .access = mocking_access,
};
