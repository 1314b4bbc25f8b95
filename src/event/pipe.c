/* SPDX-License-Identifier: Apache-2.0 */
/* pipe: see pipe.h. */
#include "event/pipe.h"

#include <fcntl.h>
#include <unistd.h>

#define SPARE 16
/* A pipe holds a number of fragments, not of bytes: the default of 16 is often one TCP segment
 * each. Refused when the user has many pipes; then the default serves. */
#define PIPE_BYTES (256 << 10)

static _Thread_local struct pipe spare[SPARE];
static _Thread_local unsigned spares;

bool pipe_take(struct pipe *p)
{
    int fd[2];

    if (spares > 0) {
        *p = spare[--spares];
        return true;
    }
    if (pipe2(fd, O_NONBLOCK | O_CLOEXEC) != 0) {
        return false;
    }
    fcntl(fd[1], F_SETPIPE_SZ, PIPE_BYTES);
    *p = (struct pipe){.out = fd[0], .in = fd[1]};
    return true;
}

static void pipe_close(const struct pipe *p)
{
    close(p->out);
    close(p->in);
}

void pipe_give(struct pipe *p, bool empty)
{
    if (empty && spares < SPARE) {
        spare[spares++] = *p;
    } else {
        pipe_close(p);
    }
}

void pipe_fini(void)
{
    while (spares > 0) {
        pipe_close(&spare[--spares]);
    }
}
