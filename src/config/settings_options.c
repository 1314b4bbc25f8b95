/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings_options: every option config.yaml may hold, in the order of docs and of the reference's
 * file.
 *
 * Defaults are the reference's except where docs/differences.md says so. What has a note does
 * nothing here, and a file that sets it hears so.
 */
#include "config/settings_priv.h"

#define AT(m) .offset = offsetof(struct settings, m), .count = NO_MEMBER
#define LIST_AT(m) .offset = offsetof(struct settings, m), .count = offsetof(struct settings, n_##m)
#define NOWHERE .offset = NO_MEMBER, .count = NO_MEMBER
#define WARNS(path_, note_)                                                                        \
    {                                                                                              \
        .path = path_, .kind = OPT_WARN, NOWHERE, .note = note_                                    \
    }
#define REFUSED(path_, note_)                                                                      \
    {                                                                                              \
        .path = path_, .kind = OPT_REFUSE, NOWHERE, .note = note_                                  \
    }

#define NO_LUA "Lua plugins are not supported yet"
#define NO_TIMERS "there are no Lua timers"
#define NO_STREAM "proxying of TCP and UDP is not supported yet"
#define NO_HEALTH_CHECKS "health checks are not supported yet"
#define NO_ETCD                                                                                    \
    "the etcd store is not supported yet; remove the section, and the configuration is kept in "   \
    "Weir's own store"
#define OTHER_ROLES "other roles are not supported yet"
#define OTHER_STORES                                                                               \
    "other stores are not supported yet; leave this out, and the configuration is kept in Weir's " \
    "own store"
#define NO_SNIPPETS "there is no nginx here to hand text to"
#define OWN_MEMORY "Weir sizes its tables itself"

static const char *const routers[] = {"radixtree_host_uri", "radixtree_uri",
                                      "radixtree_uri_with_parameter", NULL};
static const char *const ssl_routers[] = {"radixtree_sni", NULL};
static const char *const escapes[] = {"default", "json", NULL};
static const char *const roles[] = {"traditional", NULL};
static const char *const engines[] = {"auto", "epoll", "io_uring", NULL};
static const char *const providers[] = {"embedded", NULL};

enum { PORT_MAX = 65535, MINUTE = 60000, DAY = 86400000, YEARS = INT32_MAX };

#define LOG_FORMAT                                                                                 \
    "\"$remote_addr - $remote_user [$time_local] $http_host \\\"$request\\\" $status "             \
    "$body_bytes_sent $request_time \\\"$http_referer\\\" "                                        \
    "\\\"$http_user_agent\\\" $upstream_addr $upstream_status $upstream_response_time "            \
    "\\\"$upstream_scheme://$upstream_host$upstream_uri\\\" "                                      \
    "\\\"$apisix_request_id\\\"\""

#define TLS_CIPHERS                                                                                \
    "\"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                 \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                                   \
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384\""

const struct option settings_options[] = {
    /* ---- apisix ---- */
    {"apisix.node_listen", OPT_ANY, NOWHERE, .def = "[9080]"},
    {"apisix.enable_admin", OPT_BOOL, AT(enable_admin), .def = "true"},
    {"apisix.enable_dev_mode", OPT_BOOL, NOWHERE, .def = "false"},
    {"apisix.enable_reuseport", OPT_BOOL, AT(enable_reuseport), .def = "true"},
    {"apisix.show_upstream_status_in_response_header", OPT_BOOL, AT(show_upstream_status),
     .def = "false"},
    {"apisix.enable_ipv6", OPT_BOOL, AT(enable_ipv6), .def = "true"},
    {"apisix.enable_http2", OPT_BOOL, AT(enable_http2), .def = "true"},
    {"apisix.enable_server_tokens", OPT_BOOL, AT(enable_server_tokens), .def = "true"},
    WARNS("apisix.extra_lua_path", NO_LUA),
    WARNS("apisix.extra_lua_cpath", NO_LUA),
    WARNS("apisix.lua_module_hook", NO_LUA),
    {"apisix.proxy_protocol.listen_http_port", OPT_ANY, NOWHERE},
    {"apisix.proxy_protocol.listen_https_port", OPT_ANY, NOWHERE},
    WARNS("apisix.proxy_protocol.enable_tcp_pp", NO_STREAM),
    WARNS("apisix.proxy_protocol.enable_tcp_pp_to_upstream", NO_STREAM),
    WARNS("apisix.proxy_cache", "caching of answers is not supported yet"),
    {"apisix.delete_uri_tail_slash", OPT_BOOL, AT(delete_uri_tail_slash), .def = "false"},
    {"apisix.normalize_uri_like_servlet", OPT_BOOL, AT(normalize_uri_like_servlet), .def = "false"},
    {"apisix.match_uri_encoded_slash", OPT_BOOL, AT(match_uri_encoded_slash), .def = "false"},
    {"apisix.max_post_args_readable_size", OPT_INT, AT(max_post_args_bytes), .def = "64", .min = 0,
     .max = 1 << 20},
    {"apisix.router.http", OPT_STR, AT(router), .def = "\"radixtree_host_uri\"",
     .choices = routers},
    {"apisix.router.ssl", OPT_STR, NOWHERE, .choices = ssl_routers},
    {"apisix.proxy_mode", OPT_ANY, NOWHERE, .def = "\"http\""},
    WARNS("apisix.stream_proxy", NO_STREAM),
    {"apisix.dns_resolver", OPT_ANY, NOWHERE},
    {"apisix.dns_resolver_valid", OPT_MS, AT(dns_valid_ms), .def = "0", .min = 0, .max = DAY},
    {"apisix.resolver_timeout", OPT_MS, AT(resolver_timeout_ms), .def = "5", .min = 1,
     .max = 10 * MINUTE},
    {"apisix.enable_resolv_search_opt", OPT_BOOL, AT(resolv_search), .def = "true"},
    {"apisix.ssl.enable", OPT_BOOL, AT(ssl.enable), .def = "true"},
    {"apisix.ssl.listen", OPT_ANY, NOWHERE, .def = "[{\"port\": 9443}]"},
    {"apisix.ssl.ssl_trusted_certificate", OPT_STR, AT(ssl.trusted)},
    {"apisix.ssl.ssl_protocols", OPT_ANY, NOWHERE, .def = "\"TLSv1.2 TLSv1.3\""},
    {"apisix.ssl.ssl_ciphers", OPT_STR, AT(ssl.ciphers), .def = TLS_CIPHERS},
    {"apisix.ssl.ssl_session_tickets", OPT_BOOL, AT(ssl.tickets), .def = "false"},
    {"apisix.ssl.fallback_sni", OPT_STR, AT(ssl.fallback_sni), .def = "\"\""},
    {"apisix.enable_control", OPT_BOOL, AT(enable_control), .def = "true"},
    {"apisix.control.ip", OPT_STR, NOWHERE, .def = "\"127.0.0.1\""},
    {"apisix.control.port", OPT_INT, NOWHERE, .def = "9090", .min = 1, .max = PORT_MAX},
    WARNS("apisix.control.router", "the Control API has one router"),
    {"apisix.status.ip", OPT_STR, NOWHERE},
    {"apisix.status.port", OPT_INT, NOWHERE, .min = 1, .max = PORT_MAX},
    WARNS("apisix.disable_sync_configuration_during_start",
          "the configuration is always there before the first request"),
    WARNS("apisix.worker_startup_time_threshold", "there are no worker processes that start late"),
    {"apisix.data_encryption.enable_encrypt_fields", OPT_BOOL, AT(encrypt_fields), .def = "true"},
    {"apisix.data_encryption.keyring", OPT_ANY, NOWHERE},
    WARNS("apisix.disable_upstream_healthcheck", NO_HEALTH_CHECKS),
    {"apisix.trusted_addresses", OPT_CIDRS, LIST_AT(trusted_addresses)},
    WARNS("apisix.lru", "secret managers are not supported yet"),
    WARNS("apisix.tracing", "tracing of inner steps is not supported"),
    {"apisix.id", OPT_STR, AT(id), .def = "\"\""},

    /* ---- deployment ---- */
    {"deployment.role", OPT_STR, NOWHERE, .def = "\"traditional\"", .choices = roles,
     .note = OTHER_ROLES},
    {"deployment.config_provider", OPT_STR, NOWHERE, .def = "\"embedded\"", .choices = providers,
     .note = OTHER_STORES},
    {"deployment.role_traditional.config_provider", OPT_STR, NOWHERE, .def = "\"embedded\"",
     .choices = providers, .note = OTHER_STORES},
    REFUSED("deployment.role_control_plane",
            "a control plane apart from the gateway is not supported yet"),
    REFUSED("deployment.role_data_plane",
            "a data plane apart from the Admin API is not supported yet"),
    {"deployment.admin.admin_key_required", OPT_BOOL, AT(admin_key_required), .def = "true"},
    {"deployment.admin.admin_key", OPT_ANY, NOWHERE, .def = "[]"},
    {"deployment.admin.enable_admin_cors", OPT_BOOL, AT(admin_cors), .def = "true"},
    WARNS("deployment.admin.enable_admin_ui", "there is no web console yet"),
    {"deployment.admin.allow_admin", OPT_CIDRS, LIST_AT(allow_admin), .def = "[\"127.0.0.0/24\"]"},
    {"deployment.admin.admin_listen.ip", OPT_STR, NOWHERE, .def = "\"127.0.0.1\""},
    {"deployment.admin.admin_listen.port", OPT_INT, NOWHERE, .def = "9180", .min = 1,
     .max = PORT_MAX},
    {"deployment.admin.https_admin", OPT_BOOL, AT(admin_tls.on), .def = "false"},
    {"deployment.admin.admin_api_mtls.admin_ssl_cert", OPT_STR, AT(admin_tls.cert), .def = "\"\""},
    {"deployment.admin.admin_api_mtls.admin_ssl_cert_key", OPT_STR, AT(admin_tls.key),
     .def = "\"\""},
    {"deployment.admin.admin_api_mtls.admin_ssl_ca_cert", OPT_STR, AT(admin_tls.ca), .def = "\"\""},
    {"deployment.admin.admin_api_version", OPT_STR, NOWHERE, .def = "\"v3\""},
    REFUSED("deployment.etcd", NO_ETCD),
    REFUSED("etcd", NO_ETCD),

    /* ---- nginx_config ---- */
    WARNS("nginx_config.user", "Weir runs as the user who starts it"),
    {"nginx_config.error_log", OPT_STR, AT(error_log), .def = "\"logs/error.log\""},
    {"nginx_config.error_log_level", OPT_ANY, NOWHERE, .def = "\"warn\""},
    {"nginx_config.worker_processes", OPT_ANY, NOWHERE, .def = "\"auto\""},
    WARNS("nginx_config.enable_cpu_affinity", "cores are not bound to CPUs"),
    {"nginx_config.worker_rlimit_nofile", OPT_UINT, AT(rlimit_nofile), .def = "0", .min = 0,
     .max = YEARS},
    {"nginx_config.worker_shutdown_timeout", OPT_MS, AT(shutdown_timeout_ms), .def = "\"240s\"",
     .min = 0, .max = DAY},
    WARNS("nginx_config.max_pending_timers", NO_TIMERS),
    WARNS("nginx_config.max_running_timers", NO_TIMERS),
    {"nginx_config.event.worker_connections", OPT_UINT, AT(worker_connections), .def = "0",
     .min = 0, .max = YEARS},
    {"nginx_config.envs", OPT_ANY, NOWHERE},
    WARNS("nginx_config.meta.lua_shared_dict", OWN_MEMORY),
    WARNS("nginx_config.stream", NO_STREAM),
    WARNS("nginx_config.main_configuration_snippet", NO_SNIPPETS),
    WARNS("nginx_config.http_configuration_snippet", NO_SNIPPETS),
    WARNS("nginx_config.http_server_configuration_snippet", NO_SNIPPETS),
    WARNS("nginx_config.http_server_location_configuration_snippet", NO_SNIPPETS),
    WARNS("nginx_config.http_admin_configuration_snippet", NO_SNIPPETS),
    WARNS("nginx_config.http_end_configuration_snippet", NO_SNIPPETS),
    WARNS("nginx_config.stream_configuration_snippet", NO_SNIPPETS),
    {"nginx_config.http.enable_access_log", OPT_BOOL, AT(access_log_enabled), .def = "true"},
    {"nginx_config.http.access_log", OPT_STR, AT(access_log), .def = "\"logs/access.log\""},
    {"nginx_config.http.access_log_buffer", OPT_SIZE, AT(access_log_buffer), .def = "16384",
     .min = 0, .max = 1 << 30},
    {"nginx_config.http.access_log_format", OPT_STR, AT(access_log_format), .def = LOG_FORMAT},
    {"nginx_config.http.access_log_format_escape", OPT_STR, NOWHERE, .def = "\"default\"",
     .choices = escapes},
    {"nginx_config.http.keepalive_timeout", OPT_MS, AT(keepalive_timeout_ms), .def = "\"60s\"",
     .min = 0, .max = DAY},
    {"nginx_config.http.client_header_timeout", OPT_MS, AT(client_header_timeout_ms),
     .def = "\"10s\"", .min = 1, .max = DAY},
    {"nginx_config.http.client_body_timeout", OPT_MS, AT(client_body_timeout_ms), .def = "\"60s\"",
     .min = 1, .max = DAY},
    {"nginx_config.http.client_max_body_size", OPT_SIZE, AT(client_max_body_size), .def = "0"},
    {"nginx_config.http.send_timeout", OPT_MS, AT(send_timeout_ms), .def = "\"10s\"", .min = 1,
     .max = DAY},
    {"nginx_config.http.underscores_in_headers", OPT_BOOL, AT(underscores_in_headers),
     .def = "\"on\""},
    {"nginx_config.http.real_ip_header", OPT_STR, AT(real_ip_header), .def = "\"X-Real-IP\""},
    {"nginx_config.http.real_ip_recursive", OPT_BOOL, AT(real_ip_recursive), .def = "\"off\""},
    {"nginx_config.http.real_ip_from", OPT_ANY, NOWHERE, .def = "[\"127.0.0.1\", \"unix:\"]"},
    {"nginx_config.http.proxy_ssl_server_name", OPT_BOOL, AT(upstream_sni), .def = "true"},
    {"nginx_config.http.upstream.keepalive", OPT_INT, AT(upstream_keepalive), .def = "320",
     .min = 1, .max = 1 << 20},
    {"nginx_config.http.upstream.keepalive_requests", OPT_INT, AT(upstream_keepalive_requests),
     .def = "1000", .min = 1, .max = YEARS},
    {"nginx_config.http.upstream.keepalive_timeout", OPT_MS, AT(upstream_keepalive_timeout_ms),
     .def = "\"60s\"", .min = 0, .max = DAY},
    {"nginx_config.http.charset", OPT_STR, AT(charset), .def = "\"utf-8\""},
    WARNS("nginx_config.http.variables_hash_max_size", OWN_MEMORY),
    WARNS("nginx_config.http.lua_shared_dict", OWN_MEMORY),
    WARNS("nginx_config.http.custom_lua_shared_dict", OWN_MEMORY),

    /* ---- the rest of the reference ---- */
    {"plugins", OPT_STRS, LIST_AT(plugins)},
    WARNS("stream_plugins", NO_STREAM),
    {"plugin_attr.prometheus", OPT_TREE, NOWHERE,
     .def = JSON({
         "export_uri": "/apisix/prometheus/metrics",
         "metric_prefix": "apisix_",
         "enable_export_server": true,
         "export_addr": {"ip": "127.0.0.1", "port": 9091},
         "refresh_interval": 15
     })},
    {"plugin_attr.server-info", OPT_TREE, NOWHERE, .def = JSON({"report_ttl": 60})},
    {"plugin_attr.proxy-mirror", OPT_TREE, NOWHERE,
     .def = JSON({"timeout": {"connect": "60s", "read": "60s", "send": "60s"}})},
    {"plugin_attr.zipkin", OPT_TREE, NOWHERE, .def = JSON({"set_ngx_var": false})},
    {"plugin_attr.skywalking", OPT_TREE, NOWHERE,
     .def = JSON({
         "service_name": "APISIX",
         "service_instance_name": "APISIX Instance Name",
         "endpoint_addr": "http://127.0.0.1:12800",
         "report_interval": 3
     })},
    {"plugin_attr.log-rotate", OPT_TREE, NOWHERE, .def = JSON({
                                                      "timeout": 10000,
                                                      "interval": 3600,
                                                      "max_kept": 168,
                                                      "max_size": -1,
                                                      "enable_compression": false
                                                  })},
    {"plugin_attr", OPT_TREE, NOWHERE},
    {"graphql.max_size", OPT_SIZE, AT(graphql_max_size), .def = "1048576", .min = 1,
     .max = 1 << 30},
    WARNS("ext-plugin", "plugin runners are not supported yet"),
    WARNS("wasm", "Wasm plugins are not supported yet"),
    WARNS("xrpc", NO_STREAM),
    WARNS("discovery", "service discovery is not supported yet"),

    /* ---- weir ---- */
    {"weir.head_bytes", OPT_UINT, AT(weir.head_bytes), .def = "65536", .min = 1024, .max = 1 << 20},
    {"weir.line_bytes", OPT_UINT, AT(weir.line_bytes), .def = "16384", .min = 256, .max = 1 << 20},
    {"weir.fields", OPT_UINT, AT(weir.fields), .def = "200", .min = 10, .max = 10000},
    {"weir.lax_lf", OPT_BOOL, AT(weir.lax_lf), .def = "false"},
    {"weir.high_bytes", OPT_BOOL, AT(weir.high_bytes), .def = "false"},
    {"weir.min_body_rate", OPT_UINT, AT(weir.min_body_rate), .def = "1024", .min = 0, .max = YEARS},
    {"weir.min_drain_rate", OPT_UINT, AT(weir.min_drain_rate), .def = "1024", .min = 0,
     .max = YEARS},
    {"weir.max_connections_per_source", OPT_UINT, AT(weir.max_connections_per_source),
     .def = "1000", .min = 0, .max = YEARS},
    {"weir.source_ipv6_bits", OPT_UINT, AT(weir.source_ipv6_bits), .def = "64", .min = 16,
     .max = 128},
    {"weir.memory_budget", OPT_SIZE, AT(weir.memory_budget), .def = "0"},
    {"weir.overload_ms", OPT_INT, AT(weir.overload_ms), .def = "20", .min = 0, .max = 60000},
    {"weir.max_connections", OPT_UINT, AT(weir.max_connections), .def = "100000", .min = 16,
     .max = YEARS},
    {"weir.stack_size", OPT_UINT, AT(weir.stack_size), .def = "65536", .min = 32768,
     .max = 16 << 20},
    {"weir.engine", OPT_STR, AT(weir.engine), .def = "\"auto\"", .choices = engines},
    {"weir.offload_threads", OPT_UINT, AT(weir.offload_threads), .def = "4", .min = 1, .max = 256},
    {"weir.keepalive_requests", OPT_INT, AT(weir.keepalive_requests), .def = "1000", .min = 1,
     .max = YEARS},
    {"weir.http2_streams", OPT_UINT, AT(weir.http2_streams), .def = "100", .min = 1, .max = 10000},
    {"weir.http2_stream_window", OPT_UINT, AT(weir.http2_stream_window), .def = "65536",
     .min = 65535, .max = 16 << 20},
    {"weir.http2_window", OPT_UINT, AT(weir.http2_window), .def = "1048576", .min = 65535,
     .max = 1 << 30},
    {"weir.http2_resets", OPT_UINT, AT(weir.http2_resets), .def = "200", .min = 10, .max = YEARS},
    {"weir.http2_control_frames", OPT_UINT, AT(weir.http2_control_frames), .def = "1000",
     .min = 100, .max = YEARS},
    {"weir.insecure_known_key", OPT_BOOL, AT(weir.known_key), .def = "false"},
    {"weir.insecure_upstream_tls", OPT_BOOL, AT(weir.upstream_unchecked), .def = "false"},
};
const size_t settings_n_options = sizeof(settings_options) / sizeof(settings_options[0]);
