/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * store: where the configuration lives. One interface, several homes: embedded (SQLite) here; etcd
 * and files behind the same table later.
 *
 * Used on the control thread, inside fibers. A put or delete is one numbered revision with author,
 * time and the previous value kept; when await_write returns 0, it is on disk. Keys are the
 * reference's, without prefix: "/routes/1", "/consumers/jack/credentials/c1". Values are JSON text.
 */
#include "base/arena.h"
#include "base/err.h"

struct store;

struct store_item {
    struct str key, value;
    int64_t created, modified; /* revisions; 0: does not exist */
    int64_t version;           /* writes since it was created, from 1 */
    int64_t expires_at; /* unix seconds, 0: never. Whoever uses the store deletes what is over */
};

/* One step of a write; all of one call are one revision. */
struct store_write {
    struct str key;
    struct str value;    /* STR_NONE: delete; deleting what is not there changes nothing */
    int64_t if_modified; /* -1: always; 0: only if absent; n: only if its modified revision is n */
    int64_t expires_at;  /* unix seconds, 0: never (ttl) */
};

struct store_ops {
    /* All items in key order. Texts in arena a. For the start and for a reload: does not
     * park. 0, or -EIO with e set. */
    int (*load)(struct store *s, struct arena *a, struct store_item **items, size_t *n,
                int64_t *revision, struct err *e);
    /* 0 and *revision; -EAGAIN: a condition did not hold (nothing was written); -ENOSPC, -EIO with
     * e set: nothing was written. Parks; a cancelled fiber waits for the outcome all the same. */
    int (*await_write)(struct store *s, const struct store_write *w, size_t n, struct str author,
                       int64_t *revision, struct err *e);
    /* One item, what has been written before the call included. Texts in arena a. 0, -ENOENT, or
     * another error with e set. Parks. */
    int (*await_get)(struct store *s, struct str key, struct arena *a, struct store_item *out,
                     struct err *e);
    /* All items whose key starts with prefix, in key order. Parks. */
    int (*await_list)(struct store *s, struct str prefix, struct arena *a,
                      struct store_item **items, size_t *n, struct err *e);
    /* Another process is about to use the store (true): writes are refused with -EROFS from now on.
     * Parks until those under way have ended: 0; -ETIMEDOUT. Or it is not (false). */
    int (*await_hand_over)(struct store *s, bool away, int64_t deadline);
    void (*close)(struct store *s);
};
struct store {
    const struct store_ops *ops;
    int64_t revision; /* the newest */
};

/* The embedded store in dir/weir.db (made when absent, mode 0600). SQLite, WAL, synchronous=FULL;
 * commits run on a helper thread, several waiting writes share one commit. NULL with e set; a
 * damaged file is refused by name. */
struct store *store_open_embedded(const char *dir, struct err *e);

/* ---- history (embedded) ---- */
struct store_revision {
    int64_t revision, at;                  /* unix seconds */
    struct str author, key, before, after; /* STR_NONE: absent */
};
/* The newest `limit` revisions of key (STR_NONE: of all), newest first. The last STORE_HISTORY
 * revisions are kept. */
#define STORE_HISTORY 100000
int store_await_history(struct store *s, struct str key, size_t limit, struct arena *a,
                        struct store_revision **out, size_t *n, struct err *e);
