#include "local/command_note.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/json.h"

static const char *const state_words[FG_N_NOTE_STATES] = {
	[FG_NOTE_NEW] = "new",           [FG_NOTE_GOING_OUT] = "going_out",
	[FG_NOTE_NOT_SENT] = "not_sent", [FG_NOTE_CLOCK] = "clock",
	[FG_NOTE_ENDED] = "ended",       [FG_NOTE_UNANSWERED] = "unanswered",
};

/* ------------------------------------------------------------------ writing */

static char *put_hex(char *at, const void *data, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size; i++) {
		*at++ = digits[bytes[i] >> 4];
		*at++ = digits[bytes[i] & 15];
	}
	return at;
}

/*
 * What both kinds begin with, without the closing brace. Padded, so that a copy of a note, with more
 * digits in it, is never larger than the note was: that has fitted.
 */
static char *put_common(char *at, const struct fg_command_note *note)
{
	at += sprintf(at, "{\"number\":%-20" PRIu64 ",\"state\":\"%s\"%*s,\"boot\":\"",
		      note->number, state_words[note->state],
		      10 - (int)strlen(state_words[note->state]), "");
	at = put_hex(at, note->boot_id, sizeof(note->boot_id));
	at += sprintf(at, "\",\"deadline_ms\":%-20" PRId64 ",\"deadline_us\":%-20" PRId64,
		      note->deadline_ms, note->deadline_us);
	return at;
}

size_t fg_command_note_write(const struct fg_command_note *note, char *out)
{
	char *at = put_common(out, note);

	at += sprintf(at, ",\"tag\":%" PRIu32 ",\"one_way\":%s,\"superseded\":%-5s", note->tag,
		      note->is_one_way ? "true" : "false", note->is_superseded ? "true" : "false");
	if (note->answer > 0)
		at += sprintf(at, ",\"answer\":%" PRIu64, note->answer);
	if (note->error.size > 0)
		at += sprintf(at, ",\"error\":\"%.*s\"", FG_SPAN_ARGS(note->error));
	at += sprintf(at, ",\"key\":\"");
	at = put_hex(at, note->key.data, note->key.size);
	*at++ = '"';
	if (note->name.size > 0) {
		at += sprintf(at, ",\"name\":");
		at += fg_json_quote(note->name, at, 6 * FG_COMMAND_NAME_MAX + 2);
	}
	if (note->params.size > 0) {
		at += sprintf(at, ",\"params\":");
		memcpy(at, note->params.data, note->params.size);
		at += note->params.size;
	}
	*at++ = '}';
	return (size_t)(at - out);
}

size_t fg_command_state_note_write(const struct fg_command_note *note, char *out)
{
	char *at = put_common(out, note);

	*at++ = '}';
	return (size_t)(at - out);
}

/* ------------------------------------------------------------------ reading */

/* Reads members of a note's body; one that is missing or wrong makes all of it wrong. */
struct members {
	struct fg_json_value root;
	bool is_bad;
};

static struct fg_json_value member(const struct members *m, const char *name)
{
	struct fg_json_value value = {.type = FG_JSON_NULL};

	fg_json_member(m->root, fg_span_str(name), &value);
	return value;
}

/* The inside of a string, as it stands. */
static struct fg_span text_member(struct members *m, const char *name, bool is_required)
{
	struct fg_json_value value = member(m, name);

	if (value.type == FG_JSON_STRING)
		return fg_span_of(value.text.data + 1, value.text.size - 2);
	m->is_bad |= is_required || value.type != FG_JSON_NULL;
	return (struct fg_span){0};
}

static int64_t integer_member(struct members *m, const char *name, int64_t min, int64_t max)
{
	struct fg_json_value value = member(m, name);
	int64_t number = 0;
	char text[24];

	if (value.type == FG_JSON_INTEGER && value.text.size < sizeof(text)) {
		memcpy(text, value.text.data, value.text.size);
		text[value.text.size] = '\0';
		errno = 0;
		number = strtoll(text, NULL, 10);
		if (errno == 0 && number >= min && number <= max)
			return number;
	}
	m->is_bad = true;
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Returns how many bytes, at most @max. */
static size_t hex_member(struct members *m, const char *name, void *out, size_t max)
{
	struct fg_span text = text_member(m, name, true);
	uint8_t *bytes = out;

	if (text.size % 2 != 0 || text.size / 2 > max) {
		m->is_bad = true;
		return 0;
	}
	for (size_t i = 0; i < text.size / 2; i++) {
		int high = hex_digit(text.data[2 * i]), low = hex_digit(text.data[2 * i + 1]);

		if (high < 0 || low < 0) {
			m->is_bad = true;
			return 0;
		}
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return text.size / 2;
}

static enum fg_note_state state_member(struct members *m)
{
	struct fg_span word = text_member(m, "state", true);

	for (int i = 0; i < FG_N_NOTE_STATES; i++)
		if (fg_span_is(word, state_words[i]))
			return (enum fg_note_state)i;
	m->is_bad = true;
	return FG_NOTE_NEW;
}

/* Numbers of records stay far below what a signed number holds. */
static bool read_common(struct fg_span body, struct members *m, struct fg_command_note *ret)
{
	struct fg_json_fault fault;

	*m = (struct members){0};
	*ret = (struct fg_command_note){0};
	if (fg_json_check(body, &m->root, &fault) < 0 || m->root.type != FG_JSON_OBJECT)
		return false;
	ret->number = (uint64_t)integer_member(m, "number", 0, INT64_MAX);
	ret->state = state_member(m);
	if (hex_member(m, "boot", ret->boot_id, sizeof(ret->boot_id)) != sizeof(ret->boot_id))
		m->is_bad = true;
	ret->deadline_ms = integer_member(m, "deadline_ms", INT64_MIN, INT64_MAX);
	ret->deadline_us = integer_member(m, "deadline_us", 0, INT64_MAX);
	return !m->is_bad;
}

int fg_command_state_note_read(struct fg_span body, struct fg_command_note *ret)
{
	struct members m;

	return read_common(body, &m, ret) && ret->number > 0 ? 0 : -EBADMSG;
}

int fg_command_note_read(struct fg_span body, struct fg_command_note *ret,
			 struct fg_command_note_room *room)
{
	struct fg_span name;
	struct members m;

	if (!read_common(body, &m, ret))
		return -EBADMSG;
	ret->tag = (uint32_t)integer_member(&m, "tag", 0, UINT32_MAX);
	ret->is_one_way = member(&m, "one_way").type == FG_JSON_TRUE;
	ret->is_superseded = member(&m, "superseded").type == FG_JSON_TRUE;
	if (member(&m, "answer").type != FG_JSON_NULL)
		ret->answer = (uint64_t)integer_member(&m, "answer", 1, INT64_MAX);
	ret->error = text_member(&m, "error", false);
	ret->key = fg_span_of(room->key, hex_member(&m, "key", room->key, sizeof(room->key)));
	ret->params = member(&m, "params").text;
	name = text_member(&m, "name", false);
	if (m.is_bad || name.size > 6 * sizeof(room->name))
		return -EBADMSG;
	if (name.size > 0) {
		char text[6 * sizeof(room->name)];
		size_t size = fg_json_unescape(name, text);

		if (size > sizeof(room->name))
			return -EBADMSG;
		memcpy(room->name, text, size);
		ret->name = fg_span_of(room->name, size);
	}
	return 0;
}
