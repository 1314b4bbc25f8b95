/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * resource_priv: what one file per kind (route.c, service.c ...) gives to resource.c, and what
 * these files share. Control thread.
 */
#include "config/hosts.h"
#include "config/resource.h"

/* A value on its way through the checks. */
struct check {
    struct str id; /* STR_NONE when there is none yet */
    json_t *value; /* a private copy of the object: defaults appear in it as the checks go on */
    const struct resource_refs *refs; /* NULL: references are not looked at */
    struct err *e;
};

/* One kind. The schema of a kind is its fields, closed, with extra. */
struct resource_type {
    const struct field *fields; /* NULL: the kind has no schema of its own */
    const char *extra;
    bool has_upstream; /* a property `upstream` with the schema of upstreams */
    bool has_id;       /* the value carries its own id */
    /* Put text that the schema takes in place of references to secrets, in a copy for the schema;
     * may be NULL. True: there was one. */
    bool (*fill_refs)(json_t *copy);
    /* What is looked at before the schema; may be NULL. 0, or -1 with the whole message. */
    int (*before)(const struct check *c);
    /* What no schema says; fills the defaults of plugin confs. May be NULL. */
    int (*after)(const struct check *c);
    /* The object from a checked value, in arena a. NULL with e set. */
    struct object *(*build)(struct arena *a, struct str id, const json_t *value, struct err *e);
};
extern const struct resource_type route_type, service_type, upstream_type, consumer_type,
    credential_type, consumer_group_type, global_rule_type, plugin_config_type,
    plugin_metadata_type, ssl_type, proto_type;

/* ---- schema texts that several kinds have ---- */
/* clang-format off */
#define ID_SCHEMA                                                                                  \
    JSON({"anyOf": [                                                                               \
        {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-_.]+$"},       \
        {"type": "integer", "minimum": 1}                                                          \
    ]})
#define LABELS_SCHEMA                                                                              \
    JSON({"type": "object", "patternProperties": {                                                 \
        ".*": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^\\S+$"}            \
    }})
/* clang-format on */

#define PLUGINS_SCHEMA JSON({"type": "object"})

/* The fields that nearly all kinds have and no struct needs. */
#define FIELD_ID                                                                                   \
    F_ONLY("id", .raw = ID_SCHEMA, .doc = "Identifier; taken from the path when left out.")
#define FIELD_ID_REQUIRED                                                                          \
    F_ONLY("id", .required = true, .raw = ID_SCHEMA,                                               \
           .doc = "Identifier; taken from the path when left out.")
#define FIELD_TIMES                                                                                \
    F_ONLY("create_time", .raw = JSON({"type": "integer"}),                                        \
           .doc = "Unix seconds; kept by the gateway."),                                           \
        F_ONLY("update_time", .raw = JSON({"type": "integer"}),                                    \
               .doc = "Unix seconds; kept by the gateway.")
#define FIELD_DESC                                                                                 \
    F_ONLY("desc", .raw = JSON({"type": "string", "maxLength": 256}), .doc = "For people.")
#define FIELD_LABELS                                                                               \
    F_ONLY("labels", .raw = LABELS_SCHEMA, .doc = "Names and values to find objects by.")

/* ---- timeouts in seconds ---- */
struct timeout_json {
    double connect, send, read;
};
extern const struct field timeout_fields[];
struct timeouts timeouts_of(const struct timeout_json *t);
/* Seconds to milliseconds, at least one for what is above zero. */
int64_t seconds_to_ms(double s);

/* ---- reference checks ---- */
/* `failed to fetch WHAT info by WHAT id [X], response code: 404` unless id is absent, exists, or
 * nobody can tell. */
int check_reference(const struct check *c, enum object_kind k, const char *property,
                    const char *what);
/* The ssl object that an upstream names: there, and of type client. */
int check_client_cert(const struct check *c, const json_t *upstream);
/* The inline upstream of a value, when there is one. */
int check_inline_upstream(const struct check *c);
/* `script` stands for plugins, and the interfaces it calls are not here. */
int check_no_script(const struct check *c);
/* Build the inline upstream of value; NULL when there is none. -1 with e set. */
int build_inline_upstream(struct arena *a, const char *plural, struct str id, const json_t *value,
                          const struct upstream_conf **out, struct err *e);
/* A serial for objects and upstreams. */
uint64_t serial_next(void);

/* ---- plugins of an object (plugin_set.c) ---- */
/* Each conf of `plugins`: known, an object, accepted by its plugin; defaults are filled in. 0, or
 * -1 with the text of admin-api.md section 6. */
enum plugins_of { PLUGINS_OF_TRAFFIC, PLUGINS_OF_CONSUMER };
int plugins_check(json_t *plugins, enum plugins_of of, struct err *e);
/* The set, sorted by name, without auth plugins when they belong to a consumer. */
int plugins_build(struct arena *a, const json_t *plugins, enum plugins_of of,
                  struct plugin_set *out, struct err *e);
/* The auth plugins of a consumer or credential. */
int auths_build(struct arena *a, struct str owner, const json_t *plugins,
                const struct auth_use **out, unsigned *n, struct err *e);

/* ---- references to secrets (secret_ref.c) ---- */
bool secret_ref_is(struct str s);
/* conf itself, or a copy in which $env:// strings stand for their values, freed with the arena.
 * *unresolved says that one could not be resolved (it stays as it is). */
const json_t *secret_refs_resolve(struct arena *a, const json_t *conf, bool *unresolved);
/* The same for one string; STR_NONE when it is a reference that cannot be resolved. */
struct str secret_ref_text(struct arena *a, struct str s);
