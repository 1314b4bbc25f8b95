/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embedded_item: rows with checksums. SQLite notices a broken tree but not a changed byte inside a
 * value, so each item carries a CRC-32 of its content, and the meta row one of the whole.
 */
#include "base/hash.h"
#include "store/embedded_priv.h"

#include <errno.h>

/* Numbers go in byte by byte, so that the sum is the same on any machine. */
static uint32_t sum_numbers(uint32_t crc, const int64_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char bytes[8];
        for (size_t b = 0; b < 8; b++) {
            bytes[b] = (unsigned char)((uint64_t)v[i] >> (8 * b));
        }
        crc = hash_crc32(crc, str_of((const char *)bytes, sizeof(bytes)));
    }
    return crc;
}

uint32_t item_sum(const struct store_item *it)
{
    const int64_t numbers[] = {(int64_t)it->key.n, it->created, it->modified, it->version,
                               it->expires_at};

    return sum_numbers(hash_crc32(hash_crc32(0, it->key), it->value), numbers, 5);
}

uint32_t revision_sum(const struct store_revision *r)
{
    const int64_t numbers[] = {r->revision,
                               r->at,
                               (int64_t)r->author.n,
                               (int64_t)r->key.n,
                               str_is_none(r->before) ? -1 : (int64_t)r->before.n,
                               str_is_none(r->after) ? -1 : (int64_t)r->after.n};
    uint32_t crc = hash_crc32(hash_crc32(0, r->author), r->key);

    return sum_numbers(hash_crc32(hash_crc32(crc, r->before), r->after), numbers, 6);
}

static uint32_t meta_sum(const struct meta *m)
{
    const int64_t numbers[] = {m->revision, m->items, (int64_t)m->digest};

    return sum_numbers(0, numbers, 3);
}

int item_read(sqlite3_stmt *st, struct arena *a, struct store_item *it, struct err *e)
{
    *it = (struct store_item){
        .key = column_str(st, 0, a),
        .value = column_str(st, 1, a),
        .created = sqlite3_column_int64(st, 2),
        .modified = sqlite3_column_int64(st, 3),
        .version = sqlite3_column_int64(st, 4),
        .expires_at = sqlite3_column_int64(st, 5),
    };
    if (sqlite3_column_int64(st, 6) != item_sum(it)) {
        err_set(e, "damaged: item \"%.*s\" does not match its checksum", STR_ARG(it->key));
        return -EIO;
    }
    return 0;
}

int item_get(struct db *db, struct str key, struct arena *a, struct store_item *it, struct err *e)
{
    sqlite3_stmt *st = db_statement(db, SQL_GET, e);

    if (!st) {
        return -EIO;
    }
    bind_str(st, 1, key);
    int rc = db_step(db, st, e);
    if (rc > 0) {
        rc = item_read(st, a, it, e);
    } else if (rc == 0) {
        *it = (struct store_item){.key = key, .value = STR_NONE};
        rc = -ENOENT;
    }
    sqlite3_reset(st);
    return rc;
}

/* The first key after all that start with prefix (no key contains 0xff, which is not UTF-8). */
static struct str prefix_end(struct arena *a, struct str prefix)
{
    return arena_cat(a, prefix, STR("\xff"));
}

int item_list(struct db *db, struct str prefix, struct arena *a, struct store_item **items,
              size_t *n, struct err *e)
{
    sqlite3_stmt *st = db_statement(db, SQL_LIST, e);
    size_t cap = 64;
    int rc;

    if (!st) {
        return -EIO;
    }
    *n = 0;
    *items = ARENA_ARRAY(a, struct store_item, cap);
    bind_str(st, 1, prefix);
    bind_str(st, 2, prefix_end(a, prefix));
    while ((rc = db_step(db, st, e)) > 0) {
        if (*n == cap) {
            struct store_item *old = *items;
            *items = ARENA_ARRAY(a, struct store_item, cap * 2);
            memcpy(*items, old, cap * sizeof(*old));
            cap *= 2;
        }
        rc = item_read(st, a, &(*items)[(*n)++], e);
        if (rc != 0) {
            break;
        }
    }
    sqlite3_reset(st);
    return rc;
}

int meta_read(struct db *db, struct meta *m, struct err *e)
{
    sqlite3_stmt *st = db_statement(db, SQL_META, e);

    if (!st) {
        return -EIO;
    }
    int rc = db_step(db, st, e);
    if (rc > 0) {
        *m = (struct meta){.revision = sqlite3_column_int64(st, 0),
                           .items = sqlite3_column_int64(st, 1),
                           .digest = (uint64_t)sqlite3_column_int64(st, 2)};
        rc = sqlite3_column_int64(st, 3) == meta_sum(m) ? 0 : -EIO;
    } else if (rc == 0) {
        rc = -EIO;
    }
    sqlite3_reset(st);
    if (rc != 0) {
        err_set(e, "damaged: the meta row does not match its checksum");
    }
    return rc;
}

int meta_write(struct db *db, const struct meta *m, struct err *e)
{
    sqlite3_stmt *st = db_statement(db, SQL_SET_META, e);

    if (!st) {
        return -EIO;
    }
    sqlite3_bind_int64(st, 1, m->revision);
    sqlite3_bind_int64(st, 2, m->items);
    sqlite3_bind_int64(st, 3, (int64_t)m->digest);
    sqlite3_bind_int64(st, 4, meta_sum(m));
    return db_run(db, st, e);
}
