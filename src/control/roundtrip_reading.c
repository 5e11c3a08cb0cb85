#include "control/roundtrip_reading.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/output.h"
#include "model/json.h"
#include "util/cleanup.h"
#include "util/span.h"

/* What stands for captures and wildcards that are not the device. */
#define FILLER "roundtrip"

struct finding {
	const struct fg_config *config;
	struct fg_mapping *mapping;
	const struct fg_reading_wish *wish;
	char marker[24];
	struct fg_reading *found;
	bool is_found, is_too_large;
};

void fg_reading_release(struct fg_reading *r)
{
	free(r->topic);
	free(r->payload);
	r->topic = r->payload = NULL;
}

/* ---- text that a rule would take */

static bool is_wildcard(struct fg_span level)
{
	return fg_span_is(level, "+") || fg_span_is(level, "#") ||
	       (level.size > 2 && level.data[0] == '{' && level.data[level.size - 1] == '}');
}

/* A topic that @pattern matches, with @device for {device}. NULL: no memory. */
static char *make_topic(const char *pattern, const char *device, bool is_text)
{
	char *topic = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&topic, &size);

	if (!f)
		return NULL;
	for (const char *at = pattern;; at++) {
		struct fg_span level = fg_span_of(at, strcspn(at, "/"));

		if (fg_span_is(level, "{device}") || fg_span_is(level, "{device...}"))
			fputs(device, f);
		else if (is_text && fg_span_is(level, "{key}"))
			fputs(FG_READING_KEY, f);
		else if (is_wildcard(level))
			fputs(FILLER, f);
		else
			fwrite(level.data, 1, level.size, f);
		at += level.size;
		if (!*at)
			break;
		fputc('/', f);
	}
	if (fclose(f) != 0) {
		free(topic);
		return NULL;
	}
	return topic;
}

/* The name in "$.name" or "$['name']", written as JSON; false: it lies deeper. */
static bool put_name(FILE *f, const char *path)
{
	struct fg_json_path *compiled = NULL;
	struct fg_json_fault fault;
	struct fg_span name = {0};
	char quoted[FG_READING_KEY_MAX];
	size_t n = 0;

	if (fg_json_path_new(fg_span_str(path), &compiled, &fault) == 0) {
		name = fg_json_path_only_member(compiled);
		if (name.data)
			n = fg_json_quote(name, quoted, sizeof(quoted));
	}
	fg_json_path_free(compiled);
	if (!name.data || n > sizeof(quoted))
		return false;
	fwrite(quoted, 1, n, f);
	return true;
}

static void put_time(FILE *f, enum fg_time_unit unit, int64_t now_us)
{
	char text[FG_TIME_TEXT_MAX];

	switch (unit) {
	case FG_TIME_UNIT_S:
		fprintf(f, "%" PRId64, now_us / 1000000);
		break;
	case FG_TIME_UNIT_US:
		fprintf(f, "%" PRId64, now_us);
		break;
	case FG_TIME_UNIT_ISO8601:
		fprintf(f, "\"%s\"", fg_time_text(now_us, text));
		break;
	case FG_TIME_UNIT_AUTO:
	case FG_TIME_UNIT_MS:
		fprintf(f, "%" PRId64, now_us / 1000);
		break;
	}
}

/* Returns false when the rule's payload cannot be made up. */
static bool put_payload(const struct finding *g, const struct fg_mapping_config *rule, FILE *f)
{
	const struct fg_members_config *members = &rule->telemetry;
	const char *value = g->wish->value ? g->wish->value : g->marker;

	if (rule->payload == FG_PAYLOAD_TEXT) {
		fputs(value, f);
		return true;
	}
	fputc('{', f);
	if (rule->time) {
		if (!put_name(f, rule->time))
			return false;
		fputc(':', f);
		put_time(f, rule->time_unit, g->wish->now_us);
		fputc(',', f);
	}
	if (members->is_all)
		fprintf(f, "\"%s\"", FG_READING_KEY);
	else if (!put_name(f, members->select[0].from))
		return false;
	fprintf(f, ":%s}", value);
	return true;
}

/* The payload as given, with the marker in its place. */
static void put_marked(const struct finding *g, FILE *f)
{
	const char *at = g->wish->payload, *next;

	for (; (next = strstr(at, "{marker}")); at = next + strlen("{marker}")) {
		fwrite(at, 1, (size_t)(next - at), f);
		fputs(g->marker, f);
	}
	fputs(at, f);
}

/* Returns 1 and *@ret (owned), 0: it cannot be made up, or -ENOMEM. */
static int make_payload(const struct finding *g, const struct fg_mapping_config *rule, char **ret)
{
	char *payload = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&payload, &size);
	bool is_made = true;

	if (!f)
		return -ENOMEM;
	if (g->wish->payload)
		put_marked(g, f);
	else
		is_made = put_payload(g, rule, f);
	if (fclose(f) != 0) {
		free(payload);
		return -ENOMEM;
	}
	if (!is_made) {
		free(payload);
		return 0;
	}
	*ret = payload;
	return 1;
}

/* ---- what the gateway makes of it */

/* The member that is the marker, else the first one. */
static bool take_member(struct finding *g, struct fg_span body)
{
	struct fg_reading *r = g->found;
	struct fg_json_value object;
	struct fg_json_fault fault;
	struct fg_json_member m, chosen = {0};
	struct fg_json_walk walk;

	if (fg_json_check(body, &object, &fault) < 0)
		return false;
	fg_json_walk_begin(&walk, object);
	while (!r->is_marked && fg_json_walk_next(&walk, &m)) {
		r->is_marked = fg_span_is(m.value.text, g->marker);
		if (!chosen.name.data || r->is_marked)
			chosen = m;
	}
	if (!chosen.name.data)
		return false;
	if (chosen.name.size >= sizeof(r->key) || chosen.value.text.size >= sizeof(r->value)) {
		g->is_too_large = true;
		return false;
	}
	r->key[fg_json_unescape(chosen.name, r->key)] = '\0';
	memcpy(r->value, chosen.value.text.data, chosen.value.text.size);
	r->value[chosen.value.text.size] = '\0';
	return true;
}

static int take_mapped(void *arg, const struct fg_mapped *mapped)
{
	struct finding *g = arg;
	const struct fg_message *m = &mapped->msg;

	if (g->is_found || m->kind != FG_TELEMETRY || !fg_span_is(m->device, g->wish->device) ||
	    !take_member(g, m->body))
		return 0;
	g->is_found = true;
	g->found->is_alarm = mapped->lane == FG_LANE_ALARM;
	g->found->has_time = m->time_quality == FG_TIME_DEVICE;
	g->found->time_us = m->time_us;
	return 0;
}

/* Both are owned by *@g->found afterwards. */
static void try(struct finding *g, char *topic, char *payload, struct fg_error *why)
{
	const struct fg_arrival arrival = {
		.topic = fg_span_str(topic),
		.payload = fg_span_str(payload),
		.now_us = g->wish->now_us,
	};
	int r;

	*why = (struct fg_error){0};
	*g->found = (struct fg_reading){.topic = topic, .payload = payload};
	r = fg_mapping_apply(g->mapping, &arrival, take_mapped, g, why);
	if (r == -ENOENT)
		fg_error_set(why, r, "no rule of mappings takes the topic %s", topic);
	else if (g->is_too_large)
		fg_error_set(why, r, "the value is longer than %d bytes", FG_READING_VALUE_MAX);
	else if (r >= 0 && !g->is_found)
		fg_error_set(why, r,
			     "the rule for the topic %s makes no telemetry of device \"%s\" of it",
			     topic, g->wish->device);
	if (!g->is_found)
		fg_reading_release(g->found);
}

/* ---- looking for a rule */

static bool takes_telemetry(const struct fg_mapping_config *rule)
{
	return !rule->presence.is_set && !rule->request.is_set && !rule->event &&
	       rule->payload != FG_PAYLOAD_OPAQUE &&
	       (rule->payload == FG_PAYLOAD_TEXT || rule->telemetry.is_all ||
		rule->telemetry.n_select > 0);
}

/* Selected members are the plant's own: only a person may say what they shall show. */
static bool needs_value(const struct finding *g, const struct fg_mapping_config *rule)
{
	return !g->wish->value && !g->wish->payload && rule->payload == FG_PAYLOAD_JSON &&
	       !rule->telemetry.is_all;
}

static int try_rule(struct finding *g, const struct fg_mapping_config *rule, struct fg_error *why)
{
	char *topic = make_topic(rule->topic, g->wish->device, rule->payload == FG_PAYLOAD_TEXT);
	char *payload = NULL;
	int r;

	if (!topic)
		return -ENOMEM;
	r = make_payload(g, rule, &payload);
	if (r <= 0) {
		free(topic);
		if (r == 0)
			fg_error_set(why, -EINVAL,
				     "what the rule for %s selects lies deep inside: say with "
				     "--payload what the device publishes, {marker} for the value",
				     rule->topic);
		return r;
	}
	try(g, topic, payload, why);
	return 0;
}

static int look_at_rules(struct finding *g, bool is_alarm, struct fg_error *err, int *ret_verdict)
{
	for (size_t i = 0; i < g->config->n_mappings && !g->is_found; i++) {
		const struct fg_mapping_config *rule = &g->config->mappings[i];
		struct fg_error why = {0};
		int r;

		if (rule->is_alarm != is_alarm || !takes_telemetry(rule))
			continue;
		if (needs_value(g, rule)) {
			/* Not the last word: another rule may take whatever comes. */
			if (*ret_verdict == -ENOENT)
				*ret_verdict = fg_error_set(
					err, -EINVAL,
					"the rule for %s takes only members of the plant's own: "
					"say "
					"which value \"%s\" shall show with --value, or what the "
					"device publishes with --payload",
					rule->topic, rule->telemetry.select[0].name);
			continue;
		}
		r = try_rule(g, rule, &why);
		if (r < 0)
			return r;
		if (!g->is_found && !err->text[0])
			*err = why;
	}
	return 0;
}

static int given(struct finding *g, struct fg_error *err)
{
	char *topic = strdup(g->wish->topic), *payload = NULL;

	if (!topic || make_payload(g, NULL, &payload) < 0) {
		free(topic);
		return -ENOMEM;
	}
	try(g, topic, payload, err);
	return g->is_found ? 0 : -EINVAL;
}

static int check_wish(const struct fg_reading_wish *wish, struct fg_error *err)
{
	struct fg_json_value value;
	struct fg_json_fault fault;

	if (wish->topic && !wish->payload)
		return fg_error_set(err, -EINVAL, "--topic wants --payload with it");
	if (wish->value && wish->payload)
		return fg_error_set(err, -EINVAL, "--value and --payload exclude each other");
	if (wish->value && fg_json_check(fg_span_str(wish->value), &value, &fault) < 0)
		return fg_error_set(err, -EINVAL, "--value: expected JSON: %s", fault.reason);
	return 0;
}

int fg_reading_find(const struct fg_config *config, struct fg_mapping *mapping,
		    const struct fg_reading_wish *wish, struct fg_reading *ret,
		    struct fg_error *err)
{
	struct finding g = {.config = config, .mapping = mapping, .wish = wish, .found = ret};
	int verdict = -ENOENT;
	int r;

	r = check_wish(wish, err);
	if (r < 0)
		return r;
	snprintf(g.marker, sizeof(g.marker), "%" PRId64, wish->marker);
	if (wish->topic)
		return given(&g, err);
	err->text[0] = '\0';
	r = look_at_rules(&g, false, err, &verdict);
	if (r == 0 && !g.is_found)
		r = look_at_rules(&g, true, err, &verdict);
	if (r < 0 || g.is_found)
		return r;
	if (!err->text[0])
		fg_error_set(err, verdict, "no rule of mappings takes telemetry");
	return verdict;
}
