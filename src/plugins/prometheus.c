/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prometheus: count requests by status, time and bytes (plugin/metrics.c), served at
 * plugin_attr.prometheus.export_addr.
 */
#include "base/assert.h"
#include "plugin/metrics.h"
#include "plugin/plugin.h"

struct prometheus_conf {
    bool prefer_name;
};

static const struct field prometheus_fields[] = {
    F_BOOL(struct prometheus_conf, prefer_name, .def = "false",
           .doc = "Put names instead of ids into the route and service labels."),
    F_END,
};

struct prometheus_metadata {
    const json_t *disabled_labels;
    struct metric_options off; /* from disabled_labels */
};

#define LABELS_OF_ROUTE                                                                            \
    "\"route\",\"service\",\"consumer\",\"node\",\"request_type\",\"request_llm_model\",\"llm_model\""
#define LABELS_OF_LLM                                                                              \
    "\"route_id\",\"service_id\",\"consumer\",\"node\",\"request_type\",\"request_llm_model\",\"llm_model\""
#define LABELS_OF_CACHE                                                                            \
    "\"route\",\"route_id\",\"service\",\"service_id\",\"consumer\",\"node\",\"request_type\",\"request_llm_model\",\"llm_model\""
#define SOME_OF(name, labels)                                                                      \
    "\"" name "\":{\"type\":\"array\",\"items\":{\"type\":\"string\",\"enum\":[" labels "]}}"

/* clang-format off */
static const char disabled_labels_schema[] =
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    SOME_OF("http_status", "\"route\",\"matched_uri\",\"matched_host\",\"service\",\"consumer\",\"node\",\"request_type\",\"request_llm_model\",\"llm_model\",\"response_source\"") ","
    SOME_OF("http_latency", LABELS_OF_ROUTE) ","
    SOME_OF("bandwidth", LABELS_OF_ROUTE) ","
    SOME_OF("llm_latency", LABELS_OF_LLM) ","
    SOME_OF("llm_prompt_tokens", LABELS_OF_LLM) ","
    SOME_OF("llm_prompt_tokens_dist", LABELS_OF_LLM) ","
    SOME_OF("llm_completion_tokens", LABELS_OF_LLM) ","
    SOME_OF("llm_completion_tokens_dist", LABELS_OF_LLM) ","
    SOME_OF("llm_active_connections", "\"route\",\"route_id\",\"matched_uri\",\"matched_host\",\"service\",\"service_id\",\"consumer\",\"node\",\"request_type\",\"request_llm_model\",\"llm_model\"") ","
    SOME_OF("ai_cache_hits_total", LABELS_OF_CACHE) ","
    SOME_OF("ai_cache_misses_total", LABELS_OF_CACHE) ","
    SOME_OF("ai_cache_bypasses_total", LABELS_OF_CACHE) ","
    SOME_OF("ai_cache_embedding_latency", LABELS_OF_CACHE) "}}";
/* clang-format on */

static const struct field prometheus_metadata_fields[] = {
    F_JSON(struct prometheus_metadata, disabled_labels, .raw = disabled_labels_schema,
           .doc = "Labels that are left empty, by metric."),
    F_END,
};

static uint32_t disabled(const json_t *all, const char *family)
{
    uint32_t bits = 0;
    size_t i;
    json_t *label;
    json_array_foreach(json_get(all, family), i, label) {
        int k = metric_label_index(family, json_str(label));
        bits |= k >= 0 ? 1u << k : 0;
    }
    return bits;
}

static int prometheus_prepare(const struct prepare *p, void *conf, struct err *e)
{
    static uint64_t serial;
    if (p->use == CONF_METADATA) {
        struct prometheus_metadata *m = conf;
        m->off = (struct metric_options){
            .serial = ++serial,
            .status_off = disabled(m->disabled_labels, "http_status"),
            .latency_off = disabled(m->disabled_labels, "http_latency"),
            .bandwidth_off = disabled(m->disabled_labels, "bandwidth"),
        };
    }
    return 0;
}

extern const struct plugin prometheus_plugin;

static void prometheus_log(struct req *r, const void *conf)
{
    const struct prometheus_conf *c = conf;
    const struct prometheus_metadata *m = plugin_metadata(r, &prometheus_plugin);
    struct metric_options o = m ? m->off : (struct metric_options){0};
    o.prefer_name = c->prefer_name;
    metrics_count_request(r, &o);
}

static void prometheus_core_init(unsigned core, unsigned cores)
{
    metrics_core_init(core);
}

const struct plugin prometheus_plugin = {
    .name = "prometheus",
    .priority = 500,
    .version = "0.2",
    .prefer_route = true,
    .conf_size = sizeof(struct prometheus_conf),
    .fields = prometheus_fields,
    .metadata_size = sizeof(struct prometheus_metadata),
    .metadata_fields = prometheus_metadata_fields,
    .prepare = prometheus_prepare,
    .log = prometheus_log,
    .core_init = prometheus_core_init,
};
