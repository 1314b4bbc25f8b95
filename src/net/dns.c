/* SPDX-License-Identifier: Apache-2.0 */
/* dns: see dns.h. c-ares says which sockets it wants watched and when it wants to be called. */
#include "net/dns.h"

#include "base/mem.h"
#include "event/poll.h"

#include <ares.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* Sent again after 1/7, 3/7 of the time: c-ares doubles the wait each round. */
#define TRIES 3
#define TRIES_SUM 7

struct dns {
    ares_channel channel;
    struct timer tick;
    struct list sockets;
};

struct socket {
    struct poll poll;
    struct list link;
    struct dns *dns;
};

struct lookup {
    void (*fn)(void *arg, const struct dns_answer *answer);
    void *arg;
};

/* c-ares may have something to do later: call it then. */
static void dns_schedule(struct dns *d)
{
    struct timeval tv;

    if (ares_timeout(d->channel, NULL, &tv) == NULL) {
        timer_stop(&d->tick);
        return;
    }
    timer_start(&d->tick, deadline_in((int64_t)tv.tv_sec * 1000 + tv.tv_usec / 1000 + 1));
}

static void on_tick(struct timer *t)
{
    struct dns *d = CONTAINER_OF(t, struct dns, tick);

    ares_process_fd(d->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    dns_schedule(d);
}

static void on_socket(struct poll *p, unsigned ready)
{
    struct dns *d = CONTAINER_OF(p, struct socket, poll)->dns;
    int fd = p->fd;

    /* May close the socket and free p. */
    ares_process_fd(d->channel, ready & POLL_READ ? fd : ARES_SOCKET_BAD,
                    ready & POLL_WRITE ? fd : ARES_SOCKET_BAD);
    dns_schedule(d);
}

static struct socket *socket_find(struct dns *d, int fd)
{
    LIST_EACH(l, &d->sockets) {
        struct socket *s = CONTAINER_OF(l, struct socket, link);
        if (s->poll.fd == fd) {
            return s;
        }
    }
    return NULL;
}

/* What c-ares wants to know of fd from now on; nothing when it is about to close it. */
static void on_interest(void *data, ares_socket_t fd, int readable, int writable)
{
    struct dns *d = data;
    struct socket *s = socket_find(d, fd);
    unsigned events = (readable ? POLL_READ : 0) | (writable ? POLL_WRITE : 0);

    if (s == NULL && events != 0) {
        s = mem_alloc(sizeof(*s));
        s->dns = d;
        /* Should it fail, the query runs into its time-out. */
        if (poll_start(&s->poll, fd, events, on_socket) != 0) {
            free(s);
            return;
        }
        list_add(&d->sockets, &s->link);
    } else if (s != NULL && events != 0) {
        poll_change(&s->poll, events);
    } else if (s != NULL) {
        poll_stop(&s->poll);
        list_del(&s->link);
        free(s);
    }
}

static void library_init(void)
{
    ares_library_init(ARES_LIB_INIT_ALL);
}

struct dns *dns_new(const struct resolver_conf *conf)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct dns *d = mem_alloc(sizeof(*d));
    int64_t timeout = conf->timeout_ms / TRIES_SUM;
    struct ares_options o = {
        .timeout = timeout > 10 ? (int)timeout : 10,
        .tries = TRIES,
        .flags = conf->search ? 0 : ARES_FLAG_NOSEARCH,
        .lookups = (char[]){"fb"},
        .sock_state_cb = on_interest,
        .sock_state_cb_data = d,
    };

    pthread_once(&once, library_init);
    list_init(&d->sockets);
    timer_init(&d->tick, on_tick);
    int rc = ares_init_options(&d->channel, &o,
                               ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_FLAGS |
                                   ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB);
    if (rc != ARES_SUCCESS) {
        free(d);
        errno = rc == ARES_ENOMEM ? ENOMEM : EINVAL;
        return NULL;
    }
    if (conf->servers != NULL &&
        ares_set_servers_ports_csv(d->channel, conf->servers) != ARES_SUCCESS) {
        dns_free(d);
        errno = EINVAL;
        return NULL;
    }
    return d;
}

void dns_free(struct dns *d)
{
    ares_destroy(d->channel);
    timer_stop(&d->tick);
    free(d);
}

static int status_of(int ares)
{
    switch (ares) {
    case ARES_SUCCESS:
        return 0;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_EBADNAME:
        return -ENOENT;
    case ARES_ETIMEOUT:
        return -ETIMEDOUT;
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
        return -ECANCELED;
    default:
        return -EIO;
    }
}

static void take_ttl(struct dns_answer *answer, int seconds)
{
    int64_t ms = (int64_t)seconds * 1000;

    if (ms < answer->ttl_ms) {
        answer->ttl_ms = ms;
    }
}

static void take_addresses(struct dns_answer *answer, const struct ares_addrinfo *info)
{
    answer->ttl_ms = INT64_MAX;
    for (struct ares_addrinfo_cname *c = info->cnames; c != NULL; c = c->next) {
        take_ttl(answer, c->ttl);
    }
    for (struct ares_addrinfo_node *n = info->nodes; n != NULL; n = n->ai_next) {
        struct addr a = {.len = n->ai_addrlen};
        if (answer->to.n == RESOLVER_MAX_ADDRS || a.len > sizeof(a.room)) {
            break;
        }
        memcpy(a.room, n->ai_addr, a.len);
        if (ip_from_addr(&a, &answer->to.ip[answer->to.n])) {
            answer->to.n++;
            take_ttl(answer, n->ai_ttl);
        }
    }
    if (answer->to.n == 0) {
        answer->status = -ENOENT;
        answer->reason = "no address";
    }
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct lookup l = *(struct lookup *)arg;
    struct dns_answer answer = {.status = status_of(status), .reason = ares_strerror(status)};

    free(arg);
    if (status == ARES_SUCCESS) {
        take_addresses(&answer, info);
    }
    if (info != NULL) {
        ares_freeaddrinfo(info);
    }
    l.fn(l.arg, &answer);
}

void dns_lookup(struct dns *d, const char *name, int family,
                void (*fn)(void *arg, const struct dns_answer *answer), void *arg)
{
    /* Without sorting: that would open a socket for each address. */
    struct ares_addrinfo_hints hints = {
        .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_NOSORT};
    struct lookup *l = mem_alloc(sizeof(*l));

    *l = (struct lookup){.fn = fn, .arg = arg};
    ares_getaddrinfo(d->channel, name, NULL, &hints, on_answer, l);
    dns_schedule(d);
}
