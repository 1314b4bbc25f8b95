/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upstream: where requests go, alone (`/upstreams`) or inside a route, a service or a plugin's
 * conf.
 *
 * What the schema takes and this build does not do is said in the log when the upstream is built:
 * health checks are not made, and requests to other schemes than http and https, and to discovered
 * nodes, are refused by the gateway.
 */
#include "base/assert.h"
#include "base/log.h"
#include "base/re.h"
#include "config/resource_priv.h"

struct keepalive_json {
    int64_t size, requests;
    double idle_timeout;
};
struct upstream_json {
    struct str type, scheme, pass_host, upstream_host, hash_on, key, name, service_name;
    const json_t *nodes, *checks, *tls;
    struct opt_int retries;
    double retry_timeout;
    bool has_timeout, has_pool;
    struct timeout_json timeout;
    struct keepalive_json keepalive_pool;
};

/* ---- schema ---- */

/* clang-format off */
#define NODES_SCHEMA                                                                               \
    JSON({"anyOf": [                                                                               \
        {"type": "object", "patternProperties": {".*": {"type": "integer", "minimum": 0}}},        \
        {"type": "array", "items": {"type": "object", "required": ["host", "weight"], "properties": { \
            "host": {"type": "string", "pattern": "^\\*$|^\\*?[0-9a-zA-Z-._\\[\\]:]+$"},           \
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},                           \
            "weight": {"type": "integer", "minimum": 0},                                           \
            "priority": {"type": "integer", "default": 0},                                         \
            "metadata": {"type": "object"}                                                         \
        }}}                                                                                        \
    ]})
#define SCHEME_SCHEMA                                                                              \
    JSON({"enum": ["grpc", "grpcs", "http", "https", "tcp", "tls", "udp", "kafka"], "default": "http"})
#define TLS_SCHEMA                                                                                 \
    JSON({"type": "object", "properties": {                                                        \
        "client_cert_id": {"anyOf": [                                                              \
            {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-_.]+$"},   \
            {"type": "integer", "minimum": 1}                                                      \
        ]},                                                                                        \
        "client_cert": {"type": "string", "minLength": 128, "maxLength": 65536},                   \
        "client_key": {"type": "string", "minLength": 64, "maxLength": 65536},                     \
        "verify": {"type": "boolean", "default": false}                                            \
    }, "dependencies": {                                                                           \
        "client_cert": {"required": ["client_key"]},                                               \
        "client_key": {"required": ["client_cert"]},                                               \
        "client_cert_id": {"not": {"required": ["client_cert", "client_key"]}}                     \
    }})
#define DISCOVERY_ARGS_SCHEMA                                                                      \
    JSON({"type": "object", "properties": {"namespace_id": {"type": "string"}, "group_name": {"type": "string"}}})

/* A count of active checks starts at 1; of passive ones at 0, which switches it off. */
#define ACTIVE_SCHEMA                                                                              \
    JSON({"type": "object", "properties": {                                                             \
        "type": {"type": "string", "enum": ["http", "https", "tcp"], "default": "http"},           \
        "timeout": {"type": "number", "default": 1},                                               \
        "concurrency": {"type": "integer", "default": 10},                                         \
        "host": {"type": "string", "pattern": "^\\*$|^\\*?[0-9a-zA-Z-._\\[\\]:]+$"},               \
        "port": {"type": "integer", "minimum": 1, "maximum": 65535},                               \
        "http_method": {"type": "string", "default": "GET", "enum":                                \
            ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PURGE"]}, \
        "http_path": {"type": "string", "default": "/"},                                           \
        "http_req_body": {"type": "string", "default": ""},                                        \
        "https_verify_certificate": {"type": "boolean", "default": true},                          \
        "req_headers": {"type": "array", "minItems": 1, "items": {"type": "string", "uniqueItems": true}}, \
        "healthy": {"type": "object", "properties": {                                              \
            "interval": {"type": "integer", "minimum": 1, "default": 1},                           \
            "http_statuses": {"type": "array", "minItems": 1, "uniqueItems": true, "default": [200, 302], \
                              "items": {"type": "integer", "minimum": 200, "maximum": 599}},       \
            "successes": {"type": "integer", "minimum": 1, "maximum": 254, "default": 2}           \
        }},                                                                                        \
        "unhealthy": {"type": "object", "properties": {                                            \
            "interval": {"type": "integer", "minimum": 1, "default": 1},                           \
            "http_statuses": {"type": "array", "minItems": 1, "uniqueItems": true,                 \
                              "default": [429, 404, 500, 501, 502, 503, 504, 505],                 \
                              "items": {"type": "integer", "minimum": 200, "maximum": 599}},       \
            "http_failures": {"type": "integer", "minimum": 1, "maximum": 254, "default": 5},      \
            "tcp_failures": {"type": "integer", "minimum": 1, "maximum": 254, "default": 2},       \
            "timeouts": {"type": "integer", "minimum": 1, "maximum": 254, "default": 3}            \
        }}                                                                                         \
    }})
#define PASSIVE_SCHEMA                                                                             \
    JSON({"type": "object", "properties": {                                                             \
        "type": {"type": "string", "enum": ["http", "https", "tcp"], "default": "http"},           \
        "healthy": {"type": "object", "properties": {                                              \
            "http_statuses": {"type": "array", "minItems": 1, "uniqueItems": true,                 \
                              "default": [200, 201, 202, 203, 204, 205, 206, 207, 208, 226,        \
                                          300, 301, 302, 303, 304, 305, 306, 307, 308],            \
                              "items": {"type": "integer", "minimum": 200, "maximum": 599}},       \
            "successes": {"type": "integer", "minimum": 0, "maximum": 254, "default": 5}           \
        }},                                                                                        \
        "unhealthy": {"type": "object", "properties": {                                            \
            "http_statuses": {"type": "array", "minItems": 1, "uniqueItems": true, "default": [429, 500, 503], \
                              "items": {"type": "integer", "minimum": 200, "maximum": 599}},       \
            "http_failures": {"type": "integer", "minimum": 0, "maximum": 254, "default": 5},      \
            "tcp_failures": {"type": "integer", "minimum": 0, "maximum": 254, "default": 2},       \
            "timeouts": {"type": "integer", "minimum": 0, "maximum": 254, "default": 7}            \
        }}                                                                                         \
    }})
#define CHECKS_SCHEMA                                                                              \
    "{\"type\": \"object\", \"anyOf\": [{\"required\": [\"active\"]}, {\"required\": [\"active\", \"passive\"]}], " \
    "\"properties\": {\"active\": " ACTIVE_SCHEMA ", \"passive\": " PASSIVE_SCHEMA "}}"
/* clang-format on */

static const struct field keepalive_fields[] = {
    F_INT(struct keepalive_json, size, .def = "320", .min = 1,
          .doc = "Idle connections kept for this upstream."),
    F_NUM(struct keepalive_json, idle_timeout, .def = "60", .min = 0,
          .doc = "Seconds an idle connection is kept."),
    F_INT(struct keepalive_json, requests, .def = "1000", .min = 1,
          .doc = "Requests on one connection."),
    F_END,
};

static const struct field upstream_fields[] = {
    FIELD_ID,
    FIELD_TIMES,
    FIELD_DESC,
    FIELD_LABELS,
    F_STR(struct upstream_json, name, .min_len = 1, .max_len = 256, .doc = "For people."),
    F_STR(struct upstream_json, type, .def = "\"roundrobin\"",
          .doc = "How a node is picked: roundrobin, chash."),
    F_JSON(struct upstream_json, nodes, .raw = NODES_SCHEMA,
           .doc = "host:port to weight, or a list of nodes."),
    F_INT(struct upstream_json, retries, .min = 0,
          .doc = "Further tries; one less than the nodes when left out."),
    F_NUM(struct upstream_json, retry_timeout, .min = 0,
          .doc = "Seconds after which no further try is made; 0: none."),
    F_OBJ(struct upstream_json, timeout, timeout_fields,
          .present = offsetof(struct upstream_json, has_timeout),
          .doc = "Seconds to connect, send and read."),
    F_STR(struct upstream_json, scheme, .raw = SCHEME_SCHEMA, .def = "\"http\"",
          .doc = "What the nodes speak."),
    F_STR(struct upstream_json, pass_host, .def = "\"pass\"",
          .choices = (const char *const[]){"pass", "node", "rewrite", NULL},
          .doc = "Host sent to the node: the client's, the node's own, or upstream_host."),
    F_STR(struct upstream_json, upstream_host, .pattern = HOST_PATTERN,
          .doc = "Host for pass_host rewrite."),
    F_STR(struct upstream_json, hash_on, .def = "\"vars\"",
          .choices = (const char *const[]){"vars", "header", "cookie", "consumer",
                                           "vars_combinations", NULL},
          .doc = "What chash hashes."),
    F_STR(struct upstream_json, key, .doc = "Name of what chash hashes."),
    F_OBJ(struct upstream_json, keepalive_pool, keepalive_fields,
          .present = offsetof(struct upstream_json, has_pool), .doc = "Pool of idle connections."),
    F_JSON(struct upstream_json, checks, .raw = CHECKS_SCHEMA, .doc = "Health checks."),
    F_JSON(struct upstream_json, tls, .raw = TLS_SCHEMA,
           .doc = "Client certificate for TLS to the nodes."),
    F_STR(struct upstream_json, service_name, .min_len = 1, .max_len = 256,
          .doc = "Name of the service to discover."),
    F_ONLY("discovery_type", .raw = JSON({"type": "string"}), .doc = "Where to discover it."),
    F_ONLY("discovery_args", .raw = DISCOVERY_ARGS_SCHEMA, .doc = "Arguments of the discovery."),
    F_END,
};

/* ---- checks beyond the schema ---- */

/* The host and port of a node given as host[:port]; no port: -1. Brackets of IPv6 are kept in host.
 */
static void split_address(struct str s, struct str *host, int64_t *port)
{
    const ptrdiff_t bracket = s.n > 0 && s.p[0] == '[' ? str_index(s, ']') : -1;
    const size_t from = bracket >= 0 ? (size_t)bracket + 1 : 0;
    const ptrdiff_t colon = str_index(str_skip(s, from), ':');
    double number;

    *host = s;
    *port = -1;
    if (colon >= 0 && str_to_number(str_skip(s, from + (size_t)colon + 1), &number)) {
        *host = str_head(s, from + (size_t)colon);
        *port = number < 0 || number > 1e9 ? 0 : (int64_t)number;
    }
}

static int check_map_nodes(const json_t *nodes, struct err *e)
{
    const char *address;
    json_t *weight;

    json_object_foreach((json_t *)nodes, address, weight) {
        struct str host;
        int64_t port;

        split_address(str_c(address), &host, &port);
        if (port == 0 || port > 65535) {
            return err_set(e, "invalid port %lld", (long long)port);
        }
    }
    return 0;
}

static int check_list_nodes(const json_t *nodes, struct err *e)
{
    json_t *node;
    size_t i;

    json_array_foreach(nodes, i, node) {
        struct str host = json_str(json_get(node, "host"));
        struct ip ip;

        if (host.n > 0 && host.p[0] != '[' && ip_parse(host, &ip) && !ip.v4) {
            return err_set(e,
                           "invalid configuration: IPv6 address must be enclosed with '[' and ']'");
        }
    }
    return 0;
}

static int check_tls(const json_t *tls, struct err *e)
{
    struct str cert = json_str(json_get(tls, "client_cert"));

    return str_is_none(cert) ? 0 : tls_pair_check(cert, json_str(json_get(tls, "client_key")), e);
}

/* The names a hash key may have, as the messages show them: Lua doubles backslashes, and there are
 * none. */
#define VARS_KEY                                                                                   \
    "^((uri|server_name|server_addr|request_uri|remote_port|remote_addr|query_string|host|"        \
    "hostname|mqtt_client_id)"                                                                     \
    "|arg_[0-9a-zA-z_-]+)$"
#define HEADER_KEY "^[a-zA-Z0-9-_]+$"

/* Compiled once, kept for the life of the process. */
static const struct re *key_pattern(const char *pattern, const struct re **cache)
{
    static struct arena *forever;

    if (*cache == NULL) {
        struct err e = {0};

        forever = forever != NULL ? forever : arena_new(1024);
        *cache = re_new(forever, str_c(pattern), "", &e);
    }
    return *cache;
}

static int check_key(struct str key, const char *pattern, const struct re **cache, struct err *e)
{
    if (str_starts(key, STR("$secret://")) ||
        re_search(key_pattern(pattern, cache), key, 0, NULL)) {
        return 0;
    }
    return err_set(e, "invalid configuration: failed to match pattern \"%s\" with \"%.*s\"",
                   pattern, STR_ARG(key));
}

static int check_hash(const json_t *v, struct err *e)
{
    static const struct re *vars_re, *header_re;
    struct str on = json_str(json_get(v, "hash_on")), key = json_str(json_get(v, "key"));

    if (str_eq(on, STR("consumer"))) {
        return 0;
    }
    if (str_is_none(key)) {
        return err_set(e, "missing key");
    }
    if (on.n == 0 || str_eq(on, STR("vars"))) {
        return check_key(key, VARS_KEY, &vars_re, e);
    }
    if (str_eq(on, STR("header")) || str_eq(on, STR("cookie"))) {
        return check_key(key, HEADER_KEY, &header_re, e);
    }
    return 0;
}

int upstream_conf_check(const json_t *v, struct err *e)
{
    const json_t *nodes = json_get(v, "nodes");

    if (check_map_nodes(nodes, e) != 0 || check_list_nodes(nodes, e) != 0) {
        return -1;
    }
    if (str_eq(json_str(json_get(v, "pass_host")), STR("rewrite")) &&
        json_str(json_get(v, "upstream_host")).n == 0) {
        return err_set(e, "`upstream_host` can't be empty when `pass_host` is `rewrite`");
    }
    if (check_tls(json_get(v, "tls"), e) != 0) {
        return -1;
    }
    return str_eq(json_str(json_get(v, "type")), STR("chash")) ? check_hash(v, e) : 0;
}

static int upstream_after(const struct check *c)
{
    return upstream_conf_check(c->value, c->e) == 0 ? check_client_cert(c, c->value) : -1;
}

/* ---- building ---- */

static bool is_http_scheme(struct str scheme)
{
    return str_eq(scheme, STR("http")) || str_eq(scheme, STR("https")) ||
           str_eq(scheme, STR("grpc")) || str_eq(scheme, STR("grpcs"));
}

static bool is_tls_scheme(struct str scheme)
{
    return str_eq(scheme, STR("https")) || str_eq(scheme, STR("grpcs")) ||
           str_eq(scheme, STR("tls"));
}

static uint16_t default_port(struct str scheme)
{
    return is_tls_scheme(scheme) ? 443 : 80;
}

static uint32_t clamp_weight(int64_t w)
{
    return w > UINT32_MAX ? UINT32_MAX : (uint32_t)w;
}

/* address: the host, in brackets when it is IPv6, with no port; port -1: the scheme's. */
static void node_set(struct arena *a, struct upstream_node *n, struct str address, int64_t port,
                     struct str scheme)
{
    const uint16_t usual = default_port(scheme);

    n->port = port < 0 ? usual : (uint16_t)port;
    n->is_ip = ip_parse(address, &n->ip);
    n->is_v6 = n->is_ip && !n->ip.v4;
    n->host = address;
    if (address.n > 2 && address.p[0] == '[' && address.p[address.n - 1] == ']') {
        n->host = str_of(address.p + 1, address.n - 2);
    } else if (n->is_v6) {
        address = arena_printf(a, "[%.*s]", STR_ARG(address));
    }
    n->host_header =
        n->port == usual ? address : arena_printf(a, "%.*s:%u", STR_ARG(address), n->port);
}

static void map_nodes_build(struct arena *a, const json_t *nodes, struct upstream_node *out,
                            struct str scheme)
{
    const char *key;
    json_t *weight;

    json_object_foreach((json_t *)nodes, key, weight) {
        struct str s = str_c(key), host = s;
        struct ip ip;
        int64_t port = -1;

        /* "::1" is an address as a whole. */
        if (s.p[0] == '[' || !ip_parse(s, &ip)) {
            split_address(s, &host, &port);
        }
        node_set(a, out, host, port, scheme);
        out->weight = clamp_weight(json_integer_value(weight));
        out++;
    }
}

static int32_t clamp_priority(int64_t p)
{
    return p > INT32_MAX ? INT32_MAX : p < INT32_MIN ? INT32_MIN : (int32_t)p;
}

static void list_nodes_build(struct arena *a, const json_t *nodes, struct upstream_node *out,
                             struct str scheme)
{
    const json_t *node;
    size_t i;

    json_array_foreach(nodes, i, node) {
        const json_t *port = json_get(node, "port");

        node_set(a, &out[i], json_str(json_get(node, "host")),
                 port != NULL ? json_integer_value(port) : -1, scheme);
        out[i].weight = clamp_weight(json_integer_value(json_get(node, "weight")));
        out[i].priority = clamp_priority(json_integer_value(json_get(node, "priority")));
    }
}

static void nodes_build(struct arena *a, const struct upstream_json *j, struct upstream_conf *c)
{
    const size_t n =
        json_is_array(j->nodes) ? json_array_size(j->nodes) : json_object_size(j->nodes);
    struct upstream_node *v = n > 0 ? ARENA_ARRAY(a, struct upstream_node, n) : NULL;

    if (json_is_array(j->nodes)) {
        list_nodes_build(a, j->nodes, v, j->scheme);
    } else {
        map_nodes_build(a, j->nodes, v, j->scheme);
    }
    c->nodes = v;
    c->n_nodes = (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        c->has_domain |= !v[i].is_ip;
    }
}

static void hash_build(struct arena *a, const struct upstream_json *j, struct upstream_conf *c)
{
    static const struct {
        struct str name, prefix;
        enum hash_on on;
    } kinds[] = {
        {STR_INIT("vars"), STR_INIT(""), HASH_VARS},
        {STR_INIT("header"), STR_INIT("http_"), HASH_HEADER},
        {STR_INIT("cookie"), STR_INIT("cookie_"), HASH_COOKIE},
        {STR_INIT("consumer"), STR_INIT(""), HASH_CONSUMER},
        {STR_INIT("vars_combinations"), STR_INIT(""), HASH_VARS_COMBINATIONS},
    };
    size_t i = LENGTH_OF(kinds);

    /* The schema knows no other names. */
    while (--i > 0 && !str_eq(kinds[i].name, j->hash_on)) {
    }
    c->hash_on = kinds[i].on;
    if (!str_eq(c->type, STR("chash")) || c->hash_on == HASH_CONSUMER) {
        return;
    }
    if (c->hash_on == HASH_VARS_COMBINATIONS) {
        c->hash_tmpl = tmpl_new(a, j->key);
    } else {
        c->hash_var = var_compile(a, arena_cat(a, kinds[i].prefix, j->key));
    }
}

/* Say once a build what the schema takes and nothing here does. */
static void warn_unsupported(const struct upstream_json *j, struct str id)
{
    if (json_object_size(j->checks) > 0) {
        LOG_RATE(WARN,
                 "upstream %.*s: checks: health checks are not made by this build, all nodes count "
                 "as healthy",
                 STR_ARG(id));
    }
    if (!is_http_scheme(j->scheme)) {
        LOG_RATE(
            WARN,
            "upstream %.*s: scheme %.*s is not supported by this build, requests to it are refused",
            STR_ARG(id), STR_ARG(j->scheme));
    }
    if (!str_is_none(j->service_name)) {
        LOG_RATE(WARN,
                 "upstream %.*s: service_name: service discovery is not supported by this build, "
                 "requests to it are refused",
                 STR_ARG(id));
    }
}

static void pair_drop(void *pair)
{
    tls_pair_fini(pair);
}

static void tls_build(struct arena *a, const json_t *tls, struct upstream_conf *c)
{
    const json_t *id = json_get(tls, "client_cert_id");
    struct str cert = json_str(json_get(tls, "client_cert"));

    c->tls_verify = json_is_true(json_get(tls, "verify"));
    c->client_cert_id = id == NULL           ? STR_NONE
                        : json_is_string(id) ? json_str(id)
                                             : json_text(a, id);
    if (!str_is_none(cert)) {
        c->client_pair = ARENA_NEW(a, struct tls_pair);
        *c->client_pair =
            (struct tls_pair){.cert = cert, .key = json_str(json_get(tls, "client_key"))};
        arena_on_reset(a, pair_drop, c->client_pair);
    }
}

static void conf_fill(struct arena *a, const json_t *value, struct str id, struct upstream_conf *c)
{
    struct upstream_json j = {0};

    fields_fill(upstream_fields, value, &j, a);
    warn_unsupported(&j, id);
    *c = (struct upstream_conf){
        .serial = serial_next(),
        .id = id,
        .name = j.name,
        .type = j.type,
        .scheme = j.scheme,
        .is_http = is_http_scheme(j.scheme),
        .tls = is_tls_scheme(j.scheme),
        .grpc = str_starts(j.scheme, STR("grpc")),
        .retries = j.retries,
        .retry_timeout_ms = seconds_to_ms(j.retry_timeout),
        .has_timeout = j.has_timeout,
        .timeout = timeouts_of(&j.timeout),
        .pass_host = str_eq(j.pass_host, STR("node"))      ? PASS_HOST_NODE
                     : str_eq(j.pass_host, STR("rewrite")) ? PASS_HOST_REWRITE
                                                           : PASS_HOST_PASS,
        .upstream_host = j.upstream_host,
        .has_pool = j.has_pool,
        .pool_size = j.keepalive_pool.size,
        .pool_idle_ms = seconds_to_ms(j.keepalive_pool.idle_timeout),
        .pool_requests = j.keepalive_pool.requests,
        .needs_discovery = j.nodes == NULL && !str_is_none(j.service_name),
    };
    nodes_build(a, &j, c);
    hash_build(a, &j, c);
    tls_build(a, j.tls, c);
}

const struct upstream_conf *upstream_conf_new(const json_t *value, struct str id, struct arena *a,
                                              struct err *e)
{
    struct upstream_conf *c = ARENA_NEW(a, struct upstream_conf);

    if (upstream_conf_check(value, e) != 0) {
        return NULL;
    }
    conf_fill(a, value, arena_str(a, id), c);
    return c;
}

static struct object *upstream_build(struct arena *a, struct str id, const json_t *value,
                                     struct err *e)
{
    struct upstream *u = ARENA_NEW(a, struct upstream);

    conf_fill(a, value, id, &u->c);
    return &u->o;
}

const struct resource_type upstream_type = {
    .fields = upstream_fields,
    .extra = JSON(
        {"oneOf": [{"required": ["nodes"]}, {"required": ["service_name", "discovery_type"]}]}),
    .has_id = true,
    .after = upstream_after,
    .build = upstream_build,
};
