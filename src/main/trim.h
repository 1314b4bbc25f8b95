/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* trim: gives memory that malloc keeps back to the system, once a load has passed. */
#include <stdint.h>

/* Look every few seconds on this thread's loop. work() is a number that grows with everything the
 * process does; when it has stood still since the last look, and had not before, memory is given
 * back. */
void trim_start(uint64_t (*work)(void));
