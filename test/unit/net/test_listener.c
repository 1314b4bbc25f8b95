/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of net/listener.h and await_connect() over loopback and Unix sockets. */
#include "net/listener.h"

#include "base/log.h"
#include "engine.h"
#include "fiber/fiber.h"
#include "t.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

static char dir[] = "/tmp/weir_listener_XXXXXX";
static char unix_name[64];

static void end_when_alone(void *arg)
{
    if (fiber_count() == 0) {
        loop_stop(loop_self());
    }
}

static void run(void (*fn)(void *arg), void *arg)
{
    CHECK(loop_init() == 0);
    loop_on_turn(end_when_alone, NULL);
    fiber_start("test", fn, arg);
    loop_run();
    loop_fini();
    fiber_thread_fini();
}

static struct addr parse(const char *host, uint16_t port)
{
    struct addr a;
    CHECK(addr_parse(str_c(host), port, &a));
    return a;
}

/* The address with the port that the kernel chose. */
static struct addr bound(int fd)
{
    struct addr a = {.len = sizeof(a.room)};
    CHECK(getsockname(fd, &a.sa, &a.len) == 0);
    return a;
}

static int accepted[128];
static int accepted_n;

static void keep(struct listener *l, int fd, const struct addr *peer)
{
    CHECK(l->owner == accepted && accepted_n < 128);
    CHECK(peer->sa.sa_family == l->addr.sa.sa_family);
    accepted[accepted_n++] = fd;
}

static void close_accepted(void)
{
    while (accepted_n > 0) {
        close(accepted[--accepted_n]);
    }
}

static bool accepted_at_least(int n)
{
    for (int i = 0; i < 500 && accepted_n < n; i++) {
        await_until(deadline_in(10));
    }
    return accepted_n >= n;
}

static void one_family(void *arg)
{
    const char *host = arg;
    struct err e = {.msg = ""};
    struct addr a = parse(host, 0);
    struct listener l;
    struct io c;
    struct str s;

    int fd = listener_socket(&a, true, 16, &e);
    CHECK(fd >= 0);
    CHECK_STR(str_c(e.msg), "");
    struct addr to = bound(fd);
    CHECK(listener_start(&l, fd, &a, keep, accepted) == 0);
    CHECK(await_connect(&c, &to, deadline_in(5000)) == 0);
    CHECK(accepted_at_least(1));
    CHECK(fcntl(accepted[0], F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(accepted[0], F_GETFD) & FD_CLOEXEC);
    if (a.sa.sa_family != AF_UNIX) {
        int on = 0;
        CHECK(getsockopt(accepted[0], IPPROTO_TCP, TCP_NODELAY, &on, &(socklen_t){sizeof(on)}) ==
              0);
        CHECK(on != 0);
    }
    CHECK(write(accepted[0], "hi", 2) == 2);
    CHECK(await_read(&c, &s, deadline_in(5000)) == 2);
    CHECK_STR(s, "hi");
    io_close(&c);
    listener_stop(&l);
    listener_stop(&l);
    close_accepted();
    CHECK(await_connect(&c, &to, deadline_in(5000)) == -ECONNREFUSED);
    CHECK(c.fd == -1);
}

static void it_accepts_on_v4_v6_and_unix(void)
{
    static const char *const hosts[] = {"127.0.0.1", "::1", unix_name};

    for (size_t i = 0; i < 3; i++) {
        run(one_family, (void *)(uintptr_t)hosts[i]);
    }
}

static void errors_name_the_address_and_the_reason(void)
{
    struct err e = {.msg = ""};
    char want[128];
    struct addr a = parse("127.0.0.1", 0);

    int fd = listener_socket(&a, false, 16, &e);
    struct addr taken = bound(fd);
    CHECK(listener_socket(&taken, false, 16, &e) == -1);
    snprintf(want, sizeof(want), "bind to 127.0.0.1:%u failed: Address already in use",
             addr_port(&taken));
    CHECK_STR(str_c(e.msg), want);
    close(fd);

    e.msg[0] = 0;
    a = parse("2001:db8::1", 80);
    CHECK(listener_socket(&a, false, 16, &e) == -1);
    CHECK(str_starts(str_c(e.msg), STR("bind to [2001:db8::1]:80 failed: ")));
}

static void sockets_with_reuseport_share_a_port_and_v6_leaves_v4_alone(void)
{
    struct err e = {.msg = ""};
    struct addr a = parse("0.0.0.0", 0);

    int one = listener_socket(&a, true, 16, &e);
    struct addr port = bound(one);
    int two = listener_socket(&port, true, 16, &e);
    struct addr six = parse("::", addr_port(&port));
    int three = listener_socket(&six, false, 16, &e);
    CHECK(one >= 0 && two >= 0 && three >= 0);
    CHECK_STR(str_c(e.msg), "");
    close(one), close(two), close(three);
}

static void a_stale_unix_socket_is_replaced_and_a_live_one_is_not(void)
{
    struct err e = {.msg = ""};
    struct addr a = parse(unix_name, 0);

    int live = listener_socket(&a, false, 16, &e);
    CHECK(live >= 0);
    CHECK(listener_socket(&a, false, 16, &e) == -1);
    CHECK(str_ends(str_c(e.msg), STR("failed: Address already in use")));
    close(live);
    e.msg[0] = 0;
    int again = listener_socket(&a, false, 16, &e);
    CHECK(again >= 0);
    close(again);
    /* Not a socket: somebody's file. */
    CHECK(unlink(unix_name + 5) == 0);
    close(open(unix_name + 5, O_CREAT | O_WRONLY, 0600));
    CHECK(listener_socket(&a, false, 16, &e) == -1);
    CHECK(unlink(unix_name + 5) == 0);
}

/* Plain blocking connects: the kernel completes them without accept(). */
static void connect_clients(const struct addr *to, int *fd, int n)
{
    for (int i = 0; i < n; i++) {
        fd[i] = socket(to->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(connect(fd[i], &to->sa, to->len) == 0);
    }
}

static void close_clients(const int *fd, int n)
{
    for (int i = 0; i < n; i++) {
        close(fd[i]);
    }
}

static void stop_drains(void *arg)
{
    struct err e = {.msg = ""};
    struct addr a = parse("127.0.0.1", 0);
    struct listener l;
    int client[100];

    int fd = listener_socket(&a, true, 128, &e);
    struct addr to = bound(fd);
    CHECK(listener_start(&l, fd, &a, keep, accepted) == 0);
    connect_clients(&to, client, 100);
    CHECK(accepted_n == 0);
    listener_stop(&l);
    CHECK(accepted_n == 100);
    close_accepted();
    close_clients(client, 100);
}

static void stopping_takes_what_the_kernel_has_queued(void)
{
    run(stop_drains, NULL);
}

static void bursts(void *arg)
{
    struct err e = {.msg = ""};
    struct addr a = parse("127.0.0.1", 0);
    struct listener l;
    int client[100];

    int fd = listener_socket(&a, true, 128, &e);
    struct addr to = bound(fd);
    CHECK(listener_start(&l, fd, &a, keep, accepted) == 0);
    connect_clients(&to, client, 100);
    CHECK(await_until(deadline_in(1)) == 0);
    CHECK(accepted_at_least(100));
    listener_stop(&l);
    close_accepted();
    close_clients(client, 100);
}

static void a_burst_larger_than_a_batch_is_accepted_over_several_turns(void)
{
    run(bursts, NULL);
}

static void no_descriptors(void *arg)
{
    struct err e = {.msg = ""};
    struct addr a = parse("127.0.0.1", 0);
    struct listener l;
    struct rlimit was, now;
    int client[3];

    int fd = listener_socket(&a, true, 128, &e);
    struct addr to = bound(fd);
    CHECK(listener_start(&l, fd, &a, keep, accepted) == 0);
    connect_clients(&to, client, 3);
    /* Descriptors below the limit are all taken by what is open: the next one is the limit. */
    int next = dup(fd);
    close(next);
    CHECK(getrlimit(RLIMIT_NOFILE, &was) == 0);
    now = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = was.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &now) == 0);
    log_to(-1, LOG_EMERG);
    uint64_t turns = io_stats.turns;
    CHECK(await_until(deadline_in(150)) == 0);
    CHECK(timer_is_started(&l.retry) && accepted_n == 0);
    CHECK(io_stats.turns - turns < 20);
    CHECK(setrlimit(RLIMIT_NOFILE, &was) == 0);
    log_to(2, LOG_NOTICE);
    CHECK(accepted_at_least(3));
    CHECK(!timer_is_started(&l.retry));
    listener_stop(&l);
    close_accepted();
    close_clients(client, 3);
}

static void without_descriptors_it_pauses_and_does_not_spin(void)
{
    run(no_descriptors, NULL);
}

static void connect_deadline(void *arg)
{
    struct err e = {.msg = ""};
    struct addr a = parse("127.0.0.1", 0);
    struct io c;
    int client[8], fd = listener_socket(&a, true, 0, &e);
    struct addr to = bound(fd);

    /* A full queue drops what comes: the connect hangs. */
    connect_clients(&to, client, 1);
    int rc = 0;
    for (int i = 1; i < 8 && rc == 0; i++) {
        rc = await_connect(&c, &to, deadline_in(100));
        client[i] = rc == 0 ? io_release(&c) : -1;
    }
    CHECK(rc == -ETIMEDOUT && c.fd == -1);
    for (int i = 0; i < 8; i++) {
        if (client[i] > 0) {
            close(client[i]);
        }
        if (client[i] == -1) {
            break;
        }
    }
    close(fd);
}

static void connecting_ends_at_its_deadline(void)
{
    run(connect_deadline, NULL);
}

__attribute__((constructor)) static void make_names(void)
{
    if (mkdtemp(dir) == NULL) {
        abort();
    }
    snprintf(unix_name, sizeof(unix_name), "unix:%s/s", dir);
}

__attribute__((destructor)) static void remove_names(void)
{
    unlink(unix_name + 5);
    rmdir(dir);
}

TESTS(T(it_accepts_on_v4_v6_and_unix), T(errors_name_the_address_and_the_reason),
      T(sockets_with_reuseport_share_a_port_and_v6_leaves_v4_alone),
      T(a_stale_unix_socket_is_replaced_and_a_live_one_is_not),
      T(stopping_takes_what_the_kernel_has_queued),
      T(a_burst_larger_than_a_batch_is_accepted_over_several_turns),
      T(without_descriptors_it_pauses_and_does_not_spin), T(connecting_ends_at_its_deadline))
