/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * graphql_vars: variables about the GraphQL document of a request: the query argument of a GET, the
 * `query` of a JSON body, or a POST's body itself. May park, as they read it (at most
 * graphql.max_size). Missing when there is none or it is malformed.
 */
#include "http/req.h"
#include "schema/var.h"

struct value graphql_name(struct req *r);
struct value graphql_operation(struct req *r);
struct value graphql_root_fields(struct req *r);
