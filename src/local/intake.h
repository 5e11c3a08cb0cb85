#pragma once

/*
 * What happens to a message from the field, whatever brought it: an answer goes to the command desk,
 * what is said of an image to images, a status to presence, what a rule makes telemetry or a request of to the journal, and what fits no
 * rule to quarantine. Whoever brought it acknowledges it once the journal has committed.
 */
#include "journal/journal.h"
#include "local/command_desk.h"
#include "local/images.h"
#include "local/mapping.h"
#include "local/presence.h"
#include "local/requests.h"
#include "net/mqtt_client.h"
#include "util/complaint.h"

struct fg_intake;

struct fg_intake_options {
	struct fg_journal *journal;
	struct fg_timekeeper *timekeeper; /* or NULL: the wall clock is believed */
	struct fg_mapping *mapping;
	struct fg_command_desk *desk; /* or NULL: there are no commands */
	struct fg_images *images;     /* or NULL: no device reports about any */
	struct fg_presence *presence; /* or NULL: nobody wants to know */
	struct fg_requests *requests; /* or NULL: the mapping makes none */
	size_t max_message_bytes;
};

/** Where messages come from, and what became of them. Zeroed but for `name` at first. */
struct fg_source {
	const char *name;     /* lives as long as the daemon */
	uint64_t received;    /* PUBLISH packets */
	uint64_t messages;    /* records appended */
	uint64_t answers;     /* to commands */
	uint64_t quarantined; /* payloads that did not fit their rule */
	uint64_t unmapped;    /* no rule matched: acknowledged and dropped */
	struct fg_complaint quarantine_complaint, unmapped_complaint;
};

/** The caller owns *@ret. Returns 0 or -ENOMEM. */
int fg_intake_new(const struct fg_intake_options *options, struct fg_intake **ret);
struct fg_intake *fg_intake_free(struct fg_intake *in);

/** Has the journal room for whatever one packet may bring? */
bool fg_intake_has_room(const struct fg_intake *in);

/**
 * Take @message from @source. Returns 0: acknowledge it when fg_journal_ticket() of now is committed;
 * -EAGAIN: the journal had no room, it must come again (a part of it may have been taken).
 */
int fg_intake_take(struct fg_intake *in, struct fg_source *source,
		   const struct fg_mqtt_message *message);

/**
 * Have the rules of today look at what no rule took when it came: @q->topic and @q->body.
 * Returns 0; -EAGAIN: the journal has no room; or -EPROTO: still none takes it; with a sentence.
 */
int fg_intake_again(struct fg_intake *in, const struct fg_quarantined *q, struct fg_error *err);
