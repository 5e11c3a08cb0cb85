#include "control/roundtrip.h"

#include <errno.h>
#include <getopt.h>
#include <mosquitto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cloud/names.h"
#include "control/commands.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/span.h"

#define TIMEOUT_S 30
#define TIMEOUT_MAX_S 3600
#define DEVICE_MAX_BYTES 255

/* ---- arguments */

enum {
	CONFIG = 256,
	PLUGIN_DIR,
	STATE,
	ACCOUNT,
	LINK,
	DEVICE,
	CLOUD_DEVICE,
	BROKER,
	TOPIC,
	PAYLOAD,
	VALUE,
	METHOD,
	PARAMS,
	TIMEOUT,
	ANSWER,
	JSON,
};

static const struct option long_options[] = {
	{"config", required_argument, NULL, CONFIG},
	{"plugin-dir", required_argument, NULL, PLUGIN_DIR},
	{"state", required_argument, NULL, STATE},
	{"account", required_argument, NULL, ACCOUNT},
	{"link", required_argument, NULL, LINK},
	{"device", required_argument, NULL, DEVICE},
	{"cloud-device", required_argument, NULL, CLOUD_DEVICE},
	{"broker", required_argument, NULL, BROKER},
	{"topic", required_argument, NULL, TOPIC},
	{"payload", required_argument, NULL, PAYLOAD},
	{"value", required_argument, NULL, VALUE},
	{"method", required_argument, NULL, METHOD},
	{"params", required_argument, NULL, PARAMS},
	{"timeout", required_argument, NULL, TIMEOUT},
	{"answer", no_argument, NULL, ANSWER},
	{"json", no_argument, NULL, JSON},
	{NULL, 0, NULL, 0},
};

/* Where the argument of an option of text goes. */
static const char **text_option(struct fg_roundtrip_options *o, int option)
{
	switch (option) {
	case CONFIG:
		return &o->config;
	case PLUGIN_DIR:
		return &o->plugin_directory;
	case STATE:
		return &o->state;
	case ACCOUNT:
		return &o->account;
	case LINK:
		return &o->link;
	case DEVICE:
		return &o->device;
	case CLOUD_DEVICE:
		return &o->cloud_device;
	case BROKER:
		return &o->broker;
	case TOPIC:
		return &o->topic;
	case PAYLOAD:
		return &o->payload;
	case VALUE:
		return &o->value;
	case METHOD:
		return &o->method;
	case PARAMS:
		return &o->params;
	default:
		return NULL;
	}
}

static int check_options(const struct fg_roundtrip_options *o)
{
	struct fg_json_value value;
	struct fg_json_fault fault;

	if (!o->device)
		return fg_ctl_usage("roundtrip: which device? --device NAME");
	if (!*o->device || strlen(o->device) > DEVICE_MAX_BYTES ||
	    (o->cloud_device && (!*o->cloud_device || strlen(o->cloud_device) > DEVICE_MAX_BYTES)))
		return fg_ctl_usage("roundtrip: the name of a device has 1 to %d bytes",
				    DEVICE_MAX_BYTES);
	if (!o->account)
		return fg_ctl_usage("roundtrip: who looks at it in the cloud? --account FILE, with "
				    "the url of its interface for applications and a user there");
	if (o->method && (!*o->method || strlen(o->method) > DEVICE_MAX_BYTES))
		return fg_ctl_usage("roundtrip: --method: expected a name of 1 to %d bytes",
				    DEVICE_MAX_BYTES);
	if (!o->method && (o->params || o->is_answering))
		return fg_ctl_usage("roundtrip: %s goes with --method",
				    o->params ? "--params" : "--answer");
	if (o->params && fg_json_check(fg_span_str(o->params), &value, &fault) < 0)
		return fg_ctl_usage("roundtrip: --params: expected JSON: %s", fault.reason);
	return 0;
}

static int read_options(int argc, char **argv, struct fg_roundtrip_options *o)
{
	uint64_t seconds;
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		const char **text = text_option(o, c);

		if (text)
			*text = optarg;
		else if (c == ANSWER)
			o->is_answering = true;
		else if (c == JSON)
			o->is_json = true;
		else if (c != TIMEOUT)
			return fg_ctl_usage("roundtrip: wrong option");
		else if (!fg_ctl_number(optarg, &seconds) || seconds < 1 || seconds > TIMEOUT_MAX_S)
			return fg_ctl_usage("roundtrip: --timeout: expected 1 to %d seconds",
					    TIMEOUT_MAX_S);
		else
			o->timeout_ms = (int64_t)seconds * 1000;
	}
	if (optind < argc)
		return fg_ctl_usage("roundtrip: what is \"%s\"?", argv[optind]);
	return check_options(o);
}

/* ---- what can be checked beforehand; each returns 0, or FG_EXIT_* when it was said what is wrong */

static int say_report(struct fg_report *report, int r)
{
	for (size_t i = 0; i < fg_report_count(report); i++)
		fg_ctl_fail("%s", fg_report_line(report, i));
	return r == -ENOMEM ? fg_ctl_fail("out of memory") : FG_EXIT_PROBLEMS;
}

static int take_config(struct fg_roundtrip *rt, struct fg_report *report)
{
	int r = fg_config_load(rt->with.config, report, &rt->config);

	if (r == 0)
		r = fg_mapping_new(rt->config, report, &rt->mapping);
	if (r == 0)
		r = fg_command_map_new(rt->config, report, &rt->commands);
	if (r < 0)
		return say_report(report, r);
	if (!rt->with.state)
		rt->with.state = rt->config->state_directory;
	return 0;
}

static int take_link(struct fg_roundtrip *rt)
{
	const struct fg_config *config = rt->config;

	if (!rt->with.link && config->n_clouds > 1)
		return fg_ctl_usage("roundtrip: there are %zu clouds: which? --link NAME",
				    config->n_clouds);
	for (size_t i = 0; i < config->n_clouds; i++)
		if (!rt->with.link || strcmp(config->clouds[i].name, rt->with.link) == 0)
			rt->link = &config->clouds[i];
	if (!rt->link)
		return fg_ctl_usage("roundtrip: no cloud is called \"%s\" in %s", rt->with.link,
				    rt->with.config);
	return 0;
}

/* Returns 0, -EINVAL (reported) or -ENOMEM. */
static int take_link_values(struct fg_roundtrip *rt, struct fg_report *report)
{
	const struct fg_option *table = fg_plugin_get(rt->plugin)->options;
	size_t n = 0;

	while (table[n].name)
		n++;
	rt->link_values = calloc(n + 1, sizeof(*rt->link_values));
	if (!rt->link_values)
		return -ENOMEM;
	return fg_config_options(rt->config, rt->link, table, report, rt->link_values);
}

static int take_plugin(struct fg_roundtrip *rt, struct fg_report *report)
{
	const char *directory = rt->with.plugin_directory;
	struct fg_error err = {0};
	int r;

	r = fg_plugin_load(directory ? directory : rt->config->plugin_directory, rt->link->plugin,
			   &rt->plugin, &err);
	if (r < 0)
		return fg_ctl_fail("%s", r == -ENOMEM ? "out of memory" : err.text);
	rt->rest = fg_plugin_get(rt->plugin)->rest;
	if (!rt->rest || rt->rest->size < sizeof(*rt->rest))
		return fg_ctl_fail("plugin %s knows no way to look at this cloud from the other "
				   "side",
				   rt->link->plugin);
	r = take_link_values(rt, report);
	if (r == 0)
		r = fg_account_load(rt->with.account, rt->link->plugin, rt->rest->options, report,
				    &rt->account);
	return r < 0 ? say_report(report, r) : 0;
}

/* What the cloud calls the device, renames it has made itself included. */
static int take_names(struct fg_roundtrip *rt)
{
	struct fg_names_options options = {.config = &rt->link->devices,
					   .connector = rt->connector};
	FG_CLEANUP(fg_free_p) char *path = NULL;
	struct fg_names *names = NULL;
	struct fg_error err = {0};
	struct fg_span name;
	int r;

	if (asprintf(&path, "%s/links/%s.names", rt->with.state, rt->link->name) < 0)
		return fg_ctl_fail("out of memory");
	if (access(path, R_OK) == 0)
		options.path = path;
	r = fg_names_open(&options, &names, &err);
	if (r < 0)
		return fg_ctl_fail("%s", r == -ENOMEM ? "out of memory" : err.text);
	r = 0;
	if (fg_names_to_cloud(names, fg_span_str(rt->with.device), &name)) {
		if (rt->with.cloud_device)
			name = fg_span_str(rt->with.cloud_device);
		snprintf(rt->cloud_device, sizeof(rt->cloud_device), "%.*s", FG_SPAN_ARGS(name));
	} else {
		r = fg_ctl_fail("link %s gets nothing of device \"%s\": see clouds.%s.devices, and "
				"whether the cloud has deleted it",
				rt->link->name, rt->with.device, rt->link->name);
	}
	fg_names_free(names);
	return r;
}

static int take_reading(struct fg_roundtrip *rt)
{
	const struct fg_reading_wish wish = {
		.device = rt->with.device,
		.topic = rt->with.topic,
		.payload = rt->with.payload,
		.value = rt->with.value,
		.marker = rt->marker,
		.now_us = fg_clock_utc_us(),
	};
	struct fg_error err = {0};

	switch (fg_reading_find(rt->config, rt->mapping, &wish, &rt->reading, &err)) {
	case 0:
		return 0;
	case -EINVAL:
		return fg_ctl_usage("roundtrip: %s", err.text);
	case -ENOENT:
		return fg_ctl_fail("no reading of device \"%s\": %s", rt->with.device, err.text);
	default:
		return fg_ctl_fail("out of memory");
	}
}

static int take_command(struct fg_roundtrip *rt)
{
	struct fg_error err = {0};
	int r;

	if (!rt->with.method)
		return 0;
	r = fg_expected_new(rt->config, rt->commands, rt->with.device, rt->with.method,
			    &rt->expected, &err);
	return r < 0 ? fg_ctl_fail("%s", r == -ENOMEM ? "out of memory" : err.text) : 0;
}

static int take_broker(struct fg_roundtrip *rt)
{
	const char *wanted = rt->expected ? fg_expected_broker(rt->expected) : NULL;
	const struct fg_config *config = rt->config;

	if (wanted && rt->with.broker && strcmp(wanted, rt->with.broker) != 0)
		return fg_ctl_usage("roundtrip: the command goes to broker %s, not %s", wanted,
				    rt->with.broker);
	if (rt->with.broker)
		wanted = rt->with.broker;
	for (size_t i = config->n_brokers; i-- > 0;)
		if (!wanted || strcmp(config->brokers[i].name, wanted) == 0)
			rt->broker = &config->brokers[i];
	return rt->broker ? 0 : fg_ctl_usage("roundtrip: no broker is called \"%s\"", wanted);
}

static int prepare(struct fg_roundtrip *rt)
{
	struct fg_report *report = fg_report_new();
	int r;

	if (!report)
		return fg_ctl_fail("out of memory");
	r = take_config(rt, report);
	if (r == 0)
		r = take_link(rt);
	if (r == 0)
		r = take_plugin(rt, report);
	if (r == 0)
		r = take_names(rt);
	if (r == 0)
		r = take_reading(rt);
	if (r == 0)
		r = take_command(rt);
	if (r == 0)
		r = take_broker(rt);
	fg_report_free(report);
	return r;
}

static void release(struct fg_roundtrip *rt)
{
	fg_expected_free(rt->expected);
	fg_reading_release(&rt->reading);
	fg_command_map_free(rt->commands);
	fg_mapping_free(rt->mapping);
	fg_account_free(rt->account);
	free(rt->link_values);
	if (rt->plugin)
		fg_plugin_unload(rt->plugin);
	fg_config_free(rt->config);
	fg_connector_free(rt->connector);
	if (rt->loop)
		ev_loop_destroy(rt->loop);
	mosquitto_lib_cleanup();
}

int fg_ctl_roundtrip(int argc, char **argv)
{
	struct fg_roundtrip rt = {
		.with = {.config = FG_CONFIG_FILE, .timeout_ms = TIMEOUT_S * 1000},
	};
	int r = read_options(argc, argv, &rt.with);

	if (r != 0)
		return r;
	signal(SIGPIPE, SIG_IGN);
	mosquitto_lib_init();
	/* Below 2^53: no cloud makes another number of it. */
	rt.marker = fg_clock_utc_us();
	rt.loop = ev_loop_new(EVFLAG_NOENV);
	if (!rt.loop || fg_connector_new(rt.loop, &rt.connector) < 0)
		r = fg_ctl_fail("out of memory");
	else
		r = prepare(&rt);
	if (r == 0)
		r = fg_roundtrip_run(&rt) ? FG_EXIT_OK : FG_EXIT_PROBLEMS;
	release(&rt);
	return fg_ctl_flush(r);
}
