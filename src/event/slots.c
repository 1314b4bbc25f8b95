/* SPDX-License-Identifier: Apache-2.0 */
/* slots: see slots.h. Free entries form a chain through next, last freed first. */
#include "event/slots.h"

#include "base/assert.h"
#include "base/mem.h"

#include <stdlib.h>

#define NONE 0x7fffffffU

void slots_fini(struct slots *s)
{
    free(s->slot);
    *s = (struct slots){0};
}

static void grow(struct slots *s)
{
    uint32_t cap = s->cap == 0 ? 64 : s->cap * 2;

    ASSERT(cap < NONE);
    s->slot = mem_resize(s->slot, cap * sizeof(*s->slot));
    for (uint32_t i = s->cap; i < cap; i++) {
        s->slot[i] = (struct slot){.next = i + 1 < cap ? i + 1 : NONE};
    }
    s->free = s->cap;
    s->cap = cap;
}

uint32_t slots_add(struct slots *s, void *object, bool foreign)
{
    if (s->cap == 0 || s->free == NONE) {
        grow(s);
    }
    uint32_t index = s->free;
    struct slot *e = &s->slot[index];
    s->free = e->next;
    e->object = object;
    e->foreign = foreign;
    s->n++;
    return index;
}

void slots_del(struct slots *s, uint32_t index)
{
    struct slot *e = &s->slot[index];

    ASSERT(e->object != NULL);
    e->object = NULL;
    e->generation++;
    e->next = s->free;
    s->free = index;
    s->n--;
}
