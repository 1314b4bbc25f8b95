/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Updates walk down noting the way, make the new piece, and copy the way back up. Nothing here
 * recurses over the depth of a tree: keys may be long and nested.
 */
#include "route/radix.h"

#include "base/mem.h"

#include <stdlib.h>

struct radix *radix_hold(struct radix *t)
{
    if (t) {
        t->refs++;
    }
    return t;
}

/*
 * A node with one reference whose slots and children (their bytes too) are still to be filled. Its
 * label is a followed by b.
 */
static struct radix *node_new(uint32_t n_kids, struct str a, struct str b)
{
    size_t pad = (n_kids + 15) & ~15u;
    struct radix *t = mem_alloc(sizeof(*t) + pad + n_kids * sizeof(t) + a.n + b.n);

    t->refs = 1;
    t->n_kids = n_kids;
    t->label_n = (uint32_t)(a.n + b.n);
    if (a.n > 0) {
        memcpy(radix_label(t), a.p, a.n);
    }
    if (b.n > 0) {
        memcpy(radix_label(t) + a.n, b.p, b.n);
    }
    return t;
}

static struct str node_label(const struct radix *t)
{
    return str_of(radix_label(t), t->label_n);
}

/* Takes over the caller's reference to kid. Child 0 is set first, and with it the padding. */
static void node_set_kid(struct radix *t, uint32_t i, struct radix *kid)
{
    uint8_t *bytes = radix_bytes(t), byte = (uint8_t)radix_label(kid)[0];

    radix_kids(t)[i] = kid;
    if (i == 0) {
        memset(bytes, byte, (t->n_kids + 15) & ~15u);
        t->has_param = byte == RADIX_PARAM;
        t->offers |= t->has_param;
    }
    bytes[i] = byte;
}

static void node_set_slot(struct radix *t, enum radix_slot s, void *value)
{
    t->slot[s] = value;
    t->offers = t->has_param || t->slot[RADIX_PREFIX];
}

static void node_share_slots(struct radix *t, const struct radix *from, const struct radix_ops *ops)
{
    for (int s = 0; s < RADIX_SLOTS; s++) {
        node_set_slot(t, (enum radix_slot)s, from->slot[s]);
        if (t->slot[s]) {
            ops->hold(t->slot[s]);
        }
    }
}

/* A node with all of `from` but another label: a followed by b. */
static struct radix *node_relabel(const struct radix *from, const struct radix_ops *ops,
                                  struct str a, struct str b)
{
    struct radix *t = node_new(from->n_kids, a, b);

    for (uint32_t i = 0; i < from->n_kids; i++) {
        node_set_kid(t, i, radix_hold(radix_kids(from)[i]));
    }
    node_share_slots(t, from, ops);
    return t;
}

/*
 * Drop what a dead node keeps; children that die with it are put on the list, linked through a slot
 * that is empty by then.
 */
static void node_bury(struct radix *t, const struct radix_ops *ops, struct radix **list)
{
    for (int s = 0; s < RADIX_SLOTS; s++) {
        if (t->slot[s]) {
            ops->drop(t->slot[s]);
        }
    }
    t->slot[0] = *list;
    *list = t;
}

void radix_drop(struct radix *t, const struct radix_ops *ops)
{
    struct radix *dead = NULL;

    if (t && --t->refs == 0) {
        node_bury(t, ops, &dead);
    }
    while (dead) {
        t = dead;
        dead = t->slot[0];
        for (uint32_t i = 0; i < t->n_kids; i++) {
            struct radix *kid = radix_kids(t)[i];
            if (--kid->refs == 0) {
                node_bury(kid, ops, &dead);
            }
        }
        free(t);
    }
}

/* ---- update ---- */

/* Up to the first RADIX_PARAM that is not the first byte: one node's share of a key. */
static size_t label_share(struct str key)
{
    size_t n = 1;

    while (n < key.n && key.p[n] != RADIX_PARAM) {
        n++;
    }
    return n < key.n ? n : key.n;
}

/* New nodes for a key that nothing leads to; takes over value. */
static struct radix *chain_new(struct str key, enum radix_slot slot, void *value)
{
    struct radix *top = NULL, *last = NULL;

    do {
        size_t n = label_share(key);
        bool more = n < key.n;
        struct radix *t = node_new(more, str_head(key, n), STR_NONE);

        if (last) {
            node_set_kid(last, 0, t);
        } else {
            top = t;
        }
        last = t;
        key = str_skip(key, n);
    } while (key.n > 0);
    node_set_slot(last, slot, value);
    return top;
}

/* One node on the way down, and which child was taken. */
struct step {
    struct radix *node;
    uint32_t kid;
};
struct way {
    struct step *v;
    size_t n, cap;
    struct step room[32];
};

static void way_push(struct way *w, struct radix *node, uint32_t kid)
{
    if (w->n == w->cap) {
        struct step *old = w->v == w->room ? NULL : w->v;

        w->cap *= 2;
        w->v = mem_resize(old, w->cap * sizeof(w->v[0]));
        if (!old) {
            memcpy(w->v, w->room, sizeof(w->room));
        }
    }
    w->v[w->n++] = (struct step){node, kid};
}

/* The child for c, or where it would stand. */
static uint32_t kid_index(const struct radix *t, char c, bool *found)
{
    const uint8_t *bytes = radix_bytes(t);
    uint32_t i = 0;

    while (i < t->n_kids && bytes[i] < (uint8_t)c) {
        i++;
    }
    *found = i < t->n_kids && bytes[i] == (uint8_t)c;
    return i;
}

static size_t common_prefix(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n, i = 0;

    while (i < n && a.p[i] == b.p[i]) {
        i++;
    }
    return i;
}

/*
 * t without the need of being a node of its own: NULL when it holds nothing, joined with its child
 * when it only leads there. Takes over t.
 */
static struct radix *node_tidy(struct radix *t, const struct radix_ops *ops)
{
    if (t->slot[0] || t->slot[1] || t->n_kids > 1 || (t->n_kids == 1 && t->has_param)) {
        return t;
    }
    struct radix *joined = t->n_kids == 0 ? NULL
                                          : node_relabel(radix_kids(t)[0], ops, node_label(t),
                                                         node_label(radix_kids(t)[0]));

    radix_drop(t, ops);
    return joined;
}

/* Copy of t with child i taken away (kid NULL), replaced, or added in front of it. Takes over kid.
 */
static struct radix *node_with_kid(const struct radix *t, const struct radix_ops *ops, uint32_t i,
                                   bool is_new, struct radix *kid)
{
    uint32_t n = t->n_kids + (is_new ? 1 : 0) - (kid ? 0 : 1), from = 0, to = 0;
    struct radix *copy = node_new(n, node_label(t), STR_NONE);

    while (from < t->n_kids || (is_new && from == i)) {
        if (from == i && kid) {
            node_set_kid(copy, to++, kid);
            kid = NULL;
            from += !is_new;
            is_new = false;
        } else if (from == i && to == from && n < t->n_kids) {
            from++; /* the one that goes */
        } else {
            node_set_kid(copy, to++, radix_hold(radix_kids(t)[from++]));
        }
    }
    node_share_slots(copy, t, ops);
    return copy;
}

/* Copy of t with another value in a slot. Takes over value. */
static struct radix *node_with_value(const struct radix *t, const struct radix_ops *ops,
                                     enum radix_slot slot, void *value)
{
    struct radix *copy = node_relabel(t, ops, node_label(t), STR_NONE);

    if (copy->slot[slot]) {
        ops->drop(copy->slot[slot]);
    }
    node_set_slot(copy, slot, value);
    return node_tidy(copy, ops);
}

/*
 * t cut in two at byte `at` of its label, and the rest of the key beside its lower half (or its
 * value on the upper one). Takes over value.
 */
static struct radix *node_split(const struct radix *t, const struct radix_ops *ops, size_t at,
                                struct str rest, enum radix_slot slot, void *value)
{
    struct str label = node_label(t);
    struct radix *lower = node_relabel(t, ops, str_skip(label, at), STR_NONE);
    struct radix *upper = node_new(rest.n > 0 ? 2 : 1, str_head(label, at), STR_NONE);

    if (rest.n == 0) {
        node_set_slot(upper, slot, value);
        node_set_kid(upper, 0, lower);
        return upper;
    }
    struct radix *added = chain_new(rest, slot, value);
    bool first = (uint8_t)rest.p[0] < (uint8_t)label.p[at];

    node_set_kid(upper, 0, first ? added : lower);
    node_set_kid(upper, 1, first ? lower : added);
    return upper;
}

/*
 * Copy the nodes above a new piece, which takes the place of (or is added as) the last step's
 * child.
 */
static struct radix *way_up(const struct way *w, const struct radix_ops *ops, bool is_new,
                            struct radix *piece)
{
    for (size_t i = w->n; i-- > 0; is_new = false) {
        const struct step *s = &w->v[i];
        piece = node_tidy(node_with_kid(s->node, ops, s->kid, is_new, piece), ops);
    }
    return piece;
}

/* Where a key's way through a tree ends. */
struct spot {
    struct radix *node; /* NULL: the last step has no such child */
    size_t common;      /* bytes of node's label that the key shares */
    struct str rest;    /* of the key, behind them */
};

static struct spot way_down(struct way *w, struct radix *t, struct str key)
{
    struct spot at = {.node = t, .rest = key};

    while (at.node) {
        at.common = common_prefix(node_label(at.node), at.rest);
        at.rest = str_skip(at.rest, at.common);
        if (at.common < at.node->label_n || at.rest.n == 0) {
            break;
        }
        bool found;
        uint32_t i = kid_index(at.node, at.rest.p[0], &found);

        way_push(w, at.node, i);
        at.node = found ? radix_kids(at.node)[i] : NULL;
    }
    return at;
}

struct radix *radix_update(struct radix *t, const struct radix_ops *ops, struct str key,
                           enum radix_slot slot, void *(*fn)(void *old, void *arg), void *arg)
{
    struct way w = {.cap = 32};
    w.v = w.room;
    struct spot at = way_down(&w, t, key);
    bool is_there = at.node && at.common == at.node->label_n;
    void *value = fn(is_there ? at.node->slot[slot] : NULL, arg);
    struct radix *result;

    if (is_there) {
        result = way_up(&w, ops, false, node_with_value(at.node, ops, slot, value));
    } else if (!value) {
        result = radix_hold(t);
    } else if (at.node) {
        result = way_up(&w, ops, false, node_split(at.node, ops, at.common, at.rest, slot, value));
    } else {
        result = way_up(&w, ops, true, chain_new(at.rest, slot, value));
    }
    if (w.v != w.room) {
        free(w.v);
    }
    return result;
}

void *radix_get(const struct radix *t, struct str key, enum radix_slot slot)
{
    while (t && key.n >= t->label_n && radix_same(radix_label(t), key.p, t->label_n)) {
        key = str_skip(key, t->label_n);
        if (key.n == 0) {
            return t->slot[slot];
        }
        t = radix_kid(t, key.p[0]);
    }
    return NULL;
}
