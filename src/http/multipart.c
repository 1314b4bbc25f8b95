/* SPDX-License-Identifier: Apache-2.0 */
/* multipart: see multipart.h. */
#include "http/multipart.h"

/* The value of a parameter behind the first semicolon of a field; STR_NONE when it has none such.
 */
static struct str parameter(struct str field, struct str name)
{
    size_t i = 0;

    while (i < field.n) {
        /* To the next semicolon outside of quotes. */
        for (bool quoted = false; i < field.n && (quoted || field.p[i] != ';'); i++) {
            quoted ^= field.p[i] == '"';
            i += quoted && field.p[i] == '\\';
        }
        struct str rest = str_trim(str_skip(field, i + 1));
        if (rest.n <= name.n || !str_ieq(str_head(rest, name.n), name) || rest.p[name.n] != '=') {
            i++;
            continue;
        }
        rest = str_skip(rest, name.n + 1);
        if (rest.n == 0 || rest.p[0] != '"') {
            const ptrdiff_t end = str_index(rest, ';');
            return str_trim(end < 0 ? rest : str_head(rest, (size_t)end));
        }
        size_t n = 1;
        while (n < rest.n && rest.p[n] != '"') {
            n += rest.p[n] == '\\' ? 2 : 1;
        }
        return n < rest.n ? str_of(rest.p + 1, n - 1) : STR_NONE;
    }
    return STR_NONE;
}

bool multipart_start(struct multipart *m, struct str content_type, struct str body)
{
    const struct str boundary = parameter(content_type, STR("boundary"));

    /* RFC 2046 section 5.1.1 */
    if (boundary.n == 0 || boundary.n > 70) {
        return false;
    }
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary.p, boundary.n);
    m->n = 4 + boundary.n;
    m->body = body;
    /* The first delimiter may stand at the very beginning. */
    const struct str line = str_of(m->delimiter + 2, m->n - 2);
    const ptrdiff_t first =
        str_starts(body, line) ? -2 : str_find(body, str_of(m->delimiter, m->n));
    if (first == -1) {
        return false;
    }
    m->body = str_skip(body, (size_t)(first + (ptrdiff_t)m->n));
    return true;
}

/* Step over the end of a delimiter line; false when it is the last or no delimiter. */
static bool next_line(struct str *s)
{
    while (s->n > 0 && (s->p[0] == ' ' || s->p[0] == '\t')) {
        *s = str_skip(*s, 1);
    }
    if (!str_starts(*s, STR("\r\n"))) {
        return false;
    }
    *s = str_skip(*s, 2);
    return true;
}

/* Take the fields of a part, with the empty line, off *s; *name is STR_NONE when they give none. */
static bool part_head(struct str *s, struct str *name)
{
    static const struct str wanted = STR_INIT("content-disposition:");

    *name = STR_NONE;
    for (;;) {
        const ptrdiff_t end = str_find(*s, STR("\r\n"));
        if (end < 0) {
            return false;
        }
        const struct str line = str_head(*s, (size_t)end);
        *s = str_skip(*s, (size_t)end + 2);
        if (line.n == 0) {
            return true;
        }
        if (line.n > wanted.n && str_ieq(str_head(line, wanted.n), wanted)) {
            *name = parameter(line, STR("name"));
        }
    }
}

bool multipart_next(struct multipart *m, struct str *name, struct str *value)
{
    do {
        if (!next_line(&m->body)) {
            return false;
        }
        struct str rest = m->body;
        if (!part_head(&rest, name)) {
            return false;
        }
        /* The empty line's end may be the delimiter's beginning: a part without content. */
        const struct str from = str_of(rest.p - 2, rest.n + 2);
        const ptrdiff_t end = str_find(from, str_of(m->delimiter, m->n));
        if (end < 0) {
            return false;
        }
        *value = end < 2 ? STR("") : str_head(rest, (size_t)end - 2);
        m->body = str_skip(from, (size_t)end + m->n);
    } while (name->p == NULL);
    return true;
}
