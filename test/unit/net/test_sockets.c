/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of net/sockets.h: who listens on what, and what a socket says of itself. */
#include "net/sockets.h"

#include "net/listener.h"
#include "t.h"

#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

static struct addr parse(const char *host, uint16_t port)
{
    struct addr a;
    CHECK(addr_parse(str_c(host), port, &a));
    return a;
}

/* An address that nobody listens on. */
static struct addr some_address(void)
{
    struct err e = {.msg = ""};
    struct addr a = parse("127.0.0.1", 0);
    int fd = listener_socket(&a, true, 1, &e);
    CHECK(fd >= 0 && getsockname(fd, &a.sa, &a.len) == 0);
    close(fd);
    return a;
}

static unsigned shares(const struct addr *a, unsigned of, unsigned *each)
{
    int fds[SOCKETS_SHARE];
    unsigned sum = 0;

    for (unsigned i = 0; i < of; i++) {
        each[i] = sockets_share(a, i, of, fds);
        for (unsigned k = 0; k < each[i]; k++) {
            close(fds[k]);
        }
        sum += each[i];
    }
    return sum;
}

static void every_socket_has_a_listener_whatever_their_numbers(void)
{
    static const struct {
        unsigned sockets, listeners, least, most;
    } rows[] = {{4, 4, 1, 1}, {4, 2, 2, 2}, {4, 1, 4, 4}, {4, 3, 2, 2}, {5, 4, 2, 2}, {3, 8, 3, 3}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err e = {.msg = ""};
        struct addr a = some_address();
        unsigned each[8];
        CHECK(sockets_open(&a, rows[i].sockets, 16, &e) == 0);
        CHECK(shares(&a, rows[i].listeners, each) >= rows[i].sockets);
        for (unsigned k = 0; k < rows[i].listeners; k++) {
            CHECK(each[k] >= rows[i].least && each[k] <= rows[i].most);
        }
        sockets_close();
    }
}

static void what_is_open_stays_open(void)
{
    struct err e = {.msg = ""};
    struct addr a = some_address();
    const int *fds;

    CHECK(sockets_open(&a, 2, 16, &e) == 0);
    CHECK(sockets_list(&fds) == 2);
    int first = fds[0];
    CHECK(sockets_open(&a, 1, 16, &e) == 0 && sockets_list(&fds) == 2);
    CHECK(sockets_open(&a, 3, 16, &e) == 0 && sockets_list(&fds) == 3 && fds[0] == first);
    sockets_close();
    CHECK(sockets_list(&fds) == 0);
}

static bool is(const struct addr *addr, const void *arg)
{
    return addr_equal(addr, arg);
}

static void only_what_is_wanted_is_kept(void)
{
    struct err e = {.msg = ""};
    struct addr a = some_address(), b = some_address();
    const int *fds;

    CHECK(sockets_open(&a, 2, 16, &e) == 0 && sockets_open(&b, 0, 16, &e) == 0);
    sockets_keep(is, &b);
    CHECK(sockets_list(&fds) == 1);
    /* Alone: nobody else may have its port. */
    CHECK(sockets_open(&b, 2, 16, &e) == -1 && err_is_set(&e));
    sockets_close();
}

static void a_socket_that_is_taken_over_is_known_by_its_address(void)
{
    char dir[] = "/tmp/weir_sockets_XXXXXX", name[64];
    CHECK(mkdtemp(dir) != NULL);
    snprintf(name, sizeof(name), "unix:%s/s", dir);
    const struct addr addresses[] = {some_address(), parse("::1", 0), parse(name, 0)};

    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        struct err e = {.msg = ""};
        struct addr a = addresses[i];
        int fd = listener_socket(&a, true, 16, &e);
        CHECK(fd >= 0);
        if (a.sa.sa_family == AF_INET6) {
            CHECK(getsockname(fd, &a.sa, &a.len) == 0); /* the port that the kernel chose */
        }
        CHECK(sockets_adopt(fd));
        const int *fds;
        CHECK(sockets_open(&a, 1, 16, &e) == 0 && sockets_list(&fds) == 1 && fds[0] == fd);
        sockets_close();
    }
    unlink(name + 5);
    rmdir(dir);
    CHECK(!sockets_adopt(socket(AF_INET, SOCK_STREAM, 0)));
    CHECK(!sockets_adopt(dup(0)));
}

TESTS(T(every_socket_has_a_listener_whatever_their_numbers), T(what_is_open_stays_open),
      T(only_what_is_wanted_is_kept), T(a_socket_that_is_taken_over_is_known_by_its_address))
