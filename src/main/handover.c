/* SPDX-License-Identifier: Apache-2.0 */
/* handover: see handover.h. */
#include "main/handover.h"

#include "base/log.h"
#include "event/poll.h"
#include "net/sockets.h"

#include <string.h>

#define BEGIN_MS 5000 /* the sockets are in the channel before the process starts */

static int channel = -1;
static bool has_sockets;
static struct poll watch;
static struct handover_steps steps;

static void adopt(const struct channel_message *m)
{
    for (unsigned i = 0; i < m->n_fds; i++) {
        has_sockets = sockets_adopt(m->fds[i]) || has_sockets;
    }
}

void handover_begin(int to_supervisor)
{
    struct channel_message m;

    channel = to_supervisor;
    while (channel >= 0 && channel_take(channel, &m, BEGIN_MS) == 1) {
        adopt(&m);
        if (m.word == CHANNEL_SOCKETS_END) {
            return;
        }
    }
}

bool handover_is_supervised(void)
{
    return channel >= 0;
}

bool handover_has_sockets(void)
{
    return has_sockets;
}

void handover_say(enum channel_word word, const char *text)
{
    if (channel >= 0) {
        channel_say(channel, word, text);
    }
}

void handover_tell_sockets(void)
{
    const int *fds;
    unsigned n = sockets_list(&fds);

    if (channel >= 0) {
        int rc = channel_say_sockets(channel, fds, n);
        if (rc < 0) {
            LOG(ERROR, "cannot tell the supervisor of the listening sockets: %s", strerror(-rc));
        }
    }
}

static void on_message(const struct channel_message *m)
{
    switch (m->word) {
    case CHANNEL_QUIET:
        steps.quiet();
        break;
    case CHANNEL_GO_ON:
        steps.go_on(m->text);
        break;
    case CHANNEL_RETIRE:
        steps.retire();
        break;
    case CHANNEL_TELL:
        handover_tell_sockets();
        break;
    default:
        LOG(WARN, "the supervisor said '%c', which this version does not know", (char)m->word);
    }
}

static void on_channel(struct poll *p, unsigned ready)
{
    struct channel_message m;
    int rc;

    while ((rc = channel_hear(channel, &m)) > 0) {
        on_message(&m);
    }
    if (rc < 0) {
        poll_stop(p);
    }
}

/* Messages carry descriptors: the loop must not read them itself. */
void handover_watch(const struct handover_steps *with)
{
    steps = *with;
    if (channel >= 0) {
        poll_start(&watch, channel, POLL_READ, on_channel);
    }
}
