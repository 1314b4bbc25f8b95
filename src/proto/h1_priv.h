/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* h1_priv: what the parts of the HTTP/1 parser know of each other. */
#include "proto/h1.h"

/* Understand the target of a request line whose method is known: fills authority and path_query. */
enum h1_error h1_read_target(struct h1_head *head);
/* A field line is complete (the last of head->headers, is_first: of its name): checks what frames
 * or routes the message. */
enum h1_error h1_read_field(struct h1_head *head, bool is_response, bool is_first);
/* The blank line was seen: what only the whole head can tell. */
enum h1_error h1_read_end(struct h1_head *head, bool is_response, unsigned max_options);
/* Read a whole usual head, just begun, in one go (h1_whole.c). False: it is none, or not here to
 * its end, and the parser has to be begun again. */
bool h1_parse_whole(struct h1_parser *p, struct str bytes);
/* RFC 9110 6.5.1: what frames, routes, authenticates or describes a message is not believed when it
 * comes after it. */
bool h1_trailer_is_forbidden(struct str name);
