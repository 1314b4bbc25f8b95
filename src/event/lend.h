/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * lend: the memory that await_read() lends. Inside knowledge of event/ and of what lies between
 * its sockets and their users (io_layer.h).
 *
 * A thread has one read buffer that every read goes into: it stays in cache, and an idle connection
 * has none. Only the running fiber can hold valid lent memory (parking ends the loan), so a fiber
 * whose lent bytes cannot be sent at once takes the whole buffer away and the thread goes on with
 * another one: nothing is copied.
 *
 * A back end that receives into memory of its own lends that. Then the loan ends when the fiber
 * parks, and the memory goes back.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

/* Where to read to: LEND_BYTES. */
char *lend_buffer(void);
/* n bytes were read there. Under ASan the rest is poisoned. */
void lend_mark(size_t n);
/* The back end's own memory; give(p) is called when the loan of p has ended. */
void lend_own(char *memory, size_t bytes, void (*give)(char *p));
/* n bytes at p, which are there, are lent. */
void lend_out(char *p, size_t n);
/* Under ASan: bytes have come in there; nobody has business there any more. */
void lend_filled(const char *p, size_t n);
void lend_emptied(const char *p, size_t n);
/* The running fiber parks: under ASan what it was lent is poisoned. (A nested one was lent nothing,
 * and its starter's loan goes on.) */
void lend_expire(void);
/* Take the thread's buffer if any of the vectors points into it: to be given back with
 * lend_return(); NULL when none does. */
char *lend_keep(const struct iovec *iov, int iovcnt);
void lend_return(char *buffer);
/* Another buffer of LEND_BYTES, the caller's until lend_return(). */
char *lend_spare(void);
/* Thread end. */
void lend_fini(void);
