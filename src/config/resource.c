/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resource: the way of a value from JSON to an immutable object, the same for all kinds:
 * private copy, own checks before the schema, JSON Schema (fills defaults), own checks, build.
 */
#include "config/resource.h"

#include "base/assert.h"
#include "config/resource_priv.h"
#include "schema/jschema.h"

/* Sizes that let a usual object, with an inline upstream or with plugins, fit the first block of
 * its arena. */
enum { ARENA_PLAIN = 448, ARENA_UPSTREAM = 448, ARENA_PLUGIN = 256, ARENA_MAX = 4096 };

static const struct resource_type *const types[K_COUNT] = {
    [K_ROUTE] = &route_type,
    [K_SERVICE] = &service_type,
    [K_UPSTREAM] = &upstream_type,
    [K_CONSUMER] = &consumer_type,
    [K_CREDENTIAL] = &credential_type,
    [K_CONSUMER_GROUP] = &consumer_group_type,
    [K_GLOBAL_RULE] = &global_rule_type,
    [K_PLUGIN_CONFIG] = &plugin_config_type,
    [K_PLUGIN_METADATA] = &plugin_metadata_type,
    [K_SSL] = &ssl_type,
    [K_PROTO] = &proto_type,
};

uint64_t serial_next(void)
{
    static uint64_t last;

    return ++last;
}

/* ---- schemas ---- */

static json_t *schema_new(const struct resource_type *t)
{
    json_t *schema = fields_schema(t->fields, true, t->extra);

    if (t->has_upstream) {
        json_object_set_new(json_get(schema, "properties"), "upstream", schema_new(&upstream_type));
    }
    return schema;
}

const json_t *resource_schema(enum object_kind k)
{
    static json_t *schemas[K_COUNT];

    if (schemas[k] == NULL && types[k]->fields != NULL) {
        schemas[k] = schema_new(types[k]);
    }
    return schemas[k];
}

static const struct jschema *compiled_schema(enum object_kind k)
{
    static struct jschema *compiled[K_COUNT];
    struct err e = {0};

    if (compiled[k] == NULL && types[k]->fields != NULL) {
        compiled[k] = jschema_new(resource_schema(k), &e);
        ASSERT(compiled[k] != NULL);
    }
    return compiled[k];
}

/* Check the value, which gets its defaults unless it has references to secrets: those are checked
 * as what they may stand for. */
static int check_schema(enum object_kind k, json_t *value, struct err *e)
{
    const struct jschema *s = compiled_schema(k);
    json_t *copy = types[k]->fill_refs != NULL ? json_deep_copy(value) : NULL;
    const bool has_refs = copy != NULL && types[k]->fill_refs(copy);
    const int rc = s != NULL ? jschema_check(s, has_refs ? copy : value, e) : 0;

    json_decref(copy);
    return rc;
}

int resource_check_schema(enum object_kind k, const json_t *value, struct err *e)
{
    json_t *copy = json_deep_copy(value);
    const int rc = check_schema(k, copy, e);

    json_decref(copy);
    return rc;
}

/* ---- shared checks ---- */

/* An id as text: some write numbers. */
static struct str id_text(struct arena *a, const json_t *v)
{
    return json_is_string(v) ? json_str(v) : json_text(a, v);
}

int check_reference(const struct check *c, enum object_kind k, const char *property,
                    const char *what)
{
    const json_t *v = json_get(c->value, property);

    if (v == NULL || c->refs == NULL || c->refs->find == NULL) {
        return 0;
    }
    struct arena *a = arena_new(256);
    struct str id = id_text(a, v);
    if (c->refs->find(c->refs->arg, k, id) == NULL) {
        err_set(c->e, "failed to fetch %s info by %s id [%.*s], response code: 404", what, what,
                STR_ARG(id));
    }
    arena_free(a);
    return err_is_set(c->e) ? -1 : 0;
}

int check_client_cert(const struct check *c, const json_t *upstream)
{
    const json_t *v = json_get(json_get(upstream, "tls"), "client_cert_id");

    if (v == NULL || c->refs == NULL || c->refs->find == NULL) {
        return 0;
    }
    struct arena *a = arena_new(256);
    struct str id = id_text(a, v);
    const struct ssl *s = (const struct ssl *)c->refs->find(c->refs->arg, K_SSL, id);
    if (s == NULL) {
        err_set(c->e, "failed to fetch ssl info by ssl id [%.*s], response code: 404", STR_ARG(id));
    } else if (!s->is_client) {
        err_set(c->e, "failed to fetch ssl info by ssl id [%.*s], wrong ssl type", STR_ARG(id));
    }
    arena_free(a);
    return err_is_set(c->e) ? -1 : 0;
}

int check_inline_upstream(const struct check *c)
{
    const json_t *u = json_get(c->value, "upstream");

    return u == NULL || (upstream_conf_check(u, c->e) == 0 && check_client_cert(c, u) == 0) ? 0
                                                                                            : -1;
}

int check_no_script(const struct check *c)
{
    if (json_get(c->value, "script") == NULL) {
        return 0;
    }
    return err_set(c->e, "failed to load 'script' string: scripts are not supported in this build");
}

/* ---- shared parts of building ---- */

const struct field timeout_fields[] = {
    F_NUM(struct timeout_json, connect, .required = true, .min_excl = 0,
          .doc = "Seconds to connect."),
    F_NUM(struct timeout_json, send, .required = true, .min_excl = 0,
          .doc = "Seconds between two writes."),
    F_NUM(struct timeout_json, read, .required = true, .min_excl = 0,
          .doc = "Seconds between two reads."),
    F_END,
};

int64_t seconds_to_ms(double s)
{
    if (s <= 0) {
        return 0;
    }
    /* A hundred years stand for ever; casting what does not fit is undefined. */
    const double ms = s < 3.2e9 ? s * 1000 : 3.2e12;
    return ms < 1 ? 1 : (int64_t)(ms + 0.5);
}

struct timeouts timeouts_of(const struct timeout_json *t)
{
    return (struct timeouts){
        .connect_ms = seconds_to_ms(t->connect),
        .send_ms = seconds_to_ms(t->send),
        .read_ms = seconds_to_ms(t->read),
    };
}

int build_inline_upstream(struct arena *a, const char *plural, struct str id, const json_t *value,
                          const struct upstream_conf **out, struct err *e)
{
    const json_t *u = json_get(value, "upstream");

    *out = NULL;
    if (u == NULL) {
        return 0;
    }
    *out = upstream_conf_new(u, arena_printf(a, "/%s/%.*s", plural, STR_ARG(id)), a, e);
    return *out != NULL ? 0 : -1;
}

/* ---- the way of a value ---- */

/* The id that the value itself carries: the last part of the path. */
static struct str own_id(struct str id)
{
    return str_skip(id, (size_t)(str_rindex(id, '/') + 1));
}

/* The stored value carries its id; one that does not yet gets it. */
static void put_id(enum object_kind k, struct str id, json_t *value)
{
    struct str own = own_id(id);

    if (types[k]->has_id && own.n > 0 && json_get(value, "id") == NULL) {
        json_object_set_new(value, "id", json_stringn_nocheck(own.p, own.n));
    }
}

static int check_type(const json_t *value, struct err *e)
{
    static const char *const names[] = {
        [JSON_STRING] = "string", [JSON_INTEGER] = "number", [JSON_REAL] = "number",
        [JSON_TRUE] = "boolean",  [JSON_FALSE] = "boolean",  [JSON_NULL] = "userdata",
    };

    if (json_is_object(value) || json_is_array(value)) {
        return 0;
    }
    return err_set(e, "invalid configuration: wrong type: expected object, got %s",
                   names[json_typeof(value)]);
}

/* The private copy of a value on which the checks run. Lua does not tell [] from {}. */
static json_t *copy_of(const json_t *value)
{
    return json_is_array(value) && json_array_size(value) == 0 ? json_object()
                                                               : json_deep_copy(value);
}

static int check_all(enum object_kind k, const struct check *c)
{
    const struct resource_type *t = types[k];

    if (check_type(c->value, c->e) != 0 || (t->before != NULL && t->before(c) != 0)) {
        return -1;
    }
    if (check_schema(k, c->value, c->e) != 0) {
        return err_prefix(c->e, "invalid configuration: ");
    }
    return t->after != NULL ? t->after(c) : 0;
}

int resource_check(enum object_kind k, struct str id, const json_t *value,
                   const struct resource_refs *refs, struct err *e)
{
    struct check c = {.id = id, .value = copy_of(value), .refs = refs, .e = e};

    put_id(k, id, c.value);
    const int rc = check_all(k, &c);
    json_decref(c.value);
    return rc;
}

static size_t arena_size(const json_t *json)
{
    const size_t n = ARENA_PLAIN + (json_get(json, "upstream") != NULL ? ARENA_UPSTREAM : 0) +
                     ARENA_PLUGIN * json_object_size(json_get(json, "plugins"));

    return n < ARENA_MAX ? n : ARENA_MAX;
}

/* The object from its checked JSON, whose reference it takes. */
static struct object *build(enum object_kind k, struct str id, json_t *json, struct err *e)
{
    struct arena *a = arena_new(arena_size(json));
    struct str own = arena_str(a, id);
    struct object *o = types[k]->build(a, own, json, e);

    if (o == NULL) {
        arena_free(a);
        json_decref(json);
        return NULL;
    }
    o->refs = 1;
    o->kind = k;
    o->serial = serial_next();
    o->id = own;
    o->json = json;
    o->arena = a;
    return o;
}

struct object *object_new(enum object_kind k, struct str id, const json_t *value,
                          int64_t created_index, int64_t modified_index, struct err *e)
{
    struct check c = {.id = id, .value = copy_of(value), .e = e};

    put_id(k, id, c.value);
    if (check_all(k, &c) != 0) {
        json_decref(c.value);
        return NULL;
    }
    struct object *o = build(k, id, c.value, e);
    if (o != NULL) {
        o->created_index = created_index;
        o->modified_index = modified_index;
    }
    return o;
}
