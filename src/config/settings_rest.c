/* SPDX-License-Identifier: Apache-2.0 */
/* settings_rest: the options that are more than one value in one member: lists in several forms,
 * keys, and what follows from several options. */
#include "base/log.h"
#include "config/settings_priv.h"
#include "net/tls.h"

#include <stdlib.h>

static struct str text_at(const struct reader *r, const char *path)
{
    return json_str(reader_get(r, path));
}

/* ---- admin keys ---- */

/* Keys that stood in published default files: everybody knows them. */
static bool is_published_key(struct str key)
{
    return str_eq(key, STR("edd1c9f034335f136f87ad84b625c8f1")) ||
           str_eq(key, STR("4054f7cf07e344346cd3f287985e76a2"));
}

static int read_key(const struct reader *r, const json_t *v, struct admin_key *k)
{
    static const char path[] = "deployment.admin.admin_key";
    struct arena *a = r->s->arena;
    const json_t *key = json_get(v, "key");
    struct str role = json_str(json_get(v, "role"));

    if (!json_is_object(v)) {
        return reader_bad(r, path, "a list of {name, key, role}", v);
    }
    /* A key from the environment that is all digits arrives as a number. */
    k->key = json_is_integer(key) ? json_text(a, key) : json_str(key);
    k->name = json_str(json_get(v, "name"));
    k->viewer = str_eq(role, STR("viewer"));
    if (!str_is_none(role) && !k->viewer && !str_eq(role, STR("admin"))) {
        return reader_bad(r, "deployment.admin.admin_key.role", "admin or viewer",
                          json_get(v, "role"));
    }
    if (is_published_key(k->key) && !r->s->weir.known_key) {
        return err_set(r->e,
                       "deployment.admin.admin_key: the key of \"%.*s\" was published with APISIX "
                       "and everybody knows it; "
                       "choose another, or set weir.insecure_known_key: true where nobody else can "
                       "reach the Admin API",
                       STR_ARG(k->name));
    }
    return 0;
}

static int read_keys(const struct reader *r)
{
    const json_t *list = reader_get(r, "deployment.admin.admin_key"), *v;
    struct admin_key *keys;
    unsigned n = 0;
    size_t i;

    if (!json_is_array(list) && json_object_size(list) > 0) {
        return reader_bad(r, "deployment.admin.admin_key", "a list of {name, key, role}", list);
    }
    keys = ARENA_ARRAY(r->s->arena, struct admin_key, json_array_size(list) + 1);
    json_array_foreach(list, i, v) {
        if (read_key(r, v, &keys[n]) != 0) {
            return -1;
        }
        /* An empty key is one to be generated: for the administrator, when there is none. */
        n += keys[n].key.n > 0;
    }
    r->s->admin_keys = keys;
    r->s->n_admin_keys = n;
    return 0;
}

/* ---- the keyring ---- */

/* The reference's default: what stands encrypted in its stores, and in older ones of ours. */
static const struct str published_ring[] = {STR_INIT("qeddd145sfvddff3"),
                                            STR_INIT("edd1c9f0985e76a2")};

static bool is_published_ring_key(struct str key)
{
    return str_eq(key, published_ring[0]) || str_eq(key, published_ring[1]);
}

void settings_use_ring_key(struct settings *s, struct str key)
{
    struct str *keys = ARENA_ARRAY(s->arena, struct str, 3);

    keys[0] = arena_str(s->arena, key);
    memcpy(keys + 1, published_ring, sizeof(published_ring));
    s->keyring = keys;
    s->n_keyring = 3;
}

static int read_keyring(const struct reader *r)
{
    static const char path[] = "apisix.data_encryption.keyring";
    const json_t *v = reader_get(r, path);
    const size_t n = json_is_array(v) ? json_array_size(v) : 1;
    struct str *keys = ARENA_ARRAY(r->s->arena, struct str, n + 1);

    if (v == NULL) {
        return 0; /* settings_use_ring_key() */
    }
    for (size_t i = 0; i < n; i++) {
        keys[i] = json_str(json_is_array(v) ? json_array_get(v, i) : v);
        if (keys[i].n != 16 && keys[i].n != 32) {
            return err_set(r->e, "%s: expected keys of 16 or 32 bytes", path);
        }
    }
    if (n == 0) {
        return err_set(r->e, "%s: expected at least one key", path);
    }
    if (r->s->encrypt_fields && is_published_ring_key(keys[0])) {
        reader_warn(r,
                    "%s: secrets are encrypted with the key that is published with APISIX, which "
                    "protects nothing; put a key of your own first in the list",
                    path);
    }
    r->s->keyring = keys;
    r->s->n_keyring = (unsigned)n;
    return 0;
}

/* ---- addresses ---- */

/* Peers whose word about the client's address is taken: blocks, and `unix:`. */
static int read_real_ip_from(const struct reader *r)
{
    static const char path[] = "nginx_config.http.real_ip_from";
    const json_t *list = reader_get(r, path), *v;
    struct cidr *blocks;
    unsigned n = 0;
    size_t i;

    if (!json_is_array(list) && json_object_size(list) > 0) {
        return reader_bad(r, path, "a list of addresses", list);
    }
    blocks = ARENA_ARRAY(r->s->arena, struct cidr, json_array_size(list) + 1);
    json_array_foreach(list, i, v) {
        if (str_eq(json_str(v), STR("unix:"))) {
            r->s->real_ip_unix = true;
        } else if (json_is_string(v) && cidr_parse(json_str(v), &blocks[n])) {
            n++;
        } else {
            return reader_bad(r, path, "addresses, blocks, or unix:", v);
        }
    }
    r->s->real_ip_from = blocks;
    r->s->n_real_ip_from = n;
    return 0;
}

static int read_dns(const struct reader *r)
{
    static const char path[] = "apisix.dns_resolver";
    const json_t *list = reader_get(r, path), *v;
    struct arena *a = r->s->arena;
    size_t i;

    if (list == NULL) {
        return 0;
    }
    if (json_array_size(list) == 0) {
        return reader_bad(r, path, "a list of addresses", list);
    }
    json_array_foreach(list, i, v) {
        if (!json_is_string(v)) {
            return reader_bad(r, path, "addresses, with a port or without", v);
        }
        struct str old = r->s->dns_servers;
        r->s->dns_servers = i == 0 ? arena_str(a, json_str(v))
                                   : arena_printf(a, "%.*s,%s", STR_ARG(old), json_string_value(v));
    }
    return 0;
}

/* ---- TLS ---- */

static int read_protocols(const struct reader *r)
{
    static const char path[] = "apisix.ssl.ssl_protocols";
    const json_t *v = reader_get(r, path);
    struct str rest = json_str(v), name;

    while (str_split(&rest, ' ', &name)) {
        const unsigned bit = tls_protocol_of(name);
        if (name.n > 0 && bit == 0) {
            return reader_bad(r, path, "some of TLSv1.1 TLSv1.2 TLSv1.3", v);
        }
        r->s->ssl.protocols |= bit;
    }
    return r->s->ssl.protocols != 0 ? 0 : reader_bad(r, path, "some of TLSv1.1 TLSv1.2 TLSv1.3", v);
}

/* ---- the process ---- */

static int read_workers(const struct reader *r)
{
    static const char path[] = "nginx_config.worker_processes";
    const char *env = getenv("APISIX_WORKER_PROCESSES");
    json_t *from_env = env != NULL ? json_string(env) : NULL;
    const json_t *v = from_env != NULL ? from_env : reader_get(r, path);
    int64_t n = 0;
    int rc = 0;

    if (v != NULL && !str_eq(json_str(v), STR("auto")) &&
        (!parse_integer(v, &n) || n < 0 || n > 1024)) {
        rc = reader_bad(r, path, "auto or a number up to 1024", v);
    }
    json_decref(from_env);
    r->s->workers = n > 0 ? (unsigned)n : cpus_usable();
    return rc;
}

static int read_log_level(const struct reader *r)
{
    static const char path[] = "nginx_config.error_log_level";

    r->s->error_log_level = log_level_of(text_at(r, path));
    if (r->s->error_log_level < 0) {
        return reader_bad(r, path, "debug, info, notice, warn, error, crit, alert or emerg",
                          reader_get(r, path));
    }
    return 0;
}

/* Names alone are handed on as they are: the process has its environment. */
static void read_envs(const struct reader *r)
{
    const json_t *v;
    size_t i;

    json_array_foreach(reader_get(r, "nginx_config.envs"), i, v) {
        if (str_index(json_str(v), '=') >= 0) {
            reader_warn(r,
                        "nginx_config.envs: values are not set here; set %.*s in the environment "
                        "of the process",
                        (int)str_index(json_str(v), '='), json_string_value(v));
        }
    }
}

static int read_mirror(const struct reader *r)
{
    const struct {
        const char *path;
        int64_t *ms;
    } timeouts[] = {
        {"plugin_attr.proxy-mirror.timeout.connect", &r->s->mirror_connect_ms},
        {"plugin_attr.proxy-mirror.timeout.send", &r->s->mirror_send_ms},
        {"plugin_attr.proxy-mirror.timeout.read", &r->s->mirror_read_ms},
    };

    for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
        const json_t *v = reader_get(r, timeouts[i].path);
        if (!parse_time(v, timeouts[i].ms)) {
            return reader_bad(r, timeouts[i].path, "a time", v);
        }
    }
    return 0;
}

static int read_mode(const struct reader *r)
{
    static const char path[] = "apisix.proxy_mode";
    struct str mode = text_at(r, path);

    if (str_eq(mode, STR("http"))) {
        return 0;
    }
    if (!str_eq(mode, STR("stream")) && !str_eq(mode, STR("http&stream"))) {
        return reader_bad(r, path, "http, stream or http&stream", reader_get(r, path));
    }
    reader_warn(r, "%s: proxying of TCP and UDP is not supported yet; only HTTP is proxied", path);
    return 0;
}

/* The reference takes these from the environment before any file, so a fleet may rely on them. */
static int check_environment(const struct reader *r)
{
    static const char *const refused[] = {"APISIX_DEPLOYMENT_ETCD_HOST", "APISIX_STAND_ALONE"};

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        const char *v = getenv(refused[i]);

        if (v != NULL && *v != 0 && strcmp(v, "false") != 0) {
            return err_set(r->e,
                           "the environment variable %s asks for a store that is not supported yet",
                           refused[i]);
        }
    }
    return 0;
}

/* Where certificates were asked for, nothing goes in clear. */
static int check_admin_tls(const struct reader *r)
{
    const struct settings *s = r->s;

    if (s->admin_tls.on && (s->admin_tls.cert.n == 0 || s->admin_tls.key.n == 0)) {
        return err_set(r->e, "missing ssl cert for https admin");
    }
    if (!s->admin_tls.on && s->admin_tls.ca.n > 0) {
        return err_set(r->e, "deployment.admin.admin_api_mtls.admin_ssl_ca_cert: clients can only "
                             "be asked for certificates with deployment.admin.https_admin");
    }
    return 0;
}

int settings_read_rest(const struct reader *r)
{
    struct settings *s = r->s;
    bool dev_mode = false;

    if (check_environment(r) != 0 || read_keys(r) != 0 || read_keyring(r) != 0 ||
        read_real_ip_from(r) != 0 || read_dns(r) != 0 || read_workers(r) != 0 ||
        read_log_level(r) != 0 || read_mode(r) != 0 || read_protocols(r) != 0 ||
        read_mirror(r) != 0 || check_admin_tls(r) != 0) {
        return -1;
    }
    read_envs(r);
    parse_bool(reader_get(r, "apisix.enable_dev_mode"), &dev_mode);
    if (dev_mode) {
        s->workers = 1;
        s->enable_reuseport = false;
    }
    if (str_eq(s->real_ip_header, STR("proxy_protocol"))) {
        s->real_ip_header = STR(""); /* the address of a PROXY header counts anyway */
    }
    s->etcd_prefix = STR("/apisix");
    s->max_post_args_bytes *= 1 << 20;
    s->admin_v2 = !str_eq(text_at(r, "deployment.admin.admin_api_version"), STR("v3"));
    s->access_log_json_escape =
        str_eq(text_at(r, "nginx_config.http.access_log_format_escape"), STR("json"));
    s->has_allow_admin = reader_get(r, "deployment.admin.allow_admin") != NULL;
    s->plugins_set = reader_get(r, "plugins") != NULL;
    s->prometheus_uri = text_at(r, "plugin_attr.prometheus.export_uri");
    s->metric_prefix = text_at(r, "plugin_attr.prometheus.metric_prefix");
    return 0;
}
