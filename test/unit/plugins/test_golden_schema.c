/* SPDX-License-Identifier: Apache-2.0 */
/* What the plugins say about themselves is what the reference says: test/golden/schemas.json. */
#include "plugins/fake.h"

static json_t *golden(void)
{
    json_error_t e;
    json_t *all = json_load_file(SOURCE_DIR "/test/golden/schemas.json", 0, &e);

    if (all == NULL) {
        printf("# schemas.json: %s\n", e.text);
    }
    return json_object_get(all, "plugins");
}

/* Print where two schemas differ. */
static void differences(const char *path, const json_t *got, const json_t *want)
{
    const char *key;
    json_t *v;
    char here[1024];

    if (json_equal(got, want)) {
        return;
    }
    if (!json_is_object(got) || !json_is_object(want)) {
        char *g = got ? json_dumps(got, JSON_ENCODE_ANY) : NULL,
             *w = want ? json_dumps(want, JSON_ENCODE_ANY) : NULL;
        printf("# %s: got %s, want %s\n", path, g ? g : "nothing", w ? w : "nothing");
        free(g);
        free(w);
        return;
    }
    json_object_foreach((json_t *)want, key, v) {
        snprintf(here, sizeof(here), "%.800s.%.200s", path, key);
        differences(here, json_object_get(got, key), v);
    }
    json_object_foreach((json_t *)got, key, v) {
        if (json_object_get(want, key) == NULL) {
            snprintf(here, sizeof(here), "%.800s.%.200s", path, key);
            differences(here, v, NULL);
        }
    }
}

static void add_secret(const char *path, void *arg)
{
    json_array_append_new(arg, json_string(path));
}

static int by_text(const void *a, const void *b)
{
    return strcmp(json_string_value(*(json_t *const *)a), json_string_value(*(json_t *const *)b));
}

/* A list of texts whose order means nothing, as one that can be compared. */
static json_t *sorted(const json_t *list)
{
    const size_t n = json_array_size(list);
    json_t *v[64], *out = json_array();

    for (size_t i = 0; i < n && i < LENGTH_OF(v); i++) {
        v[i] = json_array_get(list, i);
    }
    qsort(v, n, sizeof(v[0]), by_text);
    for (size_t i = 0; i < n; i++) {
        json_array_append(out, v[i]);
    }
    return out;
}

/* encrypt_fields are compared as a set, apart from the rest of the schema. */
static bool same_secrets(const struct plugin *p, enum conf_use use, json_t *want)
{
    json_t *have = json_array();

    plugin_secrets(p, use, add_secret, have);
    json_t *a = sorted(have), *b = sorted(json_object_get(want, "encrypt_fields"));
    const bool same = json_equal(a, b);
    if (!same) {
        differences("encrypt_fields", a, b);
    }
    json_decref(have);
    json_decref(a);
    json_decref(b);
    return same;
}

static bool same_schema(const struct plugin *p, enum conf_use use, const json_t *all,
                        const char *key)
{
    const json_t *want = json_object_get(all, key), *got = plugin_schema(p, use);
    char path[128];

    if (want == NULL || got == NULL) {
        return want == NULL && got == NULL;
    }
    json_t *g = json_deep_copy(got), *w = json_deep_copy(want);
    bool same = same_secrets(p, use, w);
    json_object_del(g, "encrypt_fields");
    json_object_del(w, "encrypt_fields");
    same &= json_equal(g, w);
    snprintf(path, sizeof(path), "%s.%s", p->name, key);
    differences(path, g, w);
    json_decref(g);
    json_decref(w);
    return same;
}

static void schemas_are_the_references(void)
{
    const json_t *all = golden();

    fake_boot();
    for (unsigned i = 0; i < plugin_count(); i++) {
        const struct plugin *p = plugin_at(i);
        const json_t *want = json_object_get(all, p->name);
        if (want == NULL) {
            printf("# %s is none of the reference's\n", p->name);
            continue;
        }
        const bool same = same_schema(p, CONF_PLUGIN, want, "schema") &
                          same_schema(p, CONF_CONSUMER, want, "consumer_schema") &
                          same_schema(p, CONF_METADATA, want, "metadata_schema");
        if (!same) {
            printf("# %s\n", p->name);
        }
        CHECK_ROW(i, same);
    }
}

static bool has_phase(const struct plugin *p, const char *name)
{
    /* what its header filter offers the gateway does behind all body filters (plugin/compress.h) */
    if (strcmp(p->name, "brotli") == 0 && strcmp(name, "body_filter") == 0) {
        return true;
    }
#define X(id, phase)                                                                               \
    if (strcmp(name, #phase) == 0) {                                                               \
        return p->phase != NULL;                                                                   \
    }
    PHASES(X)
#undef X
    return true;
}

static void priority_version_type_and_phases_are_the_references(void)
{
    const json_t *all = golden();

    fake_boot();
    for (unsigned i = 0; i < plugin_count(); i++) {
        const struct plugin *p = plugin_at(i);
        const json_t *want = json_object_get(all, p->name);
        size_t k;
        json_t *phase;
        if (want == NULL) {
            continue;
        }
        const char *type = json_string_value(json_object_get(want, "type")),
                   *run = json_string_value(json_object_get(want, "run_policy"));
        const char *scope = json_string_value(json_object_get(want, "scope"));
        bool ok = json_integer_value(json_object_get(want, "priority")) == p->priority;
        ok &= json_number_value(json_object_get(want, "version")) ==
              strtod(p->version ? p->version : "0.1", NULL);
        ok &= p->auth == (type && strcmp(type, "auth") == 0);
        ok &= p->prefer_route == (run && strcmp(run, "prefer_route") == 0);
        ok &= p->global_scope == (scope && strcmp(scope, "global") == 0);
        ok &= p->off_by_default != json_is_true(json_object_get(want, "default_enabled"));
        json_array_foreach(json_object_get(want, "phases"), k, phase) {
            ok &= has_phase(p, json_string_value(phase));
        }
        if (!ok) {
            printf("# %s\n", p->name);
        }
        CHECK_ROW(i, ok);
    }
}

TESTS(T(schemas_are_the_references), T(priority_version_type_and_phases_are_the_references))
