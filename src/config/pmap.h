/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * pmap: a persistent map from text to pointer (hash trie, 16-way, path copying). An update returns
 * a new root that shares all untouched nodes with the old one; NULL is the empty map. Node counts
 * are touched on the control thread only; any number of threads may read a root that is held.
 *
 * Keys are not copied: they must live as long as their value. hold/drop run on values as nodes
 * share and let go of them.
 */
#include "base/str.h"

struct pmap;
struct pmap_type {
    void (*hold)(void *value);
    void (*drop)(void *value);
};

void *pmap_get(const struct pmap *m, struct str key);
/* A new root with one reference; the map takes its own hold on value. */
struct pmap *pmap_put(struct pmap *m, const struct pmap_type *t, struct str key, void *value);
/* A new root (NULL when empty; m held again when key was not there). */
struct pmap *pmap_del(struct pmap *m, const struct pmap_type *t, struct str key);
struct pmap *pmap_hold(struct pmap *m);
void pmap_drop(struct pmap *m, const struct pmap_type *t);
size_t pmap_count(const struct pmap *m);
/* In no particular order; return false from fn to stop. */
void pmap_each(const struct pmap *m, bool (*fn)(struct str key, void *value, void *arg), void *arg);
