/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* engine: the loops of this test program run on what WEIR_ENGINE says (epoll or io_uring); where
 * that is not available the program says so and tests nothing. */
#include "event/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static __attribute__((constructor)) void engine_choose(void)
{
    const char *name = getenv("WEIR_ENGINE");

    if (name == NULL || strcmp(name, "io_uring") != 0) {
        return;
    }
    loop_set_engine(LOOP_IO_URING);
    if (loop_init() < 0) {
        printf("1..0 # SKIP io_uring is not available\n");
        exit(0);
    }
    loop_fini();
}
