/* SPDX-License-Identifier: Apache-2.0 */
/* resp_fields: from a map of text to fields of an answer. */
#include "plugin/resp_fields.h"

#include "base/log.h"

int resp_field_name_check(struct str name, struct err *e)
{
    return header_name_is_valid(name) ? 0
                                      : err_set(e, "invalid header name \"%.*s\"", STR_ARG(name));
}

int resp_fields_check(const json_t *map, struct err *e)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)map, name, value) {
        struct str text = json_str(value);
        if (resp_field_name_check(str_c(name), e) != 0) {
            return -1;
        }
        if (text.n > 0 && !header_value_is_valid(text)) {
            return err_set(e, "invalid value of header \"%s\"", name);
        }
    }
    return 0;
}

static bool is_framing(enum header_id id)
{
    switch (id) {
    case H_CONTENT_LENGTH:
    case H_TRANSFER_ENCODING:
    case H_CONNECTION:
    case H_KEEP_ALIVE:
    case H_PROXY_CONNECTION:
    case H_TE:
    case H_TRAILER:
    case H_UPGRADE:
        return true;
    default:
        return false;
    }
}

struct resp_field resp_field_new(struct arena *a, struct str name, struct str value)
{
    struct resp_field f = {.name = arena_str(a, name), .id = header_id_of(name)};

    f.framing = is_framing(f.id);
    f.value = str_is_none(value) ? NULL : tmpl_new(a, value);
    if (f.framing && f.value != NULL && f.id != H_CONNECTION) {
        LOG_RATE(WARN,
                 "header %.*s is left to the gateway: what a plugin's conf says of it is ignored",
                 STR_ARG(name));
    }
    return f;
}

struct resp_fields resp_fields_new(struct arena *a, const json_t *map)
{
    struct resp_fields out = {ARENA_ARRAY(a, struct resp_field, json_object_size(map) + 1), 0};
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)map, name, value) {
        out.v[out.n++] = resp_field_new(
            a, str_c(name), json_is_string(value) ? json_str(value) : json_text(a, value));
    }
    return out;
}

static bool is_control(char c)
{
    return (unsigned char)c < ' ' ? c != '\t' : c == 0x7f;
}

/* The value for r, fit to be sent. */
static struct str expand(struct req *r, const struct resp_field *f)
{
    static const char hex[] = "0123456789ABCDEF";
    struct str v = tmpl_expand(f->value, r->arena, r, NULL);

    if (header_value_is_valid(v)) {
        return v;
    }
    char *p = arena_bytes(r->arena, v.n * 3), *to = p;
    for (size_t i = 0; i < v.n; i++) {
        if (is_control(v.p[i])) {
            *to++ = '%';
            *to++ = hex[(unsigned char)v.p[i] >> 4];
            *to++ = hex[v.p[i] & 15];
        } else {
            *to++ = v.p[i];
        }
    }
    return str_of(p, (size_t)(to - p));
}

static void set_framing(struct req *r, const struct resp_field *f)
{
    if (f->id == H_CONNECTION && str_ieq(str_trim(expand(r, f)), STR("close"))) {
        r->keepalive = false;
    }
}

void resp_field_set(struct req *r, const struct resp_field *f)
{
    if (f->framing) {
        set_framing(r, f);
        return;
    }
    struct str v = expand(r, f);
    if (v.n > 0) {
        headers_set(&r->resp.headers, f->name, v);
    } else {
        headers_del(&r->resp.headers, f->name);
    }
}

void resp_field_add(struct req *r, const struct resp_field *f)
{
    if (f->framing) {
        set_framing(r, f);
        return;
    }
    headers_add(&r->resp.headers, f->name, expand(r, f));
}

void resp_field_remove(struct req *r, const struct resp_field *f)
{
    if (f->id == H_CONTENT_LENGTH) {
        r->resp.length = -1; /* chunked then */
    }
    headers_del(&r->resp.headers, f->name);
}

void resp_fields_set(struct req *r, const struct resp_fields *f)
{
    for (unsigned i = 0; i < f->n; i++) {
        resp_field_set(r, &f->v[i]);
    }
}
