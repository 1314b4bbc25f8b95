/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* metrics_priv: the shards, for metrics.c (cores write) and metrics_text.c (control thread reads).
 */
#include "base/map.h"
#include "plugin/metrics.h"

#define METRIC_CACHE 4096 /* a power of two */
#define METRIC_BUCKETS_MAX 30
#define HISTOGRAM_SUM (METRIC_BUCKETS_MAX + 1) /* microseconds */
#define HISTOGRAM_COUNT (METRIC_BUCKETS_MAX + 2)
#define HISTOGRAM_WORDS                                                                            \
    (METRIC_BUCKETS_MAX + 3) /* a count a bucket (not cumulative), +Inf, sum, count */
#define SERIES_CHUNK 1024

enum { LATENCY_REQUEST, LATENCY_UPSTREAM, LATENCY_APISIX, LATENCY_TYPES };

/* Written by one core, read by the scraper; never freed while the process lives. */
struct series {
    struct str labels; /* `code="200",route="1",...` */
    unsigned words;
    uint64_t word[];
};

/* The series of one metric on one core, in the order they came. */
struct family {
    struct map by_labels; /* the core's own */
    unsigned n;           /* stored with release after the series it counts */
    struct series **chunks[METRIC_SERIES_MAX / SERIES_CHUNK + 2];
};

struct cached {
    uint64_t key[7];
    struct series *status, *latency, *bandwidth;
};

struct shard {
    struct family status, latency, bandwidth;
    struct cached *cache;
    uint64_t errors;
};

struct metrics {
    struct str prefix, uri;
    unsigned n_cores, n_buckets;
    double bucket_ms[METRIC_BUCKETS_MAX];
    uint64_t bucket_us[METRIC_BUCKETS_MAX];
    struct shard *shards;
    struct metrics_sources sources;
};
extern struct metrics metrics;
extern const char *const metric_status_labels[];
extern const char *const metric_route_labels[];
