/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jschema_compile: from the JSON of a schema to the nodes that jschema.c walks.
 *
 * The first error is kept and compiling goes on with nodes that accept anything, so that no step
 * has to look for failure; jschema_new() gives up at the end. A node is noted before its parts are
 * compiled: a schema that refers to itself finds itself.
 */
#include "schema/jschema_priv.h"

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

/* WORDS_MAX: as many as fit into an error message. NEST_MAX: schemas in schemas; the stack may be a
 * fiber's. */
enum { REF_HOPS_MAX = 32, BLOCK_SIZE = 4096, WORDS_MAX = 2048, NEST_MAX = 64 };

struct compiler {
    struct arena *arena;
    const json_t *root;
    struct map nodes; /* by address of the JSON */
    struct err *e;
    bool failed;
    unsigned depth;
};

static const struct node anything = {.kind = NODE_ANYTHING};
static const struct node nothing = {.kind = NODE_NOTHING};

static const struct node *compile(struct compiler *c, const json_t *schema);

#define BAD(c, ...) ((c)->failed = true, (void)err_set((c)->e, __VA_ARGS__))

/* ---- reading keywords ---- */

static void json_drop(void *v)
{
    json_decref(v);
}

/* A copy that lives as long as the schema. */
static const json_t *keep(struct compiler *c, const json_t *v)
{
    json_t *copy = json_deep_copy(v);

    arena_on_reset(c->arena, json_drop, copy);
    return copy;
}

static const char *keep_text(struct compiler *c, const char *text)
{
    return arena_str(c->arena, str_c(text)).p;
}

/* The keyword when it is there and of the wanted type; NULL when absent. */
static const json_t *keyword(struct compiler *c, const json_t *schema, const char *name,
                             json_type type)
{
    const json_t *v = json_object_get(schema, name);

    if (v != NULL && json_typeof(v) != type) {
        BAD(c, "invalid \"%s\" in a schema", name);
        return NULL;
    }
    return v;
}

static double number_keyword(struct compiler *c, const json_t *schema, const char *name)
{
    const json_t *v = json_object_get(schema, name);

    if (v == NULL) {
        return NAN;
    }
    if (!json_is_number(v)) {
        BAD(c, "invalid \"%s\" in a schema", name);
    }
    return json_number_value(v);
}

/* A limit of lengths and counts; -1 when absent. */
static int64_t count_keyword(struct compiler *c, const json_t *schema, const char *name)
{
    const double v = number_keyword(c, schema, name);

    if (isnan(v)) {
        return -1;
    }
    return v < 0 ? 0 : v > 9e15 ? (int64_t)9e15 : (int64_t)v;
}

/* A list of names, without those that are properties of except (which may be NULL). */
static const char **names_of(struct compiler *c, const json_t *list, const json_t *except,
                             size_t *n)
{
    const char **names = ARENA_ARRAY(c->arena, const char *, json_array_size(list) + 1);

    *n = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));

        if (name == NULL) {
            BAD(c, "names of required properties must be strings");
        } else if (json_object_get(except, name) == NULL) {
            names[(*n)++] = keep_text(c, name);
        }
    }
    return names;
}

static struct node_list list_keyword(struct compiler *c, const json_t *schema, const char *name)
{
    const json_t *list = keyword(c, schema, name, JSON_ARRAY);
    const size_t n = json_array_size(list);
    struct node_list out = {ARENA_ARRAY(c->arena, const struct node *, n + 1), n};

    for (size_t i = 0; i < n; i++) {
        out.v[i] = compile(c, json_array_get(list, i));
    }
    return out;
}

/* NULL when absent. */
static const struct node *schema_keyword(struct compiler *c, const json_t *schema, const char *name)
{
    const json_t *v = json_object_get(schema, name);

    return v != NULL ? compile(c, v) : NULL;
}

static enum rest rest_keyword(struct compiler *c, const json_t *schema, const char *name,
                              const struct node **rest)
{
    const json_t *v = json_object_get(schema, name);

    if (v == NULL || json_is_true(v)) {
        return REST_ANY;
    }
    if (json_is_false(v)) {
        return REST_NONE;
    }
    *rest = compile(c, v);
    return REST_SCHEMA;
}

static bool has_any(const json_t *schema, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (json_object_get(schema, *names) != NULL) {
            return true;
        }
    }
    return false;
}

static const struct re *regex(struct compiler *c, const char *pattern)
{
    struct err why = {.msg = ""};
    const struct re *re = re_new(c->arena, str_c(pattern), "", &why);

    if (re == NULL) {
        BAD(c, "invalid pattern: %s", why.msg);
    }
    return re;
}

/* ---- type ---- */

static unsigned type_bit(struct compiler *c, const json_t *name)
{
    static const struct {
        const char *name;
        unsigned bit;
    } types[] = {
        {"object", TYPE_OBJECT},   {"array", TYPE_ARRAY},   {"table", TYPE_TABLE},
        {"integer", TYPE_INTEGER}, {"number", TYPE_NUMBER}, {"string", TYPE_STRING},
        {"boolean", TYPE_BOOLEAN}, {"null", TYPE_NULL},
    };

    for (size_t i = 0; json_is_string(name) && i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(types[i].name, json_string_value(name)) == 0) {
            return types[i].bit;
        }
    }
    BAD(c, "invalid JSON type: %s",
        json_is_string(name) ? json_string_value(name) : "not a string");
    return 0;
}

static void compile_type(struct compiler *c, const json_t *schema, struct node *n)
{
    const json_t *type = json_object_get(schema, "type");

    if (type == NULL) {
        return;
    }
    if (!json_is_array(type)) {
        n->types = type_bit(c, type);
        n->type_words = keep_text(c, json_is_string(type) ? json_string_value(type) : "");
        return;
    }
    struct buf words = BUF_INIT(WORDS_MAX);

    n->type_list = true;
    for (size_t i = 0; i < json_array_size(type); i++) {
        const json_t *name = json_array_get(type, i);

        n->types |= type_bit(c, name);
        buf_add(&words, i > 0 ? STR(", ") : STR(""));
        buf_add(&words, json_is_string(name) ? json_str(name) : STR(""));
    }
    n->type_words = arena_str(c->arena, buf_str(&words)).p;
    buf_fini(&words);
}

/* ---- objects ---- */

static struct dependency compile_dependency(struct compiler *c, const char *key, const json_t *v)
{
    struct dependency d = {.key = keep_text(c, key)};

    if (json_is_array(v)) {
        d.names = names_of(c, v, NULL, &d.n);
    } else {
        d.schema = compile(c, v);
    }
    return d;
}

/* Those that belong to no property; the others are attached to theirs. */
static void compile_dependencies(struct compiler *c, const json_t *all, const json_t *properties,
                                 struct object_rules *o)
{
    struct dependency *deps = ARENA_ARRAY(c->arena, struct dependency, json_object_size(all) + 1);
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)all, key, v) {
        if (json_object_get(properties, key) == NULL) {
            deps[o->n_deps++] = compile_dependency(c, key, v);
        }
    }
    o->deps = deps;
}

/* The reference fills no default that is false (or null): for Lua there is none then, and `if`
 * clauses see the property absent. */
static const json_t *compile_default(struct compiler *c, const json_t *property)
{
    const json_t *def = json_object_get(property, "default");

    return def != NULL && !json_is_false(def) && !json_is_null(def) ? keep(c, def) : NULL;
}

/* The strings of a list as the keys of an object (new). */
static json_t *set_of(const json_t *list)
{
    json_t *set = json_object();

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *name = json_array_get(list, i);

        if (json_is_string(name)) {
            json_object_set_new(set, json_string_value(name), json_true());
        }
    }
    return set;
}

static int name_cmp(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void compile_properties(struct compiler *c, const json_t *schema, const json_t *properties,
                               struct object_rules *o)
{
    const json_t *deps = json_object_get(schema, "dependencies");
    json_t *required = set_of(json_object_get(schema, "required"));
    const size_t room = json_object_size(properties) + 1;
    struct prop *props = ARENA_ARRAY(c->arena, struct prop, room);
    const char *key;
    json_t *v;

    o->props = props;
    o->names = ARENA_ARRAY(c->arena, const char *, room);
    json_object_foreach((json_t *)properties, key, v) {
        struct prop *p = &props[o->n_props];
        const json_t *dep = json_object_get(deps, key);

        *p = (struct prop){keep_text(c, key), compile(c, v), json_object_get(required, key) != NULL,
                           compile_default(c, v), NULL};
        if (dep != NULL) {
            struct dependency *d = ARENA_NEW(c->arena, struct dependency);

            *d = compile_dependency(c, key, dep);
            p->dep = d;
        }
        o->names[o->n_props++] = p->key;
    }
    json_decref(required);
    qsort(o->names, o->n_props, sizeof(*o->names), name_cmp);
}

static void compile_patterns(struct compiler *c, const json_t *patterns, struct object_rules *o)
{
    struct pattern_prop *list =
        ARENA_ARRAY(c->arena, struct pattern_prop, json_object_size(patterns) + 1);
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)patterns, key, v) {
        list[o->n_patterns++] =
            (struct pattern_prop){keep_text(c, key), regex(c, key), compile(c, v)};
    }
    o->patterns = list;
}

static const struct object_rules *compile_object(struct compiler *c, const json_t *schema)
{
    static const char *const names[] = {
        "properties",    "additionalProperties", "patternProperties", "minProperties",
        "maxProperties", "dependencies",         "required",          NULL};

    if (!has_any(schema, names)) {
        return NULL;
    }
    const json_t *properties = keyword(c, schema, "properties", JSON_OBJECT);
    const json_t *required = keyword(c, schema, "required", JSON_ARRAY);
    struct object_rules *o = ARENA_NEW(c->arena, struct object_rules);

    compile_properties(c, schema, properties, o);
    o->required = names_of(c, required, properties, &o->n_required);
    o->empty_required = required != NULL && json_array_size(required) == 0;
    compile_dependencies(c, keyword(c, schema, "dependencies", JSON_OBJECT), properties, o);
    compile_patterns(c, keyword(c, schema, "patternProperties", JSON_OBJECT), o);
    o->rest = rest_keyword(c, schema, "additionalProperties", &o->rest_schema);
    o->min = count_keyword(c, schema, "minProperties");
    o->max = count_keyword(c, schema, "maxProperties");
    return o;
}

/* ---- arrays and scalars ---- */

static const struct array_rules *compile_array(struct compiler *c, const json_t *schema)
{
    static const char *const names[] = {"items", "minItems", "maxItems", "uniqueItems", NULL};
    const json_t *items = json_object_get(schema, "items");

    if (!has_any(schema, names)) {
        return NULL;
    }
    struct array_rules *r = ARENA_NEW(c->arena, struct array_rules);

    if (json_is_array(items)) {
        r->tuple = list_keyword(c, schema, "items");
        r->rest = rest_keyword(c, schema, "additionalItems", &r->rest_schema);
    } else if (json_is_object(items)) {
        r->item = compile(c, items);
    } else if (json_is_false(items)) {
        r->no_items = true;
    } else if (items != NULL && !json_is_true(items)) {
        BAD(c, "invalid \"items\" in a schema");
    }
    r->min = count_keyword(c, schema, "minItems");
    r->max = count_keyword(c, schema, "maxItems");
    r->unique = json_is_true(json_object_get(schema, "uniqueItems"));
    return r;
}

static const struct string_rules *compile_string(struct compiler *c, const json_t *schema)
{
    static const char *const names[] = {"minLength", "maxLength", "pattern", NULL};
    const json_t *pattern = keyword(c, schema, "pattern", JSON_STRING);

    if (!has_any(schema, names)) {
        return NULL;
    }
    struct string_rules *r = ARENA_NEW(c->arena, struct string_rules);

    r->min = count_keyword(c, schema, "minLength");
    r->max = count_keyword(c, schema, "maxLength");
    if (pattern != NULL) {
        r->pattern = keep_text(c, json_string_value(pattern));
        r->re = regex(c, r->pattern);
    }
    return r;
}

static const struct number_rules *compile_number(struct compiler *c, const json_t *schema)
{
    static const char *const names[] = {"minimum",          "exclusiveMinimum", "maximum",
                                        "exclusiveMaximum", "multipleOf",       NULL};

    if (!has_any(schema, names)) {
        return NULL;
    }
    struct number_rules *r = ARENA_NEW(c->arena, struct number_rules);

    *r = (struct number_rules){
        .min = number_keyword(c, schema, "minimum"),
        .min_excl = number_keyword(c, schema, "exclusiveMinimum"),
        .max = number_keyword(c, schema, "maximum"),
        .max_excl = number_keyword(c, schema, "exclusiveMaximum"),
        .multiple_of = number_keyword(c, schema, "multipleOf"),
    };
    if (r->multiple_of == 0) {
        BAD(c, "invalid \"multipleOf\" in a schema");
    }
    return r;
}

static enum format compile_format(const json_t *schema)
{
    static const struct {
        const char *name;
        enum format f;
    } formats[] = {{"ipv4", FORMAT_IPV4},
                   {"ipv6", FORMAT_IPV6},
                   {"email", FORMAT_EMAIL},
                   {"hostname", FORMAT_HOSTNAME}};
    const char *name = json_string_value(json_object_get(schema, "format"));

    for (size_t i = 0; name != NULL && i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (strcmp(formats[i].name, name) == 0) {
            return formats[i].f;
        }
    }
    return FORMAT_NONE;
}

/* ---- combinations ---- */

/* `: ["a"] or ["a","b"]`, what the branches of anyOf require; nothing when none does. */
static const char *any_words(struct compiler *c, const json_t *branches)
{
    struct buf words = BUF_INIT(WORDS_MAX);

    for (size_t i = 0; i < json_array_size(branches) && !words.overflow; i++) {
        const json_t *required = json_object_get(json_array_get(branches, i), "required");

        if (required != NULL) {
            buf_add(&words, words.n > 0 ? STR(" or ") : STR(": "));
            buf_add(&words, json_text(c->arena, required));
        }
    }
    const char *text = arena_str(c->arena, buf_str(&words)).p;

    buf_fini(&words);
    return text;
}

static void compile_combinations(struct compiler *c, const json_t *schema, struct node *n)
{
    n->all = list_keyword(c, schema, "allOf");
    n->any = list_keyword(c, schema, "anyOf");
    n->any_words = n->any.n > 0 ? any_words(c, json_object_get(schema, "anyOf")) : "";
    n->one = list_keyword(c, schema, "oneOf");
    n->cond = schema_keyword(c, schema, "if");
    n->then = schema_keyword(c, schema, "then");
    n->otherwise = schema_keyword(c, schema, "else");
    n->not = schema_keyword(c, schema, "not");
    n->contains = schema_keyword(c, schema, "contains");
}

/* ---- references ---- */

/* The next name of a JSON Pointer, ~1 and ~0 undone; the rest in *pointer. */
static struct str pointer_name(struct compiler *c, struct str *pointer)
{
    struct str part = STR(""), tail;
    char *out, *to;

    str_split(pointer, '/', &part);
    out = to = arena_bytes(c->arena, part.n + 1);
    for (tail = part; tail.n > 0; tail = str_skip(tail, 1)) {
        const bool slash = str_starts(tail, STR("~1"));

        if (slash || str_starts(tail, STR("~0"))) {
            *to++ = slash ? '/' : '~';
            tail = str_skip(tail, 1);
        } else {
            *to++ = tail.p[0];
        }
    }
    *to = 0;
    return str_of(out, (size_t)(to - out));
}

/* What "#" or "#/definitions/x" names; NULL when it names nothing in this schema. */
static const json_t *pointer_target(struct compiler *c, struct str ref)
{
    const json_t *at = c->root;
    struct str rest;

    if (str_eq(ref, STR("#"))) {
        return at;
    }
    if (!str_starts(ref, STR("#/"))) {
        return NULL;
    }
    rest = str_skip(ref, 2);
    while (at != NULL && !str_is_none(rest)) {
        const struct str name = pointer_name(c, &rest);
        uint64_t index;

        if (json_is_array(at)) {
            at = str_to_u64(name, &index) ? json_array_get(at, index) : NULL;
        } else {
            at = json_object_get(at, name.p);
        }
    }
    return at;
}

/* Follow $ref until a schema stands there itself; its neighbours in the same object mean nothing.
 */
static const json_t *resolve(struct compiler *c, const json_t *schema)
{
    for (int hops = 0; json_is_string(json_object_get(schema, "$ref")); hops++) {
        const json_t *ref = json_object_get(schema, "$ref");
        const json_t *target = hops < REF_HOPS_MAX ? pointer_target(c, json_str(ref)) : NULL;

        if (target == NULL) {
            BAD(c, "invalid reference: %s", json_string_value(ref));
            return NULL;
        }
        schema = target;
    }
    return schema;
}

/* ---- one schema ---- */

static void compile_rules(struct compiler *c, const json_t *schema, struct node *n)
{
    const json_t *constant = json_object_get(schema, "const"),
                 *choices = keyword(c, schema, "enum", JSON_ARRAY);

    compile_type(c, schema, n);
    n->object = compile_object(c, schema);
    n->array = compile_array(c, schema);
    n->string = compile_string(c, schema);
    n->number = compile_number(c, schema);
    n->choices = choices != NULL ? keep(c, choices) : NULL;
    n->constant = constant != NULL ? keep(c, constant) : NULL;
    compile_combinations(c, schema, n);
    n->format = compile_format(schema);
}

static const struct node *compile(struct compiler *c, const json_t *schema)
{
    const json_t *at = resolve(c, schema);
    const struct str address = {(const char *)&at, sizeof(at)};

    if (json_is_boolean(at)) {
        return json_is_true(at) ? &anything : &nothing;
    }
    if (!json_is_object(at)) {
        BAD(c, "a schema must be an object or a boolean");
        return &anything;
    }
    if (c->depth == NEST_MAX) {
        BAD(c, "schemas are nested too deeply");
        return &anything;
    }
    struct node *n = map_get(&c->nodes, address);

    if (n == NULL) {
        n = ARENA_NEW(c->arena, struct node);
        map_put(&c->nodes, address, n);
        c->depth++;
        compile_rules(c, at, n);
        c->depth--;
    }
    return n;
}

struct jschema *jschema_new(const json_t *schema, struct err *e)
{
    struct compiler c = {.arena = arena_new(BLOCK_SIZE), .root = schema, .e = e};
    struct jschema *s = mem_alloc(sizeof(*s));

    *s = (struct jschema){c.arena, compile(&c, schema)};
    map_fini(&c.nodes);
    if (c.failed) {
        jschema_free(s);
        return NULL;
    }
    return s;
}

void jschema_free(struct jschema *s)
{
    if (s != NULL) {
        arena_free(s->arena);
        free(s);
    }
}
