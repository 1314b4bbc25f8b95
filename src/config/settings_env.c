/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings_env: ${{VAR}} and ${{VAR:=default}} in the strings and keys of a file.
 *
 * A string that was substituted and then reads as a whole as true, false or a number becomes one.
 * Only a number in its one usual spelling does: a key such as 007 or 1e5 stays the text it is.
 */
#include "base/buf.h"
#include "config/settings_priv.h"

#include <stdio.h>
#include <stdlib.h>

enum { TEXT_MAX = 1 << 20 };

static struct str trim(struct str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\n')) {
        s = str_skip(s, 1);
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\n')) {
        s = str_head(s, s.n - 1);
    }
    return s;
}

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        const char c = ascii_lower(s.p[i]);

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_') {
            return false;
        }
    }
    return s.n > 0;
}

/* What stands between the braces, into out. 1: replaced, 0: it is no variable, -1: the variable is
 * not set. */
static int expand_one(struct str inside, struct buf *out, struct err *e)
{
    const ptrdiff_t assign = str_find(inside, STR(":="));
    struct str name = trim(assign >= 0 ? str_head(inside, (size_t)assign) : inside);
    char text[256];

    if (!is_name(name) || name.n >= sizeof(text)) {
        return 0;
    }
    memcpy(text, name.p, name.n);
    text[name.n] = 0;
    const char *value = getenv(text);
    if (value == NULL && assign < 0) {
        return err_set(e, "failed to handle configuration: can't find environment variable %s",
                       text);
    }
    buf_add(out, value != NULL ? str_c(value) : trim(str_skip(inside, (size_t)assign + 2)));
    return 1;
}

/* s with its variables replaced, into out. The number of replacements, or -1. */
static int expand(struct str s, struct buf *out, struct err *e)
{
    int replaced = 0;

    for (;;) {
        const ptrdiff_t open = str_find(s, STR("${{"));
        const ptrdiff_t close = open >= 0 ? str_find(str_skip(s, (size_t)open + 3), STR("}}")) : -1;

        if (close < 0) {
            buf_add(out, s);
            break;
        }
        struct str inside = str_of(s.p + open + 3, (size_t)close);
        const size_t end = (size_t)open + 3 + (size_t)close + 2;
        buf_add(out, str_head(s, (size_t)open));
        const int rc = expand_one(inside, out, e);
        if (rc < 0) {
            return -1;
        }
        if (rc == 0) {
            buf_add(out, str_of(s.p + open, end - (size_t)open));
        }
        replaced += rc;
        s = str_skip(s, end);
    }
    return out->overflow ? err_set(e, "failed to handle configuration: a string grew too long")
                         : replaced;
}

static json_t *typed(struct str s)
{
    int64_t i;
    double d;
    char text[64];

    if (str_eq(s, STR("true")) || str_eq(s, STR("false"))) {
        return json_boolean(s.n == 4);
    }
    if (str_to_i64(s, &i) &&
        str_eq(str_of(text, (size_t)snprintf(text, sizeof(text), "%lld", (long long)i)), s)) {
        return json_integer(i);
    }
    if (str_to_number(s, &d) &&
        str_eq(str_of(text, (size_t)snprintf(text, sizeof(text), "%.14g", d)), s)) {
        return json_real(d);
    }
    return json_stringn(s.p, s.n);
}

static json_t *substitute_string(json_t *v, struct err *e)
{
    struct buf out = BUF_INIT(TEXT_MAX);
    const int n = expand(json_str(v), &out, e);
    json_t *result = NULL;

    if (n == 0) {
        result = json_incref(v);
    } else if (n > 0) {
        result = typed(buf_str(&out));
        if (result == NULL) {
            err_set(e, "failed to handle configuration: an environment variable is not UTF-8");
        }
    }
    buf_fini(&out);
    json_decref(v);
    return result;
}

static json_t *substitute_array(json_t *v, struct err *e)
{
    json_t *out = json_array(), *item;
    size_t i;

    json_array_foreach(v, i, item) {
        json_t *one = env_substitute(json_incref(item), e);

        if (one == NULL) {
            json_decref(out);
            out = NULL;
            break;
        }
        json_array_append_new(out, one);
    }
    json_decref(v);
    return out;
}

static int substitute_pair(json_t *out, const char *key, json_t *value, struct err *e)
{
    struct buf name = BUF_INIT(TEXT_MAX);
    json_t *one = NULL;
    int rc = -1;

    if (expand(str_c(key), &name, e) >= 0 &&
        (one = env_substitute(json_incref(value), e)) != NULL) {
        struct str n = buf_str(&name);

        rc = json_object_getn(out, n.p, n.n) != NULL
                 ? err_set(e, "the key \"%.*s\" is there twice", STR_ARG(n))
                 : 0;
        if (rc == 0 && json_object_setn(out, n.p, n.n, one) != 0) {
            rc = err_set(e, "failed to handle configuration: an environment variable is not UTF-8");
        }
    }
    json_decref(one);
    buf_fini(&name);
    return rc;
}

static json_t *substitute_object(json_t *v, struct err *e)
{
    json_t *out = json_object(), *value;
    const char *key;

    json_object_foreach(v, key, value) {
        if (substitute_pair(out, key, value, e) != 0) {
            json_decref(out);
            out = NULL;
            break;
        }
    }
    json_decref(v);
    return out;
}

json_t *env_substitute(json_t *v, struct err *e)
{
    if (json_is_string(v)) {
        return substitute_string(v, e);
    }
    if (json_is_array(v)) {
        return substitute_array(v, e);
    }
    return json_is_object(v) ? substitute_object(v, e) : v;
}
