#pragma once

/*
 * A link with a made-up journal, network, clock and plugin around it: what its tests have in common.
 */
#include "cloud/link.h"
#include "fake_journal.h"
#include "fake_mqtt.h"
#include "scripted_plugin.h"

extern struct fg_journal journal;
extern struct script script;
extern struct fg_plugin plugin; /* script_plugin, unless a test says otherwise */
extern struct fg_cloud_config config;
extern struct fg_link_options options; /* with these, */
extern struct fg_link *link_;          /* … make() makes it */
extern unsigned n_stopped;             /* how often stop() was answered */
extern bool frees_in_stopped;          /* whoever is told frees it */

/** For setup and teardown. */
void link_frame_begin(void);
void link_frame_end(void);

void make(void);
void stop(void);
struct fg_link_stats stats(void);

/** Records of @device, @n of them; and the same committed, which the link is told. */
void add(const char *device, unsigned n);
void new_data(const char *device, unsigned n);

#define assert_state(expected)                                                                     \
	assert_string_equal(fg_link_state_name(stats().state), fg_link_state_name(expected))
#define assert_watermark(expected) assert_int_equal(fg_cursor_watermark(&journal.cursor), expected)
