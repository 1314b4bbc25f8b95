/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embedded: the store in one SQLite file: opening, reading, history. embedded_write.c has the
 * commits.
 *
 * The file is made under another name and renamed when complete, so a weir.db that is empty or half
 * is always damage, never a fresh start: a gateway must not come up without its routes because a
 * file was cut.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "event/await.h"
#include "store/embedded_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FORMAT = 1, APPLICATION = 0x57656972 /* "Weir", for file(1) */ };

static const char schema[] =
    "CREATE TABLE items (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL,"
    " created INTEGER NOT NULL, modified INTEGER NOT NULL, version INTEGER NOT NULL,"
    " expires_at INTEGER NOT NULL, sum INTEGER NOT NULL);"
    "CREATE TABLE history (id INTEGER PRIMARY KEY, revision INTEGER NOT NULL,"
    " at INTEGER NOT NULL, author TEXT NOT NULL, key TEXT NOT NULL, before TEXT, after TEXT,"
    " sum INTEGER NOT NULL);"
    "CREATE INDEX history_key ON history (key);"
    "CREATE INDEX history_revision ON history (revision);"
    "CREATE TABLE meta (id INTEGER PRIMARY KEY, revision INTEGER NOT NULL,"
    " items INTEGER NOT NULL, digest INTEGER NOT NULL, sum INTEGER NOT NULL);"
    "INSERT INTO meta VALUES (1, 0, 0, 0, 0);";

/* ---- making a new file ---- */

static int sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? -errno : 0;

    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

static int fill_new(struct db *db, const char *path, struct err *e)
{
    char sql[160];
    const struct meta empty = {0};

    snprintf(sql, sizeof(sql),
             "PRAGMA application_id = %d; PRAGMA user_version = %d; PRAGMA journal_mode = WAL",
             APPLICATION, FORMAT);
    int rc = db_open(db, path, true, e);
    if (rc == 0) {
        rc = db_exec(db, sql, e);
    }
    if (rc == 0) {
        rc = db_exec(db, "BEGIN", e);
    }
    if (rc == 0) {
        rc = db_exec(db, schema, e);
    }
    if (rc == 0) {
        rc = meta_write(db, &empty, e);
    }
    if (rc == 0) {
        rc = db_exec(db, "COMMIT", e);
    }
    /* Closing the only connection moves everything into the one file. */
    db_close(db);
    return rc;
}

static int make_file(const char *dir, const char *path, struct err *e)
{
    char fresh[PATH_MAX];
    struct db db = {0};

    snprintf(fresh, sizeof(fresh), "%s.new", path);
    unlink(fresh);
    /* SQLite gives its journal the mode of the file. */
    int fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_set(e, "cannot make it: %s", strerror(errno));
    }
    close(fd);
    if (fill_new(&db, fresh, e) != 0) {
        unlink(fresh);
        return -1;
    }
    if (rename(fresh, path) != 0 || sync_dir(dir) != 0) {
        return err_set(e, "cannot rename %s: %s", fresh, strerror(errno));
    }
    return 0;
}

/* Make the file when there is none. One that is empty, or a journal without its file, is not
 * "none". */
static int find_or_make(const char *dir, const char *path, struct err *e)
{
    char journal[PATH_MAX];

    if (access(path, F_OK) == 0) {
        return 0;
    }
    if (errno != ENOENT) {
        return err_set(e, "%s", strerror(errno));
    }
    snprintf(journal, sizeof(journal), "%s-wal", path);
    if (access(journal, F_OK) == 0) {
        return err_set(e, "the file is gone but its journal %s is there", journal);
    }
    return make_file(dir, path, e);
}

/* ---- checking an old one ---- */

/* The first value of the first row in out, "" when there is none. */
static int query_text(struct db *db, const char *sql, char *out, size_t room, struct err *e)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db->h, sql, -1, &st, NULL);

    if (rc != SQLITE_OK) {
        return db_error(db, rc, e);
    }
    rc = db_step(db, st, e);
    const char *text = rc > 0 ? (const char *)sqlite3_column_text(st, 0) : NULL;
    snprintf(out, room, "%s", text ? text : "");
    sqlite3_finalize(st);
    return rc < 0 ? rc : 0;
}

static int check_file(struct db *db, struct meta *m, struct err *e)
{
    char text[256];

    if (query_text(db, "PRAGMA application_id", text, sizeof(text), e) != 0) {
        return -1;
    }
    if (atoi(text) != APPLICATION) {
        return err_set(e, "not a store of weir");
    }
    if (query_text(db, "PRAGMA user_version", text, sizeof(text), e) != 0) {
        return -1;
    }
    if (atoi(text) != FORMAT) {
        return err_set(e, "format %s, this version knows %d", text, FORMAT);
    }
    if (query_text(db, "PRAGMA quick_check(1)", text, sizeof(text), e) != 0) {
        return -1;
    }
    if (strcmp(text, "ok") != 0) {
        return err_set(e, "damaged: %s", text);
    }
    return meta_read(db, m, e);
}

static int open_both(struct embedded *db, struct meta *m, struct err *e)
{
    if (db_open(&db->writer, db->path, false, e) != 0 || check_file(&db->writer, m, e) != 0) {
        return -1;
    }
    if (db_open(&db->reader, db->path, false, e) != 0) {
        return -1;
    }
    return db_exec(&db->reader, "PRAGMA query_only = ON", e);
}

/* ---- reading ---- */

/* A read for a helper thread. */
struct read_call {
    struct embedded *db;
    struct str key;
    struct arena *a;
    struct err *e;
    struct store_item *item, *items;
    struct store_revision *revisions;
    size_t n, limit;
    int rc;
};

static void read_item(void *arg)
{
    struct read_call *c = arg;

    pthread_mutex_lock(&c->db->read_lock);
    c->rc = item_get(&c->db->reader, c->key, c->a, c->item, c->e);
    pthread_mutex_unlock(&c->db->read_lock);
}

static void read_items(void *arg)
{
    struct read_call *c = arg;

    pthread_mutex_lock(&c->db->read_lock);
    c->rc = item_list(&c->db->reader, c->key, c->a, &c->items, &c->n, c->e);
    pthread_mutex_unlock(&c->db->read_lock);
}

static int embedded_await_get(struct store *s, struct str key, struct arena *a,
                              struct store_item *out, struct err *e)
{
    struct read_call c = {.db = embedded_of(s), .key = key, .a = a, .item = out, .e = e};
    int rc = await_offload(read_item, &c);

    return rc != 0 ? rc : c.rc;
}

static int embedded_await_list(struct store *s, struct str prefix, struct arena *a,
                               struct store_item **items, size_t *n, struct err *e)
{
    struct read_call c = {.db = embedded_of(s), .key = prefix, .a = a, .e = e};
    int rc = await_offload(read_items, &c);

    *items = c.items;
    *n = c.n;
    return rc != 0 ? rc : c.rc;
}

/* The items and what vouches for them, both as of one moment: others may be writing. */
static int read_all(struct db *db, struct meta *m, struct arena *a, struct store_item **items,
                    size_t *n, struct err *e)
{
    int rc = db_exec(db, "BEGIN", e);

    if (rc != 0) {
        return rc;
    }
    rc = meta_read(db, m, e);
    if (rc == 0) {
        rc = item_list(db, STR(""), a, items, n, e);
    }
    sqlite3_exec(db->h, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static int embedded_load(struct store *s, struct arena *a, struct store_item **items, size_t *n,
                         int64_t *revision, struct err *e)
{
    struct embedded *db = embedded_of(s);
    struct meta m = {0};
    uint64_t digest = 0;

    pthread_mutex_lock(&db->read_lock);
    int rc = read_all(&db->reader, &m, a, items, n, e);
    pthread_mutex_unlock(&db->read_lock);
    for (size_t i = 0; rc == 0 && i < *n; i++) {
        digest += item_sum(&(*items)[i]);
    }
    if (rc == 0 && ((int64_t)*n != m.items || digest != m.digest)) {
        err_set(e, "damaged: %zu items where %lld were written", *n, (long long)m.items);
        rc = -EIO;
    }
    if (rc != 0) {
        err_prefix(e, "store %s: ", db->path);
    }
    *revision = m.revision;
    return rc;
}

/* ---- history ---- */

static int read_revision(sqlite3_stmt *st, struct arena *a, struct store_revision *r, struct err *e)
{
    *r = (struct store_revision){
        .revision = sqlite3_column_int64(st, 0),
        .at = sqlite3_column_int64(st, 1),
        .author = column_str(st, 2, a),
        .key = column_str(st, 3, a),
        .before = column_str(st, 4, a),
        .after = column_str(st, 5, a),
    };
    if (sqlite3_column_int64(st, 6) == revision_sum(r)) {
        return 0;
    }
    err_set(e, "damaged: history of revision %lld does not match its checksum",
            (long long)r->revision);
    return -EIO;
}

static int list_history(struct read_call *c)
{
    struct db *db = &c->db->reader;
    sqlite3_stmt *st = db_statement(db, str_is_none(c->key) ? SQL_HISTORY : SQL_HISTORY_OF, c->e);
    int rc;

    if (!st) {
        return -EIO;
    }
    c->revisions = ARENA_ARRAY(c->a, struct store_revision, c->limit ? c->limit : 1);
    sqlite3_bind_int64(st, 1, (sqlite3_int64)c->limit);
    if (!str_is_none(c->key)) {
        bind_str(st, 2, c->key);
    }
    while ((rc = db_step(db, st, c->e)) > 0) {
        rc = read_revision(st, c->a, &c->revisions[c->n++], c->e);
        if (rc != 0) {
            break;
        }
    }
    sqlite3_reset(st);
    return rc;
}

static void read_history(void *arg)
{
    struct read_call *c = arg;

    pthread_mutex_lock(&c->db->read_lock);
    c->rc = list_history(c);
    pthread_mutex_unlock(&c->db->read_lock);
}

int store_await_history(struct store *s, struct str key, size_t limit, struct arena *a,
                        struct store_revision **out, size_t *n, struct err *e)
{
    struct read_call c = {.db = embedded_of(s), .key = key, .a = a, .e = e, .limit = limit};
    int rc = await_offload(read_history, &c);

    *out = c.revisions;
    *n = c.n;
    return rc != 0 ? rc : c.rc;
}

/* ---- open and close ---- */

static void embedded_close(struct store *s)
{
    struct embedded *db = embedded_of(s);

    db_close(&db->reader);
    db_close(&db->writer);
    pthread_mutex_destroy(&db->read_lock);
    free(db->path);
    free(db);
}

static const struct store_ops embedded_ops = {
    .load = embedded_load,
    .await_write = embedded_await_write,
    .await_get = embedded_await_get,
    .await_list = embedded_await_list,
    .await_hand_over = embedded_await_hand_over,
    .close = embedded_close,
};

struct store *store_open_embedded(const char *dir, struct err *e)
{
    struct embedded *db = mem_alloc(sizeof(*db));
    size_t room = strlen(dir) + sizeof("/weir.db");
    struct meta m = {0};

    db->s.ops = &embedded_ops;
    db->path = mem_alloc(room);
    snprintf(db->path, room, "%s/weir.db", dir);
    pthread_mutex_init(&db->read_lock, NULL);
    list_init(&db->waiting);
    cond_init(&db->settled);
    if (find_or_make(dir, db->path, e) != 0 || open_both(db, &m, e) != 0) {
        err_prefix(e, "store %s: ", db->path);
        embedded_close(&db->s);
        return NULL;
    }
    db->s.revision = m.revision;
    return &db->s;
}
