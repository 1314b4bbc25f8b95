/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_fields: the fields that frame, route or end a message (RFC 9112 6 and 9, RFC
 * 9110 7.2, 7.8, 10.1.1).
 *
 * h1_read_field looks at one complete line, so that a contradiction is refused at the line that
 * makes it.
 */
#include "base/assert.h"
#include "proto/h1_priv.h"
#include "proto/h1_scan.h"

static enum h1_error read_content_length(struct h1_head *head, struct str value, bool is_first)
{
    /* A list or a repetition is refused even when the numbers agree: no client of ours has a reason
     * for it. */
    if (!is_first || !str_to_u64(value, &head->content_length) ||
        head->content_length > INT64_MAX) {
        return H1_BAD_CONTENT_LENGTH;
    }
    if (head->framing == H1_CHUNKED) {
        return H1_CL_AND_TE;
    }
    head->framing = H1_LENGTH;
    return H1_OK;
}

/*
 * The only coding understood is chunked, once. A word that is no token is somebody's disguise of
 * it; another coding before it would be honest but is unknown here (501); chunked not in the last
 * place leaves no framing.
 */
static enum h1_error read_codings(struct str rest)
{
    bool chunked = false, unknown = false;
    struct str part;

    while (str_split(&rest, ',', &part)) {
        const struct str coding = str_trim(part);

        if (coding.n == 0) {
            continue;
        }
        if (chunked || !header_name_is_valid(coding)) {
            return H1_BAD_TRANSFER_ENCODING;
        }
        chunked = str_ieq(coding, STR("chunked"));
        unknown |= !chunked;
    }
    if (unknown) {
        return H1_UNKNOWN_TRANSFER_CODING;
    }
    return chunked ? H1_OK : H1_BAD_TRANSFER_ENCODING;
}

static enum h1_error read_transfer_encoding(struct h1_head *head, struct str value, bool is_first)
{
    if (!is_first || head->minor == 0) {
        return H1_BAD_TRANSFER_ENCODING;
    }
    if (head->framing == H1_LENGTH) {
        return H1_CL_AND_TE;
    }
    head->framing = H1_CHUNKED;
    return read_codings(value);
}

static enum h1_error read_host(struct h1_head *head, struct str value, bool is_first)
{
    if (!is_first || !h1_authority_is_valid(value)) {
        return H1_BAD_HOST;
    }
    if (!head->host_repeated_in_target && head->method_id != M_CONNECT) {
        head->authority = value;
    }
    return H1_OK;
}

static enum h1_error read_expect(struct h1_head *head, struct str value)
{
    if (head->minor == 0) {
        return H1_OK;
    }
    if (!str_ieq(value, STR("100-continue"))) {
        return H1_BAD_EXPECT;
    }
    head->expect_continue = true;
    return H1_OK;
}

/* Upstreams that turn names into variables (CGI, WSGI) read these as the real ones. */
static bool is_framing_with_underscore(struct str name)
{
    static const struct str names[] = {STR_INIT("content-length"), STR_INIT("transfer-encoding")};

    for (size_t i = 0; i < LENGTH_OF(names); i++) {
        size_t k = 0;

        while (name.n == names[i].n && k < name.n &&
               (name.p[k] == '_' ? '-' : ascii_lower(name.p[k])) == names[i].p[k]) {
            k++;
        }
        if (k == names[i].n) {
            return true;
        }
    }
    return false;
}

enum h1_error h1_read_field(struct h1_head *head, bool is_response, bool is_first)
{
    const struct header *f = &head->headers.v[head->headers.n - 1];

    switch ((int)f->id) {
    case H_OTHER:
        return is_framing_with_underscore(f->name) ? H1_BAD_FIELD_NAME : H1_OK;
    case H_CONTENT_LENGTH:
        return read_content_length(head, f->value, is_first);
    case H_TRANSFER_ENCODING:
        return read_transfer_encoding(head, f->value, is_first);
    case H_HOST:
        return is_response ? H1_OK : read_host(head, f->value, is_first);
    case H_EXPECT:
        return is_response ? H1_OK : read_expect(head, f->value);
    default:
        return H1_OK;
    }
}

/* protocol-name ["/" protocol-version], both tokens. */
static bool protocol_is_valid(struct str s)
{
    const size_t n = h1_scan_token(s.p, s.n);

    return n > 0 && (n == s.n || (s.p[n] == '/' && header_name_is_valid(str_skip(s, n + 1))));
}

/* A list of protocols without h2c, which must not be asked of an upstream that may take it:
 * `*usable` says so. */
static enum h1_error read_upgrade(const struct headers *h, bool *usable)
{
    bool some = false, h2c = headers_find(h, H_HTTP2_SETTINGS) != NULL;

    *usable = false;
    if (!headers_may_have(h, H_UPGRADE)) {
        return H1_OK;
    }

    for (unsigned i = 0; i < h->n; i++) {
        struct str rest = h->v[i].value, part;

        if (h->v[i].id != H_UPGRADE) {
            continue;
        }
        while (str_split(&rest, ',', &part)) {
            const struct str protocol = str_trim(part);

            if (protocol.n == 0) {
                continue;
            }
            if (!protocol_is_valid(protocol)) {
                return H1_BAD_UPGRADE;
            }
            some = true;
            h2c |= str_ieq(protocol, STR("h2c")) || str_ieq(str_head(protocol, 4), STR("h2c/"));
        }
    }
    *usable = some && !h2c;
    return H1_OK;
}

/* What Connection lists; too many options are refused, as each is compared with each field later
 * on. */
static enum h1_error read_connection(struct h1_head *head, unsigned max_options, bool *upgrade)
{
    bool close = false, keep_alive = false;
    unsigned options = 0, known = 0;

    if (!headers_may_have(&head->headers, H_CONNECTION)) {
        head->keepalive = head->minor > 0;
        head->headers.options_only = true;
        return H1_OK;
    }

    for (unsigned i = 0; i < head->headers.n; i++) {
        struct str rest = head->headers.v[i].value, part;

        if (head->headers.v[i].id != H_CONNECTION) {
            continue;
        }
        if (str_ieq(rest, STR("keep-alive"))) { /* nearly always */
            keep_alive = true;
            continue;
        }
        while (str_split(&rest, ',', &part)) {
            const struct str option = str_trim(part);

            if (++options > max_options) {
                return H1_TOO_MANY_FIELDS;
            }
            const bool is_close = str_ieq(option, STR("close"));
            const bool is_keep_alive = str_ieq(option, STR("keep-alive"));
            const bool is_upgrade = str_ieq(option, STR("upgrade"));

            close |= is_close;
            keep_alive |= is_keep_alive;
            *upgrade |= is_upgrade;
            known += is_close || is_keep_alive || is_upgrade;
        }
    }
    head->keepalive = !close && (head->minor > 0 || keep_alive);
    head->headers.options_only = known == options;
    return H1_OK;
}

enum h1_error h1_read_end(struct h1_head *head, bool is_response, unsigned max_options)
{
    bool asks_upgrade = false, usable = false;
    enum h1_error e = read_connection(head, max_options, &asks_upgrade);

    if (e != H1_OK) {
        return e;
    }
    e = read_upgrade(&head->headers, &usable);
    if (e != H1_OK && !is_response) {
        return e;
    }
    head->upgrade = asks_upgrade && usable && head->minor > 0;
    if (!is_response && head->minor > 0 && headers_find(&head->headers, H_HOST) == NULL) {
        return H1_BAD_HOST;
    }
    head->expect_continue &= head->framing != H1_NO_BODY;
    return H1_OK;
}

bool h1_is_hop_by_hop(const struct headers *h, const struct header *f)
{
    if (H1_HOP_BY_HOP >> f->id & 1) {
        return true;
    }
    return !h->options_only && f->id != H_CONTENT_LENGTH && f->id != H_HOST &&
           headers_has_token(h, H_CONNECTION, f->name);
}
