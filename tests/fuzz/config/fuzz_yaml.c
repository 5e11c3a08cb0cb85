/*
 * Any bytes as fieldgate.yaml: parsed, checked, and the first cloud's own keys read by a plugin's
 * table.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "../fuzz.h"
#include "config/config.h"

static const char *const modes[] = {"gateway", "device", NULL};
static const struct fg_option options[] = {
	{"access_token", FG_OPTION_SECRET, 0, "", NULL, NULL, 0, 0},
	{"device_type", FG_OPTION_STRING, FG_OPTION_REQUIRED, "", NULL, NULL, 0, 0},
	{"max_devices", FG_OPTION_INTEGER, 0, "", "10000", NULL, 1, 1000000},
	{"is_quiet", FG_OPTION_BOOLEAN, 0, "", "false", NULL, 0, 0},
	{"mode", FG_OPTION_CHOICE, 0, "", "gateway", modes, 0, 0},
	{"lifetime", FG_OPTION_DURATION, 0, "", NULL, NULL, 1000, 86400000},
	{0},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fg_value values[sizeof(options) / sizeof(options[0])];
	struct fg_report *report = fg_report_new();
	struct fg_config *config = NULL;
	int r;

	if (!report)
		return 0;
	r = fg_config_load_text("fuzz.yaml", fg_span_of(data, size), report, &config);
	assert(r == -ENOMEM || (r < 0) == (fg_report_count(report) > 0));
	assert(r < 0 || config);
	for (size_t i = 0; config && i < config->n_clouds; i++)
		fg_config_options(config, &config->clouds[i], options, report, values);
	for (size_t i = 0; i < fg_report_count(report); i++)
		assert(fg_report_line(report, i));
	fg_config_free(config);
	fg_report_free(report);
	return 0;
}
