/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * memory: watches the process' resident memory against a budget. Levels: 0; 1 from 85 %
 * (connections are not kept); 2 from 95 % (new requests get 503); 3 from 98 % (connections that
 * keep memory for clients that do not go on are reset).
 */
#include <stdint.h>

/*
 * Look every 100 ms, and every 20 ms from level 1 on, on this thread's loop; on_level(level,
 * excess) when the level changes, and at level 3 each time: excess is what has to become free to be
 * below 95 %. budget in bytes, 0: off. Again with another budget at any time.
 */
void memory_watch(uint64_t budget, void (*on_level)(int level, uint64_t excess));
