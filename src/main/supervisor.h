/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * supervisor: the small parent of the gateway process: starts it, passes signals on, starts it
 * again when it dies of a signal (at once, then with growing pauses up to 5 s while it keeps dying
 * young), and has another process take over from it without a lost connection: of a new program
 * (weir upgrade), or with settings that a running one cannot take. It keeps duplicates of the
 * listening sockets, so that what is queued outlives each of them.
 */

#include <stdbool.h>

struct supervisor_conf {
    /* Be the gateway process, with the channel to the supervisor; its exit status. */
    int (*serve)(void *arg, int channel);
    void *arg;
    char **argv;      /* of this process: how a new program is started */
    const char *data; /* the data folder, where `weir upgrade` finds the supervisor */
};

/*
 * Make the data folder ours: our pid in pid_path, which stays locked until this process and its
 * children have ended, however that happens. 0; or -1, said on stderr, when another has it.
 */
int supervisor_claim(const char *pid_path);
/* Run conf->serve() in a process of its own until it ends by itself or by our signals; the exit
 * status for main(). */
int supervisor_run(const struct supervisor_conf *conf);
/* This process was started by a supervisor to be its gateway: the channel; else -1. */
int supervisor_channel(void);
/* This process was the supervisor of an older program, and goes on in its place. */
bool supervisor_goes_on(void);
/* The pid in pid_path while its lock is held, else 0. */
int supervisor_pid(const char *pid_path);
/* weir upgrade: ask the supervisor of the data folder for it and wait; the outcome is said; the
 * exit status. */
int supervisor_ask_upgrade(const char *data);
