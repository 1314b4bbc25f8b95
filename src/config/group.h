/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * group: a persistent index from a name to a set of objects (a service's routes, a consumer's
 * credentials): a pmap whose values are pmaps. Control thread.
 */
#include "config/object.h"
#include "config/pmap.h"

extern const struct pmap_type object_map_type;
extern const struct pmap_type group_map_type;

/* Replace *index (whose reference it takes) by one where o is, or is not, in the group called name.
 */
void group_add(struct pmap **index, struct str name, struct object *o);
void group_remove(struct pmap **index, struct str name, const struct object *o);
/* The objects of a group by id; NULL when it is empty. */
struct pmap *group_members(const struct pmap *index, struct str name);
/* *m = m with the value under key (NULL: without key); takes the reference of the old *m. */
void pmap_set(struct pmap **m, const struct pmap_type *t, struct str key, void *value);
