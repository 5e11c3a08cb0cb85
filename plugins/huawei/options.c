#include "options.h"

#include <string.h>

#define SERVICE_ID_MAX 64
#define VERSION_MAX 255
#define KEYWORD_MAX 256

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
	OPTION_BOOTSTRAP,
	OPTION_SCOPE_ID,
	OPTION_GROUP_SECRET,
	OPTION_STRATEGY_KEYWORD,
	OPTION_DEVICE,
	OPTION_PRODUCT_ID,
	OPTION_SERVICE_ID,
	OPTION_EVENT_TIME,
	OPTION_COMMAND_NAMES,
	OPTION_ANSWER_WITHIN,
	OPTION_MAX_RATE,
	OPTION_ENCODING,
	OPTION_TIME_SYNC,
	OPTION_REPORT_STATUS,
	OPTION_OFFLINE_AFTER,
	OPTION_SYNC,
	OPTION_AUTO_ADD,
	OPTION_ON_DELETE,
	OPTION_MAX_DEVICES,
	OPTION_LAST_VALUES,
	OPTION_UNKNOWN_VERSION,
	N_OPTIONS,
};

static const char *const mode_choices[] = {"gateway", "device", NULL};
static const char *const sign_type_choices[] = {"0", "1", "2", NULL}; /* enum hw_sign_type */
static const char *const identity_choices[] = {"device", "bridge", NULL};
static const char *const encoding_choices[] = {"plain", "gzip", NULL};
static const char *const event_time_choices[] = {"seconds", "milliseconds", NULL};
static const char *const command_names_choices[] = {"plain", "service", NULL};

static const char *const on_delete_choices[] = {"mute", "recreate", NULL};

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
	[OPTION_BOOTSTRAP] = {.name = "bootstrap",
			      .type = FG_OPTION_BOOLEAN,
			      .help = "url is that of the bootstrap service, which says where "
				      "IoTDA is",
			      .fallback = "false"},
	[OPTION_SCOPE_ID] = {.name = "scope_id",
			     .type = FG_OPTION_STRING,
			     .help = "bootstrap: the scope id of the registration group the device "
				     "belongs to; absent: it is registered by itself"},
	[OPTION_GROUP_SECRET] =
		{.name = "group_secret",
		 .type = FG_OPTION_SECRET,
		 .help = "bootstrap with a scope_id: the group's secret, in Base64; "
			 "absent: it has a certificate"},
	[OPTION_STRATEGY_KEYWORD] = {.name = "strategy_keyword",
				     .type = FG_OPTION_STRING,
				     .help = "bootstrap: what a static strategy knows the device "
					     "by, when that is to be reported"},
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
	[OPTION_ENCODING] = {.name = "encoding",
			     .type = FG_OPTION_CHOICE,
			     .help = "how reports travel: plain, or gzip where that is smaller",
			     .fallback = "plain",
			     .choices = encoding_choices},
	[OPTION_TIME_SYNC] = {.name = "time_sync",
			      .type = FG_OPTION_BOOLEAN,
			      .help = "ask IoTDA for the time while this machine does not know it",
			      .fallback = "true"},
	[OPTION_REPORT_STATUS] = {.name = "report_status",
				  .type = FG_OPTION_BOOLEAN,
				  .help = "mode gateway: tell IoTDA which sub-devices are there",
				  .fallback = "true"},
	[OPTION_OFFLINE_AFTER] =
		{.name = "offline_after",
		 .type = FG_OPTION_DURATION,
		 .help = "mode gateway: after a start, so long a sub-device that IoTDA shows "
			 "online may be silent until IoTDA is told that it is not there",
		 .fallback = "5min",
		 .min = 0,
		 .max = 86400000},
	[OPTION_SYNC] = {.name = "sync",
			 .type = FG_OPTION_BOOLEAN,
			 .help = "mode gateway: ask IoTDA after each connect which sub-devices it "
				 "has, and what it calls them",
			 .fallback = "true"},
	[OPTION_AUTO_ADD] = {.name = "auto_add",
			     .type = FG_OPTION_BOOLEAN,
			     .help = "mode gateway: add sub-devices that IoTDA does not have, as "
				     "devices of product_id",
			     .fallback = "false"},
	[OPTION_ON_DELETE] = {.name = "on_delete",
			      .type = FG_OPTION_CHOICE,
			      .help = "mode gateway: what becomes of a sub-device that was deleted "
				      "in IoTDA",
			      .fallback = "mute",
			      .choices = on_delete_choices},
	[OPTION_MAX_DEVICES] = {.name = "max_devices",
				.type = FG_OPTION_INTEGER,
				.help = "mode gateway: sub-devices that are kept in mind",
				.fallback = "10000",
				.min = 1,
				.max = 1000000},
	[OPTION_LAST_VALUES] =
		{.name = "last_values",
		 .type = FG_OPTION_INTEGER,
		 .help = "KiB of memory for what devices said last, for when IoTDA asks",
		 .fallback = "1024",
		 .min = 0,
		 .max = 65536},
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

static const char *bootstrap_fault(const struct fg_value *values, bool has_certificate)
{
	const char *scope_id = values[OPTION_SCOPE_ID].string;
	const char *group_secret = values[OPTION_GROUP_SECRET].string;
	const char *keyword = values[OPTION_STRATEGY_KEYWORD].string;

	if (!values[OPTION_BOOTSTRAP].number)
		return scope_id || group_secret || keyword
			       ? "scope_id, group_secret and strategy_keyword are for bootstrap: "
				 "true"
			       : NULL;
	if (values[OPTION_IDENTITY].number == 1)
		return "bootstrap is for devices; a bridge has none";
	if (keyword && (!*keyword || strlen(keyword) > KEYWORD_MAX))
		return "strategy_keyword: expected 1 to 256 bytes";
	if (group_secret && !scope_id)
		return "group_secret is for a device of a registration group: give scope_id, too";
	if (!scope_id)
		return NULL;
	if (strlen(scope_id) > HW_SCOPE_ID_MAX || !hw_is_id(scope_id, strlen(scope_id)))
		return "scope_id: expected 1 to 64 letters, digits, '_' and '-'";
	if (values[OPTION_SECRET].string)
		return "secret excludes scope_id: a device of a registration group gets its own "
		       "secret by bootstrap";
	if (!group_secret == !has_certificate)
		return "a device of a registration group needs one of group_secret and a client "
		       "certificate in tls";
	return NULL;
}

/* Nothing of a registration group is a credential at IoTDA itself. */
static const char *credentials_fault(const struct fg_value *values, bool has_certificate)
{
	const char *secret = values[OPTION_SECRET].string;

	if (secret && !*secret)
		return "secret is empty";
	if (secret && has_certificate)
		return "secret excludes a client certificate in tls: a device of IoTDA has one or "
		       "the other";
	if (!secret && !has_certificate && !values[OPTION_GROUP_SECRET].string)
		return "credentials are missing: give secret, or a client certificate in tls";
	if (!hw_sign_in_can((enum hw_sign_type)values[OPTION_SIGN_TYPE].number))
		return "sign_type: the OpenSSL of this machine has no SM3; take 0 or 1";
	return NULL;
}

static const char *options_fault(const struct fg_value *values, bool has_certificate)
{
	const char *device_id = values[OPTION_DEVICE_ID].string;
	const char *device = values[OPTION_DEVICE].string;
	const char *product_id = values[OPTION_PRODUCT_ID].string;
	const char *service_id = values[OPTION_SERVICE_ID].string;
	const char *unknown_version = values[OPTION_UNKNOWN_VERSION].string;
	bool is_gateway = values[OPTION_MODE].number == HW_MODE_GATEWAY;
	const char *fault;

	if (!device_id || !hw_is_id(device_id, strlen(device_id)))
		return "device_id: expected 1 to 128 letters, digits, '_' and '-'";
	fault = bootstrap_fault(values, has_certificate);
	if (!fault)
		fault = credentials_fault(values, has_certificate);
	if (fault)
		return fault;
	if (device && is_gateway)
		return "device is for mode: device; a gateway says which device speaks in each "
		       "message";
	if (device && (!*device || strlen(device) > 255))
		return "device: expected a name of 1 to 255 bytes";
	if (product_id && !is_gateway)
		return "product_id is for mode: gateway";
	if (product_id && !hw_is_id(product_id, strlen(product_id)))
		return "product_id: expected letters, digits, '_' and '-'";
	if (values[OPTION_AUTO_ADD].number && !is_gateway)
		return "auto_add is for mode: gateway";
	if (values[OPTION_AUTO_ADD].number && !product_id)
		return "auto_add needs product_id: the product that IoTDA makes new sub-devices of";
	if (values[OPTION_ON_DELETE].number == 1 && !values[OPTION_AUTO_ADD].number)
		return "on_delete: recreate needs auto_add";
	if (!service_id || !*service_id || strlen(service_id) > SERVICE_ID_MAX)
		return "service_id: expected 1 to 64 bytes";
	if (unknown_version && (!*unknown_version || strlen(unknown_version) > VERSION_MAX))
		return "unknown_version: expected 1 to 255 bytes";
	return NULL;
}

static const char *fallback_fault(const struct fg_value *values, bool has_certificate)
{
	if (values[OPTION_IDENTITY].number == 1)
		return "fallback is for devices: a bridge cannot sign in by HTTPS";
	if (has_certificate)
		return "fallback needs a secret: by HTTPS IoTDA takes no certificate";
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

void hw_options_take(const struct fg_value *values, struct hw_options *ret)
{
	*ret = (struct hw_options){
		.mode = (enum hw_mode)values[OPTION_MODE].number,
		.device_id = values[OPTION_DEVICE_ID].string,
		.secret = values[OPTION_SECRET].string,
		.sign_type = (enum hw_sign_type)values[OPTION_SIGN_TYPE].number,
		.is_bridge = values[OPTION_IDENTITY].number == 1,
		.bootstraps = values[OPTION_BOOTSTRAP].number,
		.scope_id = values[OPTION_SCOPE_ID].string,
		.group_secret = values[OPTION_GROUP_SECRET].string,
		.strategy_keyword = values[OPTION_STRATEGY_KEYWORD].string,
		.device = values[OPTION_DEVICE].string,
		.product_id = values[OPTION_PRODUCT_ID].string,
		.service_id = values[OPTION_SERVICE_ID].string,
		.has_milliseconds = values[OPTION_EVENT_TIME].number == 1,
		.has_service_names = values[OPTION_COMMAND_NAMES].number == 1,
		.answer_within_ms = values[OPTION_ANSWER_WITHIN].number,
		.packs = values[OPTION_ENCODING].number == 1,
		.syncs_time = values[OPTION_TIME_SYNC].number,
		.reports_status = values[OPTION_REPORT_STATUS].number,
		.offline_after_s = (uint32_t)((values[OPTION_OFFLINE_AFTER].number + 999) / 1000),
		.syncs = values[OPTION_SYNC].number,
		.adds = values[OPTION_AUTO_ADD].number,
		.recreates = values[OPTION_ON_DELETE].number == 1,
		.max_devices = (uint32_t)values[OPTION_MAX_DEVICES].number,
		.last_values_bytes = (size_t)values[OPTION_LAST_VALUES].number * 1024,
		.unknown_version = values[OPTION_UNKNOWN_VERSION].string,
		.max_rate = (uint32_t)values[OPTION_MAX_RATE].number,
	};
}

const char *hw_options_read(const struct fg_open *with, struct hw_options *ret)
{
	const char *fault = options_fault(with->values, with->has_client_certificate);
	unsigned keep_alive_s = keep_alive_within(with->keep_alive_s);

	if (!fault && with->has_fallback)
		fault = fallback_fault(with->values, with->has_client_certificate);
	if (fault)
		return fault;
	hw_options_take(with->values, ret);
	ret->keep_alive_s = keep_alive_s;
	ret->is_keep_alive_bent = with->keep_alive_s > 0 && with->keep_alive_s != keep_alive_s;
	return NULL;
}
