/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* jsonpath: is a text a JSONPath? Names after a dot, .. for any depth, * for all, and [..] with
 * indexes, slices, quoted names or filters. */
#include "base/str.h"

/* path is what follows the $. True when it is well formed; else *bad is where the first part starts
 * that is not. */
bool jsonpath_check(struct str path, size_t *bad);
