/* SPDX-License-Identifier: Apache-2.0 */
/* channel: see channel.h. */
#include "main/channel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int say(int channel, enum channel_word word, const char *text, const int *fds, unsigned n)
{
    char letter = (char)word, room[CMSG_SPACE(sizeof(int) * CHANNEL_FDS)] = {0};
    struct iovec iov[2] = {{&letter, 1}, {(char *)(size_t)text, text ? strlen(text) : 0}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};

    if (n > 0) {
        m.msg_control = room;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * n);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
    }
    return sendmsg(channel, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int channel_say(int channel, enum channel_word word, const char *text)
{
    return say(channel, word, text, NULL, 0);
}

int channel_say_sockets(int channel, const int *fds, unsigned n)
{
    while (n > CHANNEL_FDS) {
        int rc = say(channel, CHANNEL_SOCKETS, NULL, fds, CHANNEL_FDS);
        if (rc < 0) {
            return rc;
        }
        fds += CHANNEL_FDS;
        n -= CHANNEL_FDS;
    }
    return say(channel, CHANNEL_SOCKETS_END, NULL, fds, n);
}

int channel_hear(int channel, struct channel_message *m)
{
    char letter = 0, room[CMSG_SPACE(sizeof(int) * CHANNEL_FDS)];
    struct iovec iov[2] = {{&letter, 1}, {m->text, sizeof(m->text) - 1}};
    struct msghdr h = {
        .msg_iov = iov, .msg_iovlen = 2, .msg_control = room, .msg_controllen = sizeof(room)};
    ssize_t n;

    do {
        n = recvmsg(channel, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        /* The other side has closed without reading all of ours: what it said before is there. */
    } while (n < 0 && errno == ECONNRESET);
    if (n <= 0) {
        return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    m->word = (enum channel_word)letter;
    m->text[n - 1] = 0;
    m->n_fds = 0;
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
        m->n_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(m->fds, CMSG_DATA(c), sizeof(int) * m->n_fds);
    }
    return 1;
}

int channel_take(int channel, struct channel_message *m, int ms)
{
    struct pollfd p = {.fd = channel, .events = POLLIN};

    return poll(&p, 1, ms) > 0 ? channel_hear(channel, m) : 0;
}
