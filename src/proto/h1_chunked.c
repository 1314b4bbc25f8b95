/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_chunked: the chunked coding (RFC 9112 7.1), decoded where it lies.
 *
 * Framing goes byte by byte through the states; payload is handed out as runs of the input. A bare
 * LF is nowhere allowed here, whatever the limits say of heads. Extensions are checked and
 * forgotten.
 */
#include "base/assert.h"
#include "proto/h1_priv.h"
#include "proto/h1_scan.h"

enum state {
    S_SIZE,
    S_EXT_SEMICOLON, /* blanks seen, ';' has to follow */
    S_EXT_NAME_START,
    S_EXT_NAME,
    S_EXT_EQUALS, /* blanks seen after a name: '=' or ';' */
    S_EXT_VALUE_START,
    S_EXT_TOKEN,
    S_EXT_QUOTED,
    S_EXT_ESCAPED,
    S_EXT_QUOTE_END,
    S_SIZE_LF,
    S_DATA,
    S_DATA_CR,
    S_DATA_LF,
    S_TRAILER,
    S_TRAILER_NAME,
    S_TRAILER_VALUE,
    S_TRAILER_LF,
    S_END_LF,
    S_DONE,
    S_FAILED
};
enum { EXT_BYTES_MAX = 4096, OVERHEAD_BASE = 4096, OVERHEAD_FACTOR = 8, SIZE_DIGITS_MAX = 16 };

void h1_chunked_init(struct h1_chunked *c, struct arena *a, const struct h1_limits *limits)
{
    *c = (struct h1_chunked){.arena = a, .limits = limits};
    headers_init(&c->trailers, a, 0);
}

static enum h1_error expect(struct h1_chunked *c, bool matches, enum state next,
                            enum h1_error otherwise)
{
    c->state = (uint8_t)next;
    return matches ? H1_OK : otherwise;
}

static bool is_blank(char b)
{
    return b == ' ' || b == '\t';
}

/* What ends an extension or the size: blanks before the next one, the next one, or the line. */
static enum h1_error end_of_part(struct h1_chunked *c, char b, enum h1_error otherwise)
{
    const enum state next = b == ';' ? S_EXT_NAME_START : b == '\r' ? S_SIZE_LF : S_EXT_SEMICOLON;

    return expect(c, b == ';' || b == '\r' || is_blank(b), next, otherwise);
}

static enum h1_error on_size(struct h1_chunked *c, char b)
{
    if (!h1_is(b, H1_HEX)) {
        return c->hex_digits > 0 ? end_of_part(c, b, H1_BAD_CHUNK_SIZE) : H1_BAD_CHUNK_SIZE;
    }
    if (++c->hex_digits > SIZE_DIGITS_MAX) {
        return H1_BAD_CHUNK_SIZE;
    }
    c->left = c->left << 4 | (b <= '9' ? (uint64_t)(b - '0') : (uint64_t)((b | 0x20) - 'a') + 10);
    return H1_OK;
}

static enum h1_error on_ext_name(struct h1_chunked *c, char b)
{
    if (h1_is(b, H1_TOKEN)) {
        return H1_OK;
    }
    if (b == '=') {
        c->state = S_EXT_VALUE_START;
        return H1_OK;
    }
    return is_blank(b) ? expect(c, true, S_EXT_EQUALS, H1_OK) : end_of_part(c, b, H1_BAD_CHUNK_EXT);
}

static enum h1_error on_ext_quoted(struct h1_chunked *c, char b)
{
    if (b == '\\') {
        c->state = S_EXT_ESCAPED;
    } else if (b == '"') {
        c->state = S_EXT_QUOTE_END;
    } else if (!h1_is(b, H1_VALUE)) {
        return H1_BAD_CHUNK_EXT;
    }
    return H1_OK;
}

static enum h1_error on_ext(struct h1_chunked *c, char b)
{
    if (++c->ext_bytes > EXT_BYTES_MAX) {
        return H1_BAD_CHUNK_EXT;
    }
    switch (c->state) {
    case S_EXT_SEMICOLON:
        return is_blank(b) ? H1_OK
                           : expect(c, b == ';', S_EXT_NAME_START,
                                    b == '\r' ? H1_BAD_CHUNK_SIZE : H1_BAD_CHUNK_EXT);
    case S_EXT_NAME_START:
        return is_blank(b) ? H1_OK : expect(c, h1_is(b, H1_TOKEN), S_EXT_NAME, H1_BAD_CHUNK_EXT);
    case S_EXT_NAME:
        return on_ext_name(c, b);
    case S_EXT_EQUALS:
        return is_blank(b)
                   ? H1_OK
                   : expect(c, b == '=' || b == ';',
                            b == '=' ? S_EXT_VALUE_START : S_EXT_NAME_START, H1_BAD_CHUNK_EXT);
    case S_EXT_VALUE_START:
        return is_blank(b) ? H1_OK
                           : expect(c, b == '"' || h1_is(b, H1_TOKEN),
                                    b == '"' ? S_EXT_QUOTED : S_EXT_TOKEN, H1_BAD_CHUNK_EXT);
    case S_EXT_TOKEN:
        return h1_is(b, H1_TOKEN) ? H1_OK : end_of_part(c, b, H1_BAD_CHUNK_EXT);
    case S_EXT_QUOTED:
        return on_ext_quoted(c, b);
    case S_EXT_ESCAPED:
        return expect(c, h1_is(b, H1_VALUE), S_EXT_QUOTED, H1_BAD_CHUNK_EXT);
    default:
        ASSERT(c->state == S_EXT_QUOTE_END);
        return end_of_part(c, b, H1_BAD_CHUNK_EXT);
    }
}

static enum h1_error on_size_lf(struct h1_chunked *c, char b)
{
    c->hex_digits = 0;
    c->ext_bytes = 0;
    return expect(c, b == '\n', c->left > 0 ? S_DATA : S_TRAILER, H1_BAD_CHUNK_SIZE);
}

/* ---- trailers ---- */

bool h1_trailer_is_forbidden(struct str name)
{
    static const struct str others[] = {
        STR_INIT("content-range"),
        STR_INIT("if-match"),
        STR_INIT("if-range"),
        STR_INIT("if-unmodified-since"),
        STR_INIT("max-forwards"),
        STR_INIT("pragma"),
        STR_INIT("proxy-authenticate"),
        STR_INIT("retry-after"),
        STR_INIT("warning"),
        STR_INIT("content_length"),
        STR_INIT("transfer_encoding"),
        STR_INIT("content-language"),
        STR_INIT("content-location"),
        STR_INIT("cookie2"),
        STR_INIT("set-cookie2"),
    };

    switch ((int)header_id_of(name)) {
    case H_OTHER:
        for (size_t i = 0; i < LENGTH_OF(others); i++) {
            if (str_ieq(name, others[i])) {
                return true;
            }
        }
        return false;
    case H_ETAG:
    case H_LAST_MODIFIED:
    case H_SERVER:
    case H_VIA:
    case H_X_REQUEST_ID:
        return false;
    default:
        return true;
    }
}

static void keep(struct h1_chunked *c, char b)
{
    if (c->line_n == c->line_cap) {
        const unsigned cap = c->line_cap ? c->line_cap * 2 : 64;
        char *line = arena_bytes(c->arena, cap);

        if (c->line_n > 0) {
            memcpy(line, c->line, c->line_n);
        }
        c->line = line;
        c->line_cap = cap;
    }
    c->line[c->line_n++] = b;
}

/* The line is whole: it becomes a field, or its memory serves the next one. */
static void finish_trailer(struct h1_chunked *c)
{
    const struct str line = str_of(c->line, c->line_n);
    const size_t colon = (size_t)str_index(line, ':');
    const struct str name = str_head(line, colon);

    if (!h1_trailer_is_forbidden(name)) {
        headers_add(&c->trailers, name, str_trim(str_skip(line, colon + 1)));
        c->line = NULL;
        c->line_cap = 0;
    }
    c->line_n = 0;
}

static enum h1_error on_trailer_start(struct h1_chunked *c, char b)
{
    if (b == '\r') {
        c->state = S_END_LF;
        return H1_OK;
    }
    if (++c->trailer_fields > c->limits->fields) {
        return H1_TOO_MANY_FIELDS;
    }
    keep(c, b);
    return expect(c, h1_is(b, H1_TOKEN), S_TRAILER_NAME, H1_BAD_TRAILER);
}

static enum h1_error on_trailer(struct h1_chunked *c, char b)
{
    if (++c->trailer_bytes > c->limits->head_bytes || c->line_n >= c->limits->line_bytes) {
        return H1_HEAD_TOO_LARGE;
    }
    switch (c->state) {
    case S_TRAILER:
        return on_trailer_start(c, b);
    case S_TRAILER_NAME:
        keep(c, b);
        return b == ':'             ? expect(c, true, S_TRAILER_VALUE, H1_OK)
               : h1_is(b, H1_TOKEN) ? H1_OK
                                    : H1_BAD_TRAILER;
    case S_TRAILER_VALUE:
        if (b == '\r') {
            c->state = S_TRAILER_LF;
            return H1_OK;
        }
        keep(c, b);
        return h1_is(b, H1_VALUE) ? H1_OK : H1_BAD_TRAILER;
    case S_TRAILER_LF:
        finish_trailer(c);
        return expect(c, b == '\n', S_TRAILER, H1_BAD_TRAILER);
    default:
        ASSERT(c->state == S_END_LF);
        c->done = true;
        return expect(c, b == '\n', S_DONE, H1_BAD_TRAILER);
    }
}

/* ---- */

static enum h1_error on_framing(struct h1_chunked *c, char b)
{
    if (c->state >= S_TRAILER) {
        return on_trailer(c, b);
    }
    if (++c->framing > OVERHEAD_FACTOR * c->payload + OVERHEAD_BASE) {
        return H1_CHUNK_OVERHEAD;
    }
    switch (c->state) {
    case S_SIZE:
        return on_size(c, b);
    case S_SIZE_LF:
        return on_size_lf(c, b);
    case S_DATA_CR:
        return expect(c, b == '\r', S_DATA_LF, H1_BAD_CHUNK_END);
    case S_DATA_LF:
        return expect(c, b == '\n', S_SIZE, H1_BAD_CHUNK_END);
    default:
        return on_ext(c, b);
    }
}

static struct str take_data(struct h1_chunked *c, struct str in)
{
    const struct str data = str_head(in, c->left < in.n ? (size_t)c->left : in.n);

    c->left -= data.n;
    c->payload += data.n;
    if (c->left == 0) {
        c->state = S_DATA_CR;
    }
    return data;
}

int h1_chunked_feed(struct h1_chunked *c, struct str in, size_t *used, struct str *data)
{
    size_t i = 0;

    *data = str_of(in.p, 0);
    while (i < in.n && c->state != S_DATA && c->state < S_DONE) {
        c->error = on_framing(c, in.p[i++]);
        if (c->error != H1_OK) {
            c->state = S_FAILED;
            c->done = false;
        }
    }
    if (i < in.n && c->state == S_DATA) {
        *data = take_data(c, str_skip(in, i));
        i += data->n;
    }
    *used = i;
    return c->state == S_FAILED ? -1 : 0;
}
