/* SPDX-License-Identifier: Apache-2.0 */
/* registry: which plugins there are, which are enabled, their schemas, and what config/ needs of
 * them. */
#include "base/assert.h"
#include "config/settings.h"
#include "plugin/plugin.h"
#include "schema/jschema.h"

#include <stdlib.h>

#define META_SCHEMA                                                                                           \
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"disable\":{\"type\":\"boolean\"}," \
    "\"error_response\":{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"object\"}]},"                           \
    "\"priority\":{\"type\":\"integer\"},\"filter\":{\"type\":\"array\"},\"pre_function\":{\"type\":\"string\"}}}"

#define USES 3

struct entry {
    const struct plugin *plugin;
    bool enabled;         /* relaxed atomic: written by the control thread */
    json_t *schema[USES]; /* made at start */
    struct jschema *compiled[USES];
    const void *metadata_defaults;
};

static struct entry *entries; /* all that are built, by descending priority; fixed once made, so any
                                 core may ask for an index */
static unsigned n_entries;
static const struct plugin **sorted; /* the enabled ones, by descending priority */
static unsigned n_sorted;

/* Plugin to index: requests ask for it, so it is a small hash table, filled once. */
#define SLOTS 1024
static struct {
    const struct plugin *plugin;
    unsigned index;
} slots[SLOTS];

static size_t slot_of(const struct plugin *p)
{
    return ((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15u >> 54;
}

static void add_slot(const struct plugin *p, unsigned index)
{
    size_t i = slot_of(p);
    while (slots[i].plugin != NULL) {
        i = (i + 1) % SLOTS;
    }
    slots[i].plugin = p;
    slots[i].index = index;
}

static json_t *text_schema(const char *text)
{
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    ASSERT(j != NULL);
    return j;
}

static json_t *schema_of(const struct plugin *p, enum conf_use use)
{
    switch (use) {
    case CONF_CONSUMER:
        return p->consumer_fields ? fields_schema(p->consumer_fields, false, p->consumer_extra)
                                  : NULL;
    case CONF_METADATA:
        if (p->metadata_raw) {
            return text_schema(p->metadata_raw);
        }
        return p->metadata_fields ? fields_schema(p->metadata_fields, false, p->metadata_extra)
                                  : NULL;
    case CONF_PLUGIN:
        break;
    }
    json_t *s = p->schema_raw ? text_schema(p->schema_raw)
                              : fields_schema(p->fields, false, p->schema_extra);
    json_t *properties = json_object_get(s, "properties");
    if (properties == NULL) {
        properties = json_object();
        json_object_set_new(s, "properties", properties);
    }
    json_object_set_new(properties, "_meta", text_schema(META_SCHEMA));
    return s;
}

static const void *hook_build(const struct plugin *p, enum conf_use use, const json_t *json,
                              struct arena *a, struct err *e)
{
    const struct field *const fields[USES] = {p->fields, p->consumer_fields, p->metadata_fields};
    const size_t sizes[USES] = {p->conf_size, p->consumer_size, p->metadata_size};
    void *conf = arena_alloc(a, sizes[use] ? sizes[use] : 1);
    if (fields[use]) {
        fields_fill(fields[use], json, conf, a);
    }
    struct prepare prep = {.arena = a, .json = json, .use = use};
    if (p->prepare && p->prepare(&prep, conf, e) != 0) {
        return NULL;
    }
    return conf;
}

/* What plugin_metadata() gives while nothing is stored: all defaults. Lives as long as the process.
 */
static const void *metadata_defaults(const struct plugin *p)
{
    if (p->metadata_fields == NULL) {
        return NULL;
    }
    static json_t *nothing; /* confs may borrow from it */
    struct err e = {""};
    if (nothing == NULL) {
        nothing = json_object();
    }
    const void *conf = hook_build(p, CONF_METADATA, nothing, arena_new(512), &e);
    if (conf == NULL) {
        assert_fail(e.msg, p->name, 0);
    }
    return conf;
}

static void add(const struct plugin *p)
{
    struct entry *e = &entries[n_entries];
    add_slot(p, n_entries++);
    e->plugin = p;
    for (int use = 0; use < USES; use++) {
        struct err err = {""};
        e->schema[use] = schema_of(p, (enum conf_use)use);
        e->compiled[use] = e->schema[use] ? jschema_new(e->schema[use], &err) : NULL;
        if (err_is_set(&err)) {
            assert_fail(err.msg, p->name, 0); /* a wrong table is a bug of this build */
        }
    }
    e->metadata_defaults = metadata_defaults(p);
}

static int by_priority(const void *a, const void *b)
{
    const struct plugin *x = *(const struct plugin *const *)a,
                        *y = *(const struct plugin *const *)b;
    if (x->priority != y->priority) {
        return x->priority < y->priority ? 1 : -1;
    }
    return strcmp(x->name, y->name);
}

static bool is_listed(const struct plugin *p, const struct str *enabled, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (str_eq(enabled[i], str_c(p->name))) {
            return true;
        }
    }
    return false;
}

static bool is_built(const struct plugin *const *all, unsigned n, struct str name)
{
    for (unsigned i = 0; i < n; i++) {
        if (str_eq(name, str_c(all[i]->name))) {
            return true;
        }
    }
    return false;
}

static void build_entries(const struct plugin *const *all, unsigned n)
{
    entries = calloc(n ? n : 1, sizeof(*entries));
    sorted = calloc(n ? n : 1, sizeof(*sorted));
    ASSERT(entries && sorted);
    for (unsigned i = 0; i < n; i++) {
        sorted[i] = all[i];
    }
    qsort(sorted, n, sizeof(*sorted), by_priority);
    for (unsigned i = 0; i < n; i++) {
        add(sorted[i]);
    }
}

void plugin_registry_init(const struct plugin *const *all, unsigned n, const struct str *enabled,
                          unsigned n_enabled, void (*warn)(const char *line))
{
    if (entries == NULL) {
        build_entries(all, n);
    }
    n_sorted = 0;
    for (unsigned i = 0; i < n_entries; i++) {
        const struct plugin *p = entries[i].plugin;
        const bool on = enabled ? is_listed(p, enabled, n_enabled) : !p->off_by_default;
        __atomic_store_n(&entries[i].enabled, on, __ATOMIC_RELAXED);
        if (on) {
            sorted[n_sorted++] = p;
        }
    }
    for (unsigned i = 0; enabled && warn && i < n_enabled; i++) {
        if (!is_built(all, n, enabled[i])) {
            char line[256];
            snprintf(line, sizeof(line),
                     "plugins: %.*s is not available in this build and stays off",
                     STR_ARG(enabled[i]));
            warn(line);
        }
    }
}

const struct plugin *plugin_find(struct str name)
{
    for (unsigned i = 0; i < n_entries; i++) {
        if (entries[i].enabled && str_eq(name, str_c(entries[i].plugin->name))) {
            return entries[i].plugin;
        }
    }
    return NULL;
}

static struct str path_of(const struct settings *s, const struct plugin *p,
                          const struct endpoint *e)
{
    const json_t *attr = e->path_option ? settings_plugin_attr(s, p->name) : NULL;
    const struct str other = attr ? json_str(json_get(attr, e->path_option)) : STR_NONE;
    return other.p ? other : str_c(e->path);
}

const struct endpoint *plugin_find_endpoint(const struct settings *s, enum http_method method,
                                            struct str path)
{
    for (unsigned i = 0; i < n_entries; i++) {
        const struct plugin *p = entries[i].plugin;
        const struct endpoint *e = p->endpoints;
        for (; e && e->path && __atomic_load_n(&entries[i].enabled, __ATOMIC_RELAXED); e++) {
            if (e->method == method && str_eq(path_of(s, p, e), path)) {
                return e;
            }
        }
    }
    return NULL;
}

unsigned plugin_count(void)
{
    return n_entries;
}

const struct plugin *plugin_at(unsigned index)
{
    return entries[index].plugin;
}

unsigned plugin_index(const struct plugin *p)
{
    size_t i = slot_of(p);
    while (slots[i].plugin != p) {
        ASSERT(slots[i].plugin != NULL); /* every plugin that runs is in the list */
        i = (i + 1) % SLOTS;
    }
    return slots[i].index;
}

const void *plugin_metadata_defaults(const struct plugin *p)
{
    return entries[plugin_index(p)].metadata_defaults;
}

const struct plugin *const *plugin_by_priority(unsigned *n)
{
    *n = n_sorted;
    return sorted;
}

const json_t *plugin_schema(const struct plugin *p, enum conf_use use)
{
    return entries[plugin_index(p)].schema[use];
}

/* ---- what config/ calls ---- */

static const char *hook_name(const struct plugin *p)
{
    return p->name;
}

static bool hook_is_auth(const struct plugin *p)
{
    return p->auth;
}

static const char *hook_key_attr(const struct plugin *p)
{
    return p->key_attr;
}

static int hook_check(const struct plugin *p, enum conf_use use, json_t *conf, struct err *e)
{
    const struct jschema *s = entries[plugin_index(p)].compiled[use];
    if (s && jschema_check(s, conf, e) != 0) {
        return -1;
    }
    return p->check ? p->check(conf, use, e) : 0;
}

void plugin_install_hooks(struct config_hooks *h)
{
    h->plugin_find = plugin_find;
    h->plugin_name = hook_name;
    h->plugin_index = plugin_index;
    h->plugin_is_auth = hook_is_auth;
    h->plugin_check = hook_check;
    h->plugin_build = hook_build;
    h->plugin_key_attr = hook_key_attr;
}

void plugin_secrets(const struct plugin *p, enum conf_use use,
                    void (*fn)(const char *path, void *arg), void *arg)
{
    const struct field *const fields[USES] = {p->fields, p->consumer_fields, p->metadata_fields};
    if (fields[use]) {
        fields_secrets(fields[use], fn, arg);
    }
}
