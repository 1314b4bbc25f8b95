/* SPDX-License-Identifier: Apache-2.0 */
/* faces: see faces.h. A row of the table a face. */
#include "main/faces.h"

#include "admin/admin.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "control/status.h"
#include "gateway/steps.h"
#include "http/server.h"
#include "main/admin_tls.h"
#include "main/live.h"
#include "net/sockets.h"
#include "plugin/metrics.h"

#include <stdlib.h>

#define BACKLOG 512
#define LOOK_MS 10 /* how often to look whether all have gone */

struct face {
    const char *name;
    size_t at; /* offset of its listen_addr in struct settings */
    void (*handle)(struct req *r);
    struct server server;
    struct listener *listeners;
    unsigned n_listeners;
};

static const struct settings *in_force;

/* ---- a request ---- */

static void serve(struct req *r, void (*handle)(struct req *r))
{
    const struct settings *s = r->settings = settings_hold(in_force);
    r->snapshot = live_snapshot();
    if (request_prepare_paths(r) == NEXT) {
        handle(r);
    }
    if (r->resp.status == 0) {
        req_reply(r, 404, STR_NONE);
    }
    if (!r->resp.sent) {
        req_await_send_reply(r);
    }
    settings_drop(s);
}

static void serve_admin(struct req *r)
{
    serve(r, admin_handle);
}

static void serve_metrics(struct req *r)
{
    serve(r, metrics_handle);
}

static void serve_status(struct req *r)
{
    serve(r, status_handle);
}

static struct face faces[] = {
    {.name = "admin", .at = offsetof(struct settings, admin), .handle = serve_admin},
    {.name = "prometheus", .at = offsetof(struct settings, prometheus), .handle = serve_metrics},
    {.name = "status", .at = offsetof(struct settings, status), .handle = serve_status},
};
static struct face *const admin = &faces[0];

/* NULL: it is off. */
static const struct addr *address(const struct settings *s, const struct face *f)
{
    const struct listen_addr *l = (const void *)((const char *)s + f->at);
    return l->addr.len ? &l->addr : NULL;
}

/* ---- listening ---- */

static void on_accept(struct listener *l, int fd, const struct addr *peer)
{
    struct face *f = l->owner;
    server_accept_after(&f->server, fd, peer, &l->addr, f->server.tls ? PREFACE_TLS : 0);
}

/* handed_over: what is queued is for another process. */
static void face_leave(struct face *f, bool handed_over)
{
    for (unsigned i = 0; i < f->n_listeners; i++) {
        (handed_over ? listener_leave : listener_stop)(&f->listeners[i]);
    }
    free(f->listeners);
    f->listeners = NULL;
    f->n_listeners = 0;
}

static void face_listen(struct face *f)
{
    const struct addr *addr = address(in_force, f);
    int fds[SOCKETS_SHARE];
    unsigned n = addr ? sockets_share(addr, 0, 1, fds) : 0;
    f->server.draining = false;
    f->listeners = mem_alloc(sizeof(*f->listeners) * (n + 1));
    f->n_listeners = n;
    for (unsigned i = 0; i < n; i++) {
        int rc = listener_start(&f->listeners[i], fds[i], addr, on_accept, f);
        if (rc < 0) {
            LOG(EMERG, "%s cannot listen: %s", f->name, strerror(-rc));
        }
    }
}

int faces_open(const struct settings *s, struct err *e)
{
    for (unsigned i = 0; i < LENGTH_OF(faces); i++) {
        const struct addr *addr = address(s, &faces[i]);
        if (addr && sockets_open(addr, 0, BACKLOG, e) != 0) {
            return err_prefix(e, "%s: ", faces[i].name);
        }
    }
    return admin_tls_load(s, e);
}

void faces_set(const struct settings *s)
{
    const struct settings *old = in_force;
    in_force = settings_hold(s);
    for (unsigned i = 0; i < LENGTH_OF(faces); i++) {
        struct face *f = &faces[i];
        if (old == NULL) {
            server_init(&f->server, f->name, f->handle, s, NULL);
        } else {
            server_set_limits(&f->server, s);
            face_leave(f, false);
        }
        face_listen(f);
    }
    admin->server.tls = admin_tls_use();
    settings_drop(old);
}

bool faces_want(const struct settings *s, const struct addr *addr)
{
    for (unsigned i = 0; i < LENGTH_OF(faces); i++) {
        const struct addr *own = address(s, &faces[i]);
        if (own && addr_equal(own, addr)) {
            return true;
        }
    }
    return false;
}

/* ---- ending ---- */

void faces_await_admin_end(int64_t deadline)
{
    face_leave(admin, true);
    server_drain(&admin->server, SERVER_STOP_IDLE_MS);
    while (admin->server.stats.active > 0 && now_ms() < deadline) {
        await_until(deadline_in(LOOK_MS));
    }
}

void faces_admin_again(void)
{
    face_listen(admin);
}

void faces_stop(bool handed_over)
{
    for (unsigned i = 0; i < LENGTH_OF(faces); i++) {
        face_leave(&faces[i], handed_over);
        server_drain(&faces[i].server, handed_over ? NEVER : SERVER_STOP_IDLE_MS);
    }
}

static unsigned connections(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < LENGTH_OF(faces); i++) {
        n += faces[i].server.stats.active;
    }
    return n;
}

bool faces_await_end(int64_t deadline)
{
    while (connections() > 0 && now_ms() < deadline) {
        await_until(deadline_in(LOOK_MS));
    }
    return connections() == 0;
}
