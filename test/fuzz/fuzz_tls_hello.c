/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client may say instead of a handshake. OpenSSL parses it; ours is the name it asks for,
 * and what becomes of its bytes. Oracles: the name is one find() may rely on, and a connection that
 * says no more ends with an error, at once.
 *
 * The first byte chooses how the bytes are cut.
 */
#include "fuzz.h"
#include "net/certs.h"
#include "net/tls.h"

#include "fiber/fiber.h"

#include <sys/socket.h>

static struct tls_pair pair;
static struct tls_identity identity;
static struct tls_acceptor *acceptor;

struct input {
    const uint8_t *p;
    size_t n, step;
};

static const struct tls_identity *find(void *arg, struct str name)
{
    ORACLE(name.n > 0 && name.n <= 255);
    for (size_t i = 0; i < name.n; i++) {
        ORACLE(ascii_lower(name.p[i]) == name.p[i]);
    }
    return name.p[0] == 'x' ? NULL : &identity;
}

static void begin(void)
{
    const struct tls_accept_conf conf = {.protocols = TLS_1_1 | TLS_1_2 | TLS_1_3,
                                         .ciphers = STR("ALL"),
                                         .tickets = true,
                                         .fallback = STR("fallback"),
                                         .find = find};
    const struct made m = cert_make("a.test", false, NULL);
    struct err e = {0};

    pair = (struct tls_pair){.cert = m.cert_pem, .key = m.key_pem};
    identity = (struct tls_identity){.pairs = &pair, .n_pairs = 1};
    acceptor = tls_acceptor_new(&conf, &e);
    ORACLE(acceptor != NULL && loop_init() == 0);
}

static void say(void *arg)
{
    const struct input *in = arg;
    struct io io[2];
    int fd[2];

    ORACLE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
    ORACLE(io_open(&io[0], fd[0]) == 0 && io_open(&io[1], fd[1]) == 0);
    for (size_t at = 0; at < in->n; at += in->step) {
        size_t run = in->n - at < in->step ? in->n - at : in->step;
        ORACLE(send(fd[0], in->p + at, run, MSG_NOSIGNAL) == (ssize_t)run);
    }
    shutdown(fd[0], SHUT_WR);
    ORACLE(await_tls_accept(&io[1], acceptor, NULL, STR("\x02h2\x08http/1.1"), NEVER) < 0);
    io_close(&io[1]);
    io_close(&io[0]);
    loop_stop(loop_self());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data + 1, size - 1, 128 + (size ? data[0] * 64u : 0)};

    if (size < 1 || size > 8192) {
        return 0;
    }
    if (acceptor == NULL) {
        begin();
    }
    fiber_start("say", say, &in);
    loop_run();
    return 0;
}
