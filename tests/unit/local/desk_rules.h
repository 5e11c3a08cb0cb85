#pragma once

/*
 * Rules for commands of every sort, for tests of the command desk.
 *
 * devices	rule
 * pump*	QoS 1, two at once, id in the payload, `result: $.v`, `error: $.e`
 * lamp*	nothing tells answers apart
 * valve*	waits for its device, a day; id in the topic
 * horn*	without answers
 * motor*	waits, MQTT 5, may be repeated
 * bell*	QoS 0, id in the topic
 */
#include "local/command_map.h"

/** The caller owns it. Messages have at most 1024 bytes. */
struct fg_command_map *desk_rules_map(void);
