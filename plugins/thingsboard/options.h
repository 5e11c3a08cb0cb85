#pragma once

/*
 * The plugin's keys in the configuration, and what they mean to it. Strings are the host's and live
 * as long as the ctx.
 */
#include "fieldgate/plugin.h"

enum tb_mode { TB_MODE_GATEWAY, TB_MODE_DEVICE };

enum tb_timestamp { TB_TIMESTAMP_SAMPLE, TB_TIMESTAMP_SERVER };

enum tb_on_delete { TB_DELETE_MUTES, TB_DELETE_RECREATES };

/** What a device has to show after it was provisioned. */
enum tb_credentials {
	TB_OWN_TOKEN,    /* made up here */
	TB_OWN_BASIC,    /* the same, with name and password */
	TB_SERVER_TOKEN, /* made up by ThingsBoard */
	TB_CERTIFICATE,  /* that of the link */
	TB_N_CREDENTIALS,
};

struct tb_options {
	const char *gateway_name;
	const char *server; /* name of its host */
	enum tb_mode mode;
	enum tb_timestamp timestamp;
	bool protect_text_numbers;
	const char *client_id, *username, *password; /* NULL: none; username: also a token */
	const char *device;                          /* NULL: all */
	const char *device_type;
	bool has_short_topics;
	bool is_protobuf;
	struct fg_span schema;   /* a compiled one; no data: none */
	const char *messages[4]; /* enum tb_message; NULL: the usual name */
	bool has_latency;
	size_t max_packet_bytes;
	uint32_t max_devices;
	int64_t rpc_timeout_ms;        /* 0: as the link is configured */
	const char *shared_attributes; /* names with commas between; NULL: not given */
	enum tb_on_delete on_delete;
	bool fetches_images; /* after each connect */
	bool use_limits;
	unsigned limits_percent;
	uint32_t chunk_bytes;  /* of an image */
	uint32_t inactivity_s; /* 0: devices are not kept alive */

	const char *provision_key; /* NULL: credentials are configured */
	const char *provision_secret;
	const char *provision_device;
	enum tb_credentials provision_credentials;
	const char *provision_certificate; /* PEM text */
};

/** The table for struct fg_plugin. */
extern const struct fg_option tb_option_table[];

/** Returns NULL, or a sentence that says what is wrong. */
const char *tb_options_read(const struct fg_open *with, struct tb_options *ret);
