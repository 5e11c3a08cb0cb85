#pragma once

/*
 * Texts of a configuration, to put what a test is about into, and reading them.
 */
#include "expect.h"

/* Sections that are in order, for tests of the others. */
#define GATEWAY "gateway: {name: gw}\n"
#define LOCAL "local: {brokers: [{name: b, url: mqtt://h}]}\n"
#define MAPPINGS "mappings: [{topic: a}]\n"
#define CLOUDS "clouds: [{name: c, plugin: p, url: mqtt://h}]\n"
#define NO_GATEWAY LOCAL MAPPINGS CLOUDS
#define NO_LOCAL GATEWAY MAPPINGS CLOUDS
#define NO_MAPPINGS GATEWAY LOCAL CLOUDS
#define NO_CLOUDS GATEWAY LOCAL MAPPINGS

/* `clouds: [{…}]` with what a test is about, which starts in column 44 of line 4. */
#define CLOUD(what) NO_CLOUDS "clouds: [{name: c, plugin: p, url: mqtts://h, " what "}]\n"
/* The same for a broker: column 49 of line 1. */
#define BROKER(what) "local: {brokers: [{name: b, url: mqtts://h, " what "}]}\n" NO_LOCAL
/* And for a mapping: column 24 of line 1. */
#define MAPPING(what) "mappings: [{topic: a/b, " what "}]\n" NO_MAPPINGS

static inline struct fg_config *load(const char *text, struct fg_report *report, int expected)
{
	struct fg_config *config = NULL;
	int r = fg_config_load_text("f", fg_span_str(text), report, &config);

	if (r != expected)
		fail_msg("%s\nreturned %d", text, r);
	return config;
}
