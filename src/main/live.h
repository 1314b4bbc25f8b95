/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* live: the configuration in force: applies changes one batch after another and publishes them.
 * Control thread. */
#include "config/snapshot.h"

const struct snapshot *live_snapshot(void);
/* Apply, publish, park until all cores use it. Changes of callers that wait meanwhile go into one
 * snapshot together. */
int live_await_publish(const struct change *changes, size_t n);
/* Apply without publishing: the first content, before there are cores. */
int live_apply(const struct change *changes, size_t n);
/* Publish what there is. */
int live_await_first(void);
/* Put these in place of everything: every object is built anew, as a reload changed what they are
 * built with. */
int live_await_replace(const struct change *changes, size_t n);
/* Objects refused so far because they could not be built. */
unsigned live_refused(void);
