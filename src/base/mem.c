/* SPDX-License-Identifier: Apache-2.0 */
/* mem: malloc that does not return without memory. */
#include "base/mem.h"

#include "base/assert.h"

#include <stdlib.h>

void *mem_alloc(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    ASSERT(p != NULL);
    return p;
}

void *mem_resize(void *p, size_t n)
{
    void *q = realloc(p, n ? n : 1);
    ASSERT(q != NULL);
    return q;
}
