/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * access_log: one line a request in the format of config.yaml (nginx' variables and escaping),
 * gathered per core and written in large pieces by a helper thread, so that a slow disk never stops
 * traffic. What does not fit while writes are behind is dropped and counted.
 */
#include "config/settings.h"
#include "http/req.h"

struct access_log;

/* One a core, on its thread. Opens the file (append). NULL when the log is off or the file cannot
 * be opened (said in the error log). */
struct access_log *access_log_new(const struct settings *s);
/* Add r's line; flushes when the buffer is full. */
void access_log_add(struct access_log *l, struct req *r);
/* Start writing what is gathered (also every 3 s by itself). */
void access_log_flush(struct access_log *l);
/* Write what is left, on this thread, and close. */
void access_log_free(struct access_log *l);
/* The same from a running loop: frees itself when its last write is done. */
void access_log_retire(struct access_log *l);
/* Lines dropped because the disk was behind. */
uint64_t access_log_dropped(const struct access_log *l);
