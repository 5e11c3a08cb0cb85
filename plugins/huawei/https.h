#pragma once

/*
 * The way up while MQTT is blocked: IoTDA's HTTPS interface for devices. A device signs in with the
 * password it has for MQTT, and gets a token:
 *
 *	POST /v5/device-auth  {"device_id":"…","sign_type":0,"timestamp":"2026031509","password":"…"}
 *	                      {"access_token":"…","expires_in":86399}
 *
 * Then reports and texts go to paths that are named as the topics are, with '-' for '_', and with the
 * token in a header. Events and answers to commands have no path: they wait for MQTT.
 */
#include <stdint.h>

#include "sign_in.h"
#include "util/span.h"

struct hw;
struct fg_publish;
struct fg_settlement;

/* IoTDA: sub-devices in one report by HTTPS. */
#define HW_HTTPS_MAX_GROUPS 50

/* Of a token; IoTDA's have some hundred characters. */
#define HW_TOKEN_MAX 4096

struct hw_https {
	char body[HW_DEVICE_ID_MAX + 256]; /* of the sign-in, while that is under way */
	char token[sizeof("access_token: ") + HW_TOKEN_MAX]; /* a header; empty: there is none */
	const char *headers[3];
};

/** For struct fg_plugin. */
extern const struct fg_http_uplink hw_http_uplink;

/** Overwrite the secrets. */
void hw_https_end(struct hw *hw);

/** Write path and headers of the publish whose topic would end in @suffix to @out. Returns 0, or -EINVAL
 * when the host's buffer is too small. */
int hw_https_begin(const struct hw *hw, const char *suffix, struct fg_publish *out);

/** fg_publish.tag of a report that names @device alone. */
uint64_t hw_https_tag(const struct hw *hw, struct fg_span device);

/** See struct fg_plugin.settled. */
enum fg_verdict hw_https_settled(struct hw *hw, const struct fg_settlement *how);
