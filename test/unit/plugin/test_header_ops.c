/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/header_ops.h"

#include "plugins/fake.h"

/* All fields as "name=value;" in their order. */
static struct str dump(const struct req *r)
{
    struct str all = STR("");

    for (unsigned i = 0; i < r->headers.n; i++) {
        const struct header *h = &r->headers.v[i];
        if (h->id != H_HOST) {
            all = arena_printf(r->arena, "%.*s%.*s=%.*s;", STR_ARG(all), STR_ARG(h->name),
                               STR_ARG(h->value));
        }
    }
    return all;
}

static void fields_are_added_set_and_removed_in_that_order(void)
{
    static const struct {
        const char *conf, *want;
    } cases[] = {
        {"{\"add\":{\"X-A\":\"n\"}}", "X-A=1;X-B=2;X-A=3;X-A=n;"},
        {"{\"set\":{\"x-a\":\"n\"}}", "x-a=n;X-B=2;"},
        {"{\"set\":{\"X-C\":\"n\"}}", "X-A=1;X-B=2;X-A=3;X-C=n;"},
        {"{\"remove\":[\"X-A\"]}", "X-B=2;"},
        {"{\"add\":{\"X-C\":\"c\"},\"set\":{\"X-B\":\"b\"},\"remove\":[\"X-A\",\"X-C\"]}",
         "X-B=b;"},
        {"{\"add\":{\"X-C\":[\"c\",1,2.5]}}", "X-A=1;X-B=2;X-A=3;X-C=c;X-C=1;X-C=2.5;"},
        {"{\"set\":{\"X-A\":[\"p\",\"q\"]}}", "X-B=2;X-A=p;X-A=q;"},
        {"{\"set\":{\"X-A\":7}}", "X-A=7;X-B=2;"},
        /* empty adds nothing and removes */
        {"{\"add\":{\"X-C\":\"\"},\"set\":{\"X-A\":\"\"}}", "X-B=2;"},
        {"{\"set\":{\"X-A\":\"$arg_none\"}}", "X-B=2;"},
        {"{\"set\":{\"X-A\":\"<$http_x_a>\"}}", "X-A=<1>;X-B=2;"},
        {"{\"set\":{\"X-A\":\"$arg_k-$remote_addr\"}}", "X-A=v-127.0.0.1;X-B=2;"},
        {"{\"X-A\":\"n\",\"X-C\":5,\"X-B\":\"\"}", "X-A=n;X-C=5;"}, /* the older form */
        {"{\"add\":{\"X-C\":\"$arg_crlf\"}}", "X-A=1;X-B=2;X-A=3;X-C=a%0D%0AEvil: 1;"},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct req *r = req_fake("GET /?k=v&crlf=a%0d%0aEvil:%201", "X-A: 1\nX-B: 2\nX-A: 3\n");
        struct err e = {0};
        struct header_ops ops;
        json_t *conf = json_parse(str_c(cases[i].conf), &e);
        CHECK_ROW(i, header_ops_check(conf, &e) == 0);
        header_ops_prepare(r->arena, conf, &ops);
        header_ops_apply(&ops, r, &r->headers, NULL);
        CHECK_STR(dump(r), cases[i].want);
    }
}

static void what_could_not_be_sent_is_refused(void)
{
    static const struct {
        const char *conf, *text;
    } cases[] = {
        {"{\"\":\"v\"}", "invalid field length in header"},
        {"{\"a b\":\"v\"}", "invalid field character in header"},
        {"{\"add\":{\"a(b\":\"v\"}}", "invalid field character in header"},
        {"{\"remove\":[\"a b\"]}", "invalid field character in header"},
        {"{\"set\":{\"X\":\"a\\r\\nb\"}}", "invalid value character in header"},
        {"{\"set\":{\"X\":[\"a\",\"\\n\"]}}", "invalid value character in header"},
        {"{\"X\":true}", "invalid type as header value"},
    };
    for (size_t i = 0; i < LENGTH_OF(cases); i++) {
        struct err e = {0};
        json_t *conf = json_parse(str_c(cases[i].conf), &e);
        CHECK_ROW(i, header_ops_check(conf, &e) == -1);
        CHECK_STR(str_c(e.msg), cases[i].text);
        json_decref(conf);
    }
}

static void a_field_goes_in_every_spelling(void)
{
    struct req *r = req_fake(
        "GET /",
        "X-A: 1\nX-Consumer-Username: a\nx_consumer-USERNAME: b\nX_Consumer_Username: c\nX-Consumer-Usernames: d\n");

    headers_del_spellings(&r->headers, STR("x-consumer-username"));
    CHECK_STR(dump(r), "X-A=1;X-Consumer-Usernames=d;");
}

TESTS(T(fields_are_added_set_and_removed_in_that_order), T(what_could_not_be_sent_is_refused),
      T(a_field_goes_in_every_spelling))
