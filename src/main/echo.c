/* SPDX-License-Identifier: Apache-2.0 */
/* echo: see echo.h. It is the gateway's own HTTP server with a handler of a few lines. */
#include "main/echo.h"

#include "base/assert.h"
#include "base/buf.h"
#include "config/settings.h"
#include "fiber/fiber.h"
#include "http/server.h"

#include <signal.h>
#include <stdio.h>

static struct server server;

static void echo_handle(struct req *r)
{
    struct buf b = BUF_INIT(1 << 20);
    int rc = req_await_body(r, 1 << 19);
    buf_printf(&b, "%.*s %.*s HTTP/1.%u\n", STR_ARG(r->method), STR_ARG(r->target), r->minor);
    for (unsigned i = 0; i < r->headers.n; i++) {
        buf_printf(&b, "%.*s: %.*s\n", STR_ARG(r->headers.v[i].name),
                   STR_ARG(r->headers.v[i].value));
    }
    if (rc == 0 && r->body.n) {
        buf_addc(&b, '\n');
        buf_add(&b, r->body);
        buf_addc(&b, '\n');
    }
    req_reply(r, rc < 0 ? 413 : 200, arena_str(r->arena, buf_str(&b)));
    buf_fini(&b);
    req_await_send_reply(r);
}

static void on_accept(struct listener *l, int fd, const struct addr *peer)
{
    server_accept(&server, fd, peer, &l->addr);
}

static bool parse_listen(const char *text, struct addr *a)
{
    struct str s = str_c(text);
    ptrdiff_t colon = str_rindex(s, ':');
    uint64_t port;
    return colon > 0 && str_to_u64(str_skip(s, (size_t)colon + 1), &port) && port <= 65535 &&
           addr_parse(str_head(s, (size_t)colon), (uint16_t)port, a);
}

static struct loop *loop;

static void on_signal(int signo)
{
    loop_stop(loop); /* NOLINT(bugprone-signal-handler): it is made for that, see event/loop.h */
}

int echo_run(const char *listen)
{
    struct err e = {""};
    struct addr a;
    struct listener l = {0};
    clock_tick();
    struct settings *s = settings_parse(STR("apisix: {enable_admin: false}"), NULL, &e);
    if (s == NULL || !parse_listen(listen, &a)) {
        fprintf(stderr, "weir echo: %s\n", s ? "--listen wants ADDRESS:PORT" : e.msg);
        return 1;
    }
    int rc = loop_init();
    ASSERT(rc == 0);
    loop = loop_self();
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    signal(SIGPIPE, SIG_IGN);
    int fd = listener_socket(&a, false, 512, &e);
    if (fd < 0) {
        fprintf(stderr, "weir echo: %s\n", e.msg);
        return 1;
    }
    server_init(&server, "echo", echo_handle, s, NULL);
    listener_start(&l, fd, &a, on_accept, NULL);
    loop_run();
    server_close_all(&server);
    return 0;
}
