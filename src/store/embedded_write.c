/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embedded_write: group commit. The first fiber that wants to write takes all writes that wait, has
 * a helper thread commit them in one transaction, and hands out the results; writes that arrive
 * meanwhile go into the next one. Each write keeps its own revision and its own conditions, as if
 * it had been alone, in the order of arrival.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "event/await.h"
#include "fiber/fiber.h"
#include "store/embedded_priv.h"

#include <errno.h>
#include <stdlib.h>

enum { BATCH_MAX = 512, PRUNE_EVERY = 256 };

/* One await_write(), on its fiber's stack. */
struct job {
    struct list link;
    const struct store_write *w;
    size_t n;
    struct str author;
    int64_t at, revision;
    struct err *e;
    int rc;
    bool done, leads;
    struct cond changed; /* done or leads has become true */
};

struct batch {
    struct embedded *db;
    struct job *jobs[BATCH_MAX];
    size_t n;
    int64_t revision; /* of the file after the commit */
};

/* ---- on the helper thread ---- */

/* 0 when the condition holds, -EAGAIN when not. */
static int check_condition(struct db *db, const struct store_write *w, struct arena *a,
                           struct err *e)
{
    struct store_item old;

    if (w->if_modified < 0) {
        return 0;
    }
    int rc = item_get(db, w->key, a, &old, e);
    if (rc != 0 && rc != -ENOENT) {
        return rc;
    }
    return old.modified == w->if_modified ? 0 : -EAGAIN;
}

static int add_history(struct db *db, const struct job *j, struct str key, struct str before,
                       struct str after)
{
    sqlite3_stmt *st = db_statement(db, SQL_ADD_HISTORY, j->e);

    const struct store_revision r = {.revision = j->revision,
                                     .at = j->at,
                                     .author = j->author,
                                     .key = key,
                                     .before = before,
                                     .after = after};

    if (!st) {
        return -EIO;
    }
    sqlite3_bind_int64(st, 1, r.revision);
    sqlite3_bind_int64(st, 2, r.at);
    bind_str(st, 3, r.author);
    bind_str(st, 4, r.key);
    bind_str(st, 5, r.before);
    bind_str(st, 6, r.after);
    sqlite3_bind_int64(st, 7, revision_sum(&r));
    return db_run(db, st, j->e);
}

static int put_item(struct db *db, const struct store_item *it, struct err *e)
{
    sqlite3_stmt *st = db_statement(db, SQL_PUT, e);

    if (!st) {
        return -EIO;
    }
    bind_str(st, 1, it->key);
    bind_str(st, 2, it->value);
    sqlite3_bind_int64(st, 3, it->created);
    sqlite3_bind_int64(st, 4, it->modified);
    sqlite3_bind_int64(st, 5, it->version);
    sqlite3_bind_int64(st, 6, it->expires_at);
    sqlite3_bind_int64(st, 7, item_sum(it));
    return db_run(db, st, e);
}

static int delete_item(struct db *db, struct str key, struct err *e)
{
    sqlite3_stmt *st = db_statement(db, SQL_DELETE, e);

    if (!st) {
        return -EIO;
    }
    bind_str(st, 1, key);
    return db_run(db, st, e);
}

/* One step of j, with its line of history. */
static int apply_step(struct db *db, const struct job *j, const struct store_write *w,
                      struct meta *m, struct arena *a)
{
    struct store_item old;
    int rc = item_get(db, w->key, a, &old, j->e);
    bool is_new = rc == -ENOENT;

    if (rc != 0 && !is_new) {
        return rc;
    }
    if (!is_new) {
        m->items--;
        m->digest -= item_sum(&old);
    }
    if (str_is_none(w->value)) {
        rc = is_new ? 0 : delete_item(db, w->key, j->e);
    } else {
        const struct store_item it = {
            .key = w->key,
            .value = w->value,
            .created = is_new ? j->revision : old.created,
            .modified = j->revision,
            .version = is_new ? 1 : old.version + 1,
            .expires_at = w->expires_at,
        };
        m->items++;
        m->digest += item_sum(&it);
        rc = put_item(db, &it, j->e);
    }
    if (rc != 0 || (is_new && str_is_none(w->value))) {
        return rc;
    }
    return add_history(db, j, w->key, old.value, w->value);
}

/* All of one write. 0, -EAGAIN, or an error that ends the transaction. */
static int apply_job(struct db *db, struct job *j, struct meta *m, struct arena *a)
{
    int rc = 0;

    for (size_t i = 0; i < j->n && rc == 0; i++) {
        rc = check_condition(db, &j->w[i], a, j->e);
    }
    if (rc != 0) {
        return rc;
    }
    j->revision = ++m->revision;
    for (size_t i = 0; i < j->n && rc == 0; i++) {
        rc = apply_step(db, j, &j->w[i], m, a);
    }
    return rc;
}

static int run(struct db *db, enum statement id, int64_t arg, bool has_arg, struct err *e)
{
    sqlite3_stmt *st = db_statement(db, id, e);

    if (!st) {
        return -EIO;
    }
    if (has_arg) {
        sqlite3_bind_int64(st, 1, arg);
    }
    return db_run(db, st, e);
}

static int finish(struct db *db, const struct meta *m, int64_t before, struct err *e)
{
    int rc = meta_write(db, m, e);

    if (rc == 0 && m->revision / PRUNE_EVERY != before / PRUNE_EVERY) {
        rc = run(db, SQL_PRUNE, m->revision - STORE_HISTORY, true, e);
    }
    return rc == 0 ? run(db, SQL_COMMIT, 0, false, e) : rc;
}

/* One transaction for jobs[0..n). 0 when it is on disk (each job has its rc), else an error, and
 * nothing has changed. */
static int commit_jobs(struct batch *b, struct job **jobs, size_t n, struct err *e)
{
    struct db *db = &b->db->writer;
    struct arena *a = arena_new(16384);
    struct meta m = {0};
    int rc = run(db, SQL_BEGIN, 0, false, e);

    if (rc == 0) {
        rc = meta_read(db, &m, e);
    }
    int64_t before = m.revision;
    for (size_t i = 0; i < n && rc == 0; i++) {
        jobs[i]->rc = apply_job(db, jobs[i], &m, a);
        if (jobs[i]->rc != 0 && jobs[i]->rc != -EAGAIN) {
            rc = jobs[i]->rc;
            err_set(e, "%s", jobs[i]->e->msg);
        }
    }
    if (rc == 0) {
        rc = finish(db, &m, before, e);
    }
    if (!sqlite3_get_autocommit(db->h)) {
        sqlite3_exec(db->h, "ROLLBACK", NULL, NULL, NULL);
    }
    if (rc == 0) {
        b->revision = m.revision;
    }
    arena_free(a);
    return rc;
}

static void commit_alone(struct batch *b, struct job *j)
{
    struct err e = {0};
    int rc = commit_jobs(b, &j, 1, &e);

    if (rc != 0) {
        j->rc = rc;
        *j->e = e;
    }
}

/* offload: commit the batch; when that fails each write is tried alone, so that a bad one (too
 * large for the disk) does not take the others along. */
static void commit_batch(void *arg)
{
    struct batch *b = arg;
    struct err e = {0};

    if (b->n > 1 && commit_jobs(b, b->jobs, b->n, &e) == 0) {
        return;
    }
    for (size_t i = 0; i < b->n; i++) {
        *b->jobs[i]->e = (struct err){0};
        commit_alone(b, b->jobs[i]);
    }
}

/* ---- on the control thread ---- */

static void take_batch(struct batch *b)
{
    struct list *l;

    while (b->n < BATCH_MAX && (l = list_pop(&b->db->waiting)) != NULL) {
        b->jobs[b->n++] = CONTAINER_OF(l, struct job, link);
    }
}

/* Commit what waits (the caller's own write is the first of it), then let the next in line lead. */
static void await_commit(struct embedded *db)
{
    /* On the heap: fibers have small stacks. */
    struct batch *b = mem_alloc(sizeof(*b));

    b->db = db;
    take_batch(b);
    await_offload(commit_batch, b);
    if (b->revision > db->s.revision) {
        db->s.revision = b->revision;
    }
    for (size_t i = 0; i < b->n; i++) {
        b->jobs[i]->done = true;
        cond_signal(&b->jobs[i]->changed);
    }
    db->committing = !list_is_empty(&db->waiting);
    if (db->committing) {
        struct job *next = CONTAINER_OF(db->waiting.next, struct job, link);
        next->leads = true;
        cond_signal(&next->changed);
    } else {
        cond_broadcast(&db->settled);
    }
    free(b);
}

int embedded_await_write(struct store *s, const struct store_write *w, size_t n, struct str author,
                         int64_t *revision, struct err *e)
{
    struct embedded *db = embedded_of(s);
    struct job j = {.w = w, .n = n, .author = author, .at = wall_us() / 1000000, .e = e};

    if (db->away) {
        err_set(e, "another process is taking over the store, try again in a moment");
        return -EROFS;
    }
    cond_init(&j.changed);
    list_add_tail(&db->waiting, &j.link);
    /* A write that has begun must be known to have happened or not. */
    fiber_shield(true);
    if (!db->committing) {
        db->committing = j.leads = true;
    }
    while (!j.done && !j.leads) {
        await_cond(&j.changed, NEVER);
    }
    if (!j.done) {
        await_commit(db);
    }
    fiber_shield(false);
    ASSERT(j.done);
    *revision = j.revision;
    return j.rc;
}

int embedded_await_hand_over(struct store *s, bool away, int64_t deadline)
{
    struct embedded *db = embedded_of(s);
    int rc = 0;

    db->away = away;
    while (rc == 0 && away && db->committing) {
        rc = await_cond(&db->settled, deadline);
    }
    return rc;
}
