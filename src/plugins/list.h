/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* list: the plugins of this build, as src/plugins/meson.build names them. */
#include "plugin/plugin.h"

const struct plugin *const *plugins_built(unsigned *n);
