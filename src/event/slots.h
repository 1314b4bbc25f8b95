/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * slots: names for objects that may be gone when their event comes. One table a thread.
 *
 * The kernel hands back 64 bits with an event. A pointer would not do: a callback earlier in the
 * same batch may have freed the object, and a descriptor that was duplicated into another
 * process (a fork, listening sockets handed over at an upgrade) goes on giving events after
 * close(). So the kernel gets a token: index into the table and the generation of that entry, which
 * changes with each use. A late event finds another generation and is dropped. This costs one
 * load an event and 16 bytes a descriptor, and closing needs no EPOLL_CTL_DEL. The same token
 * serves as io_uring's user_data.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slots {
    struct slot *slot;
    uint32_t n, cap, free; /* used, allocated, first of the chain of free entries */
};

struct slot {
    void *object; /* NULL: free */
    uint32_t generation;
    uint32_t next : 31;
    bool foreign : 1; /* a struct poll, not a struct io */
};

void slots_fini(struct slots *s);
/* Enter the object; its index. */
uint32_t slots_add(struct slots *s, void *object, bool foreign);
void slots_del(struct slots *s, uint32_t index);

static inline uint64_t slots_token(const struct slots *s, uint32_t index)
{
    return (uint64_t)s->slot[index].generation << 32 | index;
}

/* What the token names, NULL when it is gone. */
static inline const struct slot *slots_find(const struct slots *s, uint64_t token)
{
    const struct slot *e = &s->slot[(uint32_t)token];
    return e->generation == token >> 32 ? e : NULL;
}
