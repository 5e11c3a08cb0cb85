/*
 * local: brokers on the field side, and what they have in common with clouds.
 */
#include <errno.h>

#include "config/config_keys.h"

/* ---- tls */

static int tls_finish(struct fg_reader *r, const struct fg_yaml_node *node,
		      const struct fg_trail *trail, void *item)
{
	static const char *const needs[][2] = {
		{"certificate", "key"}, {"key", "certificate"}, {"key_password", "key"}};
	int worst = 0;

	(void)item;
	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
		const struct fg_yaml_node *given = fg_yaml_member(node, needs[i][0]);
		struct fg_trail below = {.parent = trail, .name = needs[i][0]};

		if (given && !fg_yaml_member(node, needs[i][1]))
			worst = fg_key_mistake(r, &given->place, &below, "needs %s beside it",
					       needs[i][1]);
	}
	return worst;
}

static const struct fg_key tls_keys[] = {
	{"ca", FG_KEY_FILES, FG_KEY_AT(struct fg_tls_config, ca)},
	{"certificate", FG_KEY_FILE, FG_KEY_AT(struct fg_tls_config, certificate)},
	{"key", FG_KEY_FILE, FG_KEY_AT(struct fg_tls_config, key)},
	{"key_password", FG_KEY_SECRET, FG_KEY_AT(struct fg_tls_config, key_password)},
	{"server_name", FG_KEY_TEXT, FG_KEY_AT(struct fg_tls_config, server_name), .min = 1,
	 .max = 253},
	{"insecure", FG_KEY_BOOLEAN, FG_KEY_AT(struct fg_tls_config, is_insecure),
	 .fallback = "false"},
	{0},
};
const struct fg_section fg_tls_section = {.keys = tls_keys, .finish = tls_finish};

/* `tls:` beside an url without TLS would look as if it protected something. */
int fg_config_check_tls(struct fg_reader *r, const struct fg_yaml_node *node,
			const struct fg_trail *trail, struct fg_url *url, bool has_https)
{
	const struct fg_yaml_node *tls = fg_yaml_member(node, "tls");
	struct fg_trail below = {.parent = trail, .name = "tls"};

	if (!url->host) {
		url->host = fg_keep(r, "", 0);
		return url->host ? 0 : -ENOMEM;
	}
	if (tls && !url->is_tls && !has_https)
		return fg_key_mistake(r, &tls->key_place, &below,
				      "only with an url that starts with mqtts://");
	return 0;
}

const char *const fg_mqtt_versions[] = {"auto", "5", "3.1.1", NULL};
const unsigned fg_mqtt_version_values[] = {FG_MQTT_AUTO, FG_MQTT_5, FG_MQTT_311};

/* ---- brokers */

static int broker_finish(struct fg_reader *r, const struct fg_yaml_node *node,
			 const struct fg_trail *trail, void *item)
{
	struct fg_broker_config *broker = item;
	int e;

	broker->place = node->place;
	e = fg_config_check_tls(r, node, trail, &broker->url, false);
	if (e == -ENOMEM)
		return e;
	return broker->name ? e : -ENODATA;
}

static const struct fg_key broker_keys[] = {
	{"name", FG_KEY_NAME, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_broker_config, name)},
	{"url", FG_KEY_URL, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_broker_config, url)},
	{"tls", FG_KEY_SECTION, FG_KEY_AT(struct fg_broker_config, tls),
	 .section = &fg_tls_section},
	{"mqtt_version", FG_KEY_CHOICE, FG_KEY_AT(struct fg_broker_config, mqtt_version),
	 .choices = fg_mqtt_versions, .choice_values = fg_mqtt_version_values, .fallback = "auto"},
	{"client_id", FG_KEY_TEXT, FG_KEY_AT(struct fg_broker_config, client_id), .min = 1,
	 .max = FG_TEXT_MAX_BYTES},
	{"username", FG_KEY_TEXT, FG_KEY_AT(struct fg_broker_config, username), .min = 1,
	 .max = FG_TEXT_MAX_BYTES},
	{"password", FG_KEY_SECRET, FG_KEY_AT(struct fg_broker_config, password)},
	{"share", FG_KEY_NAME, FG_KEY_AT(struct fg_broker_config, share)},
	{"qos", FG_KEY_INTEGER, FG_KEY_AT(struct fg_broker_config, qos), .min = 0, .max = 1,
	 .fallback = "1"},
	{"keep_alive", FG_KEY_SECONDS, FG_KEY_AT(struct fg_broker_config, keep_alive_s),
	 .min = 5000, .max = 65535000, .fallback = "60s"},
	{"max_reconnect_delay", FG_KEY_MILLISECONDS,
	 FG_KEY_AT(struct fg_broker_config, max_reconnect_delay_ms), .min = 1000, .max = 600000,
	 .fallback = "60s"},
	{"receive_maximum", FG_KEY_INTEGER, FG_KEY_AT(struct fg_broker_config, receive_maximum),
	 .min = 1, .max = 65535, .fallback = "4096"},
	{"session_expiry", FG_KEY_SECONDS, FG_KEY_AT(struct fg_broker_config, session_expiry_s),
	 .min = 1000, .max = FG_AGE_MAX_MS, .fallback = "7d"},
	{0},
};
static const struct fg_section broker_section = {
	.keys = broker_keys, .item_size = sizeof(struct fg_broker_config), .finish = broker_finish};

static const struct fg_key local_keys[] = {
	{"brokers", FG_KEY_SECTIONS, FG_KEY_AT(struct fg_config, brokers),
	 .count_offset = offsetof(struct fg_config, n_brokers), .max = FG_MAX_BROKERS,
	 .section = &broker_section},
	{0},
};
const struct fg_section fg_local_section = {.keys = local_keys};
