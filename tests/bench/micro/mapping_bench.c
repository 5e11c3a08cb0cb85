/*
 * What one arrival costs between the device side and the journal.
 */
#include <stdlib.h>

#include "local/mapping.h"
#include "stopwatch.h"
#include "util/span.h"

static const char payload[] =
	"{\"temperature\":21.50,\"humidity\":48.2,\"pressure\":1013.25,\"battery\":3.61,"
	"\"state\":\"ok\",\"ts\":1700000000123}";

static struct {
	struct fg_mapping *m;
	struct fg_arrival arrival;
} bench;

static volatile size_t sink;

static int take(void *arg, const struct fg_mapped *mapped)
{
	const struct fg_message *msg = &mapped->msg;

	(void)arg;
	sink += msg->body.size;
	return 0;
}

static void apply(void *arg)
{
	struct fg_error reason;

	(void)arg;
	fg_mapping_apply(bench.m, &bench.arrival, take, NULL, &reason);
}

static int measure(const char *what, const char *topic)
{
	bench.arrival = (struct fg_arrival){.topic = fg_span_str(topic),
					    .payload = fg_span_str(payload),
					    .now_us = 1700000000000000};
	stopwatch_measure(what, 200000, apply, NULL);
	return 0;
}

int main(void)
{
	struct fg_select_config select[] = {
		{.name = "temperature", .from = "$.temperature"},
		{.name = "humidity", .from = "$.humidity"},
		{.name = "pressure", .from = "$.pressure"},
		{.name = "battery", .from = "$.battery"},
		{.name = "state", .from = "$.state"},
	};
	struct fg_mapping_config rules[] = {
		{.topic = "all/{device}/{stream}", .telemetry = {.is_all = true}},
		{.topic = "timed/{device}/{stream}", .telemetry = {.is_all = true}, .time = "$.ts"},
		{.topic = "some/{device}/{stream}",
		 .telemetry = {.select = select, .n_select = 5},
		 .time = "$.ts"},
	};
	struct fg_config config = {
		.mappings = rules, .n_mappings = 3, .max_message_bytes = 1 << 20};
	struct fg_report *report = fg_report_new();

	if (!report || fg_mapping_new(&config, report, &bench.m) < 0)
		return 1;
	measure("mapping: whole object", "all/pump-01/climate");
	measure("mapping: whole object, time from a member", "timed/pump-01/climate");
	measure("mapping: five selected members, time from a member", "some/pump-01/climate");
	measure("mapping: no rule", "none/pump-01/climate");
	fg_mapping_free(bench.m);
	fg_report_free(report);
	return 0;
}
