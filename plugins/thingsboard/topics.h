#pragma once

/*
 * ThingsBoard's topics: the device API in its long and its short form, the gateway API, and those of
 * a provisioning session. The server compares a subscription's filter with its own list as a whole,
 * so only the filters made here are accepted.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tb_topic {
	TB_TELEMETRY,
	TB_ATTRIBUTES,
	TB_ATTRIBUTES_REQUEST,  /* with a number behind it */
	TB_ATTRIBUTES_RESPONSE, /* the same */
	TB_RPC_REQUEST,         /* the same */
	TB_RPC_RESPONSE,        /* the same */
	TB_CLAIM,
	TB_GATEWAY_TELEMETRY,
	TB_GATEWAY_ATTRIBUTES,
	TB_GATEWAY_ATTRIBUTES_REQUEST,
	TB_GATEWAY_ATTRIBUTES_RESPONSE,
	TB_GATEWAY_RPC,
	TB_GATEWAY_CLAIM,
	TB_GATEWAY_CONNECT,
	TB_GATEWAY_DISCONNECT,
	TB_PROVISION_REQUEST,
	TB_PROVISION_RESPONSE,
	TB_N_TOPICS,
};

/* Telemetry in JSON, whatever the device profile says. */
#define TB_JSON_TELEMETRY "v2/t/j"

/* Of the longest topic or filter, with its number and NUL. */
#define TB_TOPIC_SIZE 64

/** The name of @topic without its number. @is_short: where there is a short form. */
const char *tb_topic_name(enum tb_topic topic, bool is_short);

/** The filter for @topic, to @out of TB_TOPIC_SIZE bytes. */
void tb_topic_filter(enum tb_topic topic, bool is_short, char *out);

/**
 * Which topic @name is, in either form; *@ret_number is the number behind it (0..2147483647), or 0.
 * Returns false when it is none of them.
 */
bool tb_topic_parse(const char *name, enum tb_topic *ret, uint32_t *ret_number);
