/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * object: the resources of the Admin API as checked, immutable C values.
 *
 * Made on the control thread from JSON (object_new), never changed afterwards, read by any core
 * through the snapshot that holds it. Counted: refs is touched on the control thread only. Text,
 * arrays and compiled things live in the object's own arena and JSON.
 */
#include "base/ip.h"
#include "base/re.h"
#include "net/tls.h"
#include "schema/expr.h"
#include "schema/field.h"
#include "script/lua_fn.h"

/* clang-format off */
/* plural (path), word in messages */
#define OBJECT_KINDS(X) \
    X(ROUTE, "routes", "route") \
    X(SERVICE, "services", "service") \
    X(UPSTREAM, "upstreams", "upstream") \
    X(CONSUMER, "consumers", "consumer") \
    X(CREDENTIAL, "credentials", "credential") /* id: "user/credentials/id" */ \
    X(CONSUMER_GROUP, "consumer_groups", "consumer group") \
    X(GLOBAL_RULE, "global_rules", "global rule") \
    X(PLUGIN_CONFIG, "plugin_configs", "plugin config") \
    X(PLUGIN_METADATA, "plugin_metadata", "plugin_metadata") \
    X(SSL, "ssls", "ssl") \
    X(PROTO, "protos", "proto")
enum object_kind {
#define X(id, plural, word) K_##id,
    OBJECT_KINDS(X)
#undef X
    K_COUNT
};
/* clang-format on */

struct plugin; /* plugin/plugin.h */
struct hosts;  /* config/hosts.h */
struct pb_schema;

/* `_meta` of one plugin in one object. */
struct plugin_meta {
    bool disable;
    struct opt_int priority;
    struct expr *filter; /* NULL: always */
    /* text to send instead of the plugin's own body on >= 400; STR_NONE: none. Objects as JSON text
     * + "\n" */
    struct str error_response;
};
/* One plugin switched on somewhere, with its compiled configuration. */
struct plugin_use {
    const struct plugin *plugin;
    const void *conf; /* NULL when meta.disable */
    struct plugin_meta meta;
    unsigned index; /* of the plugin in the registry: for per-request state */
};
/* Sorted by name, disabled ones included (they hide the same plugin of a lower level). */
struct plugin_set {
    const struct plugin_use *v;
    unsigned n;
};

struct object {
    unsigned refs;
    enum object_kind kind;
    uint64_t serial; /* unique in this process: caches key on it */
    struct str id;
    int64_t created_index, modified_index;
    json_t *json; /* the stored value; defaults filled, secrets in clear */
    struct arena *arena;
};

struct timeouts {
    int64_t connect_ms, send_ms, read_ms;
};

struct upstream_node {
    struct str host; /* without brackets */
    uint16_t port;
    uint32_t weight;
    int32_t priority;
    bool is_ip, is_v6;
    struct ip ip; /* when is_ip */
    /* host[:port] for pass_host node; the port left out when it is the scheme's default */
    struct str host_header;
};
enum pass_host { PASS_HOST_PASS, PASS_HOST_NODE, PASS_HOST_REWRITE };
enum hash_on { HASH_VARS, HASH_HEADER, HASH_COOKIE, HASH_CONSUMER, HASH_VARS_COMBINATIONS };

/* An upstream, alone or inline. Inline ones have kind K_UPSTREAM, an id of their owner's key, and
 * are owned by it. */
struct upstream_conf {
    uint64_t serial;
    /* roundrobin, chash; another text is stored and fails at request time */
    struct str type;
    struct str scheme; /* http, https ... */
    bool is_http;      /* http, https, grpc, grpcs */
    bool tls;
    bool grpc; /* HTTP/2 */
    const struct upstream_node *nodes;
    unsigned n_nodes;
    bool has_domain;
    struct opt_int retries;   /* absent: nodes - 1 */
    int64_t retry_timeout_ms; /* 0: none */
    bool has_timeout;
    struct timeouts timeout;
    enum pass_host pass_host;
    struct str upstream_host;
    enum hash_on hash_on;
    struct var hash_var;    /* HASH_VARS, HASH_COOKIE (cookie_x), HASH_HEADER (http_x) */
    struct tmpl *hash_tmpl; /* HASH_VARS_COMBINATIONS */
    bool has_pool;          /* keepalive_pool given */
    int64_t pool_size, pool_idle_ms, pool_requests;
    bool needs_discovery; /* service_name + discovery_type: no nodes here */
    struct str id, name;
    struct str client_cert_id;    /* of an ssl object; STR_NONE: none */
    struct tls_pair *client_pair; /* NULL: none */
    bool tls_verify;
};

struct upstream {
    struct object o;
    struct upstream_conf c;
};

struct service {
    struct object o;
    struct str name;
    /* lower case; the memory is shared with the service's next version while the hosts stay the
     * same */
    const struct str *hosts;
    unsigned n_hosts;
    struct hosts *hosts_owner;
    struct plugin_set plugins;
    const struct upstream_conf *upstream; /* inline, or NULL */
    struct str upstream_id;
    struct opt_bool enable_websocket;
};

struct route {
    struct object o;
    struct str name;
    const struct str *uris; /* uri or uris */
    unsigned n_uris;
    const struct str *hosts; /* host or hosts, lower case; none: the service's count */
    unsigned n_hosts;
    uint32_t methods; /* bit 1 << enum http_method; 0: all */
    const struct cidr *remote_addrs;
    unsigned n_remote_addrs;
    struct expr *vars;
    const struct lua_fn *filter_func; /* NULL: none */
    int64_t priority;
    bool enabled; /* status 1 */
    struct plugin_set plugins;
    struct str plugin_config_id, service_id, upstream_id; /* STR_NONE when absent */
    const struct upstream_conf *upstream;
    bool has_timeout;
    struct timeouts timeout;
    struct opt_bool enable_websocket;
};

/* An auth plugin switched on in a consumer or a credential: what the snapshot makes an identity of.
 */
struct auth_use {
    const struct plugin *plugin;
    struct str key;   /* "key-auth/" + the value that identifies */
    const void *conf; /* compiled consumer_fields */
};
struct consumer {
    struct object o;
    struct str username, group_id, custom_id; /* custom_id: label */
    struct plugin_set plugins; /* all but the auth ones, which are in the snapshot's identities */
    const struct auth_use *auths;
    unsigned n_auths;
};
struct credential {
    struct object o;
    struct str username, credential_id;
    const struct auth_use *auths;
    unsigned n_auths;
};
struct consumer_group {
    struct object o;
    struct plugin_set plugins;
};
struct plugin_config {
    struct object o;
    struct plugin_set plugins;
};
struct global_rule {
    struct object o;
    struct plugin_set plugins;
};
struct ssl {
    struct object o;
    bool is_client;         /* for upstreams (client_cert_id), the first pair */
    bool enabled;           /* status 1 */
    const struct str *snis; /* lower case */
    unsigned n_snis;
    struct tls_identity tls;      /* tls.trust: clients must show a certificate */
    const struct re *const *skip; /* but for these paths */
    unsigned n_skip;
};
struct plugin_metadata {
    struct object o;
    const struct plugin *plugin;
    const void *conf;
};

struct proto {
    struct object o;
    const struct pb_schema *schema; /* proto/pb.h */
};

/* What an auth plugin finds by key: who it is and the plugin's consumer configuration. */
struct identity {
    const struct consumer *consumer;
    const struct credential *credential; /* NULL: the key stands in the consumer itself */
    const void *conf;                    /* the plugin's compiled consumer_fields */
};

const char *object_kind_plural(enum object_kind k);
const char *object_kind_word(enum object_kind k);
/* K_COUNT when there is none. */
enum object_kind object_kind_of(struct str plural);

void object_hold(struct object *o);
/* Control thread. The last drop frees it. */
void object_drop(struct object *o);
