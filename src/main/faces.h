/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * faces: the servers of the control thread: Admin API, metrics, status. A face whose address is
 * not set does not listen. Control thread.
 */
#include "config/settings.h"

/* Open the sockets of s that are not open yet: what a start or a reload can fail of. 0, or -1 with
 * e. */
int faces_open(const struct settings *s, struct err *e);
/* Serve where and as s says from now on; s is shared (settings_hold()). */
void faces_set(const struct settings *s);
/* A face of s listens on addr. */
bool faces_want(const struct settings *s, const struct addr *addr);
/* No new requests to the Admin API, those there are may end; parks until they have, or the
 * deadline. Or: as before. */
void faces_await_admin_end(int64_t deadline);
void faces_admin_again(void);
/* Stop listening and drain. handed_over: what is queued is for another process. */
void faces_stop(bool handed_over);
/* Park until no connection is left, or the deadline; false then. */
bool faces_await_end(int64_t deadline);
