/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * plugin: what a plugin is. One file in src/plugins/, one line in its meson.build.
 *
 * A plugin is a table of fields, a priority, and functions for the phases it takes part in. Confs
 * are const in every phase: state of a request goes into req_ctx(), state of a core into a table
 * made by core_init (a slot a plugin), state shared by cores into plugin/limit.h. Functions named
 * await_... may park. Between two awaits nothing else runs on this core.
 *
 * Phases (runtime.md section 1): rewrite, access: may answer (DONE). before_proxy: each try.
 * header_filter: r->resp is about to go out. body_filter: each run of body. log: after the last
 * byte; must not park.
 */
#include "config/hooks.h"
#include "http/req.h"
#include "schema/field.h"

/* clang-format off */
#define PHASES(X) \
    X(REWRITE, rewrite) \
    X(ACCESS, access) \
    X(BEFORE_PROXY, before_proxy) \
    X(HEADER_FILTER, header_filter) \
    X(BODY_FILTER, body_filter) \
    X(DELAYED_BODY_FILTER, delayed_body_filter) \
    X(LOG, log)
enum phase {
#define X(id, name) PHASE_##id,
    PHASES(X)
#undef X
    PHASE_COUNT
};
/* clang-format on */

/* A run of response body on its way to the client. A filter may replace data (arena or its own
 * memory that lives until the next call). */
struct body_run {
    struct str data;
    bool last;
};

/* What prepare gets besides the struct. */
struct prepare {
    struct arena *arena; /* of the object: for what is compiled */
    const json_t *json;  /* the conf with defaults */
    enum conf_use use;
};

/* What a plugin answers itself, on routes with public-api (plugins.md, "Plugin APIs"). */
struct endpoint {
    enum http_method method;
    const char *path;
    const char *path_option; /* of plugin_attr.NAME: a path instead of that one; NULL: none */
    enum verdict (*answer)(struct req *r); /* DONE; may park */
};

struct plugin {
    const char *name;
    int priority;
    const char *version; /* JSON number text, "0.1" */
    bool auth;           /* type: auth */
    bool prefer_route;   /* run_policy */
    bool global_scope;   /* scope: global */
    bool off_by_default; /* not in the default plugins list */

    size_t conf_size;
    const struct field *fields;
    const char *schema_extra; /* JSON text of an object, merged into the schema */
    /* JSON text of the whole schema, for the rare one no table describes; fields still fill */
    const char *schema_raw;
    size_t consumer_size;
    const struct field *consumer_fields;
    const char *consumer_extra;
    const char *key_attr; /* of the consumer fields: what identifies */
    size_t metadata_size;
    const struct field *metadata_fields;
    const char *metadata_extra;
    const char *metadata_raw;

    /* Checks beyond the schema (of the Admin API) on a conf with defaults: 0 or -1 with the bare
     * text in e. May be NULL. */
    int (*check)(const json_t *conf, enum conf_use use, struct err *e);
    /* Compile regexes, expressions, templates into conf (already filled from the fields). 0 or -1
     * with e. May be NULL. */
    int (*prepare)(const struct prepare *p, void *conf, struct err *e);

    enum verdict (*rewrite)(struct req *r, const void *conf);
    enum verdict (*access)(struct req *r, const void *conf);
    enum verdict (*before_proxy)(struct req *r, const void *conf);
    void (*header_filter)(struct req *r, const void *conf);
    void (*body_filter)(struct req *r, const void *conf, struct body_run *b);
    void (*delayed_body_filter)(struct req *r, const void *conf, struct body_run *b);
    void (*log)(struct req *r, const void *conf);

    const struct endpoint *endpoints; /* the last has no path; NULL: none */

    /* Once a process on the control thread, with settings (plugin_attr); -1 with e refuses the
     * start. May be NULL. */
    int (*init)(const struct settings *s, struct err *e);
    /* Once a core, on its thread. May be NULL. */
    void (*core_init)(unsigned core, unsigned cores);
};

/* ---- registry (plugin/registry.c): all plugins that are built in ---- */
/*
 * main/ installs the generated list; enabled: names of config.yaml, NULL for the default list.
 * Unknown names are reported through warn. Calling it again changes what is enabled (control
 * thread; objects made before keep what they have).
 */
void plugin_registry_init(const struct plugin *const *all, unsigned n, const struct str *enabled,
                          unsigned n_enabled, void (*warn)(const char *line));
/* An enabled plugin by name. Control thread. */
const struct plugin *plugin_find(struct str name);
/* All that are built, whether enabled or not: indexes are fixed for the life of the process. */
unsigned plugin_count(void);
const struct plugin *plugin_at(unsigned index);
unsigned plugin_index(const struct plugin *p);
/* The enabled ones by descending priority (for /plugins/list). Control thread. */
const struct plugin *const *plugin_by_priority(unsigned *n);
/* The endpoint of an enabled plugin, NULL when there is none. Any thread. */
const struct endpoint *plugin_find_endpoint(const struct settings *s, enum http_method method,
                                            struct str path);
/* The schema with `_meta` injected (borrowed, process lifetime); NULL when the plugin has none for
 * that use. */
const json_t *plugin_schema(const struct plugin *p, enum conf_use use);
/* The metadata conf of p with nothing stored: all defaults; NULL when p has no metadata. */
const void *plugin_metadata_defaults(const struct plugin *p);
/* Fill config_hooks' plugin part. */
void plugin_install_hooks(struct config_hooks *h);
/* The fields encrypted at rest of a plugin for a use, dotted paths. */
void plugin_secrets(const struct plugin *p, enum conf_use use,
                    void (*fn)(const char *path, void *arg), void *arg);

/* ---- for plugins ---- */
/* This request's state of plugin p: NULL until set. */
void *req_ctx_get(const struct req *r, const struct plugin *p);
void req_ctx_set(struct req *r, const struct plugin *p, void *state);
/* The zeroed state, made on first use in the request's arena. */
void *req_ctx_make(struct req *r, const struct plugin *p, size_t size);
#define req_ctx(r, p, type) ((type *)req_ctx_make(r, p, sizeof(type)))
/* The compiled plugin_metadata of p in this request's snapshot; a conf of all defaults when none is
 * stored (never NULL when p has metadata_fields). */
const void *plugin_metadata(const struct req *r, const struct plugin *p);
/* Set the consumer of the request (auth plugins): headers X-Consumer-Username etc., consumer,
 * group. */
void req_set_consumer(struct req *r, const struct identity *who);
/* Find who has `key` for auth plugin p in this request's snapshot. */
const struct identity *req_find_identity(const struct req *r, const struct plugin *p,
                                         struct str key);
/* The anonymous_consumer path: set the consumer called name; DONE with 401 {"message":"Invalid user
 * authorization"} when there is none. */
enum verdict req_set_anonymous(struct req *r, struct str name);
