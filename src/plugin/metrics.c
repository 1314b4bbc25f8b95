/* SPDX-License-Identifier: Apache-2.0 */
/* metrics: counting on the cores. The text a scraper gets is made in metrics_text.c. */
#include "plugin/metrics.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/hash.h"
#include "plugin/metrics_priv.h"

#include <stdlib.h>

const char *const metric_status_labels[] = {
    "code", "route",        "matched_uri",       "matched_host", "service",         "consumer",
    "node", "request_type", "request_llm_model", "llm_model",    "response_source", NULL};
const char *const metric_route_labels[] = {"route",        "service",           "consumer",  "node",
                                           "request_type", "request_llm_model", "llm_model", NULL};

struct metrics metrics;
static _Thread_local struct shard *shard;

int metric_label_index(const char *family, struct str label)
{
    const char *const *labels =
        strcmp(family, "http_status") == 0 ? metric_status_labels : metric_route_labels;
    for (int i = 0; labels[i]; i++) {
        if (str_eq(label, str_c(labels[i]))) {
            return i;
        }
    }
    return -1;
}

/* ---- set-up ---- */

static const double default_buckets[] = {1,   2,    5,    10,   20,    50,    100,  200,
                                         500, 1000, 2000, 5000, 10000, 30000, 60000};

static int take_buckets(const json_t *list, struct err *e)
{
    size_t n = json_array_size(list);
    if (n > METRIC_BUCKETS_MAX) {
        return err_set(e, "plugin_attr.prometheus.default_buckets: at most %d buckets",
                       METRIC_BUCKETS_MAX);
    }
    for (size_t i = 0; i < n; i++) {
        metrics.bucket_ms[i] = json_number_value(json_array_get(list, i));
        if (i > 0 && metrics.bucket_ms[i] <= metrics.bucket_ms[i - 1]) {
            return err_set(e, "plugin_attr.prometheus.default_buckets: buckets must grow");
        }
    }
    metrics.n_buckets = (unsigned)n;
    return 0;
}

int metrics_init(const struct settings *s, unsigned cores, struct err *e)
{
    const json_t *attr = settings_plugin_attr(s, "prometheus");
    const json_t *buckets = attr ? json_get(attr, "default_buckets") : NULL;
    metrics.prefix = s->metric_prefix;
    metrics.uri = s->prometheus_uri;
    metrics.n_cores = cores;
    metrics.shards = calloc(cores, sizeof(*metrics.shards));
    ASSERT(metrics.shards != NULL);
    memcpy(metrics.bucket_ms, default_buckets, sizeof(default_buckets));
    metrics.n_buckets = LENGTH_OF(default_buckets);
    for (unsigned i = 0; i < metrics.n_buckets; i++) {
        metrics.bucket_us[i] = 0;
    }
    if (json_is_array(buckets) && take_buckets(buckets, e) != 0) {
        return -1;
    }
    for (unsigned i = 0; i < metrics.n_buckets; i++) {
        metrics.bucket_us[i] = (uint64_t)(metrics.bucket_ms[i] * 1000);
    }
    return 0;
}

void metrics_core_init(unsigned core)
{
    shard = &metrics.shards[core];
}

void metrics_set_sources(const struct metrics_sources *s)
{
    metrics.sources = *s;
}

/* ---- series ---- */

static void publish(struct family *f, struct series *s)
{
    if (f->n % SERIES_CHUNK == 0) {
        struct series **chunk = calloc(SERIES_CHUNK, sizeof(*chunk));
        ASSERT(chunk != NULL);
        f->chunks[f->n / SERIES_CHUNK] = chunk;
    }
    f->chunks[f->n / SERIES_CHUNK][f->n % SERIES_CHUNK] = s;
    __atomic_store_n(&f->n, f->n + 1, __ATOMIC_RELEASE);
}

static struct series *new_series(struct family *f, struct str labels, size_t words)
{
    struct series *s = calloc(1, sizeof(*s) + words * sizeof(uint64_t));
    ASSERT(s != NULL);
    char *copy = malloc(labels.n + 1);
    ASSERT(copy != NULL);
    memcpy(copy, labels.p, labels.n);
    s->labels = str_of(copy, labels.n);
    s->words = (unsigned)words;
    map_put(&f->by_labels, s->labels, s);
    publish(f, s);
    return s;
}

static struct series *find_series(struct family *f, struct str labels, size_t words)
{
    struct series *s = map_get(&f->by_labels, labels);
    if (s != NULL) {
        return s;
    }
    if (f->n >= METRIC_SERIES_MAX) {
        shard->errors++;
        s = map_get(&f->by_labels, STR(""));
        return s ? s : new_series(f, STR(""), words);
    }
    return new_series(f, labels, words);
}

/* Label values as the exposition format wants them: backslash, quote and newline escaped. */
static void put_value(struct buf *b, struct str v)
{
    for (size_t i = 0; i < v.n; i++) {
        char c = v.p[i];
        if (c == '\\' || c == '"') {
            buf_addc(b, '\\');
            buf_addc(b, c);
        } else if (c == '\n') {
            buf_add(b, STR("\\n"));
        } else {
            buf_addc(b, c);
        }
    }
}

static void put_labels(struct buf *b, const char *const *names, const struct str *values,
                       uint32_t off)
{
    for (unsigned i = 0; names[i]; i++) {
        if (i) {
            buf_addc(b, ',');
        }
        buf_add(b, str_c(names[i]));
        buf_add(b, STR("=\""));
        if (!(off >> i & 1)) {
            put_value(b, values[i]);
        }
        buf_addc(b, '"');
    }
}

/* ---- one request ---- */

static struct str source_of(const struct req *r)
{
    switch (r->resp.source) {
    case FROM_UPSTREAM:
        return STR("upstream");
    case FROM_PROXY_ERROR:
        return STR("nginx");
    case FROM_NONE:
    case FROM_GATEWAY:
        break;
    }
    return STR("apisix");
}

static struct str route_label(const struct req *r, bool prefer_name)
{
    if (r->route == NULL) {
        return STR("");
    }
    return prefer_name && r->route->name.n ? r->route->name : r->route->o.id;
}

static struct str service_label(const struct req *r, bool prefer_name)
{
    if (r->service == NULL) {
        return STR("");
    }
    return prefer_name && r->service->name.n ? r->service->name : r->service->o.id;
}

static struct str text_of(struct str s)
{
    return s.p ? s : STR("");
}

static void resolve(struct req *r, const struct metric_options *o, struct cached *c)
{
    char code[8], node[46];
    size_t code_n = (size_t)snprintf(code, sizeof(code), "%d", r->resp.status);
    size_t node_n = r->n_tries ? addr_text(&r->tries[r->n_tries - 1].addr, node) : 0;
    const struct str route = route_label(r, o->prefer_name),
                     service = service_label(r, o->prefer_name);
    const struct str consumer = r->consumer ? r->consumer->username : STR(""),
                     type = STR("traditional_http");
    const struct str status[] = {str_of(code, code_n),
                                 route,
                                 text_of(r->matched_uri),
                                 text_of(r->matched_host),
                                 service,
                                 consumer,
                                 str_of(node, node_n),
                                 type,
                                 STR(""),
                                 STR(""),
                                 source_of(r)};
    const struct str by_route[] = {route, service, consumer, str_of(node, node_n),
                                   type,  STR(""), STR("")};
    struct buf b = BUF_INIT(1 << 20);
    put_labels(&b, metric_status_labels, status, o->status_off);
    c->status = find_series(&shard->status, buf_str(&b), 1);
    buf_reset(&b);
    put_labels(&b, metric_route_labels, by_route, o->latency_off);
    c->latency = find_series(&shard->latency, buf_str(&b), HISTOGRAM_WORDS * LATENCY_TYPES);
    buf_reset(&b);
    put_labels(&b, metric_route_labels, by_route, o->bandwidth_off);
    c->bandwidth = find_series(&shard->bandwidth, buf_str(&b), 2);
    buf_fini(&b);
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

/* All that the labels are made of, as integers. */
static struct cached *find_cached(struct req *r, const struct metric_options *o)
{
    uint64_t node = 0;
    if (r->n_tries) {
        const struct addr *a = &r->tries[r->n_tries - 1].addr;
        node =
            a->sa.sa_family == AF_INET ? a->in.sin_addr.s_addr : hash_fnv(str_of(a->room, a->len));
    }
    const uint64_t key[] = {
        (uint64_t)r->resp.status << 8 | (uint64_t)r->resp.source << 1 | o->prefer_name,
        r->route ? r->route->o.serial : 0,
        r->service ? r->service->o.serial : 0,
        r->consumer ? r->consumer->o.serial : 0,
        (uintptr_t)r->matched_uri.p ^ (uintptr_t)r->matched_host.p << 1,
        node,
        o->serial,
    };
    uint64_t h = 0;
    for (size_t i = 0; i < LENGTH_OF(key); i++) {
        h = mix(h, key[i]);
    }
    struct cached *c = &shard->cache[h & (METRIC_CACHE - 1)];
    if (memcmp(c->key, key, sizeof(key)) != 0) {
        memcpy(c->key, key, sizeof(key));
        resolve(r, o, c);
    }
    return c;
}

static void add(uint64_t *word, uint64_t n)
{
    __atomic_store_n(word, *word + n, __ATOMIC_RELAXED);
}

static void observe(uint64_t *histogram, int64_t us)
{
    unsigned i = 0;
    while (i < metrics.n_buckets && (uint64_t)us > metrics.bucket_us[i]) {
        i++;
    }
    add(&histogram[i], 1);
    add(&histogram[HISTOGRAM_SUM], (uint64_t)us);
    add(&histogram[HISTOGRAM_COUNT], 1);
}

void metrics_count_request(struct req *r, const struct metric_options *o)
{
    if (shard->cache == NULL) {
        shard->cache = calloc(METRIC_CACHE, sizeof(*shard->cache));
        ASSERT(shard->cache != NULL);
    }
    struct cached *c = find_cached(r, o);
    int64_t total = now_us() - r->start_us, upstream = 0;
    for (unsigned i = 0; i < r->n_tries; i++) {
        upstream += r->tries[i].response_us > 0 ? r->tries[i].response_us : 0;
    }
    if (upstream > total) {
        total = upstream;
    }
    add(&c->status->word[0], 1);
    observe(&c->latency->word[LATENCY_REQUEST * HISTOGRAM_WORDS], total);
    if (r->n_tries) {
        observe(&c->latency->word[LATENCY_UPSTREAM * HISTOGRAM_WORDS], upstream);
    }
    observe(&c->latency->word[LATENCY_APISIX * HISTOGRAM_WORDS], total - upstream);
    add(&c->bandwidth->word[0], r->bytes_in);
    add(&c->bandwidth->word[1], r->resp.bytes_sent);
}
