#include "options.h"

#include "util/span.h"
#include "values.h"

enum option {
	OPTION_MODE,
	OPTION_ACCESS_TOKEN,
	OPTION_CLIENT_ID,
	OPTION_USERNAME,
	OPTION_PASSWORD,
	OPTION_PROVISION_KEY,
	OPTION_PROVISION_SECRET,
	OPTION_PROVISION_DEVICE,
	OPTION_PROVISION_CREDENTIALS,
	OPTION_PROVISION_CERTIFICATE,
	OPTION_DEVICE,
	OPTION_DEVICE_TYPE,
	OPTION_TOPICS,
	OPTION_PAYLOAD,
	OPTION_SCHEMA,
	OPTION_TELEMETRY_MESSAGE,
	OPTION_ATTRIBUTES_MESSAGE,
	OPTION_RPC_REQUEST_MESSAGE,
	OPTION_RPC_RESPONSE_MESSAGE,
	OPTION_TIMESTAMP,
	OPTION_TEXT_NUMBERS,
	OPTION_LATENCY,
	OPTION_SHARED_ATTRIBUTES,
	OPTION_FETCH_IMAGES,
	OPTION_IMAGE_CHUNK_SIZE,
	OPTION_RPC_TIMEOUT,
	OPTION_ON_DELETE,
	OPTION_USE_LIMITS,
	OPTION_LIMITS_PERCENT,
	OPTION_INACTIVITY_TIMEOUT,
	OPTION_MAX_PACKET_SIZE,
	OPTION_MAX_DEVICES,
	N_OPTIONS,
};

static const char *const mode_choices[] = {"gateway", "device", NULL};
static const char *const credentials_choices[] = {"token", "basic", "server_token", "certificate",
						  NULL};
static const char *const payload_choices[] = {"json", "protobuf", NULL};
static const char *const topics_choices[] = {"v1", "v2", NULL};
static const char *const timestamp_choices[] = {"sample", "server", NULL};
static const char *const text_numbers_choices[] = {"pass", "protect", NULL};
static const char *const on_delete_choices[] = {"mute", "recreate", NULL};

const struct fg_option tb_option_table[] = {
	[OPTION_MODE] = {.name = "mode",
			 .type = FG_OPTION_CHOICE,
			 .help = "whose credentials these are: a gateway's, or one device's own",
			 .fallback = "gateway",
			 .choices = mode_choices},
	[OPTION_ACCESS_TOKEN] = {.name = "access_token",
				 .type = FG_OPTION_SECRET,
				 .help = "the access token of the gateway or device"},
	[OPTION_CLIENT_ID] = {.name = "client_id",
			      .type = FG_OPTION_STRING,
			      .help = "MQTT basic credentials: the client id"},
	[OPTION_USERNAME] = {.name = "username",
			     .type = FG_OPTION_STRING,
			     .help = "MQTT basic credentials: the user name"},
	[OPTION_PASSWORD] = {.name = "password",
			     .type = FG_OPTION_SECRET,
			     .help = "MQTT basic credentials: the password"},
	[OPTION_PROVISION_KEY] = {.name = "provision_key",
				  .type = FG_OPTION_SECRET,
				  .help = "have ThingsBoard make the gateway or device: the "
					  "provision key of the device profile"},
	[OPTION_PROVISION_SECRET] = {.name = "provision_secret",
				     .type = FG_OPTION_SECRET,
				     .help = "the provision secret of the device profile"},
	[OPTION_PROVISION_DEVICE] = {.name = "provision_device",
				     .type = FG_OPTION_STRING,
				     .help = "the name to be given in ThingsBoard; default: the "
					     "gateway's name"},
	[OPTION_PROVISION_CREDENTIALS] =
		{.name = "provision_credentials",
		 .type = FG_OPTION_CHOICE,
		 .help = "what to connect with afterwards: a token or a name and password made up "
			 "here, a token made up by ThingsBoard, or the link's certificate",
		 .fallback = "token",
		 .choices = credentials_choices},
	[OPTION_PROVISION_CERTIFICATE] = {.name = "provision_certificate",
					  .type = FG_OPTION_SECRET,
					  .help = "the link's certificate once more, as "
						  "{file: …}: ThingsBoard is told it"},
	[OPTION_DEVICE] = {.name = "device",
			   .type = FG_OPTION_STRING,
			   .help = "mode device: send only what this device says"},
	[OPTION_DEVICE_TYPE] =
		{.name = "device_type",
		 .type = FG_OPTION_STRING,
		 .help = "mode gateway: device profile of a device whose type nobody told",
		 .fallback = "default"},
	[OPTION_TOPICS] = {.name = "topics",
			   .type = FG_OPTION_CHOICE,
			   .help = "the device API's long topics (v1), or its short ones (v2)",
			   .fallback = "v1",
			   .choices = topics_choices},
	[OPTION_PAYLOAD] = {.name = "payload",
			    .type = FG_OPTION_CHOICE,
			    .help = "the form of payloads: what the device profile of this "
				    "gateway or device says",
			    .fallback = "json",
			    .choices = payload_choices},
	[OPTION_SCHEMA] = {.name = "schema",
			   .type = FG_OPTION_FILE,
			   .help = "the messages of the device profile, compiled by protoc "
				   "--descriptor_set_out; default: those of a new profile"},
	[OPTION_TELEMETRY_MESSAGE] = {.name = "telemetry_message",
				      .type = FG_OPTION_STRING,
				      .help = "the message of telemetry in schema; default: "
					      "SensorDataReading"},
	[OPTION_ATTRIBUTES_MESSAGE] = {.name = "attributes_message",
				       .type = FG_OPTION_STRING,
				       .help = "the message of attributes in schema; default: "
					       "SensorConfiguration"},
	[OPTION_RPC_REQUEST_MESSAGE] = {.name = "rpc_request_message",
					.type = FG_OPTION_STRING,
					.help = "the message of commands in schema; default: "
						"RpcRequestMsg"},
	[OPTION_RPC_RESPONSE_MESSAGE] = {.name = "rpc_response_message",
					 .type = FG_OPTION_STRING,
					 .help = "the message of answers in schema; default: "
						 "RpcResponseMsg"},
	[OPTION_TIMESTAMP] =
		{.name = "timestamp",
		 .type = FG_OPTION_CHOICE,
		 .help = "who stamps a sample that came without a time: the gateway at its "
			 "arrival (sample), or ThingsBoard (server)",
		 .fallback = "sample",
		 .choices = timestamp_choices},
	[OPTION_TEXT_NUMBERS] =
		{.name = "text_numbers",
		 .type = FG_OPTION_CHOICE,
		 .help = "text that looks like a number: let ThingsBoard make a number of "
			 "it (pass), or wrap it so that it stays text (protect)",
		 .fallback = "pass",
		 .choices = text_numbers_choices},
	[OPTION_LATENCY] = {.name = "latency",
			    .type = FG_OPTION_BOOLEAN,
			    .help = "mode gateway: tell ThingsBoard how long samples took",
			    .fallback = "false"},
	[OPTION_SHARED_ATTRIBUTES] =
		{.name = "shared_attributes",
		 .type = FG_OPTION_STRING,
		 .help = "shared attributes to fetch after each connect, with commas between"},
	[OPTION_FETCH_IMAGES] = {.name = "fetch_images",
				 .type = FG_OPTION_BOOLEAN,
				 .help = "mode gateway: ask after each connect which firmware and "
					 "software was assigned meanwhile",
				 .fallback = "false"},
	[OPTION_IMAGE_CHUNK_SIZE] = {.name = "image_chunk_size",
				     .type = FG_OPTION_INTEGER,
				     .help = "bytes of firmware or software to ask for at a time",
				     .fallback = "4096",
				     .min = 128,
				     .max = 65536},
	[OPTION_RPC_TIMEOUT] = {.name = "rpc_timeout",
				.type = FG_OPTION_DURATION,
				.help = "how long a command may take; default: the link's "
					"command_timeout",
				.min = 1000,
				.max = 24 * 60 * 60 * 1000},
	[OPTION_ON_DELETE] =
		{.name = "on_delete",
		 .type = FG_OPTION_CHOICE,
		 .help = "mode gateway: send nothing more of a device that was deleted "
			 "in ThingsBoard (mute), or have it made again (recreate)",
		 .fallback = "mute",
		 .choices = on_delete_choices},
	[OPTION_USE_LIMITS] = {.name = "use_limits",
			       .type = FG_OPTION_BOOLEAN,
			       .help = "ask ThingsBoard for its limits and keep to them",
			       .fallback = "true"},
	[OPTION_LIMITS_PERCENT] = {.name = "limits_percent",
				   .type = FG_OPTION_INTEGER,
				   .help = "how much of them to use",
				   .fallback = "80",
				   .min = 1,
				   .max = 100},
	[OPTION_INACTIVITY_TIMEOUT] =
		{.name = "inactivity_timeout",
		 .type = FG_OPTION_DURATION,
		 .help = "mode gateway: the server's own; a device silent for half of it is kept "
			 "alive; 0s: none is",
		 .fallback = "10min",
		 .min = 0,
		 .max = 7 * 24 * 60 * 60 * (int64_t)1000},
	[OPTION_MAX_PACKET_SIZE] = {.name = "max_packet_size",
				    .type = FG_OPTION_INTEGER,
				    .help = "bytes of the largest MQTT packet the server takes",
				    .fallback = "65536",
				    .min = 1024,
				    .max = 16 * 1024 * 1024},
	[OPTION_MAX_DEVICES] = {.name = "max_devices",
				.type = FG_OPTION_INTEGER,
				.help = "mode gateway: devices held announced at the same time",
				.fallback = "10000",
				.min = 1,
				.max = 1000000},
	[N_OPTIONS] = {0},
};

static bool is_given(const struct fg_value *value)
{
	return value->is_set && value->string;
}

static bool is_empty(const struct fg_value *value)
{
	return is_given(value) && !*value->string;
}

/* Returns NULL, or what is wrong with the credentials: exactly one kind must be there, and whole.
 */
static const char *credentials_fault(const struct fg_value *values, bool has_certificate)
{
	const struct fg_value *token = &values[OPTION_ACCESS_TOKEN];
	const struct fg_value *client_id = &values[OPTION_CLIENT_ID];
	const struct fg_value *username = &values[OPTION_USERNAME];
	const struct fg_value *password = &values[OPTION_PASSWORD];
	bool has_basic = is_given(client_id) || is_given(username) || is_given(password);

	if (is_empty(token))
		return "access_token is empty";
	if (is_empty(client_id) || is_empty(username) || is_empty(password))
		return "client_id, username and password may be left out, but not be empty";
	if (has_certificate && (is_given(token) || has_basic))
		return "ThingsBoard looks at nothing but the client certificate when there is one: "
		       "remove either the certificate from tls, or the token or name and password";
	if (is_given(token) && has_basic)
		return "access_token excludes client_id, username and password: a ThingsBoard "
		       "device has either a token or MQTT basic credentials";
	if (is_given(token) && strcmp(token->string, "provision") == 0)
		return "the access token \"provision\" would open a provisioning session";
	if ((is_given(client_id) && strcmp(client_id->string, "provision") == 0) ||
	    (is_given(username) && strcmp(username->string, "provision") == 0))
		return "the name \"provision\" would open a provisioning session";
	if (is_given(password) && !is_given(username))
		return "password needs username (MQTT 3.1.1, 3.1.2.9)";
	if (!is_given(token) && !has_basic && !has_certificate)
		return "credentials are missing: give access_token, or username and password, or a "
		       "client certificate in tls, or provision_key";
	return NULL;
}

static const char *provision_fault(const struct fg_value *values, bool has_certificate)
{
	bool wants_certificate = values[OPTION_PROVISION_CREDENTIALS].number == TB_CERTIFICATE;

	if (is_given(&values[OPTION_ACCESS_TOKEN]) || is_given(&values[OPTION_CLIENT_ID]) ||
	    is_given(&values[OPTION_USERNAME]) || is_given(&values[OPTION_PASSWORD]))
		return "provision_key excludes access_token, client_id, username and password: "
		       "ThingsBoard shall make the device, or it is there already";
	if (is_empty(&values[OPTION_PROVISION_KEY]) ||
	    !is_given(&values[OPTION_PROVISION_SECRET]) ||
	    is_empty(&values[OPTION_PROVISION_SECRET]))
		return "provision_key and provision_secret must both be given";
	if (is_given(&values[OPTION_PROVISION_DEVICE]) &&
	    tb_name_fault(fg_span_str(values[OPTION_PROVISION_DEVICE].string)))
		return "provision_device: expected a name of 1 to 255 characters without HTML or "
		       "{{";
	if (has_certificate != wants_certificate)
		return "a client certificate in tls and provision_credentials: certificate go "
		       "together: ThingsBoard looks at nothing else when there is a certificate";
	if (wants_certificate != is_given(&values[OPTION_PROVISION_CERTIFICATE]))
		return "provision_certificate is for provision_credentials: certificate, which "
		       "needs it";
	return NULL;
}

static const char *options_fault(const struct fg_value *values, bool has_certificate)
{
	const struct fg_value *device = &values[OPTION_DEVICE];
	const struct fg_value *type = &values[OPTION_DEVICE_TYPE];

	if (is_given(device) && values[OPTION_MODE].number == TB_MODE_GATEWAY)
		return "device is for mode: device; a gateway says which device speaks in each "
		       "message";
	if (is_given(device) && (is_empty(device) || strlen(device->string) > 255))
		return "device: expected a name of 1 to 255 bytes";
	if (is_given(type) && tb_name_fault(fg_span_str(type->string)))
		return "device_type: expected a profile name of 1 to 255 characters without HTML "
		       "or {{";
	if (values[OPTION_LATENCY].number && values[OPTION_MODE].number == TB_MODE_DEVICE)
		return "latency is for mode: gateway; the device API has no place for it";
	if (values[OPTION_LATENCY].number && values[OPTION_PAYLOAD].number)
		return "latency needs payload: json; ThingsBoard's protobuf has no place for it";
	if (is_given(&values[OPTION_SCHEMA]) && !values[OPTION_PAYLOAD].number)
		return "schema is for payload: protobuf";
	for (unsigned i = OPTION_TELEMETRY_MESSAGE; i <= OPTION_RPC_RESPONSE_MESSAGE; i++)
		if (is_given(&values[i]) && !is_given(&values[OPTION_SCHEMA]))
			return "telemetry_message, attributes_message, rpc_request_message and "
			       "rpc_response_message need schema";
	if (is_given(&values[OPTION_PROVISION_KEY]))
		return provision_fault(values, has_certificate);
	if (is_given(&values[OPTION_PROVISION_SECRET]) ||
	    is_given(&values[OPTION_PROVISION_DEVICE]) ||
	    is_given(&values[OPTION_PROVISION_CERTIFICATE]))
		return "provision_secret, provision_device and provision_certificate need "
		       "provision_key";
	return credentials_fault(values, has_certificate);
}

const char *tb_options_read(const struct fg_open *with, struct tb_options *ret)
{
	const struct fg_value *values = with->values;
	const char *fault = options_fault(values, with->has_client_certificate);

	if (fault)
		return fault;
	*ret = (struct tb_options){
		.gateway_name = with->gateway_name,
		.server = with->host_name ? with->host_name : "",
		.mode = (enum tb_mode)values[OPTION_MODE].number,
		.timestamp = (enum tb_timestamp)values[OPTION_TIMESTAMP].number,
		.protect_text_numbers = values[OPTION_TEXT_NUMBERS].number == 1,
		.client_id = values[OPTION_CLIENT_ID].string,
		.username = is_given(&values[OPTION_ACCESS_TOKEN])
				    ? values[OPTION_ACCESS_TOKEN].string
				    : values[OPTION_USERNAME].string,
		.password = values[OPTION_PASSWORD].string,
		.device = values[OPTION_DEVICE].string,
		.device_type = values[OPTION_DEVICE_TYPE].string,
		.has_short_topics = values[OPTION_TOPICS].number == 1,
		.is_protobuf = values[OPTION_PAYLOAD].number == 1,
		.schema = {.data = values[OPTION_SCHEMA].string,
			   .size = values[OPTION_SCHEMA].size},
		.messages = {values[OPTION_TELEMETRY_MESSAGE].string,
			     values[OPTION_ATTRIBUTES_MESSAGE].string,
			     values[OPTION_RPC_REQUEST_MESSAGE].string,
			     values[OPTION_RPC_RESPONSE_MESSAGE].string},
		.has_latency = values[OPTION_LATENCY].number,
		.max_packet_bytes = (size_t)values[OPTION_MAX_PACKET_SIZE].number,
		.max_devices = (uint32_t)values[OPTION_MAX_DEVICES].number,
		.fetches_images = values[OPTION_FETCH_IMAGES].number,
		.chunk_bytes = (uint32_t)values[OPTION_IMAGE_CHUNK_SIZE].number,
		.rpc_timeout_ms = values[OPTION_RPC_TIMEOUT].number,
		.shared_attributes = values[OPTION_SHARED_ATTRIBUTES].string,
		.on_delete = (enum tb_on_delete)values[OPTION_ON_DELETE].number,
		.use_limits = values[OPTION_USE_LIMITS].number,
		.limits_percent = (unsigned)values[OPTION_LIMITS_PERCENT].number,
		.inactivity_s = (uint32_t)(values[OPTION_INACTIVITY_TIMEOUT].number / 1000),
		.provision_key = values[OPTION_PROVISION_KEY].string,
		.provision_secret = values[OPTION_PROVISION_SECRET].string,
		.provision_device = is_given(&values[OPTION_PROVISION_DEVICE])
					    ? values[OPTION_PROVISION_DEVICE].string
					    : with->gateway_name,
		.provision_credentials =
			(enum tb_credentials)values[OPTION_PROVISION_CREDENTIALS].number,
		.provision_certificate = values[OPTION_PROVISION_CERTIFICATE].string,
	};
	return NULL;
}
