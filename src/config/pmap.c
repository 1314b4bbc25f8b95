/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pmap: a hash array mapped trie. A branch looks at four bits of the hash and keeps only the
 * children it has; leaves sit as high as their hash allows, so the depth is about log16 of the
 * number of keys.
 *
 * An update copies the branches on the way to one leaf and shares the rest. Keys with the same
 * 64-bit hash hang in one chain: with a keyed hash that does not happen by chance or on purpose,
 * but it must not be wrong.
 */
#include "config/pmap.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>

enum { BITS = 4, WAYS = 1 << BITS, HASH_BITS = 64 };

/* What branches and leaves begin with. */
struct node {
    unsigned refs;
    bool is_leaf;
    uint16_t present; /* branch: bit i is set when there is a child for i */
};
struct leaf {
    struct node node;
    uint64_t hash;
    struct str key;
    void *value;
    struct leaf *next; /* another key with this hash */
};
struct branch {
    struct node node;
    struct node *child[];
};
struct pmap {
    unsigned refs;
    size_t n;
    struct node *top; /* never NULL: an empty map is a NULL pmap */
};

static unsigned slot_of(uint64_t hash, unsigned shift)
{
    ASSERT(shift < HASH_BITS);
    return (unsigned)(hash >> shift) & (WAYS - 1);
}

/* Where child i of a branch stands, or would stand. */
static unsigned position_of(const struct branch *b, unsigned i)
{
    return (unsigned)__builtin_popcount(b->node.present & ((1U << i) - 1));
}

static struct node *node_hold(struct node *n)
{
    n->refs++;
    return n;
}

static void leaf_drop(struct leaf *l, const struct pmap_type *t)
{
    while (l != NULL && --l->node.refs == 0) {
        struct leaf *next = l->next;

        t->drop(l->value);
        free(l);
        l = next;
    }
}

/* Recursion is bounded by the 16 levels a hash has. */
static void node_drop(struct node *n, const struct pmap_type *t)
{
    if (n->is_leaf) {
        leaf_drop((struct leaf *)n, t);
        return;
    }
    if (--n->refs > 0) {
        return;
    }
    struct branch *b = (struct branch *)n;
    const int count = __builtin_popcount(n->present);
    for (int i = 0; i < count; i++) {
        node_drop(b->child[i], t);
    }
    free(b);
}

/* Takes the caller's hold on next. */
static struct leaf *leaf_new(const struct pmap_type *t, uint64_t hash, struct str key, void *value,
                             struct leaf *next)
{
    struct leaf *l = mem_alloc(sizeof(*l));

    *l = (struct leaf){.node = {.refs = 1, .is_leaf = true},
                       .hash = hash,
                       .key = key,
                       .value = value,
                       .next = next};
    t->hold(value);
    return l;
}

/* The chain l without key: what follows key is shared, what stands before is copied. NULL when
 * nothing is left. */
static struct leaf *chain_without(struct leaf *l, const struct pmap_type *t, struct str key)
{
    if (l == NULL) {
        return NULL;
    }
    if (str_eq(l->key, key)) {
        return l->next != NULL ? (struct leaf *)node_hold(&l->next->node) : NULL;
    }
    return leaf_new(t, l->hash, l->key, l->value, chain_without(l->next, t, key));
}

static struct leaf *chain_find(struct leaf *l, struct str key)
{
    while (l != NULL && !str_eq(l->key, key)) {
        l = l->next;
    }
    return l;
}

static struct branch *branch_new(uint16_t present)
{
    struct branch *b =
        mem_alloc(sizeof(*b) + sizeof(b->child[0]) * (size_t)__builtin_popcount(present));

    b->node = (struct node){.refs = 1, .present = present};
    return b;
}

/* A copy of b where child i is c, whose hold it takes; c NULL leaves the child out. */
static struct branch *branch_with(const struct branch *b, unsigned i, struct node *c)
{
    const uint16_t bit = (uint16_t)(1U << i);
    struct branch *copy = branch_new(c != NULL ? b->node.present | bit : b->node.present & ~bit);
    unsigned from = 0, to = 0;

    for (unsigned k = 0; k < WAYS; k++) {
        const bool had = b->node.present & (1U << k);

        if (k == i && c != NULL) {
            copy->child[to++] = c;
        } else if (k != i && had) {
            copy->child[to++] = node_hold(b->child[from]);
        }
        from += had;
    }
    return copy;
}

/* Two leaves of different hash below one branch; takes both holds. */
static struct node *join(struct leaf *x, struct leaf *y, unsigned shift)
{
    const unsigned i = slot_of(x->hash, shift), k = slot_of(y->hash, shift);
    struct branch *b = branch_new((uint16_t)(1U << i | 1U << k));

    if (i == k) {
        b->child[0] = join(x, y, shift + BITS);
    } else {
        b->child[i > k] = &x->node;
        b->child[k > i] = &y->node;
    }
    return &b->node;
}

static struct node *leaf_put(struct leaf *old, const struct pmap_type *t, struct leaf *l,
                             unsigned shift, bool *added)
{
    if (old->hash != l->hash) {
        *added = true;
        return join((struct leaf *)node_hold(&old->node), l, shift);
    }
    *added = chain_find(old, l->key) == NULL;
    l->next = *added ? (struct leaf *)node_hold(&old->node) : chain_without(old, t, l->key);
    return &l->node;
}

/* A new node in place of n; takes the hold on l. */
static struct node *node_put(struct node *n, const struct pmap_type *t, struct leaf *l,
                             unsigned shift, bool *added)
{
    if (n->is_leaf) {
        return leaf_put((struct leaf *)n, t, l, shift, added);
    }
    const struct branch *b = (const struct branch *)n;
    const unsigned i = slot_of(l->hash, shift);
    struct node *c = &l->node;

    if (n->present & (1U << i)) {
        c = node_put(b->child[position_of(b, i)], t, l, shift + BITS, added);
    } else {
        *added = true;
    }
    return &branch_with(b, i, c)->node;
}

static struct pmap *pmap_new(struct node *top, size_t n)
{
    struct pmap *m = mem_alloc(sizeof(*m));

    *m = (struct pmap){.refs = 1, .n = n, .top = top};
    return m;
}

struct pmap *pmap_put(struct pmap *m, const struct pmap_type *t, struct str key, void *value)
{
    struct leaf *l = leaf_new(t, hash_keyed(key), key, value, NULL);
    bool added = false;

    if (m == NULL) {
        return pmap_new(&l->node, 1);
    }
    struct node *top = node_put(m->top, t, l, 0, &added);
    return pmap_new(top, m->n + added);
}

/* The node without key, which is there. NULL when nothing is left. */
static struct node *node_del(struct node *n, const struct pmap_type *t, uint64_t hash,
                             struct str key, unsigned shift)
{
    if (n->is_leaf) {
        struct leaf *rest = chain_without((struct leaf *)n, t, key);
        return rest != NULL ? &rest->node : NULL;
    }
    const struct branch *b = (const struct branch *)n;
    const unsigned i = slot_of(hash, shift), at = position_of(b, i);
    struct node *c = node_del(b->child[at], t, hash, key, shift + BITS);
    const int count = __builtin_popcount(n->present);

    /* A branch above one leaf would only be a detour. */
    if (c != NULL && count == 1 && c->is_leaf) {
        return c;
    }
    if (c == NULL && count == 1) {
        return NULL;
    }
    if (c == NULL && count == 2 && b->child[!at]->is_leaf) {
        return node_hold(b->child[!at]);
    }
    return &branch_with(b, i, c)->node;
}

static struct leaf *find(const struct pmap *m, struct str key, uint64_t hash)
{
    struct node *n = m != NULL ? m->top : NULL;

    for (unsigned shift = 0; n != NULL && !n->is_leaf; shift += BITS) {
        const struct branch *b = (const struct branch *)n;
        const unsigned i = slot_of(hash, shift);

        n = n->present & (1U << i) ? b->child[position_of(b, i)] : NULL;
    }
    struct leaf *l = (struct leaf *)n;
    return l != NULL && l->hash == hash ? chain_find(l, key) : NULL;
}

struct pmap *pmap_del(struct pmap *m, const struct pmap_type *t, struct str key)
{
    const uint64_t hash = hash_keyed(key);

    if (find(m, key, hash) == NULL) {
        return m != NULL ? pmap_hold(m) : NULL;
    }
    struct node *top = node_del(m->top, t, hash, key, 0);
    return top != NULL ? pmap_new(top, m->n - 1) : NULL;
}

void *pmap_get(const struct pmap *m, struct str key)
{
    const struct leaf *l = m != NULL ? find(m, key, hash_keyed(key)) : NULL;

    return l != NULL ? l->value : NULL;
}

struct pmap *pmap_hold(struct pmap *m)
{
    m->refs++;
    return m;
}

void pmap_drop(struct pmap *m, const struct pmap_type *t)
{
    if (m != NULL && --m->refs == 0) {
        node_drop(m->top, t);
        free(m);
    }
}

size_t pmap_count(const struct pmap *m)
{
    return m != NULL ? m->n : 0;
}

static bool node_each(const struct node *n, bool (*fn)(struct str key, void *value, void *arg),
                      void *arg)
{
    if (n->is_leaf) {
        for (const struct leaf *l = (const struct leaf *)n; l != NULL; l = l->next) {
            if (!fn(l->key, l->value, arg)) {
                return false;
            }
        }
        return true;
    }
    const struct branch *b = (const struct branch *)n;
    const int count = __builtin_popcount(n->present);
    for (int i = 0; i < count; i++) {
        if (!node_each(b->child[i], fn, arg)) {
            return false;
        }
    }
    return true;
}

void pmap_each(const struct pmap *m, bool (*fn)(struct str key, void *value, void *arg), void *arg)
{
    if (m != NULL) {
        node_each(m->top, fn, arg);
    }
}
