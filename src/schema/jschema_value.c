/* SPDX-License-Identifier: Apache-2.0 */
/* jschema_value: JSON values compared, counted and printed the way Lua does it, because the
 * reference's answers depend on that. */
#include "schema/jschema_priv.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- equality ---- */

static bool is_container(const json_t *v)
{
    return json_is_object(v) || json_is_array(v);
}

static size_t container_size(const json_t *v)
{
    return json_is_object(v) ? json_object_size(v) : json_array_size(v);
}

static bool objects_same(const json_t *a, const json_t *b)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)a, key, value) {
        const json_t *other = json_object_get(b, key);

        if (other == NULL || !json_same(value, other)) {
            return false;
        }
    }
    return true;
}

static bool arrays_same(const json_t *a, const json_t *b)
{
    for (size_t i = 0; i < json_array_size(a); i++) {
        if (!json_same(json_array_get(a, i), json_array_get(b, i))) {
            return false;
        }
    }
    return true;
}

bool json_same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) {
        return json_number_value(a) == json_number_value(b);
    }
    if (is_container(a) && is_container(b)) {
        if (container_size(a) != container_size(b)) {
            return false;
        }
        if (container_size(a) == 0) {
            return true;
        }
        if (json_typeof(a) != json_typeof(b)) {
            return false;
        }
        return json_is_object(a) ? objects_same(a, b) : arrays_same(a, b);
    }
    if (json_typeof(a) != json_typeof(b)) {
        return false;
    }
    /* true, false and null are their type. */
    return !json_is_string(a) || str_eq(json_str(a), json_str(b));
}

/* ---- uniqueItems ---- */

static uint64_t mix(uint64_t h)
{
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    return h ^ (h >> 31);
}

static uint64_t number_hash(double d)
{
    if (d == 0) {
        d = 0; /* -0 equals 0 */
    }
    return hash_keyed((struct str){(const char *)&d, sizeof(d)});
}

/* Equal values have equal hashes; strings and numbers go through the keyed hash, so collisions
 * cannot be prepared. */
static uint64_t value_hash(const json_t *v)
{
    uint64_t h = 1;
    const char *key;
    json_t *value;

    if (json_is_string(v)) {
        return hash_keyed(json_str(v));
    }
    if (json_is_number(v)) {
        return number_hash(json_number_value(v));
    }
    if (!is_container(v)) {
        return (uint64_t)json_typeof(v) + 2;
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        h = mix(h ^ value_hash(json_array_get(v, i)));
    }
    /* A sum, because the order of properties has no meaning. */
    json_object_foreach((json_t *)v, key, value) {
        h += mix(hash_keyed(str_c(key)) ^ mix(value_hash(value)));
    }
    return h;
}

struct item {
    uint64_t hash;
    size_t i;
    const json_t *v;
};

static int item_cmp(const void *x, const void *y)
{
    const struct item *a = x, *b = y;

    if (a->hash != b->hash) {
        return a->hash < b->hash ? -1 : 1;
    }
    return a->i < b->i ? -1 : a->i > b->i;
}

/* The next item after at, of the same hash, that equals it; NULL when there is none. */
static const struct item *twin_of(const struct item *at, const struct item *end)
{
    for (const struct item *it = at + 1; it < end && it->hash == at->hash; it++) {
        if (json_same(at->v, it->v)) {
            return it;
        }
    }
    return NULL;
}

/*
 * The reference looks at scalars first and stops at the earliest repetition; then at tables, and
 * takes the earliest table that is repeated. So is: does the pair (a, b) come before the best one
 * so far?
 */
static bool pair_is_earlier(const struct item *a, const struct item *b, const struct item *best_a,
                            const struct item *best_b)
{
    if (best_a == NULL || is_container(a->v) != is_container(best_a->v)) {
        return best_a == NULL || !is_container(a->v);
    }
    return is_container(a->v) ? a->i < best_a->i : b->i < best_b->i;
}

bool json_find_twins(const json_t *array, size_t *first, size_t *second)
{
    const size_t n = json_array_size(array);
    const struct item *best_a = NULL, *best_b = NULL;

    if (n < 2) {
        return false;
    }
    struct item *items = mem_alloc(n * sizeof(*items));

    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(array, i);

        items[i] = (struct item){value_hash(v), i, v};
    }
    qsort(items, n, sizeof(*items), item_cmp);
    for (const struct item *a = items, *end = items + n; a < end;) {
        const struct item *b = twin_of(a, end);

        if (b != NULL && pair_is_earlier(a, b, best_a, best_b)) {
            best_a = a;
            best_b = b;
        }
        /* Items equal to one that was looked at need no look of their own. */
        const uint64_t hash = a->hash;

        for (a++; b != NULL && a < end && a->hash == hash; a++) {
        }
    }
    if (best_a != NULL) {
        *first = best_a->i;
        *second = best_b->i;
    }
    free(items);
    return best_a != NULL;
}

/* ---- text ---- */

size_t json_str_chars(const json_t *v)
{
    const struct str s = json_str(v);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    }
    return n;
}

const char *lua_number(double v, char out[32])
{
    snprintf(out, 32, "%.14g", v);
    return out;
}

char *lua_quoted(struct str s)
{
    struct buf b = BUF_INIT(8192);
    const struct str cut = str_head(s, sizeof(((struct err *)0)->msg));

    buf_addc(&b, '"');
    for (size_t i = 0; i < cut.n; i++) {
        const char c = cut.p[i];

        if (c == '"' || c == '\\' || c == '\n') {
            buf_addc(&b, '\\');
            buf_addc(&b, c);
        } else if (c == '\r') {
            buf_add(&b, STR("\\r"));
        } else if (c == 0) {
            buf_add(&b, STR("\\0"));
        } else {
            buf_addc(&b, c);
        }
    }
    buf_addc(&b, '"');
    buf_addc(&b, 0);
    return b.p;
}
