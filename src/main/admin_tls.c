/* SPDX-License-Identifier: Apache-2.0 */
/* admin_tls: see admin_tls.h. One certificate whatever the name. */
#include "main/admin_tls.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>

enum { FILE_MAX_BYTES = 64 << 10 };

struct admin_tls {
    struct tls_acceptor *acceptor; /* NULL: no TLS */
    struct tls_pair pair;          /* its texts are in the settings' arena */
    struct tls_identity identity;
};
static struct admin_tls used, next;

static const struct tls_identity *find(void *arg, struct str name)
{
    return &used.identity;
}

static int read_file(struct arena *a, struct str path, struct str *out, struct err *e)
{
    char *text = arena_bytes(a, FILE_MAX_BYTES);
    FILE *f = fopen(arena_str(a, path).p, "re");

    if (f == NULL) {
        return err_set(e, "%.*s: %s", STR_ARG(path), strerror(errno));
    }
    *out = str_of(text, fread(text, 1, FILE_MAX_BYTES, f));
    fclose(f);
    return 0;
}

/* Clients must show a certificate. */
static int read_trust(const struct settings *s, struct tls_identity *id, struct err *e)
{
    struct str ca;

    if (s->admin_tls.ca.n == 0) {
        return 0;
    }
    if (read_file(s->arena, s->admin_tls.ca, &ca, e) != 0) {
        return -1;
    }
    id->trust = tls_trust_new(ca, e);
    id->depth = 1;
    SHA256((const unsigned char *)ca.p, ca.n, (unsigned char *)id->context);
    return id->trust != NULL ? 0 : -1;
}

static int load(struct admin_tls *t, const struct settings *s, struct err *e)
{
    const struct tls_accept_conf conf = {.protocols = s->ssl.protocols,
                                         .ciphers = s->ssl.ciphers,
                                         .fallback = STR("admin"),
                                         .find = find};

    if (read_file(s->arena, s->admin_tls.cert, &t->pair.cert, e) != 0 ||
        read_file(s->arena, s->admin_tls.key, &t->pair.key, e) != 0 ||
        tls_pair_check(t->pair.cert, t->pair.key, e) != 0 || read_trust(s, &t->identity, e) != 0) {
        return -1;
    }
    t->identity.pairs = &used.pair;
    t->identity.n_pairs = 1;
    t->acceptor = tls_acceptor_new(&conf, e);
    return t->acceptor != NULL ? 0 : -1;
}

static void clear(struct admin_tls *t)
{
    tls_acceptor_drop(t->acceptor);
    tls_trust_drop(t->identity.trust);
    tls_pair_fini(&t->pair);
    *t = (struct admin_tls){0};
}

int admin_tls_load(const struct settings *s, struct err *e)
{
    clear(&next);
    if (s->admin_tls.on && load(&next, s, e) != 0) {
        clear(&next);
        return err_prefix(e, "deployment.admin.admin_api_mtls: ");
    }
    return 0;
}

struct tls_acceptor *admin_tls_use(void)
{
    clear(&used);
    used = next;
    next = (struct admin_tls){0};
    return used.acceptor;
}
