#pragma once

/*
 * The plugin's keys in the configuration, and what they mean to it. Strings are the host's and live
 * as long as the ctx.
 */
#include "fieldgate/plugin.h"
#include "sign_in.h"

enum hw_mode { HW_MODE_GATEWAY, HW_MODE_DEVICE };

struct hw_options {
	enum hw_mode mode;
	const char *device_id; /* the one that connects */
	const char *secret;    /* NULL: a certificate */
	enum hw_sign_type sign_type;
	bool is_bridge;               /* device_id is a bridge's */
	bool bootstraps;              /* the URL is that of the bootstrap service */
	const char *scope_id;         /* of its registration group; NULL: it has none */
	const char *group_secret;     /* Base64; NULL: a certificate, or no group */
	const char *strategy_keyword; /* or NULL */
	const char *device;           /* mode device: only this one; NULL: all */
	const char *product_id; /* mode gateway: of sub-devices; NULL: their names are their ids */
	const char *service_id; /* of a message without a stream */
	bool has_milliseconds;  /* in event_time */
	bool has_service_names; /* a command is called service.command */
	int64_t answer_within_ms;
	size_t last_values_bytes;
	bool packs; /* reports, with gzip */
	bool syncs_time;
	/* mode gateway */
	bool reports_status;      /* of sub-devices */
	uint32_t offline_after_s; /* which IoTDA shows online, when they are silent after a start */
	bool syncs;               /* asks which sub-devices IoTDA has */
	bool adds;                /* has it add those that it does not have */
	bool recreates;           /* also when they were deleted there */
	uint32_t max_devices;
	unsigned keep_alive_s;
	bool is_keep_alive_bent; /* it is not the one configured */
	const char
		*unknown_version; /* told of a device whose version nobody knows; NULL: nothing */
	uint32_t max_rate;        /* publishes in a second; 0: no limit */
};

/** The table for struct fg_plugin. */
extern const struct fg_option hw_option_table[];

/** Returns NULL, or a sentence that says what is wrong. */
const char *hw_options_read(const struct fg_open *with, struct hw_options *ret);

/** What the values alone say, of options that were checked before. */
void hw_options_take(const struct fg_value *values, struct hw_options *ret);

/** May @text be (a part of) a device id: letters, digits, '_' and '-'? */
bool hw_is_id(const char *text, size_t size);
