#include "cloud/devices.h"

#include <fnmatch.h>

#include "util/span.h"

static bool matches_any(char *const *patterns, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (fnmatch(patterns[i], name, 0) == 0)
			return true;
	return false;
}

bool fg_devices_map(const struct fg_devices_config *config, struct fg_span device,
		    struct fg_span *ret_name)
{
	char name[256];

	*ret_name = device;
	if (config->n_include == 0 && config->n_exclude == 0 && config->n_rename == 0)
		return true;
	if (device.size >= sizeof(name) || memchr(device.data, '\0', device.size))
		return false;
	memcpy(name, device.data, device.size);
	name[device.size] = '\0';
	if (config->n_include > 0 && !matches_any(config->include, config->n_include, name))
		return false;
	if (matches_any(config->exclude, config->n_exclude, name))
		return false;
	for (size_t i = 0; i < config->n_rename; i++)
		if (strcmp(config->rename[i].from, name) == 0)
			*ret_name = fg_span_str(config->rename[i].to);
	return true;
}
