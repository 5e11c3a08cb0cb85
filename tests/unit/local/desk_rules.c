#include "desk_rules.h"

#include <stdlib.h>

static char *pumps[] = {(char *)"pump*"}, *lamps[] = {(char *)"lamp*"},
	    *valves[] = {(char *)"valve*"}, *horns[] = {(char *)"horn*"},
	    *motors[] = {(char *)"motor*"}, *bells[] = {(char *)"bell*"};

static struct fg_command_config rules[] = {
	{.devices = pumps,
	 .n_devices = 1,
	 .topic = (char *)"pump/{device}/{command}",
	 .payload = (char *)"{\"id\":{id},\"p\":{params}}",
	 .qos = 1,
	 .response = (char *)"pump/{device}/done",
	 .correlate = FG_CORRELATE_PAYLOAD,
	 .correlate_path = (char *)"$.id",
	 .result_path = (char *)"$.v",
	 .error_path = (char *)"$.e",
	 .timeout_ms = 30000,
	 .max_open = 2},
	{.devices = lamps,
	 .n_devices = 1,
	 .topic = (char *)"lamp/{device}/set",
	 .qos = 1,
	 .response = (char *)"lamp/{device}/state",
	 .timeout_ms = 30000,
	 .max_open = 1},
	{.devices = valves,
	 .n_devices = 1,
	 .topic = (char *)"valve/{device}/{id}",
	 .qos = 1,
	 .response = (char *)"valve/{device}/{id}/done",
	 .correlate = FG_CORRELATE_TOPIC,
	 .offline = FG_OFFLINE_WAIT,
	 .timeout_ms = 24 * 3600 * 1000,
	 .max_open = 1},
	{.devices = horns,
	 .n_devices = 1,
	 .topic = (char *)"horn/{device}",
	 .qos = 1,
	 .timeout_ms = 30000,
	 .max_open = 1},
	{.devices = motors,
	 .n_devices = 1,
	 .topic = (char *)"motor/{device}",
	 .qos = 1,
	 .correlate = FG_CORRELATE_MQTT5,
	 .offline = FG_OFFLINE_WAIT,
	 .timeout_ms = 24 * 3600 * 1000,
	 .max_open = 1,
	 .may_repeat = true},
	{.devices = bells,
	 .n_devices = 1,
	 .topic = (char *)"bell/{device}/{id}",
	 .qos = 0,
	 .response = (char *)"bell/{device}/{id}/done",
	 .correlate = FG_CORRELATE_TOPIC,
	 .timeout_ms = 30000,
	 .max_open = 1},
};

struct fg_command_map *desk_rules_map(void)
{
	struct fg_report *report = fg_report_new();
	struct fg_config config = {
		.name = (char *)"gw",
		.commands = rules,
		.n_commands = sizeof(rules) / sizeof(rules[0]),
		.max_message_bytes = 1024,
	};
	struct fg_command_map *map;

	if (!report || fg_command_map_new(&config, report, &map) < 0)
		abort();
	fg_report_free(report);
	return map;
}
