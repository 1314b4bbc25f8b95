/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * memory: watches the process' resident memory against a budget. Levels: 0; 1 from 85 %
 * (connections are not kept); 2 from 95 % (new requests get 503).
 */
#include <stdint.h>

/* Look every 100 ms on this thread's loop; on_change(level) when the level changes. budget in
 * bytes, 0: off. Again with another budget at any time. */
void memory_watch(uint64_t budget, void (*on_change)(int level));
