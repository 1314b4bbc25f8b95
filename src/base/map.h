/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * map: text to pointer, open addressing, keyed hash (SipHash), so that keys chosen by a stranger do
 * not collide on purpose. One thread, or many readers of a map nobody changes.
 *
 * The map copies its keys. Freed by map_fini().
 */
#include "base/str.h"

struct map_slot;
struct map {
    struct map_slot *slots;
    size_t n, cap, dead;
};

void map_fini(struct map *m);
/* The value, or NULL. */
void *map_get(const struct map *m, struct str key);
/* Store; value must not be NULL. The value that was there before, or NULL. */
void *map_put(struct map *m, struct str key, void *value);
/* Remove; the value that was there, or NULL. */
void *map_del(struct map *m, struct str key);
/* Visit all in no particular order: for (size_t i = 0; map_next(m, &i, &k, &v);). Changing is not
 * allowed meanwhile. */
bool map_next(const struct map *m, size_t *i, struct str *key, void **value);
