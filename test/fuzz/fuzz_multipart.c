/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multipart bodies. The input is a Content-Type, then a line feed, then the body. Oracles: names
 * and values are slices of their text, in order; no value has the delimiter in it; and the fields
 * that were found, written again, are found again.
 */
#include "base/buf.h"
#include "fuzz.h"
#include "http/multipart.h"

static void write_part(struct buf *b, const struct multipart *m, struct str name, struct str value)
{
    buf_add(b, str_of(m->delimiter, m->n));
    buf_add(b, STR("\r\nContent-Disposition: form-data; name=\""));
    buf_add(b, name);
    buf_add(b, STR("\"\r\n\r\n"));
    buf_add(b, value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct str all = str_of((const char *)data, size);
    const ptrdiff_t line = str_index(all, '\n');
    const struct str type = line < 0 ? all : str_head(all, (size_t)line);
    const struct str body = str_skip(all, line < 0 ? all.n : (size_t)line + 1);
    struct buf written = BUF_INIT(1 << 24);
    struct multipart m, again;
    struct str name, value, at = body;

    if (!multipart_start(&m, type, body)) {
        return 0;
    }
    const struct str delimiter = str_of(m.delimiter, m.n);
    size_t n = 0;
    while (multipart_next(&m, &name, &value)) {
        ORACLE(name.p != NULL && name.p >= at.p && value.n <= body.n);
        ORACLE(value.n == 0 || (value.p >= name.p && value.p + value.n <= body.p + body.n));
        ORACLE(str_find(value, delimiter) < 0);
        at.p = name.p + name.n;
        /* What was sent without quotes may not be sent with them as it is. */
        if (str_index(name, '"') < 0 && str_index(name, '\\') < 0) {
            write_part(&written, &m, name, value);
            n++;
        }
    }
    buf_add(&written, delimiter);
    buf_add(&written, STR("--\r\n"));
    ORACLE(multipart_start(&again, type, buf_str(&written)));
    while (multipart_next(&again, &name, &value)) {
        ORACLE(n-- > 0);
    }
    ORACLE(n == 0);
    buf_fini(&written);
    return 0;
}
