/* SPDX-License-Identifier: Apache-2.0 */
/* config.yaml: what it may say, what becomes of it, and how mistakes are told. */
#include "base/log.h"
#include "config/settings_priv.h"
#include "net/tls.h"
#include "t.h"

#include <sys/stat.h>
#include <unistd.h>

static char warnings[8192];

static void warn(const char *line)
{
    const size_t n = strlen(warnings);

    snprintf(warnings + n, sizeof(warnings) - n, "%s\n", line);
}

static struct settings *parse(const char *yaml, struct err *e)
{
    e->msg[0] = 0;
    warnings[0] = 0;
    return settings_parse(str_c(yaml), warn, e);
}

/* Settings that must be good. */
static struct settings *good(const char *yaml)
{
    struct err e;
    struct settings *s = parse(yaml, &e);

    if (s == NULL) {
        printf("# %s: %s\n", yaml, e.msg);
        exit(1);
    }
    return s;
}

static void an_empty_file_means_defaults(void)
{
    static const char *const empty[] = {"", "# nothing\n", "apisix:\nnginx_config:\n", "---\n"};

    for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
        struct settings *s = good(empty[i]);

        CHECK_ROW(i, s->n_listen == 4 && addr_port(&s->listen[0].addr) == 9080 &&
                         s->listen[0].addr.sa.sa_family == AF_INET &&
                         s->listen[1].addr.sa.sa_family == AF_INET6);
        CHECK_ROW(i, !s->listen[1].tls && s->listen[2].tls && s->listen[3].tls &&
                         addr_port(&s->listen[3].addr) == 9443);
        CHECK_ROW(i, s->ssl.protocols == (TLS_1_2 | TLS_1_3) && !s->ssl.tickets &&
                         s->ssl.fallback_sni.n == 0 && str_is_none(s->ssl.trusted) &&
                         s->upstream_sni && !s->weir.upstream_unchecked);
        CHECK(str_starts(s->ssl.ciphers, STR("ECDHE-ECDSA-AES128-GCM-SHA256:")));
        CHECK_ROW(i, s->enable_admin && s->enable_control && s->enable_reuseport &&
                         s->enable_server_tokens && !s->show_upstream_status);
        CHECK_STR(s->router, "radixtree_host_uri");
        CHECK_ROW(i, addr_port(&s->admin.addr) == 9180 &&
                         s->admin.addr.in.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
        CHECK_ROW(i, addr_port(&s->control.addr) == 9090 && s->status.addr.len == 0 &&
                         addr_port(&s->prometheus.addr) == 9091);
        CHECK_ROW(i, s->n_admin_keys == 0 && s->admin_key_required && s->admin_cors &&
                         !s->admin_v2 && s->has_allow_admin && s->n_allow_admin == 1);
        CHECK_ROW(i, s->workers >= 1 && s->error_log_level == LOG_WARN && s->access_log_enabled &&
                         s->access_log_buffer == 16384);
        CHECK_ROW(i, s->client_header_timeout_ms == 10000 && s->client_body_timeout_ms == 60000 &&
                         s->keepalive_timeout_ms == 60000 && s->send_timeout_ms == 10000 &&
                         s->shutdown_timeout_ms == 240000 && s->client_max_body_size == 0);
        CHECK_ROW(i, s->n_real_ip_from == 1 && s->real_ip_unix && !s->real_ip_recursive &&
                         s->underscores_in_headers);
        CHECK_ROW(i, s->upstream_keepalive == 320 && s->upstream_keepalive_requests == 1000 &&
                         s->upstream_keepalive_timeout_ms == 60000);
        CHECK_ROW(i,
                  s->plugins == NULL && !s->plugins_set && s->n_keyring == 0 && s->encrypt_fields);
        CHECK_ROW(i, s->trusted_addresses == NULL && s->max_post_args_bytes == 64 << 20 &&
                         s->resolver_timeout_ms == 5000 && s->resolv_search);
        CHECK_ROW(i, s->weir.head_bytes == 65536 && s->weir.line_bytes == 16384 &&
                         s->weir.fields == 200 && s->weir.min_body_rate == 1024);
        CHECK_STR(s->etcd_prefix, "/apisix");
        CHECK_STR(s->metric_prefix, "apisix_");
        CHECK_STR(s->prometheus_uri, "/apisix/prometheus/metrics");
        CHECK_STR(s->charset, "utf-8");
        CHECK(
            str_starts(s->access_log_format,
                       STR("$remote_addr - $remote_user [$time_local] $http_host \"$request\" ")));
        CHECK(str_ends(s->access_log_format, STR("\"$apisix_request_id\"")));
        CHECK_STR(str_c(warnings), "");
        settings_free(s);
    }
}

static void listeners_have_several_forms(void)
{
    static const struct {
        const char *yaml;
        unsigned n;
        int port[4];
        int family[4];
        int proxied; /* from this one on */
    } cases[] = {
        {"apisix:\n  node_listen: 81\n", 2, {81, 81}, {AF_INET, AF_INET6}},
        {"apisix:\n  node_listen: [81, 82]\n  enable_ipv6: false\n",
         2,
         {81, 82},
         {AF_INET, AF_INET}},
        {"apisix:\n  node_listen:\n    - port: 81\n    - ip: 127.0.0.2\n      port: 82\n",
         3,
         {81, 81, 82},
         {AF_INET, AF_INET6, AF_INET}},
        {"apisix:\n  node_listen: [{ip: '::1', port: 83}]\n", 1, {83}, {AF_INET6}},
        {"apisix: {node_listen: 81, enable_ipv6: false, ssl: {listen: [{ip: 127.0.0.2, port: 82}, "
         "{port: 83}]}}\n",
         3,
         {81, 82, 83},
         {AF_INET, AF_INET, AF_INET}},
        {"apisix: {node_listen: 81, enable_ipv6: false, ssl: {enable: false, listen: [{port: "
         "83}]}}\n",
         1,
         {81},
         {AF_INET}},
        {"apisix:\n  node_listen: 81\n  enable_ipv6: false\n  ssl: {enable: false}\n"
         "  proxy_protocol: {listen_http_port: 84, listen_https_port: 85}\n",
         3,
         {81, 84, 85},
         {AF_INET, AF_INET, AF_INET},
         1},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct settings *s = good(cases[i].yaml);
        const bool usual_tls = strstr(cases[i].yaml, "ssl") == NULL;

        CHECK_ROW(i, s->n_listen == cases[i].n + (usual_tls ? 1u + s->enable_ipv6 : 0));
        for (unsigned k = 0; k < cases[i].n; k++) {
            CHECK_ROW(i, addr_port(&s->listen[k].addr) == cases[i].port[k] &&
                             s->listen[k].addr.sa.sa_family == cases[i].family[k] &&
                             s->listen[k].proxy_protocol ==
                                 (cases[i].proxied && (int)k >= cases[i].proxied));
        }
        settings_free(s);
    }
}

static void values_are_read(void)
{
    struct settings *s = good("apisix:\n"
                              "  enable_admin: false\n"
                              "  enable_control: off\n"
                              "  status: {}\n"
                              "  router: {http: radixtree_uri}\n"
                              "  dns_resolver: [1.1.1.1, '9.9.9.9:5353']\n"
                              "  dns_resolver_valid: 30\n"
                              "  trusted_addresses: [10.0.0.0/8, '::1']\n"
                              "  max_post_args_readable_size: 2\n"
                              "  data_encryption: {keyring: 0123456789abcdef}\n"
                              "deployment:\n"
                              "  admin:\n"
                              "    admin_key:\n"
                              "      - {name: admin, key: secret-1, role: admin}\n"
                              "      - {name: looker, key: 12345, role: viewer}\n"
                              "      - {name: none, key: '', role: admin}\n"
                              "    allow_admin:\n"
                              "    admin_api_version: v2\n"
                              "nginx_config:\n"
                              "  worker_processes: 3\n"
                              "  error_log_level: info\n"
                              "  worker_shutdown_timeout: 1m\n"
                              "  http:\n"
                              "    enable_access_log: false\n"
                              "    access_log_format_escape: json\n"
                              "    keepalive_timeout: 1h30m\n"
                              "    client_header_timeout: 500ms\n"
                              "    client_max_body_size: 50m\n"
                              "    real_ip_recursive: 'on'\n"
                              "    real_ip_from: [10.1.0.0/16]\n"
                              "    underscores_in_headers: off\n"
                              "    upstream: {keepalive: 10}\n"
                              "plugins: [key-auth, cors]\n"
                              "plugin_attr:\n"
                              "  prometheus: {export_addr: {port: 9999}}\n"
                              "  redirect: {https_port: 8443}\n"
                              "weir:\n"
                              "  head_bytes: 32768\n"
                              "  memory_budget: 2g\n"
                              "  lax_lf: true\n"
                              "  offload_threads: 3\n");

    CHECK_STR(str_c(warnings), "");
    CHECK(!s->enable_admin && s->admin.addr.len == 0 && !s->enable_control &&
          s->control.addr.len == 0 && addr_port(&s->status.addr) == 7085);
    CHECK_STR(s->router, "radixtree_uri");
    CHECK_STR(s->dns_servers, "1.1.1.1,9.9.9.9:5353");
    CHECK(s->dns_valid_ms == 30000 && s->n_trusted_addresses == 2 &&
          s->max_post_args_bytes == 2 << 20 && s->n_keyring == 1);
    CHECK(s->n_admin_keys == 2 && s->admin_keys[1].viewer && !s->admin_keys[0].viewer);
    CHECK_STR(s->admin_keys[0].key, "secret-1");
    CHECK_STR(s->admin_keys[1].key, "12345");
    CHECK(!s->has_allow_admin && s->admin_v2);
    CHECK(s->workers == 3 && s->error_log_level == LOG_INFO && s->shutdown_timeout_ms == 60000);
    CHECK(!s->access_log_enabled && s->access_log_json_escape &&
          s->keepalive_timeout_ms == 5400000 && s->client_header_timeout_ms == 500);
    CHECK(s->client_max_body_size == 50 << 20 && s->real_ip_recursive && !s->real_ip_unix &&
          s->n_real_ip_from == 1 && !s->underscores_in_headers);
    CHECK(s->upstream_keepalive == 10 && s->upstream_keepalive_requests == 1000);
    CHECK(s->plugins_set && s->n_plugins == 2);
    CHECK_STR(s->plugins[1], "cors");
    CHECK(s->prometheus.addr.len == 0); /* not among the plugins */
    CHECK(json_integer_value(json_get(
              json_get(settings_plugin_attr(s, "prometheus"), "export_addr"), "port")) == 9999);
    CHECK_STR(json_str(json_get(settings_plugin_attr(s, "prometheus"), "metric_prefix")),
              "apisix_");
    CHECK(json_integer_value(json_get(settings_plugin_attr(s, "redirect"), "https_port")) == 8443);
    CHECK(settings_plugin_attr(s, "absent") == NULL);
    CHECK(s->weir.head_bytes == 32768 && s->weir.memory_budget == 2ULL << 30 && s->weir.lax_lf &&
          s->weir.offload_threads == 3);
    settings_free(s);
}

static void mistakes_are_told_by_name(void)
{
    static const struct {
        const char *yaml, *want;
    } cases[] = {
        {"apisix:\n  node_listn: 9080\n",
         "unknown option apisix.node_listn; did you mean apisix.node_listen?"},
        {"apisx:\n  node_listen: 9080\n", "unknown option apisx; did you mean apisix?"},
        {"apisix:\n  allow_admin: []\n",
         "unknown option apisix.allow_admin; did you mean deployment.admin.allow_admin?"},
        {"weir:\n  hed_bytes: 1\n", "unknown option weir.hed_bytes; did you mean weir.head_bytes?"},
        {"zzzzzzzzz: 1\n", "unknown option zzzzzzzzz"},
        {"apisix: 5\n", "apisix: expected a section, got 5"},
        {"apisix:\n  enable_admin: maybe\n",
         "apisix.enable_admin: expected true or false, got \"maybe\""},
        {"apisix:\n  node_listen: 70000\n",
         "apisix.node_listen: expected a port from 1 to 65535, got 70000"},
        {"apisix:\n  node_listen: [{ip: nope, port: 1}]\n",
         "apisix.node_listen: expected an IP address, got \"nope\""},
        {"apisix:\n  node_listen: [{port: 1, enable_http2: true}]\n",
         "apisix.node_listen: enable_http2 for one port is not supported; see apisix.enable_http2"},
        {"apisix:\n  node_listen: []\n", "apisix.node_listen: expected at least one port"},
        {"apisix:\n  proxy_protocol: {listen_http_port: x}\n",
         "apisix.proxy_protocol.listen_http_port: expected a port from 1 to 65535, got \"x\""},
        {"apisix:\n  router: {http: radix}\n",
         "apisix.router.http: expected radixtree_host_uri or radixtree_uri or "
         "radixtree_uri_with_parameter, got \"radix\""},
        {"apisix:\n  proxy_mode: tcp\n",
         "apisix.proxy_mode: expected http, stream or http&stream, got \"tcp\""},
        {"apisix:\n  data_encryption: {keyring: [short]}\n",
         "apisix.data_encryption.keyring: expected keys of 16 or 32 bytes"},
        {"apisix:\n  trusted_addresses: [x]\n",
         "apisix.trusted_addresses: expected addresses or blocks, got \"x\""},
        {"nginx_config:\n  http: {keepalive_timeout: soon}\n",
         "nginx_config.http.keepalive_timeout: expected a time (60s, 10m, 500ms, or seconds), got "
         "\"soon\""},
        {"nginx_config:\n  http: {client_max_body_size: big}\n",
         "nginx_config.http.client_max_body_size: expected a size (16k, 50m, or bytes), got "
         "\"big\""},
        {"nginx_config:\n  error_log_level: loud\n",
         "nginx_config.error_log_level: expected debug, info, notice, warn, error, crit, alert or "
         "emerg, got \"loud\""},
        {"nginx_config:\n  worker_processes: many\n",
         "nginx_config.worker_processes: expected auto or a number up to 1024, got \"many\""},
        {"apisix: {ssl: {ssl_protocols: TLSv1.2 SSLv3}}\n",
         "apisix.ssl.ssl_protocols: expected some of TLSv1.1 TLSv1.2 TLSv1.3, got \"TLSv1.2 "
         "SSLv3\""},
        {"apisix: {ssl: {listen: 9443}}\n",
         "apisix.ssl.listen: expected a list of {ip, port}, got 9443"},
        {"apisix: {ssl: {listen: [{port: 1, enable_http2: true}]}}\n",
         "apisix.ssl.listen: unknown option enable_http2; expected ip, port and enable_http3"},
        {"weir: {fields: 1}\n", "weir.fields: expected 10 to 10000, got 1"},
        {"plugins: key-auth\n", "plugins: expected a list, got \"key-auth\""},
        {"plugin_attr: 1\n", "plugin_attr: expected a section, got 1"},
        {"deployment:\n  role: data_plane\n", "deployment.role: expected traditional, got "
                                              "\"data_plane\"; other roles are not supported yet"},
        {"deployment:\n  role_traditional: {config_provider: yaml}\n",
         "deployment.role_traditional.config_provider: expected embedded, got \"yaml\"; other "
         "stores are not supported yet; leave this out, and the configuration is "
         "kept in Weir's own store"},
        {"deployment:\n  etcd: {host: ['http://127.0.0.1:2379']}\n",
         "deployment.etcd: the etcd store is not supported yet; remove the section, and the "
         "configuration is kept in Weir's own store"},
        {"deployment:\n  admin: {https_admin: true}\n", "missing ssl cert for https admin"},
        {"deployment:\n  admin: {admin_api_mtls: {admin_ssl_ca_cert: ca.pem}}\n",
         "deployment.admin.admin_api_mtls.admin_ssl_ca_cert: clients can only be asked for "
         "certificates with deployment.admin.https_admin"},
        {"deployment:\n  admin: {admin_key: [{name: a, key: edd1c9f034335f136f87ad84b625c8f1, "
         "role: admin}]}\n",
         "deployment.admin.admin_key: the key of \"a\" was published with APISIX and everybody "
         "knows it; choose another, or set weir.insecure_known_key: true where "
         "nobody else can reach the Admin API"},
        {"deployment:\n  admin: {admin_key: [{name: a, key: b, role: boss}]}\n",
         "deployment.admin.admin_key.role: expected admin or viewer, got \"boss\""},
        {"apisix: ${{WEIR_TEST_ABSENT}}\n",
         "failed to handle configuration: can't find environment variable WEIR_TEST_ABSENT"},
        {"- a\n", "expected sections such as apisix: at the top"},
        {"apisix: [\n", "line 2: did not find expected node content"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err e;
        struct settings *s = parse(cases[i].yaml, &e);

        CHECK_ROW(i, s == NULL);
        CHECK_STR(str_c(e.msg), cases[i].want);
        settings_free(s);
    }
}

static void what_is_not_supported_is_warned_of_once_and_by_name(void)
{
    static const struct {
        const char *yaml, *want;
    } cases[] = {
        {"apisix: {ssl: {enable: true, listen: [{port: 9443, enable_http3: true}]}}\n",
         "apisix.ssl.listen.enable_http3: HTTP/3 is not supported yet\n"},
        {"apisix: {ssl: {enable: false}, enable_http2: false, tracing: false, extra_lua_path: "
         "''}\n",
         ""},
        {"apisix: {proxy_mode: http&stream}\n",
         "apisix.proxy_mode: proxying of TCP and UDP is not supported yet; only HTTP is proxied\n"},
        {"nginx_config: {envs: [A, B=c], http_server_configuration_snippet: x}\n",
         "nginx_config.http_server_configuration_snippet: there is no nginx here to hand text to\n"
         "nginx_config.envs: values are not set here; set B in the environment of the process\n"},
        {"discovery: {dns: {servers: ['127.0.0.1:8600']}}\n",
         "discovery: service discovery is not supported yet\n"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct settings *s = good(cases[i].yaml);
        CHECK_STR(str_c(warnings), cases[i].want);
        settings_free(s);
    }
}

static void a_published_keyring_is_warned_of_and_a_made_one_reads_what_it_wrote(void)
{
    struct settings *s = good("apisix: {data_encryption: {keyring: [qeddd145sfvddff3]}}\n");

    CHECK(strstr(warnings, "published with APISIX") != NULL && s->n_keyring == 1);
    settings_free(s);
    s = good("");
    settings_use_ring_key(s, STR("0123456789abcdef0123456789abcdef"));
    CHECK(s->n_keyring == 3 && warnings[0] == 0);
    CHECK_STR(s->keyring[0], "0123456789abcdef0123456789abcdef");
    CHECK_STR(s->keyring[1], "qeddd145sfvddff3");
    CHECK_STR(s->keyring[2], "edd1c9f0985e76a2");
    settings_free(s);
}

static void a_published_admin_key_needs_a_word(void)
{
    struct settings *s = good(
        "deployment: {admin: {admin_key: [{name: admin, key: 4054f7cf07e344346cd3f287985e76a2, "
        "role: viewer}]}}\nweir: {insecure_known_key: true}\n");

    CHECK(s->n_admin_keys == 1 && s->weir.known_key);
    settings_free(s);
}

static void dev_mode_is_one_core(void)
{
    struct settings *s =
        good("apisix: {enable_dev_mode: true}\nnginx_config: {worker_processes: 8}\n");

    CHECK(s->workers == 1 && !s->enable_reuseport);
    settings_free(s);
}

static void the_environment_may_ask_for_workers_and_for_stores_there_are_none(void)
{
    struct err e;

    setenv("APISIX_WORKER_PROCESSES", "5", 1);
    struct settings *s = good("nginx_config: {worker_processes: 8}\n");
    CHECK(s->workers == 5);
    settings_free(s);
    unsetenv("APISIX_WORKER_PROCESSES");
    setenv("APISIX_STAND_ALONE", "true", 1);
    CHECK(parse("", &e) == NULL);
    CHECK_STR(
        str_c(e.msg),
        "the environment variable APISIX_STAND_ALONE asks for a store that is not supported yet");
    unsetenv("APISIX_STAND_ALONE");
}

static void times_and_sizes_have_units(void)
{
    static const struct {
        const char *text;
        int64_t ms, bytes; /* -1: is none */
    } cases[] = {
        {"60", 60000, 60},
        {"\"60s\"", 60000, -1},
        {"\"10m\"", 600000, 10 << 20},
        {"\"1h\"", 3600000, -1},
        {"\"1d\"", 86400000, -1},
        {"\"500ms\"", 500, -1},
        {"\"1h30m\"", 5400000, -1},
        {"\"1m 30s\"", 90000, -1},
        {"0.25", 250, -1},
        {"\"0\"", 0, 0},
        {"\"16k\"", -1, 16384},
        {"\"2G\"", -1, 2LL << 30},
        {"\"\"", -1, -1},
        {"\"s\"", -1, -1},
        {"-1", -1, -1},
        {"\"10 apples\"", -1, -1},
        {"1e300", -1, -1},
        {"\"99999999999999999999h\"", -1, -1},
        {"true", -1, -1},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *v = json_loads(cases[i].text, JSON_DECODE_ANY, NULL);
        int64_t ms = -1, bytes = -1;

        CHECK_ROW(i, parse_time(v, &ms) == (cases[i].ms >= 0) &&
                         (cases[i].ms < 0 || ms == cases[i].ms));
        CHECK_ROW(i, parse_size(v, &bytes) == (cases[i].bytes >= 0) &&
                         (cases[i].bytes < 0 || bytes == cases[i].bytes));
        json_decref(v);
    }
}

static void a_file_is_named_when_it_is_wrong(void)
{
    char path[] = "/tmp/weir-settings-XXXXXX", want[256];
    const int fd = mkstemp(path);
    struct err e = {0};

    CHECK(fd >= 0 && write(fd, "apisix: {x: 1}\n", 15) == 15);
    CHECK(settings_load(path, NULL, &e) == NULL);
    snprintf(want, sizeof(want), "%s: unknown option apisix.x", path);
    CHECK_STR(str_c(e.msg), want);
    CHECK(ftruncate(fd, 0) == 0);
    struct settings *s = settings_load(path, NULL, &e);
    CHECK(s != NULL && s->n_listen == 4);
    settings_free(s);
    close(fd);
    unlink(path);
    e.msg[0] = 0;
    CHECK(settings_load(path, NULL, &e) == NULL);
    snprintf(want, sizeof(want), "%s: No such file or directory", path);
    CHECK_STR(str_c(e.msg), want);
}

/* The file people start from is beside the sources: three folders up from this one. */
static void the_shipped_file_is_good_and_says_only_defaults(void)
{
    char path[1024];
    struct err e = {0};

    snprintf(path, sizeof(path), "%.*s/../../../conf/config.yaml",
             (int)(strrchr(__FILE__, '/') - __FILE__), __FILE__);
    warnings[0] = 0;
    struct settings *shipped = settings_load(path, warn, &e), *usual = good("");
    CHECK_STR(str_c(e.msg), "");
    CHECK(shipped != NULL && json_equal(shipped->json, usual->json));
    settings_free(shipped);
    settings_free(usual);
}

TESTS(T(an_empty_file_means_defaults), T(listeners_have_several_forms), T(values_are_read),
      T(mistakes_are_told_by_name), T(what_is_not_supported_is_warned_of_once_and_by_name),
      T(a_published_admin_key_needs_a_word),
      T(a_published_keyring_is_warned_of_and_a_made_one_reads_what_it_wrote),
      T(dev_mode_is_one_core), T(the_environment_may_ask_for_workers_and_for_stores_there_are_none),
      T(times_and_sizes_have_units), T(a_file_is_named_when_it_is_wrong),
      T(the_shipped_file_is_good_and_says_only_defaults))
