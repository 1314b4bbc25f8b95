/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_head: the head of a message, byte after byte.
 *
 * One function per state. Each looks at bytes [scanned, end) only and moves on at the first byte
 * that is not its own, so the outcome cannot depend on how the bytes were cut. `end` stops at the
 * limits of line and head: what would be beyond them is never looked at, whether it has arrived or
 * not.
 */
#include "base/assert.h"
#include "proto/h1_priv.h"
#include "proto/h1_scan.h"

enum state {
    S_START,   /* empty lines before a request line */
    S_SKIP_LF, /* the LF of such a line */
    S_METHOD,
    S_TARGET,
    S_VERSION, /* of a request */
    S_STATUS,  /* version and code of a status line */
    S_REASON,
    S_LINE_LF, /* after the CR of the first line */
    S_FIELD,   /* first byte of a line: a field or the end */
    S_NAME,
    S_BLANKS, /* before a value */
    S_VALUE,
    S_VALUE_LF,
    S_END_LF,
    S_DONE,
    S_FAILED
};
enum { GO_ON = 1, MORE = 0 };

static int fail(struct h1_parser *p, enum h1_error e)
{
    p->error = e;
    p->state = S_FAILED;
    return -1;
}

static int go(struct h1_parser *p, enum state next)
{
    p->state = next;
    p->pos = p->scanned;
    return GO_ON;
}

/* Step over the byte at scanned, then go. */
static int step(struct h1_parser *p, enum state next)
{
    p->scanned++;
    return go(p, next);
}

/* The element from pos up to scanned. */
static struct str element(const struct h1_parser *p, const char *b)
{
    return str_of(b + p->pos, p->scanned - p->pos);
}

void h1_parse_init(struct h1_parser *p, struct arena *a, const struct h1_limits *limits,
                   bool is_response)
{
    *p = (struct h1_parser){
        .limits = limits, .is_response = is_response, .state = is_response ? S_STATUS : S_START};
    headers_init(&p->head.headers, a, 24);
}

static int fail_line_end(struct h1_parser *p)
{
    return fail(p, H1_BAD_LINE_END);
}

/* At most two empty lines may come before a request (RFC 9112 2.2 asks for one). */
static int on_start(struct h1_parser *p, const char *b)
{
    const char c = b[p->scanned];

    if (c != '\r' && c != '\n') {
        p->line = p->scanned;
        return go(p, S_METHOD);
    }
    if (p->skipped_crlf == 2) {
        return fail(p, H1_BAD_REQUEST_LINE);
    }
    p->skipped_crlf++;
    if (c == '\n') {
        return p->limits->lax_lf ? step(p, S_START) : fail_line_end(p);
    }
    return step(p, S_SKIP_LF);
}

static int on_method(struct h1_parser *p, const char *b, size_t end)
{
    p->scanned += h1_scan_token(b + p->scanned, end - p->scanned);
    if (p->scanned == end) {
        return MORE;
    }
    if (b[p->scanned] != ' ' || p->scanned == p->pos) {
        const char c = b[p->scanned];

        return fail(p, c == ' ' || c == '\t' || c == '\r' || c == '\n' ? H1_BAD_REQUEST_LINE
                                                                       : H1_BAD_METHOD);
    }
    p->head.method = element(p, b);
    p->head.method_id = http_method_of(p->head.method);
    return step(p, S_TARGET);
}

static int on_target(struct h1_parser *p, const char *b, size_t end)
{
    const char *from = b + p->scanned;
    const size_t n = end - p->scanned;

    p->scanned += p->limits->high_bytes ? h1_scan_target_high(from, n) : h1_scan_target(from, n);
    if (p->scanned == end) {
        return MORE;
    }
    if (b[p->scanned] != ' ' || p->scanned == p->pos) {
        const char c = b[p->scanned];

        return fail(p, c == ' ' || c == '\r' || c == '\n' ? H1_BAD_REQUEST_LINE : H1_BAD_TARGET);
    }
    p->head.target = element(p, b);
    const enum h1_error e = h1_read_target(&p->head);

    return e == H1_OK ? step(p, S_VERSION) : fail(p, e);
}

/* Byte k of "HTTP/1.x". */
static enum h1_error read_version_byte(struct h1_head *head, size_t k, char c,
                                       enum h1_error malformed)
{
    const bool digit = c >= '0' && c <= '9';

    switch (k) {
    case 5:
        return c == '1' ? H1_OK : digit ? H1_BAD_VERSION : malformed;
    case 7:
        head->minor = c != '0';
        return digit ? H1_OK : malformed;
    default:
        return c == "HTTP/1.x"[k] ? H1_OK : malformed;
    }
}

/* CR or a tolerated LF ends the line; *after is where to go behind it. */
static int on_line_end(struct h1_parser *p, char c, enum state after_cr, enum state after_lf,
                       enum h1_error otherwise)
{
    if (c == '\r') {
        return step(p, after_cr);
    }
    if (c != '\n') {
        return fail(p, otherwise);
    }
    if (!p->limits->lax_lf) {
        return fail_line_end(p);
    }
    step(p, after_lf);
    p->line = p->pos;
    return GO_ON;
}

/* "HTTP/1.1" is at hand: no need to look at it byte by byte. */
static void skip_usual_version(struct h1_parser *p, const char *b, size_t end)
{
    if (p->scanned == p->pos && end - p->scanned > 8 &&
        memcmp(b + p->scanned, "HTTP/1.1", 8) == 0) {
        p->head.minor = 1;
        p->scanned += 8;
    }
}

static int on_version(struct h1_parser *p, const char *b, size_t end)
{
    skip_usual_version(p, b, end);
    for (; p->scanned < end; p->scanned++) {
        const size_t k = p->scanned - p->pos;
        const char c = b[p->scanned];

        if (k == 8) {
            return on_line_end(p, c, S_LINE_LF, S_FIELD, H1_BAD_REQUEST_LINE);
        }
        const enum h1_error e = read_version_byte(&p->head, k, c, H1_BAD_REQUEST_LINE);

        if (e != H1_OK) {
            return fail(p, e);
        }
    }
    return MORE;
}

/* Byte k, from 8, of the blank and three digits after the version; 100..599. */
static enum h1_error read_status_byte(struct h1_head *head, size_t k, char c)
{
    if (k == 8) {
        return c == ' ' ? H1_OK : H1_BAD_STATUS_LINE;
    }
    if (c < (k == 9 ? '1' : '0') || c > (k == 9 ? '5' : '9')) {
        return H1_BAD_STATUS_LINE;
    }
    head->status = head->status * 10 + (c - '0');
    return H1_OK;
}

static int on_status(struct h1_parser *p, const char *b, size_t end)
{
    skip_usual_version(p, b, end);
    for (; p->scanned < end; p->scanned++) {
        const size_t k = p->scanned - p->pos;
        const char c = b[p->scanned];

        if (k == 12) {
            p->head.reason = str_of(b + p->scanned, 0);
            return c == ' ' ? step(p, S_REASON)
                            : on_line_end(p, c, S_LINE_LF, S_FIELD, H1_BAD_STATUS_LINE);
        }
        const enum h1_error e = k < 8 ? read_version_byte(&p->head, k, c, H1_BAD_STATUS_LINE)
                                      : read_status_byte(&p->head, k, c);

        if (e != H1_OK) {
            return fail(p, e);
        }
    }
    return MORE;
}

static int on_reason(struct h1_parser *p, const char *b, size_t end)
{
    p->scanned += h1_scan_value(b + p->scanned, end - p->scanned);
    if (p->scanned == end) {
        return MORE;
    }
    p->head.reason = element(p, b);
    return on_line_end(p, b[p->scanned], S_LINE_LF, S_FIELD, H1_BAD_STATUS_LINE);
}

/* Only LF may follow a CR. */
static int on_lf(struct h1_parser *p, const char *b, enum state next)
{
    if (b[p->scanned] != '\n') {
        return fail_line_end(p);
    }
    step(p, next);
    p->line = p->pos;
    return GO_ON;
}

static int on_end(struct h1_parser *p)
{
    const enum h1_error e = h1_read_end(&p->head, p->is_response, p->limits->fields);

    if (e != H1_OK) {
        return fail(p, e);
    }
    p->head.bytes = p->scanned;
    return GO_ON;
}

static int on_field(struct h1_parser *p, const char *b)
{
    const char c = b[p->scanned];

    if (c == '\r') {
        return step(p, S_END_LF);
    }
    if (c == '\n') {
        return p->limits->lax_lf ? step(p, S_DONE), on_end(p) : fail_line_end(p);
    }
    if (c == ' ' || c == '\t') {
        return fail(p, H1_OBS_FOLD);
    }
    return go(p, S_NAME);
}

static int on_name(struct h1_parser *p, const char *b, size_t end)
{
    p->scanned += h1_scan_token(b + p->scanned, end - p->scanned);
    if (p->scanned == end) {
        return MORE;
    }
    if (b[p->scanned] != ':' || p->scanned == p->pos) {
        return fail(p, H1_BAD_FIELD_NAME);
    }
    if (p->head.headers.n == p->limits->fields) {
        return fail(p, H1_TOO_MANY_FIELDS);
    }
    headers_add(&p->head.headers, element(p, b), STR_NONE);
    return step(p, S_BLANKS);
}

static int on_blanks(struct h1_parser *p, const char *b, size_t end)
{
    while (p->scanned < end && (b[p->scanned] == ' ' || b[p->scanned] == '\t')) {
        p->scanned++;
    }
    return p->scanned == end ? MORE : go(p, S_VALUE);
}

static int on_value(struct h1_parser *p, const char *b, size_t end)
{
    p->scanned += h1_scan_value(b + p->scanned, end - p->scanned);
    if (p->scanned == end) {
        return MORE;
    }
    p->head.headers.v[p->head.headers.n - 1].value = str_trim(element(p, b));
    const char c = b[p->scanned];

    if (c == '\n' && p->limits->lax_lf) {
        return go(p, S_VALUE_LF);
    }
    return on_line_end(p, c, S_VALUE_LF, S_VALUE_LF, H1_BAD_FIELD_VALUE);
}

static int on_value_lf(struct h1_parser *p, const char *b)
{
    if (on_lf(p, b, S_FIELD) < 0) {
        return -1;
    }
    const struct headers *h = &p->head.headers;
    const struct header *f = &h->v[h->n - 1];
    const bool is_first = f->id == H_OTHER || headers_find(h, f->id) == f;
    const enum h1_error e = h1_read_field(&p->head, p->is_response, is_first);

    return e == H1_OK ? GO_ON : fail(p, e);
}

/* The buffer has moved: so do the slices that point into it. */
static void rebase_slice(struct str *s, const struct h1_parser *p, const char *b)
{
    if (s->p != NULL) {
        s->p = b + ((uintptr_t)s->p - (uintptr_t)p->base);
    }
}

static void rebase(struct h1_parser *p, const char *b)
{
    struct h1_head *head = &p->head;
    struct str *const slices[] = {&head->method, &head->target, &head->authority, &head->reason};

    for (size_t i = 0; i < LENGTH_OF(slices); i++) {
        rebase_slice(slices[i], p, b);
    }
    if (!head->path_is_made) {
        rebase_slice(&head->path_query, p, b);
    }
    for (unsigned i = 0; i < head->headers.n; i++) {
        rebase_slice(&head->headers.v[i].name, p, b);
        rebase_slice(&head->headers.v[i].value, p, b);
    }
}

static int advance(struct h1_parser *p, const char *b, size_t end)
{
    switch ((enum state)p->state) {
    case S_START:
        return on_start(p, b);
    case S_SKIP_LF:
        return on_lf(p, b, S_START);
    case S_METHOD:
        return on_method(p, b, end);
    case S_TARGET:
        return on_target(p, b, end);
    case S_VERSION:
        return on_version(p, b, end);
    case S_STATUS:
        return on_status(p, b, end);
    case S_REASON:
        return on_reason(p, b, end);
    case S_LINE_LF:
        return on_lf(p, b, S_FIELD);
    case S_FIELD:
        return on_field(p, b);
    case S_NAME:
        return on_name(p, b, end);
    case S_BLANKS:
        return on_blanks(p, b, end);
    case S_VALUE:
        return on_value(p, b, end);
    case S_VALUE_LF:
        return on_value_lf(p, b);
    case S_END_LF:
        return on_lf(p, b, S_DONE) < 0 ? -1 : on_end(p);
    case S_DONE:
    case S_FAILED:
        break;
    }
    ASSERT(false);
}

/* The end of what may be looked at now. */
static size_t visible_end(const struct h1_parser *p, size_t n)
{
    const size_t head = p->limits->head_bytes, line = p->line + p->limits->line_bytes;
    const size_t limit = head < line ? head : line;

    return n < limit ? n : limit;
}

static bool at_limit(const struct h1_parser *p)
{
    return p->scanned >= visible_end(p, SIZE_MAX);
}

static bool in_request_line(const struct h1_parser *p)
{
    return !p->is_response && (p->state < S_STATUS || p->state == S_LINE_LF);
}

/* The states have not seen any of it yet: perhaps they need not. */
static bool parse_whole(struct h1_parser *p, struct str bytes)
{
    if (h1_parse_whole(p, bytes)) {
        p->scanned = p->pos = p->head.bytes;
        p->state = S_DONE;
        return true;
    }
    h1_parse_init(p, p->head.headers.arena, p->limits, p->is_response);
    return false;
}

int h1_parse(struct h1_parser *p, struct str bytes)
{
    if (p->base == NULL && parse_whole(p, bytes)) {
        return 1;
    }
    if (bytes.p != p->base) {
        rebase(p, bytes.p);
        p->base = bytes.p;
    }
    while (p->state != S_DONE && p->state != S_FAILED) {
        const size_t end = visible_end(p, bytes.n);

        if (p->scanned < end && advance(p, bytes.p, end) != MORE) {
            continue;
        }
        if (!at_limit(p)) {
            return 0;
        }
        fail(p, in_request_line(p) ? H1_URI_TOO_LONG : H1_HEAD_TOO_LARGE);
    }
    return p->state == S_DONE ? 1 : -1;
}

static enum h1_error response_framing(struct h1_head *head, enum http_method method,
                                      bool asked_upgrade)
{
    const int s = head->status;

    if (s == 101) {
        head->framing = H1_TUNNEL;
        return asked_upgrade ? H1_OK : H1_BAD_UPGRADE;
    }
    if (method == M_HEAD || s < 200 || s == 204 || s == 304) {
        head->framing = H1_NO_BODY;
    } else if (method == M_CONNECT && s < 300) {
        head->framing = H1_TUNNEL;
    } else if (head->framing == H1_NO_BODY) {
        head->framing = H1_TO_CLOSE;
        head->keepalive = false;
    }
    return H1_OK;
}

int h1_response_framing(struct h1_parser *p, enum http_method request_method, bool asked_upgrade)
{
    ASSERT(p->is_response && p->state == S_DONE);
    const enum h1_error e = response_framing(&p->head, request_method, asked_upgrade);

    return e == H1_OK ? 0 : fail(p, e);
}
