/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * escape: text made of a configuration and of what a client sent, on its way into a message. What
 * may not stand there is percent-encoded; text that needs nothing is returned as it is.
 */
#include "base/arena.h"

/* Into a field value: control bytes other than a tab. */
struct str escape_header_value(struct arena *a, struct str s);
/* Into a query or a whole URI, whose own signs keep their meaning: control bytes, blanks, quotes,
 * <>, what is not ASCII. */
struct str escape_uri(struct arena *a, struct str s);
/* Into a request target, which has no fragment: # too. */
struct str escape_target(struct arena *a, struct str s);
