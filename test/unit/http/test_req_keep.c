/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of http/req_keep.h: what a request says after its arena has gone. */
#include "http/req_keep.h"

#include "fiber/fiber.h"
#include "t.h"

/* A request as the server makes one: everything in the arena, parts of parts. */
static struct req *request(struct arena *a)
{
    struct req *r = ARENA_NEW(a, struct req);

    r->arena = a;
    r->method = STR("GET");
    r->target = arena_str(a, STR("/ws/a?x=1&y=2"));
    r->raw_path = r->uri = str_head(r->target, 5);
    r->args = str_skip(r->target, 6);
    r->bad_line = STR_NONE;
    headers_init(&r->headers, a, 16);
    headers_add(&r->headers, arena_str(a, STR("X-One")), arena_str(a, STR("1")));
    headers_add(&r->headers, STR("Host"), arena_str(a, STR("a.test")));
    r->host_header = headers_get(&r->headers, H_HOST);
    memcpy(r->remote_addr_text, "192.0.2.7", 9);
    r->remote_addr = str_of(r->remote_addr_text, 9);
    headers_init(&r->resp.headers, a, 16);
    headers_add(&r->resp.headers, STR("Upgrade"), arena_str(a, STR("websocket")));
    r->resp.status = 101;
    r->resp.reason = STR_NONE;
    r->uri_params = ARENA_NEW(a, struct headers);
    headers_init(r->uri_params, a, 1);
    headers_add(r->uri_params, arena_str(a, STR("id")), str_skip(r->raw_path, 4));
    req_add_try(r)->status = 101;
    req_add_try(r)->status = 7;
    return r;
}

static void check(const struct req *r, struct arena *a)
{
    CHECK_STR(r->method, "GET");
    CHECK_STR(r->target, "/ws/a?x=1&y=2");
    CHECK_STR(r->raw_path, "/ws/a");
    CHECK_STR(r->args, "x=1&y=2");
    CHECK(r->raw_path.p == r->target.p && r->uri.p == r->target.p);
    CHECK(str_is_none(r->bad_line) && str_is_none(r->resp.reason));
    CHECK_STR(headers_get_name(&r->headers, STR("x-one")), "1");
    CHECK_STR(r->host_header, "a.test");
    CHECK_STR(r->remote_addr, "192.0.2.7");
    CHECK(r->remote_addr.p == r->remote_addr_text);
    CHECK_STR(headers_get(&r->resp.headers, H_UPGRADE), "websocket");
    CHECK_STR(headers_get_name(r->uri_params, STR("id")), "a");
    CHECK(r->n_tries == 2 && r->tries[0].status == 101 && r->tries[1].status == 7);
    CHECK(r->arena == a && r->transport == NULL && r->fiber == fiber_self());
}

static struct kept_req *kept;

static void keeps(void *arg)
{
    kept = req_keep(request(fiber_arena()));
}

static void returns(void *arg)
{
    struct arena *a = fiber_arena();
    /* Where the request was before is something else now. */
    memset(arena_bytes(a, 8000), 0xee, 8000);
    struct req *r = req_unkeep(kept, a);

    check(r, a);
    headers_add(&r->headers, STR("later"), STR("x"));
    CHECK_STR(headers_get_name(&r->headers, STR("later")), "x");
}

static void a_request_comes_back_whole_in_another_arena(void)
{
    fiber_start("keep", keeps, NULL);
    CHECK(kept != NULL);
    fiber_start("return", returns, NULL);
    fiber_thread_fini();
}

/* What makes a request one that cannot be packed. */
static void stray_in_arena(struct req *r)
{
    r->conn = arena_alloc(r->arena, 100);
}
static void stray_in_try(struct req *r)
{
    r->tries[1].node = arena_alloc(r->arena, 100);
}
static void too_large(struct req *r)
{
    r->body = str_of(arena_alloc(r->arena, 100000), 100000);
}
static void too_many(struct req *r)
{
    for (int i = 0; i < 300; i++) {
        headers_add(&r->headers, arena_str(r->arena, STR("name")), STR("value"));
    }
}

static void (*const strays[])(struct req *r) = {stray_in_arena, stray_in_try, too_large, too_many};

static void stays(void *arg)
{
    for (size_t i = 0; i < sizeof(strays) / sizeof(strays[0]); i++) {
        struct req *r = request(fiber_arena());
        r->fiber = fiber_self();
        strays[i](r);
        CHECK_ROW(i, req_keep(r) == NULL);
        check(r, fiber_arena());
    }
    struct req *r = request(fiber_arena());
    int local = 0;
    r->conn = &local;
    CHECK(req_keep(r) == NULL);
}

static void what_leads_astray_or_is_too_large_stays_as_it_was(void)
{
    fiber_start("stay", stays, NULL);
    fiber_thread_fini();
}

TESTS(T(a_request_comes_back_whole_in_another_arena),
      T(what_leads_astray_or_is_too_large_stays_as_it_was))
