/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* mem: the heap, where out of memory ends the process. Any thread; freed by free(). */
#include <stddef.h>

/* n bytes, zeroed. */
void *mem_alloc(size_t n) __attribute__((malloc));
/* p with room for n bytes; what is new is not zeroed. */
void *mem_resize(void *p, size_t n);
