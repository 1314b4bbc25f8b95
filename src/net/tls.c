/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls: a TLS session as a layer on an io.
 *
 * OpenSSL sees no socket. What it reads comes from the ciphertext that the loop has lent; what it
 * writes goes to chunks of the thread that leave with one write. Plaintext is decrypted into
 * another lent buffer, so it is lent like a socket's bytes.
 *
 * No call into OpenSSL parks, so a reading and a writing fiber can share a session: only the write
 * of ciphertext parks, and one fiber at a time does it. What reading makes OpenSSL say (an alert)
 * is sent at once or not at all.
 */
#include "net/tls_priv.h"

#include "base/assert.h"
#include "base/mem.h"
#include "event/io_layer.h"
#include "event/lend.h"
#include "fiber/fiber.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
    RECORD_MAX = SSL3_RT_MAX_PLAIN_LENGTH,
    RECORD_ROOM = RECORD_MAX + 512, /* with what TLS adds */
    CHUNKS = 5,                     /* more than anything lent, with a head before it */
};

/* ---- output: gathered by one thread between two waits ---- */

static _Thread_local struct {
    char *chunk[CHUNKS];
    size_t n;
} out;

static size_t out_room(void)
{
    return (size_t)CHUNKS * LEND_BYTES - out.n;
}

static size_t out_add(const char *p, size_t n)
{
    size_t done = 0;

    n = n < out_room() ? n : out_room();
    while (done < n) {
        char **chunk = &out.chunk[out.n / LEND_BYTES];
        size_t at = out.n % LEND_BYTES;
        size_t run = n - done < LEND_BYTES - at ? n - done : LEND_BYTES - at;
        if (at == 0) {
            *chunk = lend_spare();
        }
        memcpy(*chunk + at, p + done, run);
        done += run;
        out.n += run;
    }
    return n;
}

static int out_iov(struct iovec iov[CHUNKS])
{
    int cnt = 0;

    for (size_t at = 0; at < out.n; at += LEND_BYTES) {
        size_t run = out.n - at < LEND_BYTES ? out.n - at : LEND_BYTES;
        iov[cnt] = (struct iovec){out.chunk[cnt], run};
        cnt++;
    }
    out.n = 0;
    return cnt;
}

/* Send what was gathered. After an error t is gone perhaps. */
static int flush(struct tls *t, int64_t deadline)
{
    char *chunk[CHUNKS];
    struct iovec iov[CHUNKS];
    int cnt = out_iov(iov);

    if (cnt == 0) {
        return 0;
    }
    memcpy(chunk, out.chunk, sizeof(chunk));
    t->writing = true;
    int rc = socket_await_write(t->io, iov, cnt, deadline);
    for (int i = 0; i < cnt; i++) {
        lend_return(chunk[i]);
    }
    if (rc == 0) {
        t->writing = false;
    }
    return rc;
}

/* Send it without waiting: what does not go now never goes. */
static void flush_now(struct tls *t)
{
    struct iovec iov[CHUNKS];
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)out_iov(iov)};
    size_t n = 0;

    for (size_t i = 0; i < m.msg_iovlen; i++) {
        n += iov[i].iov_len;
    }
    if (n > 0 &&
        (t->writing || sendmsg(t->io->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)n)) {
        t->broken = true;
    }
    for (size_t i = 0; i < m.msg_iovlen; i++) {
        lend_return(out.chunk[i]);
    }
}

/* ---- the BIO ---- */

static int bio_write(BIO *b, const char *p, int n)
{
    size_t put = out_add(p, (size_t)n);

    BIO_clear_retry_flags(b);
    if (put == 0) {
        BIO_set_retry_write(b);
        return -1;
    }
    return (int)put;
}

static int bio_read(BIO *b, char *p, int n)
{
    struct tls *t = BIO_get_data(b);
    struct str run = str_head(t->in, (size_t)n);

    BIO_clear_retry_flags(b);
    if (run.n == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    memcpy(p, run.p, run.n);
    t->in = str_skip(t->in, run.n);
    return (int)run.n;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    return cmd == BIO_CTRL_FLUSH;
}

/* Made once, before the first thread of the data path starts (tls_ctx_init()). */
static BIO_METHOD *bio_method;

static void bio_method_init(void)
{
    if (bio_method == NULL) {
        bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "lent");
        ASSERT(bio_method != NULL);
        BIO_meth_set_write(bio_method, bio_write);
        BIO_meth_set_read(bio_method, bio_read);
        BIO_meth_set_ctrl(bio_method, bio_ctrl);
    }
}

/* ---- input ---- */

/* Lent ciphertext ends with the next await: what is left of it is copied. t->in is in t->kept, when
 * there is one. */
static void keep_rest(struct tls *t)
{
    if (t->in.n == 0) {
        free(t->kept);
        t->kept = NULL;
    } else if (t->kept == NULL) {
        t->kept = mem_resize(NULL, t->in.n);
        memcpy(t->kept, t->in.p, t->in.n);
        t->in.p = t->kept;
    }
}

/* More ciphertext, lent: 1, or an error. There is none left. */
static int await_more(struct tls *t, int64_t deadline)
{
    keep_rest(t);
    int n = socket_await_read(t->io, &t->in, deadline);
    return n == 0 ? -ECONNRESET : n < 0 ? n : 1;
}

/* Will reading tell something without the socket: data, the end, an error? */
static bool is_ready(const struct tls *t)
{
    return t->in.n > 0 || SSL_pending(t->ssl) > 0 || t->broken ||
           SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN;
}

/* SSL_get_error() looks at the thread's queue of errors, where anybody may have left one. */
static void forget_errors(void)
{
    if (ERR_peek_error() != 0) {
        ERR_clear_error();
    }
}

/* As much plaintext as there is and fits: > 0, 0 at the end, -EAGAIN, -EBADMSG. */
static int decrypt(struct tls *t, char *p, size_t n)
{
    size_t got = 0, run;
    int rc = 1;

    forget_errors();
    while (got < n && rc == 1) {
        rc = SSL_read_ex(t->ssl, p + got, n - got, &run);
        got += rc == 1 ? run : 0;
        if (rc == 1 && !is_ready(t)) {
            break;
        }
    }
    int error = SSL_get_error(t->ssl, rc);
    forget_errors();
    if (out.n > 0) {
        flush_now(t);
    }
    if (error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL) {
        t->broken = true;
    }
    return got > 0 ? (int)got : error == SSL_ERROR_ZERO_RETURN ? 0 : t->broken ? -EBADMSG : -EAGAIN;
}

/* ---- the layer ---- */

static int tls_read(struct io *io, struct str *lent, int64_t deadline)
{
    struct tls *t = io->layer_state;
    /* The thread's buffer may be lent to who started a nested fiber. */
    int n = fiber_is_nested() ? socket_await_turn(io) : 0;

    if (n < 0) {
        return n;
    }
    do {
        if (!is_ready(t) && (n = await_more(t, deadline)) < 0) {
            return n;
        }
        /* The ciphertext lies in the thread's buffer: move it aside, decrypt into the next. */
        struct iovec cipher = {(void *)(uintptr_t)t->in.p, t->in.n};
        char *aside = lend_keep(&cipher, 1);
        char *plain = lend_buffer();
        n = decrypt(t, plain, LEND_BYTES);
        lend_mark(n > 0 ? (size_t)n : 0);
        *lent = str_of(plain, n > 0 ? (size_t)n : 0);
        keep_rest(t);
        lend_return(aside);
    } while (n == -EAGAIN);
    return n;
}

static int tls_read_into(struct io *io, void *p, size_t n, int64_t deadline)
{
    struct tls *t = io->layer_state;
    int rc = -EAGAIN;

    do {
        if (!is_ready(t) && (rc = await_more(t, deadline)) < 0) {
            return rc;
        }
        rc = decrypt(t, p, n < INT32_MAX ? n : INT32_MAX);
        keep_rest(t);
    } while (rc == -EAGAIN);
    return rc;
}

static int tls_readable(struct io *io, int64_t deadline)
{
    return is_ready(io->layer_state) ? 0 : socket_await_readable(io, deadline);
}

static void iov_skip(struct iovec **iov, int *cnt, size_t n)
{
    while (*cnt > 0 && n >= (*iov)->iov_len) {
        n -= (*iov)->iov_len;
        ++*iov;
        --*cnt;
    }
    if (n > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + n;
        (*iov)->iov_len -= n;
    }
}

/* What the next record carries: from where it is when it fills one or is the last, else pieces
 * joined in room, so that a head and its body are one record. */
static struct str next_record(const struct iovec *iov, int cnt, char room[RECORD_MAX])
{
    size_t n = 0;

    if (cnt == 1 || iov->iov_len >= RECORD_MAX) {
        return str_of(iov->iov_base, iov->iov_len < RECORD_MAX ? iov->iov_len : RECORD_MAX);
    }
    for (int i = 0; i < cnt && n < RECORD_MAX; i++) {
        size_t run = iov[i].iov_len < RECORD_MAX - n ? iov[i].iov_len : RECORD_MAX - n;
        memcpy(room + n, iov[i].iov_base, run);
        n += run;
    }
    return str_of(room, n);
}

/* Encrypt until all is or the chunks are full. */
static int encrypt(struct tls *t, struct iovec **iov, int *cnt)
{
    static _Thread_local char room[RECORD_MAX];

    iov_skip(iov, cnt, 0);
    while (*cnt > 0 && out_room() >= RECORD_ROOM) {
        struct str run = next_record(*iov, *cnt, room);
        size_t put;
        if (SSL_write_ex(t->ssl, run.p, run.n, &put) != 1) {
            forget_errors();
            t->broken = true;
            return -EPIPE;
        }
        iov_skip(iov, cnt, put);
    }
    return 0;
}

static int tls_write(struct io *io, struct iovec *iov, int cnt, int64_t deadline)
{
    struct tls *t = io->layer_state;
    char *kept = NULL;
    int rc;

    if (t->broken || t->writing) {
        return -EPIPE;
    }
    do {
        rc = encrypt(t, &iov, &cnt);
        if (rc == 0 && cnt > 0 && kept == NULL) {
            kept = lend_keep(iov, cnt);
        }
        if (rc == 0) {
            rc = flush(t, deadline);
        }
    } while (rc == 0 && cnt > 0);
    lend_return(kept);
    return rc;
}

static void on_wake(struct timer *timer)
{
    struct tls *t = CONTAINER_OF(timer, struct tls, wake);
    void (*fn)(struct io *) = t->io->on_readable;

    if (fn != NULL) {
        socket_watch(t->io, NULL);
        fn(t->io);
    }
}

static void tls_watch(struct io *io, void (*fn)(struct io *io))
{
    struct tls *t = io->layer_state;

    socket_watch(io, fn);
    timer_start(&t->wake, fn != NULL && is_ready(t) ? now_ms() : NEVER);
}

/* close_notify, unless nothing can be said, or would come amid a record. */
static void say_end(struct tls *t)
{
    if (t->broken || t->writing || !SSL_is_init_finished(t->ssl)) {
        return;
    }
    SSL_shutdown(t->ssl);
    forget_errors();
    flush_now(t);
}

static void tls_shut(struct io *io)
{
    say_end(io->layer_state);
    socket_shut(io);
}

static void tls_free(struct tls *t)
{
    timer_stop(&t->wake);
    SSL_free(t->ssl);
    tls_acceptor_drop(t->acceptor);
    free(t->kept);
    free(t);
}

static void tls_close(struct io *io)
{
    struct tls *t = io->layer_state;

    if (!(SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN)) {
        say_end(t);
    }
    tls_free(t);
}

static const struct io_layer tls_layer = {
    .read = tls_read,
    .read_into = tls_read_into,
    .readable = tls_readable,
    .write = tls_write,
    .watch = tls_watch,
    .shut = tls_shut,
    .close = tls_close,
};

struct tls *tls_of(const struct io *io)
{
    return io->layer == &tls_layer ? io->layer_state : NULL;
}

/* ---- the handshake ---- */

/* Why a handshake failed. Whoever sees more than OpenSSL will tell sets it first. */
static _Thread_local char reason[256];

const char *tls_reason(void)
{
    return reason;
}

void tls_ctx_init(SSL_CTX *ctx)
{
    bio_method_init();
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
}

struct tls *tls_new(struct io *io, SSL_CTX *ctx)
{
    struct tls *t = mem_alloc(sizeof(*t));
    BIO *b = BIO_new(bio_method);

    *t = (struct tls){.io = io, .ssl = SSL_new(ctx)};
    ASSERT(t->ssl != NULL && b != NULL);
    timer_init(&t->wake, on_wake);
    BIO_set_data(b, t);
    BIO_set_init(b, 1);
    SSL_set_bio(t->ssl, b, b);
    SSL_set_app_data(t->ssl, t);
    io->layer = &tls_layer;
    io->layer_state = t;
    return t;
}

void tls_set_reason(const char *text)
{
    snprintf(reason, sizeof(reason), "%s", text);
}

static int failed(struct tls *t)
{
    unsigned long e = ERR_peek_error();
    long verify = SSL_get_verify_result(t->ssl);

    if (verify != X509_V_OK && SSL_get_verify_mode(t->ssl) & SSL_VERIFY_PEER) {
        tls_set_reason(X509_verify_cert_error_string(verify));
    } else if (reason[0] == '\0') {
        const char *text = e != 0 ? ERR_reason_error_string(e) : NULL;
        tls_set_reason(text != NULL ? text : "not TLS");
    }
    forget_errors();
    flush_now(t); /* the alert */
    t->broken = true;
    return -EPROTO;
}

int tls_await_handshake(struct tls *t, int64_t deadline)
{
    for (;;) {
        reason[0] = '\0';
        forget_errors();
        int done = SSL_do_handshake(t->ssl);
        int want = SSL_get_error(t->ssl, done);
        if (done != 1 && want != SSL_ERROR_WANT_READ && want != SSL_ERROR_WANT_WRITE) {
            return failed(t);
        }
        keep_rest(t);
        int rc = flush(t, deadline);
        if (rc < 0 || done == 1) {
            return rc;
        }
        if (want == SSL_ERROR_WANT_READ && (rc = await_more(t, deadline)) < 0) {
            return rc;
        }
    }
}
