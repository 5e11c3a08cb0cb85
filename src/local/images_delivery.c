/*
 * Handing an image over: the announcement, then the chunks where it goes in chunks, one PUBLISH under
 * way at a time; and what the device reports.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "local/images_internal.h"
#include "model/json.h"
#include "util/cleanup.h"
#include "util/log.h"

/* MQTT 5, 3.4.2.1 */
#define REASON_NO_SUBSCRIBERS 0x10u
#define REASON_FIRST_ERROR 0x80u

bool fg_images_passes_url(const struct fg_images_entry *e)
{
	return e->rule->config->deliver == FG_DELIVER_URL && !e->rule->config->url;
}

bool fg_images_keeps_file(const struct fg_images_entry *e)
{
	if (fg_images_passes_url(e))
		return false;
	return e->rule->status || e->rule->config->deliver != FG_DELIVER_CHUNKS;
}

/* ---- the announcement */

static void put_string(FILE *out, const char *name, const char *text)
{
	size_t size = fg_json_quote(fg_span_str(text), NULL, 0);
	char *quoted = malloc(size);

	if (quoted)
		fg_json_quote(fg_span_str(text), quoted, size);
	fprintf(out, ",\"%s\":%.*s", name, quoted ? (int)size : 2, quoted ? quoted : "\"\"");
	free(quoted);
}

static void put_source(FILE *out, const struct fg_images_entry *e)
{
	const struct fg_image_config *config = e->rule->config;
	const char *path = e->file ? fg_image_file_path(e->file) : NULL;
	FG_CLEANUP(fg_free_p) char *url = NULL;

	if (!path) {
		put_string(out, "url", e->url);
		return;
	}
	switch (config->deliver) {
	case FG_DELIVER_FILE:
		put_string(out, "file", path);
		break;
	case FG_DELIVER_URL:
		if (asprintf(&url, "%s%s", config->url, strrchr(path, '/') + 1) < 0)
			url = NULL;
		put_string(out, "url", url ? url : "");
		break;
	case FG_DELIVER_CHUNKS:
		fprintf(out, ",\"chunk_size\":%zu", config->chunk_bytes);
		break;
	}
}

/* {"kind":"firmware","title":"A","version":"2",…}; malloc'd, or NULL. */
static char *announcement(const struct fg_images_entry *e)
{
	uint64_t size = e->file ? fg_image_file_bytes(e->file) : e->size;
	char *text = NULL;
	size_t text_size;
	FILE *out = open_memstream(&text, &text_size);

	if (!out)
		return NULL;
	fprintf(out, "{\"kind\":\"%s\"", e->kind == FG_IMAGE_FIRMWARE ? "firmware" : "software");
	put_string(out, "title", e->title);
	put_string(out, "version", e->version);
	if (size > 0)
		fprintf(out, ",\"size\":%llu", (unsigned long long)size);
	if (*e->checksum) {
		put_string(out, "algorithm", fg_checksum_name(e->algorithm));
		put_string(out, "checksum", e->checksum);
	}
	put_source(out, e);
	fputc('}', out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

/* ---- publishing */

/* It is tried again, as often as it takes. */
static void complain(struct fg_images_entry *e, int error)
{
	fg_complain(&e->images->waiting_complaint, e->images->now_ms, LOG_WARNING,
		    "images: what is here for device %s waits: %s", e->device,
		    error == -ENODEV     ? "it was not heard of, and images[].broker does not say "
					   "at which broker it is"
		    : error == -ENOTCONN ? "its broker is not connected"
					 : strerror(-error));
}

/* Returns 0, -EIO (and it has failed), or what publish() returned. */
static int publish(struct fg_images_entry *e, enum fg_images_topic what, struct fg_span payload)
{
	struct fg_images *images = e->images;
	FG_CLEANUP(fg_free_p)
	char *topic = fg_images_rule_topic(e->rule, what, e->device, e->next_chunk);
	struct fg_mqtt_publish p = {.topic = topic, .payload = payload, .qos = 1};
	uint64_t tag = FG_IMAGES_TAG | ++images->last_tag;
	int r;

	if (!topic) {
		fg_images_fail(e, FG_IMAGE_FAULT_OTHER, "the device's name makes no topic name");
		return -EIO;
	}
	r = images->with.publish(images->with.arg, e->rule->config->broker, fg_span_str(e->device),
				 &p, tag);
	if (r == 0) {
		e->tag = tag;
		e->is_redirected = false;
	} else if (r != -EMSGSIZE) {
		complain(e, r);
	}
	return r;
}

static int publish_announcement(struct fg_images_entry *e)
{
	FG_CLEANUP(fg_free_p) char *text = announcement(e);
	int r = text ? publish(e, FG_IMAGES_ANNOUNCEMENT, fg_span_str(text)) : -ENOMEM;

	if (r == -EMSGSIZE)
		fg_images_fail(e, FG_IMAGE_FAULT_OTHER,
			       "the announcement is larger than the field's broker takes");
	return r;
}

static int publish_chunk(struct fg_images_entry *e)
{
	size_t size = e->rule->config->chunk_bytes;
	ssize_t n = fg_image_file_read(e->file, e->next_chunk * size, e->images->chunk, size);
	int r;

	if (n < 0) {
		fg_images_fail(e, FG_IMAGE_FAULT_OTHER, "the image cannot be read: %s",
			       strerror((int)-n));
		return -EIO;
	}
	r = publish(e, FG_IMAGES_CHUNK, fg_span_of(e->images->chunk, (size_t)n));
	if (r == -EMSGSIZE)
		fg_images_fail(e, FG_IMAGE_FAULT_OTHER,
			       "a chunk is larger than the field's broker takes "
			       "(images[].chunk_size)");
	return r;
}

/* Does the device still work on @e, as far as it tells? */
static bool is_at_device(struct fg_images_entry *e)
{
	int64_t now_ms = e->images->now_ms;

	if (e->state != FG_IMAGES_HANDED || !e->rule->status)
		return e->state == FG_IMAGES_HANDING;
	if (e->heard_ms == 0)
		e->heard_ms = now_ms;
	return now_ms - e->heard_ms < FG_IMAGES_PATIENCE_MS;
}

/* Is the device busy with its other image? */
static bool is_device_busy(const struct fg_images_entry *e)
{
	enum fg_image_kind other_kind =
		e->kind == FG_IMAGE_FIRMWARE ? FG_IMAGE_SOFTWARE : FG_IMAGE_FIRMWARE;
	struct fg_images_entry *other =
		fg_images_find(e->images, fg_span_str(e->device), other_kind);

	return other && is_at_device(other);
}

void fg_images_deliver(struct fg_images_entry *e)
{
	struct fg_images *images = e->images;

	if ((e->state != FG_IMAGES_READY && e->state != FG_IMAGES_HANDING) || e->tag ||
	    images->now_ms < e->retry_ms ||
	    !images->with.is_up(images->with.arg, fg_span_str(e->device)))
		return;
	if (e->state == FG_IMAGES_READY) {
		if (is_device_busy(e))
			return;
		e->is_announced = false;
		e->next_chunk = 0;
		fg_images_enter(e, FG_IMAGES_HANDING);
	}
	if (e->is_announced)
		publish_chunk(e);
	else
		publish_announcement(e);
}

void fg_images_deliver_other(struct fg_images_entry *e)
{
	for (struct fg_images_entry *other = e->images->first; other; other = other->next)
		if (other != e && strcmp(other->device, e->device) == 0)
			fg_images_deliver(other);
}

static void handed(struct fg_images_entry *e)
{
	e->heard_ms = e->images->now_ms;
	fg_images_enter(e, FG_IMAGES_HANDED);
	if (!e->rule->status)
		fg_images_deliver_other(e);
}

static void published(struct fg_images_entry *e)
{
	if (e->is_announced && !e->is_redirected)
		e->next_chunk++;
	e->is_announced = true;
	if (e->rule->config->deliver == FG_DELIVER_CHUNKS &&
	    e->next_chunk * e->rule->config->chunk_bytes < fg_image_file_bytes(e->file))
		publish_chunk(e);
	else
		handed(e);
}

void fg_images_published(struct fg_images *images, uint64_t tag, unsigned reason_code)
{
	struct fg_images_entry *e = images->first;

	while (e && e->tag != tag)
		e = e->next;
	if (!e || !tag)
		return;
	e->tag = 0;
	if (reason_code >= REASON_FIRST_ERROR) {
		fg_images_fail(e, FG_IMAGE_FAULT_OTHER,
			       "the field's broker refuses it (reason code 0x%02x)", reason_code);
		fg_images_deliver_other(e);
	} else if (reason_code == REASON_NO_SUBSCRIBERS) {
		e->state = FG_IMAGES_READY;
		e->retry_ms = images->now_ms + FG_IMAGES_RETRY_MS;
	} else {
		published(e);
	}
}

void fg_images_broker_up(struct fg_images *images)
{
	for (struct fg_images_entry *e = images->first; e; e = e->next) {
		e->tag = 0;
		e->retry_ms = 0;
		fg_images_deliver(e);
	}
}

void fg_images_device_up(struct fg_images *images, struct fg_span device)
{
	for (struct fg_images_entry *e = images->first; e; e = e->next) {
		if (!fg_span_is(device, e->device))
			continue;
		/* It may have missed what the broker took for it. */
		if (e->state == FG_IMAGES_HANDED && e->rule->status && !e->has_reported &&
		    (e->file || fg_images_passes_url(e)))
			e->state = FG_IMAGES_READY;
		e->retry_ms = 0;
		fg_images_deliver(e);
	}
}

/* ---- reports */

/* The image @report is of: the one that is at the device; of two, the one that came last. */
static struct fg_images_entry *find_reported(struct fg_images *images,
					     const struct fg_images_report *report)
{
	struct fg_images_entry *e, *found = NULL;

	for (e = images->first; e; e = e->next) {
		if (strcmp(e->device, report->device) != 0 || !e->rule->status ||
		    (e->state != FG_IMAGES_HANDING && e->state != FG_IMAGES_HANDED) ||
		    (*report->version && strcmp(report->version, e->version) != 0))
			continue;
		if (!found || e->state == FG_IMAGES_HANDING || e->heard_ms > found->heard_ms)
			found = e;
	}
	return found;
}

void fg_images_confirmed(struct fg_images_entry *e)
{
	e->tag = 0;
	fg_images_installed(e);
	fg_images_enter(e, FG_IMAGES_UPDATED);
	fg_images_deliver_other(e);
}

static void go_on_from(struct fg_images_entry *e, uint64_t chunk)
{
	size_t size = e->rule->config->chunk_bytes;

	if (e->rule->config->deliver != FG_DELIVER_CHUNKS || !e->file ||
	    chunk >= (fg_image_file_bytes(e->file) + size - 1) / size)
		return;
	e->next_chunk = chunk;
	/* One at a time: a device that asks on and on would fill the memory with chunks. */
	e->is_redirected = e->tag != 0;
	if (e->tag)
		return;
	e->is_announced = true;
	e->state = FG_IMAGES_HANDING;
	fg_images_deliver(e);
}

static void first_report(struct fg_images_entry *e)
{
	if (e->has_reported)
		return;
	e->has_reported = true;
	fg_images_entry_remember(e);
}

static void take_report(struct fg_images_entry *e, const struct fg_images_report *report)
{
	switch (report->state) {
	case FG_REPORT_UPDATING:
		first_report(e);
		break;
	case FG_REPORT_UPDATED:
		fg_images_confirmed(e);
		break;
	case FG_REPORT_FAILED:
		fg_images_fail(e, FG_IMAGE_FAULT_REFUSED, "the device says that it failed%s%s",
			       *report->error ? ": " : "", report->error);
		fg_images_deliver_other(e);
		break;
	case FG_REPORT_OTHER:
		if (report->wants_chunk)
			go_on_from(e, report->chunk);
		break;
	}
}

bool fg_images_arrived(struct fg_images *images, const char *broker,
		       const struct fg_mqtt_message *message)
{
	struct fg_images_report report;
	struct fg_images_entry *e;
	int r = fg_images_rules_read(&images->rules, broker, message, &report);

	if (r == -ENOENT)
		return false;
	/* From the broker's store: of an earlier image, for all we know. */
	if (message->is_retained)
		return true;
	if (r < 0) {
		fg_complain(&images->report_complaint, images->now_ms, LOG_WARNING,
			    "images: device %s reports what cannot be understood, ignored; "
			    "expected JSON with `status.state`",
			    report.device);
		return true;
	}
	e = find_reported(images, &report);
	if (!e)
		return true;
	e->heard_ms = images->now_ms;
	take_report(e, &report);
	if (e->state == FG_IMAGES_HANDING || e->state == FG_IMAGES_HANDED)
		fg_images_tell_busy(e);
	return true;
}
