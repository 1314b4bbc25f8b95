/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * multipart: the fields of a multipart/form-data body (RFC 7578). Takes bytes, gives slices of
 * them.
 */
#include "base/str.h"

struct multipart {
    struct str body;    /* what is left of it */
    char delimiter[76]; /* CRLF, two dashes, the boundary */
    size_t n;
};

/* False when content_type names no usable boundary. */
bool multipart_start(struct multipart *m, struct str content_type, struct str body);
/* The next part that has a name, files included. False at the end, or where the body is malformed.
 * The name is as it was sent: clients spell a quote in it %22. */
bool multipart_next(struct multipart *m, struct str *name, struct str *value);
