/* SPDX-License-Identifier: Apache-2.0 */
/* captured: parts are plain text, groups, or templates. */
#include "plugin/captured.h"

#include <limits.h>

#define NO_GROUP UINT_MAX

struct part {
    unsigned group; /* NO_GROUP: text or tmpl */
    struct str text;
    struct tmpl *tmpl;
};

struct captured {
    struct part *parts;
    size_t n, room;
};

static void add(struct captured *c, struct arena *a, struct part p)
{
    if (c->n == c->room) {
        struct part *bigger = ARENA_ARRAY(a, struct part, c->room ? c->room * 2 : 4);
        if (c->n > 0) {
            memcpy(bigger, c->parts, c->n * sizeof(*bigger));
        }
        c->parts = bigger;
        c->room = c->room ? c->room * 2 : 4;
    }
    c->parts[c->n++] = p;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Does s start with $1 or ${1}? Its number and how long it is. A number no expression has is an
 * empty group. */
static bool group_at(struct str s, unsigned *group, size_t *len)
{
    const size_t first = s.n > 1 && s.p[1] == '{' ? 2 : 1;
    size_t n = first;

    *group = 0;
    while (n < s.n && is_digit(s.p[n])) {
        if (*group < RE_GROUPS) {
            *group = *group * 10 + (unsigned)(s.p[n] - '0');
        }
        n++;
    }
    if (n == first || (first == 2 && (n == s.n || s.p[n] != '}'))) {
        return false;
    }
    *len = first == 2 ? n + 1 : n;
    return true;
}

struct captured *captured_replacement(struct arena *a, struct str text, struct err *e)
{
    struct captured *c = ARENA_NEW(a, struct captured);
    struct str rest = arena_str(a, text);

    if (re_check_replacement(text, e) != 0) {
        return NULL;
    }
    while (rest.n > 0) {
        struct part p = {.group = NO_GROUP};
        size_t len;
        if (str_starts(rest, STR("$$"))) {
            p.text = STR("$");
            len = 2;
        } else if (rest.p[0] != '$' || !group_at(rest, &p.group, &len)) {
            const ptrdiff_t dollar = str_index(str_skip(rest, 1), '$');
            len = dollar < 0 ? rest.n : (size_t)dollar + 1;
            p.text = str_head(rest, len);
        }
        add(c, a, p);
        rest = str_skip(rest, len);
    }
    return c;
}

static void add_tmpl(struct captured *c, struct arena *a, struct str text)
{
    if (text.n > 0) {
        struct tmpl *t = tmpl_new(a, text);
        add(c, a,
            tmpl_is_plain(t) ? (struct part){.group = NO_GROUP, .text = arena_str(a, text)}
                             : (struct part){.group = NO_GROUP, .tmpl = t});
    }
}

struct captured *captured_tmpl(struct arena *a, struct str text)
{
    struct captured *c = ARENA_NEW(a, struct captured);
    size_t from = 0, at = 0;

    while (at < text.n) {
        struct part p = {0};
        size_t len;
        if (text.p[at] != '$' || (at > 0 && text.p[at - 1] == '\\') ||
            !group_at(str_skip(text, at), &p.group, &len)) {
            at++;
            continue;
        }
        add_tmpl(c, a, str_of(text.p + from, at - from));
        add(c, a, p);
        from = at += len;
    }
    add_tmpl(c, a, str_skip(text, from));
    return c;
}

static struct str part_text(const struct part *p, struct arena *a, void *subject,
                            const struct re_match *m)
{
    if (p->group != NO_GROUP) {
        return m && p->group < RE_GROUPS ? m->group[p->group] : STR("");
    }
    return p->tmpl ? tmpl_expand(p->tmpl, a, subject, NULL) : p->text;
}

struct str captured_expand(const struct captured *c, struct arena *a, void *subject,
                           const struct re_match *m)
{
    if (c->n == 0) {
        return STR("");
    }
    if (c->n == 1) {
        struct str one = part_text(&c->parts[0], a, subject, m);
        return one.p ? one : STR("");
    }
    struct str *texts = ARENA_ARRAY(a, struct str, c->n);
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        texts[i] = part_text(&c->parts[i], a, subject, m);
        n += texts[i].n;
    }
    char *out = arena_bytes(a, n), *o = out;
    for (size_t i = 0; i < c->n; i++) {
        if (texts[i].n > 0) {
            memcpy(o, texts[i].p, texts[i].n);
            o += texts[i].n;
        }
    }
    return str_of(out, n);
}
