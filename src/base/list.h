/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * list: a doubly linked ring whose links sit inside the elements. One thread only.
 *
 * The head is a link too. A link that is on no list points at itself (list_init), so
 * list_del() twice is harmless.
 */
#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev, *next;
};

#define LIST_INIT(name)                                                                            \
    {                                                                                              \
        &(name), &(name)                                                                           \
    }
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define LIST_EACH(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
/* The same where the body may delete it. */
#define LIST_EACH_SAFE(it, nxt, head)                                                              \
    for (struct list *it = (head)->next, *nxt = it->next; it != (head); it = nxt, nxt = it->next)

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static inline bool list_is_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_del(struct list *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    list_init(l);
}

/* Put l right after at (at the front of a list whose head is at). */
static inline void list_add(struct list *at, struct list *l)
{
    l->next = at->next;
    l->prev = at;
    at->next->prev = l;
    at->next = l;
}

/* Put l right before at (at the end of a list whose head is at). */
static inline void list_add_tail(struct list *at, struct list *l)
{
    list_add(at->prev, l);
}

/* Take the first off, NULL when empty. */
static inline struct list *list_pop(struct list *head)
{
    struct list *l = head->next;
    if (l == head) {
        return NULL;
    }
    list_del(l);
    return l;
}
