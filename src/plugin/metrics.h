/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * metrics: what the prometheus plugin counts, and its text for a scraper (control-api.md section
 * 4).
 *
 * Each core counts in its own shard, without locks. A series is found by the serials of the objects
 * involved (a small direct-mapped cache), only the first time by its label text. The scraper
 * (control thread) reads shards while they are written: every counter is one aligned word written
 * by one thread, and series are only ever appended. A core keeps at most METRIC_SERIES_MAX series a
 * family; what does not fit counts in one series with empty labels and in metric_errors_total.
 */
#include "config/settings.h"
#include "http/req.h"

#define METRIC_SERIES_MAX 100000

/* Label switches of plugin_metadata.prometheus.disabled_labels: a bit a label, in the order of the
 * label lists in metrics.c. */
struct metric_options {
    uint64_t serial; /* changes whenever the rest does */
    bool prefer_name;
    uint32_t status_off, latency_off, bandwidth_off;
};
/* The index of a label in a family's list ("http_status", "http_latency", "bandwidth"), -1 when it
 * has none of that name. */
int metric_label_index(const char *family, struct str label);

/* Count a finished request: http_status, http_latency, bandwidth. On its core. */
void metrics_count_request(struct req *r, const struct metric_options *o);

/* Serve GET of the export address: the exposition, text format 0.0.4, streamed. Control thread;
 * lets the loop turn between pieces. */
void metrics_handle(struct req *r);
/* Settings of plugin_attr.prometheus (prefix, buckets). Once, before cores start. 0 or -1 with e.
 */
int metrics_init(const struct settings *s, unsigned cores, struct err *e);
/* On each core's thread, once. */
void metrics_core_init(unsigned core);

/* What only boot can know. */
struct metrics_connections {
    uint64_t accepted, handled, requests;
    unsigned active, reading, writing, waiting;
};
struct metrics_sources {
    struct metrics_connections (*connections)(void);
    int64_t (*config_revision)(void);
};
void metrics_set_sources(const struct metrics_sources *s);
