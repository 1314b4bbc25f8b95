/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* pipe: the pipes that await_splice() moves bytes through; empty ones are kept per thread. */
#include <stdbool.h>

struct pipe {
    int out, in;
};

/* An empty pipe; false when there are no descriptors left. */
bool pipe_take(struct pipe *p);
/* Give it back; empty: nothing is left in it (otherwise it is closed). */
void pipe_give(struct pipe *p, bool empty);
/* Thread end. */
void pipe_fini(void);
