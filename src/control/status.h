/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* status: the status server (control-api.md section 3): /status is always ok, /status/ready once
 * the stored configuration is in force. */
#include "http/req.h"

void status_handle(struct req *r);
void status_set_ready(void);
