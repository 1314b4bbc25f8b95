/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* h1_priv: what the parts of the HTTP/1 parser know of each other. */
#include "proto/h1.h"

/* Understand the target of a request line whose method is known: fills authority and path_query. */
enum h1_error h1_read_target(struct h1_head *head);
/* A field line is complete (the last of head->headers): checks what frames or routes the message.
 */
enum h1_error h1_read_field(struct h1_head *head, bool is_response);
/* The blank line was seen: what only the whole head can tell. */
enum h1_error h1_read_end(struct h1_head *head, bool is_response, unsigned max_options);
