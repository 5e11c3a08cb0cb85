#include "options.h"

#include <string.h>

#include "sign_in.h"

#define SERVICE_ID_MAX 64
#define VERSION_MAX 255

enum {
	OPTION_MODE,
	OPTION_DEVICE_ID,
	OPTION_SECRET,
	OPTION_CHECK_TIME,
	OPTION_DEVICE,
	OPTION_PRODUCT_ID,
	OPTION_SERVICE_ID,
	OPTION_EVENT_TIME,
	OPTION_COMMAND_NAMES,
	OPTION_ANSWER_WITHIN,
	OPTION_MAX_RATE,
	OPTION_REPORT_STATUS,
	OPTION_MAX_DEVICES,
	OPTION_UNKNOWN_VERSION,
	N_OPTIONS,
};

static const char *const mode_choices[] = {"gateway", "device", NULL};
static const char *const event_time_choices[] = {"seconds", "milliseconds", NULL};
static const char *const command_names_choices[] = {"plain", "service", NULL};

const struct fg_option hw_option_table[] = {
	[OPTION_MODE] = {.name = "mode",
			 .type = FG_OPTION_CHOICE,
			 .help = "what device_id is: a gateway with sub-devices, or one device",
			 .fallback = "gateway",
			 .choices = mode_choices},
	[OPTION_DEVICE_ID] = {.name = "device_id",
			      .type = FG_OPTION_STRING,
			      .flags = FG_OPTION_REQUIRED,
			      .help = "the id IoTDA gave the gateway or device"},
	[OPTION_SECRET] = {.name = "secret",
			   .type = FG_OPTION_SECRET,
			   .help = "its secret; absent: it has a certificate"},
	[OPTION_CHECK_TIME] = {.name = "check_time",
			       .type = FG_OPTION_BOOLEAN,
			       .help = "let IoTDA compare the gateway's clock with its own when it "
				       "connects",
			       .fallback = "false"},
	[OPTION_DEVICE] = {.name = "device",
			   .type = FG_OPTION_STRING,
			   .help = "mode device: send only what this device says"},
	[OPTION_PRODUCT_ID] =
		{.name = "product_id",
		 .type = FG_OPTION_STRING,
		 .help = "mode gateway: the id of a sub-device is product_id, '_' and "
			 "its name; default: its name"},
	[OPTION_SERVICE_ID] = {.name = "service_id",
			       .type = FG_OPTION_STRING,
			       .help = "the service of a message that names no stream",
			       .fallback = "default"},
	[OPTION_EVENT_TIME] = {.name = "event_time",
			       .type = FG_OPTION_CHOICE,
			       .help = "how fine times are told",
			       .fallback = "seconds",
			       .choices = event_time_choices},
	[OPTION_COMMAND_NAMES] = {.name = "command_names",
				  .type = FG_OPTION_CHOICE,
				  .help = "what a command is called here: START, or pump.START "
					  "with its service",
				  .fallback = "plain",
				  .choices = command_names_choices},
	[OPTION_ANSWER_WITHIN] = {.name = "answer_within",
				  .type = FG_OPTION_DURATION,
				  .help = "how long a device may take to answer; IoTDA waits 20 s",
				  .fallback = "15s",
				  .min = 1000,
				  .max = 19000},
	[OPTION_MAX_RATE] = {.name = "max_rate",
			     .type = FG_OPTION_INTEGER,
			     .help = "publishes in a second, of IoTDA's limit; 0: no limit",
			     .fallback = "50",
			     .min = 0,
			     .max = 10000},
	[OPTION_REPORT_STATUS] = {.name = "report_status",
				  .type = FG_OPTION_BOOLEAN,
				  .help = "mode gateway: tell IoTDA which sub-devices are there",
				  .fallback = "true"},
	[OPTION_MAX_DEVICES] = {.name = "max_devices",
				.type = FG_OPTION_INTEGER,
				.help = "mode gateway: sub-devices whose status is kept in mind",
				.fallback = "10000",
				.min = 1,
				.max = 1000000},
	[OPTION_UNKNOWN_VERSION] = {.name = "unknown_version",
				    .type = FG_OPTION_STRING,
				    .help = "what IoTDA is told when it asks for a version nobody "
					    "knows; default: nothing"},
	[N_OPTIONS] = {0},
};

bool hw_is_id(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '_' || c == '-'))
			return false;
	}
	return size > 0 && size <= HW_DEVICE_ID_MAX;
}

static const char *options_fault(const struct fg_value *values, bool has_certificate)
{
	const char *device_id = values[OPTION_DEVICE_ID].string;
	const char *secret = values[OPTION_SECRET].string;
	const char *device = values[OPTION_DEVICE].string;
	const char *product_id = values[OPTION_PRODUCT_ID].string;
	const char *service_id = values[OPTION_SERVICE_ID].string;
	const char *unknown_version = values[OPTION_UNKNOWN_VERSION].string;
	bool is_gateway = values[OPTION_MODE].number == HW_MODE_GATEWAY;

	if (!device_id || !hw_is_id(device_id, strlen(device_id)))
		return "device_id: expected 1 to 128 letters, digits, '_' and '-'";
	if (secret && !*secret)
		return "secret is empty";
	if (secret && has_certificate)
		return "secret excludes a client certificate in tls: a device of IoTDA has one or "
		       "the other";
	if (!secret && !has_certificate)
		return "credentials are missing: give secret, or a client certificate in tls";
	if (device && is_gateway)
		return "device is for mode: device; a gateway says which device speaks in each "
		       "message";
	if (device && (!*device || strlen(device) > 255))
		return "device: expected a name of 1 to 255 bytes";
	if (product_id && !is_gateway)
		return "product_id is for mode: gateway";
	if (product_id && !hw_is_id(product_id, strlen(product_id)))
		return "product_id: expected letters, digits, '_' and '-'";
	if (!service_id || !*service_id || strlen(service_id) > SERVICE_ID_MAX)
		return "service_id: expected 1 to 64 bytes";
	if (unknown_version && (!*unknown_version || strlen(unknown_version) > VERSION_MAX))
		return "unknown_version: expected 1 to 255 bytes";
	return NULL;
}

const char *hw_options_read(const struct fg_open *with, struct hw_options *ret)
{
	const struct fg_value *values = with->values;
	const char *fault = options_fault(values, with->has_client_certificate);

	if (fault)
		return fault;
	*ret = (struct hw_options){
		.mode = (enum hw_mode)values[OPTION_MODE].number,
		.device_id = values[OPTION_DEVICE_ID].string,
		.secret = values[OPTION_SECRET].string,
		.is_time_checked = values[OPTION_CHECK_TIME].number,
		.device = values[OPTION_DEVICE].string,
		.product_id = values[OPTION_PRODUCT_ID].string,
		.service_id = values[OPTION_SERVICE_ID].string,
		.has_milliseconds = values[OPTION_EVENT_TIME].number == 1,
		.has_service_names = values[OPTION_COMMAND_NAMES].number == 1,
		.answer_within_ms = values[OPTION_ANSWER_WITHIN].number,
		.reports_status = values[OPTION_REPORT_STATUS].number,
		.max_devices = (uint32_t)values[OPTION_MAX_DEVICES].number,
		.unknown_version = values[OPTION_UNKNOWN_VERSION].string,
		.max_rate = (uint32_t)values[OPTION_MAX_RATE].number,
	};
	return NULL;
}
