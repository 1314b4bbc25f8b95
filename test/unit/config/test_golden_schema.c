/* SPDX-License-Identifier: Apache-2.0 */
/* The schema of each kind is the reference's, as test/golden/schemas.json has it. */
#include "config/resource.h"
#include "t.h"

#include <limits.h>

/* The file beside this source: the path the compiler was given, from the folder tests run in. */
static json_t *golden(void)
{
    char path[PATH_MAX];
    const char *slash = strrchr(__FILE__, '/');
    json_error_t e;

    snprintf(path, sizeof(path), "%.*s/../../golden/schemas.json", (int)(slash - __FILE__),
             __FILE__);
    json_t *all = json_load_file(path, 0, &e);
    if (all == NULL) {
        printf("# %s: %s\n", path, e.text);
    }
    return all;
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
        char *g = got != NULL ? json_dumps(got, JSON_ENCODE_ANY) : NULL,
             *w = want != NULL ? json_dumps(want, JSON_ENCODE_ANY) : NULL;
        printf("# %s: got %s, want %s\n", path, g != NULL ? g : "nothing",
               w != NULL ? w : "nothing");
        free(g);
        free(w);
        return;
    }
    json_object_foreach((json_t *)want, key, v) {
        if (snprintf(here, sizeof(here), "%s.%s", path, key) < (int)sizeof(here)) {
            differences(here, json_object_get(got, key), v);
        }
    }
    json_object_foreach((json_t *)got, key, v) {
        if (json_object_get(want, key) == NULL &&
            snprintf(here, sizeof(here), "%s.%s", path, key) < (int)sizeof(here)) {
            differences(here, v, NULL);
        }
    }
}

static void schemas_equal_the_references(void)
{
    static const struct {
        enum object_kind kind;
        const char *name;
    } kinds[] = {
        {K_ROUTE, "route"},
        {K_SERVICE, "service"},
        {K_UPSTREAM, "upstream"},
        {K_CONSUMER, "consumer"},
        {K_CONSUMER_GROUP, "consumer_group"},
        {K_GLOBAL_RULE, "global_rule"},
        {K_PLUGIN_CONFIG, "plugin_config"},
        {K_SSL, "ssl"},
        {K_PROTO, "proto"},
    };
    json_t *all = golden();

    CHECK(all != NULL);
    for (size_t i = 0; all != NULL && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const json_t *want = json_object_get(json_object_get(all, "main"), kinds[i].name);

        CHECK_ROW(i, want != NULL && json_equal(resource_schema(kinds[i].kind), want));
        differences(kinds[i].name, resource_schema(kinds[i].kind), want);
    }
    json_decref(all);
}

static void a_credential_takes_one_plugin_and_a_name(void)
{
    json_t *want = json_loads(
        "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
        "\"id\": {\"anyOf\": [{\"type\": \"string\", \"minLength\": 1, \"maxLength\": 64, "
        "\"pattern\": \"^[a-zA-Z0-9-_.]+$\"},"
        "{\"type\": \"integer\", \"minimum\": 1}]},"
        "\"name\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 256},"
        "\"desc\": {\"type\": \"string\", \"maxLength\": 256},"
        "\"labels\": {\"type\": \"object\", \"patternProperties\": {\".*\": {\"type\": \"string\", "
        "\"minLength\": 1, \"maxLength\": 256, \"pattern\": \"^\\\\S+$\"}}},"
        "\"create_time\": {\"type\": \"integer\"}, \"update_time\": {\"type\": \"integer\"},"
        "\"plugins\": {\"type\": \"object\", \"maxProperties\": 1}}}",
        0, NULL);

    CHECK(json_equal(resource_schema(K_CREDENTIAL), want));
    differences("credential", resource_schema(K_CREDENTIAL), want);
    json_decref(want);
}

static void plugin_metadata_has_no_schema_of_its_own(void)
{
    CHECK(resource_schema(K_PLUGIN_METADATA) == NULL);
}

TESTS(T(schemas_equal_the_references), T(a_credential_takes_one_plugin_and_a_name),
      T(plugin_metadata_has_no_schema_of_its_own))
