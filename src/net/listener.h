/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * listener: accepts connections for one address on one core (SO_REUSEPORT, so each core has its own
 * queue).
 *
 * Sockets are opened on the control thread before cores start (so that errors are told at start and
 * the ports are ready), and cores get duplicates (sockets.h); on stop a core stops accepting, then
 * drains its queue so that no queued connection is refused.
 */
#include "base/err.h"
#include "base/ip.h"
#include "event/await.h"
#include "event/poll.h"

struct listener {
    struct poll poll;
    bool open;
    struct addr addr;
    /* Owns fd; non-blocking, TCP_NODELAY set. Must not stop the listener. */
    void (*on_accept)(struct listener *l, int fd, const struct addr *peer);
    void *owner;
    unsigned kind;      /* the owner's, set after listener_start() */
    struct timer retry; /* no descriptors are left: accepting again after a while */
};

/* A listening socket: reuseport shares the port between sockets of this process. IPv6 sockets are
 * V6ONLY. An existing Unix socket path nobody listens on is replaced. -1 with e set on failure
 * ("bind to 0.0.0.0:9080 failed: Address already in use"). */
int listener_socket(const struct addr *addr, bool reuseport, int backlog, struct err *e);
/* Accept on fd (from listener_socket) on this thread's loop; 0 or -errno, then fd stays the
 * caller's. On EMFILE/ENFILE it pauses 100 ms instead of spinning. */
int listener_start(struct listener *l, int fd, const struct addr *addr,
                   void (*on_accept)(struct listener *, int, const struct addr *), void *owner);
/* Accept what the kernel has queued, then close. Harmless on a stopped one. */
void listener_stop(struct listener *l);
/* Close only: what is queued is for others that have the socket too. Harmless on a stopped one. */
void listener_leave(struct listener *l);
