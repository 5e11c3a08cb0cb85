#pragma once

/*
 * Bodies of the notes that the command desk keeps in the alarm lane: format.h, section 5, says what
 * stands in them. Link, device and the cloud's id are fields of the record itself.
 */
#include "util/span.h"

#define FG_COMMAND_KEY_MAX 64
#define FG_COMMAND_NAME_MAX 255

/** How far the command has come by the time of a note. */
enum fg_note_state {
	FG_NOTE_NEW,        /* not published */
	FG_NOTE_GOING_OUT,  /* about to be published, or has been */
	FG_NOTE_NOT_SENT,   /* was not published after all */
	FG_NOTE_CLOCK,      /* as it was; its deadline in UTC is another one */
	FG_NOTE_ENDED,      /* ended; there is no response, or the note says which */
	FG_NOTE_UNANSWERED, /* the same, and the device may still answer */
	FG_N_NOTE_STATES,
};

/** Either kind of note; what the other has only is left alone. */
struct fg_command_note {
	uint64_t number; /* of the command; in the note of its arrival 0: the record's own */
	enum fg_note_state state;
	uint8_t boot_id[16];
	int64_t deadline_ms; /* monotonic clock of that boot */
	int64_t deadline_us; /* UTC, or 0: that was not known */

	/* FG_RECORD_KIND_COMMAND only */
	uint32_t tag; /* the random part of its wire id */
	bool is_one_way;
	bool is_superseded;    /* its cloud has given its id to another one */
	uint64_t answer;       /* FG_NOTE_ENDED: record with its response, or 0 */
	struct fg_span error;  /* refused at once: the error's word; else empty */
	struct fg_span key;    /* any bytes */
	struct fg_span name;   /* UTF-8; empty when it is refused or has ended */
	struct fg_span params; /* JSON, or empty */
};

/** What a note's spans point into, once it has been read. */
struct fg_command_note_room {
	char key[FG_COMMAND_KEY_MAX];
	char name[FG_COMMAND_NAME_MAX];
};

/* All but the parameters take less. */
#define FG_COMMAND_NOTE_EXTRA (512 + 2 * FG_COMMAND_KEY_MAX + 6 * FG_COMMAND_NAME_MAX)

/** The body of a note of FG_RECORD_KIND_COMMAND, into params.size + FG_COMMAND_NOTE_EXTRA bytes.
 * Returns its size. */
size_t fg_command_note_write(const struct fg_command_note *note, char *out);

/** The same of FG_RECORD_KIND_COMMAND_STATE, into FG_COMMAND_NOTE_EXTRA bytes. */
size_t fg_command_state_note_write(const struct fg_command_note *note, char *out);

/** Read a body. Returns 0, or -EBADMSG: it is none that we can have written. */
int fg_command_note_read(struct fg_span body, struct fg_command_note *ret,
			 struct fg_command_note_room *room);
int fg_command_state_note_read(struct fg_span body, struct fg_command_note *ret);
