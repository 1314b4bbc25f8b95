/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * limit: counters of rate limits, shared by all cores and exact across them.
 *
 * A table is a fixed number of cells in buckets of 16. A key belongs to one bucket, found by a
 * keyed hash, so strangers cannot fill a bucket on purpose; each bucket has a spin lock that is
 * held for some tens of instructions. Where a bucket is full a new key takes an empty or expired
 * cell, else the one that would expire first; a cell that counts what is in flight is never taken.
 * Memory is touched as keys come, and nothing is allocated afterwards.
 *
 * Times are monotonic microseconds (now_us()). Cores' clocks may be a turn apart: one that lags
 * counts into the window that a faster one has begun.
 */
#include "base/str.h"

struct limit_table;

/* Any number of keys up to cells (rounded up to a power of two, at least 16). name: for the log. */
struct limit_table *limit_table_new(const char *name, unsigned cells);
void limit_table_free(struct limit_table *t);

/* Whose counter it is (of a conf or a group) and the keyed hash of the text that is counted; the
 * text itself is not kept. */
struct limit_key {
    uint64_t owner, hash;
};
struct limit_key limit_key(uint64_t owner, struct str text);

/* What is left of a quota. */
struct limit_quota {
    bool ok;
    int64_t remaining; /* 0 when not ok */
    int64_t reset_us;  /* until the window ends, or until the next one may pass */
};
/* cost of at most count in a window of window_us that begins with its first event. */
struct limit_quota limit_fixed(struct limit_table *t, struct limit_key k, int64_t count,
                               int64_t window_us, int64_t cost, int64_t now);
/* The same over a window that slides: windows follow the clock, and the last one counts as far as
 * it reaches into the present one. */
struct limit_quota limit_sliding(struct limit_table *t, struct limit_key k, int64_t count,
                                 int64_t window_us, int64_t cost, int64_t now);

/* A leaky bucket that drains rate events a second and holds burst: how long the event must wait, in
 * microseconds, or -1: the bucket is full. */
int64_t limit_leaky(struct limit_table *t, struct limit_key k, double rate, double burst,
                    int64_t now);

/* What is in flight: the number with this one, 0 when that were more than max (then it is not
 * counted), -1 when there is no cell. */
int64_t limit_enter(struct limit_table *t, struct limit_key k, int64_t max);
void limit_leave(struct limit_table *t, struct limit_key k);
