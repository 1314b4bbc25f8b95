/* SPDX-License-Identifier: Apache-2.0 */
/*
 * re: a thin layer over PCRE2.
 *
 * Each thread has one set of match data and a JIT stack of its own; the stack PCRE2 would use
 * otherwise is the caller's, and a fiber's is too small for that.
 *
 * Bounding the work. PCRE2's match limit is not enough: it starts anew at each byte where a match
 * could start, and JIT code counts a whole scan to the end of the subject as one step (".*.*=" on 1
 * MB of text ran for minutes). So starts are tried in portions with a look at the clock in between,
 * and JIT gets a limit that falls with the length of the subject; a portion that passes it is tried
 * again by the interpreter, which counts each byte, with the full limit. Small portions would cost
 * JIT what it remembers from one start to the next (that a run of "\w" leads nowhere from any of
 * its bytes).
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "base/re.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

#include <pcre2.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    MATCH_LIMIT = 1000000, /* steps of the interpreter from one start */
    JIT_WORK = 1000000,    /* the same for JIT code: its steps times the length of the subject */
    JIT_LIMIT_MIN = 64,
    STARTS_FIRST = 128, /* starts tried before the first look at the clock: most subjects whole */
    STARTS_WORK = 30000000, /* later portions: starts times the length of the subject */
    STARTS_MIN = 64,
    STARTS_MAX = 4096,
    SEARCH_US = 50000, /* a search that takes longer is given up */
    HEAP_LIMIT_KB = 16 * 1024,
    JIT_STACK_MIN = 32 * 1024,
    JIT_STACK_MAX = 1024 * 1024,
    NEST_LIMIT = 30, /* some 600 bytes of stack each while compiling, on top of 26 KB */
    REPLACED_MAX = 64 * 1024 * 1024,
};

struct re {
    pcre2_code *code;
    bool utf;
    bool whole; /* has one start only, or starts that depend on the first: no portions */
};

/* What a thread needs to match; lives until the thread ends. */
struct scratch {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static _Thread_local struct scratch *scratch;
static pthread_key_t scratch_key;

static void scratch_free(void *arg)
{
    struct scratch *s = arg;

    pcre2_match_data_free(s->data);
    pcre2_match_context_free(s->context);
    pcre2_jit_stack_free(s->stack);
    free(s);
}

static __attribute__((constructor)) void re_start(void)
{
    ASSERT(pthread_key_create(&scratch_key, scratch_free) == 0);
}

static const struct scratch *scratch_get(void)
{
    if (__builtin_expect(scratch != NULL, 1)) {
        return scratch;
    }
    struct scratch *s = mem_alloc(sizeof(*s));
    s->data = pcre2_match_data_create(RE_GROUPS, NULL);
    s->context = pcre2_match_context_create(NULL);
    s->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
    ASSERT(s->data && s->context && s->stack);
    pcre2_set_heap_limit(s->context, HEAP_LIMIT_KB);
    pcre2_jit_stack_assign(s->context, NULL, s->stack);
    pthread_setspecific(scratch_key, s);
    scratch = s;
    return s;
}

/* The option bits of letters; -1 with e set when one is unknown. */
static int options_of(const char *letters, uint32_t *options, struct err *e)
{
    static const struct {
        char letter;
        uint32_t option;
    } known[] = {
        {'i', PCRE2_CASELESS},
        {'s', PCRE2_DOTALL},
        {'m', PCRE2_MULTILINE},
        {'x', PCRE2_EXTENDED},
        {'a', PCRE2_ANCHORED},
        {'D', PCRE2_DUPNAMES},
        {'u', PCRE2_UTF},
        {'U', PCRE2_UTF},
        {'j', 0},
        {'o', 0},
    };

    *options = 0;
    for (const char *p = letters ? letters : ""; *p; p++) {
        size_t i = 0;
        while (i < LENGTH_OF(known) && known[i].letter != *p) {
            i++;
        }
        if (i == LENGTH_OF(known)) {
            return err_set(e, "unknown flag \"%c\" (flags \"%s\")", *p, letters);
        }
        *options |= known[i].option;
    }
    return 0;
}

static void re_fini(void *arg)
{
    const struct re *re = arg;

    pcre2_code_free(re->code);
}

static pcre2_code *compile(struct str pattern, uint32_t options, struct err *e)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    PCRE2_UCHAR text[256];
    size_t at;
    int rc;

    ASSERT(context != NULL);
    pcre2_set_parens_nest_limit(context, NEST_LIMIT);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)(pattern.n ? pattern.p : ""), pattern.n,
                                     options | PCRE2_USE_OFFSET_LIMIT, &rc, &at, context);
    pcre2_compile_context_free(context);
    if (code) {
        return code;
    }
    pcre2_get_error_message(rc, text, sizeof(text));
    if (at >= pattern.n) {
        err_set(e, "pcre2_compile() failed: %s in \"%.*s\"", (char *)text, STR_ARG(pattern));
    } else {
        struct str rest = str_skip(pattern, at);
        err_set(e, "pcre2_compile() failed: %s in \"%.*s\" at \"%.*s\"", (char *)text,
                STR_ARG(pattern), STR_ARG(rest));
    }
    return NULL;
}

/* Anchored, or with \G or a verb like (*COMMIT), whose meaning depends on where the search began.
 */
static bool is_whole(const pcre2_code *code, struct str pattern)
{
    uint32_t options = 0;

    pcre2_pattern_info(code, PCRE2_INFO_ALLOPTIONS, &options);
    return (options & PCRE2_ANCHORED) || str_find(pattern, STR("\\G")) >= 0 ||
           str_find(pattern, STR("(*")) >= 0;
}

struct re *re_new(struct arena *a, struct str pattern, const char *options, struct err *e)
{
    uint32_t bits;

    if (options_of(options, &bits, e) != 0) {
        return NULL;
    }
    pcre2_code *code = compile(pattern, bits, e);
    if (!code) {
        return NULL;
    }
    /* Where memory may not be executable this fails, and matching interprets. */
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    struct re *re = ARENA_NEW(a, struct re);
    re->code = code;
    re->utf = (bits & PCRE2_UTF) != 0;
    re->whole = is_whole(code, pattern);
    arena_on_reset(a, re_fini, re);
    return re;
}

static void groups_set(struct re_match *m, struct str s, pcre2_match_data *data, int rc)
{
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(data);

    /* 0: the pattern has more groups than are kept. */
    m->n = rc == 0 ? RE_GROUPS : rc;
    for (int i = 0; i < m->n; i++) {
        PCRE2_SIZE start = at[2 * i], end = at[2 * i + 1];
        /* \K inside a lookaround can put the end before the start. */
        if (start != PCRE2_UNSET) {
            m->group[i] = str_of(s.p + start, end > start ? end - start : 0);
        }
    }
}

/* A search on its way. */
struct search {
    const struct re *re;
    struct str s;
    uint32_t options; /* for PCRE2 */
    int64_t give_up;  /* clock_us() value; 0: nobody looked at the clock yet */
};

static bool is_late(struct search *q)
{
    int64_t at = clock_us();

    if (q->give_up == 0) {
        q->give_up = at + SEARCH_US;
    }
    return at >= q->give_up;
}

/* Try the starts from..last with at most `limit` steps from each. */
static int try_starts(struct search *q, size_t from, size_t last, size_t limit, uint32_t options)
{
    const struct scratch *t = scratch_get();

    pcre2_set_match_limit(t->context, (uint32_t)limit);
    pcre2_set_offset_limit(t->context, last);
    int rc = pcre2_match(q->re->code, (PCRE2_SPTR)q->s.p, q->s.n, from, q->options | options,
                         t->data, t->context);
    if (q->re->utf && (rc == PCRE2_ERROR_NOMATCH || rc == PCRE2_ERROR_MATCHLIMIT)) {
        /* It got as far as matching, so the subject is valid; looking each time would be quadratic.
         */
        q->options |= PCRE2_NO_UTF_CHECK;
    }
    return rc;
}

/* The start after `at`: in UTF a character later. */
static size_t next_start(const struct re *re, struct str s, size_t at)
{
    at++;
    while (re->utf && at < s.n && ((unsigned char)s.p[at] & 0xc0) == 0x80) {
        at++;
    }
    return at;
}

/* The same starts by the interpreter, one by one. */
static int try_starts_slowly(struct search *q, size_t from, size_t last)
{
    int rc = PCRE2_ERROR_NOMATCH;

    if (q->re->whole) {
        return try_starts(q, from, last, MATCH_LIMIT, PCRE2_NO_JIT);
    }
    while (from <= last && rc == PCRE2_ERROR_NOMATCH) {
        if (is_late(q)) {
            return PCRE2_ERROR_MATCHLIMIT;
        }
        rc = try_starts(q, from, from, MATCH_LIMIT, PCRE2_NO_JIT);
        from = next_start(q->re, q->s, from);
    }
    return rc;
}

static size_t clamp(size_t v, size_t least, size_t most)
{
    return v < least ? least : v > most ? most : v;
}

/* PCRE2's result of the whole search. */
static int search(struct search *q, size_t from)
{
    size_t end = q->s.n, portion = STARTS_FIRST;
    size_t limit = clamp(JIT_WORK / (end + 1), JIT_LIMIT_MIN, MATCH_LIMIT);

    for (;;) {
        size_t last = q->re->whole || end - from < portion ? end : from + portion - 1;
        int rc = try_starts(q, from, last, limit, 0);
        if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_JIT_STACKLIMIT) {
            rc = try_starts_slowly(q, from, last);
        }
        if (rc != PCRE2_ERROR_NOMATCH || last == end) {
            return rc;
        }
        if (is_late(q)) {
            return PCRE2_ERROR_MATCHLIMIT;
        }
        from = next_start(q->re, q->s, last);
        portion = clamp(STARTS_WORK / end, STARTS_MIN, STARTS_MAX);
    }
}

bool re_search(const struct re *re, struct str s, size_t from, struct re_match *m)
{
    struct search q = {.re = re, .s = str_of(s.p ? s.p : "", s.n)};

    if (m) {
        *m = (struct re_match){0};
    }
    if (from > s.n) {
        return false;
    }
    int rc = search(&q, from);
    if (m && rc >= 0) {
        groups_set(m, q.s, scratch->data, rc);
    } else if (m && rc != PCRE2_ERROR_NOMATCH) {
        m->n = -1;
    }
    return rc >= 0;
}

/* A piece of a replacement: literal text, or the number of a group (text is STR_NONE then). */
struct piece {
    struct str text;
    unsigned group;
};

/* The digits of a group's number from *rest; false when there are none. */
static bool take_number(struct str *rest, unsigned *n)
{
    size_t digits = 0;

    *n = 0;
    while (digits < rest->n && rest->p[digits] >= '0' && rest->p[digits] <= '9') {
        if (*n < 100000) {
            *n = *n * 10 + (unsigned)(rest->p[digits] - '0');
        }
        digits++;
    }
    *rest = str_skip(*rest, digits);
    return digits > 0;
}

/* Take the next piece off *rest: 1, 0 at the end, -1 when malformed. */
static int take_piece(struct str *rest, struct piece *p)
{
    *p = (struct piece){0};
    if (rest->n == 0) {
        return 0;
    }
    if (rest->p[0] != '$') {
        ptrdiff_t dollar = str_index(*rest, '$');
        p->text = dollar < 0 ? *rest : str_head(*rest, (size_t)dollar);
        *rest = str_skip(*rest, p->text.n);
        return 1;
    }
    if (str_starts(*rest, STR("$$"))) {
        p->text = STR("$");
        *rest = str_skip(*rest, 2);
        return 1;
    }
    bool braces = str_starts(*rest, STR("${"));
    *rest = str_skip(*rest, braces ? 2 : 1);
    if (!take_number(rest, &p->group) || (braces && !str_starts(*rest, STR("}")))) {
        return -1;
    }
    *rest = str_skip(*rest, braces ? 1 : 0);
    return 1;
}

int re_check_replacement(struct str replacement, struct err *e)
{
    struct str rest = replacement;
    struct piece p;
    int rc;

    while ((rc = take_piece(&rest, &p)) > 0) {
    }
    if (rc < 0) {
        return err_set(e, "invalid capturing variable name found in \"%.*s\"",
                       STR_ARG(replacement));
    }
    return 0;
}

/* Append replacement with the groups of m filled in; false when it is malformed. */
static bool add_replacement(struct buf *out, struct str replacement, const struct re_match *m)
{
    struct piece p;
    int rc;

    while ((rc = take_piece(&replacement, &p)) > 0) {
        if (!str_is_none(p.text)) {
            buf_add(out, p.text);
        } else if (p.group < RE_GROUPS) {
            buf_add(out, m->group[p.group]);
        }
    }
    return rc == 0;
}

struct str re_replace(struct arena *a, const struct re *re, struct str s, struct str replacement,
                      bool all)
{
    struct buf out = BUF_INIT(REPLACED_MAX);
    struct str result = STR_NONE;
    struct re_match m;
    size_t from = 0, copied = 0; /* where to search on; what of s is in out */
    bool found = false;

    s.p = s.p ? s.p : "";
    while (re_search(re, s, from, &m)) {
        size_t start = (size_t)(m.group[0].p - s.p), end = start + m.group[0].n;
        found = true;
        /* \K in a lookbehind can match before what was replaced already. */
        if (start < copied) {
            break;
        }
        buf_add(&out, str_of(s.p + copied, start - copied));
        if (!add_replacement(&out, replacement, &m)) {
            goto out;
        }
        copied = end;
        /* After an empty match the next one starts later. */
        from = end > start ? end : next_start(re, s, end);
        if (!all || from > s.n || out.overflow) {
            break;
        }
    }
    if (m.n < 0) {
        goto out;
    }
    if (!found) {
        return s;
    }
    buf_add(&out, str_skip(s, copied));
    if (!out.overflow) {
        result = arena_str(a, buf_str(&out));
    }
out:
    buf_fini(&out);
    return result;
}
