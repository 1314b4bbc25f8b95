/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * snapshot: the whole configuration, compiled and immutable, in persistent maps: a new snapshot
 * shares all it can with the one it was made from, so a change costs time in proportion to the
 * change. Made and dropped on the control thread; cores only read.
 */
#include "config/object.h"
#include "config/pmap.h"

struct router;

struct snapshot {
    unsigned refs;                 /* control thread */
    uint64_t version;              /* 1, 2, ... in this process */
    struct pmap *objects[K_COUNT]; /* id -> struct object * */
    struct pmap *identities;       /* "key-auth/" + key -> struct identity * */
    struct router *router;
    const struct global_rule *const *global_rules; /* in id order */
    unsigned n_global_rules;
    struct arena *arena; /* of the arrays above; NULL when there are none */
    struct pmap *sni;    /* name -> group of ssl objects of type server */
    unsigned n_mtls;     /* of these, how many ask for client certificates */
    /* What depends on what, for the next change; control thread only. */
    /* service id -> group of routes that take their hosts from it, whether it exists or not */
    struct pmap *service_routes;
    struct pmap *consumer_credentials; /* username -> group of credentials */
};

/* One change: value NULL deletes. value is borrowed; it must have passed resource_check() (a bad
 * one is left out, the old version stays, and on_bad hears of it). */
struct change {
    enum object_kind kind;
    struct str id;
    json_t *value;
    int64_t created_index, modified_index;
};
/* A snapshot with nothing in it; one reference. */
struct snapshot *snapshot_empty(void);
/* old with the changes applied in order; one reference. Routes whose service's hosts changed are
 * put again. on_bad may be NULL. */
struct snapshot *snapshot_apply(const struct snapshot *old, const struct change *changes, size_t n,
                                void (*on_bad)(const struct change *c, const struct err *e,
                                               void *arg),
                                void *arg);
void snapshot_hold(struct snapshot *s);
void snapshot_drop(struct snapshot *s);

/* ---- look-ups, any core while it holds the snapshot ---- */
const struct object *snapshot_find(const struct snapshot *s, enum object_kind kind, struct str id);
/* Typed: const struct service *svc = SNAP_FIND(s, SERVICE, service, id); */
#define SNAP_FIND(snap, KIND, type, id)                                                            \
    ((const struct type *)(const void *)snapshot_find(snap, K_##KIND, id))
/* The ssl object for a name (lower case, no final dot): exact, else *.d for one label, else *; of
 * equals the one made first. NULL: none. */
const struct ssl *snapshot_ssl(const struct snapshot *s, struct str name);
const struct identity *snapshot_identity(const struct snapshot *s, const char *plugin,
                                         struct str key);
/* The compiled plugin_metadata of a plugin, NULL when there is none. */
const void *snapshot_metadata(const struct snapshot *s, const char *plugin);
