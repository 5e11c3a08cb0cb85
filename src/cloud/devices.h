#pragma once

/*
 * Which field devices a cloud gets, and under which names: the `devices:` section of a cloud.
 */
#include "config/config.h"

/**
 * The cloud's name for field device @device: @device itself, or what `rename` says. Patterns are
 * those of fnmatch(3); a name with a NUL inside matches none of them. Returns false when the cloud does not get this device. The span is @device's
 * or the configuration's. Allocates nothing.
 */
bool fg_devices_map(const struct fg_devices_config *config, struct fg_span device,
		    struct fg_span *ret_name);
