#include "options.h"

#include <string.h>

#define SERVICE_ID_MAX 64

/* IoTDA refuses a connection whose keep alive is outside of these, and recommends the third. */
#define KEEP_ALIVE_MIN_S 30
#define KEEP_ALIVE_MAX_S 1200
#define KEEP_ALIVE_S 120

enum {
	OPTION_MODE,
	OPTION_DEVICE_ID,
	OPTION_SECRET,
	OPTION_SIGN_TYPE,
	OPTION_IDENTITY,
	OPTION_DEVICE,
	OPTION_PRODUCT_ID,
	OPTION_SERVICE_ID,
	OPTION_EVENT_TIME,
	OPTION_COMMAND_NAMES,
	OPTION_ANSWER_WITHIN,
	OPTION_MAX_RATE,
	OPTION_REPORT_STATUS,
	OPTION_MAX_DEVICES,
	N_OPTIONS,
};

static const char *const mode_choices[] = {"gateway", "device", NULL};
static const char *const sign_type_choices[] = {"0", "1", "2", NULL}; /* enum hw_sign_type */
static const char *const identity_choices[] = {"device", "bridge", NULL};
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
	[OPTION_SIGN_TYPE] = {.name = "sign_type",
			      .type = FG_OPTION_CHOICE,
			      .help = "0: HMAC-SHA256; 1: the same, and IoTDA compares the "
				      "gateway's clock with its own; 2: as 1, with HMAC-SM3",
			      .fallback = "0",
			      .choices = sign_type_choices},
	[OPTION_IDENTITY] = {.name = "identity",
			     .type = FG_OPTION_CHOICE,
			     .help = "whose id device_id is: a device's or a bridge's",
			     .fallback = "device",
			     .choices = identity_choices},
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
	if (secret && !hw_sign_in_can((enum hw_sign_type)values[OPTION_SIGN_TYPE].number))
		return "sign_type: the OpenSSL of this machine has no SM3; take 0 or 1";
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
	return NULL;
}

/* What IoTDA takes that is nearest to @wanted_s; 0: what it recommends. */
static unsigned keep_alive_within(unsigned wanted_s)
{
	if (wanted_s == 0)
		return KEEP_ALIVE_S;
	if (wanted_s < KEEP_ALIVE_MIN_S)
		return KEEP_ALIVE_MIN_S;
	return wanted_s > KEEP_ALIVE_MAX_S ? KEEP_ALIVE_MAX_S : wanted_s;
}

const char *hw_options_read(const struct fg_open *with, struct hw_options *ret)
{
	const struct fg_value *values = with->values;
	const char *fault = options_fault(values, with->has_client_certificate);
	unsigned keep_alive_s = keep_alive_within(with->keep_alive_s);

	if (fault)
		return fault;
	*ret = (struct hw_options){
		.mode = (enum hw_mode)values[OPTION_MODE].number,
		.device_id = values[OPTION_DEVICE_ID].string,
		.secret = values[OPTION_SECRET].string,
		.sign_type = (enum hw_sign_type)values[OPTION_SIGN_TYPE].number,
		.is_bridge = values[OPTION_IDENTITY].number == 1,
		.device = values[OPTION_DEVICE].string,
		.product_id = values[OPTION_PRODUCT_ID].string,
		.service_id = values[OPTION_SERVICE_ID].string,
		.has_milliseconds = values[OPTION_EVENT_TIME].number == 1,
		.has_service_names = values[OPTION_COMMAND_NAMES].number == 1,
		.answer_within_ms = values[OPTION_ANSWER_WITHIN].number,
		.reports_status = values[OPTION_REPORT_STATUS].number,
		.max_devices = (uint32_t)values[OPTION_MAX_DEVICES].number,
		.max_rate = (uint32_t)values[OPTION_MAX_RATE].number,
		.keep_alive_s = keep_alive_s,
		.is_keep_alive_bent = with->keep_alive_s > 0 && with->keep_alive_s != keep_alive_s,
	};
	return NULL;
}
