/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * sockets: the listening sockets of the process. Control thread.
 *
 * A connection that the kernel has queued is lost when its socket is closed, even when others
 * listen on the same port (SO_REUSEPORT). So a socket that was opened stays open as long as its
 * address is wanted: cores and servers come and go with duplicates of it, another process takes it
 * over (sockets_adopt()), and only an address that nobody wants any more is closed.
 */
#include "base/err.h"
#include "base/ip.h"

/* See to it that addr has at least n sockets that share its port (a Unix address has one: it cannot
 * be bound twice), or, with n 0, one alone. 0, or -1 with e; what was opened stays until
 * sockets_keep(). */
int sockets_open(const struct addr *addr, unsigned n, int backlog, struct err *e);
/*
 * What listener `index` of `of` that share addr accepts on: duplicates, which are the caller's, in
 * fds[SOCKETS_SHARE]; their number. Each socket has one listener; those that do not divide evenly,
 * and those that are fewer than the listeners, have them all.
 */
#define SOCKETS_SHARE 1024
unsigned sockets_share(const struct addr *addr, unsigned index, unsigned of, int *fds);
/* Close those whose address is not wanted. */
void sockets_keep(bool (*wanted)(const struct addr *addr, const void *arg), const void *arg);
void sockets_close(void);

/* ---- handing over ---- */
/* Take over a listening socket from another process: which one it is, it says itself. False (and
 * closed) when it is none. */
bool sockets_adopt(int fd);
/* All there are, borrowed until the next call; their number. */
unsigned sockets_list(const int **fds);
