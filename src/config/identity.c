/* SPDX-License-Identifier: Apache-2.0 */
/* identity: who has which key. */
#include "config/identity.h"

#include "base/mem.h"
#include "config/group.h"

#include <stdlib.h>

/* All that claim one key. Immutable; who is the one with the highest modified index. */
struct claims {
    struct identity who; /* first: what readers of the map see */
    unsigned refs, n;
    struct str key;
    struct identity v[]; /* the key's text follows */
};

static void claims_hold(void *value)
{
    struct claims *k = value;

    k->refs++;
}

static void claims_drop(void *value)
{
    struct claims *k = value;

    if (--k->refs == 0) {
        free(k);
    }
}

const struct pmap_type identity_map_type = {claims_hold, claims_drop};

static int64_t age_of(const struct identity *i)
{
    return i->credential != NULL ? i->credential->o.modified_index : i->consumer->o.modified_index;
}

static struct claims *claims_new(struct str key, unsigned room)
{
    struct claims *k = mem_alloc(sizeof(*k) + room * sizeof(k->v[0]) + key.n);
    char *text = (char *)&k->v[room];

    memcpy(text, key.p, key.n);
    k->refs = 1;
    k->key = str_of(text, key.n);
    return k;
}

static void claims_append(struct claims *k, const struct identity *i)
{
    k->v[k->n++] = *i;
    if (k->n == 1 || age_of(i) >= age_of(&k->who)) {
        k->who = *i;
    }
}

/* Put k, whose reference it takes, in place of what the map has under its key. */
static void claims_store(struct pmap **m, struct claims *k)
{
    pmap_set(m, &identity_map_type, k->key, k->n > 0 ? k : NULL);
    claims_drop(k);
}

/* The claims under key without the one of (c, cred), with room for one more. */
static struct claims *claims_without(const struct pmap *m, struct str key, const struct consumer *c,
                                     const struct credential *cred)
{
    const struct claims *old = pmap_get(m, key);
    struct claims *k = claims_new(key, old != NULL ? old->n + 1 : 1);

    for (unsigned i = 0; old != NULL && i < old->n; i++) {
        if (old->v[i].consumer != c || old->v[i].credential != cred) {
            claims_append(k, &old->v[i]);
        }
    }
    return k;
}

struct uses {
    const struct auth_use *v;
    unsigned n;
};

static struct uses uses_of(const struct consumer *c, const struct credential *cred)
{
    return cred != NULL ? (struct uses){cred->auths, cred->n_auths}
                        : (struct uses){c->auths, c->n_auths};
}

void identities_add(struct pmap **m, const struct consumer *c, const struct credential *cred)
{
    const struct uses u = uses_of(c, cred);

    for (unsigned i = 0; i < u.n; i++) {
        struct claims *k = claims_without(*m, u.v[i].key, c, cred);

        claims_append(k,
                      &(struct identity){.consumer = c, .credential = cred, .conf = u.v[i].conf});
        claims_store(m, k);
    }
}

void identities_remove(struct pmap **m, const struct consumer *c, const struct credential *cred)
{
    const struct uses u = uses_of(c, cred);

    for (unsigned i = 0; i < u.n; i++) {
        claims_store(m, claims_without(*m, u.v[i].key, c, cred));
    }
}
