/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON Schema: the first line is a schema, the rest a value. Oracles: a failure has words and a
 * success has none; two copies of the value get the same answer, words and defaults; equal items
 * are found as comparing all pairs finds them.
 */
#include "base/json.h"
#include "fuzz.h"
#include "schema/jschema_priv.h"

static bool is_container(const json_t *v)
{
    return json_is_object(v) || json_is_array(v);
}

/* The slow way, in the reference's order. */
static bool find_twins(const json_t *list, size_t *first, size_t *second)
{
    const size_t n = json_array_size(list);

    for (size_t j = 1; j < n; j++) {
        for (size_t i = 0; i < j && !is_container(json_array_get(list, j)); i++) {
            if (json_same(json_array_get(list, i), json_array_get(list, j))) {
                *first = i;
                *second = j;
                return true;
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = i + 1; j < n; j++) {
            if (json_same(json_array_get(list, i), json_array_get(list, j))) {
                *first = i;
                *second = j;
                return true;
            }
        }
    }
    return false;
}

static void twins_check(const json_t *v)
{
    size_t a = 0, b = 0, want_a = 0, want_b = 0;

    if (json_is_array(v) && json_array_size(v) < 100) {
        ORACLE(json_find_twins(v, &a, &b) == find_twins(v, &want_a, &want_b));
        ORACLE(a == want_a && b == want_b);
    }
}

static void value_check(const struct jschema *s, json_t *v)
{
    struct err e = {.msg = ""}, again = {.msg = ""};
    json_t *copy = json_deep_copy(v);
    const int rc = jschema_check(s, v, &e);

    ORACLE((rc == 0) == !err_is_set(&e));
    ORACLE(jschema_check(s, copy, &again) == rc);
    ORACLE_SAME(str_c(e.msg), str_c(again.msg));
    ORACLE(json_equal(v, copy));
    json_decref(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct str all = str_of((const char *)data, size);
    const ptrdiff_t line = str_index(all, '\n');
    struct err e = {.msg = ""};

    if (line < 0) {
        return 0;
    }
    json_t *schema = json_parse(str_head(all, (size_t)line), &e), *v = NULL;
    struct jschema *s = NULL;

    if (schema != NULL && (v = json_parse(str_skip(all, (size_t)line + 1), &e)) != NULL) {
        twins_check(v);
        s = jschema_new(schema, &e);
        ORACLE((s == NULL) == err_is_set(&e));
        /* The compiled schema borrows nothing. */
        json_decref(schema);
        schema = NULL;
    }
    if (s != NULL) {
        value_check(s, v);
    }
    jschema_free(s);
    json_decref(v);
    json_decref(schema);
    return 0;
}
