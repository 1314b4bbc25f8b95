/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of net/tls: both ends on one loop, over a socket pair. */
#include "net/tls.h"

#include "fiber/fiber.h"

#include "net/certs.h"
#include "t.h"

#include <errno.h>
#include <unistd.h>

static struct made ca, rsa, ec, stranger;
static struct tls_pair pairs[2], client_pair;
static struct tls_identity both, one, closed, open_;
static struct tls_trust *trust;

static void make_certs(void)
{
    struct err e = {0};

    ca = cert_make("ca", false, NULL);
    rsa = cert_make("a.test", true, &ca);
    ec = cert_make("a.test", false, &ca);
    stranger = cert_make("stranger", false, NULL);
    pairs[0] = (struct tls_pair){.cert = ec.cert_pem, .key = ec.key_pem};
    pairs[1] = (struct tls_pair){.cert = rsa.cert_pem, .key = rsa.key_pem};
    client_pair = pairs[0];
    trust = tls_trust_new(ca.cert_pem, &e);
    CHECK(trust != NULL);
    both = (struct tls_identity){.pairs = pairs, .n_pairs = 2};
    one = (struct tls_identity){.pairs = pairs, .n_pairs = 1, .protocols = TLS_1_2};
    closed = (struct tls_identity){
        .pairs = pairs, .n_pairs = 1, .trust = trust, .depth = 1, .context = "closed"};
    open_ = closed;
    open_.optional = true;
}

static const struct tls_identity *find(void *arg, struct str name)
{
    return str_eq(name, STR("a.test"))        ? &both
           : str_eq(name, STR("old.test"))    ? &one
           : str_eq(name, STR("closed.test")) ? &closed
           : str_eq(name, STR("open.test"))   ? &open_
                                              : NULL;
}

/* What both ends do after their handshakes, and what came of these. */
struct talk {
    struct io io[2]; /* client, server */
    struct tls_connect connect;
    struct tls_acceptor *acceptor;
    void (*server)(struct talk *t);
    void (*client)(struct talk *t);
    int client_rc, server_rc;
    char server_reason[128];
};

static struct tls_acceptor *acceptor(bool tickets)
{
    const struct tls_accept_conf c = {.protocols = TLS_1_2 | TLS_1_3,
                                      .ciphers = STR("ECDHE-ECDSA-AES128-GCM-SHA256:"
                                                     "ECDHE-RSA-AES128-GCM-SHA256"),
                                      .tickets = tickets,
                                      .fallback = STR("A.test"),
                                      .find = find};
    struct err e = {0};
    struct tls_acceptor *a = tls_acceptor_new(&c, &e);
    CHECK(a != NULL);
    return a;
}

static void end_when_alone(void *arg)
{
    if (fiber_count() == 0) {
        loop_stop(loop_self());
    }
}

static void server_main(void *arg)
{
    struct talk *t = arg;

    t->server_rc = await_tls_accept(&t->io[1], t->acceptor, NULL, STR("\x02h2\x08http/1.1"),
                                    deadline_in(5000));
    if (t->server_rc == 0 && t->server) {
        t->server(t);
    }
    snprintf(t->server_reason, sizeof(t->server_reason), "%s", tls_reason());
    io_close(&t->io[1]);
}

static void client_main(void *arg)
{
    struct talk *t = arg;
    int fd[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
    CHECK(io_open(&t->io[0], fd[0]) == 0 && io_open(&t->io[1], fd[1]) == 0);
    fiber_start("server", server_main, t);
    t->client_rc = await_tls_connect(&t->io[0], &t->connect, deadline_in(5000));
    if (t->client_rc == 0 && t->client) {
        t->client(t);
    }
    io_close(&t->io[0]);
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

static void talk(struct talk *t)
{
    struct tls_acceptor *own = t->acceptor ? NULL : (t->acceptor = acceptor(true));

    t->connect.sni = t->connect.sni.p ? t->connect.sni : STR("a.test");
    t->connect.name = t->connect.sni;
    run(client_main, t);
    if (own) {
        tls_acceptor_drop(own);
        t->acceptor = NULL;
    }
}

static int put(struct io *io, struct str s)
{
    struct iovec v = {(void *)(uintptr_t)s.p, s.n};
    return await_write(io, &v, 1, deadline_in(5000));
}

/* ---- data ---- */

static void echo(struct talk *t)
{
    struct str s;
    int n;

    while ((n = await_read(&t->io[1], &s, deadline_in(5000))) > 0) {
        CHECK(put(&t->io[1], s) == 0);
    }
    CHECK(n == 0);
}

static void ping(struct talk *t)
{
    struct str s;

    CHECK_STR(tls_alpn(&t->io[0]), "http/1.1");
    CHECK_STR(tls_alpn(&t->io[1]), "http/1.1");
    CHECK_STR(tls_server_name(&t->io[1]), "a.test");
    for (int i = 0; i < 1000; i++) {
        char text[16];
        int n = snprintf(text, sizeof(text), "ping %d", i);
        CHECK(put(&t->io[0], str_of(text, (size_t)n)) == 0);
        CHECK(await_read(&t->io[0], &s, deadline_in(5000)) == n);
        CHECK_STR(s, text);
    }
    io_shut(&t->io[0]);
    CHECK(await_read(&t->io[0], &s, deadline_in(5000)) == 0);
    CHECK(await_splice(&t->io[0], &t->io[1], 1, deadline_in(10)) == -ENOTSUP);
}

static void both_ends_play_ping_pong_until_one_says_the_end(void)
{
    struct talk t = {.server = echo, .client = ping, .connect = {.alpn = STR("\x08http/1.1")}};

    make_certs(); /* for this and the others */
    t.connect.trust = trust;
    talk(&t);
    CHECK(t.client_rc == 0 && t.server_rc == 0);
}

enum { BULK = 3 << 20 };
static char bulk[BULK];

static void send_bulk(void *arg)
{
    struct talk *t = arg;
    char head[] = "head";
    struct iovec v[3] = {{head, 4}, {bulk, BULK / 2}, {bulk + BULK / 2, BULK / 2}};

    CHECK(await_write(&t->io[0], v, 3, deadline_in(5000)) == 0);
}

/* Writes in one fiber, reads what comes back in another, in odd pieces. */
static void both_ways(struct talk *t)
{
    static char got[BULK + 4];
    size_t n = 0;

    for (size_t i = 0; i < BULK; i++) {
        bulk[i] = (char)(i * 31 + i / 1000);
    }
    fiber_start("bulk", send_bulk, t);
    while (n < sizeof(got)) {
        size_t want = n % 3 == 0 ? 1 : n % 3 == 1 ? 5000 : 40000;
        want = want < sizeof(got) - n ? want : sizeof(got) - n;
        int run_n = await_read_into(&t->io[0], got + n, want, deadline_in(5000));
        if (run_n <= 0) {
            CHECK(run_n > 0);
            return;
        }
        n += (size_t)run_n;
    }
    CHECK(memcmp(got, "head", 4) == 0 && memcmp(got + 4, bulk, BULK) == 0);
    io_shut(&t->io[0]);
    CHECK(await_read_into(&t->io[0], got, 1, deadline_in(5000)) == 0);
}

static void megabytes_go_both_ways_at_once(void)
{
    struct talk t = {.server = echo, .client = both_ways};

    talk(&t);
    t = (struct talk){.server = echo, .client = both_ways, .connect = {.sni = STR("old.test")}};
    talk(&t);
    CHECK(t.client_rc == 0 && t.server_rc == 0);
}

static bool called;

static void on_readable(struct io *io)
{
    called = true;
}

static void read_one_then_watch(struct talk *t)
{
    char c;

    CHECK(await_read_into(&t->io[1], &c, 1, deadline_in(5000)) == 1);
    called = false;
    io_watch(&t->io[1], on_readable);
    CHECK(!called);
    await_until(deadline_in(20));
    CHECK(called);
    CHECK(await_readable(&t->io[1], deadline_in(10)) == 0);
    CHECK(await_read_into(&t->io[1], &c, 1, deadline_in(10)) == 1 && c == 'b');
    called = false;
    io_watch(&t->io[1], on_readable);
    await_until(deadline_in(20));
    CHECK(!called);
    io_watch(&t->io[1], NULL);
}

static void say_ab(struct talk *t)
{
    struct str s;

    put(&t->io[0], STR("ab"));
    await_read(&t->io[0], &s, deadline_in(5000));
}

static void a_watch_sees_what_is_decrypted_already(void)
{
    struct talk t = {.server = read_one_then_watch, .client = say_ab};

    talk(&t);
    CHECK(t.server_rc == 0);
}

/* ---- ends ---- */

static void cut(struct talk *t)
{
    struct str s;

    put(&t->io[0], STR("half"));
    CHECK(await_read(&t->io[0], &s, deadline_in(5000)) == 2); /* tickets have come, too */
    shutdown(t->io[0].fd, SHUT_RDWR);
}

static void read_cut(struct talk *t)
{
    struct str s;

    CHECK(await_read(&t->io[1], &s, deadline_in(5000)) == 4);
    CHECK(put(&t->io[1], STR("ok")) == 0);
    CHECK(await_read(&t->io[1], &s, deadline_in(5000)) == -ECONNRESET);
}

static void a_connection_that_is_cut_does_not_look_ended(void)
{
    struct talk t = {.server = read_cut, .client = cut};

    talk(&t);
    CHECK(t.server_rc == 0);
}

static void forge(struct talk *t)
{
    CHECK(send(t->io[0].fd, "\x17\x03\x03\0\x20this is not what the keys would", 37, 0) == 37);
    await_until(deadline_in(50));
}

static void read_forged(struct talk *t)
{
    struct str s;

    CHECK(await_read(&t->io[1], &s, deadline_in(5000)) == -EBADMSG);
    CHECK(put(&t->io[1], STR("x")) == -EPIPE);
}

static void forged_records_end_the_connection(void)
{
    struct talk t = {.server = read_forged, .client = forge};

    talk(&t);
    CHECK(t.server_rc == 0);
}

/* ---- handshakes ---- */

static void say(void *arg)
{
    struct talk *t = arg;
    int fd[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
    CHECK(io_open(&t->io[0], fd[0]) == 0 && io_open(&t->io[1], fd[1]) == 0);
    put(&t->io[0], t->connect.sni);
    t->server_rc = await_tls_accept(&t->io[1], t->acceptor, NULL, STR(""), deadline_in(50));
    io_close(&t->io[1]);
    io_close(&t->io[0]);
}

static void what_is_no_hello_is_refused_and_half_of_one_in_time(void)
{
    static const struct {
        struct str said;
        int rc;
    } rows[] = {
        {STR_INIT("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), -EPROTO},
        {STR_INIT("\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"), -ETIMEDOUT},
        {STR_INIT("\x80\x2e\x01\0\x02"), -ETIMEDOUT},
        {STR_INIT("\xff\xff\xff\xff\xff\xff\xff\xff"), -EPROTO},
        {STR_INIT(""), -ETIMEDOUT},
    };
    struct tls_acceptor *a = acceptor(false);

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct talk t = {.acceptor = a, .connect.sni = rows[i].said};
        run(say, &t);
        CHECK_ROW(i, t.server_rc == rows[i].rc);
    }
    tls_acceptor_drop(a);
}

static void hello(struct talk *t)
{
    CHECK(put(&t->io[1], STR("hello")) == 0);
}

static void read_hello(struct talk *t)
{
    struct str s;
    await_read(&t->io[0], &s, deadline_in(5000));
}

static void the_name_decides_and_the_fallback_stands_in(void)
{
    static const struct {
        const char *name;
        bool ok;
    } rows[] = {{"a.test", true}, {"A.TEST", true}, {"nobody.test", false}, {"127.0.0.1", true}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct talk t = {.server = hello, .client = read_hello, .connect.sni = str_c(rows[i].name)};
        talk(&t);
        CHECK_ROW(i, (t.client_rc == 0) == rows[i].ok && (t.server_rc == 0) == rows[i].ok);
        CHECK_ROW(i, rows[i].ok || strstr(t.server_reason, "SNI: nobody.test"));
    }
}

static void a_certificate_is_checked_when_somebody_is_trusted(void)
{
    struct err e = {0};
    struct talk wrong_name = {.connect = {.sni = STR("old.test"), .trust = trust}};
    struct talk wrong_ca = {.connect = {.trust = tls_trust_new(stranger.cert_pem, &e)}};

    talk(&wrong_name);
    CHECK(wrong_name.client_rc == -EPROTO);
    talk(&wrong_ca);
    CHECK(wrong_ca.client_rc == -EPROTO);
    tls_trust_drop(wrong_ca.connect.trust);
    CHECK(tls_trust_new(STR("nothing"), &e) == NULL && err_is_set(&e));
}

static bool verified;

static void note_verified(struct talk *t)
{
    verified = tls_is_verified(&t->io[1]);
    hello(t);
}

static void a_client_certificate_is_demanded_or_only_noted(void)
{
    struct tls_pair bad = {.cert = stranger.cert_pem, .key = stranger.key_pem};
    const struct {
        const char *name;
        struct tls_pair *pair;
        bool ok, verified;
    } rows[] = {
        {"closed.test", NULL, false, false},       {"closed.test", &bad, false, false},
        {"closed.test", &client_pair, true, true}, {"open.test", NULL, true, false},
        {"open.test", &bad, true, false},          {"open.test", &client_pair, true, true},
        {"a.test", &client_pair, true, false},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct talk t = {.server = note_verified,
                         .client = read_hello,
                         .connect = {.sni = str_c(rows[i].name), .pair = rows[i].pair}};
        verified = false;
        talk(&t);
        CHECK_ROW(i, (t.server_rc == 0) == rows[i].ok);
        CHECK_ROW(i, verified == rows[i].verified);
    }
    tls_pair_fini(&bad);
}

/* ---- sessions ---- */

static void one_byte(struct talk *t)
{
    struct str s;

    put(&t->io[1], tls_is_resumed(&t->io[1]) ? STR("r") : STR("f"));
    await_read(&t->io[1], &s, deadline_in(5000));
}

static char how;

static void read_how(struct talk *t)
{
    CHECK(await_read_into(&t->io[0], &how, 1, deadline_in(5000)) == 1);
}

static char connect_again(struct tls_acceptor *a, const char *name, struct tls_session *session)
{
    struct talk t = {.acceptor = a,
                     .server = one_byte,
                     .client = read_how,
                     .connect = {.sni = str_c(name), .session = session, .pair = &client_pair}};

    how = '?';
    talk(&t);
    return how;
}

static void sessions_are_resumed_with_tickets_and_without_but_not_elsewhere(void)
{
    for (int tickets = 0; tickets <= 1; tickets++) {
        struct tls_acceptor *a = acceptor(tickets);
        for (int i = 0; i < 2; i++) {
            const char *name = i == 0 ? "a.test" : "old.test"; /* TLS 1.3 and 1.2 */
            struct tls_session s = {0};
            CHECK_ROW(tickets * 2 + i, connect_again(a, name, &s) == 'f');
            CHECK_ROW(tickets * 2 + i, connect_again(a, name, &s) == 'r');
            /* One without client authentication opens no door that asks for it. */
            CHECK_ROW(tickets * 2 + i, connect_again(a, "closed.test", &s) == 'f');
            tls_session_fini(&s);
        }
        tls_acceptor_drop(a);
    }
}

static void tickets_outlive_a_few_rotations_and_reach_all_acceptors(void)
{
    struct tls_acceptor *a = acceptor(true), *b = acceptor(true);
    struct tls_session s = {0};

    CHECK(connect_again(a, "old.test", &s) == 'f');
    CHECK(connect_again(b, "old.test", &s) == 'r');
    tls_tickets_rotate();
    CHECK(connect_again(b, "old.test", &s) == 'r');
    for (int i = 0; i < 4; i++) {
        tls_tickets_rotate();
    }
    CHECK(connect_again(a, "old.test", &s) == 'f');
    tls_session_fini(&s);
    tls_acceptor_drop(a);
    tls_acceptor_drop(b);
}

static void pairs_are_checked_in_the_words_of_the_reference(void)
{
    const struct {
        struct str cert, key;
        const char *says;
    } rows[] = {
        {ec.cert_pem, ec.key_pem, ""},
        {ec.cert_pem, rsa.key_pem, ""},
        {STR("x"), ec.key_pem, "failed to parse cert: PEM_read_bio_X509_AUX() failed"},
        {ec.cert_pem, STR("x"), "failed to decrypt previous encrypted key"},
        {ec.cert_pem, STR("---x"), "failed to parse key: PEM_read_bio_PrivateKey() failed"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err e = {0};
        CHECK_ROW(i, (tls_pair_check(rows[i].cert, rows[i].key, &e) == 0) == !rows[i].says[0]);
        CHECK_ROW(i, strcmp(e.msg, rows[i].says) == 0);
    }
}

TESTS(T(both_ends_play_ping_pong_until_one_says_the_end), T(megabytes_go_both_ways_at_once),
      T(a_watch_sees_what_is_decrypted_already), T(a_connection_that_is_cut_does_not_look_ended),
      T(forged_records_end_the_connection), T(what_is_no_hello_is_refused_and_half_of_one_in_time),
      T(the_name_decides_and_the_fallback_stands_in),
      T(a_certificate_is_checked_when_somebody_is_trusted),
      T(a_client_certificate_is_demanded_or_only_noted),
      T(sessions_are_resumed_with_tickets_and_without_but_not_elsewhere),
      T(tickets_outlive_a_few_rotations_and_reach_all_acceptors),
      T(pairs_are_checked_in_the_words_of_the_reference))
