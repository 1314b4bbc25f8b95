/* SPDX-License-Identifier: Apache-2.0 */
/* list: the plugins of this build. */
#include "plugins/list.h"

#define PLUGIN(name) extern const struct plugin name##_plugin;
#include "plugins/plugin_list.inc"
#undef PLUGIN

static const struct plugin *const all[] = {
#define PLUGIN(name) &name##_plugin,
#include "plugins/plugin_list.inc"
#undef PLUGIN
    NULL,
};

const struct plugin *const *plugins_built(unsigned *n)
{
    *n = sizeof(all) / sizeof(all[0]) - 1;
    return all;
}
