/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * channel: what the supervisor and a gateway process say to each other: messages over a pair of
 * Unix sockets (SOCK_SEQPACKET), a word each with a text or listening sockets. Nothing here waits
 * but channel_take(). The two may be of different versions, so words are never given another
 * meaning.
 */
#include <stddef.h>

enum channel_word {
    /* both ways: the listening sockets there are, in messages of some; END is the last of a set */
    CHANNEL_SOCKETS = 's',
    CHANNEL_SOCKETS_END = 'S',
    /* to the gateway */
    CHANNEL_QUIET = 'q',  /* stop the Admin API, write nothing any more, say so */
    CHANNEL_GO_ON = 'g',  /* another did not come up: all as before. Text: why */
    CHANNEL_RETIRE = 'r', /* another has taken over: drain and end */
    CHANNEL_TELL = 't',   /* say the sockets again */
    /* to the supervisor */
    CHANNEL_IS_QUIET = 'Q', /* nothing is written any more */
    CHANNEL_READY = 'R',    /* serving. Text: the version */
    CHANNEL_FAILED = 'F',   /* it cannot. Text: why */
    CHANNEL_RENEW = 'N',    /* these settings need a new process of the same program */
};

#define CHANNEL_FDS 128   /* of one message */
#define CHANNEL_TEXT 1024 /* longer ones are cut */

struct channel_message {
    enum channel_word word;
    char text[CHANNEL_TEXT]; /* never NULL; "" */
    int fds[CHANNEL_FDS];    /* the receiver's */
    unsigned n_fds;
};

/* 0 or -errno. text may be NULL. */
int channel_say(int channel, enum channel_word word, const char *text);
int channel_say_sockets(int channel, const int *fds, unsigned n);
/* 1: a message, 0: none now, -1: the other side is gone. */
int channel_hear(int channel, struct channel_message *m);
/* The same, but wait for it: at most ms. */
int channel_take(int channel, struct channel_message *m, int ms);
