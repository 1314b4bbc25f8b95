/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * settings: config.yaml (config.md), read once at start and again at reload; immutable, passed
 * around as a const pointer.
 *
 * Defaults are the reference's, but for the safe ones named in docs/differences.md (admin listens
 * on 127.0.0.1, no published key). Options known in the reference and not supported yet give a
 * named warning; unknown ones an error with the nearest valid name.
 */
#include "base/err.h"
#include "base/ip.h"
#include "schema/field.h"

struct listen_addr {
    struct addr addr;
    bool tls;
    bool proxy_protocol; /* connections begin with a PROXY header */
};
struct admin_key {
    struct str name, key;
    bool viewer; /* role viewer */
};

struct settings {
    struct arena *arena;
    json_t *json;   /* the merged file */
    unsigned holds; /* control thread */

    /* apisix */
    struct str id; /* of this instance, unless it has one from before; empty: none is said */
    const struct listen_addr *listen;
    unsigned n_listen;
    bool enable_admin, enable_control, enable_http2, enable_ipv6, enable_reuseport,
        enable_server_tokens, show_upstream_status;
    struct str router; /* radixtree_host_uri ... */
    bool delete_uri_tail_slash, normalize_uri_like_servlet, match_uri_encoded_slash;
    int64_t max_post_args_bytes;
    struct str dns_servers; /* for the resolver, STR_NONE: resolv.conf */
    int64_t dns_valid_ms, resolver_timeout_ms;
    bool resolv_search;
    const struct cidr *trusted_addresses; /* NULL: not set */
    unsigned n_trusted_addresses;
    bool encrypt_fields;
    const struct str *keyring; /* none in the file: settings_use_ring_key() */
    unsigned n_keyring;
    struct {
        unsigned protocols; /* TLS_ bits */
        struct str ciphers, fallback_sni;
        struct str trusted; /* file of certificates, or "system"; STR_NONE: not said */
        bool enable, tickets;
    } ssl;
    struct listen_addr control; /* addr.len 0: off */
    struct listen_addr status;  /* addr.len 0: off */

    /* deployment */
    struct listen_addr admin; /* addr.len 0: off */
    struct {
        bool on;
        struct str cert, key, ca; /* paths; ca "": clients need no certificate */
    } admin_tls;
    const struct admin_key *admin_keys;
    unsigned n_admin_keys;
    bool admin_key_required, admin_cors, admin_v2;
    const struct cidr *allow_admin;
    unsigned n_allow_admin;
    bool has_allow_admin;
    struct str etcd_prefix; /* "/apisix": key prefix in answers */

    /* nginx_config */
    unsigned workers;            /* cores; 0 in the file or auto: the CPUs this process may use */
    unsigned rlimit_nofile;      /* open files of the process; 0: as many as the system allows */
    unsigned worker_connections; /* of one core, clients only; 0: see weir.max_connections */
    /* relative to where the process was started unless absolute; "/dev/stdout" works */
    struct str error_log, access_log, access_log_format;
    int error_log_level;
    bool access_log_enabled, access_log_json_escape;
    int64_t access_log_buffer;
    int64_t keepalive_timeout_ms, client_header_timeout_ms, client_body_timeout_ms, send_timeout_ms,
        shutdown_timeout_ms;
    uint64_t client_max_body_size; /* 0: none */
    struct str real_ip_header;     /* "X-Real-IP"; "X-Forwarded-For" is walked */
    bool real_ip_recursive, real_ip_unix;
    const struct cidr *real_ip_from;
    unsigned n_real_ip_from;
    int64_t upstream_keepalive, upstream_keepalive_requests, upstream_keepalive_timeout_ms;
    struct str charset;
    bool underscores_in_headers, upstream_sni;

    /* plugins */
    const struct str *plugins; /* enabled names, NULL: all that are built */
    unsigned n_plugins;
    bool plugins_set; /* the file names them: unknown names are worth a warning */

    int64_t mirror_connect_ms, mirror_send_ms, mirror_read_ms; /* plugin_attr.proxy-mirror */

    int64_t graphql_max_size; /* graphql.max_size: bytes read for $graphql_ variables */

    /* plugin_attr: the JSON of each, see settings_plugin_attr() */
    struct listen_addr prometheus; /* export server; addr.len 0: off */
    struct str prometheus_uri, metric_prefix;

    /* weir: our own */
    struct {
        unsigned head_bytes, line_bytes, fields; /* limits of a message head */
        bool lax_lf, high_bytes;
        unsigned min_body_rate, min_drain_rate; /* bytes/s after a grace of 5 s; 0: off */
        /* a core's share is not divided: counted per process */
        unsigned max_connections_per_source, source_ipv6_bits;
        uint64_t memory_budget; /* bytes; 0: none */
        int64_t overload_ms;    /* 0: off */
        unsigned max_connections;
        unsigned stack_size;
        unsigned offload_threads;
        struct str engine;          /* auto, epoll, io_uring */
        int64_t keepalive_requests; /* requests on one client connection */
        /* bounds of an HTTP/2 connection, see proto/h2.h */
        unsigned http2_streams, http2_stream_window, http2_window, http2_resets,
            http2_control_frames;
        /* insecure_known_key: allow an admin key that was published */
        bool known_key;
        /* insecure_upstream_tls: certificates of upstreams are not checked unless they ask for it
         */
        bool upstream_unchecked;
    } weir;
};

/* Read and check. NULL with e set (file, key path, what was expected). warn (may be NULL) gets one
 * line per named warning. */
struct settings *settings_load(const char *path, void (*warn)(const char *line), struct err *e);
/* The same from text, for tests. */
struct settings *settings_parse(struct str yaml, void (*warn)(const char *line), struct err *e);
void settings_free(struct settings *s);
/* The keyring of a file that has none: key encrypts (16 or 32 bytes, copied), and what was
 * encrypted with the published keys can still be read. */
void settings_use_ring_key(struct settings *s, struct str key);
/* For who shares them: settings_load() gives one hold, the last drop frees. Control thread. */
const struct settings *settings_hold(const struct settings *s);
void settings_drop(const struct settings *s);
/* plugin_attr.NAME, NULL when absent. */
const json_t *settings_plugin_attr(const struct settings *s, const char *plugin);
