/* SPDX-License-Identifier: Apache-2.0 */
/* jsonpath: the shape of a path, part by part. What stands inside brackets is only looked at for
 * its quotes and brackets. */
#include "schema/jsonpath.h"

static bool is_name_byte(char c)
{
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '_' ||
           c == '-' || c == '$' || (c & 0x80) != 0;
}

/* Length of a name or a star at the front of s. */
static size_t name_len(struct str s)
{
    size_t n = 0;

    if (s.n > 0 && s.p[0] == '*') {
        return 1;
    }
    while (n < s.n && is_name_byte(s.p[n])) {
        n++;
    }
    return n;
}

/* Length of the quoted text at the front of s, 0 when it does not end. */
static size_t quoted_len(struct str s)
{
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == '\\') {
            i++;
        } else if (s.p[i] == s.p[0]) {
            return i + 1;
        }
    }
    return 0;
}

/* Length of [..] at the front of s, 0 when it is empty or does not end. */
static size_t subscript_len(struct str s)
{
    size_t depth = 0, i = 0;

    while (i < s.n) {
        const char c = s.p[i];

        if (c == '\'' || c == '"') {
            const size_t n = quoted_len(str_skip(s, i));

            if (n == 0) {
                return 0;
            }
            i += n;
            continue;
        }
        depth += c == '[';
        depth -= c == ']';
        i++;
        if (depth == 0) {
            return i > 2 ? i : 0;
        }
    }
    return 0;
}

/* Length of the part at the front of s, 0 when there is none. */
static size_t part_len(struct str s)
{
    const size_t dots = str_starts(s, STR("..")) ? 2 : str_starts(s, STR(".")) ? 1 : 0;
    const struct str rest = str_skip(s, dots);
    size_t n = dots > 0 ? name_len(rest) : 0;

    if (n == 0 && dots != 1 && str_starts(rest, STR("["))) {
        n = subscript_len(rest);
    }
    return n > 0 ? dots + n : 0;
}

bool jsonpath_check(struct str path, size_t *bad)
{
    size_t at = 0;

    while (at < path.n) {
        const size_t n = part_len(str_skip(path, at));

        if (n == 0) {
            *bad = at;
            return false;
        }
        at += n;
    }
    return true;
}
