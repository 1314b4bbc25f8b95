/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * embedded_priv: what the files of the embedded store share.
 *
 * Two connections to one file: one for writes, used by one helper thread at a time because commits
 * are queued on the control thread; one for reads, behind a lock. In WAL mode neither waits for the
 * other.
 */
#include "base/list.h"
#include "event/await.h"
#include "store/store.h"

#include <pthread.h>
#include <sqlite3.h>

#define STATEMENTS(X)                                                                              \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                    \
    X(COMMIT, "COMMIT")                                                                            \
    X(META, "SELECT revision, items, digest, sum FROM meta WHERE id = 1")                          \
    X(SET_META, "UPDATE meta SET revision = ?1, items = ?2, digest = ?3, sum = ?4 WHERE id = 1")   \
    X(GET,                                                                                         \
      "SELECT key, value, created, modified, version, expires_at, sum FROM items WHERE key = ?1")  \
    X(LIST, "SELECT key, value, created, modified, version, expires_at, sum FROM items"            \
            " WHERE key >= ?1 AND key < ?2 ORDER BY key")                                          \
    X(PUT,                                                                                         \
      "INSERT OR REPLACE INTO items (key, value, created, modified, version, expires_at, sum)"     \
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")                                                      \
    X(DELETE, "DELETE FROM items WHERE key = ?1")                                                  \
    X(ADD_HISTORY, "INSERT INTO history (revision, at, author, key, before, after, sum)"           \
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")                                         \
    X(PRUNE, "DELETE FROM history WHERE revision <= ?1")                                           \
    X(HISTORY, "SELECT revision, at, author, key, before, after, sum FROM history"                 \
               " ORDER BY id DESC LIMIT ?1")                                                       \
    X(HISTORY_OF,                                                                                  \
      "SELECT revision, at, author, key, before, after, sum FROM history WHERE key = ?2"           \
      " ORDER BY id DESC LIMIT ?1")
/* clang-format off */
enum statement {
#define X(id, sql) SQL_##id,
    STATEMENTS(X)
#undef X
    SQL_COUNT
};
/* clang-format on */

/* A connection with its statements, each compiled on first use. */
struct db {
    sqlite3 *h;
    sqlite3_stmt *st[SQL_COUNT];
};

struct embedded {
    struct store s;
    char *path;
    struct db writer, reader;
    pthread_mutex_t read_lock;
    struct list waiting; /* jobs of writes that no commit has taken yet */
    bool committing;
    struct cond settled; /* no commit is under way, and none waits */
    bool away;           /* handed over: nothing is written */
};

/* The single row that vouches for the others: a lost or doubled item shows as a wrong count or
 * digest (the sum of all items' checksums). */
struct meta {
    int64_t revision, items;
    uint64_t digest;
};

static inline struct embedded *embedded_of(struct store *s)
{
    return CONTAINER_OF(s, struct embedded, s);
}

/* ---- embedded_db.c: SQLite in the words of this folder. 0, or a negative errno with e set (may be
 * NULL) ---- */
int db_open(struct db *db, const char *path, bool create, struct err *e);
void db_close(struct db *db);
/* Statements without parameters and results. */
int db_exec(struct db *db, const char *sql, struct err *e);
/* The statement, ready for binding; NULL with e set. Give it back with sqlite3_reset(). */
sqlite3_stmt *db_statement(struct db *db, enum statement id, struct err *e);
/* Run one that gives no row, and reset it. */
int db_run(struct db *db, sqlite3_stmt *st, struct err *e);
/* 1: a row, 0: no more. */
int db_step(struct db *db, sqlite3_stmt *st, struct err *e);
/* Put SQLite's present error into e. */
int db_error(struct db *db, int rc, struct err *e);
void bind_str(sqlite3_stmt *st, int i, struct str s);
/* Column i in arena a; STR_NONE for NULL. */
struct str column_str(sqlite3_stmt *st, int i, struct arena *a);

/* ---- embedded_item.c: rows and their checksums ---- */
uint32_t item_sum(const struct store_item *it);
uint32_t revision_sum(const struct store_revision *r);
/* The item of a row of GET or LIST; -EIO with e set when its checksum does not fit. */
int item_read(sqlite3_stmt *st, struct arena *a, struct store_item *it, struct err *e);
/* 0, -ENOENT, or an error with e. */
int item_get(struct db *db, struct str key, struct arena *a, struct store_item *it, struct err *e);
/* What starts with prefix. */
int item_list(struct db *db, struct str prefix, struct arena *a, struct store_item **items,
              size_t *n, struct err *e);
int meta_read(struct db *db, struct meta *m, struct err *e);
int meta_write(struct db *db, const struct meta *m, struct err *e);

/* ---- embedded_write.c ---- */
int embedded_await_write(struct store *s, const struct store_write *w, size_t n, struct str author,
                         int64_t *revision, struct err *e);
int embedded_await_hand_over(struct store *s, bool away, int64_t deadline);
