/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error-page: pages of one's own for errors the gateway answers with. They are in the plugin's
 * metadata; where the plugin is named (a route, a global rule) says only whose errors.
 *
 * Answers of upstreams stay as they are, and as in the reference so do those that stand for a
 * failed try: each has an upstream status.
 */
#include "plugin/plugin.h"

struct page {
    bool present;
    struct str body, content_type;
};
struct error_page_metadata {
    bool enable;
    struct page error_404, error_500, error_502, error_503;
};

#define DEFAULT_PAGE(title)                                                                        \
    "\"<html>\\n<head><title>" title "</title></head>\\n<body>\\n<center><h1>" title               \
    "</h1></center>\\n<hr><center>Apache APISIX</center>\\n</body>\\n</html>\""
#define PAGE_FIELDS(title)                                                                         \
    F_STR(struct page, body, .def = DEFAULT_PAGE(title),                                           \
          .doc = "The page; empty: the usual one."),                                               \
        F_STR(struct page, content_type, .def = JSON("text/html"), .doc = "Its Content-Type."),    \
        F_END
static const struct field page_404[] = {PAGE_FIELDS("404 Not Found")};
static const struct field page_500[] = {PAGE_FIELDS("500 Internal Server Error")};
static const struct field page_502[] = {PAGE_FIELDS("502 Bad Gateway")};
static const struct field page_503[] = {PAGE_FIELDS("503 Service Unavailable")};

#define PAGE(status)                                                                               \
    F_OBJ(struct error_page_metadata, error_##status, page_##status,                               \
          .present = offsetof(struct error_page_metadata, error_##status.present),                 \
          .doc = "Instead of the page for " #status ".")
static const struct field error_page_metadata_fields[] = {
    F_BOOL(struct error_page_metadata, enable, .def = "false", .doc = "Use the pages below."),
    PAGE(404),
    PAGE(500),
    PAGE(502),
    PAGE(503),
    F_END,
};

extern const struct plugin error_page_plugin;

static const struct page *page_for(const struct error_page_metadata *m, int status)
{
    switch (status) {
    case 404:
        return &m->error_404;
    case 500:
        return &m->error_500;
    case 502:
        return &m->error_502;
    case 503:
        return &m->error_503;
    default:
        return NULL;
    }
}

static void error_page_header_filter(struct req *r, const void *conf)
{
    const struct error_page_metadata *m = plugin_metadata(r, &error_page_plugin);
    const struct page *page = m->enable && r->n_tries == 0 ? page_for(m, r->resp.status) : NULL;
    if (page && page->present && page->body.n > 0) {
        req_ctx_set(r, &error_page_plugin, (void *)(uintptr_t)page);
        headers_set_id(&r->resp.headers, H_CONTENT_TYPE, page->content_type);
        r->resp.length = (int64_t)page->body.n; /* of an answer to HEAD too */
    }
}

static void error_page_body_filter(struct req *r, const void *conf, struct body_run *b)
{
    const struct page *page = req_ctx_get(r, &error_page_plugin);
    if (page) {
        b->data = page->body;
    }
}

const struct plugin error_page_plugin = {
    .name = "error-page",
    .priority = 450,
    .version = "0.1",
    .off_by_default = true,
    .schema_raw = "{}",
    .metadata_size = sizeof(struct error_page_metadata),
    .metadata_fields = error_page_metadata_fields,
    .header_filter = error_page_header_filter,
    .body_filter = error_page_body_filter,
};
