/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of net/resolver.h against a small DNS server on the same loop. */
#include "net/resolver.h"

#include "base/log.h"
#include "engine.h"
#include "event/poll.h"
#include "fiber/fiber.h"
#include "t.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define TYPE_A 1
#define TYPE_CNAME 5
#define TYPE_AAAA 28

/* ---- the server ---- */

struct record {
    const char *name;
    int type;
    unsigned ttl;
    const char *value; /* an address, or the name a CNAME points to */
};

static struct server {
    struct poll poll;
    char address[32];
    const struct record *zone;
    size_t zone_n;
    bool silent;
    unsigned asked, asked_v6;
} server;

static size_t put16(unsigned char *p, unsigned v)
{
    p[0] = (unsigned char)(v >> 8);
    p[1] = (unsigned char)v;
    return 2;
}

static size_t put_name(unsigned char *p, const char *name)
{
    size_t n = 0;
    struct str rest = str_c(name), part;

    while (str_split(&rest, '.', &part)) {
        p[n++] = (unsigned char)part.n;
        memcpy(p + n, part.p, part.n);
        n += part.n;
    }
    p[n++] = 0;
    return n;
}

static size_t put_record(unsigned char *p, const struct record *r)
{
    size_t n = put_name(p, r->name), data;
    unsigned char value[256];

    if (r->type == TYPE_CNAME) {
        data = put_name(value, r->value);
    } else {
        CHECK(inet_pton(r->type == TYPE_A ? AF_INET : AF_INET6, r->value, value) == 1);
        data = r->type == TYPE_A ? 4 : 16;
    }
    n += put16(p + n, (unsigned)r->type);
    n += put16(p + n, 1);
    n += put16(p + n, r->ttl >> 16);
    n += put16(p + n, r->ttl & 0xffff);
    n += put16(p + n, (unsigned)data);
    memcpy(p + n, value, data);
    return n + data;
}

/* The question's name as text, and its type. */
static int question(const unsigned char *p, size_t n, char *name, size_t *end)
{
    size_t at = 12, out = 0;

    while (at < n && p[at] != 0) {
        memcpy(name + out, p + at + 1, p[at]);
        out += p[at];
        name[out++] = '.';
        at += p[at] + 1U;
    }
    name[out > 0 ? out - 1 : 0] = 0;
    *end = at + 5;
    return p[at + 1] << 8 | p[at + 2];
}

static void answer(int fd, const unsigned char *q, size_t qn, const struct addr *to)
{
    unsigned char out[2048];
    char name[256];
    size_t end, n;
    unsigned count = 0, known = 0;
    int type = question(q, qn, name, &end);

    server.asked += type == TYPE_A;
    server.asked_v6 += type == TYPE_AAAA;
    memcpy(out, q, end);
    n = end;
    for (size_t i = 0; i < server.zone_n; i++) {
        const struct record *r = &server.zone[i];
        known += strcmp(r->name, name) == 0;
        if (strcmp(r->name, name) == 0 && (r->type == type || r->type == TYPE_CNAME)) {
            n += put_record(out + n, r);
            count++;
            if (r->type == TYPE_CNAME) {
                snprintf(name, sizeof(name), "%s", r->value);
            }
        }
    }
    put16(out + 2, known ? 0x8180 : 0x8183);
    put16(out + 6, count);
    put16(out + 8, 0);
    put16(out + 10, 0);
    CHECK(sendto(fd, out, n, 0, &to->sa, to->len) == (ssize_t)n);
}

static void on_query(struct poll *p, unsigned ready)
{
    unsigned char q[512];
    struct addr from = {.len = sizeof(from.room)};
    ssize_t n = recvfrom(p->fd, q, sizeof(q), 0, &from.sa, &from.len);

    if (n > 12 && !server.silent) {
        answer(p->fd, q, (size_t)n, &from);
    } else {
        server.asked++;
    }
}

static void serve(const struct record *zone, size_t n)
{
    server.zone = zone;
    server.zone_n = n;
    server.silent = false;
}

static void server_start(void)
{
    struct addr a;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    CHECK(addr_parse(STR("127.0.0.1"), 0, &a) && bind(fd, &a.sa, a.len) == 0);
    CHECK(getsockname(fd, &a.sa, &a.len) == 0);
    server = (struct server){.poll.fd = fd};
    snprintf(server.address, sizeof(server.address), "127.0.0.1:%u", addr_port(&a));
    CHECK(poll_start(&server.poll, fd, POLL_READ, on_query) == 0);
}

static void server_stop(void)
{
    poll_stop(&server.poll);
    close(server.poll.fd);
}

/* ---- frame ---- */

static void end_when_alone(void *arg)
{
    if (fiber_count() == 0) {
        loop_stop(loop_self());
    }
}

static void run(void (*fn)(void *arg), struct resolver_conf conf)
{
    log_to(-1, LOG_EMERG);
    CHECK(loop_init() == 0);
    loop_on_turn(end_when_alone, NULL);
    server_start();
    conf.servers = server.address;
    conf.timeout_ms = conf.timeout_ms > 0 ? conf.timeout_ms : 2000;
    CHECK(resolver_init(&conf) == 0);
    fiber_start("test", fn, NULL);
    loop_run();
    resolver_fini();
    server_stop();
    loop_fini();
    fiber_thread_fini();
    log_to(2, LOG_NOTICE);
}

/* The addresses as text, or the error. */
static const char *resolve(const char *host)
{
    static char text[1024];
    struct arena *a = arena_new(1024);
    struct resolved r;
    int rc = await_resolve(str_c(host), &r, deadline_in(5000));

    snprintf(text, sizeof(text), "%s", rc < 0 ? strerror(-rc) : "");
    for (unsigned i = 0; rc == 0 && i < r.n; i++) {
        struct str ip = ip_text(a, &r.ip[i]);
        size_t n = strlen(text);
        snprintf(text + n, sizeof(text) - n, "%s%.*s", i > 0 ? " " : "", STR_ARG(ip));
    }
    arena_free(a);
    return text;
}

#define SERVE(zone) serve(zone, sizeof(zone) / sizeof((zone)[0]))
#define NO_NAME "No such file or directory"

/* Ask until the answer is want. */
static bool becomes(const char *host, const char *want)
{
    for (int i = 0; i < 300; i++) {
        if (strcmp(resolve(host), want) == 0) {
            return true;
        }
        await_until(deadline_in(10));
    }
    return false;
}

/* ---- tests ---- */

static const struct record mixed[] = {
    {"one.test", TYPE_A, 60, "10.0.0.1"},          {"two.test", TYPE_A, 60, "10.0.0.1"},
    {"two.test", TYPE_A, 60, "10.0.0.2"},          {"both.test", TYPE_A, 60, "10.0.0.3"},
    {"both.test", TYPE_AAAA, 60, "2001:db8::3"},   {"six.test", TYPE_AAAA, 60, "2001:db8::6"},
    {"alias.test", TYPE_CNAME, 60, "target.test"}, {"target.test", TYPE_A, 60, "10.0.0.9"},
};

static void names(void *arg)
{
    static const struct {
        const char *host, *want;
    } cases[] = {
        {"127.0.0.1", "127.0.0.1"},
        {"::1", "::1"},
        {"[2001:db8::5]", "2001:db8::5"},
        {"localhost", "127.0.0.1"},
        {"one.test", "10.0.0.1"},
        {"ONE.Test", "10.0.0.1"},
        {"two.test", "10.0.0.1 10.0.0.2"},
        {"both.test", "10.0.0.3"},
        {"six.test", "2001:db8::6"},
        {"alias.test", "10.0.0.9"},
        {"none.test", NO_NAME},
        {"", NO_NAME},
        {"bad..name", NO_NAME},
    };
    SERVE(mixed);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CHECK_STR(str_c(resolve(cases[i].host)), cases[i].want);
    }
    char longer[300];
    memset(longer, 'a', sizeof(longer));
    longer[299] = 0;
    CHECK_STR(str_c(resolve(longer)), NO_NAME);
}

static void it_resolves_literals_hosts_file_v4_v6_and_aliases(void)
{
    run(names, (struct resolver_conf){.ipv6 = true});
}

static void v4_only(void *arg)
{
    SERVE(mixed);
    CHECK_STR(str_c(resolve("six.test")), NO_NAME);
    CHECK(server.asked_v6 == 0);
}

static void v6_is_not_asked_for_when_it_is_off(void)
{
    run(v4_only, (struct resolver_conf){.ipv6 = false});
}

static unsigned answers;

static void asks_one(void *arg)
{
    CHECK_STR(str_c(resolve("one.test")), "10.0.0.1");
    answers++;
}

static void shared(void *arg)
{
    SERVE(mixed);
    answers = 0;
    for (int i = 0; i < 20; i++) {
        fiber_start("asks", asks_one, NULL);
    }
    CHECK_STR(str_c(resolve("one.test")), "10.0.0.1");
    CHECK(await_until(now_ms()) == 0);
    CHECK(answers == 20 && server.asked == 1);
    CHECK_STR(str_c(resolve("one.test")), "10.0.0.1");
    CHECK(server.asked == 1);
}

static void one_query_serves_all_who_wait_and_the_cache_serves_the_rest(void)
{
    run(shared, (struct resolver_conf){.ipv6 = true});
}

static const struct record ttl_before[] = {{"ttl.test", TYPE_A, 0, "10.0.0.1"}};
static const struct record ttl_after[] = {{"ttl.test", TYPE_A, 60, "10.0.0.2"}};

static void renewal(void *arg)
{
    SERVE(ttl_before);
    CHECK_STR(str_c(resolve("ttl.test")), "10.0.0.1");
    int64_t start = now_ms();
    SERVE(ttl_after);
    CHECK(becomes("ttl.test", "10.0.0.2"));
    /* A TTL of 0 counts as a second. */
    CHECK(now_ms() - start >= 1000);
    CHECK(server.asked == 2);
}

static void an_answer_is_renewed_when_its_ttl_is_over(void)
{
    run(renewal, (struct resolver_conf){.ipv6 = true});
}

static void configured(void *arg)
{
    SERVE(mixed);
    CHECK_STR(str_c(resolve("one.test")), "10.0.0.1");
    for (int i = 0; i < 300 && server.asked < 3; i++) {
        CHECK(await_until(deadline_in(10)) == 0);
        CHECK_STR(str_c(resolve("one.test")), "10.0.0.1");
    }
    CHECK(server.asked == 3);
}

static void a_configured_time_overrides_the_ttl(void)
{
    run(configured, (struct resolver_conf){.ipv6 = true, .valid_ms = 50});
}

static void stale(void *arg)
{
    static const struct record nothing[] = {{"other.test", TYPE_A, 60, "10.9.9.9"}};

    SERVE(ttl_before);
    CHECK_STR(str_c(resolve("ttl.test")), "10.0.0.1");
    /* Silent, then "no such name": the last answer stays, and nobody waits for the server. */
    server.silent = true;
    for (int phase = 0; phase < 2; phase++) {
        unsigned asked = server.asked;
        for (int i = 0; i < 300 && server.asked < asked + 2; i++) {
            int64_t before = clock_us();
            CHECK_STR(str_c(resolve("ttl.test")), "10.0.0.1");
            CHECK(clock_us() - before < 50000);
            CHECK(await_until(deadline_in(10)) == 0);
        }
        CHECK(server.asked >= asked + 2);
        SERVE(nothing);
    }
    SERVE(ttl_after);
    CHECK(becomes("ttl.test", "10.0.0.2"));
}

static void the_last_answer_stays_while_the_server_is_away(void)
{
    run(stale, (struct resolver_conf){.ipv6 = true, .valid_ms = 30, .timeout_ms = 300});
}

static void gone(void *arg)
{
    SERVE(ttl_before);
    CHECK_STR(str_c(resolve("ttl.test")), "10.0.0.1");
    /* Nothing listens there any more: the kernel says so. */
    poll_stop(&server.poll);
    close(server.poll.fd);
    CHECK(await_until(deadline_in(40)) == 0);
    for (int i = 0; i < 5; i++) {
        CHECK_STR(str_c(resolve("ttl.test")), "10.0.0.1");
        CHECK(await_until(deadline_in(10)) == 0);
    }
    int64_t start = now_ms();
    CHECK_STR(str_c(resolve("new.test")), NO_NAME);
    CHECK(now_ms() - start < 1000);
    server_start();
}

static void the_last_answer_stays_when_nothing_listens_any_more(void)
{
    run(gone, (struct resolver_conf){.ipv6 = true, .valid_ms = 30});
}

static void negative(void *arg)
{
    SERVE(ttl_before);
    CHECK_STR(str_c(resolve("late.test")), NO_NAME);
    int64_t start = now_ms();
    CHECK_STR(str_c(resolve("late.test")), NO_NAME);
    CHECK(server.asked == 1);
    static const struct record late[] = {{"late.test", TYPE_A, 60, "10.0.0.7"}};
    SERVE(late);
    CHECK(becomes("late.test", "10.0.0.7"));
    CHECK(now_ms() - start >= 990);
    CHECK(server.asked == 2);
}

static void an_unknown_name_is_remembered_for_a_second(void)
{
    run(negative, (struct resolver_conf){.ipv6 = true});
}

static void timeouts(void *arg)
{
    struct resolved r;

    SERVE(mixed);
    server.silent = true;
    int64_t start = now_ms();
    CHECK(await_resolve(STR("one.test"), &r, deadline_in(30)) == -ETIMEDOUT);
    CHECK(now_ms() - start >= 30);
    /* The caller's deadline has not ended the resolution: this one joins it. */
    CHECK_STR(str_c(resolve("one.test")), strerror(ETIMEDOUT));
    CHECK(now_ms() - start >= 200 && now_ms() - start < 3000);
    int64_t failed = now_ms();
    CHECK_STR(str_c(resolve("one.test")), strerror(ETIMEDOUT));
    CHECK(now_ms() == failed);
    server.silent = false;
    CHECK(becomes("one.test", "10.0.0.1"));
}

static void a_silent_server_ends_in_a_time_out(void)
{
    run(timeouts, (struct resolver_conf){.ipv6 = true, .timeout_ms = 300});
}

static int cancelled_rc;

static void asks_and_is_cancelled(void *arg)
{
    struct resolved r;
    cancelled_rc = await_resolve(STR("one.test"), &r, NEVER);
}

static void cancels(void *arg)
{
    SERVE(mixed);
    server.silent = true;
    struct fiber *f = fiber_start("asks", asks_and_is_cancelled, NULL);
    CHECK(await_until(deadline_in(5)) == 0);
    fiber_cancel(f);
    CHECK(await_until(deadline_in(1)) == 0);
    CHECK(cancelled_rc == -ECANCELED);
    /* The end of the resolver, with a lookup under way and a fiber that waits for it. */
    cancelled_rc = 0;
    fiber_start("asks", asks_and_is_cancelled, NULL);
    resolver_fini();
    CHECK(await_until(now_ms()) == 0);
    CHECK(cancelled_rc == -ECANCELED);
}

static void waiting_ends_when_fiber_or_resolver_end(void)
{
    run(cancels, (struct resolver_conf){.ipv6 = true});
}

static struct resolved two_rc;

static void asks_for_one(void *arg)
{
    cancelled_rc = await_resolve(STR("one.test"), &two_rc, deadline_in(5000));
}

/* The server of the old configuration never answers; the new one is asked in its place. */
static void changes(void *arg)
{
    SERVE(mixed);
    CHECK_STR(str_c(resolve("both.test")), "10.0.0.3");
    struct resolver_conf conf = {.servers = "127.0.0.1:1", .timeout_ms = 5000};
    unsigned asked = server.asked;
    server.silent = true;
    cancelled_rc = 1;
    fiber_start("asks", asks_for_one, NULL);
    for (int i = 0; i < 300 && server.asked == asked; i++) {
        await_until(deadline_in(10));
    }
    CHECK(server.asked > asked && cancelled_rc == 1);
    server.silent = false;
    conf.servers = server.address;
    CHECK(resolver_init(&conf) == 0);
    for (int i = 0; i < 300 && cancelled_rc == 1; i++) {
        await_until(deadline_in(10));
    }
    CHECK(cancelled_rc == 0 && two_rc.n == 1);
    /* What was known stays known. */
    asked = server.asked;
    CHECK_STR(str_c(resolve("both.test")), "10.0.0.3");
    CHECK(server.asked == asked);
    conf.servers = "not an address";
    CHECK(resolver_init(&conf) == -EINVAL);
    CHECK_STR(str_c(resolve("one.test")), "10.0.0.1");
}

static void another_configuration_takes_over_lookups_under_way(void)
{
    run(changes, (struct resolver_conf){.ipv6 = true});
}

static void floods(void *arg)
{
    struct resolved r;
    char name[32];

    serve(NULL, 0);
    for (int i = 0; i < RESOLVER_MAX_NAMES + 100; i++) {
        snprintf(name, sizeof(name), "x%d.test", i);
        CHECK(await_resolve(str_c(name), &r, deadline_in(5000)) == -ENOENT);
    }
    unsigned asked = server.asked;
    SERVE(mixed);
    CHECK_STR(str_c(resolve("one.test")), "10.0.0.1");
    CHECK(server.asked == asked + 1);
}

static void the_cache_is_bounded(void)
{
    run(floods, (struct resolver_conf){.ipv6 = false});
}

static void bad_servers_are_refused(void)
{
    struct resolver_conf conf = {.servers = "not an address", .timeout_ms = 100};

    CHECK(loop_init() == 0);
    CHECK(resolver_init(&conf) == -EINVAL);
    loop_fini();
}

TESTS(T(it_resolves_literals_hosts_file_v4_v6_and_aliases), T(v6_is_not_asked_for_when_it_is_off),
      T(one_query_serves_all_who_wait_and_the_cache_serves_the_rest),
      T(an_answer_is_renewed_when_its_ttl_is_over), T(a_configured_time_overrides_the_ttl),
      T(the_last_answer_stays_while_the_server_is_away),
      T(the_last_answer_stays_when_nothing_listens_any_more),
      T(an_unknown_name_is_remembered_for_a_second), T(a_silent_server_ends_in_a_time_out),
      T(waiting_ends_when_fiber_or_resolver_end),
      T(another_configuration_takes_over_lookups_under_way), T(the_cache_is_bounded),
      T(bad_servers_are_refused))
