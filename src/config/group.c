/* SPDX-License-Identifier: Apache-2.0 */
/* group: persistent sets of objects under a name. */
#include "config/group.h"

#include "base/mem.h"

#include <stdlib.h>

/* Immutable; a change makes another one that shares nearly all of the members' map. */
struct group {
    unsigned refs;
    struct pmap *members; /* never NULL */
    struct str name;
    char text[];
};

static void object_hold_value(void *value)
{
    object_hold(value);
}

static void object_drop_value(void *value)
{
    object_drop(value);
}

const struct pmap_type object_map_type = {object_hold_value, object_drop_value};

static void group_hold(void *value)
{
    struct group *g = value;

    g->refs++;
}

static void group_drop(void *value)
{
    struct group *g = value;

    if (--g->refs == 0) {
        pmap_drop(g->members, &object_map_type);
        free(g);
    }
}

const struct pmap_type group_map_type = {group_hold, group_drop};

void pmap_set(struct pmap **m, const struct pmap_type *t, struct str key, void *value)
{
    struct pmap *old = *m;

    *m = value != NULL ? pmap_put(old, t, key, value) : pmap_del(old, t, key);
    pmap_drop(old, t);
}

struct pmap *group_members(const struct pmap *index, struct str name)
{
    const struct group *g = pmap_get(index, name);

    return g != NULL ? g->members : NULL;
}

/* Takes the reference of members. */
static void group_put(struct pmap **index, struct str name, struct pmap *members)
{
    if (members == NULL) {
        pmap_set(index, &group_map_type, name, NULL);
        return;
    }
    struct group *g = mem_alloc(sizeof(*g) + name.n);
    g->refs = 1;
    g->members = members;
    g->name = str_of(g->text, name.n);
    memcpy(g->text, name.p, name.n);
    pmap_set(index, &group_map_type, g->name, g);
    group_drop(g);
}

void group_add(struct pmap **index, struct str name, struct object *o)
{
    group_put(index, name, pmap_put(group_members(*index, name), &object_map_type, o->id, o));
}

void group_remove(struct pmap **index, struct str name, const struct object *o)
{
    struct pmap *members = group_members(*index, name);

    if (members != NULL) {
        group_put(index, name, pmap_del(members, &object_map_type, o->id));
    }
}
