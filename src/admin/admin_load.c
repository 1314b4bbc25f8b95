/* SPDX-License-Identifier: Apache-2.0 */
/* admin_load: what the store holds, as the first changes of the live configuration. */
#include "admin/admin_priv.h"
#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>

/* What others refer to comes first, so that nothing has to be built twice. */
static const int load_order[K_COUNT] = {
    [K_PLUGIN_METADATA] = 0, [K_UPSTREAM] = 1,   [K_PLUGIN_CONFIG] = 2, [K_CONSUMER_GROUP] = 3,
    [K_CONSUMER] = 4,        [K_CREDENTIAL] = 5, [K_GLOBAL_RULE] = 6,   [K_SERVICE] = 7,
    [K_ROUTE] = 8,           [K_SSL] = 0,        [K_PROTO] = 0,
};

static int by_load_order(const void *x, const void *y)
{
    const struct change *a = x, *b = y;
    int order = load_order[a->kind] - load_order[b->kind];

    /* qsort() is not stable: the same kind stays in the order of keys. */
    return order != 0 ? order : str_cmp(a->id, b->id);
}

/* False when the item is none of ours or cannot be read; said in the log. */
static bool read_change(struct arena *a, const struct store_item *it, struct change *c)
{
    *c = (struct change){.created_index = it->created, .modified_index = it->modified};
    if (!object_of_key(it->key, &c->kind, &c->id)) {
        LOG(WARN, "admin: stored object %.*s is of a kind this version does not know: left alone",
            STR_ARG(it->key));
        return false;
    }
    c->value = stored_value(a, it);
    if (c->value) {
        secrets_decrypt_keys(c->kind, c->value);
    }
    return c->value != NULL;
}

int admin_load(int (*apply)(const struct change *changes, size_t n), struct err *e)
{
    struct store *store = admin_deps.store;
    struct arena *a = arena_new(1 << 16);
    struct store_item *items = NULL;
    size_t n = 0, count = 0;
    int64_t revision;
    int rc = store->ops->load(store, a, &items, &n, &revision, e);

    if (rc == 0) {
        struct change *changes = ARENA_ARRAY(a, struct change, n + 1);
        for (size_t i = 0; i < n; i++) {
            if (items[i].expires_at) {
                ttl_add(items[i].key, items[i].modified, items[i].expires_at);
            }
            bool is_over = items[i].expires_at && items[i].expires_at <= wall_us() / 1000000;
            count += !is_over && read_change(a, &items[i], &changes[count]);
        }
        qsort(changes, count, sizeof(*changes), by_load_order);
        rc = apply(changes, count);
        if (rc != 0) {
            err_set(e, "cannot apply the stored configuration");
        }
    }
    arena_free(a);
    return rc == 0 ? 0 : -1;
}
