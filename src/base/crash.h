/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * crash: when the process dies of a signal, say which and where. Writes to the error log's
 * descriptor; only async-signal-safe calls.
 */

/* Handle SEGV, BUS, FPE, ILL, ABRT: log the signal and a backtrace, then die of it. Off under
 * AddressSanitizer, which tells more. */
void crash_install(void);
/* A signal stack for the calling thread, so that a fiber that ran out of stack can still be
 * reported. */
void crash_thread_init(void);
