/* SPDX-License-Identifier: Apache-2.0 */
/* post_args: see post_args.h. */
#include "http/post_args.h"

#include "base/log.h"
#include "config/settings.h"

#define MAX_FOUND 256

static bool read_body(struct req *r)
{
    uint64_t max = (uint64_t)r->settings->max_post_args_bytes;
    return req_await_body(r, max) == 0;
}

static bool is_type(const struct req *r, struct str type)
{
    struct str is = headers_get(&r->headers, H_CONTENT_TYPE);
    return is.n >= type.n && str_ieq(str_head(is, type.n), type);
}

struct value post_arg_form(struct req *r, struct str name)
{
    if (!is_type(r, STR("application/x-www-form-urlencoded")) || !read_body(r)) {
        return (struct value){0};
    }
    struct str rest = r->body, pair;
    while (str_split(&rest, '&', &pair)) {
        ptrdiff_t eq = str_index(pair, '=');
        struct str key = eq < 0 ? pair : str_head(pair, (size_t)eq);
        if (str_eq(uri_decode(r->arena, key, true), name)) {
            struct str v =
                eq < 0 ? STR("") : uri_decode(r->arena, str_skip(pair, (size_t)eq + 1), true);
            return (struct value){.kind = VALUE_STR, .s = v};
        }
    }
    return (struct value){0};
}

struct found {
    struct value *v;
    size_t n;
    bool many; /* the path has a wildcard: the result is a list */
    struct arena *arena;
};

static struct value of_json(struct arena *a, const json_t *j)
{
    switch (json_typeof(j)) {
    case JSON_STRING:
        return (struct value){.kind = VALUE_STR, .s = arena_str(a, json_str(j))};
    case JSON_INTEGER:
    case JSON_REAL:
        return (struct value){.kind = VALUE_NUM, .num = json_number_value(j)};
    case JSON_TRUE:
    case JSON_FALSE:
        return (struct value){.kind = VALUE_BOOL, .num = json_is_true(j)};
    case JSON_OBJECT:
    case JSON_ARRAY:
        return (struct value){.kind = VALUE_STR, .s = json_text(a, j)};
    case JSON_NULL:
        break;
    }
    return (struct value){0};
}

static void walk(struct found *f, const json_t *j, struct str path);

/* All members of any depth that match the rest of the path. */
static void descend(struct found *f, const json_t *j, struct str path)
{
    const char *key;
    json_t *child;
    size_t i;
    walk(f, j, path);
    if (json_is_object(j)) {
        json_object_foreach((json_t *)(uintptr_t)j, key, child) {
            descend(f, child, path);
        }
    }
    json_array_foreach(j, i, child) {
        descend(f, child, path);
    }
}

static void index_step(struct found *f, const json_t *j, struct str path)
{
    ptrdiff_t end = str_index(path, ']');
    if (end < 0) {
        return;
    }
    struct str inside = str_of(path.p + 1, (size_t)end - 1), rest = str_skip(path, (size_t)end + 1);
    uint64_t i;
    if (str_eq(inside, STR("*"))) {
        size_t k;
        json_t *child;
        f->many = true;
        json_array_foreach(j, k, child) {
            walk(f, child, rest);
        }
    } else if (str_to_u64(inside, &i) && i < json_array_size(j)) {
        walk(f, json_array_get(j, i), rest);
    }
}

static void walk(struct found *f, const json_t *j, struct str path)
{
    if (f->n >= MAX_FOUND) {
        return;
    }
    if (path.n == 0) {
        f->v[f->n++] = of_json(f->arena, j);
        return;
    }
    if (str_starts(path, STR(".."))) {
        f->many = true;
        descend(f, j, str_skip(path, 2));
        return;
    }
    if (path.p[0] == '[') {
        index_step(f, j, path);
        return;
    }
    path = path.p[0] == '.' ? str_skip(path, 1) : path;
    size_t n = 0;
    while (n < path.n && path.p[n] != '.' && path.p[n] != '[') {
        n++;
    }
    const json_t *child = json_object_getn(j, path.p, n);
    if (child && n > 0) {
        walk(f, child, str_skip(path, n));
    }
}

struct value post_arg_json(struct req *r, struct str path)
{
    struct found f = {.arena = r->arena};
    if (is_type(r, STR("application/x-www-form-urlencoded"))) {
        return post_arg_form(r, path);
    }
    if (!is_type(r, STR("application/json")) || !read_body(r)) {
        return (struct value){0};
    }
    struct err e = {""};
    json_t *j = json_parse(r->body, &e);
    if (j == NULL) {
        LOG_RATE(WARN, "request body is no JSON, post_arg is missing: %s", e.msg);
        return (struct value){0};
    }
    f.v = ARENA_ARRAY(r->arena, struct value, MAX_FOUND);
    walk(&f, j, str_starts(path, STR(".")) ? arena_cat(r->arena, STR("."), path) : path);
    json_decref(j);
    if (f.many) {
        return f.n ? (struct value){.kind = VALUE_LIST, .list = f.v, .n = f.n} : (struct value){0};
    }
    return f.n ? f.v[0] : (struct value){0};
}
