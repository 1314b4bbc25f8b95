/* SPDX-License-Identifier: Apache-2.0 */
/* object: kinds by name and the counting of objects. */
#include "config/object.h"

#include "base/assert.h"
#include "config/hooks.h"

struct config_hooks config_hooks;

static const struct {
    const char *plural, *word;
} kinds[K_COUNT] = {
#define X(id, plural_, word_) [K_##id] = {plural_, word_},
    OBJECT_KINDS(X)
#undef X
};

const char *object_kind_plural(enum object_kind k)
{
    return kinds[k].plural;
}

const char *object_kind_word(enum object_kind k)
{
    return kinds[k].word;
}

enum object_kind object_kind_of(struct str plural)
{
    enum object_kind k = 0;

    while (k < K_COUNT && !str_eq(plural, str_c(kinds[k].plural))) {
        k++;
    }
    return k;
}

void object_hold(struct object *o)
{
    o->refs++;
}

void object_drop(struct object *o)
{
    if (o == NULL) {
        return;
    }
    ASSERT(o->refs > 0);
    if (--o->refs == 0) {
        json_t *json = o->json;

        /* The object lives in its arena; functions the arena runs may still read the JSON. */
        arena_free(o->arena);
        json_decref(json);
    }
}
