/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ocsp-stapling: ask the issuers of certificates what they say of them, for ssl objects with
 * ocsp_stapling. No phases: handshakes ask for answers (net/tls_staple.h), and a fiber of its own
 * fetches them.
 */
#include "base/log.h"
#include "fiber/fiber.h"
#include "http/client.h"
#include "net/resolver.h"
#include "net/tls_staple.h"
#include "plugin/plugin.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/http.h>

enum { FETCH_MS = 10000, ANSWER_MAX = 64 << 10 };

static const struct h1_limits limits = {16384, 8192, 100, false, false};

/* The place an address names. */
struct place {
    struct str host, port, path;
};

static bool parse_url(struct arena *a, struct str url, struct place *out)
{
    char *host = NULL, *port = NULL, *path = NULL;
    bool ok = OSSL_HTTP_parse_url(url.p, NULL, NULL, &host, &port, NULL, &path, NULL, NULL) == 1;

    if (ok) {
        *out = (struct place){arena_str(a, str_c(host)), arena_str(a, str_c(port)),
                              arena_str(a, str_c(path))};
    }
    OPENSSL_free(host);
    OPENSSL_free(port);
    OPENSSL_free(path);
    return ok;
}

static int await_open(struct io *io, const struct place *p, int64_t deadline)
{
    struct resolved names;
    struct addr addr;
    uint64_t port = 80;

    str_to_u64(p->port, &port);
    int rc = await_resolve(p->host, &names, deadline);
    if (rc < 0) {
        return rc;
    }
    addr_from_ip(&addr, &names.ip[0], (uint16_t)port);
    return await_connect(io, &addr, deadline);
}

static int await_body(struct exchange *x, struct arena *a, struct str *body, int64_t deadline)
{
    struct str run;
    int rc;

    *body = STR("");
    while ((rc = client_await_body(x, &run, deadline)) > 0) {
        if (body->n + run.n > ANSWER_MAX) {
            return -EMSGSIZE;
        }
        *body = arena_cat(a, *body, run);
    }
    return rc;
}

static int await_ask(struct io *io, const struct place *p, struct str question, struct str *answer,
                     int64_t deadline)
{
    struct arena *a = fiber_arena();
    struct exchange x;
    struct headers h;

    headers_init(&h, a, 4);
    headers_add_id(&h, H_HOST, arena_printf(a, "%.*s:%.*s", STR_ARG(p->host), STR_ARG(p->port)));
    headers_add_id(&h, H_CONTENT_TYPE, STR("application/ocsp-request"));
    headers_add_id(&h, H_CONNECTION, STR("close"));
    client_init(&x, io, a, &limits, M_POST);
    const struct client_request q = {.method = STR("POST"),
                                     .target = p->path,
                                     .own = &h,
                                     .body_length = (int64_t)question.n,
                                     .body = question,
                                     .last = true};
    int rc = client_await_request(&x, &q, deadline);
    if (rc == 0) {
        rc = client_await_response(&x, NULL, NULL, FETCH_MS);
    }
    if (rc == 0 && x.parser.head.status != 200) {
        return -EPROTO;
    }
    return rc == 0 ? await_body(&x, a, answer, deadline) : rc;
}

static int await_fetch(struct tls_staple *s, struct str url, struct err *e)
{
    struct arena *a = fiber_arena();
    struct str question = tls_staple_question(s, a), answer;
    int64_t deadline = deadline_in(FETCH_MS);
    struct io io = IO_CLOSED;
    struct place p;

    if (str_is_none(question)) {
        return err_set(e, "the chain has no certificate of the issuer");
    }
    if (str_is_none(url) || !parse_url(a, url, &p)) {
        return err_set(e, "the certificate names no responder");
    }
    int rc = await_open(&io, &p, deadline);
    if (rc == 0) {
        rc = await_ask(&io, &p, question, &answer, deadline);
    }
    io_close(&io);
    return rc < 0 ? err_set(e, "%s", strerror(-rc)) : tls_staple_answer(s, answer, e);
}

static void fetch_main(void *arg)
{
    struct tls_staple *s = arg;
    struct err e = {0};

    /* The handshake that wants it is in the middle of something. */
    if (fiber_yield() == 0) {
        struct str url = tls_staple_url(s, fiber_arena());
        if (await_fetch(s, url, &e) != 0) {
            LOG_RATE(WARN, "ocsp-stapling: %.*s: %s", STR_ARG(str_is_none(url) ? STR("-") : url),
                     e.msg);
        }
    }
    tls_staple_done(s);
}

static void fetch(struct tls_staple *s)
{
    if (fiber_start("ocsp", fetch_main, s) == NULL) {
        tls_staple_done(s);
    }
}

static int ocsp_stapling_init(const struct settings *s, struct err *e)
{
    tls_staple_fetch = fetch;
    return 0;
}

static const struct field no_fields[] = {F_END};

const struct plugin ocsp_stapling_plugin = {
    .name = "ocsp-stapling",
    .priority = -44,
    .version = "0.1",
    .off_by_default = true,
    .fields = no_fields,
    .init = ocsp_stapling_init,
};
