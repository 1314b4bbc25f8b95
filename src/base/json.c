/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json: jansson for values, with the error texts and the number spelling of lua-cjson, which people
 * and their scripts know from the reference.
 *
 * A scanner goes over the text first. It knows the grammar, says in cjson's words what is wrong and
 * where, and bounds the depth before jansson recurses. Stricter than cjson: no hexadecimal,
 * infinite or zero-led numbers, no control bytes in strings, no \u0000 (C code would see a shorter
 * string than others do), and, found by jansson, no invalid UTF-8 and no duplicate keys.
 */
#include "base/json.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEPTH_MAX = 128 };

/* cjson's names of what it found. */
#define TOKENS(X)                                                                                  \
    X(OBJ_BEGIN)                                                                                   \
    X(OBJ_END)                                                                                     \
    X(ARR_BEGIN) X(ARR_END) X(STRING) X(NUMBER) X(BOOLEAN) X(NULL) X(COLON) X(COMMA) X(END) X(ERROR)
enum token {
#define X(name) T_##name,
    TOKENS(X)
#undef X
};
static const char *const token_names[] = {
#define X(name) [T_##name] = "T_" #name,
    TOKENS(X)
#undef X
};

struct scan {
    struct str text;
    size_t at;           /* first byte not scanned */
    size_t start;        /* where the last token starts; for T_ERROR where the error is */
    const char *mistake; /* of the last T_ERROR */
    bool has_reals;      /* a number with fraction or exponent was seen */
    bool has_wide;       /* an integer that does not fit 64 bits was seen */
    bool is_wide;        /* the last token is such a one */
};

static enum token scan_error(struct scan *s, size_t at, const char *mistake)
{
    s->start = at;
    s->mistake = mistake;
    return T_ERROR;
}

/* The byte at `at`, -1 past the end. */
static int byte_at(const struct scan *s, size_t at)
{
    return at < s->text.n ? (unsigned char)s->text.p[at] : -1;
}

/* The value of four hexadecimal digits, -1 when they are not. */
static int hex4(const struct scan *s, size_t at)
{
    int v = 0;

    for (size_t i = at; i < at + 4; i++) {
        int c = byte_at(s, i);
        int lower = c | 0x20;
        if (c >= '0' && c <= '9') {
            v = v * 16 + c - '0';
        } else if (lower >= 'a' && lower <= 'f') {
            v = v * 16 + lower - 'a' + 10;
        } else {
            return -1;
        }
    }
    return v;
}

/* The length of the escape sequence at `at` (a backslash), 0 with the mistake set. */
static size_t escape_length(struct scan *s, size_t at)
{
    int c = byte_at(s, at + 1);

    if (c > 0 && strchr("\"\\/bfnrt", c)) {
        return 2;
    }
    if (c != 'u') {
        s->mistake = "invalid escape code";
        return 0;
    }
    s->mistake = "invalid unicode escape code";
    int unit = hex4(s, at + 2);
    if (unit <= 0 || (unit & 0xfc00) == 0xdc00) {
        return 0;
    }
    if ((unit & 0xfc00) != 0xd800) {
        return 6;
    }
    bool paired = byte_at(s, at + 6) == '\\' && byte_at(s, at + 7) == 'u' &&
                  (hex4(s, at + 8) & ~0x3ff) == 0xdc00;
    return paired ? 12 : 0;
}

/* Whether c stands for itself in a string. */
static bool is_plain(char c)
{
    return (unsigned char)c >= 0x20 && c != '"' && c != '\\';
}

/* s->at is after the opening quote. */
static enum token scan_string(struct scan *s)
{
    for (;;) {
        while (s->at < s->text.n && is_plain(s->text.p[s->at])) {
            s->at++;
        }
        int c = byte_at(s, s->at);
        if (c == '"') {
            s->at++;
            return T_STRING;
        }
        if (c < 0) {
            return scan_error(s, s->at, "unexpected end of string");
        }
        if (c < 0x20) {
            return scan_error(s, s->at, "invalid control character");
        }
        size_t n = escape_length(s, s->at);
        if (n == 0) {
            return scan_error(s, s->at, s->mistake);
        }
        s->at += n;
    }
}

static size_t skip_digits(const struct scan *s, size_t at)
{
    while (byte_at(s, at) >= '0' && byte_at(s, at) <= '9') {
        at++;
    }
    return at;
}

static enum token scan_number(struct scan *s)
{
    size_t whole = s->start + (byte_at(s, s->start) == '-');
    size_t at = skip_digits(s, whole);
    bool bad = at == whole || (byte_at(s, whole) == '0' && at > whole + 1);
    bool real = false;
    int64_t v;

    if (byte_at(s, at) == '.') {
        size_t fraction = at + 1;
        at = skip_digits(s, fraction);
        bad |= at == fraction;
        real = true;
    }
    if ((byte_at(s, at) | 0x20) == 'e') {
        size_t exponent = at + 1;
        exponent += byte_at(s, exponent) == '-' || byte_at(s, exponent) == '+';
        at = skip_digits(s, exponent);
        bad |= at == exponent;
        real = true;
    }
    if (bad || (byte_at(s, at) | 0x20) == 'x') {
        return scan_error(s, s->start, "invalid number");
    }
    s->at = at;
    s->is_wide = !real && !str_to_i64(str_of(s->text.p + s->start, at - s->start), &v);
    s->has_wide |= s->is_wide;
    s->has_reals |= real;
    return T_NUMBER;
}

static bool scan_word(struct scan *s, struct str word)
{
    bool is = str_starts(str_skip(s->text, s->start), word);

    s->at = is ? s->start + word.n : s->start;
    return is;
}

/* What starts with no character of the grammar: some of it cjson takes for an attempt at a number.
 */
static enum token scan_other(struct scan *s)
{
    struct str rest = str_skip(s->text, s->start);
    bool number = str_starts(rest, STR("+")) || str_ieq(str_head(rest, 3), STR("inf")) ||
                  str_ieq(str_head(rest, 3), STR("nan"));

    return scan_error(s, s->start, number ? "invalid number" : "invalid token");
}

static enum token scan_next(struct scan *s)
{
    int c;

    while ((c = byte_at(s, s->at)) == ' ' || c == '\t' || c == '\n' || c == '\r') {
        s->at++;
    }
    s->start = s->at++;
    s->is_wide = false;
    switch (c) {
    case '{':
        return T_OBJ_BEGIN;
    case '}':
        return T_OBJ_END;
    case '[':
        return T_ARR_BEGIN;
    case ']':
        return T_ARR_END;
    case ':':
        return T_COLON;
    case ',':
        return T_COMMA;
    case '"':
        return scan_string(s);
    case '-':
    case '0' ... '9':
        return scan_number(s);
    case -1:
        s->at = s->start;
        return T_END;
    default:
        if (scan_word(s, STR("true")) || scan_word(s, STR("false"))) {
            return T_BOOLEAN;
        }
        return scan_word(s, STR("null")) ? T_NULL : scan_other(s);
    }
}

static int expected(const struct scan *s, enum token found, const char *what, struct err *e)
{
    return err_set(e, "Expected %s but found %s at character %zu", what,
                   found == T_ERROR ? s->mistake : token_names[found], s->start + 1);
}

/* What may come next. */
enum want {
    W_VALUE,
    W_FIRST_ITEM,
    W_FIRST_KEY,
    W_KEY,
    W_COLON,
    W_MORE_ITEMS,
    W_MORE_MEMBERS,
    W_END
};

/* The open brackets; says what may follow a value that just ended. */
struct nest {
    size_t depth;
    bool is_object[DEPTH_MAX];
};

static enum want after_value(const struct nest *n)
{
    if (n->depth == 0) {
        return W_END;
    }
    return n->is_object[n->depth - 1] ? W_MORE_MEMBERS : W_MORE_ITEMS;
}

static enum want close_bracket(struct nest *n)
{
    n->depth--;
    return after_value(n);
}

/* A value starts with token t. */
static int begin_value(const struct scan *s, struct nest *n, enum token t, enum want *want,
                       struct err *e)
{
    switch (t) {
    case T_STRING:
    case T_NUMBER:
    case T_BOOLEAN:
    case T_NULL:
        *want = after_value(n);
        return 0;
    case T_OBJ_BEGIN:
    case T_ARR_BEGIN:
        if (n->depth == DEPTH_MAX) {
            return err_set(e, "Found too many nested data structures (%d) at character %zu",
                           DEPTH_MAX + 1, s->at);
        }
        n->is_object[n->depth++] = t == T_OBJ_BEGIN;
        *want = t == T_OBJ_BEGIN ? W_FIRST_KEY : W_FIRST_ITEM;
        return 0;
    default:
        return expected(s, t, "value", e);
    }
}

/* After a member or an item: a comma, or the bracket that closes. */
static int take_separator(const struct scan *s, struct nest *n, enum token t, enum want *want,
                          struct err *e)
{
    bool object = *want == W_MORE_MEMBERS;

    if (t == (object ? T_OBJ_END : T_ARR_END)) {
        *want = close_bracket(n);
        return 0;
    }
    if (t != T_COMMA) {
        return expected(s, t, object ? "comma or object end" : "comma or array end", e);
    }
    *want = object ? W_KEY : W_VALUE;
    return 0;
}

/* Token t comes where *want is wanted. */
static int take_token(const struct scan *s, struct nest *n, enum token t, enum want *want,
                      struct err *e)
{
    switch (*want) {
    case W_FIRST_ITEM:
        if (t == T_ARR_END) {
            *want = close_bracket(n);
            return 0;
        }
        return begin_value(s, n, t, want, e);
    case W_VALUE:
        return begin_value(s, n, t, want, e);
    case W_FIRST_KEY:
    case W_KEY:
        if (t == T_OBJ_END && *want == W_FIRST_KEY) {
            *want = close_bracket(n);
            return 0;
        }
        *want = W_COLON;
        return t == T_STRING ? 0 : expected(s, t, "object key string", e);
    case W_COLON:
        *want = W_VALUE;
        return t == T_COLON ? 0 : expected(s, t, "colon", e);
    case W_MORE_ITEMS:
    case W_MORE_MEMBERS:
        return take_separator(s, n, t, want, e);
    case W_END:
        return t == T_END ? 0 : expected(s, t, "the end", e);
    }
    return -1;
}

/* Check all of the grammar. s tells about its numbers afterwards. */
static int scan_text(struct scan *s, struct err *e)
{
    struct nest n = {0};
    enum want want = W_VALUE;
    enum token t;

    if (s->text.n >= 2 && (s->text.p[0] == 0 || s->text.p[1] == 0)) {
        return err_set(e, "JSON parser does not support UTF-16 or UTF-32");
    }
    do {
        t = scan_next(s);
        if (take_token(s, &n, t, &want, e) != 0) {
            return -1;
        }
    } while (t != T_END);
    return 0;
}

/* text with integers beyond 64 bits replaced by the nearest there is, which is what the reference
 * reads. */
static void narrow_integers(struct str text, struct buf *out)
{
    struct scan s = {.text = text};
    size_t copied = 0;

    while (scan_next(&s) != T_END) {
        if (s.is_wide) {
            buf_add(out, str_of(text.p + copied, s.start - copied));
            buf_printf(out, "%lld", text.p[s.start] == '-' ? -LLONG_MAX - 1 : LLONG_MAX);
            copied = s.at;
        }
    }
    buf_add(out, str_skip(text, copied));
}

/* Where the last token that begins before byte `end` starts: jansson only tells where it stopped.
 */
static size_t token_before(struct str text, size_t end)
{
    struct scan s = {.text = text};
    size_t start = 0;

    while (scan_next(&s) != T_END && s.start < end) {
        start = s.start;
    }
    return start;
}

/* Words for what passes the scanner and not jansson. */
static void refused(struct str text, const json_error_t *why, struct err *e)
{
    size_t end = why->position > 0 ? (size_t)why->position : 0;
    size_t at = token_before(text, end) + 1;

    switch (json_error_code(why)) {
    case json_error_duplicate_key:
        err_set(e, "Expected object key string but found duplicate key at character %zu", at);
        break;
    case json_error_invalid_utf8:
        err_set(e, "Expected value but found invalid UTF-8 at character %zu", end + 1);
        break;
    case json_error_numeric_overflow:
        err_set(e, "Expected value but found invalid number at character %zu", at);
        break;
    default:
        err_set(e, "Expected value but found %s at character %zu", why->text, at);
        break;
    }
}

/* The value itself, or, for a real without fraction, the integer; 9.2233720368548e+18 is how the
 * largest is written. */
static json_t *integer_of(json_t *v)
{
    double d = json_is_real(v) ? json_real_value(v) : NAN;

    if (!(fabs(d) < 1e19) || d != trunc(d)) {
        return v;
    }
    json_int_t i = d >= 0x1p63 ? LLONG_MAX : d < -0x1p63 ? -LLONG_MAX - 1 : (json_int_t)d;
    json_decref(v);
    return json_integer(i);
}

/* Turn reals without fraction below v, and v itself, into integers. Takes v over. */
static json_t *make_integers(json_t *v)
{
    size_t i;
    json_t *child;

    json_array_foreach(v, i, child) {
        json_array_set_new(v, i, make_integers(json_incref(child)));
    }
    for (void *it = json_object_iter(v); it; it = json_object_iter_next(v, it)) {
        child = json_incref(json_object_iter_value(it));
        json_object_iter_set_new(v, it, make_integers(child));
    }
    return integer_of(v);
}

json_t *json_parse(struct str text, struct err *e)
{
    struct scan s = {.text = text};
    struct buf narrowed = BUF_INIT(SIZE_MAX);
    json_error_t why;

    if (scan_text(&s, e) != 0) {
        return NULL;
    }
    if (s.has_wide) {
        narrow_integers(text, &narrowed);
        text = buf_str(&narrowed);
    }
    json_t *v = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!v) {
        refused(text, &why, e);
    } else if (s.has_reals) {
        v = make_integers(v);
    }
    buf_fini(&narrowed);
    return v;
}

void json_write_string(struct buf *out, struct str s)
{
    static const char shorts[0x20] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    size_t plain = 0; /* bytes up to i from here on go out as they are */

    buf_addc(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            continue;
        }
        buf_add(out, str_of(s.p + plain, i - plain));
        plain = i + 1;
        if (c == '"' || c == '\\' || (c < 0x20 && shorts[c])) {
            buf_addc(out, '\\');
            buf_addc(out, c < 0x20 ? shorts[c] : (char)c);
        } else {
            buf_printf(out, "\\u%04x", c);
        }
    }
    buf_add(out, str_skip(s, plain));
    buf_addc(out, '"');
}

/* As Lua's "%.14g" writes it, except that an integer which a double holds exactly keeps all its
 * digits. */
static void write_number(struct buf *out, const json_t *v)
{
    json_int_t i = json_integer_value(v);

    if (json_is_integer(v) && i >= -(1LL << 53) && i <= 1LL << 53) {
        buf_printf(out, "%lld", (long long)i);
    } else {
        buf_printf(out, "%.14g", json_number_value(v));
    }
}

static void write_value(struct buf *out, const json_t *v);

static void write_object(struct buf *out, const json_t *v)
{
    /* jansson's iterators are not const, though reading changes nothing. */
    json_t *o = (json_t *)(uintptr_t)v;
    bool first = true;

    buf_addc(out, '{');
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
        if (!first) {
            buf_addc(out, ',');
        }
        first = false;
        json_write_string(out, str_of(json_object_iter_key(it), json_object_iter_key_len(it)));
        buf_addc(out, ':');
        write_value(out, json_object_iter_value(it));
    }
    buf_addc(out, '}');
}

static void write_array(struct buf *out, const json_t *v)
{
    buf_addc(out, '[');
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (i > 0) {
            buf_addc(out, ',');
        }
        write_value(out, json_array_get(v, i));
    }
    buf_addc(out, ']');
}

static void write_value(struct buf *out, const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        write_object(out, v);
        break;
    case JSON_ARRAY:
        write_array(out, v);
        break;
    case JSON_STRING:
        json_write_string(out, json_str(v));
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        write_number(out, v);
        break;
    case JSON_TRUE:
        buf_add(out, STR("true"));
        break;
    case JSON_FALSE:
        buf_add(out, STR("false"));
        break;
    case JSON_NULL:
        buf_add(out, STR("null"));
        break;
    }
}

struct str json_text(struct arena *a, const json_t *v)
{
    struct buf out = BUF_INIT(SIZE_MAX);

    write_value(&out, v);
    struct str text = arena_str(a, buf_str(&out));
    buf_fini(&out);
    return text;
}

struct str json_str(const json_t *v)
{
    return json_is_string(v) ? str_of(json_string_value(v), json_string_length(v)) : STR_NONE;
}

static __attribute__((constructor)) void json_start(void)
{
    json_set_alloc_funcs(mem_alloc, free);
    json_object_seed(0);
}
