/* SPDX-License-Identifier: Apache-2.0 */
/* instance: see instance.h. */
#include "plugin/instance.h"

struct instance instance;
