/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * identity: the index by which auth plugins find who has a key: a persistent map from
 * "key-auth/KEY" to struct identity. Control thread for changes.
 *
 * When several have the same key, the one changed last wins; when it goes, the next one does.
 */
#include "config/object.h"
#include "config/pmap.h"

extern const struct pmap_type identity_map_type;

/* Make (or unmake) the auth plugins of a consumer, or of one of its credentials, findable. *m as in
 * pmap_set(). */
void identities_add(struct pmap **m, const struct consumer *c, const struct credential *cred);
void identities_remove(struct pmap **m, const struct consumer *c, const struct credential *cred);
