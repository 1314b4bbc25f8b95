/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * hosts: the host patterns of a service, counted apart from it. Control thread.
 *
 * Routes without hosts stand in the router under those of their service. A new version of the
 * service with the same hosts takes over the old one's memory, so the router, which points into it,
 * needs no change.
 */
#include "base/str.h"

/* What schemas take for a host: a name, which may begin with *. */
#define HOST_PATTERN "^\\*$|^\\*?[0-9a-zA-Z-._\\[\\]:]+$"

struct hosts {
    unsigned refs;
    unsigned n;
    struct str v[]; /* the text follows */
};

/* Lower-case copies of n patterns. One reference. */
struct hosts *hosts_new(const struct str *v, size_t n);
bool hosts_equal(const struct hosts *a, const struct hosts *b);
struct hosts *hosts_hold(struct hosts *h);
void hosts_drop(struct hosts *h);
