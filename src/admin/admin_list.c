/* SPDX-License-Identifier: Apache-2.0 */
/* admin_list: GET of a collection: filters, pages, and the two shapes of the answer. */
#include "admin/admin_priv.h"
#include "base/buf.h"
#include "base/re.h"
#include "fiber/fiber.h"

#include <errno.h>
#include <stdlib.h>

enum { PAGE_MIN = 10, PAGE_MAX = 500, YIELD_EVERY = 256 };

/* What the query asks for. */
struct query {
    bool paged;
    size_t page, page_size;
    struct str name, uri, label; /* STR_NONE: not asked */
    struct re *name_re, *uri_re; /* NULL: not asked, or no expression: then nothing matches */
    struct str service_id, upstream_id;
};

/* An item that passed, with its value in clear. */
struct found {
    const struct store_item *it;
    struct str text;
};

/* The reference ignores expressions that do not compile; nothing matches them. */
static struct re *regex(struct arena *a, struct str pattern)
{
    struct err e = {0};

    return str_is_none(pattern) ? NULL : re_new(a, pattern, "", &e);
}

/* page and page_size count when both are numbers. False when it has answered. */
static bool read_page(struct req *r, struct query *q)
{
    struct str page_text = req_arg(r, STR("page"), NULL),
               size_text = req_arg(r, STR("page_size"), NULL);
    double page, size;

    q->paged = !str_is_none(page_text) && !str_is_none(size_text) &&
               str_to_number(page_text, &page) && str_to_number(size_text, &size);
    if (!q->paged) {
        return true;
    }
    if (!(size >= PAGE_MIN && size <= PAGE_MAX)) {
        reply_text(r, 400, STR("page_size must be between 10 and 500"));
        return false;
    }
    q->page = !(page >= 1) ? 1 : page > 1e9 ? 1000000000 : (size_t)page;
    q->page_size = (size_t)size;
    return true;
}

/* ?filter=service_id%3D1%26...: a query string inside a query string. Only routes know names. */
static void read_filter(struct call *c, struct query *q)
{
    struct str rest = req_arg(c->r, STR("filter"), NULL), pair;

    while (c->face->kind == K_ROUTE && str_split(&rest, '&', &pair)) {
        ptrdiff_t eq = str_index(pair, '=');
        struct str name = eq < 0 ? pair : str_head(pair, (size_t)eq);
        struct str value =
            uri_decode(c->r->arena, eq < 0 ? STR("") : str_skip(pair, (size_t)eq + 1), true);
        if (str_eq(name, STR("service_id"))) {
            q->service_id = value;
        } else if (str_eq(name, STR("upstream_id"))) {
            q->upstream_id = value;
        }
    }
}

static bool read_query(struct call *c, struct query *q)
{
    if (admin_deps.settings->admin_v2) {
        return true;
    }
    q->name = req_arg(c->r, STR("name"), NULL);
    q->uri = req_arg(c->r, STR("uri"), NULL);
    q->label = req_arg(c->r, STR("label"), NULL);
    q->name_re = regex(c->r->arena, q->name);
    q->uri_re = regex(c->r->arena, q->uri);
    read_filter(c, q);
    return read_page(c->r, q);
}

static bool text_matches(const struct re *re, const json_t *v)
{
    return re && json_is_string(v) && re_search(re, json_str(v), 0, NULL);
}

static bool uri_matches(const struct re *re, const json_t *value)
{
    json_t *uris = json_get(value, "uris"), *uri;
    size_t i;

    if (text_matches(re, json_get(value, "uri"))) {
        return true;
    }
    json_array_foreach(uris, i, uri) {
        if (text_matches(re, uri)) {
            return true;
        }
    }
    return false;
}

static bool is_text(const json_t *v, struct str want)
{
    return str_is_none(want) || (json_is_string(v) && str_eq(json_str(v), want));
}

static bool query_matches(const struct query *q, const json_t *value)
{
    if (!str_is_none(q->name) && !text_matches(q->name_re, json_get(value, "name"))) {
        return false;
    }
    if (!str_is_none(q->uri) && !uri_matches(q->uri_re, value)) {
        return false;
    }
    if (!str_is_none(q->label) &&
        !json_object_getn(json_get(value, "labels"), q->label.p, q->label.n)) {
        return false;
    }
    return is_text(json_get(value, "service_id"), q->service_id) &&
           is_text(json_get(value, "upstream_id"), q->upstream_id);
}

/* Those of items that are of the collection itself (not credentials of a consumer) and match. Lets
 * other work in now and then. */
static size_t await_select(const struct query *q, enum object_kind kind, struct arena *a,
                           const struct store_item *items, size_t n, size_t prefix,
                           struct found *out)
{
    size_t found = 0;

    for (size_t i = 0; i < n; i++) {
        if (str_index(str_skip(items[i].key, prefix), '/') >= 0) {
            continue;
        }
        struct arena *work = arena_new(4096);
        json_t *value = stored_value(work, &items[i]);
        secrets_hide(kind, value);
        if (value && query_matches(q, value)) {
            out[found++] = (struct found){.it = &items[i], .text = json_text(a, value)};
        }
        arena_free(work);
        if (i % YIELD_EVERY == YIELD_EVERY - 1 && fiber_yield() != 0) {
            break;
        }
    }
    return found;
}

static int by_creation(const void *x, const void *y)
{
    const struct found *a = x, *b = y;

    return (a->it->created > b->it->created) - (a->it->created < b->it->created);
}

static void add_items(struct buf *out, struct arena *a, const struct found *v, size_t n)
{
    buf_addc(out, '[');
    for (size_t i = 0; i < n; i++) {
        json_t *key = json_of_str(shown_key(a, v[i].it->key));
        buf_add(out, i ? STR(",{\"key\":") : STR("{\"key\":"));
        buf_add(out, json_text(a, key));
        buf_add(out, STR(",\"value\":"));
        buf_add(out, v[i].text);
        buf_printf(out, ",\"createdIndex\":%lld,\"modifiedIndex\":%lld}",
                   (long long)v[i].it->created, (long long)v[i].it->modified);
        json_decref(key);
    }
    buf_addc(out, ']');
}

static void reply_list(struct call *c, const struct found *v, size_t n, size_t total,
                       bool odd_empty)
{
    struct arena *a = c->r->arena;
    struct buf out = BUF_INIT(SIZE_MAX);

    if (admin_deps.settings->admin_v2) {
        buf_printf(&out,
                   "{\"action\":\"get\",\"count\":%zu,\"node\":{\"key\":\"%.*s/"
                   "%.*s\",\"dir\":true,\"nodes\":",
                   total, STR_ARG(admin_deps.settings->etcd_prefix), STR_ARG(c->resource));
        add_items(&out, a, v, n);
        buf_add(&out, STR("}}\n"));
    } else {
        buf_printf(&out, "{\"total\":%zu,\"list\":", total);
        if (odd_empty) {
            buf_add(&out, STR("{}"));
        } else {
            add_items(&out, a, v, n);
        }
        buf_add(&out, STR("}\n"));
    }
    reply_text(c->r, 200, arena_str(a, buf_str(&out)));
    buf_fini(&out);
}

/* The page of n items in *first and *count. */
static void cut_page(const struct query *q, size_t n, size_t *first, size_t *count)
{
    *first = (q->page - 1) * q->page_size;
    *first = *first < n ? *first : n;
    *count = n - *first < q->page_size ? n - *first : q->page_size;
}

void list_await_handle(struct call *c)
{
    struct store *store = admin_deps.store;
    enum object_kind kind = c->face->kind;
    struct arena *a = c->r->arena;
    struct str prefix = store_key(a, kind, c->owner, STR(""));
    struct query q = {0};
    struct store_item *items;
    struct err e = {0};
    size_t n;

    if (!read_query(c, &q)) {
        return;
    }
    int rc = store->ops->await_list(store, prefix, a, &items, &n, &e);
    if (rc != 0) {
        reply_store_error(c->r, rc, &e);
        return;
    }
    /* Collections without a directory key of their own are not there while they are empty. */
    if (n == 0 && kind == K_CREDENTIAL) {
        reply_not_found(c->r);
        return;
    }
    struct found *v = ARENA_ARRAY(a, struct found, n + 1);
    size_t total = await_select(&q, kind, a, items, n, prefix.n, v), first = 0, count = total;
    if (q.paged) {
        qsort(v, total, sizeof(*v), by_creation);
        cut_page(&q, total, &first, &count);
    }
    /* The reference rebuilds these two lists in a way that loses that an empty one is an array. */
    bool odd_empty = total == 0 && n > 0 && (kind == K_SERVICE || kind == K_CONSUMER);
    reply_list(c, v + first, count, total, odd_empty);
}
