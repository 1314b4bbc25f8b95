/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * supervisor: the small parent of the gateway process: starts it, passes signals on, starts it again when it dies of a signal (at once, then with growing pauses up to 5 s while
 * it keeps dying young).
 */

/* Run child() in a process of its own until it ends by itself or by our signals; the exit status for main(). pid_path: where our pid is written while we run. */
int supervisor_run(const char *pid_path, int (*child)(void *arg), void *arg);
/* The pid in pid_path when that process lives, else 0. */
int supervisor_pid(const char *pid_path);
