/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * graphql: what a GraphQL document asks for: its first operation and that one's root fields.
 *
 * Takes bytes, gives slices of them; no recursion, bounded in depth and number. The grammar is that
 * of executable documents (GraphQL specification, October 2021, section 2), and all of the document
 * must follow it. Rules beyond the grammar are the server's business.
 */
#include "base/arena.h"
#include "base/err.h"

struct graphql {
    struct str operation; /* query, mutation or subscription */
    struct str name;      /* "" when it has none */
    /* Names of the root fields in order, without aliases. Those in fragments at the root are among
     * them, so that a fragment hides nothing from a rule. */
    const struct str *fields;
    size_t n_fields;
};

/* 0, or -1 with e set to what is wrong and where. out points into text and arena a. */
int graphql_parse(struct arena *a, struct str text, struct graphql *out, struct err *e);
