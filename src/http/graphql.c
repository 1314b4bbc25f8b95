/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graphql: one pass over the tokens of a document.
 *
 * Selection sets, values and types nest; each is read by a loop that counts how deep it is. Of each
 * definition only the name and what stands at the root of its selection sets is kept.
 */
#include "http/graphql.h"

enum {
    SETS_MAX = 200,   /* selection sets in selection sets */
    VALUES_MAX = 64,  /* lists and objects in values: a bit each */
    TYPES_MAX = 32,   /* [[[Int]]] */
    DEFS_MAX = 256,   /* definitions of a document */
    ITEMS_MAX = 4096, /* selections at their roots */
};

/* Punctuation is its own character. */
enum { END = 0, NAME = 256, NUMBER, STRING, SPREAD, BAD };

struct item {
    struct str name;
    bool is_spread;
};

struct def {
    struct str operation; /* STR_NONE: a fragment */
    struct str name;
    size_t first, n; /* of the items */
    bool seen;
};

struct parser {
    struct str text;
    size_t at; /* first byte after the token */
    int token;
    struct str is; /* its text */
    struct arena *arena;
    struct err *e;
    struct item *items;
    struct def *defs;
    size_t n_items, n_defs;
    size_t room_items, room_defs;
};

/* ---- tokens ---- */

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_start(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* The byte n after the beginning of what is left, -1 past the end. */
static int peek(const struct parser *p, size_t n)
{
    return p->at + n < p->text.n ? (unsigned char)p->text.p[p->at + n] : -1;
}

/* Blanks, commas, comments and a byte order mark. */
static void skip_ignored(struct parser *p)
{
    if (p->at == 0 && str_starts(p->text, STR("\xef\xbb\xbf"))) {
        p->at = 3;
    }
    for (int c = peek(p, 0); c >= 0; c = peek(p, 0)) {
        if (c == '#') {
            while ((c = peek(p, 0)) >= 0 && c != '\n' && c != '\r') {
                p->at++;
            }
        } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ',') {
            p->at++;
        } else {
            return;
        }
    }
}

static size_t digits_len(const struct parser *p, size_t n)
{
    size_t from = n;

    while (is_digit(peek(p, n))) {
        n++;
    }
    return n - from;
}

/* Length of a number, 0 when it is none: no zeros in front, no letter or dot behind. */
static size_t number_len(const struct parser *p)
{
    size_t n = peek(p, 0) == '-', whole = digits_len(p, n), more;

    if (whole == 0 || (whole > 1 && peek(p, n) == '0')) {
        return 0;
    }
    n += whole;
    if (peek(p, n) == '.') {
        more = digits_len(p, n + 1);
        if (more == 0) {
            return 0;
        }
        n += 1 + more;
    }
    if ((peek(p, n) | 0x20) == 'e') {
        const int sign = peek(p, n + 1);
        n += sign == '+' || sign == '-' ? 2 : 1;
        more = digits_len(p, n);
        if (more == 0) {
            return 0;
        }
        n += more;
    }
    return is_name_start(peek(p, n)) || peek(p, n) == '.' ? 0 : n;
}

/* """ to """, where \""" ends nothing. */
static size_t block_len(const struct parser *p)
{
    struct str rest = str_skip(p->text, p->at);

    for (size_t n = 3; n + 3 <= rest.n; n++) {
        if (str_starts(str_skip(rest, n), STR("\\\"\"\""))) {
            n += 3;
        } else if (str_starts(str_skip(rest, n), STR("\"\"\""))) {
            return n + 3;
        } else if ((unsigned char)rest.p[n] < ' ' && rest.p[n] != '\t' && rest.p[n] != '\n' &&
                   rest.p[n] != '\r') {
            return 0;
        }
    }
    return 0;
}

static bool is_escape(const struct parser *p, size_t n)
{
    const int c = peek(p, n);

    if (c != 'u') {
        return c > 0 && strchr("\"\\/bfnrt", c) != NULL;
    }
    for (size_t i = 1; i <= 4; i++) {
        const int h = peek(p, n + i), lower = h | 0x20;
        if (!is_digit(h) && (lower < 'a' || lower > 'f')) {
            return false;
        }
    }
    return true;
}

static size_t string_len(const struct parser *p)
{
    if (peek(p, 1) == '"' && peek(p, 2) == '"') {
        return block_len(p);
    }
    for (size_t n = 1;; n++) {
        const int c = peek(p, n);
        if (c == '"') {
            return n + 1;
        }
        if (c == '\\' && !is_escape(p, n + 1)) {
            return 0;
        }
        n += c == '\\';
        if (c < ' ' && c != '\t') {
            return 0;
        }
    }
}

static size_t name_len(const struct parser *p)
{
    size_t n = 1;

    while (is_name_start(peek(p, n)) || is_digit(peek(p, n))) {
        n++;
    }
    return n;
}

/* Kind and length of the next token. */
static int token_at(const struct parser *p, size_t *n)
{
    const int c = peek(p, 0);

    *n = 1;
    if (c < 0) {
        *n = 0;
        return END;
    }
    if (is_name_start(c)) {
        *n = name_len(p);
        return NAME;
    }
    if (c == '-' || is_digit(c)) {
        *n = number_len(p);
        return *n > 0 ? NUMBER : BAD;
    }
    if (c == '"') {
        *n = string_len(p);
        return *n > 0 ? STRING : BAD;
    }
    if (c == '.') {
        *n = 3;
        return peek(p, 1) == '.' && peek(p, 2) == '.' ? SPREAD : BAD;
    }
    return c > 0 && strchr("!$&():=@[]{|}", c) != NULL ? c : BAD;
}

static void advance(struct parser *p)
{
    size_t n;

    skip_ignored(p);
    p->token = token_at(p, &n);
    p->is = str_head(str_skip(p->text, p->at), n);
    if (p->token != BAD) {
        p->at += n;
    }
}

static int fail(struct parser *p, const char *what)
{
    const size_t start = p->token == BAD ? p->at : p->at - p->is.n;

    return err_set(p->e, "%s at byte %zu", what, start + 1);
}

/* Step over a token that must be here. */
static int expect(struct parser *p, int token, const char *what)
{
    if (p->token != token) {
        return fail(p, what);
    }
    advance(p);
    return 0;
}

static int expect_name(struct parser *p, struct str *name)
{
    *name = p->is;
    return expect(p, NAME, "expected a name");
}

static bool is_word(const struct parser *p, struct str word)
{
    return p->token == NAME && str_eq(p->is, word);
}

/* ---- values, types, arguments ---- */

/* What is no list and no object. */
static int plain_value(struct parser *p)
{
    if (p->token == '$') {
        advance(p);
        return expect(p, NAME, "expected a name");
    }
    if (p->token != NAME && p->token != NUMBER && p->token != STRING) {
        return fail(p, "expected a value");
    }
    advance(p);
    return 0;
}

static int value(struct parser *p)
{
    uint64_t objects = 0; /* a bit for each level that is one */
    unsigned depth = 0;

    do {
        const bool in_object = depth > 0 && (objects & 1) != 0;
        struct str name;

        if (depth > 0 && p->token == (in_object ? '}' : ']')) {
            advance(p);
            objects >>= 1;
            depth--;
            continue;
        }
        if (in_object && (expect_name(p, &name) != 0 || expect(p, ':', "expected a colon") != 0)) {
            return -1;
        }
        if (p->token != '[' && p->token != '{') {
            if (plain_value(p) != 0) {
                return -1;
            }
            continue;
        }
        if (++depth > VALUES_MAX) {
            return fail(p, "too many values in values");
        }
        objects = objects << 1 | (p->token == '{');
        advance(p);
    } while (depth > 0);
    return 0;
}

static int type(struct parser *p)
{
    unsigned depth = 0;
    struct str name;

    for (; p->token == '['; depth++) {
        if (depth >= TYPES_MAX) {
            return fail(p, "too many lists in lists");
        }
        advance(p);
    }
    if (expect_name(p, &name) != 0) {
        return -1;
    }
    for (;; depth--) {
        if (p->token == '!') {
            advance(p);
        }
        if (depth == 0) {
            return 0;
        }
        if (expect(p, ']', "expected ]") != 0) {
            return -1;
        }
    }
}

/* (name: value ...), if it is there. */
static int arguments(struct parser *p)
{
    struct str name;

    if (p->token != '(') {
        return 0;
    }
    advance(p);
    do {
        if (expect_name(p, &name) != 0 || expect(p, ':', "expected a colon") != 0 ||
            value(p) != 0) {
            return -1;
        }
    } while (p->token != ')');
    advance(p);
    return 0;
}

static int directives(struct parser *p)
{
    struct str name;

    while (p->token == '@') {
        advance(p);
        if (expect_name(p, &name) != 0 || arguments(p) != 0) {
            return -1;
        }
    }
    return 0;
}

/* ($name: Type = value @directive ...), if it is there. */
static int variables(struct parser *p)
{
    struct str name;

    if (p->token != '(') {
        return 0;
    }
    advance(p);
    do {
        if (expect(p, '$', "expected a variable") != 0 || expect_name(p, &name) != 0 ||
            expect(p, ':', "expected a colon") != 0 || type(p) != 0) {
            return -1;
        }
        if (p->token == '=') {
            advance(p);
            if (value(p) != 0) {
                return -1;
            }
        }
        if (directives(p) != 0) {
            return -1;
        }
    } while (p->token != ')');
    advance(p);
    return 0;
}

/* ---- selections ---- */

enum selection { FIELD, FRAGMENT, INLINE, NONE };

/* An array with room for one more than n: v, or a copy in twice the room. */
static void *grown(struct parser *p, void *v, size_t n, size_t *room, size_t size)
{
    if (n < *room) {
        return v;
    }
    *room = n == 0 ? 8 : 2 * n;
    void *copy = arena_alloc_raw(p->arena, *room * size);
    if (n > 0) {
        memcpy(copy, v, n * size);
    }
    return copy;
}

static int item_add(struct parser *p, struct str name, bool is_spread)
{
    if (p->n_items >= ITEMS_MAX) {
        return fail(p, "too many fields");
    }
    p->items = grown(p, p->items, p->n_items, &p->room_items, sizeof(*p->items));
    p->items[p->n_items++] = (struct item){.name = name, .is_spread = is_spread};
    return 0;
}

/* After the three dots. */
static enum selection spread(struct parser *p, bool at_root)
{
    struct str name = p->is;

    if (p->token == NAME && !is_word(p, STR("on"))) {
        advance(p);
        return directives(p) == 0 && (!at_root || item_add(p, name, true) == 0) ? FRAGMENT : NONE;
    }
    if (p->token == NAME) {
        advance(p);
        if (expect_name(p, &name) != 0) {
            return NONE;
        }
    }
    return directives(p) == 0 ? INLINE : NONE;
}

static enum selection field(struct parser *p, bool at_root)
{
    struct str name;

    if (expect_name(p, &name) != 0) {
        return NONE;
    }
    if (p->token == ':') { /* that was an alias */
        advance(p);
        if (expect_name(p, &name) != 0) {
            return NONE;
        }
    }
    if (arguments(p) != 0 || directives(p) != 0 || (at_root && item_add(p, name, false) != 0)) {
        return NONE;
    }
    return FIELD;
}

static enum selection selection(struct parser *p, bool at_root)
{
    if (p->token != SPREAD) {
        return field(p, at_root);
    }
    advance(p);
    return spread(p, at_root);
}

/*
 * { ... } with all sets inside. root: how many of the open sets are each other's inline fragments,
 * from the outermost: fields in the innermost of them are root fields.
 */
static int selection_set(struct parser *p)
{
    unsigned depth = 1, root = 1;

    if (expect(p, '{', "expected {") != 0) {
        return -1;
    }
    do { /* a set begins here, or another selection of one */
        const enum selection s = selection(p, depth == root);

        if (s == NONE || (s == INLINE && p->token != '{')) {
            return fail(p, "expected {");
        }
        if (p->token == '{' && s != FRAGMENT) {
            root += s == INLINE && root == depth;
            if (++depth > SETS_MAX) {
                return fail(p, "too many fields in fields");
            }
            advance(p);
            continue;
        }
        for (; depth > 0 && p->token == '}'; depth--) {
            root -= root == depth;
            advance(p);
        }
    } while (depth > 0);
    return 0;
}

/* ---- definitions ---- */

static int operation(struct parser *p, struct def *d)
{
    d->operation = STR("query");
    d->name = STR("");
    if (p->token == '{') {
        return selection_set(p);
    }
    d->operation = p->is;
    advance(p);
    if (p->token == NAME) {
        d->name = p->is;
        advance(p);
    }
    return variables(p) != 0 || directives(p) != 0 || selection_set(p) != 0 ? -1 : 0;
}

static int fragment(struct parser *p, struct def *d)
{
    struct str of_type;

    advance(p);
    if (is_word(p, STR("on"))) {
        return fail(p, "expected a name");
    }
    if (expect_name(p, &d->name) != 0) {
        return -1;
    }
    if (!is_word(p, STR("on"))) {
        return fail(p, "expected on");
    }
    advance(p);
    return expect_name(p, &of_type) != 0 || directives(p) != 0 || selection_set(p) != 0 ? -1 : 0;
}

static int definition(struct parser *p)
{
    if (p->n_defs >= DEFS_MAX) {
        return fail(p, "too many definitions");
    }
    p->defs = grown(p, p->defs, p->n_defs, &p->room_defs, sizeof(*p->defs));
    struct def *d = &p->defs[p->n_defs++];
    int rc;

    *d = (struct def){.first = p->n_items};
    if (is_word(p, STR("fragment"))) {
        rc = fragment(p, d);
    } else if (p->token == '{' || is_word(p, STR("query")) || is_word(p, STR("mutation")) ||
               is_word(p, STR("subscription"))) {
        rc = operation(p, d);
    } else {
        rc = fail(p, "expected a definition");
    }
    d->n = p->n_items - d->first;
    return rc;
}

/* ---- root fields ---- */

static struct def *find_fragment(const struct parser *p, struct str name)
{
    for (size_t i = 0; i < p->n_defs; i++) {
        if (str_is_none(p->defs[i].operation) && str_eq(p->defs[i].name, name)) {
            return &p->defs[i];
        }
    }
    return NULL;
}

/* The fields of d with those of the fragments it spreads, each fragment once. */
static void collect(const struct parser *p, struct def *d, struct graphql *out)
{
    struct str *fields = ARENA_ARRAY(p->arena, struct str, p->n_items);
    struct place {
        const struct item *next, *end;
    } *open = ARENA_ARRAY(p->arena, struct place, p->n_defs);
    size_t depth = 0, n = 0;

    d->seen = true;
    open[depth++] = (struct place){p->items + d->first, p->items + d->first + d->n};
    while (depth > 0) {
        struct place *at = &open[depth - 1];
        if (at->next == at->end) {
            depth--;
            continue;
        }
        const struct item *i = at->next++;
        struct def *f = i->is_spread ? find_fragment(p, i->name) : NULL;
        if (!i->is_spread) {
            fields[n++] = i->name;
        } else if (f != NULL && !f->seen) {
            f->seen = true;
            open[depth++] = (struct place){p->items + f->first, p->items + f->first + f->n};
        }
    }
    out->fields = fields;
    out->n_fields = n;
}

static int document(struct parser *p, struct graphql *out)
{
    while (p->token != END) {
        if (definition(p) != 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < p->n_defs; i++) {
        struct def *d = &p->defs[i];
        if (!str_is_none(d->operation)) {
            out->operation = d->operation;
            out->name = d->name;
            collect(p, d, out);
            return 0;
        }
    }
    return err_set(p->e, "no operation");
}

int graphql_parse(struct arena *a, struct str text, struct graphql *out, struct err *e)
{
    struct parser p = {.text = text, .arena = a, .e = e};

    *out = (struct graphql){0};
    advance(&p);
    return document(&p, out);
}
