/*
 * A plugin of another ABI: the daemon must read nothing but the first member, and say so.
 */
#include "fieldgate/plugin.h"

FG_PLUGIN_EXPORT const struct fg_plugin fg_plugin = {
	.abi = FG_PLUGIN_ABI + 1,
	.size = 8,
	.name = (const char *)1,
};
