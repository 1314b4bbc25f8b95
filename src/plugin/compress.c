/* SPDX-License-Identifier: Apache-2.0 */
/* compress: see compress.h. */
#include "plugin/compress.h"

#include "base/log.h"
#include "base/mem.h"

#include <malloc.h>
#include <stdlib.h>

#define IDLE_MAX 8         /* encoders kept for reuse, a thread */
#define OUT_KEPT (1 << 17) /* of the output memory of an idle one */

/* Of an answer: offered, then begun. Lives in the request's arena. */
struct coding {
    const struct codec *codec;
    const void *conf;
    struct encoder *encoder; /* NULL: not begun */
};

static _Thread_local struct encoder *idle;
static _Thread_local unsigned n_idle;
static _Thread_local size_t bytes_held; /* of all encoders, idle ones too */

void *compress_alloc(void *opaque, size_t n)
{
    void *p = mem_resize(NULL, n);
    bytes_held += malloc_usable_size(p);
    return p;
}

void compress_free(void *opaque, void *p)
{
    bytes_held -= p ? malloc_usable_size(p) : 0;
    free(p);
}

/* ---- encoders ---- */

static struct encoder *take_idle(const struct codec *codec)
{
    for (struct encoder **at = &idle; *at; at = &(*at)->next) {
        struct encoder *e = *at;
        if (e->codec == codec) {
            *at = e->next;
            n_idle--;
            return e;
        }
    }
    return NULL;
}

static struct encoder *encoder_begin(const struct codec *codec, const void *conf)
{
    struct encoder *old = take_idle(codec);
    if (old == NULL && bytes_held > COMPRESS_BYTES) {
        LOG_RATE(WARN,
                 "%.*s: answers that are being compressed hold %zu MB, one more goes out plain",
                 STR_ARG(codec->token), bytes_held >> 20);
        return NULL;
    }
    struct encoder *e = codec->begin(old, conf);
    if (old == NULL) {
        e->codec = codec;
        e->out = (struct buf)BUF_INIT(SIZE_MAX);
    }
    buf_reset(&e->out);
    return e;
}

static void encoder_free(struct encoder *e)
{
    buf_fini(&e->out);
    e->codec->free(e);
}

static void encoder_end(void *arg)
{
    struct encoder *e = arg;
    if (!e->codec->can_begin_anew || n_idle == IDLE_MAX) {
        encoder_free(e);
        return;
    }
    if (e->out.cap > OUT_KEPT) {
        buf_fini(&e->out);
    }
    e->next = idle;
    idle = e;
    n_idle++;
}

void compress_thread_fini(void)
{
    while (idle) {
        struct encoder *e = idle;
        idle = e->next;
        encoder_free(e);
    }
    n_idle = 0;
}

/* ---- what is coded ---- */

/* "gzip;q=0.000" of an Accept-Encoding: not acceptable (RFC 9110 12.4.2). */
static bool weighs_nothing(struct str parameters)
{
    struct str p;
    while (str_split(&parameters, ';', &p)) {
        p = str_trim(p);
        if (p.n >= 2 && ascii_lower(p.p[0]) == 'q' && p.p[1] == '=') {
            size_t zeros = 0;
            for (p = str_trim(str_skip(p, 2)); zeros < p.n; zeros++) {
                if (p.p[zeros] != '0' && p.p[zeros] != '.') {
                    return false;
                }
            }
            return p.n > 0;
        }
    }
    return false;
}

/* What the client says of this coding; else what it says of any (RFC 9110 12.5.3). */
static bool is_acceptable(const struct req *r, struct str token)
{
    bool any = false;
    for (unsigned i = 0; i < r->headers.n; i++) {
        struct str rest = r->headers.v[i].value, item;
        while (r->headers.v[i].id == H_ACCEPT_ENCODING && str_split(&rest, ',', &item)) {
            struct str name;
            str_split(&item, ';', &name);
            name = str_trim(name);
            if (str_ieq(name, token)) {
                return !weighs_nothing(item);
            }
            any = any || (str_eq(name, STR("*")) && !weighs_nothing(item));
        }
    }
    return any;
}

/* Parameters aside, letter for letter, as the reference compares. */
static bool is_type_of(const struct compress_conf *c, struct str type)
{
    struct str name;
    size_t i;
    const json_t *v;
    str_split(&type, ';', &name);
    json_array_foreach(c->types, i, v) {
        if (str_eq(json_str(v), name)) {
            return true;
        }
    }
    return !json_is_array(c->types);
}

static bool is_wanted(const struct req *r, const struct compress_conf *c)
{
    struct str type = headers_get(&r->resp.headers, H_CONTENT_TYPE);
    return type.p && is_type_of(c, type) &&
           (r->resp.length < 0 || r->resp.length >= c->min_length) &&
           (r->major > 1 || r->minor >= 1 || c->http_version < 1.1);
}

static void say_vary(struct headers *h)
{
    if (!headers_has_token(h, H_VARY, STR("Accept-Encoding"))) {
        headers_add_id(h, H_VARY, STR("Accept-Encoding"));
    }
}

void compress_offer(struct req *r, const struct codec *codec, const struct compress_conf *c,
                    const void *conf)
{
    if (!is_wanted(r, c)) {
        return;
    }
    if (c->vary) {
        say_vary(&r->resp.headers);
    }
    const struct coding *other = r->resp.coding;
    if (is_acceptable(r, codec->token) && (other == NULL || other->codec->rank < codec->rank)) {
        r->resp.coding = ARENA_NEW(r->arena, struct coding);
        *r->resp.coding = (struct coding){.codec = codec, .conf = conf};
    }
}

/* ---- the answer ---- */

static bool may_code(const struct req *r)
{
    const struct headers *h = &r->resp.headers;
    return !r->resp.no_body && r->resp.coding->codec->is_for(r->resp.status) &&
           headers_get(h, H_CONTENT_ENCODING).n == 0 &&
           !headers_has_token(h, H_CACHE_CONTROL, STR("no-transform"));
}

/* The same resource in other bytes: its validator is a weak one now (RFC 9110 8.8.1). */
static void weaken_etag(struct req *r)
{
    struct header *etag = headers_find(&r->resp.headers, H_ETAG);
    if (etag && str_starts(etag->value, STR("\""))) {
        etag->value = arena_cat(r->arena, STR("W/"), etag->value);
    } else if (etag && !str_starts(etag->value, STR("W/"))) {
        headers_del_id(&r->resp.headers, H_ETAG);
    }
}

void compress_begin(struct req *r)
{
    struct coding *c = r->resp.coding;
    if (c == NULL) {
        return;
    }
    c->encoder = may_code(r) ? encoder_begin(c->codec, c->conf) : NULL;
    if (c->encoder == NULL) {
        r->resp.coding = NULL;
        return;
    }
    arena_on_reset(r->arena, encoder_end, c->encoder);
    headers_set_id(&r->resp.headers, H_CONTENT_ENCODING, c->codec->token);
    headers_del(&r->resp.headers, STR("Accept-Ranges"));
    weaken_etag(r);
    r->resp.length = -1;
}

struct str compress_run(struct req *r, struct str data, enum compress_step step)
{
    struct encoder *e = r->resp.coding->encoder;
    buf_reset(&e->out);
    if (data.n > 0 || step != COMPRESS_RUN) {
        e->codec->put(e, data, step);
    }
    return buf_str(&e->out);
}
