/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pattern is a row of tokens: text, parameter, star. Stars cut it into pieces. Between two stars
 * the reference's greedy expression takes each piece as far right as it goes, and since pieces
 * begin with a slash and hold a fixed number of them, the last piece can only stand at the end: so
 * pieces are placed from right to left, without backtracking.
 */
#include "route/pattern.h"

#include "base/mem.h"
#include "base/re.h"
#include "route/radix.h"
#include "route/router.h"

#include <stdlib.h>

enum token_kind { TOKEN_TEXT, TOKEN_PARAM, TOKEN_STAR };
enum { NOT_CAPTURED = ROUTE_MAX_PARAMS, KEY_PARAMS_MAX = 32 };

struct token {
    enum token_kind kind;
    unsigned capture; /* index in route_match.params, or NOT_CAPTURED */
    struct str text;  /* or the name */
};

struct pattern {
    uint32_t refs;
    uint32_t n_params; /* names that are captured */
    struct str uri;
    size_t index;
    size_t start;  /* where the first token stands */
    bool dots;     /* a '.' in some text: any byte but a newline */
    bool is_regex; /* re decides; NULL: it did not compile and matches nothing */
    const struct re *re;
    struct arena *arena; /* of re */
    uint32_t n_tokens, n_stars;
    struct token tokens[];
};

static bool is_special(struct str segment)
{
    return segment.n > 0 && (segment.p[0] == ':' || segment.p[0] == '*');
}

/* Without final slashes after the first: the reference's way of splitting loses them. */
static struct str uri_trimmed(struct str uri)
{
    while (uri.n > 1 && uri.p[uri.n - 1] == '/' && uri.p[uri.n - 2] == '/') {
        uri.n--;
    }
    return uri;
}

static size_t count_special(struct str uri)
{
    struct str segment;
    size_t n = 0;

    while (str_split(&uri, '/', &segment)) {
        n += is_special(segment);
    }
    return n;
}

/* ---- making ---- */

static bool has_byte_of(struct str s, const char *set)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '\0' && strchr(set, s.p[i])) {
            return true;
        }
    }
    return false;
}

static void add_text(struct pattern *p, size_t from, size_t to)
{
    struct str text = str_of(p->uri.p + from, to - from);

    if (text.n == 0) {
        return;
    }
    p->dots |= has_byte_of(text, ".");
    p->tokens[p->n_tokens++] = (struct token){.kind = TOKEN_TEXT, .text = text};
}

/* Of two segments with one name the later has the say. */
static void add_special(struct pattern *p, struct str segment)
{
    struct token *t = &p->tokens[p->n_tokens];
    struct str name = str_skip(segment, 1);

    t->kind = segment.p[0] == ':' ? TOKEN_PARAM : TOKEN_STAR;
    t->text = t->kind == TOKEN_STAR && name.n == 0 ? STR(":ext") : name;
    t->capture = p->n_params;
    for (uint32_t i = 0; i < p->n_tokens; i++) {
        struct token *before = &p->tokens[i];
        if (before->kind != TOKEN_TEXT && str_eq(before->text, t->text) &&
            before->capture != NOT_CAPTURED) {
            t->capture = before->capture;
            before->capture = NOT_CAPTURED;
        }
    }
    if (t->capture == p->n_params && p->n_params < ROUTE_MAX_PARAMS) {
        p->n_params++;
    }
    p->n_stars += t->kind == TOKEN_STAR;
    p->n_tokens++;
}

static void tokenise(struct pattern *p)
{
    struct str rest = p->uri, segment;
    size_t done = p->start; /* bytes that stand in tokens, or need not */

    while (str_split(&rest, '/', &segment)) {
        size_t at = (size_t)(segment.p - p->uri.p);
        if (!is_special(segment)) {
            continue;
        }
        add_text(p, done < at ? done : at, at);
        add_special(p, segment);
        done = at + segment.n;
    }
    add_text(p, done, p->uri.n);
}

/*
 * The reference's expression; "[^\\/]" and "[\s\S]" are what it means by a parameter and a star. It
 * is not put in brackets: the text could close them.
 */
static void compile_regex(struct pattern *p)
{
    struct str text = STR(""), rest = p->uri, segment;
    struct err e = {0};

    p->arena = arena_new(512);
    for (bool first = true; str_split(&rest, '/', &segment); first = false) {
        struct str part = segment;
        if (is_special(segment)) {
            part = segment.p[0] == ':' ? STR("([^\\\\/]+)") : STR("([\\s\\S]*)");
        }
        text = arena_cat(p->arena, text, first ? part : arena_cat(p->arena, STR("\\/"), part));
    }
    p->re = re_new(p->arena, text, "", &e);
}

/* Does any text mean something to a regular expression that the tokens do not say? */
static bool needs_regex(const struct pattern *p)
{
    struct str rest = p->uri, segment;
    bool special_text = false;

    while (str_split(&rest, '/', &segment)) {
        special_text |= !is_special(segment) && has_byte_of(segment, "\\^$|?*+()[]{}");
    }
    return special_text || (p->dots && p->n_stars > 0);
}

/* Where the first ':' or '*' segment begins. */
static size_t first_special(struct str uri)
{
    struct str rest = uri, segment = STR_NONE;

    while (str_split(&rest, '/', &segment) && !is_special(segment)) {
    }
    return (size_t)(segment.p - uri.p);
}

struct pattern *pattern_new(struct str uri, size_t index)
{
    uri = uri_trimmed(uri);
    size_t n = count_special(uri), special = first_special(uri);

    if (n == 0) {
        return NULL;
    }
    struct pattern *p = mem_alloc(sizeof(*p) + (2 * n + 1) * sizeof(p->tokens[0]));

    p->refs = 1;
    p->uri = uri;
    p->index = index;
    p->start = index < special ? index : special;
    tokenise(p);
    p->is_regex = needs_regex(p);
    if (p->is_regex) {
        compile_regex(p);
    }
    return p;
}

struct pattern *pattern_hold(struct pattern *p)
{
    if (p) {
        p->refs++;
    }
    return p;
}

void pattern_drop(struct pattern *p)
{
    if (p && --p->refs == 0) {
        if (p->arena) {
            arena_free(p->arena);
        }
        free(p);
    }
}

bool pattern_is_rest(const struct pattern *p, struct str *name)
{
    *name = p->tokens[0].text;
    return p->n_tokens == 1 && p->tokens[0].kind == TOKEN_STAR && p->start == p->index &&
           !p->is_regex;
}

size_t pattern_key(const struct pattern *p, char *out, bool *whole)
{
    size_t n = p->index, params = 0;
    uint32_t i = 0;

    memcpy(out, p->uri.p, n);
    *whole = false;
    if (p->is_regex || p->start != p->index || p->tokens[0].kind != TOKEN_PARAM) {
        return n;
    }
    for (; i < p->n_tokens && p->tokens[i].kind != TOKEN_STAR; i++) {
        const struct token *t = &p->tokens[i];
        if (t->kind == TOKEN_PARAM) {
            if (params++ == KEY_PARAMS_MAX) {
                return n;
            }
            out[n++] = RADIX_PARAM;
            continue;
        }
        ptrdiff_t dot = str_index(t->text, '.');
        struct str plain = dot < 0 ? t->text : str_head(t->text, (size_t)dot);
        memcpy(out + n, plain.p, plain.n);
        n += plain.n;
        if (dot >= 0) {
            return n;
        }
    }
    *whole = i == p->n_tokens;
    return n;
}

/* ---- matching ---- */

#define NO_MATCH SIZE_MAX

size_t pattern_segment(struct str s, size_t from)
{
    size_t i = from;

    while (i < s.n && s.p[i] != '/' && s.p[i] != '\\') {
        i++;
    }
    return i - from;
}

static inline void capture(const struct token *t, struct route_match *m, const char *p, size_t n)
{
    if (t->capture != NOT_CAPTURED) {
        m->params[t->capture].name = t->text;
        m->params[t->capture].value = str_of(p, n);
    }
}

static bool text_matches(struct str text, const char *p, bool dots)
{
    if (!dots) {
        return memcmp(text.p, p, text.n) == 0;
    }
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] != p[i] && (text.p[i] != '.' || p[i] == '\n')) {
            return false;
        }
    }
    return true;
}

/* Match the tokens [i, end), none of them a star, at byte pos. Where they end, or NO_MATCH. */
static size_t match_piece(const struct pattern *p, uint32_t i, uint32_t end, struct str uri,
                          size_t pos, struct route_match *m)
{
    for (; i < end; i++) {
        const struct token *t = &p->tokens[i];
        size_t n = t->kind == TOKEN_TEXT ? t->text.n : pattern_segment(uri, pos);

        if (t->kind == TOKEN_TEXT) {
            if (uri.n - pos < n || !text_matches(t->text, uri.p + pos, p->dots)) {
                return NO_MATCH;
            }
        } else if (n == 0) {
            return NO_MATCH;
        } else {
            capture(t, m, uri.p + pos, n);
        }
        pos += n;
    }
    return pos;
}

/*
 * The last place in [low, limit) where the piece fits in before limit (ends there, when at_end).
 * *stop: where it ends. NO_MATCH, or where it begins.
 */
static size_t place_piece(const struct pattern *p, uint32_t i, uint32_t end, struct str uri,
                          size_t low, size_t limit, size_t *stop, struct route_match *m)
{
    bool at_end = end == p->n_tokens;

    for (size_t at = limit; at-- > low;) {
        if (uri.p[at] != '/') {
            continue;
        }
        *stop = match_piece(p, i, end, uri, at, m);
        if (*stop != NO_MATCH && (at_end ? *stop == limit : *stop <= limit)) {
            return at;
        }
    }
    return NO_MATCH;
}

/* What begins with the first star, from right to left; the text of that star begins at low. */
static bool match_stars(const struct pattern *p, uint32_t first, struct str uri, size_t low,
                        struct route_match *m)
{
    size_t limit = uri.n;

    for (uint32_t end = p->n_tokens, star = end; star > first; end = star) {
        do {
            star--;
        } while (p->tokens[star].kind != TOKEN_STAR);
        size_t at = limit, stop = limit;
        if (star + 1 < end) {
            at = place_piece(p, star + 1, end, uri, low, limit, &stop, m);
            if (at == NO_MATCH) {
                return false;
            }
        }
        if (end < p->n_tokens) { /* the star on the right of the piece is bounded now */
            capture(&p->tokens[end], m, uri.p + stop, limit - stop);
        }
        limit = at;
    }
    capture(&p->tokens[first], m, uri.p + low, limit - low);
    return true;
}

static bool match_regex(const struct pattern *p, struct str uri, struct route_match *m)
{
    struct re_match found;
    int group = 0;

    if (!p->re || !re_search(p->re, uri, 0, &found) || found.n <= 0 || found.group[0].n != uri.n) {
        return false;
    }
    m->n_params = p->n_params;
    for (uint32_t i = 0; i < p->n_tokens; i++) {
        if (p->tokens[i].kind == TOKEN_TEXT) {
            continue;
        }
        struct str value = ++group < found.n && group < RE_GROUPS ? found.group[group] : STR_NONE;
        capture(&p->tokens[i], m, value.p, value.n);
    }
    return true;
}

bool pattern_match(const struct pattern *p, struct str uri, struct route_match *m)
{
    if (p->is_regex) {
        return match_regex(p, uri, m);
    }
    uint32_t first = 0; /* star */

    while (first < p->n_tokens && p->tokens[first].kind != TOKEN_STAR) {
        first++;
    }
    size_t pos = match_piece(p, 0, first, uri, p->start, m);

    m->n_params = p->n_params;
    if (pos == NO_MATCH || first == p->n_tokens) {
        return pos == uri.n;
    }
    return match_stars(p, first, uri, pos, m);
}
