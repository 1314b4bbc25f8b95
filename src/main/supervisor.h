/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * supervisor: the small parent of the gateway process: starts it, passes signals on, starts it
 * again when it dies of a signal (at once, then with growing pauses up to 5 s while it keeps dying
 * young).
 */

/*
 * Make the data folder ours: our pid in pid_path, which stays locked until this process and its
 * child have ended, however that happens. 0; or -1, said on stderr, when another has it.
 */
int supervisor_claim(const char *pid_path);
/* Run child() in a process of its own until it ends by itself or by our signals; the exit status
 * for main(). */
int supervisor_run(int (*child)(void *arg), void *arg);
/* The pid in pid_path while its lock is held, else 0. */
int supervisor_pid(const char *pid_path);
