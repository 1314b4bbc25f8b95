/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_find: see json_find.h. Recurses as deep as the JSON nests, which base/json.h bounds, and
 * takes a bounded number of steps: `..a..b` looks at everything below everything.
 */
#include "http/json_find.h"

#include "base/log.h"

enum { STEPS_MAX = 1000000, LIST_MAX = 10000 };

static struct value scalar_value(struct arena *a, const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_STRING:
        return (struct value){.kind = VALUE_STR, .s = json_str(v)};
    case JSON_INTEGER:
    case JSON_REAL:
        return (struct value){.kind = VALUE_NUM, .num = json_number_value(v)};
    case JSON_TRUE:
    case JSON_FALSE:
        return (struct value){.kind = VALUE_BOOL, .num = json_is_true(v)};
    case JSON_OBJECT:
    case JSON_ARRAY:
        return (struct value){.kind = VALUE_STR, .s = json_text(a, v)};
    case JSON_NULL:
        break;
    }
    return (struct value){0};
}

struct value json_value(struct arena *a, const json_t *v)
{
    const size_t n = json_array_size(v);

    if (!json_is_array(v)) {
        return scalar_value(a, v);
    }
    if (n > LIST_MAX) {
        LOG_RATE(WARN, "a variable in the body has %zu elements; the first %d are looked at", n,
                 LIST_MAX);
    }
    struct value *list = ARENA_ARRAY(a, struct value, n < LIST_MAX ? n : LIST_MAX);
    size_t i = 0;
    for (; i < n && i < LIST_MAX; i++) {
        list[i] = scalar_value(a, json_array_get(v, i));
    }
    return (struct value){.kind = VALUE_LIST, .list = list, .n = i};
}

/* ---- dotted paths ---- */

static struct value find_plain(struct arena *a, const json_t *j, struct str path)
{
    struct str name;

    while (j != NULL && str_split(&path, '.', &name)) {
        j = name.n > 0 ? json_object_getn(j, name.p, name.n) : j;
    }
    return j != NULL ? json_value(a, j) : (struct value){0};
}

/* ---- JSONPath ---- */

struct found {
    struct arena *arena;
    struct value *v;
    size_t n, room;
    unsigned steps;
};

static void walk(struct found *f, const json_t *j, struct str path);

static void add(struct found *f, const json_t *j)
{
    if (f->n == f->room) {
        const size_t room = f->room ? 2 * f->room : 8;
        struct value *more = ARENA_ARRAY(f->arena, struct value, room);
        if (f->n > 0) {
            memcpy(more, f->v, f->n * sizeof(*more));
        }
        f->v = more;
        f->room = room;
    }
    f->v[f->n++] = scalar_value(f->arena, j);
}

/* Each member or element. */
static void each(struct found *f, const json_t *j, struct str rest,
                 void (*fn)(struct found *f, const json_t *j, struct str path))
{
    void *at = json_object_iter((json_t *)(uintptr_t)j);

    for (; at != NULL; at = json_object_iter_next((json_t *)(uintptr_t)j, at)) {
        fn(f, json_object_iter_value(at), rest);
    }
    for (size_t i = 0; i < json_array_size(j); i++) {
        fn(f, json_array_get(j, i), rest);
    }
}

/* path in j and everything below it. */
static void descend(struct found *f, const json_t *j, struct str path)
{
    walk(f, j, path);
    if (f->steps < STEPS_MAX) {
        each(f, j, path, descend);
    }
}

static void member(struct found *f, const json_t *j, struct str name, struct str rest)
{
    const json_t *child = name.n > 0 ? json_object_getn(j, name.p, name.n) : NULL;

    if (child != NULL) {
        walk(f, child, rest);
    }
}

/* [...] at the front of path. What this does not know finds nothing. */
static void subscript(struct found *f, const json_t *j, struct str path)
{
    const bool quoted = path.n > 1 && (path.p[1] == '\'' || path.p[1] == '"');
    const char end_text[2] = {quoted ? path.p[1] : ']', ']'};
    const ptrdiff_t at = str_find(str_skip(path, 1 + quoted), str_of(end_text, 1 + quoted));
    int64_t i;

    if (at < 0) {
        return;
    }
    const struct str inside = str_head(str_skip(path, 1 + quoted), (size_t)at);
    const struct str rest = str_skip(path, 2 + 2 * quoted + (size_t)at);
    if (quoted) {
        member(f, j, inside, rest);
    } else if (str_eq(inside, STR("*"))) {
        each(f, j, rest, walk);
    } else if (str_to_i64(inside, &i)) {
        const json_t *child =
            json_array_get(j, (size_t)(i < 0 ? i + (int64_t)json_array_size(j) : i));
        if (child != NULL) {
            walk(f, child, rest);
        }
    }
}

static void walk(struct found *f, const json_t *j, struct str path)
{
    if (f->n >= LIST_MAX || f->steps++ >= STEPS_MAX) {
        return;
    }
    if (path.n == 0) {
        add(f, j);
        return;
    }
    if (str_starts(path, STR(".."))) {
        const struct str rest = str_skip(path, 2);
        descend(f, j, rest);
        return;
    }
    if (path.p[0] == '[') {
        subscript(f, j, path);
        return;
    }
    path = path.p[0] == '.' ? str_skip(path, 1) : path;
    size_t n = 0;
    while (n < path.n && path.p[n] != '.' && path.p[n] != '[') {
        n++;
    }
    if (str_eq(str_head(path, n), STR("*"))) {
        each(f, j, str_skip(path, n), walk);
    } else {
        member(f, j, str_head(path, n), str_skip(path, n));
    }
}

struct value json_find(struct arena *a, const json_t *j, struct str path)
{
    struct found f = {.arena = a};
    const bool from_any_depth = str_starts(path, STR("."));

    if (!from_any_depth && str_index(path, '[') < 0 && str_index(path, '*') < 0 &&
        str_find(path, STR("..")) < 0) {
        return find_plain(a, j, path);
    }
    walk(&f, j, from_any_depth ? arena_cat(a, STR("."), path) : path);
    if (f.steps >= STEPS_MAX) {
        LOG_RATE(WARN, "post_arg.%.*s: gave up after %d steps", STR_ARG(path), STEPS_MAX);
    }
    return f.n > 0 ? (struct value){.kind = VALUE_LIST, .list = f.v, .n = f.n} : (struct value){0};
}
