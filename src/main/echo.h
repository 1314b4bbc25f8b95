/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* echo: `weir echo`, a tiny upstream that tells what it received: for the first minutes with Weir,
 * examples and tests. */

/* Serve on listen ("127.0.0.1:1980") until SIGTERM or SIGINT; the exit status. */
int echo_run(const char *listen);
