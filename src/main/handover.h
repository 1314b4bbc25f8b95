/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * handover: a gateway process and its supervisor (channel.h): the listening sockets it begins with
 * and tells of, and the steps in which one process takes over from another. Control thread.
 */
#include "main/channel.h"

#include <stdbool.h>

struct handover_steps {
    /* Let go of the store; handover_say(CHANNEL_IS_QUIET or CHANNEL_FAILED). */
    void (*quiet)(void);
    /* All as before: the other did not come up. */
    void (*go_on)(const char *why);
    /* It did: drain and end. */
    void (*retire)(void);
};

/* Take the sockets that the supervisor has. Before the loop runs; channel -1: there is no
 * supervisor, and everything here does nothing. */
void handover_begin(int channel);
/* Listen to the supervisor from now on, on this thread's loop. */
void handover_watch(const struct handover_steps *steps);
bool handover_is_supervised(void);
/* This process has taken sockets over: another serves, or has crashed. */
bool handover_has_sockets(void);
void handover_say(enum channel_word word, const char *text);
/* Tell the supervisor which listening sockets there are now. */
void handover_tell_sockets(void);
