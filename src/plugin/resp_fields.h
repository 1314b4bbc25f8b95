/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * resp_fields: response header fields of a conf, with $variables in their values. Made by prepare,
 * immutable.
 *
 * What frames a message is the transport's: Content-Length, Transfer-Encoding and the like are
 * never set from a conf (`Connection: close` closes). Control bytes that come out of a variable are
 * percent-encoded, so that no request can forge a header.
 */
#include "http/req.h"
#include "schema/var.h"

struct resp_field {
    struct str name;
    enum header_id id;
    bool framing;       /* left to the transport */
    struct tmpl *value; /* NULL: a field to be removed */
};
struct resp_fields {
    struct resp_field *v;
    unsigned n;
};

/* Are the names of this map header names, and its plain values header values? 0, or -1 with e. */
int resp_fields_check(const json_t *map, struct err *e);
int resp_field_name_check(struct str name, struct err *e);
/* A map of name to text or number; NULL gives none. */
struct resp_fields resp_fields_new(struct arena *a, const json_t *map);
struct resp_field resp_field_new(struct arena *a, struct str name, struct str value);

/* Replace; an empty value removes, as in the reference. */
void resp_field_set(struct req *r, const struct resp_field *f);
void resp_field_add(struct req *r, const struct resp_field *f);
void resp_field_remove(struct req *r, const struct resp_field *f);
void resp_fields_set(struct req *r, const struct resp_fields *f);
