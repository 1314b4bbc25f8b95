/* SPDX-License-Identifier: Apache-2.0 */
/* admin_write: every change of the configuration goes through here: store, live configuration,
 * audit line. */
#include "admin/admin_priv.h"
#include "base/log.h"
#include "fiber/fiber.h"

#include <errno.h>

/* Put n stored edits in force. What the store has and the cores do not is worth an error line: the
 * next start would differ from now. */
static void await_publish(const struct edit *edits, size_t n, int64_t revision)
{
    struct arena *a = arena_new(1024);
    struct change *changes = ARENA_ARRAY(a, struct change, n);

    for (size_t i = 0; i < n; i++) {
        changes[i].value = edits[i].value;
        changes[i].created_index = edits[i].created ? edits[i].created : revision;
        changes[i].modified_index = revision;
        object_of_key(edits[i].write.key, &changes[i].kind, &changes[i].id);
    }
    int rc = admin_deps.await_publish(changes, n);
    if (rc != 0) {
        LOG(ERROR, "admin: revision %lld is stored but not in force: %s", (long long)revision,
            strerror(-rc));
    }
    arena_free(a);
}

int await_edit(const struct edit *edits, size_t n, struct str who, struct str from,
               const char *what, int64_t *revision, struct err *e)
{
    struct arena *a = arena_new(1024);
    struct store_write *w = ARENA_ARRAY(a, struct store_write, n);
    struct store *store = admin_deps.store;

    for (size_t i = 0; i < n; i++) {
        w[i] = edits[i].write;
    }
    fiber_shield(true);
    int rc = store->ops->await_write(store, w, n, who, revision, e);
    if (rc == 0) {
        /* Before the next await, so that revisions come into force in their order. */
        LOG(NOTICE, "admin: %s %.*s by %.*s from %.*s, revision %lld", what,
            STR_ARG(edits[0].write.key), STR_ARG(who), STR_ARG(from), (long long)*revision);
        await_publish(edits, n, *revision);
    }
    fiber_shield(false);
    if (rc != 0 && rc != -EAGAIN && rc != -EROFS) {
        LOG_RATE(ERROR, "admin: cannot store %s %.*s: %s", what, STR_ARG(edits[0].write.key),
                 e->msg);
    }
    arena_free(a);
    return rc;
}

/* The credentials of a consumer go with it. */
static int await_list_owned(struct arena *a, struct str key, struct store_item **items, size_t *n,
                            struct err *e)
{
    struct store *store = admin_deps.store;
    enum object_kind kind;
    struct str id;

    *n = 0;
    if (!object_of_key(key, &kind, &id) || kind != K_CONSUMER) {
        return 0;
    }
    return store->ops->await_list(store, arena_cat(a, key, STR("/credentials/")), a, items, n, e);
}

int await_delete(struct arena *a, struct str key, int64_t if_modified, struct str who,
                 struct str from, struct err *e)
{
    struct store_item *owned = NULL;
    size_t n = 0;
    int64_t revision;
    int rc = await_list_owned(a, key, &owned, &n, e);

    if (rc != 0) {
        return rc;
    }
    struct edit *edits = ARENA_ARRAY(a, struct edit, n + 1);
    edits[0].write =
        (struct store_write){.key = key, .value = STR_NONE, .if_modified = if_modified};
    for (size_t i = 0; i < n; i++) {
        edits[i + 1].write =
            (struct store_write){.key = owned[i].key, .value = STR_NONE, .if_modified = -1};
    }
    return await_edit(edits, n + 1, who, from, "DELETE", &revision, e);
}
