/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * err: why a configuration was refused, in words for its author. Kept by the caller, no allocation.
 * The first error wins: later calls change nothing.
 */
#include "base/str.h"

struct err {
    char msg[2048];
};

static inline bool err_is_set(const struct err *e)
{
    return e->msg[0] != 0;
}

/* Set the message unless one is there; always -1, so that `return err_set(...)` reads well. */
int err_set(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Put text before the message that is there; always -1. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
