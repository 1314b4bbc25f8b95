/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request heads. Oracles: the outcome does not depend on how the bytes are cut; what was taken
 * passes a second, slow reader of the grammar; what the writer makes of it is read as the same
 * message.
 *
 * The first byte chooses the switches, the second where to cut.
 */
#include "fuzz.h"
#include "h1_run.h"

/* ---- the slow reader: the whole head at once, line by line, every rule spelled out ---- */

static bool strict_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        const char c = s.p[i];
        const bool alnum =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

        if (!alnum && (c == 0 || strchr("!#$%&'*+-.^_`|~", c) == NULL)) {
            return false;
        }
    }
    return s.n > 0;
}

static bool strict_text(struct str s, int lowest, bool high)
{
    for (size_t i = 0; i < s.n; i++) {
        const int c = (uint8_t)s.p[i];

        if (!(c == '\t' && lowest <= ' ') && (c < lowest || c == 0x7f || (c > 0x7f && !high))) {
            return false;
        }
    }
    return true;
}

/* "METHOD SP target SP HTTP/1.x" with nothing before, between or behind. */
static bool strict_request_line(struct str line, const struct h1_limits *limits, bool *is_1_0)
{
    struct str rest = line, method, target;

    if (!str_split(&rest, ' ', &method) || !str_split(&rest, ' ', &target) || rest.n != 8 ||
        !str_starts(rest, STR("HTTP/1."))) {
        return false;
    }
    *is_1_0 = rest.p[7] == '0';
    return strict_token(method) && target.n > 0 && strict_text(target, '!', limits->high_bytes) &&
           str_index(target, '#') < 0 && rest.p[7] >= '0' && rest.p[7] <= '9';
}

struct strict {
    unsigned fields, hosts, lengths, codings;
    bool is_1_0;
};

static bool strict_field(struct strict *s, struct str line)
{
    const ptrdiff_t colon = str_index(line, ':');
    const struct str name = str_head(line, (size_t)(colon < 0 ? 0 : colon)),
                     value = str_trim(str_skip(line, (size_t)colon + 1));

    if (colon <= 0 || !strict_token(name) || !strict_text(value, ' ', true)) {
        return false;
    }
    s->fields++;
    s->hosts += str_ieq(name, STR("host"));
    if (str_ieq(name, STR("content-length"))) {
        uint64_t n;

        s->lengths++;
        return str_to_u64(value, &n);
    }
    if (str_ieq(name, STR("transfer-encoding"))) {
        s->codings++;
        return !s->is_1_0 && str_ieq(str_trim(value), value) && value.n >= 7;
    }
    return !str_ieq(name, STR("content_length")) && !str_ieq(name, STR("transfer_encoding"));
}

/* Take one line off; a bare LF ends it only where that is allowed, a bare CR never stands anywhere.
 */
static bool strict_line(struct str *rest, bool lax_lf, struct str *line)
{
    const ptrdiff_t lf = str_index(*rest, '\n');

    if (lf < 0) {
        return false;
    }
    *line = str_head(*rest, (size_t)lf);
    *rest = str_skip(*rest, (size_t)lf + 1);
    if (line->n > 0 && line->p[line->n - 1] == '\r') {
        line->n--;
    } else if (!lax_lf) {
        return false;
    }
    return str_index(*line, '\r') < 0;
}

static bool strict_head(struct str head, const struct h1_limits *limits, struct strict *s)
{
    struct str rest = head, line;
    unsigned empty = 0;

    do {
        if (!strict_line(&rest, limits->lax_lf, &line)) {
            return false;
        }
    } while (line.n == 0 && ++empty <= 2);
    if (!strict_request_line(line, limits, &s->is_1_0) || line.n + 1 > limits->line_bytes) {
        return false;
    }
    while (strict_line(&rest, limits->lax_lf, &line)) {
        if (line.n == 0) {
            return rest.n == 0;
        }
        if (line.n + 1 > limits->line_bytes || !strict_field(s, line)) {
            return false;
        }
    }
    return false;
}

static void check_strictly(const struct h1_head *h, struct str bytes,
                           const struct h1_limits *limits)
{
    struct strict s = {0};

    ORACLE(h->bytes <= bytes.n && h->bytes <= limits->head_bytes);
    ORACLE(strict_head(str_head(bytes, h->bytes), limits, &s));
    ORACLE(s.fields == h->headers.n && s.fields <= limits->fields);
    ORACLE(s.hosts == 1 || (s.is_1_0 && s.hosts == 0));
    ORACLE(s.lengths + s.codings <= 1);
    ORACLE((h->framing == H1_LENGTH) == (s.lengths == 1) &&
           (h->framing == H1_CHUNKED) == (s.codings == 1));
    ORACLE(h->path_query.n > 0 && (h->path_query.p[0] == '/' || str_eq(h->path_query, STR("*")) ||
                                   h->method_id == M_CONNECT));
}

/* ---- what goes out is what came in ---- */

static void check_round_trip(const struct h1_head *h, struct arena *a,
                             const struct h1_limits *limits)
{
    struct h1_parser p;
    size_t size;
    char *out = run_write_request(h->method, h->target, &h->headers, &size);

    ORACLE(size > 0);
    h1_parse_init(&p, a, limits, false);
    const int rc = h1_parse(&p, str_of(out, size));

    /* The spelling of a short blank may be longer on the way out than it was. */
    if (rc < 0 && (p.error == H1_HEAD_TOO_LARGE || p.error == H1_URI_TOO_LONG)) {
        free(out);
        return;
    }
    ORACLE(rc == 1 && p.head.bytes == size);
    ORACLE_SAME(p.head.path_query, h->path_query);
    ORACLE_SAME(p.head.authority, h->authority);
    ORACLE(p.head.framing == h->framing && p.head.content_length == h->content_length &&
           p.head.upgrade == h->upgrade);
    ORACLE(p.head.keepalive == h->keepalive && p.head.expect_continue == h->expect_continue &&
           p.head.headers.n == h->headers.n);
    for (unsigned i = 0; i < h->headers.n; i++) {
        ORACLE_SAME(p.head.headers.v[i].name, h->headers.v[i].name);
        ORACLE_SAME(p.head.headers.v[i].value, h->headers.v[i].value);
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) {
        return 0;
    }
    const struct h1_limits limits = {.head_bytes = data[0] & 4 ? 300 : 65536,
                                     .line_bytes = data[0] & 4 ? 80 : 16384,
                                     .fields = data[0] & 4 ? 6 : 200,
                                     .lax_lf = data[0] & 1,
                                     .high_bytes = data[0] & 2};
    const struct str bytes = str_of((const char *)data + 2, size - 2);
    struct arena *a = arena_new(8192);
    struct h1_run r;

    const struct str whole = run_cut(a, &limits, false, bytes, 0);

    ORACLE_SAME(whole, run_cut(a, &limits, false, bytes, (size_t)data[1] * bytes.n / 255));
    if (bytes.n < 400) {
        ORACLE_SAME(whole, run_cut(a, &limits, false, bytes, SIZE_MAX));
    }
    run_begin(&r, &limits, false);
    run_feed(&r, bytes);
    if (r.rc == 1) {
        check_strictly(&r.parser.head, str_of(r.copy, bytes.n), &limits);
        if (r.parser.head.minor == 1) {
            check_round_trip(&r.parser.head, a, &limits);
        }
    }
    run_end(&r);
    arena_free(a);
    return 0;
}
