/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * admin: the Admin API, exactly admin-api.md, on the control thread. Writes go to the store, then
 * to the live configuration; the answer leaves when every core has the new snapshot, so what a
 * client wrote is in force when it reads the answer.
 */
#include "config/snapshot.h"
#include "http/req.h"
#include "store/store.h"

struct admin_deps {
    const struct settings *settings;
    struct store *store;
    /* The configuration as the control thread knows it now. */
    const struct snapshot *(*current)(void);
    /* Apply changes, publish, and park until all cores use it. */
    int (*await_publish)(const struct change *changes, size_t n);
    /* Plugin list reload of PUT /plugins/reload; NULL: not there. */
    int (*reload_plugins)(struct err *e);
};
void admin_init(const struct admin_deps *deps);
/* Read the store and give its content as changes for the first snapshot: one call of apply with all
 * of them (ordered so that what others refer to comes first). On the control thread, after
 * loop_init(). 0 or -1 with e. */
int admin_load(int (*apply)(const struct change *changes, size_t n), struct err *e);
/* Serve one request of the Admin listener: fills r->resp by req_reply and returns; may park. */
void admin_handle(struct req *r);
