/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* boot: the gateway process, from config.yaml to serving, and back. Everything here runs on the
 * control thread. */

/* Serve until SIGTERM or SIGQUIT; the exit status. config: path of config.yaml; data: folder of the
 * embedded store and the generated keys; channel: to the supervisor (main/channel.h), -1 without.
 */
int boot_run(const char *config, const char *data, int channel);
/* Read and check config.yaml only: 0 and silence, or 1 and what is wrong. */
int boot_check(const char *config);
