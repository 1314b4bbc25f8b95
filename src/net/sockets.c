/* SPDX-License-Identifier: Apache-2.0 */
/* sockets: see sockets.h. A flat list: there are a few addresses with a socket a core each. */
#include "net/sockets.h"

#include "base/mem.h"
#include "net/listener.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static struct {
    struct addr *addr;
    int *fd;
    unsigned n;
} all;

static void add(const struct addr *addr, int fd)
{
    all.addr = mem_resize(all.addr, (all.n + 1) * sizeof(*all.addr));
    all.fd = mem_resize(all.fd, (all.n + 1) * sizeof(*all.fd));
    all.addr[all.n] = *addr;
    all.fd[all.n++] = fd;
}

static unsigned count(const struct addr *addr)
{
    unsigned n = 0;

    for (unsigned i = 0; i < all.n; i++) {
        n += addr_equal(&all.addr[i], addr);
    }
    return n;
}

int sockets_open(const struct addr *addr, unsigned n, int backlog, struct err *e)
{
    const unsigned want = n == 0 || addr->sa.sa_family == AF_UNIX ? 1 : n;

    for (unsigned have = count(addr); have < want; have++) {
        int fd = listener_socket(addr, n > 0, backlog, e);
        if (fd < 0) {
            return -1;
        }
        add(addr, fd);
    }
    return 0;
}

unsigned sockets_share(const struct addr *addr, unsigned index, unsigned of, int *fds)
{
    const unsigned n = count(addr), even = n / of * of;
    unsigned taken = 0, at = 0;

    for (unsigned i = 0; i < all.n; i++) {
        if (!addr_equal(&all.addr[i], addr)) {
            continue;
        }
        bool mine = at >= even || at % of == index;
        at++;
        if (mine && taken < SOCKETS_SHARE &&
            (fds[taken] = fcntl(all.fd[i], F_DUPFD_CLOEXEC, 0)) >= 0) {
            taken++;
        }
    }
    return taken;
}

void sockets_keep(bool (*wanted)(const struct addr *addr, const void *arg), const void *arg)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < all.n; i++) {
        if (!wanted(&all.addr[i], arg)) {
            close(all.fd[i]);
            continue;
        }
        all.addr[kept] = all.addr[i];
        all.fd[kept++] = all.fd[i];
    }
    all.n = kept;
}

static bool none(const struct addr *addr, const void *arg)
{
    return false;
}

void sockets_close(void)
{
    sockets_keep(none, NULL);
}

bool sockets_adopt(int fd)
{
    struct addr addr = {.len = sizeof(addr.room)};
    int listening = 0;
    socklen_t n = sizeof(listening);

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &n) != 0 || !listening ||
        getsockname(fd, &addr.sa, &addr.len) != 0 || addr.len > sizeof(addr.room)) {
        close(fd);
        return false;
    }
    add(&addr, fd);
    return true;
}

unsigned sockets_list(const int **fds)
{
    *fds = all.fd;
    return all.n;
}
