/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * chain: the plugins of a request, merged (consumer > consumer group > route > plugin config >
 * service), sorted by priority, one array a phase. Running a phase is walking an array.
 *
 * Merged on first use and kept per core, keyed by the serials of the objects it was made of, so a
 * stale one is never found again. A request holds its chains until it ends; unheld ones make room
 * for others (at most CHAINS_KEPT a core).
 */
#include "plugin/plugin.h"

#define CHAINS_KEPT 16384

struct step {
    const struct plugin *plugin;
    const void *conf;
    const struct plugin_meta *meta;
    unsigned index;
};

struct chain {
    uint64_t key[5]; /* serials: route, service, plugin config, group, consumer */
    unsigned holds;
    bool used;          /* since the clock hand passed */
    struct chain *next; /* in its bucket */
    unsigned n[PHASE_COUNT];
    const struct step *steps[PHASE_COUNT];
    /* rewrite steps that came with the consumer only: they run once it is known */
    unsigned n_late;
    const struct step *late;
    /* every enabled one, by priority: one allocation with the arrays above */
    struct step *all;
    unsigned n_all;
};

/* The chain of r's route, service, plugin config, consumer group and consumer as they stand; held.
 * NULL, which runs nothing, when they have no plugins. */
struct chain *chain_of(const struct req *r);
/* The chain of the global rules of r's snapshot, NULL when there are none; held. */
struct chain *chain_of_globals(const struct req *r);
void chain_drop(struct chain *c);
/* Is p enabled in it? */
bool chain_has(const struct chain *c, const struct plugin *p);
/* A phase that may answer: DONE as soon as a plugin answered (`_meta.error_response` applied).
 * skip_for: the route's chain; plugins that prefer the route are left out when it has them. */
enum verdict chain_run(struct req *r, const struct chain *c, enum phase ph,
                       const struct chain *skip_for);
/* The rewrite phase of what the consumer brought. */
enum verdict chain_run_late(struct req *r, const struct chain *c);
/* header_filter and log: every plugin runs. */
void chain_notify(struct req *r, const struct chain *c, enum phase ph,
                  const struct chain *skip_for);
void chain_filter_body(struct req *r, const struct chain *c, enum phase ph, struct body_run *b,
                       const struct chain *skip_for);
/* Free this core's chains (thread end). */
void chain_core_fini(void);
/* Chains kept on this core, for tests. */
unsigned chain_count(void);
