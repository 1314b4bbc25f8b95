/* SPDX-License-Identifier: Apache-2.0 */
/*
 * csrf: double submit of a signed token. Each answer sets it as a cookie; a request that may change
 * something must bring it twice, as that cookie and in a header of the same name, which a page of
 * another site cannot do.
 *
 * A token is base64 of {"random":R,"expires":T,"sign":S}: T the time it was made, S the SHA-256 in
 * hex of what sign() spells, which holds the key. It is the reference's to the byte, so that
 * gateways of both kinds take each other's.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "plugin/refuse.h"

#include <openssl/sha.h>
#include <time.h>

#define SECONDS_MAX ((int64_t)1 << 36) /* more than the calendar needs */

struct csrf_conf {
    struct str key, name;
    int64_t expires;
};

static const struct field csrf_fields[] = {
    F_STR(struct csrf_conf, key, .required = true, .secret = true,
          .doc = "Secret that signs tokens."),
    F_INT(struct csrf_conf, expires, .def = "7200",
          .doc = "Seconds a token and its cookie are good for; 0 or less: a token is for ever."),
    F_STR(struct csrf_conf, name, .def = JSON("apisix-csrf-token"),
          .doc = "Name of the cookie and of the header."),
    F_END,
};

extern const struct plugin csrf_plugin;

static int csrf_prepare(const struct prepare *p, void *conf, struct err *e)
{
    struct csrf_conf *c = conf;
    c->expires = c->expires > SECONDS_MAX ? SECONDS_MAX : c->expires;
    c->expires = c->expires < -SECONDS_MAX ? -SECONDS_MAX : c->expires;
    return 0;
}

/* Numbers are spelled as Lua spells them. */
static struct str sign(struct arena *a, const struct csrf_conf *c, double random, double made)
{
    static const char hex[] = "0123456789abcdef";
    const struct str text =
        arena_printf(a, "{expires:%.14g,random:%.14g,key:%.*s}", made, random, STR_ARG(c->key));
    unsigned char sum[SHA256_DIGEST_LENGTH];
    char *out = arena_bytes(a, 2 * sizeof(sum));
    SHA256((const unsigned char *)text.p, text.n, sum);
    for (size_t i = 0; i < sizeof(sum); i++) {
        out[2 * i] = hex[sum[i] >> 4];
        out[2 * i + 1] = hex[sum[i] & 15];
    }
    return str_of(out, 2 * sizeof(sum));
}

static int64_t seconds_now(void)
{
    return wall_us() / 1000000;
}

static struct str token_new(struct arena *a, const struct csrf_conf *c)
{
    const double random = (double)(random_u64() >> 11) * 0x1p-53, made = (double)seconds_now();
    return base64_encode(a,
                         arena_printf(a, "{\"random\":%.14g,\"expires\":%.14g,\"sign\":\"%.*s\"}",
                                      random, made, STR_ARG(sign(a, c, random, made))));
}

/* Why the token is none of ours, or too old; NULL: it is good. */
static const char *fault_of(struct arena *a, const struct csrf_conf *c, struct str token)
{
    const struct str text = base64_decode(a, token);
    struct err e = {0};
    json_t *t = text.p ? json_parse(text, &e) : NULL;
    const json_t *random = json_get(t, "random"), *made = json_get(t, "expires");
    const char *fault = NULL;
    if (!json_is_number(random) || !json_is_number(made)) {
        fault = "malformed token";
    } else if (c->expires > 0 &&
               (double)seconds_now() - json_number_value(made) > (double)c->expires) {
        fault = "expired token";
    } else if (!str_eq_secret(json_str(json_get(t, "sign")),
                              sign(a, c, json_number_value(random), json_number_value(made)))) {
        fault = "wrong signature";
    }
    json_decref(t);
    return fault;
}

static enum verdict deny(struct req *r, struct str body, const char *why)
{
    return refuse(r, &csrf_plugin, 401, body, str_c(why));
}

#define BODY(text) STR("{\"error_msg\":\"" text "\"}\n")

static enum verdict csrf_access(struct req *r, const void *conf)
{
    const struct csrf_conf *c = conf;
    if (r->method_id == M_GET || r->method_id == M_HEAD || r->method_id == M_OPTIONS) {
        return NEXT;
    }
    const struct str header = headers_get_name(&r->headers, c->name);
    if (header.n == 0) {
        return deny(r, BODY("no csrf token in headers"), "no token in a header");
    }
    const struct str cookie = req_cookie(r, c->name);
    if (cookie.p == NULL) {
        return deny(r, BODY("no csrf cookie"), "no token in a cookie");
    }
    if (!str_eq(header, cookie)) {
        return deny(r, BODY("csrf token mismatch"), "two tokens");
    }
    const char *fault = fault_of(r->arena, c, cookie);
    return fault ? deny(r, BODY("Failed to verify the csrf token signature"), fault) : NEXT;
}

/* A moment as nginx spells it in cookies: years of two digits as long as these are clear. */
static struct str cookie_time(struct arena *a, time_t at)
{
    char text[64];
    struct tm tm;
    gmtime_r(&at, &tm);
    const size_t n =
        strftime(text, sizeof(text),
                 tm.tm_year > 137 ? "%a, %d-%b-%Y %H:%M:%S GMT" : "%a, %d-%b-%y %H:%M:%S GMT", &tm);
    return arena_str(a, str_of(text, n));
}

static void csrf_header_filter(struct req *r, const void *conf)
{
    const struct csrf_conf *c = conf;
    const struct str token = token_new(r->arena, c),
                     until = cookie_time(r->arena, (time_t)(seconds_now() + c->expires));
    headers_add_id(&r->resp.headers, H_SET_COOKIE,
                   arena_printf(r->arena, "%.*s=%.*s;path=/;SameSite=Lax;Expires=%.*s",
                                STR_ARG(c->name), STR_ARG(token), STR_ARG(until)));
}

const struct plugin csrf_plugin = {
    .name = "csrf",
    .priority = 2980,
    .version = "0.1",
    .conf_size = sizeof(struct csrf_conf),
    .fields = csrf_fields,
    .prepare = csrf_prepare,
    .access = csrf_access,
    .header_filter = csrf_header_filter,
};
