/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* instance: what plugins may know of the instance they run in. main/ fills it before there is
 * traffic; constant then. */
#include "http/server.h"

struct instance {
    struct str id;                      /* the same after a restart */
    struct server_stats (*stats)(void); /* of all cores; any thread */
};
extern struct instance instance;
