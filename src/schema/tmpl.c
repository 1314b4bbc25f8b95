/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tmpl: text with variables, cut into parts once.
 *
 * A part is a run of plain text or a variable with the default that stands in for it. The
 * reference's rules in full: a name after a bare $ is as long as letters, digits, _ and . go (so
 * `$host.` asks for a variable called `host.`); a $ right after a backslash is plain text, and the
 * backslash stays; a $ that starts neither form is plain text.
 */
#include "schema/var.h"

enum { PARTS_START = 8 };

struct part {
    bool is_var;
    struct str text; /* plain text, or the default (STR_NONE: none) */
    struct var var;
};

struct tmpl {
    struct part *parts;
    size_t n, room;
};

/* ---- compiling ---- */

static struct part *part_add(struct tmpl *t, struct arena *a)
{
    if (t->n == t->room) {
        const size_t room = t->room > 0 ? t->room * 2 : PARTS_START;
        struct part *parts = ARENA_ARRAY(a, struct part, room);

        if (t->n > 0) {
            memcpy(parts, t->parts, t->n * sizeof(*parts));
        }
        t->parts = parts;
        t->room = room;
    }
    return &t->parts[t->n++];
}

static void text_add(struct tmpl *t, struct arena *a, struct str text)
{
    if (text.n > 0) {
        *part_add(t, a) = (struct part){.text = text};
    }
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct str trim(struct str s)
{
    while (s.n > 0 && is_blank(s.p[0])) {
        s = str_skip(s, 1);
    }
    while (s.n > 0 && is_blank(s.p[s.n - 1])) {
        s.n--;
    }
    return s;
}

static bool is_name_char(char c)
{
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '_' ||
           c == '.';
}

/* inside: what stands between the braces, or a bare name. */
static void var_add(struct tmpl *t, struct arena *a, struct str inside)
{
    const ptrdiff_t mark = str_find(inside, STR("??"));
    struct str name = inside, def = STR_NONE;

    if (mark >= 0) {
        name = str_head(inside, (size_t)mark);
        def = str_skip(inside, (size_t)mark + 2);
        /* A second ?? ends the default. */
        const ptrdiff_t end = str_find(def, STR("??"));

        def = trim(end >= 0 ? str_head(def, (size_t)end) : def);
    }
    *part_add(t, a) = (struct part){.is_var = true, .text = def, .var = var_compile(a, trim(name))};
}

/* Does a variable start at the $ that s begins with? Its inside, and how long it all is. */
static bool var_at(struct str s, struct str *inside, size_t *len)
{
    size_t n = 1;

    if (s.n > 1 && s.p[1] == '{') {
        const ptrdiff_t end = str_index(s, '}');

        if (end < 3) {
            return false; /* no end, or nothing inside */
        }
        *inside = str_of(s.p + 2, (size_t)end - 2);
        *len = (size_t)end + 1;
        return true;
    }
    while (n < s.n && is_name_char(s.p[n])) {
        n++;
    }
    *inside = str_of(s.p + 1, n - 1);
    *len = n;
    return n > 1;
}

struct tmpl *tmpl_new(struct arena *a, struct str text)
{
    struct tmpl *t = ARENA_NEW(a, struct tmpl);
    const struct str s = arena_str(a, text);
    size_t plain = 0, at = 0;

    while (at < s.n) {
        struct str inside;
        size_t len;

        if (s.p[at] != '$' || (at > 0 && s.p[at - 1] == '\\') ||
            !var_at(str_skip(s, at), &inside, &len)) {
            at++;
            continue;
        }
        text_add(t, a, str_of(s.p + plain, at - plain));
        var_add(t, a, inside);
        plain = at += len;
    }
    text_add(t, a, str_skip(s, plain));
    return t;
}

bool tmpl_is_plain(const struct tmpl *t)
{
    return t->n == 0 || (t->n == 1 && !t->parts[0].is_var);
}

/* ---- expanding ---- */

/* The text of a part. Lists have none, so they are empty, but they are there. */
static struct str part_text(const struct part *p, struct arena *a, void *subject,
                            unsigned *resolved, struct str (*fn)(struct arena *a, struct str v))
{
    if (!p->is_var) {
        return p->text;
    }
    const struct value v = var_get(subject, &p->var);

    if (v.kind == VALUE_NONE && str_is_none(p->text)) {
        return STR("");
    }
    *resolved += 1;
    const struct str text = v.kind == VALUE_NONE ? p->text : value_text(a, &v);

    if (str_is_none(text)) {
        return STR("");
    }
    return fn != NULL ? fn(a, text) : text;
}

struct str tmpl_expand_with(const struct tmpl *t, struct arena *a, void *subject,
                            unsigned *resolved, struct str (*fn)(struct arena *a, struct str v))
{
    unsigned none, *count = resolved != NULL ? resolved : &none;
    size_t n = 0;

    *count = 0;
    if (t->n == 0) {
        return STR("");
    }
    if (t->n == 1) {
        return part_text(&t->parts[0], a, subject, count, fn);
    }
    struct str *texts = ARENA_ARRAY(a, struct str, t->n);

    for (size_t i = 0; i < t->n; i++) {
        texts[i] = part_text(&t->parts[i], a, subject, count, fn);
        n += texts[i].n;
    }
    char *out = arena_bytes(a, n), *to = out;

    for (size_t i = 0; i < t->n; i++) {
        memcpy(to, texts[i].p, texts[i].n);
        to += texts[i].n;
    }
    return str_of(out, n);
}

struct str tmpl_expand(const struct tmpl *t, struct arena *a, void *subject, unsigned *resolved)
{
    return tmpl_expand_with(t, a, subject, resolved, NULL);
}
