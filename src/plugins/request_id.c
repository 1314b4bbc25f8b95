/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request-id: a header with an id of the request, towards the upstream and back. One that the
 * client sent stays.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "plugin/plugin.h"

#define RANGE_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIGKLMNOPQRSTUVWXYZ0123456789"

struct range_id {
    int64_t length;
    struct str char_set;
};
struct request_id_conf {
    struct str header_name, algorithm;
    bool include_in_response;
    struct range_id range_id;
    struct str (*generate)(struct arena *a, const struct request_id_conf *c);
};

static const char *const algorithms[] = {"uuid", "nanoid", "range_id", "ksuid", "uuidv7", NULL};

static const struct field range_id_fields[] = {
    F_INT(struct range_id, length, .def = "16", .min = 6, .doc = "Length of an id."),
    F_STR(struct range_id, char_set, .def = "\"" RANGE_CHARS "\"", .min_len = 6,
          .doc = "What an id is made of."),
    F_END,
};
static const struct field request_id_fields[] = {
    F_STR(struct request_id_conf, header_name, .def = JSON("X-Request-Id"),
          .doc = "Name of the header."),
    F_BOOL(struct request_id_conf, include_in_response, .def = "true",
           .doc = "Send the id to the client too."),
    F_STR(struct request_id_conf, algorithm, .def = JSON("uuid"), .choices = algorithms,
          .doc = "How an id is made."),
    F_OBJ(struct request_id_conf, range_id, range_id_fields,
          .extra = "{\"default\":{\"length\":16,\"char_set\":\"" RANGE_CHARS "\"}}",
          .doc = "Of the algorithm range_id."),
    F_END,
};

extern const struct plugin request_id_plugin;

/* ---- ids ---- */

static struct str uuid(struct arena *a, const struct request_id_conf *c)
{
    return uuid_text(a, random_u64(), random_u64(), 4);
}

/* Milliseconds, then a number that grows within one (RFC 9562 6.2 method 1): ids of a core are in
 * order. */
static struct str uuidv7(struct arena *a, const struct request_id_conf *c)
{
    static _Thread_local struct {
        uint64_t ms;
        unsigned n;
    } last;
    const uint64_t ms = (uint64_t)wall_us() / 1000;
    if (ms > last.ms) {
        last.ms = ms;
        last.n = (unsigned)(random_u64() & 0x7ff); /* leaves room to grow */
    } else if (++last.n > 0xfff) {
        last.ms++;
        last.n = 0;
    }
    return uuid_text(a, last.ms << 16 | last.n, random_u64(), 7);
}

/* length characters out of set, all as likely. */
static struct str random_text(struct arena *a, struct str set, size_t length)
{
    char *out = arena_bytes(a, length);
    for (size_t i = 0; i < length; i++) {
        out[i] = set.p[(size_t)((unsigned __int128)random_u64() * set.n >> 64)];
    }
    return str_of(out, length);
}

static struct str nanoid(struct arena *a, const struct request_id_conf *c)
{
    return random_text(a, STR("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-"),
                       21);
}

static struct str range_id(struct arena *a, const struct request_id_conf *c)
{
    return random_text(a, c->range_id.char_set, (size_t)c->range_id.length);
}

/* Seconds since KSUID_EPOCH and 128 random bits, 20 bytes, in base 62: 27 digits that sort by time.
 */
#define KSUID_EPOCH 1400000000
static struct str ksuid(struct arena *a, const struct request_id_conf *c)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const uint64_t r1 = random_u64(), r2 = random_u64();
    uint32_t word[5] = {(uint32_t)(wall_us() / 1000000 - KSUID_EPOCH), (uint32_t)(r1 >> 32),
                        (uint32_t)r1, (uint32_t)(r2 >> 32), (uint32_t)r2};
    char *out = arena_bytes(a, 27);
    for (int i = 26; i >= 0; i--) {
        uint64_t rest = 0;
        for (int w = 0; w < 5; w++) {
            rest = rest << 32 | word[w];
            word[w] = (uint32_t)(rest / 62);
            rest %= 62;
        }
        out[i] = digits[rest];
    }
    return str_of(out, 27);
}

/* ---- the plugin ---- */

/* The longest id there is room for in a head. */
#define LENGTH_MAX 4096

static int check_range(const json_t *range, struct err *e)
{
    const json_int_t length = json_integer_value(json_get(range, "length"));
    const struct str set = json_str(json_get(range, "char_set"));
    if (length > LENGTH_MAX) {
        return err_set(e, "property \"length\" validation failed: expected %lld to be at most %d",
                       (long long)length, LENGTH_MAX);
    }
    if (set.p && !header_value_is_valid(set)) {
        return err_set(e, "property \"char_set\" validation failed: not for a header");
    }
    return 0;
}

static int request_id_check(const json_t *conf, enum conf_use use, struct err *e)
{
    const struct str name = json_str(json_get(conf, "header_name"));
    if (name.p && !header_name_is_valid(name)) {
        return err_set(e, "property \"header_name\" validation failed: not a header name");
    }
    if (check_range(json_get(conf, "range_id"), e) != 0) {
        return err_prefix(e, "property \"range_id\" validation failed: ");
    }
    return 0;
}

static int request_id_prepare(const struct prepare *p, void *conf, struct err *e)
{
    static struct str (*const generators[])(struct arena *, const struct request_id_conf *) = {
        uuid, nanoid, range_id, ksuid, uuidv7};
    struct request_id_conf *c = conf;
    for (unsigned i = 0; algorithms[i]; i++) {
        if (str_eq(c->algorithm, str_c(algorithms[i]))) {
            c->generate = generators[i];
        }
    }
    return 0;
}

/* Ids of this request by header: a global rule and a route may both make one. */
struct given {
    struct given *next;
    struct str header, id;
};

static enum verdict request_id_rewrite(struct req *r, const void *conf)
{
    const struct request_id_conf *c = conf;
    struct str id = headers_get_name(&r->headers, c->header_name);
    if (id.n == 0) {
        id = c->generate(r->arena, c);
        headers_set(&r->headers, c->header_name, id);
    }
    r->request_id = id;
    struct given *g = ARENA_NEW(r->arena, struct given);
    *g = (struct given){req_ctx_get(r, &request_id_plugin), c->header_name, id};
    req_ctx_set(r, &request_id_plugin, g);
    return NEXT;
}

static void request_id_header_filter(struct req *r, const void *conf)
{
    const struct request_id_conf *c = conf;
    if (!c->include_in_response || headers_get_name(&r->resp.headers, c->header_name).n > 0) {
        return;
    }
    for (const struct given *g = req_ctx_get(r, &request_id_plugin); g; g = g->next) {
        if (str_ieq(g->header, c->header_name)) {
            headers_set(&r->resp.headers, c->header_name, g->id);
            return;
        }
    }
}

const struct plugin request_id_plugin = {
    .name = "request-id",
    .priority = 12015,
    .version = "0.1",
    .conf_size = sizeof(struct request_id_conf),
    .fields = request_id_fields,
    .check = request_id_check,
    .prepare = request_id_prepare,
    .rewrite = request_id_rewrite,
    .header_filter = request_id_header_filter,
};
