/* SPDX-License-Identifier: Apache-2.0 */
/* map: linear probing; a removed key leaves a mark until the next time the table is rebuilt. */
#include "base/map.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>

enum { CAP_MIN = 8 };

/* key NULL: free, or the mark of a removed key when value is not NULL. */
struct map_slot {
    uint64_t hash;
    char *key;
    size_t key_n;
    void *value;
};

/* A removed key's slot; any pointer that is not NULL serves. */
static void slot_kill(struct map_slot *s)
{
    free(s->key);
    *s = (struct map_slot){.value = s};
}

void map_fini(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++) {
        free(m->slots[i].key);
    }
    free(m->slots);
    *m = (struct map){0};
}

/* The slot of key, or the free slot where the search ended. The table always has free slots. */
static struct map_slot *slot_find(const struct map *m, struct str key, uint64_t hash)
{
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct map_slot *s = &m->slots[i];
        if (!s->key && !s->value) {
            return s;
        }
        if (s->key && s->hash == hash && str_eq(str_of(s->key, s->key_n), key)) {
            return s;
        }
    }
}

/* Rebuild with room for one more key and without the marks of removed ones. */
static void map_rebuild(struct map *m)
{
    struct map old = *m;

    m->cap = CAP_MIN;
    while (m->cap < (m->n + 1) * 2) {
        m->cap *= 2;
    }
    m->slots = mem_alloc(m->cap * sizeof(*m->slots));
    m->dead = 0;
    for (size_t i = 0; i < old.cap; i++) {
        const struct map_slot *s = &old.slots[i];
        if (s->key) {
            *slot_find(m, str_of(s->key, s->key_n), s->hash) = *s;
        }
    }
    free(old.slots);
}

void *map_get(const struct map *m, struct str key)
{
    if (m->n == 0) {
        return NULL;
    }
    const struct map_slot *s = slot_find(m, key, hash_keyed(key));
    return s->key ? s->value : NULL;
}

void *map_put(struct map *m, struct str key, void *value)
{
    ASSERT(value != NULL);
    /* At most three quarters in use, so that searches stay short and end. */
    if ((m->n + m->dead + 1) * 4 > m->cap * 3) {
        map_rebuild(m);
    }
    uint64_t hash = hash_keyed(key);
    struct map_slot *s = slot_find(m, key, hash);
    void *before = s->value;
    if (!s->key) {
        s->hash = hash;
        s->key = mem_alloc(key.n);
        s->key_n = key.n;
        if (key.n) {
            memcpy(s->key, key.p, key.n);
        }
        m->n++;
    }
    s->value = value;
    return before;
}

void *map_del(struct map *m, struct str key)
{
    if (m->n == 0) {
        return NULL;
    }
    struct map_slot *s = slot_find(m, key, hash_keyed(key));
    if (!s->key) {
        return NULL;
    }
    void *before = s->value;
    slot_kill(s);
    m->n--;
    m->dead++;
    return before;
}

bool map_next(const struct map *m, size_t *i, struct str *key, void **value)
{
    for (; *i < m->cap; (*i)++) {
        const struct map_slot *s = &m->slots[*i];
        if (s->key) {
            *key = str_of(s->key, s->key_n);
            *value = s->value;
            (*i)++;
            return true;
        }
    }
    return false;
}
