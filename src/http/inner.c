/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inner: requests of the gateway to itself. A socket pair stands for the connection, so there is no
 * listener to find and no port, and the address is the client's by construction: no field has to be
 * believed (CVE-2022-24112).
 */
#include "http/server.h"

#include <errno.h>
#include <unistd.h>

int server_open_inner(struct req *r, struct io *io)
{
    struct addr peer = *r->peer;
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
        return -errno;
    }
    int rc = io_open(io, fds[0]);
    if (rc < 0) {
        close(fds[0]);
        close(fds[1]);
        return rc;
    }
    io->lenient = true;
    if (!r->client_unix) {
        addr_from_ip(&peer, &r->client, r->remote_port);
    }
    r->transport->find_local(r);
    server_accept(r->server, fds[1], &peer, r->local);
    return 0;
}
