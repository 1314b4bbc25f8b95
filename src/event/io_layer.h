/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * io_layer: something between a socket and those who use its struct io, so that they need not know
 * of it: TLS (net/tls.c).
 *
 * Put in place with io->layer and io->layer_state, from then on the functions of await.h that
 * concern io go to the layer, which reaches the socket through the functions below. Its functions
 * keep to what await.h says of theirs; the awaits are called in a fiber that is not cancelled. As
 * everywhere, io may be gone after an await that failed, and the layer's state with it.
 */
#include "event/await.h"

struct io_layer {
    int (*read)(struct io *io, struct str *lent, int64_t deadline);
    int (*read_into)(struct io *io, void *p, size_t n, int64_t deadline);
    int (*readable)(struct io *io, int64_t deadline);
    int (*write)(struct io *io, struct iovec *iov, int iovcnt, int64_t deadline);
    void (*watch)(struct io *io, void (*fn)(struct io *io));
    void (*shut)(struct io *io);
    /* The socket is about to be closed or given away: say good-bye without waiting, free the
     * state. */
    void (*close)(struct io *io);
};

/* The socket itself, below the layer. */
int socket_await_read(struct io *io, struct str *lent, int64_t deadline);
int socket_await_readable(struct io *io, int64_t deadline);
int socket_await_write(struct io *io, struct iovec *iov, int iovcnt, int64_t deadline);
/* Let others have a turn, as the reader of io. */
int socket_await_turn(struct io *io);
void socket_watch(struct io *io, void (*fn)(struct io *io));
void socket_shut(struct io *io);
