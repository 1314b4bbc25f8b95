/* SPDX-License-Identifier: Apache-2.0 */
/* h1_target: the four forms of a request target (RFC 9112 3.2) and the grammar of host[:port] (RFC
 * 3986 3.2). */
#include "proto/h1_priv.h"
#include "proto/h1_scan.h"

#include <arpa/inet.h>

static unsigned hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a') + 10;
}

/* Is the '%' at s.p[i] followed by two hexadecimal digits that do not spell NUL? */
static bool escape_is_valid(struct str s, size_t i)
{
    return i + 2 < s.n && h1_is(s.p[i + 1], H1_HEX) && h1_is(s.p[i + 2], H1_HEX) &&
           (hex_digit(s.p[i + 1]) | hex_digit(s.p[i + 2])) != 0;
}

/* Every escape of the path is well-formed; the query is free text that only the upstream
 * understands. */
static bool path_is_valid(struct h1_head *head)
{
    const struct str path_query = head->path_query;
    const char *query = memchr(path_query.p, '?', path_query.n);
    const struct str path =
        str_head(path_query, query ? (size_t)(query - path_query.p) : path_query.n);
    struct str rest = path;
    const char *percent;

    head->path_n = path.n;
    while (rest.n > 0 && (percent = memchr(rest.p, '%', rest.n)) != NULL) {
        const size_t i = (size_t)(percent - path.p);

        if (!escape_is_valid(path, i)) {
            return false;
        }
        rest = str_skip(path, i + 3);
    }
    return true;
}

static bool ipv6_is_valid(struct str s)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr addr;

    if (s.n >= sizeof(text)) {
        return false;
    }
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    return inet_pton(AF_INET6, text, &addr) == 1;
}

static bool reg_name_is_valid(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '%') {
            /* Control bytes, delimiters and blanks do not belong in a name, in whatever spelling.
             */
            if (!escape_is_valid(s, i) || hex_digit(s.p[i + 1]) < 8) {
                return false;
            }
            i += 2;
        } else if (!h1_is(s.p[i], H1_REG_NAME)) {
            return false;
        }
    }
    return s.n > 0;
}

static bool port_is_valid(struct str s)
{
    unsigned port = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
        port = port * 10 + (unsigned)(s.p[i] - '0');
        if (port > 65535) {
            return false;
        }
    }
    return true;
}

static bool authority_split(struct str s, struct str *port)
{
    const char *colon;

    if (s.n > 0 && s.p[0] == '[') {
        const char *bracket = memchr(s.p, ']', s.n);

        if (bracket == NULL || !ipv6_is_valid(str_of(s.p + 1, (size_t)(bracket - s.p) - 1))) {
            return false;
        }
        *port = str_skip(s, (size_t)(bracket - s.p) + 1);
        return port->n == 0 || port->p[0] == ':';
    }
    colon = s.n > 0 ? memchr(s.p, ':', s.n) : NULL;
    *port = colon ? str_skip(s, (size_t)(colon - s.p)) : str_of("", 0);
    return reg_name_is_valid(str_head(s, s.n - port->n));
}

bool h1_authority_is_valid(struct str s)
{
    struct str port;

    return authority_split(s, &port) && port_is_valid(str_skip(port, 1));
}

/* CONNECT: host and port, both present (RFC 9112 3.2.3). */
static enum h1_error read_authority_form(struct h1_head *head)
{
    struct str port;

    if (!authority_split(head->target, &port) || port.n < 2 || !port_is_valid(str_skip(port, 1))) {
        return H1_BAD_TARGET;
    }
    head->authority = head->target;
    head->path_query = head->target;
    head->path_n = head->target.n;
    return H1_OK;
}

/* The part of an absolute-form after "scheme://". */
static enum h1_error read_hier_part(struct h1_head *head, struct str s)
{
    size_t n = 0;

    while (n < s.n && s.p[n] != '/' && s.p[n] != '?') {
        n++;
    }
    head->authority = str_head(s, n);
    head->path_query = str_skip(s, n);
    head->host_repeated_in_target = true;
    if (!h1_authority_is_valid(head->authority)) {
        return H1_BAD_TARGET;
    }
    if (head->path_query.n == 0) {
        /* RFC 9112 3.2.4: the last proxy turns this into the asterisk-form. */
        head->path_query = head->method_id == M_OPTIONS ? STR("*") : STR("/");
        head->path_is_made = true;
    } else if (head->path_query.p[0] == '?') {
        head->path_query = arena_cat(head->headers.arena, STR("/"), head->path_query);
        head->path_is_made = true;
    }
    return path_is_valid(head) ? H1_OK : H1_BAD_TARGET;
}

static enum h1_error read_absolute_form(struct h1_head *head)
{
    static const struct str schemes[] = {STR_INIT("http://"), STR_INIT("https://")};

    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (str_ieq(str_head(head->target, schemes[i].n), schemes[i])) {
            return read_hier_part(head, str_skip(head->target, schemes[i].n));
        }
    }
    return H1_BAD_TARGET;
}

enum h1_error h1_read_target(struct h1_head *head)
{
    if (head->method_id == M_CONNECT) {
        return read_authority_form(head);
    }
    if (head->target.p[0] == '/') {
        head->path_query = head->target;
        return path_is_valid(head) ? H1_OK : H1_BAD_TARGET;
    }
    if (str_eq(head->target, STR("*"))) {
        head->path_query = head->target;
        head->path_n = 1;
        return head->method_id == M_OPTIONS ? H1_OK : H1_BAD_TARGET;
    }
    return read_absolute_form(head);
}
