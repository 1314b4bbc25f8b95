/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * resource: what the Admin API and the stores check before a value is accepted (admin-api.md
 * section 6), one description per kind: its field table.
 */
#include "config/hooks.h"
#include "config/object.h"

/* The reference's JSON Schema of a kind, generated from the field table (borrowed, process
 * lifetime). NULL for plugin_metadata, where each plugin has its own. */
const json_t *resource_schema(enum object_kind k);

/* Other objects as they are now, NULL: there is none. For reference checks; NULL in
 * resource_check() skips them. */
struct resource_refs {
    const struct object *(*find)(void *arg, enum object_kind k, struct str id);
    void *arg;
};
/*
 * The full check of a value to be stored under id: forbidden combinations, JSON Schema (defaults
 * are filled into a private copy, not into value), plugins with their own checks, vars, upstream
 * rules, references (what may be there only once, auth keys and plugins of global rules, is the
 * Admin API's business). 0, or -1 with the whole `error_msg` text in e (prefixes included), as the
 * reference words it.
 */
int resource_check(enum object_kind k, struct str id, const json_t *value,
                   const struct resource_refs *refs, struct err *e);
/* Only the JSON Schema: for /schema/validate. No prefix. */
int resource_check_schema(enum object_kind k, const json_t *value, struct err *e);
/* Build the immutable object from an accepted value. One reference. NULL with e set. Control
 * thread. */
struct object *object_new(enum object_kind k, struct str id, const json_t *value,
                          int64_t created_index, int64_t modified_index, struct err *e);

/* Build a standalone upstream_conf (traffic-split's inline upstreams) from an accepted upstream
 * value, into arena a. */
const struct upstream_conf *upstream_conf_new(const json_t *value, struct str id, struct arena *a,
                                              struct err *e);
/* Upstream rules beyond the schema (IPv6 brackets, pass_host, chash key ...), for inline upstreams
 * too; messages as the reference. */
int upstream_conf_check(const json_t *value, struct err *e);
