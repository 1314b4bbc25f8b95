/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cors: answer preflights, and tell browsers which origins may read an answer.
 *
 * allow_origins_by_regex replaces allow_origins. allow_origins_by_metadata adds to them, and
 * replaces a "*" (the default). An origin that is not allowed gets no such header; one that the
 * upstream sent stays then.
 */
#include "base/re.h"
#include "plugin/escape.h"
#include "plugin/plugin.h"
#include "plugin/str_set.h"

#include <stdlib.h>

/* One of the settings that name origins. */
struct origins {
    enum { NO_ORIGINS, ANY_ORIGIN /* * */, ECHO_ORIGIN /* ** */, LISTED_ORIGINS } kind;
    struct str_set list;
};
struct regexes {
    struct re **v;
    size_t n;
};

struct cors_conf {
    struct str allow_origins, allow_methods, allow_headers, expose_headers, timing_allow_origins;
    struct arr allow_origins_by_regex, allow_origins_by_metadata, timing_allow_origins_by_regex;
    int64_t max_age;
    bool allow_credential;
    struct origins origins, timing;
    struct regexes regex, timing_regex;
    struct str max_age_text;
    bool echo_headers;
};

#define ORIGINS_PATTERN "^(\\*|\\*\\*|null|\\w+://[^,]+(,\\w+://[^,]+)*)$"
#define F_TEXTS(m, text)                                                                           \
    F_ARR(struct cors_conf, m,                                                                     \
          .item = &(const struct field){F_ITEM(FK_STR, .min_len = 1, .max_len = 4096)},            \
          .min_len = 1, .unique = true, .doc = text)

static const struct field cors_fields[] = {
    F_STR(struct cors_conf, allow_origins, .def = JSON("*"), .pattern = ORIGINS_PATTERN,
          .doc = "Origins that may read answers, with commas; ** is any, also with credentials."),
    F_STR(struct cors_conf, allow_methods, .def = JSON("*"),
          .doc = "Methods they may use; ** lists all."),
    F_STR(struct cors_conf, allow_headers, .def = JSON("*"),
          .doc = "Headers they may send; ** whatever a preflight asks for."),
    F_STR(struct cors_conf, expose_headers, .doc = "Headers of the answer they may read."),
    F_INT(struct cors_conf, max_age, .def = "5",
          .doc = "Seconds a preflight is remembered; -1 not at all."),
    F_BOOL(struct cors_conf, allow_credential, .def = "false",
           .doc = "Let them send cookies and other credentials."),
    F_TEXTS(allow_origins_by_regex, "Expressions one of which must be found in the origin."),
    F_TEXTS(allow_origins_by_metadata, "Names under which the plugin's metadata lists origins."),
    F_STR(struct cors_conf, timing_allow_origins, .pattern = ORIGINS_PATTERN,
          .doc = "Origins that may see timing information."),
    F_TEXTS(timing_allow_origins_by_regex,
            "Expressions for origins that may see timing information."),
    F_END,
};

struct named_origins {
    struct str name;
    struct origins origins;
};
struct cors_metadata {
    const json_t *allow_origins;
    struct named_origins *v; /* by name */
    size_t n;
};

static const char metadata_origins[] =
    "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\",\"pattern\":"
    "\"^(\\\\*|\\\\*\\\\*|null|\\\\w+://[^,]+(,\\\\w+://[^,]+)*)$\"}}";
static const struct field cors_metadata_fields[] = {
    F_JSON(struct cors_metadata, allow_origins, .raw = metadata_origins,
           .doc = "Origins by name, for allow_origins_by_metadata."),
    F_END,
};

extern const struct plugin cors_plugin;

/* ---- configuration ---- */

static int check_regexes(const json_t *list, struct err *e)
{
    struct arena *a = arena_new(4096);
    size_t i;
    json_t *text;
    int rc = 0;
    json_array_foreach((json_t *)list, i, text) {
        rc = rc == 0 && re_new(a, json_str(text), "jo", e) == NULL ? -1 : rc;
    }
    arena_free(a);
    return rc;
}

static int cors_check(const json_t *conf, enum conf_use use, struct err *e)
{
    static const char *const keys[] = {"allow_origins", "allow_methods", "allow_headers",
                                       "expose_headers", "timing_allow_origins"};
    if (use == CONF_METADATA) {
        return 0;
    }
    for (size_t i = 0;
         json_is_true(json_get(conf, "allow_credential")) && i < sizeof(keys) / sizeof(keys[0]);
         i++) {
        if (str_eq(json_str(json_get(conf, keys[i])), STR("*"))) {
            return err_set(e,
                           "you can not set '*' for other option when 'allow_credential' is true");
        }
    }
    return check_regexes(json_get(conf, "allow_origins_by_regex"), e) != 0
               ? -1
               : check_regexes(json_get(conf, "timing_allow_origins_by_regex"), e);
}

static struct origins origins_new(struct arena *a, struct str text)
{
    struct origins o = {0};
    struct str rest = text, one;
    size_t n = 1, i = 0;
    if (str_is_none(text)) {
        return o;
    }
    if (str_eq(text, STR("*")) || str_eq(text, STR("**"))) {
        o.kind = text.n == 1 ? ANY_ORIGIN : ECHO_ORIGIN;
        return o;
    }
    for (size_t k = 0; k < text.n; k++) {
        n += text.p[k] == ',';
    }
    struct str *v = ARENA_ARRAY(a, struct str, n);
    while (str_split(&rest, ',', &one)) {
        v[i++] = one;
    }
    o.kind = LISTED_ORIGINS;
    str_set_prepare(a, v, n, &o.list);
    return o;
}

static int regexes_new(struct arena *a, const struct arr *texts, struct regexes *out, struct err *e)
{
    out->v = ARENA_ARRAY(a, struct re *, texts->n + 1);
    for (out->n = 0; out->n < texts->n; out->n++) {
        out->v[out->n] = re_new(a, ((struct str *)texts->v)[out->n], "jo", e);
        if (out->v[out->n] == NULL) {
            return -1;
        }
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct named_origins *)a)->name,
                   ((const struct named_origins *)b)->name);
}

static void prepare_metadata(struct arena *a, struct cors_metadata *m)
{
    const char *name;
    json_t *text;
    m->v = ARENA_ARRAY(a, struct named_origins, json_object_size(m->allow_origins) + 1);
    json_object_foreach((json_t *)m->allow_origins, name, text) {
        m->v[m->n++] = (struct named_origins){str_c(name), origins_new(a, json_str(text))};
    }
    qsort(m->v, m->n, sizeof(*m->v), by_name);
}

static int cors_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct cors_conf *c = conf;
    struct arena *a = p->arena;
    if (p->use == CONF_METADATA) {
        prepare_metadata(a, conf);
        return 0;
    }
    c->origins = origins_new(a, c->allow_origins);
    c->timing = origins_new(a, c->timing_allow_origins);
    c->echo_headers = str_eq(c->allow_headers, STR("**"));
    c->max_age_text = arena_printf(a, "%lld", (long long)c->max_age);
    c->allow_methods = str_eq(c->allow_methods, STR("**"))
                           ? STR("GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE")
                           : escape_header_value(a, c->allow_methods);
    c->allow_headers = escape_header_value(a, c->allow_headers);
    c->expose_headers = escape_header_value(a, c->expose_headers);
    return regexes_new(a, &c->allow_origins_by_regex, &c->regex, e) != 0
               ? -1
               : regexes_new(a, &c->timing_allow_origins_by_regex, &c->timing_regex, e);
}

/* ---- which origin is allowed: what to send, STR_NONE for none ---- */

static struct str match(const struct origins *o, struct str origin)
{
    switch (o->kind) {
    case NO_ORIGINS:
        break;
    case ANY_ORIGIN:
        return STR("*");
    case ECHO_ORIGIN:
        return origin.p ? origin : STR("*");
    case LISTED_ORIGINS:
        return origin.p && str_set_has(&o->list, origin) ? origin : STR_NONE;
    }
    return STR_NONE;
}

static struct str match_regexes(const struct regexes *x, struct str origin)
{
    for (size_t i = 0; origin.p && i < x->n; i++) {
        if (re_search(x->v[i], origin, 0, NULL)) {
            return origin;
        }
    }
    return STR_NONE;
}

static struct str match_metadata(const struct cors_conf *c, struct req *r, struct str origin)
{
    const struct cors_metadata *m = plugin_metadata(r, &cors_plugin);
    for (size_t i = 0; origin.p && i < c->allow_origins_by_metadata.n; i++) {
        const struct named_origins key = {.name =
                                              ((struct str *)c->allow_origins_by_metadata.v)[i]};
        const struct named_origins *found =
            m->n ? bsearch(&key, m->v, m->n, sizeof(*m->v), by_name) : NULL;
        if (found && match(&found->origins, origin).p) {
            return origin;
        }
    }
    return STR_NONE;
}

static struct str allowed(const struct cors_conf *c, struct req *r, struct str origin)
{
    const bool has_metadata = c->allow_origins_by_metadata.n > 0;
    const struct str named = has_metadata ? match_metadata(c, r, origin) : STR_NONE;
    if (named.p || (has_metadata && c->origins.kind == ANY_ORIGIN)) {
        return named;
    }
    return c->regex.n > 0 ? match_regexes(&c->regex, origin) : match(&c->origins, origin);
}

static struct str allowed_timing(const struct cors_conf *c, struct str origin)
{
    return c->timing_regex.n > 0 ? match_regexes(&c->timing_regex, origin)
                                 : match(&c->timing, origin);
}

/* ---- requests ---- */

/* The Origin as it came: other plugins may change it on its way upstream. */
struct asked {
    struct str origin;
};

static enum verdict cors_rewrite(struct req *r, const void *conf)
{
    req_ctx(r, &cors_plugin, struct asked)->origin = headers_get(&r->headers, H_ORIGIN);
    return r->method_id == M_OPTIONS ? req_reply(r, 200, STR("")) : NEXT;
}

static void set_or_del(struct headers *h, struct str name, struct str value)
{
    if (value.p) {
        headers_set(h, name, value);
    } else {
        headers_del(h, name);
    }
}

static void set_headers(const struct cors_conf *c, struct req *r, struct str origin)
{
    struct headers *h = &r->resp.headers;
    headers_set(h, STR("Access-Control-Allow-Origin"), origin);
    headers_set(h, STR("Access-Control-Allow-Methods"), c->allow_methods);
    headers_set(h, STR("Access-Control-Max-Age"), c->max_age_text);
    if (c->expose_headers.n > 0) {
        headers_set(h, STR("Access-Control-Expose-Headers"), c->expose_headers);
    }
    set_or_del(h, STR("Access-Control-Allow-Headers"),
               c->echo_headers ? headers_get(&r->headers, H_ACCESS_CONTROL_REQUEST_HEADERS)
                               : c->allow_headers);
    if (c->allow_credential) {
        headers_set(h, STR("Access-Control-Allow-Credentials"), STR("true"));
    }
}

static void cors_header_filter(struct req *r, const void *conf)
{
    const struct cors_conf *c = conf;
    const struct asked *asked = req_ctx_get(r, &cors_plugin);
    const struct str origin = asked ? asked->origin : headers_get(&r->headers, H_ORIGIN);
    const struct str allow = allowed(c, r, origin), timing = allowed_timing(c, origin);
    if (c->origins.kind != ANY_ORIGIN) {
        headers_add(&r->resp.headers, STR("Vary"), STR("Origin"));
    }
    if (allow.p) {
        set_headers(c, r, allow);
    }
    if (timing.p) {
        headers_set(&r->resp.headers, STR("Timing-Allow-Origin"), timing);
    }
}

const struct plugin cors_plugin = {
    .name = "cors",
    .priority = 4000,
    .version = "0.1",
    .conf_size = sizeof(struct cors_conf),
    .fields = cors_fields,
    .metadata_size = sizeof(struct cors_metadata),
    .metadata_fields = cors_metadata_fields,
    .check = cors_check,
    .prepare = cors_prepare,
    .rewrite = cors_rewrite,
    .header_filter = cors_header_filter,
};
