/* SPDX-License-Identifier: Apache-2.0 */
/* embedded_db: SQLite connections and statements, with this program's error habits. */
#include "store/embedded_priv.h"

#include <errno.h>

static const char *const statement_sql[] = {
#define X(id, sql) [SQL_##id] = sql,
    STATEMENTS(X)
#undef X
};

static const char settings[] =
    "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA synchronous = FULL;"
    "PRAGMA journal_size_limit = 16777216";

int db_error(struct db *db, int rc, struct err *e)
{
    int primary = rc & 0xff;
    int system = db->h ? sqlite3_system_errno(db->h) : 0;
    bool is_full = primary == SQLITE_FULL ||
                   (primary == SQLITE_IOERR && (system == ENOSPC || system == EDQUOT));

    if (e && is_full) {
        err_set(e, "no space left for the store");
    } else if (e) {
        err_set(e, "%s", db->h ? sqlite3_errmsg(db->h) : sqlite3_errstr(rc));
    }
    return is_full ? -ENOSPC : -EIO;
}

int db_exec(struct db *db, const char *sql, struct err *e)
{
    int rc = sqlite3_exec(db->h, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : db_error(db, rc, e);
}

int db_open(struct db *db, const char *path, bool create, struct err *e)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
    int rc = sqlite3_open_v2(path, &db->h, flags, NULL);

    if (rc != SQLITE_OK) {
        return db_error(db, rc, e);
    }
    sqlite3_extended_result_codes(db->h, 1);
    sqlite3_db_config(db->h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    /* Somebody may be looking into the file with another program. */
    sqlite3_busy_timeout(db->h, 5000);
    return db_exec(db, settings, e);
}

void db_close(struct db *db)
{
    for (size_t i = 0; i < SQL_COUNT; i++) {
        sqlite3_finalize(db->st[i]);
        db->st[i] = NULL;
    }
    sqlite3_close(db->h);
    db->h = NULL;
}

sqlite3_stmt *db_statement(struct db *db, enum statement id, struct err *e)
{
    if (!db->st[id]) {
        int rc = sqlite3_prepare_v3(db->h, statement_sql[id], -1, SQLITE_PREPARE_PERSISTENT,
                                    &db->st[id], NULL);
        if (rc != SQLITE_OK) {
            db_error(db, rc, e);
            return NULL;
        }
    }
    sqlite3_clear_bindings(db->st[id]);
    return db->st[id];
}

int db_step(struct db *db, sqlite3_stmt *st, struct err *e)
{
    int rc = sqlite3_step(st);

    if (rc == SQLITE_ROW) {
        return 1;
    }
    if (rc == SQLITE_DONE) {
        return 0;
    }
    int error = db_error(db, rc, e);
    sqlite3_reset(st);
    return error;
}

int db_run(struct db *db, sqlite3_stmt *st, struct err *e)
{
    int rc = db_step(db, st, e);

    sqlite3_reset(st);
    return rc;
}

void bind_str(sqlite3_stmt *st, int i, struct str s)
{
    if (str_is_none(s)) {
        sqlite3_bind_null(st, i);
    } else {
        sqlite3_bind_text64(st, i, s.p, s.n, SQLITE_STATIC, SQLITE_UTF8);
    }
}

struct str column_str(sqlite3_stmt *st, int i, struct arena *a)
{
    const char *p = (const char *)sqlite3_column_text(st, i);

    return p ? arena_str(a, str_of(p, (size_t)sqlite3_column_bytes(st, i))) : STR_NONE;
}
