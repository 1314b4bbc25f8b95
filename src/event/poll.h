/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * poll: descriptors that somebody else reads and writes (c-ares), or that are no streams.
 * Level-triggered, no fiber.
 *
 * Owned by the caller, in place; must not move while started. fn may stop and free it.
 */
#include <stdint.h>

#define POLL_READ 1U
#define POLL_WRITE 2U

struct poll {
    int fd;
    uint32_t slot;
    unsigned events;                            /* the back end's */
    void (*fn)(struct poll *p, unsigned ready); /* ready: POLL_ bits; an error sets both */
};

/* Call p->fn whenever fd is ready for what events says. -errno on failure. */
int poll_start(struct poll *p, int fd, unsigned events, void (*fn)(struct poll *p, unsigned ready));
int poll_change(struct poll *p, unsigned events);
/* fd is not closed. */
void poll_stop(struct poll *p);
