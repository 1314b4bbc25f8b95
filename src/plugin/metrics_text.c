/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics_text: the exposition. Series of the same labels on several cores become one; which belong
 * together is found once, when they first appear. The text goes out in pieces of 64 KB; after each
 * the loop may turn, so a scrape of a million lines delays nothing.
 */
#include "base/assert.h"
#include "base/buf.h"
#include "plugin/metrics_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define PIECE 65536

/* One line group: the same labels on every core that has them. */
struct merged {
    struct str labels;
    unsigned words;
    struct series **of_core; /* NULL where a core has none */
};
struct merged_family {
    struct map by_labels;
    struct merged **v;
    size_t n, cap;
    unsigned *seen; /* series of each core already taken */
};
static struct merged_family status, latency, bandwidth;

static struct merged *merged_of(struct merged_family *m, const struct series *s)
{
    struct merged *g = map_get(&m->by_labels, s->labels);
    if (g != NULL) {
        return g;
    }
    g = calloc(1, sizeof(*g));
    ASSERT(g != NULL);
    *g = (struct merged){s->labels, s->words, calloc(metrics.n_cores, sizeof(*g->of_core))};
    ASSERT(g->of_core != NULL);
    map_put(&m->by_labels, g->labels, g);
    if (m->n == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 256;
        m->v = realloc(m->v, m->cap * sizeof(*m->v));
        ASSERT(m->v != NULL);
    }
    m->v[m->n++] = g;
    return g;
}

static void take_new(struct merged_family *m, size_t family_offset)
{
    if (m->seen == NULL) {
        m->seen = calloc(metrics.n_cores, sizeof(*m->seen));
        ASSERT(m->seen != NULL);
    }
    for (unsigned core = 0; core < metrics.n_cores; core++) {
        struct family *f = (struct family *)(void *)((char *)&metrics.shards[core] + family_offset);
        unsigned n = __atomic_load_n(&f->n, __ATOMIC_ACQUIRE);
        for (unsigned i = m->seen[core]; i < n; i++) {
            struct series *s = f->chunks[i / SERIES_CHUNK][i % SERIES_CHUNK];
            merged_of(m, s)->of_core[core] = s;
        }
        m->seen[core] = n;
    }
}

static uint64_t sum(const struct merged *g, unsigned word)
{
    uint64_t n = 0;
    for (unsigned core = 0; core < metrics.n_cores; core++) {
        if (g->of_core[core]) {
            n += __atomic_load_n(&g->of_core[core]->word[word], __ATOMIC_RELAXED);
        }
    }
    return n;
}

/* ---- writing ---- */

struct out {
    struct req *r;
    struct buf b;
    bool head_sent;
    int error;
};

static void send_piece(struct out *o, bool last)
{
    if (o->error < 0 || (o->b.n < PIECE && !last)) {
        return;
    }
    struct req *r = o->r;
    if (!o->head_sent) {
        r->resp.status = 200;
        r->resp.length = -1;
        headers_add(&r->resp.headers, STR("Content-Type"), STR("text/plain; charset=utf-8"));
        o->error = r->transport->await_head(r, buf_str(&o->b), last);
        o->head_sent = true;
    } else {
        o->error = r->transport->await_data(r, buf_str(&o->b), last);
    }
    buf_reset(&o->b);
    if (o->error == 0) {
        o->error = await_until(now_ms()); /* let others have their turn */
    }
}

static void put_number(struct buf *b, uint64_t n)
{
    char digits[20];
    int i = 20;
    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    buf_add(b, str_of(digits + i, (size_t)(20 - i)));
}

/* Milliseconds from microseconds: "12.345", "12". */
static void put_ms(struct buf *b, uint64_t us)
{
    put_number(b, us / 1000);
    if (us % 1000) {
        char frac[4] = {'.', (char)('0' + us / 100 % 10), (char)('0' + us / 10 % 10),
                        (char)('0' + us % 10)};
        size_t n = 4;
        while (frac[n - 1] == '0') {
            n--;
        }
        buf_add(b, str_of(frac, n));
    }
}

static void put_head(struct out *o, const char *name, const char *type, const char *help)
{
    buf_printf(&o->b, "# HELP %.*s%s %s\n# TYPE %.*s%s %s\n", STR_ARG(metrics.prefix), name, help,
               STR_ARG(metrics.prefix), name, type);
}

static void put_line(struct out *o, const char *name, struct str first, struct str labels,
                     uint64_t value)
{
    struct buf *b = &o->b;
    buf_add(b, metrics.prefix);
    buf_add(b, str_c(name));
    buf_addc(b, '{');
    buf_add(b, first);
    buf_add(b, labels);
    buf_add(b, STR("} "));
    put_number(b, value);
    buf_addc(b, '\n');
}

static void put_status(struct out *o)
{
    put_head(o, "http_status", "counter", "HTTP status codes per route");
    for (size_t i = 0; i < status.n; i++) {
        put_line(o, "http_status", STR(""), status.v[i]->labels, sum(status.v[i], 0));
        send_piece(o, false);
    }
}

static void put_bandwidth(struct out *o)
{
    put_head(o, "bandwidth", "counter", "Bytes received from and sent to clients");
    for (size_t i = 0; i < bandwidth.n; i++) {
        put_line(o, "bandwidth", STR("type=\"ingress\","), bandwidth.v[i]->labels,
                 sum(bandwidth.v[i], 0));
        put_line(o, "bandwidth", STR("type=\"egress\","), bandwidth.v[i]->labels,
                 sum(bandwidth.v[i], 1));
        send_piece(o, false);
    }
}

static const char *const latency_types[] = {"type=\"request\",", "type=\"upstream\",",
                                            "type=\"apisix\","};

static void put_histogram(struct out *o, const struct merged *g, unsigned type,
                          const struct str *le)
{
    struct buf *b = &o->b;
    unsigned base = type * HISTOGRAM_WORDS;
    uint64_t count = 0, total = sum(g, base + HISTOGRAM_COUNT);
    if (total == 0) {
        return;
    }
    /* The buckets may be ahead of the count that was read a moment earlier: their own sum is the
     * count. */
    for (unsigned i = 0; i <= metrics.n_buckets; i++) {
        count += sum(g, base + i);
        buf_add(b, metrics.prefix);
        buf_add(b, STR("http_latency_bucket{"));
        buf_add(b, str_c(latency_types[type]));
        buf_add(b, g->labels);
        buf_add(b, le[i]);
        put_number(b, count);
        buf_addc(b, '\n');
    }
    put_line(o, "http_latency_count", str_c(latency_types[type]), g->labels, count);
    buf_add(b, metrics.prefix);
    buf_add(b, STR("http_latency_sum{"));
    buf_add(b, str_c(latency_types[type]));
    buf_add(b, g->labels);
    buf_add(b, STR("} "));
    put_ms(b, sum(g, base + HISTOGRAM_SUM));
    buf_addc(b, '\n');
}

static void put_latency(struct out *o)
{
    char text[METRIC_BUCKETS_MAX + 1][40];
    struct str le[METRIC_BUCKETS_MAX + 1];
    for (unsigned i = 0; i <= metrics.n_buckets; i++) {
        int n = i < metrics.n_buckets
                    ? snprintf(text[i], sizeof(text[i]), ",le=\"%g\"} ", metrics.bucket_ms[i])
                    : snprintf(text[i], sizeof(text[i]), ",le=\"+Inf\"} ");
        le[i] = str_of(text[i], (size_t)n);
    }
    put_head(o, "http_latency", "histogram",
             "Time of requests in milliseconds: in all, in the upstream, in the gateway");
    for (size_t i = 0; i < latency.n; i++) {
        for (unsigned type = 0; type < LATENCY_TYPES; type++) {
            put_histogram(o, latency.v[i], type, le);
        }
        send_piece(o, false);
    }
}

static void put_gauges(struct out *o)
{
    char host[256] = "";
    gethostname(host, sizeof(host) - 1);
    const struct metrics_connections c = metrics.sources.connections
                                             ? metrics.sources.connections()
                                             : (struct metrics_connections){0};
    uint64_t errors = 0;
    for (unsigned i = 0; i < metrics.n_cores; i++) {
        errors += __atomic_load_n(&metrics.shards[i].errors, __ATOMIC_RELAXED);
    }
    put_head(o, "http_requests_total", "gauge", "Requests since the start");
    buf_printf(&o->b, "%.*shttp_requests_total %" PRIu64 "\n", STR_ARG(metrics.prefix), c.requests);
    const struct {
        const char *state;
        uint64_t n;
    } states[] = {{"accepted", c.accepted}, {"active", c.active},   {"handled", c.handled},
                  {"reading", c.reading},   {"waiting", c.waiting}, {"writing", c.writing}};
    put_head(o, "nginx_http_current_connections", "gauge", "Client connections by state");
    for (size_t i = 0; i < LENGTH_OF(states); i++) {
        buf_printf(&o->b, "%.*snginx_http_current_connections{state=\"%s\"} %" PRIu64 "\n",
                   STR_ARG(metrics.prefix), states[i].state, states[i].n);
    }
    put_head(o, "nginx_metric_errors_total", "counter",
             "Observations that did not get a series of their own");
    buf_printf(&o->b, "%.*snginx_metric_errors_total %" PRIu64 "\n", STR_ARG(metrics.prefix),
               errors);
    put_head(o, "node_info", "gauge", "This node");
    buf_printf(&o->b, "%.*snode_info{hostname=\"%s\",version=\"" WEIR_VERSION "\"} 1\n",
               STR_ARG(metrics.prefix), host);
    if (metrics.sources.config_revision) {
        int64_t revision = metrics.sources.config_revision();
        put_head(o, "etcd_modify_indexes", "gauge", "Revisions of the configuration store");
        buf_printf(&o->b, "%.*setcd_modify_indexes{key=\"max_modify_index\"} %lld\n",
                   STR_ARG(metrics.prefix), (long long)revision);
        buf_printf(&o->b, "%.*setcd_modify_indexes{key=\"x_etcd_index\"} %lld\n",
                   STR_ARG(metrics.prefix), (long long)revision);
        put_head(o, "etcd_reachable", "gauge", "Whether the configuration store can be reached");
        buf_printf(&o->b, "%.*setcd_reachable 1\n", STR_ARG(metrics.prefix));
    }
}

void metrics_handle(struct req *r)
{
    if (!str_eq(r->uri, metrics.uri)) {
        req_reply(r, 404, STR_NONE);
        return;
    }
    take_new(&status, offsetof(struct shard, status));
    take_new(&latency, offsetof(struct shard, latency));
    take_new(&bandwidth, offsetof(struct shard, bandwidth));
    struct out o = {.r = r, .b = BUF_INIT(4 * PIECE)};
    put_gauges(&o);
    put_status(&o);
    put_latency(&o);
    put_bandwidth(&o);
    send_piece(&o, true);
    buf_fini(&o.b);
}
