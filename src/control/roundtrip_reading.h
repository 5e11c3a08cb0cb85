#pragma once

/*
 * The reading of a round trip: what a device would publish, so that the gateway makes telemetry of
 * that device of it, and so that it can be recognised in the cloud. Found from the rules of
 * `mappings:`, and tried with the gateway's own mapping before anything is published.
 *
 * A rule that takes all members gets one of its own, FG_READING_KEY, and nothing of the plant's data
 * is touched. A rule with selected members has no place for it: then the value, or the whole payload,
 * has to be given by someone who knows what the plant can bear.
 */
#include "config/config.h"
#include "local/mapping.h"
#include "util/error.h"

#define FG_READING_KEY "fieldgate_roundtrip"
#define FG_READING_KEY_MAX 1024
#define FG_READING_VALUE_MAX 1024

/** What the operator says. All but device may be NULL. */
struct fg_reading_wish {
	const char *device;
	const char *topic;   /* with payload */
	const char *payload; /* {marker} in it stands for the marker */
	const char *value;   /* JSON, for the first of the selected members */
	int64_t marker;      /* a number that no other reading has; exact in a double */
	int64_t now_us;      /* UTC */
};

struct fg_reading {
	char *topic, *payload; /* owned */
	bool is_alarm;         /* it takes the alarm lane */
	bool is_marked;        /* the value is the marker, and so cannot be another's */
	char key[FG_READING_KEY_MAX];
	char value[FG_READING_VALUE_MAX]; /* JSON, as it will go up */
	bool has_time;                    /* its own, so that the cloud's stamp will be time_us */
	int64_t time_us;
};

/**
 * Find one. On success fg_reading_release() releases what is in *@ret.
 * Returns 0, -ENOMEM, -EINVAL (the wish: what to say instead) or -ENOENT (the configuration has no
 * rule that takes a reading of the device), with a sentence.
 */
int fg_reading_find(const struct fg_config *config, struct fg_mapping *mapping,
		    const struct fg_reading_wish *wish, struct fg_reading *ret,
		    struct fg_error *err);
void fg_reading_release(struct fg_reading *r);
