/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secret_ref: strings of a plugin conf that stand for a secret: $env://NAME, $env://NAME/key
 * (runtime.md section 10).
 *
 * Resolved once, when the object is built. $secret:// names a secret manager, and none is built:
 * the text stays and the log says so.
 */
#include "base/log.h"
#include "config/resource_priv.h"

#include <stdlib.h>

static bool is_env(struct str s)
{
    return s.n > 7 && str_ieq(str_head(s, 7), STR("$env://"));
}

static bool is_manager(struct str s)
{
    return str_starts(s, STR("$secret://"));
}

bool secret_ref_is(struct str s)
{
    return is_env(s) || is_manager(s);
}

/* The value under key in JSON text; not a string: STR_NONE. */
static struct str json_member(struct arena *a, const char *text, struct str key)
{
    struct err e = {0};
    json_t *v = json_parse(str_c(text), &e);
    const json_t *member = v != NULL ? json_object_getn(v, key.p, key.n) : NULL;
    struct str s = arena_str(a, json_str(member));

    json_decref(v);
    return s;
}

static struct str env_text(struct arena *a, struct str ref)
{
    struct str key = str_skip(ref, 7), name;
    const bool has_key = str_index(key, '/') >= 0;

    str_split(&key, '/', &name);
    const char *value = getenv(arena_str(a, name).p);
    if (value == NULL) {
        return STR_NONE;
    }
    return has_key ? json_member(a, value, key) : arena_str(a, str_c(value));
}

struct str secret_ref_text(struct arena *a, struct str s)
{
    if (is_env(s)) {
        return env_text(a, s);
    }
    return is_manager(s) ? STR_NONE : s;
}

static bool has_refs(const json_t *v)
{
    const char *key;
    json_t *member;
    size_t i;

    if (json_is_string(v)) {
        return secret_ref_is(json_str(v));
    }
    json_object_foreach((json_t *)v, key, member) {
        if (has_refs(member)) {
            return true;
        }
    }
    json_array_foreach(v, i, member) {
        if (has_refs(member)) {
            return true;
        }
    }
    return false;
}

static void resolve(struct arena *a, json_t *v, bool *unresolved)
{
    const char *key;
    json_t *member;
    size_t i;

    if (json_is_string(v)) {
        struct str s = secret_ref_text(a, json_str(v));

        if (str_is_none(s)) {
            LOG_RATE(ERROR, "cannot resolve the secret reference %s: %s", json_string_value(v),
                     is_manager(json_str(v)) ? "this build has no secret managers"
                                             : "no such environment variable or key");
            *unresolved = true;
        } else if (s.p != json_string_value(v)) {
            json_string_setn(v, s.p, s.n);
        }
        return;
    }
    json_object_foreach(v, key, member) {
        resolve(a, member, unresolved);
    }
    json_array_foreach(v, i, member) {
        resolve(a, member, unresolved);
    }
}

static void json_drop(void *v)
{
    json_decref(v);
}

const json_t *secret_refs_resolve(struct arena *a, const json_t *conf, bool *unresolved)
{
    *unresolved = false;
    if (!has_refs(conf)) {
        return conf;
    }
    json_t *copy = json_deep_copy(conf);
    arena_on_reset(a, json_drop, copy);
    resolve(a, copy, unresolved);
    return copy;
}
