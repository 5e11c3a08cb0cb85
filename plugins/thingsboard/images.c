/*
 * Images: what ThingsBoard assigns, and what it is told of them. The chunks are in images_chunks.c.
 *
 *	{"fw_title":"A","fw_version":"2","fw_size":5000,"fw_checksum_algorithm":"SHA256",
 *	 "fw_checksum":"…"}  or with "fw_url" and no size; the same with sw_
 *	→ {"fw_state":"DOWNLOADING"} … {"fw_state":"UPDATED","current_fw_title":"A",
 *	  "current_fw_version":"2"}, {"fw_state":"FAILED","fw_error":"…"}
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "thingsboard.h"

#define MAX_ERROR_BYTES 512

/* What is refused so often, without a word about a limit, is not told. */
#define MAX_REFUSALS 3

/* Around the texts of a note. */
#define WRAPPING 128

const char *tb_image_prefix(enum fg_image_kind kind)
{
	return kind == FG_IMAGE_FIRMWARE ? "fw" : "sw";
}

/* ------------------------------------------------------------------ what is assigned */

/* Where the texts of an announcement are unescaped to. */
struct arena {
	char *at, *end;
};

static bool find(struct fg_json_value set, enum fg_image_kind kind, const char *name,
		 struct fg_json_value *ret)
{
	char key[32];

	snprintf(key, sizeof(key), "%s_%s", tb_image_prefix(kind), name);
	return fg_json_member(set, fg_span_str(key), ret);
}

/* A string; empty when there is none. */
static struct fg_span read_text(struct arena *arena, struct fg_json_value set,
				enum fg_image_kind kind, const char *name)
{
	struct fg_json_value value;
	struct fg_span raw, text;

	if (!find(set, kind, name, &value))
		return (struct fg_span){.size = 0};
	raw = tb_raw_string(value);
	if (raw.size > (size_t)(arena->end - arena->at))
		return (struct fg_span){.size = 0};
	text = fg_span_of(arena->at, fg_json_unescape(raw, arena->at));
	arena->at += text.size;
	return text;
}

/* A whole number below 2^53; 0 when there is none. */
static uint64_t read_size(struct fg_json_value set, enum fg_image_kind kind)
{
	struct fg_json_value value;
	uint64_t size = 0;

	if (!find(set, kind, "size", &value) || value.type != FG_JSON_INTEGER ||
	    value.text.size > 15 || value.text.data[0] == '-')
		return 0;
	for (size_t i = 0; i < value.text.size; i++)
		size = size * 10 + (uint64_t)(value.text.data[i] - '0');
	return size;
}

/* Returns 0, or -ENOMEM. */
static int announced(struct tb *tb, struct fg_span device, struct fg_json_value set,
		     enum fg_image_kind kind)
{
	struct fg_image image = {.device = device, .kind = kind, .size = read_size(set, kind)};
	char *memory = malloc(set.text.size);
	struct arena arena = {.at = memory, .end = memory + set.text.size};

	if (!memory)
		return -ENOMEM;
	image.title = read_text(&arena, set, kind, "title");
	image.version = read_text(&arena, set, kind, "version");
	image.tag = read_text(&arena, set, kind, "tag");
	image.algorithm = read_text(&arena, set, kind, "checksum_algorithm");
	image.checksum = read_text(&arena, set, kind, "checksum");
	image.url = read_text(&arena, set, kind, "url");
	if (image.title.size > 0 && image.version.size > 0)
		tb_image_assigned(tb, &image);
	free(memory);
	return 0;
}

/* Does the list @unset have the title, without which there is no package? */
static bool is_withdrawn(struct fg_span unset, enum fg_image_kind kind)
{
	struct fg_json_member member;
	struct fg_json_walk walk;
	char key[32];

	snprintf(key, sizeof(key), "%s_title", tb_image_prefix(kind));
	fg_json_walk_begin(&walk, (struct fg_json_value){.type = FG_JSON_ARRAY, .text = unset});
	while (unset.size > 0 && fg_json_walk_next(&walk, &member))
		if (fg_json_name_is(tb_raw_string(member.value), fg_span_str(key)))
			return true;
	return false;
}

void tb_images_changed(struct tb *tb, struct fg_span device, struct fg_span set,
		       struct fg_span unset)
{
	struct fg_json_value object = {.type = FG_JSON_OBJECT, .text = set}, title;

	if (!tb->host->image_begin)
		return;
	for (enum fg_image_kind kind = FG_IMAGE_FIRMWARE; kind <= FG_IMAGE_SOFTWARE; kind++) {
		if (set.size > 0 && find(object, kind, "title", &title))
			announced(tb, device, object, kind);
		else if (is_withdrawn(unset, kind))
			tb_image_withdrawn(tb, device, kind);
	}
}

/* ------------------------------------------------------------------ progress */

static void forget_note(struct tb_images *images, unsigned at)
{
	if (images->notes[at] == images->in_flight)
		images->in_flight = NULL;
	free(images->notes[at]);
	images->n_notes--;
	memmove(&images->notes[at], &images->notes[at + 1],
		(images->n_notes - at) * sizeof(images->notes[0]));
}

static struct tb_image_note *new_note(const struct tb_image_note *like, struct fg_span device,
				      struct fg_span text)
{
	struct tb_image_note *note = malloc(sizeof(*note) + device.size + text.size);

	if (!note)
		return NULL;
	note->kind = like->kind;
	note->has_ended = like->has_ended;
	note->n_refusals = 0;
	note->device_size = device.size;
	note->text_size = text.size;
	if (device.size > 0)
		memcpy(note->text, device.data, device.size);
	memcpy(note->text + device.size, text.data, text.size);
	return note;
}

static struct fg_span device_of(const struct tb_image_note *note)
{
	return fg_span_of(note->text, note->device_size);
}

static struct fg_span text_of(const struct tb_image_note *note)
{
	return fg_span_of(note->text + note->device_size, note->text_size);
}

/* The last note about the image of @device and @kind, or NULL. */
static struct tb_image_note **last_note(struct tb_images *images, struct fg_span device,
					enum fg_image_kind kind)
{
	for (unsigned i = images->n_notes; i-- > 0;)
		if (images->notes[i]->kind == kind &&
		    fg_span_equal(device_of(images->notes[i]), device))
			return &images->notes[i];
	return NULL;
}

static void add_note(struct tb *tb, const struct tb_image_note *like, struct fg_span device,
		     struct fg_span text)
{
	struct tb_images *images = &tb->images;
	struct tb_image_note *note = new_note(like, device, text), **last = NULL;

	if (!note)
		return;
	if (images->n_notes >= TB_FEW_IMAGE_NOTES)
		last = last_note(images, device, note->kind);
	if (last && *last != images->in_flight) {
		free(*last);
		*last = note;
		return;
	}
	if (images->n_notes == TB_MAX_IMAGE_NOTES) {
		tb->host->warn(tb->host_ctx, "more has happened to images than ThingsBoard could "
					     "be told; the oldest of it is left out");
		forget_note(images, 0);
	}
	images->notes[images->n_notes++] = note;
}

void tb_images_device_called(struct tb *tb, struct fg_span from, struct fg_span to)
{
	struct tb_images *images = &tb->images;
	struct tb_image_note *note;

	for (unsigned i = images->n_notes; i-- > 0;) {
		if (!fg_span_equal(device_of(images->notes[i]), from))
			continue;
		note = to.size > 0 ? new_note(images->notes[i], to, text_of(images->notes[i]))
				   : NULL;
		if (!note) {
			forget_note(images, i);
			continue;
		}
		if (images->in_flight == images->notes[i])
			images->in_flight = note;
		free(images->notes[i]);
		images->notes[i] = note;
	}
}

static void put_member(struct fg_text *text, const char *before, const char *prefix,
		       const char *name, struct fg_span value)
{
	fg_put(text, before);
	fg_put(text, prefix);
	fg_put(text, name);
	fg_put(text, "\":");
	fg_put_quoted(text, value);
}

static bool has_ended(const struct fg_image_progress *p)
{
	return p->state == FG_IMAGE_UPDATED || p->state == FG_IMAGE_FAILED;
}

void tb_image_tell(struct tb *tb, const struct fg_image_progress *p)
{
	static const char *const words[] = {
		[FG_IMAGE_DOWNLOADING] = "DOWNLOADING", [FG_IMAGE_DOWNLOADED] = "DOWNLOADED",
		[FG_IMAGE_VERIFIED] = "VERIFIED",       [FG_IMAGE_UPDATING] = "UPDATING",
		[FG_IMAGE_UPDATED] = "UPDATED",         [FG_IMAGE_FAILED] = "FAILED",
	};
	const char *prefix = tb_image_prefix(p->kind);
	struct fg_span error = fg_span_str(p->error);
	size_t size = WRAPPING + 6 * (p->title.size + p->version.size + error.size);
	char *buffer = malloc(size);
	struct tb_image_note like = {
		.kind = p->kind,
		.has_ended = has_ended(p),
	};
	struct fg_text text;

	if (!buffer)
		return;
	text = fg_text_begin(buffer, size);
	put_member(&text, "{\"", prefix, "_state", fg_span_str(words[p->state]));
	if (p->state == FG_IMAGE_UPDATED) {
		put_member(&text, ",\"current_", prefix, "_title", p->title);
		put_member(&text, ",\"current_", prefix, "_version", p->version);
	}
	if (p->state == FG_IMAGE_FAILED)
		put_member(&text, ",\"", prefix, "_error", error);
	fg_put(&text, "}");
	/* In mode device there is nobody else. */
	add_note(tb, &like, tb->devices ? p->device : (struct fg_span){.size = 0},
		 fg_text_span(&text));
	free(buffer);
}

void tb_image_progress(void *ctx, const struct fg_image_progress *p)
{
	struct tb *tb = ctx;

	/* What goes on will be told of when it goes on; and to tell of a device is to say that it is there. */
	if (p->only_grown || (tb->images.is_recalling && !has_ended(p)))
		return;
	tb_image_tell(tb, p);
	if (p->device.size == 0 || !tb->devices)
		tb_image_moved(tb, p);
}

/* ------------------------------------------------------------------ telling */

/* Returns 1, 0 when it does not fit, or -EINVAL. */
static int publish_own(struct tb_call *call, struct fg_span text)
{
	struct fg_text out;
	int r = tb_publish_begin(call->tb, call->out, TB_TELEMETRY, -1, &out);

	if (r < 0)
		return r;
	fg_put_span(&out, text);
	call->out->n_points = 1;
	return tb_publish_end(call->out, &out, TB_SCOPE_OWN);
}

static int publish_of_device(struct tb_call *call, struct tb_device *device, struct fg_span text)
{
	struct fg_text out;
	int r = tb_publish_begin(call->tb, call->out, TB_GATEWAY_TELEMETRY, -1, &out);

	if (r < 0)
		return r;
	fg_put(&out, "{");
	fg_put_quoted(&out, tb_device_name(device));
	fg_put(&out, ":[");
	fg_put_span(&out, text);
	fg_put(&out, "]}");
	call->out->n_points = 1;
	tb_device_spoke(call->tb, device);
	if (device->is_away) /* it was announced for this only */
		tb_line_enter(call->tb->devices, TB_LINE_ANNOUNCE, device);
	return tb_publish_end(call->out, &out, TB_SCOPE_DEVICES);
}

/* The device called @name, once it is announced; else it is announced first (*@ret is 1), or waits. */
static struct tb_device *announced_device(struct tb_call *call, struct fg_span name, int *ret)
{
	struct tb *tb = call->tb;
	struct tb_device *device = tb_devices_find(tb->devices, name);

	if (!device && tb_devices_add(tb->devices, name, tb_is_spare, tb, &device) < 0)
		return NULL;
	if (device->state == TB_ANNOUNCED)
		return device;
	if (device->state == TB_UNANNOUNCED && tb_limits_may_connect(tb))
		*ret = tb_announce(call, device);
	return NULL;
}

/* The one at @at. Returns 1 when there is a publish, 0 when it waits, or -EINVAL. */
static int publish_note(struct tb_call *call, unsigned at)
{
	struct tb *tb = call->tb;
	struct tb_image_note *note = tb->images.notes[at];
	struct fg_span name = device_of(note), text = text_of(note);
	struct tb_device *device;
	int r = 0;

	if (name.size == 0) {
		r = publish_own(call, text);
	} else {
		if (tb->gate != TB_GATE_OPEN)
			return 0;
		device = announced_device(call, name, &r);
		if (!device)
			return r;
		r = publish_of_device(call, device, text);
	}
	if (r > 0) {
		tb->images.in_flight = note;
		tb->images.in_flight_serial = ++tb->serial;
		call->out->tag = tb_tag_make(TB_TAG_IMAGE, tb->serial, 0);
	} else if (r == 0) {
		forget_note(&tb->images, at); /* larger than any packet */
	}
	return r;
}

int tb_images_publish(struct tb_call *call)
{
	struct tb *tb = call->tb;
	int r = 0;

	if (tb->gate == TB_GATE_HELD)
		return 0;
	/* One at a time: the order is what they tell. Those of a device that cannot be told of now
	 * hold nobody else's. */
	for (unsigned i = 0; r == 0 && !tb->images.in_flight && i < tb->images.n_notes; i++)
		r = publish_note(call, i);
	return r != 0 ? r : tb_chunks_publish(call);
}

/* ThingsBoard has the note in flight, or will never take it. */
static void told(struct tb *tb)
{
	struct tb_images *images = &tb->images;
	struct tb_image_note *note = images->in_flight;
	struct tb_image_note **last = last_note(images, device_of(note), note->kind);
	struct fg_span device = tb->devices ? device_of(note) : fg_span_str(tb->with.device);

	if (note->has_ended && *last == note && tb->host->image_told)
		tb->host->image_told(tb->host_ctx, device, note->kind);
	for (unsigned i = 0; images->in_flight; i++)
		if (images->notes[i] == note)
			forget_note(images, i);
}

enum fg_verdict tb_images_settled(struct tb *tb, uint64_t tag, enum fg_verdict verdict)
{
	struct tb_images *images = &tb->images;

	if ((uint32_t)tag > 0)
		return tb_chunk_settled(tb, (uint32_t)tag, verdict);
	if (!images->in_flight || tag != tb_tag_make(TB_TAG_IMAGE, images->in_flight_serial, 0))
		return verdict;
	if (verdict == FG_RETRY && ++images->in_flight->n_refusals >= MAX_REFUSALS)
		verdict = FG_POISON;
	if (verdict == FG_ACCEPTED || verdict == FG_POISON)
		told(tb);
	images->in_flight = NULL;
	return verdict;
}

void tb_images_begin(struct tb *tb)
{
	tb->images.is_recalling = !tb->images.has_recalled;
	if (tb->images.is_recalling && tb->host->image_tell)
		tb->host->image_tell(tb->host_ctx);
	tb->images.is_recalling = false;
	tb->images.has_recalled = true;
	tb_chunks_begin(tb);
}

void tb_images_forget(struct tb *tb)
{
	tb->images.in_flight = NULL;
	tb_chunks_forget(tb);
}

void tb_images_close(struct tb *tb)
{
	while (tb->images.n_notes > 0)
		forget_note(&tb->images, 0);
	for (size_t i = 0; i < 2; i++)
		free(tb->images.own[i].memory);
}
