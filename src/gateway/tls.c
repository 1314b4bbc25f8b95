/* SPDX-License-Identifier: Apache-2.0 */
/* tls: see tls.h. */
#include "gateway/tls.h"

#include "base/log.h"
#include "gateway/gateway.h"
#include "upstream/pool.h"

#include <pthread.h>

/* A ticket is taken for two to three times this long. */
#define ROTATE_MS (60 * 60 * 1000)

static const struct tls_identity *find_identity(void *arg, struct str name)
{
    const struct core *core = arg;
    const struct ssl *s = snapshot_ssl(core->now->snapshot, name);

    return s != NULL ? &s->tls : NULL;
}

int gateway_tls_new(struct gateway_tls *t, const struct settings *s, struct err *e)
{
    const struct tls_accept_conf conf = {
        .protocols = s->ssl.protocols,
        .ciphers = s->ssl.ciphers,
        .tickets = s->ssl.tickets,
        .fallback = s->ssl.fallback_sni,
        .find = find_identity,
    };
    *t = (struct gateway_tls){.acceptor = tls_acceptor_new(&conf, e)};
    if (t->acceptor != NULL && !str_is_none(s->ssl.trusted)) {
        t->trust = tls_trust_load(s->ssl.trusted, e);
    }
    if (err_is_set(e)) {
        gateway_tls_free(t);
        return err_prefix(e, "apisix.ssl: ");
    }
    return 0;
}

void gateway_tls_free(struct gateway_tls *t)
{
    tls_acceptor_drop(t->acceptor);
    tls_trust_drop(t->trust);
}

static void on_rotate(struct timer *t)
{
    tls_tickets_rotate();
    timer_start(t, deadline_in(ROTATE_MS));
}

void gateway_tls_rotate(void)
{
    static struct timer timer;

    timer_init(&timer, on_rotate);
    timer_start(&timer, deadline_in(ROTATE_MS));
}

/* ---- upstreams ---- */

static struct tls_trust *system_trust;

static void load_system_trust(void)
{
    struct err e = {0};

    system_trust = tls_trust_load(STR("system"), &e);
    if (system_trust == NULL) {
        LOG(ERROR, "upstreams with tls.verify: %s", e.msg);
    }
}

/* The certificate to show, by the ssl object the upstream names or its own. */
static bool choose_pair(struct req *r, struct upconn_tls *tls)
{
    const struct upstream_conf *u = r->upstream;

    if (str_is_none(u->client_cert_id)) {
        tls->pair = u->client_pair;
        tls->pair_serial = u->client_pair != NULL ? u->serial : 0;
        return true;
    }
    const struct ssl *s = SNAP_FIND(r->snapshot, SSL, ssl, u->client_cert_id);
    if (s == NULL || !s->is_client) {
        LOG_RATE(ERROR, "upstream %.*s: no ssl object %.*s of type client", STR_ARG(u->id),
                 STR_ARG(u->client_cert_id));
        return false;
    }
    tls->pair = s->tls.pairs;
    tls->pair_serial = s->o.serial;
    return true;
}

/* False: nobody is known to trust. */
static bool choose_trust(const struct req *r, struct upconn_tls *tls)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const struct core *core = r->core;

    if (!r->upstream->tls_verify &&
        (core->tls.trust == NULL || r->settings->weir.upstream_unchecked)) {
        return true;
    }
    tls->trust = core->tls.trust;
    if (tls->trust == NULL) {
        pthread_once(&once, load_system_trust);
        tls->trust = system_trust;
    }
    return tls->trust != NULL;
}

bool request_upstream_tls(struct req *r, const struct upstream_node *node, struct str sni,
                          struct upconn_tls *tls)
{
    bool by_client = r->upstream->pass_host == PASS_HOST_PASS && !r->up.host.p;

    *tls = (struct upconn_tls){
        .sni = r->settings->upstream_sni ? sni : STR(""),
        .name = by_client && !node->is_ip ? node->host : sni,
    };
    return choose_pair(r, tls) && choose_trust(r, tls);
}

/* ---- the client's certificate ---- */

static bool needs_none(const struct ssl *s, struct str uri)
{
    for (unsigned i = 0; i < s->n_skip; i++) {
        if (re_search(s->skip[i], uri, 0, NULL)) {
            return true;
        }
    }
    return false;
}

/* The name the connection was opened for. */
static bool is_name_of(const struct req *r, struct str host)
{
    struct str name = tls_server_name(r->tls);

    if (name.n == 0) {
        name = r->settings->ssl.fallback_sni;
    }
    if (name.n > 0 && name.p[name.n - 1] == '.') {
        name.n--;
    }
    return str_ieq(name, host);
}

static enum verdict refuse(struct req *r, const char *why)
{
    LOG_RATE(ERROR, "client %.*s, host %.*s: %s", STR_ARG(r->remote_addr), STR_ARG(r->host), why);
    /* Another connection may do better. */
    r->keepalive = false;
    return req_reply(r, 400, STR_NONE);
}

enum verdict request_check_client(struct req *r)
{
    if (r->tls == NULL || r->snapshot->n_mtls == 0) {
        return NEXT;
    }
    const struct ssl *s = snapshot_ssl(r->snapshot, r->host);
    if (s == NULL || s->tls.trust == NULL || needs_none(s, r->uri)) {
        return NEXT;
    }
    if (!is_name_of(r, r->host)) {
        return refuse(r, "the client certificate was asked for under another name");
    }
    if (!tls_is_under(r->tls, &s->tls)) {
        return refuse(r, "the connection is older than the demand for a client certificate");
    }
    return tls_is_verified(r->tls) ? NEXT : refuse(r, "no client certificate that can be verified");
}
