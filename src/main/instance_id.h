/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* instance_id: the name of this instance, which stays: what the file apisix.uid in the data folder
 * holds, else apisix.id of config.yaml, else a UUID that is made once and kept in that file. */
#include "config/settings.h"

/* Into *id, for the life of the process. 0, or -1 with e. */
int instance_id_load(const char *data, const struct settings *s, struct str *id, struct err *e);
